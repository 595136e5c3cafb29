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
from flambeau.engine.kernel import points, scalars
from flambeau.engine.kernel.contract.words import Bound, Words
from flambeau.engine.kernel.emit import Emitter, Index, Val, vector
from flambeau.engine.kernel.move_walk import lanes_loop
from flambeau.engine.kernel.pool.planes import contiguous
from flambeau.engine.kernel.scalars import Scalars
from flambeau.engine.kernel.target import vector_bytes
from flambeau.engine.kernel.widen import widened
from flambeau.engine.plan import Address, Kernel
from flambeau.engine.schedule.lowering import Lower, Site, Unsupported
from flambeau.shape import Ints, contiguous_strides

# (mode, order of the derivative) -> of each tap, how far it is from the pixel below and its weight's coefficients
Pieces = Callable[[str, int], Sequence[tuple[int, Sequence[float]]]]
_POINTS = 4096  # points of a task
_CHANNELS = 8  # planes of a task that adds up
_TASKS = 16  # that keep every thread busy


class _Tap(NamedTuple):
    """Where lanes read along an axis, in elements; whether that is anywhere; the weight, and what its slope is."""

    at: Val
    there: Val
    weights: tuple[Val, ...]


class _Corner(NamedTuple):
    """Where lanes read, in elements of a plane; whether that is anywhere; its weight, or the slope along each axis."""

    at: Val
    there: Val
    weights: tuple[Val, ...]


@dataclass(frozen=True)
class _Taps:
    """How positions become corners. With `slopes`, a corner has a weight for each axis, differentiated once more there;
    otherwise it is nowhere if its weight is 0."""

    mode: str
    padding: str
    aligned: bool
    orders: Ints
    slopes: bool
    pieces: tuple[tuple[Sequence[tuple[int, Sequence[float]]], ...], ...]  # of each axis, with its weights' slopes
    dtype: dtype

    @property
    def dims(self) -> int:
        return len(self.orders)

    @property
    def width(self) -> int:
        return vector_bytes() // self.dtype.itemsize

    @property
    def type(self) -> str:
        return vector(scalars.compute_type(self.dtype), self.width)

    @property
    def count(self) -> int:
        """Corners of a point."""
        return prod(len(axis[0]) for axis in self.pieces)

    @property
    def key(self) -> str:
        return f"{self.mode} {self.padding} {self.aligned:d} {self.orders} {self.dtype.name} w{self.width}"

    def corners(self, k: Emitter, w: Bound, first: Index, count: Index | None) -> list[_Corner]:
        """The corners of the points from `first` on, of which there are `count` (None: as many as lanes)."""
        places = points.load(k, w.pointer(k, "positions"), first, self.dtype, self.dims, self.width, count)
        axes = [self._axis(k, w, d, places[self.dims - 1 - d]) for d in range(self.dims)]  # positions list x first
        return [self._corner(k, taps) for taps in product(*axes)]

    def _corner(self, k: Emitter, taps: tuple[_Tap, ...]) -> _Corner:
        at, there = taps[0].at, taps[0].there
        for tap in taps[1:]:
            at, there = at + tap.at, k.bits("and", there, tap.there)
        if self.slopes:
            return _Corner(at, there, tuple([_product(taps, axis) for axis in range(self.dims)]))
        weight = _product(taps)
        return _Corner(at, k.bits("and", there, weight.differs(0.0)), (weight,))

    def _axis(self, k: Emitter, w: Bound, d: int, p: Val) -> list[_Tap]:
        """The taps along one axis."""
        finite = k.compare("lt", k.intrinsic("fabs", p.type, p), float("inf"))
        p = k.select(finite, p, -100.0)
        low = k.intrinsic("roundeven" if self.mode == "nearest" else "floor", p.type, p)
        fraction = p - low
        size, step = w.integer(k, f"size{d}"), k.cast(w.integer(k, f"step{d}"), "i32")
        length = k.splat(k.cast(size, scalars.compute_type(self.dtype)), self.width)
        found = []
        for each in zip(*self.pieces[d]):
            at = low + float(each[0][0])
            if self.mode == "bicubic" and self.padding != "zeros":
                at = self._inside(k, at, length)
            there = k.bits("and", at >= 0.0, at < length)
            place = k.cast(k.select(there, at, 0.0), "i32") * k.splat(step, self.width)
            found.append(_Tap(place, there, tuple([_weight(k, fraction, c) for _, c in each])))
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


def _weight(k: Emitter, fraction: Val, coefficients: Sequence[float]) -> Val:
    weight = k.const(fraction.type, coefficients[0])
    for c in coefficients[1:]:
        weight = k.fma(weight, fraction, k.const(fraction.type, c))
    return weight


def _product(taps: Sequence[_Tap], steep: int | None = None) -> Val:
    """The weight of a corner: of its taps, one of which may give its slope instead."""
    first, *others = [tap.weights[nr == steep] for nr, tap in enumerate(taps)]
    for other in others:
        first = first * other
    return first


def _taps(pieces: Pieces, call: Call, kind: dtype, slopes: bool = False) -> _Taps:
    """What a call's parameters say."""
    if kind.category != FLOAT:
        raise Unsupported(f"samples of {kind}")
    mode, padding, aligned, orders = (call.params[name] for name in ("mode", "padding", "align_corners", "orders"))
    chosen = tuple([tuple([pieces(mode, order + more) for more in range(1 + slopes)]) for order in orders])
    return _Taps(mode, padding, aligned, orders, slopes, chosen, kind)


def _described(site: Site, positions: Arg, size: Ints, steps: Ints) -> tuple[Words, int, int]:
    """The words of the positions and of the pixels of a plane; how many points and blocks of them an image has."""
    if sum((n - 1) * abs(s) for n, s in zip(size, steps)) >= 2**31:
        raise Unsupported("planes that 32 bits do not reach")
    count, words = prod(positions.shape[1:-1]), Words()
    blocks = -(-count // _POINTS)
    words.add(positions=contiguous(site, positions), points=count, blocks=blocks)
    for d, (n, step) in enumerate(zip(size, steps)):
        words.add(**{f"size{d}": n, f"step{d}": step})
    return words, count, blocks


# -- reading ---------------------------------------------------------------------------------------------------


def forward(pieces: Pieces) -> Lower:
    """The lowering that samples images [N, C, *size] at positions [N, *points, dims]."""

    @widened
    def lower(site: Site, call: Call) -> None:
        x, positions = call.inputs
        if 0 not in call.metas[0].shape:
            taps = _taps(pieces, call, x.dtype)
            _read(site, x, positions, taps, {}, lambda k, w: _emit_forward(k, w, taps))

    return lower


def slopes(pieces: Pieces) -> Lower:
    """The lowering of what moving each position changes: the sum over the channels of `g` times the samples' slopes."""

    @widened
    def lower(site: Site, call: Call) -> None:
        g, x, positions = call.inputs
        if 0 not in call.metas[0].shape:
            taps = _taps(pieces, call, x.dtype, slopes=True)
            _read(site, x, positions, taps, {"g": contiguous(site, g)}, lambda k, w: _emit_slopes(k, w, taps))

    return lower


def _read(
    site: Site, x: Arg, positions: Arg, taps: _Taps, more: dict[str, Address], emit: Callable[[Emitter, Bound], None]
) -> None:
    words, each, blocks = _described(site, positions, x.shape[2:], x.strides[2:])
    images, channels = x.shape[:2]
    words.add(x=site.source(x), out=site.result(), channels=channels, images=x.strides[0], planes=x.strides[1], **more)
    bound, count = words.bind(), float(images * channels * each)
    kernel = Kernel(f"sample{' slopes' * taps.slopes} {taps.key}", lambda k: emit(k, bound))
    work = 2 * count * taps.count, count * 2 * x.dtype.itemsize
    site.launch(kernel, tuple(words.args), images * blocks, count * taps.count / 2, "sample", work)


class _Block:
    """Points of an image, and in turn its channels: what a task reads."""

    def __init__(self, k: Emitter, w: Bound, taps: _Taps, task: Val) -> None:
        self.k, self.w, self.memory = k, w, scalars.memory_type(taps.dtype)
        self.points, self.channels, blocks = (w.integer(k, name) for name in ("points", "channels", "blocks"))
        self.image, self.low = k.div(task, blocks), k.mul(k.rem(task, blocks), _POINTS)
        self.high = k.minimum(k.add(self.low, _POINTS), self.points)
        self.x = k.at(w.pointer(k, "x"), k.mul(self.image, w.integer(k, "images")), self.memory)

    def first(self, i: Index) -> Val:
        """The number of a point among those of all images."""
        return self.k.add(self.k.mul(self.image, self.points), i)

    def plane(self, c: Val) -> Val:
        return self.k.at(self.x, self.k.mul(c, self.w.integer(self.k, "planes")), self.memory)

    def place(self, c: Val, i: Index) -> Val:
        """Where a point of a channel stands in an array [N, C, points]."""
        k = self.k
        return k.add(k.mul(k.add(k.mul(self.image, self.channels), c), self.points), i)


def _emit_forward(k: Emitter, w: Bound, taps: _Taps) -> None:
    with k.tasks() as task:
        block = _Block(k, w, taps, task)

        def body(i: Index, mask: Val | None) -> None:
            corners = taps.corners(k, w, block.first(i), None if mask is None else k.sub(block.high, i))
            with k.loop(block.channels) as c:
                plane, total = block.plane(c), k.const(taps.type, 0)
                for at, there, (weight,) in corners:
                    total = k.fma(k.gather(plane, at, block.memory, there), weight, total)
                scalars.store(k, total, w.pointer(k, "out"), block.place(c, i), taps.dtype, mask)

        lanes_loop(k, block.low, block.high, taps.width, body, unroll=1)


def _emit_slopes(k: Emitter, w: Bound, taps: _Taps) -> None:
    with k.tasks() as task:
        block = _Block(k, w, taps, task)

        def body(i: Index, mask: Val | None) -> None:
            count = None if mask is None else k.sub(block.high, i)
            corners = taps.corners(k, w, block.first(i), count)
            with k.loop(block.channels, carried=[k.const(taps.type, 0)] * taps.dims) as c:
                plane, slopes = block.plane(c.i), [k.const(taps.type, 0)] * taps.dims
                for at, there, weights in corners:
                    pixel = k.gather(plane, at, block.memory, there)
                    for d, weight in enumerate(weights):
                        slopes[d] = k.fma(k.select(weight.equals(0.0), 0.0, pixel), weight, slopes[d])
                g = scalars.load(k, w.pointer(k, "g"), block.place(c.i, i), taps.dtype, taps.width, mask)
                c.carry(*[k.fma(g, slope, total) for slope, total in zip(slopes, c.carried)])
            points.store(k, c.results[::-1], w.pointer(k, "out"), block.first(i), taps.dtype, count)

        lanes_loop(k, block.low, block.high, taps.width, body, unroll=1)


# -- adding up -------------------------------------------------------------------------------------------------


def backward(pieces: Pieces) -> Lower:
    """The lowering of the transpose: what points add to the pixels that they read."""

    @widened
    def lower(site: Site, call: Call) -> None:
        g, positions = call.inputs
        images, channels, *size = call.metas[0].shape
        if 0 in call.metas[0].shape:
            return
        taps = _taps(pieces, call, g.dtype)
        words, each, _ = _described(site, positions, tuple(size), contiguous_strides(size))
        together = _CHANNELS if images * -(-channels // _CHANNELS) >= _TASKS else 1
        groups = -(-channels // together)
        words.add(
            g=contiguous(site, g), out=site.result(), channels=channels, area=prod(size), together=together,
            groups=groups,
        )  # fmt: skip
        bound, count = words.bind(), float(images * channels * each)
        kernel = Kernel(f"sample back {taps.key}", lambda k: _emit_backward(k, bound, taps))
        work = 2 * count * taps.count, count * 2 * g.dtype.itemsize
        site.launch(kernel, tuple(words.args), images * groups, count * taps.count, "sample back", work)

    return lower


def _emit_backward(k: Emitter, w: Bound, taps: _Taps) -> None:
    memory, type = scalars.memory_type(taps.dtype), scalars.compute_type(taps.dtype)
    each, channels, together, area = (w.integer(k, name) for name in ("points", "channels", "together", "area"))
    places = k.stack("i32", taps.count * taps.width)
    weights, shares = (k.stack(type, taps.count * taps.width) for _ in range(2))
    with k.tasks() as task:
        image, first = k.div(task, w.integer(k, "groups")), k.mul(k.rem(task, w.integer(k, "groups")), together)
        stop = k.minimum(k.add(first, together), channels)
        begin = k.mul(k.add(k.mul(image, channels), first), area)
        _zero(k, k.at(w.pointer(k, "out"), begin, memory), k.mul(k.sub(stop, first), area), taps)
        with k.loop(each, step=taps.width) as i:
            count = k.minimum(k.sub(each, i), taps.width)
            mask = k.mask(count, taps.width)
            for nr, corner in enumerate(taps.corners(k, w, k.add(k.mul(image, each), i), count)):
                k.store(k.select(corner.there, corner.at, 0), places, nr * taps.width)
                k.store(k.select(corner.there, corner.weights[0], 0.0), weights, nr * taps.width)
            with k.loop(stop, start=first) as c:
                plane = k.add(k.mul(image, channels), c)
                source = k.at(w.pointer(k, "g"), k.add(k.mul(plane, each), i), memory)
                _weigh(k, taps, scalars.load(k, source, 0, taps.dtype, taps.width, mask), weights, shares)
                _add(k, taps, k.at(w.pointer(k, "out"), k.mul(plane, area), memory), places, shares, count)


def _zero(k: Emitter, out: Val, count: Index, taps: _Taps) -> None:
    zero = k.const(taps.type, 0)
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
