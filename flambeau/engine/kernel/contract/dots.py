"""Products of rows by rows: both operands lie along the sum, so that neither has to be packed.

    c[i, j] = sum over k of a[i, k] * b[j, k]

Lanes are steps of the sum: a tile of a few rows by a few columns keeps a vector of partial sums for each of its
elements, and adds the lanes up at the end, always in the same tree. It streams large matrices once, at the speed of
memory (inference with one or a few rows), and is the cheapest way for small ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from flambeau.dtypes import dtype
from flambeau.engine.kernel import scalars
from flambeau.engine.kernel.contract.finish import Finish
from flambeau.engine.kernel.contract.frame import Frame
from flambeau.engine.kernel.contract.words import Bound
from flambeau.engine.kernel.emit import Emitter, Index, Val, lanes, vector
from flambeau.engine.kernel.target import vector_bytes
from flambeau.engine.plan import Kernel


class Runs(NamedTuple):
    """Where some rows of an operand begin."""

    places: list[Val]
    dtype: dtype
    ahead: Val | None = None  # how much further those rows begin that are to be brought near meanwhile

    def load(self, k: Emitter, at: Val, width: int, mask: Val | None) -> list[Val]:
        if self.ahead is not None and mask is None:
            for place in self.places:
                k.prefetch(place, k.add(at, self.ahead), scalars.memory_type(self.dtype))
        return [scalars.load(k, place, at, self.dtype, width, mask) for place in self.places]


@dataclass(frozen=True)
class Dots:
    """A kernel of tiles `rows` by `columns` (a power of two), each element with `deep` vectors of partial sums."""

    rows: int
    columns: int
    deep: int
    a: dtype
    b: dtype
    finish: Finish
    batches: int = 0
    split: bool = False

    @property
    def width(self) -> int:
        return vector_bytes() // self.finish.compute.itemsize

    @property
    def type(self) -> str:
        return vector(scalars.compute_type(self.finish.compute), self.width)

    def kernel(self, words: Bound) -> Kernel:
        types = f"{self.a.name}*{self.b.name}>{self.finish.compute.name}"
        shape = f"{self.rows}x{self.columns}x{self.deep}x{self.width}"
        key = f"dots {shape} {types} {self.batches} {self.split:d} {self.finish.form}"
        return Kernel(key, lambda k: self._emit(k, words))

    def _emit(self, k: Emitter, w: Bound) -> None:
        frame = Frame(k, w, self.batches, self.split, (self.a, self.b))
        with frame.tasks():
            with k.loop(frame.right, start=frame.left, step=self.columns) as column:
                b = self.runs(k, frame.b, column, self.columns, frame.columns, w.integer(k, "b_columns"), self.b)
                with k.loop(frame.bottom, start=frame.top, step=self.rows) as row:
                    a = self.runs(k, frame.a, row, self.rows, frame.rows, w.integer(k, "a_rows"), self.a)
                    sums = self.sums(k, Runs(a, self.a), Runs(b, self.b), frame.start, frame.stop)
                    self._store(k, w, frame, sums, row, column)

    @staticmethod
    def runs(k: Emitter, base: Val, first: Val, count: int, have: Val, step: Val, dtype: dtype) -> list[Val]:
        """The beginnings of rows; those behind the last one are the last one again, and are not stored."""
        last = k.sub(have, 1)
        nearest = [first, *(k.minimum(k.add(first, r), last) for r in range(1, count))]
        return [k.at(base, k.mul(r, step), scalars.memory_type(dtype)) for r in nearest]

    def sums(self, k: Emitter, left: Runs, right: Runs, start: Index, stop: Index) -> list[list[Val]]:
        """A vector of partial sums for each element of the tile."""
        size = self.rows * self.columns
        step = self.width * self.deep
        whole = k.sub(stop, k.rem(k.sub(stop, start), step))
        sums = [k.const(self.type, 0)] * (size * self.deep)
        with k.loop(whole, start=start, step=step, carried=sums) as loop:
            sums = list(loop.carried)
            for part in range(self.deep):
                self._step(k, left, right, k.add(loop.i, part * self.width), None, sums, part * size)
            loop.carry(*sums)
        sums = loop.results
        with k.loop(stop, start=whole, step=self.width, carried=sums[:size]) as rest:
            first = list(rest.carried)
            self._step(k, left, right, rest.i, k.mask(k.sub(stop, rest.i), self.width), first, 0)
            rest.carry(*first)
        total = list(rest.results)
        for part in range(1, self.deep):
            total = [k.add(x, y) for x, y in zip(total, sums[part * size : (part + 1) * size])]
        return [total[r * self.columns : (r + 1) * self.columns] for r in range(self.rows)]

    def _step(
        self, k: Emitter, left: Runs, right: Runs, at: Val, mask: Val | None, sums: list[Val], first: int
    ) -> None:
        type = scalars.compute_type(self.finish.compute)
        columns = [k.cast(x, type) for x in right.load(k, at, self.width, mask)]
        for r, row in enumerate(left.load(k, at, self.width, mask)):
            x = k.cast(row, type)
            for c, y in enumerate(columns):
                place = first + r * self.columns + c
                sums[place] = k.fma(x, y, sums[place])

    def _store(self, k: Emitter, w: Bound, frame: Frame, sums: list[list[Val]], row: Val, column: Val) -> None:
        mask = k.mask(k.sub(frame.columns, column), self.columns) if self.columns > 1 else None
        for r, vectors in enumerate(sums):
            at = k.add(row, r)
            with k.when(k.compare("lt", at, frame.rows)):
                added = self.finish.addend_row(k, w, frame.places, at)
                flat = k.add(k.mul(k.add(k.mul(frame.batch, frame.rows), at), frame.columns), column)
                self.finish.apply(k, w, lane_sums(k, vectors), added, column, flat, mask)


def lane_sums(k: Emitter, vectors: list[Val], combine: Callable[[Val, Val], Val] | None = None) -> Val:
    """The sum of the lanes of each vector, as the lanes of one: the upper half onto the lower, until one is left.

    As many vectors as a power of two, no more than they have lanes. Halves of two vectors are added at once, and so on.
    `combine` is what to do instead of adding.
    """
    combine = combine or k.add
    width, block = lanes(vectors[0].type), lanes(vectors[0].type)
    while len(vectors) > 1:
        starts = range(0, 2 * width, block)
        half = block // 2
        low = [s + i for s in starts for i in range(half)]
        high = [s + half + i for s in starts for i in range(half)]
        vectors = [combine(k.shuffle(a, b, low), k.shuffle(a, b, high)) for a, b in zip(vectors[::2], vectors[1::2])]
        block = half
    (x,) = vectors
    if lanes(x.type) == block:
        return k.fold(x, combine)
    while block > 1:
        starts, block = range(0, lanes(x.type), block), block // 2
        low = [s + i for s in starts for i in range(block)]
        high = [s + block + i for s in starts for i in range(block)]
        x = combine(k.shuffle(x, x, low), k.shuffle(x, x, high))
    return x
