"""Tensors joined: cat, stack and their relatives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flambeau import dtypes
from flambeau.dtypes import dtype as DType
from flambeau.engine.execute import Meta
from flambeau.engine.schedule.lowering import Kernels
from flambeau.later import later
from flambeau.ops.op import op, public
from flambeau.ops.rules import promoted
from flambeau.ops.samples import call
from flambeau.ops.views import reshape, select_op, slice_op, unsqueeze
from flambeau.shape import Ints, channels_last_strides, is_channels_last, wrap_dim
from flambeau.tensors import Tensor, from_array

move_ops = later("flambeau.engine.kernel.move_ops")

# -- cat -------------------------------------------------------------------------------------------------------


def _is_legacy_empty(shape: Ints) -> bool:
    """An empty vector joins with anything, as in PyTorch's early days."""
    return shape == (0,)


def _joined_dtype(tensors: Sequence[Tensor]) -> DType:
    first = tensors[0].dtype
    return first if all(t.dtype is first for t in tensors) else promoted(tensors)


def _meta_cat(*tensors: Tensor, dim: int) -> Meta:
    whole = [t for t in tensors if not _is_legacy_empty(t._shape)] or list(tensors[:1])
    first = whole[0]._shape
    total = 0
    for position, t in enumerate(tensors):
        if _is_legacy_empty(t._shape) and len(first) != 1:
            continue
        if len(t._shape) != len(first):
            raise RuntimeError(f"Tensors must have same number of dimensions: got {len(first)} and {len(t._shape)}")
        for d, (n, want) in enumerate(zip(t._shape, first)):
            if d != dim and n != want:
                raise RuntimeError(
                    f"Sizes of tensors must match except in dimension {dim}. Expected size {want} but got size {n} for "
                    f"tensor number {position} in the list."
                )
        total += t._shape[dim]
    kind = _joined_dtype(tensors)
    shape = (*first[:dim], total, *first[dim + 1 :])
    strides = None
    if len(shape) == 4 and all(is_channels_last(t._shape, t._strides) for t in whole):
        strides = channels_last_strides(shape)
    return Meta(shape, kind, strides, kind)


def _cat(*arrays: np.ndarray, dim: int) -> np.ndarray:
    ndim = max(a.ndim for a in arrays)
    return np.concatenate([a for a in arrays if a.ndim == ndim], axis=dim)


def _cat_vjp(g: Tensor, _y: Any, *_tensors: Any, needs: tuple, dim: int) -> list:
    parts: list[Tensor | None] = []
    start = 0
    for like, needed in zip(_tensors, needs):
        skipped = like.shape == (0,) and g.ndim != 1
        length = 0 if skipped else like.shape[dim]
        if not needed:
            parts.append(None)
        elif skipped:
            parts.append(g.new_zeros((0,)))
        else:
            parts.append(slice_op(g, dim=dim, start=start, length=length, step=1))
        start += length
    return parts


cat_op = op(
    "cat", ref=_cat, meta=_meta_cat, vjp=_cat_vjp, lower=Kernels(move_ops.cat, apart=True),
    samples=lambda t: [call(t(2, 3), t(1, 3), dim=0), call(t(2, 3), t(2, 2), t(2, 1), dim=1),
                       call(t(2, 0), t(2, 3), dim=1), call(t(0), t(2, 3), dim=0)],
)  # fmt: skip


def check_sequence(name: str, tensors: Any, argument: str = "tensors") -> list[Tensor]:
    """The tensors of a list or tuple, or PyTorch's TypeError."""
    if isinstance(tensors, Tensor) or not isinstance(tensors, (list, tuple)):
        raise TypeError(
            f"{name}(): argument '{argument}' (position 1) must be tuple of Tensors, not {type(tensors).__name__}"
        )
    for i, t in enumerate(tensors):
        if not isinstance(t, Tensor):
            raise TypeError(f"expected Tensor as element {i} in argument 0, but got {type(t).__name__}")
    return list(tensors)


@public("torch", aliases=("concat", "concatenate"), out=True)
def cat(tensors: Sequence[Tensor], dim: int = 0, *, axis: int | None = None) -> Tensor:
    """Tensors joined along an existing dimension; all other sizes must agree, dtypes are promoted.

    >>> cat([tensor([1, 2]), tensor([3])])
    tensor([1, 2, 3])

    Raises:
        RuntimeError: sizes or numbers of dimensions differ.
        ValueError: the list is empty.
    """
    found = check_sequence("cat", tensors)
    if not found:
        raise ValueError("torch.cat(): expected a non-empty list of Tensors")
    for i, t in enumerate(found):
        if not t._shape:
            raise RuntimeError(f"zero-dimensional tensor (at position {i}) cannot be concatenated")
    ndim = max((t.ndim for t in found if not _is_legacy_empty(t._shape)), default=1)
    return cat_op(*found, dim=wrap_dim(dim if axis is None else axis, ndim))


# -- stack -----------------------------------------------------------------------------------------------------


def _meta_stack(*tensors: Tensor, dim: int) -> Meta:
    first = tensors[0]._shape
    for i, t in enumerate(tensors):
        if t._shape != first:
            raise RuntimeError(
                f"stack expects each tensor to be equal size, but got {list(first)} at entry 0 and {list(t._shape)} at "
                f"entry {i}"
            )
    d = _joined_dtype(tensors)
    return Meta((*first[:dim], len(tensors), *first[dim:]), d, None, d)


def _stack_vjp(g: Tensor, _y: Any, *_tensors: Any, needs: tuple, dim: int) -> list:
    return [select_op(g, dim=dim, index=i) if needed else None for i, needed in enumerate(needs)]


stack_op = op(
    "stack", ref=lambda *arrays, dim: np.stack(arrays, axis=dim), meta=_meta_stack, vjp=_stack_vjp,
    lower=Kernels(move_ops.stack, apart=True),
    samples=lambda t: [call(t(2, 3), t(2, 3), dim=0), call(t(2, 3), t(2, 3), t(2, 3), dim=2), call(t(), t(), dim=0)],
)  # fmt: skip


@public("torch", out=True)
def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors of one shape joined along a new dimension.

    >>> stack([tensor([1, 2]), tensor([3, 4])])
    tensor([[1, 2],
            [3, 4]])
    """
    found = check_sequence("stack", tensors)
    if not found:
        raise RuntimeError("stack expects a non-empty TensorList")
    return stack_op(*found, dim=wrap_dim(dim, found[0].ndim + 1))


# -- relatives -------------------------------------------------------------------------------------------------


def _at_least(n: int, name: str) -> Any:
    def one(x: Tensor) -> Tensor:
        if x.ndim >= n:
            return x
        if x.ndim == 0:
            return reshape(x, (1,) * n)
        if x.ndim == 1:
            return unsqueeze(x, 0) if n == 2 else unsqueeze(unsqueeze(x, 0), -1)
        return unsqueeze(x, -1)

    def function(*tensors: Any) -> Any:
        if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)):
            return tuple(one(t) for t in tensors[0])
        return one(tensors[0]) if len(tensors) == 1 else tuple(one(t) for t in tensors)

    function.__name__ = name
    function.__doc__ = f"Each tensor with at least {n} dimensions: a view with dimensions of size 1 added if need be."
    return public("torch", name=name)(function)


atleast_1d, atleast_2d, atleast_3d = _at_least(1, "atleast_1d"), _at_least(2, "atleast_2d"), _at_least(3, "atleast_3d")


def _require_some(name: str, tensors: Any) -> list[Tensor]:
    found = check_sequence(name, tensors)
    if not found:
        raise RuntimeError(f"{name} expects a non-empty TensorList")
    return found


@public("torch", out=True)
def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors joined horizontally: vectors along dimension 0, all others along dimension 1."""
    found = list(atleast_1d(_require_some("hstack", tensors)))
    return cat(found, 0 if found[0].ndim == 1 else 1)


@public("torch", aliases=("row_stack",), out=True)
def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors joined vertically, vectors as rows."""
    return cat(list(atleast_2d(_require_some("vstack", tensors))), 0)


@public("torch", out=True)
def dstack(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors joined along the third dimension."""
    return cat(list(atleast_3d(_require_some("dstack", tensors))), 2)


@public("torch", out=True)
def column_stack(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors joined as columns: scalars and vectors become columns first."""
    found = _require_some("column_stack", tensors)
    return hstack([reshape(t, (t.numel(), 1)) if t.ndim <= 1 else t for t in found])


@public("torch")
def block_diag(*tensors: Tensor) -> Tensor:
    """A matrix with the given matrices on its diagonal (vectors count as rows) and zeros elsewhere."""
    for i, t in enumerate(tensors):
        if t.ndim > 2:
            raise RuntimeError(
                f"torch.block_diag: Input tensors must have 2 or fewer dimensions. Input {i} has {t.ndim} dimensions"
            )
    if not tensors:
        return from_array(np.zeros((1, 0), dtypes.get_default_dtype().np))
    blocks = [t if t.ndim == 2 else reshape(t, (1, t.numel())) for t in tensors]
    width = sum(b._shape[1] for b in blocks)
    d = _joined_dtype(blocks)
    rows, left = [], 0
    for b in blocks:
        n, m = b._shape
        row = [b.new_zeros((n, left), dtype=d), b, b.new_zeros((n, width - left - m), dtype=d)]
        rows.append(cat(row, 1))
        left += m
    return cat(rows, 0)
