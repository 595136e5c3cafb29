"""A few rows by a matrix that lies in rows along the columns of the result: it is read once, in long runs.

    c[i, j] = sum over k of a[i, k] * b[k, j]

A pass takes a few steps of the sum. Along a block's columns, it holds a tile of the right operand in registers (these
steps, by some vectors) and adds what each row makes of it to that row's sums. Sums stay in scratch memory between
passes, tile after tile, so that nothing but the matrix is far away, and few runs of it are followed at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flambeau.dtypes import dtype
from flambeau.engine.kernel import scalars
from flambeau.engine.kernel.contract.finish import Finish
from flambeau.engine.kernel.contract.frame import Frame
from flambeau.engine.kernel.contract.words import Bound
from flambeau.engine.kernel.emit import Emitter, Index, Val, vector
from flambeau.engine.kernel.target import vector_bytes
from flambeau.engine.plan import Kernel

ROWS, COLUMNS = 16, 1024  # of a block, at most


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
    finish: Finish
    batches: int = 0
    split: bool = False

    @property
    def width(self) -> int:
        return vector_bytes() // self.finish.compute.itemsize

    @property
    def columns(self) -> int:
        return self.vectors * self.width

    def kernel(self, words: Bound) -> Kernel:
        types = f"{self.a.name}*{self.b.name}>{self.finish.compute.name}"
        flags = f"{self.along:d}{self.masked:d}{self.ahead:d}{self.split:d}"
        shape = f"{self.steps}x{self.vectors}x{self.width}"
        key = f"stream {shape} {types} {flags} {self.batches} {self.finish.form}"
        return Kernel(key, lambda k: _Emission(self, k, words).emit())


class _Emission:
    """One kernel while it is written."""

    def __init__(self, stream: Stream, k: Emitter, words: Bound) -> None:
        self.stream, self.k, self.w = stream, k, words
        self.scalar = scalars.compute_type(stream.finish.compute)
        self.type = vector(self.scalar, stream.width)
        self.frame = Frame(k, words, stream.batches, stream.split, (stream.a, stream.b))
        self.factors = k.stack(self.scalar, ROWS * stream.steps)  # of a pass, row by row
        self.sums = k.stack(self.scalar, ROWS * COLUMNS)  # of a block: tile by tile, row by row

    def emit(self) -> None:
        k, frame, steps = self.k, self.frame, self.stream.steps
        with frame.tasks():
            self._clear()
            whole = k.sub(frame.stop, k.rem(k.sub(frame.stop, frame.start), steps))
            with k.loop(whole, start=frame.start, step=steps) as start:
                self._pass(start, steps)
            with k.loop(frame.stop, start=whole) as start:
                self._pass(start, 1)
            self._finish()

    def _tiles(self) -> Any:
        """The loop over the block's tiles."""
        return self.k.loop(self.frame.right, start=self.frame.left, step=self.stream.columns)

    def _at(self, column: Val, row: Index) -> Val:
        """The sums of a row in the tile that begins at a column."""
        k, frame = self.k, self.frame
        before = k.mul(k.sub(column, frame.left), frame.rows)
        return k.at(self.sums, k.add(before, k.mul(row, self.stream.columns)), self.scalar)

    def _masks(self, column: Val) -> list[Val | None]:
        k, width = self.k, self.stream.width
        if not self.stream.masked:
            return [None] * self.stream.vectors
        left = k.sub(self.frame.columns, column)
        return [k.mask(k.sub(left, v * width), width) for v in range(self.stream.vectors)]

    def _clear(self) -> None:
        k, stream = self.k, self.stream
        with self._tiles() as column, k.loop(self.frame.rows) as row:
            at = self._at(column, row)
            for v in range(stream.vectors):
                k.store(k.const(self.type, 0), at, v * stream.width)

    def _pass(self, start: Val, steps: int) -> None:
        """Add `steps` products to every sum of the block."""
        k, stream = self.k, self.stream
        self._take(start, steps)
        apart, memory = self.w.integer(k, "b_depth"), scalars.memory_type(stream.b)
        runs = [k.at(self.frame.b, k.mul(k.add(start, step), apart), memory) for step in range(steps)]
        with self._tiles() as column:
            tile = []
            for run in runs:
                line = []
                for v, mask in enumerate(self._masks(column)):
                    at = k.add(column, v * stream.width)
                    if stream.ahead and steps > 1:
                        k.prefetch(run, k.add(at, k.mul(apart, steps)), memory)
                    line.append(k.cast(scalars.load(k, run, at, stream.b, stream.width, mask), self.scalar))
                tile.append(line)
            self._rows(self._at(column, 0), tile)

    def _rows(self, sums: Val, tile: list[list[Val]]) -> None:
        """Add to the sums of every row. A loop, as short code is fetched faster than long code without one."""
        k, stream = self.k, self.stream
        with k.loop(self.frame.rows, carried=[sums, self.factors]) as loop:
            sums, factors = loop.carried
            row = [k.load(sums, v * stream.width, self.type) for v in range(stream.vectors)]
            for step, line in enumerate(tile):
                factor = k.splat(k.load(factors, step, self.scalar), stream.width)
                row = [k.fma(factor, x, total) for x, total in zip(line, row)]
            for v, total in enumerate(row):
                k.store(total, sums, v * stream.width)
            loop.carry(k.at(sums, stream.columns, self.scalar), k.at(factors, len(tile), self.scalar))

    def _take(self, start: Val, steps: int) -> None:
        """Put the factors of a pass side by side: rows of memory may lie where they crowd one another out."""
        k, stream = self.k, self.stream
        with k.loop(self.frame.rows) as row:
            run = k.at(self.frame.a, k.mul(row, self.w.integer(k, "a_rows")), scalars.memory_type(stream.a))
            first = k.mul(row, steps)
            if stream.along:
                x = scalars.load(k, run, start, stream.a, steps)
                k.store(k.cast(x, self.scalar), self.factors, first)
            for step in range(0 if stream.along else steps):
                x = scalars.load(k, run, k.mul(k.add(start, step), self.w.integer(k, "a_depth")), stream.a, 1)
                k.store(k.cast(x, self.scalar), self.factors, k.add(first, step))

    def _finish(self) -> None:
        k, stream, frame, finish = self.k, self.stream, self.frame, self.stream.finish
        with k.loop(frame.rows) as row:
            added = finish.addend_row(k, self.w, frame.places, row)
            flat = k.mul(k.add(k.mul(frame.batch, frame.rows), row), frame.columns)
            with self._tiles() as column:
                sums, masks = self._at(column, row), self._masks(column)
                for v, mask in enumerate(masks):
                    at = k.add(column, v * stream.width)
                    x = k.load(sums, v * stream.width, self.type)
                    finish.apply(k, self.w, x, added, at, k.add(flat, at), mask)
