"""Affine maps: `linear`, and `bilinear` of two inputs."""

from __future__ import annotations

from typing import Any

import numpy as np

from flambeau.engine.execute import Meta
from flambeau.engine.schedule.lowering import Kernels
from flambeau.later import later
from flambeau.ops.apply import c_name, type_name
from flambeau.ops.elementwise import conj
from flambeau.ops.nn.checks import tensor_shape
from flambeau.ops.op import op, public
from flambeau.ops.rules import require_tensor
from flambeau.ops.samples import call
from flambeau.tensors import Tensor

records = later("flambeau.engine.kernel.contract.records")


def _rows(x: Any) -> int:
    n = 1
    for size in x.shape[:-1]:
        n *= size
    return n


def _meta(x: Tensor, w: Tensor, b: Tensor | None) -> Meta:
    if x.dtype is not w.dtype:
        _refuse_types(x, w, b)
    if not x._shape:
        raise RuntimeError("both arguments to linear need to be at least 1D, but they are 0D and 2D")
    if x._shape[-1] != w._shape[-1]:
        across = w._shape[0] if w.ndim == 2 else 1
        raise RuntimeError(
            f"mat1 and mat2 shapes cannot be multiplied ({_rows(x)}x{x._shape[-1]} and {w._shape[-1]}x{across})"
        )
    shape = (*x._shape[:-1], *w._shape[:-1])
    if b is not None:
        if b.dtype is not x.dtype:
            raise RuntimeError(
                f"self and mat2 must have the same dtype, but got {type_name(b.dtype)} and {type_name(x.dtype)}"
            )
        if b.ndim > 1 or (b.ndim == 1 and b._shape[0] not in (1, shape[-1])):
            raise RuntimeError(
                f"The expanded size of the tensor ({shape[-1]}) must match the existing size ({b._shape[-1]}) at "
                f"non-singleton dimension 1.  Target sizes: [{_rows(x)}, {shape[-1]}].  Tensor sizes: {tensor_shape(b)}"
            )
    return Meta(shape, x.dtype)


def _refuse_types(x: Tensor, w: Tensor, b: Tensor | None) -> None:
    if b is None:
        raise RuntimeError(
            f"expected m1 and m2 to have the same dtype, but got: {c_name(x.dtype)} != {c_name(w.dtype)}"
        )
    raise RuntimeError(f"mat1 and mat2 must have the same dtype, but got {type_name(x.dtype)} and {type_name(w.dtype)}")


def _linear(x: np.ndarray, w: np.ndarray, b: np.ndarray | None) -> np.ndarray:
    y = np.matmul(x.reshape(_rows(x), x.shape[-1]), w.T)
    if b is not None:
        y += b
    return y.reshape((*x.shape[:-1], *w.shape[:-1]))


def _weight_gradient(g: Tensor, _y: Any, x: Tensor, _w: Any, _b: Any) -> Tensor:
    return weight_gradient_op(g, conj(x), vector=_w.ndim == 1)


def _outer_sum(g: np.ndarray, x: np.ndarray, vector: bool) -> np.ndarray:
    """The sum over rows of g[i] times x[j], as [i, j]; with one number of `g` a row, as [j]."""
    n = _rows(x)
    rows = x.reshape(n, x.shape[-1])
    return rows.T @ g.reshape(n) if vector else g.reshape(n, g.shape[-1]).T @ rows


def _outer_meta(g: Tensor, x: Tensor, vector: bool) -> Meta:
    return Meta((x._shape[-1],) if vector else (g._shape[-1], x._shape[-1]), x.dtype)


def _input_gradient(g: Tensor, _y: Any, _x: Any, w: Tensor, _b: Any) -> Tensor:
    return g.unsqueeze(-1) * conj(w) if w.ndim == 1 else g.matmul(conj(w))


def _bias_gradient(g: Tensor, _y: Any, _x: Any, _w: Any, _b: Any) -> Tensor:
    return g.sum(tuple(range(g.ndim - 1))) if g.ndim > 1 else g


def _node_name(inputs: Any, _params: Any) -> str:
    x, _w, b = inputs
    if x.ndim == 2:
        return "AddmmBackward0" if b is not None else "MmBackward0"
    if b is not None:
        return "ViewBackward0"
    return "UnsafeViewBackward0" if x.ndim > 2 else "SqueezeBackward4"


linear_op = op(
    "linear", ref=_linear, meta=_meta, vjp=(_input_gradient, _weight_gradient, _bias_gradient),
    backward_name=_node_name, narrows=True, lower=Kernels(records.linear, epilogue=True),
    samples=lambda t: [
        call(t(3, 4), t(2, 4), t(2)), call(t(4), t(2, 4), None), call(t(2, 3, 4), t(5, 4), t(5)),
        call(t(3, 4), t(4), None),
    ],
)  # fmt: skip


weight_gradient_op = op(
    "linear_weight_gradient", ref=_outer_sum, meta=_outer_meta, lower=Kernels(records.weight_gradient, epilogue=True),
    vjp=(
        lambda h, _y, _g, x, vector: linear_op(conj(x), h, None),
        lambda h, _y, g, _x, vector: _input_gradient(conj(g), None, None, h, None),
    ),
    samples=lambda t: [call(t(3, 2), t(3, 4), vector=False), call(t(2, 3), t(2, 3, 4), vector=True)],
)  # fmt: skip


@public("F", one_op=True)
def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`input @ weight.T + bias`: [..., in] with weight [out, in] and bias [out] gives [..., out].

    Raises:
        RuntimeError: shapes that do not go together, or different dtypes.

    >>> linear(ones(2, 3), ones(4, 3)).shape
    torch.Size([2, 4])
    """
    require_tensor("linear", "input", 1, input)
    require_tensor("linear", "weight", 2, weight)
    if bias is not None:
        require_tensor("linear", "bias", 3, bias)
    return linear_op(input, weight, bias)


@public("torch F")
def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`y[o] = input1 @ weight[o] @ input2 + bias[o]` over the last dimensions, weight [out, in1, in2]."""
    for position, (name, value) in enumerate((("input1", input1), ("input2", input2), ("weight", weight))):
        require_tensor("bilinear", name, position + 1, value)
    if input1._shape[:-1] != input2._shape[:-1]:
        raise RuntimeError(
            f"bilinear(): input batch dimensions do not match: got {tensor_shape(input1)} and {tensor_shape(input2)}"
        )
    if input1._shape[-1] != weight._shape[1] or input2._shape[-1] != weight._shape[2]:
        which = 1 if input1._shape[-1] != weight._shape[1] else 2
        have = (input1, input2)[which - 1]._shape[-1]
        raise RuntimeError(
            f"bilinear(): input{which} size does not match weight size: got {have} but expected {weight._shape[which]}"
        )
    outs, left, right = weight._shape
    rows = input1.reshape(-1, left)
    halves = rows.matmul(weight.permute(1, 0, 2).reshape(left, outs * right)).reshape(-1, outs, right)
    y = (halves * input2.reshape(-1, 1, right)).sum(-1).reshape(*input1._shape[:-1], outs)
    return y if bias is None else y + bias
