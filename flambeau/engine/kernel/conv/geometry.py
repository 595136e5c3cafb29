"""What a convolution is to the kernels: pixels that sum taps of a source, without knowing which pass asks for them.

Everything is three-dimensional (depth, height, width), fewer dimensions being sizes of 1. `Shape` is a convolution as
users know it. `Product` is what kernels compute, and all passes but the weights' gradient come down to it:

    out[n, o, p] = bias[o] + sum over c, t of weight[o, c, t] * source[n, c, step * p + tap_t]

The forward pass is one product. The input's gradient is one for every residue of the input's pixels by the stride: each
is an ordinary convolution of the output's gradient with the taps that reach that residue, and writes every stride-th
pixel. So no multiplication is spent on zeros between the pixels.
"""

from __future__ import annotations

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

    @property
    def pixels(self) -> int:
        return self.batch * prod(self.grid)

    @property
    def flops(self) -> float:
        return 2.0 * self.pixels * self.groups * self.width * self.depth * len(self.taps)


def source_taps(shape: Shape, source: Layout) -> Ints:
    """Offsets of a window's taps in a source that begins with the padding."""
    places = combinations(*map(range, shape.kernel))
    return tuple([source.offset(tuple([i * d for i, d in zip(place, shape.dilation)])) for place in places])


def forward(shape: Shape, source: Layout, result: Layout) -> Product:
    """The forward pass over a source that begins with the padding."""
    return Product(
        shape.batch, shape.groups, shape.inputs, shape.outputs, shape.out, source, source.steps(shape.stride),
        source_taps(shape, source), shape.outputs * shape.inputs * shape.taps, shape.inputs * shape.taps, shape.taps,
        tuple(range(shape.taps)), result.batch, result.channel, result.dims, 0,
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
    shape: Shape, residues: list[list[Residue]], low: Ints, source: Layout, result: Layout
) -> list[Product]:
    """The products that together are the input's gradient, over a source that begins with the margin `low`."""
    products = []
    for combination in combinations(*residues):
        taps, weights = [], []
        for chosen in combinations(*[r.taps for r in combination]):
            number = 0
            for (t, _), k in zip(chosen, shape.kernel):
                number = number * k + t
            taps.append(source.offset(tuple([place + margin for (_, place), margin in zip(chosen, low)])))
            weights.append(number)
        products.append(
            Product(
                shape.batch, shape.groups, shape.outputs, shape.inputs, tuple([r.count for r in combination]), source,
                source.steps((1,) * DIMS), tuple(taps), shape.outputs * shape.inputs * shape.taps, shape.taps,
                shape.inputs * shape.taps, tuple(weights), result.batch, result.channel,
                tuple([s * d for s, d in zip(shape.stride, result.dims)]),
                sum(r.first * d for r, d in zip(combination, result.dims)),
            )
        )  # fmt: skip
    return products
