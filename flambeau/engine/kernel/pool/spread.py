"""What the gradients of pools need: elements put back at indices, elements read at them, and means spread out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from flambeau.dtypes import dtype
from flambeau.engine.graph import Call
from flambeau.engine.kernel import move, scalars
from flambeau.engine.kernel.emit import BITS, LINE, Emitter, Index, Val, vector
from flambeau.engine.kernel.pool import planes
from flambeau.engine.kernel.pool.windows import Average, Windows, counted
from flambeau.engine.kernel.vecmath import any_lane
from flambeau.engine.kernel.widen import widened
from flambeau.engine.plan import Kernel
from flambeau.engine.schedule.lowering import Site

HELD = 32 << 10  # bytes of planes that are filled near by
TOGETHER = 8  # indices that are looked at together

# -- indices ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class IndexKernel:
    """Elements put at (or added at, or read at) flat indices of their plane, in order; a task is a plane."""

    dtype: dtype
    count: int  # indices of a plane
    area: int
    action: str  # "put", "add" or "read"
    stream: bool  # planes are filled near by

    def emit(self, k: Emitter) -> None:
        for streams in planes.ways(k, self.stream, (2,)):
            held = k.stack(scalars.memory_type(self.dtype), self.area) if streams else None
            with k.tasks() as plane:
                self._plane(k, plane, held)

    def _plane(self, k: Emitter, plane: Val, held: Val | None) -> None:
        """One plane, by way of `held`."""
        memory = scalars.memory_type(self.dtype)
        many, few = k.mul(plane, self.area), k.mul(plane, self.count)
        source, result = (few, many) if self.action != "read" else (many, few)
        x, y = k.at(k.pointer(0), source, memory), k.at(k.pointer(2), result, memory)
        indices, near = k.at(k.pointer(1), few, "i64"), held or y
        if self.action != "read":
            self._zero(k, near)
        whole = self.count - self.count % TOGETHER
        for start, stop, step in ((0, whole, TOGETHER), (whole, self.count, 1)):
            if start < stop:
                with k.loop(stop, start, step) as i:
                    self._moves(k, x, near, indices, i, step)
        if held is not None:
            self._put_down(k, y, held, k.at(x, self.count, memory), k.at(indices, self.count, "i64"))

    def _moves(self, k: Emitter, x: Val, y: Val, indices: Val, start: Val, count: int) -> None:
        """Some elements, if all of their indices are right."""
        found = k.load(indices, start, vector("i64", count))
        wrong = any_lane(k, k.compare("ge", found, self.area, unsigned=True))
        with k.when(wrong):
            k.store(k.const("i64", 1), k.pointer(3), 0)
        with k.when(k.bits("xor", wrong, True)):
            for nr in range(count):
                i = k.add(start, nr)
                self._move(k, x, y, i, k.load(indices, i, "i64"))

    def _put_down(self, k: Emitter, y: Val, held: Val, x: Val, indices: Val) -> None:
        """The plane past the caches, while what the next is made of is fetched."""
        memory = scalars.memory_type(self.dtype)
        lanes = LINE * 8 // BITS[memory]
        each = -(-self.count * 8 // (self.area * self.dtype.itemsize))  # lines of indices with a line of the plane
        with k.loop(self.area, step=lanes) as i:
            for nr in range(each):
                k.prefetch(indices, k.add(k.mul(i, each * (LINE // 8) // lanes), nr * (LINE // 8)), "i64")
            with k.when(i < self.count):
                k.prefetch(x, i, memory)
            k.store(k.load(held, i, vector(memory, lanes)), y, i, stream=True)

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
    plane = area * x.dtype.itemsize
    stream = action == "put" and plane <= HELD and plane % LINE == 0 and move.large(image, x.dtype)
    kernel = IndexKernel(x.dtype, count, area, action, stream)
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
    stream: bool

    @property
    def lanes(self) -> int:
        return planes.lanes_of(self.dtype, self.windows.size[2])

    @property
    def covers(self) -> tuple[int, ...]:
        """How many windows at most cover a pixel, per dimension."""
        return tuple([-(-n // s) for n, s in zip(self.windows.kernel, self.windows.stride)])

    def emit(self, k: Emitter) -> None:
        depth, height, _ = self.windows.size
        for streams in planes.ways(k, self.stream, (1,)):
            with k.tasks() as plane, planes.each(k, depth) as d, planes.each(k, height) as h:
                self._row(k, plane, d, h, streams)

    def _row(self, k: Emitter, plane: Val, d: Index, h: Index, streams: bool) -> None:
        w = self.windows
        depth, height, width = w.size
        out = k.mul(k.add(k.mul(k.add(k.mul(plane, depth), d), height), h), width)
        source = k.mul(plane, prod(w.out))
        rows = [(a, b) for a in self._covering(k, 0, d) for b in self._covering(k, 1, h)]

        def write(start: Index, count: int) -> None:
            x = self._sum(k, source, rows, start)
            mask = None if count == self.lanes else k.mask(count, self.lanes)
            scalars.store(k, x, k.pointer(1), k.add(out, start), self.dtype, mask, streams)

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
        kind = vector(scalars.compute_type(self.dtype), self.lanes)
        total = k.const(kind, 0)
        columns = self._covering(k, 2, k.add(k.ramp(type), k.val(start, type)))
        for (d, has_d, count_d), (h, has_h, count_h) in rows:
            row = k.add(source, k.mul(k.add(k.mul(d, w.out[1]), h), w.out[2]))
            exists = planes.both(k, has_d, has_h)
            for back, (number, has, count_w) in enumerate(columns):
                if exists is False:
                    continue
                mask = has if exists is True else k.bits("and", has, k.splat(exists, self.lanes))
                count = k.mul(k.mul(count_d, count_h), count_w)
                if self.average.override is not None:
                    count = self.average.override
                shares = self._shares(k, row, exists, start, back, number)
                share = planes.quotient(k, shares, count)
                total = k.add(total, k.select(mask, share, k.const(kind, 0)))
        return total

    def _shares(self, k: Emitter, row: Index, exists: Val | bool, start: Index, back: int, number: Val) -> Val:
        """The gradients of the windows `number`, one a lane, where there are any: a few neighbours, spread out."""
        w, lanes, memory = self.windows, self.lanes, scalars.memory_type(self.dtype)
        stride, pad = w.stride[2], w.padding[2]
        if lanes % stride:
            places, mask = k.add(number, k.val(row, number.type)), self._there(k, number, exists)
            return scalars.widened(k, k.gather(k.pointer(0), places, memory, mask), self.dtype)
        moved = [(lane + pad) // stride for lane in range(lanes)]
        first = k.add(k.div(start, stride), moved[0] - back)
        mask = self._there(k, k.add(k.ramp(number.type), k.val(first, number.type)), exists)
        x = scalars.load(k, k.pointer(0), k.add(row, first), self.dtype, lanes, mask)
        return k.shuffle(x, x, [at - moved[0] for at in moved])

    def _there(self, k: Emitter, number: Val, exists: Val | bool) -> Val:
        """Whether windows of a row exist."""
        mask = k.compare("lt", number, self.windows.out[2], unsigned=True)
        return mask if isinstance(exists, bool) else k.bits("and", mask, k.splat(exists, self.lanes))


def average(site: Site, call: Call) -> None:
    """The gradient of means over windows."""
    planes.check(call, floating=True)
    (g,) = call.inputs
    if 0 in call.metas[0].shape:
        return
    pool, size = call.params["pool"], tuple(call.params["size"])
    windows = Windows.of(pool, size)
    count = planes.planes(call.metas[0].shape, len(size))
    means = Average(call.params["count_include_pad"], call.params["override"])
    stream = size[-1] % planes.lanes_of(g.dtype, size[-1]) == 0 and move.large(call.metas[0].shape, g.dtype)
    kernel = MeanGradient(windows, g.dtype, means, stream)
    site.launch(
        Kernel(f"pool mean gradient {kernel.lanes} {kernel}", kernel.emit), (planes.contiguous(site, g), site.result()),
        count, cost=planes.CYCLE * count * prod(windows.size) * prod(kernel.covers) * 2, note="pool gradient",
        work=(0.0, (prod(g.shape) + prod(call.metas[0].shape)) * g.dtype.itemsize),
    )  # fmt: skip
