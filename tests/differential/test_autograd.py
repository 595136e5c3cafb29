"""Autograd beside PyTorch: the programs of tests/autograd, and random programs of views and in-place writes."""

from __future__ import annotations

import importlib.util
import math
import random
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

import flambeau

_path = Path(__file__).parents[1] / "autograd" / "programs.py"
_spec = importlib.util.spec_from_file_location("autograd_programs", _path)
programs = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(programs)


def close(a: Any, b: Any, rel: float = 1e-6) -> bool:
    if isinstance(a, (list, tuple)):
        return isinstance(b, (list, tuple)) and len(a) == len(b) and all(close(x, y, rel) for x, y in zip(a, b))
    if isinstance(a, float):
        return math.isclose(a, b, rel_tol=rel, abs_tol=1e-6) or (math.isnan(a) and math.isnan(b)) or a == b
    return a == b


@pytest.mark.parametrize("name", programs.PROGRAMS)
def test_programs(name: str) -> None:
    assert close(programs.PROGRAMS[name](flambeau), programs.PROGRAMS[name](torch))


@pytest.mark.parametrize("name", programs.ERRORS)
def test_errors(name: str) -> None:
    program, text = programs.ERRORS[name]
    found = []
    for module in (flambeau, torch):
        with pytest.raises(Exception) as caught, warnings.catch_warnings():  # noqa: PT011, B017
            warnings.simplefilter("ignore")
            program(module)
        found.append(caught.value)
    assert type(found[0]).__name__ == type(found[1]).__name__
    assert text in str(found[0]) and text in str(found[1])


def random_program(seed: int) -> Any:
    """A program of views, in-place writes and arithmetic on one base, the same for both sides."""
    steps = random.Random(seed)
    plan = [(steps.randrange(9), steps.random(), steps.randrange(100)) for _ in range(steps.randrange(4, 14))]

    def run(torch: Any) -> Any:
        w = torch.arange(12, dtype=torch.float64).mul(0.1).add(0.3).requires_grad_()
        base = (w * 1.5).view(3, 4)
        live = [base]
        for kind, x, pick in plan:
            t = live[pick % len(live)]
            if kind == 0 and t.dim() == 2:
                live.append(t.t())
            elif kind == 1 and t.dim() and t.size(0) > 1:
                live.append(t[1:])
            elif kind == 2 and t.dim() and t.size(0):
                live.append(t[0])
            elif kind == 3:
                t.mul_(1 + x)
            elif kind == 4:
                t.add_(w.sum() * x)
            elif kind == 5:
                live.append(t.sin() * x)
            elif kind == 6 and t.dim() and t.size(-1) > 1:
                t[..., -1] = t[..., 0] * x
            elif kind == 7:
                live.append(t.reshape(-1))
            elif kind == 8 and t.dim():
                t.copy_(t.flip(0) * x)
        total = sum((t * t).sum() * (i + 1) for i, t in enumerate(live)) * 1e-2
        (g,) = torch.autograd.grad(total, w)
        return [t.tolist() for t in live], total.item(), g.tolist(), [t.requires_grad for t in live]

    return run


@pytest.mark.parametrize("seed", range(300))
def test_random_programs(seed: int) -> None:
    program = random_program(seed)
    try:
        expected = program(torch)
    except RuntimeError as error:
        with pytest.raises(RuntimeError) as caught:
            program(flambeau)
        assert str(caught.value)[:40] == str(error)[:40]
        return
    assert close(program(flambeau), expected, 1e-9)
