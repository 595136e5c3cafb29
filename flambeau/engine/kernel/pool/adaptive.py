"""Adaptive pools: windows that divide a dimension as evenly as they can, so that no two need be of one size.

Window `i` of `out` over `n` elements begins at `i * n // out` and ends before the element `(i + 1) * n / out`, rounded
up. A task is a plane.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

from flambeau.dtypes import dtype
from flambeau.engine.graph import Call
from flambeau.engine.kernel import scalars
from flambeau.engine.kernel.emit import Emitter, Index, Val, is_float, vector
from flambeau.engine.kernel.pool import planes
from flambeau.engine.kernel.widen import widened
from flambeau.engine.plan import Kernel
from flambeau.engine.schedule.lowering import Site, Unsupported
from flambeau.shape import Ints


def bounds(k: Emitter, i: Index, n: int, out: int) -> tuple[Index, Index]:
    """Where a window begins and ends."""
    if n % out == 0:
        start = k.mul(i, n // out)
        return start, k.add(start, n // out)
    return k.div(k.mul(i, n), out), k.div(k.add(k.mul(k.add(i, 1), n), out - 1), out)


@dataclass(frozen=True)
class AdaptiveKernel:
    """What the kernels share: the sizes, and the way through the windows of a plane and the rows of a window."""

    dtype: dtype
    size: Ints
    out: Ints

    @property
    def type(self) -> str:
        return scalars.compute_type(self.dtype)

    @property
    def lanes(self) -> int:
        """As many as the largest window has elements in a row, or all."""
        return planes.lanes_of(self.dtype, -(-self.size[2] // self.out[2]) + 1)

    @property
    def key(self) -> str:
        return f"pool adaptive {self.lanes} {self!r}"

    def emit(self, k: Emitter) -> None:
        with k.tasks() as plane:
            self.begin(k, plane)
            with planes.each(k, self.out[0]) as d, planes.each(k, self.out[1]) as h, planes.each(k, self.out[2]) as w:
                window = [bounds(k, i, n, out) for i, n, out in zip((d, h, w), self.size, self.out)]
                number = k.add(k.mul(k.add(k.mul(k.add(k.mul(plane, self.out[0]), d), self.out[1]), h), self.out[2]), w)
                self.window(k, plane, number, window)

    def begin(self, k: Emitter, plane: Index) -> None:
        """What comes before the windows of a plane."""

    def window(self, k: Emitter, plane: Index, number: Index, window: list[tuple[Index, Index]]) -> None:
        raise NotImplementedError

    def count(self, k: Emitter, window: list[tuple[Index, Index]]) -> Val:
        """Elements of a window, as a float."""
        count: Index = 1
        for start, end in window:
            count = k.mul(count, k.sub(end, start))
        return k.cast(count, self.type) if isinstance(count, Val) else k.const(self.type, count)

    @contextmanager
    def rows(self, k: Emitter, plane: Index, window: list[tuple[Index, Index]], carried: list[Val]) -> Iterator[_Rows]:
        """The rows of a window, in order, and in them its vectors."""
        (d0, d1), (h0, h1), (w0, w1) = window
        with k.loop(d1, start=d0, carried=[*carried, _token(k)]) as deep:
            with k.loop(h1, start=h0, carried=deep.carried) as high:
                row = k.mul(k.add(k.mul(k.add(k.mul(plane, self.size[0]), deep.i), self.size[1]), high.i), self.size[2])
                with k.loop(w1, start=w0, step=self.lanes, carried=high.carried) as wide:
                    state = _Rows(k.add(row, wide.i), k.mask(k.sub(w1, wide.i), self.lanes), wide.carried[:-1])
                    yield state
                    wide.carry(*state.carried, wide.carried[-1])
                high.carry(*wide.results)
            deep.carry(*high.results)
        state.carried = deep.results[:-1]


@dataclass
class _Rows:
    """A vector of a window: where it lies, which lanes belong to the window, and what is carried on from it."""

    at: Index
    mask: Val
    carried: list[Val]


def _token(k: Emitter) -> Val:
    """Something to carry where there is nothing to carry, so that all loops look alike."""
    return k.const("i1", 0)


@dataclass(frozen=True)
class Mean(AdaptiveKernel):
    """Means of the windows."""

    def window(self, k: Emitter, plane: Index, number: Index, window: list[tuple[Index, Index]]) -> None:
        zero = k.const(vector(self.type, self.lanes), 0)
        with self.rows(k, plane, window, [zero]) as rows:
            x = scalars.load(k, k.pointer(0), rows.at, self.dtype, self.lanes, rows.mask)
            rows.carried = [k.add(rows.carried[0], x)]
        total = k.fold(rows.carried[0], lambda a, b: a + b)
        scalars.store(k, k.div(total, self.count(k, window)), k.pointer(1), number, self.dtype)


@dataclass(frozen=True)
class MeanGradient(AdaptiveKernel):
    """The gradient of means: shares added to the elements of their windows, in order."""

    def begin(self, k: Emitter, plane: Index) -> None:
        area, lanes = prod(self.size), planes.lanes_of(self.dtype, prod(self.size))
        zero, first = k.const(vector(self.type, lanes), 0), k.mul(plane, area)

        def write(start: Index, count: int) -> None:
            mask = None if count == lanes else k.mask(count, lanes)
            scalars.store(k, zero, k.pointer(1), k.add(first, start), self.dtype, mask)

        planes.in_vectors(k, area, lanes, write)

    def window(self, k: Emitter, plane: Index, number: Index, window: list[tuple[Index, Index]]) -> None:
        share = k.div(scalars.load(k, k.pointer(0), number, self.dtype, 1), self.count(k, window))
        shares = k.splat(share, self.lanes)
        with self.rows(k, plane, window, []) as rows:
            x = scalars.load(k, k.pointer(1), rows.at, self.dtype, self.lanes, rows.mask)
            scalars.store(k, k.add(x, shares), k.pointer(1), rows.at, self.dtype, rows.mask)


@dataclass(frozen=True)
class Maximum(AdaptiveKernel):
    """The first largest element of the windows, and its place; the first NaN is larger than any number."""

    @property
    def lanes(self) -> int:
        return 1

    def window(self, k: Emitter, plane: Index, number: Index, window: list[tuple[Index, Index]]) -> None:
        (d0, d1), (h0, h1), (w0, w1) = window
        base = k.mul(plane, prod(self.size))
        first = k.val(k.add(k.mul(k.add(k.mul(d0, self.size[1]), h0), self.size[2]), w0), "i64")
        best = scalars.load(k, k.pointer(0), k.add(base, first), self.dtype, 1)
        with k.loop(d1, start=d0, carried=[best, first]) as deep:
            with k.loop(h1, start=h0, carried=deep.carried) as high:
                row = k.mul(k.add(k.mul(deep.i, self.size[1]), high.i), self.size[2])
                with k.loop(w1, start=w0, carried=high.carried) as wide:
                    at = k.add(row, wide.i)
                    wide.carry(*self._larger(k, wide.carried, k.add(base, at), at))
                high.carry(*wide.results)
            deep.carry(*high.results)
        scalars.store(k, deep.results[0], k.pointer(1), number, self.dtype)
        k.store(deep.results[1], k.pointer(2), number)

    def _larger(self, k: Emitter, found: list[Val], place: Index, at: Val) -> tuple[Val, Val]:
        best, index = found
        x = scalars.load(k, k.pointer(0), place, self.dtype, 1)
        better = k.compare("gt", x, best)
        if is_float(x.type):
            news = k.bits("xor", k.unordered(best, best), k.const("i1", 1))
            better = k.bits("or", better, k.bits("and", k.unordered(x, x), news))
        return k.select(better, x, best), k.select(better, at, index)


# -- lowerings -------------------------------------------------------------------------------------------------


def _launch(site: Site, call: Call, kind: type[AdaptiveKernel], spread: bool = False) -> None:
    (x,) = call.inputs
    planes.check(call, floating=kind is not Maximum)
    if 0 in call.metas[0].shape:
        return
    if 0 in x.shape:
        raise Unsupported("windows of nothing")
    dims = len(call.params["size"])
    given, made = (planes.spatial(shape[-dims:]) for shape in (x.shape, call.metas[0].shape))
    kernel = kind(x.dtype, made, given) if spread else kind(x.dtype, given, made)
    count = planes.planes(x.shape, dims)
    results: Any = (site.result(0), site.result(1)) if kind is Maximum else (site.result(),)
    site.launch(
        Kernel(f"{kernel.key} {kind.__name__}", kernel.emit), (planes.contiguous(site, x), *results), count,
        cost=planes.CYCLE * count * prod(max(given, made)) * 2, note="adaptive pool",
        work=(0.0, (prod(x.shape) + prod(call.metas[0].shape)) * x.dtype.itemsize),
    )  # fmt: skip


def average(site: Site, call: Call) -> None:
    """Means."""
    _launch(site, call, Mean)


@widened
def average_gradient(site: Site, call: Call) -> None:
    """The gradient of means."""
    _launch(site, call, MeanGradient, spread=True)


def maximum(site: Site, call: Call) -> None:
    """Maxima and their places."""
    _launch(site, call, Maximum)
