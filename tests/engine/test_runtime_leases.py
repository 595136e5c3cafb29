"""Blocks that a program lends to its results: used again when nobody holds them, and by nobody else before."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

import flambeau as torch
from flambeau.engine import execute
from flambeau.engine.runtime import leases
from flambeau.engine.runtime.allocator import memory_stats, release
from flambeau.engine.runtime.leases import OFTEN, Leases
from flambeau.engine.value import Leased


@pytest.fixture(autouse=True)
def compiled() -> Iterator[None]:
    before = execute.mode()
    execute.set_mode("compiled", 0)
    yield
    execute.set_mode(before)


def test_blocks_are_the_same_until_somebody_holds_one() -> None:
    sizes = [4, 100, leases.SMALL + 1, 0]
    lent = Leases(sizes)
    for _ in range(OFTEN):
        for block in lent.take():
            release(block)
    first = list(lent.take())
    assert [block.array.size for block in first] == sizes and sorted(lent.own) == [0, 1, 3]
    release(first[2])
    addresses = [block.address for block in first]
    first[0].array[:] = 7
    held, beneath = first[0].array, first[1].array.base
    del first, block
    second = list(lent.take())
    assert second[0].address != addresses[0] and second[1].address != addresses[1]
    assert second[3].address == addresses[3] and (held == 7).all() and beneath is not None
    release(second[2])
    del second, held, beneath
    third, fourth = ([block.address for block in lent.take()] for _ in range(2))
    assert [third[nr] for nr in lent.own] == [fourth[nr] for nr in lent.own]


def test_a_program_whose_results_are_always_held_keeps_no_blocks() -> None:
    """A loop that goes backward at its end: blocks then come from those that earlier rounds have returned."""
    kept = leases._Kept.total
    lent = Leases([64, 1000])
    for _ in range(OFTEN):
        for block in lent.take():
            release(block)
    assert lent.own and leases._Kept.total == kept + 1064
    held = [[block.array for block in lent.take()] for _ in range(2 * leases.HELD + OFTEN)]
    assert not lent.own and leases._Kept.total == kept
    assert len({array.ctypes.data for arrays in held for array in arrays}) == 2 * len(held)
    reused = memory_stats()["reused"]
    for _ in range(4):
        for block in lent.take():
            release(block)
    del block
    for block in lent.take():
        release(block)
    assert memory_stats()["reused"] > reused and not lent.own


def test_what_was_kept_goes_back_with_the_program() -> None:
    gc.collect()
    live, kept = memory_stats()["live"], leases._Kept.total
    lent = Leases([64, 1000])
    for _ in range(OFTEN - 1):
        for block in lent.take():
            release(block)
    lent.take()
    lent.take()
    assert memory_stats()["live"] > live
    del lent, block
    assert leases._Kept.total == kept


def test_results_keep_what_is_in_them() -> None:
    """Whoever holds one: a tensor, a view, an array, memory that is written in place."""
    x = torch.arange(8.0)
    kept, views, arrays, sums = [], [], [], torch.zeros(8)
    for i in range(OFTEN + 12):
        y = x * i
        z = x + i
        w = x - i
        execute.settle()
        if i % 3 == 0:
            kept.append(y)
        if i % 4 == 0:
            views.append((i, z[2:4]))
        if i % 5 == 0:
            arrays.append((i, w.numpy()))
        sums = sums + y
        y.mul_(0)
    for y in kept:
        assert not y.any()
    for i, z in views:
        assert z.tolist() == [2.0 + i, 3.0 + i]
    for i, w in arrays:
        assert w.tolist() == [n - i for n in range(8)]
    total = sum(range(OFTEN + 12))
    assert sums.tolist() == [float(n * total) for n in range(8)]


def test_memory_that_is_lent_outside_is_no_longer_the_program_s() -> None:
    x = torch.arange(4.0)
    for _ in range(OFTEN + 3):
        y = x + 1
        execute.settle()
    assert isinstance(y._storage.value, Leased)
    array = y.numpy()
    assert not isinstance(y._storage.value, Leased)
    array[0] = 9
    assert y.tolist() == [9.0, 2.0, 3.0, 4.0]
    del y
    for _ in range(3):
        again = x + 1
        execute.settle()
        assert again.tolist() == [1.0, 2.0, 3.0, 4.0]
    assert array.tolist() == [9.0, 2.0, 3.0, 4.0]
