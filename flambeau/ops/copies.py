"""Copies: new memory with the same elements, in another order of dimensions or another dtype."""

from __future__ import annotations

from typing import Any

import numpy as np

from flambeau import dtypes
from flambeau.dtypes import dtype as DType
from flambeau.engine.execute import Meta
from flambeau.engine.schedule.lowering import Kernels
from flambeau.later import later
from flambeau.ops.apply import wants_history
from flambeau.ops.op import op, public
from flambeau.ops.samples import call
from flambeau.shape import Ints, contiguous_strides, is_contiguous, preserved_strides
from flambeau.tensors import Tensor

move_ops = later("flambeau.engine.kernel.move_ops")


def memory_format_strides(x: Tensor, memory_format: Any) -> Ints | None:
    form = getattr(memory_format, "name", memory_format)
    if form in (None, "preserve_format"):
        return preserved_strides(x._shape, x._strides)
    if form in ("channels_last", "channels_last_3d"):
        from_shape = x._shape
        need = 4 if form == "channels_last" else 5
        if len(from_shape) != need:
            raise RuntimeError(f"required rank {need} tensor to use {form} format")
        order = [0, *range(2, need), 1]
        inner = contiguous_strides([from_shape[d] for d in order])
        return tuple(inner[order.index(d)] for d in range(need))
    return contiguous_strides(x._shape)


clone_op = op(
    "clone", ref=lambda x, strides: x.copy(), vjp=lambda g, _y, _x, strides: (g,),
    meta=lambda x, strides: Meta(x._shape, x.dtype, strides), samples=lambda t: [call(t(2, 3), strides=None)],
    lower=Kernels(move_ops.clone),
)  # fmt: skip


@public("torch Tensor")
def clone(input: Tensor, *, memory_format: Any = None) -> Tensor:
    """A copy with memory of its own, in the graph."""
    return clone_op(input, strides=memory_format_strides(input, memory_format))


@public("Tensor")
def contiguous(self: Tensor, memory_format: Any = "contiguous") -> Tensor:
    """The tensor itself if its memory is in order, else a copy that is."""
    if memory_format == "contiguous" and self._strides == contiguous_strides(self._shape):
        return self
    strides = memory_format_strides(self, memory_format)
    same = all(s == w or n == 1 for s, w, n in zip(self._strides, strides or (), self._shape))
    if same or (strides == contiguous_strides(self._shape) and is_contiguous(self._shape, self._strides)):
        return self
    return clone_op(self, strides=strides)


copy_op = op(
    "copy", ref=lambda _x, src: src.copy(), meta=lambda x, src: Meta(x._shape, x.dtype), backward_name="CopyBackwards",
    vjp=(lambda g, _y, _x, _src: g.new_zeros(g._shape), lambda g, _y, _x, _src: g),
    samples=lambda t: [call(t(2, 3), t(2, 3))], lower=Kernels(move_ops.clone),
)  # fmt: skip


def overwritten(x: Tensor, src: Tensor) -> Tensor:
    """What is to be written over all of `x`: in the graph a function of both, as `copy_` is in PyTorch."""
    return copy_op(x, src) if x._base is None and wants_history((x, src)) else src


cast_op = op(
    "to_copy", ref=lambda x, dtype, strides: _cast(x, dtype),
    meta=lambda x, dtype, strides: Meta(x._shape, dtype, strides),
    vjp=lambda g, _y, _x, dtype, strides: (g,), backward_name="ToCopyBackward0",
    samples=lambda t: [call(t(2, 3), dtype=dtypes.complex128, strides=None)],
    lower=lambda k, x, dtype, strides: k.cast(x, dtype),
)  # fmt: skip


def _cast(x: np.ndarray, to: DType) -> np.ndarray:
    if x.dtype.kind == "c" and to.category in (dtypes.INTEGER, dtypes.FLOAT):
        x = x.real
    if to.category == dtypes.INTEGER and x.dtype.kind == "f":
        return np.trunc(x).astype(np.int64).astype(to.np)
    return x.astype(to.np)


def cast(x: Tensor, dtype: DType, copy: bool = False, memory_format: Any = None) -> Tensor:
    """`x` as another dtype: itself if it has it already."""
    if x.dtype is dtype and not copy:
        return x
    return cast_op(x, dtype=dtype, strides=memory_format_strides(x, memory_format))
