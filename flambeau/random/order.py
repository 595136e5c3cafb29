"""The order in which PyTorch's kernels fill a tensor that is not contiguous: by memory, not by index.

Samplers give flat vectors in drawing order; `place` puts one where the tensor's strides say.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flambeau.shape import _operand_order as innermost_first

Ints = tuple[int, ...]


def place(flat: np.ndarray, shape: Ints, strides: Sequence[Ints]) -> np.ndarray:
    """`flat`, which is in drawing order, as an array of `shape`.

    Args:
        strides: of each operand that the kernel loops over, expanded to `shape`; the written one first.
    """
    if len(shape) < 2:
        return flat.reshape(shape)
    order = innermost_first(shape, strides)[::-1]
    return flat.reshape([shape[d] for d in order]).transpose(np.argsort(order))


def collect(array: np.ndarray, strides: Sequence[Ints]) -> np.ndarray:
    """The inverse of `place`: the elements of `array` as a vector in drawing order."""
    if array.ndim < 2:
        return array.reshape(-1)
    return array.transpose(innermost_first(array.shape, strides)[::-1]).reshape(-1)
