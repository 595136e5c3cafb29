"""Random programs give the same in every execution mode, for thousands of seeds; the fuzzer itself does what it should.

`FLAMBEAU_SOAK=1` (`make soak`) searches for half an hour, from seeds that the ordinary test has not seen.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.engine.fuzz.checking import outline, run_in, shrunk
from tests.engine.fuzz.compare import differences
from tests.engine.fuzz.grammar import program
from tests.engine.fuzz.program import Block, Line, Program, smaller

ROOT = Path(__file__).resolve().parents[2]
SOAK = bool(os.environ.get("FLAMBEAU_SOAK"))
PROCESSES = 2
PROGRAMS = 1_000_000 if SOAK else 1250  # of each process; the same ones every time
SECONDS = 1800 if SOAK else 600


@pytest.mark.parametrize("share", range(PROCESSES))
def test_every_mode_gives_the_same(share: int, tmp_path: Path) -> None:
    """In a process of its own: native code that crashes must not take the other tests with it."""
    first = share + (1_000_000 if SOAK else 0)
    options = {"first": first, "stride": PROCESSES, "count": PROGRAMS, "seconds": SECONDS, "failures": 3}
    arguments = [f"--{name}={value}" for name, value in options.items()]
    done = subprocess.run(
        [sys.executable, "-m", "tests.engine.fuzz", *arguments], cwd=ROOT, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "FLAMBEAU_CACHE_DIR": str(tmp_path)}, timeout=SECONDS + 400,
    )  # fmt: skip
    last = re.sub(r"(seed \d+[\r\n]*)+(?=seed)", "", done.stderr)  # of the seeds only the one that was running
    assert done.returncode == 0, f"{done.stdout[-8000:]}\n{last[-3000:]}"
    print(done.stdout.splitlines()[-1])


# -- the fuzzer ----------------------------------------------------------------------------------------------------


def test_a_seed_is_a_program() -> None:
    assert str(program(5)) == str(program(5)) != str(program(6))


def test_programs_mostly_work_and_use_everything() -> None:
    programs = [program(seed) for seed in range(150)]
    runs = [run_in("immediate", p) for p in programs[:40]]
    statements, errors = sum(r.statements for r in runs), sum(r.errors for r in runs)
    assert 0.005 < errors / statements < 0.1
    text = "\n".join(map(str, programs))
    for word in ("backward()", "register_hook", ".grad", "no_grad", "optim.", "zero_grad", ".step()", "numpy()", "in_threads",
                 ".item() >", "for k in", "if i ==", "Cube.apply", "copy_", " @ ", "cat(", "softmax", "cumsum", ".data.", "fail(",
                 "clip_grad", "dropout", "expand", "requires_grad_(", "del ", "bfloat16", "float64", "retain_graph"):  # fmt: skip
        assert word in text, word


def test_smaller_programs_are_programs() -> None:
    for candidate in smaller(program(13)):
        run_in("immediate", candidate)


def test_shrinking_finds_the_statement_that_matters() -> None:
    body = (Line("a = x + 1"), Block((("if i >= 0:", (Line("b = x * 2"), Line("x.mul_(3)"))),)), Line("see(a)"))
    whole = Program(0, True, (Line("x = torch.ones(2)"), Line("y = x + 1")), body, 3)

    def wrong(p: Program) -> bool:
        return any("'x'" in str(e) and "27." in str(e) for e in run_in("immediate", replace(p, steps=3)).log)

    small = shrunk(whole, wrong, seconds=20)
    assert small.setup == (Line("x = torch.ones(2)"),) and small.body == (Line("x.mul_(3)"),)


def test_the_comparison_sees_differences() -> None:
    def log(text: str) -> list:
        return run_in("immediate", Program(0, True, (Line(text),), (), 1)).log

    base = log("x = torch.tensor([1.0, 2.0])")
    assert not list(differences(base, log("x = torch.tensor([1.0, 2.0])"), exact=True))
    nearly = log("x = torch.tensor([1.0, 2.000001])")
    assert list(differences(base, nearly, exact=True)) and not list(differences(base, nearly, exact=False))
    for other in (
        "[1.0, 2.1]",
        "[1.0, 2.0], dtype=torch.float64",
        "[[1.0, 2.0]]",
        "[1.0, 2.0], requires_grad=True",
        "[1.0, float('nan')]",
    ):
        assert list(differences(base, log(f"x = torch.tensor({other})"), exact=False)), other
    assert list(differences(base, log("x = torch.ones(2); x[1] = 2"), exact=False)), "its version differs"
    assert not list(differences(outline(base), outline(log("x = torch.ones(2); x[1] = 2")), exact=False))
    assert list(differences(log("see('loss 1.0')"), log("see('loss 1.5')"), exact=False))


def test_what_is_seen_is_not_changed_later() -> None:
    running = run_in("immediate", Program(0, True, (Line("x = torch.ones(2); see(x); x.zero_(); see(x)"),), (), 1))
    first, second = (entry[1].values for entry in running.log[:2])
    assert np.array_equal(first, [1, 1]) and np.array_equal(second, [0, 0])
