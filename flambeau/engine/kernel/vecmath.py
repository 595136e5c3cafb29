"""Mathematical functions on vectors: what the files `vecmath_*` share.

    vecmath_exp     exp, exp2, expm1, sigmoid, tanh, sinh, cosh
    vecmath_log     log, log2, log10, log1p, asinh, acosh, atanh, logaddexp, the parts that frexp gives
    vecmath_power   pow, hypot, and the remainders of divisions
    vecmath_trig    sin, cos, tan, asin, acos, atan, atan2
    vecmath_error   erf, erfc and their inverses
    vecmath_gamma   lgamma, digamma, the zeta function, polygamma, the multivariate lgamma
    vecmath_incomplete   the incomplete gamma functions
    vecmath_bessel  Bessel functions and Airy's
    vecmath_orthogonal   Chebyshev, Hermite, Laguerre and Legendre polynomials

A function takes the emitter and values of lanes of float or double (half and bfloat16 compute in float) and emits
straight-line code: every lane takes every path and `select` chooses. Nothing calls a library, so the same function
compiles for any target. Errors are below 2 units in the last place in float (sigmoid: 2.4) and below 4 in double, but
for the tails of the error functions, the surroundings of zeros and the incomplete gamma functions; Bessel functions
come to about 15 in double. NaN, infinities, signed zeros and denormals are honoured. What trains networks has a float
form of its own; the rarer functions have a double form only, and floats go through it (`in_double`).

Coefficients are least-squares fits on Chebyshev nodes in 60 digits, weighted by the error they cause in the result and
rounded one after the other, each refitting those that follow, or those that the references have (`coefficients`);
`tests/engine/test_vecmath.py` and `test_special_native.py` prove the bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from flambeau.engine.kernel.emit import Emitter, Val, element, lanes
from flambeau.engine.schedule.lowering import Unsupported


@dataclass(frozen=True)
class Format:
    """A binary floating-point format."""

    integer: str  # the integer type of the same size
    bits: int
    mantissa: int  # bits after the point
    tiny: float  # the smallest normal number
    root_half: int  # the bits of sqrt(1/2)

    @property
    def magic(self) -> float:
        """Added to a number of moderate size, rounds it to an integer, which the lowest bits of the sum then hold."""
        return 1.5 * 2.0**self.mantissa

    @property
    def one(self) -> int:
        """The bits of 1.0."""
        return ((1 << (self.bits - self.mantissa - 2)) - 1) << self.mantissa


FLOAT = Format("i32", 32, 23, 2.0**-126, 0x3F3504F3)
DOUBLE = Format("i64", 64, 52, 2.0**-1022, 0x3FE6A09E667F3BCD)
_FORMATS = {"float": FLOAT, "double": DOUBLE}


def format_of(x: Val) -> Format:
    """The format of the lanes of a value."""
    found = _FORMATS.get(element(x.type))
    if found is None:
        raise Unsupported(f"mathematical functions of {x.type}")
    return found


def by_format(x: Val, single: Any, double: Any) -> Any:
    """Whichever of two things belongs to the format of `x`."""
    return single if format_of(x) is FLOAT else double


def in_double(function: Callable[..., Val]) -> Callable[..., Val]:
    """A function of doubles as one of floats as well: computed in double, rounded once."""

    def any_format(k: Emitter, *operands: Val) -> Val:
        if format_of(operands[0]) is DOUBLE:
            return function(k, *operands)
        return k.cast(function(k, *(k.cast(x, "double") for x in operands)), "float")

    any_format.__name__, any_format.__doc__ = function.__name__, function.__doc__
    return any_format


def polynomial(k: Emitter, x: Val, coefficients: Sequence[float]) -> Val:
    """Horner's rule; the highest power comes first."""
    total = k.const(x.type, coefficients[0])
    for c in coefficients[1:]:
        total = k.fma(total, x, k.const(x.type, c))
    return total


def chebyshev(k: Emitter, x: Val, coefficients: Sequence[float]) -> Val:
    """Clenshaw's sum of a Chebyshev series at x / 2; the highest order comes first, the constant counts half."""
    b0, b1, b2 = k.const(x.type, coefficients[0]), k.const(x.type, 0.0), k.const(x.type, 0.0)
    for c in coefficients[1:]:
        b0, b1, b2 = k.fma(x, b0, c - b1), b0, b1
    return (b0 - b2) * 0.5


def nearest(k: Emitter, x: Val, scale: float = 1.0) -> tuple[Val, Val]:
    """The integer nearest to `x * scale`: in the lowest bits of an integer value, and as a float."""
    f = format_of(x)
    magic = k.const(x.type, f.magic)
    sum = x + f.magic if scale == 1.0 else k.fma(x, scale, magic)
    return k.bitcast(sum, f.integer), sum - f.magic


def small_integer(k: Emitter, n: Val, type: str) -> Val:
    """An integer of moderate size as a float of the same number of bits."""
    f = FLOAT if type == "float" else DOUBLE
    bits = f.one + (f.mantissa << f.mantissa) + (1 << (f.mantissa - 1))  # of the magic number
    return k.bitcast(n + bits, type) - f.magic


def power_of_two(k: Emitter, n: Val, type: str) -> Val:
    """2.0 ** n, for n of the exponents of normal numbers, found in the lowest bits of an integer value."""
    f = FLOAT if type == "float" else DOUBLE
    return k.bitcast(k.bits("shl", n, f.mantissa) + f.one, type)


def magnitude(k: Emitter, x: Val) -> Val:
    return k.intrinsic("fabs", x.type, x)


def root(k: Emitter, x: Val) -> Val:
    return k.intrinsic("sqrt", x.type, x)


def with_sign_of(k: Emitter, size: Any, sign: Val) -> Val:
    return k.intrinsic("copysign", sign.type, k.val(size, sign.type), sign)


def at_most(k: Emitter, x: Val, high: float) -> Val:
    """`x` or the bound, whichever is smaller; NaN stays."""
    return k.select(x > high, high, x)


def at_least(k: Emitter, x: Val, low: float) -> Val:
    """`x` or the bound, whichever is larger; NaN stays."""
    return k.select(x < low, low, x)


def any_lane(k: Emitter, flags: Val) -> Val:
    """Whether any lane holds."""
    return flags if lanes(flags.type) == 1 else k.intrinsic("vector.reduce.or", "i1", flags, overload=flags.type)


def two_sum(k: Emitter, large: Val, small: Val) -> tuple[Val, Val]:
    """large + small, and what rounding lost; exact if |large| >= |small|."""
    total = large + small
    return total, (large - total) + small


def two_product(k: Emitter, a: Val, b: Val) -> tuple[Val, Val]:
    """a * b, and what rounding lost."""
    product = a * b
    return product, k.fma(a, b, -product)
