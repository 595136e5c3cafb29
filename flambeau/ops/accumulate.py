"""Adding values at indices that may repeat: the NumPy kernels behind index, gather and embedding gradients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def checked(index: np.ndarray, size: int, dim: int) -> np.ndarray:
    """`index` with negative entries wrapped; PyTorch's IndexError if one is out of range."""
    if not index.size:
        return index
    low, high = index.min(), index.max()
    if low < -size or high >= size:
        bad = index.reshape(-1)[((index < -size) | (index >= size)).reshape(-1)][0]
        raise IndexError(f"index {bad} is out of bounds for dimension {dim} with size {size}")
    return np.where(index < 0, index + size, index) if low < 0 else index


def add_rows(out: np.ndarray, rows: np.ndarray, values: np.ndarray) -> None:
    """`out[rows[i]] += values[i]` for every i, repeats included; the order of each sum is that of `rows`."""
    if not rows.size or not values.size:
        return
    if out.ndim == 1 or values.shape[-1] == 1:
        np.add.at(out.reshape(-1), rows, values.reshape(-1))
        return
    order = np.argsort(rows, kind="stable")
    sorted_rows = rows[order]
    starts = np.flatnonzero(np.concatenate([[True], sorted_rows[1:] != sorted_rows[:-1]]))
    if starts.size == rows.size:
        out[rows] += values
    elif out.dtype == bool:
        np.logical_or.at(out, rows, values)
    else:
        out[sorted_rows[starts]] += np.add.reduceat(values[order], starts, axis=0)


def add_at(out: np.ndarray, indices: Sequence[np.ndarray | None], values: np.ndarray) -> np.ndarray:
    """`out[indices] += values` with repeats, indices as in an `index` op (None: the whole dimension).

    Index arrays are broadcast together and checked already; gives the array with the sums (`out` or a new one).
    """
    axes = [d for d, index in enumerate(indices) if index is not None]
    rest = [d for d in range(out.ndim) if d not in axes]
    used = [index for index in indices if index is not None]
    spread = used[0].shape
    front = leading(indices)
    taken = np.moveaxis(values, range(front, front + len(spread)), range(len(spread)))
    shape = tuple([out.shape[d] for d in axes])
    rows = np.ravel_multi_index(tuple(used), shape).reshape(-1) if used[0].size else np.zeros(0, np.intp)
    moved = np.array(out.transpose(axes + rest), order="C")
    width = int(np.prod([out.shape[d] for d in rest], dtype=np.intp))
    add_rows(moved.reshape(-1, width) if moved.size else moved.reshape(0, 1), rows, taken.reshape(rows.size, width))
    return moved.transpose(np.argsort(axes + rest))


def leading(indices: Sequence[object]) -> int:
    """Where the index tensors' dimensions stand in the result: at the first of them if adjacent, else in front."""
    axes = [d for d, index in enumerate(indices) if index is not None]
    return axes[0] if axes[-1] - axes[0] == len(axes) - 1 else 0
