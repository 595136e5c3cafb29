"""The gradients of attention, in blocks: weights are computed again from the scores and the sums that were kept.

    p = exp(score - sums)          d = (g v^T) * noise
    s = p * (d - delta) * scale    delta = the sum over a row of g * out

One kernel has queries as its rows and gives the queries' gradient s k; the other, turned, has keys as its rows and
gives the gradients of keys, s^T q, and of values, (p * noise)^T g. Where there are many heads, a task is a whole head,
and the turned kernel gives all three: what a tile of keys adds to the queries' gradient goes straight to memory, tile
after tile, so that scores are computed once. Each element is written by one task, in an order that the shape fixes.
"""

from __future__ import annotations

from flambeau.engine.kernel import scalars
from flambeau.engine.kernel.contract.attend import Blocks, Form
from flambeau.engine.kernel.contract.product import ACROSS
from flambeau.engine.kernel.contract.tile import Tile
from flambeau.engine.kernel.contract.words import Bound
from flambeau.engine.kernel.emit import Emitter, Index, Val
from flambeau.engine.kernel.vecmath_exp import decay
from flambeau.engine.plan import Kernel

OF_QUERY = ("sums", "delta")  # what was kept for each query
LANES = 8  # of a tile of lanes by elements of a head


def deltas(form: Form, words: Bound) -> Kernel:
    """The kernel of delta; a task is a row."""

    def emit(k: Emitter) -> None:
        blocks = Blocks(k, form, words)
        with k.tasks() as task:
            row, batch = k.rem(task, blocks.all_rows), k.div(task, blocks.all_rows)
            g = k.mul(row, blocks.word("g_rows"))
            _delta(blocks, k.at(blocks.head(batch, ("g",))["g"], g, blocks.tile.type), task)

    return Kernel(f"attention delta {form.dtype.name} {form.text}", emit)


def _delta(blocks: Blocks, g: Val, place: Val) -> None:
    """delta of a query, `place` among those of all heads."""
    k, w, width, size = blocks.k, blocks.w, blocks.width, blocks.word("size")
    out = k.at(w.pointer(k, "out"), k.mul(place, size), blocks.tile.type)
    with k.loop(size, step=width, carried=[k.const(blocks.type, 0)]) as loop:
        mask = k.mask(k.sub(size, loop.i), width)
        a, b = (k.masked_load(p, loop.i, blocks.type, mask) for p in (g, out))
        loop.carry(k.fma(a, b, loop.carried[0]))
    k.store(k.fold(loop.results[0], k.add), w.pointer(k, "delta"), place)


def backward(form: Form, words: Bound, turned: bool) -> Kernel:
    """The kernel of the queries' gradient, or (turned) of those of keys and values; of all three for whole heads."""
    if form.whole:
        return Kernel(f"attention gradients {form.text}", lambda k: _Whole(k, form, words, turned).emit())
    name = "keys" if turned else "queries"
    return Kernel(f"attention gradient of {name} {form.text}", lambda k: _Backward(k, form, words, turned).emit())


def of_mask(form: Form, words: Bound) -> Kernel:
    """The kernel of the gradient of what was added to the scores."""
    return Kernel(f"attention gradient of mask {form.text}", lambda k: _OfMask(k, form, words, False).emit())


class _Backward(Blocks):
    """`first` is the pair of operands whose product is the scores, `second` the one whose product is d."""

    def __init__(self, k: Emitter, form: Form, words: Bound, turned: bool) -> None:
        super().__init__(k, form, words, turned)
        self.scores, self.d = self.scratch(self.span), self.scratch(self.span)
        self.first, self.second = self.scratch(form.wide), self.scratch(form.wide)
        self.panels = [k.stack(self.tile.type, form.room) for _ in range(2)] if form.room else []

    def emit(self) -> None:
        names = ["first", "first_right", "second"] + ["second_right"] * self.turned
        names += [] if self.form.room else ["first_panels", "second_panels"]
        names += ["first_gradient"] + ["second_gradient"] * self.turned + ["lanes_gradient"] * self.form.whole
        names += ["mask"] * bool(self.form.mask) + ["noise"] * self.form.noise
        self.each_tile(tuple(names), self._rows)

    def _rows(self, at: dict[str, Val]) -> None:
        """The gradients of the rows of a tile."""
        k, form, depth, size = self.k, self.form, self.word("depth"), self.word("size")
        self.clear(self.first)
        if self.turned:
            self.clear(self.second)
        low, high = self.limits()
        with k.loop(high, start=low, step=self.span) as start:
            count = k.minimum(k.sub(high, start), self.span)
            for into, name, steps in ((self.scores, "first", depth), (self.d, "second", size)):
                self.products(into, at[name], self.word(f"{name}_rows"), at[f"{name}_panels"], steps, start, count)
            with k.loop(form.rows) as r:
                self._row(at, r, start, count)
            unseen = k.maximum(k.sub(self.read, start), 0) if form.causal and self.turned else 0
            seen = k.add(start, unseen), k.sub(count, unseen)
            for total, scores, name, steps in (
                (self.first, self.scores, "first", depth), (self.second, self.d, "second", size)
            )[: 1 + self.turned]:  # fmt: skip
                left, right = k.at(scores, unseen, self.tile.type), at[f"{name}_right"]
                self.add_products(total, left, right, self.word(f"{name}_right_rows"), *seen, steps, None)
            self._block_done(at, start, unseen, count)
        self._store(self.first, at, "first_gradient", depth)
        if self.turned:
            self._store(self.second, at, "second_gradient", size)

    def _block_done(self, at: dict[str, Val], start: Val, unseen: Index, count: Val) -> None:
        """What else is to be done with a block of lanes, of which no row sees the first `unseen`."""

    def _row(self, at: dict[str, Val], r: Val, start: Val, count: Val) -> None:
        """Scores of a row become s and its d becomes p * noise, which the values' gradient wants."""
        k, row = self.k, self.k.add(self.read, r)
        kept = None
        if not self.turned:
            place = k.add(k.mul(self.batch, self.all_rows), row)
            kept = [k.splat(k.load(self.w.pointer(k, n), place, self.tile.type), self.width) for n in OF_QUERY]
        for first, stop, masked in self.stretches(row, start, count):
            with k.loop(stop, start=first, step=self.width) as c:
                there = self.first_lanes(k.sub(count, c)) if masked else None
                lane = k.add(start, c)
                sums, delta = kept or [self._of_query(name, lane, there) for name in OF_QUERY]
                self._gradients(at, k.add(k.mul(r, self.span), c), row, lane, there, sums, delta)

    def _gradients(
        self, at: dict[str, Val], place: Val, row: Val, lane: Val, there: Val | None, sums: Val, delta: Val
    ) -> None:
        k = self.k
        x = self.score(k.load(self.scores, place, self.type), at, row, lane, there)
        p = decay(k, k.sub(x, sums))
        d = k.load(self.d, place, self.type)
        if self.form.noise:
            noise = self.along(at["noise"], "noise", row, lane, self.tile.type, there)
            d = k.mul(d, noise)
            if self.turned:
                k.store(k.mul(p, noise), self.d, place)
        elif self.turned:
            k.store(p, self.d, place)
        self._finished(p, d, delta, place, row, lane, there)

    def _finished(self, p: Val, d: Val, delta: Val, place: Val, row: Val, lane: Val, there: Val | None) -> None:
        """Keep s of some lanes of a row."""
        k, scale = self.k, self.w.number(self.k, "scale", self.tile.type)
        k.store(k.mul(k.mul(p, k.sub(d, delta)), scale), self.scores, place)

    def _of_query(self, name: str, lane: Val, there: Val | None) -> Val:
        """What was kept for queries that are lanes."""
        k, place = self.k, self.k.add(self.k.mul(self.batch, self.all_lanes), lane)
        base = self.w.pointer(k, name)
        return k.load(base, place, self.type) if there is None else k.masked_load(base, place, self.type, there)

    def _store(self, total: Val, at: dict[str, Val], name: str, size: Val) -> None:
        k = self.k
        with k.loop(k.sub(self.stop, self.read), start=k.sub(self.row, self.read)) as r:
            first = k.mul(k.add(self.read, r), self.word(f"{name}_rows"))
            with k.loop(size, step=self.width) as c:
                x = k.load(total, k.add(k.mul(r, self.form.wide), c), self.type)
                mask = k.mask(k.sub(size, c), self.width)
                scalars.store(k, x, at[name], k.add(first, c), self.form.dtype, mask)


class _Whole(_Backward):
    """The turned kernel for whole heads, with the queries' gradient."""

    def prepare(self, at: dict[str, Val]) -> None:
        k, depth, size = self.k, self.word("depth"), self.word("size")
        if self.panels:
            for name, columns, target in zip(("first", "second"), (depth, size), self.panels):
                rows, step = at[f"{name}_right"], self.word(f"{name}_right_rows")
                at[f"{name}_panels"] = self.packed_here(rows, step, columns, target)
        first = k.mul(self.batch, self.all_lanes)
        with k.loop(self.all_lanes) as lane:
            g = k.at(at["second_right"], k.mul(lane, self.word("second_right_rows")), self.tile.type)
            _delta(self, g, k.add(first, lane))
        with k.loop(self.all_lanes) as lane, k.loop(depth, step=self.width) as c:
            place = k.add(k.mul(lane, self.word("lanes_gradient_rows")), c)
            k.masked_store(k.const(self.type, 0), at["lanes_gradient"], place, k.mask(k.sub(depth, c), self.width))

    def _rows(self, at: dict[str, Val]) -> None:
        depth, size = self.word("depth"), self.word("size")
        self.bring_near(("first", "first_right", "first_gradient", "lanes_gradient"), depth)
        self.bring_near(("second", "second_right", "second_gradient"), size)
        super()._rows(at)

    def _block_done(self, at: dict[str, Val], start: Val, unseen: Index, count: Val) -> None:
        """Add s^T k, over the rows that are not another tile's, to the gradients of the lanes."""
        k, form, d = self.k, self.form, self.form.dtype
        tile = Tile(LANES, form.vectors, d, d, d, ACROSS, ACROSS, True)
        depth, row_step, skip = self.word("depth"), self.word("first_rows"), k.sub(self.row, self.read)
        rows = k.at(at["first"], k.mul(self.row, row_step), tile.type)
        scores = k.at(self.scores, k.mul(skip, self.span), tile.type)
        first_lane = k.sub(unseen, k.rem(unseen, LANES))
        with k.loop(count, start=first_lane, step=LANES) as lane, k.loop(depth, step=tile.columns) as column:
            masks = [k.mask(k.sub(depth, k.add(column, v * self.width)), self.width) for v in range(tile.vectors)]
            left, right = k.at(scores, lane, tile.type), k.at(rows, column, tile.type)
            sums = tile.sums(k, left, right, k.sub(self.stop, self.row), (1, self.span), row_step, masks)
            for r, vectors in enumerate(sums):
                with k.when(k.add(lane, r) < count):
                    row = k.add(k.add(start, lane), r)
                    first = k.add(k.mul(row, self.word("lanes_gradient_rows")), column)
                    for v, (x, mask) in enumerate(zip(vectors, masks)):
                        place = k.add(first, v * self.width)
                        before = k.masked_load(at["lanes_gradient"], place, self.type, mask)
                        k.masked_store(k.add(before, x), at["lanes_gradient"], place, mask)


class _OfMask(_Backward):
    """s itself, but for the scale: a matrix like the scores, also where nothing is seen."""

    def emit(self) -> None:
        names = ["first", "second", "first_panels", "second_panels"]
        self.each_tile((*names, *["mask"] * bool(self.form.mask), *["noise"] * self.form.noise), self._rows)

    def _rows(self, at: dict[str, Val]) -> None:
        k = self.k
        with k.loop(self.all_lanes, step=self.span) as start:
            count = k.minimum(k.sub(self.all_lanes, start), self.span)
            for into, name, steps in ((self.scores, "first", "depth"), (self.d, "second", "size")):
                rows, panels = self.word(f"{name}_rows"), at[f"{name}_panels"]
                self.products(into, at[name], rows, panels, self.word(steps), start, count)
            with k.loop(k.sub(self.stop, self.read), start=k.sub(self.row, self.read)) as r:
                self._row(at, r, start, count)

    def _finished(self, p: Val, d: Val, delta: Val, place: Val, row: Val, lane: Val, there: Val | None) -> None:
        k = self.k
        line = k.mul(k.add(k.mul(self.batch, self.all_rows), row), self.all_lanes)
        scalars.store(
            k, k.mul(p, k.sub(d, delta)), self.w.pointer(k, "gradient"), k.add(line, lane), self.form.dtype, there
        )
