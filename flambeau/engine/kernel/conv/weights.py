"""The gradient of a convolution's weights: each is a sum over all images and pixels.

    dw[o, c, t] = sum over n, p of g[n, o, p] * source[n, c, step * p + tap_t]

Two kernels share one frame. `ChannelGradient` has output channels in the lanes (the gradient is packed into panels)
and reads one number of the source for each tap, at any place. `PixelGradient` has the pixels of a row in the lanes and
packs nothing; its lanes are added up at the end. Images are summed in blocks, whose operands stay in the cache and
whose sums are added in order: the result depends on the shape alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

from flambeau.dtypes import dtype
from flambeau.engine.kernel import scalars
from flambeau.engine.kernel.conv.channels import Cut, cut
from flambeau.engine.kernel.conv.geometry import Layout
from flambeau.engine.kernel.conv.lanes import Store, columns, pieces, totals, where
from flambeau.engine.kernel.conv.prepare import Panels, width_of
from flambeau.engine.kernel.emit import Emitter, Index, Val, vector
from flambeau.shape import Ints

SOURCE, GRADIENT, PARTIAL, RESULT, COLUMNS = range(5)  # words of the argument block


@dataclass(frozen=True)
class Problem:
    """The sizes, and where the source's pixels and taps lie."""

    batch: int
    groups: int
    inputs: int  # channels of a group
    outputs: int
    grid: Ints
    source: Layout
    steps: Ints
    taps: Ints

    @property
    def flops(self) -> float:
        return 2.0 * self.batch * prod(self.grid) * self.groups * self.inputs * self.outputs * len(self.taps)


@dataclass(frozen=True)
class WeightKernel:
    """The frame. A unit is a set of output channels; a task is a unit with `tiles` tiles of input channels."""

    problem: Problem
    dtype: dtype  # of both operands
    store: Store
    block: int  # images summed at once
    channels: int  # input channels of a tile
    tiles: int
    chunk: int  # taps of a tile; all of them where a tile has several channels

    @property
    def units(self) -> int:
        raise NotImplementedError

    @property
    def vectors(self) -> int:
        """Sums of a tile."""
        raise NotImplementedError

    @property
    def lanes(self) -> int:
        return width_of(self.dtype)

    @property
    def key(self) -> str:
        return f"conv weights {self.lanes} {self!r} {self.store.key}"

    @property
    def tile_count(self) -> int:
        return -(-self.problem.inputs // self.channels)

    @property
    def parts(self) -> int:
        """Tasks of a unit."""
        return -(-self.tile_count // self.tiles)

    @property
    def tasks(self) -> int:
        return self.units * self.parts

    @property
    def chunks(self) -> list[range]:
        """The taps of each pass over the pixels."""
        taps = len(self.problem.taps)
        return [range(start, min(start + self.chunk, taps)) for start in range(0, taps, self.chunk)]

    @property
    def passes(self) -> int:
        return -(-self.problem.batch // self.block)

    @property
    def partial(self) -> int:
        """Elements of scratch memory for the sums of all tasks."""
        if self.passes == 1:
            return 0
        return self.tasks * self.tiles * len(self.chunks) * self.vectors * self.lanes

    def sums(self, k: Emitter, unit: Index, channel: Index, taps: range, images: tuple[Index, Index]) -> list[Val]:
        """The sums of a tile over some images."""
        raise NotImplementedError

    def finish(self, k: Emitter, sums: Sequence[Val], unit: Index, place: Cut, taps: range) -> None:
        """Store the sums of a tile as weights."""
        raise NotImplementedError

    def emit(self, k: Emitter) -> None:
        with k.tasks() as task:
            unit, part = k.div(task, self.parts), k.rem(task, self.parts)
            first = k.mul(part, self.tiles)
            last = k.minimum(k.add(first, self.tiles), self.tile_count)
            if self.passes == 1:
                with k.loop(last, start=first) as tile:
                    place = cut(k, tile, self.channels, self.problem.inputs)
                    for taps in self.chunks:
                        sums = self.sums(k, unit, place.start, taps, (0, self.problem.batch))
                        self.finish(k, sums, unit, place, taps)
            else:
                self._in_blocks(k, task, unit, first, last)

    def _in_blocks(self, k: Emitter, task: Val, unit: Index, first: Index, last: Index) -> None:
        kind, room = scalars.compute_type(self.dtype), self.vectors * self.lanes
        type = vector(kind, self.lanes)
        own = k.at(k.pointer(PARTIAL), k.mul(task, self.tiles * len(self.chunks) * room), kind)
        with k.loop(self.tiles * len(self.chunks) * room, step=self.lanes) as i:
            k.store(k.const(type, 0), own, i)
        with k.loop(self.problem.batch, step=self.block) as image:
            stop = k.minimum(k.add(image, self.block), self.problem.batch)
            with k.loop(last, start=first) as tile:
                place = cut(k, tile, self.channels, self.problem.inputs)
                for nr, taps in enumerate(self.chunks):
                    at = k.add(k.mul(k.sub(tile, first), len(self.chunks) * room), nr * room)
                    for v, x in enumerate(self.sums(k, unit, place.start, taps, (image, stop))):
                        kept = k.add(at, v * self.lanes)
                        k.store(k.add(k.load(own, kept, type), x), own, kept)
        with k.loop(last, start=first) as tile:
            place = cut(k, tile, self.channels, self.problem.inputs)
            for nr, taps in enumerate(self.chunks):
                at = k.add(k.mul(k.sub(tile, first), len(self.chunks) * room), nr * room)
                sums = [k.load(own, k.add(at, v * self.lanes), type) for v in range(self.vectors_of(taps))]
                self.finish(k, sums, unit, place, taps)

    def vectors_of(self, taps: range) -> int:
        """Sums of a tile that has these taps."""
        return self.vectors * len(taps) // self.chunk


@dataclass(frozen=True)
class ChannelGradient(WeightKernel):
    """Output channels in the lanes; a unit is a panel of them."""

    panels: Panels

    @property
    def units(self) -> int:
        return self.panels.groups * self.panels.count

    @property
    def vectors(self) -> int:
        return self.channels * self.chunk * self.panels.vectors

    def sums(self, k: Emitter, unit: Index, channel: Index, taps: range, images: tuple[Index, Index]) -> list[Val]:
        p, lanes = self.problem, self.lanes
        kind = scalars.compute_type(self.dtype)
        group = k.div(unit, self.panels.count)
        channel = k.add(k.mul(group, p.inputs), channel)
        source = k.at(k.pointer(SOURCE), k.mul(channel, p.source.channel), kind)
        gradient = k.at(k.pointer(GRADIENT), k.mul(unit, self.panels.room), kind)
        entries = [c * p.source.channel + p.taps[t] for c in range(self.channels) for t in taps]
        zeros = [k.const(vector(kind, lanes), 0)] * (len(entries) * self.panels.vectors)
        with k.loop(images[1], start=images[0], carried=zeros) as over_images:
            n = over_images.i
            here = k.at(gradient, k.mul(n, self.panels.slab_room), kind)
            image = k.at(source, k.mul(n, p.source.batch), kind)
            with k.loop(p.grid[0], carried=[here, *over_images.carried]) as over_planes:
                plane = k.at(image, k.mul(over_planes.i, p.steps[0]), kind)
                with k.loop(p.grid[1], carried=over_planes.carried) as over_rows:
                    row = k.at(plane, k.mul(over_rows.i, p.steps[1]), kind)
                    after = self._row(k, row, over_rows.carried, entries)
                    over_rows.carry(*after)
                over_planes.carry(*over_rows.results)
            over_images.carry(*over_planes.results[1:])
        return over_images.results

    def _row(self, k: Emitter, row: Val, carried: Sequence[Val], entries: Sequence[int]) -> list[Val]:
        """Add the pixels of a row; `carried` is the gradient's address and the sums."""
        kind, lanes, vectors = scalars.compute_type(self.dtype), self.lanes, self.panels.vectors
        count = k.integer(COLUMNS) if self.problem.grid[2] > 1 else 1  # not known to LLVM, which would unroll
        with k.loop(count, carried=[row, *carried]) as loop:
            at, here, *sums = loop.carried
            g = [k.load(here, v * lanes, vector(kind, lanes)) for v in range(vectors)]
            for nr, offset in enumerate(entries):
                x = k.splat(k.load(at, offset, kind), lanes)
                for v in range(vectors):
                    sums[nr * vectors + v] = k.fma(x, g[v], sums[nr * vectors + v])
            loop.carry(k.at(at, self.problem.steps[2], kind), k.at(here, self.panels.size, kind), *sums)
        return loop.results[1:]

    def finish(self, k: Emitter, sums: Sequence[Val], unit: Index, place: Cut, taps: range) -> None:
        p, lanes, vectors = self.problem, self.lanes, self.panels.vectors
        first = k.mul(k.rem(unit, self.panels.count), self.panels.size)
        row = k.add(k.mul(k.div(unit, self.panels.count), p.outputs), first)
        count, all_taps = self.channels * len(taps), len(p.taps)
        out = k.add(k.mul(k.add(k.mul(row, p.inputs), place.start), all_taps), taps.start)
        skip = k.mul(place.skip, all_taps)
        for v in range(vectors):
            rows = sums[v::vectors]
            parts = [(start, columns(k, rows[start : start + size])) for start, size in pieces(0, count)]
            for lane in range(lanes):
                channel = v * lanes + lane
                exists = None
                if self.panels.partly(channel):
                    if not isinstance(first, Val):
                        break
                    exists = k.compare("lt", k.add(first, channel), p.outputs)
                with where(k, exists):
                    at = k.add(out, channel * p.inputs * all_taps)
                    for start, found in parts:
                        left = k.sub(skip, start) if isinstance(skip, Val) else 0
                        self.store.row(k, found[lane], k.pointer(RESULT), k.add(at, start), left)


@dataclass(frozen=True)
class PixelGradient(WeightKernel):
    """The pixels of a row in the lanes; a unit is some output channels of a group."""

    outputs: int  # channels of a unit
    wide: int  # lanes
    gradient: Layout

    @property
    def lanes(self) -> int:
        return self.wide

    @property
    def unit_count(self) -> int:
        return -(-self.problem.outputs // self.outputs)

    @property
    def units(self) -> int:
        return self.problem.groups * self.unit_count

    @property
    def vectors(self) -> int:
        return self.outputs * self.channels * self.chunk

    def sums(self, k: Emitter, unit: Index, channel: Index, taps: range, images: tuple[Index, Index]) -> list[Val]:
        p = self.problem
        group, first = self._unit(k, unit)
        channel = k.add(k.mul(group, p.inputs), channel)
        output = k.add(k.mul(group, p.outputs), first.start)
        source = k.at(k.pointer(SOURCE), k.mul(channel, p.source.channel), scalars.memory_type(self.dtype))
        kind = scalars.memory_type(self.dtype)
        gradient = k.at(k.pointer(GRADIENT), k.mul(output, self.gradient.channel), kind)
        offsets = [c * p.source.channel + p.taps[t] for c in range(self.channels) for t in taps]
        zero = k.const(vector(scalars.compute_type(self.dtype), self.lanes), 0)
        with k.loop(images[1], start=images[0], carried=[zero] * (self.outputs * len(offsets))) as over_images:
            n, sums = over_images.i, over_images.carried
            with k.loop(p.grid[0], carried=sums) as over_planes:
                with k.loop(p.grid[1], carried=over_planes.carried) as over_rows:
                    at = (n, over_planes.i, over_rows.i)
                    x, g = 0, 0
                    for i, a, b in zip(at, (p.source.batch, *p.steps), (self.gradient.batch, *self.gradient.dims)):
                        x, g = k.add(x, k.mul(i, a)), k.add(g, k.mul(i, b))
                    rows = k.at(source, x, kind), k.at(gradient, g, kind)
                    over_rows.carry(*self._row(k, *rows, over_rows.carried, offsets))
                over_planes.carry(*over_rows.results)
            over_images.carry(*over_planes.results)
        return over_images.results

    def _row(self, k: Emitter, source: Val, gradient: Val, sums: list[Val], offsets: list[int]) -> list[Val]:
        count = self.problem.grid[2]
        whole = count - count % self.lanes
        if whole > 2 * self.lanes:
            with k.loop(whole, step=self.lanes, carried=sums) as loop:
                loop.carry(*self._step(k, source, gradient, loop.i, self.lanes, loop.carried, offsets))
            sums = loop.results
        else:
            for start in range(0, whole, self.lanes):
                sums = self._step(k, source, gradient, start, self.lanes, sums, offsets)
        return self._step(k, source, gradient, whole, count - whole, sums, offsets) if count > whole else sums

    def _step(
        self, k: Emitter, source: Val, gradient: Val, at: Index, count: int, sums: Sequence[Val],
        offsets: list[int],
    ) -> list[Val]:
        """Add `count` pixels; lanes that are no pixels are read as zeros, since 0 * inf is not 0."""
        mask = None if count == self.lanes else k.mask(count, self.lanes)
        g = [
            scalars.load(k, gradient, k.add(at, o * self.gradient.channel), self.dtype, self.lanes, mask)
            for o in range(self.outputs)
        ]  # fmt: skip
        added = list(sums)
        for nr, offset in enumerate(offsets):
            x = scalars.load(k, source, k.add(at, offset), self.dtype, self.lanes, mask)
            for o in range(self.outputs):
                added[o * len(offsets) + nr] = k.fma(g[o], x, sums[o * len(offsets) + nr])
        return added

    def _unit(self, k: Emitter, unit: Index) -> tuple[Index, Cut]:
        group, nr = k.div(unit, self.unit_count), k.rem(unit, self.unit_count)
        return group, cut(k, nr, self.outputs, self.problem.outputs)

    def finish(self, k: Emitter, sums: Sequence[Val], unit: Index, place: Cut, taps: range) -> None:
        p = self.problem
        group, outputs = self._unit(k, unit)
        first = k.add(k.mul(group, p.outputs), outputs.start)
        for o in range(self.outputs):
            fresh = k.compare("le", outputs.skip, o) if isinstance(outputs.skip, Val) else None
            with where(k, fresh):
                at = k.add(k.mul(k.add(k.mul(k.add(first, o), p.inputs), place.start), len(p.taps)), taps.start)
                for start, size in self._pieces(self.channels * len(taps)):
                    row = o * self.channels * len(taps) + start
                    found, left = totals(k, sums[row : row + size]), k.mul(place.skip, len(taps))
                    left = k.sub(left, start) if isinstance(left, Val) else 0
                    self.store.row(k, found, k.pointer(RESULT), k.add(at, start), left)

    def _pieces(self, count: int) -> Iterator[tuple[int, int]]:
        for start in range(0, count, self.lanes):
            yield from pieces(start, min(start + self.lanes, count))
