"""Bessel functions of the first and second kind, modified ones of the second kind, and Airy's function.

Rational and Chebyshev approximations from S. L. Moshier's Cephes library.
"""

from __future__ import annotations

import math

import numpy as np

from flambeau.engine.kernel.coefficients import (
    AIRY,
    BESSEL_0,
    BESSEL_1,
    BESSEL_ZEROS_0,
    BESSEL_ZEROS_1,
    K0,
    K1,
    SINC,
)  # fmt: skip
from flambeau.ops.specfun.bessel import i0, i1
from flambeau.ops.specfun.precision import chebyshev, polynomial

# "pp" / "pq" and "qp" / "qq" are the two parts of the asymptotic form, "r" and "y" the functions near zero.
_ROOT_2_OVER_PI = math.sqrt(2 / math.pi)


def _asymptotic(x: np.ndarray, table: dict, phase: float) -> tuple[np.ndarray, np.ndarray]:
    """The functions of the first and second kind for x > 5."""
    x = np.maximum(x, 5.0)
    inverse = 25 / (x * x)
    p = polynomial(inverse, table["pp"]) / polynomial(inverse, table["pq"])
    q = 5 / x * polynomial(inverse, table["qp"]) / polynomial(inverse, table["qq"])
    cos, sin = np.cos(x - phase), np.sin(x - phase)
    scale = _ROOT_2_OVER_PI / np.sqrt(x)
    return (p * cos - q * sin) * scale, (p * sin + q * cos) * scale


def _near_zero(x: np.ndarray, table: dict, zeros: tuple[float, float]) -> np.ndarray:
    square = np.minimum(x * x, 25.0)
    ratio = polynomial(square, table["rp"]) / polynomial(square, table["rq"])
    return (square - zeros[0]) * (square - zeros[1]) * ratio


def bessel_j0(x: np.ndarray) -> np.ndarray:
    """The Bessel function of the first kind of order 0."""
    size = np.abs(x)
    near = np.where(size < 1e-5, 1 - size * size / 4, _near_zero(size, BESSEL_0, BESSEL_ZEROS_0))
    far = np.where(np.isinf(size), 0.0, _asymptotic(size, BESSEL_0, math.pi / 4)[0])
    return np.where(size <= 5, near, far)


def bessel_j1(x: np.ndarray) -> np.ndarray:
    """The Bessel function of the first kind of order 1."""
    size = np.abs(x)
    near = size * _near_zero(size, BESSEL_1, BESSEL_ZEROS_1)
    far = np.where(np.isinf(size), 0.0, _asymptotic(size, BESSEL_1, 3 * math.pi / 4)[0])
    return np.sign(x) * np.where(size <= 5, near, far)


def bessel_y0(x: np.ndarray) -> np.ndarray:
    """The Bessel function of the second kind of order 0, for x > 0."""
    square = np.minimum(x * x, 25.0)
    ratio = polynomial(square, BESSEL_0["yp"]) / polynomial(square, BESSEL_0["yq"])
    near = ratio + 2 / math.pi * np.log(x) * bessel_j0(x)
    return _positive(x, np.where(x <= 5, near, _asymptotic(x, BESSEL_0, math.pi / 4)[1]), -np.inf)


def bessel_y1(x: np.ndarray) -> np.ndarray:
    """The Bessel function of the second kind of order 1, for x > 0."""
    square = np.minimum(x * x, 25.0)
    ratio = polynomial(square, BESSEL_1["yp"]) / polynomial(square, BESSEL_1["yq"])
    near = x * ratio + 2 / math.pi * (bessel_j1(x) * np.log(x) - 1 / x)
    return _positive(x, np.where(x <= 5, near, _asymptotic(x, BESSEL_1, 3 * math.pi / 4)[1]), -np.inf)


def _positive(x: np.ndarray, value: np.ndarray, at_zero: float) -> np.ndarray:
    return np.where(x == 0, at_zero, np.where(x < 0, np.nan, value))


def scaled_k0(x: np.ndarray) -> np.ndarray:
    """exp(x) times the modified Bessel function of the second kind of order 0."""
    small, large = np.minimum(x, 2.0), np.maximum(x, 2.0)
    near = (chebyshev(small * small - 2, K0["near"]) - np.log(small / 2) * i0(small)) * np.exp(small)
    return _positive(x, np.where(x <= 2, near, chebyshev(8 / large - 2, K0["far"]) / np.sqrt(large)), np.inf)


def scaled_k1(x: np.ndarray) -> np.ndarray:
    """exp(x) times the modified Bessel function of the second kind of order 1."""
    small, large = np.minimum(x, 2.0), np.maximum(x, 2.0)
    near = (np.log(small / 2) * i1(small) + chebyshev(small * small - 2, K1["near"]) / small) * np.exp(small)
    return _positive(x, np.where(x <= 2, near, chebyshev(8 / large - 2, K1["far"]) / np.sqrt(large)), np.inf)


def k0(x: np.ndarray) -> np.ndarray:
    """The modified Bessel function of the second kind of order 0."""
    return scaled_k0(x) * np.exp(-x)


def k1(x: np.ndarray) -> np.ndarray:
    """The modified Bessel function of the second kind of order 1."""
    return scaled_k1(x) * np.exp(-x)


def spherical_bessel_j0(x: np.ndarray) -> np.ndarray:
    """sin(x) / x."""
    square = np.minimum(x * x, 0.25)
    series = polynomial(square, SINC)
    return np.where(np.abs(x) < 0.5, series, np.where(np.isinf(x), 0.0, np.sin(x) / x))


def airy_ai(x: np.ndarray) -> np.ndarray:
    """Airy's function Ai."""
    result = np.where(x > 0, _airy_right(np.maximum(x, 2.09)), _airy_left(np.minimum(x, -2.09)))
    return np.where(np.abs(x) < 2.09, _airy_middle(np.clip(x, -2.09, 2.09)), np.where(np.isneginf(x), np.nan, result))


def _airy_right(x: np.ndarray) -> np.ndarray:
    zeta = 2 * x * np.sqrt(x) / 3
    ratio = polynomial(1 / zeta, AIRY["an"]) / polynomial(1 / zeta, AIRY["ad"])
    return np.where(x > 103.892, 0.0, ratio / (2 * math.sqrt(math.pi) * np.sqrt(np.sqrt(x)) * np.exp(zeta)))


def _airy_left(x: np.ndarray) -> np.ndarray:
    zeta = -2 * x * np.sqrt(-x) / 3
    z = 1 / zeta
    f = 1 + z * z * polynomial(z * z, AIRY["afn"]) / polynomial(z * z, AIRY["afd"])
    g = z * polynomial(z * z, AIRY["agn"]) / polynomial(z * z, AIRY["agd"])
    t = zeta + math.pi / 4
    return (np.sin(t) * f - np.cos(t) * g) / (math.sqrt(math.pi) * np.sqrt(np.sqrt(-x)))


def _airy_middle(x: np.ndarray) -> np.ndarray:
    """The two power series that solve Airy's equation, in the combination that is Ai."""
    f, g, m, n = np.ones_like(x), x.copy(), np.ones_like(x), x.copy()
    cube = x**3
    for k in range(1, 90, 3):
        m = m * cube / ((k + 1) * (k + 2))
        n = n * cube / ((k + 2) * (k + 3))
        f, g = f + m, g + n
    return 0.355028053887817239260 * f - 0.258819403792806798405 * g
