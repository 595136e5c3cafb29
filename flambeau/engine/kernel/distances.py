"""Distances of all rows of one matrix from all rows of another: the lowering of cdist, from nests and products.

    out[i, j] = (sum over k of |a[i, k] - b[j, k]| ** p) ** (1 / p)

Lanes are rows of `b`, which are turned so that these are neighbours. Euclidean distances of many rows are one matrix
product: |a|**2 - 2 a b + |b|**2 is that of rows with two elements more, [-2 a, |a|**2, 1] and [b, 1, |b|**2].
"""

from __future__ import annotations

import math
from math import prod
from typing import Any

from flambeau.dtypes import FLOAT, dtype
from flambeau.engine.graph import Arg, Call
from flambeau.engine.kernel.contract.lower import launch as launch_product
from flambeau.engine.kernel.contract.product import Operand, Product, broadcast_strides, joined
from flambeau.engine.kernel.emit import Emitter, Index, Val
from flambeau.engine.kernel.loops import emit_nest
from flambeau.engine.kernel.move import Window, copy, fill, result, window
from flambeau.engine.kernel.nest import Access, Axis, Function, Nest, Step, Store
from flambeau.engine.kernel.target import vector_bytes
from flambeau.engine.kernel.widen import widened
from flambeau.engine.plan import Kernel
from flambeau.engine.schedule.lowering import Site, Unsupported
from flambeau.shape import Ints, contiguous_strides

_STRIPS = 4  # vectors of columns at once
_CYCLES = {0: 4, 1: 3, 2: 3, math.inf: 4}  # for a vector of elements; other orders take _POWER
_POWER = 40


@widened
def lower(site: Site, call: Call) -> None:
    """Distances in the `p`-norm; with `product`, Euclidean ones by a product."""
    a, b = call.inputs
    meta, p = call.metas[0], call.params["p"]
    if meta.dtype.category != FLOAT or not a.dtype is b.dtype is meta.dtype:
        raise Unsupported(f"distances in {meta.dtype}")
    if 0 in meta.shape:
        return
    if not a.shape[-1]:
        fill(site, meta.shape, result(site, call), 0, "cdist")
    elif call.params["product"]:
        _by_product(site, a, b, meta.shape)
    else:
        _directly(site, a, b, meta.shape, p)


# -- element by element ----------------------------------------------------------------------------------------


def _terms(p: float) -> tuple[Function, str, Function | None]:
    """What a difference becomes, how these are reduced, and what the result becomes."""
    if p == 0:
        return Function("unequal", lambda s, x: s.cast(s.ne(x, 0.0))), "sum", None
    if p == 1:
        return Function("size", lambda s, x: s.abs(x)), "sum", None
    if p == 2:
        return Function("square", lambda s, x: x * x), "sum", Function("root", lambda s, x: s.sqrt(x))
    if p == math.inf:
        return Function("size", lambda s, x: s.abs(x)), "max", None

    def power(exponent: float) -> Function:
        return Function(f"power {exponent!r}", lambda s, x: s.pow(s.abs(x), s.constant(exponent, x)))

    return power(p), "sum", power(1 / p)


def _directly(site: Site, a: Arg, b: Arg, shape: Ints, p: float) -> None:
    kind, (*batch, rows, columns), depth = a.dtype, shape, a.shape[-1]
    b, at = _turned(site, b)
    out = contiguous_strides(shape)
    a_steps, b_steps = (broadcast_strides(x, (*batch, *x.shape[-2:])) for x in (a, b))
    sizes, (a_batch, b_batch, y_batch) = joined(batch, [a_steps[:-2], b_steps[:-2], out[:-2]])
    accesses = [
        Access((*a_batch, a_steps[-2], a_steps[-1], 0), kind),
        Access((*b_batch, 0, b_steps[-1], b_steps[-2]), kind),
        Access((*y_batch, columns, 0, 1), kind),
    ]
    each, how, last = _terms(p)
    cost = _CYCLES.get(p, _POWER)
    steps = [
        Step("load", kind, (), 0), Step("load", kind, (), 1),
        Step("map", kind, (0, 1), Function("difference", lambda s, x, y: x - y)),
        Step("map", kind, (2,), each, cost), Step("reduce", kind, (3,), how),
    ]  # fmt: skip
    if last is not None:
        steps.append(Step("map", kind, (4,), last))
    axes = (*map(Axis, sizes), Axis(rows), Axis(depth, True), Axis(columns))
    width = vector_bytes() // kind.itemsize
    strips = max(1, min(_STRIPS, -(-columns // width)))
    nest = Nest(axes, len(axes) - 1, width, accesses, steps, [Store(len(steps) - 1, 2, False)], 1, strips)
    vectors = prod(shape) * depth / width
    _launch(site, nest, (site.source(a), at, site.result()), vectors * cost / 4, "cdist")


def _turned(site: Site, b: Arg) -> tuple[Arg, Any]:
    """`b` with neighbouring rows side by side in memory, and where it is."""
    *lead, columns, depth = b.shape
    if b.strides[-2] == 1 or columns == 1:
        return b, site.source(b)
    *steps, across, along = contiguous_strides((*lead, depth, columns))
    turned = b._replace(strides=(*steps, along, across), offset=0)
    at = site.temp(prod(b.shape) * b.dtype.itemsize)
    copy(site, b.shape, Window(at, turned.strides, b.dtype), window(site, b), "cdist")
    return turned, at


def _launch(site: Site, nest: Nest, args: tuple[Any, ...], cost: float, note: str) -> None:
    kernel = Kernel(nest.key, lambda k: emit_nest(k, nest), nest)
    site.launch(kernel, args, nest.tasks, cost, note, (4 * cost, 0.0))


# -- by a product ----------------------------------------------------------------------------------------------


class _Root:
    """An epilogue: the square root of sums that are not negative but for rounding."""

    key, args = "root of sums", ()

    def apply(self, k: Emitter, x: Val, flat: Index, first_word: int, mask: Val | None = None) -> Val:
        return k.intrinsic("sqrt", x.type, k.select(x < 0.0, 0.0, x))


class _Rooted:
    """A site whose products end with roots."""

    def __init__(self, site: Site) -> None:
        self.site, self.epilogue = site, _Root()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.site, name)


def _by_product(site: Site, a: Arg, b: Arg, shape: Ints) -> None:
    *batch, rows, columns = shape
    depth = a.shape[-1] + 2
    left = _longer(site, a, -2.0, 0, batch)
    right = _longer(site, b, 1.0, 1, batch)
    product = Product(tuple(batch), rows, columns, depth, left, right, a.dtype)
    launch_product(_Rooted(site), product)


def _longer(site: Site, x: Arg, scale: float, place: int, batch: list[int]) -> Operand:
    """Rows, scaled, with their sum of squares at `place` of two more elements, the other one being 1."""
    *lead, depth = x.shape
    longer = x._replace(shape=(*lead, depth + 2), strides=contiguous_strides((*lead, depth + 2)), offset=0)
    at = site.temp(prod(longer.shape) * x.dtype.itemsize)
    out = Window(at, longer.strides, x.dtype)
    fill(site, (*lead, 1), out.part(depth + 1 - place), 1, "cdist")
    _squares(site, x, out, out.part(depth + place), scale)
    outer, inner = longer.strides[-2:]
    return Operand(at, x.dtype, outer, inner, tuple(broadcast_strides(longer, (*batch, *longer.shape[-2:]))[:-2]))


def _squares(site: Site, x: Arg, scaled: Window, sums: Window, scale: float) -> None:
    *lead, depth = x.shape
    kind: dtype = x.dtype
    sizes, (given, made) = joined(lead, [x.strides[:-1], scaled.strides[:-1]])
    steps = [
        Step("load", kind, (), 0),
        Step("map", kind, (0,), Function(f"times {scale!r}", lambda s, v: s.scaled(scale, v))),
        Step("map", kind, (0,), Function("square", lambda s, v: v * v)), Step("reduce", kind, (2,), "sum"),
    ]  # fmt: skip
    accesses = [
        Access((*given, x.strides[-1]), kind), Access((*made, 1), kind), Access((*made, 0), kind),
    ]  # fmt: skip
    axes = (*map(Axis, sizes), Axis(depth, True))
    stores = [Store(1, 1, True), Store(3, 2, False)]
    nest = Nest(axes, len(axes) - 1, vector_bytes() // kind.itemsize, accesses, steps, stores)
    args = site.source(x), scaled.address, sums.address
    _launch(site, nest, args, prod(x.shape) / 10, "cdist")
