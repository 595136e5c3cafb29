"""The loops around the register tile: tasks over blocks of the result, blocks of the sum, tiles.

A task computes a block of the result: for each block of the sum, for each tile's columns, for each tile's rows. The
panel of the right operand then stays in the first cache and the block of the left one in the second. Sums over several
blocks are kept in scratch memory between them, tile after tile, and the blocks are added in order.

The last rows of a matrix that is read in place are a tile that begins early and stores only what no other tile does;
packed panels have whole tiles. Columns end under a mask.
"""

from __future__ import annotations

from dataclasses import dataclass

from flambeau.engine.kernel import scalars
from flambeau.engine.kernel.contract.finish import Finish
from flambeau.engine.kernel.contract.frame import Frame
from flambeau.engine.kernel.contract.product import ACROSS, ALONG, ANY, PANEL
from flambeau.engine.kernel.contract.tile import Tile
from flambeau.engine.kernel.contract.words import Bound
from flambeau.engine.kernel.emit import Emitter, Index, Val, vector
from flambeau.engine.plan import Kernel


@dataclass(frozen=True)
class Gemm:
    """A kernel that multiplies matrices. `batches` counts batch dimensions; `block` is of the sum, 0: all of it."""

    tile: Tile
    finish: Finish
    batches: int = 0
    block: int = 0
    split: bool = False
    rows_first: bool = False

    def kernel(self, words: Bound) -> Kernel:
        key = f"gemm {self.tile.form} {self.batches} {self.block} {self.split:d}{self.rows_first:d} {self.finish.form}"
        return Kernel(key, lambda k: _Emission(self, k, words).emit())


class _Emission:
    """One kernel while it is written."""

    def __init__(self, gemm: Gemm, k: Emitter, words: Bound) -> None:
        self.gemm, self.tile, self.k, self.w = gemm, gemm.tile, k, words
        self.type = vector(self.tile.type, self.tile.width)
        self.frame = Frame(k, words, gemm.batches, gemm.split, (gemm.tile.a, gemm.tile.b))
        self.rows, self.columns = self.frame.rows, self.frame.columns
        self.scratch = k.stack(self.tile.type, self.tile.rows * self.tile.columns)

    def word(self, name: str) -> Val:
        return self.w.integer(self.k, name)

    def emit(self) -> None:
        k, frame, block = self.k, self.frame, self.gemm.block
        with frame.tasks():
            if not block:
                self._tiles(frame.start, k.sub(frame.stop, frame.start))
                return
            with k.loop(frame.stop, start=frame.start, step=block) as start:
                self._tiles(start, k.minimum(k.sub(frame.stop, start), block))

    def _tiles(self, start: Index, depth: Index) -> None:
        """All tiles of the task's block, summed over `depth` steps from `start` on."""
        k, tile, frame = self.k, self.tile, self.frame
        columns = lambda: k.loop(frame.right, start=frame.left, step=tile.columns)
        rows = lambda: k.loop(frame.bottom, start=frame.top, step=tile.rows)
        if self.gemm.rows_first:
            with rows() as row, columns() as column:
                self._tile(row, *self._right(column, start), start, depth)
        else:
            with columns() as column:
                right = self._right(column, start)
                with rows() as row:
                    self._tile(row, *right, start, depth)

    def _tile(self, row: Val, column: Val, b: Val, masks: list[Val | None], start: Index, depth: Index) -> None:
        k, tile = self.k, self.tile
        read = row if tile.a_layout == PANEL else k.minimum(row, k.sub(self.rows, tile.rows))
        a, strides = self._left(read, start)
        sums = tile.sums(k, a, b, depth, strides, self._b_stride, masks)
        self._end(sums, start, row, read, column, masks)

    @property
    def _b_stride(self) -> Index:
        return 0 if self.tile.b_layout == PANEL else self.word("b_depth")

    def _right(self, column: Val, start: Index) -> tuple[Val, Val, list[Val | None]]:
        """Columns of a tile: the first, its address in the right operand, and which lanes there are."""
        k, tile = self.k, self.tile
        masks = [self._mask(column, v) for v in range(tile.vectors)]
        if tile.b_layout == PANEL:
            offset = k.add(k.mul(column, self.word("b_columns")), k.mul(start, tile.columns))
        else:
            offset = k.add(column, k.mul(start, self._b_stride))
        return column, k.at(self.frame.b, offset, scalars.memory_type(tile.b)), masks

    def _mask(self, column: Index, nr: int) -> Val | None:
        if not self.tile.masked:
            return None
        return self.k.mask(self.k.sub(self.k.sub(self.columns, column), nr * self.tile.width), self.tile.width)

    def _left(self, row: Index, start: Index) -> tuple[Val, tuple[Index, Index]]:
        """The address of a tile's rows in the left operand, and its strides."""
        k, tile = self.k, self.tile
        strides: tuple[Index, Index] = {
            PANEL: (1, tile.rows), ACROSS: (1, self.word("a_depth")), ALONG: (self.word("a_rows"), 1),
            ANY: (self.word("a_rows"), self.word("a_depth")),
        }[tile.a_layout]  # fmt: skip
        from_row = self.word("a_rows") if tile.a_layout == PANEL else strides[0]
        offset = k.add(k.mul(from_row, row), k.mul(strides[1], start))
        return k.at(self.frame.a, offset, scalars.memory_type(tile.a)), strides

    # -- the end of a tile ---------------------------------------------------------------------------------------

    def _end(
        self, sums: list[list[Val]], start: Index, row: Val, read: Val, column: Val, masks: list[Val | None]
    ) -> None:
        k = self.k
        if not self.gemm.block:
            self._finish(sums, row, read, column, masks)
            return
        saved = self._saved(row, column)
        more = k.splat(k.compare("gt", start, self.frame.start), self.tile.width)
        places = [(r, v) for r in range(self.tile.rows) for v in range(self.tile.vectors)]
        for r, v in places:
            earlier = k.masked_load(saved, self._nr(r, v), self.type, more)
            sums[r][v] = k.add(earlier, sums[r][v])
        last = k.compare("ge", k.add(start, self.gemm.block), self.frame.stop)
        with k.when(k.bits("xor", last, True)):
            for r, v in places:
                k.store(sums[r][v], saved, self._nr(r, v))
        with k.when(last):
            self._finish(sums, row, read, column, masks)

    def _saved(self, row: Val, column: Val) -> Val:
        """Where the sums of a tile wait for the next block."""
        k, tile = self.k, self.tile
        wide = k.add(self.columns, tile.columns - 1) // tile.columns
        high = k.add(self.rows, tile.rows - 1) // tile.rows
        nr = k.add(k.mul(k.add(k.mul(self.frame.batch, high), row // tile.rows), wide), column // tile.columns)
        return k.at(self.w.pointer(k, "sums"), k.mul(nr, tile.rows * tile.columns), tile.type)

    def _nr(self, r: int, v: int) -> int:
        return r * self.tile.columns + v * self.tile.width

    def _finish(self, sums: list[list[Val]], row: Val, read: Val, column: Val, masks: list[Val | None]) -> None:
        """Store the rows of a tile that are its own: at once where that is short code, else from scratch row by row."""
        k, tile = self.k, self.tile
        skip, stop = k.sub(row, read), k.minimum(k.sub(self.rows, read), tile.rows)
        if self.gemm.finish.short:
            whole = k.sub(stop, skip).equals(tile.rows)
            with k.when(whole):
                for r in range(tile.rows):
                    self._store_row(sums[r], k.add(read, r), column, masks)
            with k.when(k.bits("xor", whole, True)):
                self._from_scratch(sums, skip, stop, read, column, masks)
        else:
            self._from_scratch(sums, skip, stop, read, column, masks)

    def _from_scratch(
        self, sums: list[list[Val]], skip: Val, stop: Val, read: Val, column: Val, masks: list[Val | None]
    ) -> None:
        k, tile = self.k, self.tile
        for r in range(tile.rows):
            for v in range(tile.vectors):
                k.store(sums[r][v], self.scratch, self._nr(r, v))
        with k.loop(stop, start=skip) as r:
            at = k.mul(r, tile.columns)
            row = [k.load(self.scratch, k.add(at, v * tile.width), self.type) for v in range(tile.vectors)]
            self._store_row(row, k.add(read, r), column, masks)

    def _store_row(self, values: list[Val], row: Val, column: Val, masks: list[Val | None]) -> None:
        k, finish = self.k, self.gemm.finish
        added = finish.addend_row(k, self.w, self.frame.places, row)
        flat = k.add(k.mul(k.add(k.mul(self.frame.batch, self.rows), row), self.columns), column)
        for v, x in enumerate(values):
            step = v * self.tile.width
            finish.apply(k, self.w, x, added, k.add(column, step), k.add(flat, step), masks[v])
