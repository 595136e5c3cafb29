"""What the gradients of pools need: elements put back at indices, elements read at them, and means spread out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from flambeau.dtypes import dtype
from flambeau.engine.graph import Call
from flambeau.engine.kernel import scalars
from flambeau.engine.kernel.emit import Emitter, Index, Val, vector
from flambeau.engine.kernel.pool import planes
from flambeau.engine.kernel.pool.windows import Average, Windows, counted
from flambeau.engine.kernel.widen import widened
from flambeau.engine.plan import Kernel
from flambeau.engine.schedule.lowering import Site

# -- indices ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class IndexKernel:
    """Elements put at (or added at, or read at) flat indices of their plane, in order; a task is a plane."""

    dtype: dtype
    count: int  # indices of a plane
    area: int
    action: str  # "put", "add" or "read"

    def emit(self, k: Emitter) -> None:
        memory = scalars.memory_type(self.dtype)
        bad = k.stack("i64", 1)
        k.store(k.const("i64", 0), bad, 0)
        with k.tasks() as plane:
            many, few = k.mul(plane, self.area), k.mul(plane, self.count)
            source, result = (few, many) if self.action != "read" else (many, few)
            x, y = k.at(k.pointer(0), source, memory), k.at(k.pointer(2), result, memory)
            indices = k.at(k.pointer(1), few, "i64")
            if self.action != "read":
                self._zero(k, y)
            wrong = k.const("i64", 0)
            with k.loop(self.count, carried=[wrong]) as loop:
                at = k.load(indices, loop.i, "i64")
                fine = k.compare("lt", at, self.area, unsigned=True)
                at = k.select(fine, at, 0)
                self._move(k, x, y, loop.i, at)
                loop.carry(k.bits("or", loop.carried[0], k.select(fine, k.const("i64", 0), 1)))
            k.store(k.bits("or", k.load(bad, 0, "i64"), loop.results[0]), bad, 0)
        with k.when(k.compare("ne", k.load(bad, 0, "i64"), 0)):
            k.store(k.const("i64", 1), k.pointer(3), 0)

    def _move(self, k: Emitter, x: Val, y: Val, i: Index, at: Index) -> None:
        if self.action == "read":
            x, i, at = x, at, i
        value = scalars.load(k, x, i, self.dtype, 1)
        if self.action == "add":
            value = k.add(scalars.load(k, y, at, self.dtype, 1), value)
        scalars.store(k, value, y, at, self.dtype)

    def _zero(self, k: Emitter, y: Val) -> None:
        lanes = planes.lanes_of(self.dtype, self.area)
        zero = k.const(vector(scalars.compute_type(self.dtype), lanes), 0)

        def write(start: Index, count: int) -> None:
            scalars.store(k, zero, y, start, self.dtype, None if count == lanes else k.mask(count, lanes))

        planes.in_vectors(k, self.area, lanes, write)


def _by_index(site: Site, call: Call, action: str, dims: int) -> None:
    if 0 in call.metas[0].shape:
        return
    x, index = call.inputs
    image = x.shape if action == "read" else call.metas[0].shape
    count, area, lead = prod(index.shape[-dims:]), prod(image[-dims:]), planes.planes(image, dims)
    kernel = IndexKernel(x.dtype, count, area, action)
    args = planes.contiguous(site, x), planes.contiguous(site, index), site.result(), site.status()
    site.launch(
        Kernel(f"pool index {planes.lanes_of(x.dtype, area)} {kernel}", kernel.emit), args, lead,
        cost=planes.CYCLE * lead * (count * 3 + area / 8), note=f"pool {action}",
        work=(0.0, lead * (count * (8 + x.dtype.itemsize) + area * x.dtype.itemsize)),
    )  # fmt: skip


def scatter(site: Site, call: Call) -> None:
    """Elements put at their indices in planes of zeros; added where indices may repeat."""
    planes.check(call, floating=True)
    if call.params["overlap"]:
        _added(site, call)
    else:
        _by_index(site, call, "put", len(call.params["size"]))


@widened
def _added(site: Site, call: Call) -> None:
    _by_index(site, call, "add", len(call.params["size"]))


def gather(site: Site, call: Call) -> None:
    """Elements read at flat indices of their planes."""
    planes.check(call, floating=True)
    _by_index(site, call, "read", call.params["dims"])


# -- means -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MeanGradient:
    """The gradient of means: for every pixel, the sum of the shares of the windows that cover it; a task is a plane."""

    windows: Windows
    dtype: dtype
    average: Average

    @property
    def lanes(self) -> int:
        return planes.lanes_of(self.dtype, self.windows.size[2])

    @property
    def covers(self) -> tuple[int, ...]:
        """How many windows at most cover a pixel, per dimension."""
        return tuple([-(-n // s) for n, s in zip(self.windows.kernel, self.windows.stride)])

    def emit(self, k: Emitter) -> None:
        w = self.windows
        depth, height, width = w.size
        with k.tasks() as plane, planes.each(k, depth) as d, planes.each(k, height) as h:
            out = k.mul(k.add(k.mul(k.add(k.mul(plane, depth), d), height), h), width)
            source = k.mul(plane, prod(w.out))
            rows = [
                (a, b)
                for a in self._covering(k, 0, d)
                for b in self._covering(k, 1, h)
            ]  # fmt: skip

            def write(start: Index, count: int) -> None:
                x = self._sum(k, source, rows, start)
                mask = None if count == self.lanes else k.mask(count, self.lanes)
                scalars.store(k, x, k.pointer(1), k.add(out, start), self.dtype, mask)

            planes.in_vectors(k, width, self.lanes, write)

    def _covering(self, k: Emitter, dim: int, place: Any) -> list[tuple[Any, Any, Any]]:
        """Of each window that may cover pixels: its number, whether it does, and what its mean counts here."""
        w = self.windows
        moved = k.add(place, w.padding[dim])
        found = []
        for back in range(self.covers[dim]):
            number = k.sub(k.div(moved, w.stride[dim]), back)
            first = k.mul(number, w.stride[dim])
            exists = planes.inside(k, number, w.out[dim])
            exists = planes.both(k, exists, planes.inside(k, k.sub(moved, first), w.kernel[dim]))
            found.append((number, exists, counted(k, w, dim, k.sub(first, w.padding[dim]), self.average.include_pad)))
        return found

    def _sum(self, k: Emitter, source: Index, rows: Sequence[Any], start: Index) -> Val:
        w, type = self.windows, vector("i64", self.lanes)
        scalar = scalars.compute_type(self.dtype)
        kind = vector(scalar, self.lanes)
        total = k.const(kind, 0)
        columns = self._covering(k, 2, k.add(k.ramp(type), k.val(start, type)))
        for (d, has_d, count_d), (h, has_h, count_h) in rows:
            row = k.add(source, k.mul(k.add(k.mul(d, w.out[1]), h), w.out[2]))
            exists = planes.both(k, has_d, has_h)
            for number, has, count_w in columns:
                if exists is False:
                    continue
                mask = has if exists is True else k.bits("and", has, k.splat(exists, self.lanes))
                places = k.add(number, k.val(row, type))
                raw = k.gather(k.pointer(0), places, scalars.memory_type(self.dtype), mask)
                share = scalars.widened(k, raw, self.dtype)
                count = k.mul(k.mul(count_d, count_h), count_w)
                if self.average.override is not None:
                    count = self.average.override
                divisor = k.val(k.cast(count, scalar), kind) if isinstance(count, Val) else k.const(kind, count)
                total = k.add(total, k.select(mask, k.div(share, divisor), k.const(kind, 0)))
        return total


def average(site: Site, call: Call) -> None:
    """The gradient of means over windows."""
    planes.check(call, floating=True)
    (g,) = call.inputs
    if 0 in call.metas[0].shape:
        return
    pool, size = call.params["pool"], tuple(call.params["size"])
    windows = Windows.of(pool, size)
    count = planes.planes(call.metas[0].shape, len(size))
    kernel = MeanGradient(windows, g.dtype, Average(call.params["count_include_pad"], call.params["override"]))
    site.launch(
        Kernel(f"pool mean gradient {kernel.lanes} {kernel}", kernel.emit), (planes.contiguous(site, g), site.result()),
        count, cost=planes.CYCLE * count * prod(windows.size) * prod(kernel.covers) * 2, note="pool gradient",
        work=(0.0, (prod(g.shape) + prod(call.metas[0].shape)) * g.dtype.itemsize),
    )  # fmt: skip
