"""The namespace `k` of elementwise lowerings where elements are complex: what `scalars.Scalars` is for real ones.

It has fewer functions. Those that it has not (an order, rounding, most special functions) raise `Unsupported`, and the
call runs by its reference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from flambeau.dtypes import dtype
from flambeau.engine.kernel import complex_math, vecmath_trig
from flambeau.engine.kernel.complex_emit import Complex
from flambeau.engine.kernel.emit import Emitter, Val, element
from flambeau.engine.kernel.scalars import Scalars, convert
from flambeau.engine.schedule.lowering import Unsupported

_LN_2, _LOG2_E, _LOG10_E = 0.6931471805599453, 1.4426950408889634, 0.4342944819032518


def namespace(k: Emitter, dtype: dtype, operands: Iterable[Any]) -> Any:
    """Operations on these elements in registers, for the op whose result has `dtype`."""
    return (Complexes if any(isinstance(x, Complex) for x in operands) else Scalars)(k, dtype)


def _mathematics(function: Callable[..., Complex]) -> Callable[..., Val]:
    def method(self: Complexes, *operands: Any) -> Val:
        like = next(x for x in operands if isinstance(x, Complex))
        return function(self.k, *(self.k.val(x, like.type) for x in operands))

    method.__doc__ = function.__doc__
    return method


class Complexes:
    """Operations on complex elements in registers. Operands are complex unless a method says otherwise."""

    def __init__(self, k: Emitter, dtype: dtype) -> None:
        self.k, self.dtype = k, dtype

    def __getattr__(self, name: str) -> Any:
        if not hasattr(Scalars, name):
            raise AttributeError(f"kernels have no function {name!r}")
        raise Unsupported(f"{name} of complex numbers")

    # -- types, constants, parts ---------------------------------------------------------------------------------

    def constant(self, number: Any, like: Val) -> Val:
        """A number in every lane, of the type of `like`."""
        return self.k.const(like.type, number)

    def cast(self, x: Val, to: dtype | None = None) -> Val:
        """`x` (of any dtype) as an element of a dtype (the result's, if none is given)."""
        return convert(self.k, x, to or self.dtype)

    def real(self, x: Complex) -> Val:
        return x.re

    def imag(self, x: Complex) -> Val:
        return x.im

    def conj(self, x: Complex) -> Val:
        return Complex(x.re, -x.im)

    def complex(self, re: Val, im: Val) -> Val:
        """The complex number with these parts, which are real."""
        return Complex(re, im)

    def by_parts(self, function: Callable[..., Any], *operands: Any) -> tuple[Val, ...]:
        """The results of `function(k, *operands)`, apart for real and imaginary parts; real operands go with both."""
        s = Scalars(self.k, self.dtype.to_real())
        parts = zip(*[(x.re, x.im) if isinstance(x, Complex) else (x, x) for x in operands])
        return tuple(map(Complex, *[function(s, *part) for part in parts]))

    def abs(self, x: Complex) -> Val:
        return complex_math.size(self.k, x)

    def squared_abs(self, x: Complex) -> Val:
        return x.re * x.re + x.im * x.im

    def angle(self, x: Complex) -> Val:
        """The angle with the positive reals, from -pi to pi."""
        return vecmath_trig.atan2(self.k, x.im, x.re)

    # -- arithmetic, choice --------------------------------------------------------------------------------------

    def add(self, a: Any, b: Any) -> Val:
        return self.k.add(a, b)

    def sub(self, a: Any, b: Any) -> Val:
        return self.k.sub(a, b)

    def mul(self, a: Any, b: Any) -> Val:
        return self.k.mul(a, b)

    def div(self, a: Any, b: Any) -> Val:
        return self.k.div(a, b)

    def neg(self, x: Complex) -> Val:
        return -x

    def scaled(self, factor: Any, x: Val) -> Val:
        """`factor * x`, the factor being a parameter or an operand."""
        return x if not isinstance(factor, Val) and factor == 1 else self.k.mul(factor, x)

    def square(self, x: Complex) -> Val:
        return x * x

    def rsqrt(self, x: Complex) -> Val:
        return 1.0 / self.sqrt(x)

    def lerp(self, a: Complex, b: Complex, weight: Complex) -> Val:
        """From a to b by a weight; from whichever end is nearer, so that both ends are met."""
        apart = b - a
        return self.k.select(self.abs(weight) < 0.5, a + weight * apart, b - apart * (1.0 - weight))

    def where(self, condition: Val, a: Any, b: Any) -> Val:
        """`a` where the condition (of any dtype) holds, else `b`."""
        return self.k.select(self.truth(condition), a, b)

    # -- comparisons, logic --------------------------------------------------------------------------------------

    def eq(self, a: Any, b: Any) -> Val:
        return self.k.compare("eq", a, b)

    def ne(self, a: Any, b: Any) -> Val:
        return self.k.compare("ne", a, b)

    def isnan(self, x: Complex) -> Val:
        return self.k.unordered(x.re, x.im)

    def isinf(self, x: Complex) -> Val:
        """Whether one of the parts is infinite."""
        return self.k.bits("or", *self._of_parts("isinf", x))

    def isfinite(self, x: Complex) -> Val:
        return self.k.bits("and", *self._of_parts("isfinite", x))

    def _of_parts(self, name: str, x: Complex) -> list[Val]:
        function = getattr(Scalars(self.k, self.dtype), name)
        return [function(x.re), function(x.im)]

    def isclose(self, a: Complex, b: Complex, rtol: float, atol: float, equal_nan: bool) -> Val:
        """Whether |a - b| <= atol + rtol * |b|; infinities only if they are equal."""
        near = self.abs(a - b) <= self.abs(b) * rtol + atol
        close = self.k.bits("or", self.k.bits("and", near, self.isfinite(b)), self.eq(a, b))
        both = self.k.bits("and", self.isnan(a), self.isnan(b))
        return self.k.bits("or", close, both) if equal_nan else close

    def truth(self, x: Val) -> Val:
        """Whether an element (of any dtype) is not zero."""
        return x if element(x.type) == "i1" else self.k.compare("ne", x, 0)

    logical_and, logical_or = Scalars.logical_and, Scalars.logical_or
    logical_xor, logical_not = Scalars.logical_xor, Scalars.logical_not

    # -- mathematics ---------------------------------------------------------------------------------------------

    exp, expm1 = _mathematics(complex_math.exp), _mathematics(complex_math.expm1)
    log, log1p = _mathematics(complex_math.log), _mathematics(complex_math.log1p)
    sqrt, pow = _mathematics(complex_math.sqrt), _mathematics(complex_math.pow)
    sin, cos, tan = (_mathematics(f) for f in (complex_math.sin, complex_math.cos, complex_math.tan))
    sinh, cosh, tanh = (_mathematics(f) for f in (complex_math.sinh, complex_math.cosh, complex_math.tanh))
    asin, acos, atan = (_mathematics(f) for f in (complex_math.asin, complex_math.acos, complex_math.atan))
    asinh, acosh, atanh = (_mathematics(f) for f in (complex_math.asinh, complex_math.acosh, complex_math.atanh))
    reciprocal, sgn = _mathematics(complex_math.reciprocal), _mathematics(complex_math.sign)

    def exp2(self, x: Complex) -> Val:
        """2 to the power x."""
        return self.exp(self._by(_LN_2, x))

    def log2(self, x: Complex) -> Val:
        """The logarithm to base 2."""
        return self._by(_LOG2_E, self.log(x))

    def log10(self, x: Complex) -> Val:
        """The logarithm to base 10."""
        return self._by(_LOG10_E, self.log(x))

    def _by(self, factor: float, x: Any) -> Complex:
        return Complex(x.re * factor, x.im * factor)

    def sigmoid(self, x: Complex) -> Val:
        return 1.0 / (self.exp(-x) + 1.0)
