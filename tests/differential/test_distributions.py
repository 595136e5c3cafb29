"""torch.distributions beside PyTorch's: samples of the same seed, densities, moments, divergences, errors."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch

import flambeau

_path = Path(__file__).parents[1] / "distributions" / "cases.py"
_spec = importlib.util.spec_from_file_location("distributions_cases", _path)
cases = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(cases)
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def _validating() -> None:
    """`torch.compile` turns PyTorch's checks off for good; another test in this process may have used it."""
    torch.distributions.Distribution.set_default_validate_args(True)


def same(ours: Any, theirs: Any) -> None:
    if isinstance(theirs, dict):
        for what, expected in theirs.items():
            assert cases.close(ours[what], expected, 3e-5), f"{what}: {ours[what]}\nPyTorch: {expected}"
    else:
        assert cases.close(ours, theirs, 3e-5), f"{ours}\nPyTorch: {theirs}"


@pytest.mark.parametrize("text", cases.CASES)
def test_distribution(text: str) -> None:
    same(cases.all_of(flambeau, text), cases.all_of(torch, text))


@pytest.mark.parametrize("q", cases.FAMILIES)
@pytest.mark.parametrize("p", cases.FAMILIES)
def test_kl_divergence(p: str, q: str) -> None:
    same(cases.kl_of(flambeau, p, q), cases.kl_of(torch, p, q))


@pytest.mark.parametrize(("text", "data"), cases.TRANSFORMS, ids=[t for t, _ in cases.TRANSFORMS])
def test_transform(text: str, data: Any) -> None:
    same(cases.transform_of(flambeau, text, data), cases.transform_of(torch, text, data))


@pytest.mark.parametrize("text", cases.ERRORS)
def test_errors(text: str) -> None:
    same(*(cases.outcome(lambda lib=lib: cases.make(lib, text)) for lib in (flambeau, torch)))


@pytest.mark.parametrize("constraint", cases.CONSTRAINTS)
def test_registries(constraint: str) -> None:
    same(cases.registered(flambeau, constraint), cases.registered(torch, constraint))
