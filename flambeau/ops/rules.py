"""Shape and dtype rules that whole families of ops share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

from flambeau import dtypes
from flambeau.dtypes import dtype, result_dtype
from flambeau.engine.execute import Meta
from flambeau.ops.arguments import not_implemented
from flambeau.shape import Ints, broadcast_shapes, contiguous_strides, elementwise_strides
from flambeau.tensors import Tensor


class Result(Enum):
    """The dtype of an elementwise result, given the dtype that its operands promote to."""

    SAME = "same"  # that dtype
    FLOAT = "float"  # integers become the default floating dtype
    BOOL = "bool"  # a comparison
    REAL = "real"  # complex operands give real results (abs, angle)


def promoted(inputs: Sequence[Any]) -> dtype:
    """The dtype that operands compute in together."""
    dims, zero, numbers = [], [], []
    for x in inputs:
        if isinstance(x, Tensor):
            (dims if x._shape else zero).append(x.dtype)
        elif x is not None:
            numbers.append(x)
    if len(dims) == 1 and not zero and not numbers:
        return dims[0]
    return result_dtype(dims, zero, numbers)


@functools.cache
def elementwise(result: Result = Result.SAME, to_float: bool = False) -> Callable[..., Meta]:
    """The rule of an op that broadcasts its operands and computes each element on its own."""

    def meta(*inputs: Any, **_: Any) -> Meta:
        alike = _alike(inputs)
        compute = inputs[0].dtype if alike else promoted(inputs)
        if (result is Result.FLOAT or to_float) and compute.category < dtypes.FLOAT:
            compute = dtypes.get_default_dtype()
        if alike:
            shape, strides = inputs[0]._shape, inputs[0]._strides
        else:
            tensors = [x for x in inputs if isinstance(x, Tensor)]
            numbers = any(x is not None for x in inputs) and len(tensors) < len(inputs)
            shape, strides = broadcast_layout(tensors, numbers)
        out = compute
        if result is Result.BOOL:
            out = dtypes.bool_
        elif result is Result.REAL:
            out = compute.to_real()
        return Meta(shape, out, strides, compute)

    return meta


def _alike(inputs: Sequence[Any]) -> bool:
    """Whether operands are tensors that look the same, with their elements in order, as they do most often."""
    first = inputs[0]
    if not isinstance(first, Tensor):
        return False
    d, shape, strides = first.dtype, first._shape, first._strides
    if strides != contiguous_strides(shape):
        return False
    for x in inputs[1:]:
        if not isinstance(x, Tensor) or x.dtype is not d or x._shape != shape or x._strides != strides:
            return False
    return True


@functools.cache
def accepting(
    kernel: str, result: Result = Result.SAME, low: int = dtypes.BOOL, high: int = dtypes.COMPLEX
) -> Callable[..., Meta]:
    """The elementwise rule of an op that takes dtypes of the categories from `low` to `high` only.

    Others are refused as PyTorch refuses them: NotImplementedError, with the name of its kernel.
    """
    rule = elementwise(result)

    def meta(*inputs: Any, **_: Any) -> Meta:
        given = promoted(inputs)
        if not low <= given.category <= high:
            raise not_implemented(kernel, given)
        return rule(*inputs)

    meta.elementwise = result  # type: ignore[attr-defined]
    return meta


def underivable(name: str) -> tuple[Callable[..., Any], ...]:
    """The derivative of an op of two operands that PyTorch lets into the graph, but refuses to go back through."""

    def vjp(_g: Tensor, _y: Any, *_x: Any) -> Any:
        raise RuntimeError(f"derivative for aten::{name} is not implemented")

    return vjp, vjp


def of_first(count: int, rule: Callable[..., Meta]) -> Callable[..., Meta]:
    """`rule` of the first `count` operands: what follows is a factor, which does not count for shape and dtype.

    A factor that may change from call to call (a learning rate) is an operand, so that another one is no other program.
    """

    def meta(*inputs: Any, **params: Any) -> Meta:
        return rule(*inputs[:count], **params)

    return meta


def broadcast_layout(tensors: Sequence[Tensor], with_numbers: bool = False) -> tuple[Ints, Ints]:
    """Shape and strides of an elementwise result."""
    if not tensors:
        return (), ()
    first = tensors[0]
    shape, strides = first._shape, first._strides
    if strides == contiguous_strides(shape) and not (with_numbers and 1 in shape):
        for t in tensors:
            if t._shape != shape or t._strides != strides:
                break
        else:  # as it is most often
            return shape, strides
    for t in tensors[1:]:
        if t._shape != shape:
            shape = broadcast_shapes(*[t._shape for t in tensors])
            break
    return shape, elementwise_strides(shape, [(t._shape, t._strides) for t in tensors], with_numbers)


def require_tensor(function: str, argument: str, position: int, value: Any) -> None:
    if not isinstance(value, Tensor):
        raise TypeError(
            f"{function}(): argument '{argument}' (position {position}) must be Tensor, not {type(value).__name__}"
        )


def require_operand(function: str, argument: str, position: int, value: Any) -> None:
    """A tensor or a number."""
    if not isinstance(value, (Tensor, bool, int, float, complex)) and not hasattr(value, "__array_priority__"):
        raise TypeError(
            f"{function}(): argument '{argument}' (position {position}) must be Tensor, not {type(value).__name__}"
        )
