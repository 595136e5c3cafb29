"""Convolution in NumPy: windows gathered into columns, then one BLAS product; its two gradients the same way.

All functions take batches `x` [N, C, *spatial] and weights `w` [O, C/groups, *kernel] of any number of dimensions.
Images are taken a few at a time, so that their columns stay in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property, lru_cache
from itertools import product
from math import prod
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from flambeau.shape import Ints

COLUMN_ELEMENTS = 1 << 19  # of one block of columns: 2 MB in fp32
_FEW_POSITIONS = 96  # with fewer output positions than this, the images of a block share one product


class Window(NamedTuple):
    """How a kernel moves over its input: per dimension; `padding` has (before, after)."""

    stride: Ints
    padding: tuple[tuple[int, int], ...]
    dilation: Ints
    groups: int

    def out_size(self, size: Ints, kernel: Ints) -> Ints:
        """Spatial size of a convolution's output."""
        return tuple([
            (n + lo + hi - d * (k - 1) - 1) // s + 1
            for n, k, s, (lo, hi), d in zip(size, kernel, self.stride, self.padding, self.dilation)
        ])  # fmt: skip

    def taps(self, kernel: Ints, out: Ints) -> Iterator[tuple[Ints, tuple[slice, ...]]]:
        """Each kernel offset with the slices of the padded input that it meets."""
        for tap in product(*map(range, kernel)):
            yield tap, tuple([
                slice(i * d, i * d + (n - 1) * s + 1, s) for i, d, s, n in zip(tap, self.dilation, self.stride, out)
            ])  # fmt: skip


class _Plan:
    """What is known of a convolution by its sizes alone, worked out once for each."""

    def __init__(self, x_shape: Ints, w_shape: Ints, window: Window) -> None:
        self.window, self.x_shape, self.w_shape = window, x_shape, w_shape
        self.batch, self.channels = x_shape[:2]
        self.kernel = w_shape[2:]
        self.out = window.out_size(x_shape[2:], self.kernel)
        self.groups = window.groups
        self.in_group, self.out_group = w_shape[1], w_shape[0] // window.groups
        self.depth = self.in_group * prod(self.kernel)  # length of the sums
        self.positions = prod(self.out)
        self.padded = any(lo or hi for lo, hi in window.padding)

    @cached_property
    def taps(self) -> list[tuple[Ints, tuple[slice, ...]]]:
        return list(self.window.taps(self.kernel, self.out))

    @cached_property
    def pointwise(self) -> bool:
        """A 1x1 kernel that steps over every pixel: the input is its own columns."""
        return not self.padded and prod(self.kernel) == 1 and prod(self.window.stride) == 1

    @cached_property
    def depthwise(self) -> bool:
        """One input channel a group: a product would have sums too short for BLAS."""
        return self.in_group == 1 and self.groups > 1

    @cached_property
    def folded(self) -> bool:
        return self.positions < _FEW_POSITIONS and self.batch > 1 and not self.pointwise

    def blocks(self) -> Iterator[slice]:
        per_image = max(1, self.channels * prod(self.kernel) * self.positions)
        # large weights are read once a block: then a block has to be worth it
        step = max(1, max(COLUMN_ELEMENTS, 2 * prod(self.w_shape)) // per_image)
        for start in range(0, self.batch, step):
            yield slice(start, min(start + step, self.batch))

    def columns(self, x: np.ndarray, folded: bool) -> np.ndarray:
        """Padded images as [n, groups, depth, positions], or folded as [groups, depth, n * positions]."""
        n, steps = x.shape[0], x.strides
        if self.pointwise and not folded:
            return np.ascontiguousarray(x).reshape(n, self.groups, self.depth, self.positions)
        w = self.window
        inner = tuple([s * d for s, d in zip(steps[2:], w.dilation)])
        outer = tuple([s * d for s, d in zip(steps[2:], w.stride)])
        if folded:
            shape = (self.channels, *self.kernel, n, *self.out)
            view = as_strided(x, shape, (steps[1], *inner, steps[0], *outer), writeable=False)
            return np.array(view, order="C").reshape(self.groups, self.depth, n * self.positions)
        shape = (n, self.channels, *self.kernel, *self.out)
        view = as_strided(x, shape, (steps[0], steps[1], *inner, *outer), writeable=False)
        return np.array(view, order="C").reshape(n, self.groups, self.depth, self.positions)


@lru_cache(512)
def _plan(x_shape: Ints, w_shape: Ints, window: Window) -> _Plan:
    return _Plan(x_shape, w_shape, window)


def pad(x: np.ndarray, padding: tuple[tuple[int, int], ...]) -> np.ndarray:
    """`x` with zeros around its spatial dimensions; `x` itself if there are none to add."""
    if not any(lo or hi for lo, hi in padding):
        return x
    lead = x.ndim - len(padding)
    out = np.zeros((*x.shape[:lead], *[n + lo + hi for n, (lo, hi) in zip(x.shape[lead:], padding)]), x.dtype)
    out[(..., *[slice(lo, lo + n) for n, (lo, _) in zip(x.shape[lead:], padding)])] = x
    return out


def crop(x: np.ndarray, padding: tuple[tuple[int, int], ...]) -> np.ndarray:
    """The inverse of `pad`."""
    if not any(lo or hi for lo, hi in padding):
        return x
    return x[(..., *[slice(lo, n - hi) for n, (lo, hi) in zip(x.shape[x.ndim - len(padding) :], padding)])]


def forward(x: np.ndarray, w: np.ndarray, b: np.ndarray | None, window: Window) -> np.ndarray:
    """The convolution [N, O, *out]."""
    plan = _plan(x.shape, w.shape, window)
    out = np.empty((plan.batch, w.shape[0], *plan.out), x.dtype)
    if plan.depth == 0 or out.size == 0:
        out[...] = 0
    elif plan.depthwise:
        _depthwise(plan, pad(x, window.padding), w, out)
    else:
        _by_columns(plan, pad(x, window.padding), w, out)
    if b is not None:
        out += b.reshape(-1, *(1,) * len(plan.out))
    return out


def _by_columns(plan: _Plan, x: np.ndarray, w: np.ndarray, out: np.ndarray) -> None:
    w = np.ascontiguousarray(w).reshape(plan.groups, plan.out_group, plan.depth)
    flat = out.reshape(plan.batch, plan.groups, plan.out_group, plan.positions)
    for block in plan.blocks():
        columns = plan.columns(x[block], plan.folded)
        if plan.folded:
            product_ = np.matmul(w, columns).reshape(plan.groups, plan.out_group, -1, plan.positions)
            flat[block] = product_.transpose(2, 0, 1, 3)
        else:
            np.matmul(w, columns, out=flat[block])


def _depthwise(plan: _Plan, x: np.ndarray, w: np.ndarray, out: np.ndarray) -> None:
    flat = out.reshape(plan.batch, plan.groups, plan.out_group, *plan.out)
    w = w.reshape(plan.groups, plan.out_group, *plan.kernel, *(1,) * len(plan.out))
    flat[...] = 0
    term = np.empty_like(flat)
    for tap, part in plan.taps:
        np.multiply(x[(slice(None), slice(None), *part)][:, :, None], w[(slice(None), slice(None), *tap)], out=term)
        flat += term


def weight_gradient(g: np.ndarray, x: np.ndarray, w_shape: Ints, window: Window) -> np.ndarray:
    """The gradient of the weights, given that of the output and the input."""
    plan = _plan(x.shape, tuple(w_shape), window)
    if plan.depth == 0 or g.size == 0:
        return np.zeros(w_shape, x.dtype)
    x = pad(x, window.padding)
    if plan.depthwise:
        return _depthwise_weight_gradient(plan, g, x)
    total = np.zeros((plan.groups, plan.out_group, plan.depth), x.dtype)
    for block in plan.blocks():
        part = g[block].reshape(-1, plan.groups, plan.out_group, plan.positions)
        if part.shape[0] == 1:
            total += np.matmul(part[0], plan.columns(x[block], False)[0].swapaxes(1, 2))
            continue
        rows = np.ascontiguousarray(part.transpose(1, 2, 0, 3)).reshape(plan.groups, plan.out_group, -1)
        total += np.matmul(rows, plan.columns(x[block], True).swapaxes(1, 2))
    return total.reshape(w_shape)


def _depthwise_weight_gradient(plan: _Plan, g: np.ndarray, x: np.ndarray) -> np.ndarray:
    out = np.empty(plan.w_shape, x.dtype)
    by_group = out.reshape(plan.groups, plan.out_group, *plan.kernel)
    g = g.reshape(plan.batch, plan.groups, plan.out_group, *plan.out)
    axes = (0, *range(3, g.ndim))
    term = np.empty_like(g)
    for tap, part in plan.taps:
        np.multiply(g, x[(slice(None), slice(None), *part)][:, :, None], out=term)
        by_group[(slice(None), slice(None), *tap)] = term.sum(axes)
    return out


def input_gradient(g: np.ndarray, w: np.ndarray, x_shape: Ints, window: Window) -> np.ndarray:
    """The gradient of the input, given that of the output and the weights; also the transposed convolution."""
    plan = _plan(tuple(x_shape), w.shape, window)
    padded = (*x_shape[:2], *[n + lo + hi for n, (lo, hi) in zip(x_shape[2:], window.padding)])
    if plan.pointwise and plan.depth and g.size:
        return _pointwise_input_gradient(plan, g, w).reshape(x_shape)
    out = np.zeros(padded, g.dtype)
    if plan.depth == 0 or g.size == 0:
        pass
    elif plan.depthwise:
        grouped = g.reshape(plan.batch, plan.groups, plan.out_group, *plan.out)
        w = w.reshape(plan.groups, plan.out_group, *plan.kernel, *(1,) * len(plan.out))
        term = np.empty_like(grouped)
        for tap, part in plan.taps:
            np.multiply(grouped, w[(slice(None), slice(None), *tap)], out=term)
            out[(slice(None), slice(None), *part)] += term[:, :, 0] if plan.out_group == 1 else term.sum(2)
    else:
        _scatter_columns(plan, g, w, out)
    inner = crop(out, window.padding)
    return inner if inner is out else np.ascontiguousarray(inner)


def _pointwise_input_gradient(plan: _Plan, g: np.ndarray, w: np.ndarray) -> np.ndarray:
    w = w.reshape(plan.groups, plan.out_group, plan.depth).swapaxes(1, 2)
    g = np.ascontiguousarray(g).reshape(plan.batch, plan.groups, plan.out_group, plan.positions)
    return np.matmul(w, g)


def _scatter_columns(plan: _Plan, g: np.ndarray, w: np.ndarray, out: np.ndarray) -> None:
    """Add the columns `w^T g` into the places that they were gathered from, one kernel offset at a time."""
    w = np.ascontiguousarray(w).reshape(plan.groups, plan.out_group, plan.depth).swapaxes(1, 2)
    taps = plan.taps
    for block in plan.blocks():
        part = g[block].reshape(-1, plan.groups, plan.out_group, plan.positions)
        n = part.shape[0]
        target = out[block]
        if plan.folded and n > 1:
            rows = np.ascontiguousarray(part.transpose(1, 2, 0, 3)).reshape(plan.groups, plan.out_group, -1)
            columns = np.matmul(w, rows).reshape(plan.channels, len(taps), n, *plan.out)
            target = target.swapaxes(0, 1)
            for k, (_, places) in enumerate(taps):
                target[(slice(None), slice(None), *places)] += columns[:, k]
            continue
        columns = np.matmul(w, np.ascontiguousarray(part)).reshape(n, plan.channels, len(taps), *plan.out)
        for k, (_, places) in enumerate(taps):
            target[(slice(None), slice(None), *places)] += columns[:, :, k]
