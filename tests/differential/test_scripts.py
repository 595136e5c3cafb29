"""The programs of tests/scripts run live on both sides: the records there are what this PyTorch prints."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scripts.compare import HERE, PROGRAMS, check

ENVIRONMENT = {
    **os.environ, "PYTHONPATH": str(HERE.parents[1]), "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
}


def printed(tmp_path: Path, *command: str) -> str:
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=tmp_path, env=ENVIRONMENT, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_both_print_the_same(program: Path, tmp_path: Path) -> None:
    torch_prints = printed(tmp_path, str(program))
    check(printed(tmp_path, "-m", "flambeau", "run", str(program)), torch_prints, program)
    check((HERE / "golden" / f"{program.stem}.txt").read_text(), torch_prints, program)
