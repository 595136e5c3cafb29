"""Functions of complex lanes, from the real ones of `vecmath`: exp, log, sqrt, pow, the circular and hyperbolic ones.

Values at infinities, zeros and NaN are those of C's Annex G, as C libraries give them. Each part has few units in the
last place of error where it is not a difference of nearly equal things. Floats are computed in double.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

from flambeau.engine.kernel.complex_emit import Complex
from flambeau.engine.kernel.emit import Emitter, Val
from flambeau.engine.kernel.types import element
from flambeau.engine.kernel.vecmath import any_lane, magnitude, root, two_product, two_sum, with_sign_of
from flambeau.engine.kernel.vecmath_exp import cosh as real_cosh
from flambeau.engine.kernel.vecmath_exp import exp as real_exp
from flambeau.engine.kernel.vecmath_exp import expm1 as real_expm1
from flambeau.engine.kernel.vecmath_exp import sinh as real_sinh
from flambeau.engine.kernel.vecmath_log import asinh as real_asinh
from flambeau.engine.kernel.vecmath_log import log as real_log
from flambeau.engine.kernel.vecmath_log import log1p as real_log1p
from flambeau.engine.kernel.vecmath_power import hypot
from flambeau.engine.kernel.vecmath_trig import atan2
from flambeau.engine.kernel.vecmath_trig import cos as real_cos
from flambeau.engine.kernel.vecmath_trig import sin as real_sin

_HIGH = 709.0  # exp of more is infinite, or nearly so
_FAR = 22.0  # where exp(-2 x) is nothing beside 1

Function = Callable[..., Complex]


def _in_double(function: Function) -> Function:
    """A function of complex doubles as one of complex floats as well."""

    @functools.wraps(function)
    def any_format(k: Emitter, *operands: Complex) -> Complex:
        wide = function(k, *(k.cast(z, "cdouble") for z in operands))
        return k.cast(wide, element(operands[0].type))  # type: ignore[return-value]

    return any_format


def _infinite(k: Emitter, x: Val) -> Val:
    return magnitude(k, x).equals(math.inf)


def _finite(k: Emitter, x: Val) -> Val:
    return magnitude(k, x) < math.inf


# -- exponentials and their kin --------------------------------------------------------------------------------


def _large_exp(k: Emitter, x: Val) -> tuple[Val, Val]:
    """exp(x) as two factors, the second of which may go with something small before the first does."""
    factor = k.const(x.type, 1.0)
    for _ in range(2):
        large = x > _HIGH
        x, factor = k.select(large, x - _HIGH, x), k.select(large, factor * math.exp(_HIGH), factor)
    return real_exp(k, x), factor


@_in_double
def exp(k: Emitter, z: Complex) -> Complex:
    """e to the power z."""
    x, y = z.re, z.im
    size, factor = _large_exp(k, x)
    re, im = real_cos(k, y) * factor * size, real_sin(k, y) * factor * size
    turning = _finite(k, y)
    re = k.select(turning, re, k.select(_infinite(k, x), magnitude(k, size), re))
    im = k.select(k.bits("or", turning, x.differs(-math.inf)), im, with_sign_of(k, 0.0, y))
    return Complex(re, k.select(y.equals(0.0), y, im))


@_in_double
def expm1(k: Emitter, z: Complex) -> Complex:
    """exp(z) - 1, accurate where z is small."""
    half = real_sin(k, z.im * 0.5)
    re = real_expm1(k, z.re) * real_cos(k, z.im) - half * half * 2.0
    return Complex(re, real_exp(k, z.re) * real_sin(k, z.im))


def _hyperbolic(k: Emitter, x: Val) -> tuple[Val, Val, Val]:
    """sinh and cosh of x, both without a factor that is given apart."""
    size, factor = _large_exp(k, magnitude(k, x))
    large = magnitude(k, x) > _HIGH
    sinh = k.select(large, with_sign_of(k, size, x), real_sinh(k, x))
    return sinh, k.select(large, size, real_cosh(k, x)), k.select(large, factor * 0.5, factor)


@_in_double
def sinh(k: Emitter, z: Complex) -> Complex:
    """The hyperbolic sine."""
    x, y = z.re, z.im
    s, c, factor = _hyperbolic(k, x)
    re, im = real_cos(k, y) * factor * s, real_sin(k, y) * factor * c
    still = k.bits("or", x.equals(0.0), _infinite(k, x))
    re = k.select(k.bits("or", _finite(k, y), k.bits("xor", still, True)), re, x)
    return Complex(re, k.select(y.equals(0.0), y, im))


@_in_double
def cosh(k: Emitter, z: Complex) -> Complex:
    """The hyperbolic cosine."""
    x, y = z.re, z.im
    s, c, factor = _hyperbolic(k, x)
    re, im = real_cos(k, y) * factor * c, real_sin(k, y) * factor * s
    turning = _finite(k, y)
    re = k.select(turning, re, k.select(_infinite(k, x), magnitude(k, x), re))
    side = k.select(k.unordered(x, x), 1.0, with_sign_of(k, 1.0, x))
    im = k.select(k.bits("or", turning, x.differs(0.0)), im, 0.0)
    return Complex(re, k.select(y.equals(0.0), y * side, im))


@_in_double
def tanh(k: Emitter, z: Complex) -> Complex:
    """The hyperbolic tangent."""
    x, y = z.re, z.im
    size, sine, cosine = magnitude(k, x), real_sin(k, y), real_cos(k, y)
    s, c = real_sinh(k, x), real_cosh(k, x)
    square = k.fma(s, s, cosine * cosine)
    turning, endless = _finite(k, y), size.equals(math.inf)
    far = k.bits("and", size > _FAR, k.bits("or", turning, endless))
    turn = sine * cosine
    re = k.select(far, with_sign_of(k, 1.0, x), s * c / square)
    im = k.select(far, turn * 4.0 * real_exp(k, size * -2.0), turn / square)
    re = k.select(k.bits("or", turning, x.differs(0.0)), re, x)
    im = k.select(k.bits("and", endless, k.bits("xor", turning, True)), with_sign_of(k, 0.0, y), im)
    return Complex(re, k.select(y.equals(0.0), y, im))


def _turned(function: Function) -> Function:
    """f with f(i z) = i g(z): g."""

    def of_turned(k: Emitter, z: Complex) -> Complex:
        found = function(k, Complex(-z.im, z.re))
        return Complex(found.im, -found.re)

    return of_turned


sin, tan = _turned(sinh), _turned(tanh)


def cos(k: Emitter, z: Complex) -> Complex:
    """The cosine."""
    return cosh(k, Complex(-z.im, z.re))


# -- logarithms and roots --------------------------------------------------------------------------------------


def _log_of_size(k: Emitter, x: Val, y: Val) -> Val:
    """log(hypot(x, y)), accurate where that is near 0 too."""
    a, b = magnitude(k, x), magnitude(k, y)
    large, small = k.select(a > b, a, b), k.select(a > b, b, a)
    one = k.const(a.type, 1.0)
    huge, tiny = large > 2.0**500, large < 2.0**-450
    scale = k.select(huge, 2.0**-600, k.select(tiny, 2.0**600, one))
    back = k.select(huge, 600 * math.log(2), k.select(tiny, -600 * math.log(2), one * 0.0))
    p, q = large * scale, small * scale
    square = k.fma(p, p, q * q)
    (p2, p_low), (q2, q_low) = two_product(k, p, p), two_product(k, q, q)
    apart, first = two_sum(k, p2, -one)
    apart, second = two_sum(k, apart, q2)
    near = real_log1p(k, apart + (first + second + (p_low + q_low))) * 0.5
    beside = k.bits("and", k.bits("and", square > 0.5, square < 2.0), scale.equals(1.0))
    result = k.select(beside, near, k.fma(real_log(k, square), 0.5, back))
    return k.select(k.bits("or", _infinite(k, x), _infinite(k, y)), math.inf, result)


@_in_double
def log(k: Emitter, z: Complex) -> Complex:
    """The natural logarithm; its imaginary part is the angle, from -pi to pi."""
    return Complex(_log_of_size(k, z.re, z.im), atan2(k, z.im, z.re))


@_in_double
def log1p(k: Emitter, z: Complex) -> Complex:
    """log(1 + z)."""
    x = z.re + 1.0
    return Complex(real_log(k, hypot(k, x, z.im)), atan2(k, z.im, x))


@_in_double
def sqrt(k: Emitter, z: Complex) -> Complex:
    """The square root on the right of the imaginary axis."""
    x, y = magnitude(k, z.re), magnitude(k, z.im)
    large = k.select(x > y, x, y)
    huge, tiny, one = large > 2.0**1000, large < 2.0**-900, k.const(x.type, 1.0)
    scale = k.select(huge, 2.0**-4, k.select(tiny, 2.0**120, one))
    back = k.select(huge, 4.0, k.select(tiny, 2.0**-60, one))
    x, y = x * scale, y * scale
    high = root(k, (hypot(k, x, y) + x) * 0.5)
    low = k.select(high.equals(0.0), 0.0, y / high * 0.5) * back
    high = high * back
    left = z.re < 0.0
    re, im = k.select(left, low, high), with_sign_of(k, k.select(left, high, low), z.im)
    up = _infinite(k, z.im)
    return Complex(k.select(up, math.inf, re), k.select(up, z.im, im))


# -- inverse functions (W. Kahan, "Branch cuts for complex elementary functions", 1987) --------------------------


def _roots_beside_one(k: Emitter, z: Complex) -> tuple[Complex, Complex]:
    """sqrt(1 - z) and sqrt(1 + z)."""
    return sqrt(k, Complex(1.0 - z.re, -z.im)), sqrt(k, Complex(z.re + 1.0, z.im))


def _endless(k: Emitter, z: Complex) -> Val:
    return k.bits("or", _infinite(k, z.re), _infinite(k, z.im))


@_in_double
def asin(k: Emitter, z: Complex) -> Complex:
    """The inverse sine, its real part from -pi/2 to pi/2."""
    x, y = z.re, z.im
    p, q = _roots_beside_one(k, z)
    re = atan2(k, x, p.re * q.re - p.im * q.im)
    im = real_asinh(k, p.re * q.im - p.im * q.re)
    there = with_sign_of(k, atan2(k, magnitude(k, x), magnitude(k, y)), x)
    re = k.select(x.equals(0.0), x, k.select(_endless(k, z), there, re))
    return Complex(re, k.select(_endless(k, z), with_sign_of(k, math.inf, y), im))


@_in_double
def acos(k: Emitter, z: Complex) -> Complex:
    """The inverse cosine, its real part from 0 to pi."""
    x, y = z.re, z.im
    p, q = _roots_beside_one(k, z)
    re = atan2(k, p.re, q.re) * 2.0
    im = real_asinh(k, q.re * p.im - q.im * p.re)
    re = k.select(_endless(k, z), atan2(k, magnitude(k, y), x), re)
    re = k.select(k.bits("and", x.equals(0.0), k.unordered(y, y)), math.pi / 2, re)
    return Complex(re, k.select(_endless(k, z), -with_sign_of(k, math.inf, y), im))


@_in_double
def acosh(k: Emitter, z: Complex) -> Complex:
    """The inverse hyperbolic cosine, its real part at least 0."""
    angle = acos(k, z)
    return Complex(magnitude(k, angle.im), with_sign_of(k, angle.re, z.im))


@_in_double
def atanh(k: Emitter, z: Complex) -> Complex:
    """The inverse hyperbolic tangent, its imaginary part from -pi/2 to pi/2."""
    x, y = magnitude(k, z.re), z.im
    apart = hypot(k, 1.0 - x, y)  # of z from the pole
    close = apart < 2.0**-300
    re = real_log1p(k, x / apart / apart * 4.0) * 0.25
    re = k.select(close, (math.log(2) - real_log(k, apart)) * 0.5, re)
    im = atan2(k, y * 2.0, (1.0 - x) * (x + 1.0) - y * y) * 0.5
    far = _endless(k, z)
    re = k.select(k.bits("or", far, x.equals(0.0)), 0.0, re)
    half = k.select(k.unordered(y, y), y, with_sign_of(k, math.pi / 2, y))
    return Complex(with_sign_of(k, re, z.re), k.select(far, half, im))


asinh, atan = _turned(asin), _turned(atanh)

# -- powers ----------------------------------------------------------------------------------------------------


def pow(k: Emitter, z: Complex, exponent: Complex) -> Complex:
    """z to a power: by products where the exponent is a small whole number, else exp(exponent * log(z))."""
    n = exponent.re
    whole = k.bits("and", exponent.im.equals(0.0), k.intrinsic("trunc", n.type, n).equals(n))
    whole = k.bits("and", whole, magnitude(k, n) < 100.0)
    other = any_lane(k, k.bits("xor", whole, True))
    with k.loop(k.cast(other, "i64", signed=False), carried=[_by_products(k, z, n)]) as loop:
        loop.carry(k.select(whole, loop.carried[0], _general_power(k, z, exponent)))
    result = loop.results[0]
    none = k.bits("and", z.re.equals(0.0), z.im.equals(0.0))
    result = k.select(none, k.select(n > 0.0, k.const(z.type, 0), complex(math.nan, math.nan)), result)
    return k.select(k.bits("and", n.equals(0.0), exponent.im.equals(0.0)), 1, result)  # type: ignore[return-value]


def _by_products(k: Emitter, z: Complex, n: Val) -> Val:
    """z**n for whole n of two digits."""
    count = k.cast(magnitude(k, n), "i32")
    with k.loop(7, carried=[k.const(z.type, 1), z, count]) as loop:
        total, power, left = loop.carried
        total = k.select(k.bits("and", left, 1).differs(0), total * power, total)
        loop.carry(total, power * power, k.bits("lshr", left, 1))
    total = loop.results[0]
    square = z * z
    for few, product in ((1.0, z), (2.0, square), (3.0, z * square)):
        total = k.select(n.equals(few), product, total)
    return k.select(n < 0.0, 1.0 / total, total)


@_in_double
def _general_power(k: Emitter, z: Complex, exponent: Complex) -> Complex:
    return exp(k, _boundless_product(k, exponent, log(k, z)))


def _boundless_product(k: Emitter, a: Complex, b: Complex) -> Complex:
    """a * b as C has it: infinite, where an infinite operand (or overflow) would leave nothing but NaN."""
    plain = k.mul(a, b)
    again = [_infinite(k, x) for x in (a.re, a.im, b.re, b.im)]
    again += [_infinite(k, x) for x in (a.re * b.re, a.im * b.im, a.re * b.im, a.im * b.re)]
    a_endless, b_endless = k.bits("or", *again[:2]), k.bits("or", *again[2:4])
    a, b = _direction(k, a, a_endless), _without_nan(k, b, a_endless)
    a, b = _without_nan(k, a, b_endless), _direction(k, b, b_endless)
    endless = functools.reduce(lambda x, y: k.bits("or", x, y), again)
    found = k.mul(_without_nan(k, a, endless), _without_nan(k, b, endless))
    lost = k.bits("and", k.unordered(plain.re, plain.re), k.unordered(plain.im, plain.im))
    recovered = Complex(found.re * math.inf, found.im * math.inf)
    return k.select(k.bits("and", endless, lost), recovered, plain)  # type: ignore[return-value]


def _direction(k: Emitter, z: Complex, where: Val) -> Complex:
    """z with 1 for infinity and 0 for what is finite, where a condition holds."""
    units = [with_sign_of(k, k.select(_infinite(k, x), k.const(x.type, 1.0), 0.0), x) for x in (z.re, z.im)]
    return k.select(where, Complex(*units), z)  # type: ignore[return-value]


def _without_nan(k: Emitter, z: Complex, where: Val) -> Complex:
    """z with zeros for NaN, where a condition holds."""
    parts = [k.select(k.bits("and", where, k.unordered(x, x)), with_sign_of(k, 0.0, x), x) for x in (z.re, z.im)]
    return Complex(*parts)


# -- division, size --------------------------------------------------------------------------------------------


def reciprocal(k: Emitter, z: Complex) -> Complex:
    """1 / z, by Smith's method."""
    wide = magnitude(k, z.im) <= magnitude(k, z.re)
    large, small = k.select(wide, z.re, z.im), k.select(wide, z.im, z.re)
    ratio = small / large
    size = k.select(wide, z.re + z.im * ratio, z.re * ratio + z.im)
    one = k.const(z.re.type, 1.0)
    return Complex(k.select(wide, one, ratio) / size, -k.select(wide, ratio, one) / size)


def size(k: Emitter, z: Complex) -> Val:
    """|z|; infinite if one part is, whatever the other. Squares of floats are doubles, so that none needs scaling."""
    if element(z.type) == "cdouble":
        return hypot(k, z.re, z.im)
    x, y = k.cast(z.re, "double"), k.cast(z.im, "double")
    found = k.cast(root(k, k.fma(x, x, y * y)), "float")
    return k.select(_endless(k, z), math.inf, found)


def sign(k: Emitter, z: Complex) -> Complex:
    """z / |z|; 0 at 0, along an axis where only one part is infinite."""
    whole = size(k, z)
    right, up = _infinite(k, z.re), _infinite(k, z.im)
    parts = []
    for x, here, there in ((z.re, right, up), (z.im, up, right)):
        unit = k.select(here, with_sign_of(k, 1.0, x), k.select(there, 0.0, x / whole))
        parts.append(k.select(whole.equals(0.0), 0.0, k.select(k.bits("and", here, there), math.nan, unit)))
    return Complex(k.select(_is_nan(k, z), math.nan, parts[0]), k.select(_is_nan(k, z), math.nan, parts[1]))


def _is_nan(k: Emitter, z: Complex) -> Val:
    found = k.unordered(z.re, z.im)
    return k.bits("and", found, k.bits("xor", _endless(k, z), True))
