"""What elementwise lowerings are written with: the namespace `k` of `lower=lambda k, x: k.sqrt(x)`.

An element lives in memory as its dtype and in registers as its `compute_type`: half and bfloat16 as float, uint8 as i16
(so that every integer is signed and its value right), bool as i1. `load` and `store` go between the two; `Scalars.cast`
turns the result of a step into an element of a dtype: rounded to half, wrapped to eight bits. Lanes are the emitter's:
every method takes values of any width, and a Python number wherever another operand says of which type.

    s = Scalars(k, float32)                       # the dtype of the result
    y = s.cast(s.tanh(load(k, p, i, float32, 16)), float32)

Operators come from `emit.Val` (`a + b`, `x * 2`, `a < b`); methods here are what operators do not say, or say otherwise
for bools. The functions of mathematics are `vecmath`'s. Complex elements have a namespace of their own,
`complex_scalars`: `namespace` gives whichever fits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from flambeau import dtypes
from flambeau.dtypes import dtype
from flambeau.engine.kernel import (
    vecmath_bessel,
    vecmath_error,
    vecmath_exp,
    vecmath_gamma,
    vecmath_incomplete,
    vecmath_log,
    vecmath_orthogonal,
    vecmath_power,
    vecmath_trig,
    whole,
)  # fmt: skip
from flambeau.engine.kernel.complex_emit import Complex
from flambeau.engine.kernel.emit import BITS, Emitter, Index, Val, element, is_float, vector
from flambeau.engine.schedule.lowering import Unsupported

LLVM: dict[dtype, str] = {
    dtypes.bool_: "i1", dtypes.uint8: "i8", dtypes.int8: "i8", dtypes.int16: "i16", dtypes.int32: "i32",
    dtypes.int64: "i64", dtypes.float16: "half", dtypes.bfloat16: "bfloat", dtypes.float32: "float",
    dtypes.float64: "double", dtypes.complex64: "cfloat", dtypes.complex128: "cdouble",
}  # fmt: skip
_REGISTERS = {dtypes.float16: "float", dtypes.bfloat16: "float", dtypes.uint8: "i16"}


def memory_type(d: dtype) -> str:
    """The scalar type of an element in memory."""
    if d not in LLVM:
        raise Unsupported(f"{d} in a kernel")
    return LLVM[d]


def compute_type(d: dtype) -> str:
    """The scalar type that elements of a dtype have in registers."""
    return _REGISTERS.get(d) or memory_type(d)


def load(k: Emitter, base: Val, index: Index, d: dtype, width: int, mask: Val | None = None) -> Val:
    """Elements in registers, from memory; with a mask, only the lanes where it holds (the others are 0)."""
    type = vector(memory_type(d), width)
    return widened(k, k.load(base, index, type) if mask is None else k.masked_load(base, index, type, mask), d)


def store(
    k: Emitter, x: Val, base: Val, index: Index, d: dtype, mask: Val | None = None, stream: bool = False
) -> None:  # fmt: skip
    """Elements from registers to memory; with a mask, only the lanes where it holds. `stream`: as `k.store` does."""
    x = narrowed(k, x, d)
    if mask is None:
        k.store(x, base, index, stream=stream)
    else:
        k.masked_store(x, base, index, mask)


def widened(k: Emitter, x: Val, d: dtype) -> Val:
    """What memory holds as what registers hold."""
    if d is dtypes.bfloat16:
        return k.bitcast(k.bits("shl", k.cast(k.bitcast(x, "i16"), "i32", signed=False), 16), "float")
    return k.cast(x, compute_type(d), signed=d is not dtypes.uint8)


def narrowed(k: Emitter, x: Val, d: dtype) -> Val:
    """What registers hold as what memory holds; floats are rounded to nearest, once."""
    if d is dtypes.float16:  # the fence: LLVM would merge this with an earlier rounding, and call a library for it
        x = k.intrinsic("arithmetic.fence", x.type, x)
    return k.cast(x, memory_type(d))


def convert(k: Emitter, x: Val, d: dtype) -> Val:
    """A value in registers, of any dtype, as an element of dtype `d` in registers.

    Floats become integers by way of int64, as on x86: out of its range (and NaN) is the smallest int64, whose low bits
    narrower integers keep. Complex numbers become real ones by losing their imaginary part.
    """
    target = compute_type(d)
    if isinstance(x, Complex) and d.category not in (dtypes.BOOL, dtypes.COMPLEX):
        x = x.re
    if d is dtypes.bool_:
        return x if element(x.type) == "i1" else k.compare("ne", x, 0)
    if is_float(x.type) and d.category == dtypes.INTEGER:
        fits = k.compare("lt", k.intrinsic("fabs", x.type, x), 2.0**63)
        x = k.select(fits, k.cast(x, "i64"), -(2**63))
    if d is dtypes.float16 and element(x.type) == "double":
        x = _rounded_to_odd(k, x)
    x = k.cast(x, target)
    if d is dtypes.uint8:
        return k.bits("and", x, 255)
    return widened(k, narrowed(k, x, d), d) if d in (dtypes.float16, dtypes.bfloat16) else x


def _rounded_to_odd(k: Emitter, x: Val) -> Val:
    """Doubles as floats that round to half as the doubles would: inexact ones end in a one bit."""
    near = k.cast(x, "float")
    back, bits = k.cast(near, "double"), k.bitcast(near, "i32")
    above = k.compare("gt", k.intrinsic("fabs", x.type, back), k.intrinsic("fabs", x.type, x))
    down = k.select(above, k.sub(bits, 1), bits)
    inexact = k.compare("ne", back, x)
    sticky = k.select(inexact, k.bits("or", down, 1), bits)
    return k.select(k.unordered(x, x), near, k.bitcast(sticky, "float"))


def _float_only(name: str) -> Callable[..., Val]:
    """An instruction on floats; integers are as they should be already."""

    def method(self: Scalars, x: Val) -> Val:
        return self.k.intrinsic(name, x.type, x) if is_float(x.type) else x

    return method


def _mathematics(function: Callable[..., Val]) -> Callable[..., Val]:
    """A function of `vecmath`, on floats; its second operand may be a number."""

    def method(self: Scalars, x: Val, *others: Any) -> Val:
        return function(self.k, x, *(self.k.val(other, x.type) for other in others))

    method.__doc__ = function.__doc__
    return method


def _comparison(name: str) -> Callable[..., Val]:
    def method(self: Scalars, a: Any, b: Any) -> Val:
        if element((a if isinstance(a, Val) else b).type) == "i1":  # as a signed number, true is -1
            a, b = (self.k.cast(x, "i8") if isinstance(x, Val) else x for x in (a, b))
        return self.k.compare(name, a, b)

    return method


class Scalars:
    """Operations on elements in registers, for the op whose result has `dtype`."""

    def __init__(self, k: Emitter, dtype: dtype) -> None:
        self.k, self.dtype = k, dtype

    # -- types and constants -------------------------------------------------------------------------------------

    def is_float(self, x: Val) -> bool:
        return is_float(x.type)

    def is_bool(self, x: Val) -> bool:
        return element(x.type) == "i1"

    def is_double(self, x: Val) -> bool:
        return element(x.type) == "double"

    def constant(self, number: Any, like: Val) -> Val:
        """A number in every lane, of the type of `like`."""
        return self.k.const(like.type, number)

    def cast(self, x: Val, to: dtype | None = None) -> Val:
        """`x` as an element of a dtype (the result's, if none is given)."""
        return convert(self.k, x, to or self.dtype)

    def floating(self, x: Val) -> Val:
        """`x`, which must be of floats: its op has parameters that integers would round."""
        self.floats_only(x)
        return x

    def floats_only(self, *operands: Any) -> None:
        """Refuse integer operands: what divides by zero must raise, and only the host can."""
        if any(isinstance(x, Val) and not is_float(x.type) for x in operands):
            raise Unsupported("an integer form")

    # -- arithmetic ----------------------------------------------------------------------------------------------

    def add(self, a: Any, b: Any) -> Val:
        """The sum; of bools, whether one holds."""
        return self.k.bits("or", a, b) if self._bools(a, b) else self.k.add(a, b)

    def sub(self, a: Any, b: Any) -> Val:
        if self._bools(a, b):
            raise Unsupported("the difference of bools")
        return self.k.sub(a, b)

    def mul(self, a: Any, b: Any) -> Val:
        """The product; of bools, whether both hold."""
        if self._bools(a, b):
            return self.k.bits("and", a, b)
        zero = self.k.mul(a, b)
        return zero if isinstance(zero, Val) else self.k.const((a if isinstance(a, Val) else b).type, zero)

    def div(self, a: Any, b: Any) -> Val:
        self.floats_only(a, b)
        return self.k.div(a, b)

    def scaled(self, factor: Any, x: Val) -> Val:
        """`factor * x`, the factor being a parameter or an operand."""
        if isinstance(factor, Val):
            return self.mul(x, factor)
        return x if factor == 1 else self.mul(x, self.constant(factor, x))

    def fma(self, a: Any, b: Any, c: Val) -> Val:
        """a * b + c, rounded once."""
        return self.k.fma(a, b, c)

    def reciprocal(self, x: Val) -> Val:
        return self.div(1.0, x)

    def square(self, x: Val) -> Val:
        return self.mul(x, x)

    def sqrt(self, x: Val) -> Val:
        return self.k.intrinsic("sqrt", x.type, x)

    def rsqrt(self, x: Val) -> Val:
        return 1.0 / self.sqrt(x)

    def lerp(self, a: Val, b: Val, weight: Val) -> Val:
        """From a to b by a weight; from whichever end is nearer, so that both ends are met."""
        apart = b - a
        return self.k.select(self.abs(weight) < 0.5, a + weight * apart, b - apart * (1.0 - weight))

    def _bools(self, a: Any, b: Any) -> bool:
        return self.is_bool(a if isinstance(a, Val) else b)

    # -- division with remainder; of integers, zero divisors are the caller's business -----------------------------

    def floor_divide(self, a: Val, b: Val) -> Val:
        """The quotient, rounded down."""
        return self._either(vecmath_power.floor_divide, whole.floor_quotient, a, b)

    def trunc_divide(self, a: Val, b: Val) -> Val:
        """The quotient, rounded towards zero."""
        return self.trunc(a / b) if is_float(a.type) else whole.quotient(self.k, a, b)

    def remainder(self, a: Val, b: Val) -> Val:
        """What `floor_divide` leaves: the sign is that of `b`."""
        return self._either(vecmath_power.remainder, whole.floor_rest, a, b)

    def fmod(self, a: Val, b: Val) -> Val:
        """What `trunc_divide` leaves: the sign is that of `a`."""
        return self._either(vecmath_power.fmod, whole.rest, a, b)

    def pow(self, x: Val, exponent: Val) -> Val:
        """`x` to the power `exponent`."""
        return self._either(vecmath_power.pow, whole.power, x, exponent)

    def gcd(self, a: Val, b: Val) -> Val:
        """The greatest common divisor of integers."""
        return whole.gcd(self.k, a, b)

    def lcm(self, a: Val, b: Val) -> Val:
        """The least common multiple of integers."""
        return whole.lcm(self.k, a, b)

    def _either(self, of_floats: Callable[..., Val], of_integers: Callable[..., Val], a: Val, b: Any) -> Val:
        return (of_floats if is_float(a.type) else of_integers)(self.k, a, self.k.val(b, a.type))

    # -- sign and rounding ---------------------------------------------------------------------------------------

    floor, ceil, trunc = _float_only("floor"), _float_only("ceil"), _float_only("trunc")
    _nearest = _float_only("roundeven")

    def round(self, x: Val, decimals: int = 0) -> Val:
        """To the nearest whole number, or one with some decimals; halves to even."""
        if not is_float(x.type) or not decimals:
            return self._nearest(x)
        return self._nearest(x * 10.0**decimals) / 10.0**decimals

    def abs(self, x: Val) -> Val:
        if is_float(x.type):
            return self.k.intrinsic("fabs", x.type, x)
        return x if self.is_bool(x) else self.k.select(x < 0, -x, x)

    def squared_abs(self, x: Val) -> Val:
        return self.mul(x, x)

    def sign(self, x: Val) -> Val:
        """-1, 0 or 1; NaN stays."""
        if self.is_bool(x):
            return x
        one, zero = self.constant(1, x), self.constant(0, x)
        size = self.k.select(x > 0, one, self.k.select(x < 0, -1, zero))
        return self.k.select(self.isnan(x), x, size) if is_float(x.type) else size

    def real(self, x: Val) -> Val:
        return x

    def imag(self, x: Val) -> Val:
        return self.constant(0, x)

    def conj(self, x: Val) -> Val:
        return x

    def sgn(self, x: Val) -> Val:
        return self.sign(x)

    def complex(self, re: Val, im: Val) -> Val:
        """The complex number with these parts."""
        return Complex(re, im)

    def by_parts(self, function: Callable[..., Any], *operands: Any) -> Any:
        """`function(k, *operands)`, of complex numbers apart for real and imaginary parts."""
        return function(self, *operands)

    def neg(self, x: Val) -> Val:
        if self.is_bool(x):
            raise Unsupported("the negative of a bool")
        return -x

    def angle(self, x: Val) -> Val:
        """0 of positive floats, pi of negative ones (and of -0)."""
        self.floats_only(x)
        size = self.k.select(self.signbit(x), math.pi, self.constant(0, x))
        return self.k.select(self.isnan(x), x, size)

    def nextafter(self, a: Val, b: Val) -> Val:
        """The next float after `a` on the way to `b`."""
        self.floats_only(a, b)
        kind = f"i{BITS[element(a.type)]}"
        bits = self.k.bitcast(a, kind)
        outwards = self.k.bits("xor", a > 0.0, b < a)
        step = self.k.bitcast(self.k.select(outwards, bits + 1, bits - 1), element(a.type))
        least = self.copysign(self.k.bitcast(self.k.const(bits.type, 1), element(a.type)), b)
        step = self.k.select(self.eq(a, 0.0), least, step)
        return self.k.select(self.k.unordered(a, b), a + b, self.k.select(self.eq(a, b), b, step))

    def copysign(self, size: Any, sign: Val) -> Val:
        return self.k.intrinsic("copysign", sign.type, self.k.val(size, sign.type), sign)

    def signbit(self, x: Val) -> Val:
        if is_float(x.type):
            x = self.k.bitcast(x, f"i{BITS[element(x.type)]}")
        return self.k.const(x.type, 0) if self.is_bool(x) else x < 0

    # -- choice --------------------------------------------------------------------------------------------------

    def where(self, condition: Val, a: Any, b: Any) -> Val:
        """`a` where the condition (a bool, or a number that is not zero) holds, else `b`."""
        return self.k.select(self.truth(condition), a, b)

    def maximum(self, a: Any, b: Any) -> Val:
        """The larger; NaN where one is NaN."""
        return self._extreme(self.gt, a, b)

    def minimum(self, a: Any, b: Any) -> Val:
        """The smaller; NaN where one is NaN."""
        return self._extreme(self.lt, a, b)

    def _extreme(self, wins: Callable[..., Val], a: Any, b: Any) -> Val:
        if not isinstance(a, Val):
            a, b = b, a
        if not isinstance(b, Val):  # the machine's own instruction, if the number is no NaN
            return self.k.select(wins(b, a), b, a) if b == b else self.constant(b, a)
        chosen = self.k.select(wins(a, b), a, b)
        return self.k.select(self.isnan(a), a, chosen) if is_float(a.type) else chosen

    def fmax(self, a: Any, b: Any) -> Val:
        """The larger; NaN only where both are NaN."""
        return self._number(self.ge, a, b)

    def fmin(self, a: Any, b: Any) -> Val:
        """The smaller; NaN only where both are NaN."""
        return self._number(self.le, a, b)

    def _number(self, wins: Callable[..., Val], a: Any, b: Any) -> Val:
        chosen = self.k.select(wins(a, b), a, b)
        return self.k.select(self.isnan(b), a, chosen) if isinstance(b, Val) and is_float(b.type) else chosen

    def clamp(self, x: Val, low: Any = None, high: Any = None) -> Val:
        """`x` within the bounds; a bound that is None is none, the upper one wins."""
        if low is not None:
            x = self.maximum(x, low)
        return x if high is None else self.minimum(x, high)

    def nan_to_num(self, x: Val, nan: Any = None, posinf: Any = None, neginf: Any = None) -> Val:
        """NaN and infinities replaced by numbers: 0 and the limits of the dtype, unless given."""
        if not is_float(x.type):
            return x
        limit = 1.7976931348623157e308 if self.is_double(x) else 3.4028234663852886e38
        y = self.k.select(self.eq(x, math.inf), limit if posinf is None else posinf, x)
        y = self.k.select(self.eq(x, -math.inf), -limit if neginf is None else neginf, y)
        return self.k.select(self.isnan(x), nan or 0.0, y)

    # -- comparisons, logic, bits --------------------------------------------------------------------------------

    eq, ne = _comparison("eq"), _comparison("ne")
    lt, le, gt, ge = _comparison("lt"), _comparison("le"), _comparison("gt"), _comparison("ge")

    def isnan(self, x: Val) -> Val:
        return self.k.unordered(x, x) if is_float(x.type) else self._never(x)

    def isinf(self, x: Val) -> Val:
        return self.eq(self.abs(x), math.inf) if is_float(x.type) else self._never(x)

    def isfinite(self, x: Val) -> Val:
        return self.lt(self.abs(x), math.inf) if is_float(x.type) else self.logical_not(self._never(x))

    def _never(self, x: Val) -> Val:
        return self.k.const(self.eq(x, x).type, False)

    def isclose(self, a: Val, b: Val, rtol: float, atol: float, equal_nan: bool) -> Val:
        """Whether |a - b| <= atol + rtol * |b|; infinities only if they are equal."""
        self.floats_only(a, b)
        near = self.le(self.abs(a - b), self.abs(b) * rtol + atol)
        close = self.k.bits("or", self.k.bits("and", near, self.isfinite(b)), self.eq(a, b))
        both = self.k.bits("and", self.isnan(a), self.isnan(b))
        return self.k.bits("or", close, both) if equal_nan else close

    def truth(self, x: Val) -> Val:
        """Whether an element is not zero (NaN is not)."""
        return x if self.is_bool(x) else self.k.compare("ne", x, 0)

    def logical_and(self, a: Val, b: Val) -> Val:
        return self.k.bits("and", self.truth(a), self.truth(b))

    def logical_or(self, a: Val, b: Val) -> Val:
        return self.k.bits("or", self.truth(a), self.truth(b))

    def logical_xor(self, a: Val, b: Val) -> Val:
        return self.k.bits("xor", self.truth(a), self.truth(b))

    def logical_not(self, x: Val) -> Val:
        return self.k.bits("xor", self.truth(x), True)

    def bitwise_not(self, x: Val) -> Val:
        return self.k.bits("xor", x, True if self.is_bool(x) else -1)

    def bitwise_and(self, a: Val, b: Any) -> Val:
        return self.k.bits("and", a, b)

    def bitwise_or(self, a: Val, b: Any) -> Val:
        return self.k.bits("or", a, b)

    def bitwise_xor(self, a: Val, b: Any) -> Val:
        return self.k.bits("xor", a, b)

    def bitwise_left_shift(self, a: Val, b: Val) -> Val:
        """`a << b`; 0 if `b` is negative or not below the number of bits."""
        inside = self.k.compare("lt", b, BITS[element(a.type)], unsigned=True)
        return self.k.select(inside, self.k.bits("shl", a, self.k.select(inside, b, 0)), 0)

    def bitwise_right_shift(self, a: Val, b: Val) -> Val:
        """`a >> b`, the sign kept; all sign if `b` is negative or not below the number of bits."""
        last = BITS[element(a.type)] - 1
        inside = self.k.compare("lt", b, last, unsigned=True)
        return self.k.bits("ashr", a, self.k.select(inside, b, last))

    # -- mathematics ---------------------------------------------------------------------------------------------

    exp, exp2 = _mathematics(vecmath_exp.exp), _mathematics(vecmath_exp.exp2)
    decay = _mathematics(vecmath_exp.decay)
    expm1, sigmoid = _mathematics(vecmath_exp.expm1), _mathematics(vecmath_exp.sigmoid)
    sinh, cosh, tanh = (_mathematics(f) for f in (vecmath_exp.sinh, vecmath_exp.cosh, vecmath_exp.tanh))
    log, log1p = _mathematics(vecmath_log.log), _mathematics(vecmath_log.log1p)
    log2, log10 = _mathematics(vecmath_log.log2), _mathematics(vecmath_log.log10)
    asinh, acosh, atanh = (_mathematics(f) for f in (vecmath_log.asinh, vecmath_log.acosh, vecmath_log.atanh))
    logaddexp, logaddexp2 = _mathematics(vecmath_log.logaddexp), _mathematics(vecmath_log.logaddexp2)
    hypot = _mathematics(vecmath_power.hypot)
    sin, cos, tan = (_mathematics(f) for f in (vecmath_trig.sin, vecmath_trig.cos, vecmath_trig.tan))
    asin, acos, atan = (_mathematics(f) for f in (vecmath_trig.asin, vecmath_trig.acos, vecmath_trig.atan))
    atan2 = _mathematics(vecmath_trig.atan2)
    erf, erfc, erfcx = (_mathematics(f) for f in (vecmath_error.erf, vecmath_error.erfc, vecmath_error.erfcx))
    erfinv, log_ndtr = _mathematics(vecmath_error.erfinv), _mathematics(vecmath_error.log_ndtr)
    normal_cdf = _mathematics(vecmath_error.normal_cdf)
    ndtr, ndtri = _mathematics(vecmath_error.ndtr), _mathematics(vecmath_error.ndtri)
    lgamma, digamma, zeta = (_mathematics(f) for f in (vecmath_gamma.lgamma, vecmath_gamma.digamma, vecmath_gamma.zeta))
    gammainc, gammaincc = _mathematics(vecmath_incomplete.gammainc), _mathematics(vecmath_incomplete.gammaincc)
    mantissa, exponent = _mathematics(vecmath_log.mantissa), _mathematics(vecmath_log.exponent)

    def bessel(self, x: Val, name: str) -> Val:
        """A function of `vecmath_bessel` by its name."""
        function: Callable[..., Val] = getattr(vecmath_bessel, name)
        return function(self.k, x)

    def orthogonal(self, x: Val, n: Val, name: str) -> Val:
        """A polynomial of `vecmath_orthogonal` by its name, of degree n."""
        function: Callable[..., Val] = getattr(vecmath_orthogonal, name)
        return function(self.k, x, n)

    def polygamma(self, x: Val, n: int) -> Val:
        """The n-th derivative of digamma."""
        return vecmath_gamma.polygamma(self.k, x, n)

    def mvlgamma(self, x: Val, p: int) -> Val:
        """The logarithm of the multivariate gamma function of dimension p."""
        return vecmath_gamma.mvlgamma(self.k, x, p)

    def sinc(self, x: Val) -> Val:
        """sin(pi * x) / (pi * x), 1 at zero."""
        angle = self.k.select(self.eq(x, 0.0), 1e-20, x) * math.pi
        return self.sin(angle) / angle

    def xlogy(self, a: Val, b: Val, log: Val) -> Val:
        """`a * log`, the logarithm being of `b`: 0 where `a` is 0, unless `b` is NaN."""
        zero = self.k.bits("and", self.eq(a, 0.0), self.logical_not(self.isnan(b)))
        return self.k.select(zero, 0.0, a * log)

    def entr(self, x: Val) -> Val:
        """-x * log(x): 0 at 0, minus infinity below."""
        return self.k.select(x < 0.0, -math.inf, self.k.select(self.eq(x, 0.0), 0.0, -x * self.log(x)))

    def logit(self, x: Val, eps: float | None = None) -> Val:
        """log(x / (1 - x)) of x kept `eps` away from 0 and 1."""
        x = x if eps is None else self.clamp(x, eps, 1 - eps)
        return self.log(x / (1.0 - x))

    def normal(self, x: Val) -> tuple[Val, Val]:
        """The standard normal distribution function and its density, to absolute accuracy."""
        return vecmath_error.normal(self.k, x)
