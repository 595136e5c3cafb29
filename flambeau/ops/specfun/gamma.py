"""The gamma function's family: lgamma, digamma, the Hurwitz zeta function, polygamma, incomplete gamma functions.

After S. L. Moshier's Cephes library (lgam, psi, zeta) and J. Maddock's Lanczos sum in Boost.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np

from flambeau.ops.specfun.precision import polynomial

_STIRLING = (8.11614167470508450300e-4, -5.95061904284301438324e-4, 7.93650340457716943945e-4,
             -2.77777777730099687205e-3, 8.33333333333331927722e-2)  # fmt: skip
_NEAR_TOP = (-1.37825152569120859100e3, -3.88016315134637840924e4, -3.31612992738871184744e5,
             -1.16237097492762307383e6, -1.72173700820839662146e6, -8.53555664245765465627e5)  # fmt: skip
_NEAR_BOTTOM = (1.0, -3.51815701436523470549e2, -1.70642106651881159223e4, -2.20528590553854454839e5,
                -1.13933444367982507207e6, -2.53252307177582951285e6, -2.01889141433532773231e6)  # fmt: skip
_HALF_LOG_2PI = 0.91893853320467274178
_LOG_PI = 1.14472988584940017414
_PSI = (8.33333333333333333333e-2, -2.10927960927960927961e-2, 7.57575757575757575758e-3, -4.16666666666666666667e-3,
        3.96825396825396825397e-3, -8.33333333333333333333e-3, 8.33333333333333333333e-2)  # fmt: skip
_PSI_ROOT = (1.4616321449683622, 9.549995429965697e-17)  # the positive zero of digamma, as a sum
_ZETA = (12.0, -720.0, 30240.0, -1209600.0, 47900160.0, -1.8924375803183791606e9, 7.47242496e10,
         -2.950130727918164224e12, 1.1646782814350067249e14, -4.5979787224074726105e15, 1.8152105401943546773e17,
         -7.1661652561756670113e18)  # fmt: skip
_LANCZOS_G = 6.024680040776729583740234375
_LANCZOS_TOP = (
    0.006061842346248906525783753964555936883222, 0.5098416655656676188125178644804694509993,
    19.51992788247617482847860966235652136208, 449.9445569063168119446858607650988409623,
    6955.999602515376140356310115515198987526, 75999.29304014542649875303443598909137092,
    601859.6171681098786670226533699352302507, 3481712.15498064590882071018964774556468,
    14605578.08768506808414169982791359218571, 43338889.32467613834773723740590533316085,
    86363131.28813859145546927288977868422342, 103794043.1163445451906271053616070238554,
    56906521.91347156388090791033559122686859,
)  # fmt: skip
_LANCZOS_BOTTOM = (1.0, 66.0, 1925.0, 32670.0, 357423.0, 2637558.0, 13339535.0, 45995730.0, 105258076.0, 150917976.0,
                   120543840.0, 39916800.0, 0.0)  # fmt: skip
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
    stirling = (big - 0.5) * np.log(big) - big + _HALF_LOG_2PI + polynomial(inverse, _STIRLING) / big
    s = np.where(x < 1.5, x - 1, x - 2)  # near the zeros at 1 and 2: a series in the distance
    series = s * polynomial(np.clip(s, -0.5, 0.5), _series_coefficients())
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
    near = np.log(factor) + t * polynomial(t, _NEAR_TOP) / polynomial(t, _NEAR_BOTTOM)
    near = np.where((x > 0.5) & (x < 2.5), series, near)
    return np.where(x < 13, near, np.where(np.isinf(x), np.inf, stirling))


@functools.cache
def _series_coefficients() -> tuple[float, ...]:
    """Of lgamma(2 + s) / s: 1 - Euler's constant, then (zeta(k) - 1) (-1)**k / k."""
    terms = [float(zeta(np.float64(k), np.float64(2.0))) * (-1) ** k / k for k in range(2, 30)]
    return (*reversed(terms), 1 - np.euler_gamma)


@functools.cache
def _psi_coefficients() -> tuple[float, ...]:
    """Of digamma around its positive zero."""
    root = np.float64(_PSI_ROOT[0])
    return tuple([(-1) ** (n + 1) * float(zeta(np.float64(n + 1), root)) for n in range(24, 0, -1)])


def lgamma(x: np.ndarray) -> np.ndarray:
    """The logarithm of |gamma(x)|."""
    size = np.abs(x)
    right = _lgamma_right(np.where(x == 0, 1.0, np.where(np.isnan(x), 1.0, size)))
    left = _LOG_PI - np.log(np.abs(sin_pi(size)) * size) - right
    pole = (x <= 0) & (x == np.floor(x))
    return np.where(np.isnan(x), x, np.where(pole | np.isinf(x), np.inf, np.where(x > 0, right, left)))


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
    tail = np.where(u < 1e17, inverse * polynomial(inverse, _PSI), 0)
    apart = np.clip(x - _PSI_ROOT[0] - _PSI_ROOT[1], -0.25, 0.25)
    near = apart * polynomial(apart, _psi_coefficients())
    right = np.where(np.isposinf(x), np.inf, np.log(u) - 0.5 / u - tail - total)
    return np.where(np.abs(x - _PSI_ROOT[0]) < 0.25, near, right)


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
    for c in _ZETA:
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
    base = a + _LANCZOS_G - 0.5
    inverted = a > 1  # evaluated in 1/a there, so that high powers do not overflow
    at = np.where(inverted, 1 / a, a)
    top = np.where(inverted, polynomial(at, _LANCZOS_TOP[::-1]), polynomial(at, _LANCZOS_TOP))
    bottom = np.where(inverted, polynomial(at, _LANCZOS_BOTTOM[::-1]), polynomial(at, _LANCZOS_BOTTOM))
    scale = np.sqrt(base / np.e) * bottom / top
    apart = (x - a - _LANCZOS_G + 0.5) / base
    near = scale * np.where(
        (a < 200) & (x < 200),
        np.exp(a - x) * np.power(x / base, a),
        np.exp(a * (np.log1p(apart) - apart) + x * (0.5 - _LANCZOS_G) / base),
    )
    return np.where(np.abs(a - x) > 0.4 * np.abs(a), far, near)


def _lower_series(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    """gammainc by its power series (DLMF 8.11.4), for x up to about a."""
    term, total, r = np.ones_like(x), np.ones_like(x), a.copy()
    for _ in range(20_000):
        r = r + 1
        term = term * x / r
        total = total + term
        if not (term > _EPSILON * total).any():
            break
    return total * _power_over_gamma(a, x) / a


def _upper_series(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    """gammaincc by a series (DLMF 8.7.3) for small x and a."""
    factor, total = np.ones_like(x), np.zeros_like(x)
    for n in range(1, 2000):
        factor = factor * -x / n
        term = factor / (a + n)
        total = total + term
        if not (np.abs(term) > _EPSILON * np.abs(total)).any():
            break
    logs = a * np.log(x)
    return -np.expm1(logs - lgamma(1 + a)) - np.exp(logs - lgamma(a)) * total


def _upper_fraction(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    """gammaincc by its continued fraction (DLMF 8.9.2, Lentz's method), for x above about a + 1."""
    b = x + 1 - a
    c, d = np.full_like(x, 1e300), 1 / b
    value = d.copy()
    for n in range(1, 20_000):
        weight = -n * (n - a)
        b = b + 2
        d = 1 / np.where(np.abs(bd := weight * d + b) < 1e-300, 1e-300, bd)
        c = np.where(np.abs(bc := b + weight / c) < 1e-300, 1e-300, bc)
        change = d * c
        value = value * change
        if not (np.abs(change - 1) > 2 * _EPSILON).any():
            break
    return value * _power_over_gamma(a, x)


def _masked(where: np.ndarray, function: Callable, a: np.ndarray, x: np.ndarray) -> np.ndarray:
    result = np.zeros(a.shape)
    if where.any():
        result[where] = function(a[where], x[where])
    return result


def _incomplete(a: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """gammainc and gammaincc, each from the side that loses no digits."""
    a, x = (np.array(part) for part in np.broadcast_arrays(a, x))
    valid = (a > 0) & (x > 0) & np.isfinite(a) & np.isfinite(x)
    by_upper = valid & (x <= 1.1) & (np.where(x <= 0.5, -0.4 / np.log(np.minimum(x, 0.5)), x / 1.1) > a)
    by_fraction = valid & ~by_upper & (x > np.maximum(a, 1.1))
    by_lower = valid & ~by_upper & ~by_fraction
    lower = _masked(by_lower, _lower_series, a, x)
    upper = _masked(by_upper, _upper_series, a, x) + _masked(by_fraction, _upper_fraction, a, x)
    lower, upper = np.where(by_lower, lower, 1 - upper), np.where(by_lower, 1 - lower, upper)
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
