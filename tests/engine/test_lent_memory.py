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
