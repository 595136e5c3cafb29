"""Complex tensors as pairs of real numbers, and back, without moving data; and made of two real tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from flambeau import dtypes
from flambeau.engine.execute import Meta
from flambeau.engine.schedule.lowering import Kernels
from flambeau.later import later
from flambeau.ops.apply import type_name
from flambeau.ops.elementwise import conj
from flambeau.ops.op import op, public
from flambeau.ops.rules import elementwise, require_tensor
from flambeau.ops.samples import Call, Maker, call
from flambeau.ops.views import reread, select, view_dtype
from flambeau.tensors import Tensor

kernels = later("flambeau.engine.kernel.complex_views")


def _joined(real: np.ndarray, imag: np.ndarray) -> np.ndarray:
    """Not `real + 1j * imag`, which makes NaN of infinities."""
    made = np.empty(np.broadcast_shapes(real.shape, imag.shape), np.result_type(real.dtype, np.complex64))
    made.real, made.imag = real, imag
    return made


def _meta_pairs(x: Tensor) -> Meta:
    return Meta((*x._shape, 2), x.dtype.to_real())


view_as_real_op = op(
    "view_as_real", ref=lambda x: np.stack([x.real, x.imag], -1), meta=_meta_pairs,
    vjp=lambda g, _y, _x: (view_as_complex_op(g),), samples=lambda t: [call(t(3, dtype=dtypes.complex128))],
    lower=Kernels(kernels.as_real),
)  # fmt: skip
view_as_complex_op = op(
    "view_as_complex", ref=lambda x: _joined(x[..., 0], x[..., 1]), lower=Kernels(kernels.as_complex),
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

# -- made of parts ---------------------------------------------------------------------------------------------


def _meta_of_parts(first: Tensor, second: Tensor) -> Meta:
    kinds = type_name(first.dtype), type_name(second.dtype)
    for d in (first.dtype, second.dtype):
        if not d.is_floating_point:
            raise RuntimeError(
                f"Expected both inputs to be Half, Float or Double tensors but got {kinds[0]} and {kinds[1]}"
            )
    if first.dtype is not second.dtype:
        raise RuntimeError(
            f"Expected object of scalar type {kinds[0]} but got scalar type {kinds[1]} for second argument"
        )
    meta = elementwise()(first, second)
    return meta._replace(dtype=meta.dtype.to_complex())


def _pairs(t: Maker) -> list[Call]:
    sizes: Any = (((3,), (3,)), ((2, 1), (3,)), ((), (2,)), ((2, 0), (1,)))
    return [call(t(*a, low=0.3, high=2.0), t(*b)) for a, b in sizes]


complex_op = op(
    "complex", ref=_joined, meta=_meta_of_parts, samples=_pairs, lower=lambda k, a, b: k.complex(a, b),
    vjp=(lambda g, _y, _a, _b: real(g), lambda g, _y, _a, _b: imag(g)),
)  # fmt: skip
polar_op = op(
    "polar", ref=lambda size, angle: _joined(size * np.cos(angle), size * np.sin(angle)), meta=_meta_of_parts,
    samples=_pairs, lower=lambda k, size, angle: k.complex(size * k.cos(angle), size * k.sin(angle)),
    vjp=(
        lambda g, _y, _size, angle: real(conj(g) * complex_op(angle.cos(), angle.sin())),
        lambda g, y, _size, _angle: real(conj(g) * (y * 1j)),
    ),
)  # fmt: skip


@public("torch", name="complex", out=True)
def complex_(real: Tensor, imag: Tensor) -> Tensor:
    """A complex tensor from its parts, two float tensors of one dtype that broadcast.

    >>> complex_(tensor([1.0, 2.0]), tensor([3.0, 4.0]))
    tensor([1.+3.j, 2.+4.j])
    """
    require_tensor("complex", "real", 1, real)
    require_tensor("complex", "imag", 2, imag)
    return complex_op(real, imag)


@public("torch", out=True)
def polar(abs: Tensor, angle: Tensor) -> Tensor:
    """A complex tensor from absolute values and angles, two float tensors of one dtype that broadcast."""
    require_tensor("polar", "abs", 1, abs)
    require_tensor("polar", "angle", 2, angle)
    return polar_op(abs, angle)
