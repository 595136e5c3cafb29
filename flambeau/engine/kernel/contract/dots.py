"""Products of rows by rows: both operands lie along the sum, so that neither has to be packed.

    c[i, j] = sum over k of a[i, k] * b[j, k]

Lanes are steps of the sum: a tile of a few rows by a few columns keeps a vector of partial sums for each of its
elements, and adds the lanes up at the end, always in the same tree. It streams large matrices once, at the speed of
memory (inference with one or a few rows), and is the cheapest way for small ones.
"""

from __future__ import annotations

from dataclasses import dataclass

from flambeau.dtypes import dtype
from flambeau.engine.kernel import scalars
from flambeau.engine.kernel.contract.finish import Finish
from flambeau.engine.kernel.contract.frame import Frame
from flambeau.engine.kernel.contract.words import Bound
from flambeau.engine.kernel.emit import Emitter, Index, Val, lanes, vector
from flambeau.engine.kernel.target import vector_bytes
from flambeau.engine.plan import Kernel


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
                b = self._rows(k, frame.b, column, self.columns, frame.columns, w.integer(k, "b_columns"), self.b)
                with k.loop(frame.bottom, start=frame.top, step=self.rows) as row:
                    a = self._rows(k, frame.a, row, self.rows, frame.rows, w.integer(k, "a_rows"), self.a)
                    sums = self._sums(k, a, b, frame.start, frame.stop)
                    self._store(k, w, frame, sums, row, column)

    @staticmethod
    def _rows(k: Emitter, base: Val, first: Val, count: int, have: Val, step: Val, dtype: dtype) -> list[Val]:
        """The beginnings of rows; those behind the last one are the last one again, and are not stored."""
        last = k.sub(have, 1)
        nearest = [first, *(k.minimum(k.add(first, r), last) for r in range(1, count))]
        return [k.at(base, k.mul(r, step), scalars.memory_type(dtype)) for r in nearest]

    def _sums(self, k: Emitter, a: list[Val], b: list[Val], start: Index, stop: Index) -> list[list[Val]]:
        """A vector of partial sums for each element of the tile."""
        size = self.rows * self.columns
        step = self.width * self.deep
        whole = k.sub(stop, k.rem(k.sub(stop, start), step))
        sums = [k.const(self.type, 0)] * (size * self.deep)
        with k.loop(whole, start=start, step=step, carried=sums) as loop:
            sums = list(loop.carried)
            for part in range(self.deep):
                self._step(k, a, b, k.add(loop.i, part * self.width), None, sums, part * size)
            loop.carry(*sums)
        sums = loop.results
        with k.loop(stop, start=whole, step=self.width, carried=sums[:size]) as rest:
            first = list(rest.carried)
            self._step(k, a, b, rest.i, k.mask(k.sub(stop, rest.i), self.width), first, 0)
            rest.carry(*first)
        total = list(rest.results)
        for part in range(1, self.deep):
            total = [k.add(x, y) for x, y in zip(total, sums[part * size : (part + 1) * size])]
        return [total[r * self.columns : (r + 1) * self.columns] for r in range(self.rows)]

    def _step(
        self, k: Emitter, a: list[Val], b: list[Val], at: Val, mask: Val | None, sums: list[Val], first: int
    ) -> None:
        type = scalars.compute_type(self.finish.compute)
        right = [k.cast(scalars.load(k, p, at, self.b, self.width, mask), type) for p in b]
        for r, p in enumerate(a):
            left = k.cast(scalars.load(k, p, at, self.a, self.width, mask), type)
            for c, x in enumerate(right):
                place = first + r * self.columns + c
                sums[place] = k.fma(left, x, sums[place])

    def _store(self, k: Emitter, w: Bound, frame: Frame, sums: list[list[Val]], row: Val, column: Val) -> None:
        mask = k.mask(k.sub(frame.columns, column), self.columns) if self.columns > 1 else None
        for r, vectors in enumerate(sums):
            at = k.add(row, r)
            with k.when(k.compare("lt", at, frame.rows)):
                added = self.finish.addend_row(k, w, frame.places, at)
                flat = k.add(k.mul(k.add(k.mul(frame.batch, frame.rows), at), frame.columns), column)
                self.finish.apply(k, w, lane_sums(k, vectors), added, column, flat, mask)


def lane_sums(k: Emitter, vectors: list[Val]) -> Val:
    """The sum of the lanes of each vector, as the lanes of one: the upper half onto the lower, until one is left.

    As many vectors as a power of two, no more than they have lanes. Halves of two vectors are added at once, and so on.
    """
    width, block = lanes(vectors[0].type), lanes(vectors[0].type)
    while len(vectors) > 1:
        starts = range(0, 2 * width, block)
        half = block // 2
        low = [s + i for s in starts for i in range(half)]
        high = [s + half + i for s in starts for i in range(half)]
        vectors = [k.add(k.shuffle(a, b, low), k.shuffle(a, b, high)) for a, b in zip(vectors[::2], vectors[1::2])]
        block = half
    (x,) = vectors
    if lanes(x.type) == block:
        return k.fold(x, k.add)
    while block > 1:
        starts, block = range(0, lanes(x.type), block), block // 2
        low = [s + i for s in starts for i in range(block)]
        high = [s + block + i for s in starts for i in range(block)]
        x = k.add(k.shuffle(x, x, low), k.shuffle(x, x, high))
    return x
