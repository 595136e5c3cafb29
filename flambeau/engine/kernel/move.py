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
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np

from flambeau import dtypes
from flambeau.dtypes import COMPLEX, dtype
from flambeau.engine.graph import Arg, Call
from flambeau.engine.kernel import scalars
from flambeau.engine.kernel.emit import BITS, LINE, Emitter, Index, Val, element, lanes, vector
from flambeau.engine.kernel.move_walk import Walk, lanes_loop, line_start, merged
from flambeau.engine.kernel.target import last_cache, vector_bytes
from flambeau.engine.plan import Address, Kernel
from flambeau.engine.schedule.lowering import Site, Unsupported
from flambeau.shape import Ints

TILES = 4  # tiles in a row along the source of a transpose
RAW = {1: "i8", 2: "i16", 4: "i32", 8: "i64"}  # elements that are only moved, by size


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
    _move(site, shape, target, source, _Moved(source.dtype, target.dtype, stream), note)


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
        _move(site, shape, target, source, _Added(source.dtype, target.dtype), note)


def _move(site: Site, shape: Ints, target: Window, source: Window, moved: _Moved, note: str) -> None:
    dims = merged(shape, (target.strides, source.strides))
    across = _across(dims)
    if across is None:
        walk, kernel = _runs(dims, moved)
    else:
        walk, kernel = _tiles([*dims[:across], *dims[across + 1 : -1], dims[across], dims[-1]], moved)
    nbytes = float(np.prod(shape)) * (source.dtype.itemsize + target.dtype.itemsize)
    site.launch(kernel, (target.address, source.address, *walk.words), walk.tasks, nbytes / 20, note, (0.0, nbytes))


class _Moved:
    """How single lanes are moved: as their bits if the dtype stays, else cast. Named by `key`.

    With `stream`, whole vectors are put past the caches: whoever puts them sees to it that they are aligned.
    """

    def __init__(self, source: dtype, target: dtype, stream: bool = False) -> None:
        self.source, self.target, self.stream = source, target, stream
        self.raw = RAW[target.itemsize]
        self.same = source is target
        self.key = f"{source.itemsize}" if self.same else f"{source.name}>{target.name}"
        self.width = max(min(vector_bytes() // max(source.itemsize, target.itemsize), 64), 1)

    def streams(self, run: int) -> bool:
        """Whether runs of so many elements go past the caches."""
        return self.stream and run * self.target.itemsize >= 4 * LINE

    def load(self, k: Emitter, base: Val, index: Index, width: int, mask: Val | None = None) -> Val:
        """Lanes as the target's memory will hold them."""
        memory = vector(self.raw if self.same else scalars.memory_type(self.source), width)
        x = k.load(base, index, memory) if mask is None else k.masked_load(base, index, memory, mask)
        return self._cast(k, x)

    def gather(self, k: Emitter, base: Val, indices: Val, mask: Val | None) -> Val:
        return self._cast(k, k.gather(base, indices, self.raw if self.same else scalars.memory_type(self.source), mask))

    def _cast(self, k: Emitter, x: Val) -> Val:
        if self.same:
            return x
        found = scalars.convert(k, scalars.widened(k, x, self.source), self.target)
        found = scalars.narrowed(k, found, self.target)
        return k.cast(found, "i8") if self.target is dtypes.bool_ else found

    def put(
        self, k: Emitter, x: Val, base: Val, index: Index, mask: Val | None = None, stream: bool = False
    ) -> None:  # fmt: skip
        """Lanes into the target."""
        if mask is None:
            k.store(x, base, index, stream=stream)
        else:
            k.masked_store(x, base, index, mask)


class _Added(_Moved):
    """Lanes that are added to what the target holds."""

    def __init__(self, source: dtype, target: dtype) -> None:
        super().__init__(source, target)
        self.same = False
        self.key = f"{source.name}+{target.name}"

    def _cast(self, k: Emitter, x: Val) -> Val:
        return scalars.convert(k, scalars.widened(k, x, self.source), self.target)

    def put(
        self, k: Emitter, x: Val, base: Val, index: Index, mask: Val | None = None, stream: bool = False
    ) -> None:  # fmt: skip
        held = scalars.load(k, base, index, self.target, lanes(x.type), mask)
        total = scalars.Scalars(k, self.target).add(held, x)
        scalars.store(k, total, base, index, self.target, mask)


def _across(dims: Sequence[tuple[int, Ints]]) -> int | None:
    """The dimension along which the source is a run, if the target's run lies elsewhere: tiles are then turned."""
    (_, (to, start)) = dims[-1]
    if to != 1 or start in (-1, 0, 1):
        return None
    return next((d for d, (n, steps) in enumerate(dims[:-1]) if steps[1] == 1 and n > 1), None)


def _runs(dims: Sequence[tuple[int, Ints]], moved: _Moved) -> tuple[Walk, Kernel]:
    """Row by row: the innermost dimension is a run of the target, if it has runs."""
    if moved.streams(dims[-1][0]):  # what goes past the caches may go anywhere: what is read had better be in order
        dims = [*sorted(dims[:-1], key=lambda dim: -abs(dim[1][1])), dims[-1]]
    walk = Walk(dims)
    step, start = (s[-1] for s in walk.strides)
    width = moved.width if step == 1 and start in (-1, 0, 1) else 1  # of elements far apart, one after the other
    baked = {len(walk.sizes) - 1: walk.sizes[-1]} if walk.sizes[-1] <= width and walk.lead < len(walk.sizes) - 1 else {}
    pattern = {0: "same", 1: "run", -1: "back"}[start] if width > 1 else "single"
    stream = width > 1 and moved.streams(walk.sizes[-1])

    def emit(k: Emitter) -> None:
        target, source = k.pointer(0), k.pointer(1)
        with walk.rows(k, 2, baked) as (offsets, [(low, high)], [[to], [step]]):
            source = k.at(source, offsets[1], RAW[moved.source.itemsize])
            out = k.at(target, offsets[0], moved.raw)
            once = k.splat(moved.load(k, source, 0, 1), width) if pattern == "same" else None
            ramp = k.ramp(vector("i64", width)) * step if pattern == "back" else None

            def body(i: Index, mask: Val | None) -> None:
                if once is not None:
                    x = once
                elif pattern == "back" and mask is None:
                    x = moved.load(k, source, k.sub(1 - width, i), width)
                    x = k.shuffle(x, x, range(width - 1, -1, -1))
                elif ramp is not None:
                    x = moved.gather(k, k.at(source, k.mul(i, step), RAW[moved.source.itemsize]), ramp, mask)
                else:
                    x = moved.load(k, source, k.mul(i, step) if width == 1 else i, width, mask)
                moved.put(k, x, out, k.mul(i, to) if width == 1 else i, mask, stream)

            if stream:
                low = line_start(k, out, low, high, width, moved.target.itemsize, body)
            lanes_loop(k, low, high, width, body)

    return walk, Kernel(f"copy {moved.key} {pattern} {walk.form} {baked} w{width}{' streamed' * stream}", emit)


# -- transposes ------------------------------------------------------------------------------------------------


def _tiles(dims: Sequence[tuple[int, Ints]], moved: _Moved) -> tuple[Walk, Kernel]:
    """By square tiles: the last dimension is a run of the target, the one before it a run of the source.

    A few tiles follow one another along the source, so that whole lines of it are read; then come those beside them,
    along the target.
    """
    walk = Walk(dims, inner=2)
    side = min(moved.width, 16)
    ndim = len(walk.sizes)
    baked = {d: walk.sizes[d] for d in (ndim - 2, ndim - 1) if walk.sizes[d] < side and d != walk.lead}
    whole_lines = side * moved.target.itemsize == LINE and walk.strides[0][-2] * moved.target.itemsize % LINE == 0
    stream = moved.stream and whole_lines and not baked

    def emit(k: Emitter) -> None:
        target, source = k.pointer(0), k.pointer(1)
        with walk.rows(k, 2, baked) as (offsets, ranges, [[to, _], [_, step]]):
            out, source = k.at(target, offsets[0], moved.raw), k.at(source, offsets[1], RAW[moved.source.itemsize])
            _Tile(k, moved, side, out, to, source, step).walk(ranges, bool(baked), stream)

    return walk, Kernel(f"transpose {moved.key} {walk.form} {baked} side{side}{' streamed' * stream}", emit)


class _Tile:
    """A square of a transpose: rows are runs of the source, columns runs of the target."""

    def __init__(
        self, k: Emitter, moved: _Moved, side: int, target: Val, to: Index, source: Val, step: Index
    ) -> None:  # fmt: skip
        self.k, self.moved, self.side = k, moved, side
        self.target, self.to, self.source, self.step = target, to, source, step

    def walk(self, ranges: list[tuple[Index, Index]], small: bool, stream: bool) -> None:
        """All tiles. `small`: none is whole. `stream`: past the caches if the target turns out to be aligned."""
        k, side, ((low, high), (start, stop)) = self.k, self.side, ranges
        if small:
            with k.loop(high, low, side) as b, k.loop(stop, start, side) as a:
                self.move(a, b, stop, high)
            return
        below = k.add(low, k.mul(k.div(k.sub(high, low), side), side))
        beside = k.add(start, k.mul(k.div(k.sub(stop, start), side), side))
        past = k.rem(k.address(self.target), LINE) if stream else None
        for streams in (True, False) if stream else (False,):
            with k.when(past.equals(0) if streams else past.differs(0)) if past is not None else nullcontext():
                self.whole(low, below, start, beside, streams)
        with k.loop(high, low, side) as b, k.loop(stop, beside, side) as a:
            self.move(a, b, stop, high)
        with k.loop(high, below, side) as b, k.loop(beside, start, side) as a:
            self.move(a, b, stop, high)

    def whole(self, low: Index, below: Index, start: Index, beside: Index, stream: bool) -> None:
        """The tiles that lie inside: apart from those at the edges, whose masks would fill the registers."""
        k, side = self.k, self.side
        with k.loop(below, low, TILES * side) as first, k.loop(beside, start, side) as a:
            with k.loop(k.minimum(k.add(first, TILES * side), below), first, side) as b:
                self.move(a, b, stream=stream)

    def move(
        self, a: Val, b: Val, a_end: Index | None = None, b_end: Index | None = None, stream: bool = False
    ) -> None:  # fmt: skip
        """The tile at column `a` and row `b` of the target, cut off at the ends (None: it is whole)."""
        k, side = self.k, self.side
        mask = None if b_end is None else k.mask(k.sub(b_end, b), side)
        rows = []
        for r in range(side):  # rows behind the end repeat the last one and are not stored
            at = k.add(a, r) if a_end is None else k.minimum(k.add(a, r), k.sub(a_end, 1))
            if isinstance(a_end, int) and r >= a_end:
                rows.append(rows[-1])
                continue
            rows.append(self.moved.load(k, self.source, k.add(b, k.mul(at, self.step)), side, mask))
        for c, column in enumerate(transposed(k, rows)):
            if b_end is None or a_end is None:
                self.moved.put(k, column, self.target, k.add(k.mul(k.add(b, c), self.to), a), stream=stream)
            elif not (isinstance(b_end, int) and c >= b_end):
                with k.when(k.add(b, c) < b_end):
                    place = k.add(k.mul(k.add(b, c), self.to), a)
                    self.moved.put(k, column, self.target, place, k.mask(k.sub(a_end, a), side))


def transposed(k: Emitter, rows: Sequence[Val]) -> list[Val]:
    """A square of lanes, turned: squares inside 16 bytes by interleaving their rows, then these as elements."""
    side, size = len(rows), max(BITS[element(rows[0].type)] // 8, 1)
    inner = min(16 // size, side)
    low = [j for first in range(0, side, inner) for i in range(inner // 2) for j in (first + i, side + first + i)]
    high = [j + inner // 2 for j in low]
    squares = [list(rows[first : first + inner]) for first in range(0, side, inner)]
    for square in squares:
        for _ in range(inner.bit_length() - 1):
            pairs = list(zip(square[: inner // 2], square[inner // 2 :]))
            square[:] = [k.shuffle(a, b, picks) for a, b in pairs for picks in (low, high)]
    even = [j for first in range(0, 2 * side, 2 * inner) for j in range(first, first + inner)]
    odd = [j + inner for j in even]
    found: list[Val] = [rows[0]] * side
    for c, column in enumerate(zip(*squares)):
        parts = list(column)
        for _ in range(len(squares).bit_length() - 1):
            pairs = list(zip(parts[::2], parts[1::2]))
            parts = [k.shuffle(a, b, picks) for picks in (even, odd) for a, b in pairs]
        found[c::inner] = parts
    return found


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
