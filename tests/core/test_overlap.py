"""Writing to memory that is read at the same time, or seen more than once: refused where PyTorch refuses it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import flambeau as torch

PARTIAL = "some elements of the input tensor and the written-to tensor refer to a single memory location"
REPEATED = "more than one element of the written-to tensor refers to a single memory location"


def line() -> Any:
    return torch.arange(6.0)


def square() -> Any:
    return torch.arange(16.0).reshape(4, 4)


def assign(x: Any, index: Any, value: Any) -> None:
    x[index] = value


REFUSED: list[tuple[Callable[[], Any], Callable[[Any], Any]]] = [
    (line, lambda x: x[1:].add_(x[:-1])),
    (line, lambda x: x[1:].sub_(x[:-1], alpha=2)),
    (line, lambda x: x[1:].lerp_(x[:-1], 0.5)),
    (line, lambda x: x[1:].clamp_(min=x[:-1])),
    (line, lambda x: x[1:].addcmul_(x[:-1], x[1:])),
    (line, lambda x: x[1:].eq_(x[:-1])),
    (line, lambda x: x[1:].copy_(x[:-1])),
    (line, lambda x: x.div_(x[0])),
    (line, lambda x: x.sub_(x[2])),
    (line, lambda x: torch.add(x[:-1], 1, out=x[1:])),
    (line, lambda x: torch.exp(x[:-1], out=x[1:])),
    (line, lambda x: assign(x, slice(1, None), x[:-1])),
    (square, lambda x: x.add_(x.t())),
    (square, lambda x: x.copy_(x.t())),
    (square, lambda x: x.add_(x[0])),
    (square, lambda x: x[:2].mul_(x[1:3])),
    (square, lambda x: x.index_add_(0, torch.tensor([0, 2]), x[:2])),
    (square, lambda x: x.index_copy_(0, torch.tensor([0, 2]), x[:2])),
    (square, lambda x: x.index_put_((torch.tensor([0, 2]),), x[:2])),
    (square, lambda x: assign(x, torch.tensor([0, 2]), x[:2])),
    (square, lambda x: x.scatter_(0, torch.zeros(1, 4, dtype=torch.int64), x[:1])),
]


@pytest.mark.parametrize("nr", range(len(REFUSED)))
def test_operands_that_show_what_is_written(nr: int) -> None:
    make, write = REFUSED[nr]
    x = make()
    with pytest.raises(RuntimeError, match=PARTIAL):
        write(x)
    assert torch.equal(x, make())  # nothing was written


def test_operands_that_are_where_they_are_written() -> None:
    x = line()
    assert x.add_(x).tolist() == [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    assert x.add_(x.view(6)).tolist() == [0.0, 4.0, 8.0, 12.0, 16.0, 20.0]
    assert torch.add(x, 1, out=x).tolist() == [1.0, 5.0, 9.0, 13.0, 17.0, 21.0]
    x[:3].copy_(x[3:])
    assert x.tolist() == [13.0, 17.0, 21.0, 13.0, 17.0, 21.0]
    assert x[::2].add_(x[1::2]).tolist() == [30.0, 34.0, 38.0]  # side by side
    assert x.fill_(x[1]).tolist() == [17.0] * 6
    bits = torch.arange(4, dtype=torch.int32)
    with pytest.raises(RuntimeError, match=PARTIAL):  # another dtype: the ranges are of bytes
        bits[:2].view(torch.int16)[:2].add_(bits.view(torch.int16)[1:3])


def test_expanded_tensors_may_only_be_filled() -> None:
    column = torch.zeros(3, 1)
    x = column.expand(3, 4)
    assert x.fill_(2) is x
    assert column.tolist() == [[2.0], [2.0], [2.0]]
    assert x.zero_().sum().item() == 0
    for write in (
        lambda: x.add_(1), lambda: x.copy_(torch.ones(3, 4)), lambda: x.exp_(), lambda: x.cumsum_(0),
        lambda: x.index_add_(0, torch.tensor([0]), torch.ones(1, 4)), lambda: assign(x, 0, torch.ones(4)),
        lambda: assign(x, 0, 1.0), lambda: assign(x, slice(None), torch.tensor(3.0)),
    ):  # fmt: skip
        with pytest.raises(RuntimeError, match=REPEATED):
            write()
    assert not column.any()


def test_filling_an_expanded_tensor_cuts_its_base_from_the_graph() -> None:
    w = torch.ones(3, 1, requires_grad=True)
    y = w * 2
    y.expand(3, 4).fill_(5.0)
    (y * w).sum().backward()
    assert w.grad.flatten().tolist() == [5.0, 5.0, 5.0]


@pytest.mark.parametrize("history", [False, True])
def test_views_are_not_detached_in_place(history: bool) -> None:
    x = torch.ones(3, requires_grad=history) * 2
    with pytest.raises(RuntimeError, match="Can't detach views in-place"):
        x[:2].detach_()
    assert not x.detach_().requires_grad
