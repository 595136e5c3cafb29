"""The positions of affine maps: `affine_grid` and its gradient.

    out[n, point] = theta[n] @ (x, y, z, 1)             of every point of an image or a volume
    gradient[n] = sum over points of g[n, point] (x, y, z, 1)

Lanes are points of a row. Coordinates are made in double and rounded once, as the reference makes them. The sums of
many points are cut into chunks, which a second launch adds up in order.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import prod

from flambeau.dtypes import dtype
from flambeau.engine.graph import Call
from flambeau.engine.kernel import points, scalars
from flambeau.engine.kernel.contract.finish import number_bits
from flambeau.engine.kernel.contract.words import Bound, Words
from flambeau.engine.kernel.emit import Emitter, Index, Val, vector
from flambeau.engine.kernel.loops import emit_nest
from flambeau.engine.kernel.move_walk import lanes_loop
from flambeau.engine.kernel.nest import Access, Axis, Nest, Step, Store
from flambeau.engine.kernel.pool.planes import contiguous
from flambeau.engine.kernel.target import vector_bytes
from flambeau.engine.kernel.widen import widened
from flambeau.engine.plan import Address, Kernel
from flambeau.engine.schedule.lowering import Site, Unsupported
from flambeau.shape import Ints

_CHUNK = 16384  # points whose sums are one task's


@dataclass(frozen=True)
class _Points:
    """What both kernels share: the coordinates of points."""

    dims: int
    aligned: bool
    dtype: dtype

    @property
    def width(self) -> int:
        return vector_bytes() // self.dtype.itemsize

    @property
    def form(self) -> str:
        return f"{self.dims} {self.aligned:d} {self.dtype.name} w{self.width}"

    def row(self, k: Emitter, w: Bound, row: Val) -> tuple[Val, list[Val]]:
        """Which image a row belongs to, and what all its points have in common of (y, z, 1), as vectors."""
        rest, shared = row, []
        for d in reversed(range(self.dims - 1)):
            size = w.integer(k, f"size{d}")
            shared.append(k.splat(self._coordinate(k, w, d, k.rem(rest, size)), self.width))
            rest = k.div(rest, size)
        return rest, [*shared, k.const(shared[0].type, 1)]

    def columns(self, k: Emitter, w: Bound, first: Index) -> Val:
        """x of the points from `first` on."""
        type = vector("i64", self.width)
        return self._coordinate(k, w, self.dims - 1, k.add(k.ramp(type), k.val(first, type)))

    def _coordinate(self, k: Emitter, w: Bound, d: int, i: Val) -> Val:
        """From -1 to 1 along dimension `d`: centres of pixels, or with `aligned` of the corner ones."""
        at = k.cast(i, "double")
        first, step = (w.number(k, f"{name}{d}", "double") for name in ("first", "step"))
        line = k.select(i.equals(w.integer(k, f"last{d}")), 1.0, at * step + first)
        if not self.aligned:
            size = w.integer(k, f"size{d}")
            line = line * k.cast(k.sub(size, 1), "double") / k.cast(size, "double")
        return k.cast(line, scalars.compute_type(self.dtype))


def _describe(words: Words, size: Ints) -> None:
    for d, n in enumerate(size):
        first, step = (-1.0, 2.0 / (n - 1)) if n > 1 else (0.0, 0.0)
        words.add(**{f"size{d}": n, f"first{d}": number_bits(first), f"step{d}": number_bits(step)})
        words.add(**{f"last{d}": n - 1 if n > 1 else -1})


# -- positions -------------------------------------------------------------------------------------------------


@widened
def grid(site: Site, call: Call) -> None:
    """Positions [N, *size, dims]."""
    (theta,), size = call.inputs, call.params["size"]
    if theta.dtype.is_complex:
        raise Unsupported("complex positions")
    if 0 in call.metas[0].shape:
        return
    form, words = _Points(len(size), call.params["align_corners"], theta.dtype), Words()
    images, down, along = theta.strides
    words.add(theta=site.source(theta), out=site.result(), images=images, down=down, along=along)
    _describe(words, size)
    bound, rows = words.bind(), theta.shape[0] * prod(size[:-1])
    kernel = Kernel(f"affine grid {form.form}", lambda k: _emit_grid(k, bound, form))
    count = float(prod(call.metas[0].shape))
    site.launch(
        kernel, tuple(words.args), rows, count / 2, "affine_grid", (count * len(size), count * theta.dtype.itemsize)
    )


def _emit_grid(k: Emitter, w: Bound, p: _Points) -> None:
    memory, columns = scalars.memory_type(p.dtype), w.integer(k, f"size{p.dims - 1}")
    with k.tasks() as row:
        image, shared = p.row(k, w, row)
        base = k.at(w.pointer(k, "theta"), k.mul(image, w.integer(k, "images")), memory)
        matrix = [[k.splat(x, p.width) for x in _line(k, w, base, d, p)] for d in range(p.dims)]
        out = k.at(w.pointer(k, "out"), k.mul(k.mul(row, columns), p.dims), memory)

        def body(i: Index, mask: Val | None) -> None:
            x = p.columns(k, w, i)
            found = []
            for first, *rest in matrix:
                total = x * first
                for factor, y in zip(rest, shared):
                    total = k.fma(factor, y, total)
                found.append(total)
            points.store(k, found, out, i, p.dtype, None if mask is None else k.sub(columns, i))

        lanes_loop(k, 0, columns, p.width, body, unroll=1)


def _line(k: Emitter, w: Bound, base: Val, d: int, p: _Points) -> list[Val]:
    """A row of the matrix."""
    down, along = w.integer(k, "down"), w.integer(k, "along")
    return [scalars.load(k, base, k.add(k.mul(down, d), k.mul(along, c)), p.dtype, 1) for c in range(p.dims + 1)]


# -- their gradient --------------------------------------------------------------------------------------------


@widened
def gradient(site: Site, call: Call) -> None:
    """The gradient of the matrices [N, dims, dims + 1]."""
    (g,), size = call.inputs, call.params["size"]
    if g.dtype.is_complex:
        raise Unsupported("complex positions")
    if 0 in call.metas[0].shape:
        return
    dims, images, rows = len(size), g.shape[0], prod(size[:-1])
    form, words = _Points(dims, call.params["align_corners"], g.dtype), Words()
    chunk = max(1, _CHUNK // size[-1])
    chunks, each = -(-rows // chunk), dims * (dims + 1)
    sums = site.result() if chunks == 1 else site.temp(images * chunks * each * g.dtype.itemsize)
    words.add(g=contiguous(site, g), sums=sums, rows=rows, chunk=chunk, chunks=chunks)
    _describe(words, size)
    bound, count = words.bind(), float(prod(g.shape))
    kernel = Kernel(f"affine grid gradient {form.form}", lambda k: _emit_gradient(k, bound, form))
    work = count * (dims + 1), count * g.dtype.itemsize
    site.launch(kernel, tuple(words.args), images * chunks, count / 2, "affine_grid", work)
    if chunks > 1:
        _add_up(site, (images, chunks, each), g.dtype, sums)


def _add_up(site: Site, sizes: tuple[int, int, int], kind: dtype, sums: Address) -> None:
    images, chunks, each = sizes
    accesses = [Access((chunks * each, each, 1), kind), Access((each, 0, 1), kind)]
    steps = [Step("load", kind, (), 0), Step("reduce", kind, (0,), "sum")]
    axes, width = (Axis(images), Axis(chunks, True), Axis(each)), vector_bytes() // kind.itemsize
    nest = Nest(axes, 2, width, accesses, steps, [Store(1, 1, False)])
    kernel = Kernel(nest.key, lambda k: emit_nest(k, nest), nest)
    site.launch(kernel, (sums, site.result()), nest.tasks, float(prod(sizes)), "affine_grid")


def _emit_gradient(k: Emitter, w: Bound, p: _Points) -> None:
    columns = w.integer(k, f"size{p.dims - 1}")
    rows, chunk, chunks = (w.integer(k, name) for name in ("rows", "chunk", "chunks"))
    zero = k.const(vector(scalars.compute_type(p.dtype), p.width), 0)
    whole = k.sub(columns, k.rem(columns, p.width))
    with k.tasks() as task:
        image, first = k.div(task, chunks), k.mul(k.rem(task, chunks), chunk)
        stop = k.minimum(k.add(first, chunk), rows)

        def added(row: Val, shared: list[Val], i: Index, count: Index | None, sums: list[Val]) -> list[Val]:
            first, coordinates = k.add(k.mul(row, columns), i), [p.columns(k, w, i), *shared]
            given = points.load(k, w.pointer(k, "g"), first, p.dtype, p.dims, p.width, count)
            places = product(given, coordinates)
            return [k.fma(lanes, x, total) for (lanes, x), total in zip(places, sums, strict=True)]

        with k.loop(stop, start=first, carried=[zero] * (p.dims * (p.dims + 1))) as down:
            row = k.add(k.mul(image, rows), down.i)
            _, shared = p.row(k, w, row)
            with k.loop(whole, step=p.width, carried=down.carried) as along:
                along.carry(*added(row, shared, along.i, None, along.carried))
            down.carry(*added(row, shared, whole, k.sub(columns, whole), along.results))
        for nr, total in enumerate(down.results):
            at = k.add(k.mul(task, len(down.results)), nr)
            scalars.store(k, k.fold(total, lambda a, b: a + b), w.pointer(k, "sums"), at, p.dtype)
