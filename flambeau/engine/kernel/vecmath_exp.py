"""Exponentials and what is made of them: exp, exp2, expm1, sigmoid, tanh, sinh, cosh.

exp(x) = 2**n * exp(r), where n is the integer nearest to x / ln 2 and |r| <= ln(2) / 2: a polynomial in r, and n added
to the exponent bits.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from flambeau.engine.kernel.emit import Emitter, Val, element
from flambeau.engine.kernel.vecmath import (
    at_least,
    at_most,
    by_format,
    format_of,
    in_double,
    magnitude,
    nearest,
    polynomial,
    power_of_two,
    with_sign_of,
)  # fmt: skip


class _Limits(NamedTuple):
    zero: float  # exp is zero from here down
    normal: float  # the result is a normal number from here up
    high: float  # the largest number with a finite result
    zero2: float  # the same for exp2
    high2: float
    lift: int  # powers of two that bring denormal results among the normal ones
    minus_one: float  # expm1 is -1 from here down


_SINGLE = _Limits(-104.0, -87.3, 88.72283172607422, -151.0, 127.99999237060547, 64, -20.0)
_DOUBLE = _Limits(-746.0, -708.3, 709.782712893384, -1076.0, 1023.9999999999999, 128, -40.0)
_LN2_SINGLE = (0.6931471824645996, -1.9046542121259336e-09)
_LN2_DOUBLE = (0.6931471805599453, 2.3190468138462996e-17)
# (exp(r) - 1 - r) / r**2
_Q_SINGLE = (
    0.0013744814787060022, 0.00836896151304245, 0.041669655591249466, 0.166665181517601, 0.4999998807907105,
)  # fmt: skip
_Q_DOUBLE = (
    2.0919983435623284e-09, 2.5109868595230767e-08, 2.7557258007328965e-07, 2.7557242153032225e-06,
    2.48015873415635e-05, 0.0001984126988778142, 0.001388888888887721, 0.008333333333321166, 0.04166666666666668,
    0.16666666666666677, 0.5,
)  # fmt: skip

# (tanh(x) / x - 1) / x**2, in x**2
_TANH_SINGLE = (
    0.002271603560075164, -0.00829700380563736, 0.021741177886724472, -0.05395274609327316, 0.13333241641521454,
    -0.3333333134651184,
)  # fmt: skip
_TANH_DOUBLE = (
    -1.8647885850996171e-06, 1.0983127717130281e-05, -3.590952225642621e-05, 9.538229749605797e-05,
    -0.0002386476083659672, 0.0005899211366668888, -0.0014558178162349877, 0.003592126228496383, -0.008863235394988699,
    0.021869488529559996, -0.05396825396805795, 0.13333333333333025, -0.3333333333333333,
)  # fmt: skip


def expm1_of_rest(k: Emitter, r: Val) -> Val:
    """exp(r) - 1 for |r| <= ln(2) / 2."""
    return k.fma(r * r, polynomial(k, r, by_format(r, _Q_SINGLE, _Q_DOUBLE)), r)


def _reduced(k: Emitter, x: Val) -> tuple[Val, Val, Val]:
    """n (as the lowest bits of an integer, and as a float) and r of x = n ln 2 + r."""
    bits, n = nearest(k, x, 1 / math.log(2))
    high, low = by_format(x, _LN2_SINGLE, _LN2_DOUBLE)
    return bits, n, k.fma(n, -low, k.fma(n, -high, x))


def _scaled(k: Emitter, p: Val, bits: Val, tiny: Val, lift: int) -> Val:
    """p * 2**n, for p near 1; where the result is `tiny`, by way of a normal number."""
    f = format_of(p)
    lifted = k.select(tiny, k.const(bits.type, lift << f.mantissa), 0)
    raised = k.bitcast(k.bitcast(p, f.integer) + k.bits("shl", bits, f.mantissa) + lifted, element(p.type))
    return raised * k.select(tiny, k.const(p.type, 2.0**-lift), 1.0)


def exp(k: Emitter, x: Val) -> Val:
    """e to the power x."""
    limits = by_format(x, _SINGLE, _DOUBLE)
    bits, _, r = _reduced(k, at_least(k, x, limits.zero))
    y = _scaled(k, expm1_of_rest(k, r) + 1.0, bits, x < limits.normal, limits.lift)
    return k.select(x <= limits.high, y, x + math.inf)


def moderate_exp(k: Emitter, x: Val) -> Val:
    """exp where neither x nor the result comes near a limit."""
    bits, _, r = _reduced(k, x)
    power = power_of_two(k, bits, element(x.type))
    return k.fma(power, expm1_of_rest(k, r), power)


def decay(k: Emitter, x: Val) -> Val:
    """exp of numbers that are not above 0 by more than rounding; what would be denormal is 0."""
    return k.select(x < by_format(x, _SINGLE, _DOUBLE).normal, 0.0, moderate_exp(k, x))


def exp2(k: Emitter, x: Val) -> Val:
    """2 to the power x."""
    limits, f = by_format(x, _SINGLE, _DOUBLE), format_of(x)
    inside = at_least(k, x, limits.zero2)
    bits, n = nearest(k, inside)
    p = expm1_of_rest(k, (inside - n) * math.log(2)) + 1.0
    y = _scaled(k, p, bits, x < math.log2(f.tiny), limits.lift)
    return k.select(x <= limits.high2, y, x + math.inf)


def expm1(k: Emitter, x: Val) -> Val:
    """exp(x) - 1, accurate where x is small."""
    limits = by_format(x, _SINGLE, _DOUBLE)
    bits, n, r = _reduced(k, at_least(k, x, limits.minus_one))
    rest = expm1_of_rest(k, r)
    half = power_of_two(k, bits - 1, element(x.type))  # 2**n itself may be infinite
    y = k.fma(half, rest, half - 0.5) * 2.0
    y = with_sign_of(k, k.select(n.equals(0.0), rest, y), x)
    return k.select(x <= limits.high, y, x + math.inf)


def sigmoid(k: Emitter, x: Val) -> Val:
    """1 / (1 + exp(-x)), down to where that is denormal."""
    e = exp(k, -magnitude(k, x))
    total = e + 1.0
    lost = e - (total - 1.0)  # what rounding the sum took away
    y = k.select(x < 0.0, e, 1.0) / total
    inverse = k.select(x < 0.0, 1.0 - y, y)  # 1 / total, closely enough
    return k.fma(-(y * inverse), lost, y)


def tanh(k: Emitter, x: Val) -> Val:
    """The hyperbolic tangent: a polynomial near zero, 1 - 2 / (exp(2 |x|) + 1) beyond."""
    z = x * x
    near = k.fma(x * z, polynomial(k, z, by_format(x, _TANH_SINGLE, _TANH_DOUBLE)), x)
    size = magnitude(k, x)
    at = at_most(k, size, by_format(x, 10.0, 20.0))
    far = 1.0 - 2.0 / (moderate_exp(k, at + at) + 1.0)
    return with_sign_of(k, k.select(size < 0.55, near, far), x)


@in_double
def sinh(k: Emitter, x: Val) -> Val:
    """(exp(x) - exp(-x)) / 2."""
    size = magnitude(k, x)
    t = expm1(k, size)
    half = exp(k, size * 0.5)
    y = k.select(size > 22.0, half * 0.5 * half, (t + t / (t + 1.0)) * 0.5)
    return with_sign_of(k, y, x)


@in_double
def cosh(k: Emitter, x: Val) -> Val:
    """(exp(x) + exp(-x)) / 2."""
    size = magnitude(k, x)
    e = exp(k, size)
    half = exp(k, size * 0.5)
    return k.select(size > 22.0, half * 0.5 * half, (e + 1.0 / e) * 0.5)
