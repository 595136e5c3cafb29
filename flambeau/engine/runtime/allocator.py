"""The memory of values: blocks that are used again and again, so that a training loop maps no new pages.

    block = allocate(nbytes)      # (a flat uint8 array of just that size, its address), 64-byte aligned
    release(block)                # the caller has no more use for it

A released block is only used again if nothing else holds its memory (a NumPy view, a memoryview): the reference counts
of the array and of the memory under it say so: release a block with the last reference to it in hand. Free blocks are
kept by size class; what is kept is bounded by what the program has had in use at once. Everything here is a few
operations on dicts and lists, each atomic for Python threads.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

ALIGN, PAGE = 64, 4096  # bytes; blocks of LARGE bytes and more begin at a page
LARGE = 1 << 20
NEAR = 4  # blocks of a class that are looked through for one of just the right size
KEPT_AT_LEAST = 64 << 20  # bytes of free blocks that are always allowed


class Block(NamedTuple):
    """Memory in use: a flat uint8 array and the address of its first byte."""

    array: np.ndarray
    address: int


class _Counts:
    live = 0  # bytes in use
    peak = 0
    free = 0  # bytes kept for later
    mapped = 0  # blocks taken from the system
    reused = 0


_free: dict[int, list[Block]] = {}  # size class -> blocks, the last one released at the end
_class_of: dict[int, int] = {}
_counts = _Counts()


def allocate(nbytes: int) -> Block:
    """A block of uninitialised memory."""
    return allocate_all((nbytes,))[0]


def allocate_all(sizes: Sequence[int]) -> list[Block]:
    """Blocks of uninitialised memory, one of each size."""
    found: list[Block] = []
    taken = reused = recycled = 0
    for nbytes in sizes:
        size = _class_of.get(nbytes) or _size_class(nbytes)
        taken += size
        blocks = _free.get(size)
        block = _fitting(blocks, nbytes) if blocks else None
        if block is None:
            block = _mapped(nbytes, size)
        else:
            reused += size
            recycled += 1
        found.append(block)
    counts = _counts
    counts.live += taken
    counts.free -= reused
    counts.reused += recycled
    if counts.live > counts.peak:
        counts.peak = counts.live
    return found


def _fitting(blocks: list[Block], nbytes: int) -> Block | None:
    """One of some free blocks, if possible one of just this size; None if other threads have taken them all."""
    nr = -1
    try:
        while blocks[nr][0].size != nbytes:
            nr -= 1
            if nr < -NEAR:
                raise IndexError
    except IndexError:
        nr = -1
    try:
        block = blocks.pop(nr)
    except IndexError:
        return None
    return block if block[0].size == nbytes else _resized(block, nbytes)


def release(block: Block) -> None:
    """Take a block back. Its memory is used again, unless somebody still holds it."""
    array = block[0]
    nbytes = array.size
    size = _class_of.get(nbytes) or _size_class(nbytes)
    counts = _counts
    counts.live -= size
    if sys.getrefcount(array) > _ALONE[0] or sys.getrefcount(array.base) > _ALONE[1]:
        return
    blocks = _free.get(size)
    if blocks is None:
        blocks = _free.setdefault(size, [])
    blocks.append(block)
    counts.free += size
    if counts.free > counts.peak and counts.free > KEPT_AT_LEAST:
        empty_cache()


def empty_cache() -> None:
    """Give all free blocks back to the system."""
    _free.clear()
    _counts.free = 0


def trim() -> None:
    """Let the C library give pages that hold nothing back to the system, if it is one that can."""
    if _malloc_trim is not None:
        _malloc_trim(0)


def memory_stats() -> dict[str, int]:
    """Bytes in use, their peak, and bytes kept for later; blocks taken from the system and blocks used again."""
    c = _counts
    return {"live": c.live, "peak": c.peak, "free": c.free, "mapped": c.mapped, "reused": c.reused}


def reset_peak() -> None:
    """Let the peak count from what is in use now."""
    _counts.peak = _counts.live


def _size_class(nbytes: int) -> int:
    """The size set aside for `nbytes`: a multiple of 64, beyond 1 KiB one of eight steps between powers of two."""
    step = max(ALIGN, (1 << max(0, nbytes - 1).bit_length()) >> 4)
    size = max(ALIGN, -(-nbytes // step) * step)
    if len(_class_of) < 1 << 16:
        _class_of[nbytes] = size
    return size


def _mapped(nbytes: int, size: int) -> Block:
    align = PAGE if size >= LARGE else ALIGN
    raw = np.empty(size + align, np.uint8)
    start = -raw.ctypes.data % align
    _counts.mapped += 1
    return Block(raw[start : start + nbytes], raw.ctypes.data + start)


def _resized(block: Block, nbytes: int) -> Block:
    """The block with an array of another size of the same class."""
    raw = block.array.base
    start = block.address - raw.ctypes.data
    return Block(raw[start : start + nbytes], block.address)


def _references(block: Block) -> tuple[int, int]:
    """How many hold the array, and the memory under it, as this function sees it."""
    array = block.array
    return sys.getrefcount(array), sys.getrefcount(array.base)


def _c_function(name: str) -> Any:
    try:
        return getattr(ctypes.CDLL(None), name)
    except (OSError, TypeError, AttributeError):  # no such library here, or no such function in it
        return None


_malloc_trim = _c_function("malloc_trim")
_ALONE = _references(_mapped(ALIGN, ALIGN))  # what a block shows that only its owner holds
