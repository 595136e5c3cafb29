"""The sums of a block of a few rows, kept near until a pass over the block is the last one.

They lie tile by tile, and row by row in a tile: rows of the result may lie where they crowd one another out.
"""

from __future__ import annotations

from typing import Any

from flambeau.engine.kernel import scalars
from flambeau.engine.kernel.contract.finish import Finish
from flambeau.engine.kernel.contract.frame import Frame
from flambeau.engine.kernel.contract.words import Bound
from flambeau.engine.kernel.emit import Emitter, Index, Val, vector

ROWS, COLUMNS, ROOM = 64, 1024, 16384  # of a block, at most: rows, columns, sums


class Waiting:
    """Memory for such sums, and its loops; tiles are `vectors` of `width` lanes across. To be used in a task."""

    def __init__(
        self, k: Emitter, w: Bound, frame: Frame, finish: Finish, vectors: int, width: int, masked: bool
    ) -> None:  # fmt: skip
        self.k, self.w, self.frame, self.finish = k, w, frame, finish
        self.vectors, self.width, self.masked = vectors, width, masked
        self.scalar = scalars.compute_type(finish.compute)
        self.type = vector(self.scalar, width)
        self.memory = k.stack(self.scalar, ROOM)

    @property
    def columns(self) -> int:
        return self.vectors * self.width

    def tiles(self) -> Any:
        """The loop over the block's tiles: the first column of each."""
        return self.k.loop(self.frame.right, start=self.frame.left, step=self.columns)

    def at(self, column: Val, row: Index) -> Val:
        """The address of a row's sums in the tile that begins at a column."""
        k, frame = self.k, self.frame
        before = k.mul(k.sub(column, frame.left), k.sub(frame.bottom, frame.top))
        return k.at(self.memory, k.add(before, k.mul(k.sub(row, frame.top), self.columns)), self.scalar)

    def masks(self, column: Val) -> list[Val | None]:
        """The lanes of a tile's vectors that there are."""
        if not self.masked:
            return [None] * self.vectors
        left = self.k.sub(self.frame.columns, column)
        return [self.k.mask(self.k.sub(left, v * self.width), self.width) for v in range(self.vectors)]

    def clear(self) -> None:
        k, frame = self.k, self.frame
        with self.tiles() as column, k.loop(frame.bottom, start=frame.top) as row:
            at = self.at(column, row)
            for v in range(self.vectors):
                k.store(k.const(self.type, 0), at, v * self.width)

    def store(self) -> None:
        """Finish all sums, row by row."""
        k, frame = self.k, self.frame
        with k.loop(frame.bottom, start=frame.top) as row:
            added = self.finish.addend_row(k, self.w, frame.places, row)
            flat = k.mul(k.add(k.mul(frame.batch, frame.rows), row), frame.columns)
            with self.tiles() as column:
                sums = self.at(column, row)
                for v, mask in enumerate(self.masks(column)):
                    first = k.add(column, v * self.width)
                    x = k.load(sums, v * self.width, self.type)
                    self.finish.apply(k, self.w, x, added, first, k.add(flat, first), mask)
