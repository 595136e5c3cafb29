"""Gated linear units: elementwise work over the two halves of a dimension, as one loop nest each way."""

from __future__ import annotations

import math
from collections.abc import Sequence

from flambeau.dtypes import float32
from flambeau.engine.graph import Call
from flambeau.engine.kernel.loops import emit_nest
from flambeau.engine.kernel.move import Window, result, window
from flambeau.engine.kernel.move_walk import merged
from flambeau.engine.kernel.nest import Access, Axis, Function, Nest, Step, Store
from flambeau.engine.kernel.target import vector_bytes
from flambeau.engine.kernel.widen import NARROW
from flambeau.engine.plan import Kernel
from flambeau.engine.schedule.lowering import Site
from flambeau.shape import Ints

Maps = Sequence[tuple[Function, Ints]]  # functions of earlier values, which are numbered: first what is read
COST = 20  # instructions of a gate, about

_SIGMOID = Function("sigmoid", lambda s, b: s.sigmoid(b))
_PRODUCT = Function("product", lambda s, a, b: a * b)
_GATE_GRADIENT = Function("gate gradient", lambda s, g, a, gate: g * a * gate * (1.0 - gate))


def glu(site: Site, call: Call) -> None:
    """The first half of a dimension times the sigmoid of the second."""
    (x,), shape = call.inputs, call.metas[0].shape
    a, b = _halves(window(site, x), x.shape, call.params["dim"])
    _elementwise(site, shape, (a, b), [(_SIGMOID, (1,)), (_PRODUCT, (0, 2))], (result(site, call),), "glu")


def glu_backward(site: Site, call: Call) -> None:
    """The gradients of both halves."""
    g, x = call.inputs
    a, b = _halves(window(site, x), x.shape, call.params["dim"])
    maps = [(_SIGMOID, (2,)), (_PRODUCT, (0, 3)), (_GATE_GRADIENT, (0, 1, 3))]
    halves = _halves(result(site, call), x.shape, call.params["dim"])
    _elementwise(site, g.shape, (window(site, g), a, b), maps, halves, "glu backward")


def _halves(whole: Window, shape: Ints, dim: int) -> tuple[Window, Window]:
    return whole, whole.part(shape[dim] // 2 * whole.strides[dim])


def _elementwise(
    site: Site, shape: Ints, reads: Sequence[Window], maps: Maps, writes: Sequence[Window], note: str
) -> None:  # fmt: skip
    """Launch what writes the last values of `maps` at every point of `shape`."""
    if 0 in shape:
        return
    windows = [*reads, *writes]
    dims = merged(shape, [w.strides for w in (*writes, *reads)])
    strides = [[steps[nr] for _, steps in dims] for nr in range(len(windows))]
    strides = strides[len(writes) :] + strides[: len(writes)]
    d = writes[0].dtype
    wide = float32 if d in NARROW else d
    steps = [Step("load", w.dtype, (), nr) for nr, w in enumerate(reads)]
    steps += [Step("map", wide, operands, function, COST // len(maps)) for function, operands in maps]
    nest = Nest(
        tuple([Axis(n) for n, _ in dims]), len(dims) - 1, vector_bytes() // wide.itemsize,
        [Access(tuple(s), w.dtype) for s, w in zip(strides, windows)], steps,
        [Store(len(steps) - len(writes) + nr, len(reads) + nr, True) for nr in range(len(writes))],
    )  # fmt: skip
    count = math.prod(shape)
    args = [w.address for w in windows]
    words = [count] if nest.flat else []
    flops, moved = float(COST * count), float(count * d.itemsize * len(windows))
    site.launch(
        Kernel(nest.key, lambda k: emit_nest(k, nest), nest), (*args, *words), nest.tasks,
        max(moved / 60, flops / nest.width / 10), f"{note} {list(shape)}", (flops, moved),
    )  # fmt: skip
