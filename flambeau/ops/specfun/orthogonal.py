"""Orthogonal polynomials by their three-term recurrences: Chebyshev, Hermite, Laguerre, Legendre."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Step = Callable[[int, np.ndarray, np.ndarray, np.ndarray], np.ndarray]
Polynomial = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _recurrence(first: Callable[[np.ndarray], np.ndarray], step: Step) -> Polynomial:
    """The polynomial of degree n at x: 1, `first(x)`, and `step(k, x, one before, two before)` for degree k.

    A degree is cut to a whole number; below 0, and where it is none that int64 has, the polynomial is 0.
    """

    def polynomial(x: np.ndarray, n: np.ndarray) -> np.ndarray:
        x, n = np.broadcast_arrays(x, np.where(np.abs(n) < 2.0**63, np.trunc(n), -1.0))
        before, at = np.ones_like(x), first(x)
        result = np.where(n < 0, 0.0, np.where(n == 0, before, at))
        degree = int(np.max(n, initial=0))
        for k in range(2, degree + 1):
            before, at = at, step(k, x, at, before)
            result = np.where(n == k, at, result)
            if np.isnan(at).all():
                return np.where(n > k, at, result)
        return np.where(np.isnan(x) & (n > 0), x, result)

    return polynomial


def _doubling(k: int, x: np.ndarray, at: np.ndarray, before: np.ndarray) -> np.ndarray:
    return 2 * x * at - before


def _shifted(polynomial: Polynomial) -> Polynomial:
    return lambda x, n: polynomial(2 * x - 1, n)


chebyshev_polynomial_t = _recurrence(lambda x: x, _doubling)
chebyshev_polynomial_u = _recurrence(lambda x: 2 * x, _doubling)
chebyshev_polynomial_v = _recurrence(lambda x: 2 * x - 1, _doubling)
chebyshev_polynomial_w = _recurrence(lambda x: 2 * x + 1, _doubling)
shifted_chebyshev_polynomial_t = _shifted(chebyshev_polynomial_t)
shifted_chebyshev_polynomial_u = _shifted(chebyshev_polynomial_u)
shifted_chebyshev_polynomial_v = _shifted(chebyshev_polynomial_v)
shifted_chebyshev_polynomial_w = _shifted(chebyshev_polynomial_w)
hermite_polynomial_h = _recurrence(lambda x: 2 * x, lambda k, x, at, before: 2 * x * at - 2 * (k - 1) * before)
hermite_polynomial_he = _recurrence(lambda x: x, lambda k, x, at, before: x * at - (k - 1) * before)
laguerre_polynomial_l = _recurrence(
    lambda x: 1 - x, lambda k, x, at, before: ((2 * k - 1 - x) * at - (k - 1) * before) / k
)
legendre_polynomial_p = _recurrence(lambda x: x, lambda k, x, at, before: ((2 * k - 1) * x * at - (k - 1) * before) / k)
