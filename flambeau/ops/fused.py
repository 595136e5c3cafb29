"""Several arithmetic steps as one op: addcmul, addcdiv, lerp, ldexp."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from flambeau import dtypes
from flambeau.engine.execute import Meta
from flambeau.ops.apply import type_name
from flambeau.ops.arguments import not_implemented
from flambeau.ops.elementwise import conj
from flambeau.ops.op import op, public
from flambeau.ops.rules import Result, accepting, elementwise, of_first, promoted, require_tensor
from flambeau.ops.samples import Call, Maker, call
from flambeau.tensors import Tensor

SAME = Result.SAME


def _scaled(value: Any, like: np.ndarray) -> Any:
    return np.asarray(value).astype(like.dtype)


def _three(t: Maker) -> list[Call]:
    divisor = {"low": 0.5, "high": 2.0}
    return [
        call(t(2, 3), t(2, 3), t(2, 3, **divisor), value=1),
        call(t(3), t(2, 1), t(2, 3, **divisor), value=0.5),
        call(t(2, 0), t(1), t(2, 0, **divisor), value=2),
    ]


addcmul_op = op(
    "addcmul", ref=lambda x, a, b, value: x + _scaled(value, x) * a * b, samples=_three,
    meta=of_first(3, accepting("addcmul_cpu_out", low=dtypes.INTEGER)),
    vjp=(
        lambda g, _y, _x, _a, _b, value: g,
        lambda g, _y, _x, _a, b, value: g * conj(b) * value,
        lambda g, _y, _x, a, _b, value: g * conj(a) * value,
    ),
    lower=lambda k, x, a, b, value: k.add(x, k.mul(k.mul(value, a), b)),
)  # fmt: skip
def _addcdiv_meta(x: Tensor, a: Tensor, b: Tensor, *_: Any, **__: Any) -> Meta:
    if promoted((a, b)).category < dtypes.FLOAT:
        raise RuntimeError(
            "Integer division with addcdiv is no longer supported, and in a future  release addcdiv will perform a "
            "true division of tensor1 and tensor2. The historic addcdiv behavior can be implemented as (input + value "
            "* torch.trunc(tensor1 / tensor2)).to(input.dtype) for integer inputs and as (input + value * tensor1 / "
            "tensor2) for float inputs. The future addcdiv behavior is just the latter implementation: (input + value "
            "* tensor1 / tensor2), for all dtypes."
        )
    return elementwise(SAME)(x, a, b)


addcdiv_op = op(
    "addcdiv", ref=lambda x, a, b, value: x + _scaled(value, x) * (a / b), meta=_addcdiv_meta, samples=_three,
    vjp=(
        lambda g, _y, _x, _a, _b, value: g,
        lambda g, _y, _x, _a, b, value: g * (value / conj(b)),
        lambda g, _y, _x, a, b, value: -g * value * conj(a / (b * b)),
    ),
    lower=lambda k, x, a, b, value: k.add(x, k.mul(value, k.div(a, b))),
)  # fmt: skip


@public("torch Tensor", inplace=True, out=True)
def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    """`input + value * tensor1 * tensor2`."""
    for position, (name, x) in enumerate((("input", input), ("tensor1", tensor1), ("tensor2", tensor2))):
        require_tensor("addcmul", name, position + 1, x)
    if type(value) is float:
        return addcmul_op(input, tensor1, tensor2, value)
    return addcmul_op(input, tensor1, tensor2, value=value)


@public("torch Tensor", inplace=True, out=True)
def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    """`input + value * tensor1 / tensor2`, of floating-point tensors."""
    for position, (name, x) in enumerate((("input", input), ("tensor1", tensor1), ("tensor2", tensor2))):
        require_tensor("addcdiv", name, position + 1, x)
    if type(value) is float:
        return addcdiv_op(input, tensor1, tensor2, value)
    return addcdiv_op(input, tensor1, tensor2, value=value)


# -- interpolation ---------------------------------------------------------------------------------------------


def _lerp(a: Any, b: Any, w: Any) -> Any:
    return np.where(np.abs(w) < 0.5, a + w * (b - a), b - (b - a) * (1 - w))


def _lerp_meta(a: Tensor, b: Tensor, w: Any) -> Meta:
    if a.dtype.category < dtypes.FLOAT:
        raise not_implemented("lerp_kernel_tensor" if isinstance(w, Tensor) else "lerp_kernel_scalar", a.dtype)
    return elementwise(SAME)(a, b, w)


lerp_op = op(
    "lerp", ref=_lerp, meta=_lerp_meta,
    samples=lambda t: [call(t(2, 3), t(3), 0.3), call(t(3), t(3), t(3, low=0.6, high=0.9)), call(t(0), t(0), 0.5)],
    vjp=(
        lambda g, _y, _a, _b, w: g * (1 - w),
        lambda g, _y, _a, _b, w: g * w,
        lambda g, _y, a, b, _w: g * (b - a),
    ),
    backward_name=lambda inputs, _: f"LerpBackward{1 if isinstance(inputs[2], Tensor) else 0}",
    lower=lambda k, a, b, w: k.lerp(a, b, w),
)  # fmt: skip
_C_NAMES = {"float32": "float", "float64": "double", "int64": "long int", "int32": "int", "float16": "c10::Half"}


@public("torch Tensor", inplace=True, out=True)
def lerp(input: Tensor, end: Tensor, weight: Any) -> Tensor:
    """`input + weight * (end - input)`; `weight` is a number or a tensor."""
    require_tensor("lerp", "input", 1, input)
    require_tensor("lerp", "end", 2, end)
    for name, x in (("end", end), ("weight", weight)):
        if isinstance(x, Tensor) and x.dtype is not input.dtype and (name == "end" or x._shape):
            expected, found = (_C_NAMES.get(d.name, type_name(d)) for d in (input.dtype, x.dtype))
            raise RuntimeError(f"expected dtype {expected} for `{name}` but got dtype {found}")
    return lerp_op(input, end, weight)


# -- powers of two ---------------------------------------------------------------------------------------------

ldexp_op = op(
    "ldexp", ref=lambda x, e: x * np.exp2(e), meta=elementwise(Result.FLOAT),
    vjp=(lambda g, _y, _x, e: g * conj(2**e), lambda g, y, _x, _e: g * conj(y) * math.log(2)),
    samples=lambda t: [call(t(2, 3), t(3)), call(t(0), t(1))], lower=lambda k, x, e: x * k.exp2(e),
)  # fmt: skip


@public("torch Tensor", inplace=True, out=True)
def ldexp(input: Tensor, other: Tensor) -> Tensor:
    """`input * 2 ** other`."""
    require_tensor("ldexp", "input", 1, input)
    require_tensor("ldexp", "other", 2, other)
    return ldexp_op(input, other)
