"""Trigonometry: sin, cos, tan, asin, acos, atan, atan2.

An angle is n quarter turns and a rest of at most 1/8 turn. Up to 100,000 the rest is x - n * pi/2 with pi/2 as the sum
of three numbers (Cody and Waite; `fma` makes the first subtraction exact). A larger angle in any lane costs a detour:
the bits of 2/pi that matter for its exponent are multiplied with its mantissa as integers (Payne and Hanek), in double.
"""

from __future__ import annotations

import math
from typing import Any

from flambeau.engine.kernel.emit import Emitter, Val
from flambeau.engine.kernel.vecmath import (
    DOUBLE,
    FLOAT,
    any_lane,
    by_format,
    format_of,
    in_double,
    magnitude,
    nearest,
    polynomial,
    root,
    with_sign_of,
)  # fmt: skip

_FAR = 1e5  # angles beyond take the detour
_QUARTER_SINGLE = (1.570796251296997, 7.549789415861596e-08, 5.390302529957765e-15)
_QUARTER_DOUBLE = (1.5707963267948966, 6.123233995736765e-17, 1.0828566739219139e-32)
_TWO_OVER_PI = (  # its first bits after the point, 32 a number
    0xA2F9836E, 0x4E441529, 0xFC2757D1, 0xF534DDC0, 0xDB629599, 0x3C439041, 0xFE5163AB, 0xDEBBC561, 0xB7246E3A,
    0x424DD2E0, 0x06492EEA, 0x09D1921C, 0xFE1DEB1C, 0xB129A73E, 0xE88235F5, 0x2EBB4484, 0xE99C7026, 0xB45F7E41,
    0x3991D639, 0x835339F4, 0x9C845F8B, 0xBDF9283B, 0x1FF897FF, 0xDE05980F, 0xEF2F118B, 0x5A0A6D1F, 0x6D367ECF,
    0x27CB09B7, 0x4F463F66, 0x9E5FEA2D, 0x7527BAC7, 0xEBE5F17B, 0x3D0739F7, 0x8A5292EA, 0x6BFB5FB1, 0x1F8D5D08,
    0x56033046, 0xFC7B6BAB, 0xF0CFBC20, 0x9AF4361D, 0xA9E39161, 0x5EE61B08,
)  # fmt: skip
# (sin(r) / r - 1) / r**2 and (cos(r) - 1 + r**2 / 2) / r**4, in r**2
_SIN_SINGLE = (2.799117282847874e-06, -0.00019849839736707509, 0.008333371952176094, -0.1666666716337204)
_SIN_DOUBLE = (
    -7.491206748236028e-13, 1.6056363832387304e-10, -2.505208675592046e-08, 2.7557319131753445e-06,
    -0.00019841269841060634, 0.008333333333333102, -0.16666666666666666,
)  # fmt: skip
_COS_SINGLE = (2.443088305881247e-05, -0.0013887302484363317, 0.04166664555668831)
_COS_DOUBLE = (
    -1.1357109290861517e-11, 2.087567461893893e-09, -2.7557313996723145e-07, 2.4801587288256365e-05,
    -0.001388888888887216, 0.04166666666666659,
)  # fmt: skip
# (atan(t) / t - 1) / t**2 and (asin(t) / t - 1) / t**2, in t**2
_ATAN = (
    0.015024303717939618, -0.033302692546467345, 0.044959970699217866, -0.05216497231844813, 0.05876716412364566,
    -0.06666194455178483, 0.0769228047851179, -0.09090908038506475, 0.11111111085050228, -0.14285714285333592,
    0.19999999999997184, -0.33333333333333326,
)  # fmt: skip
_ASIN = (
    0.033648034687128583, -0.02614616050852178, 0.024815228697490265, 0.0006913196888235101, 0.010005779614586104,
    0.009485016434701612, 0.011585504551471946, 0.01396192479490161, 0.017352941415900297, 0.022372151803615545,
    0.03038194463781564, 0.044642857139829004, 0.07500000000002381, 0.1666666666666666,
)  # fmt: skip
_LOW_HALF_PI = 6.123233995736766e-17  # pi/2 less the double next to it


def _near_turns(k: Emitter, x: Val) -> tuple[Val, Val]:
    """How many quarter turns an angle up to `_FAR` is (in the lowest two bits of an integer), and the rest."""
    bits, n = nearest(k, x, 2 / math.pi)
    rest = x
    for part in by_format(x, _QUARTER_SINGLE, _QUARTER_DOUBLE):
        rest = k.fma(n, -part, rest)
    return bits, rest


def _quarter_turns(k: Emitter, x: Val) -> tuple[Val, Val]:
    """The same of any angle."""
    bits, rest = _near_turns(k, x)
    far = magnitude(k, x) > _FAR
    with k.loop(k.cast(any_lane(k, far), "i64"), carried=[bits, rest]) as loop:
        far_bits, far_rest = _of_far(k, x)
        loop.carry(k.select(far, far_bits, loop.carried[0]), k.select(far, far_rest, loop.carried[1]))
    return loop.results[0], loop.results[1]


def _of_far(k: Emitter, x: Val) -> tuple[Val, Val]:
    """`_quarter_turns` of numbers of any size; infinity leaves the rest NaN."""
    if format_of(x) is FLOAT:
        bits, rest = _of_far(k, k.cast(x, "double"))
        return k.cast(bits, "i32"), k.cast(rest, "float")
    pattern = k.bitcast(magnitude(k, x), "i64")
    exponent = k.bits("lshr", pattern, DOUBLE.mantissa)
    whole = k.bits("or", k.bits("and", pattern, (1 << DOUBLE.mantissa) - 1), 1 << DOUBLE.mantissa)
    # |x| is whole * 2**(exponent - 1075). The first bit of 2/pi that does not only add full turns to the product:
    first = k.maximum(exponent - (1075 - 62), k.const(exponent.type, 0))  # in a table with 64 zeros in front, less 1
    product = _times(k, whole, _window(k, first))
    high = k.bits("or", k.bits("shl", product[0], 32), product[1])
    n = k.bits("lshr", high + (1 << 61), 62)
    fraction = k.bits("or", k.bits("shl", high, 2), k.bits("lshr", product[2], 30))  # signed, of a quarter turn
    upper = k.cast(k.bits("ashr", fraction, 32), "double") * 2.0**-32
    lower = k.cast(k.bits("and", fraction, 0xFFFFFFFF), "double") * 2.0**-64
    finer, finest = (_joined(k, product[i], product[i + 1]) for i in (2, 3))
    rest = ((upper + lower) + (finer * 2.0**-96 + finest * 2.0**-128)) * (math.pi / 2)
    negative = x < 0.0
    rest = k.select(magnitude(k, x) < math.inf, k.select(negative, -rest, rest), math.nan)
    return k.select(negative, -n, n), rest


def _joined(k: Emitter, high: Val, low: Val) -> Val:
    """The low 30 bits of a number of 32 and the high 2 of the next, as a double."""
    upper = k.bits("shl", k.bits("and", high, 0x3FFFFFFF), 2)
    return k.cast(k.bits("or", upper, k.bits("lshr", low, 30)), "double")


def _window(k: Emitter, first: Val) -> list[Val]:
    """192 bits of 2/pi from bit `first` on, as six numbers of 32 bits."""
    table = _table(k, "two_over_pi", (0, 0, *_TWO_OVER_PI))
    word, shift = k.bits("lshr", first, 5), k.bits("and", first, 31)
    words = [k.gather(table, word + i if i else word, "i64") for i in range(7)]
    pairs = [k.bits("or", k.bits("shl", a, 32), b) for a, b in zip(words, words[1:])]
    down = 32 - shift
    return [k.bits("and", k.bits("lshr", pair, down), 0xFFFFFFFF) for pair in pairs]


def _table(k: Emitter, name: str, numbers: tuple[int, ...]) -> Val:
    """Constant memory."""
    text = ", ".join(f"i64 {n}" for n in numbers)
    k.declared[name] = f"@{name} = private unnamed_addr constant [{len(numbers)} x i64] [{text}], align 64"
    return Val(k, "ptr", f"@{name}")


def _times(k: Emitter, whole: Val, window: list[Val]) -> list[Val]:
    """The low 192 bits of the product of a 53-bit number and a 192-bit one, 32 bits a number, the highest first."""
    low, high = k.bits("and", whole, 0xFFFFFFFF), k.bits("lshr", whole, 32)
    carry: Any = k.const(whole.type, 0)
    result: list[Val] = []
    for i in reversed(range(6)):
        parts = [low * window[i]] + ([high * window[i + 1]] if i < 5 else [])
        column = carry
        carry = k.const(whole.type, 0)
        for part in parts:
            column = column + k.bits("and", part, 0xFFFFFFFF)
            carry = carry + k.bits("lshr", part, 32)
        carry = carry + k.bits("lshr", column, 32)
        result.insert(0, k.bits("and", column, 0xFFFFFFFF))
    return result


def _sine_and_cosine(k: Emitter, r: Val) -> tuple[Val, Val]:
    """Of at most 1/8 turn."""
    z = r * r
    sine = k.fma(r * z, polynomial(k, z, by_format(r, _SIN_SINGLE, _SIN_DOUBLE)), r)
    rest = polynomial(k, z, by_format(r, _COS_SINGLE, _COS_DOUBLE))
    cosine = k.fma(z * z, rest, k.fma(z, -0.5, k.const(z.type, 1.0)))
    return sine, cosine


def _wave(k: Emitter, quarters: Val, r: Val) -> Val:
    """The sine of a number of quarter turns and a rest."""
    f = format_of(r)
    sine, cosine = _sine_and_cosine(k, r)
    y = k.select(k.bits("and", quarters, 1).differs(0), cosine, sine)
    sign = k.bits("shl", k.bits("and", quarters, 2), f.bits - 2)
    return k.bitcast(k.bits("xor", k.bitcast(y, f.integer), sign), "float" if f is FLOAT else "double")


def sine_and_cosine(k: Emitter, x: Val) -> tuple[Val, Val]:
    """Both, of an angle in radians."""
    quarters, r = _quarter_turns(k, x)
    return _wave(k, quarters, r), _wave(k, quarters + 1, r)


def sin(k: Emitter, x: Val) -> Val:
    """The sine of an angle in radians."""
    return k.select(x.equals(0.0), x, _wave(k, *_quarter_turns(k, x)))


def near_sin(k: Emitter, x: Val) -> Val:
    """The sine of an angle of moderate size."""
    return _wave(k, *_near_turns(k, x))


def cos(k: Emitter, x: Val) -> Val:
    """The cosine of an angle in radians."""
    quarters, r = _quarter_turns(k, x)
    return _wave(k, quarters + 1, r)


@in_double
def tan(k: Emitter, x: Val) -> Val:
    """The tangent of an angle in radians."""
    return k.select(x.equals(0.0), x, _slope(k, *_quarter_turns(k, x)))


def near_tan(k: Emitter, x: Val) -> Val:
    """The tangent of an angle of moderate size, in double."""
    return _slope(k, *_near_turns(k, x))


def _slope(k: Emitter, quarters: Val, r: Val) -> Val:
    """The tangent of a number of quarter turns and a rest."""
    sine, cosine = _sine_and_cosine(k, r)
    odd = k.bits("and", quarters, 1).differs(0)
    return k.select(odd, -cosine, sine) / k.select(odd, sine, cosine)


# -- inverses --------------------------------------------------------------------------------------------------


def _odd_series(k: Emitter, t: Val, coefficients: tuple[float, ...]) -> Val:
    z = t * t
    return k.fma(t * z, polynomial(k, z, coefficients), t)


def _arc(k: Emitter, t: Val) -> Val:
    """atan for t from 0 to 1."""
    steep = t > math.sqrt(2) - 1
    inner = k.select(steep, (t - 1.0) / (t + 1.0), t)
    return _odd_series(k, inner, _ATAN) + k.select(steep, k.const(t.type, math.pi / 4), 0.0)


@in_double
def atan(k: Emitter, x: Val) -> Val:
    """The angle, between -pi/2 and pi/2, whose tangent is x."""
    size = magnitude(k, x)
    beyond = size > 1.0
    arc = _arc(k, k.select(beyond, 1.0 / size, size))
    return with_sign_of(k, k.select(beyond, math.pi / 2 - (arc - _LOW_HALF_PI), arc), x)


@in_double
def atan2(k: Emitter, y: Val, x: Val) -> Val:
    """The angle of the point (x, y), between -pi and pi."""
    a, b = magnitude(k, y), magnitude(k, x)
    beyond = a > b
    t = k.select(beyond, b, a) / k.select(beyond, a, b)
    t = k.select(a.equals(b), k.select(a.equals(0.0), k.const(a.type, 0.0), 1.0), t)
    arc = _arc(k, t)
    arc = k.select(beyond, math.pi / 2 - (arc - _LOW_HALF_PI), arc)
    left = k.bitcast(x, "i64") < 0
    arc = k.select(left, math.pi - (arc - 2 * _LOW_HALF_PI), arc)
    return with_sign_of(k, k.select(k.unordered(x, y), x + y, arc), y)


@in_double
def asin(k: Emitter, x: Val) -> Val:
    """The angle, between -pi/2 and pi/2, whose sine is x; NaN outside [-1, 1]."""
    size = magnitude(k, x)
    near = size <= 0.5
    half = root(k, (1.0 - size) * 0.5)
    arc = _odd_series(k, k.select(near, size, half), _ASIN)
    return with_sign_of(k, k.select(near, arc, math.pi / 2 - (arc + arc - _LOW_HALF_PI)), x)


@in_double
def acos(k: Emitter, x: Val) -> Val:
    """The angle, between 0 and pi, whose cosine is x; NaN outside [-1, 1]."""
    size = magnitude(k, x)
    near = size <= 0.5
    arc = _odd_series(k, k.select(near, x, root(k, (1.0 - size) * 0.5)), _ASIN)
    middle = math.pi / 2 - (arc - _LOW_HALF_PI)
    left = math.pi - (arc + arc - 2 * _LOW_HALF_PI)
    return k.select(near, middle, k.select(x < 0.0, left, arc + arc))
