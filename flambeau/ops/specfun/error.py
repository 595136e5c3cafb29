"""The error function and its relatives: erf, erfc, erfcx, their inverses, and the normal distribution.

Rational approximations from W. J. Cody, "Rational Chebyshev approximations for the error function", Mathematics of
Computation 23 (1969); inverses by Newton steps on them.
"""

from __future__ import annotations

import math

import numpy as np

from flambeau.ops.specfun.precision import polynomial

_ERF = (
    (1.85777706184603153e-1, 3.16112374387056560e0, 1.13864154151050156e2, 3.77485237685302021e2,
     3.20937758913846947e3),
    (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3),
)  # fmt: skip
_ERFCX = (  # for 0.46875 <= x <= 4
    (2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e0, 6.61191906371416295e1,
     2.98635138197400131e2, 8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3,
     1.23033935479799725e3),
    (1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2, 1.62138957456669019e3,
     3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3),
)  # fmt: skip
_ERFCX_FAR = (  # for x > 4, in 1/x**2
    (1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1, 1.25781726111229246e-1,
     1.60837851487422766e-2, 6.58749161529837803e-4),
    (1.0, 2.56852019228982242e0, 1.87295284992346725e0, 5.27905102951428412e-1, 6.05183413124413191e-2,
     2.33520497626869185e-3),
)  # fmt: skip
_INVERSE_NEAR = (
    (-0.140543331, 0.914624893, -1.645349621, 0.886226899),
    (0.012229801, -0.329097515, 1.442710462, -2.118377725, 1.0),
)
_INVERSE_FAR = ((1.641345311, 3.429567803, -1.624906493, -1.970840454), (1.637067800, 3.543889200, 1.0))
_SMALL = 0.46875
_ROOT_PI = math.sqrt(math.pi)


def _ratio(x: np.ndarray, pair: tuple) -> np.ndarray:
    return polynomial(x, pair[0]) / polynomial(x, pair[1])


def _exp_of_minus_square(x: np.ndarray) -> np.ndarray:
    """exp(-x*x) without the rounding error of x*x: a short part of x squares exactly."""
    coarse = np.trunc(np.minimum(x, 1e3) * 16) / 16
    return np.exp(-coarse * coarse) * np.exp(-(x - coarse) * (x + coarse))


def _erfcx_right(x: np.ndarray) -> np.ndarray:
    """erfcx for x >= 0.46875."""
    inverse = 1 / (x * x)
    far = (1 / _ROOT_PI - inverse * _ratio(inverse, _ERFCX_FAR)) / x
    return np.where(x <= 4, _ratio(np.minimum(x, 4), _ERFCX), far)


def erf(x: np.ndarray) -> np.ndarray:
    """2/sqrt(pi) times the integral of exp(-t*t) from 0 to x."""
    size = np.abs(x)
    small = x * _ratio(np.minimum(size, _SMALL) ** 2, _ERF)
    at = np.clip(size, _SMALL, 6)
    large = np.copysign(1 - _exp_of_minus_square(at) * _erfcx_right(at), x)
    return np.where(size <= _SMALL, small, np.where(np.isnan(x), x, large))


def erfc(x: np.ndarray) -> np.ndarray:
    """1 - erf(x), accurate where that is tiny."""
    size = np.abs(x)
    small = 1 - x * _ratio(np.minimum(size, _SMALL) ** 2, _ERF)
    at = np.clip(size, _SMALL, 30)
    tail = _exp_of_minus_square(at) * _erfcx_right(at)
    return np.where(size <= _SMALL, small, np.where(np.isnan(x), x, np.where(x < 0, 2 - tail, tail)))


def erfcx(x: np.ndarray) -> np.ndarray:
    """exp(x*x) * erfc(x), without overflow for large x."""
    size = np.abs(x)
    near = np.minimum(size, _SMALL)
    small = np.exp(near * near) * (1 - np.copysign(near, x) * _ratio(near**2, _ERF))
    right = _erfcx_right(np.maximum(size, _SMALL))
    # exp(x*x) is rounded like exp(-x*x): as the inverse of the split form
    left = np.where(size > 26.7, np.inf, 2 / _exp_of_minus_square(np.minimum(size, 26.7)) - right)
    return np.where(size <= _SMALL, small, np.where(np.isnan(x), x, np.where(x < 0, left, right)))


def erfcinv(q: np.ndarray) -> np.ndarray:
    """The x whose erfc is q, for 0 <= q <= 2; relative accuracy for tiny q."""
    return np.where(np.abs(q - 1) <= 0.5, _erfinv_near(np.clip(1 - q, -0.7, 0.7)), _erfcinv_far(q))


def _erfinv_near(y: np.ndarray) -> np.ndarray:
    """erfinv for |y| <= 0.7: two Newton steps."""
    x = y * _ratio(y * y, _INVERSE_NEAR)
    for _ in range(2):
        x = x - (erf(x) - y) * (_ROOT_PI / 2) * np.exp(x * x)
    return x


def _erfcinv_far(q: np.ndarray) -> np.ndarray:
    tail = np.minimum(q, 2 - q)
    z = np.sqrt(-np.log(tail / 2))
    y = 1 - tail
    x = np.where(y <= 0.7, y * _ratio(y * y, _INVERSE_NEAR), _ratio(z, _INVERSE_FAR))
    for _ in range(3):  # Newton on log(erfc(x)) = log(tail), whose slope is -2 / (sqrt(pi) erfcx(x))
        scaled = erfcx(x)
        x = x + (np.log(scaled) - x * x - np.log(tail)) * (_ROOT_PI / 2) * scaled
    x = np.where(tail == 0, np.inf, np.where(tail < 0, np.nan, x))
    return np.copysign(x, 1 - q)


def erfinv(y: np.ndarray) -> np.ndarray:
    """The x whose erf is y, for -1 <= y <= 1."""
    size = np.abs(y)
    far = np.where(size > 1, np.nan, np.copysign(_erfcinv_far(1 - size), y))
    return np.where(size <= 0.5, _erfinv_near(np.clip(y, -0.7, 0.7)), far)


def ndtr(x: np.ndarray) -> np.ndarray:
    """The standard normal distribution function."""
    return 0.5 * erfc(-x * math.sqrt(0.5))


def log_ndtr(x: np.ndarray) -> np.ndarray:
    """The logarithm of the standard normal distribution function."""
    t = x * math.sqrt(0.5)
    left = np.minimum(t, 0)
    return np.where(x < -1, np.log(erfcx(-left) / 2) - left * left, np.log1p(-erfc(t) / 2))


def ndtri(p: np.ndarray) -> np.ndarray:
    """The x below which the standard normal distribution has probability p."""
    central = math.sqrt(2) * erfinv(2 * p - 1)
    return np.where(p < 0.1, -math.sqrt(2) * erfcinv(2 * p), central)
