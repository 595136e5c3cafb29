"""Every name that five or more public programs use does its work: a real call each, against PyTorch's results."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import flambeau
import flambeau.vision

HERE = Path(__file__).parent
NAMES = (HERE.parent / "repo" / "public_names.txt").read_text().split()


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"api_tests_{name}", HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


calls, vision_calls = _load("calls"), _load("vision_calls")
GOLDEN = json.loads((HERE / "golden.json").read_text())


def close(a: Any, b: Any) -> bool:
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(close(x, y) for x, y in zip(a, b))
    if isinstance(a, float) and isinstance(b, (int, float)):
        return math.isclose(a, b, rel_tol=2e-5, abs_tol=2e-6)
    return a == b


def test_every_name_is_called() -> None:
    assert {*calls.CALLS, *calls.OURS_ONLY, *vision_calls.CALLS} == set(NAMES)


@pytest.mark.parametrize("name", calls.CALLS)
def test_call_gives_what_pytorch_gave(name: str) -> None:
    found = calls.run(flambeau, name)
    assert close(found, GOLDEN[name]), f"{found}\nPyTorch: {GOLDEN[name]}"


@pytest.mark.parametrize("name", vision_calls.CALLS)
def test_vision_call(name: str, tmp_path: Path) -> None:
    call, expected = vision_calls.CALLS[name]
    flambeau.manual_seed(0)
    assert call(flambeau.vision, tmp_path) == expected


def test_summary_writer_writes_events() -> None:
    assert calls.OURS_ONLY["torch.utils.tensorboard.SummaryWriter"](flambeau) == ["events"]
