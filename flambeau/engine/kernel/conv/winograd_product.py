"""A convolution, or the gradient of its input, by Winograd's transforms: one kernel, and one for the weights.

The weights are transformed once, for all images, into panels [product][panel][channel summed over][channels produced].
A task then takes band after band of the images through all stages in its own scratch memory, which stays in the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from flambeau.dtypes import dtype
from flambeau.engine.kernel import scalars
from flambeau.engine.kernel.conv.channels import cut
from flambeau.engine.kernel.conv.geometry import Layout
from flambeau.engine.kernel.conv.lanes import Store, columns, every, pieces
from flambeau.engine.kernel.conv.prepare import width_of
from flambeau.engine.kernel.conv.winograd import Band, M, Residue, Sides, transform
from flambeau.engine.kernel.conv.winograd_stages import LINE, Frame, Pixels, Tiles, to_pixels, to_tiles, zeros
from flambeau.engine.kernel.emit import Emitter, Index, Val, vector
from flambeau.shape import Ints

SOURCE, WEIGHTS, RESULT, BIAS, SCRATCH, DEPTH = range(6)  # words of the argument block
GIVEN, OUT_STEP, IN_STEP, FIRST_TAP, TAP_STEP, EPILOGUE = range(6, 12)  # the weights as they are


@dataclass(frozen=True)
class Block:
    """A register tile of the matrix products: tiles by vectors of channels."""

    tiles: int
    vectors: int


@dataclass(frozen=True)
class WinogradKernel:
    """The kernel; a task takes every `tasks`-th band. It computes some products over the same source."""

    batch: int
    depth: int  # channels summed over, of one phase
    width: int  # channels produced
    sides: Sides
    residues: tuple[Residue, ...]
    source: tuple[int, int]  # elements from image to image and from channel to channel
    result: Layout
    window: Ints  # how far the taps of the window lie from the first one, in the weights
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
    def depths(self) -> int:
        """Channels of all phases."""
        return self.depth * len(self.sides.phases)

    @property
    def bands(self) -> int:
        return self.band.count(self.batch, self.sides)

    @property
    def frame(self) -> Frame:
        height, width = self.sides.height, self.sides.width
        return Frame(
            self.dtype, self.depth, (height.size, width.size), (height.low, width.low), *self.band.frame(self.sides),
            self.source, self.band.rows == height.tiles,
        )  # fmt: skip

    @property
    def source_tiles(self) -> Tiles:
        return Tiles(self.band, self.sides.width.tiles, self.sides.products, self.depths)

    @property
    def sum_tiles(self) -> Tiles:
        return replace(self.source_tiles, channels=self.width)

    @property
    def pixels(self) -> Pixels:
        width = self.sides.width
        return Pixels(self.band, M * self.band.rows, M * width.tiles, self.width)

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
            shifts = self._table(k, [self.frame.at(residue.down, residue.across) for residue in self.residues])
            firsts = self._table(k, [residue.first for residue in self.residues])
            with k.loop(self.bands, start=task, step=self.tasks) as band:
                image, first = self._place(k, band)
                top = k.sub(k.mul(first, M * height.stride), height.low)
                self.frame.fill(k, k.pointer(SOURCE), frame, image, top)
                with k.loop(len(self.residues)) as residue:
                    window = k.at(frame, k.load(shifts, residue, "i64"), kind)
                    to_tiles(
                        k, self.frame, self.source_tiles, rows.source, across.source, self.stride, self.sides.phases,
                        window, tiles,
                    )  # fmt: skip
                    self._multiply(k, residue, tiles, sums)
                    finite = to_pixels(
                        k, self.sum_tiles, self.pixels, rows.sums, across.sums, self.dtype, sums, pixels,
                        k.pointer(BIAS) if self.biased else None,
                    )  # fmt: skip
                    with k.when(k.bits("xor", finite, 1)):
                        self._directly(k, residue, window, pixels)
                    self._store(k, pixels, image, first, k.load(firsts, residue, "i64"))

    @property
    def stride(self) -> tuple[int, int]:
        return self.sides.height.stride, self.sides.width.stride

    def _place(self, k: Emitter, band: Index) -> tuple[Index, Index]:
        """The first image of a band, and its first row of tiles."""
        parts = self.sides.height.tiles // self.band.rows
        return k.mul(k.div(band, parts), self.band.images), k.mul(k.rem(band, parts), self.band.rows)

    def _multiply(self, k: Emitter, residue: Index, tiles: Val, sums: Val) -> None:
        """The matrix products: sums over the depth, for every tile and channel."""
        kind, lanes = scalars.compute_type(self.dtype), width_of(self.dtype)
        b, count, size = self.block, self.source_tiles.count, self.block.vectors * width_of(self.dtype)
        panel_room, panels = self.depths * size, self.width // size
        step = panels * panel_room + LINE
        with k.loop(self.sides.products) as xi, k.loop(panels) as panel:
            weights = k.mul(k.add(k.mul(residue, self.sides.products), xi), step)
            weights = k.at(k.pointer(WEIGHTS), k.add(weights, k.mul(panel, panel_room)), kind)
            source = k.at(tiles, k.mul(xi, self.source_tiles.step), kind)
            target = k.at(sums, k.add(k.mul(xi, self.sum_tiles.step), k.mul(panel, size)), kind)
            with k.loop(-(-count // b.tiles)) as nr:
                at = cut(k, nr, b.tiles, count).start
                start = [k.const(vector(kind, lanes), 0)] * (b.tiles * b.vectors)
                first = [k.at(source, k.mul(at, self.depths), kind), weights]
                with k.loop(k.integer(DEPTH), carried=[*first, *start]) as loop:
                    x, w, *added = loop.carried
                    row = [k.load(w, v * lanes, vector(kind, lanes)) for v in range(b.vectors)]
                    for tile in range(b.tiles):
                        value = k.splat(k.load(x, tile * self.depths, kind), lanes)
                        for v in range(b.vectors):
                            added[tile * b.vectors + v] = k.fma(value, row[v], added[tile * b.vectors + v])
                    loop.carry(k.at(x, 1, kind), k.at(w, size, kind), *added)
                home = k.at(target, k.mul(at, self.width), kind)
                for tile in range(b.tiles):
                    for v in range(b.vectors):
                        value = loop.results[2 + tile * b.vectors + v]
                        k.store(value, home, tile * self.width + v * lanes)

    def _directly(self, k: Emitter, residue: Index, window: Val, pixels: Val) -> None:
        """The band's pixels, tap by tap: slow, and right where values are no numbers.

        Channels whose weights have a NaN are left: transforms have made all their pixels NaN, as they should be.
        """
        lanes, kind, count = width_of(self.dtype), scalars.compute_type(self.dtype), len(self.window)
        taps, firsts = self._table(k, self.window), self._table(k, [residue.tap for residue in self.residues])
        first_tap = k.add(k.integer(FIRST_TAP), k.load(firsts, residue, "i64"))
        index = vector("i64", lanes)
        apart = k.mul(k.ramp(index), k.val(k.integer(OUT_STEP), index))

        def weight(o: Index, c: Index, tap: Index) -> Val:
            at = k.add(k.mul(o, k.integer(OUT_STEP)), k.mul(c, k.integer(IN_STEP)))
            at = k.add(at, k.add(first_tap, k.mul(k.load(taps, tap, "i64"), k.integer(TAP_STEP))))
            return k.gather(k.pointer(GIVEN), k.add(apart, at), kind)

        with k.loop(self.width, step=lanes) as o:
            with k.loop(self.depth, carried=[k.const(vector("i1", lanes), 0)]) as channels:
                with k.loop(count, carried=channels.carried) as loop:
                    w = weight(o, channels.i, loop.i)
                    loop.carry(loop.carried[0] | k.unordered(w, w))
                channels.carry(*loop.results)
            spoilt = k.fold(channels.results[0], lambda a, b: a & b)
            with k.when(k.bits("xor", spoilt, 1)):
                self._pixels_directly(k, weight, o, window, pixels)

    def _pixels_directly(
        self, k: Emitter, weight: Callable[[Index, Index, Index], Val], o: Index, window: Val, pixels: Val
    ) -> None:
        """A vector of channels of the band's pixels, a tile's worth at a time."""
        f, kind, columns_ = self.frame, scalars.compute_type(self.dtype), self.sides.width.taps * self.stride[1]
        offsets = self._table(k, [f.at(nr // columns_, nr % columns_) for nr in range(len(self.window))])
        start = k.const(f.type, 0) if not self.biased else k.load(k.pointer(BIAS), o, f.type)
        with k.loop(self.pixels.room // self.width, step=M * M) as pixel:
            bases = []
            for nr in range(M * M):
                line, column = (
                    k.div(k.add(pixel, nr), self.pixels.columns),
                    k.rem(k.add(pixel, nr), self.pixels.columns),
                )
                image, row = k.div(line, self.pixels.rows), k.rem(line, self.pixels.rows)
                place = k.mul(k.add(k.mul(image, f.rows), k.mul(row, self.stride[0])), f.columns)
                bases.append(k.at(window, k.mul(k.add(place, k.mul(column, self.stride[1])), f.channels), kind))
            with k.loop(self.depth, carried=[start] * len(bases)) as channels:
                with k.loop(len(self.window), carried=channels.carried) as loop:
                    w, at = weight(o, channels.i, loop.i), k.add(k.load(offsets, loop.i, "i64"), channels.i)
                    x = [k.splat(k.load(base, at, kind), width_of(self.dtype)) for base in bases]
                    loop.carry(*[k.fma(value, w, total) for value, total in zip(x, loop.carried)])
                channels.carry(*loop.results)
            for nr, total in enumerate(channels.results):
                k.store(total, pixels, k.add(k.mul(k.add(pixel, nr), self.width), o))

    def _table(self, k: Emitter, numbers: Sequence[int]) -> Val:
        table = k.stack("i64", len(numbers))
        for nr, number in enumerate(numbers):
            k.store(k.const("i64", number), table, nr)
        return table

    def _store(self, k: Emitter, pixels: Val, image: Index, first: Index, offset: Index) -> None:
        """Write the band's pixels where they belong: rows by themselves, or all together where they are neighbours."""
        r, lanes, (height, width) = self.result, width_of(self.dtype), (self.sides.height, self.sides.width)
        count = min(self.pixels.rows, height.count)
        joined = r.dims[1] == width.count * r.dims[2] and self.pixels.columns == width.count
        rows, length = (1, count * width.count) if joined else (count, width.count)
        with k.loop(self.band.images) as n, k.loop(self.width, step=lanes) as c, k.loop(rows) as row:
            source = k.mul(k.mul(k.add(k.mul(n, self.pixels.rows), row), self.pixels.columns), self.width)
            source = k.add(source, c)
            out = k.add(k.mul(k.add(image, n), r.batch), k.mul(c, r.channel))
            out = k.add(out, k.mul(k.add(k.mul(first, M), row), r.dims[1]))
            out = k.add(out, offset)
            whole = length // lanes * lanes
            with k.loop(whole, step=lanes) as column:
                self._pixels(k, pixels, source, out, column, lanes)
            for start, size in pieces(whole, length):
                self._pixels(k, pixels, source, out, start, size)

    def _pixels(self, k: Emitter, pixels: Val, source: Index, out: Index, column: Index, count: int) -> None:
        """Write `count` neighbouring pixels of a vector's channels."""
        r, lanes, kind = self.result, width_of(self.dtype), scalars.compute_type(self.dtype)
        base = k.at(pixels, k.add(source, k.mul(column, self.width)), kind)
        rows = [k.load(base, nr * self.width, vector(kind, lanes)) for nr in range(count)]
        at = k.add(out, k.mul(column, r.dims[2]))
        for channel, values in enumerate(columns(k, rows)):
            self.store.piece(k, values, k.pointer(RESULT), k.add(at, channel * r.channel))


@dataclass(frozen=True)
class WinogradWeights:
    """The weights of some products, transformed; a task is a vector of channels produced by one of channels summed."""

    depth: int  # channels summed over, of one phase
    width: int
    out_step: int  # in the weights, from one channel produced to the next
    in_step: int
    sides: Sides
    taps: tuple[tuple[Ints, ...], ...]  # of every residue and phase, where its taps lie in the weights
    vectors: int  # of a panel
    dtype: dtype

    @property
    def key(self) -> str:
        size = self.sides.height.taps, self.sides.width.taps
        layout = self.depth, self.width, self.out_step, self.in_step, self.taps
        return f"conv winograd weights {width_of(self.dtype)} {layout} {size} {self.vectors} {self.dtype.name}"

    @property
    def depths(self) -> int:
        return self.depth * len(self.sides.phases)

    @property
    def tasks(self) -> int:
        return self.width * self.depth // width_of(self.dtype) ** 2

    @property
    def room(self) -> int:
        """Elements of a residue."""
        return self.sides.products * self.step

    @property
    def step(self) -> int:
        """Elements from product to product."""
        return self.depths * self.width + LINE

    def emit(self, k: Emitter) -> None:
        lanes, kind = width_of(self.dtype), scalars.compute_type(self.dtype)
        blocks, step = self.depth // lanes, min(self.in_step, self.out_step)
        used = sorted({tap for residue in self.taps for phase in residue for tap in phase})
        held = k.stack(kind, step * lanes * lanes)
        with k.tasks() as task:
            c, o = k.mul(k.rem(task, blocks), lanes), k.mul(k.div(task, blocks), lanes)
            source = k.at(k.pointer(0), k.add(k.mul(c, self.in_step), k.mul(o, self.out_step)), kind)
            across = self.in_step < self.out_step  # channels summed over are neighbours: they come to lie across lanes
            with k.loop(lanes) as nr:
                base = k.at(source, k.mul(nr, self.out_step if across else self.in_step), kind)
                rows = [k.load(base, nr * lanes, vector(kind, lanes)) for nr in range(step)]
                values = columns(k, rows) if step == lanes else {tap: every(k, rows, tap) for tap in used}
                for tap in used:
                    k.store(values[tap], held, k.add(k.mul(nr, lanes), tap * lanes * lanes))
            if across:
                with k.loop(step) as tap:
                    block = k.at(held, k.mul(tap, lanes * lanes), kind)
                    rows = [k.load(block, nr * lanes, vector(kind, lanes)) for nr in range(lanes)]
                    for nr, value in enumerate(columns(k, rows)):
                        k.store(value, block, nr * lanes)
            with k.loop(lanes) as nr:
                self._transform(k, k.at(held, k.mul(nr, lanes), kind), k.add(c, nr), o)

    def _transform(self, k: Emitter, held: Val, c: Index, o: Index) -> None:
        """Transform the taps of channel `c` and a vector of channels produced, from `o` on."""
        lanes, kind = width_of(self.dtype), scalars.compute_type(self.dtype)
        size, width = self.vectors * lanes, self.sides.width.taps
        down, across = self.sides.height.transform.weights, self.sides.width.transform.weights
        home = k.add(k.mul(k.add(k.mul(k.div(o, size), self.depths), c), size), k.rem(o, size))
        for nr, taps in enumerate([phase for residue in self.taps for phase in residue]):
            x = [k.load(held, tap * lanes * lanes, vector(kind, lanes)) for tap in taps]
            found = transform(down, across, [x[at : at + width] for at in range(0, len(x), width)])
            residue, phase = divmod(nr, len(self.sides.phases))
            start = residue * self.room + phase * self.depth * size
            for xi, value in enumerate([value for values in found for value in values]):
                k.store(value, k.pointer(1), k.add(home, start + xi * self.step))
