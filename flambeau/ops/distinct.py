"""Distinct elements: unique and unique_consecutive. How many there are depends on the data: these observe it."""

from __future__ import annotations

from typing import Any

import numpy as np

from flambeau.ops.arguments import check_input, not_implemented, one_dim
from flambeau.ops.op import public
from flambeau.tensors import Tensor, from_array


def _distinct(rows: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Runs of equal rows in the given order: where they start, the run of each row, and their lengths."""
    n = len(order)
    ordered = rows[order]
    starts = np.ones(n, bool)
    starts[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    first = np.flatnonzero(starts)
    inverse = np.empty(n, np.int64)
    inverse[order] = np.cumsum(starts) - 1
    return order[first], inverse, np.diff(np.append(first, n))


def _unique(input: Tensor, sort: bool, inverse: bool, counts: bool, dim: int | None, name: str) -> Any:
    check_input(name, input)
    if input.dtype.is_complex:
        raise not_implemented("unique" if dim is None else "unique_dim", input.dtype)
    x = input._array()
    if dim is None:
        rows, moved = x.reshape(-1, 1), x.reshape(-1)
        shape = input._shape
    else:
        d = one_dim(name, input, dim)
        moved = np.moveaxis(x, d, 0)
        if 0 in moved.shape[1:]:
            raise RuntimeError(f"There are 0 sized dimensions, and they aren't selected, so {name} cannot be applied")
        rows, shape = moved.reshape(moved.shape[0], -1), (moved.shape[0],)
    if dim is None and sort and not inverse:  # the values are all there is to know: sorting them is cheaper
        rows = np.sort(rows, axis=0)
        moved, sort = rows[:, 0], False
    if not sort:
        order = np.arange(len(rows))
    elif rows.shape[1] == 1:
        order = np.argsort(rows[:, 0], kind="stable")
    else:
        order = np.lexsort(rows.T[::-1])
    picked, which, lengths = _distinct(rows, order)
    values = moved[picked] if dim is None else np.moveaxis(moved[picked], 0, one_dim(name, input, dim))
    results = [from_array(np.ascontiguousarray(values).reshape(values.shape))]
    if inverse:
        results.append(from_array(which.reshape(shape)))
    if counts:
        results.append(from_array(lengths.astype(np.int64)))
    return results[0] if len(results) == 1 else tuple(results)


@public("torch Tensor")
def unique(
    input: Tensor, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False,
    dim: int | None = None,
) -> Any:  # fmt: skip
    """The distinct elements in ascending order (or distinct slices along `dim`).

    Args:
        sorted: accepted; the result is always sorted.
        return_inverse: also give, for each element, the index of its value in the result.
        return_counts: also give how often each value occurs.

    >>> unique(tensor([3, 1, 3]), return_counts=True)
    (tensor([1, 3]), tensor([1, 2]))
    """
    return _unique(input, True, return_inverse, return_counts, dim, "unique")


@public("torch Tensor")
def unique_consecutive(
    input: Tensor, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """The elements (or slices along `dim`) without those that equal the one before.

    >>> unique_consecutive(tensor([1, 1, 2, 1]))
    tensor([1, 2, 1])
    """
    return _unique(input, False, return_inverse, return_counts, dim, "unique_consecutive")
