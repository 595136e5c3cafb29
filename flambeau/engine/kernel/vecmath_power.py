"""Powers and remainders: pow, hypot, fmod, remainder, floor_divide.

pow(x, y) = 2**(y * log2|x|), the logarithm having more digits than the result: for floats it is a double, for doubles
the sum of two.
"""

from __future__ import annotations

import math

from flambeau.engine.kernel.emit import Emitter, Val, lanes
from flambeau.engine.kernel.vecmath import (
    FLOAT,
    any_lane,
    at_least,
    at_most,
    format_of,
    in_double,
    magnitude,
    nearest,
    polynomial,
    power_of_two,
    root,
    two_product,
    two_sum,
    with_sign_of,
)  # fmt: skip
from flambeau.engine.kernel.vecmath_exp import expm1_of_rest
from flambeau.engine.kernel.vecmath_log import parts

_LOG2_E = (1.4426950408889634, 2.0355273740931033e-17)
_TWO_THIRDS = (0.6666666666666666, 3.700743415417188e-17)
# (log((1 + s) / (1 - s)) / s - 2) / z with z = s**2, to 36 bits
_P_SHORT = (0.23599609889365716, 0.2853639885643998, 0.4000034954975283, 0.666666655796299)
# the same to all bits without its first term
_P_TAIL = (
    0.1324650873515182, 0.13250925936532912, 0.15387039330221178, 0.1818177730864267, 0.22222222618290804,
    0.2857142856935186, 0.40000000000005037,
)  # fmt: skip
# (2**r - 1) / r, to 34 bits
_EXP2_SHORT = (
    1.5312401984467487e-05, 0.00015469948815516498, 0.0013333441681438237, 0.009618028270158119, 0.05550410950652389,
    0.24022651133179532, 0.693147180543523,
)  # fmt: skip


def pow(k: Emitter, x: Val, y: Val) -> Val:
    """x to the power y, as C's pow: x**0 and 1**y are 1 even of NaN, negative x want whole y.

    Squares and cubes, which programs mostly want, are products; only other exponents go the long way.
    """
    square, two = x * x, y.equals(2.0)
    short, usual = k.select(two, square, square * x), k.bits("or", two, y.equals(3.0))
    other = any_lane(k, k.bits("xor", usual, True))
    with k.loop(k.cast(other, "i64", signed=False), carried=[short]) as loop:
        loop.carry(k.select(usual, short, _general(k, x, y)))
    return loop.results[0]


def _general(k: Emitter, x: Val, y: Val) -> Val:
    size = _of_floats(k, x, y) if format_of(x) is FLOAT else _of_doubles(k, magnitude(k, x), y)
    size = k.select(magnitude(k, x).equals(1.0), 1.0, size)
    whole = k.intrinsic("trunc", y.type, y).equals(y)
    half = y * 0.5
    odd = k.bits("and", whole, k.intrinsic("trunc", y.type, half).differs(half))
    result = k.select(odd, with_sign_of(k, size, x), size)
    real = k.bits("or", whole, k.bits("or", x >= 0.0, magnitude(k, x).equals(math.inf)))
    result = k.select(real, result, math.nan)
    return k.select(k.bits("or", y.equals(0.0), x.equals(1.0)), 1.0, result)


def _of_floats(k: Emitter, x: Val, y: Val) -> Val:
    size, exponent = magnitude(k, k.cast(x, "double")), k.cast(y, "double")
    e, m = parts(k, size, denormals=False)
    f = m - 1.0
    s = f / (f + 2.0)
    z = s * s
    log2 = k.fma(s * k.fma(z, polynomial(k, z, _P_SHORT), k.const(z.type, 2.0)), _LOG2_E[0], e)
    log2 = k.select(size < math.inf, k.select(size.equals(0.0), -math.inf, log2), size)
    t = at_most(k, at_least(k, exponent * log2, -200.0), 200.0)
    bits, n = nearest(k, t)
    r = t - n
    result = k.fma(r, polynomial(k, r, _EXP2_SHORT), k.const(r.type, 1.0)) * power_of_two(k, bits, "double")
    return k.cast(result, "float")


def _of_doubles(k: Emitter, size: Val, y: Val) -> Val:
    high, low = _log2_in_two(k, size)
    high = k.select(size < math.inf, k.select(size.equals(0.0), -math.inf, high), size)
    t, lost = two_product(k, y, high)
    lost = k.select(magnitude(k, t) < 2000.0, lost + y * low, 0.0)
    t = at_most(k, at_least(k, t, -1100.0), 1100.0)
    bits, n = nearest(k, t)
    p = expm1_of_rest(k, ((t - n) + lost) * math.log(2)) + 1.0
    half, _ = nearest(k, n * 0.5)  # in two steps: 2**n may be neither finite nor normal
    return p * power_of_two(k, half, "double") * power_of_two(k, bits - half, "double")


def _log2_in_two(k: Emitter, x: Val) -> tuple[Val, Val]:
    """log2 of a positive double to about 64 bits, as the sum of two doubles."""
    e, m = parts(k, x)
    f = m - 1.0
    bottom = m + 1.0
    bottom_low = m - (bottom - 1.0)
    s = f / bottom
    s_low = (k.fma(-s, bottom, f) - s * bottom_low) / bottom
    z, z_low = two_product(k, s, s)
    z_low = k.fma(s + s, s_low, z_low)
    u, u_low = two_sum(k, k.const(x.type, _TWO_THIRDS[0]), z * polynomial(k, z, _P_TAIL))
    cube, cube_low = two_product(k, s, z)
    cube_low = cube_low + k.fma(s_low, z, s * z_low)
    w, w_low = two_product(k, cube, u)
    w_low = w_low + k.fma(cube, u_low + _TWO_THIRDS[1], cube_low * u)
    log, log_low = two_sum(k, s + s, w)
    log_low = log_low + (k.fma(s_low, 2.0, w_low))
    g, g_low = two_product(k, log, k.const(x.type, _LOG2_E[0]))
    g_low = g_low + k.fma(log, _LOG2_E[1], log_low * _LOG2_E[0])
    high, low = two_sum(k, e, g)
    return high, low + g_low


@in_double
def hypot(k: Emitter, a: Val, b: Val) -> Val:
    """sqrt(a**2 + b**2) without overflow; infinite if one operand is, whatever the other."""
    a, b = magnitude(k, a), magnitude(k, b)
    large, small = k.select(a > b, a, b), k.select(a > b, b, a)
    one = k.const(a.type, 1.0)
    scale = k.select(large > 2.0**500, 2.0**-600, k.select(large < 2.0**-450, 2.0**600, one))
    p, q = large * scale, small * scale
    y = root(k, k.fma(p, p, q * q)) * (1.0 / scale)
    infinite = k.bits("or", a.equals(math.inf), b.equals(math.inf))
    return k.select(infinite, math.inf, y)


# -- remainders ------------------------------------------------------------------------------------------------

_STEP = 48  # bits of the quotient that one round of fmod takes
_ROUNDS = 44  # for all the 2098 bits that a quotient can have


@in_double
def fmod(k: Emitter, a: Val, b: Val) -> Val:
    """a - trunc(a / b) * b, exactly: the sign is that of `a`.

    Long division: each round subtracts the largest multiple of b * 2**(48 i), exactly, for i down to 0. One round does
    unless a quotient is large, none if all are below 1.
    """
    rest, size = magnitude(k, a), magnitude(k, b)
    quotient = rest / size
    valid = k.bits("and", rest < math.inf, size > 0.0)
    far = any_lane(k, k.bits("and", valid, quotient >= 2.0**_STEP))
    rounds = k.select(far, k.const("i64", _ROUNDS), k.cast(any_lane(k, quotient >= 1.0), "i64"))
    with k.loop(rounds, carried=[rest]) as loop:
        i = k.splat(k.sub(k.sub(rounds, 1), loop.i), lanes(a.type))
        third = power_of_two(k, i * (_STEP // 3), "double")
        part, r = size * third * third * third, loop.carried[0]
        whole = k.intrinsic("trunc", a.type, r / part)
        left = k.fma(-whole, part, r)  # below 0 if the quotient was rounded up
        left = k.select(left < 0.0, left + part, left)
        loop.carry(k.select(whole > 0.0, left, r))
    return with_sign_of(k, k.select(valid, loop.results[0], math.nan), a)


@in_double
def remainder(k: Emitter, a: Val, b: Val) -> Val:
    """a - floor(a / b) * b: the sign is that of `b`, but a zero keeps that of `a`."""
    rest = fmod(k, a, b)
    return k.select(_astray(k, rest, b), rest + b, rest)


def _astray(k: Emitter, rest: Val, b: Val) -> Val:
    """Where a remainder is not zero and has another sign than the divisor."""
    return k.bits("and", rest.differs(0.0), k.bits("xor", rest < 0.0, b < 0.0))


@in_double
def floor_divide(k: Emitter, a: Val, b: Val) -> Val:
    """floor(a / b) of the exact quotient, as Python's //."""
    rest = fmod(k, a, b)
    quotient = (a - rest) / b
    quotient = k.select(_astray(k, rest, b), quotient - 1.0, quotient)
    floor = k.intrinsic("floor", a.type, quotient)
    floor = k.select(quotient - floor > 0.5, floor + 1.0, floor)
    floor = k.select(quotient.equals(0.0), with_sign_of(k, 0.0, a / b), floor)
    return k.select(b.equals(0.0), a / b, floor)
