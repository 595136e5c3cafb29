"""Complex tensors as pairs of real numbers, and back, without moving data."""

from __future__ import annotations

from typing import Any

import numpy as np

from flambeau import dtypes
from flambeau.engine.execute import Meta
from flambeau.ops.op import op, public
from flambeau.ops.samples import call
from flambeau.ops.views import reread, select, view_dtype
from flambeau.tensors import Tensor


def _meta_pairs(x: Tensor) -> Meta:
    return Meta((*x._shape, 2), x.dtype.to_real())


view_as_real_op = op(
    "view_as_real", ref=lambda x: np.stack([x.real, x.imag], -1), meta=_meta_pairs,
    vjp=lambda g, _y, _x: (view_as_complex_op(g),), samples=lambda t: [call(t(3, dtype=dtypes.complex128))],
)  # fmt: skip
view_as_complex_op = op(
    "view_as_complex", ref=lambda x: x[..., 0] + 1j * x[..., 1],
    meta=lambda x: Meta(x._shape[:-1], x.dtype.to_complex()), vjp=lambda g, _y, _x: (view_as_real_op(g),),
    samples=lambda t: [call(t(3, 2))],
)  # fmt: skip


@public("torch Tensor")
def view_as_real(input: Tensor) -> Tensor:
    """A complex tensor as pairs of real numbers in a new last dimension."""
    if not input.dtype.is_complex:
        raise RuntimeError("view_as_real is only supported for complex tensors")
    if input.requires_grad:
        return view_as_real_op(input)
    strides = (*[s * 2 for s in input._strides], 1)
    return reread(input, (*input._shape, 2), strides, input._offset * 2, input.dtype.to_real())


@public("torch Tensor")
def view_as_complex(input: Tensor) -> Tensor:
    """Pairs of real numbers in the last dimension as a complex tensor."""
    if not input.dtype.is_floating_point:
        raise RuntimeError(
            f"view_as_complex is only supported for floating point tensors, but got a tensor of {input.dtype}"
        )
    if not input._shape or input._shape[-1] != 2:
        raise RuntimeError("Tensor must have a last dimension of size 2")
    if input.requires_grad:
        return view_as_complex_op(input)
    return view_dtype(input, input.dtype.to_complex()).squeeze(-1)


def _part(index: int) -> Any:
    def part(input: Tensor) -> Tensor:
        if not input.dtype.is_complex:
            if index:
                raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")
            return input
        return select(view_as_real(input), -1, index)

    part.__doc__ = "The real part, as a view." if index == 0 else "The imaginary part, as a view."
    return part


real, imag = public("torch", name="real")(_part(0)), public("torch", name="imag")(_part(1))
