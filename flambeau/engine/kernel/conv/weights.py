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
from flambeau.engine.kernel.pool.planes import each
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
    chunk: int  # taps of a tile: all, or those of one row of the window, or one

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
    def rounds(self) -> int:
        """How often a tile goes through the pixels, with other taps each time."""
        return len(self.problem.taps) // self.chunk

    @property
    def entries(self) -> list[int]:
        """Where in the source the tile's inputs lie: its channels' taps."""
        taps = self.problem.taps[: self.chunk]
        return [c * self.problem.source.channel + tap for c in range(self.channels) for tap in taps]

    @property
    def passes(self) -> int:
        return -(-self.problem.batch // self.block)

    @property
    def partial(self) -> int:
        """Elements of scratch memory for the sums of all tasks."""
        if self.passes == 1:
            return 0
        return self.tasks * self.tiles * self.rounds * self.vectors * self.lanes

    def sums(self, k: Emitter, unit: Index, channel: Index, offset: Index, images: tuple[Index, Index]) -> list[Val]:
        """The sums of a tile over some images; `offset` is that of its taps from the window's first ones."""
        raise NotImplementedError

    def finish(self, k: Emitter, sums: Sequence[Val], unit: Index, place: Cut, tap: Index) -> None:
        """Store the sums of a tile as weights, from number `tap` on."""
        raise NotImplementedError

    def emit(self, k: Emitter) -> None:
        offsets = k.stack("i64", self.rounds)
        for nr in range(self.rounds):
            k.store(k.const("i64", self.problem.taps[nr * self.chunk] - self.problem.taps[0]), offsets, nr)
        with k.tasks() as task:
            unit, part = k.div(task, self.parts), k.rem(task, self.parts)
            first = k.mul(part, self.tiles)
            last = k.minimum(k.add(first, self.tiles), self.tile_count)
            if self.passes == 1:
                for _, place, number in self._tiles(k, first, last):
                    offset = k.load(offsets, number, "i64") if self.rounds > 1 else 0
                    sums = self.sums(k, unit, place.start, offset, (0, self.problem.batch))
                    self.finish(k, sums, unit, place, k.mul(number, self.chunk))
            else:
                self._in_blocks(k, task, unit, offsets, first, last)

    def _tiles(self, k: Emitter, first: Index, last: Index) -> Iterator[tuple[Index, Cut, Index]]:
        """The tiles of a task and their rounds, as a loop: its count, the tile's channels, the round's number."""
        with k.loop(last, start=first) as tile, each(k, self.rounds) as number:
            count = k.add(k.mul(k.sub(tile, first), self.rounds), number)
            yield count, cut(k, tile, self.channels, self.problem.inputs), number

    def _in_blocks(self, k: Emitter, task: Val, unit: Index, offsets: Val, first: Index, last: Index) -> None:
        kind, room = scalars.compute_type(self.dtype), self.vectors * self.lanes
        type, all_room = vector(kind, self.lanes), self.tiles * self.rounds * room
        own = k.at(k.pointer(PARTIAL), k.mul(task, all_room), kind)
        with k.loop(all_room, step=self.lanes) as i:
            k.store(k.const(type, 0), own, i)
        with k.loop(self.problem.batch, step=self.block) as image:
            stop = k.minimum(k.add(image, self.block), self.problem.batch)
            for count, place, number in self._tiles(k, first, last):
                offset = k.load(offsets, number, "i64") if self.rounds > 1 else 0
                for v, x in enumerate(self.sums(k, unit, place.start, offset, (image, stop))):
                    kept = k.add(k.mul(count, room), v * self.lanes)
                    k.store(k.add(k.load(own, kept, type), x), own, kept)
        for count, place, number in self._tiles(k, first, last):
            sums = [k.load(own, k.add(k.mul(count, room), v * self.lanes), type) for v in range(self.vectors)]
            self.finish(k, sums, unit, place, k.mul(number, self.chunk))


@dataclass(frozen=True)
class ChannelGradient(WeightKernel):
    """Output channels in the lanes; a unit is a panel of them.

    `turned`, of a window of one tap: source and gradient have changed places, and with them inputs and outputs.
    """

    panels: Panels
    turned: bool = False

    @property
    def units(self) -> int:
        return self.panels.groups * self.panels.count

    @property
    def vectors(self) -> int:
        return self.channels * self.chunk * self.panels.vectors

    def sums(self, k: Emitter, unit: Index, channel: Index, offset: Index, images: tuple[Index, Index]) -> list[Val]:
        p, lanes = self.problem, self.lanes
        kind = scalars.compute_type(self.dtype)
        group = k.div(unit, self.panels.count)
        channel = k.add(k.mul(group, p.inputs), channel)
        source = k.at(k.pointer(SOURCE), k.add(k.mul(channel, p.source.channel), offset), kind)
        gradient = k.at(k.pointer(GRADIENT), k.mul(unit, self.panels.room), kind)
        zeros = [k.const(vector(kind, lanes), 0)] * self.vectors
        with k.loop(images[1], start=images[0], carried=zeros) as over_images:
            n = over_images.i
            here = k.at(gradient, k.mul(n, self.panels.slab_room), kind)
            image = k.at(source, k.mul(n, p.source.batch), kind)
            with k.loop(p.grid[0], carried=[here, *over_images.carried]) as over_planes:
                plane = k.at(image, k.mul(over_planes.i, p.steps[0]), kind)
                with k.loop(p.grid[1], carried=over_planes.carried) as over_rows:
                    row = k.at(plane, k.mul(over_rows.i, p.steps[1]), kind)
                    after = self._row(k, row, over_rows.carried)
                    over_rows.carry(*after)
                over_planes.carry(*over_rows.results)
            over_images.carry(*over_planes.results[1:])
        return over_images.results

    def _row(self, k: Emitter, row: Val, carried: Sequence[Val]) -> list[Val]:
        """Add the pixels of a row; `carried` is the gradient's address and the sums."""
        kind, lanes, vectors = scalars.compute_type(self.dtype), self.lanes, self.panels.vectors
        count = k.integer(COLUMNS) if self.problem.grid[2] > 1 else 1  # not known to LLVM, which would unroll
        with k.loop(count, carried=[row, *carried]) as loop:
            at, here, *sums = loop.carried
            g = [k.load(here, v * lanes, vector(kind, lanes)) for v in range(vectors)]
            for nr, offset in enumerate(self.entries):
                x = k.splat(k.load(at, offset, kind), lanes)
                for v in range(vectors):
                    sums[nr * vectors + v] = k.fma(x, g[v], sums[nr * vectors + v])
            loop.carry(k.at(at, self.problem.steps[2], kind), k.at(here, self.panels.size, kind), *sums)
        return loop.results[1:]

    def finish(self, k: Emitter, sums: Sequence[Val], unit: Index, place: Cut, tap: Index) -> None:
        if self.turned:
            self._finish_turned(k, sums, unit, place)
            return
        p, lanes, vectors = self.problem, self.lanes, self.panels.vectors
        first = k.mul(k.rem(unit, self.panels.count), self.panels.size)
        row = k.add(k.mul(k.div(unit, self.panels.count), p.outputs), first)
        count, all_taps = self.channels * self.chunk, len(p.taps)
        out = k.add(k.mul(k.add(k.mul(row, p.inputs), place.start), all_taps), tap)
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

    def _finish_turned(self, k: Emitter, sums: Sequence[Val], unit: Index, place: Cut) -> None:
        """Lanes are neighbours in the weights."""
        p, lanes, vectors = self.problem, self.lanes, self.panels.vectors
        first = k.mul(k.rem(unit, self.panels.count), self.panels.size)
        row = k.add(k.mul(k.div(unit, self.panels.count), p.inputs), place.start)
        for c in range(self.channels):
            fresh = k.compare("le", place.skip, c) if isinstance(place.skip, Val) else None
            with where(k, fresh):
                out = k.add(k.mul(k.add(row, c), p.outputs), first)
                for v, x in enumerate(sums[c * vectors : (c + 1) * vectors]):
                    partly = self.panels.partly((v + 1) * lanes - 1)
                    mask = k.mask(k.sub(p.outputs - v * lanes, first), lanes) if partly else None
                    self.store.piece(k, x, k.pointer(RESULT), k.add(out, v * lanes), mask)


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

    def sums(self, k: Emitter, unit: Index, channel: Index, offset: Index, images: tuple[Index, Index]) -> list[Val]:
        p = self.problem
        group, first = self._unit(k, unit)
        channel = k.add(k.mul(group, p.inputs), channel)
        output = k.add(k.mul(group, p.outputs), first.start)
        kind = scalars.memory_type(self.dtype)
        source = k.at(k.pointer(SOURCE), k.add(k.mul(channel, p.source.channel), offset), kind)
        gradient = k.at(k.pointer(GRADIENT), k.mul(output, self.gradient.channel), kind)
        zero = k.const(vector(scalars.compute_type(self.dtype), self.lanes), 0)
        with k.loop(images[1], start=images[0], carried=[zero] * self.vectors) as over_images:
            n, sums = over_images.i, over_images.carried
            with k.loop(p.grid[0], carried=sums) as over_planes:
                with k.loop(p.grid[1], carried=over_planes.carried) as over_rows:
                    at = (n, over_planes.i, over_rows.i)
                    x, g = 0, 0
                    for i, a, b in zip(at, (p.source.batch, *p.steps), (self.gradient.batch, *self.gradient.dims)):
                        x, g = k.add(x, k.mul(i, a)), k.add(g, k.mul(i, b))
                    rows = k.at(source, x, kind), k.at(gradient, g, kind)
                    over_rows.carry(*self._row(k, *rows, over_rows.carried))
                over_planes.carry(*over_rows.results)
            over_images.carry(*over_planes.results)
        return over_images.results

    def _row(self, k: Emitter, source: Val, gradient: Val, sums: list[Val]) -> list[Val]:
        count = self.problem.grid[2]
        whole = count - count % self.lanes
        if whole > 2 * self.lanes:
            with k.loop(whole, step=self.lanes, carried=sums) as loop:
                loop.carry(*self._step(k, source, gradient, loop.i, self.lanes, loop.carried))
            sums = loop.results
        else:
            for start in range(0, whole, self.lanes):
                sums = self._step(k, source, gradient, start, self.lanes, sums)
        return self._step(k, source, gradient, whole, count - whole, sums) if count > whole else sums

    def _step(self, k: Emitter, source: Val, gradient: Val, at: Index, count: int, sums: Sequence[Val]) -> list[Val]:
        """Add `count` pixels; lanes that are no pixels are read as zeros, since 0 * inf is not 0."""
        mask = None if count == self.lanes else k.mask(count, self.lanes)
        g = [
            scalars.load(k, gradient, k.add(at, o * self.gradient.channel), self.dtype, self.lanes, mask)
            for o in range(self.outputs)
        ]  # fmt: skip
        added = list(sums)
        entry_count = len(self.entries)
        for nr, offset in enumerate(self.entries):
            x = scalars.load(k, source, k.add(at, offset), self.dtype, self.lanes, mask)
            for o in range(self.outputs):
                added[o * entry_count + nr] = k.fma(g[o], x, sums[o * entry_count + nr])
        return added

    def _unit(self, k: Emitter, unit: Index) -> tuple[Index, Cut]:
        group, nr = k.div(unit, self.unit_count), k.rem(unit, self.unit_count)
        return group, cut(k, nr, self.outputs, self.problem.outputs)

    def finish(self, k: Emitter, sums: Sequence[Val], unit: Index, place: Cut, tap: Index) -> None:
        p = self.problem
        group, outputs = self._unit(k, unit)
        first = k.add(k.mul(group, p.outputs), outputs.start)
        for o in range(self.outputs):
            fresh = k.compare("le", outputs.skip, o) if isinstance(outputs.skip, Val) else None
            with where(k, fresh):
                at = k.add(k.mul(k.add(k.mul(k.add(first, o), p.inputs), place.start), len(p.taps)), tap)
                for start, size in self._pieces(self.channels * self.chunk):
                    row = o * self.channels * self.chunk + start
                    found, left = totals(k, sums[row : row + size]), k.mul(place.skip, self.chunk)
                    left = k.sub(left, start) if isinstance(left, Val) else 0
                    self.store.row(k, found, k.pointer(RESULT), k.add(at, start), left)

    def _pieces(self, count: int) -> Iterator[tuple[int, int]]:
        for start in range(0, count, self.lanes):
            yield from pieces(start, min(start + self.lanes, count))
