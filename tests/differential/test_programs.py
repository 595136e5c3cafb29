"""The programs of tests/programs beside PyTorch."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

import flambeau

_path = Path(__file__).parents[1] / "programs" / "test_programs.py"
_spec = importlib.util.spec_from_file_location("whole_programs_test", _path)
programs = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(programs)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", programs.models.PROGRAMS)
def test_program(name: str) -> None:
    ours, theirs = programs.models.PROGRAMS[name](flambeau), programs.models.PROGRAMS[name](torch)
    assert programs.close(ours, theirs), f"{ours}\nPyTorch: {theirs}"
