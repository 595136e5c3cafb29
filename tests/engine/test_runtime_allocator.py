"""The caching allocator hands memory out again, and never while somebody still looks at it."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from flambeau.engine.runtime import allocator
from flambeau.engine.runtime.allocator import allocate, empty_cache, memory_stats, release


@pytest.fixture(autouse=True)
def empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator, "_free", {})
    monkeypatch.setattr(allocator, "_counts", allocator._Counts())


def freed(nbytes: int) -> int:
    """The address of a block that was given back."""
    block = allocate(nbytes)
    address = block.address
    release(block)
    return address


@pytest.mark.parametrize("nbytes", [0, 1, 63, 64, 65, 1000, 4096, 123457, (1 << 20) - 1, 1 << 20, 5 << 20])
def test_blocks_are_aligned_and_of_the_size_asked_for(nbytes: int) -> None:
    block = allocate(nbytes)
    assert block.array.shape == (nbytes,) and block.array.dtype == np.uint8
    assert block.address % (4096 if nbytes >= 1 << 20 else 64) == 0
    assert nbytes == 0 or block.array.ctypes.data == block.address
    block.array[:] = 7


def test_a_block_is_used_again() -> None:
    assert freed(5000) == freed(5000) == freed(5100)  # 5120 serves both
    assert memory_stats()["mapped"] == 1 and memory_stats()["reused"] == 2


def test_a_block_used_again_has_the_new_size() -> None:
    freed(5000)
    block = allocate(5100)
    assert block.array.size == 5100
    block.array[:] = 1


@pytest.mark.parametrize("hold", [
    lambda array: array, lambda array: array[10:20], lambda array: array.view(np.float32), memoryview,
    lambda array: np.lib.stride_tricks.as_strided(array, (3,), (2,)), lambda array: np.frombuffer(array, np.int16),
    lambda array: array[:8][2:4],
])  # fmt: skip
def test_memory_that_somebody_holds_is_not_used_again(hold: object) -> None:
    block = allocate(4000)
    held, address = hold(block.array), block.address
    release(block)
    del block
    assert allocate(4000).address != address
    del held


def test_what_is_kept_is_bounded_by_what_was_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator, "KEPT_AT_LEAST", 10000)
    for nbytes in range(64, 6400, 64):
        freed(nbytes)
        stats = memory_stats()
        assert stats["free"] <= max(10000, stats["peak"])
    assert memory_stats()["live"] == 0


def test_stats() -> None:
    a, b = allocate(100), allocate(100)
    assert memory_stats() == {"live": 256, "peak": 256, "free": 0, "mapped": 2, "reused": 0}
    release(a)
    del a
    assert memory_stats()["live"] == 128 and memory_stats()["free"] == 128
    release(b)
    del b
    allocator.reset_peak()
    assert memory_stats()["peak"] == 0
    empty_cache()
    assert memory_stats()["free"] == 0


def test_threads_never_share_a_block() -> None:
    wrong = []

    def work(mark: int) -> None:
        for _ in range(2000):
            block = allocate(512)
            block.array[:] = mark
            if (block.array != mark).any():
                wrong.append(mark)
            release(block)
            del block

    threads = [threading.Thread(target=work, args=(mark,)) for mark in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def resident() -> int:
    """Pages of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1])


def test_pages_that_hold_nothing_go_back_to_the_system() -> None:
    if allocator._malloc_trim is None:
        allocator.trim()  # does nothing here
        return
    arrays = [np.ones(100_000, np.uint8) for _ in range(500)]  # small ones come from the C library's heap
    last = arrays[-1]
    held = resident()
    arrays.clear()
    allocator.trim()
    assert resident() < held - 8000
    assert last.all()
