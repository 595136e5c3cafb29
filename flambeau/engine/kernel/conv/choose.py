"""Which kernel and which tile a convolution gets: estimates of cycles, a pure function of sizes and machine.

A step of a tile's sum takes as long as its fused multiplications (two vectors a cycle), its loads (two a cycle, less
for vectors that do not begin at a cache line), or its instructions, whichever is longest. To that come the steps that
edges waste, what a tile costs besides its steps, and the packing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod
from typing import NamedTuple

from flambeau.dtypes import dtype
from flambeau.engine.kernel.conv import channels, pixels
from flambeau.engine.kernel.conv.lanes import pieces, power
from flambeau.engine.kernel.conv.prepare import width_of
from flambeau.engine.kernel.conv.winograd import Band, M, Sides
from flambeau.engine.kernel.conv.winograd_product import Block
from flambeau.engine.kernel.conv.winograd_weights import Parts
from flambeau.engine.kernel.target import cache_sizes, vector_bytes, vector_registers
from flambeau.shape import Ints

CYCLE = 0.28  # nanoseconds
LATENCY = 4  # cycles from a sum to the next that adds to it
ISSUE = 6  # instructions a cycle
UNALIGNED = 1.8  # loads that a vector counts for where it lies across cache lines
LOOP = 4  # instructions of a loop's end
TILE = 40  # cycles of a tile besides its sums
ROW = 6  # cycles of a row's loop
SECOND_BYTES = 20  # that arrive from the second cache in a cycle, between multiplications
FOLLOWED = 32  # planes that are read at the same time, without being told which lines come next
FAR_LINE = 40  # cycles of a line that comes from far away unforeseen
FAR = 8  # times the second cache: a source that is not there
UNPACKED = 1.08  # what kernels with pixels in the lanes take longer than it seems: their weights lie apart
LAUNCH = 4000  # cycles of one more launch, and what comes with it
COPY = 0.8  # cycles to lay out a pixel anew
TASKS = 8  # that share the bands of a product by transforms, each with memory of its own
SLOTS = 4  # at least that many tasks share the bands where weights' gradients are summed, each with its own sums


@dataclass(frozen=True)
class Sizes:
    """What the choice depends on."""

    batch: int
    groups: int
    depth: int
    width: int
    grid: Ints
    taps: int
    lanes: int
    inner: tuple[float, ...]  # taps of a pixel that lie inside the source, per dimension and on average
    row_taps: int = 1  # taps of a row of the window
    few_rows: bool = False  # whether many taps of many rows lie outside
    framed: int = 0  # pixels of the frame of zeros, which kernels with inner taps do without
    copied: int = 0  # pixels of the source that only kernels with pixels in the lanes need laid out anew


def _step(multiplications: int, loads: float, numbers: int) -> float:
    """Cycles of a step; `numbers` is how many scalars are spread over lanes."""
    return max(multiplications / 2, loads / 2, LATENCY, (multiplications + loads + LOOP) / ISSUE) + 0.25


def _stream(vectors: int, steps: int) -> float:
    """Cycles in which the weights of a step arrive from the cache that a panel of them fits in."""
    first, second = cache_sizes()
    step = vectors * vector_bytes()
    size = step * steps
    return step / (128 if size < first * 0.7 else 24 if size < second * 0.7 else 8)


def _per_packed(size: float) -> float:
    """Cycles to pack an element, where all of them are `size` bytes."""
    return 0.3 if size < cache_sizes()[1] else 0.7


def _count(length: int, tile: int) -> int:
    return -(-length // tile)


def channel_cost(s: Sizes, tile: channels.Tile) -> float:
    """Cycles of a product with channels in the lanes."""
    p, v = tile.pixels, tile.vectors
    tiles = _count(s.batch, tile.images) * s.grid[0] * _count(s.grid[1], tile.rows) * _count(s.grid[2], tile.columns)
    panels = s.groups * _count(s.width, v * s.lanes)
    step = max(_step(p * v, p + v, p), _stream(v, s.depth * s.taps))
    steps = s.depth * (s.taps * step + (1 if s.taps > 1 else 0.5))
    if tile.inner:
        steps = s.depth * (prod(s.inner) * step + 1 + 2 * prod(s.inner[:2]))
    finish = v * tile.images * tile.rows * sum(
        size * (size.bit_length() - 1) + s.lanes * 1.5 for _, size in pieces(0, tile.columns)
    )  # fmt: skip
    frame = 0 if tile.inner else s.framed * COPY
    if brought_near(s, vector_bytes() // s.lanes):
        frame += s.batch * s.groups * s.depth * prod(s.grid) / s.lanes * FAR_LINE
    weights = panels * v * s.lanes * s.depth * s.taps
    packing = weights * _per_packed(weights * vector_bytes() / s.lanes)
    return tiles * panels * (steps + finish + TILE) + packing + frame


def _channel_tiles(s: Sizes) -> Iterator[channels.Tile]:
    room = vector_registers() - 3
    for v in range(1, min(8, _count(s.width, s.lanes)) + 1):
        most = (room - v) // v
        for w in range(1, min(s.grid[2], s.lanes, most) + 1):
            for h in range(1, min(s.grid[1], most // w) + 1):
                for n in range(1, min(s.batch, most // (w * h), 16 if h * w == prod(s.grid[1:]) else 1) + 1):
                    yield channels.Tile(n, h, w, v)
        if s.framed:
            for n in range(2, min(s.batch, most) + 1):
                yield channels.Tile(n, 1, 1, v, True)


def pixel_cost(s: Sizes, tile: pixels.Tile) -> float:
    """Cycles of a product with pixels in the lanes."""
    blocks = _count(s.batch, tile.images) * s.groups * s.grid[0] * _count(s.grid[1], tile.rows)
    blocks *= _count(s.width, tile.channels)
    taps = s.inner[1] * s.row_taps if tile.inner else s.taps
    whole, left = divmod(s.grid[2], tile.vectors * tile.lanes)
    counts = [tile.vectors] * whole + ([_count(left, tile.lanes)] if left else [])
    cycles = 0.0
    for v in counts:
        rows = tile.lines * v
        step = _step(tile.channels * rows, tile.channels + rows * UNALIGNED, tile.channels)
        if s.taps == 1:  # every line is read once, and comes from the second cache
            step = max(step, rows * vector_bytes() / SECOND_BYTES)
        cycles += s.depth * (taps * step + 1) + tile.channels * rows * 1.5 + TILE
    return blocks * cycles + (s.copied + s.framed) * COPY


def brought_near(s: Sizes, itemsize: int) -> bool:
    """Whether tiles of pixels read from far away, and from more planes at once than the machine follows by itself."""
    size = s.batch * s.groups * s.depth * prod(s.grid) * itemsize
    return s.taps == 1 and s.depth >= FOLLOWED and size > FAR * cache_sizes()[1]


def _pixel_tiles(s: Sizes) -> Iterator[pixels.Tile]:
    room = vector_registers() - 2
    lanes = min(s.lanes, power(s.grid[2]))
    for c in range(1, min(s.width, 16) + 1):
        for v in range(1, min(8, _count(s.grid[2], lanes)) + 1):
            for h in range(1, min(s.grid[1], 8) + 1):
                if c * v * h + v * h + 1 <= room:
                    yield pixels.Tile(c, h, v, lanes)
            for n in range(2, min(s.batch, 8) + 1 if s.few_rows else 0):
                if c * v * n + v * n + 1 <= room:
                    yield pixels.Tile(c, 1, v, lanes, n, True)


@lru_cache(4096)
def product_tile(s: Sizes) -> channels.Tile | pixels.Tile:
    """The tile of least cost."""
    by_channels = min((channel_cost(s, tile), tile) for tile in _channel_tiles(s))
    by_pixels = min((pixel_cost(s, tile), tile) for tile in _pixel_tiles(s))
    return by_channels[1] if by_channels[0] + LAUNCH <= by_pixels[0] * UNPACKED else by_pixels[1]


def product_tiles(s: Sizes) -> list[list[channels.Tile | pixels.Tile]]:
    """All tiles, by channels and by pixels, those of least cost first."""
    by_channels = sorted(_channel_tiles(s), key=lambda tile: channel_cost(s, tile))
    return [[*by_channels], [*column_tiles(s)]]


def product_time(s: Sizes, tile: channels.Tile | pixels.Tile) -> float:
    """Nanoseconds."""
    return CYCLE * (channel_cost(s, tile) if isinstance(tile, channels.Tile) else pixel_cost(s, tile))


@lru_cache(4096)
def column_tile(s: Sizes, copied: int) -> tuple[float, pixels.Tile]:
    """The cost in nanoseconds and the tile of a product over columns, which are `copied` vectors."""
    cost, tile = min((pixel_cost(s, tile), tile) for tile in _pixel_tiles(s))
    return CYCLE * (cost + 4 * copied), tile


def column_tiles(s: Sizes) -> list[pixels.Tile]:
    """All tiles with pixels in the lanes, those of least cost first."""
    return sorted(_pixel_tiles(s), key=lambda tile: pixel_cost(s, tile))


# -- the gradient of weights -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class GradientTile:
    """Output channels (in vectors, or one by one) by taps of some input channels."""

    by_channels: bool
    outputs: int
    inputs: int
    taps: int


def gradient_cost(s: Sizes, tile: GradientTile) -> float:
    """Cycles of the weights' gradient; `depth` and `width` are the input's and the output's channels."""
    rows = s.batch * s.grid[0] * s.grid[1]
    sums = tile.inputs * tile.taps * tile.outputs
    tiles = s.groups * _count(s.depth, tile.inputs) * _count(s.taps, tile.taps)
    if tile.by_channels:
        step = _step(sums, tile.inputs * tile.taps + tile.outputs, tile.inputs * tile.taps)
        units = _count(s.width, tile.outputs * s.lanes)
        elements = rows * s.grid[2] * units * tile.outputs * s.lanes
        packing = elements * _per_packed(elements * vector_bytes() / s.lanes)
        return tiles * units * (rows * (s.grid[2] * step + ROW) + sums * 12 + TILE) + packing
    lanes = min(s.lanes, power(s.grid[2]))
    step = _step(sums, (tile.inputs * tile.taps + 0.5 * tile.outputs) * UNALIGNED, 0)
    units = _count(s.width, tile.outputs)
    cycles = tiles * units * (rows * (_count(s.grid[2], lanes) * step + ROW) + sums * 10 + TILE)
    # every tile reads its operands anew, and there are many tiles
    operands = s.groups * (s.depth + s.width) * rows * s.grid[2] * vector_bytes() / s.lanes
    planes = s.groups * _count(s.depth, tile.inputs) * units * (tile.inputs + tile.outputs)
    traffic = planes * rows * s.grid[2] * vector_bytes() / s.lanes
    return max(cycles, traffic / (32 if operands < cache_sizes()[1] else 16)) + s.copied * COPY


def _gradient_tiles(s: Sizes) -> Iterator[GradientTile]:
    room = vector_registers() - 2
    for taps in {s.taps, s.row_taps, 1}:
        for outputs in range(1, min(s.width, 8) + 1):
            for inputs in range(1, min(s.depth, 8 if taps == s.taps else 1) + 1):
                if outputs * inputs * taps + outputs + 1 <= room:
                    yield GradientTile(False, outputs, inputs, taps)
        for vectors in range(1, min(8, _count(s.width, s.lanes)) + 1):
            for inputs in range(1, min(s.depth, 16 if taps == s.taps else 1) + 1):
                if vectors * inputs * taps + vectors + 1 <= room:
                    yield GradientTile(True, vectors, inputs, taps)


@lru_cache(4096)
def gradient_tile(s: Sizes) -> GradientTile:
    """The tile of least cost."""
    return min(_gradient_tiles(s), key=lambda tile: gradient_cost(s, tile))


def gradient_tiles(s: Sizes) -> list[list[GradientTile]]:
    """All tiles, by channels and by pixels, those of least cost first."""
    tiles = sorted(_gradient_tiles(s), key=lambda tile: gradient_cost(s, tile))
    return [[tile for tile in tiles if tile.by_channels], [tile for tile in tiles if not tile.by_channels]]


def turned(s: Sizes) -> Sizes:
    """The gradient of weights of one tap with source and gradient in each other's place."""
    return replace(s, depth=s.width, width=s.depth)


# -- Winograd's transforms -------------------------------------------------------------------------------------

WORTHWHILE = 0.9  # of the time without transforms: their kernels take twice as long to compile
FEW_TILES, MANY_TILES = 32, 128  # of a band
BANDS = (8, 16, 32, 64, 128, 256)  # tiles of a band at most: what may be worth trying
NEAR = 512 << 10  # bytes of a band's tiles, where weights' gradients are summed: no machine's, as sums depend on it
PART = 128  # channels of either side whose sums a task keeps near
STAGES = 4.0  # cycles of a number of a tile, in vectors, besides its multiplications


class Winograd(NamedTuple):
    """How a product is computed by transforms, and the cycles that takes."""

    cost: float
    band: Band
    block: Block
    tasks: int


def _block(tiles: int, width: int, lanes: int) -> tuple[float, Block]:
    """The register tile for so many tiles and channels, and the cycles of a channel summed over."""
    found = []
    for v in range(1, min(8, width // lanes) + 1):
        for t in range(1, min(tiles, (vector_registers() - 2 - v) // v) + 1):
            if width // lanes % v == 0:
                cycles = _count(tiles, t) * (width // lanes // v) * _step(t * v, t + v, t)
                found.append((cycles, Block(t, v)))
    return min(found, key=lambda entry: entry[0])


@lru_cache(1024)
def winograd(sides: Sides, batch: int, depth: int, width: int, d: dtype, most: int = 0) -> Winograd:
    """`depth` counts the channels of all phases; `most`: tiles of a band at most, 0: as many as seem best."""
    lanes, second = width_of(d), cache_sizes()[1]
    numbers = sides.products * (depth + width)  # of a tile
    fitting = min(MANY_TILES, second // 2 // (numbers * d.itemsize), batch * sides.tiles // TASKS)
    weights = sides.products * depth * width
    few = FEW_TILES if weights * d.itemsize < 8 * second else 2 * FEW_TILES  # weights come from afar for every band
    band = Band.of(batch, sides, most or max(few, fitting))
    tiles, bands = band.tiles(sides), band.count(batch, sides)
    cycles, block = _block(tiles, width, lanes)
    frame = band.pixels(sides) * depth // len(sides.phases) / lanes
    cost = bands * (sides.products * depth * cycles + STAGES * (numbers * tiles / lanes + frame))
    packing = weights * 0.5 * _per_packed(weights * d.itemsize)
    return Winograd(cost + packing, band, block, min(bands, TASKS))


class WinogradSums(NamedTuple):
    """How the weights' gradient is computed by transforms, and the cycles that takes."""

    cost: float
    band: Band
    block: Block
    parts: Parts


def _parts(length: int, lanes: int) -> int:
    """Channels of a part: as many as may be, such that parts are equal."""
    return max(n for n in range(lanes, length + 1, lanes) if length % n == 0 and n <= max(PART, lanes))


@lru_cache(1024)
def winograd_sums(sides: Sides, batch: int, depth: int, width: int, d: dtype, most: int = 0) -> WinogradSums:
    """`depth` and `width` are the channels of the input and of the output; `most` as for `winograd`."""
    lanes, phases = width_of(d), len(sides.phases)
    inputs, outputs = _parts(depth, lanes), _parts(width, lanes)
    count = (depth // inputs) * (width // outputs)
    numbers = sides.products * (inputs * phases + outputs)
    fitting = min(MANY_TILES, NEAR // (numbers * d.itemsize), batch * sides.tiles * count // SLOTS)
    band = Band.of(batch, sides, most or max(FEW_TILES, fitting))
    tiles, bands = band.tiles(sides), band.count(batch, sides)
    slots = min(bands, _count(SLOTS, count))
    blocks = []
    for v in range(1, min(8, inputs * phases // lanes) + 1):
        for t in range(1, min(outputs, (vector_registers() - 2 - v) // v) + 1):
            if inputs * phases // lanes % v == 0 == outputs % t:
                cycles = outputs // t * (inputs * phases // lanes // v) * (tiles * _step(t * v, t + v, t) + 2 * t * v)
                blocks.append((cycles, Block(t, v)))
    cycles, block = min(blocks, key=lambda entry: entry[0])
    frames = band.pixels(sides) * inputs + tiles * M * M * outputs
    cost = count * bands * (sides.products * cycles + STAGES * (numbers * tiles + frames) / lanes)
    sums = sides.products * depth * phases * width
    adding = sums / lanes * (4 + slots * 6)
    return WinogradSums(cost + adding, band, block, Parts(inputs, outputs, slots))


def fast_memory() -> tuple[int, int]:
    """Bytes of the first and second cache that operands may fill."""
    first, second = cache_sizes()
    return first * 3 // 4, second // 4
