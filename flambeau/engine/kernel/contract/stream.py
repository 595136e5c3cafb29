"""A few rows by a matrix that lies in rows along the columns of the result: it is read once, in long runs.

    c[i, j] = sum over k of a[i, k] * b[k, j]

A pass takes a few steps of the sum. Along a block's columns, it holds a tile of the right operand in registers (these
steps, by some vectors) and adds what each row makes of it to that row's sums. Sums stay in scratch memory between
passes, tile after tile, so that nothing but the matrix is far away, and few runs of it are followed at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

from flambeau.dtypes import dtype
from flambeau.engine.kernel import scalars
from flambeau.engine.kernel.contract.finish import Finish
from flambeau.engine.kernel.contract.frame import Frame
from flambeau.engine.kernel.contract.waiting import ROWS, Waiting
from flambeau.engine.kernel.contract.words import Bound
from flambeau.engine.kernel.emit import Emitter, Val
from flambeau.engine.kernel.target import vector_bytes
from flambeau.engine.plan import Kernel


@dataclass(frozen=True)
class Stream:
    """A kernel of tiles of `steps` of the sum by `vectors`."""

    steps: int
    vectors: int
    a: dtype
    b: dtype
    along: bool  # rows of the left operand are runs in memory
    masked: bool  # the last tile has fewer columns
    ahead: bool  # the next pass's lines are brought near: where rows keep the machine too busy to look ahead itself
    few: int  # how many rows, where their factors stay in registers; otherwise 0, for any number
    finish: Finish
    batches: int = 0
    split: bool = False

    @property
    def width(self) -> int:
        return vector_bytes() // self.finish.compute.itemsize

    def kernel(self, words: Bound) -> Kernel:
        types = f"{self.a.name}*{self.b.name}>{self.finish.compute.name}"
        flags = f"{self.along:d}{self.masked:d}{self.ahead:d}{self.split:d}"
        shape = f"{self.steps}x{self.vectors}x{self.width} {self.few}"
        key = f"stream {shape} {types} {flags} {self.batches} {self.finish.form}"
        return Kernel(key, lambda k: _Emission(self, k, words).emit())


class _Emission:
    """One kernel while it is written."""

    def __init__(self, stream: Stream, k: Emitter, words: Bound) -> None:
        self.stream, self.k, self.w = stream, k, words
        self.frame = Frame(k, words, stream.batches, stream.split, (stream.a, stream.b))
        self.sums = Waiting(k, words, self.frame, stream.finish, stream.vectors, stream.width, stream.masked)
        self.scalar = self.sums.scalar
        self.factors = k.stack(self.scalar, ROWS * stream.steps)  # of a pass, row by row

    def emit(self) -> None:
        k, frame, steps = self.k, self.frame, self.stream.steps
        with frame.tasks():
            self.sums.clear()
            whole = k.sub(frame.stop, k.rem(k.sub(frame.stop, frame.start), steps))
            with k.loop(whole, start=frame.start, step=steps) as start:
                self._pass(start, steps)
            with k.loop(frame.stop, start=whole) as start:
                self._pass(start, 1)
            self.sums.store()

    def _pass(self, start: Val, steps: int) -> None:
        """Add `steps` products to every sum of the block."""
        k, stream = self.k, self.stream
        self._take(start, steps)
        apart, memory = self.w.integer(k, "b_depth"), scalars.memory_type(stream.b)
        runs = [k.at(self.frame.b, k.mul(k.add(start, step), apart), memory) for step in range(steps)]
        held = [self._factors(self.factors, steps, row * steps) for row in range(stream.few)]
        with self.sums.tiles() as column:
            masks, tile = self.sums.masks(column), []
            for run in runs:
                line = []
                for v, mask in enumerate(masks):
                    at = k.add(column, v * stream.width)
                    if stream.ahead and steps > 1:
                        k.prefetch(run, k.add(at, k.mul(apart, steps)), memory)
                    line.append(k.cast(scalars.load(k, run, at, stream.b, stream.width, mask), self.scalar))
                tile.append(line)
            sums = self.sums.at(column, self.frame.top)
            if stream.few:
                for row, factors in enumerate(held):
                    self._row(k.at(sums, row * self.sums.columns, self.scalar), tile, factors)
            else:
                self._rows(sums, tile)

    def _rows(self, sums: Val, tile: list[list[Val]]) -> None:
        """Add to the sums of every row. A loop, as short code is fetched faster than long code without one."""
        k = self.k
        with k.loop(self.frame.bottom, start=self.frame.top, carried=[sums, self.factors]) as loop:
            sums, factors = loop.carried
            self._row(sums, tile, self._factors(factors, len(tile)))
            loop.carry(k.at(sums, self.sums.columns, self.scalar), k.at(factors, len(tile), self.scalar))

    def _factors(self, base: Val, steps: int, first: int = 0) -> list[Val]:
        """Those of a row, each in all lanes."""
        k = self.k
        return [k.splat(k.load(base, first + step, self.scalar), self.stream.width) for step in range(steps)]

    def _row(self, sums: Val, tile: list[list[Val]], factors: list[Val]) -> None:
        k, width = self.k, self.stream.width
        row = [k.load(sums, v * width, self.sums.type) for v in range(self.stream.vectors)]
        for factor, line in zip(factors, tile):
            row = [k.fma(factor, x, total) for x, total in zip(line, row)]
        for v, total in enumerate(row):
            k.store(total, sums, v * width)

    def _take(self, start: Val, steps: int) -> None:
        """Put the factors of a pass side by side: rows of memory may lie where they crowd one another out."""
        k, stream, top = self.k, self.stream, self.frame.top
        with k.loop(self.frame.bottom, start=top) as row:
            run = k.at(self.frame.a, k.mul(row, self.w.integer(k, "a_rows")), scalars.memory_type(stream.a))
            first = k.mul(k.sub(row, top), steps)
            if stream.along:
                x = scalars.load(k, run, start, stream.a, steps)
                k.store(k.cast(x, self.scalar), self.factors, first)
            for step in range(0 if stream.along else steps):
                x = scalars.load(k, run, k.mul(k.add(start, step), self.w.integer(k, "a_depth")), stream.a, 1)
                k.store(k.cast(x, self.scalar), self.factors, k.add(first, step))
