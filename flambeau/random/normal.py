"""Normal numbers: the two algorithms of PyTorch's CPU kernels, both Box-Muller.

Contiguous tensors of 16 elements or more are filled by blocks of 16 (8 radii, then 8 angles; a ragged end is drawn
anew together with what precedes it), in float32 with the polynomial log, sin and cos of Cephes (Moshier, 1989) as
PyTorch's AVX2 kernel evaluates them. Everything else is drawn one by one in double precision, and the second number
of each pair waits in the generator for the next call.
"""

from __future__ import annotations

import math

import numpy as np

from flambeau.random import libm
from flambeau.random.cast import convert
from flambeau.random.generator import Generator

_F32 = np.float32
_BLOCK = 16
_CHUNK = 1 << 15  # numbers worked on at a time: intermediate results stay in the cache
_TWO_PI = 2.0 * math.pi


def normal(g: Generator, n: int, mean: float, std: float, dtype: np.dtype, contiguous: bool = True) -> np.ndarray:
    """`n` normal numbers.

    Args:
        dtype: float16, bfloat16, float32 or float64.
        contiguous: whether the tensor to be filled is; it decides which algorithm PyTorch would use.
    """
    if n < _BLOCK or not contiguous:
        return convert(libm.fma(standard_pairs(g, n), std, mean), dtype)
    if dtype == np.float64:
        return _fill_double(g, n, mean, std)
    return _fill_single(g, n, _F32(mean), _F32(std), dtype)


def standard_pairs(g: Generator, n: int) -> np.ndarray:
    """`n` standard normal doubles drawn one by one."""
    out = np.empty(n)
    start = 0
    if n and g.next_normal is not None:
        out[0], g.next_normal, start = g.next_normal, None, 1
    pairs = (n - start + 1) // 2
    if not pairs:
        return out
    u = ((g.raw64(2 * pairs) & np.uint64((1 << 53) - 1)) * 2.0**-53).reshape(pairs, 2)
    radius = np.sqrt(-2.0 * libm.log1p(-u[:, 1]))
    cosine, sine = libm.cos_sin(_TWO_PI * u[:, 0])
    both = np.stack([radius * cosine, radius * sine], axis=1).reshape(-1)
    out[start:] = both[: n - start]
    if (n - start) % 2:
        g.next_normal = float(both[-1])
    return out


def _fill_double(g: Generator, n: int, mean: float, std: float) -> np.ndarray:
    uniform = (g.raw64(n) & np.uint64((1 << 53) - 1)) * 2.0**-53
    whole = n - n % _BLOCK
    out = np.empty(n)
    out[:whole] = _transform_double(uniform[:whole], mean, std)
    if n % _BLOCK:
        out[-_BLOCK:] = _transform_double((g.raw64(_BLOCK) & np.uint64((1 << 53) - 1)) * 2.0**-53, mean, std)
    return out


def _transform_double(uniform: np.ndarray, mean: float, std: float) -> np.ndarray:
    u = uniform.reshape(-1, 2, _BLOCK // 2)
    radius = np.sqrt(-2.0 * libm.log((1.0 - u[:, 0]).reshape(-1)))
    cosine, sine = libm.cos_sin((_TWO_PI * u[:, 1]).reshape(-1))
    out = np.empty(u.shape)
    out[:, 0] = libm.fma(radius * cosine, std, mean).reshape(-1, _BLOCK // 2)
    out[:, 1] = libm.fma(radius * sine, std, mean).reshape(-1, _BLOCK // 2)
    return out.reshape(-1)


def _fill_single(g: Generator, n: int, mean: np.float32, std: np.float32, dtype: np.dtype) -> np.ndarray:
    whole = n - n % _BLOCK
    out = np.empty(n, dtype)
    _fill_blocks(g, out[:whole], mean, std)
    if n % _BLOCK:
        if dtype == np.float32:
            g.raw(n % _BLOCK)  # float32 draws the ragged end and overwrites it; the half types do not draw it
        _fill_blocks(g, out[-_BLOCK:], mean, std)
    return out


def _fill_blocks(g: Generator, out: np.ndarray, mean: np.float32, std: np.float32) -> None:
    """Whole blocks of normal numbers."""
    single = out if out.dtype == np.float32 else np.empty(out.size, np.float32)
    bits = [int(x.view(np.int32)) for x in (std, mean)]
    if g.drawn(*(("scaled_normals", single, *bits) if std != 1 or mean != 0 else ("normals", single))):
        if single is not out:
            out[...] = single
        return
    for i in range(0, out.size, _CHUNK):
        size = min(_CHUNK, out.size - i)
        out[i : i + size] = _transform_single(g.raw(size), mean, std)


def _transform_single(words: np.ndarray, mean: np.float32, std: np.float32) -> np.ndarray:
    words &= np.uint64((1 << 24) - 1)
    u = words.astype(np.float32).reshape(-1, 2, _BLOCK // 2)
    u *= _F32(2.0**-24)
    radius = _log((_F32(1) - u[:, 0]).reshape(-1))
    radius *= _F32(-2)
    np.sqrt(radius, out=radius)
    cosine, sine = _cos_sin((_F32(_TWO_PI) * u[:, 1]).reshape(-1))
    cosine *= radius
    sine *= radius
    if std != 1 or mean != 0:
        cosine, sine = _fma(cosine, std, mean), _fma(sine, std, mean)
    u[:, 0] = cosine.reshape(-1, _BLOCK // 2)
    u[:, 1] = sine.reshape(-1, _BLOCK // 2)
    return u.reshape(-1)


# -- single-precision functions, operation by operation as the AVX2 code rounds them -------------------------------

_SQRT_HALF = _F32(0.707106781186547524)
_LOG = [7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1,
        2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1]  # fmt: skip
_LOG2_LOW, _LOG2_HIGH = _F32(-2.12194440e-4), _F32(0.693359375)
_FOUR_OVER_PI = _F32(1.27323954473516)
_MINUS_QUARTER_PI = [-0.78515625, -2.4187564849853515625e-4, -3.77489497744594108e-8]  # in three parts
_SIN = [-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1]
_COS = [2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2]


def _fma(a: np.ndarray, b: np.ndarray | np.float32, c: np.ndarray | np.float32) -> np.ndarray:
    """a * b + c in float32 with one rounding: the product is exact in float64."""
    wide = np.multiply(a, b, dtype=np.float64)
    wide += c
    return wide.astype(np.float32)


def _horner(coefficients: list[float], x: np.ndarray) -> np.ndarray:
    """A polynomial in float32, highest coefficient first, each step one fused multiply-add."""
    wide_x = x.astype(np.float64)
    y = np.full(x.shape, _F32(coefficients[0]), np.float64)
    narrow = np.empty(x.shape, np.float32)
    for c in coefficients[1:]:
        y *= wide_x
        y += np.float64(_F32(c))
        narrow[...] = y
        y[...] = narrow
    return narrow


def _log(x: np.ndarray) -> np.ndarray:
    """The natural logarithm of numbers in (0, 1]."""
    mantissa, exponent = np.frexp(x)
    small = mantissa < _SQRT_HALF
    exponent -= small
    e = exponent.astype(np.float32)
    m = mantissa - _F32(1)
    m += mantissa * small
    z = m * m
    y = _horner(_LOG, m)
    y *= m
    y = _fma(y, z, e * _LOG2_LOW)
    y = _fma(z, _F32(-0.5), y)
    m += y
    return _fma(e, _LOG2_HIGH, m)


def _cos_sin(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cosine and sine of angles in [0, 2 pi]: polynomials on an eighth of the circle, swapped and negated."""
    octant = (x * _FOUR_OVER_PI).astype(np.int32)
    octant += 1
    octant &= ~1
    y = octant.astype(np.float32)
    for part in _MINUS_QUARTER_PI:
        x = _fma(y, _F32(part), x)
    z = x * x
    even = _horner(_COS, z)
    even *= z
    even = _fma(even, z, _F32(-0.5) * z)
    even += _F32(1)
    odd = _horner(_SIN, z)
    odd *= z
    odd = _fma(odd, x, x)
    swapped = (octant & 2) != 0
    sine, cosine = np.where(swapped, even, odd), np.where(swapped, odd, even)
    sine.view(np.int32)[...] ^= (octant & 4) << 29  # into the sign bit
    cosine.view(np.int32)[...] ^= (~(octant - 2) & 4) << 29
    return cosine, sine
