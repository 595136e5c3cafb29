"""What a convolution is to the kernels: pixels that sum taps of a source, without knowing which pass asks for them.

Everything is three-dimensional (depth, height, width), fewer dimensions being sizes of 1. `Shape` is a convolution as
users know it. `Product` is what kernels compute, and all passes but the weights' gradient come down to it:

    out[n, o, p] = bias[o] + sum over c, t of weight[o, c, t] * source[n, c, step * p + tap_t]

The forward pass is one product. The input's gradient is one for every residue of the input's pixels by the stride: each
is an ordinary convolution of the output's gradient with the taps that reach that residue, and writes every stride-th
pixel. So no multiplication is spent on zeros between the pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product as combinations
from math import prod
from typing import Any, NamedTuple

from flambeau.shape import Ints

DIMS = 3


@dataclass(frozen=True)
class Shape:
    """Sizes of a convolution; channels are those of one group."""

    batch: int
    groups: int
    inputs: int
    outputs: int
    size: Ints
    kernel: Ints
    out: Ints
    stride: Ints
    low: Ints  # zeros before the input
    dilation: Ints

    @classmethod
    def of(cls, x_shape: Ints, w_shape: Ints, window: Any) -> Shape:
        missing = DIMS - len(x_shape) + 2
        ones, none = (1,) * missing, (0,) * missing
        out = window.out_size(tuple(x_shape[2:]), tuple(w_shape[2:]))
        return cls(
            x_shape[0], window.groups, w_shape[1], w_shape[0] // window.groups, (*ones, *x_shape[2:]),
            (*ones, *w_shape[2:]), (*ones, *out), (*ones, *window.stride),
            (*none, *[low for low, _ in window.padding]), (*ones, *window.dilation),
        )  # fmt: skip

    @property
    def taps(self) -> int:
        return prod(self.kernel)

    def reach(self) -> Ints:
        """Pixels of the padded input that windows touch, per dimension."""
        return tuple([
            (n - 1) * s + d * (k - 1) + 1 for n, s, d, k in zip(self.out, self.stride, self.dilation, self.kernel)
        ])  # fmt: skip


class Layout(NamedTuple):
    """How a source lies in memory, in elements.

    With `split` > 1 a row holds first the pixels 0, split, 2 * split ..., then 1, split + 1 ..., each part `part`
    elements long: what strided windows read is then side by side.
    """

    batch: int
    channel: int
    dims: Ints
    split: int = 1
    part: int = 0

    @classmethod
    def of(cls, strides: Ints) -> Layout:
        """The layout of [N, C, *spatial] with these strides."""
        return cls(strides[0], strides[1], (*(0,) * (DIMS + 2 - len(strides)), *strides[2:]))

    def offset(self, place: Ints) -> int:
        """Of a pixel from the first one."""
        d, h, w = place
        column = w * self.dims[2] if self.split == 1 else w % self.split * self.part + w // self.split
        return d * self.dims[0] + h * self.dims[1] + column

    def steps(self, stride: Ints) -> Ints:
        """From one window to the next, per dimension."""
        columns = stride[2] * self.dims[2] if self.split == 1 else stride[2] // self.split
        return stride[0] * self.dims[0], stride[1] * self.dims[1], columns


class Span(NamedTuple):
    """The taps of a pixel that lie inside the source, in one dimension: a range of their numbers."""

    start: int
    stop: int

    @classmethod
    def of(cls, pixel: int, places: Sequence[int], size: int) -> Span:
        """`places` are where the taps lie, from the pixel on."""
        inside = [nr for nr, place in enumerate(places) if 0 <= pixel + place < size]
        return cls(inside[0], inside[-1] + 1) if inside else cls(0, 0)


@dataclass(frozen=True)
class Product:
    """One launch's worth of a convolution. Offsets and steps are in elements; `weight_*` index the weights as given."""

    batch: int
    groups: int
    depth: int  # channels summed over, in a group
    width: int  # channels produced, in a group
    grid: Ints  # pixels produced
    source: Layout
    steps: Ints  # in the source, from pixel to pixel
    taps: Ints  # offsets in the source
    weight_group: int
    weight_out: int
    weight_in: int
    weight_taps: Ints
    out_batch: int
    out_channel: int
    out_steps: Ints
    out_first: int  # offset of the first pixel in the result
    places: tuple[Ints, ...]  # per dimension, where the taps lie from the pixel on, in the source without margin
    stride: Ints  # pixels of the source from one pixel to the next
    size: Ints  # of the source without margin

    def spans(self, dim: int) -> list[Span]:
        """For every pixel of a dimension, its taps that lie inside the source."""
        places, stride, size = self.places[dim], self.stride[dim], self.size[dim]
        return [Span.of(pixel * stride, places, size) for pixel in range(self.grid[dim])]

    @property
    def pixels(self) -> int:
        return self.batch * prod(self.grid)

    @property
    def inner_taps(self) -> tuple[float, ...]:
        """How many taps of a pixel lie inside the source, per dimension and on average."""
        spans = [self.spans(dim) for dim in range(DIMS)]
        return tuple([sum(span.stop - span.start for span in of_dim) / len(of_dim) for of_dim in spans])

    @property
    def flops(self) -> float:
        return 2.0 * self.pixels * self.groups * self.width * self.depth * len(self.taps)


def source_taps(shape: Shape, source: Layout) -> Ints:
    """Offsets of a window's taps in a source that begins with the padding."""
    return _offsets(source, _forward_places(shape), shape.low)


def _forward_places(shape: Shape) -> list[list[int]]:
    """Where a window's taps lie, from the place of its pixel on; per dimension."""
    return [
        [i * d - low for i in range(k)] for k, d, low in zip(shape.kernel, shape.dilation, shape.low)
    ]  # fmt: skip


def _offsets(source: Layout, places: list[list[int]], margin: Ints) -> Ints:
    """Offsets of taps in a source with a margin."""
    return tuple([
        source.offset(tuple([at + m for at, m in zip(place, margin)])) for place in combinations(*places)
    ])  # fmt: skip


def forward(shape: Shape, source: Layout, margin: Ints, result: Layout) -> Product:
    """The forward pass over a source that begins with the margin."""
    places = _forward_places(shape)
    return Product(
        shape.batch, shape.groups, shape.inputs, shape.outputs, shape.out, source, source.steps(shape.stride),
        _offsets(source, places, margin), shape.outputs * shape.inputs * shape.taps, shape.inputs * shape.taps,
        shape.taps, tuple(range(shape.taps)), result.batch, result.channel, result.dims, 0,
        tuple(map(tuple, places)), shape.stride, shape.size,
    )  # fmt: skip


def of_columns(shape: Shape, room: int, result: Layout) -> Product:
    """The forward pass over columns of `room` elements: every channel and tap is a channel of a 1x1 convolution."""
    depth, area = shape.inputs * shape.taps, prod(shape.out)
    source = Layout(shape.groups * depth * room, room, (0, 0, 1))
    return Product(
        shape.batch, shape.groups, depth, shape.outputs, (1, 1, area), source, (0, 0, 1), (0,), shape.outputs * depth,
        depth, 1, (0,), result.batch, result.channel, (0, 0, 1), 0, ((0,),) * DIMS, (1,) * DIMS,
        (1, 1, area),
    )  # fmt: skip


class Residue(NamedTuple):
    """The input's pixels of one dimension that lie at `residue` modulo the stride."""

    first: int  # pixel of the input
    count: int
    taps: tuple[tuple[int, int], ...]  # number of a tap, and the output's pixel that it joins to the first pixel


def _residues(size: int, stride: int, low: int, kernel: int, dilation: int) -> list[Residue]:
    found = []
    for residue in range(stride):
        start = -((residue - low) // stride) if low > residue else 0  # the first i with i * stride + residue >= low
        first = start * stride + residue - low
        count = -(-(size - first) // stride)
        taps = [
            (t, start + (residue - t * dilation) // stride)
            for t in range(kernel) if (residue - t * dilation) % stride == 0
        ]  # fmt: skip
        if count > 0:
            found.append(Residue(first, count, tuple(taps)))
    return found


def gradient_residues(shape: Shape) -> list[list[Residue]]:
    """Per dimension."""
    return [
        _residues(*sizes)
        for sizes in zip(shape.size, shape.stride, shape.low, shape.kernel, shape.dilation)
    ]  # fmt: skip


def gradient_margins(residues: list[list[Residue]], size: Ints) -> tuple[Ints, Ints]:
    """How many zeros before and after the output's gradient (of spatial `size`) its products read."""
    low, high = [], []
    for of_dim, n in zip(residues, size):
        starts = [place for r in of_dim for _, place in r.taps]
        ends = [place + r.count - 1 for r in of_dim for _, place in r.taps]
        low.append(max(0, -min(starts, default=0)))
        high.append(max(0, max(ends, default=0) - (n - 1)))
    return tuple(low), tuple(high)


def input_gradient(
    shape: Shape, residues: list[list[Residue]], size: Ints, source: Layout, margin: Ints, result: Layout
) -> list[Product]:
    """The products that together are the input's gradient, over a source of `size` that begins with the margin."""
    products = []
    for combination in combinations(*residues):
        places = [[place for _, place in r.taps] for r in combination]
        weights = []
        for chosen in combinations(*[[t for t, _ in r.taps] for r in combination]):
            number = 0
            for t, k in zip(chosen, shape.kernel):
                number = number * k + t
            weights.append(number)
        grid = tuple([r.count for r in combination])
        products.append(
            Product(
                shape.batch, shape.groups, shape.outputs, shape.inputs, grid, source, source.steps((1,) * DIMS),
                _offsets(source, places, margin), shape.outputs * shape.inputs * shape.taps, shape.taps,
                shape.inputs * shape.taps, tuple(weights), result.batch, result.channel,
                tuple([s * d for s, d in zip(shape.stride, result.dims)]),
                sum(r.first * d for r, d in zip(combination, result.dims)),
                tuple(map(tuple, places)), (1,) * DIMS, size,
            )
        )  # fmt: skip
    return products
