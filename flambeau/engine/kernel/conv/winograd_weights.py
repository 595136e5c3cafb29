"""The gradient of a convolution's weights by Winograd's transforms: two kernels.

    dw = G^T [sum over tiles of (A g) * (B^T x)]

in two dimensions: the transposed of what the forward pass computes, with the same tiles of the source. The first kernel
adds up the products over the tiles of the bands; a task has some channels of either side, and every so many bands. The
second one adds what these tasks have, in order, and transforms it back. The order of sums depends on the shape alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product as combinations

from flambeau.dtypes import dtype
from flambeau.engine.kernel import scalars
from flambeau.engine.kernel.conv.geometry import Product
from flambeau.engine.kernel.conv.lanes import Store, columns, picked
from flambeau.engine.kernel.conv.prepare import width_of
from flambeau.engine.kernel.conv.winograd import Band, M, Sides, transform, transposed
from flambeau.engine.kernel.conv.winograd_product import Block
from flambeau.engine.kernel.conv.winograd_stages import Frame, Tiles, to_tiles, zeros
from flambeau.engine.kernel.emit import Emitter, Index, Val, vector

SOURCE, GRADIENT, SUMS, RESULT, SCRATCH, COUNT = range(6)  # words of the argument blocks


@dataclass(frozen=True)
class Parts:
    """How the work is cut: channels of a part, and how many tasks share the bands of each."""

    inputs: int
    outputs: int
    slots: int


@dataclass(frozen=True)
class _Sums:
    """What both kernels share: the product whose weights are wanted, and the sums of its tiles' products.

    Sums are [slot][part of outputs][part of inputs][product][output][phase and input].
    """

    product: Product  # the forward pass
    sides: Sides
    parts: Parts
    dtype: dtype
    gradient_steps: tuple[int, int]  # elements from image to image and from channel to channel

    @property
    def lanes(self) -> int:
        return width_of(self.dtype)

    @property
    def kind(self) -> str:
        return scalars.compute_type(self.dtype)

    @property
    def depth(self) -> int:
        """Channels of all phases, in a part."""
        return self.parts.inputs * len(self.sides.phases)

    @property
    def counts(self) -> tuple[int, int]:
        """Parts of inputs and of outputs."""
        return self.product.depth // self.parts.inputs, self.product.width // self.parts.outputs

    @property
    def room(self) -> int:
        """Elements of a part's sums."""
        return self.sides.products * self.parts.outputs * self.depth

    @property
    def slot_room(self) -> int:
        return self.counts[0] * self.counts[1] * self.room


@dataclass(frozen=True)
class WinogradGradient(_Sums):
    """The first kernel: sums over tiles."""

    band: Band
    block: Block  # outputs by vectors of inputs

    @property
    def key(self) -> str:
        return f"conv winograd gradient {self.lanes} {self!r}"

    @property
    def tasks(self) -> int:
        return self.parts.slots * self.counts[0] * self.counts[1]

    @property
    def source_frame(self) -> Frame:
        height, width, source = self.sides.height, self.sides.width, self.product.source
        return Frame(
            self.dtype, self.parts.inputs, (height.size, width.size), (height.low, width.low),
            *self.band.frame(self.sides), (source.batch, source.channel), self.band.rows == height.tiles,
        )  # fmt: skip

    @property
    def gradient_frame(self) -> Frame:
        height, width = self.sides.height, self.sides.width
        return Frame(
            self.dtype, self.parts.outputs, (height.count, width.count), (0, 0), self.band.images,
            M * self.band.rows, M * width.tiles, self.gradient_steps, self.band.rows == height.tiles,
        )  # fmt: skip

    @property
    def source_tiles(self) -> Tiles:
        return Tiles(self.band, self.sides.width.tiles, self.sides.products, self.depth)

    @property
    def gradient_tiles(self) -> Tiles:
        return replace(self.source_tiles, channels=self.parts.outputs)

    @property
    def rooms(self) -> tuple[int, ...]:
        """Elements of what a task holds: both frames and their tiles."""
        frames = self.source_frame.room, self.gradient_frame.room
        return *frames, self.source_tiles.room, self.gradient_tiles.room

    @property
    def scratch(self) -> int:
        """Elements of all tasks."""
        return self.tasks * sum(self.rooms)

    def emit(self, k: Emitter) -> None:
        height, width = self.sides.height, self.sides.width
        source, gradient = self.source_frame, self.gradient_frame
        bands = self.band.count(self.product.batch, self.sides)
        rows = height.tiles // self.band.rows
        with k.tasks() as task:
            part, slot = k.rem(task, self.counts[0] * self.counts[1]), k.div(task, self.counts[0] * self.counts[1])
            c, o = k.rem(part, self.counts[0]), k.div(part, self.counts[0])
            x = k.at(k.pointer(SOURCE), k.mul(c, self.parts.inputs * source.steps[1]), self.kind)
            g = k.at(k.pointer(GRADIENT), k.mul(o, self.parts.outputs * gradient.steps[1]), self.kind)
            sums = k.at(k.pointer(SUMS), k.mul(task, self.room), self.kind)
            memory = k.at(k.pointer(SCRATCH), k.mul(task, sum(self.rooms)), self.kind)
            x_frame, g_frame, x_tiles, g_tiles = (
                k.at(memory, sum(self.rooms[:nr]), self.kind) for nr in range(len(self.rooms))
            )  # fmt: skip
            zeros(k, sums, 0, self.room, source.type)
            zeros(k, memory, 0, source.room + gradient.room, source.type)
            with k.loop(bands, start=slot, step=self.parts.slots) as band:
                image = k.mul(k.div(band, rows), self.band.images)
                first = k.mul(k.rem(band, rows), M * self.band.rows)
                source.fill(k, x, x_frame, image, k.sub(k.mul(first, height.stride), height.low))
                gradient.fill(k, g, g_frame, image, first)
                to_tiles(
                    k, source, self.source_tiles, height.transform.source, width.transform.source,
                    (height.stride, width.stride), self.sides.phases, x_frame, x_tiles,
                )  # fmt: skip
                down, across = transposed(height.transform.sums), transposed(width.transform.sums)
                to_tiles(k, gradient, self.gradient_tiles, down, across, (1, 1), [(0, 0)], g_frame, g_tiles)
                self._multiply(k, x_tiles, g_tiles, sums)

    def _multiply(self, k: Emitter, source: Val, gradient: Val, sums: Val) -> None:
        """Add the matrix products over tiles, for every output and input."""
        b, outputs, kind, lanes = self.block, self.parts.outputs, self.kind, self.lanes
        type, size = vector(kind, lanes), b.vectors * lanes
        with k.loop(self.sides.products) as xi, k.loop(self.depth, step=size) as c, k.loop(outputs, step=b.tiles) as o:
            x = k.at(source, k.add(k.mul(xi, self.source_tiles.step), c), kind)
            g = k.at(gradient, k.add(k.mul(xi, self.gradient_tiles.step), o), kind)
            home = k.at(sums, k.add(k.mul(k.add(k.mul(xi, outputs), o), self.depth), c), kind)
            places = [row * self.depth + v * lanes for row in range(b.tiles) for v in range(b.vectors)]
            start = [k.load(home, place, type) for place in places]
            with k.loop(k.integer(COUNT), carried=[x, g, *start]) as loop:
                x, g, *added = loop.carried
                row = [k.load(x, v * lanes, type) for v in range(b.vectors)]
                for nr in range(b.tiles):
                    value = k.splat(k.load(g, nr, kind), lanes)
                    for v in range(b.vectors):
                        added[nr * b.vectors + v] = k.fma(value, row[v], added[nr * b.vectors + v])
                loop.carry(k.at(x, self.depth, kind), k.at(g, outputs, kind), *added)
            for place, value in zip(places, loop.results[2:]):
                k.store(value, home, place)


@dataclass(frozen=True)
class WinogradSums(_Sums):
    """The second kernel: sums become weights; a task is an output with a vector of inputs."""

    store: Store

    @property
    def key(self) -> str:
        return f"conv winograd sums {self.lanes} {self!r} {self.store.key}"

    @property
    def tasks(self) -> int:
        return self.product.width * self.product.depth // self.lanes

    def emit(self, k: Emitter) -> None:
        p, parts, lanes = self.product, self.parts, self.lanes
        with k.tasks() as task:
            o, c = k.div(task, p.depth // lanes), k.mul(k.rem(task, p.depth // lanes), lanes)
            part = k.add(k.mul(k.div(o, parts.outputs), self.counts[0]), k.div(c, parts.inputs))
            first = k.add(k.mul(part, self.room), k.mul(k.rem(o, parts.outputs), self.depth))
            taps = self._taps(k, k.add(first, k.rem(c, parts.inputs)))
            out = k.add(k.mul(o, p.weight_out), k.mul(c, p.weight_in))
            total = taps[0]
            for tap in taps[1:]:
                total = total + tap
            for nr, values in enumerate(self._interleaved(k, taps)):
                self.store.piece(k, values, k.pointer(RESULT), k.add(out, nr * lanes))
            zero = k.fold(k.fma(total, 0.0, k.const(total.type, 0)), k.add)
            with k.when(k.bits("xor", k.compare("eq", zero, 0.0), 1)):
                with k.when(k.bits("xor", self._spoilt(k, o), 1)):
                    self._directly(k, o, c, out)

    def _taps(self, k: Emitter, first: Index) -> list[Val]:
        """The gradients of all taps of a vector of inputs, whose sums begin at `first`."""
        height, width = self.sides.height, self.sides.width
        down, across = transposed(height.transform.weights), transposed(width.transform.weights)
        size, step, found = width.transform.size, self.parts.outputs * self.depth, {}
        for nr, taps in enumerate(self.sides.taps(self.product)):
            start = k.add(first, nr * self.parts.inputs)
            flat = [self._sum(k, k.add(start, xi * step)) for xi in range(self.sides.products)]
            values = transform(down, across, [flat[at : at + size] for at in range(0, len(flat), size)])
            for numbers, row in zip(taps, values):
                found.update(zip(numbers, row))
        return [found[tap] for tap in range(len(found))]

    def _sum(self, k: Emitter, at: Index) -> Val:
        """Over slots."""
        type = vector(self.kind, self.lanes)
        total = k.load(k.pointer(SUMS), at, type)
        for slot in range(1, self.parts.slots):
            total = total + k.load(k.pointer(SUMS), k.add(at, slot * self.slot_room), type)
        return total

    def _interleaved(self, k: Emitter, taps: Sequence[Val]) -> list[Val]:
        """All taps of one input, then those of the next ..., as vectors."""
        if len(taps) == self.lanes:
            return columns(k, taps)
        places = [nr * self.lanes + lane for lane, nr in combinations(range(self.lanes), range(len(taps)))]
        rows = [places[at : at + self.lanes] for at in range(0, len(places), self.lanes)]
        return [value for value in (picked(k, taps, row) for row in rows) if value is not None]

    def _spoilt(self, k: Emitter, o: Index) -> Val:
        """Whether an output's gradient has a NaN: then all its weights are NaN, as transforms have made them."""
        count, lanes, type = self.sides.height.count * self.sides.width.count, self.lanes, vector(self.kind, self.lanes)
        with k.loop(self.product.batch, carried=[k.const(vector("i1", lanes), 0)]) as images:
            at = k.add(k.mul(images.i, self.gradient_steps[0]), k.mul(o, self.gradient_steps[1]))
            with k.loop(count, step=lanes, carried=images.carried) as loop:
                g = k.masked_load(k.pointer(GRADIENT), k.add(at, loop.i), type, k.mask(k.sub(count, loop.i), lanes))
                loop.carry(loop.carried[0] | k.unordered(g, g))
            images.carry(*loop.results)
        return k.fold(images.results[0], lambda a, b: a | b)

    def _directly(self, k: Emitter, o: Index, first: Index, out: Index) -> None:
        """The weights of an output and a vector of inputs, sum by sum: slow, and right where values are no numbers."""
        p, lanes, (height, width) = self.product, self.lanes, (self.sides.height, self.sides.width)
        type, ramp, columns_ = vector(self.kind, lanes), k.ramp(vector("i64", lanes)), width.taps * width.stride
        with k.loop(lanes) as c, k.loop(height.taps * height.stride) as down, k.loop(columns_) as across:
            plane = k.mul(k.add(first, c), p.source.channel)
            with k.loop(p.batch, carried=[k.const(type, 0)]) as images:
                with k.loop(height.count, carried=images.carried) as rows:
                    row = k.sub(k.add(k.mul(rows.i, height.stride), down), height.low)
                    inside = k.compare("lt", row, height.size, unsigned=True)
                    with k.loop(width.count, step=lanes, carried=rows.carried) as loop:
                        at = k.add(k.mul(images.i, self.gradient_steps[0]), k.mul(o, self.gradient_steps[1]))
                        at = k.add(at, k.add(k.mul(rows.i, width.count), loop.i))
                        exists = k.mask(k.sub(width.count, loop.i), lanes)
                        g = k.masked_load(k.pointer(GRADIENT), at, type, exists)
                        pixels = k.mul(k.add(ramp, k.val(loop.i, ramp.type)), k.const(ramp.type, width.stride))
                        pixels = k.add(pixels, k.val(k.sub(across, width.low), ramp.type))
                        mask = k.bits("and", k.compare("lt", pixels, width.size, unsigned=True), k.splat(inside, lanes))
                        mask = k.bits("and", mask, exists)
                        base = k.add(k.add(plane, k.mul(images.i, p.source.batch)), k.mul(row, width.size))
                        x = self._pixels(k, base, pixels, k.sub(k.add(loop.i, across), width.low), mask)
                        loop.carry(k.fma(g, x, loop.carried[0]))
                    rows.carry(*loop.results)
                images.carry(*rows.results)
            total = k.fold(images.results[0], k.add)
            at = k.add(k.add(out, k.mul(c, p.weight_in)), k.add(k.mul(down, columns_), across))
            scalars.store(k, total, k.pointer(RESULT), at, self.store.dtype)

    def _pixels(self, k: Emitter, base: Index, pixels: Val, first: Index, mask: Val) -> Val:
        """Pixels of a row of the source, zeros where the mask does not hold."""
        source = k.pointer(SOURCE)
        if self.sides.width.stride == 1:
            return k.masked_load(source, k.add(base, first), vector(self.kind, self.lanes), mask)
        return k.gather(source, k.add(pixels, k.val(base, pixels.type)), self.kind, mask)
