"""Index arithmetic: how memory is walked, and in which order elements are reduced.

A window on memory is a shape with strides; its `Form` is the same window with as few dimensions as possible, so that
two windows that visit the same elements in the same order have equal forms. A reduction's `axes` are its dimensions
merged into alternating kept and reduced ones: they follow from shape and dimensions alone, and everything about the
order of a sum follows from them (`Order`), so that it is the same for every layout, in every kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

from flambeau.shape import Ints, contiguous_strides, view_strides


class Form(NamedTuple):
    """A window with dimensions of one element dropped and neighbours merged where strides allow."""

    extents: Ints
    strides: Ints


def form(shape: Sequence[int], strides: Sequence[int]) -> Form:
    extents: list[int] = []
    steps: list[int] = []
    for n, s in zip(shape, strides):
        if n == 1:
            continue
        if extents and steps[-1] == s * n:
            extents[-1] *= n
            steps[-1] = s
        else:
            extents.append(n)
            steps.append(s)
    return Form(tuple(extents), tuple(steps))


def flat(count: int) -> Form:
    """The form of `count` elements in a row."""
    return Form((count,), (1,)) if count != 1 else Form((), ())


class View(NamedTuple):
    """A shape with strides (in elements) and an offset, on some memory."""

    shape: Ints
    strides: Ints
    offset: int = 0

    @staticmethod
    def natural(shape: Ints) -> View:
        return View(shape, contiguous_strides(shape))

    def expanded(self, shape: Ints) -> View:
        """Broadcast to `shape`."""
        lead = len(shape) - len(self.shape)
        kept = [0 if n == 1 and to != 1 else s for n, s, to in zip(self.shape, self.strides, shape[lead:])]
        return View(shape, (0,) * lead + tuple(kept), self.offset)

    def reshaped(self, shape: Ints) -> View | None:
        """The same elements in the same order in another shape; None if no strides say that."""
        strides = view_strides(self.shape, self.strides, shape)
        return None if strides is None else View(shape, strides, self.offset)

    @property
    def form(self) -> Form:
        return form(self.shape, self.strides)


def overlaps_itself(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether two elements of a window may share memory (a safe guess)."""
    reach = 0
    for s, n in sorted((abs(s), n) for s, n in zip(strides, shape) if n > 1):
        if s <= reach:
            return True
        reach += s * (n - 1)
    return False


class Axis(NamedTuple):
    extent: int
    reduced: bool


Axes = tuple[Axis, ...]


def reduction_axes(shape: Sequence[int], dims: Sequence[int]) -> Axes:
    """Dimensions merged into alternating kept and reduced axes; those of one element are dropped."""
    axes: list[Axis] = []
    for d, n in enumerate(shape):
        if n == 1:
            continue
        reduced = d in dims
        if axes and axes[-1].reduced == reduced:
            axes[-1] = Axis(axes[-1].extent * n, reduced)
        else:
            axes.append(Axis(n, reduced))
    return tuple(axes)


_PARALLEL = 16  # independent results that keep every thread busy
_STRIP = 64  # columns that a thread takes at once
_WORTHWHILE = 65536  # elements below which one thread does it all
_BLOCK = 16384  # elements of a block of a split reduction, at least
_BLOCKS = 64  # of which there are at most so many
_WHOLE, _MANY = 8192, 1 << 22  # columns that had better be read as whole rows, if there are so many elements


class Order(NamedTuple):
    """In which order a reduction goes through its elements.

    `sweep`: lanes run along the innermost axis, which is reduced, and are added up at the end. Otherwise lanes are
    columns of the innermost axis, which is kept. `chunk`: few results from many elements: the outermost reduced axis is
    cut into `blocks` of `chunk`, whose results a second reduction combines (0: not cut).
    """

    sweep: bool
    chunk: int
    blocks: int

    def parts(self, rows: Ints) -> Ints:
        """The shape of the results of all blocks, in the order in which they are written: of columns, row by row."""
        return (*rows, self.blocks) if self.sweep else (self.blocks, *rows)


def reduction_order(axes: Axes) -> Order:
    sweep = axes[-1].reduced
    kept = prod(a.extent for a in axes if not a.reduced)
    total = prod(a.extent for a in axes)
    units = kept if sweep else kept // axes[-1].extent * -(-axes[-1].extent // _STRIP)
    longest = next(a.extent for a in axes if a.reduced)
    whole = not sweep and kept == axes[-1].extent <= _WHOLE and total >= _MANY
    if (units >= _PARALLEL and not whole) or total < _WORTHWHILE:
        return Order(sweep, 0, 0)
    blocks = min(longest, -(-total // _BLOCK), _BLOCKS)
    chunk = -(-longest // blocks)
    if chunk > 256:
        chunk += -chunk % 256  # whole vectors
    blocks = -(-longest // chunk)
    return Order(sweep, chunk, blocks) if blocks > 1 else Order(sweep, 0, 0)
