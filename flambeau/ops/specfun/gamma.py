"""The gamma function's family: lgamma, digamma, the Hurwitz zeta function, polygamma, incomplete gamma functions.

After S. L. Moshier's Cephes library (lgam, psi, zeta) and J. Maddock's Lanczos sum in Boost.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from flambeau.engine.kernel.coefficients import (
    GAMMA_LARGE,
    GAMMA_SPAN,
    HALF_LOG_2PI,
    LANCZOS_BOTTOM,
    LANCZOS_G,
    LANCZOS_TOP,
    LGAMMA_BOTTOM,
    LGAMMA_NEAR_2,
    LGAMMA_TOP,
    LOG1P_REST,
    LOG_PI,
    PSI,
    PSI_NEAR_ROOT,
    PSI_ROOT,
    STIRLING,
    TEMME,
    ZETA,
)  # fmt: skip
from flambeau.ops.specfun.error import erfc
from flambeau.ops.specfun.precision import polynomial

_EPSILON = 1.11022302462515654042e-16


def sin_pi(x: np.ndarray) -> np.ndarray:
    """sin(pi * x), exact at the integers."""
    rest = np.remainder(x, 2.0)
    folded = np.where(rest > 1, rest - 2, rest)
    return np.sin(np.pi * np.where(np.abs(folded) > 0.5, np.copysign(1, folded) - folded, folded))


def _lgamma_right(x: np.ndarray) -> np.ndarray:
    """lgamma of x > 0."""
    big = np.maximum(x, 13.0)
    inverse = 1 / (big * big)
    stirling = (big - 0.5) * np.log(big) - big + HALF_LOG_2PI + polynomial(inverse, STIRLING) / big
    s = np.where(x < 1.5, x - 1, x - 2)  # near the zeros at 1 and 2: a series in the distance
    series = s * polynomial(np.clip(s, -0.5, 0.5), LGAMMA_NEAR_2)
    series = np.where(x < 1.5, series - np.log1p(s), series)
    u = np.minimum(x, 13.0)
    factor = np.ones_like(u)
    for _ in range(11):  # down into [2, 3)
        high = u >= 3
        u = np.where(high, u - 1, u)
        factor = np.where(high, factor * u, factor)
    for _ in range(2):  # up into [2, 3)
        low = u < 2
        factor = np.where(low, factor / u, factor)
        u = np.where(low, u + 1, u)
    t = u - 2
    near = np.log(factor) + t * polynomial(t, LGAMMA_TOP) / polynomial(t, LGAMMA_BOTTOM)
    near = np.where((x > 0.5) & (x < 2.5), series, near)
    return np.where(x < 13, near, np.where(np.isinf(x), np.inf, stirling))


def lgamma(x: np.ndarray) -> np.ndarray:
    """The logarithm of |gamma(x)|."""
    size = np.abs(x)
    right = _lgamma_right(np.where(x == 0, 1.0, np.where(np.isnan(x), 1.0, size)))
    left = LOG_PI - np.log(np.abs(sin_pi(size)) * size) - right
    pole = (x <= 0) & (x == np.floor(x))
    value = np.where(size < 2.0**-60, -np.log(size), np.where(x > 0, right, left))
    return np.where(np.isnan(x), x, np.where(pole | np.isinf(x), np.inf, value))


def digamma(x: np.ndarray) -> np.ndarray:
    """The derivative of lgamma."""
    right = _digamma_right(np.where(x > 0, x, 1 - x))
    rest = np.remainder(x, 1.0)
    left = right - np.pi / np.tan(np.pi * np.where(rest > 0.5, rest - 1, rest))
    integer = (x < 0) & (x == np.floor(x))
    result = np.where(x > 0, right, np.where(integer | np.isneginf(x), np.nan, left))
    return np.where(x == 0, np.copysign(np.inf, -x), result)


def _digamma_right(x: np.ndarray) -> np.ndarray:
    """digamma of x > 0: up to x >= 10 by recurrence, then asymptotically; by differences near its zero."""
    u, total = x.copy(), np.zeros_like(x)
    for _ in range(10):
        low = u < 10
        total = np.where(low, total + 1 / u, total)
        u = np.where(low, u + 1, u)
    inverse = 1 / (u * u)
    tail = np.where(u < 1e17, inverse * polynomial(inverse, PSI), 0)
    apart = np.clip(x - PSI_ROOT[0] - PSI_ROOT[1], -0.25, 0.25)
    near = apart * polynomial(apart, PSI_NEAR_ROOT)
    right = np.where(np.isposinf(x), np.inf, np.log(u) - 0.5 / u - tail - total)
    return np.where(np.abs(x - PSI_ROOT[0]) < 0.25, near, right)


def zeta(x: np.ndarray, q: np.ndarray) -> np.ndarray:
    """The Hurwitz zeta function, the sum over k >= 0 of (k + q) ** -x, for x > 1.

    A negative q has poles at the integers, and is NaN elsewhere unless x is an integer: then the terms with a negative
    base are, but for their sign, a difference of two sums at positive q.
    """
    x, q = np.broadcast_arrays(x, q)
    right = _zeta_right(x, np.where(q > 0, q, 1.0))
    if (q <= 0).any():
        rest = np.where(q > 0, 0.5, q - np.floor(q))
        rest = np.where((rest > 0) & np.isfinite(q), rest, 0.5)
        mirrored = _zeta_right(x, 1 - rest) - _zeta_right(x, np.where(q > 0, 1.0, np.where(np.isfinite(q), 1 - q, 1.0)))
        left = _zeta_right(x, rest) + np.where(np.remainder(x, 2) == 0, 1.0, -1.0) * mirrored
        left = np.where(q == np.floor(q), np.inf, np.where(x == np.floor(x), left, np.nan))
        right = np.where(q > 0, right, left)
    return np.where(np.isnan(q), q, np.where(x == 1, np.inf, np.where(x > 1, right, np.nan)))


def _zeta_right(x: np.ndarray, q: np.ndarray) -> np.ndarray:
    """zeta for q > 0: nine terms or more, then Euler and Maclaurin's formula."""
    total = np.power(q, -x)
    a, b = q.copy(), np.zeros_like(q)
    done = ~(x > 1) | ~np.isfinite(q)
    step = 0
    while True:
        go = ~done & ((step < 9) | (a <= 9))
        if not go.any():
            break
        a = np.where(go, a + 1, a)
        b = np.where(go, np.power(a, -x), b)
        total = np.where(go, total + b, total)
        done |= go & (np.abs(b) < _EPSILON * np.abs(total))
        step += 1
    total = np.where(done, total, total + b * a / (x - 1) - 0.5 * b)
    factor, k, w = np.ones_like(q), 0.0, a
    for c in ZETA:
        factor = factor * (x + k)
        b = b / w
        t = factor * b / c
        total = np.where(done, total, total + t)
        done = done | (np.abs(t) < _EPSILON * np.abs(total))
        k += 1
        factor = factor * (x + k)
        b = b / w
        k += 1
    return total


def polygamma(n: int) -> Callable[[np.ndarray], np.ndarray]:
    """The n-th derivative of digamma."""

    def function(x: np.ndarray) -> np.ndarray:
        if n == 0:
            return digamma(x)
        scale = math.gamma(n + 1) if n < 170 else math.inf
        return (1.0 if n % 2 else -1.0) * scale * zeta(np.float64(n + 1), x)

    return function


# -- incomplete gamma functions --------------------------------------------------------------------------------


def _power_over_gamma(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    """x**a exp(-x) / gamma(a), without cancellation where x is near a."""
    far = np.exp(a * np.log(x) - x - lgamma(a))
    base = a + LANCZOS_G - 0.5
    inverted = a > 1  # evaluated in 1/a there, so that high powers do not overflow
    at = np.where(inverted, 1 / a, a)
    top = np.where(inverted, polynomial(at, LANCZOS_TOP[::-1]), polynomial(at, LANCZOS_TOP))
    bottom = np.where(inverted, polynomial(at, LANCZOS_BOTTOM[::-1]), polynomial(at, LANCZOS_BOTTOM))
    scale = np.sqrt(base / np.e) * bottom / top
    apart = (x - a - LANCZOS_G + 0.5) / base
    near = scale * np.where(
        (a < 200) & (x < 200),
        np.exp(a - x) * np.power(x / base, a),
        np.exp(a * (np.log1p(apart) - apart) + x * (0.5 - LANCZOS_G) / base),
    )
    return np.where(np.abs(a - x) > 0.4 * np.abs(a), far, near)


def _lower_series(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    """gammainc by its power series (DLMF 8.11.4), for x up to about a."""
    term, total, r, on = np.ones_like(x), np.ones_like(x), a.copy(), np.ones(x.shape, np.bool_)
    for _ in range(20_000):
        r = r + 1
        term = term * x / r
        total = np.where(on, total + term, total)
        on &= term > _EPSILON * total
        if not on.any():
            break
    return total * _power_over_gamma(a, x) / a


def _upper_series(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    """gammaincc by a series (DLMF 8.7.3) for small x and a."""
    factor, total, on = np.ones_like(x), np.zeros_like(x), np.ones(x.shape, np.bool_)
    for n in range(1, 2000):
        factor = factor * -x / n
        term = factor / (a + n)
        total = np.where(on, total + term, total)
        on &= np.abs(term) > _EPSILON * np.abs(total)
        if not on.any():
            break
    logs = a * np.log(x)
    return -np.expm1(logs - lgamma(1 + a)) - np.exp(logs - lgamma(a)) * total


def _upper_fraction(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    """gammaincc by its continued fraction (DLMF 8.9.2, Lentz's method), for x above about a + 1."""
    b = x + 1 - a
    c, d = np.full_like(x, 1e300), 1 / b
    value, on = d.copy(), np.ones(x.shape, np.bool_)
    for n in range(1, 20_000):
        weight = -n * (n - a)
        b = b + 2
        d = 1 / np.where(np.abs(bd := weight * d + b) < 1e-300, 1e-300, bd)
        c = np.where(np.abs(bc := b + weight / c) < 1e-300, 1e-300, bc)
        change = d * c
        value = np.where(on, value * change, value)  # rounding would add up where nothing is to be gained any more
        on &= np.abs(change - 1) > 2 * _EPSILON
        if not on.any():
            break
    return value * _power_over_gamma(a, x)


def _of_large(side: float) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """gammaincc (`side` 1) or gammainc (-1) of a large parameter: a corrected normal distribution (DLMF 8.12)."""

    def function(a: np.ndarray, x: np.ndarray) -> np.ndarray:
        mu = np.clip((x - a) / a, -GAMMA_SPAN, GAMMA_SPAN)  # beyond, one result is 0
        square = mu * mu * polynomial(mu, LOG1P_REST)
        eta = np.copysign(np.sqrt(2 * square), mu)
        first, second, third = (polynomial(eta, row) for row in TEMME)
        rest = np.exp(-a * square) / np.sqrt(2 * np.pi * a) * (first + (second + third / a) / a)
        return 0.5 * erfc(side * eta * np.sqrt(a / 2)) + side * rest

    return function


def _masked(where: np.ndarray, function: Callable, a: np.ndarray, x: np.ndarray) -> np.ndarray:
    result = np.zeros(a.shape)
    if where.any():
        result[where] = function(a[where], x[where])
    return result


def _incomplete(a: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """gammainc and gammaincc, each from the side that loses no digits."""
    a, x = (np.array(part) for part in np.broadcast_arrays(a, x))
    valid = (a > 0) & (x > 0) & np.isfinite(a) & np.isfinite(x)
    large = valid & (a >= GAMMA_LARGE)
    by_upper = valid & (x <= 1.1) & (np.where(x <= 0.5, -0.4 / np.log(np.minimum(x, 0.5)), x / 1.1) > a)
    by_fraction = valid & ~large & ~by_upper & (x > np.maximum(a, 1.1))
    by_lower = valid & ~large & ~by_upper & ~by_fraction
    lower = _masked(by_lower, _lower_series, a, x)
    upper = _masked(by_upper, _upper_series, a, x) + _masked(by_fraction, _upper_fraction, a, x)
    lower, upper = np.where(by_lower, lower, 1 - upper), np.where(by_lower, 1 - lower, upper)
    lower = np.where(large, _masked(large, _of_large(-1.0), a, x), lower)
    upper = np.where(large, _masked(large, _of_large(1.0), a, x), upper)
    # the edges: a = 0 is a step at 0, x = 0 and x = infinity the two ends
    for where, value in (
        ((a > 0) & (x == 0), 0.0), ((a == 0) & (x > 0), 1.0), (np.isfinite(a) & np.isposinf(x) & (a >= 0), 1.0),
        (np.isposinf(a) & np.isfinite(x) & (x >= 0), 0.0),
    ):  # fmt: skip
        lower, upper = np.where(where, value, lower), np.where(where, 1 - value, upper)
        valid |= where
    return np.where(valid, lower, np.nan), np.where(valid, upper, np.nan)


def gammainc(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The regularised lower incomplete gamma function."""
    return _incomplete(a, x)[0]


def gammaincc(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The regularised upper incomplete gamma function."""
    return _incomplete(a, x)[1]
