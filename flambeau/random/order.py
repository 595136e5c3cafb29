"""The order in which PyTorch's kernels visit the elements of a tensor that is not contiguous.

Numbers are drawn in this order: by memory, smallest stride first, not by index. (It is TensorIterator's rule.)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Ints = Sequence[int]


def visiting_order(shape: Ints, strides: Sequence[Ints]) -> list[int]:
    """The dimensions, innermost loop first; `strides` are those of each operand, the written one first."""
    order = list(range(len(shape) - 1, -1, -1))
    for i in range(1, len(order)):
        at = i
        for j in range(i - 1, -1, -1):
            comparison = _compare(order[j], order[at], shape, strides)
            if comparison < 0:
                break
            if comparison > 0:
                order[j], order[at] = order[at], order[j]
                at = j
    return order


def _compare(a: int, b: int, shape: Ints, strides: Sequence[Ints]) -> int:
    for s in strides:
        if s[a] == 0 or s[b] == 0:
            continue
        if s[a] != s[b]:
            return -1 if s[a] < s[b] else 1
        if shape[a] > shape[b]:
            return 1
    return 0


def place(flat: np.ndarray, shape: Ints, strides: Sequence[Ints]) -> np.ndarray:
    """`flat`, which is in drawing order, as an array of `shape`."""
    order = visiting_order(shape, strides)[::-1]
    drawn = flat.reshape([shape[d] for d in order])
    return drawn.transpose(np.argsort(order)) if order else drawn


def collect(array: np.ndarray, strides: Sequence[Ints]) -> np.ndarray:
    """The inverse of `place`: the elements of `array` as a vector in drawing order."""
    return array.transpose(visiting_order(array.shape, strides)[::-1]).reshape(-1)
