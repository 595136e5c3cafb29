"""Recurrent layers backward: one launch that walks back through time, then the products of all steps at once.

As on the way forward, rows of the batch are independent, and a task takes some rows through the whole sequence. At each
step the cell's formula gives the gradients of the gates, which are kept for all steps; their product with the packed
weights is the gradient of the state before. The gradients of input, weights and biases are then three products and a
sum over the kept gradients.
"""

from __future__ import annotations

from dataclasses import dataclass

from flambeau.dtypes import dtype
from flambeau.engine.graph import Arg, Call
from flambeau.engine.kernel import scalars
from flambeau.engine.kernel.contract.product import Operand
from flambeau.engine.kernel.emit import Emitter, Index, Val, vector
from flambeau.engine.kernel.move import Window, copy, fill, result, window
from flambeau.engine.kernel.recur import ordered, pack, product, require, scratch, tile_rows
from flambeau.engine.kernel.recur_cells import CELLS, Cell
from flambeau.engine.kernel.scalars import Scalars
from flambeau.engine.kernel.target import vector_bytes
from flambeau.engine.kernel.widen import widened
from flambeau.engine.plan import Kernel
from flambeau.engine.schedule.lowering import Site
from flambeau.shape import Ints

SUM_BLOCK = 256  # rows whose sum is made apart, for accuracy


@widened
def layer_back(site: Site, call: Call) -> None:
    """Gradients of the input, the first states, the weights and the biases."""
    g, gh, gc, x, saved, c_before, h_before, w_ih, w_hh = call.inputs[:9]
    cell, d = CELLS[call.params["cell"]], x.dtype
    (length, batch, features), n = x.shape, h_before.shape[2]
    require(call, d, (length, batch, features, n))
    rows, columns = length * batch, cell.gates * n
    gx, dh, dc, g_ih, g_hh, gb, gb_state = (result(site, call, nr) for nr in range(7))
    for given, into in ((gh, dh), (gc, dc))[: 1 + cell.memory]:
        _begin(site, (batch, n), into, given)
    outputs = scratch(site, (length, batch, n), d) if g is None else ordered(site, g)
    if g is None:
        fill(site, (length, batch, n), outputs, 0, "rnn back")
    to_input = scratch(site, (rows, columns), d)
    to_state = to_input if cell.joint else scratch(site, (rows, columns), d)
    others = (saved, c_before if cell.memory else h_before, h_before)
    kept = [outputs.address, *(ordered(site, v).address for v in others)]
    vectors = min(4, -(-n * d.itemsize // vector_bytes()))
    lane = vectors * vector_bytes() // d.itemsize
    weights = pack(site, (columns, 1, n), lane, window(site, w_hh).part(0, (w_hh.strides[0], 0, w_hh.strides[1])))
    tile, per_task = tile_rows(batch, vectors, columns * n * d.itemsize)
    first, step = (0, 1) if call.params["backwards"] else (length - 1, -1)
    kernel = _Backward(cell, call.params["cell"], d, tile, vectors, n % lane != 0).kernel()
    flops = 2.0 * rows * columns * n
    site.launch(
        kernel,
        (*kept, to_input.address, to_state.address, dh.address, dc.address, weights, length, batch, n, first, step,
         per_task),
        -(-batch // per_task), flops / 100, f"{call.params['cell']} back {length}x{batch}x{n}",
        (flops, float(d.itemsize * length * columns * n)),
    )  # fmt: skip
    inputs, states = ordered(site, x), Window(kept[3], (n, 1), d)
    right = Operand(site.source(w_ih), d, w_ih.strides[1], w_ih.strides[0], ())
    product(site, gx.address, Operand(to_input.address, d, columns, 1, ()), right, (rows, features, columns), d)
    for gates, width, held, into in ((to_input, features, inputs, g_ih), (to_state, n, states, g_hh)):
        left, right = Operand(gates.address, d, 1, columns, ()), Operand(held.address, d, 1, width, ())
        product(site, into.address, left, right, (columns, width, rows), d)
    _sum_of_rows(site, rows, columns, to_input, gb)
    if cell.joint:
        copy(site, (columns,), gb_state, gb, "rnn back")
    else:
        _sum_of_rows(site, rows, columns, to_state, gb_state)


def _begin(site: Site, shape: Ints, into: Window, given: Arg | None) -> None:
    """Set a gradient to the one given, or to zeros."""
    if given is None:
        fill(site, shape, into, 0, "rnn back")
    else:
        copy(site, shape, into, window(site, given), "rnn back")


@dataclass(frozen=True)
class _Backward:
    """The kernel that walks back through time."""

    cell: Cell
    name: str
    d: dtype
    rows: int
    vectors: int
    masked: bool

    def kernel(self) -> Kernel:
        key = f"{self.name} back {self.d.name} {self.rows}x{self.vectors} {self.masked:d} {vector_bytes()}"
        return Kernel(key, lambda k: _Steps(self, k).emit())


class _Steps:
    """That kernel while it is written."""

    def __init__(self, form: _Backward, k: Emitter) -> None:
        self.form, self.cell, self.k = form, form.cell, k
        self.scalar = scalars.memory_type(form.d)
        self.width = vector_bytes() // form.d.itemsize
        self.type = vector(self.scalar, self.width)
        self.s = Scalars(k, form.d)
        names = "g saved c_before h_before to_input to_state dh dc weights".split()
        self.at = {name: k.pointer(word) for word, name in enumerate(names)}
        self.length, self.batch, self.n, self.first, self.step, self.per_task = (k.integer(9 + i) for i in range(6))

    def place(self, name: str, offset: Index) -> Val:
        return self.k.at(self.at[name], offset, self.scalar)

    def emit(self) -> None:
        k, form = self.k, self.form
        with k.tasks() as task, k.loop(self.length) as nr:
            top = k.mul(task, self.per_task)
            bottom = k.minimum(k.add(top, self.per_task), self.batch)
            start = k.mul(k.add(self.first, k.mul(nr, self.step)), self.batch)
            with k.loop(bottom, start=top) as row, k.loop(self.n, step=self.width) as unit:
                self._cell(row, k.add(start, row), unit)
            with k.loop(self.n, step=form.vectors * self.width) as unit:
                with k.loop(bottom, start=top, step=form.rows) as row:
                    self._tile(start, unit, row, bottom)

    def _mask(self, unit: Index) -> Val | None:
        return self.k.mask(self.k.sub(self.n, unit), self.width) if self.form.masked else None

    def _cell(self, row: Val, place: Val, unit: Val) -> None:
        """The gradients of the gates of a vector of units; `row` is of the batch, `place` of all steps."""
        k, cell, n, mask = self.k, self.cell, self.n, self._mask(unit)
        form, own, state = self.form, k.add(k.mul(place, n), unit), k.add(k.mul(row, n), unit)

        def load(name: str, index: Index) -> Val:
            return scalars.load(k, self.at[name], index, form.d, self.width, mask)

        def store(x: Val, name: str, index: Index) -> None:
            scalars.store(k, x, self.at[name], index, form.d, mask)

        saved = [
            load("saved", k.add(k.mul(place, k.mul(n, cell.saved)), k.add(k.mul(n, g), unit)))
            for g in range(cell.saved)
        ]
        d = load("dh", state) + load("g", own)
        dc = load("dc", state) if cell.memory else None
        to_input, to_state, direct, dc = cell.back(
            self.s, d, dc, saved, load("c_before", own) if cell.memory else None, load("h_before", own)
        )
        gates = k.mul(place, k.mul(n, cell.gates))
        for g in range(cell.gates):
            at = k.add(gates, k.add(k.mul(n, g), unit))
            store(to_input[g], "to_input", at)
            if not cell.joint:
                store(to_state[g], "to_state", at)
        if direct is not None:
            store(direct, "dh", state)
        if dc is not None:
            store(dc, "dc", state)

    def _tile(self, start: Val, unit: Val, row: Val, bottom: Val) -> None:
        """The gradient of the state before, for some rows by some vectors of units."""
        k, form, width, vectors = self.k, self.form, self.width, self.form.vectors
        depth = k.mul(self.n, self.cell.gates)
        panel = self.place("weights", k.mul(unit, depth))
        rows = [k.minimum(k.add(row, r), k.sub(bottom, 1)) for r in range(form.rows)]
        gates = [self.place("to_state", k.mul(k.add(start, r), depth)) for r in rows]
        zero = k.const(self.type, 0)
        with k.loop(depth, carried=[zero] * (form.rows * vectors)) as loop:
            at = k.mul(loop.i, vectors * width)
            right = [k.load(panel, k.add(at, v * width), self.type) for v in range(vectors)]
            sums = list(loop.carried)
            for r in range(form.rows):
                left = k.splat(k.load(gates[r], loop.i, self.scalar), width)
                for v in range(vectors):
                    sums[r * vectors + v] = k.fma(left, right[v], sums[r * vectors + v])
            loop.carry(*sums)
        for v in range(vectors):
            units = k.add(unit, v * width)
            mask = self._mask(units)
            for r in range(form.rows):
                with k.when(k.add(row, r) < bottom):
                    total, at = loop.results[r * vectors + v], k.add(k.mul(rows[r], self.n), units)
                    if not self.cell.joint:  # cells with a direct part left it there
                        total = scalars.load(k, self.at["dh"], at, form.d, width, mask) + total
                    scalars.store(k, total, self.at["dh"], at, form.d, mask)


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
