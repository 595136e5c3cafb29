"""Running results along a dimension: the kernels of cumsum, cumprod, logcumsumexp, cummax and cummin.

Rows are independent, so lanes are rows, which walk the dimension together; but sums along a run add up inside a vector
first (three shifts) and carry one total on. Floats accumulate in double and are rounded once an element, as in the
references.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flambeau import dtypes
from flambeau.dtypes import BOOL, COMPLEX, FLOAT, dtype
from flambeau.engine.graph import Call
from flambeau.engine.kernel import scalars, vecmath_log
from flambeau.engine.kernel.emit import Emitter, Index, Val, is_float, vector
from flambeau.engine.kernel.move import Window, copy, fill, result, window
from flambeau.engine.kernel.move_walk import GRAIN, Walk, lanes_loop, merged
from flambeau.engine.kernel.target import vector_bytes
from flambeau.engine.plan import Kernel
from flambeau.engine.schedule.lowering import Site, Unsupported
from flambeau.shape import Ints

COMBINE: dict[str, Callable[[Emitter, Val, Val], Val]] = {
    "sum": lambda k, total, x: total + x,
    "product": lambda k, total, x: total * x,
    "logsum": vecmath_log.logaddexp,
}


@dataclass(frozen=True)
class _Scan:
    """What a kernel does to a row: `kind` of COMBINE, or "max" and "min", which also give places."""

    kind: str
    source: dtype
    compute: dtype  # what elements are cast to first
    target: dtype

    @property
    def wide(self) -> bool:
        """Whether totals are doubles."""
        return self.compute.category == FLOAT and self.kind in COMBINE

    @property
    def adds_exactly(self) -> bool:
        """Whether sums may be made in another order: of float64 (and bool) they would show it."""
        return self.kind == "sum" and self.compute not in (dtypes.float64, dtypes.bool_)

    def load(self, k: Emitter, base: Val, at: Index, lane: _Lanes) -> Val:
        if lane.apart is None:
            x = scalars.load(k, base, at, self.source, lane.width, lane.mask)
        else:
            type = scalars.memory_type(self.source)
            x = scalars.widened(k, k.gather(k.at(base, at, type), lane.apart[1], type, lane.mask), self.source)
        if self.compute is not self.source:
            x = scalars.convert(k, x, self.compute)
        return k.cast(x, "double") if self.wide else x

    def store(self, k: Emitter, x: Val, base: Val, at: Index, lane: _Lanes) -> None:
        lane.store(k, scalars.convert(k, x, self.target), base, at, self.target, 0)


@dataclass(frozen=True)
class _Lanes:
    """Which lanes there are, and for each window how far apart theirs lie (None: they are neighbours)."""

    width: int
    mask: Val | None
    apart: list[Val] | None = None

    def store(self, k: Emitter, x: Val, base: Val, at: Index, d: dtype, nr: int) -> None:
        if self.apart is None:
            scalars.store(k, x, base, at, d, self.mask)
        else:
            k.scatter(scalars.narrowed(k, x, d), k.at(base, at, scalars.memory_type(d)), self.apart[nr], self.mask)


def running(kind: str) -> Callable[[Site, Call], None]:
    """The lowering of a running sum, product or log of sums of exponentials."""

    def lower(site: Site, call: Call) -> None:
        (x,), out, dim = call.inputs, result(site, call), call.params["dim"]
        compute = call.metas[0].compute or x.dtype
        source, shape = window(site, x), call.metas[0].shape
        if compute.category == COMPLEX:
            if kind != "sum" or source.dtype is not out.dtype:
                raise Unsupported("this of complex numbers")
            source, out = (w.real()._replace(strides=(*w.real().strides, 1)) for w in (source, out))
            shape, compute = (*shape, 2), compute.to_real()
        if call.params.get("reverse") and x.shape:
            back = max(shape[dim] - 1, 0)
            source, out = (_backwards(w, dim, back * w.strides[dim]) for w in (source, out))
        if not x.shape:
            copy(site, shape, out, source, call.op.name)
        elif 0 not in shape:
            _launch(site, shape, dim, [out, source], _Scan(kind, source.dtype, compute, out.dtype), call.op.name)

    return lower


def _backwards(w: Window, dim: int, start: int) -> Window:
    return w.part(start, tuple(-s if d == dim else s for d, s in enumerate(w.strides)))


def best(kind: str) -> Callable[[Site, Call], None]:
    """The lowering of a running maximum or minimum, with the place of the latest element that equals it."""

    def lower(site: Site, call: Call) -> None:
        (x,), out, places = call.inputs, result(site, call), result(site, call, 1)
        source, shape, dim = window(site, x), call.metas[0].shape, call.params["dim"]
        if x.dtype.category == BOOL:
            source, out = (w._replace(dtype=dtypes.uint8) for w in (source, out))
        if not shape:
            copy(site, shape, out, source, call.op.name)
            fill(site, shape, places, 0, call.op.name)
        elif 0 not in shape:
            scan = _Scan(kind, source.dtype, source.dtype, out.dtype)
            _launch(site, shape, dim, [out, source, places], scan, call.op.name)

    return lower


def _launch(site: Site, shape: Ints, dim: int, windows: list[Window], scan: _Scan, note: str) -> None:
    rest = [d for d in range(len(shape)) if d != dim]
    n = shape[dim]
    dims = merged(tuple(shape[d] for d in rest), [tuple(w.strides[d] for d in rest) for w in windows])
    lanes = min(vector_bytes() // max(windows[0].dtype.itemsize, 4), 16) if dims[-1][0] > 2 else 1
    if scan.adds_exactly and all(w.strides[dim] == 1 for w in windows):
        lanes = 0
    walk = Walk(dims, grain=max(GRAIN // n, lanes, 1))
    words = (*(w.address for w in windows), n, *(w.strides[dim] for w in windows), *walk.words)
    nbytes = float(sum(w.dtype.itemsize for w in windows) * math.prod(shape))
    kernel = _kernel(walk, scan, len(windows), lanes)
    site.launch(kernel, words, walk.tasks, nbytes / 4, note, (0.0, nbytes))


def _kernel(walk: Walk, scan: _Scan, windows: int, lanes: int) -> Kernel:
    """`lanes`: how many rows go together; 0 for one row in vectors."""
    width = max(lanes, 1)
    apart = any(s[-1] != 1 for s in walk.strides) and width > 1
    kinds = (scan.target, scan.source, dtypes.int64)

    def emit(k: Emitter) -> None:
        n, steps = k.integer(windows), [k.integer(windows + 1 + w) for w in range(windows)]
        with walk.rows(k, 2 * windows + 1) as (offsets, [(low, high)], inner):
            rows = [k.at(k.pointer(w), offsets[w], scalars.memory_type(kinds[w])) for w in range(windows)]
            ramp = k.ramp(vector("i64", width))
            places = [k.mul(ramp, k.splat(step, width)) for (step,) in inner] if apart else None

            def body(i: Index, mask: Val | None) -> None:
                starts = [k.mul(i, step) if apart or width == 1 else i for (step,) in inner]
                at = [k.at(row, start, scalars.memory_type(d)) for row, start, d in zip(rows, starts, kinds)]
                if lanes:
                    _element_by_element(k, scan, at, n, steps, _Lanes(width, mask, places))
                else:
                    _sum_in_vectors(k, scan, at, n)

            lanes_loop(k, low, high, width, body, unroll=1)

    key = f"scan {scan.kind} {scan.source.name} {scan.compute.name} {scan.target.name} {walk.form} {apart} {lanes}"
    return Kernel(key, emit)


def _element_by_element(k: Emitter, scan: _Scan, rows: list[Val], n: Val, steps: list[Val], lane: _Lanes) -> None:
    """One row a lane."""
    out, source = rows[:2]
    first = scan.load(k, source, 0, lane)
    carried = [first]
    if len(rows) > 2:
        carried.append(k.const(vector("i64", lane.width), 0))
        lane.store(k, carried[1], rows[2], 0, dtypes.int64, 2)
    scan.store(k, first, out, 0, lane)
    with k.loop(n, start=1, carried=carried) as loop:
        x = scan.load(k, source, k.mul(loop.i, steps[1]), lane)
        if scan.kind in COMBINE:
            following = [COMBINE[scan.kind](k, loop.carried[0], x)]
        else:
            following = _better(k, scan.kind, x, loop.carried[0], loop.carried[1], loop.i)
            lane.store(k, following[1], rows[2], k.mul(loop.i, steps[2]), dtypes.int64, 2)
        scan.store(k, following[0], out, k.mul(loop.i, steps[0]), lane)
        loop.carry(*following)


def _better(k: Emitter, kind: str, x: Val, held: Val, place: Val, i: Val) -> list[Val]:
    """NaN beats all and stays; of equal elements the latest counts."""
    renewed = x >= held if kind == "max" else x <= held
    if is_float(x.type):
        renewed = k.bits("or", renewed, k.unordered(x, x))
    return [k.select(renewed, x, held), k.select(renewed, k.val(i, place.type), place)]


def _sum_in_vectors(k: Emitter, scan: _Scan, rows: list[Val], n: Val) -> None:
    """One row, eight elements at a time."""
    out, source = rows
    width = max(vector_bytes() // 8, 2)
    type = "double" if scan.wide else scalars.compute_type(scan.compute)
    none: Any = -0.0 if is_float(type) else 0  # -0.0 + x is x, whatever its sign
    zero = k.const(vector(type, width), none)

    def block(i: Index, carry: Val, mask: Val | None) -> Val:
        x = scan.load(k, source, i, _Lanes(width, mask))
        step = 1
        while step < width:
            x = x + k.shuffle(zero, x, [j if j < step else width + j - step for j in range(width)])
            step *= 2
        x = x + carry
        scan.store(k, x, out, i, _Lanes(width, mask))
        return k.splat(k.lane(x, width - 1), width)

    with k.loop(k.sub(n, width - 1), step=width, carried=[zero]) as loop:
        loop.carry(block(loop.i, loop.carried[0], None))
    with k.when(loop.i < n):
        block(loop.i, loop.carried[0], k.mask(k.sub(n, loop.i), width))
