"""What every kernel of a product begins with: which batch, block and part of the sum a task stands for.

Words: `rows`, `columns`, `depth`; the size of a block (`block_rows`, `block_columns`) and how many there are each way
(`blocks_rows`, `blocks_columns`); `size<d>`, `a_batch<d>`, `b_batch<d>` of every batch dimension. A split sum is cut
into `chunks` of `chunk` steps: each is a task of its own, as if it were one more batch dimension, the innermost.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flambeau.dtypes import dtype
from flambeau.engine.kernel import scalars
from flambeau.engine.kernel.contract.words import Bound
from flambeau.engine.kernel.emit import Emitter, Index, Val


class Frame:
    """The loop over tasks, and what they are: set inside `tasks()`.

    Attributes:
        batch: the matrix of the result; `places` its index along each batch dimension.
        a, b: the matrices of the operands.
        top, bottom, left, right: the block of the result.
        start, stop: the part of the sum.
    """

    def __init__(self, k: Emitter, words: Bound, batches: int, split: bool, operands: tuple[dtype, dtype]) -> None:
        self.k, self.w, self.batches, self.split = k, words, batches, split
        self.operands = operands
        self.rows, self.columns, self.depth = (words.integer(k, name) for name in ("rows", "columns", "depth"))
        self.start: Index = 0
        self.stop: Index = self.depth

    @contextmanager
    def tasks(self) -> Iterator[None]:
        k, w = self.k, self.w
        with k.tasks() as task:
            across, down = w.integer(k, "blocks_columns"), w.integer(k, "blocks_rows")
            column, rest = k.rem(task, across), k.div(task, across)
            row, self.batch = k.rem(rest, down), k.div(rest, down)
            matrix: Index = self.batch
            if self.split:
                chunk = w.integer(k, "chunk")
                self.start = k.mul(k.rem(matrix, w.integer(k, "chunks")), chunk)
                self.stop = k.minimum(k.add(self.start, chunk), self.depth)
                matrix = k.div(matrix, w.integer(k, "chunks"))
            self.places, offsets = batch_offsets(k, w, matrix, self.batches, ("a", "b"))
            self.a, self.b = (
                k.at(w.pointer(k, name), offset, scalars.memory_type(d))
                for name, offset, d in zip("ab", offsets, self.operands)
            )
            self.top, self.bottom = self._range(row, "block_rows", self.rows)
            self.left, self.right = self._range(column, "block_columns", self.columns)
            yield

    def _range(self, nr: Val, size: str, stop: Val) -> tuple[Val, Val]:
        k = self.k
        first = k.mul(nr, self.w.integer(k, size))
        return first, k.minimum(k.add(first, self.w.integer(k, size)), stop)


def batch_offsets(
    k: Emitter, w: Bound, index: Index, count: int, names: tuple[str, ...]
) -> tuple[list[Index], list[Index]]:
    """The place of a flat batch index in each dimension, and how far each named window is from its beginning."""
    places: list[Index] = [0] * count
    offsets: list[Index] = [0] * len(names)
    for d in reversed(range(count)):
        size = w.integer(k, f"size{d}")
        places[d] = k.rem(index, size) if d else index
        index = k.div(index, size) if d else index
        for nr, name in enumerate(names):
            offsets[nr] = k.add(offsets[nr], k.mul(places[d], w.integer(k, f"{name}_batch{d}")))
    return places, offsets
