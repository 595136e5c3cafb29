"""The stages of Winograd's convolutions: each works on a band of the images, in scratch memory of its task.

    frame     the band's source with its zeros around it, [image][row][column][channel]
    to_tiles  transformed, [product][tile][channel]: channels are the lanes from here on
    multiply  one matrix product for each of the tile's products (`winograd_product`, `winograd_weights`)
    to_pixels sums back to pixels, [image][row][column][channel]

`product` counts the (r + 1)^2 numbers of a tile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product as combinations

from flambeau.dtypes import dtype
from flambeau.engine.kernel.conv.lanes import columns
from flambeau.engine.kernel.conv.prepare import width_of
from flambeau.engine.kernel.conv.winograd import Band, M, Matrix, transform
from flambeau.engine.kernel.emit import Emitter, Index, Val, vector
from flambeau.engine.kernel.scalars import compute_type, load

LINE = 16  # elements between the products of a tile, besides their own: their lines meet in no set of the cache


def zeros(k: Emitter, memory: Val, start: Index, count: Index, type: str) -> None:
    """Fill `count` elements, a multiple of the vector's."""
    lanes = int(type.split()[0][1:])
    with k.loop(count, step=lanes) as i:
        k.store(k.const(type, 0), memory, k.add(start, i))


@dataclass(frozen=True)
class Frame:
    """A band of images with channels side by side, and zeros where it ends outside of them."""

    dtype: dtype
    channels: int
    size: tuple[int, int]  # of the images
    low: tuple[int, int]  # rows and columns before the first of the image
    images: int
    rows: int
    columns: int
    steps: tuple[int, int]  # elements from image to image and from channel to channel, in the source
    whole: bool  # a band has all rows

    @property
    def room(self) -> int:
        """Elements."""
        return self.images * self.rows * self.columns * self.channels

    @property
    def lanes(self) -> int:
        return width_of(self.dtype)

    @property
    def type(self) -> str:
        return vector(compute_type(self.dtype), self.lanes)

    def at(self, row: int, column: int) -> int:
        """The element of channel 0."""
        return (row * self.columns + column) * self.channels

    def fill(self, k: Emitter, source: Val, memory: Val, image: Index, first: Index) -> None:
        """Copy the band of images from `image` on whose first row is row `first` of the images.

        What lies outside is zero already, but for the rows of a part of an image.
        """
        height, width = self.size
        start, stop = max(0, -self.low[1]), min(width, self.columns - self.low[1])
        joined = self._joined()
        top: Index = max(0, -self.low[0])
        bottom: Index = min(height, self.rows - self.low[0])
        if not self.whole:
            top, bottom = k.maximum(first, 0), k.minimum(k.add(first, self.rows), height)
            self._clear(k, memory, 0, k.sub(top, first))
            self._clear(k, memory, k.sub(bottom, first), self.rows)
        with k.loop(self.images) as n, k.loop(self.channels, step=self.lanes) as c:
            plane = k.add(k.mul(k.add(image, n), self.steps[0]), k.mul(c, self.steps[1]))
            with k.loop(bottom, start=top, step=joined) as row:
                at = k.add(plane, k.mul(row, width))
                target = k.add(k.mul(k.add(k.mul(n, self.rows), k.sub(row, first)), self.columns), self.low[1])
                target = k.add(k.mul(target, self.channels), c)
                if joined > 1:
                    self._pixels(k, source, memory, at, target, self.lanes)
                else:
                    self._across(k, source, memory, at, target, start, stop)

    def _joined(self) -> int:
        """Rows that a vector has, where planes are small and whole."""
        height, width = self.size
        fits = self.low[0] >= 0 and self.rows - self.low[0] >= height and self.low[1] >= 0
        fits = fits and self.columns - self.low[1] >= width
        joined = max(1, self.lanes // width)
        return joined if self.whole and fits and self.lanes % width == 0 and height % joined == 0 else 1

    def _across(self, k: Emitter, source: Val, memory: Val, at: Index, target: Index, start: int, stop: int) -> None:
        """Copy the columns from `start` to `stop` of a row."""
        whole = (stop - start) // self.lanes * self.lanes
        if whole:
            with k.loop(start + whole, start=start, step=self.lanes) as column:
                here = k.add(target, k.mul(column, self.channels))
                self._pixels(k, source, memory, k.add(at, column), here, self.lanes)
            start += whole
        for column in range(start, stop, self.lanes):
            here = k.add(target, column * self.channels)
            self._pixels(k, source, memory, k.add(at, column), here, min(self.lanes, stop - column))

    def _pixels(self, k: Emitter, source: Val, memory: Val, at: Index, target: Index, count: int) -> None:
        """Copy `count` pixels of a vector's channels; they may go on in the next row."""
        mask = None if count == self.lanes else k.mask(count, self.lanes)
        width = self.size[1]
        base = k.at(source, at, compute_type(self.dtype))
        rows = [load(k, base, c * self.steps[1], self.dtype, self.lanes, mask) for c in range(self.lanes)]
        home = k.at(memory, target, compute_type(self.dtype))
        for nr, pixel in enumerate(columns(k, rows)[:count]):
            place = nr if width >= self.lanes else nr // width * self.columns + nr % width
            k.store(pixel, home, place * self.channels)

    def _clear(self, k: Emitter, memory: Val, start: Index, stop: Index) -> None:
        """Rows from `start` to `stop` of a band's only image become zero."""
        pitch = self.columns * self.channels
        zeros(k, memory, k.mul(start, pitch), k.mul(k.sub(stop, start), pitch), self.type)


@dataclass(frozen=True)
class Tiles:
    """The tiles of a band, [product][tile][channel]."""

    band: Band
    per_row: int
    products: int
    channels: int

    @property
    def count(self) -> int:
        return self.band.images * self.band.rows * self.per_row

    @property
    def step(self) -> int:
        """Elements from product to product."""
        return self.count * self.channels + LINE

    @property
    def room(self) -> int:
        return self.products * self.step

    def first(self, k: Emitter, number: Index, rows: int, columns: int, stride: tuple[int, int]) -> Index:
        """The first pixel of tile `number`, among images of so many rows and columns."""
        line, column = k.div(number, self.per_row), k.rem(number, self.per_row)
        image, row = k.div(line, self.band.rows), k.rem(line, self.band.rows)
        place = k.add(k.mul(image, rows), k.mul(row, M * stride[0]))
        return k.add(k.mul(place, columns), k.mul(column, M * stride[1]))


def to_tiles(
    k: Emitter, frame: Frame, tiles: Tiles, down: Matrix, across: Matrix, stride: tuple[int, int],
    phases: Sequence[tuple[int, int]], memory: Val, target: Val,
) -> None:  # fmt: skip
    """down @ x @ across^T of every tile x of the frame; the channels of `tiles` are those of every phase."""
    scalar, rows, columns_ = compute_type(frame.dtype), range(len(down[0])), range(len(across[0]))
    with k.loop(tiles.count) as number:
        place = tiles.first(k, number, frame.rows, frame.columns, stride)
        with k.loop(frame.channels, step=frame.lanes) as c:
            base = k.at(memory, k.add(k.mul(place, frame.channels), c), scalar)
            home = k.at(target, k.add(k.mul(number, tiles.channels), c), scalar)
            for nr, (h0, w0) in enumerate(phases):
                places = [[frame.at(h0 + h * stride[0], w0 + w * stride[1]) for w in columns_] for h in rows]
                x = [[k.load(base, place, frame.type) for place in row] for row in places]
                found = [value for values in transform(down, across, x) for value in values]
                for xi, value in enumerate(found):
                    k.store(value, home, xi * tiles.step + nr * frame.channels)


@dataclass(frozen=True)
class Pixels:
    """The pixels of a band, [image][row][column][channel], in whole tiles."""

    band: Band
    rows: int
    columns: int
    channels: int

    @property
    def room(self) -> int:
        return self.band.images * self.rows * self.columns * self.channels


def to_pixels(
    k: Emitter, tiles: Tiles, pixels: Pixels, down: Matrix, across: Matrix, d: dtype, memory: Val, target: Val,
    bias: Val | None,
) -> Val:  # fmt: skip
    """down @ y @ across^T of every tile's sums y, and the bias of every channel. Tells whether all are finite."""
    scalar, lanes, width = compute_type(d), width_of(d), len(across[0])
    type = vector(scalar, lanes)
    with k.loop(tiles.count, carried=[k.const(type, 0)]) as each:
        place = tiles.first(k, each.i, pixels.rows, pixels.columns, (1, 1))
        with k.loop(tiles.channels, step=lanes, carried=each.carried) as loop:
            base = k.at(memory, k.add(k.mul(each.i, tiles.channels), loop.i), scalar)
            home = k.at(target, k.add(k.mul(place, tiles.channels), loop.i), scalar)
            flat = [k.load(base, xi * tiles.step, type) for xi in range(tiles.products)]
            found = transform(down, across, [flat[at : at + width] for at in range(0, len(flat), width)])
            added = None if bias is None else k.load(bias, loop.i, type)
            zero = loop.carried[0]
            for h, w in combinations(range(M), range(M)):
                k.store(
                    found[h][w] if added is None else found[h][w] + added, home,
                    (h * pixels.columns + w) * tiles.channels,
                )  # fmt: skip
                zero = k.fma(found[h][w], 0.0, zero)
            loop.carry(zero)
        each.carry(loop.results[0])
    total = k.fold(each.results[0], k.add)
    return k.compare("eq", total, 0.0)
