"""Convolution with output channels in the lanes of vectors.

A tile is a block of pixels by a few vectors of channels. Each step of the sum loads those vectors of packed weights and
one number of the source for every pixel, at any place: strides, dilation and narrow images cost nothing. At the end the
tile is transposed in registers and stored pixel by pixel. It needs enough channels to fill a vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import NamedTuple

from flambeau.dtypes import dtype
from flambeau.engine.kernel import scalars
from flambeau.engine.kernel.conv.geometry import DIMS, Product
from flambeau.engine.kernel.conv.lanes import Store, columns, pieces, where
from flambeau.engine.kernel.conv.prepare import Panels, width_of
from flambeau.engine.kernel.emit import Emitter, Index, Val, vector

SOURCE, WEIGHTS, RESULT, BIAS, DEPTH, TAPS, EPILOGUE = range(7)  # words of the argument block
STRIP = 16  # tiles of a row that a task computes at most


class Tile(NamedTuple):
    """A block of pixels (images, rows, columns) by vectors of channels."""

    images: int
    rows: int
    columns: int
    vectors: int
    inner: bool = False  # one pixel of each image, and only those of its taps that lie inside the source

    @property
    def pixels(self) -> int:
        return self.images * self.rows * self.columns


class Cut(NamedTuple):
    """Where a tile of one dimension begins, and how many of its first pixels the tile before has stored already."""

    start: Index
    skip: Index


def cut(k: Emitter, number: Index, length: int, count: int) -> Cut:
    """The tile `number` of a dimension; the last one is moved back until it ends with the dimension."""
    wanted = k.mul(number, length)
    if count % length == 0:
        return Cut(wanted, 0)
    start = k.minimum(wanted, count - length)
    return Cut(start, k.sub(wanted, start))


@dataclass
class _Taps:
    """The taps of a tile: their offsets in the source, and where the tile only wants inner ones, which those are."""

    offsets: Val
    spans: list[Val | None]
    pixel: tuple[Index, Index, Index]

    def range(self, k: Emitter, dim: int, count: int) -> tuple[Index, Index]:
        table = self.spans[dim]
        if table is None:
            return 0, count
        at = k.mul(self.pixel[dim], 2)
        return k.load(table, at, "i64"), k.load(table, k.add(at, 1), "i64")


@dataclass(frozen=True)
class ChannelKernel:
    """The kernel; a task is a row of tiles, or a strip of it, for one panel of channels."""

    product: Product
    tile: Tile
    panels: Panels
    source: dtype
    store: Store
    biased: bool
    panel_major: bool  # tasks of one panel follow one another: its weights stay in the cache

    @property
    def key(self) -> str:
        return (
            f"conv channels {width_of(self.source)} {self.product} {self.tile} {self.source.name} {self.store.key} "
            f"{self.biased} {self.panel_major}"
        )

    @property
    def cuts(self) -> tuple[int, int, int, int]:
        """Tiles along images, depth and rows, and strips of tiles along columns."""
        p, t = self.product, self.tile
        return -(-p.batch // t.images), p.grid[0], -(-p.grid[1] // t.rows), -(-self.columns // STRIP)

    @property
    def columns(self) -> int:
        """Tiles along columns."""
        return -(-self.product.grid[2] // self.tile.columns)

    @property
    def tasks(self) -> int:
        return prod(self.cuts) * self.product.groups * self.panels.count

    def emit(self, k: Emitter) -> None:
        taps = k.stack("i64", max(len(self.product.taps), 1))
        for nr, offset in enumerate(self.product.taps):
            k.store(k.const("i64", offset), taps, nr)
        spans = [self._spans(k, dim) for dim in range(DIMS)] if self.tile.inner else []
        images, depth, rows, strips = self.cuts
        panels, blocks = self.product.groups * self.panels.count, images * depth * rows * strips
        p, t = self.product, self.tile
        with k.tasks() as task:
            panel, block = (
                (k.div(task, blocks), k.rem(task, blocks)) if self.panel_major
                else (k.rem(task, panels), k.div(task, panels))
            )  # fmt: skip
            strip, block = k.rem(block, strips), k.div(block, strips)
            row, plane = k.rem(block, rows), k.div(block, rows)
            d = k.rem(plane, depth)
            image = cut(k, k.div(plane, depth), t.images, p.batch)
            height = cut(k, row, t.rows, p.grid[1])
            source = k.add(k.mul(image.start, p.source.batch), k.mul(height.start, p.steps[1]))
            source = k.add(source, k.mul(d, p.steps[0]))
            source = k.add(source, k.mul(k.div(panel, self.panels.count), p.depth * p.source.channel))
            out = k.add(k.mul(image.start, p.out_batch), k.mul(height.start, p.out_steps[1]))
            out = k.add(out, k.add(k.mul(d, p.out_steps[0]), p.out_first))
            first = k.mul(strip, STRIP)
            with k.loop(k.minimum(k.add(first, STRIP), self.columns), start=first) as number:
                column = cut(k, number, t.columns, p.grid[2])
                tile_taps = _Taps(taps, spans, (d, height.start, column.start))
                sums = self._sums(k, tile_taps, panel, k.add(source, k.mul(column.start, p.steps[2])))
                flat = k.add(out, k.mul(column.start, p.out_steps[2]))
                self._store(k, sums, panel, flat, (image.skip, height.skip, column.skip))

    def _channel(self, k: Emitter, panel: Index) -> tuple[Index, Index]:
        """The first channel of a panel, in its group and among all."""
        group, nr = k.div(panel, self.panels.count), k.rem(panel, self.panels.count)
        first = k.mul(nr, self.panels.size)
        return first, k.add(k.mul(group, self.product.width), first)

    def _start(self, k: Emitter, panel: Index) -> list[Val]:
        """The bias, or zeros, for every vector."""
        lanes = width_of(self.source)
        type = vector(scalars.compute_type(self.source), lanes)
        if not self.biased:
            return [k.const(type, 0)] * self.tile.vectors
        first, number = self._channel(k, panel)
        found = []
        for v in range(self.tile.vectors):
            full = self.product.width % self.panels.size == 0
            mask = None if full else k.mask(k.sub(self.product.width - v * lanes, first), lanes)
            at = k.add(number, v * lanes)
            found.append(scalars.load(k, k.pointer(BIAS), at, self.source, lanes, mask))
        return found

    def _spans(self, k: Emitter, dim: int) -> Val | None:
        """A table of the taps that lie inside the source: from and to, for every pixel of a dimension."""
        spans = self.product.spans(dim)
        if all(span.stop - span.start == len(self.product.places[dim]) for span in spans):
            return None
        table = k.stack("i64", 2 * len(spans))
        for nr, span in enumerate(spans):
            k.store(k.const("i64", span.start), table, 2 * nr)
            k.store(k.const("i64", span.stop), table, 2 * nr + 1)
        return table

    def _sums(self, k: Emitter, taps: _Taps, panel: Index, source: Index) -> list[list[Val]]:
        """The tile's sums, [pixel][vector]."""
        p, t = self.product, self.tile
        kind = scalars.compute_type(self.source)
        pixels = [
            n * p.source.batch + h * p.steps[1] + w * p.steps[2]
            for n in range(t.images) for h in range(t.rows) for w in range(t.columns)
        ]  # fmt: skip
        base = k.at(k.pointer(SOURCE), source, kind)
        weights = k.at(k.pointer(WEIGHTS), k.mul(panel, self.panels.room), kind)
        start = self._start(k, panel) * len(pixels)
        taps_left = k.integer(TAPS) if len(p.taps) > 1 else len(p.taps)  # not known to LLVM, which would unroll
        with k.loop(k.integer(DEPTH), carried=[base, weights, *start]) as over:
            base, weights, *sums = over.carried
            if t.inner:
                sums = self._inner_taps(k, taps, base, weights, sums, pixels)
                weights = k.at(weights, len(p.taps) * self.panels.size, kind)
            else:
                with k.loop(taps_left, carried=[weights, *sums]) as loop:
                    here, *inside = loop.carried
                    at = k.at(base, k.load(taps.offsets, loop.i, "i64"), kind)
                    loop.carry(k.at(here, self.panels.size, kind), *self._step(k, at, here, inside, pixels))
                weights, *sums = loop.results
            over.carry(k.at(base, p.source.channel, kind), weights, *sums)
        sums = over.results[2:]
        return [sums[nr * t.vectors : (nr + 1) * t.vectors] for nr in range(len(pixels))]

    def _step(self, k: Emitter, at: Val, weights: Val, sums: list[Val], pixels: Sequence[int]) -> list[Val]:
        """Add what one tap of one channel contributes."""
        lanes, vectors = width_of(self.source), self.tile.vectors
        kind = scalars.compute_type(self.source)
        row = [k.load(weights, v * lanes, vector(kind, lanes)) for v in range(vectors)]
        added = []
        for nr, pixel in enumerate(pixels):
            x = k.splat(k.load(at, pixel, kind), lanes)
            added += [k.fma(x, row[v], sums[nr * vectors + v]) for v in range(vectors)]
        return added

    def _inner_taps(
        self, k: Emitter, taps: _Taps, base: Val, weights: Val, sums: list[Val], pixels: Sequence[int]
    ) -> list[Val]:
        """Add what the taps inside the source contribute, dimension by dimension."""
        kind = scalars.compute_type(self.source)

        def through(dim: int, number: Index, sums: list[Val]) -> list[Val]:
            if dim == DIMS:
                at = k.at(base, k.load(taps.offsets, number, "i64"), kind)
                return self._step(k, at, k.at(weights, k.mul(number, self.panels.size), kind), sums, pixels)
            count = len(self.product.places[dim])
            if count == 1 and taps.spans[dim] is None:
                return through(dim + 1, number, sums)
            start, stop = taps.range(k, dim, count)
            with k.loop(stop, start=start, carried=sums) as loop:
                loop.carry(*through(dim + 1, k.add(k.mul(number, count), loop.i), loop.carried))
            return loop.results

        return through(0, 0, sums)

    def _store(
        self, k: Emitter, sums: list[list[Val]], panel: Index, flat: Index, skips: tuple[Index, Index, Index]
    ) -> None:
        p, t = self.product, self.tile
        first, number = self._channel(k, panel)
        out = k.add(flat, k.mul(number, p.out_channel))
        for n in range(t.images):
            for h in range(t.rows):
                fresh = None
                for place, skip in ((n, skips[0]), (h, skips[1])):
                    if isinstance(skip, Val):
                        late = k.compare("le", skip, place)
                        fresh = late if fresh is None else k.bits("and", fresh, late)
                row = sums[(n * t.rows + h) * t.columns :][: t.columns]
                at = k.add(out, n * p.out_batch + h * p.out_steps[1])
                with where(k, fresh):
                    for v in range(t.vectors):
                        pixels = [pixel[v] for pixel in row]
                        if p.out_channel == 1 and skips[2] == 0:
                            self._store_channels(k, pixels, v, first, at)
                        else:
                            self._store_pixels(k, pixels, v, first, at, skips[2])

    def _store_channels(self, k: Emitter, pixels: Sequence[Val], v: int, first: Index, at: Index) -> None:
        """Store a row whose channels are neighbours in the result."""
        lanes = width_of(self.source)
        mask, store = None, replace(self.store, step=1)
        if self.panels.partly((v + 1) * lanes - 1):
            mask = k.mask(k.sub(self.product.width - v * lanes, first), lanes)
        for nr, x in enumerate(pixels):
            store.piece(k, x, k.pointer(RESULT), k.add(at, nr * self.product.out_steps[2] + v * lanes), mask)

    def _store_pixels(self, k: Emitter, pixels: Sequence[Val], v: int, first: Index, at: Index, skip: Index) -> None:
        """Store a row whose pixels are neighbours in the result, or nearly."""
        p, lanes = self.product, width_of(self.source)
        parts = [(start, columns(k, pixels[start : start + count])) for start, count in pieces(0, len(pixels))]
        for lane in range(lanes):
            channel = v * lanes + lane
            exists = None
            if self.panels.partly(channel):
                if not isinstance(first, Val):
                    return
                exists = k.compare("lt", k.add(first, channel), p.width)
            with where(k, exists):
                for start, found in parts:
                    flat = k.add(at, channel * p.out_channel + start * p.out_steps[2])
                    left = k.sub(skip, start) if isinstance(skip, Val) else 0
                    self.store.row(k, found[lane], k.pointer(RESULT), flat, left)
