"""In-place ops on memory that several elements share: all of them raise, in every execution mode."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import flambeau as torch
from flambeau.engine import execute
from flambeau.ops.op import names

ELEMENTWISE = sorted(
    n for n in names["Tensor"] if n.endswith("_") and not n.startswith("_") and n[:-1] in names["Tensor"]
)
OPERANDS = [(), (0.5,), (torch.full((3,), 0.5),), (0.25, 0.75)]
SHAPES = ("resize_as_", "resize_", "squeeze_", "unsqueeze_", "t_", "transpose_", "swapaxes_", "swapdims_", "detach_")


@pytest.fixture(params=["immediate", "lazy", "compiled"])
def mode(request: pytest.FixtureRequest) -> Iterator[None]:
    before = execute.mode()
    execute.set_mode(request.param)
    yield
    execute.set_mode(before)


def accepted(name: str) -> tuple[Any, ...] | None:
    """Operands with which the method works on memory of its own."""
    for operands in OPERANDS:
        try:
            getattr(torch.full((3,), 0.5), name)(*operands)
        except (RuntimeError, TypeError, ValueError, IndexError, NotImplementedError, AttributeError):
            continue
        return operands
    return None


@pytest.mark.usefixtures("mode")
def test_shared_elements_are_not_written() -> None:
    tried = 0
    for name in ELEMENTWISE:
        operands = accepted(name)
        if operands is None or name in (*SHAPES, "fill_", "zero_"):  # these two may: every element gets the same
            continue
        x = torch.full((1,), 0.5).expand(3)
        with pytest.raises(RuntimeError, match="more than one element of the written-to tensor"):
            getattr(x, name)(*operands)
        assert x.tolist() == [0.5] * 3, name
        tried += 1
    assert tried > 80
