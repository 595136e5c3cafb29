"""A convolution, or the gradient of its input, by Winograd's transforms: one kernel, and one for the weights.

The weights are transformed once, for all images, into panels [product][panel][channel summed over][channels produced].
A task then takes band after band of the images through all stages in its own scratch memory, which stays in the cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product as combinations

from flambeau.dtypes import dtype
from flambeau.engine.kernel import scalars
from flambeau.engine.kernel.conv.channels import cut
from flambeau.engine.kernel.conv.geometry import Product
from flambeau.engine.kernel.conv.lanes import Store, columns, every, pieces
from flambeau.engine.kernel.conv.prepare import width_of
from flambeau.engine.kernel.conv.winograd import Band, M, Sides, transform
from flambeau.engine.kernel.conv.winograd_stages import Frame, Pixels, Tiles, to_pixels, to_tiles, zeros
from flambeau.engine.kernel.emit import Emitter, Index, Val, vector

SOURCE, WEIGHTS, RESULT, BIAS, GIVEN, SCRATCH, DEPTH, EPILOGUE = range(8)  # words of the argument block


@dataclass(frozen=True)
class Block:
    """A register tile of the matrix products: tiles by vectors of channels."""

    tiles: int
    vectors: int


@dataclass(frozen=True)
class WinogradKernel:
    """The kernel; a task takes every `tasks`-th band."""

    product: Product
    sides: Sides
    band: Band
    block: Block
    dtype: dtype  # of the sums, and of the source
    store: Store
    biased: bool
    tasks: int

    @property
    def key(self) -> str:
        return f"conv winograd {width_of(self.dtype)} {self!r} {self.store.key}"

    @property
    def depth(self) -> int:
        """Channels of all phases."""
        return self.product.depth * len(self.sides.phases)

    @property
    def bands(self) -> int:
        return self.band.count(self.product.batch, self.sides)

    @property
    def frame(self) -> Frame:
        p, (height, width) = self.product, (self.sides.height, self.sides.width)
        return Frame(
            self.dtype, p.depth, (height.size, width.size), (height.low, width.low), *self.band.frame(self.sides),
            (p.source.batch, p.source.channel), self.band.rows == height.tiles,
        )  # fmt: skip

    @property
    def source_tiles(self) -> Tiles:
        return Tiles(self.band, self.sides.width.tiles, self.sides.products, self.depth)

    @property
    def sum_tiles(self) -> Tiles:
        return replace(self.source_tiles, channels=self.product.width)

    @property
    def pixels(self) -> Pixels:
        width = self.sides.width
        return Pixels(self.band, M * self.band.rows, M * width.tiles, self.product.width)

    @property
    def rooms(self) -> tuple[int, ...]:
        """Elements of what a task holds: the frame, its tiles, their sums, and the pixels."""
        return self.frame.room, self.source_tiles.room, self.sum_tiles.room, self.pixels.room

    @property
    def scratch(self) -> int:
        """Elements of all tasks."""
        return self.tasks * sum(self.rooms)

    def emit(self, k: Emitter) -> None:
        kind = scalars.compute_type(self.dtype)
        height, width = self.sides.height, self.sides.width
        rows, across = height.transform, width.transform
        with k.tasks() as task:
            memory = k.at(k.pointer(SCRATCH), k.mul(task, sum(self.rooms)), kind)
            frame, tiles, sums, pixels = (
                k.at(memory, sum(self.rooms[:nr]), kind) for nr in range(len(self.rooms))
            )  # fmt: skip
            zeros(k, frame, 0, self.frame.room, self.frame.type)
            with k.loop(self.bands, start=task, step=self.tasks) as band:
                image, first = self._place(k, band)
                top = k.sub(k.mul(first, M * height.stride), height.low)
                self.frame.fill(k, k.pointer(SOURCE), frame, image, top)
                to_tiles(
                    k, self.frame, self.source_tiles, rows.source, across.source, self.stride, self.sides.phases,
                    frame, tiles,
                )  # fmt: skip
                self._multiply(k, tiles, sums)
                finite = to_pixels(
                    k, self.sum_tiles, self.pixels, rows.sums, across.sums, self.dtype, sums, pixels,
                    k.pointer(BIAS) if self.biased else None,
                )  # fmt: skip
                with k.when(k.bits("xor", finite, 1)):
                    self._directly(k, frame, pixels)
                self._store(k, pixels, image, first)

    @property
    def stride(self) -> tuple[int, int]:
        return self.sides.height.stride, self.sides.width.stride

    def _place(self, k: Emitter, band: Index) -> tuple[Index, Index]:
        """The first image of a band, and its first row of tiles."""
        parts = self.sides.height.tiles // self.band.rows
        return k.mul(k.div(band, parts), self.band.images), k.mul(k.rem(band, parts), self.band.rows)

    def _multiply(self, k: Emitter, tiles: Val, sums: Val) -> None:
        """The matrix products: sums over the depth, for every tile and channel."""
        kind, lanes = scalars.compute_type(self.dtype), width_of(self.dtype)
        b, count, size = self.block, self.source_tiles.count, self.block.vectors * width_of(self.dtype)
        panel_room, panels = self.depth * size, self.product.width // size
        with k.loop(self.sides.products) as xi, k.loop(panels) as panel:
            weights = k.at(k.pointer(WEIGHTS), k.mul(k.add(k.mul(xi, panels), panel), panel_room), kind)
            source = k.at(tiles, k.mul(xi, self.source_tiles.step), kind)
            target = k.at(sums, k.add(k.mul(xi, self.sum_tiles.step), k.mul(panel, size)), kind)
            with k.loop(-(-count // b.tiles)) as nr:
                at = cut(k, nr, b.tiles, count).start
                start = [k.const(vector(kind, lanes), 0)] * (b.tiles * b.vectors)
                first = [k.at(source, k.mul(at, self.depth), kind), weights]
                with k.loop(k.integer(DEPTH), carried=[*first, *start]) as loop:
                    x, w, *added = loop.carried
                    row = [k.load(w, v * lanes, vector(kind, lanes)) for v in range(b.vectors)]
                    for tile in range(b.tiles):
                        value = k.splat(k.load(x, tile * self.depth, kind), lanes)
                        for v in range(b.vectors):
                            added[tile * b.vectors + v] = k.fma(value, row[v], added[tile * b.vectors + v])
                    loop.carry(k.at(x, 1, kind), k.at(w, size, kind), *added)
                home = k.at(target, k.mul(at, self.product.width), kind)
                for tile in range(b.tiles):
                    for v in range(b.vectors):
                        value = loop.results[2 + tile * b.vectors + v]
                        k.store(value, home, tile * self.product.width + v * lanes)

    def _directly(self, k: Emitter, frame: Val, pixels: Val) -> None:
        """The band's pixels, tap by tap: slow, and right where values are no numbers."""
        p, f, lanes, kind = self.product, self.frame, width_of(self.dtype), scalars.compute_type(self.dtype)
        places = list(combinations(enumerate(self.sides.height.order), enumerate(self.sides.width.order)))
        offsets = self._table(k, [f.at(row, column) for (row, _), (column, _) in places])
        taps = [p.weight_taps[down * len(self.sides.width.order) + across] for (_, down), (_, across) in places]
        weights = self._table(k, taps)
        count = self.band.images * self.pixels.rows * self.pixels.columns
        apart = k.ramp(vector("i64", lanes), 0, p.weight_out)
        with k.loop(p.width, step=lanes) as o:
            start = k.const(f.type, 0) if not self.biased else k.load(k.pointer(BIAS), o, f.type)
            with k.loop(count) as pixel:
                k.store(start, pixels, k.add(k.mul(pixel, p.width), o))
            with k.loop(len(places)) as tap, k.loop(p.depth) as c:
                at = k.add(k.add(k.mul(o, p.weight_out), k.mul(c, p.weight_in)), k.load(weights, tap, "i64"))
                w = k.gather(k.pointer(GIVEN), k.add(apart, at), kind)
                base = k.at(frame, k.add(k.load(offsets, tap, "i64"), c), kind)
                with k.loop(count) as pixel:
                    line, column = k.div(pixel, self.pixels.columns), k.rem(pixel, self.pixels.columns)
                    image, row = k.div(line, self.pixels.rows), k.rem(line, self.pixels.rows)
                    place = k.mul(k.add(k.mul(image, f.rows), k.mul(row, self.stride[0])), f.columns)
                    place = k.add(place, k.mul(column, self.stride[1]))
                    x = k.load(base, k.mul(place, f.channels), kind)
                    here = k.add(k.mul(pixel, p.width), o)
                    k.store(k.fma(k.splat(x, lanes), w, k.load(pixels, here, f.type)), pixels, here)

    def _table(self, k: Emitter, numbers: list[int]) -> Val:
        table = k.stack("i64", len(numbers))
        for nr, number in enumerate(numbers):
            k.store(k.const("i64", number), table, nr)
        return table

    def _store(self, k: Emitter, pixels: Val, image: Index, first: Index) -> None:
        """Write the band's pixels where they belong: rows by themselves, or all together where they are neighbours."""
        p, lanes, (height, width) = self.product, width_of(self.dtype), (self.sides.height, self.sides.width)
        count = min(self.pixels.rows, height.count)
        joined = p.out_steps[1] == width.count * p.out_steps[2] and self.pixels.columns == width.count
        rows, length = (1, count * width.count) if joined else (count, width.count)
        with k.loop(self.band.images) as n, k.loop(p.width, step=lanes) as c, k.loop(rows) as row:
            source = k.mul(k.mul(k.add(k.mul(n, self.pixels.rows), row), self.pixels.columns), p.width)
            source = k.add(source, c)
            out = k.add(k.mul(k.add(image, n), p.out_batch), k.mul(c, p.out_channel))
            out = k.add(out, k.mul(k.add(k.mul(first, M), row), p.out_steps[1]))
            out = k.add(out, p.out_first)
            whole = length // lanes * lanes
            with k.loop(whole, step=lanes) as column:
                self._pixels(k, pixels, source, out, column, lanes)
            for start, size in pieces(whole, length):
                self._pixels(k, pixels, source, out, start, size)

    def _pixels(self, k: Emitter, pixels: Val, source: Index, out: Index, column: Index, count: int) -> None:
        """Write `count` neighbouring pixels of a vector's channels."""
        p, lanes, kind = self.product, width_of(self.dtype), scalars.compute_type(self.dtype)
        base = k.at(pixels, k.add(source, k.mul(column, p.width)), kind)
        rows = [k.load(base, nr * p.width, vector(kind, lanes)) for nr in range(count)]
        at = k.add(out, k.mul(column, p.out_steps[2]))
        for channel, values in enumerate(columns(k, rows)):
            self.store.piece(k, values, k.pointer(RESULT), k.add(at, channel * p.out_channel))


@dataclass(frozen=True)
class WinogradWeights:
    """The weights of a product, transformed; a task is a vector of channels produced by one of channels summed."""

    product: Product
    sides: Sides
    vectors: int  # of a panel
    dtype: dtype

    @property
    def key(self) -> str:
        p = self.product
        layout = p.depth, p.width, p.weight_out, p.weight_in, p.weight_taps
        return f"conv winograd weights {width_of(self.dtype)} {layout} {self.sides} {self.vectors} {self.dtype.name}"

    @property
    def depth(self) -> int:
        return self.product.depth * len(self.sides.phases)

    @property
    def tasks(self) -> int:
        return self.product.width * self.product.depth // width_of(self.dtype) ** 2

    @property
    def room(self) -> int:
        """Elements."""
        return self.sides.products * self.depth * self.product.width

    def emit(self, k: Emitter) -> None:
        p, lanes, kind = self.product, width_of(self.dtype), scalars.compute_type(self.dtype)
        blocks = p.depth // lanes
        taps = [tap for phase in self.sides.phases for row in self.sides.taps(phase) for tap in row]
        held = k.stack(kind, len(taps) * lanes * lanes)
        with k.tasks() as task:
            c, o = k.mul(k.rem(task, blocks), lanes), k.mul(k.div(task, blocks), lanes)
            source = k.at(k.pointer(0), k.add(k.mul(c, p.weight_in), k.mul(o, p.weight_out)), kind)
            across = p.weight_in < p.weight_out  # channels summed over are neighbours: they come to lie across lanes
            with k.loop(lanes) as nr:
                base = k.at(source, k.mul(nr, p.weight_out if across else p.weight_in), kind)
                for at, value in enumerate(self._taps(k, base, taps)):
                    k.store(value, held, k.add(k.mul(nr, lanes), at * lanes * lanes))
            if across:
                with k.loop(len(taps)) as tap:
                    block = k.at(held, k.mul(tap, lanes * lanes), kind)
                    rows = [k.load(block, nr * lanes, vector(kind, lanes)) for nr in range(lanes)]
                    for nr, value in enumerate(columns(k, rows)):
                        k.store(value, block, nr * lanes)
            with k.loop(lanes) as nr:
                self._transform(k, k.at(held, k.mul(nr, lanes), kind), k.add(c, nr), o)

    def _taps(self, k: Emitter, base: Val, taps: list[int]) -> Iterator[Val]:
        """The taps of neighbouring channels."""
        lanes, step = width_of(self.dtype), min(self.product.weight_in, self.product.weight_out)
        kind = scalars.compute_type(self.dtype)
        rows = [k.load(base, nr * lanes, vector(kind, lanes)) for nr in range(step)]
        for tap in taps:
            yield every(k, rows, self.product.weight_taps[tap])

    def _transform(self, k: Emitter, held: Val, c: Index, o: Index) -> None:
        """Transform the taps of channel `c` and a vector of channels produced, from `o` on."""
        lanes, kind = width_of(self.dtype), scalars.compute_type(self.dtype)
        size = self.vectors * lanes
        panel, place = k.div(o, size), k.rem(o, size)
        height, width = self.sides.height, self.sides.width
        at = 0
        for nr, _ in enumerate(self.sides.phases):
            x = []
            for _ in range(height.taps):
                row = range(at, at + width.taps)
                x.append([k.load(held, tap * lanes * lanes, vector(kind, lanes)) for tap in row])
                at += width.taps
            found = transform(height.transform.weights, width.transform.weights, x)
            channel = k.add(c, nr * self.product.depth)
            home = k.add(k.mul(k.add(k.mul(panel, self.depth), channel), size), place)
            for xi, value in enumerate([value for values in found for value in values]):
                k.store(value, k.pointer(1), k.add(home, xi * self.depth * self.product.width))
