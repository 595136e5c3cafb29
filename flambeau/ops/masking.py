"""Choosing elements by a mask: `where`, `masked_fill`, `isin`."""

from __future__ import annotations

from typing import Any

import numpy as np

from flambeau import dtypes
from flambeau.engine.execute import Meta
from flambeau.ops.apply import type_name
from flambeau.ops.arguments import check_input, invalid
from flambeau.ops.op import op, public
from flambeau.ops.rules import broadcast_layout, promoted
from flambeau.ops.samples import Call, Maker, call
from flambeau.shape import broadcast_shapes
from flambeau.tensors import Tensor, from_array


def _where_meta(condition: Tensor, a: Any, b: Any) -> Meta:
    d = promoted((a, b))
    for value in (a, b):
        if d.category == dtypes.INTEGER and isinstance(value, int):
            limits = np.iinfo(d.np)
            if not limits.min - (not d.is_signed) * limits.max <= value <= limits.max:
                raise RuntimeError(f"value cannot be converted to type {_C_NAMES.get(d.name, d.name)} without overflow")
    shape, strides = broadcast_layout([x for x in (condition, a, b) if isinstance(x, Tensor)])
    return Meta(shape, d, strides)


_C_NAMES = {"int8": "int8_t", "uint8": "uint8_t", "int16": "int16_t", "int32": "int", "int64": "int64_t"}


def _where_samples(t: Maker) -> list[Call]:
    def mask(*shape: int) -> Tensor:
        return t(*shape, dtype=dtypes.bool_, low=0, high=2)

    return [
        call(mask(3), t(3), t(3)),
        call(mask(2, 1), t(1, 3), t()),
        call(mask(4), t(4), 2.0),
        call(mask(2, 0), t(1), t(2, 0)),
    ]


where_op = op(
    "where", ref=np.where, meta=_where_meta, samples=_where_samples,
    vjp=(
        None,
        lambda g, _y, condition, _a, _b: where_op(condition, g, 0),
        lambda g, _y, condition, _a, _b: where_op(condition, 0, g),
    ),
    lower=lambda k, condition, a, b: k.where(condition, k.cast(a), k.cast(b)),
)  # fmt: skip


def where(condition: Tensor, input: Any = None, other: Any = None) -> Any:
    """Elements of `input` where `condition` is true, of `other` elsewhere; all three broadcast together.

    With `condition` alone: the indices of its nonzero elements, a tuple of one tensor a dimension.

    >>> where(tensor([True, False]), tensor([1, 2]), 0)
    tensor([1, 0])
    """
    if not isinstance(condition, Tensor):
        raise TypeError(f"where(): argument 'condition' (position 1) must be Tensor, not {type(condition).__name__}")
    if input is None and other is None:
        return tuple(from_array(part.astype(np.int64)) for part in np.nonzero(np.atleast_1d(condition._array())))
    for value in (input, other):
        if not isinstance(value, (Tensor, bool, int, float, complex)):
            raise invalid("where", condition, input, other)
    if condition.dtype is not dtypes.bool_ and condition.dtype is not dtypes.uint8:
        raise RuntimeError(
            f"where expected condition to be a boolean tensor, but got a tensor with dtype {type_name(condition.dtype)}"
        )
    return where_op(condition, input, other)


public("torch", out=True)(where)


@public("Tensor", name="where")
def _where_method(self: Tensor, condition: Tensor, other: Any) -> Tensor:
    """Elements of this tensor where `condition` is true, of `other` elsewhere."""
    return where(condition, self, other)


# -- filling ---------------------------------------------------------------------------------------------------


def _masked_fill_meta(x: Tensor, mask: Tensor, value: Any) -> Meta:
    return Meta(broadcast_shapes(x._shape, mask._shape), x.dtype)


def _masked_fill(x: np.ndarray, mask: np.ndarray, value: Any) -> np.ndarray:
    return np.where(mask.astype(bool, copy=False), np.asarray(value).astype(x.dtype), x)


masked_fill_op = op(
    "masked_fill", ref=_masked_fill, meta=_masked_fill_meta,
    samples=lambda t: [
        call(t(2, 3), t(3, dtype=dtypes.bool_, low=0, high=2), 1.5),
        call(t(3), t(2, 1, dtype=dtypes.bool_, low=0, high=2), t()),
        call(t(2, 0), t(1, dtype=dtypes.bool_, low=0, high=2), 0),
    ],
    vjp=(
        lambda g, _y, _x, mask, _value: masked_fill_op(g, mask, 0),
        None,
        lambda g, _y, _x, mask, _value: where_op(mask, g, 0).sum(),
    ),
    lower=lambda k, x, mask, value: k.where(mask, k.cast(value), x),
    backward_name=lambda inputs, _: "MaskedFillBackward1" if isinstance(inputs[2], Tensor) else "MaskedFillBackward0",
)  # fmt: skip


@public("torch Tensor", inplace=True)
def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """`input` with `value` where `mask` is true; `mask` broadcasts with it."""
    check_input("masked_fill", input)
    if not isinstance(mask, Tensor):
        raise invalid("masked_fill", input, mask, value)
    if mask.dtype is not dtypes.bool_:
        spelled = {"float32": "float", "float64": "double", "int64": "long int", "int32": "int"}
        raise RuntimeError(
            "masked_fill_ only supports boolean masks, but got mask with dtype "
            f"{spelled.get(mask.dtype.name, mask.dtype.name)}"
        )
    if isinstance(value, Tensor):
        if value._shape:
            raise RuntimeError(
                "masked_fill_ only supports a 0-dimensional value tensor, but got tensor with "
                f"{value.ndim} dimension(s)."
            )
    elif not isinstance(value, (bool, int, float, complex, np.generic)):
        raise invalid("masked_fill", input, mask, value)
    return masked_fill_op(input, mask, value)


# -- membership ------------------------------------------------------------------------------------------------


@public("torch", out=True)
def isin(elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False) -> Tensor:
    """Whether each of `elements` is among `test_elements` (or, inverted, is not): a bool tensor.

    >>> isin(tensor([1, 2, 3]), tensor([2, 4]))
    tensor([False,  True, False])
    """
    if not isinstance(elements, Tensor) and not isinstance(test_elements, Tensor):
        raise invalid("isin", elements, test_elements)
    common = promoted((elements, test_elements))
    if common.category in (dtypes.BOOL, dtypes.COMPLEX):
        raise RuntimeError(f"Unsupported input type encountered for isin(): {type_name(common)}")
    a, b = (
        (x._array() if isinstance(x, Tensor) else np.asarray(x)).astype(common.np) for x in (elements, test_elements)
    )
    return from_array(np.isin(a, b, assume_unique=assume_unique, invert=invert))
