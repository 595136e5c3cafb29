"""Winograd's convolutions of small windows: fewer multiplications, for additions before and after them.

Two neighbouring pixels that sum r taps each need r + 1 products instead of 2r (Winograd 1980; Lavin and Gray 2015):

    y = A^T [(G w) * (B^T x)]

and in two dimensions (r + 1)^2 instead of 4r^2: 16 instead of 36 for windows of 3x3. What is left between the
transforms are (r + 1)^2 ordinary matrix products over channels. All factors are 0, 1, -1 or 1/2, so that a result is as
exact as that of the direct sum, to a bit or two. Where values are infinite or NaN it is not: kernels notice, and sum
directly.

This file has the transforms, and what a product must look like to be computed so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

from flambeau.engine.kernel.conv.geometry import Product
from flambeau.engine.kernel.emit import Val

M = 2  # pixels of a tile, per dimension
Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Transform:
    """The matrices of F(2, r): of the source's pixels (B^T), the weights (G) and the sums (A^T)."""

    source: Matrix
    weights: Matrix
    sums: Matrix

    @property
    def size(self) -> int:
        return len(self.source)


TRANSFORMS = {
    1: Transform(((1, 0), (0, 1)), ((1,), (1,)), ((1, 0), (0, 1))),
    2: Transform(((1, -1, 0), (0, 1, 0), (0, -1, 1)), ((1, 0), (1, 1), (0, 1)), ((1, 1, 0), (0, 1, 1))),
    3: Transform(
        ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1)),
        ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1)),
        ((1, 1, 1, 0), (0, 1, -1, -1)),
    ),
}  # fmt: skip
"""By the number of taps."""


def transposed(matrix: Matrix) -> Matrix:
    return tuple(zip(*matrix))


def _line(matrix: Matrix, x: Sequence[Val]) -> list[Val]:
    """matrix @ x; what has a factor other than 1 is multiplied once for all."""
    found = []
    for row in matrix:
        parts = []
        for size in sorted({abs(factor) for factor in row if factor}, reverse=True):
            part = _signed([(factor > 0, value) for factor, value in zip(row, x) if abs(factor) == size])
            parts.append((True, part if size == 1 else part * size))
        found.append(_signed(parts))
    return found


def _signed(terms: list[tuple[bool, Val]]) -> Val:
    """The sum of terms, those that are marked False with a minus."""
    terms = sorted(terms, key=lambda term: not term[0])
    total = terms[0][1] if terms[0][0] else -terms[0][1]
    for positive, value in terms[1:]:
        total = total + value if positive else total - value
    return total


def transform(down: Matrix, across: Matrix, x: Sequence[Sequence[Val]]) -> list[list[Val]]:
    """down @ x @ across^T"""
    columns = [_line(down, column) for column in zip(*x)]
    return [_line(across, row) for row in zip(*columns)]


@dataclass(frozen=True)
class Side:
    """One dimension of a product: pixels, and the windows of the source that they sum."""

    count: int  # pixels
    size: int  # of the source
    stride: int
    low: int  # how far before a pixel's place its window begins
    taps: int  # of one phase: every stride-th of the window
    more: int = 0  # pixels of the source that windows of other products with the same frame reach further

    @property
    def tiles(self) -> int:
        return -(-self.count // M)

    @property
    def transform(self) -> Transform:
        return TRANSFORMS[self.taps]

    def reach(self, tiles: int) -> int:
        """Pixels of the source that so many tiles read."""
        return self.stride * (M * tiles + self.taps - 1) + self.more

    @classmethod
    def of(cls, product: Product, dim: int) -> Side | None:
        """None if its taps are no windows that there is a transform for."""
        places, stride = product.places[dim], product.stride[dim]
        consecutive = sorted(places) == list(range(min(places, default=0), max(places, default=0) + 1))
        if not places or not consecutive or len(places) % stride or len(places) // stride not in TRANSFORMS:
            return None
        return cls(product.grid[dim], product.size[dim], stride, -min(places), len(places) // stride)


@dataclass(frozen=True)
class Sides:
    """Height and width of a product. With a stride, every phase of the window is a depth of its own."""

    height: Side
    width: Side

    @classmethod
    def of(cls, product: Product) -> Sides | None:
        """None if the product cannot be computed so."""
        if product.groups > 1 or product.grid[0] > 1 or product.size[0] > 1 or len(product.places[0]) != 1:
            return None
        height, width = Side.of(product, 1), Side.of(product, 2)
        if height is None or width is None or height.taps * width.taps < 4:
            return None
        return cls(height, width)

    @property
    def tiles(self) -> int:
        """Of an image."""
        return self.height.tiles * self.width.tiles

    @property
    def products(self) -> int:
        """Of numbers, for a tile."""
        return self.height.transform.size * self.width.transform.size

    @property
    def phases(self) -> list[tuple[int, int]]:
        return [(h, w) for h in range(self.height.stride) for w in range(self.width.stride)]

    def taps(self, product: Product) -> list[list[list[int]]]:
        """The numbers of a product's taps, by phase, row and column of the window."""
        down, across = (sorted(range(len(places)), key=places.__getitem__) for places in product.places[1:])
        found = []
        for h, w in self.phases:
            rows, columns = down[h :: self.height.stride], across[w :: self.width.stride]
            found.append([[row * len(across) + column for column in columns] for row in rows])
        return found

    def window(self, product: Product) -> tuple[int, ...]:
        """Where the taps of a product's window lie in the weights, in the order of their places."""
        down, across = (sorted(range(len(places)), key=places.__getitem__) for places in product.places[1:])
        return tuple([product.weight_taps[row * len(across) + column] for row in down for column in across])


@dataclass(frozen=True)
class Residue:
    """What is its own of one of several products over the same source."""

    down: int  # where its windows begin in the frame
    across: int
    first: int  # offset of its first pixel in the result
    tap: int  # offset of its windows' first tap in the weights, from that of the first product


def together(products: Sequence[Product]) -> tuple[Sides, tuple[Residue, ...]] | None:
    """Products that differ in no size as one, over a frame that has the windows of all; None if they do differ."""
    found = [Sides.of(product) for product in products]
    sides = [each for each in found if each is not None]
    tops, lefts = [each.height.low for each in sides], [each.width.low for each in sides]
    if len(sides) < len(products) or len({_placeless(each) for each in sides}) != 1:
        return None
    top, left = max(tops), max(lefts)
    height = replace(sides[0].height, low=top, more=top - min(tops))
    width = replace(sides[0].width, low=left, more=left - min(lefts))
    taps = [each.window(p) for each, p in zip(sides, products)]
    if len({_relative(window) for window in taps}) != 1:
        return None
    residues = [
        Residue(top - h, left - w, p.out_first, window[0] - taps[0][0])
        for h, w, p, window in zip(tops, lefts, products, taps)
    ]  # fmt: skip
    return Sides(height, width), tuple(residues)


def _relative(window: tuple[int, ...]) -> tuple[int, ...]:
    return tuple([tap - window[0] for tap in window])


def _placeless(sides: Sides) -> Sides:
    """Without where windows begin."""
    return Sides(replace(sides.height, low=0), replace(sides.width, low=0))


@dataclass(frozen=True)
class Band:
    """What is transformed at once: whole images, or rows of tiles of one."""

    images: int
    rows: int  # of tiles

    @classmethod
    def of(cls, batch: int, sides: Sides, most: int) -> Band:
        """As many tiles as there may be, such that bands are equal: `most`, or a row."""
        height, per_row = sides.height, sides.width.tiles
        if sides.tiles <= most:
            return cls(max(n for n in range(1, batch + 1) if batch % n == 0 and n * sides.tiles <= most), height.tiles)
        if height.count % M:
            return cls(1, height.tiles)
        fitting = [n for n in range(1, height.tiles + 1) if height.tiles % n == 0 and n * per_row <= most]
        return cls(1, max(fitting, default=1))

    def tiles(self, sides: Sides) -> int:
        return self.images * self.rows * sides.width.tiles

    def count(self, batch: int, sides: Sides) -> int:
        """Of bands."""
        return batch // self.images * (sides.height.tiles // self.rows)

    def frame(self, sides: Sides) -> tuple[int, int, int]:
        """Images, rows and columns of the source that a band reads."""
        return self.images, sides.height.reach(self.rows), sides.width.reach(sides.width.tiles)

    def pixels(self, sides: Sides) -> int:
        """Of the source that a band reads."""
        return prod(self.frame(sides))
