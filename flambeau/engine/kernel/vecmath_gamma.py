"""The gamma function's family: lgamma, digamma, the Hurwitz zeta function and polygamma.

After S. L. Moshier's Cephes library (lgam, psi, zeta): Stirling's series for large numbers, recurrences down or up to
an interval with a rational approximation, series around the zeros, reflection for negative numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from flambeau.engine.kernel.coefficients import (
    HALF_LOG_2PI,
    LGAMMA_BOTTOM,
    LGAMMA_NEAR_2,
    LGAMMA_TOP,
    LOG_PI,
    PSI,
    PSI_NEAR_ROOT,
    PSI_ROOT,
    STIRLING,
    ZETA,
)  # fmt: skip
from flambeau.engine.kernel.emit import Emitter, Val, lanes
from flambeau.engine.kernel.vecmath import (
    any_lane,
    at_least,
    at_most,
    in_double,
    magnitude,
    polynomial,
    with_sign_of,
)  # fmt: skip
from flambeau.engine.kernel.vecmath_log import log, log1p
from flambeau.engine.kernel.vecmath_power import pow
from flambeau.engine.kernel.vecmath_trig import near_sin, near_tan

_EPSILON = 2.0**-53


def _sin_pi(k: Emitter, x: Val) -> Val:
    """sin(pi * x) for x >= 0, exact at the integers."""
    rest = x - k.intrinsic("roundeven", x.type, x)  # from -1/2 to 1/2
    return near_sin(k, rest * math.pi)  # but for its sign


def _lgamma_right(k: Emitter, x: Val) -> Val:
    """lgamma of x > 0."""
    big = at_least(k, x, 13.0)
    inverse = 1.0 / (big * big)
    stirling = (big - 0.5) * log(k, big) - big + HALF_LOG_2PI + polynomial(k, inverse, STIRLING) / big
    low = x < 1.5
    s = k.select(low, x - 1.0, x - 2.0)
    series = s * polynomial(k, at_most(k, at_least(k, s, -0.5), 0.5), LGAMMA_NEAR_2)
    series = k.select(low, series - log1p(k, s), series)
    u, factor = at_most(k, x, 13.0), k.const(x.type, 1.0)
    for _ in range(11):  # down into [2, 3)
        high = u >= 3.0
        u = k.select(high, u - 1.0, u)
        factor = k.select(high, factor * u, factor)
    for _ in range(2):  # up into [2, 3)
        low = u < 2.0
        factor = k.select(low, factor / u, factor)
        u = k.select(low, u + 1.0, u)
    t = u - 2.0
    near = log(k, factor) + t * polynomial(k, t, LGAMMA_TOP) / polynomial(k, t, LGAMMA_BOTTOM)
    near = k.select(k.bits("and", x > 0.5, x < 2.5), series, near)
    return k.select(x < 13.0, near, k.select(x.equals(math.inf), math.inf, stirling))


@in_double
def lgamma(k: Emitter, x: Val) -> Val:
    """The logarithm of |gamma(x)|; infinite at 0 and the negative integers."""
    size = magnitude(k, x)
    right = _lgamma_right(k, k.select(x.equals(0.0), 1.0, size))
    left = LOG_PI - log(k, magnitude(k, _sin_pi(k, size) * size)) - right
    pole = k.bits("and", x <= 0.0, k.intrinsic("floor", x.type, x).equals(x))
    result = k.select(size < 2.0**-60, -log(k, size), k.select(x > 0.0, right, left))
    result = k.select(k.bits("or", pole, size.equals(math.inf)), math.inf, result)
    return k.select(k.unordered(x, x), x, result)


@in_double
def digamma(k: Emitter, x: Val) -> Val:
    """The derivative of lgamma; NaN at the negative integers, infinite at zero."""
    right = _digamma_right(k, k.select(x > 0.0, x, 1.0 - x))
    rest = x - k.intrinsic("roundeven", x.type, x)
    left = right - math.pi / near_tan(k, rest * math.pi)
    whole = k.bits("and", x < 0.0, k.intrinsic("floor", x.type, x).equals(x))  # minus infinity too
    result = k.select(x > 0.0, right, k.select(whole, math.nan, left))
    return k.select(x.equals(0.0), with_sign_of(k, math.inf, -x), result)


def _digamma_right(k: Emitter, x: Val) -> Val:
    """digamma of x > 0: up to x >= 10 by recurrence, then asymptotically; a series near its zero."""
    u, total = x, k.const(x.type, 0.0)
    for _ in range(10):
        low = u < 10.0
        total = k.select(low, total + 1.0 / u, total)
        u = k.select(low, u + 1.0, u)
    inverse = 1.0 / (u * u)
    tail = k.select(u < 1e17, inverse * polynomial(k, inverse, PSI), 0.0)
    apart = x - PSI_ROOT[0] - PSI_ROOT[1]
    inside = at_most(k, at_least(k, apart, -0.25), 0.25)
    near = inside * polynomial(k, inside, PSI_NEAR_ROOT)
    right = k.select(x.equals(math.inf), math.inf, log(k, u) - 0.5 / u - tail - total)
    return k.select(magnitude(k, apart) < 0.25, near, right)


def mvlgamma(k: Emitter, x: Val, p: int) -> Val:
    """The logarithm of the multivariate gamma function of dimension p."""

    def of_doubles(k: Emitter, x: Val) -> Val:
        with k.loop(p, carried=[k.const(x.type, p * (p - 1) / 4 * math.log(math.pi))]) as loop:
            j = k.splat(k.cast(loop.i, "double"), lanes(x.type))
            loop.carry(loop.carried[0] + lgamma(k, x - j * 0.5))
        return loop.results[0]

    return in_double(of_doubles)(k, x)


def polygamma(k: Emitter, x: Val, n: int) -> Val:
    """The n-th derivative of digamma."""
    if n == 0:
        return digamma(k, x)
    scale = (1.0 if n % 2 else -1.0) * (math.gamma(n + 1) if n < 170 else math.inf)

    def of_doubles(k: Emitter, x: Val) -> Val:
        order = k.const(x.type, n + 1.0)
        return (_zeta(k, order, x, lambda a: _inverse_power(a, n + 1)) if n < 4 else zeta(k, order, x)) * scale

    return in_double(of_doubles)(k, x)


def _inverse_power(a: Val, n: int) -> Val:
    """a ** -n for a small n."""
    inverse = power = 1.0 / a
    for bit in bin(n)[3:]:
        power = power * power * inverse if bit == "1" else power * power
    return power


@in_double
def zeta(k: Emitter, x: Val, q: Val) -> Val:
    """The Hurwitz zeta function, the sum over i >= 0 of (i + q) ** -x, for x > 1."""
    return _zeta(k, x, q, lambda a: pow(k, a, -x))


def _zeta(k: Emitter, x: Val, q: Val, power: Callable[[Val], Val]) -> Val:
    """The zeta function; `power` gives a ** -x.

    It has poles where -q is a whole number. Between them it is NaN unless x is one: then the terms of negative base
    are, but for their sign, a difference of two sums at positive q. If any lane has a negative q, all do three rounds.
    """
    left = q <= 0.0
    finite = magnitude(k, q) < math.inf
    rest = q - k.intrinsic("floor", q.type, q)
    rest = k.select(k.bits("and", finite, rest > 0.0), rest, 0.5)
    first = k.select(q > 0.0, q, rest)
    beyond = k.select(k.bits("and", finite, left), 1.0 - q, 1.0)
    zero = k.const(x.type, 0.0)
    with k.loop(k.select(any_lane(k, left), k.const("i64", 3), 1), carried=[zero, zero]) as loop:
        right, mirrored = loop.carried
        starts, mirrors = loop.i.equals(0), loop.i.equals(1)
        total = _zeta_right(k, x, power, k.select(starts, first, k.select(mirrors, 1.0 - rest, beyond)))
        right = k.select(starts, total, right)
        loop.carry(right, k.select(mirrors, total, k.select(starts, zero, mirrored - total)))
    right, mirrored = loop.results
    by_reflection = right + k.select(_whole(k, x * 0.5), mirrored, -mirrored)
    by_reflection = k.select(_whole(k, q), math.inf, k.select(_whole(k, x), by_reflection, math.nan))
    y = k.select(left, by_reflection, right)
    y = k.select(x.equals(1.0), math.inf, k.select(x > 1.0, y, math.nan))
    return k.select(k.unordered(q, q), q, y)


def _whole(k: Emitter, x: Val) -> Val:
    """Whether it has no fraction."""
    return k.intrinsic("floor", x.type, x).equals(x)


def _zeta_right(k: Emitter, x: Val, power: Callable[[Val], Val], q: Val) -> Val:
    """zeta for q > 0: ten terms or eleven, then Euler and Maclaurin's formula. Lanes stop where nothing is added."""
    zero = k.const(q.type, 0.0)
    begun = k.bits("and", x > 1.0, q < math.inf)
    with k.loop(11, carried=[q, zero, zero, begun]) as loop:
        a, b, total, on = loop.carried
        now = k.bits("and", on, k.bits("or", a <= 9.0, loop.i < 10))
        a = k.select(k.bits("and", now, loop.i > 0), a + 1.0, a)
        b = k.select(now, power(a), b)
        total = k.select(now, total + b, total)
        on = k.bits("and", on, k.bits("or", _adds(k, b, total), k.bits("xor", now, True)))
        loop.carry(a, b, total, on, until=k.bits("xor", any_lane(k, now), True))
    a, b, total, on = loop.results
    total = k.select(on, total + b * a / (x - 1.0) - b * 0.5, total)
    inverse, factor = 1.0 / a, k.const(x.type, 1.0)
    for nr, c in enumerate(ZETA):
        factor, b = factor * (x + 2.0 * nr), b * inverse
        term = factor * b * (1 / c)
        total = k.select(on, total + term, total)
        on = k.bits("and", on, _adds(k, term, total))
        factor, b = factor * (x + (2.0 * nr + 1.0)), b * inverse
    return total


def _adds(k: Emitter, term: Val, total: Val) -> Val:
    """Whether a term is not too small to change a sum."""
    return k.bits("xor", magnitude(k, term) < magnitude(k, total) * _EPSILON, True)
