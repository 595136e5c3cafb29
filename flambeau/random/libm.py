"""Double-precision functions as the C library computes them, to the last bit.

PyTorch's samplers call the C library's `log`, `sin` ... once for each number; NumPy's vector versions of these
functions round some results differently. Python's `math` is the C library, and so is NumPy's complex `exp`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

_CHUNK = 1 << 16


def _each(function: Callable[[float], float], doc: str) -> Callable[[np.ndarray], np.ndarray]:
    def mapped(x: np.ndarray) -> np.ndarray:
        out = np.empty(x.shape)
        for i in range(0, x.size, _CHUNK):
            part = x[i : i + _CHUNK]
            out[i : i + _CHUNK] = np.fromiter(map(function, part.tolist()), np.float64, part.size)
        return out

    mapped.__doc__ = doc
    return mapped


log1p = _each(math.log1p, "log(1 + x) of each number of a vector, x > -1.")
tan = _each(math.tan, "The tangent of each number of a vector.")
_positive_log = _each(math.log, "")
_finite_exp = _each(math.exp, "")


def log(x: np.ndarray) -> np.ndarray:
    """The natural logarithm of each number of a vector, x >= 0."""
    zero = x == 0.0
    if not zero.any():
        return _positive_log(x)
    return np.where(zero, -np.inf, _positive_log(np.where(zero, 1.0, x)))


def exp(x: np.ndarray) -> np.ndarray:
    """e**x of each number of a vector."""
    far = ~(x < 709.0)  # where math.exp raises instead of giving infinity, and NaN
    if not far.any():
        return _finite_exp(x)
    with np.errstate(over="ignore"):
        return np.where(far, np.exp(x), _finite_exp(np.where(far, 0.0, x)))


def cos_sin(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cosine and sine of each number of a vector."""
    turns = np.zeros(x.shape, np.complex128)
    turns.imag = x
    np.exp(turns, out=turns)
    return turns.real, turns.imag


def fma(a: np.ndarray, b: float, c: float) -> np.ndarray:
    """a * b + c rounded once."""
    if c == 0.0:
        return a * b
    if b == 1.0:
        return a + c
    product = a * b
    with np.errstate(invalid="ignore", over="ignore"):
        error = _product_error(a, b, product)
        total = product + c
        back = total - product
        error += (product - (total - back)) + (c - back)
        exact = total + error
    return np.where(np.isfinite(exact), exact, total)


def _product_error(a: np.ndarray, b: float, product: np.ndarray) -> np.ndarray:
    """a * b - product, exactly (Dekker, "A floating-point technique for extending the available precision", 1971)."""
    splitter = 134217729.0  # 2**27 + 1
    a_high = a * splitter - (a * splitter - a)
    b_high = b * splitter - (b * splitter - b)
    a_low, b_low = a - a_high, b - b_high
    return ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
