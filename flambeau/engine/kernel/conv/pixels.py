"""Convolution with the pixels of a row in the lanes of vectors.

A tile is a few output channels by some vectors of pixels, of one or more rows. Each step of the sum loads the vectors
of the source, where they lie, and one weight for every channel, where it lies: nothing is packed. It serves few
channels (the first layers of a network, depthwise convolutions) on images wide enough to fill vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import NamedTuple

from flambeau.dtypes import dtype
from flambeau.engine.kernel import scalars
from flambeau.engine.kernel.conv.channels import STRIP, cut
from flambeau.engine.kernel.conv.geometry import Product
from flambeau.engine.kernel.conv.lanes import Store, where
from flambeau.engine.kernel.conv.prepare import width_of
from flambeau.engine.kernel.emit import Emitter, Index, Val, vector

SOURCE, WEIGHTS, RESULT, BIAS, DEPTH, TAPS, EPILOGUE = range(7)  # words of the argument block


class Tile(NamedTuple):
    """Channels by rows by vectors of `lanes` pixels; the rows are neighbours, or the same one of several images."""

    channels: int
    rows: int
    vectors: int
    lanes: int
    images: int = 1
    inner: bool = False  # one row of each image, and only those of its taps that lie in rows of the source

    @property
    def lines(self) -> int:
        return self.images * self.rows


@dataclass(frozen=True)
class PixelKernel:
    """The kernel; a task is a row of tiles for some channels of a group."""

    product: Product
    tile: Tile
    source: dtype
    store: Store
    biased: bool
    whole: bool  # the source may be read past the end of rows
    ahead: bool = False  # what the next tile reads is brought near: more planes than the machine follows by itself

    @property
    def key(self) -> str:
        return (
            f"conv pixels {width_of(self.source)} {self.product} {self.tile} {self.source.name} "
            f"{self.store.key} {self.biased} {self.whole} {self.ahead}"
        )

    @property
    def cuts(self) -> tuple[int, int, int, int, int]:
        """Tiles along images, depth, rows and channels, and strips of tiles along columns."""
        p, t = self.product, self.tile
        strips = max(1, -(-p.grid[2] // (STRIP * t.vectors * t.lanes)))
        return -(-p.batch // t.images), p.grid[0], -(-p.grid[1] // t.rows), -(-p.width // t.channels), strips

    @property
    def tasks(self) -> int:
        return prod(self.cuts) * self.product.groups

    def emit(self, k: Emitter) -> None:
        p, t = self.product, self.tile
        source_taps, weight_taps = (self._table(k, taps) for taps in (p.taps, p.weight_taps))
        spans = [place for span in p.spans(1) for place in span] if t.inner else []
        row_table = self._table(k, [tap * len(p.places[2]) for tap in spans]) if t.inner else None
        _, depth, rows, channels, strips = self.cuts
        with k.tasks() as task:
            number, nr = k.rem(task, channels), k.div(task, channels)  # all channels read the same rows
            strip, nr = k.rem(nr, strips), k.div(nr, strips)
            row, plane = k.rem(nr, rows), k.div(nr, rows)
            d, block = k.rem(plane, depth), k.div(plane, depth)
            group, image = k.rem(block, p.groups), cut(k, k.div(block, p.groups), t.images, p.batch)
            height, channel = cut(k, row, t.rows, p.grid[1]), cut(k, number, t.channels, p.width)
            source = k.add(k.mul(image.start, p.source.batch), k.mul(group, p.depth * p.source.channel))
            source = k.add(k.add(source, k.mul(d, p.steps[0])), k.mul(height.start, p.steps[1]))
            weights = k.add(k.mul(group, p.weight_group), k.mul(channel.start, p.weight_out))
            out_channel = k.add(k.mul(group, p.width), channel.start)
            out = k.add(k.mul(image.start, p.out_batch), k.mul(out_channel, p.out_channel))
            out = k.add(k.add(out, k.mul(d, p.out_steps[0])), k.add(k.mul(height.start, p.out_steps[1]), p.out_first))
            taps = (0, k.integer(TAPS) if len(p.taps) > 1 else len(p.taps))  # not known to LLVM, which would unroll
            if row_table is not None:
                at = k.mul(height.start, 2)
                taps = (k.load(row_table, at, "i64"), k.load(row_table, k.add(at, 1), "i64"))
            tiles = _Block(k, self, source_taps, weight_taps, taps, source, weights, out, out_channel)
            self._columns(k, tiles, strip, (channel.skip, image.skip, height.skip))

    def _columns(self, k: Emitter, tiles: _Block, strip: Index, skips: tuple[Index, Index, Index]) -> None:
        """The tiles of a strip: as many whole ones as there are, and at the end of the row one of what is left."""
        t, count = self.tile, self.product.grid[2]
        step = t.vectors * t.lanes
        whole = count // step
        if whole:
            first = k.mul(strip, STRIP * step)
            with k.loop(k.minimum(k.add(first, STRIP * step), whole * step), start=first, step=step) as column:
                tiles.compute(column, [t.lanes] * t.vectors, skips)
        left = count - whole * step
        if left:
            last = k.compare("eq", strip, self.cuts[4] - 1) if isinstance(strip, Val) else None
            with where(k, last):
                tiles.compute(whole * step, [min(t.lanes, left - v) for v in range(0, left, t.lanes)], skips)

    def _table(self, k: Emitter, taps: Sequence[int]) -> Val:
        table = k.stack("i64", max(len(taps), 1))
        for t, offset in enumerate(taps):
            k.store(k.const("i64", offset), table, t)
        return table


@dataclass
class _Block:
    """What the tiles of a task share."""

    k: Emitter
    kernel: PixelKernel
    source_taps: Val
    weight_taps: Val
    taps: tuple[Index, Index]  # from and to
    source: Index
    weights: Index
    out: Index
    channel: Index  # among all of the result

    def compute(self, column: Index, counts: Sequence[int], skips: tuple[Index, Index, Index]) -> None:
        """A tile that begins at `column`, with `counts` pixels in each vector."""
        k, p, t = self.k, self.kernel.product, self.kernel.tile
        sums = self._sums(column, counts)
        for nr, (c, n, h) in enumerate(product(range(t.channels), range(t.images), range(t.rows))):
            fresh = None
            for place, skip in zip((c, n, h), skips):
                if isinstance(skip, Val):
                    late = k.compare("le", skip, place)
                    fresh = late if fresh is None else k.bits("and", fresh, late)
            with where(k, fresh):
                for v, count in enumerate(counts):
                    flat = k.add(self.out, k.mul(k.add(column, v * t.lanes), p.out_steps[2]))
                    flat = k.add(flat, c * p.out_channel + n * p.out_batch + h * p.out_steps[1])
                    self.kernel.store.row(k, sums[nr * len(counts) + v], k.pointer(RESULT), flat, 0, count)

    def _sums(self, column: Index, counts: Sequence[int]) -> list[Val]:
        """[channel][image][row][vector]."""
        k, p, t = self.k, self.kernel.product, self.kernel.tile
        memory = scalars.memory_type(self.kernel.source)
        base = k.at(k.pointer(SOURCE), k.add(self.source, k.mul(column, p.steps[2])), memory)
        weights = k.at(k.pointer(WEIGHTS), self.weights, memory)
        start = [x for c in range(t.channels) for x in [self._start(c)] * (t.lines * len(counts))]
        with k.loop(k.integer(DEPTH), carried=[base, weights, *start]) as over:
            base, weights, *outer = over.carried
            with k.loop(self.taps[1], start=self.taps[0], carried=outer) as inner:
                sums = list(inner.carried)
                at = k.at(base, k.load(self.source_taps, inner.i, "i64"), memory)
                weight = k.at(weights, k.load(self.weight_taps, inner.i, "i64"), memory)
                places = [
                    n * p.source.batch + h * p.steps[1] + v * t.lanes * p.steps[2]
                    for n in range(t.images) for h in range(t.rows) for v in range(len(counts))
                ]  # fmt: skip
                if self.kernel.ahead:
                    next = len(counts) * t.lanes * p.steps[2]
                    for place in places:
                        k.prefetch(at, k.const("i64", place + next), memory)
                rows = [self._pixels(at, place, counts[nr % len(counts)]) for nr, place in enumerate(places)]
                for c in range(t.channels):
                    w = k.splat(k.load(weight, c * p.weight_out, memory), t.lanes)
                    for nr, x in enumerate(rows):
                        sums[c * len(rows) + nr] = k.fma(w, x, sums[c * len(rows) + nr])
                inner.carry(*sums)
            here = k.at(weights, p.weight_in, memory)
            over.carry(k.at(base, p.source.channel, memory), here, *inner.results)
        return over.results[2:]

    def _pixels(self, at: Val, offset: int, count: int) -> Val:
        lanes = self.kernel.tile.lanes
        mask = None if count == lanes or self.kernel.whole else self.k.mask(count, lanes)
        return scalars.load(self.k, at, offset, self.kernel.source, lanes, mask)

    def _start(self, c: int) -> Val:
        k, lanes = self.k, self.kernel.tile.lanes
        kind = scalars.compute_type(self.kernel.source)
        if not self.kernel.biased:
            return k.const(vector(kind, lanes), 0)
        bias = scalars.load(k, k.pointer(BIAS), k.add(self.channel, c), self.kernel.source, 1)
        return k.splat(bias, lanes)
