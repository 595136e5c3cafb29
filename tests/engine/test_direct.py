"""Public functions that are passed over where their call has been written out: what they must be told from."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import flambeau as torch
from flambeau.engine import execute
from flambeau.ops.matched import OFTEN
from tests.engine.everywhere import compiled, everywhere  # noqa: F401

F = torch.nn.functional


def settled(function: Callable[[], Any]) -> None:
    """Call a function until it is passed over."""
    for _ in range(OFTEN + 3):
        function()
        execute.settle()
    first = execute.recorder().root.hot  # type: ignore[union-attr]
    assert first is not None and first.caller is not None, "its calls are not written out"


def test_arguments_that_are_equal_and_not_the_same() -> None:
    """1, 1.0 and True are equal; so are two zeros."""
    x = torch.arange(3.0)
    settled(lambda: torch.add(x, 1))
    assert torch.add(torch.arange(3), 1).dtype is torch.int64
    assert torch.add(torch.arange(3), True).dtype is torch.int64
    assert torch.add(torch.ones(3, dtype=torch.bool), True).dtype is torch.bool
    settled(lambda: torch.add(torch.arange(3), 1))
    assert torch.add(torch.arange(3), 1.0).dtype is torch.float32
    settled(lambda: torch.div(x, -0.0))
    assert torch.div(x, 0.0).tolist()[1:] == [np.inf, np.inf]
    assert torch.div(x, -0.0).tolist()[1:] == [-np.inf, -np.inf]


def test_arguments_by_name_and_position() -> None:
    x, w, b = torch.ones(2, 3), torch.ones(4, 3), torch.arange(4.0)
    settled(lambda: F.linear(x, w, bias=b))
    assert F.linear(x, w, b).tolist() == F.linear(x, w, bias=b).tolist() == [[3.0, 4.0, 5.0, 6.0]] * 2
    assert F.linear(x, weight=w, bias=None).tolist() == F.linear(x, w).tolist() == [[3.0] * 4] * 2
    settled(lambda: F.linear(x, w, bias=None))
    with pytest.raises(TypeError, match="b"):
        F.linear(x, w, b=None)
    with pytest.raises(TypeError):
        F.linear(x, w, None, None)  # type: ignore[call-arg]
    settled(lambda: torch.add(x, x[0], alpha=2))
    assert torch.add(x, x[0], alpha=3)[0].tolist() == [4.0] * 3
    into = torch.empty(2, 3)
    assert torch.add(x, x[0], out=into) is into and into[0].tolist() == [2.0] * 3


def test_one_tensor_for_two_arguments() -> None:
    x, y = torch.full((3,), 2.0, requires_grad=True), torch.full((3,), 3.0, requires_grad=True)
    settled(lambda: x * x)
    (x * x.detach()).sum().backward()
    assert x.grad.tolist() == [2.0] * 3
    x.grad = None
    (x * x).sum().backward()
    assert x.grad.tolist() == [4.0] * 3
    settled(lambda: x * y)
    (x * x).sum().backward()
    assert x.grad.tolist() == [8.0] * 3 and y.grad is None


def test_results_that_are_one_of_several_or_all() -> None:
    image = torch.arange(16.0).view(1, 1, 4, 4)
    settled(lambda: F.max_pool2d(image, 2))
    both = F.max_pool2d(image, 2, return_indices=True)
    assert F.max_pool2d(image, 2).flatten().tolist() == both[0].flatten().tolist() == [5.0, 7.0, 13.0, 15.0]
    assert both[1].flatten().tolist() == [5, 7, 13, 15]
    settled(lambda: F.max_pool2d_with_indices(image, 4))
    assert [t.item() for t in F.max_pool2d_with_indices(image, 4)] == [15.0, 15]
    assert F.max_pool2d(image[0], 2).shape == (1, 2, 2)


def test_what_functions_refuse_or_do_besides() -> None:
    x = torch.ones(2, 3)
    settled(lambda: F.cross_entropy(x, torch.tensor([0, 2])))
    with pytest.raises(IndexError):
        F.cross_entropy(x, torch.tensor([0, 3]))
    settled(lambda: F.relu(x))
    assert F.relu(y := -x, inplace=True) is y and y.tolist() == [[0.0] * 3] * 2
    for _ in range(OFTEN + 3):
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            F.softmax(x)
            execute.settle()
        assert len(seen) == 1
    table = torch.full((3, 2), 9.0)
    for _ in range(OFTEN + 3):
        table.fill_(9.0)
        execute.settle()
        F.embedding(torch.tensor([0, 1]), table, max_norm=1.0)
        execute.settle()
        assert table[0, 0].item() < 1 < table[2, 0].item()


def test_callers_that_take_turns() -> None:
    """An entry remembers one of them; the others find the same call."""
    scale = np.float32(2)

    def program() -> Iterator[Any]:
        x, y = torch.arange(4.0), torch.full((4,), 3.0)
        for i in range(40):
            z = [lambda: x + y, lambda: torch.add(x, y), lambda: x.add(other=y), lambda: y + x][i // 2 % 4]()
            z = z * (2.0 if i % 3 else scale)
            with torch.set_grad_enabled(i % 5 != 4):
                w = torch.ones(4, requires_grad=i % 7 < 5)
                z = torch.tanh(z * w) - (1 if i % 8 else 1.0)
            yield [*z.detach().tolist(), float(z.requires_grad)]

    everywhere(program)


def test_leaves_and_others_of_an_op_with_several_results() -> None:
    """Where history ends is part of the call: at a leaf, at its node, or at nothing."""

    def program() -> Iterator[Any]:
        start = torch.tensor([3.0, 1.0, 2.0])
        for i in range(24):
            x = start.clone().requires_grad_(i % 8 != 6)
            w = torch.full((3,), 0.5, requires_grad=i % 3 != 2)
            y = x * 1.0 if i % 4 == 3 else x
            values, places = torch.sort(y if i % 5 else y.detach())
            out = torch.nn.functional.layer_norm(values * w, (3,), w, None)
            yield out.detach().tolist()
            if out.requires_grad:
                out.square().sum().backward()
                yield from (t.grad.tolist() for t in (x, w) if t.grad is not None)
            yield places.tolist()

    everywhere(program)
