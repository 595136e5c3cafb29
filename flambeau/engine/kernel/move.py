"""Copies between strided windows, and constants written into them: the kernels under every op that moves data.

    copy(site, shape, Window(site.result(), strides, float32), Window(site.source(x), x.strides, x.dtype))
    add(site, shape, target, source)
    fill(site, shape, Window(site.result(), strides, float32), 0.0)

Any number of dimensions, any strides (of the source also 0 and negative ones), any two dtypes: elements are cast as
`to_copy` casts them. Runs are moved by vectors, transposes by square tiles in registers. The windows of one copy must
not overlap: what is to be written over its own source goes through `site.temp`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from flambeau.dtypes import COMPLEX, dtype
from flambeau.engine.graph import Arg, Call
from flambeau.engine.kernel.emit import LINE, Emitter, Index, Val, vector
from flambeau.engine.kernel.move_braid import beside
from flambeau.engine.kernel.move_lanes import RAW, Added, Moved
from flambeau.engine.kernel.move_tiles import tiles
from flambeau.engine.kernel.move_walk import Walk, lanes_loop, line_start, merged
from flambeau.engine.kernel.target import last_cache, vector_bytes
from flambeau.engine.plan import Address, Kernel
from flambeau.engine.schedule.lowering import Site, Unsupported
from flambeau.shape import Ints

NEAR = 4  # elements between those of a source that are picked out of whole vectors


class Window(NamedTuple):
    """Elements of a dtype in memory: the address of the first one, and strides in elements."""

    address: Address
    strides: Ints
    dtype: dtype

    def part(self, offset: int, strides: Ints | None = None) -> Window:
        """The window that begins `offset` elements further on."""
        moved = self.address._replace(offset=self.address.offset + offset * self.dtype.itemsize)
        return Window(moved, self.strides if strides is None else strides, self.dtype)

    def real(self) -> Window:
        """The real parts of complex elements; the imaginary ones lie one element further on."""
        return Window(self.address, tuple([2 * s for s in self.strides]), self.dtype.to_real())


def window(site: Site, operand: Arg) -> Window:
    """An operand of a call."""
    return Window(site.source(operand), operand.strides, operand.dtype)


def result(site: Site, call: Call, nr: int = 0) -> Window:
    """A result of a call."""
    return Window(site.result(nr), call.metas[nr].layout, call.metas[nr].dtype)


# -- copies ----------------------------------------------------------------------------------------------------


def large(shape: Ints, d: dtype) -> bool:
    """Whether elements of this shape are too many to stay near until somebody reads them: they are best written past
    the caches."""
    return math.prod(shape) * d.itemsize >= last_cache()


def copy(
    site: Site, shape: Ints, target: Window, source: Window, note: str = "copy", stream: bool | None = None
) -> None:  # fmt: skip
    """Launch what sets `target[i] = source[i]` for every `i` of `shape`.

    `stream`: whether to write past the caches, as a part of something large (default: if it is large itself).
    """
    if 0 in shape:
        return
    if target.dtype.category == COMPLEX:
        if source.dtype.category < COMPLEX:
            copy(site, shape, target.real(), source, note, False)
            fill(site, shape, target.real().part(1), 0)
            return
        if source.dtype is not target.dtype or target.dtype.itemsize > 8:
            target, source = (w.real()._replace(strides=(*w.real().strides, 1)) for w in (target, source))
            shape = (*shape, 2)
    elif source.dtype.category == COMPLEX:
        source = source.real()
    stream = large(shape, target.dtype) if stream is None else stream
    _move(site, shape, target, source, Moved(source.dtype, target.dtype, stream), note)


def add(site: Site, shape: Ints, target: Window, source: Window, note: str = "add") -> None:
    """Launch what sets `target[i] = target[i] + source[i]` for every `i` of `shape`; the source is cast as in a copy.

    The target's steps must not be 0: each element is added to once.
    """
    if COMPLEX in (target.dtype.category, source.dtype.category):
        if source.dtype is not target.dtype:
            raise Unsupported("sums of complex and other numbers")
        target, source = (w.real()._replace(strides=(*w.real().strides, 1)) for w in (target, source))
        shape = (*shape, 2)
    if 0 not in shape:
        _move(site, shape, target, source, Added(source.dtype, target.dtype), note)


def _move(site: Site, shape: Ints, target: Window, source: Window, moved: Moved, note: str) -> None:
    dims = merged(shape, (target.strides, source.strides))
    across = _across(dims)
    if found := beside(dims, moved):
        walk, kernel = found
    elif across is None:
        walk, kernel = _runs(dims, moved)
    else:
        walk, kernel = tiles([*dims[:across], *dims[across + 1 : -1], dims[across], dims[-1]], moved)
    nbytes = float(np.prod(shape)) * (source.dtype.itemsize + target.dtype.itemsize)
    site.launch(kernel, (target.address, source.address, *walk.words), walk.tasks, nbytes / 20, note, (0.0, nbytes))


def _across(dims: Sequence[tuple[int, Ints]]) -> int | None:
    """The dimension along which the source is a run, if the target's run lies elsewhere: tiles are then turned."""
    (_, (to, start)) = dims[-1]
    if to != 1 or start in (-1, 0, 1):
        return None
    return next((d for d, (n, steps) in enumerate(dims[:-1]) if steps[1] == 1 and n > 1), None)


def _runs(dims: Sequence[tuple[int, Ints]], moved: Moved) -> tuple[Walk, Kernel]:
    """Row by row: the innermost dimension is a run of the target, if it has runs."""
    if moved.streams(dims[-1][0]):  # what goes past the caches may go anywhere: what is read had better be in order
        dims = [*sorted(dims[:-1], key=lambda dim: -abs(dim[1][1])), dims[-1]]
    walk = Walk(dims)
    step, start = (s[-1] for s in walk.strides)
    pattern = _pattern(step, start, moved.width)
    width = 1 if pattern == "single" else moved.width
    baked = {len(walk.sizes) - 1: walk.sizes[-1]} if walk.sizes[-1] <= width and walk.lead < len(walk.sizes) - 1 else {}
    stream = width > 1 and moved.streams(walk.sizes[-1])

    def emit(k: Emitter) -> None:
        target, source = k.pointer(0), k.pointer(1)
        with walk.rows(k, 2, baked) as (offsets, [(low, high)], [[to], [step]]):
            source = k.at(source, offsets[1], RAW[moved.source.itemsize])
            out = k.at(target, offsets[0], moved.raw)
            lanes = _lanes(k, moved, pattern, source, step)

            def body(i: Index, mask: Val | None) -> None:
                moved.put(k, lanes(i, mask), out, k.mul(i, to) if width == 1 else i, mask, stream)

            if stream:
                low = line_start(k, out, low, high, width, moved.target.itemsize, body)
            if stream and pattern == "back":  # from its end: the machine looks ahead of reads that go forward
                whole = k.add(low, k.mul(k.div(k.sub(high, low), width), width))
                with k.loop(whole, low, width) as i:
                    body(k.sub(k.add(low, whole), k.add(i, width)), None)
                low = whole
            lanes_loop(k, low, high, width, body)

    return walk, Kernel(f"copy {moved.key} {pattern} {walk.form} {baked} w{width}{' streamed' * stream}", emit)


def _pattern(to: int, step: int, width: int) -> str:
    """How runs of the target are read: "single" elements are far apart, and moved one after the other."""
    if to == 1 and width > 1 and 2 <= step <= NEAR:
        return f"every {step}"
    return {0: "same", 1: "run", -1: "back"}.get(step, "single") if to == 1 and width > 1 else "single"


def _lanes(
    k: Emitter, moved: Moved, pattern: str, source: Val, step: Index
) -> Callable[[Index, Val | None], Val]:  # fmt: skip
    """A function of place and mask that gives what comes from `source` in steps."""
    raw, width = RAW[moved.source.itemsize], moved.width
    if pattern == "single":
        return lambda i, mask: moved.load(k, source, k.mul(i, step), 1, mask)
    if pattern == "run":
        return lambda i, mask: moved.load(k, source, i, width, mask)
    if pattern == "same":
        once = k.splat(moved.load(k, source, 0, 1), width)
        return lambda i, mask: once
    ramp = k.ramp(vector("i64", width)) * step

    def lanes(i: Index, mask: Val | None) -> Val:
        if mask is not None:
            return moved.gather(k, k.at(source, k.mul(i, step), raw), ramp, mask)
        if pattern == "back":
            x = moved.load(k, source, k.sub(1 - width, i), width)
            return k.shuffle(x, x, range(width - 1, -1, -1))
        each = int(pattern.split()[1])
        return moved.pick(k, source, k.mul(i, each), width, each)

    return lanes


# -- constants -------------------------------------------------------------------------------------------------


def bits_of(value: Any, d: dtype) -> int:
    """A number as memory holds it, cast to a dtype that is not complex."""
    with np.errstate(all="ignore"):
        number = np.asarray(value).astype(d.np)
    return int(number.reshape(1).view(f"i{d.itemsize}")[0])


def fill(site: Site, shape: Ints, target: Window, value: Any, note: str = "fill") -> None:
    """Launch what sets `target[i] = value` for every `i` of `shape`; the value is cast to the target's dtype."""
    if 0 in shape:
        return
    if target.dtype.category == COMPLEX:
        with np.errstate(all="ignore"):
            number = np.asarray(value).astype(target.dtype.np)
        for part, x in enumerate((number.real, number.imag)):
            fill(site, shape, target.real().part(part), x, note)
        return
    size, bits = target.dtype.itemsize, bits_of(value, target.dtype)
    walk = Walk(merged(shape, (target.strides,)))
    width = vector_bytes() // size if walk.strides[0][-1] == 1 else 1
    stream = width > 1 and large(shape, target.dtype) and walk.sizes[-1] * size >= 4 * LINE

    def emit(k: Emitter) -> None:
        x = k.splat(k.cast(k.integer(1), RAW[size]), width)
        with walk.rows(k, 2) as (offsets, [(low, high)], [[to]]):
            out = k.at(k.pointer(0), offsets[0], RAW[size])

            def body(i: Index, mask: Val | None) -> None:
                if mask is None:
                    k.store(x, out, k.mul(i, to) if width == 1 else i, stream=stream)
                else:
                    k.masked_store(x, out, i, mask)

            if stream:
                low = line_start(k, out, low, high, width, size, body)
            lanes_loop(k, low, high, width, body)

    nbytes = float(np.prod(shape)) * size
    kernel = Kernel(f"fill {size} {walk.form} w{width}{' streamed' * stream}", emit)
    site.launch(kernel, (target.address, bits, *walk.words), walk.tasks, nbytes / 30, note, (0.0, nbytes))
