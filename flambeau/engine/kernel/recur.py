"""Recurrent layers forward: one product for the input of all steps, then one launch that walks through time.

Rows of the batch know nothing of each other, so a task takes some rows through the whole sequence and never waits for
another one. At each step it goes over blocks of hidden units: a register tile (rows by the gates of a vector of units)
adds up the product of the state with packed weights, then the cell's formula turns it into the next state. The weights
are packed once: for a block of units, for each unit of the old state, the gates' vectors in a row. Where the state is
a projection of the units, its product follows when all units of the task's rows are there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from flambeau.dtypes import FLOAT, dtype
from flambeau.engine.graph import Arg, Call
from flambeau.engine.kernel import scalars
from flambeau.engine.kernel.contract.lower import launch
from flambeau.engine.kernel.contract.product import Operand, Product
from flambeau.engine.kernel.emit import Emitter, Index, Val, vector
from flambeau.engine.kernel.move import Window, copy, fill, result, window
from flambeau.engine.kernel.recur_cells import CELLS, Cell
from flambeau.engine.kernel.recur_walk import WORDS, Step, described, functions, products, steps
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


def tile_rows(batch: int, vectors: int, d: dtype, weights: int) -> tuple[int, int]:
    """How many rows a register tile has, given how many vectors each takes; and how many a task."""
    accumulators = vectors * (2 if d.is_complex else 1)
    most = max((vector_registers() * 3 // 4) // accumulators, 1)
    tiles = -(-batch // most)
    tiles += tiles % 2 if batch >= 8 else 0  # so that two threads have as much to do
    rows = -(-batch // tiles)
    tasks = min(tiles, 4 if weights * d.itemsize > cache_sizes()[1] // 2 else 8)  # large weights are better read seldom
    return rows, -(-tiles // tasks) * rows


def tile_vectors(units: int, d: dtype) -> int:
    """How many vectors of units a register tile has where each is one accumulator a row."""
    return min(4, -(-units * d.itemsize // vector_bytes()))


def require(call: Call, d: dtype, sizes: Ints) -> None:
    if d.category < FLOAT or (d.is_complex and call.params["cell"] == "rnn_relu"):
        raise Unsupported(f"recurrent layers of {d}")
    if call.inputs[-1] is not None and CELLS[call.params["cell"]].output is None:
        raise Unsupported("projections of cells without memory")
    if 0 in sizes:
        raise Unsupported("an empty sequence")


# -- the layer -------------------------------------------------------------------------------------------------


@widened
def layer(site: Site, call: Call) -> None:
    """One layer in one direction: outputs, last states, and what the way back needs."""
    x, sizes, h0, c0, w_ih, w_hh, b_ih, b_hh, w_hr = call.inputs
    cell, name, d = CELLS[call.params["cell"]], call.params["cell"], x.dtype
    (batch, m), features, n = h0.shape, x.shape[-1], w_hh.shape[0] // cell.gates
    length, total, walk = described(x, sizes, batch, call.params["backwards"])
    require(call, d, (length, batch, total, features, m, n))
    width, columns = vector_bytes() // d.itemsize, cell.gates * n
    out, h, c, saved, c_before, h_before = (result(site, call, nr) for nr in range(6))
    copy(site, h0.shape, h, window(site, h0), "rnn")
    if cell.memory:
        copy(site, c0.shape, c, window(site, c0), "rnn")
    gates = saved if cell.joint else scratch(site, (total, columns), d)
    left = Operand(ordered(site, x).address, d, features, 1, ())
    right = Operand(site.source(w_ih), d, w_ih.strides[0], w_ih.strides[1], ())
    product(site, gates.address, left, right, (total, columns, features), d)
    down, along = w_hh.strides
    weights = pack(site, (m, cell.gates, n), width, window(site, w_hh).part(0, (along, n * down, down)))
    rows, per_task = tile_rows(batch, cell.gates, d, columns * m)
    vectors = 0 if w_hr is None else tile_vectors(m, d)
    places = [w.address for w in (gates, saved, out, h_before, c_before, h, c)]
    fresh = projection = out.address
    if w_hr is not None:
        fresh = scratch(site, (batch, n), d).address
        down, along = w_hr.strides
        projection = pack(site, (n, 1, m), vectors * width, window(site, w_hr).part(0, (along, 0, down)))
    others = [out.address if v is None else ordered(site, v).address for v in (b_ih, b_hh, sizes)]
    form = _Forward(
        cell, name, d, rows, vectors, n % width != 0, m % (max(vectors, 1) * width) != 0, sizes is not None,
        b_ih is not None, b_hh is not None,
    )  # fmt: skip
    flops = 2.0 * total * m * (columns + (n if vectors else 0))
    site.launch(
        form.kernel(), (*places, weights, fresh, projection, *others, *walk, n, m, per_task), -(-batch // per_task),
        flops / 100, f"{name} {length}x{batch}x{n}", (flops, float(d.itemsize * total * columns * m)),
    )  # fmt: skip


@dataclass(frozen=True)
class _Forward:
    """The kernel that walks through time.

    Attributes:
        rows: of a register tile.
        vectors: of the projected state, in a register tile; 0 where the state is the units themselves.
        masked, masked_state: whether the last vector of units, or of the state, is a part of one.
        packed: whether a table says how many rows each step has.
    """

    cell: Cell
    name: str
    d: dtype
    rows: int
    vectors: int
    masked: bool
    masked_state: bool
    packed: bool
    b_ih: bool
    b_hh: bool

    def kernel(self) -> Kernel:
        flags = f"{self.masked:d}{self.masked_state:d}{self.packed:d}{self.b_ih:d}{self.b_hh:d}"
        key = f"{self.name} {self.d.name} {self.rows}+{self.vectors} {flags} {vector_bytes()}"
        return Kernel(key, lambda k: _Steps(self, k).emit())


class _Steps:
    """That kernel while it is written."""

    def __init__(self, form: _Forward, k: Emitter) -> None:
        self.form, self.cell, self.k, self.rows = form, form.cell, k, form.rows
        self.scalar = scalars.memory_type(form.d)
        self.width = vector_bytes() // form.d.itemsize
        self.type = vector(self.scalar, self.width)
        self.s = functions(k, form.d)
        names = "gates saved out h_before c_before h c weights fresh projection b_ih b_hh sizes".split()
        self.at = {name: k.pointer(word) for word, name in enumerate(names)}
        *self.walk, self.n, self.m, self.per_task = (k.integer(len(names) + i) for i in range(len(WORDS) + 3))
        self.sums = k.stack(self.scalar, self.rows * self.cell.gates * self.width)

    def place(self, name: str, offset: Index) -> Val:
        return self.k.at(self.at[name], offset, self.scalar)

    def _mask(self, unit: Val, state: bool = False) -> Val | None:
        """Which lanes from a unit on there are; None: all."""
        if not (self.form.masked_state if state else self.form.masked):
            return None
        return self.k.mask(self.k.sub(self.m if state else self.n, unit), self.width)

    def emit(self) -> None:
        k, table = self.k, self.at["sizes"] if self.form.packed else None
        with k.tasks() as task, steps(k, self.walk, table) as step:
            top = k.mul(task, self.per_task)
            bottom = k.minimum(k.add(top, self.per_task), step.rows)
            with k.loop(bottom, start=k.maximum(top, step.begun)) as row:
                self._begin(row, k.add(step.start, row))
            with k.loop(self.n, step=self.width) as unit, k.loop(bottom, start=top, step=self.rows) as row:
                self._tile(step, unit, row, bottom)
            if self.form.vectors:
                with k.loop(self.m, step=self.form.vectors * self.width) as unit:
                    with k.loop(bottom, start=top, step=self.rows) as row:
                        self._project(step, unit, row, bottom)

    def _begin(self, row: Val, place: Val) -> None:
        """The first states of a row are where the last ones will be."""
        for name, n in (("h", self.m), ("c", self.n))[: 1 + self.cell.memory]:
            with self.k.loop(n, step=self.width) as unit:
                mask = self._mask(unit, name == "h")
                x = self._load(name, self.k.add(self.k.mul(row, n), unit), mask)
                self._store(x, self.at[f"{name}_before"], self.k.add(self.k.mul(place, n), unit), mask)

    def _rows_of(self, name: str, row: Val, bottom: Val, n: Val, start: Index = 0) -> list[Val]:
        """The addresses of a tile's rows; those behind the last one are the last one again."""
        k, last = self.k, self.k.sub(bottom, 1)
        return [self.place(name, k.mul(k.add(start, k.minimum(k.add(row, r), last)), n)) for r in range(self.rows)]

    def _tile(self, step: Step, unit: Val, row: Val, bottom: Val) -> None:
        """Some rows by a vector of units: the sums, then the cell."""
        k, gates, width = self.k, self.cell.gates, self.width
        panel = self.place("weights", k.mul(k.mul(unit, self.m), gates))
        state = self._rows_of("h_before", row, bottom, self.m, step.start)
        for nr, total in enumerate(products(k, state, panel, self.m, gates, self.type)):
            k.store(total, self.sums, nr * width)
        mask = self._mask(unit)
        with k.loop(k.minimum(k.sub(bottom, row), self.rows)) as r:
            self._cell(step, k.add(row, r), r, unit, mask)

    def _cell(self, step: Step, row: Val, r: Val, unit: Val, mask: Val | None) -> None:
        """The next state of a vector of units; `row` is of the batch, `r` of the tile."""
        k, cell, form, n, width = self.k, self.cell, self.form, self.n, self.width
        place = k.add(step.start, row)
        across = [k.add(k.mul(n, g), unit) for g in range(cell.saved)]
        gates = k.mul(place, k.mul(n, cell.gates))
        x = [self._load("gates", k.add(gates, g), mask) for g in across[: cell.gates]]
        a = [k.load(self.sums, k.add(k.mul(r, cell.gates * width), g * width), self.type) for g in range(cell.gates)]
        if form.b_ih:
            x = [v + self._load("b_ih", g, mask) for v, g in zip(x, across)]
        if form.b_hh and cell.joint:
            x = [v + self._load("b_hh", g, mask) for v, g in zip(x, across)]
        elif form.b_hh:
            a = [v + self._load("b_hh", g, mask) for v, g in zip(a, across)]
        own = k.add(k.mul(place, n), unit)
        c_before = self._load("c_before", own, mask) if cell.memory else None
        h_before = None if cell.joint else self._load("h_before", own, mask)
        h, c, saved = cell.forward(self.s, x, a, h_before, c_before)
        for value, g in zip(saved, across):
            self._store(value, self.at["saved"], k.add(k.mul(place, k.mul(n, cell.saved)), g), mask)
        if form.vectors:
            self._store(h, self.at["fresh"], k.add(k.mul(row, n), unit), mask)
        else:
            self._put(h, "h", step, row, unit, mask)
        if c is not None:
            self._put(c, "c", step, row, unit, mask)

    def _project(self, step: Step, unit: Val, row: Val, bottom: Val) -> None:
        """Some rows by some vectors of the projected state."""
        k, vectors = self.k, self.form.vectors
        panel, units = self.place("projection", k.mul(unit, self.n)), self._rows_of("fresh", row, bottom, self.n)
        sums = products(k, units, panel, self.n, vectors, self.type)
        for v in range(vectors):
            at = k.add(unit, v * self.width)
            mask = self._mask(at, True)
            for r in range(self.rows):
                with k.when(k.add(row, r) < bottom):
                    self._put(sums[r * vectors + v], "h", step, k.add(row, r), at, mask)

    def _put(self, x: Val, name: str, step: Step, row: Val, unit: Val, mask: Val | None) -> None:
        """Units of a state after this step: where the next one reads them, or with the last ones."""
        k, n = self.k, self.m if name == "h" else self.n
        if name == "h":
            self._store(x, self.at["out"], k.add(k.mul(k.add(step.start, row), n), unit), mask)
        goes_on, following = row < step.following_rows, k.mul(k.add(step.following, row), n)
        to = k.select(goes_on, self.place(f"{name}_before", following), self.place(name, k.mul(row, n)))
        self._store(x, to, unit, mask)

    def _load(self, name: str, index: Index, mask: Val | None) -> Val:
        return scalars.load(self.k, self.at[name], index, self.form.d, self.width, mask)

    def _store(self, x: Val, base: Val, index: Index, mask: Val | None) -> None:
        scalars.store(self.k, x, base, index, self.form.d, mask)
