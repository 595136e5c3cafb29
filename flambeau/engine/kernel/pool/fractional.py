"""Fractional max pools: windows of one size, at places that follow from one random number a dimension and plane.

The outputs of a row are the lanes. A task is a plane.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from flambeau.dtypes import dtype, int64
from flambeau.engine.graph import Call
from flambeau.engine.kernel import scalars
from flambeau.engine.kernel.emit import Emitter, Index, Val, is_float, like, vector
from flambeau.engine.kernel.pool import planes
from flambeau.engine.kernel.widen import widened
from flambeau.engine.plan import Kernel
from flambeau.engine.schedule.lowering import Site, Unsupported
from flambeau.shape import Ints


@dataclass(frozen=True)
class FractionalKernel:
    """The largest elements of the windows and their places; of several NaN, the last one."""

    samples: dtype
    dtype: dtype
    dims: int
    size: Ints
    out: Ints
    kernel: Ints

    @property
    def lanes(self) -> int:
        return planes.lanes_of(self.dtype, self.out[2])

    def emit(self, k: Emitter) -> None:
        memory, area = scalars.memory_type(self.dtype), prod(self.size)
        with k.tasks() as plane:
            x = k.at(k.pointer(0), k.mul(plane, area), memory)
            shares = [self._sample(k, plane, d) for d in range(planes.DIMS)]
            with planes.each(k, self.out[0]) as d, planes.each(k, self.out[1]) as h:
                begin = [self._start(k, shares[nr], nr, k.val(i, "i64")) for nr, i in enumerate((d, h))]
                row = k.mul(k.add(k.mul(k.add(k.mul(plane, self.out[0]), d), self.out[1]), h), self.out[2])

                def write(first: Index, count: int) -> None:
                    mask = None if count == self.lanes else k.mask(count, self.lanes)
                    places = k.add(k.ramp(vector("i64", self.lanes)), k.val(first, vector("i64", self.lanes)))
                    columns = self._start(k, shares[2], 2, places)
                    best, at = self._largest(k, x, begin, columns)
                    scalars.store(k, best, k.pointer(2), k.add(row, first), self.dtype, mask)
                    scalars.store(k, k.cast(at, "i64"), k.pointer(3), k.add(row, first), int64, mask)

                planes.in_vectors(k, self.out[2], self.lanes, write)

    def _sample(self, k: Emitter, plane: Index, d: int) -> Val | None:
        """The random number that places the windows of a dimension; in two dimensions the first one is the columns'."""
        own = d - (planes.DIMS - self.dims)
        if own < 0:
            return None
        at = k.add(k.mul(plane, self.dims), own if self.dims == planes.DIMS else self.dims - 1 - own)
        u = scalars.load(k, k.pointer(1), at, self.samples, 1)
        fine = k.bits("and", u >= 0.0, u <= 1.0)  # so that windows are inside
        with k.when(k.bits("xor", fine, True)):
            k.store(k.const("i64", 1), k.pointer(4), 0)
        return k.select(fine, u, 0.0)

    def _start(self, k: Emitter, u: Val | None, d: int, i: Val) -> Val:
        """Where windows `i` of a dimension start (lanes of i32). The last one ends with the plane."""
        last, out = self.size[d] - self.kernel[d], self.out[d]
        type = like("i32", i.type)
        if u is None or out == 1:
            return k.const(type, last)
        step = k.const(u.type, last / (out - 1))
        moved = (k.cast(i, u.type) + u) * step
        start = k.cast(moved, "i32") - k.cast(u * step, "i32")
        return k.select(i < out - 1, start, last)

    def _largest(self, k: Emitter, x: Val, begin: list[Val], columns: Val) -> list[Val]:
        first = columns + k.splat((begin[0] * self.size[1] + begin[1]) * self.size[2], self.lanes)
        best = self._element(k, x, first)
        depth, height, width = self.kernel
        with k.loop(depth, carried=[best, first]) as deep:
            with k.loop(height, carried=deep.carried) as high:
                row = k.mul(k.add(k.mul(deep.i, self.size[1]), high.i), self.size[2])
                with k.loop(width, carried=high.carried) as wide:
                    at = first + k.cast(k.val(k.add(row, wide.i), "i64"), "i32")
                    found = self._element(k, x, at)
                    larger = found > wide.carried[0]
                    if is_float(found.type):
                        larger = k.bits("or", larger, k.unordered(found, found))
                    wide.carry(k.select(larger, found, wide.carried[0]), k.select(larger, at, wide.carried[1]))
                high.carry(*wide.results)
            deep.carry(*high.results)
        return deep.results

    def _element(self, k: Emitter, x: Val, at: Val) -> Val:
        return scalars.widened(k, k.gather(x, at, scalars.memory_type(self.dtype)), self.dtype)


@widened
def maximum(site: Site, call: Call) -> None:
    """Maxima and their places."""
    planes.check(call, floating=False)
    x, samples = call.inputs
    kernel, size = call.params["kernel"], call.params["size"]
    dims, shape = len(size), call.metas[0].shape
    if 0 in shape:
        return
    count, space = planes.planes(shape, dims), x.shape[-dims:]
    if prod(space) >= 2**31 or prod(samples.shape) != count * dims or not samples.dtype.is_floating_point:
        raise Unsupported("planes that 32 bits do not reach, or other samples than one a dimension and plane")
    form = FractionalKernel(
        samples.dtype, x.dtype, dims, planes.spatial(space), planes.spatial(size), planes.spatial(kernel)
    )
    args = planes.contiguous(site, x), planes.contiguous(site, samples), site.result(0), site.result(1), site.status()
    reads = float(prod(shape) * prod(kernel))
    site.launch(
        Kernel(f"pool fractional {form.lanes} {form}", form.emit), args, count, cost=planes.CYCLE * reads * 2,
        note="fractional max pool", work=(reads, (prod(x.shape) + 3 * prod(shape)) * x.dtype.itemsize),
    )  # fmt: skip
