"""Memory of a plan: who lives where, from which step to which, and one arena for everything that is only passed on."""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Sequence

from flambeau.dtypes import dtype
from flambeau.engine.plan import Buffer
from flambeau.engine.schedule.spaces import View

ALIGN = 64


class Root:
    """A stretch of memory. Positions are those of groups, in the order in which they will run."""

    __slots__ = ("nbytes", "buffer", "ready", "touched", "reader")

    def __init__(self, nbytes: int, buffer: Buffer | None = None, ready: int = 0) -> None:
        self.nbytes = nbytes
        self.buffer = buffer  # None: scratch, whose place in the arena is found at the end
        self.ready = ready  # the first position that may read it as it is now
        self.touched = -1  # the last position that reads or writes it
        self.reader: object = None  # the last group that reads it


class Memory:
    """Elements in a stretch of memory: `view` says where."""

    __slots__ = ("root", "view", "dtype", "store")

    def __init__(self, root: Root, view: View, dtype: dtype) -> None:
        self.root, self.view, self.dtype = root, view, dtype
        self.store: object = None  # what fills it: a store that runs only if somebody reads


def arrange(lives: Sequence[tuple[int, int, int]]) -> tuple[list[int], int]:
    """Offsets for blocks that live from step `first` to step `last` and need `nbytes`, and the bytes of the arena.

    Blocks come in order of their first steps. A block takes the smallest hole that fits, else the arena grows; holes
    that touch are merged. n log n.
    """
    offsets = []
    holes = _Holes()
    ends: list[tuple[int, int, int]] = []
    for first, last, nbytes in lives:
        while ends and ends[0][0] < first:
            _, offset, size = heapq.heappop(ends)
            holes.give(offset, size)
        size = max(nbytes + -nbytes % ALIGN, ALIGN)
        offset = holes.take(size)
        offsets.append(offset)
        heapq.heappush(ends, (last, offset, size))
    return offsets, holes.top


class _Holes:
    """Free stretches below `top`, found by size and by place."""

    def __init__(self) -> None:
        self.top = 0
        self.by_size: list[tuple[int, int]] = []  # (size, offset), sorted
        self.at: dict[int, int] = {}  # offset -> size
        self.ending: dict[int, int] = {}  # end -> offset

    def take(self, size: int) -> int:
        place = bisect_left(self.by_size, (size, 0))
        if place < len(self.by_size):
            found, offset = self.by_size[place]
            self._remove(offset, found)
            if found > size:
                self._add(offset + size, found - size)
            return offset
        offset = self.top
        below = self.ending.get(self.top)
        if below is not None:  # the hole at the end grows
            self._remove(below, self.at[below])
            offset = below
        self.top = offset + size
        return offset

    def give(self, offset: int, size: int) -> None:
        below = self.ending.get(offset)
        if below is not None:
            size += self.at[below]
            self._remove(below, self.at[below])
            offset = below
        above = self.at.get(offset + size)
        if above is not None:
            self._remove(offset + size, above)
            size += above
        self._add(offset, size)

    def _add(self, offset: int, size: int) -> None:
        insort(self.by_size, (size, offset))
        self.at[offset] = size
        self.ending[offset + size] = offset

    def _remove(self, offset: int, size: int) -> None:
        del self.by_size[bisect_left(self.by_size, (size, offset))]
        del self.at[offset], self.ending[offset + size]
