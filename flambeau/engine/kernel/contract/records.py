"""From the operands of op records to products: what `lower=Kernels(...)` of the contractions names.

All of them take epilogues.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from flambeau.dtypes import INTEGER, dtype
from flambeau.engine.graph import Arg, Call
from flambeau.engine.kernel.contract.lower import launch
from flambeau.engine.kernel.contract.product import Addend, Operand, Product, broadcast_strides, one_run
from flambeau.engine.kernel.move import Window, copy
from flambeau.engine.plan import Address
from flambeau.engine.schedule.lowering import Lower, Site, Unsupported
from flambeau.shape import Ints, contiguous_strides


def _matrices(site: Site, x: Arg, batch: Ints, right: bool) -> Operand:
    """The last two dimensions as a matrix, the ones before them broadcast to `batch`."""
    shape = (*batch, *x.shape[-2:])
    *lead, first, second = broadcast_strides(x, shape)
    outer, inner = (second, first) if right else (first, second)
    return Operand(site.source(x), x.dtype, outer, inner, tuple(lead))


def _product(site: Site, call: Call, a: Arg, b: Arg) -> Product:
    """Two batches of matrices."""
    meta = call.metas[0]
    batch = tuple(meta.shape[:-2])
    left, right = _matrices(site, a, batch, False), _matrices(site, b, batch, True)
    return Product(batch, a.shape[-2], b.shape[-1], a.shape[-1], left, right, meta.dtype)


def matmul(site: Site, call: Call) -> None:
    a, b = call.inputs
    launch(site, _product(site, call, a, b))


def _as_row(site: Site, x: Arg) -> Operand:
    """A vector as the left operand of one row."""
    return Operand(site.source(x), x.dtype, 0, x.strides[0], ())


def _as_columns(site: Site, x: Arg) -> Operand:
    """A matrix whose rows are the columns of the result: `matrix @ vector` as `vector @ matrix.T`."""
    return Operand(site.source(x), x.dtype, x.strides[0], x.strides[1], ())


def mv(site: Site, call: Call) -> None:
    a, b = call.inputs
    launch(site, _mv_product(site, call, a, b))


def _mv_product(site: Site, call: Call, a: Arg, b: Arg) -> Product:
    return Product((), 1, a.shape[0], a.shape[1], _as_row(site, b), _as_columns(site, a), call.metas[0].dtype)


def dot(site: Site, call: Call) -> None:
    a, b = call.inputs
    product = Product((), 1, 1, a.shape[0], _as_row(site, a), _as_row(site, b), call.metas[0].dtype)
    launch(site, product)


def _outer_product(site: Site, call: Call, a: Arg, b: Arg) -> Product:
    left = Operand(site.source(a), a.dtype, a.strides[0], 0, ())
    right = Operand(site.source(b), b.dtype, b.strides[0], 0, ())
    return Product((), a.shape[0], b.shape[0], 1, left, right, call.metas[0].dtype)


def _summed_product(site: Site, call: Call, a: Arg, b: Arg) -> Product:
    """Products of a batch, to be added up."""
    left, right = _matrices(site, a, a.shape[:1], False), _matrices(site, b, a.shape[:1], True)
    return Product(a.shape[:1], a.shape[1], b.shape[2], a.shape[2], left, right, call.metas[0].dtype)


def _plus(make: Callable[[Site, Call, Arg, Arg], Product], flat: bool = False, summed: bool = False) -> Lower:
    """`beta * input + alpha * product`; `flat`: the result is a vector, which the product has as its one row."""

    def lower(site: Site, call: Call) -> None:
        c, a, b = call.inputs
        alpha, beta = call.params.get("alpha", 1), call.params.get("beta", 1)
        dtype = call.metas[0].dtype
        turns = isinstance(alpha, complex) or isinstance(beta, complex)
        if (turns and not dtype.is_complex) or not a.dtype is b.dtype is c.dtype is dtype:
            raise Unsupported("a sum of products of several dtypes")
        shape = tuple(call.metas[0].shape)
        *batch, rows, columns = broadcast_strides(c, (1, *shape) if flat else shape)
        alpha, scale = _factor(alpha, dtype), _factor(beta, dtype)
        addend = Addend(site.source(c), c.dtype, rows, columns, tuple(batch), scale) if beta != 0 else None
        launch(site, replace(make(site, call, a, b), alpha=alpha, addend=addend), summed)

    return lower


def _factor(x: Any, d: dtype) -> Any:
    """What products of a dtype are scaled by: integers by integers, which wrap around as well."""
    if isinstance(x, complex):
        return x
    return int(np.asarray(x).astype(d.np)) if d.category == INTEGER else float(x)


def linear(site: Site, call: Call) -> None:
    x, w, b = call.inputs
    *lead, inner = x.strides
    columns = w.shape[0] if len(w.shape) == 2 else 1
    left = Operand(site.source(x), x.dtype, 0, inner, tuple(lead))
    right = Operand(site.source(w), w.dtype, w.strides[0] if len(w.shape) == 2 else 0, w.strides[-1], (0,) * len(lead))
    addend = None
    if b is not None:
        step = broadcast_strides(b, (columns,))[0]
        addend = Addend(site.source(b), b.dtype, 0, step, (0,) * len(lead), 1.0)
    launch(site, Product(x.shape[:-1], 1, columns, x.shape[-1], left, right, call.metas[0].dtype, addend=addend))


def weight_gradient(site: Site, call: Call) -> None:
    """The sum over all rows of g[row, i] x[row, j]."""
    g, x = call.inputs
    vector = call.params["vector"]
    lead = x.shape[:-1]
    depth, rows = prod(lead), range(len(lead))
    (g_at, g_steps), (x_at, x_steps) = (_in_runs(site, operand, [rows]) for operand in (g, x))
    along = one_run(lead, g_steps[: len(lead)])
    left = Operand(g_at, g.dtype, 0 if vector else g_steps[-1], along, ())
    right = Operand(x_at, x.dtype, x_steps[-1], one_run(lead, x_steps[:-1]), ())
    launch(site, Product((), 1 if vector else g.shape[-1], x.shape[-1], depth, left, right, call.metas[0].dtype))


def _in_runs(site: Site, x: Arg, groups: Sequence[Sequence[int]]) -> tuple[Address, Ints]:
    """Where an operand lies, and its strides, if each group of dimensions is one run in memory; else those of a copy in
    which it is."""
    try:
        for group in groups:
            one_run([x.shape[d] for d in group], [x.strides[d] for d in group])
    except Unsupported:
        return _laid_out(site, x, groups)
    return site.source(x), x.strides


def _laid_out(site: Site, x: Arg, groups: Sequence[Sequence[int]]) -> tuple[Address, Ints]:
    """A copy with the groups last, innermost the one that is so already."""
    grouped = [d for group in groups for d in group]
    apart = sorted(groups, key=lambda group: -min((abs(x.strides[d]) for d in group), default=0))
    order = [*(d for d in range(len(x.shape)) if d not in grouped), *(d for group in apart for d in group)]
    shape, given = (tuple(whole[d] for d in order) for whole in (x.shape, x.strides))
    at, made = site.temp(prod(shape) * x.dtype.itemsize), contiguous_strides(shape)
    copy(site, shape, Window(at, made, x.dtype), Window(site.source(x), given, x.dtype), "pack")
    steps = dict(zip(order, made))
    return at, tuple(steps[d] for d in range(len(x.shape)))


def pair(site: Site, call: Call) -> None:
    """Tensors with named dimensions: those in both and in the result are the batch, those not in the result summed."""
    a, b = call.inputs
    la, lb, lo = (call.params[name] for name in ("la", "lb", "lo"))
    batch = [x for x in lo if x in la and x in lb]
    rows, columns = [x for x in lo if x not in lb], [x for x in lo if x not in la]
    summed = [x for x in la if x in lb and x not in lo]
    size = dict(zip(la + lb, a.shape + b.shape))
    *outer, last = rows or [None]  # rows of several dimensions: all but the last are like a batch
    sizes = tuple(size[x] for x in (*batch, *outer))

    def operand(x: Arg, labels: Any, across: list[int]) -> Operand:
        at, found = _in_runs(site, x, [[labels.index(g) for g in group] for group in (summed, across)])
        step = dict(zip(labels, found))
        along = one_run([size[g] for g in summed], [step[g] for g in summed])
        steps = tuple(step.get(g, 0) for g in (*batch, *outer))
        apart = one_run([size[g] for g in across], [step[g] for g in across])
        return Operand(at, x.dtype, apart, along, steps)

    left, right = operand(a, la, [last] if rows else []), operand(b, lb, columns)
    n, depth = (prod(size[g] for g in group) for group in (columns, summed))
    launch(site, Product(sizes, size[last] if rows else 1, n, depth, left, right, call.metas[0].dtype))


addmm = baddbmm = _plus(_product)
addmv = _plus(_mv_product, flat=True)
addbmm = _plus(_summed_product, summed=True)
addr = _plus(_outer_product)
