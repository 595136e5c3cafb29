"""Depthwise convolution: every channel by itself, its planes read where they lie.

A plane of few pixels is held in registers as it is, and every tap is a choice of its lanes. Larger planes go row by
row, some rows at once, which share what they load. Zeros outside come from masks: no padded copy is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

from flambeau.dtypes import dtype
from flambeau.engine.kernel.conv.lanes import Store, picked, power, totals
from flambeau.engine.kernel.conv.prepare import width_of
from flambeau.engine.kernel.emit import Emitter, Index, Val, vector
from flambeau.engine.kernel.pool.planes import in_vectors, lanes_of
from flambeau.engine.kernel.pool.windows import Taps, Windows
from flambeau.engine.kernel.scalars import compute_type, load

SOURCE, WEIGHTS, RESULT, BIAS, EPILOGUE = range(5)  # words; the weights' gradient reads the output's as WEIGHTS
HELD = 8  # vectors of a plane that is held in registers

_SPELT_OUT = 2  # vectors of a row that are not worth a loop


@dataclass(frozen=True)
class Planes:
    """What the kernels of both passes share."""

    windows: Windows
    dtype: dtype

    @property
    def held(self) -> bool:
        """Whether whole planes fit into registers."""
        room = HELD * width_of(self.dtype)
        return prod(self.windows.size) <= room and prod(self.windows.out) <= room

    @property
    def lanes(self) -> int:
        return width_of(self.dtype) if self.held else lanes_of(self.dtype, self.windows.out[2])

    @property
    def type(self) -> str:
        return vector(compute_type(self.dtype), self.lanes)

    def rows_of(self, *wanted: int) -> int:
        """Rows of the output that are computed at once: the first of the numbers that divides them."""
        return next((n for n in wanted if self.windows.out[1] % n == 0), 1)

    @property
    def taps(self) -> int:
        return prod(self.windows.kernel)

    def hold(self, k: Emitter, base: Val, first: Index, count: int) -> list[Val]:
        """A plane as vectors, zeros behind its end."""
        found = []
        for at in range(0, count, self.lanes):
            mask = k.mask(count - at, self.lanes) if count - at < self.lanes else None
            found.append(load(k, base, k.add(first, at), self.dtype, self.lanes, mask))
        return found

    def held_taps(self, k: Emitter, plane: Sequence[Val], first: int) -> Iterator[tuple[int, Val | None]]:
        """The elements that each tap brings to the outputs from number `first` on, chosen from a held plane."""
        w = self.windows
        for nr, (kh, kw) in enumerate(product(range(w.kernel[1]), range(w.kernel[2]))):
            places: list[int | None] = []
            for number in range(first, first + self.lanes):
                row = number // w.out[2] * w.stride[1] + kh * w.dilation[1] - w.padding[1]
                column = number % w.out[2] * w.stride[2] + kw * w.dilation[2] - w.padding[2]
                exists = number < prod(w.out) and 0 <= row < w.size[1] and 0 <= column < w.size[2]
                places.append(row * w.size[2] + column if exists else None)
            yield nr, picked(k, plane, places)

    def row_taps(
        self, k: Emitter, source: Index, row: Index, start: Index, inner: bool = False
    ) -> Iterator[tuple[int, Val]]:  # fmt: skip
        """The elements that each tap brings to a vector of a row. `inner`: it meets rows that exist."""
        w = self.windows
        first = (-w.padding[0], k.sub(k.mul(row, w.stride[1]), w.padding[1]))
        for nr, (_, x) in enumerate(Taps(k, w, self.dtype, self.lanes, source, first, inner=inner).elements(start)):
            yield nr, x


Steps = tuple[int, int]  # elements from one image to the next, and from one channel to the next


def plane_at(k: Emitter, steps: Steps, image: Index, channel: Index) -> Index:
    """The offset of a plane's first pixel."""
    return k.add(k.mul(image, steps[0]), k.mul(channel, steps[1]))


@dataclass(frozen=True)
class DepthwiseKernel(Planes):
    """The forward pass, or with the taps `flipped` the input's gradient; a task is a plane."""

    batch: int
    groups: int
    source: Steps
    result: Steps
    store: Store
    biased: bool
    flipped: bool

    @property
    def rows(self) -> int:
        return self.rows_of(4, 3, 2)

    @property
    def key(self) -> str:
        return f"conv depthwise {width_of(self.dtype)} {self!r} {self.store.key}"

    def emit(self, k: Emitter) -> None:
        w, scalar = self.windows, compute_type(self.dtype)
        with k.tasks() as task:
            if self.result[0] < self.result[1]:
                group, image = k.div(task, self.batch), k.rem(task, self.batch)
            else:
                group, image = k.rem(task, self.groups), k.div(task, self.groups)
            weights = k.at(k.pointer(WEIGHTS), k.mul(group, self.taps), scalar)
            order = range(self.taps)[::-1] if self.flipped else range(self.taps)
            factors = [k.splat(k.load(weights, t, scalar), self.lanes) for t in order]
            start = k.const(self.type, 0)
            if self.biased:
                start = k.splat(k.load(k.pointer(BIAS), group, scalar), self.lanes)
            source, out = plane_at(k, self.source, image, group), plane_at(k, self.result, image, group)
            if self.held:
                self._whole(k, factors, start, source, out)
            else:
                with k.loop(w.out[1], step=self.rows) as row:
                    in_vectors(k, w.out[2], self.lanes, self._rows(k, factors, start, source, out, row))

    def _whole(self, k: Emitter, factors: Sequence[Val], start: Val, source: Index, out: Index) -> None:
        plane = self.hold(k, k.pointer(SOURCE), source, prod(self.windows.size))
        count = prod(self.windows.out)
        for first in range(0, count, self.lanes):
            total = start
            for nr, x in self.held_taps(k, plane, first):
                total = total if x is None else k.fma(x, factors[nr], total)
            self.store.row(k, total, k.pointer(RESULT), k.add(out, first), 0, min(self.lanes, count - first))

    def _rows(
        self, k: Emitter, factors: Sequence[Val], start: Val, source: Index, out: Index, row: Index
    ) -> Callable[[Index, int], None]:
        """What computes a vector of some rows."""

        def compute(column: Index, count: int) -> None:
            totals_ = []
            for nr in range(self.rows):
                total = start
                for tap, x in self.row_taps(k, source, k.add(row, nr), column):
                    total = k.fma(x, factors[tap], total)
                totals_.append(total)
            for nr, total in enumerate(totals_):
                at = k.add(k.add(out, k.mul(k.add(row, nr), self.windows.out[2])), column)
                self.store.row(k, total, k.pointer(RESULT), at, 0, count)

        return compute


@dataclass(frozen=True)
class DepthwiseGradient(Planes):
    """The weights' gradient; a task is a channel, over all images in order."""

    batch: int
    source: Steps
    gradient: Steps
    store: Store

    @property
    def rows(self) -> int:
        return self.rows_of(2)  # the registers hold the sums of all taps

    def stretches(self) -> list[tuple[int, int, bool]]:
        """Rows of the output from one to another, in groups: whether all their taps meet rows that exist."""
        w, rows = self.windows, self.rows
        last = (w.size[1] - 1 + w.padding[1] - (w.kernel[1] - 1) * w.dilation[1]) // w.stride[1]
        start = -(-w.padding[1] // (w.stride[1] * rows)) * rows
        stop = min(last + 1, w.out[1]) // rows * rows
        if start >= stop:
            return [(0, w.out[1], False)]
        found = [(0, start, False), (start, stop, True), (stop, w.out[1], False)]
        return [(a, b, inner) for a, b, inner in found if a < b]

    @property
    def key(self) -> str:
        return f"conv depthwise weights {width_of(self.dtype)} {self!r} {self.store.key}"

    def emit(self, k: Emitter) -> None:
        with k.tasks() as group:
            zeros = [k.const(self.type, 0)] * self.taps
            with k.loop(self.batch, carried=zeros) as loop:
                source, gradient = (plane_at(k, steps, loop.i, group) for steps in (self.source, self.gradient))
                through = self._whole if self.held else self._rows
                loop.carry(*through(k, source, gradient, loop.carried))
            for start in range(0, self.taps, self.lanes):
                rows = loop.results[start : start + self.lanes]
                rows = [*rows, *[zeros[0]] * (power(len(rows)) - len(rows))]
                at = k.add(k.mul(group, self.taps), start)
                self.store.row(k, totals(k, rows), k.pointer(RESULT), at, 0, min(self.lanes, self.taps - start))

    def _whole(self, k: Emitter, source: Index, gradient: Index, sums: Sequence[Val]) -> list[Val]:
        w, added = self.windows, list(sums)
        plane = self.hold(k, k.pointer(SOURCE), source, prod(w.size))
        for first, g in enumerate(self.hold(k, k.pointer(WEIGHTS), gradient, prod(w.out))):
            for nr, x in self.held_taps(k, plane, first * self.lanes):
                added[nr] = k.fma(g, k.const(self.type, 0) if x is None else x, added[nr])
        return added

    def _rows(self, k: Emitter, source: Index, gradient: Index, sums: Sequence[Val]) -> list[Val]:
        added = list(sums)
        for low, high, inner in self.stretches():
            with k.loop(high, low, self.rows, carried=added) as loop:
                loop.carry(*self._across(k, source, gradient, loop.i, inner, loop.carried))
            added = loop.results
        return added

    def _across(
        self, k: Emitter, source: Index, gradient: Index, row: Val, inner: bool, sums: list[Val]
    ) -> list[Val]:  # fmt: skip
        """Add some rows, from left to right."""
        width, lanes = self.windows.out[2], self.lanes
        whole = width - width % lanes
        if whole <= _SPELT_OUT * lanes:  # at known columns it is known which taps lie outside
            for column in range(0, whole, lanes):
                sums = self._tile(k, source, gradient, row, column, lanes, inner, sums)
        else:
            with k.loop(whole, step=lanes, carried=sums) as across:
                across.carry(*self._tile(k, source, gradient, row, across.i, lanes, inner, across.carried))
            sums = across.results
        return self._tile(k, source, gradient, row, whole, width - whole, inner, sums) if width > whole else sums

    def _tile(
        self, k: Emitter, source: Index, gradient: Index, row: Index, column: Index, count: int, inner: bool,
        sums: Sequence[Val],
    ) -> list[Val]:  # fmt: skip
        """Add some rows of a vector's columns; lanes that are no pixels are zeros on both sides."""
        added, mask = list(sums), None if count == self.lanes else k.mask(count, self.lanes)
        for nr in range(self.rows):
            at = k.add(k.add(gradient, k.mul(k.add(row, nr), self.windows.out[2])), column)
            self._fetch(k, source, at, k.add(row, nr), column)
            g = load(k, k.pointer(WEIGHTS), at, self.dtype, self.lanes, mask)
            for tap, x in self.row_taps(k, source, k.add(row, nr), column, inner):
                x = x if mask is None else k.select(mask, x, k.const(self.type, 0))
                added[tap] = k.fma(g, x, added[tap])
        return added

    def _fetch(self, k: Emitter, source: Index, gradient: Index, row: Index, column: Index) -> None:
        """Bring near what the next image has in this place: its planes are too far away for the machine to see them
        coming."""
        w, scalar = self.windows, compute_type(self.dtype)
        k.prefetch(k.pointer(WEIGHTS), k.add(gradient, self.gradient[0]), scalar)
        for down, across in product(range(w.stride[1]), range(w.stride[2])):
            at = k.mul(k.add(k.mul(row, w.stride[1]), down), w.size[2])
            at = k.add(k.add(source, at), k.add(k.mul(column, w.stride[2]), across * self.lanes))
            k.prefetch(k.pointer(SOURCE), k.add(at, self.source[0]), scalar)


@dataclass(frozen=True)
class Columns(Planes):
    """Small planes copied into columns, [plane][tap][pixel], of `room` elements each; a task is a plane.

    A convolution of any channels is then a product with the weights as they lie: worth it where those are many and
    pixels few, as when a network is asked about a single image.
    """

    room: int

    @property
    def lanes(self) -> int:
        return width_of(self.dtype)

    def emit(self, k: Emitter) -> None:
        size, zero = prod(self.windows.size), k.const(self.type, 0)
        with k.tasks() as task:
            plane = self.hold(k, k.pointer(0), k.mul(task, size), size)
            for first in range(0, prod(self.windows.out), self.lanes):
                for nr, x in self.held_taps(k, plane, first):
                    at = k.add(k.mul(task, self.taps * self.room), nr * self.room + first)
                    k.store(zero if x is None else x, k.pointer(1), at)
