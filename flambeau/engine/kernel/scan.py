"""Running results along a dimension: the kernels of cumsum, cumprod, logcumsumexp, cummax and cummin.

Rows are independent, so lanes are rows, which walk the dimension together: many at a time where rows are neighbours, so
that memory is gone through in long runs. But sums and extrema along a run add up inside a vector first (three shifts)
and carry one result on. Floats accumulate in double and are rounded once an element, as in the references.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from flambeau import dtypes
from flambeau.dtypes import BOOL, COMPLEX, FLOAT, dtype
from flambeau.engine.graph import Call
from flambeau.engine.kernel import scalars, vecmath_log
from flambeau.engine.kernel.emit import LINE, Emitter, Index, Val, is_float, lanes, vector
from flambeau.engine.kernel.move import Window, copy, fill, large, result, window
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


TOGETHER = 2048  # neighbouring rows that go along side by side


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
        return self.compute.category >= FLOAT and self.kind in COMBINE

    @property
    def total(self) -> str:
        """The scalar type of totals that are wider than elements."""
        return "cdouble" if self.compute.category == COMPLEX else "double"

    @property
    def in_any_order(self) -> bool:
        """Whether elements may be combined in another order: sums of float64 (and bool) would show it."""
        shows = self.compute in (dtypes.float64, dtypes.bool_) or self.compute.category == COMPLEX
        return self.kind not in COMBINE or (self.kind == "sum" and not shows)

    @property
    def carried(self) -> list[str]:
        """The scalar types of what is carried along a row."""
        total = self.total if self.wide else scalars.compute_type(self.compute)
        return [total] if self.kind in COMBINE else [total, "i64"]

    def following(self, k: Emitter, held: list[Val], x: Val, i: Index) -> list[Val]:
        """What is carried on behind element `i`, which is `x`."""
        if self.kind in COMBINE:
            return [COMBINE[self.kind](k, held[0], x)]
        return _better(k, self.kind, held, [x, k.val(i, held[1].type)])

    def load(self, k: Emitter, base: Val, at: Index, lane: _Lanes) -> Val:
        if lane.apart is None:
            x = scalars.load(k, base, at, self.source, lane.width, lane.mask)
        else:
            type = scalars.memory_type(self.source)
            x = scalars.widened(k, k.gather(k.at(base, at, type), lane.apart[1], type, lane.mask), self.source)
        if self.compute is not self.source:
            x = scalars.convert(k, x, self.compute)
        return k.cast(x, self.total) if self.wide else x

    def store(self, k: Emitter, x: Val, base: Val, at: Index, lane: _Lanes) -> None:
        lane.store(k, scalars.convert(k, x, self.target), base, at, self.target, 0)


@dataclass(frozen=True)
class _Lanes:
    """Which lanes there are, and for each window how far apart theirs lie (None: they are neighbours)."""

    width: int
    mask: Val | None
    apart: list[Val] | None = None
    stream: bool = False  # past the caches

    def store(self, k: Emitter, x: Val, base: Val, at: Index, d: dtype, nr: int) -> None:
        if self.apart is None:
            scalars.store(k, x, base, at, d, self.mask, self.stream)
        else:
            k.scatter(scalars.narrowed(k, x, d), k.at(base, at, scalars.memory_type(d)), self.apart[nr], self.mask)


def running(kind: str) -> Callable[[Site, Call], None]:
    """The lowering of a running sum, product or log of sums of exponentials."""

    def lower(site: Site, call: Call) -> None:
        (x,), out, dim = call.inputs, result(site, call), call.params["dim"]
        compute = call.metas[0].compute or x.dtype
        source, shape = window(site, x), call.metas[0].shape
        if compute.category == COMPLEX and kind == "logsum":
            raise Unsupported("logarithms of complex sums")
        if compute.category == COMPLEX and kind == "sum" and source.dtype is out.dtype:
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
    if scan.in_any_order and all(w.strides[dim] == 1 for w in windows):
        lanes = 0
    together = lanes > 1 and all(s == 1 for s in dims[-1][1])
    walk = Walk(dims, grain=max(GRAIN // n, min(TOGETHER, dims[-1][0]) if together else lanes, 1))
    words = (*(w.address for w in windows), n, *(w.strides[dim] for w in windows), *walk.words)
    nbytes = float(sum(w.dtype.itemsize for w in windows) * math.prod(shape))
    aligned = all(w.strides[dim] * w.dtype.itemsize % LINE == 0 for w in (windows[0], *windows[2:]))
    stream = together and aligned and large(shape, scan.target)
    kernel = _kernel(walk, scan, len(windows), lanes, together, stream)
    site.launch(kernel, words, walk.tasks, nbytes / 4, note, (0.0, nbytes))


def _kernel(walk: Walk, scan: _Scan, windows: int, lanes: int, together: bool, stream: bool) -> Kernel:
    """`lanes`: how many rows are one vector; 0 for one row in vectors. `together`: many vectors of rows go together."""
    width = max(lanes, 1)
    apart = not together and width > 1
    kinds = (scan.target, scan.source, dtypes.int64)

    def emit(k: Emitter) -> None:
        n, steps = k.integer(windows), [k.integer(windows + 1 + w) for w in range(windows)]
        with walk.rows(k, 2 * windows + 1) as (offsets, [(low, high)], inner):
            rows = [k.at(k.pointer(w), offsets[w], scalars.memory_type(kinds[w])) for w in range(windows)]
            if together:
                _Together(k, scan, rows, n, steps, width).emit(low, high, stream)
                return
            ramp = k.ramp(vector("i64", width))
            places = [k.mul(ramp, k.splat(step, width)) for (step,) in inner] if apart else None

            def body(i: Index, mask: Val | None) -> None:
                starts = [k.mul(i, step) for (step,) in inner]
                at = [k.at(row, start, scalars.memory_type(d)) for row, start, d in zip(rows, starts, kinds)]
                if lanes:
                    _element_by_element(k, scan, at, n, steps, _Lanes(width, mask, places))
                else:
                    _in_vectors(k, scan, at, n)

            lanes_loop(k, low, high, width, body, unroll=1)

    how = ("streamed" if stream else "together") if together else apart
    key = f"scan {scan.kind} {scan.source.name} {scan.compute.name} {scan.target.name} {walk.form} {how} {lanes}"
    return Kernel(key, emit)


class _Together:
    """Neighbouring rows go along side by side: what they carry is in memory, element after element of all of them."""

    def __init__(self, k: Emitter, scan: _Scan, rows: list[Val], n: Val, steps: list[Val], width: int) -> None:
        self.k, self.scan, self.rows, self.n, self.steps, self.width = k, scan, rows, n, steps, width
        self.held = [k.stack(type, TOGETHER) for type in scan.carried]

    def emit(self, low: Index, high: Index, stream: bool) -> None:
        """The rows from `low` to `high`. `stream`: past the caches where the results turn out to be aligned."""
        k = self.k
        if not stream:
            self.walk(low, high, False)
            return
        past: Val | None = None
        for row in (self.rows[0], *self.rows[2:]):
            at = k.rem(k.address(row), LINE)
            past = at if past is None else past + at
        assert past is not None
        with k.when(past.equals(0)):
            self.walk(low, high, True)
        with k.when(past.differs(0)):
            self.walk(low, high, False)

    def walk(self, low: Index, high: Index, stream: bool) -> None:
        k = self.k
        with k.loop(high, low, TOGETHER) as begin:
            end = k.minimum(k.add(begin, TOGETHER), high)
            self.across(begin, end, 0, stream)
            with k.loop(self.n, start=1) as i:
                self.across(begin, end, i, stream)

    def across(self, begin: Val, end: Index, i: Index, stream: bool) -> None:
        """Element `i` of all rows."""
        k = self.k

        def body(j: Index, mask: Val | None) -> None:
            lane, at = _Lanes(self.width, mask, stream=stream), k.sub(j, begin)
            following = k.add(k.mul(k.add(i, 1), self.steps[1]), j)  # the machine does not look that far ahead
            k.prefetch(self.rows[1], following, scalars.memory_type(self.scan.source))
            carried = [self.scan.load(k, self.rows[1], k.add(k.mul(i, self.steps[1]), j), lane)]
            types = [vector(type, self.width) for type in self.scan.carried]
            if i.__class__ is int:
                carried += [k.const(type, 0) for type in types[1:]]
            else:
                held = [k.load(buffer, at, type) for buffer, type in zip(self.held, types)]
                carried = self.scan.following(k, held, carried[0], i)
            for buffer, x in zip(self.held, carried):
                k.store(x, buffer, at)
            self.scan.store(k, carried[0], self.rows[0], k.add(k.mul(i, self.steps[0]), j), lane)
            if len(carried) > 1:
                lane.store(k, carried[1], self.rows[2], k.add(k.mul(i, self.steps[2]), j), dtypes.int64, 2)

        lanes_loop(k, begin, end, self.width, body, unroll=1)


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
        following = scan.following(k, loop.carried, x, loop.i)
        if len(rows) > 2:
            lane.store(k, following[1], rows[2], k.mul(loop.i, steps[2]), dtypes.int64, 2)
        scan.store(k, following[0], out, k.mul(loop.i, steps[0]), lane)
        loop.carry(*following)


def _better(k: Emitter, kind: str, held: list[Val], later: list[Val]) -> list[Val]:
    """The better of two elements with their places. NaN beats all and stays; of equal elements the latest counts."""
    renewed = later[0] >= held[0] if kind == "max" else later[0] <= held[0]
    if is_float(later[0].type):
        renewed = k.bits("or", renewed, k.unordered(later[0], later[0]))
    return [k.select(renewed, b, a) for a, b in zip(held, later)]


def _in_vectors(k: Emitter, scan: _Scan, rows: list[Val], n: Val) -> None:
    """One row, eight elements at a time."""
    width = max(vector_bytes() // 8, 2)
    types = [vector(type, width) for type in scan.carried]
    last = [width - 1] * width
    nothing = [k.const(type, -0.0 if is_float(type) else 0) for type in types]  # -0.0 + x is x, whatever its sign
    if scan.kind not in COMBINE:
        nothing[0] = k.splat(scan.load(k, rows[1], 0, _Lanes(1, None)), width)

    def block(i: Index, carried: list[Val], mask: Val | None) -> list[Val]:
        lane = _Lanes(width, mask)
        found = [scan.load(k, rows[1], i, lane)]
        if len(types) > 1:
            found.append(k.add(k.ramp(types[1]), k.val(i, types[1])))
        step = 1
        while step < width:
            found = _combined(k, scan, _shifted(k, scan, found, step), found)
            step *= 2
        found = _combined(k, scan, carried, found)
        scan.store(k, found[0], rows[0], i, lane)
        if len(found) > 1:
            lane.store(k, found[1], rows[2], i, dtypes.int64, 2)
        return [k.shuffle(x, x, last) for x in found]

    with k.loop(k.sub(n, width - 1), step=width, carried=nothing) as loop:
        loop.carry(*block(loop.i, loop.carried, None))
    with k.when(loop.i < n):
        block(loop.i, loop.results, k.mask(k.sub(n, loop.i), width))


def _shifted(k: Emitter, scan: _Scan, found: list[Val], step: int) -> list[Val]:
    """What lanes are combined with: the values `step` lanes earlier; where there are none, nothing or the first one."""
    width = lanes(found[0].type)
    if scan.kind not in COMBINE:  # the better of x and x is x
        return [k.shuffle(x, x, [max(j - step, 0) for j in range(width)]) for x in found]
    zero = k.const(found[0].type, -0.0 if is_float(found[0].type) else 0)
    return [k.shuffle(zero, found[0], [j if j < step else width + j - step for j in range(width)])]


def _combined(k: Emitter, scan: _Scan, held: list[Val], later: list[Val]) -> list[Val]:
    return [held[0] + later[0]] if scan.kind in COMBINE else _better(k, scan.kind, held, later)
