"""What `import flambeau` imports, and what it leaves for later."""

from __future__ import annotations

import subprocess
import sys

import pytest

LATER = ["utils", "serialization", "multiprocessing", "testing", "distributions", "vision", "distributed"]


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_what_is_rarely_used_is_not_imported() -> None:
    names = [*(f"flambeau.{name}" for name in LATER), "llvmlite", "multiprocessing", "PIL", "socket", "json"]
    assert run(f"import sys, flambeau; print([m for m in {names!r} if m in sys.modules])") == "[]"


@pytest.mark.parametrize("name", [*LATER, "optim.lr_scheduler", "optim.swa_utils", "save", "load"])
def test_it_is_there_when_it_is_asked_for(name: str) -> None:
    parent, _, last = name.rpartition(".")
    owner = f"flambeau.{parent}".rstrip(".")
    assert run(f"import flambeau; print({last!r} in dir({owner}), flambeau.{name} is not None)") == "True True"


def test_pythons_multiprocessing_shares_tensors_whichever_is_imported_first() -> None:
    check = "from multiprocessing.reduction import ForkingPickler as p; print(flambeau.Tensor in p._extra_reducers)"
    assert run(f"import flambeau, multiprocessing; {check}") == "True"
    assert run(f"import multiprocessing, flambeau; {check}") == "True"


def test_the_garbage_collector_runs_on_as_before() -> None:
    assert run("import gc, flambeau; print(gc.isenabled())") == "True"
    assert run("import gc; gc.disable(); import flambeau; print(gc.isenabled())") == "False"
