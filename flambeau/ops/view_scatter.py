"""Views written out of place: a copy of a tensor with another one in the place of a view of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flambeau.engine.execute import Meta
from flambeau.engine.schedule.lowering import Kernels
from flambeau.later import later
from flambeau.ops.op import Op, camel, op, public
from flambeau.ops.samples import call
from flambeau.ops.views import as_strided_op, diagonal_op, select_op, slice_op
from flambeau.shape import contiguous_strides, wrap_dim
from flambeau.tensors import Tensor

move_ops = later("flambeau.engine.kernel.move_ops")


def _written(x: np.ndarray, src: np.ndarray, of: Op, params: dict) -> np.ndarray:
    out = np.array(x, order="C")
    assert of.layout is not None
    shape, strides, offset = of.layout(out.shape, contiguous_strides(out.shape), 0, **params)
    size = out.itemsize
    np.ndarray(shape, out.dtype, out, offset * size, tuple([s * size for s in strides]))[...] = src
    return out


def _meta(x: Tensor, src: Tensor, of: Op, params: dict) -> Meta:
    assert of.layout is not None
    shape = of.layout(x._shape, x._strides, 0, **params)[0]
    if shape != src._shape:
        raise RuntimeError(
            f"expected src to have a size equal to the slice of self. src size = {list(src._shape)}, slice size = "
            f"{list(shape)}"
        )
    return Meta(x._shape, x.dtype, None, x.dtype)


view_scatter_op = op(
    "view_scatter", ref=_written, meta=_meta, lower=Kernels(move_ops.view_scatter),
    vjp=(lambda g, _y, _x, _s, of, params: view_scatter_op(g, g.new_zeros(_s.shape), of=of, params=params),
         lambda g, _y, _x, _s, of, params: of(g, **params)),
    backward_name=lambda _, params: camel(params["of"].name) + "ScatterBackward0",
    samples=lambda t: [call(t(3, 4), t(3), of=select_op, params={"dim": 1, "index": 2}),
                       call(t(5, 4), t(2, 4), of=slice_op, params={"dim": 0, "start": 1, "length": 2, "step": 2}),
                       call(t(3, 4), t(3), of=diagonal_op, params={"k": 1, "dim1": 0, "dim2": 1})],
)  # fmt: skip


@public("torch Tensor")
def select_scatter(input: Tensor, src: Tensor, dim: int, index: int) -> Tensor:
    """A copy of `input` with `src` in the place of `input.select(dim, index)`."""
    dim = wrap_dim(dim, input.ndim)
    n = input._shape[dim]
    if not -n <= index < n:
        raise IndexError(
            f"select(): index {index} out of range for tensor of size {list(input._shape)} at dimension {dim}"
        )
    return view_scatter_op(input, src, of=select_op, params={"dim": dim, "index": index % n})


@public("torch Tensor")
def slice_scatter(
    input: Tensor, src: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Tensor:
    """A copy of `input` with `src` in the place of the slice `start:end:step` of `dim`."""
    if step <= 0:
        raise RuntimeError("slice step must be positive")
    dim = wrap_dim(dim, input.ndim)
    first, stop, step = slice(start, end, step).indices(input._shape[dim])
    length = max(0, -(-(stop - first) // step))
    params: dict[str, Any] = {"dim": dim, "start": first, "length": length, "step": step}
    return view_scatter_op(input, src, of=slice_op, params=params)


@public("torch Tensor")
def diagonal_scatter(input: Tensor, src: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """A copy of `input` with `src` on a diagonal."""
    params = {"k": offset, "dim1": wrap_dim(dim1, input.ndim), "dim2": wrap_dim(dim2, input.ndim)}
    return view_scatter_op(input, src, of=diagonal_op, params=params)


@public("torch Tensor")
def as_strided_scatter(
    input: Tensor, src: Tensor, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None
) -> Tensor:
    """A copy of `input` with `src` in the place of `input.as_strided(size, stride, storage_offset)`."""
    params = {"size": tuple(size), "stride": tuple(stride), "start": storage_offset or 0}
    return view_scatter_op(input, src, of=as_strided_op, params=params)
