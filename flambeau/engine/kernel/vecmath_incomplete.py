"""The incomplete gamma functions: power series, a continued fraction, and Temme's expansion for large parameters.

A series goes on until no lane adds to its sum; a lane that has come to its end keeps it, whatever the others need.
"""

from __future__ import annotations

import math

from flambeau.engine.kernel.coefficients import (
    GAMMA_LARGE,
    GAMMA_SPAN,
    LANCZOS_BOTTOM,
    LANCZOS_G,
    LANCZOS_TOP,
    LOG1P_REST,
    TEMME,
)  # fmt: skip
from flambeau.engine.kernel.emit import Emitter, Loop, Val, lanes
from flambeau.engine.kernel.vecmath import (
    any_lane,
    at_least,
    at_most,
    in_double,
    magnitude,
    polynomial,
    root,
    with_sign_of,
)  # fmt: skip
from flambeau.engine.kernel.vecmath_error import erfc
from flambeau.engine.kernel.vecmath_exp import exp, expm1
from flambeau.engine.kernel.vecmath_gamma import lgamma
from flambeau.engine.kernel.vecmath_log import log, log1p
from flambeau.engine.kernel.vecmath_power import pow

_EPSILON = 2.0**-53
_TINY = 1e-300
_TERMS, _FEW = 20_000, 2_000  # at most


@in_double
def gammainc(k: Emitter, a: Val, x: Val) -> Val:
    """The regularised lower incomplete gamma function of parameter a at x."""
    return _regularised(k, a, x, upper=False)


@in_double
def gammaincc(k: Emitter, a: Val, x: Val) -> Val:
    """The regularised upper incomplete gamma function of parameter a at x."""
    return _regularised(k, a, x, upper=True)


def _regularised(k: Emitter, a: Val, x: Val, upper: bool) -> Val:
    """Either function, each lane from the side that loses no digits."""
    usual, log_x = k.bits("and", _positive(k, a), _positive(k, x)), log(k, x)
    bound = k.select(x <= 0.5, -0.4 / log_x, x / 1.1)
    by_upper = k.bits("and", usual, k.bits("and", x <= 1.1, bound > a))
    large = a >= GAMMA_LARGE
    rest = k.bits("and", usual, k.bits("xor", k.bits("or", by_upper, large), True))
    beyond = k.bits("and", x > 1.1, x > a)
    by_fraction = k.bits("and", rest, beyond)
    by_lower = k.bits("and", rest, k.bits("xor", beyond, True))
    logs, logs_next = _lgammas(k, a, any_lane(k, by_upper))
    factor = _power_over_gamma(k, a, x, a * log_x, logs)
    below = _lower_series(k, a, x, by_lower) * factor / a
    above = _upper_fraction(k, a, x, by_fraction) * factor
    above = k.select(by_upper, _upper_series(k, a, x, a * log_x, logs, logs_next, by_upper), above)
    y = k.select(by_lower, 1.0 - below, above) if upper else k.select(by_lower, below, 1.0 - above)
    y = k.select(large, _of_large(k, a, x, 1.0 if upper else -1.0), y)
    return _at_the_edges(k, a, x, k.select(usual, y, math.nan), upper)


def _positive(k: Emitter, x: Val) -> Val:
    """Whether it is above 0, and finite."""
    return k.bits("and", x > 0.0, x < math.inf)


def _at_the_edges(k: Emitter, a: Val, x: Val, y: Val, upper: bool) -> Val:
    """a = 0 is a step at 0, x = 0 and x = infinity are the two ends."""
    nothing = k.bits("or", k.bits("and", a > 0.0, x.equals(0.0)), _and_finite(k, a.equals(math.inf), x))
    everything = k.bits("or", k.bits("and", a.equals(0.0), x > 0.0), _and_finite(k, x.equals(math.inf), a))
    return k.select(nothing, 1.0 if upper else 0.0, k.select(everything, 0.0 if upper else 1.0, y))


def _lgammas(k: Emitter, a: Val, both: Val) -> tuple[Val, Val]:
    """lgamma of a, and of a + 1 if `both` holds."""
    zero = k.const(a.type, 0.0)
    with k.loop(k.select(both, k.const("i64", 2), 1), carried=[zero, zero]) as loop:
        first = loop.i.equals(0)
        logs = lgamma(k, k.select(first, a, a + 1.0))
        loop.carry(k.select(first, logs, loop.carried[0]), logs)
    return loop.results[0], loop.results[1]


def _and_finite(k: Emitter, condition: Val, x: Val) -> Val:
    return k.bits("and", condition, k.bits("and", x >= 0.0, x < math.inf))


def _power_over_gamma(k: Emitter, a: Val, x: Val, power: Val, logs: Val) -> Val:
    """x**a exp(-x) / gamma(a), without cancellation where x is near a; `power` is log(x**a), `logs` lgamma(a)."""
    far = magnitude(k, a - x) > magnitude(k, a) * 0.4
    small = k.bits("and", a < 200.0, x < 200.0)
    base = a + (LANCZOS_G - 0.5)
    inverted = a > 1.0  # evaluated in 1/a there, so that high powers do not overflow
    at = k.select(inverted, 1.0 / a, a)
    top, bottom = (
        k.select(inverted, polynomial(k, at, table[::-1]), polynomial(k, at, table))
        for table in (LANCZOS_TOP, LANCZOS_BOTTOM)
    )
    scale = root(k, base / math.e) * bottom / top
    apart = (x - a - LANCZOS_G + 0.5) / base
    large = a * (log1p(k, apart) - apart) + x * (0.5 - LANCZOS_G) / base
    y = exp(k, k.select(far, power - x - logs, k.select(small, a - x, large)))
    near = scale * k.select(small, y * pow(k, x / base, a), y)
    return k.select(far, y, near)


def _of_large(k: Emitter, a: Val, x: Val, side: float) -> Val:
    """gammaincc (`side` 1) or gammainc (-1) of a large parameter: a corrected normal distribution (DLMF 8.12)."""
    mu = at_most(k, at_least(k, (x - a) / a, -GAMMA_SPAN), GAMMA_SPAN)  # beyond, one result is 0
    square = mu * mu * polynomial(k, mu, LOG1P_REST)
    eta = with_sign_of(k, root(k, square * 2.0), mu)
    first, second, third = (polynomial(k, eta, row) for row in TEMME)
    rest = exp(k, -a * square) / root(k, a * (2 * math.pi)) * (first + (second + third / a) / a)
    return erfc(k, eta * root(k, a * 0.5) * side) * 0.5 + rest * side


def _rounds(k: Emitter, wanted: Val, most: int) -> Val:
    return k.select(any_lane(k, wanted), k.const("i64", most), 0)


def _number(k: Emitter, loop: Loop, like: Val) -> Val:
    """The number of a loop's round, in every lane."""
    return k.splat(k.cast(loop.i, "double"), lanes(like.type))


def _lower_series(k: Emitter, a: Val, x: Val, wanted: Val) -> Val:
    """The power series of gammainc (DLMF 8.11.4), for x up to about a."""
    one = k.const(x.type, 1.0)
    with k.loop(_rounds(k, wanted, _TERMS), carried=[one, one, a, wanted]) as loop:
        term, total, r, on = loop.carried
        r = r + 1.0
        term = term * x / r
        total = k.select(on, total + term, total)
        on = k.bits("and", on, term > total * _EPSILON)
        loop.carry(term, total, r, on, until=k.bits("xor", any_lane(k, on), True))
    return loop.results[1]


def _upper_series(k: Emitter, a: Val, x: Val, power: Val, logs: Val, logs_next: Val, wanted: Val) -> Val:
    """gammaincc by a series (DLMF 8.7.3) for small x and a; `power` is log(x**a), the others lgamma of a and a + 1."""
    one, zero = k.const(x.type, 1.0), k.const(x.type, 0.0)
    with k.loop(_rounds(k, wanted, _FEW), start=1, carried=[one, zero, wanted]) as loop:
        factor, total, on = loop.carried
        n = _number(k, loop, x)
        factor = factor * -x / n
        term = factor / (a + n)
        total = k.select(on, total + term, total)
        on = k.bits("and", on, magnitude(k, term) > magnitude(k, total) * _EPSILON)
        loop.carry(factor, total, on, until=k.bits("xor", any_lane(k, on), True))
    return -expm1(k, power - logs_next) - exp(k, power - logs) * loop.results[1]


def _upper_fraction(k: Emitter, a: Val, x: Val, wanted: Val) -> Val:
    """The continued fraction of gammaincc (DLMF 8.9.2, Lentz's method), for x above about a + 1."""
    b = x + 1.0 - a
    d = 1.0 / b
    with k.loop(_rounds(k, wanted, _TERMS), start=1, carried=[b, k.const(x.type, 1 / _TINY), d, d, wanted]) as loop:
        b, c, d, value, on = loop.carried
        n = _number(k, loop, x)
        weight = -n * (n - a)
        b = b + 2.0
        d = 1.0 / _not_zero(k, weight * d + b)
        c = _not_zero(k, b + weight / c)
        change = d * c
        value = k.select(on, value * change, value)
        on = k.bits("and", on, magnitude(k, change - 1.0) > 2 * _EPSILON)
        loop.carry(b, c, d, value, on, until=k.bits("xor", any_lane(k, on), True))
    return loop.results[3]


def _not_zero(k: Emitter, x: Val) -> Val:
    return k.select(magnitude(k, x) < _TINY, _TINY, x)
