"""Logarithms and what is made of them: log, log2, log10, log1p, asinh, acosh, atanh, logaddexp; mantissa and exponent.

x = 2**e * m with m between sqrt(1/2) and sqrt(2); with f = m - 1 and s = f / (2 + f), log(m) = log((1 + s) / (1 - s)),
a series in odd powers of s (FreeBSD's msun, e_log.c, arranges the sum as here so that f enters unrounded).
"""

from __future__ import annotations

import math
from collections.abc import Callable

from flambeau.engine.kernel.emit import Emitter, Val, element
from flambeau.engine.kernel.vecmath import (
    by_format,
    format_of,
    in_double,
    magnitude,
    polynomial,
    root,
    small_integer,
    with_sign_of,
)  # fmt: skip
from flambeau.engine.kernel.vecmath_exp import exp, exp2

_LN2_SINGLE = (0.6931471824645996, -1.9046542121259336e-09)
_LN2_DOUBLE = (0.6931471805599453, 2.3190468138462996e-17)
_LOG10_2_SINGLE = (0.3010300099849701, -1.432098883924482e-08)
_LOG10_2_DOUBLE = (0.3010299956639812, -2.8037281277851704e-18)
# (log((1 + s) / (1 - s)) / s - 2) / z with z = s**2
_P_SINGLE = (0.24027597904205322, 0.2851018011569977, 0.40000849962234497, 0.6666666269302368)
_P_DOUBLE = (
    0.14813354863555442, 0.15312369979787194, 0.18183627726864118, 0.22222197395522497, 0.28571428753496697,
    0.3999999999936589, 0.6666666666666742,
)  # fmt: skip


def parts(k: Emitter, x: Val, denormals: bool = True) -> tuple[Val, Val]:
    """e (as a float) and m of x = 2**e * m, for positive finite x."""
    f = format_of(x)
    lift = f.mantissa + 2  # powers of two that make denormals normal
    tiny = x < f.tiny
    if denormals:
        x = k.select(tiny, x * 2.0**lift, x)
    offset = k.bitcast(x, f.integer) - f.root_half
    m = k.bitcast(k.bits("and", offset, (1 << f.mantissa) - 1) + f.root_half, element(x.type))
    e = small_integer(k, k.bits("ashr", offset, f.mantissa), element(x.type))
    return k.select(tiny, e - float(lift), e) if denormals else e, m


def mantissa(k: Emitter, x: Val) -> Val:
    """m of x = m * 2**e with 0.5 <= |m| < 1; of zero, infinity and NaN, x."""
    return _binary(k, x)[0]


def exponent(k: Emitter, x: Val) -> Val:
    """e (as a float) of x = m * 2**e with 0.5 <= |m| < 1; of zero, infinity and NaN, 0."""
    return _binary(k, x)[1]


def _binary(k: Emitter, x: Val) -> tuple[Val, Val]:
    f = format_of(x)
    size, lift = magnitude(k, x), f.mantissa + 2  # powers of two that make denormals normal
    tiny = size < f.tiny
    pattern = k.bitcast(k.select(tiny, x * 2.0**lift, x), f.integer)
    half = f.one - (1 << f.mantissa)
    field = (1 << (f.bits - 1)) - (1 << f.mantissa)  # where a number has its exponent
    e = small_integer(k, k.bits("ashr", k.bits("and", pattern, field) - half, f.mantissa), element(x.type))
    m = k.bitcast(k.bits("or", k.bits("and", pattern, ~field), half), element(x.type))
    plain = k.bits("and", size > 0.0, size < math.inf)
    return k.select(plain, m, x), k.select(plain, k.select(tiny, e - float(lift), e), 0.0)


def _series(k: Emitter, f: Val) -> tuple[Val, Val]:
    """f*f/2, and the rest of log(1 + f) - f + f*f/2."""
    s = f / (f + 2.0)
    z = s * s
    half_square = f * f * 0.5
    return half_square, s * k.fma(z, polynomial(k, z, by_format(f, _P_SINGLE, _P_DOUBLE)), half_square)


def _guarded(k: Emitter, x: Val, y: Val) -> Val:
    """The logarithm `y` of x, and of those x that are not positive and finite."""
    y = k.select(x < math.inf, y, x)  # of infinity; NaN
    return k.select(x > 0.0, y, k.select(x.equals(0.0), -math.inf, x * math.nan))


def _natural(k: Emitter, x: Val, lost: Val | None = None) -> Val:
    """log(x), or log(x + lost) where x was rounded."""
    e, m = parts(k, x, denormals=lost is None)
    f = m - 1.0
    half_square, rest = _series(k, f)
    high, low = by_format(x, _LN2_SINGLE, _LN2_DOUBLE)
    small = k.fma(e, low, lost / x) if lost is not None else e * low
    return k.fma(e, high, f - (half_square - (rest + small)))


def _to_base(k: Emitter, x: Val, scale: float, high: float, low: float) -> Val:
    """A logarithm to another base, whose value of 2 is high + low, and of e is `scale`."""
    e, m = parts(k, x)
    f = m - 1.0
    half_square, rest = _series(k, f)
    y = k.fma(e, low, (f - (half_square - rest)) * scale) if low else (f - (half_square - rest)) * scale
    return _guarded(k, x, k.fma(e, high, y))


def log(k: Emitter, x: Val) -> Val:
    """The natural logarithm."""
    return _guarded(k, x, _natural(k, x))


def log2(k: Emitter, x: Val) -> Val:
    """The logarithm to base 2; of powers of two, exact."""
    return _to_base(k, x, 1 / math.log(2), 1.0, 0.0)


def log10(k: Emitter, x: Val) -> Val:
    """The logarithm to base 10."""
    high, low = by_format(x, _LOG10_2_SINGLE, _LOG10_2_DOUBLE)
    return _to_base(k, x, 1 / math.log(10), high, low)


def log1p(k: Emitter, x: Val) -> Val:
    """log(1 + x), accurate where x is small."""
    total = x + 1.0
    back = total - 1.0
    lost = (1.0 - (total - back)) + (x - back)
    y = with_sign_of(k, _natural(k, total, lost), x)
    return _guarded(k, total, y)


@in_double
def asinh(k: Emitter, x: Val) -> Val:
    """The inverse of sinh."""
    size = magnitude(k, x)
    square = size * size
    near = log1p(k, size + square / (root(k, square + 1.0) + 1.0))
    return with_sign_of(k, k.select(size < 2.0**28, near, log(k, size) + math.log(2)), x)


@in_double
def acosh(k: Emitter, x: Val) -> Val:
    """The inverse of cosh, at least 0; NaN below 1."""
    t = x - 1.0
    near = log1p(k, t + root(k, t * t + t * 2.0))
    return k.select(x < 1.0, math.nan, k.select(x < 2.0**28, near, log(k, x) + math.log(2)))


@in_double
def atanh(k: Emitter, x: Val) -> Val:
    """The inverse of tanh; NaN outside [-1, 1]."""
    size = magnitude(k, x)
    return with_sign_of(k, log1p(k, size * 2.0 / (1.0 - size)) * 0.5, x)


def logaddexp(k: Emitter, a: Val, b: Val) -> Val:
    """log(exp(a) + exp(b))."""
    return _log_of_sum(k, a, b, math.log(2), lambda t: log1p(k, exp(k, t)))


def logaddexp2(k: Emitter, a: Val, b: Val) -> Val:
    """log2(2**a + 2**b)."""
    return _log_of_sum(k, a, b, 1.0, lambda t: log1p(k, exp2(k, t)) * (1 / math.log(2)))


def _log_of_sum(k: Emitter, a: Val, b: Val, of_two: float, rest: Callable[[Val], Val]) -> Val:
    apart = a - b
    large = k.select(apart > 0.0, a, b)
    return k.select(a.equals(b), a + of_two, large + rest(-magnitude(k, apart)))
