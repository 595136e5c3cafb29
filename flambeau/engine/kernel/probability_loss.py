"""The binary cross entropy of probabilities, which must look at its operands: one outside [0, 1] is an error.

Tasks are chunks of the elements. A chunk stores its losses, or adds them up in vectors and stores the sum; a last task
adds the chunks' sums in order. What is out of range leaves a mark in `site.status`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from flambeau.dtypes import dtype
from flambeau.engine.graph import Arg, Call
from flambeau.engine.kernel.emit import Emitter, Index, Val, vector
from flambeau.engine.kernel.scalars import Scalars, compute_type, convert, load, store
from flambeau.engine.kernel.target import vector_bytes
from flambeau.engine.plan import Kernel
from flambeau.engine.schedule.lowering import Site, Unsupported
from flambeau.shape import is_contiguous

CHUNK = 1 << 13  # elements of a task
UNROLL = 4  # vectors at a time, each with a sum of its own
LOWEST = -100.0  # of a logarithm


def binary_cross_entropy(site: Site, call: Call) -> None:
    """Launch the losses of `call`: operands are probabilities, targets and perhaps weights of one contiguous shape."""
    meta, reduction = call.metas[0], call.params["reduction"]
    operands = [x for x in call.inputs if x is not None]
    first = operands[0]
    for x in operands:
        if not isinstance(x, Arg) or x.shape != first.shape or not is_contiguous(x.shape, x.strides):
            raise Unsupported("operands that broadcast or have gaps")
        if x.dtype is not first.dtype:
            raise Unsupported("operands of several dtypes")
    count, d = prod(first.shape), first.dtype
    if not count or not is_contiguous(meta.shape, meta.layout):
        raise Unsupported("no elements, or gaps in the result")
    compute_type(d)
    tasks = -(-count // CHUNK)
    sources = [site.source(x) for x in operands]
    key, whole = f"bce {d.name} {len(operands)} {vector_bytes()}", reduction == "none"
    target = site.result() if whole else site.temp(8 * tasks)
    losses = Kernel(f"{key} {'losses' if whole else 'sums'}", lambda k: _losses(k, d, len(operands), whole))
    work = (40.0 * count, float(d.itemsize * count * len(sources)))
    site.launch(losses, (*sources, target, site.status(), count), tasks, 0.5 * count, "binary_cross_entropy", work)
    if not whole:
        divisor = count if reduction == "mean" else 1
        total = Kernel(f"{key} total", lambda k: _total(k, d))
        site.launch(total, (target, site.result(), tasks, divisor), 1, 2.0 * tasks, "binary_cross_entropy")


def _losses(k: Emitter, d: dtype, operands: int, whole: bool) -> None:
    """Words: operands, target, status, number of elements."""
    target, status, count = k.pointer(operands), k.pointer(operands + 1), k.integer(operands + 2)
    width = vector_bytes() // (8 if compute_type(d) == "double" else 4)
    zero, fine = k.const(vector(compute_type(d), width), 0.0), k.const(vector("i1", width), False)

    def losses(i: Index, mask: Val | None) -> tuple[Val, Val]:
        found, outside = _loss(k, d, [load(k, k.pointer(nr), i, d, width, mask) for nr in range(operands)])
        if whole:
            store(k, found, target, i, d, mask)
        return (found, outside) if mask is None else (k.select(mask, found, 0.0), outside)

    with k.tasks() as task:
        start = k.mul(task, CHUNK)
        stop = k.minimum(k.add(start, CHUNK), count)
        length = k.sub(stop, start)
        middle = k.sub(stop, k.rem(length, UNROLL * width))
        with k.loop(middle, start, UNROLL * width, [zero] * UNROLL + [fine]) as loop:
            *sums, bad = loop.carried
            for nr in range(UNROLL):
                found, outside = losses(k.add(loop.i, nr * width), None)
                sums[nr], bad = sums[nr] + found, k.bits("or", bad, outside)
            loop.carry(*sums, bad)
        *sums, bad = loop.results
        with k.loop(stop, middle, width, [_added(k, sums), bad]) as loop:
            found, outside = losses(loop.i, k.mask(k.sub(stop, loop.i), width))
            loop.carry(loop.carried[0] + found, k.bits("or", loop.carried[1], outside))
        sum, bad = loop.results
        with k.when(k.intrinsic("vector.reduce.or", "i1", bad, overload=bad.type) if width > 1 else bad):
            k.store(k.const("i64", 1), status, 0)
        if not whole:
            k.store(k.fold(sum, lambda a, b: a + b), target, task)


def _loss(k: Emitter, d: dtype, operands: Sequence[Val]) -> tuple[Val, Val]:
    """The losses of some elements, and which of them are of no probability (NaN is none)."""
    s: Any = Scalars(k, d)
    x, t = operands[:2]
    found = (t - 1.0) * s.maximum(s.log1p(-x), LOWEST) - t * s.maximum(s.log(x), LOWEST)
    inside = k.bits("and", x >= 0.0, x <= 1.0)
    return (found * operands[2] if len(operands) > 2 else found), s.logical_not(inside)


def _added(k: Emitter, sums: Sequence[Val]) -> Val:
    """Sums in pairs, and pairs of pairs."""
    while len(sums) > 1:
        sums = [a + b for a, b in zip(sums[::2], sums[1::2])]
    return sums[0]


def _total(k: Emitter, d: dtype) -> None:
    """Words: the chunks' sums, the result, how many chunks, what to divide by."""
    type = compute_type(d)
    with k.loop(k.integer(2), carried=[k.const(type, 0.0)]) as loop:
        loop.carry(loop.carried[0] + k.load(k.pointer(0), loop.i, type))
    mean = loop.results[0] / k.cast(k.integer(3), type)
    store(k, convert(k, mean, d), k.pointer(1), 0, d)
