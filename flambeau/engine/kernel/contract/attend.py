"""Attention in blocks: softmax(q k^T * scale + mask) v without ever holding the matrix of scores.

A task has a few rows (queries) of one head, or a whole head where there are many of them. It goes through the keys in
blocks: scores by the register tile into scratch memory, the largest of each row so far, exponentials, and their product
with the values; what was summed before is scaled down whenever a row's largest score grows (Milakov and Gimelshein,
2018; FlashAttention, Dao et al., 2022). Besides the output it leaves the logarithm of each row's sum of exponentials,
from which the backward pass has the weights again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from flambeau.dtypes import dtype
from flambeau.engine.kernel import scalars
from flambeau.engine.kernel.contract.dots import lane_sums
from flambeau.engine.kernel.contract.frame import batch_offsets
from flambeau.engine.kernel.contract.pack import Pack
from flambeau.engine.kernel.contract.product import ACROSS, ALONG, PANEL
from flambeau.engine.kernel.contract.tile import Tile
from flambeau.engine.kernel.contract.words import Bound
from flambeau.engine.kernel.emit import Emitter, Index, Val, vector
from flambeau.engine.kernel.vecmath_exp import decay
from flambeau.engine.kernel.vecmath_log import log
from flambeau.engine.plan import Kernel

SPAN = 256  # scores of a row in scratch memory
ROOM = 1 << 16  # elements of panels that a task may pack by itself


@dataclass(frozen=True)
class Form:
    """What the code of attention kernels depends on.

    `rows` and `vectors` are those of the register tile; `wide` the elements of a head of the result in whole tiles.
    """

    dtype: dtype
    rows: int
    vectors: int
    wide: int
    batches: int
    causal: bool
    mask: str  # "", "add" or "keep"
    mask_step: int  # from lane to lane: 0 or 1, or -1 where it is a word
    noise: bool
    noise_step: int
    whole: bool = False  # a task is a head, not a tile of rows of one
    room: int = 0  # elements of panels that such a task packs by itself; 0: they have been packed before

    @property
    def scores(self) -> Tile:
        """The tile of rows by rows packed in panels."""
        return Tile(self.rows, self.vectors, self.dtype, self.dtype, self.dtype, ALONG, PANEL, False)

    @property
    def narrow(self) -> Tile:
        """The same tile, one vector wide."""
        return Tile(self.rows, 1, self.dtype, self.dtype, self.dtype, ALONG, ACROSS, False)

    @property
    def result(self) -> Tile:
        """The tile of scores by rows where they lie."""
        return Tile(self.rows, self.vectors, self.dtype, self.dtype, self.dtype, ALONG, ACROSS, True)

    @property
    def text(self) -> str:
        added = f"{self.causal:d} {self.mask}{self.mask_step} {self.noise:d}{self.noise_step}"
        return f"{self.scores.form} {self.wide} {self.batches} {added} {self.whole:d} {self.room}"


class Blocks:
    """What the kernels of attention share: rows, scratch memory, products of a block.

    A row is a query and a lane is a key, or the other way around for the gradients of keys and values (`turned`).
    """

    def __init__(self, k: Emitter, form: Form, words: Bound, turned: bool = False) -> None:
        self.k, self.form, self.w, self.turned = k, form, words, turned
        self.tile = form.scores
        self.width = self.tile.width
        self.span = SPAN // self.tile.columns * self.tile.columns or self.tile.columns
        self.type = vector(self.tile.type, self.width)
        self.all_rows, self.all_lanes = self.word("rows"), self.word("lanes")

    def word(self, name: str) -> Val:
        return self.w.integer(self.k, name)

    def scratch(self, count: int) -> Val:
        return self.k.stack(self.tile.type, self.form.rows * count)

    def each_tile(self, names: tuple[str, ...], body: Callable[[dict[str, Val]], None]) -> None:
        """Run `body` for the rows of each tile; it is given where each operand's matrix begins."""
        k, rows = self.k, self.form.rows
        with k.tasks() as task:
            if not self.form.whole:
                blocks = self.word("blocks")
                self.rows_from(k.mul(k.rem(task, blocks), rows))
                body(self.head(k.div(task, blocks), names))
                return
            at = self.head(task, names)
            self.prepare(at)
            with k.loop(self.all_rows, step=rows) as row:
                self.rows_from(row)
                body(at)

    def prepare(self, at: dict[str, Val]) -> None:
        """What is to be done at the beginning of a whole head."""

    def rows_from(self, row: Val) -> None:
        """The rows of a tile, `row` to `stop`; the last one of all begins early, at `read`, to be whole."""
        k, rows = self.k, self.form.rows
        self.row = row
        self.read = k.minimum(row, k.sub(self.all_rows, rows))
        self.stop = k.minimum(k.add(row, rows), self.all_rows)

    def head(self, batch: Val, names: tuple[str, ...]) -> dict[str, Val]:
        """Where each operand's matrix begins."""
        k, self.batch = self.k, batch
        _, offsets = batch_offsets(k, self.w, batch, self.form.batches, names)
        types = {name: "i1" if name == "mask" and self.form.mask == "keep" else self.tile.type for name in names}
        return {name: k.at(self.w.pointer(k, name), at, types[name]) for name, at in zip(names, offsets)}

    def packed_here(self, rows: Val, row_step: Val, depth: Val, target: Val) -> Val:
        """The rows that are lanes, in panels, in memory of the task's own."""
        k, columns, d = self.k, self.tile.columns, self.form.dtype
        with k.loop(self.all_lanes, step=columns) as lane:
            panel = k.at(target, k.mul(lane, self.padded(depth)), self.tile.type)
            Pack(columns, d, d, ALONG).transposed(k, row_step, rows, panel, lane, self.all_lanes, 0, depth)
        return target

    def padded(self, depth: Val) -> Val:
        """Steps in a panel: whole vectors of them."""
        return self.k.mul(self.k.add(depth, self.width - 1) // self.width, self.width)

    def bring_near(self, names: tuple[str, ...], columns: Val) -> None:
        """Have the next head's rows, as many as a tile has, brought near while this head's are at work."""
        k = self.k
        _, offsets = batch_offsets(k, self.w, k.add(self.batch, 1), self.form.batches, names)
        bases = [k.at(self.w.pointer(k, name), offset, self.tile.type) for name, offset in zip(names, offsets)]
        with k.loop(self.stop, start=self.row) as row:
            rows = [k.at(base, k.mul(row, self.word(f"{n}_rows")), self.tile.type) for n, base in zip(names, bases)]
            with k.loop(columns, step=self.width) as c:
                for start in rows:
                    k.prefetch(start, c, self.tile.type)

    def limits(self) -> tuple[Index, Index]:
        """The lanes that some row has something to do with."""
        k = self.k
        if not self.form.causal:
            return 0, self.all_lanes
        if self.turned:
            first = k.minimum(self.read, self.all_lanes)
            return k.sub(first, k.rem(first, self.tile.columns)), self.all_lanes
        return 0, k.minimum(k.add(self.read, self.form.rows), self.all_lanes)

    def products(self, into: Val, rows: Val, row_step: Val, panels: Val, depth: Val, start: Val, count: Val) -> None:
        """The products of rows from `read` on with the `count` packed rows from `start` on, into scratch memory."""
        k, columns, padded = self.k, self.tile.columns, self.padded(depth)
        left = k.at(rows, k.mul(self.read, row_step), self.tile.type)

        def products_from(c: Val, tile: Tile) -> None:
            panel = k.at(panels, k.mul(k.add(start, c), padded), tile.type)
            sums = tile.sums(k, left, panel, depth, (row_step, 1), columns, [None] * tile.vectors)
            for r, vectors in enumerate(sums):
                for v, x in enumerate(vectors):
                    k.store(x, into, k.add(c, r * self.span + v * self.width))

        rest = k.rem(count, columns)  # a few at the end need no whole tile
        few = k.bits("and", k.compare("gt", rest, 0), k.compare("le", rest, self.width))
        stop = k.sub(count, k.select(few, rest, 0))
        with k.loop(stop, step=columns) as c:
            products_from(c, self.tile)
        with k.when(few):
            products_from(stop, self.form.narrow)

    def add_products(
        self, total: Val, scores: Val, rows: Val, row_step: Val, start: Val, count: Val, size: Val, factors: Val | None
    ) -> None:
        """total = total * factor + scores @ rows, for the `count` rows from `start` on of `size` elements."""
        k, tile = self.k, self.form.result
        first = k.at(rows, k.mul(start, row_step), tile.type)
        with k.loop(size, step=tile.columns) as column:
            masks = [k.mask(k.sub(size, k.add(column, v * self.width)), self.width) for v in range(tile.vectors)]
            right = k.at(first, column, tile.type)
            sums = tile.sums(k, scores, right, count, (self.span, 1), row_step, masks)
            for r, vectors in enumerate(sums):
                factor = None if factors is None else k.splat(k.load(factors, r, tile.type), self.width)
                for v, x in enumerate(vectors):
                    at = k.add(column, r * self.form.wide + v * self.width)
                    before = k.load(total, at, self.type)
                    k.store(k.add(before if factor is None else k.mul(before, factor), x), total, at)

    def clear(self, memory: Val) -> None:
        """Zeros for all rows of a result."""
        with self.k.loop(self.form.rows * self.form.wide, step=self.tile.columns) as i:
            for v in range(self.tile.vectors):
                self.k.store(self.k.const(self.type, 0), memory, self.k.add(i, v * self.width))

    def first_lanes(self, count: Val) -> Val:
        """The mask of the first `count` lanes, or of all."""
        k = self.k
        few = k.cast(k.minimum(k.maximum(count, 0), self.width), "i32")
        return k.compare("lt", k.ramp(vector("i32", self.width)), k.splat(few, self.width))

    def stretches(self, row: Val, start: Index, count: Val) -> list[tuple[Index, Index, bool]]:
        """A row's lanes in whole vectors: from where to where, and whether some of them are not there or not seen."""
        k, width = self.k, self.width
        seen = k.minimum(count, k.sub(k.add(row, 1), start)) if self.form.causal and not self.turned else count
        whole = k.maximum(k.sub(seen, k.rem(seen, width)), 0)
        if not (self.form.causal and self.turned):
            return [(0, whole, False), (whole, count, True)]
        ahead = k.add(k.maximum(k.sub(row, start), 0), width - 1)
        first = k.minimum(k.sub(ahead, k.rem(ahead, width)), whole)
        return [(0, first, True), (first, whole, False), (whole, count, True)]

    def score(self, raw: Val, pointers: dict[str, Val], row: Val, lane: Val, there: Val | None) -> Val:
        """Scores as they go into the softmax: scaled, masked, and -inf for lanes that are not there.

        `row` is a place among all rows, `lane` the place of the first lane among all lanes. Without `there` all lanes
        are there, and none lies in the future.
        """
        k, form = self.k, self.form
        never = k.const(self.type, -math.inf)
        x = k.mul(raw, self.w.number(k, "scale", self.tile.type))
        seen = there
        if form.causal and there is not None:
            ahead = k.sub(row, lane)  # lanes before the row's own place
            if self.turned:
                order = k.bits("xor", self.first_lanes(ahead), k.const(there.type, 1))
            else:
                order = self.first_lanes(k.add(ahead, 1))
            seen = k.bits("and", there, order)
        if form.mask:
            kind = "i1" if form.mask == "keep" else self.tile.type
            mask = self.along(pointers["mask"], "mask", row, lane, kind, there)
            if form.mask == "keep":
                seen = mask if seen is None else k.bits("and", seen, mask)
            else:
                x = k.add(x, mask)
        return x if seen is None else k.select(seen, x, never)

    def along(self, base: Val, name: str, row: Val, lane: Val, kind: str, there: Val | None) -> Val:
        """Elements of a matrix like the scores, for one row and some lanes."""
        k = self.k
        step = self.form.mask_step if name == "mask" else self.form.noise_step
        start = k.at(base, k.mul(row, self.word(f"{name}_rows")), kind)
        if step == 0:
            return k.splat(k.load(start, 0, kind), self.width)
        if step == 1:
            type = vector(kind, self.width)
            return k.load(start, lane, type) if there is None else k.masked_load(start, lane, type, there)
        step = self.word(f"{name}_lanes")
        ramp = k.ramp(vector("i64", self.width))
        places = k.mul(k.add(ramp, k.val(lane, ramp.type)), k.val(step, ramp.type))
        return k.gather(start, places, kind, there)


def forward(form: Form, words: Bound) -> Kernel:
    """The kernel of the output and of the logarithms of the sums; a task is a block of rows of a head."""
    return Kernel(f"attention {form.text}", lambda k: _Forward(k, form, words).emit())


class _Forward(Blocks):
    def __init__(self, k: Emitter, form: Form, words: Bound) -> None:
        super().__init__(k, form, words)
        self.scores, self.total = self.scratch(self.span), self.scratch(form.wide)
        # a number for each row: its largest score and sum so far, what the next block adds to them, what that changes
        self.top, self.sum, self.next_top, self.next_sum, self.factor = (self.scratch(self.width) for _ in range(5))
        self.of_lanes = k.stack(self.tile.type, -(-form.rows // self.width) * self.width**2)  # a vector for each row
        self.panels = k.stack(self.tile.type, form.room) if form.room else None

    def emit(self) -> None:
        form = self.form
        names = ("q", "k", "v", *(["mask"] if form.mask else []), *(["noise"] if form.noise else []))
        self.each_tile(names, self._rows)

    def prepare(self, at: dict[str, Val]) -> None:
        if self.form.room:
            at["k"] = self.packed_here(at["k"], self.word("k_rows"), self.word("depth"), self.panels)

    def _rows(self, at: dict[str, Val]) -> None:
        """The output of the rows of a tile."""
        k, form = self.k, self.form
        depth, size = self.word("depth"), self.word("size")
        if form.whole:
            self.bring_near(("q", "k"), depth)
            self.bring_near(("v",), size)
        self.clear(self.total)
        self._each_row(lambda r: k.store(k.const(self.type, -math.inf), self.top, r))
        self._each_row(lambda r: k.store(k.const(self.type, 0), self.sum, r))
        low, high = self.limits()
        with k.loop(high, start=low, step=self.span) as start:
            count = k.minimum(k.sub(high, start), self.span)
            self.products(self.scores, at["q"], self.word("q_rows"), at["k"], depth, start, count)
            with k.loop(form.rows) as r:
                self._largest(at, r, start, count)
            self._over_lanes(self._larger, self.next_top)
            with k.loop(form.rows) as r:
                self._exponentials(at, r, start, count)
            self._over_lanes(k.add, self.next_sum)
            self._each_row(self._update)
            self.add_products(self.total, self.scores, at["v"], self.word("v_rows"), start, count, size, self.factor)
        self._each_row(self._logarithms)
        with k.loop(k.sub(self.stop, self.read), start=k.sub(self.row, self.read)) as r:
            self._finish(r)

    def _each_row(self, body: Callable[[int], None]) -> None:
        """For vectors of a number a row."""
        for r in range(0, self.form.rows, self.width):
            body(r)

    def _over_lanes(self, combine: Callable[[Val, Val], Val], into: Val) -> None:
        """What the lanes that were kept of each row are together: a number a row."""
        k = self.k

        def together(r: int) -> None:
            rows = [k.load(self.of_lanes, (r + i) * self.width, self.type) for i in range(self.width)]
            k.store(lane_sums(k, rows, combine), into, r)

        self._each_row(together)

    def _larger(self, a: Val, b: Val) -> Val:
        return self.k.select(self.k.compare("gt", a, b), a, b)

    def _largest(self, at: dict[str, Val], r: Val, start: Val, count: Val) -> None:
        """Bring a row's scores into the form that the softmax takes, and find the largest so far in each lane."""
        k, width = self.k, self.width
        line = k.at(self.scores, k.mul(r, self.span), self.tile.type)
        row, top = k.add(self.read, r), k.splat(k.load(self.top, r, self.tile.type), width)
        for first, stop, masked in self.stretches(row, start, count):
            with k.loop(stop, start=first, step=width, carried=[top]) as loop:
                there = self.first_lanes(k.sub(count, loop.i)) if masked else None
                x = self.score(k.load(line, loop.i, self.type), at, row, k.add(start, loop.i), there)
                k.store(x, line, loop.i)
                loop.carry(self._larger(x, loop.carried[0]))
            top = loop.results[0]
        k.store(top, self.of_lanes, k.mul(r, width))

    def _exponentials(self, at: dict[str, Val], r: Val, start: Val, count: Val) -> None:
        """Turn a row of scores into exponentials of what they are above the largest so far."""
        k, width = self.k, self.width
        line = k.at(self.scores, k.mul(r, self.span), self.tile.type)
        row, top = k.add(self.read, r), k.splat(k.load(self.next_top, r, self.tile.type), width)
        shift = k.select(top.equals(-math.inf), 0.0, top)
        with k.loop(count, step=width, carried=[k.const(self.type, 0)]) as loop:
            e = decay(k, k.sub(k.load(line, loop.i, self.type), shift))
            loop.carry(k.add(loop.carried[0], e))
            if self.form.noise:
                there = self.first_lanes(k.sub(count, loop.i))
                e = k.mul(e, self.along(at["noise"], "noise", row, k.add(start, loop.i), self.tile.type, there))
            k.store(e, line, loop.i)
        k.store(loop.results[0], self.of_lanes, k.mul(r, width))

    def _update(self, r: int) -> None:
        """Bring what is known of rows up to date."""
        k = self.k
        before, top = k.load(self.top, r, self.type), k.load(self.next_top, r, self.type)
        factor = decay(k, k.sub(before, k.select(top.equals(-math.inf), 0.0, top)))
        total = k.mul(k.load(self.sum, r, self.type), factor)
        k.store(top, self.top, r)
        k.store(factor, self.factor, r)
        k.store(k.add(total, k.load(self.next_sum, r, self.type)), self.sum, r)

    def _logarithms(self, r: int) -> None:
        """The logarithms of rows' sums, and what the sums divide: 1 where a row has seen nothing."""
        k = self.k
        total = k.load(self.sum, r, self.type)
        nothing = total.equals(0.0)
        divisor = k.select(nothing, 1.0, total)
        sums = k.add(k.load(self.top, r, self.type), log(k, divisor))
        k.store(k.select(nothing, math.inf, sums), self.next_sum, r)
        k.store(divisor, self.factor, r)

    def _finish(self, r: Val) -> None:
        k, size = self.k, self.word("size")
        divisor = k.load(self.factor, r, self.tile.type)
        row = k.add(k.mul(self.batch, self.all_rows), k.add(self.read, r))
        with k.loop(size, step=self.width) as c:
            x = k.load(self.total, k.add(k.mul(r, self.form.wide), c), self.type)
            mask = k.mask(k.sub(size, c), self.width)
            x = k.div(x, k.splat(divisor, self.width))
            scalars.store(k, x, self.w.pointer(k, "out"), k.add(k.mul(row, size), c), self.form.dtype, mask)
        k.store(k.load(self.next_sum, r, self.tile.type), self.w.pointer(k, "sums"), row)
