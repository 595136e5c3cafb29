"""Memory for the results of a program: small blocks are its own, and lent to its results again and again.

Going through the allocator costs as much Python as a small kernel runs. A program that has run `OFTEN` times keeps the
blocks of its small results, and uses each again once nobody holds what was in it. Reference counts say so: nobody has
to give them back. All other results get blocks from the allocator, and their values return them; so do those of a
program whose results usually outlive its next run, such as the rounds of a loop that goes backward at its end.

    leases = Leases(sizes)
    blocks = leases.take()        # one for each size; those at `leases.own` stay the program's
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter, itemgetter
from sys import getrefcount
from typing import Any

from flambeau.engine.runtime.allocator import Block, allocate, allocate_all, release

OFTEN = 4  # runs of a program before it has blocks of its own
SMALL = 1 << 16  # bytes of a block that is worth keeping
MOST = 1 << 24  # bytes that all programs may keep
HELD = 8  # runs that found results of the run before still held, before a program may do without blocks of its own

_array, _base = itemgetter(0), attrgetter("base")


class _Kept:
    total = 0  # bytes that programs keep


class Leases:
    """The memory of one program's results.

    Attributes:
        own: where the blocks that the program keeps stand among all.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes = sizes
        self.own: frozenset[int] = frozenset()
        self.others: list[int] = []  # where the rest stands
        self.kept: list[Block] = []  # the program's own, in order
        self.blocks: list[Any] = [None] * len(sizes)
        self.runs = self.held = 0

    def take(self) -> list[Block]:
        """A block of uninitialised memory for each result; the list is used again."""
        self.runs += 1
        if not self.own:
            if self.runs == OFTEN:
                self._keep()
            return allocate_all(self.sizes)
        blocks = self.blocks
        if self._holders() != self.alone:
            self.held += 1
            if self.held > HELD and 2 * self.held > self.runs:
                self._give_back()
                return allocate_all(self.sizes)
            self._replace()
        if self.others:
            for nr, block in zip(self.others, allocate_all([self.sizes[nr] for nr in self.others])):
                blocks[nr] = block
        return blocks

    def _keep(self) -> None:
        """Have blocks of its own from now on, if there is room."""
        small = [nr for nr, nbytes in enumerate(self.sizes) if nbytes <= SMALL]
        nbytes = sum(self.sizes[nr] for nr in small)
        if not small or _Kept.total + nbytes > MOST:
            return
        _Kept.total += nbytes
        self.own = frozenset(small)
        self.others = [nr for nr in range(len(self.sizes)) if nr not in self.own]
        self.kept = allocate_all([self.sizes[nr] for nr in small])
        self._show()
        self.alone = self._holders()

    def _show(self) -> None:
        for nr, block in zip(sorted(self.own), self.kept):
            self.blocks[nr] = block

    def _holders(self) -> list[int]:
        """How many hold the arrays, then the memory under them."""
        kept = self.kept
        return [*map(getrefcount, map(_array, kept)), *map(getrefcount, map(_base, map(_array, kept)))]

    def _replace(self) -> None:
        """Leave blocks that somebody holds to whom it is."""
        count, held = len(self.kept), [now > alone for now, alone in zip(self._holders(), self.alone)]
        for nr in range(count):
            if held[nr] or held[count + nr]:
                release(self.kept[nr])
                self.kept[nr] = allocate(self.kept[nr].array.size)
        self._show()

    def _give_back(self) -> None:
        """Have no blocks of its own any more."""
        self.own = frozenset()
        self.blocks.clear()
        while self.kept:
            _Kept.total -= self.kept[-1].array.size
            release(self.kept.pop())

    __del__ = _give_back
