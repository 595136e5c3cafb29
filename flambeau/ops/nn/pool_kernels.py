"""Pooling in NumPy: windows are gone through one tap at a time, each tap for all windows at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import product
from math import prod
from typing import NamedTuple

import numpy as np

from flambeau.shape import Ints


class Pool(NamedTuple):
    """The windows of a pooling op, per dimension."""

    kernel: Ints
    stride: Ints
    padding: Ints
    dilation: Ints
    ceil_mode: bool = False

    def out_size(self, size: Ints) -> Ints:
        """Spatial size of the result; with `ceil_mode` a last window may hang over, if it starts inside."""
        found = []
        for n, k, s, p, d in zip(size, self.kernel, self.stride, self.padding, self.dilation):
            span = n + 2 * p - d * (k - 1) - 1
            out = (span + (s - 1 if self.ceil_mode else 0)) // s + 1
            if self.ceil_mode and (out - 1) * s >= n + p:
                out -= 1
            found.append(out)
        return tuple(found)

    def reach(self, out: Ints) -> Ints:
        """Size of the padded input that all windows together cover."""
        return tuple(
            [(n - 1) * s + d * (k - 1) + 1 for n, s, d, k in zip(out, self.stride, self.dilation, self.kernel)]
        )

    def taps(self, out: Ints) -> Iterator[tuple[Ints, tuple]]:
        for tap in product(*map(range, self.kernel)):
            yield tap, (..., *[
                slice(t * d, t * d + (n - 1) * s + 1, s) for t, d, s, n in zip(tap, self.dilation, self.stride, out)
            ])  # fmt: skip

    def overlap(self) -> bool:
        return any(s < d * (k - 1) + 1 for k, s, d in zip(self.kernel, self.stride, self.dilation))


def _lowest(d: np.dtype) -> object:
    return -np.inf if d.kind == "f" else np.iinfo(d).min


def padded(x: np.ndarray, pool: Pool, out: Ints, fill: object) -> np.ndarray:
    """The input with `fill` around it, exactly as far as windows reach."""
    n = len(out)
    size, reach = x.shape[-n:], pool.reach(out)
    if not any(pool.padding) and all(r <= s for r, s in zip(reach, size)):
        return x
    whole = np.full((*x.shape[:-n], *[max(r, s + p) for r, s, p in zip(reach, size, pool.padding)]), fill, x.dtype)
    whole[(..., *[slice(p, p + s) for p, s in zip(pool.padding, size)])] = x
    return whole


def max_pool(x: np.ndarray, pool: Pool, out: Ints) -> tuple[np.ndarray, np.ndarray]:
    """The largest element of each window, and its flat index in the input's spatial dimensions."""
    whole = padded(x, pool, out, _lowest(x.dtype))
    taps = pool.taps(out)
    best = np.array(whole[next(taps)[1]], order="C")
    which = np.zeros(best.shape, np.uint8 if prod(pool.kernel) < 256 else np.intp)
    has_nan = x.dtype.kind == "f" and bool(np.isnan(x.sum()))
    for number, (_, window) in enumerate(taps, 1):
        candidate = whole[window]
        larger = candidate > best
        if has_nan:
            larger |= candidate != candidate
        # the last tap that was larger has the highest number
        np.maximum(which, larger * which.dtype.type(number), out=which)
        np.maximum(best, candidate, out=best)
    return best, _flat_index(which, x.shape[-len(out) :], pool, out)


def _flat_index(which: np.ndarray, size: Ints, pool: Pool, out: Ints) -> np.ndarray:
    """Flat input indices from the numbers of the winning taps."""
    n = len(out)
    if not any(pool.padding):
        offset, start = _linear_index(size, pool, out)
        index = np.take(offset, which)
        index += start
        return index
    index = np.zeros(which.shape, np.int64)
    tap = np.unravel_index(which, pool.kernel)
    for d in range(n):
        start = np.arange(out[d]) * pool.stride[d] - pool.padding[d]
        # a window of nothing but -inf keeps its first tap, which may lie in the padding
        place = np.maximum(start.reshape(-1, *(1,) * (n - 1 - d)) + tap[d] * pool.dilation[d], 0)
        index = index * size[d] + place
    return index


@lru_cache(256)
def _linear_index(size: Ints, pool: Pool, out: Ints) -> tuple[np.ndarray, np.ndarray]:
    """Flat index of each tap from the start of its window, and of each window's start."""
    steps = [prod(size[d + 1 :]) for d in range(len(out))]
    offset, start = np.zeros((), np.int64), np.zeros((), np.int64)
    for count, dilation, step in zip(pool.kernel, pool.dilation, steps):
        offset = offset[..., None] + np.arange(count) * (dilation * step)
    for length, stride, step in zip(out, pool.stride, steps):
        start = start[..., None] + np.arange(length) * (stride * step)
    return offset.reshape(-1), start


def scatter(g: np.ndarray, index: np.ndarray, size: Ints, overlap: bool) -> np.ndarray:
    """Elements of `g` put (or, where indices may repeat, added) at flat spatial indices of a zero array."""
    lead, area = g.shape[: g.ndim - len(size)], prod(size)
    out = np.zeros((*lead, *size), g.dtype)
    planes, each = prod(lead), prod(g.shape[len(lead) :])
    at = index.reshape(planes, each) + np.arange(planes)[:, None] * area
    if overlap:
        np.add.at(out.reshape(-1), at.reshape(-1), np.ascontiguousarray(g).reshape(-1))
    else:
        out.reshape(-1)[at] = g.reshape(planes, each)
    return out


def gather(x: np.ndarray, index: np.ndarray, dims: int) -> np.ndarray:
    """Elements of `x` at flat indices of its last `dims` dimensions."""
    lead = x.shape[: x.ndim - dims]
    area, each = prod(x.shape[len(lead) :]), prod(index.shape[len(lead) :])
    flat = np.take_along_axis(x.reshape(*lead, area), index.reshape(*lead, each), -1)
    return flat.reshape(index.shape)


def divisors(
    size: Ints, pool: Pool, out: Ints, count_include_pad: bool, override: int | None, dtype: np.dtype
) -> np.ndarray:
    """How many elements each window of an average counts, to broadcast against the result."""
    if override is not None:
        return np.asarray(override, dtype)
    counts = np.ones((), dtype)
    for n, k, s, p, length in zip(size, pool.kernel, pool.stride, pool.padding, out):
        start = np.arange(length) * s - p
        end = np.minimum(start + k, n + p)
        if not count_include_pad:
            start, end = np.maximum(start, 0), np.minimum(end, n)
        counts = counts[..., None] * (end - start).astype(dtype)
    return counts


def sum_pool(x: np.ndarray, pool: Pool, out: Ints) -> np.ndarray:
    """The sum of each window."""
    whole = padded(x, pool, out, 0)
    taps = pool.taps(out)
    total = np.array(whole[next(taps)[1]], order="C")
    for _, window in taps:
        total += whole[window]
    return total


def spread(g: np.ndarray, pool: Pool, size: Ints) -> np.ndarray:
    """The transpose of `sum_pool`: each element added to every place of its window."""
    n = len(size)
    out = g.shape[-n:]
    shape = [max(r, s + p) for r, s, p in zip(pool.reach(out), size, pool.padding)]
    whole = np.zeros((*g.shape[:-n], *shape), g.dtype)
    overlap = pool.overlap()
    for _, window in pool.taps(out):
        if overlap:
            whole[window] += g
        else:
            whole[window] = g
    if tuple(shape) == size:
        return whole
    return np.ascontiguousarray(whole[(..., *[slice(p, p + s) for p, s in zip(pool.padding, size)])])


def adaptive_bounds(n: int, out: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the windows of adaptive pooling start and end."""
    i = np.arange(out)
    return i * n // max(out, 1), -(-(i + 1) * n // max(out, 1))


def averaging(n: int, out: int, dtype: np.dtype) -> np.ndarray:
    """The matrix [out, n] of adaptive averaging along one dimension."""
    start, end = adaptive_bounds(n, out)
    at = np.arange(n)
    inside = (at >= start[:, None]) & (at < end[:, None])
    return (inside / np.maximum(end - start, 1)[:, None]).astype(dtype)


def adaptive_average(x: np.ndarray, size: Ints) -> np.ndarray:
    """Means over windows that divide each dimension as evenly as possible, one dimension after the other."""
    return _along_each(x, size, lambda n, out: averaging(n, out, x.dtype))


def adaptive_spread(g: np.ndarray, size: Ints) -> np.ndarray:
    """The transpose of `adaptive_average`."""
    return _along_each(g, size, lambda out, n: averaging(n, out, g.dtype).T)


def _along_each(x: np.ndarray, size: Ints, matrix: Callable[[int, int], np.ndarray]) -> np.ndarray:
    first = x.ndim - len(size)
    for d, to in enumerate(size):
        axis = first + d
        if x.shape[axis] == to:
            continue
        m = matrix(x.shape[axis], to)
        x = np.moveaxis(np.tensordot(x, m, (axis, 1)), -1, axis)
    return np.array(x, order="C")


def adaptive_max(x: np.ndarray, size: Ints) -> tuple[np.ndarray, np.ndarray]:
    """The largest element of each adaptive window, and its flat spatial index."""
    n = len(size)
    space, lead = x.shape[-n:], x.shape[:-n]
    values = np.empty((*lead, *size), x.dtype)
    index = np.empty((*lead, *size), np.int64)
    numbers = np.arange(prod(space)).reshape(space)
    bounds = [list(zip(*adaptive_bounds(a, b))) for a, b in zip(space, size)]
    for place in product(*map(range, size)):
        window = tuple([slice(*bounds[d][i]) for d, i in enumerate(place)])
        part = x[(..., *window)]
        flat = part.reshape(*lead, prod(part.shape[-n:]))
        best = flat.argmax(-1)
        values[(..., *place)] = np.take_along_axis(flat, best[..., None], -1)[..., 0]
        index[(..., *place)] = numbers[window].reshape(-1)[best]
    return values, index
