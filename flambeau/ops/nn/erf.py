"""The error function in NumPy, which has none: for gelu.

float64: Cody, "Rational Chebyshev approximations for the error function", Math. Comp. 23 (1969). float32: one rational
function on [-4, 4], beyond which the result is 1 to the last bit.
"""

from __future__ import annotations

import math

import numpy as np

_SMALL = (
    (
        1.85777706184603153e-1,
        3.16112374387056560e0,
        1.13864154151050156e2,
        3.77485237685302021e2,
        3.20937758913846947e3,
    ),
    (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3),
)
_MIDDLE = (
    (2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e0, 6.61191906371416295e1,
     2.98635138197400131e2, 8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3, 1.23033935479799725e3),
    (1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2, 1.62138957456669019e3,
     3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3),
)  # fmt: skip
_SINGLE = (
    (-2.72614225801306e-10, 2.77068142495902e-8, -2.10102402082508e-6, -5.69250639462346e-5, -7.34990630326855e-4,
     -2.95459980854025e-3, -1.60960333262415e-2),
    (-1.45660718464996e-5, -2.13374055278905e-4, -1.68282697438203e-3, -7.37332916720468e-3, -1.42647390514189e-2),
)  # fmt: skip
_MIDDLE_START, _ONE_FROM = 0.46875, 6.0


def _ratio(x: np.ndarray, coefficients: tuple) -> np.ndarray:
    top, bottom = (_polynomial(x, c) for c in coefficients)
    return top / bottom


def _polynomial(x: np.ndarray, coefficients: tuple) -> np.ndarray:
    total = np.full_like(x, coefficients[0])
    for c in coefficients[1:]:
        total *= x
        total += x.dtype.type(c)
    return total


def erf(x: np.ndarray) -> np.ndarray:
    """2/sqrt(pi) times the integral of exp(-t*t) from 0 to x, in the dtype of `x`."""
    if x.dtype != np.float64:
        clipped = np.clip(x.astype(np.float32, copy=False), -4, 4)
        return (clipped * _ratio(clipped * clipped, _SINGLE)).astype(x.dtype, copy=False)
    size = np.minimum(np.abs(x), _ONE_FROM)
    small = x * _ratio(np.minimum(size, _MIDDLE_START) ** 2, _SMALL)
    # exp(-x*x) loses digits to the rounding of x*x: split x so that the large part squares exactly
    coarse = np.trunc(size * 16) / 16
    tail = np.exp(-coarse * coarse) * np.exp(-(size - coarse) * (size + coarse)) * _ratio(size, _MIDDLE)
    return np.where(size <= _MIDDLE_START, small, np.copysign(1 - tail, x))


def normal_cdf(x: np.ndarray) -> np.ndarray:
    """The standard normal distribution function."""
    kind = x.dtype.type
    return kind(0.5) * (1 + erf(x * kind(math.sqrt(0.5))))
