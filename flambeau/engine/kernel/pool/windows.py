"""Maxima and means over windows of one size, with the outputs of a row in the lanes of vectors.

What the taps of neighbouring windows read lies `stride` elements apart: vectors are loaded whole and their lanes
picked, so that windows that lie side by side read every element once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import numpy as np

from flambeau.dtypes import dtype
from flambeau.engine.graph import Call
from flambeau.engine.kernel import move, scalars
from flambeau.engine.kernel.conv.lanes import every
from flambeau.engine.kernel.emit import Emitter, Index, Val, is_float, vector
from flambeau.engine.kernel.pool import planes
from flambeau.engine.plan import Kernel
from flambeau.engine.schedule.lowering import Site
from flambeau.shape import Ints

NEAR = 4  # strides up to this pick lanes from whole vectors, wider ones gather


@dataclass(frozen=True)
class Windows:
    """Where windows lie; per dimension."""

    size: Ints
    out: Ints
    kernel: Ints
    stride: Ints
    padding: Ints
    dilation: Ints

    @classmethod
    def of(cls, pool: Any, size: Ints) -> Windows:
        return cls(
            planes.spatial(size), planes.spatial(pool.out_size(size)), planes.spatial(pool.kernel),
            planes.spatial(pool.stride), planes.spatial(pool.padding, 0), planes.spatial(pool.dilation),
        )  # fmt: skip

    def overhangs(self, dim: int) -> bool:
        """Whether a window reaches outside."""
        last = (self.out[dim] - 1) * self.stride[dim] + (self.kernel[dim] - 1) * self.dilation[dim]
        return self.padding[dim] > 0 or last - self.padding[dim] >= self.size[dim]


@dataclass
class Taps:
    """The elements that the windows of a row meet, whose windows begin at `first` (depth, height) of a plane."""

    k: Emitter
    windows: Windows
    dtype: dtype
    lanes: int
    source: Index  # the plane's first element
    first: tuple[Any, ...]
    outside: Any = 0  # what lies around the plane
    inner: bool = False  # whether the rows of all taps exist

    @property
    def type(self) -> str:
        return vector(scalars.compute_type(self.dtype), self.lanes)

    def elements(self, start: Index) -> Iterator[tuple[int, Val]]:
        """Every tap of the windows from number `start` on: its offset from their first elements, and its elements."""
        k, w = self.k, self.windows
        for kd, kh in product(range(w.kernel[0]), range(w.kernel[1])):
            exists: Val | bool = True
            place: Index = 0
            for dim, tap in ((0, kd), (1, kh)):
                at = k.add(self.first[dim], tap * w.dilation[dim])
                if w.overhangs(dim) and not (dim == 1 and self.inner):
                    exists = planes.both(k, exists, planes.inside(k, at, w.size[dim]))
                place = k.add(k.mul(place, w.size[dim]), at)
            row = k.add(self.source, k.mul(place, w.size[2]))
            loaded: dict[int, list[Val]] = {}
            for kw in range(w.kernel[2]):
                offset = (kd * w.dilation[0] * w.size[1] + kh * w.dilation[1]) * w.size[2] + kw * w.dilation[2]
                yield offset, self._tap(row, exists, start, kw * w.dilation[2] - w.padding[2], loaded)

    def _tap(
        self, row: Index, exists: Val | bool, start: Index, offset: int, loaded: dict[int, list[Val]]
    ) -> Val:  # fmt: skip
        """The elements `offset` behind the beginnings of the windows."""
        k, lanes, stride = self.k, self.lanes, self.windows.stride[2]
        if stride > NEAR:
            return self._gathered(row, exists, k.add(k.mul(start, stride), offset))
        whole, phase = divmod(offset, stride)
        if whole not in loaded:
            begin = k.mul(k.add(start, whole), stride)
            loaded[whole] = [self.load(row, exists, k.add(begin, v * lanes)) for v in range(stride)]
        return every(k, loaded[whole], phase)

    def load(self, row: Index, exists: Val | bool, place: Index) -> Val:
        """Neighbours of a row from `place` on."""
        k, lanes, width, x = self.k, self.lanes, self.windows.size[2], self.k.pointer(0)
        known = not isinstance(place, Val)
        if known and exists is True and 0 <= place <= width - lanes:
            return scalars.load(k, x, k.add(row, place), self.dtype, lanes)
        if known and (place >= width or place <= -lanes) or exists is False:
            return k.const(self.type, self.outside)
        mask = self._mask(exists, k.add(k.ramp(vector("i64", lanes)), k.val(place, vector("i64", lanes))))
        found = scalars.load(k, x, k.add(row, place), self.dtype, lanes, mask)
        return found if self.outside == 0 else k.select(mask, found, k.const(self.type, self.outside))

    def _gathered(self, row: Index, exists: Val | bool, place: Index) -> Val:
        k = self.k
        if exists is False:
            return k.const(self.type, self.outside)
        type = vector("i64", self.lanes)
        places = k.add(k.ramp(type, 0, self.windows.stride[2]), k.val(place, type))
        mask = self._mask(exists, places)
        raw = k.gather(k.pointer(0), k.add(places, k.val(row, type)), scalars.memory_type(self.dtype), mask)
        return k.select(mask, scalars.widened(k, raw, self.dtype), k.const(self.type, self.outside))

    def _mask(self, exists: Val | bool, places: Val) -> Val:
        k = self.k
        mask = k.compare("lt", places, self.windows.size[2], unsigned=True)
        return mask if isinstance(exists, bool) else k.bits("and", mask, k.splat(exists, self.lanes))


@dataclass(frozen=True)
class Average:
    """What a mean divides by."""

    include_pad: bool
    override: int | None


@dataclass(frozen=True)
class WindowKernel:
    """The kernel; a task is a plane, or a row of one where planes are few. Without `average` it finds maxima."""

    windows: Windows
    dtype: dtype
    average: Average | None
    by_rows: bool
    stream: bool

    @property
    def lanes(self) -> int:
        return planes.lanes_of(self.dtype, self.windows.out[2])

    @property
    def type(self) -> str:
        return vector(scalars.compute_type(self.dtype), self.lanes)

    def emit(self, k: Emitter) -> None:
        for streams in planes.ways(k, self.stream, (1,) if self.average else (1, 2)):
            with k.tasks() as task:
                self._task(k, task, streams)

    def _task(self, k: Emitter, task: Val, streams: bool) -> None:
        depth, height, _ = self.windows.out
        row, plane = (k.rem(task, height), k.div(task, height)) if self.by_rows else (0, task)
        with planes.each(k, 1 if self.by_rows else depth) as d, planes.each(k, 1 if self.by_rows else height) as h:
            if self.by_rows:
                d, plane, h = k.rem(plane, depth), k.div(plane, depth), row
            self._row(k, plane, d, h, streams)

    def _row(self, k: Emitter, plane: Index, depth: Index, height: Index, streams: bool) -> None:
        w = self.windows
        source = k.mul(plane, prod(w.size))
        out = k.mul(k.add(k.mul(k.add(k.mul(plane, w.out[0]), depth), w.out[1]), height), w.out[2])
        first = tuple(k.sub(k.mul(i, s), p) for i, s, p in zip((depth, height), w.stride, w.padding))
        d, outside = self.dtype, 0
        if self.average is None:
            outside = -np.inf if d.is_floating_point else np.iinfo(d.np).min
        vectors = _Vector(self, Taps(k, w, d, self.lanes, source, first, outside), streams)
        planes.in_vectors(k, w.out[2], self.lanes, lambda start, count: vectors.compute(out, start, count))


@dataclass
class _Vector:
    """The computation of vectors of windows, all of one row."""

    kernel: WindowKernel
    taps: Taps
    streams: bool

    def compute(self, out: Index, start: Index, count: int) -> None:
        k, kernel = self.taps.k, self.kernel
        mask = None if count == kernel.lanes else k.mask(count, kernel.lanes)
        at = k.add(out, start)
        if kernel.average is not None:
            mean = planes.quotient(k, self._sum(start), self._divisor(kernel.average, start))
            scalars.store(k, mean, k.pointer(1), at, kernel.dtype, mask, self.streams)
            return
        best, index = self._maximum(start)
        scalars.store(k, best, k.pointer(1), at, kernel.dtype, mask, self.streams)
        wide = k.cast(index, "i64")
        if mask is None:
            k.store(wide, k.pointer(2), at, stream=self.streams)
        else:
            k.masked_store(wide, k.pointer(2), at, mask)

    # -- maxima --------------------------------------------------------------------------------------------------

    def _maximum(self, start: Index) -> tuple[Val, Val]:
        """The largest elements, and where they lie in their planes. NaN is larger than any number."""
        k, kernel = self.taps.k, self.kernel
        taps = self.taps.elements(start)
        _, best = next(taps)
        floating, type = is_float(kernel.type), vector("i32", kernel.lanes)
        begin, which = self._begin(start)
        for offset, x in taps:
            better = k.compare("gt", x, best)
            if floating:
                better = k.bits("or", better, k.unordered(x, x))
            best = k.select(better, x, best)
            which = k.select(better, k.const(type, offset), which)
        return best, k.add(begin, which)

    def _begin(self, start: Index) -> tuple[Val, Val]:
        """Where the windows begin, and how far the first tap counts to be from there.

        A window of nothing but -inf keeps its first tap, which counts as the nearest element if it lies outside.
        """
        k, w = self.taps.k, self.kernel.windows
        type = vector("i32", self.kernel.lanes)
        depth, height = self.taps.first
        column = k.sub(k.mul(start, w.stride[2]), w.padding[2])
        columns = k.add(k.ramp(type, 0, w.stride[2]), self._narrow(column, type))
        row = k.mul(k.add(k.mul(depth, w.size[1]), height), w.size[2])
        begin = k.add(columns, self._narrow(row, type))
        if not any(w.padding):
            return begin, k.const(type, 0)
        row = k.mul(k.add(k.mul(k.maximum(depth, 0), w.size[1]), k.maximum(height, 0)), w.size[2])
        zero = k.const(type, 0)
        columns = k.select(k.compare("lt", columns, zero), zero, columns)
        return begin, k.sub(k.add(columns, self._narrow(row, type)), begin)

    def _narrow(self, x: Index, type: str) -> Val:
        k = self.taps.k
        return k.val(k.cast(x, "i32") if isinstance(x, Val) else x, type)

    # -- means ---------------------------------------------------------------------------------------------------

    def _sum(self, start: Index) -> Val:
        taps = self.taps.elements(start)
        _, total = next(taps)
        for _, x in taps:
            total = self.taps.k.add(total, x)
        return total

    def _divisor(self, average: Average, start: Index) -> Any:
        k, w = self.taps.k, self.kernel.windows
        if average.override is not None:
            return average.override
        type = vector("i64", self.kernel.lanes)
        columns = k.add(k.ramp(type, 0, w.stride[2]), k.val(k.sub(k.mul(start, w.stride[2]), w.padding[2]), type))
        count: Any = 1
        for dim, first in enumerate((*self.taps.first, columns)):
            count = k.mul(count, counted(k, w, dim, first, average.include_pad))
        return count


def counted(k: Emitter, w: Windows, dim: int, first: Any, include_pad: bool) -> Any:
    """How many elements of a window that begins at `first` a mean counts, in one dimension."""
    if not w.overhangs(dim):
        return w.kernel[dim]
    pad = w.padding[dim] if include_pad else 0
    if not isinstance(first, Val):
        return min(first + w.kernel[dim], w.size[dim] + pad) - max(first, -pad)
    end = k.add(first, w.kernel[dim])
    end = k.select(k.compare("lt", end, w.size[dim] + pad), end, w.size[dim] + pad)
    start = k.select(k.compare("gt", first, -pad), first, -pad)
    return k.sub(end, start)


# -- lowerings -------------------------------------------------------------------------------------------------


def _launch(site: Site, call: Call, average: Average | None) -> None:
    (x,) = call.inputs
    pool = call.params["pool"]
    dims = len(pool.kernel)
    count = planes.planes(x.shape, dims)
    if 0 in call.metas[0].shape:
        return
    windows = Windows.of(pool, tuple(x.shape[-dims:]))
    by_rows = count < 64
    stream = windows.out[2] % planes.lanes_of(x.dtype, windows.out[2]) == 0 and move.large(x.shape, x.dtype)
    kernel = WindowKernel(windows, x.dtype, average, by_rows, stream)
    results = (site.result(),) if average is not None else (site.result(0), site.result(1))
    rows = count * windows.out[0] * windows.out[1]
    steps = rows * -(-windows.out[2] // kernel.lanes) * prod(windows.kernel)
    site.launch(
        Kernel(f"pool {kernel.lanes} {kernel}", kernel.emit), (planes.contiguous(site, x), *results),
        rows if by_rows else count, cost=planes.CYCLE * (steps * (2 if average else 4) + rows * 8), note="pool",
        work=(0.0, (prod(x.shape) + prod(call.metas[0].shape)) * x.dtype.itemsize),
    )  # fmt: skip


def maximum(site: Site, call: Call) -> None:
    """The largest element of every window, and its place."""
    planes.check(call, floating=False)
    _launch(site, call, None)


def average(site: Site, call: Call) -> None:
    """The mean of every window."""
    planes.check(call, floating=True)
    _launch(site, call, Average(call.params["count_include_pad"], call.params["override"]))
