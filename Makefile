# `make run` and `make test` are all a newcomer needs: each makes its own virtual environment in .venv
# from nothing but python3 (3.11 or later), and does so again only when pyproject.toml changes.

VENV   := .venv
ORACLE := .venv-torch
BIN    := $(VENV)/bin
OUT    := runs/digits

# The first Python that runs and is new enough; override with `make PYTHON=/path/to/python3`.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)

# Tests run one process a core, so the libraries under them get one thread each.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1
PYTEST := -m pytest -n auto -q

.PHONY: help run test soak bench lint types differential clean

help:
	@echo "make run           train LeNet on the handwritten digits that come with Flambeau"
	@echo "make test          run the tests"
	@echo "make soak          longer: random programs for half an hour, 20,000 steps of training"
	@echo "make bench         a table of speeds beside PyTorch's (ARGS=lenet-4 picks rows, see benchmarks/run.py)"
	@echo "make lint types    ruff, mypy"
	@echo "make differential  compare with PyTorch, in an environment of its own ($(ORACLE))"
	@echo "make clean         remove the environments and what was built"

run: $(VENV)/.run
	@$(BIN)/flambeau train --data digits --model lenet --out $(OUT)
	@echo "The log, the metrics and the checkpoints lie beside them: $$(ls $(OUT) | tr '\n' ' ')"

test: $(VENV)/.dev
	$(ONE_THREAD) $(BIN)/python $(PYTEST) --ignore=tests/differential

soak: $(VENV)/.dev
	$(ONE_THREAD) FLAMBEAU_SOAK=1 $(BIN)/python $(PYTEST) tests/engine/test_fuzz.py tests/engine/test_modes.py

# The same programs on both sides, turn by turn. `python -m benchmarks.operators` and `.overheads` have more.
bench: $(VENV)/.run $(ORACLE)/.done
	@if test -f $(ORACLE)/.done; then $(BIN)/python -m benchmarks.run --torch-python $(ORACLE)/bin/python $(ARGS); \
	else echo "torch==2.13.0 cannot be installed here: there is nothing to compare with."; fi

lint: $(VENV)/.dev
	$(BIN)/ruff check

types: $(VENV)/.dev
	$(BIN)/mypy

differential: $(ORACLE)/.done
	@if test -f $(ORACLE)/.done; then $(ONE_THREAD) $(ORACLE)/bin/python $(PYTEST) tests/differential; \
	else echo "torch==2.13.0 cannot be installed here: the differential suite was NOT run."; fi

# One recipe a stage: the environment, then what running needs, then what developing needs on top.
$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Flambeau needs Python 3.11 or later; none was found. Name one: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	echo "$(PYTHON) cannot make a virtual environment (on Debian and Ubuntu: apt install python3-venv)."; exit 1; }

$(VENV)/.run: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[plot]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[plot,dev]'
	@touch $@ $(VENV)/.run

# Without a stamp there is no PyTorch: nothing to compare with, which is said but is no failure.
$(ORACLE)/.done: pyproject.toml
	@test -n "$(PYTHON)" || { echo "Flambeau needs Python 3.11 or later; none was found."; exit 1; }
	@test -x $(ORACLE)/bin/python || $(PYTHON) -m venv $(ORACLE)
	$(ORACLE)/bin/python -m pip install -q --disable-pip-version-check -e '.[test]'
	@if $(ORACLE)/bin/python -m pip install -q --disable-pip-version-check torch==2.13.0; then touch $@; fi

clean:
	rm -rf $(VENV) $(ORACLE) build dist runs *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
