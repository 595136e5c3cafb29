"""Memory that `numpy()` lends: external while an array over it lives, and recorded as ever afterwards."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import flambeau as torch
from flambeau.engine import execute


@pytest.fixture(autouse=True)
def recording() -> Iterator[None]:
    before, patience = execute._mode, execute._patience
    execute.set_mode("compiled", 0)
    yield
    execute.set_mode(before, patience)


def made(how: str) -> Any:
    """A tensor in memory from an op's reference, from a program, or from the user."""
    if how == "program":
        x = torch.ones(300) * 2
        x.sum().item()
        return x
    return torch.full((300,), 2.0) if how == "filled" else torch.tensor([2.0] * 300)


@pytest.mark.parametrize("how", ["filled", "program", "given"])
def test_it_comes_back_when_the_array_has_died(how: str) -> None:
    x = made(how)
    array = x.numpy()
    x.add_(1)
    assert x._storage.seen_outside() and (array == 3).all()
    del array
    x.add_(1)
    assert not x._storage.external and x._storage.value.segment is not None  # pending
    assert (x.numpy() == 4).all()


@pytest.mark.parametrize("how", ["filled", "program", "given"])
@pytest.mark.parametrize("kept", [
    lambda a: a[::2], lambda a: a.reshape(3, 100)[1:, 50:], lambda a: a.view(np.int32), memoryview, lambda a: [a], lambda a: a.T,
    lambda a: np.frombuffer(a, np.float32), lambda a: np.lib.stride_tricks.as_strided(a, (2,), (4,)), torch.from_numpy,
])  # fmt: skip
def test_any_view_keeps_it_outside(how: str, kept: Any) -> None:
    x = made(how)
    view = kept(x.numpy())
    gc.collect()
    x.mul_(5)
    assert x._storage.seen_outside()
    first = np.asarray(view[0] if isinstance(view, list) else view)
    assert first.reshape(-1)[:1].view(np.float32)[0] == 10
    del view, first
    assert not x._storage.seen_outside()


def test_what_changes_outside_is_read_at_the_call() -> None:
    x = made("given")
    array = x.numpy()
    y = x + 1
    array[:] = 7
    z = x + 1
    assert (y.tolist()[0], z.tolist()[0]) == (3, 8)
    del array
    w = x + 1
    assert w.tolist()[0] == 8


def test_views_of_a_tensor_lend_its_memory() -> None:
    x = made("given")
    part = x[10:20].detach().numpy()
    x.zero_()
    assert (part == 0).all() and x._storage.external
    del part
    assert not x._storage.seen_outside()


def test_memory_from_outside_stays_outside() -> None:
    array = np.ones(300, np.float32)
    x = torch.from_numpy(array)
    assert (x.numpy() == 1).all() and x._storage.seen_outside()
    shared = torch.ones(300).share_memory_()
    assert (shared.numpy() == 1).all() and shared._storage.seen_outside()


@pytest.mark.parametrize("how", ["whole", "part", "two", "bytes"])
def test_memory_of_an_array_is_ours_when_the_array_has_died(how: str) -> None:
    array = np.arange(300, dtype=np.uint8 if how == "bytes" else np.float32)
    x = torch.from_numpy(array[100:] if how == "part" else array)
    y = torch.from_numpy(array) if how == "two" else None
    array += 1
    first = x[0].item()
    assert x._storage.seen_outside() and first == array[100 if how == "part" else 0]
    x.add_(1)
    assert array[100] == 102 and x._storage.seen_outside()
    del array
    assert x._storage.seen_outside() == (how == "two")
    y = None
    assert not x._storage.seen_outside()
    for _ in range(3):
        x.add_(1)
    assert x[0].item() == first + 4 and y is None
    again = x.numpy()
    x.add_(1)
    assert again[0] == first + 5


def test_memory_that_no_array_owns_stays_visible() -> None:
    buffer = bytearray(40)
    for x in (torch.frombuffer(buffer, dtype=torch.float32), torch.from_numpy(np.frombuffer(buffer, np.float32))):
        buffer[:4] = np.float32(3).tobytes()
        assert x._storage.seen_outside() and x[0].item() == 3
        buffer[:4] = np.float32(4).tobytes()
        assert x[0].item() == 4


def test_a_network_made_of_arrays_trains_as_any_other() -> None:
    weights = [np.linspace(-1, 1, 12).reshape(4, 3).astype(np.float32), np.ones((2, 4), np.float32)]
    first = torch.nn.Parameter(torch.from_numpy(weights[0]))
    second = torch.nn.Parameter(torch.from_numpy(weights.pop() * 0.5))
    optimizer = torch.optim.SGD([first, second], lr=0.1, momentum=0.5)
    expected = [torch.tensor(first.tolist(), requires_grad=True), torch.tensor(second.tolist(), requires_grad=True)]
    other = torch.optim.SGD(expected, lr=0.1, momentum=0.5)
    x = torch.linspace(0, 1, 6).reshape(2, 3)
    for _ in range(6):
        for (a, b), stepping in (((first, second), optimizer), (expected, other)):
            stepping.zero_grad()
            (x @ a.t() @ b.t()).square().sum().backward()
            stepping.step()
        assert np.allclose(first.detach(), expected[0].detach()) and np.allclose(second.detach(), expected[1].detach())
        assert np.array_equal(weights[0], first.detach().numpy())  # this one is seen outside
    assert first._storage.seen_outside() and not second._storage.seen_outside()
