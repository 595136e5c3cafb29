"""Uniform, exponential, Cauchy and log-normal numbers, as PyTorch's CPU kernels draw them.

Each function returns a flat vector in drawing order; `order.place` lays it out for tensors that are not contiguous.
"""

from __future__ import annotations

import math

import numpy as np

from flambeau.random import libm
from flambeau.random.cast import convert
from flambeau.random.generator import Generator
from flambeau.random.normal import standard_pairs

_CHUNK = 1 << 16
_BITS24, _BITS53 = np.uint64((1 << 24) - 1), np.uint64((1 << 53) - 1)


def uniform(g: Generator, n: int, low: float, high: float, dtype: np.dtype) -> np.ndarray:
    """`n` numbers in [low, high): 53 random bits for float64, 24 for the other floating types."""
    if dtype == np.float64:
        return _scaled(standard_doubles(g, n), low, high)
    low32, high32 = np.float32(low), np.float32(high)
    out = _scaled(standard_singles(g, n), low32, high32)
    if dtype == np.float32:
        return out
    narrow, top = out.astype(dtype), high32.astype(dtype)
    narrow[narrow == top] = low32.astype(dtype)  # the cast may have rounded up to the excluded bound
    return narrow


def standard_doubles(g: Generator, n: int) -> np.ndarray:
    """`n` float64 numbers in [0, 1)."""
    out = np.empty(n)
    if g.drawn("doubles", out):
        return out
    for i in range(0, n, _CHUNK):
        words = g.raw64(min(_CHUNK, n - i))
        words &= _BITS53
        np.multiply(words, 2.0**-53, out=out[i : i + _CHUNK])
    return out


def standard_singles(g: Generator, n: int) -> np.ndarray:
    """`n` float32 numbers in [0, 1)."""
    out = np.empty(n, np.float32)
    if g.drawn("singles", out):
        return out
    for i in range(0, n, _CHUNK):
        words = g.raw(min(_CHUNK, n - i))
        words &= _BITS24
        part = out[i : i + _CHUNK]
        part[...] = words
        part *= np.float32(2.0**-24)
    return out


def _scaled(x: np.ndarray, low: np.floating | float, high: np.floating | float) -> np.ndarray:
    """low + x * (high - low), rounded once."""
    if low == 0:
        if high != 1:
            x *= high - low
        return x
    if x.dtype == np.float64:
        return libm.fma(x, float(high) - float(low), float(low))
    for i in range(0, x.size, _CHUNK):
        wide = np.multiply(x[i : i + _CHUNK], high - low, dtype=np.float64)  # exact
        wide += low
        x[i : i + _CHUNK] = wide
    return x


def exponential(g: Generator, n: int, rate: float, dtype: np.dtype) -> np.ndarray:
    """`n` exponential numbers with mean 1 / rate."""
    return convert(-1.0 / rate * libm.log1p(-standard_doubles(g, n)), dtype)


def cauchy(g: Generator, n: int, median: float, sigma: float, dtype: np.dtype) -> np.ndarray:
    """`n` Cauchy numbers."""
    return convert(libm.fma(libm.tan(math.pi * (standard_doubles(g, n) - 0.5)), sigma, median), dtype)


def log_normal(g: Generator, n: int, mean: float, std: float, dtype: np.dtype) -> np.ndarray:
    """`n` numbers whose logarithm is normal."""
    return convert(libm.exp(libm.fma(standard_pairs(g, n), std, mean)), dtype)
