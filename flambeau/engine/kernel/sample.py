"""Images read at positions in pixels, and its transpose: the kernels of `grid_sample`.

Along each axis a position takes a few pixels ("taps") with weights that are polynomials of its fraction; a corner is
one tap of each axis. Lanes are points. What a point reads is worked out once and serves many channels. The transpose
adds a plane's points up one after the other, whoever runs which planes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import NamedTuple

from flambeau.dtypes import FLOAT, dtype
from flambeau.engine.graph import Arg, Call
from flambeau.engine.kernel import scalars
from flambeau.engine.kernel.contract.words import Bound, Words
from flambeau.engine.kernel.emit import Emitter, Index, Val, vector
from flambeau.engine.kernel.move_walk import lanes_loop
from flambeau.engine.kernel.pool.planes import contiguous
from flambeau.engine.kernel.scalars import Scalars
from flambeau.engine.kernel.target import vector_bytes
from flambeau.engine.kernel.widen import widened
from flambeau.engine.plan import Kernel
from flambeau.engine.schedule.lowering import Lower, Site, Unsupported
from flambeau.shape import Ints

# (mode, order of the derivative) -> of each tap, how far it is from the pixel below and its weight's coefficients
Pieces = Callable[[str, int], Sequence[tuple[int, Sequence[float]]]]
_POINTS = 4096  # points of a task
_CHANNELS = 8  # planes of a task that adds up
_TASKS = 16  # that keep every thread busy


class _Corner(NamedTuple):
    """Where lanes read, in elements of a plane; with which weight; and whether that is anywhere (if it is not, 0)."""

    at: Val
    weight: Val
    there: Val


@dataclass(frozen=True)
class _Taps:
    """How positions become corners."""

    mode: str
    padding: str
    aligned: bool
    orders: Ints
    pieces: tuple[tuple[tuple[int, tuple[float, ...]], ...], ...]  # of each axis
    dtype: dtype

    @property
    def dims(self) -> int:
        return len(self.orders)

    @property
    def width(self) -> int:
        return vector_bytes() // self.dtype.itemsize

    @property
    def count(self) -> int:
        """Corners of a point."""
        return prod(map(len, self.pieces))

    @property
    def key(self) -> str:
        return f"{self.mode} {self.padding} {self.aligned:d} {self.orders} {self.dtype.name} w{self.width}"

    def corners(self, k: Emitter, w: Bound, points: Val, mask: Val | None) -> list[_Corner]:
        """The corners of the points at an address."""
        apart = k.ramp(vector("i64", self.width), 0, self.dims)
        memory, axes = scalars.memory_type(self.dtype), []
        for d in range(self.dims):  # positions list x first
            p = k.gather(k.at(points, self.dims - 1 - d, memory), apart, memory, mask)
            axes.append(self._axis(k, w, d, p))
        found = []
        for chosen in product(*axes):
            at, weight, there = chosen[0]
            for tap in chosen[1:]:
                at, weight, there = at + tap.at, weight * tap.weight, k.bits("and", there, tap.there)
            found.append(_Corner(at, weight, k.bits("and", there, weight.differs(0.0))))
        return found

    def _axis(self, k: Emitter, w: Bound, d: int, p: Val) -> list[_Corner]:
        """The taps along one axis."""
        finite = k.compare("lt", k.intrinsic("fabs", p.type, p), float("inf"))
        p = k.select(finite, p, -100.0)
        low = k.intrinsic("roundeven" if self.mode == "nearest" else "floor", p.type, p)
        fraction = p - low
        size, step = w.integer(k, f"size{d}"), w.integer(k, f"step{d}")
        length = k.splat(k.cast(size, scalars.compute_type(self.dtype)), self.width)
        found = []
        for shift, coefficients in self.pieces[d]:
            at = low + float(shift)
            if self.mode == "bicubic" and self.padding != "zeros":
                at = self._inside(k, at, length)
            there = k.bits("and", at >= 0.0, at < length)
            place = k.cast(k.select(there, at, 0.0), "i32")
            place = place * k.splat(k.cast(step, "i32"), self.width)
            weight = k.const(p.type, coefficients[0])
            for c in coefficients[1:]:
                weight = k.fma(weight, fraction, k.const(p.type, c))
            found.append(_Corner(place, weight, there))
        return found

    def _inside(self, k: Emitter, at: Val, length: Val) -> Val:
        """Pixels outside as the border pixel, or mirrored: at its centre or at its outer edge."""
        s, last = Scalars(k, self.dtype), length - 1.0
        if self.padding == "border":
            return s.clamp(at, 0.0, last)
        low, span = (0.0, last) if self.aligned else (-0.5, length)
        away = s.abs(at - low)
        turns = s.floor(away / span)
        rest = away - turns * span
        even = s.eq(s.floor(turns * 0.5) * 2.0, turns)
        mirrored = s.clamp(k.select(even, rest + low, span - rest + low), 0.0, last)
        return k.select(s.gt(span, 0.0), mirrored, 0.0)


def _taps(pieces: Pieces, call: Call, kind: dtype) -> _Taps:
    """What a call's parameters say. Nearest pixels do not change with the position: their slopes have no corners."""
    if kind.category != FLOAT:
        raise Unsupported(f"samples of {kind}")
    mode, padding, aligned, orders = (call.params[name] for name in ("mode", "padding", "align_corners", "orders"))
    chosen = tuple([tuple([(shift, tuple(c)) for shift, c in pieces(mode, order)]) for order in orders])
    return _Taps(mode, padding, aligned, orders, chosen, kind)


def _describe(site: Site, words: Words, positions: Arg, size: Ints, steps: Ints) -> int:
    """The words of the positions and of the pixels of a plane; how many points an image has."""
    if sum((n - 1) * abs(s) for n, s in zip(size, steps)) >= 2**31:
        raise Unsupported("planes that 32 bits do not reach")
    points = prod(positions.shape[1:-1])
    words.add(positions=contiguous(site, positions), points=points)
    for d, (n, step) in enumerate(zip(size, steps)):
        words.add(**{f"size{d}": n, f"step{d}": step})
    return points


# -- reading ---------------------------------------------------------------------------------------------------


def forward(pieces: Pieces) -> Lower:
    """The lowering that samples images [N, C, *size] at positions [N, *points, dims]."""

    @widened
    def lower(site: Site, call: Call) -> None:
        x, positions = call.inputs
        if 0 in call.metas[0].shape:
            return
        taps, words = _taps(pieces, call, x.dtype), Words()
        images, channels = x.shape[:2]
        points = _describe(site, words, positions, x.shape[2:], x.strides[2:])
        words.add(
            x=site.source(x), out=site.result(), channels=channels, images=x.strides[0], planes=x.strides[1],
            blocks=-(-points // _POINTS),
        )  # fmt: skip
        bound, count = words.bind(), float(images * channels * points)
        kernel = Kernel(f"sample {taps.key}", lambda k: _emit_forward(k, bound, taps))
        work = 2 * count * taps.count, count * 2 * x.dtype.itemsize
        site.launch(kernel, tuple(words.args), images * -(-points // _POINTS), count * taps.count / 2, "sample", work)

    return lower


def _emit_forward(k: Emitter, w: Bound, taps: _Taps) -> None:
    memory = scalars.memory_type(taps.dtype)
    blocks, points, channels = (w.integer(k, name) for name in ("blocks", "points", "channels"))
    zero = k.const(vector(scalars.compute_type(taps.dtype), taps.width), 0)
    with k.tasks() as task:
        image, low = k.div(task, blocks), k.mul(k.rem(task, blocks), _POINTS)
        base = k.at(w.pointer(k, "x"), k.mul(image, w.integer(k, "images")), memory)

        def body(i: Index, mask: Val | None) -> None:
            at = k.mul(k.add(k.mul(image, points), i), taps.dims)
            corners = taps.corners(k, w, k.at(w.pointer(k, "positions"), at, memory), mask)
            with k.loop(channels) as c:
                plane, total = k.at(base, k.mul(c, w.integer(k, "planes")), memory), zero
                for corner in corners:
                    total = k.fma(k.gather(plane, corner.at, memory, corner.there), corner.weight, total)
                to = k.add(k.mul(k.add(k.mul(image, channels), c), points), i)
                scalars.store(k, total, w.pointer(k, "out"), to, taps.dtype, mask)

        lanes_loop(k, low, k.minimum(k.add(low, _POINTS), points), taps.width, body, unroll=1)


# -- adding up -------------------------------------------------------------------------------------------------


def backward(pieces: Pieces) -> Lower:
    """The lowering of the transpose: what points add to the pixels that they read."""

    @widened
    def lower(site: Site, call: Call) -> None:
        g, positions = call.inputs
        images, channels, *size = call.metas[0].shape
        if 0 in call.metas[0].shape:
            return
        taps, words = _taps(pieces, call, g.dtype), Words()
        steps = [prod(size[d + 1 :]) for d in range(len(size))]
        points = _describe(site, words, positions, tuple(size), tuple(steps))
        together = _CHANNELS if images * -(-channels // _CHANNELS) >= _TASKS else 1
        groups = -(-channels // together)
        words.add(
            g=contiguous(site, g), out=site.result(), channels=channels, area=prod(size), together=together,
            groups=groups,
        )  # fmt: skip
        bound, count = words.bind(), float(images * channels * points)
        kernel = Kernel(f"sample back {taps.key}", lambda k: _emit_backward(k, bound, taps))
        work = 2 * count * taps.count, count * 2 * g.dtype.itemsize
        site.launch(kernel, tuple(words.args), images * groups, count * taps.count, "sample back", work)

    return lower


def _emit_backward(k: Emitter, w: Bound, taps: _Taps) -> None:
    memory, type = scalars.memory_type(taps.dtype), scalars.compute_type(taps.dtype)
    points, channels, together, area = (w.integer(k, name) for name in ("points", "channels", "together", "area"))
    places = k.stack("i32", taps.count * taps.width)
    weights, shares = (k.stack(type, taps.count * taps.width) for _ in range(2))
    with k.tasks() as task:
        image, first = k.div(task, w.integer(k, "groups")), k.mul(k.rem(task, w.integer(k, "groups")), together)
        stop = k.minimum(k.add(first, together), channels)
        begin = k.mul(k.add(k.mul(image, channels), first), area)
        _zero(k, k.at(w.pointer(k, "out"), begin, memory), k.mul(k.sub(stop, first), area), taps)
        with k.loop(points, step=taps.width) as i:
            count = k.minimum(k.sub(points, i), taps.width)
            at = k.mul(k.add(k.mul(image, points), i), taps.dims)
            mask = k.mask(count, taps.width)
            for nr, corner in enumerate(taps.corners(k, w, k.at(w.pointer(k, "positions"), at, memory), mask)):
                k.store(k.select(corner.there, corner.at, 0), places, nr * taps.width)
                k.store(k.select(corner.there, corner.weight, 0.0), weights, nr * taps.width)
            with k.loop(stop, start=first) as c:
                plane = k.add(k.mul(image, channels), c)
                source = k.at(w.pointer(k, "g"), k.add(k.mul(plane, points), i), memory)
                _weigh(k, taps, scalars.load(k, source, 0, taps.dtype, taps.width, mask), weights, shares)
                _add(k, taps, k.at(w.pointer(k, "out"), k.mul(plane, area), memory), places, shares, count)


def _zero(k: Emitter, out: Val, count: Index, taps: _Taps) -> None:
    zero = k.const(vector(scalars.compute_type(taps.dtype), taps.width), 0)
    lanes_loop(k, 0, count, taps.width, lambda i, mask: scalars.store(k, zero, out, i, taps.dtype, mask))


def _weigh(k: Emitter, taps: _Taps, g: Val, weights: Val, shares: Val) -> None:
    """What points add to their corners. Corners that are nowhere have no weight and get nothing."""
    for at in range(0, taps.count * taps.width, taps.width):
        weight = k.load(weights, at, g.type)
        k.store(k.select(weight.equals(0.0), 0.0, g * weight), shares, at)


def _add(k: Emitter, taps: _Taps, target: Val, places: Val, shares: Val, count: Index) -> None:
    """Add the shares up, point by point."""
    with k.loop(count) as lane:
        for nr in range(taps.count):
            at = k.add(lane, nr * taps.width)
            place = k.cast(k.load(places, at, "i32"), "i64")
            total = scalars.load(k, target, place, taps.dtype, 1) + k.load(shares, at, scalars.compute_type(taps.dtype))
            scalars.store(k, total, target, place, taps.dtype)
