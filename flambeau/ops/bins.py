"""Places among boundaries and counts in bins: searchsorted, bucketize, bincount, histc, histogram."""

from __future__ import annotations

from typing import Any

import numpy as np

from flambeau import dtypes
from flambeau.ops import return_types
from flambeau.ops.arguments import check_input, invalid, not_implemented
from flambeau.ops.op import names, public
from flambeau.tensors import Tensor, from_array

# -- places ----------------------------------------------------------------------------------------------------


def _places(edges: np.ndarray, values: np.ndarray, right: bool) -> np.ndarray:
    """For each value how many edges of its row lie before it."""
    if edges.ndim == 1:
        return np.searchsorted(edges, values, "right" if right else "left")
    # Sorting edges and values together ranks all rows at once; of equal ones the side decides which come first.
    both = np.concatenate([edges, values] if right else [values, edges], axis=-1)
    n, m = edges.shape[-1], values.shape[-1]
    is_edge = np.zeros(n + m, bool)
    is_edge[slice(0, n) if right else slice(m, n + m)] = True
    order = np.argsort(both, axis=-1, kind="stable")
    passed = np.cumsum(is_edge[order], axis=-1)
    found = np.empty_like(passed)
    np.put_along_axis(found, order, passed, -1)
    return found[..., ~is_edge]


@public("torch", out=True)
def searchsorted(
    sorted_sequence: Tensor, input: Any, *, out_int32: bool = False, right: bool = False, side: str | None = None,
    sorter: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Where elements of `input` would go in the sorted last dimension of `sorted_sequence`.

    Args:
        right: of equal elements, after the last one instead of before the first (also `side="right"`).
        sorter: the indices that sort an unsorted `sorted_sequence`.

    >>> searchsorted(tensor([1, 3, 5]), tensor([3, 6]))
    tensor([1, 3])
    """
    name = "torch.searchsorted()"
    if not isinstance(sorted_sequence, Tensor):
        raise invalid("searchsorted", sorted_sequence, input)
    if side not in (None, "left", "right"):
        raise RuntimeError(f"{name}: side can only be 'left' or 'right' but got {side}")
    if side == "left" and right:
        raise RuntimeError(f"{name}: side and right can't be set to opposites, got side of left while right was True")
    if sorted_sequence.dtype.category in (dtypes.BOOL, dtypes.COMPLEX):
        raise not_implemented("searchsorted_out_cpu", sorted_sequence.dtype)
    edges = sorted_sequence._array()
    values = input._array() if isinstance(input, Tensor) else np.asarray(input)
    if edges.ndim == 0 or (edges.ndim != 1 and edges.shape[:-1] != values.shape[:-1]):
        raise RuntimeError(
            f"{name}: boundaries tensor should be 1 dimension or the first N-1 dimensions of boundaries tensor and "
            f"input value tensor must match, but we got boundaries tensor {list(edges.shape)} and input value tensor "
            f"{list(values.shape)}"
        )
    if sorter is not None:
        edges = np.take_along_axis(edges, sorter._array(), -1)
    found = _places(edges, values, right or side == "right")
    return from_array(np.asarray(found, np.int32 if out_int32 else np.int64))


@public("torch", out=True)
def bucketize(input: Any, boundaries: Tensor, *, out_int32: bool = False, right: bool = False) -> Tensor:
    """The bucket of each element of `input` between the sorted 1-d `boundaries`."""
    if not isinstance(boundaries, Tensor):
        raise invalid("bucketize", input, boundaries)
    if boundaries.ndim != 1:
        raise RuntimeError(f"boundaries tensor must be 1 dimension, but got dim({boundaries.ndim})")
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)


# -- counts ----------------------------------------------------------------------------------------------------


@public("torch Tensor", out=True)
def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """How often each of 0, 1, 2 ... occurs in a 1-d tensor, or the sums of `weights` at it.

    >>> bincount(tensor([0, 2, 2]))
    tensor([1, 0, 2])
    """
    check_input("bincount", input)
    if input.dtype.category > dtypes.INTEGER:
        raise not_implemented("bincount_cpu", input.dtype)
    x = input._array()
    if minlength < 0:
        raise RuntimeError("minlength should be >= 0")
    if x.ndim != 1 or (x.size and x.min() < 0):
        raise RuntimeError("bincount only supports 1-d non-negative integral inputs.")
    if weights is None:
        return from_array(np.bincount(x, minlength=minlength).astype(np.int64))
    if weights._shape != input._shape:
        raise RuntimeError("weights should be 1-d and have the same length as input")
    sums = np.bincount(x, weights._array().astype(np.float64), minlength)
    return from_array(sums.astype(np.float32) if weights.dtype is dtypes.float32 else sums)


def _limits(name: str, x: np.ndarray, low: float, high: float) -> tuple[float, float]:
    """The range of a histogram: as given, else that of the data, widened if it is empty."""
    if low == high and x.size:
        low, high = float(x.min()), float(x.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise RuntimeError(f"{name}: range of [{low}, {high}] is not finite")
    if low == high:
        low, high = low - 1, high + 1
    if low > high:
        raise RuntimeError(f"{name}: max must be larger than min")
    return low, high


@public("torch Tensor", out=True)
def histc(input: Tensor, bins: int = 100, min: Any = 0, max: Any = 0) -> Tensor:
    """Counts in `bins` equal bins between `min` and `max` (equal: of the data); elements outside are ignored."""
    check_input("histc", input)
    if not input.dtype.is_floating_point:
        raise not_implemented("histogram_cpu", input.dtype)
    if bins <= 0:
        raise RuntimeError(f"torch.histogram(): bins must be > 0, but got {bins} for dimension 0")
    x = input._array().reshape(-1)
    low, high = _limits("torch.histc", x, float(min), float(max))
    kind = x.dtype.type
    x = x[(x >= low) & (x <= high)]
    places = ((x - kind(low)) * kind(bins) / (kind(high) - kind(low))).astype(np.int64)
    counts = np.bincount(np.minimum(places, bins - 1), minlength=bins)
    return from_array(counts.astype(input.dtype.np))


@public("torch Tensor", out=True)
def histogram(
    input: Tensor, bins: Any, *, range: Any = None, weight: Tensor | None = None, density: bool = False
) -> Any:
    """Counts between bin edges: a named tuple `(hist, bin_edges)`.

    Args:
        bins: the number of equal bins, or a 1-d tensor of ascending edges.
        range: the lowest and highest edge of equal bins (default: of the data).
        weight: what each element counts.
        density: scale so that the areas of the bars sum to 1.
    """
    check_input("histogram", input)
    if not input.dtype.is_floating_point:
        raise not_implemented("histogramdd", input.dtype)
    x = input._array().reshape(-1)
    if isinstance(bins, Tensor):
        edges = bins._array()
    else:
        low, high = _limits("torch.histogram", x, *(map(float, range) if range is not None else (0.0, 0.0)))
        edges = names["torch"]["linspace"](low, high, bins + 1, dtype=input.dtype)._array()
    inside = (x >= edges[0]) & (x <= edges[-1])
    places = np.minimum(np.searchsorted(edges, x[inside], "right") - 1, len(edges) - 2)
    weights = None if weight is None else weight._array().reshape(-1)[inside].astype(np.float64)
    counts = np.bincount(places, weights, len(edges) - 1).astype(np.float64)
    if density:
        counts = counts / (counts.sum() * np.diff(edges.astype(np.float64)))
    return return_types.histogram((from_array(counts.astype(input.dtype.np)), from_array(np.array(edges))))


@public("torch")
def histogramdd(
    input: Tensor, bins: Any, *, range: Any = None, weight: Tensor | None = None, density: bool = False
) -> Any:
    """Counts of points (the last dimension of `input`) in boxes: a named tuple `(hist, bin_edges)`.

    Args:
        bins: the number of equal bins, one for each dimension or one for all, or a list of tensors of ascending edges.
        range: the lowest and highest edge of each dimension in turn (default: of the data).
        weight: what each point counts.
        density: scale so that the volumes of the boxes sum to 1.
    """
    check_input("histogramdd", input)
    if not input.dtype.is_floating_point:
        raise not_implemented("histogramdd", input.dtype)
    if input.ndim < 2:
        raise RuntimeError("torch.histogramdd: input tensor should have at least 2 dimensions")
    points = input._array().reshape(-1, input._shape[-1])
    count = points.shape[1]
    bins = [bins] * count if isinstance(bins, int) else list(bins)
    if len(bins) != count:
        raise RuntimeError(
            f"histogramdd: The size of bins must be equal to the innermost dimension of the input ({count})."
        )
    given = [(0.0, 0.0)] * count if range is None else [(range[2 * d], range[2 * d + 1]) for d in np.arange(count)]
    edges = [
        b._array() if isinstance(b, Tensor) else names["torch"]["linspace"](
            *_limits("torch.histogramdd", points[:, d], *map(float, given[d])), b + 1, dtype=input.dtype
        )._array()
        for d, b in enumerate(bins)
    ]  # fmt: skip
    weights = None if weight is None else weight._array().reshape(-1)
    counts, _ = np.histogramdd(points, edges, density=density, weights=weights)
    ends = tuple(from_array(np.array(e)) for e in edges)
    return return_types.histogramdd((from_array(counts.astype(input.dtype.np)), ends))
