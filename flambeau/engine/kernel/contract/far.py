"""A few rows by rows that come from far away: the latter are read once, part by part.

    c[i, j] = sum over k of a[i, k] * b[j, k]

As in `dots.py`, lanes are steps of the sum. A part of the sum is so short that all left rows stay in the first cache,
beside the right rows of a tile and the next one's, which are brought near meanwhile. Sums wait between the parts.
"""

from __future__ import annotations

from dataclasses import dataclass

from flambeau.engine.kernel import scalars
from flambeau.engine.kernel.contract.dots import Dots, Runs, lane_sums
from flambeau.engine.kernel.contract.frame import Frame
from flambeau.engine.kernel.contract.waiting import Waiting
from flambeau.engine.kernel.contract.words import Bound
from flambeau.engine.kernel.emit import Emitter, Val
from flambeau.engine.plan import Kernel

HELD = 16384  # elements of the left rows' part, whole tiles of them, at most


@dataclass(frozen=True)
class Far:
    """A kernel of the tiles of `dots`, with parts of `part` steps."""

    dots: Dots
    part: int

    def kernel(self, words: Bound) -> Kernel:
        return Kernel(f"far {self.part} {self.dots.kernel(words).key}", lambda k: _Emission(self, k, words).emit())


class _Emission:
    """One kernel while it is written."""

    def __init__(self, far: Far, k: Emitter, words: Bound) -> None:
        self.far, self.dots, self.k, self.w = far, far.dots, k, words
        dots = far.dots
        self.frame = Frame(k, words, dots.batches, dots.split, (dots.a, dots.b))
        self.sums = Waiting(k, words, self.frame, dots.finish, 1, dots.columns, True)
        self.held = k.stack(self.sums.scalar, HELD)  # the left rows' part

    def emit(self) -> None:
        k, frame = self.k, self.frame
        with frame.tasks():
            self.sums.clear()
            with k.loop(frame.stop, start=frame.start, step=self.far.part) as start:
                self._part(start, k.minimum(k.sub(frame.stop, start), self.far.part))
            self.sums.store()

    def _part(self, start: Val, count: Val) -> None:
        """Add a part of all sums."""
        k, frame, dots, scalar = self.k, self.frame, self.dots, self.sums.scalar
        self._hold(start, count)
        apart = self.w.integer(k, "b_columns")
        first = k.at(frame.b, start, scalars.memory_type(dots.b))
        with self.sums.tiles() as column:
            places = dots.runs(k, first, column, dots.columns, frame.columns, apart, dots.b)
            right = Runs(places, dots.b, k.mul(apart, dots.columns))
            with k.loop(frame.bottom, start=frame.top, step=dots.rows) as row:
                held = k.at(self.held, k.mul(k.sub(row, frame.top), self.far.part), scalar)
                left = Runs([k.at(held, r * self.far.part, scalar) for r in range(dots.rows)], dots.finish.compute)
                for r, vectors in enumerate(dots.sums(k, left, right, 0, count)):
                    with k.when(k.compare("lt", k.add(row, r), frame.bottom)):
                        at = self.sums.at(column, k.add(row, r))
                        total = k.add(k.load(at, 0, self.sums.type), lane_sums(k, vectors))
                        k.store(total, at, 0)

    def _hold(self, start: Val, count: Val) -> None:
        """Copy a part of the left rows: where they lie, they may crowd one another out."""
        k, frame, dots, scalar = self.k, self.frame, self.dots, self.sums.scalar
        with k.loop(frame.bottom, start=frame.top) as row:
            offset = k.add(k.mul(row, self.w.integer(k, "a_rows")), start)
            source = k.at(frame.a, offset, scalars.memory_type(dots.a))
            target = k.at(self.held, k.mul(k.sub(row, frame.top), self.far.part), scalar)
            with k.loop(count, step=dots.width) as at:
                x = scalars.load(k, source, at, dots.a, dots.width, k.mask(k.sub(count, at), dots.width))
                k.store(k.cast(x, scalar), target, at)
