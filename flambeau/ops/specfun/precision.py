"""Running double-precision functions on arrays of any floating-point precision."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


def double(function: Callable) -> Callable:
    """`function` of float64 arrays, for operands of any precision: the result is rounded once to theirs."""

    @functools.wraps(function)
    def any_precision(*operands: Any) -> np.ndarray:
        arrays = [np.asarray(x) for x in operands]
        floats = [a.dtype for a in arrays if a.dtype.kind == "f" and a.ndim] or [
            a.dtype for a in arrays if a.dtype.kind == "f"
        ]
        kind = max(floats, key=lambda d: d.itemsize) if floats else np.dtype(np.float64)
        with np.errstate(all="ignore"):
            return _in_blocks(function, arrays, kind)

    return any_precision


_BLOCK = 8192  # elements whose intermediate results stay in the cache together


def _in_blocks(function: Callable, arrays: list[np.ndarray], kind: np.dtype) -> np.ndarray:
    """`function` of the operands in double precision, a block of elements at a time where there are many."""
    shape = np.broadcast_shapes(*[a.shape for a in arrays])
    size = math.prod(shape)
    if size <= _BLOCK:
        return np.asarray(function(*[a.astype(np.float64, copy=False) for a in arrays])).astype(kind, copy=False)
    flat = [a if a.ndim == 0 else np.broadcast_to(a, shape).reshape(-1) for a in arrays]
    out = np.empty(size, kind)
    for start in range(0, size, _BLOCK):
        part = slice(start, start + _BLOCK)
        out[part] = function(*[(a if a.ndim == 0 else a[part]).astype(np.float64, copy=False) for a in flat])
    return out.reshape(shape)


def polynomial(x: np.ndarray, coefficients: Sequence[float]) -> np.ndarray:
    """Horner's rule; the highest power comes first."""
    total = np.full_like(x, coefficients[0])
    for c in coefficients[1:]:
        total *= x
        total += c
    return total


def chebyshev(x: np.ndarray, coefficients: Sequence[float]) -> np.ndarray:
    """Clenshaw's sum of a Chebyshev series; the highest order comes first, the constant counts half."""
    b0, b1, b2 = np.full_like(x, coefficients[0]), np.zeros_like(x), np.zeros_like(x)
    for c in coefficients[1:]:
        b0, b1, b2 = x * b0 - b1 + c, b0, b1
    return 0.5 * (b0 - b2)
