"""Recurrent layers forward: one product for the input of all steps, then one launch that walks through time.

Rows of the batch know nothing of each other, so a task takes some rows through the whole sequence and never waits for
another one. At each step it goes over blocks of hidden units: a register tile (rows by the gates of a vector of units)
adds up the product of the state with packed weights, then the cell's formula turns it into the next state. The weights
are packed once: for a block of units, for each unit of the old state, the gates' vectors in a row.

Packed sequences and projections are left to the reference.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from flambeau.dtypes import dtype, float32, float64
from flambeau.engine.graph import Arg, Call
from flambeau.engine.kernel import scalars
from flambeau.engine.kernel.contract.lower import launch
from flambeau.engine.kernel.contract.product import Operand, Product
from flambeau.engine.kernel.emit import Emitter, Index, Val, vector
from flambeau.engine.kernel.move import Window, copy, fill, result, window
from flambeau.engine.kernel.recur_cells import CELLS, Cell
from flambeau.engine.kernel.scalars import Scalars
from flambeau.engine.kernel.target import cache_sizes, vector_bytes, vector_registers
from flambeau.engine.kernel.widen import widened
from flambeau.engine.plan import Address, Kernel
from flambeau.engine.schedule.lowering import Site, Unsupported
from flambeau.shape import Ints, contiguous_strides

# -- what forward and backward share ---------------------------------------------------------------------------


class Into:
    """A site whose result is somewhere else: for products that are a part of an op."""

    def __init__(self, site: Site, at: Address) -> None:
        self._site, self._at, self.epilogue = site, at, None

    def result(self, nr: int = 0) -> Address:
        return self._at

    def __getattr__(self, name: str) -> Any:
        return getattr(self._site, name)


def product(site: Site, into: Address, a: Operand, b: Operand, shape: tuple[int, int, int], d: dtype) -> None:
    """`into[rows, columns] = a @ b`, with `shape` (rows, columns, length of the sums)."""
    launch(Into(site, into), Product((), *shape, a, b, d))


def ordered(site: Site, x: Arg) -> Window:
    """An operand in row-major order: itself or a copy."""
    if x.strides == contiguous_strides(x.shape):
        return window(site, x)
    held = scratch(site, x.shape, x.dtype)
    copy(site, x.shape, held, window(site, x), "rnn")
    return held


def scratch(site: Site, shape: Ints, d: dtype) -> Window:
    return Window(site.temp(d.itemsize * math.prod(shape)), contiguous_strides(shape), d)


def pack(site: Site, shape: tuple[int, int, int], lane: int, source: Window) -> Address:
    """A matrix [depth, groups, units] as [blocks of `lane` units, depth, groups, lane], zeros behind the last unit."""
    depth, groups, units = shape
    blocks, whole = -(-units // lane), units // lane
    packed = scratch(site, (blocks, depth, groups, lane), source.dtype)
    down, across, along = source.strides
    copy(site, (whole, depth, groups, lane), packed, source.part(0, (lane * along, down, across, along)), "rnn pack")
    if whole < blocks:
        rest = packed.part(whole * packed.strides[0], packed.strides[1:])
        fill(site, (depth, groups, lane), rest, 0, "rnn pack")
        copy(site, (depth, groups, units % lane), rest, source.part(whole * lane * along), "rnn pack")
    return packed.address


def tile_rows(batch: int, accumulators: int, weight_bytes: int) -> tuple[int, int]:
    """How many rows a register tile has, given how many vectors each takes; and how many a task."""
    most = max((vector_registers() * 3 // 4) // accumulators, 1)
    tiles = -(-batch // most)
    tiles += tiles % 2 if batch >= 8 else 0  # so that two threads have as much to do
    rows = -(-batch // tiles)
    tasks = min(tiles, 4 if weight_bytes > cache_sizes()[1] // 2 else 8)  # large weights are better read seldom
    return rows, -(-tiles // tasks) * rows


def require(call: Call, d: dtype, sizes: Ints) -> None:
    if d not in (float32, float64):
        raise Unsupported(f"recurrent layers of {d}")
    if call.params["sizes"] is not None or call.inputs[-1] is not None:
        raise Unsupported("packed sequences, projections")
    if 0 in sizes:
        raise Unsupported("an empty sequence")


# -- the layer -------------------------------------------------------------------------------------------------


@widened
def layer(site: Site, call: Call) -> None:
    """One layer in one direction: outputs, last states, and what the way back needs."""
    x, h0, c0, w_ih, w_hh, b_ih, b_hh, _ = call.inputs
    cell, d = CELLS[call.params["cell"]], x.dtype
    (length, batch, features), n = x.shape, h0.shape[1]
    require(call, d, (length, batch, features, n))
    width = vector_bytes() // d.itemsize
    out, h, c, saved, c_before, h_before = (result(site, call, nr) for nr in range(6))
    first, step = (length - 1, -1) if call.params["backwards"] else (0, 1)
    copy(site, h0.shape, h_before.part(first * batch * n, (n, 1)), window(site, h0), "rnn")
    if cell.memory:
        copy(site, c0.shape, c_before.part(first * batch * n, (n, 1)), window(site, c0), "rnn")
    columns = cell.gates * n
    gates = saved if cell.joint else scratch(site, (length, batch, columns), d)
    inputs = ordered(site, x)
    left = Operand(inputs.address, d, features, 1, ())
    right = Operand(site.source(w_ih), d, w_ih.strides[0], w_ih.strides[1], ())
    product(site, gates.address, left, right, (length * batch, columns, features), d)
    down, along = w_hh.strides
    weights = pack(site, (n, cell.gates, n), width, window(site, w_hh).part(0, (along, n * down, down)))
    rows, per_task = tile_rows(batch, cell.gates, columns * n * d.itemsize)
    biases = [None if b is None else ordered(site, b).address for b in (b_ih, b_hh)]
    kernel = _Forward(cell, call.params["cell"], d, rows, n % width != 0, b_ih is not None, b_hh is not None).kernel()
    flops = 2.0 * length * batch * columns * n
    places = [w.address for w in (gates, saved, out, h_before, c_before, h, c)]
    site.launch(
        kernel,
        (*places, weights, biases[0] or out.address, biases[1] or out.address, length, batch, n, first, step, per_task),
        -(-batch // per_task), flops / 100, f"{call.params['cell']} {length}x{batch}x{n}",
        (flops, float(d.itemsize * length * columns * n)),
    )  # fmt: skip


@dataclass(frozen=True)
class _Forward:
    """The kernel that walks through time."""

    cell: Cell
    name: str
    d: dtype
    rows: int
    masked: bool
    b_ih: bool
    b_hh: bool

    def kernel(self) -> Kernel:
        key = f"{self.name} {self.d.name} {self.rows} {self.masked:d}{self.b_ih:d}{self.b_hh:d} {vector_bytes()}"
        return Kernel(key, lambda k: _Steps(self, k).emit())


class _Steps:
    """That kernel while it is written."""

    def __init__(self, form: _Forward, k: Emitter) -> None:
        self.form, self.cell, self.k, self.rows = form, form.cell, k, form.rows
        self.scalar = scalars.memory_type(form.d)
        self.width = vector_bytes() // form.d.itemsize
        self.type = vector(self.scalar, self.width)
        self.s = Scalars(k, form.d)
        names = "gates saved out h_before c_before h c weights b_ih b_hh".split()
        self.at = {name: k.pointer(word) for word, name in enumerate(names)}
        self.length, self.batch, self.n, self.first, self.step, self.per_task = (k.integer(10 + i) for i in range(6))
        self.sums = k.stack(self.scalar, self.rows * self.cell.gates * self.width)

    def place(self, name: str, offset: Index) -> Val:
        return self.k.at(self.at[name], offset, self.scalar)

    def emit(self) -> None:
        k = self.k
        with k.tasks() as task, k.loop(self.length) as nr:
            top = k.mul(task, self.per_task)
            bottom = k.minimum(k.add(top, self.per_task), self.batch)
            start = k.mul(k.add(self.first, k.mul(nr, self.step)), self.batch)  # the step's first row of all rows
            following = k.add(start, k.mul(self.step, self.batch))
            last = k.add(nr, 1).equals(self.length)
            self.following = {
                name: k.select(last, self.at[name], self.place(f"{name}_before", k.mul(following, self.n)))
                for name in (("h", "c") if self.cell.memory else ("h",))
            }
            with k.loop(self.n, step=self.width) as unit, k.loop(bottom, start=top, step=self.rows) as row:
                self._tile(start, unit, row, bottom)

    def _tile(self, start: Val, unit: Val, row: Val, bottom: Val) -> None:
        """Some rows by a vector of units: the sums, then the cell."""
        k, gates, width = self.k, self.cell.gates, self.width
        panel = self.place("weights", k.mul(k.mul(unit, self.n), gates))
        state = [
            self.place("h_before", k.mul(k.add(start, k.minimum(k.add(row, r), k.sub(bottom, 1))), self.n))
            for r in range(self.rows)
        ]
        zero = k.const(self.type, 0)
        with k.loop(self.n, carried=[zero] * (self.rows * gates)) as loop:
            at = k.mul(loop.i, gates * width)
            right = [k.load(panel, k.add(at, g * width), self.type) for g in range(gates)]
            sums = list(loop.carried)
            for r in range(self.rows):
                left = k.splat(k.load(state[r], loop.i, self.scalar), width)
                for g in range(gates):
                    sums[r * gates + g] = k.fma(left, right[g], sums[r * gates + g])
            loop.carry(*sums)
        for nr, total in enumerate(loop.results):
            k.store(total, self.sums, nr * width)
        mask = k.mask(k.sub(self.n, unit), width) if self.form.masked else None
        with k.loop(k.minimum(k.sub(bottom, row), self.rows)) as r:
            self._cell(k.add(row, r), k.add(k.add(start, row), r), r, unit, mask)

    def _cell(self, row: Val, place: Val, r: Val, unit: Val, mask: Val | None) -> None:
        """The next state of a vector of units; `row` is of the batch, `place` of all steps."""
        k, cell, form, n, width = self.k, self.cell, self.form, self.n, self.width
        across = [k.add(k.mul(n, g), unit) for g in range(cell.saved)]

        def load(name: str, index: Index) -> Val:
            return scalars.load(k, self.at[name], index, form.d, width, mask)

        x = [load("gates", k.add(k.mul(place, k.mul(n, cell.gates)), g)) for g in across[: cell.gates]]
        a = [k.load(self.sums, k.add(k.mul(r, cell.gates * width), g * width), self.type) for g in range(cell.gates)]
        if form.b_ih:
            x = [v + load("b_ih", g) for v, g in zip(x, across)]
        if form.b_hh and cell.joint:
            x = [v + load("b_hh", g) for v, g in zip(x, across)]
        elif form.b_hh:
            a = [v + load("b_hh", g) for v, g in zip(a, across)]
        own = k.add(k.mul(place, n), unit)
        c_before = load("c_before", own) if cell.memory else None
        h, c, saved = cell.forward(self.s, x, a, load("h_before", own), c_before)
        for value, g in zip(saved, across):
            self._store(value, self.at["saved"], k.add(k.mul(place, k.mul(n, cell.saved)), g), mask)
        self._store(h, self.at["out"], own, mask)
        to = k.add(k.mul(row, n), unit)
        self._store(h, self.following["h"], to, mask)
        if c is not None:
            self._store(c, self.following["c"], to, mask)

    def _store(self, x: Val, base: Val, index: Index, mask: Val | None) -> None:
        scalars.store(self.k, x, base, index, self.form.d, mask)
