"""Comparisons, logic, bits, and the tests of single elements (`isnan`, `signbit` ...)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from flambeau import dtypes
from flambeau.engine.execute import Meta
from flambeau.ops.apply import type_name
from flambeau.ops.arguments import check_input, numpy_names
from flambeau.ops.op import Op, op, public
from flambeau.ops.rules import Result, accepting, elementwise, require_operand, require_tensor, underivable
from flambeau.ops.samples import Call, Maker, anywhere, call
from flambeau.tensors import Tensor

BOOL = Result.BOOL
INTEGER_MAKER = {"dtype": dtypes.int64, "low": 0, "high": 4}


def pairs_of(**kind: Any) -> Callable[[Maker], list[Call]]:
    """Pairs that broadcast, and a tensor with a number, of one kind of elements."""

    def samples(t: Maker) -> list[Call]:
        shapes = (((3,), (3,)), ((2, 3), (3,)), ((2, 1), (1, 4)), ((), (2,)), ((2, 0), (1,)))
        return [*(call(t(*a, **kind), t(*b, **kind)) for a, b in shapes), call(t(2, 3, **kind), 2)]

    return samples


# -- comparisons -----------------------------------------------------------------------------------------------


def rounded_number(input: Tensor, other: Any) -> Any:
    """A number as the narrow float it is compared in: `half(0.1) == 0.1` holds."""
    if isinstance(other, float) and input.dtype in (dtypes.float16, dtypes.bfloat16):
        return float(np.asarray(other).astype(input.dtype.np))
    return other


def _comparison(name: str, ref: Callable, alias: str | None) -> Op:
    widest = dtypes.COMPLEX if name in ("eq", "ne") else dtypes.FLOAT
    record = op(name, ref=ref, meta=accepting(f"{name}_cpu", BOOL, high=widest), samples=pairs_of(low=-1, high=1),
                lower=lambda k, a, b: getattr(k, name)(a, b))  # fmt: skip

    def function(input: Tensor, other: Any) -> Tensor:
        require_tensor(name, "input", 1, input)
        if not isinstance(other, Tensor):
            require_operand(name, "other", 2, other)
            other = rounded_number(input, other)
        return record(input, other)

    function.__name__ = name
    function.__doc__ = f"Whether `input` {_WORDS[name]} `other`, element by element: a bool tensor."
    public("torch Tensor", name=name, aliases=(alias,) if alias else (), inplace=True, out=True, one_op=True)(function)
    return record


_WORDS = {"eq": "equals", "ne": "differs from", "lt": "is below", "le": "is at most", "gt": "is above",
          "ge": "is at least"}  # fmt: skip
eq_op = _comparison("eq", np.equal, None)
ne_op = _comparison("ne", np.not_equal, "not_equal")
lt_op = _comparison("lt", np.less, "less")
le_op = _comparison("le", np.less_equal, "less_equal")
gt_op = _comparison("gt", np.greater, "greater")
ge_op = _comparison("ge", np.greater_equal, "greater_equal")

# -- logic -----------------------------------------------------------------------------------------------------


def _logical(name: str, ref: Callable) -> None:
    record = op(name, ref=ref, meta=elementwise(BOOL), samples=pairs_of(**INTEGER_MAKER)
                if name != "logical_not" else anywhere, lower=lambda k, *xs: getattr(k, name)(*xs))  # fmt: skip
    if name == "logical_not":

        def function(input: Tensor) -> Tensor:
            check_input(name, input)
            return record(input)

    else:

        def function(input: Tensor, other: Tensor) -> Tensor:  # type: ignore[misc]
            require_tensor(name, "input", 1, input)
            require_tensor(name, "other", 2, other)
            return record(input, other)

    function.__name__, function.__doc__ = name, f"Elementwise `{name}`: zero is false, all else is true."
    public("torch Tensor", name=name, inplace=True, out=True)(function)


_logical("logical_and", np.logical_and)
_logical("logical_or", np.logical_or)
_logical("logical_xor", np.logical_xor)
_logical("logical_not", np.logical_not)

# -- bits ------------------------------------------------------------------------------------------------------


def _bitwise(name: str, ref: Callable, kernel: str, bools: bool = True, aliases: tuple[str, ...] = ()) -> None:
    meta = accepting(kernel, Result.SAME, dtypes.BOOL if bools else dtypes.INTEGER, dtypes.INTEGER)
    record = op(name, ref=ref, meta=meta, samples=pairs_of(**INTEGER_MAKER),
                lower=lambda k, a, b: getattr(k, name)(a, b))  # fmt: skip

    def function(input: Any, other: Any) -> Tensor:
        require_operand(name, "input", 1, input)
        require_operand(name, "other", 2, other)
        return record(input, other)

    function.__name__, function.__doc__ = name, f"Elementwise `{name}` of integers (or bools)."
    public("torch Tensor", name=name, aliases=aliases, inplace=True, out=True)(function)


_bitwise("bitwise_and", np.bitwise_and, "bitwise_and_cpu")
_bitwise("bitwise_or", np.bitwise_or, "bitwise_or_cpu")
_bitwise("bitwise_xor", np.bitwise_xor, "bitwise_xor_cpu")
_bitwise("bitwise_left_shift", np.left_shift, "lshift_cpu", bools=False)
_bitwise("bitwise_right_shift", np.right_shift, "rshift_cpu", bools=False)
bitwise_not_op = op(
    "bitwise_not", ref=np.invert, meta=accepting("bitwise_not_cpu", high=dtypes.INTEGER),
    samples=lambda t: [call(t(3, **INTEGER_MAKER))], lower=lambda k, x: k.bitwise_not(x),
)


@public("torch Tensor", inplace=True, out=True)
def bitwise_not(input: Tensor) -> Tensor:
    """Every bit inverted; `logical_not` of bools."""
    check_input("bitwise_not", input)
    return bitwise_not_op(input)


# -- tests of single elements ----------------------------------------------------------------------------------


def _isposinf(x: Any) -> Any:
    return x == np.inf


def _isneginf(x: Any) -> Any:
    return x == -np.inf


def _signbit(x: Any) -> Any:
    return np.signbit(x) if x.dtype.kind == "f" else np.less(x, 0)


def _test(name: str, ref: Callable, words: str, lower: Callable, out: bool = False, real: bool = False) -> None:
    rule = elementwise(BOOL)

    def meta(x: Tensor) -> Meta:
        if real and x.dtype.is_complex:
            raise NotImplementedError(f"{name} is not implemented for complex tensors.") if name == "signbit" else (
                RuntimeError(f"{name} does not support complex inputs.")
            )
        return rule(x)

    record = op(name, ref=ref, meta=meta, samples=anywhere, lower=lower)

    def function(input: Tensor) -> Tensor:
        check_input(name, input)
        return record(input)

    function.__name__, function.__doc__ = name, f"Whether each element {words}: a bool tensor."
    public("torch Tensor", name=name, out=out)(function)


_test("isnan", np.isnan, "is NaN", lambda k, x: k.isnan(x))
_test("isinf", np.isinf, "is infinite", lambda k, x: k.isinf(x))
_test("isfinite", np.isfinite, "is neither infinite nor NaN", lambda k, x: k.isfinite(x))
_test("isposinf", _isposinf, "is positive infinity", lambda k, x: k.isinf(x) & k.gt(x, 0), out=True, real=True)
_test("isneginf", _isneginf, "is negative infinity", lambda k, x: k.isinf(x) & k.lt(x, 0), out=True, real=True)
_test("isreal", np.isreal, "has no imaginary part", lambda k, x: k.eq(k.imag(x), 0))
_test("signbit", _signbit, "has its sign bit set", lambda k, x: k.signbit(x), out=True, real=True)

# -- the larger and the smaller of two -------------------------------------------------------------------------


def _pair_meta(name: str) -> Callable[..., Meta]:
    rule = elementwise(Result.SAME)

    def meta(a: Tensor, b: Tensor) -> Meta:
        found = rule(a, b)
        if found.dtype.is_complex:
            raise RuntimeError(f"{name} not implemented for complex tensors.")
        return found

    return meta


def _pair_samples(t: Maker) -> list[Call]:
    """Operands that stay apart from each other: the maximum has no derivative at ties."""
    pairs = [call(t(3), t(3)), call(t(2, 3), t(3)), call(t(2, 1), t(1, 4)), call(t(2, 0), t(1))]
    for pair in pairs:
        array = pair.inputs[0]._array()
        array += np.where(array > 0, 0.01, -0.01)
    return pairs


def _pair(name: str, ref: Callable, vjp: tuple, words: str) -> Op:
    record = op(name, ref=ref, meta=_pair_meta(name), vjp=vjp, samples=_pair_samples,
                lower=lambda k, a, b: getattr(k, name)(a, b))  # fmt: skip

    @numpy_names
    def function(input: Tensor, other: Tensor) -> Tensor:
        require_tensor(name, "input", 1, input)
        require_tensor(name, "other", 2, other)
        return record(input, other)

    function.__name__, function.__doc__ = name, f"The {words}, element by element."
    public("torch Tensor", name=name, out=True)(function)
    return record


def _shared(g: Tensor, wins: Tensor, ties: Tensor) -> Tensor:
    """The gradient where an operand wins, and half of it where both are equal."""
    return (g * 0.5).masked_fill(ties.logical_not(), 0) + g.masked_fill(wins.logical_not(), 0)


maximum_op = _pair(
    "maximum", np.maximum, (
        lambda g, _y, a, b: _shared(g, (a > b) | a.isnan() | b.isnan(), a == b),
        lambda g, _y, a, b: _shared(g, (b > a) | a.isnan() | b.isnan(), a == b),
    ), "larger of two; NaN where either is NaN",
)  # fmt: skip
minimum_op = _pair(
    "minimum", np.minimum, (
        lambda g, _y, a, b: _shared(g, (a < b) | a.isnan() | b.isnan(), a == b),
        lambda g, _y, a, b: _shared(g, (b < a) | a.isnan() | b.isnan(), a == b),
    ), "smaller of two; NaN where either is NaN",
)  # fmt: skip
fmax_op = _pair(
    "fmax", np.fmax, (
        lambda g, _y, a, b: g.masked_fill(((a >= b) | b.isnan()).logical_not(), 0),
        lambda g, _y, a, b: g.masked_fill((a >= b) | b.isnan(), 0),
    ), "larger of two; NaN only where both are NaN",
)  # fmt: skip
fmin_op = _pair(
    "fmin", np.fmin, (
        lambda g, _y, a, b: g.masked_fill(((a <= b) | b.isnan()).logical_not(), 0),
        lambda g, _y, a, b: g.masked_fill((a <= b) | b.isnan(), 0),
    ), "smaller of two; NaN only where both are NaN",
)  # fmt: skip

heaviside_op = op(
    "heaviside",
    ref=lambda a, b: np.where(a == 0, b, np.greater(a, 0)),
    meta=elementwise(Result.SAME),
    samples=pairs_of(low=-1, high=1),
    smooth=False,
    vjp=underivable("heaviside"),
    backward_name="NotImplemented",
    lower=lambda k, a, b: k.where(k.eq(a, 0), b, k.cast(k.gt(a, 0))),
)


@public("torch Tensor", inplace=True, out=True)
def heaviside(input: Tensor, values: Tensor) -> Tensor:
    """The step function: 0 below zero, `values` at zero, 1 above."""
    check_input("heaviside", input)
    require_tensor("heaviside", "values", 2, values)
    if input.dtype is not values.dtype:
        raise RuntimeError("heaviside is not yet implemented for tensors with different dtypes.")
    if input.dtype.is_complex:
        raise RuntimeError("heaviside is not yet implemented for complex tensors.")
    return heaviside_op(input, values)


# -- whole tensors ---------------------------------------------------------------------------------------------


def _isclose_meta(a: Tensor, b: Tensor, rtol: float, atol: float, equal_nan: bool) -> Meta:
    if a.dtype is not b.dtype:
        raise RuntimeError(f"{type_name(a.dtype)} did not match {type_name(b.dtype)}")
    for name, value in (("rtol", rtol), ("atol", atol)):
        if value < 0:
            raise RuntimeError(f"{name} must be greater than or equal to zero, but got {value}")
    return elementwise(BOOL)(a, b)


isclose_op = op(
    "isclose", ref=lambda a, b, rtol, atol, equal_nan: np.isclose(a, b, rtol, atol, equal_nan), meta=_isclose_meta,
    samples=lambda t: [call(t(2, 3), t(3), rtol=0.1, atol=0.5, equal_nan=False)],
    lower=lambda k, a, b, rtol, atol, equal_nan: k.isclose(a, b, rtol, atol, equal_nan),
)  # fmt: skip


@public("torch Tensor")
def isclose(input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Tensor:
    """Whether `|input - other| <= atol + rtol * |other|`, element by element."""
    require_tensor("isclose", "input", 1, input)
    require_tensor("isclose", "other", 2, other)
    return isclose_op(input, other, rtol=rtol, atol=atol, equal_nan=equal_nan)


@public("torch Tensor")
def allclose(input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> bool:
    """Whether all elements are close, see `isclose`."""
    require_tensor("allclose", "input", 1, input)
    require_tensor("allclose", "other", 2, other)
    return bool(isclose_op(input, other, rtol=rtol, atol=atol, equal_nan=equal_nan)._array().all())


@public("torch Tensor")
def equal(input: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same shape and equal elements."""
    require_tensor("equal", "input", 1, input)
    require_tensor("equal", "other", 2, other)
    return input._shape == other._shape and bool(eq_op(input, other)._array().all())
