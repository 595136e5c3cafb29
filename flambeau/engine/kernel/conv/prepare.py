"""What convolutions read is first laid out so that their inner loops only count up: images with their margin of zeros,
weights and gradients as panels of neighbouring channels.
"""

from __future__ import annotations

from dataclasses import dataclass

from flambeau import dtypes
from flambeau.dtypes import dtype
from flambeau.engine.graph import Arg
from flambeau.engine.kernel import scalars
from flambeau.engine.kernel.conv.geometry import DIMS, Layout, Product
from flambeau.engine.kernel.conv.lanes import columns, every
from flambeau.engine.kernel.emit import Emitter, Index, Val, vector
from flambeau.engine.kernel.target import vector_bytes
from flambeau.engine.plan import Address, Kernel
from flambeau.engine.schedule.lowering import Site
from flambeau.shape import Ints

MARGIN = 256  # elements behind an image that whole vectors may read


def computed(d: dtype) -> dtype:
    """The dtype of sums."""
    return dtypes.float32 if d.itemsize < 4 else d


def width_of(d: dtype) -> int:
    """Lanes of a vector of sums."""
    return vector_bytes() // computed(d).itemsize


# -- images ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Image:
    """An operand [N, C, *spatial] as memory: where it begins, its dtype, and its layout."""

    address: Address
    dtype: dtype
    layout: Layout
    channels: int
    size: Ints
    whole: bool = False  # vectors may read past the end of rows

    @classmethod
    def of(cls, site: Site, operand: Arg) -> Image:
        missing = DIMS - len(operand.shape) + 2
        size = (*(1,) * missing, *operand.shape[2:])
        return cls(site.source(operand), operand.dtype, Layout.of(operand.strides), operand.shape[1], size)


@dataclass(frozen=True)
class _Padding:
    """A kernel that copies an image into a frame of zeros; a task is a plane of it."""

    source: Layout
    dtype: dtype
    channels: int
    size: Ints
    low: Ints
    frame: Ints
    target: Layout

    def emit(self, k: Emitter) -> None:
        depth, height, _ = self.frame
        with k.tasks() as task:
            d, plane = k.rem(task, depth), k.div(task, depth)
            c, n = k.rem(plane, self.channels), k.div(plane, self.channels)
            start = k.add(k.mul(n, self.source.batch), k.mul(c, self.source.channel))
            start = k.add(start, k.mul(k.sub(d, self.low[0]), self.source.dims[0]))
            out = k.add(k.mul(plane, self.target.channel), k.mul(d, self.target.dims[0]))
            with k.loop(height) as h:
                inside = k.compare("lt", k.sub(h, self.low[1]), self.size[1], unsigned=True)
                if self.frame[0] > 1:
                    deep = k.compare("lt", k.sub(d, self.low[0]), self.size[0], unsigned=True)
                    inside = k.bits("and", inside, deep)
                row = k.add(start, k.mul(k.sub(h, self.low[1]), self.source.dims[1]))
                self._row(k, row, k.add(out, k.mul(h, self.target.dims[1])), inside)

    def _row(self, k: Emitter, row: Index, out: Index, inside: Val) -> None:
        """Copy a row, vector by vector of each part."""
        width = width_of(self.dtype)
        count = self.frame[2] if self.target.split == 1 else self.target.part
        if count <= 8 * width:
            for start in range(0, count, width):
                self._vectors(k, row, out, inside, start, min(width, count - start))
            return
        with k.loop(count - count % width, step=width) as start:
            self._vectors(k, row, out, inside, start, width)
        if count % width:
            self._vectors(k, row, out, inside, count - count % width, count % width)

    def _vectors(self, k: Emitter, row: Index, out: Index, inside: Val, start: Index, count: int) -> None:
        """The elements from `start` on of every part."""
        split, width = self.target.split, width_of(self.dtype)
        first = k.sub(k.mul(start, split), self.low[2])
        found = [self._pixels(k, row, k.add(first, v * width), inside) for v in range(split)]
        rest = None if count == width else k.mask(count, width)
        for part in range(split):
            at = k.add(k.add(out, start), part * self.target.part)
            scalars.store(k, every(k, found, part), k.pointer(1), at, computed(self.dtype), rest)

    def _pixels(self, k: Emitter, row: Index, first: Index, inside: Val) -> Val:
        """A vector of neighbouring pixels, zeros where there are none."""
        width, step = width_of(self.dtype), self.source.dims[2]
        type = vector("i64", width)
        pixels = k.add(k.ramp(type), k.val(first, type))
        mask = k.bits("and", k.compare("lt", pixels, self.size[2], unsigned=True), k.splat(inside, width))
        if step == 1:
            return scalars.load(k, k.pointer(0), k.add(row, first), self.dtype, width, mask)
        places = k.add(k.mul(pixels, k.const(type, step)), k.val(row, type))
        return scalars.widened(k, k.gather(k.pointer(0), places, scalars.memory_type(self.dtype), mask), self.dtype)


def padded(site: Site, image: Image, batch: int, low: Ints, frame: Ints, split: int = 1) -> Image:
    """The image in a frame of zeros of size `frame`, `low` pixels from its corner (what does not fit is cut off)."""
    part = -(-frame[2] // split) if split > 1 else 0
    pitch = part * split or frame[2]
    target = Layout(
        image.channels * frame[0] * frame[1] * pitch, frame[0] * frame[1] * pitch, (frame[1] * pitch, pitch, 1), split,
        part,
    )  # fmt: skip
    kind = computed(image.dtype)
    memory = site.temp((batch * target.batch + MARGIN) * kind.itemsize)
    padding = _Padding(image.layout, image.dtype, image.channels, image.size, low, frame, target)
    tasks = batch * image.channels * frame[0]
    vectors = tasks * frame[1] * max(1, -(-pitch // width_of(image.dtype)))
    site.launch(
        Kernel(f"conv pad {width_of(image.dtype)} {padding}", padding.emit), (image.address, memory), tasks,
        cost=vectors * 0.8, note="pad", work=(0.0, 2.0 * batch * target.batch * kind.itemsize),
    )  # fmt: skip
    return Image(memory, kind, target, image.channels, frame, whole=True)


# -- panels ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Panels:
    """Channels side by side: [group][panel][slab][column][channels of a panel], zeros where a group has no more.

    Columns are neighbours in memory (`columns` of them, their number filled up to whole vectors), or those of a slab
    listed in `picks`.
    """

    dtype: dtype
    vectors: int  # of a panel
    groups: int
    group_step: int
    width: int  # channels of a group
    channel_step: int
    slabs: int
    slab_step: int
    columns: int
    picks: Ints | None = None

    @property
    def size(self) -> int:
        return self.vectors * width_of(self.dtype)

    @property
    def count(self) -> int:
        """Panels of a group."""
        return -(-self.width // self.size)

    @property
    def column_room(self) -> int:
        lanes = width_of(self.dtype)
        return -(-self.columns // lanes) * lanes if self.picks is None else len(self.picks)

    @property
    def slab_room(self) -> int:
        return self.column_room * self.size

    @property
    def room(self) -> int:
        """Elements of a panel."""
        return self.slabs * self.slab_room

    def partly(self, channel: int) -> bool:
        """Whether the last panel of a group lacks its channel number `channel`."""
        return 0 < self.width % self.size <= channel

    def launch(self, site: Site, source: Address, note: str) -> Address:
        """Fill the panels from `source`."""
        kind = computed(self.dtype)
        elements = self.groups * self.count * self.room
        memory = site.temp(max(elements, 1) * kind.itemsize)
        blocks = self.column_room // width_of(self.dtype) if self.picks is None else 1
        tasks = self.groups * self.count * self.slabs * blocks
        if elements:
            site.launch(
                Kernel(f"conv panels {width_of(self.dtype)} {self}", self._emit), (source, memory), tasks,
                cost=elements * 0.5, note=note, work=(0.0, 2.0 * elements * kind.itemsize),
            )  # fmt: skip
        return memory

    def _emit(self, k: Emitter) -> None:
        lanes = width_of(self.dtype)
        with k.tasks() as task:
            blocks = self.column_room // lanes if self.picks is None else 1
            block, slab_nr = k.rem(task, blocks), k.div(task, blocks)
            slab, panel_nr = k.rem(slab_nr, self.slabs), k.div(slab_nr, self.slabs)
            panel, group = k.rem(panel_nr, self.count), k.div(panel_nr, self.count)
            source = k.add(k.mul(group, self.group_step), k.mul(slab, self.slab_step))
            source = k.add(source, k.mul(k.mul(panel, self.size), self.channel_step))
            target = k.mul(slab_nr, self.slab_room)
            left = k.sub(self.width, k.mul(panel, self.size))
            if self.picks is None:
                start = k.mul(block, lanes)
                rest = k.sub(self.columns, start)
                self._block(k, k.add(source, start), k.add(target, k.mul(start, self.size)), left, rest, range(lanes))
                return
            if self.channel_step == 1:
                self._copies(k, source, target, left)
                return
            for start in range(0, max(self.picks, default=-1) + 1, lanes):
                inside = [p - start if start <= p < start + lanes else None for p in self.picks]
                self._block(k, k.add(source, start), target, left, max(self.picks) + 1 - start, inside)

    def _block(self, k: Emitter, source: Index, target: Index, left: Index, rest: Index, picks: object) -> None:
        """Transpose the columns from `source` on; `picks` says which of them goes to each column of the target."""
        lanes = width_of(self.dtype)
        for v in range(self.vectors):
            rows = []
            for r in range(v * lanes, (v + 1) * lanes):
                count: Index = rest
                if isinstance(left, Val):
                    count = k.select(k.compare("gt", left, r), k.val(rest, "i64"), 0)
                elif left <= r:
                    count = 0
                mask = k.mask(count, lanes)
                at = k.add(source, r * self.channel_step)
                rows.append(scalars.load(k, k.pointer(0), at, self.dtype, lanes, mask))
            found = columns(k, rows)
            for nr, pick in enumerate(picks):  # type: ignore[call-overload]
                if pick is not None:
                    at = k.add(target, nr * self.size + v * lanes)
                    scalars.store(k, found[pick], k.pointer(1), at, computed(self.dtype))

    def _copies(self, k: Emitter, source: Index, target: Index, left: Index) -> None:
        """Channels that are neighbours already."""
        lanes = width_of(self.dtype)
        assert self.picks is not None
        for nr, pick in enumerate(self.picks):
            for v in range(self.vectors):
                mask = k.mask(k.sub(left, v * lanes), lanes) if self.width % self.size else None
                x = scalars.load(k, k.pointer(0), k.add(source, pick + v * lanes), self.dtype, lanes, mask)
                scalars.store(k, x, k.pointer(1), k.add(target, nr * self.size + v * lanes), computed(self.dtype))


def weight_panels(product: Product, d: dtype, vectors: int) -> Panels:
    """The weights of a product."""
    taps = len(product.taps)
    fixed = (d, vectors, product.groups, product.weight_group, product.width, product.weight_out)
    if product.weight_taps == tuple(range(taps)) and product.weight_in == taps and product.weight_out != 1:
        return Panels(*fixed, 1, 0, product.depth * taps)
    return Panels(*fixed, product.depth, product.weight_in, taps, product.weight_taps)
