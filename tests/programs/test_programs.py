"""Whole small programs print what they print under PyTorch (golden.json): losses, samples, decoded sequences."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path
from typing import Any

import pytest

import flambeau

HERE = Path(__file__).parent
_spec = importlib.util.spec_from_file_location("whole_programs", HERE / "models.py")
models = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(models)
GOLDEN = json.loads((HERE / "golden.json").read_text())


def close(a: Any, b: Any) -> bool:
    """Losses drift apart with the order of sums; samples and tokens are the same."""
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(close(x, y) for x, y in zip(a, b))
    if isinstance(a, float):
        return math.isclose(a, b, rel_tol=1e-3, abs_tol=1e-4)
    return a == b


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", models.PROGRAMS)
def test_program(name: str) -> None:
    found = models.PROGRAMS[name](flambeau)
    assert close(found, GOLDEN[name]), f"{found}\nPyTorch: {GOLDEN[name]}"
