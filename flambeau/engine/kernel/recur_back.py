"""Recurrent layers backward: one launch that walks back through time, then the products of all steps at once.

As on the way forward, rows of the batch are independent, and a task takes some rows through the whole sequence. At each
step the cell's formula gives the gradients of the gates, which are kept for all steps; their product with the packed
weights is the gradient of the state before. The gradients of input, weights and biases are then three products and a
sum over the kept gradients. Where the state is a projection of the units, the gradient of these comes first, as another
product, and what was projected is computed again, for the projection's own gradient.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from flambeau.dtypes import dtype
from flambeau.engine.graph import Arg, Call
from flambeau.engine.kernel import scalars
from flambeau.engine.kernel.contract.product import Operand
from flambeau.engine.kernel.emit import Emitter, Index, Val, vector
from flambeau.engine.kernel.move import Window, copy, fill, result, window
from flambeau.engine.kernel.recur import ordered, pack, product, require, scratch, tile_rows, tile_vectors
from flambeau.engine.kernel.recur_cells import CELLS, Cell
from flambeau.engine.kernel.recur_complex import by_conjugates
from flambeau.engine.kernel.recur_walk import WORDS, described, functions, products, steps
from flambeau.engine.kernel.target import vector_bytes
from flambeau.engine.kernel.widen import widened
from flambeau.engine.plan import Kernel
from flambeau.engine.schedule.lowering import Site
from flambeau.shape import Ints

SUM_BLOCK = 256  # rows whose sum is made apart, for accuracy


@widened
@by_conjugates
def layer_back(site: Site, call: Call) -> None:
    """Gradients of the input, the first states, the weights and the biases."""
    g, gh, gc, x, sizes, saved, c_before, h_before, w_ih, w_hh, _, _, w_hr = call.inputs
    cell, name, d = CELLS[call.params["cell"]], call.params["cell"], x.dtype
    batch, m, features, n = call.params["batch"], h_before.shape[-1], x.shape[-1], w_hh.shape[0] // cell.gates
    length, rows, walk = described(x, sizes, batch, not call.params["backwards"])
    require(call, d, (length, batch, rows, features, m, n))
    columns = cell.gates * n
    gx, dh, dc, g_ih, g_hh, gb, gb_state, g_hr = (result(site, call, nr) for nr in range(8))
    for given, into, width in ((gh, dh, m), (gc, dc, n))[: 1 + cell.memory]:
        _begin(site, (batch, width), into, given)
    if g is None:
        outputs = scratch(site, (rows, m), d)
        fill(site, (rows, m), outputs, 0, "rnn back")
    else:
        outputs = ordered(site, g)
    to_input = scratch(site, (rows, columns), d)
    to_state = to_input if cell.joint else scratch(site, (rows, columns), d)
    others = (saved, c_before if cell.memory else h_before, h_before)
    kept = [outputs.address, *(ordered(site, v).address for v in others)]
    vectors = tile_vectors(n, d)
    lane = vectors * vector_bytes() // d.itemsize
    weights = pack(site, (columns, 1, m), lane, window(site, w_hh).part(0, (w_hh.strides[0], 0, w_hh.strides[1])))
    deltas = units = fresh = projection = to_input.address
    if w_hr is not None:
        deltas, units, fresh = (scratch(site, shape, d).address for shape in ((rows, m), (batch, n), (rows, n)))
        projection = pack(site, (m, 1, n), lane, window(site, w_hr).part(0, (w_hr.strides[0], 0, w_hr.strides[1])))
    table = dh.address if sizes is None else ordered(site, sizes).address
    tile, per_task = tile_rows(batch, vectors, d, columns * m)
    form = _Backward(cell, name, d, tile, vectors, n % lane != 0, m % lane != 0, sizes is not None, w_hr is not None)
    flops = 2.0 * rows * m * (columns + (0 if w_hr is None else n))
    site.launch(
        form.kernel(),
        (*kept, to_input.address, to_state.address, dh.address, dc.address, weights, deltas, units, fresh, projection,
         table, *walk, n, m, per_task),
        -(-batch // per_task), flops / 100, f"{name} back {length}x{batch}x{n}",
        (flops, float(d.itemsize * rows * columns * m)),
    )  # fmt: skip
    inputs, states = ordered(site, x), Window(kept[3], (m, 1), d)
    right = Operand(site.source(w_ih), d, w_ih.strides[1], w_ih.strides[0], ())
    product(site, gx.address, Operand(to_input.address, d, columns, 1, ()), right, (rows, features, columns), d)
    _summed(site, (to_input, inputs, g_ih), (columns, features, rows))
    _summed(site, (to_state, states, g_hh), (columns, m, rows))
    if w_hr is not None:
        _summed(site, (Window(deltas, (m, 1), d), Window(fresh, (n, 1), d), g_hr), (m, n, rows))
    _sum_of_rows(site, rows, columns, to_input, gb)
    if cell.joint:
        copy(site, (columns,), gb_state, gb, "rnn back")
    else:
        _sum_of_rows(site, rows, columns, to_state, gb_state)


def _summed(site: Site, places: tuple[Window, Window, Window], shape: tuple[int, int, int]) -> None:
    """The gradient of weights: of the gradients and the values they met, products summed over all rows."""
    (gradients, values, into), (columns, width, _) = places, shape
    left = Operand(gradients.address, into.dtype, 1, columns, ())
    product(site, into.address, left, Operand(values.address, into.dtype, 1, width, ()), shape, into.dtype)


def _begin(site: Site, shape: Ints, into: Window, given: Arg | None) -> None:
    """Set a gradient to the one given, or to zeros."""
    if given is None:
        fill(site, shape, into, 0, "rnn back")
    else:
        copy(site, shape, into, window(site, given), "rnn back")


@dataclass(frozen=True)
class _Backward:
    """The kernel that walks back through time. A register tile has `rows` rows by `vectors` vectors."""

    cell: Cell
    name: str
    d: dtype
    rows: int
    vectors: int
    masked: bool
    masked_state: bool
    packed: bool
    projected: bool

    def kernel(self) -> Kernel:
        flags = f"{self.masked:d}{self.masked_state:d}{self.packed:d}{self.projected:d}"
        key = f"{self.name} back {self.d.name} {self.rows}x{self.vectors} {flags} {vector_bytes()}"
        return Kernel(key, lambda k: _Steps(self, k).emit())


class _Steps:
    """That kernel while it is written."""

    def __init__(self, form: _Backward, k: Emitter) -> None:
        self.form, self.cell, self.k = form, form.cell, k
        self.scalar = scalars.memory_type(form.d)
        self.width = vector_bytes() // form.d.itemsize
        self.type = vector(self.scalar, self.width)
        self.s = functions(k, form.d)
        names = ("g saved c_before h_before to_input to_state dh dc weights deltas units fresh projection "
                 "sizes").split()  # fmt: skip
        self.at = {name: k.pointer(word) for word, name in enumerate(names)}
        *self.walk, self.n, self.m, self.per_task = (k.integer(len(names) + i) for i in range(len(WORDS) + 3))
        self.depth = k.mul(self.n, self.cell.gates)

    def place(self, name: str, offset: Index) -> Val:
        return self.k.at(self.at[name], offset, self.scalar)

    def emit(self) -> None:
        k, form, table = self.k, self.form, self.at["sizes"] if self.form.packed else None
        with k.tasks() as task, steps(k, self.walk, table) as step:
            top = k.mul(task, self.per_task)
            bottom = k.minimum(k.add(top, self.per_task), step.rows)
            if form.projected:
                with k.loop(bottom, start=top) as row, k.loop(self.m, step=self.width) as unit:
                    self._delta(row, k.add(step.start, row), unit)
                with self._tiles(self.n, top, bottom) as (unit, row):
                    self._unit_tile(step.start, unit, row, bottom)
            with k.loop(bottom, start=top) as row, k.loop(self.n, step=self.width) as unit:
                self._cell(row, k.add(step.start, row), unit)
            with self._tiles(self.m, top, bottom) as (unit, row):
                self._state_tile(step.start, unit, row, bottom)

    @contextmanager
    def _tiles(self, columns: Val, top: Val, bottom: Val) -> Iterator[tuple[Val, Val]]:
        k, form = self.k, self.form
        with k.loop(columns, step=form.vectors * self.width) as unit, k.loop(bottom, start=top, step=form.rows) as row:
            yield unit, row

    def _mask(self, unit: Index, state: bool = False) -> Val | None:
        """Which lanes from a unit on there are; None: all."""
        if not (self.form.masked_state if state else self.form.masked):
            return None
        return self.k.mask(self.k.sub(self.m if state else self.n, unit), self.width)

    def _load(self, name: str, index: Index, mask: Val | None) -> Val:
        return scalars.load(self.k, self.at[name], index, self.form.d, self.width, mask)

    def _store(self, x: Val, name: str, index: Index, mask: Val | None) -> None:
        scalars.store(self.k, x, self.at[name], index, self.form.d, mask)

    def _delta(self, row: Val, place: Val, unit: Val) -> None:
        """The gradient of a vector of the projected state."""
        k, m, mask = self.k, self.m, self._mask(unit, True)
        own = k.add(k.mul(place, m), unit)
        d = self._load("dh", k.add(k.mul(row, m), unit), mask) + self._load("g", own, mask)
        self._store(d, "deltas", own, mask)

    def _cell(self, row: Val, place: Val, unit: Val) -> None:
        """The gradients of the gates of a vector of units; `row` is of the batch, `place` of all steps."""
        k, cell, n, mask = self.k, self.cell, self.n, self._mask(unit)
        own, state = k.add(k.mul(place, n), unit), k.add(k.mul(row, n), unit)
        across = [k.add(k.mul(n, g), unit) for g in range(cell.saved)]
        saved = [self._load("saved", k.add(k.mul(place, k.mul(n, cell.saved)), g), mask) for g in across]
        c_before = self._load("c_before", own, mask) if cell.memory else None
        if self.form.projected:
            assert cell.output is not None, "only such cells have projections"
            d = self._load("units", state, mask)
            self._store(cell.output(self.s, saved, c_before), "fresh", own, mask)
        else:
            d = self._load("dh", state, mask) + self._load("g", own, mask)
        dc = self._load("dc", state, mask) if cell.memory else None
        h_before = None if cell.joint else self._load("h_before", own, mask)
        to_input, to_state, direct, dc = cell.back(self.s, d, dc, saved, c_before, h_before)
        for g in range(cell.gates):
            at = k.add(k.mul(place, self.depth), across[g])
            self._store(to_input[g], "to_input", at, mask)
            if not cell.joint:
                self._store(to_state[g], "to_state", at, mask)
        if direct is not None:
            self._store(direct, "dh", state, mask)
        if dc is not None:
            self._store(dc, "dc", state, mask)

    def _unit_tile(self, start: Val, unit: Val, row: Val, bottom: Val) -> None:
        """The gradient of what was projected, for some rows by some vectors of units."""
        k, rows = self.k, self._rows(row, bottom)
        deltas = [self.place("deltas", k.mul(k.add(start, r), self.m)) for r in rows]
        panel = self.place("projection", k.mul(unit, self.m))
        sums = products(k, deltas, panel, self.m, self.form.vectors, self.type)
        for total, r, at, mask in self._each(sums, rows, row, unit, bottom, False):
            self._store(total, "units", k.add(k.mul(r, self.n), at), mask)

    def _state_tile(self, start: Val, unit: Val, row: Val, bottom: Val) -> None:
        """The gradient of the state before, for some rows by some vectors of it."""
        k, rows = self.k, self._rows(row, bottom)
        gates = [self.place("to_state", k.mul(k.add(start, r), self.depth)) for r in rows]
        panel = self.place("weights", k.mul(unit, self.depth))
        sums = products(k, gates, panel, self.depth, self.form.vectors, self.type)
        for total, r, units, mask in self._each(sums, rows, row, unit, bottom, True):
            at = k.add(k.mul(r, self.m), units)
            if not self.cell.joint:  # cells with a direct part left it there
                total = self._load("dh", at, mask) + total
            self._store(total, "dh", at, mask)

    def _rows(self, row: Val, bottom: Val) -> list[Val]:
        """A tile's rows; those behind the last one are the last one again."""
        k = self.k
        return [k.minimum(k.add(row, r), k.sub(bottom, 1)) for r in range(self.form.rows)]

    def _each(
        self, sums: list[Val], rows: list[Val], row: Val, unit: Val, bottom: Val, state: bool
    ) -> Iterator[tuple[Val, Val, Val, Val | None]]:  # fmt: skip
        """Each sum of a tile where it exists: with its row, its first unit and their mask."""
        k, vectors = self.k, self.form.vectors
        for v in range(vectors):
            units = k.add(unit, v * self.width)
            mask = self._mask(units, state)
            for r, own in enumerate(rows):
                with k.when(k.add(row, r) < bottom):
                    yield sums[r * vectors + v], own, units, mask


def _sum_of_rows(site: Site, rows: int, columns: int, x: Window, into: Window) -> None:
    """The sum of all rows: blocks of rows in order, then the blocks in order."""
    d = x.dtype
    width = vector_bytes() // d.itemsize
    block = 4 * width

    def emit(k: Emitter) -> None:
        n, all_rows = k.integer(2), k.integer(3)
        type = vector(scalars.memory_type(d), width)
        zero = k.const(type, 0)
        with k.tasks() as task:
            first = k.mul(task, block)
            with k.loop(k.minimum(k.add(first, block), n), start=first, step=width) as column:
                mask = k.mask(k.sub(n, column), width)
                with k.loop(all_rows, step=SUM_BLOCK, carried=[zero]) as outer:
                    stop = k.minimum(k.add(outer.i, SUM_BLOCK), all_rows)
                    with k.loop(stop, start=outer.i, carried=[zero]) as inner:
                        at = k.add(k.mul(inner.i, n), column)
                        inner.carry(inner.carried[0] + scalars.load(k, k.pointer(0), at, d, width, mask))
                    outer.carry(outer.carried[0] + inner.results[0])
                scalars.store(k, outer.results[0], k.pointer(1), column, d, mask)

    nbytes = float(rows * columns * d.itemsize)
    kernel = Kernel(f"sum of rows {d.name} {vector_bytes()}", emit)
    words = (x.address, into.address, columns, rows)
    site.launch(kernel, words, -(-columns // block), nbytes / 20, "rnn bias", (0.0, nbytes))
