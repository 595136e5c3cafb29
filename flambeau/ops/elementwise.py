"""Elementwise arithmetic: what each op is, and how it differentiates.

One statement an op. In a derivative, `g` is the incoming gradient, `y` the result, `x`, `a`, `b` the operands; a name
that starts with an underscore is not kept for backward. Broadcast gradients are summed by the caller, so formulas
need not think of shapes; being written with differentiable ops, they give second derivatives as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from flambeau import dtypes
from flambeau.engine.execute import Meta
from flambeau.engine.schedule.lowering import Composite
from flambeau.ops import hazards
from flambeau.ops.arguments import not_implemented
from flambeau.ops.op import Op, names, op, public
from flambeau.ops.rules import (
    Result,
    accepting,
    elementwise,
    of_first,
    promoted,
    require_operand,
    require_tensor,
    underivable,
)
from flambeau.ops.samples import Samples, anywhere, binary_on, call, positive, unary_on, unit
from flambeau.tensors import Tensor

SAME, FLOAT, REAL = Result.SAME, Result.FLOAT, Result.REAL


def unary(
    name: str, ref: Callable, vjp: Any = None, result: Result = FLOAT, samples: Samples = anywhere,
    where: str = "torch Tensor", aliases: tuple[str, ...] = (), inplace: bool = True, smooth: bool = True,
    meta: Callable[..., Any] | None = None, backward_name: Any = None, lower: Any = None,
) -> Op:  # fmt: skip
    """Describe an op of one operand and list it as function, method and in-place method."""
    record = op(name, ref=ref, meta=meta or elementwise(result), vjp=vjp, samples=samples, smooth=smooth,
                backward_name=backward_name, lower=lower)  # fmt: skip

    def function(input: Tensor) -> Tensor:
        if not isinstance(input, Tensor):
            require_tensor(name, "input", 1, input)
        return record(input)

    function.__name__, function.__doc__ = name, f"Elementwise {name} of `input`; same shape."
    public(where, name=name, aliases=aliases, inplace=inplace, out=True, one_op=True)(function)
    if inplace and "torch" in where:
        names["torch"][name + "_"] = names["Tensor"][name + "_"]
    return record


def binary(
    name: str, ref: Callable, vjp: Any = None, result: Result = SAME, samples: Samples | None = None,
    where: str = "torch Tensor", aliases: tuple[str, ...] = (), inplace: bool = True, smooth: bool = True,
    backward_name: Any = None, meta: Callable[..., Any] | None = None, hazard: Any = None, lower: Any = None,
) -> Op:  # fmt: skip
    """Describe an op of two operands that broadcast; the second may be a number."""
    record = op(name, ref=ref, meta=meta or elementwise(result), vjp=vjp, samples=samples or binary_on(),
                smooth=smooth, backward_name=backward_name, hazard=hazard, lower=lower)  # fmt: skip

    def function(input: Tensor, other: Any) -> Tensor:
        require_tensor(name, "input", 1, input)
        require_operand(name, "other", 2, other)
        return record(input, other)

    function.__name__, function.__doc__ = name, f"Elementwise {name} of `input` and `other`, broadcast together."
    public(where, name=name, aliases=aliases, inplace=inplace, out=True, one_op=True)(function)
    return record


def with_number(name: str, tensor: int = 1, number: int = 0) -> Callable[[Any, dict], str]:
    """PyTorch's node names of an op with a form whose second operand is a number."""
    return lambda inputs, _: f"{name}Backward{tensor if isinstance(inputs[1], Tensor) else number}"


# -- arithmetic ------------------------------------------------------------------------------------------------


def _scaled(alpha: Any, b: Any) -> Any:
    return b if alpha == 1 else np.multiply(b, np.asarray(alpha).astype(b.dtype))


add_op = op(
    "add",
    ref=lambda a, b, alpha=1: np.add(a, _scaled(alpha, b)),
    meta=of_first(2, elementwise(SAME)),
    vjp=(lambda g, _y, _a, _b, alpha=1: g, lambda g, _y, _a, _b, alpha=1: g if alpha == 1 else g * _conj_number(alpha)),
    samples=binary_on(),
    lower=lambda k, a, b, alpha=1: k.add(a, k.scaled(alpha, b)),
)
sub_op = op(
    "sub",
    ref=lambda a, b, alpha=1: np.subtract(a, _scaled(alpha, b)),
    meta=of_first(2, elementwise(SAME)),
    vjp=(lambda g, _y, _a, _b, alpha=1: g, lambda g, _y, _a, _b, alpha=1: g * -_conj_number(alpha)),
    samples=binary_on(),
    lower=lambda k, a, b, alpha=1: k.sub(a, k.scaled(alpha, b)),
)
rsub_op = op(
    "rsub",
    ref=lambda a, b, alpha=1: np.subtract(b, _scaled(alpha, a)),
    meta=of_first(2, elementwise(SAME)),
    vjp=(lambda g, _y, _a, _b, alpha=1: g * -_conj_number(alpha), lambda g, _y, _a, _b, alpha=1: g),
    samples=binary_on(),
    backward_name=with_number("Rsub", 0, 1),
    lower=lambda k, a, b, alpha=1: k.sub(b, k.scaled(alpha, a)),
)
mul_op = op(
    "mul",
    ref=np.multiply,
    meta=elementwise(SAME),
    vjp=(lambda g, _y, _a, b: g * conj(b), lambda g, _y, a, _b: g * conj(a)),
    samples=binary_on(),
    lower=lambda k, a, b: k.mul(a, b),
)
true_divide_op = op(
    "div",
    ref=np.divide,
    meta=elementwise(FLOAT),
    vjp=(lambda g, _y, _a, b: g / conj(b), lambda g, _y, a, b: -g * conj((a / b) / b)),
    samples=binary_on(second=(0.5, 2.0)),
    lower=lambda k, a, b: k.div(a, b),
)


def conj(x: Any) -> Any:
    """The complex conjugate; real operands as they are."""
    if isinstance(x, Tensor):
        return conj_op(x) if x.dtype.is_complex else x
    return _conj_number(x)


def _conj_number(x: Any) -> Any:
    return x.conjugate() if isinstance(x, complex) else x


def _check_alpha(alpha: Any, *operands: Any) -> None:
    d = promoted(operands)
    if d.category < dtypes.FLOAT and isinstance(alpha, float):
        raise RuntimeError("For integral input tensors, argument alpha must not be a floating point number.")
    if isinstance(alpha, bool) and d is not dtypes.bool_:
        raise RuntimeError("Boolean alpha only supported for Boolean results.")


@public("torch Tensor", inplace=True, out=True, one_op=True)
def add(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """`input + alpha * other`, broadcast together."""
    require_operand("add", "other", 2, other)
    if alpha == 1 and type(alpha) is int:
        return add_op(input, other)
    _check_alpha(alpha, input, other)
    return add_op(input, other, alpha) if type(alpha) is float else add_op(input, other, alpha=alpha)


@public("torch Tensor", aliases=("subtract",), inplace=True, out=True, one_op=True)
def sub(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """`input - alpha * other`, broadcast together; bool tensors are refused."""
    require_operand("sub", "other", 2, other)
    _refuse_bools(input, other)
    if not isinstance(input, Tensor):
        return rsub(other, input, alpha=alpha)
    if alpha == 1 and type(alpha) is int:
        return sub_op(input, other)
    _check_alpha(alpha, input, other)
    return sub_op(input, other, alpha) if type(alpha) is float else sub_op(input, other, alpha=alpha)


def _refuse_bools(input: Any, other: Any) -> None:
    first, second = getattr(input, "dtype", type(input)), getattr(other, "dtype", type(other))
    if first is dtypes.bool_ or second is dtypes.bool_ or first is bool or second is bool:
        both = first in (dtypes.bool_, bool) and second in (dtypes.bool_, bool)
        raise RuntimeError(
            "Subtraction, the `-` operator, with "
            + ("two bool tensors is not supported. Use the `^` or `logical_xor()` operator instead." if both else
               "a bool tensor is not supported. If you are trying to invert a mask, use the `~` or `logical_not()` "
               "operator instead.")
        )  # fmt: skip


@public("torch Tensor", aliases=("multiply",), inplace=True, out=True, one_op=True)
def mul(input: Any, other: Any) -> Tensor:
    """`input * other`, broadcast together."""
    require_operand("mul", "other", 2, other)
    return mul_op(input, other)


@public("torch Tensor", inplace=True, out=True, one_op=True)
def rsub(input: Tensor, other: Any, *, alpha: Any = 1) -> Tensor:
    """`other - alpha * input`."""
    _refuse_bools(input, other)
    if alpha == 1 and type(alpha) is int:
        return rsub_op(input, other)
    _check_alpha(alpha, input, other)
    return rsub_op(input, other, alpha) if type(alpha) is float else rsub_op(input, other, alpha=alpha)


def _floor_divide(a: Any, b: Any) -> Any:
    if np.asarray(a).dtype.kind in "iub" and np.any(np.asarray(b) == 0):
        raise RuntimeError("ZeroDivisionError")
    return np.floor_divide(a, b)


def _trunc_divide(a: Any, b: Any) -> Any:
    if np.asarray(a).dtype.kind in "fc":
        return np.trunc(np.divide(a, b))
    if np.any(np.asarray(b) == 0):
        raise RuntimeError("ZeroDivisionError")
    quotient = np.floor_divide(a, b)
    return quotient + ((quotient < 0) & (quotient * b != a)).astype(quotient.dtype)


def _by_nonzero(function: Callable) -> Composite:
    """The lowering of a division: `function(k, a, b, **params)` of elements, zero divisors of integers refused."""

    def lowered(t: Any, a: Any, b: Any, **params: Any) -> Any:
        if not a.dtype.is_floating_point:
            t.require(t.ne(b, 0))
        return function(t, a, b, **params)

    return Composite(lowered)


floor_divide_op = op(
    "floor_divide", ref=_floor_divide, hazard=hazards.division, samples=binary_on(second=(0.5, 2.0)), smooth=False,
    meta=accepting("div_floor_cpu", low=dtypes.INTEGER, high=dtypes.FLOAT), vjp=underivable("floor_divide"),
    backward_name="NotImplemented", lower=_by_nonzero(lambda k, a, b: k.floor_divide(a, b)),
)  # fmt: skip
rounded_divide_op = op(
    "rounded_divide", ref=lambda a, b, mode: (_floor_divide if mode == "floor" else _trunc_divide)(a, b),
    meta=elementwise(SAME), smooth=False, backward_name="DivBackward2", hazard=hazards.division,
    vjp=(lambda g, _y, _a, _b, mode: g * 0, lambda g, _y, _a, _b, mode: g * 0),
    samples=lambda t: [call(*c.inputs, mode=mode) for mode in ("floor", "trunc")
                       for c in binary_on(second=(0.5, 2.0))(t)],
    lower=_by_nonzero(lambda k, a, b, mode: k.floor_divide(a, b) if mode == "floor" else k.trunc_divide(a, b)),
)  # fmt: skip


@public("torch Tensor", aliases=("divide",), inplace=True, out=True, one_op=True)
def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """`input / other`; `rounding_mode` "trunc" or "floor" rounds the quotient and keeps integers integers."""
    require_operand("div", "other", 2, other)
    if rounding_mode is None:
        if not isinstance(input, Tensor):  # as PyTorch's reflected operator does, to the same bits
            return mul_op(reciprocal_op(other), input)
        return true_divide_op(input, other)
    if rounding_mode not in ("trunc", "floor"):
        raise RuntimeError(
            "div expected rounding_mode to be one of None, 'trunc', or 'floor' but found '" + str(rounding_mode) + "'"
        )
    return rounded_divide_op(input, other, mode=rounding_mode)


@public("torch Tensor", inplace=True, out=True)
def true_divide(input: Any, other: Any) -> Tensor:
    """`input / other` in floating point."""
    return true_divide_op(input, other)


@public("torch Tensor", inplace=True, out=True)
def floor_divide(input: Any, other: Any) -> Tensor:
    """`input / other`, rounded down; either may be a number. Backward raises, as in PyTorch."""
    require_operand("floor_divide", "other", 2, other)
    return floor_divide_op(input, other)


def _remainder(a: Any, b: Any) -> Any:
    if np.asarray(a).dtype.kind in "iub":
        if np.any(np.asarray(b) == 0):
            raise RuntimeError("ZeroDivisionError")
        return np.remainder(a, b)
    rest = np.fmod(a, b)  # which keeps the sign of zero
    return np.where((rest != 0) & ((rest < 0) != np.less(b, 0)), rest + b, rest)


def _fmod(a: Any, b: Any) -> Any:
    if np.asarray(a).dtype.kind in "iub" and np.any(np.asarray(b) == 0):
        raise RuntimeError("ZeroDivisionError")
    return np.fmod(a, b)


remainder_op = op(
    "remainder", ref=_remainder, hazard=hazards.division, samples=binary_on(second=(0.7, 2.0)), smooth=False,
    meta=accepting("remainder_cpu", low=dtypes.INTEGER, high=dtypes.FLOAT),
    vjp=(lambda g, _y, _a, _b: g, lambda g, _y, a, b: -g * rounded_divide_op(a, b, mode="floor")),
    backward_name=with_number("Remainder"), lower=_by_nonzero(lambda k, a, b: k.remainder(a, b)),
)  # fmt: skip
fmod_op = binary(
    "fmod", _fmod, samples=binary_on(second=(0.7, 2.0)), smooth=False, backward_name=with_number("Fmod"),
    hazard=hazards.division, meta=accepting("fmod_cpu", low=dtypes.INTEGER, high=dtypes.FLOAT),
    vjp=(lambda g, _y, _a, _b: g, lambda g, _y, a, b: -g * trunc_op(a / b)),
    lower=_by_nonzero(lambda k, a, b: k.fmod(a, b)),
)  # fmt: skip


@public("torch Tensor", inplace=True, out=True)
def remainder(input: Any, other: Any) -> Tensor:
    """Python's modulus: the result has the sign of `other`."""
    return remainder_op(input, other)


# -- powers, exponentials, logarithms --------------------------------------------------------------------------


def _power(a: Any, b: Any) -> Any:
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype.kind in "iu":
        if b.ndim == 0 and b < 0:
            raise RuntimeError("Integers to negative integer powers are not allowed.")
        return np.where(b < 0, np.where(a == 1, 1, np.where(a == -1, np.where(b % 2 == 0, 1, -1), 0)),
                        np.power(a, np.maximum(b, 0))).astype(a.dtype)  # fmt: skip
    return np.power(a, b)


def _power_meta(a: Any, b: Any) -> Meta:
    if isinstance(b, Tensor) and promoted((a, b)) is dtypes.bool_:
        raise not_implemented("pow", dtypes.bool_)
    return elementwise(SAME)(a, b)


def _power_lowered(t: Any, a: Any, b: Any) -> Any:
    if a.dtype.category < dtypes.FLOAT and b.shape == ():
        t.require(t.ge(b, 0))
    return t.pow(a, b)


def _pow_base_vjp(g: Tensor, _y: Any, a: Any, b: Any) -> Tensor:
    if not isinstance(b, Tensor):
        return a.new_zeros(a._shape) if b == 0 else g * conj(b * pow_op(a, b - 1))
    return where_nonzero(b, g * conj(b * pow_op(a, b - 1)))


def _pow_exponent_vjp(g: Tensor, y: Tensor, a: Any, b: Any) -> Tensor:
    if not isinstance(a, Tensor):
        return g * conj(y * (np.log(a) if a != 0 else 0.0)) if a != 0 else g * 0
    log_a = log_op(a)
    at_zero = (a == 0) & (b >= 0) if not y.dtype.is_complex else a == 0
    return (g * conj(y * log_a)).masked_fill(at_zero, 0)


def where_nonzero(b: Tensor, value: Tensor) -> Tensor:
    """`value`, but zero where `b` is zero: 0 times infinity must not become NaN."""
    return value.masked_fill(b == 0, 0)


pow_op = op(
    "pow", ref=_power, hazard=hazards.power, meta=_power_meta, vjp=(_pow_base_vjp, _pow_exponent_vjp),
    samples=binary_on(0.3, 2.0, second=(-2.0, 2.0)),
    backward_name=lambda inputs, _: "PowBackward2" if not isinstance(inputs[0], Tensor) else (
        "PowBackward1" if isinstance(inputs[1], Tensor) else "PowBackward0"),
    lower=Composite(_power_lowered),
)  # fmt: skip


@public("torch Tensor", inplace=True, out=True)
def pow(input: Any, exponent: Any) -> Tensor:
    """`input` to the power `exponent`; either may be a number."""
    require_operand("pow", "exponent", 2, exponent)
    if type(exponent) is int and exponent < 0 and isinstance(input, Tensor) and input.dtype.category < dtypes.FLOAT:
        raise RuntimeError("Integers to negative integer powers are not allowed.")
    return pow_op(input, exponent)


@public("torch Tensor", inplace=True, out=True)
def float_power(input: Any, exponent: Any) -> Tensor:
    """The power in double precision."""
    to = dtypes.complex128 if promoted((input, exponent)).is_complex else dtypes.float64
    wide = [x.to(to) if isinstance(x, Tensor) else x for x in (input, exponent)]
    return pow_op(*wide)


unary("sqrt", np.sqrt, lambda g, y, _x: (g / (2 * conj(y)),), samples=positive, lower=lambda k, x: k.sqrt(x))
unary("rsqrt", lambda x: 1 / np.sqrt(x), lambda g, y, _x: (g * conj(y * y * y) * -0.5,), samples=positive,
      lower=lambda k, x: k.rsqrt(x))  # fmt: skip
unary("square", np.square, lambda g, _y, x: (g * (conj(x) * 2),), SAME, backward_name="PowBackward0",
      lower=lambda k, x: k.square(x))  # fmt: skip
exp_op = unary("exp", np.exp, lambda g, y, _x: (g * conj(y),), lower=lambda k, x: k.exp(x))
unary("exp2", np.exp2, lambda g, y, _x: (g * conj(y) * math.log(2),), lower=lambda k, x: k.exp2(x))
unary("expm1", np.expm1, lambda g, y, _x: (g * conj(y + 1),), lower=lambda k, x: k.expm1(x))
log_op = unary("log", np.log, lambda g, _y, x: (g / conj(x),), samples=positive, lower=lambda k, x: k.log(x))
unary("log2", np.log2, lambda g, _y, x: (g / (conj(x) * math.log(2)),), samples=positive,
      lower=lambda k, x: k.log2(x))  # fmt: skip
unary("log10", np.log10, lambda g, _y, x: (g / (conj(x) * math.log(10)),), samples=positive,
      lower=lambda k, x: k.log10(x))  # fmt: skip
unary("log1p", np.log1p, lambda g, _y, x: (g / conj(x + 1),), samples=positive, lower=lambda k, x: k.log1p(x))
reciprocal_op = unary("reciprocal", np.reciprocal, lambda g, y, _x: (-g * conj(y * y),), samples=positive,
                      lower=lambda k, x: k.reciprocal(x))  # fmt: skip
logaddexp_op = binary(
    "logaddexp", np.logaddexp, result=FLOAT, inplace=False,
    vjp=(lambda g, y, a, _b: g * exp_op(a - y), lambda g, y, _a, b: g * exp_op(b - y)),
    lower=lambda k, a, b: k.logaddexp(a, b),
)  # fmt: skip
binary(
    "logaddexp2", np.logaddexp2, result=FLOAT, inplace=False,
    vjp=(lambda g, y, a, _b: g * (a - y).exp2(), lambda g, y, _a, b: g * (b - y).exp2()),
    lower=lambda k, a, b: k.logaddexp2(a, b),
)  # fmt: skip

# -- trigonometry ----------------------------------------------------------------------------------------------

sin_op = unary("sin", np.sin, lambda g, _y, x: (g * conj(cos_op(x)),), lower=lambda k, x: k.sin(x))
cos_op = unary("cos", np.cos, lambda g, _y, x: (-g * conj(sin_op(x)),), lower=lambda k, x: k.cos(x))
unary("tan", np.tan, lambda g, y, _x: (g * conj(1 + y * y),), samples=unary_on(-1.2, 1.2), lower=lambda k, x: k.tan(x))
unary("asin", np.arcsin, lambda g, _y, x: (g * conj((1 - x * x).rsqrt()),), samples=unit, aliases=("arcsin",),
      lower=lambda k, x: k.asin(x))  # fmt: skip
unary("acos", np.arccos, lambda g, _y, x: (-g * conj((1 - x * x).rsqrt()),), samples=unit, aliases=("arccos",),
      lower=lambda k, x: k.acos(x))  # fmt: skip
unary("atan", np.arctan, lambda g, _y, x: (g / conj(1 + x * x),), aliases=("arctan",), lower=lambda k, x: k.atan(x))
unary("sinh", np.sinh, lambda g, _y, x: (g * conj(x.cosh()),), lower=lambda k, x: k.sinh(x))
unary("cosh", np.cosh, lambda g, _y, x: (g * conj(x.sinh()),), lower=lambda k, x: k.cosh(x))
unary("tanh", np.tanh, lambda g, y, _x: (g * conj(1 - y * y),), where="torch Tensor F special",
      lower=lambda k, x: k.tanh(x))  # fmt: skip
unary("asinh", np.arcsinh, lambda g, _y, x: (g * conj((x * x + 1).rsqrt()),), aliases=("arcsinh",),
      lower=lambda k, x: k.asinh(x))  # fmt: skip
unary("acosh", np.arccosh, lambda g, _y, x: (g * conj((x * x - 1).rsqrt()),), samples=unary_on(1.2, 3),
      aliases=("arccosh",), lower=lambda k, x: k.acosh(x))  # fmt: skip
unary("atanh", np.arctanh, lambda g, _y, x: (g / conj(1 - x * x),), samples=unit, aliases=("arctanh",),
      lower=lambda k, x: k.atanh(x))  # fmt: skip
binary(
    "atan2", np.arctan2, result=FLOAT, aliases=("arctan2",), samples=binary_on(0.3, 2.0),
    vjp=(lambda g, _y, a, b: g * b / (a * a + b * b), lambda g, _y, a, b: -g * a / (a * a + b * b)),
    lower=lambda k, a, b: k.atan2(a, b),
)  # fmt: skip
binary(
    "hypot", np.hypot, samples=binary_on(0.3, 2.0),
    vjp=(lambda g, y, a, _b: g * (a / y), lambda g, y, _a, b: g * (b / y)), lower=lambda k, a, b: k.hypot(a, b),
)  # fmt: skip
binary("copysign", np.copysign, result=FLOAT, smooth=False, backward_name=with_number("Copysign", 0, 1),
       lower=lambda k, a, b: k.copysign(a, b),
       vjp=(lambda g, y, a, _b: (g * (y / a)).masked_fill(a == 0, 0), lambda g, _y, _a, _b: g * 0))  # fmt: skip
binary("nextafter", np.nextafter, smooth=False, lower=lambda k, a, b: k.nextafter(a, b))
unary("sinc", np.sinc, samples=positive, where="torch Tensor special", lower=lambda k, x: k.sinc(x),
      vjp=lambda g, _y, x: (g * ((math.pi * x).cos() * (math.pi * x) - (math.pi * x).sin()).div(math.pi * x * x)
                            .masked_fill(x == 0, 0),))  # fmt: skip


def _of_reals(name: str) -> Callable[[Tensor], Meta]:
    def meta(x: Tensor) -> Meta:
        if x.dtype.is_complex:
            raise RuntimeError(f"{name} is not supported for complex tensors.")
        return elementwise(FLOAT)(x)

    return meta


unary("deg2rad", np.deg2rad, lambda g, _y, _x: (g * (math.pi / 180),), meta=_of_reals("deg2rad"),
      lower=lambda k, x: x * (math.pi / 180))  # fmt: skip
unary("rad2deg", np.rad2deg, lambda g, _y, _x: (g * (180 / math.pi),), meta=_of_reals("rad2deg"),
      lower=lambda k, x: x * (180 / math.pi))  # fmt: skip

# -- sign and rounding -----------------------------------------------------------------------------------------


def _neg_meta(x: Tensor) -> Meta:
    if x.dtype is dtypes.bool_:
        raise RuntimeError(
            "Negation, the `-` operator, on a bool tensor is not supported. If you are trying to invert a mask, use "
            "the `~` or `logical_not()` operator instead."
        )
    return elementwise(SAME)(x)


_neg_meta.elementwise = SAME  # type: ignore[attr-defined]


def _sign_meta(x: Tensor) -> Meta:
    if x.dtype.is_complex:
        raise NotImplementedError(
            "Unlike NumPy, torch.sign is not intended to support complex numbers. Please use torch.sgn instead."
        )
    return elementwise(SAME)(x)


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


neg_op = unary("neg", np.negative, lambda g, _y, _x: (-g,), meta=_neg_meta, aliases=("negative",),
               lower=lambda k, x: k.neg(x))  # fmt: skip
unary("abs", np.abs, lambda g, _y, x: (g * x.sgn(),), samples=positive, aliases=("absolute",),
      meta=accepting("abs_cpu", REAL, dtypes.INTEGER), lower=lambda k, x: k.abs(x))  # fmt: skip
sign_op = unary(
    "sign", lambda x: x.copy() if x.dtype == bool else np.sign(x), lambda g, _y, _x: (g * 0,), samples=positive,
    meta=_sign_meta, lower=lambda k, x: k.sign(x),
)  # fmt: skip
sgn_op = unary("sgn", np.sign, lambda g, y, x: (_sgn_vjp(g, y, x),), SAME, samples=positive,
               lower=lambda k, x: k.sgn(x))  # fmt: skip
trunc_op = unary("trunc", np.trunc, lambda g, _y, _x: (g * 0,), SAME, aliases=("fix",), smooth=False,
                 lower=lambda k, x: k.trunc(x))  # fmt: skip
unary("floor", np.floor, lambda g, _y, _x: (g * 0,), SAME, smooth=False, lower=lambda k, x: k.floor(x))
unary("ceil", np.ceil, lambda g, _y, _x: (g * 0,), SAME, smooth=False, lower=lambda k, x: k.ceil(x))
unary("frac", lambda x: x - np.trunc(x), lambda g, _y, _x: (g,), SAME, smooth=False,
      meta=accepting("frac_cpu", low=dtypes.FLOAT), lower=lambda k, x: x - k.trunc(x))  # fmt: skip
round_op = op(
    "round", ref=lambda x, decimals=0: _round(x, decimals),
    meta=accepting("round_vml_cpu", SAME, dtypes.INTEGER, dtypes.FLOAT),
    vjp=lambda g, _y, _x, decimals=0: (g * 0,), samples=anywhere, smooth=False,
    backward_name=lambda _, params: f"RoundBackward{1 if params else 0}",
    lower=lambda k, x, decimals=0: k.round(x, decimals),
)  # fmt: skip
unary("sigmoid", _sigmoid, lambda g, y, _x: (g * conj((1 - y) * y),), where="torch Tensor F",
      lower=lambda k, x: k.sigmoid(x))  # fmt: skip


def _sgn_vjp(g: Tensor, y: Tensor, x: Tensor) -> Tensor:
    if not g.dtype.is_complex:
        return g * 0
    size = x.abs()
    return ((g - (conj(g) * y + g * conj(y)) * 0.5 * y) / size).masked_fill(size == 0, 0)


def _round(x: Any, decimals: int) -> Any:
    if x.dtype.kind in "iub":
        return x.copy()
    return np.rint(x) if decimals == 0 else (np.rint(x * 10.0**decimals) / 10.0**decimals).astype(x.dtype)


@public("torch Tensor", inplace=True, out=True)
def round(input: Tensor, *, decimals: int = 0) -> Tensor:
    """To the nearest integer (or decimal), halves to even."""
    require_tensor("round", "input", 1, input)
    return round_op(input, decimals=decimals) if decimals else round_op(input)


@public("torch Tensor")
def positive(input: Tensor) -> Tensor:
    """`input` itself; a bool tensor is refused."""
    require_tensor("positive", "input", 1, input)
    if input.dtype is dtypes.bool_:
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return input


# -- complex parts ---------------------------------------------------------------------------------------------

conj_op = op(
    "conj_physical", ref=np.conj, meta=elementwise(SAME), vjp=lambda g, _y, _x: (conj(g),), samples=anywhere,
    backward_name="ConjBackward0", lower=lambda k, x: k.conj(x),
)  # fmt: skip
angle_op = unary(
    "angle", np.angle, result=REAL, inplace=False, smooth=False, where="torch Tensor",
    vjp=lambda g, _y, x: (_angle_vjp(g, x),), lower=lambda k, x: k.angle(x),
)  # fmt: skip


def _angle_vjp(g: Tensor, x: Tensor) -> Tensor:
    if not x.dtype.is_complex:
        return g * 0
    return (g * x * 1j / (x.abs() ** 2)).masked_fill(x == 0, 0)


@public("torch Tensor", aliases=("conj_physical",))
def conj_(input: Tensor) -> Tensor:
    """The complex conjugate of `input`."""
    return conj(input)


@public("torch Tensor", aliases=("resolve_neg",))
def resolve_conj(input: Tensor) -> Tensor:
    """`input` itself: conjugates and negatives are always computed."""
    return input
