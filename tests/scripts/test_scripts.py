"""Unchanged PyTorch programs in the styles people write them: `flambeau run` prints the numbers PyTorch printed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scripts.compare import HERE, PROGRAMS, check, differences

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(HERE.parents[1]), "PYTHONWARNINGS": "ignore"}


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_prints_what_pytorch_printed(program: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flambeau", "run", str(program)],
        capture_output=True, text=True, cwd=tmp_path, env=ENVIRONMENT, timeout=300,
    )
    assert done.returncode == 0, done.stderr
    check(done.stdout, (HERE / "golden" / f"{program.stem}.txt").read_text(), program)


def test_every_record_has_a_program() -> None:
    assert {path.stem for path in (HERE / "golden").glob("*.txt")} == {path.stem for path in PROGRAMS}


def test_the_comparison_sees_differences() -> None:
    golden = "epoch 1 loss 2.30259 right 31/40\ntensor([1.5000e-03, nan])"
    assert differences(golden, golden, 0) == []
    assert differences(golden.replace("2.30259", "2.30260"), golden, 1e-6) == []  # the last digit
    for other in ("2.30259 -> 2.30359", "31/40 -> 32/40", "epoch -> step", "e-03 -> e-02", "nan -> 1.0", "31/40\n -> 31/40\n\n"):
        assert differences(golden.replace(*other.split(" -> ")), golden, 1e-5), other
