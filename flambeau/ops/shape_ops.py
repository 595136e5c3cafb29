"""Elements moved, repeated, padded or masked by their place: pad, repeat, roll, flip, tril, diag and their kin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flambeau import dtypes
from flambeau.engine.execute import Meta
from flambeau.engine.schedule.lowering import Composite, Kernels
from flambeau.later import later
from flambeau.ops.apply import type_name
from flambeau.ops.copies import clone
from flambeau.ops.gathering import index_select_op
from flambeau.ops.op import op, public
from flambeau.ops.rules import require_tensor
from flambeau.ops.samples import call
from flambeau.ops.views import as_strided, diagonal, diagonal_op, embed_op, expand, reshape, unsqueeze
from flambeau.shape import (
    Ints,
    channels_last_strides,
    is_channels_last,
    is_contiguous,
    preserved_strides,
    shape_args,
    wrap_dim,
    wrap_dims,
)
from flambeau.tensors import Tensor, from_array

move_ops = later("flambeau.engine.kernel.move_ops")

# -- padding ---------------------------------------------------------------------------------------------------


def _pairs(ndim: int, pad: Sequence[int]) -> list[tuple[int, int]]:
    """(before, after) of every dimension; `pad` lists them from the last dimension back."""
    pairs = [(0, 0)] * ndim
    for i in range(len(pad) // 2):
        pairs[ndim - 1 - i] = (pad[2 * i], pad[2 * i + 1])
    return pairs


def _pad(x: np.ndarray, pad: Ints, value: Any) -> np.ndarray:
    pairs = _pairs(x.ndim, pad)
    out = np.full([n + a + b for n, (a, b) in zip(x.shape, pairs)], np.asarray(value).astype(x.dtype), x.dtype)
    to = tuple(slice(max(a, 0), n + a + min(b, 0)) for n, (a, b) in zip(x.shape, pairs))
    from_ = tuple(slice(max(-a, 0), n - max(-b, 0)) for n, (a, b) in zip(x.shape, pairs))
    out[to] = x[from_]
    return out


def _meta_pad(x: Tensor, pad: Ints, value: Any) -> Meta:
    if len(pad) % 2:
        raise RuntimeError("Padding length must be divisible by 2")
    if len(pad) > 2 * x.ndim:
        raise RuntimeError(
            "Padding length should be less than or equal to two times the input dimension but got padding length "
            f"{len(pad)} and input of dimension {x.ndim}"
        )
    pairs = _pairs(x.ndim, pad)
    shape = tuple([n + a + b for n, (a, b) in zip(x._shape, pairs)])
    for d, n in enumerate(shape):
        if n < 0:
            raise RuntimeError(
                f"The input size {x._shape[d]}, plus negative padding {pairs[d][0]} and {pairs[d][1]} resulted in a "
                f"negative output size, which is invalid. Check dimension {d} of your input."
            )
    last = is_channels_last(x._shape, x._strides) and not is_contiguous(x._shape, x._strides)
    return Meta(shape, x.dtype, channels_last_strides(shape) if last else None)


constant_pad_op = op(
    "constant_pad_nd", ref=_pad, meta=_meta_pad, lower=Kernels(move_ops.constant_pad),
    vjp=lambda g, _y, _x, pad, value: (constant_pad_op(g, pad=tuple(-n for n in pad), value=0),),
    samples=lambda t: [call(t(2, 3), pad=(1, 2), value=0.5), call(t(2, 3, 4), pad=(1, 1, -1, 2), value=0),
                       call(t(4), pad=(-1, -1), value=0), call(t(2, 0), pad=(1, 0), value=1)],
)  # fmt: skip


@public("torch")
def constant_pad_nd(input: Tensor, pad: Sequence[int], value: Any = 0) -> Tensor:
    """`input` with a border of `value`; `pad` is (before, after) of the last dimension, then of the one before ...

    Negative numbers cut off.
    """
    return constant_pad_op(input, pad=tuple(pad), value=value)


# -- repeating -------------------------------------------------------------------------------------------------


def _meta_repeat(x: Tensor, repeats: Ints) -> Meta:
    lead = (1,) * (len(repeats) - x.ndim)
    return Meta(tuple([n * r for n, r in zip(lead + x._shape, repeats)]), x.dtype)


def _repeat_vjp(g: Tensor, _y: Any, _x: Any, repeats: Ints) -> tuple:
    lead = (1,) * (len(repeats) - _x.ndim)
    folded = reshape(g, tuple(k for n, r in zip(lead + _x.shape, repeats) for k in (r, n)))
    return (reshape(folded.sum(tuple(range(0, 2 * len(repeats), 2))), _x.shape),) if repeats else (g,)


repeat_op = op(
    "repeat", ref=lambda x, repeats: np.tile(x, repeats), meta=_meta_repeat, vjp=_repeat_vjp,
    lower=Kernels(move_ops.repeat),
    samples=lambda t: [call(t(2, 3), repeats=(2, 1, 3)), call(t(), repeats=(4,)), call(t(2, 3), repeats=(0, 2)),
                       call(t(), repeats=())],
)  # fmt: skip


@public("Tensor")
def repeat(self: Tensor, *repeats: Any) -> Tensor:
    """Copies of the tensor side by side, so many along each dimension (new dimensions in front)."""
    if not repeats:
        raise TypeError('repeat() missing 1 required positional arguments: "repeats"')
    times = shape_args(repeats)
    if len(times) < self.ndim:
        raise RuntimeError("Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor")
    if any(r < 0 for r in times):
        shape = [n * r for n, r in zip((1,) * (len(times) - self.ndim) + self._shape, times)]
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(shape)}: {shape}")
    return repeat_op(self, repeats=times)


def _tile(input: Tensor, dims: Ints) -> Tensor:
    return repeat_op(input, repeats=(1,) * (input.ndim - len(dims)) + dims)


@public("torch")
def tile(input: Tensor, dims: Sequence[int]) -> Tensor:
    """Copies of `input` side by side; missing leading counts are 1."""
    if not isinstance(dims, (tuple, list)):
        raise TypeError(f"tile(): argument 'dims' (position 2) must be tuple of ints, not {type(dims).__name__}")
    return _tile(input, tuple(dims))


@public("Tensor", name="tile")
def _tile_method(self: Tensor, *dims: Any) -> Tensor:
    return _tile(self, shape_args(dims))


def _spread_indices(repeats: Tensor) -> Tensor:
    counts = repeats._array()
    if counts.dtype.kind != "i":
        raise NotImplementedError(f"\"repeat_interleave_cpu\" not implemented for '{type_name(repeats.dtype)}'")
    if counts.size and counts.min() < 0:
        raise RuntimeError("repeats can not be negative")
    return from_array(np.repeat(np.arange(counts.size), counts.reshape(-1)))


@public("torch Tensor")
def repeat_interleave(
    input: Tensor, repeats: Any = None, dim: int | None = None, *, output_size: int | None = None
) -> Tensor:
    """Every element (or slice of `dim`) repeated in its place: so many times all, or each by its own count.

    >>> repeat_interleave(tensor([1, 2]), 2)
    tensor([1, 1, 2, 2])
    """
    if repeats is None:
        return _spread_indices(input)
    if dim is None:
        input, dim = reshape(input, (-1,)), 0
    dim = wrap_dim(dim, input.ndim)
    n = input._shape[dim] if input._shape else 1
    if not isinstance(repeats, Tensor):
        if repeats < 0:
            raise RuntimeError("Repeats must be non-negative")
        wide = unsqueeze(input, dim + 1)
        wide = expand(wide, (*wide._shape[: dim + 1], repeats, *wide._shape[dim + 2 :]))
        return reshape(clone(wide), (*input._shape[:dim], n * repeats, *input._shape[dim + 1 :]))
    if repeats.ndim > 1:
        raise RuntimeError("repeats must be 0-dim or 1-dim tensor")
    if repeats.numel() == 1:
        repeats = expand(reshape(repeats, (1,)), (n,))
    if repeats.numel() != n:
        raise RuntimeError(
            "repeats must have the same size as input along dim, but got repeats.size(0) = "
            f"{repeats.numel()} and input.size({dim}) = {n}"
        )
    return index_select_op(input, _spread_indices(repeats), dim=dim)


# -- moving ----------------------------------------------------------------------------------------------------


def _meta_kept(x: Tensor, **_: Any) -> Meta:
    return Meta(x._shape, x.dtype, preserved_strides(x._shape, x._strides))


def _meta_dense(x: Tensor, *_: Any, **__: Any) -> Meta:
    return Meta(x._shape, x.dtype)


def _roll(x: np.ndarray, shifts: Ints, dims: Ints) -> np.ndarray:
    return np.roll(x, shifts, dims) if dims else np.roll(x, shifts[0])


roll_op = op(
    "roll", ref=_roll, meta=_meta_dense, lower=Kernels(move_ops.roll),
    vjp=lambda g, _y, _x, shifts, dims: (roll_op(g, shifts=tuple(-s for s in shifts), dims=dims),),
    samples=lambda t: [call(t(2, 3), shifts=(1,), dims=()), call(t(2, 3), shifts=(1, -2), dims=(0, 1))],
)  # fmt: skip
flip_op = op(
    "flip", ref=lambda x, dims: np.flip(x, dims), meta=_meta_kept, lower=Kernels(move_ops.flip),
    vjp=lambda g, _y, _x, dims: (flip_op(g, dims=dims),),
    samples=lambda t: [call(t(2, 3), dims=(1,)), call(t(2, 3, 2), dims=(0, 2)), call(t(), dims=())],
)  # fmt: skip


@public("torch Tensor")
def roll(input: Tensor, shifts: int | Sequence[int], dims: int | Sequence[int] | None = None) -> Tensor:
    """Elements moved on by `shifts` along `dims`, those that fall off coming in again; flat without `dims`."""
    moves = (shifts,) if isinstance(shifts, int) else tuple(shifts)
    along = () if dims is None else (dims,) if isinstance(dims, int) else tuple(dims)
    if len(moves) != len(along) and (along or len(moves) != 1):
        raise RuntimeError(f"shifts and dimensions must align. shifts: {len(moves)}, dims:{len(along)}")
    return roll_op(input, shifts=moves, dims=tuple(wrap_dim(d, input.ndim) for d in along))


@public("torch")
def flip(input: Tensor, dims: int | Sequence[int]) -> Tensor:
    """`input` with the order of elements along `dims` reversed (a copy)."""
    require_tensor("flip", "input", 1, input)
    along = (dims,) if isinstance(dims, int) else tuple(dims)
    return flip_op(input, dims=wrap_dims(along, input.ndim) if along else ())


@public("Tensor", name="flip")
def _flip_method(self: Tensor, *dims: Any) -> Tensor:
    return flip(self, shape_args(dims))


@public("torch Tensor")
def fliplr(input: Tensor) -> Tensor:
    """Columns in reversed order."""
    if input.ndim < 2:
        raise RuntimeError("Input must be >= 2-d.")
    return flip(input, (1,))


@public("torch Tensor")
def flipud(input: Tensor) -> Tensor:
    """Rows in reversed order."""
    if input.ndim < 1:
        raise RuntimeError("Input must be >= 1-d.")
    return flip(input, (0,))


def _meta_rot90(x: Tensor, k: int, dims: Ints) -> Meta:
    shape, strides = list(x._shape), list(preserved_strides(x._shape, x._strides))
    if k % 2:
        a, b = dims
        shape[a], shape[b] = shape[b], shape[a]
        strides[a], strides[b] = strides[b], strides[a]
    return Meta(tuple(shape), x.dtype, tuple(strides))


rot90_op = op(
    "rot90", ref=lambda x, k, dims: np.rot90(x, k, dims), meta=_meta_rot90, lower=Kernels(move_ops.rot90),
    vjp=lambda g, _y, _x, k, dims: (rot90_op(g, k=-k % 4, dims=dims),),
    samples=lambda t: [call(t(2, 3), k=1, dims=(0, 1)), call(t(2, 3, 2), k=3, dims=(2, 0)),
                       call(t(2, 3), k=2, dims=(0, 1))],
)  # fmt: skip


@public("torch Tensor")
def rot90(input: Tensor, k: int = 1, dims: Sequence[int] = (0, 1)) -> Tensor:
    """A plane of `input` turned by 90 degrees `k` times, from the first of `dims` towards the second."""
    if len(dims) != 2:
        raise RuntimeError(f"expected total rotation dims == 2, but got dims = {len(dims)}")
    if input.ndim < 2:
        raise RuntimeError(f"expected total dims >= 2, but got total dims = {input.ndim}")
    a, b = (wrap_dim(d, input.ndim) for d in dims)
    if a == b:
        raise RuntimeError(f"expected rotation dims to be different, but got dim0 = {dims[0]} and dim1 = {dims[1]}")
    return rot90_op(input, k=k % 4, dims=(a, b))


# -- triangles and diagonals -----------------------------------------------------------------------------------

tril_op = op(
    "tril", ref=lambda x, diagonal: np.tril(x, diagonal), meta=_meta_dense, lower=Kernels(move_ops.triangle(True)),
    vjp=lambda g, _y, _x, diagonal: (tril_op(g, diagonal=diagonal),),
    samples=lambda t: [call(t(3, 4), diagonal=0), call(t(2, 3, 3), diagonal=-1)],
)  # fmt: skip
triu_op = op(
    "triu", ref=lambda x, diagonal: np.triu(x, diagonal), meta=_meta_dense, lower=Kernels(move_ops.triangle(False)),
    vjp=lambda g, _y, _x, diagonal: (triu_op(g, diagonal=diagonal),),
    samples=lambda t: [call(t(3, 4), diagonal=0), call(t(2, 3, 3), diagonal=1)],
)  # fmt: skip


@public("torch Tensor", inplace=True, out=True)
def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """The lower triangle of matrices, on and below `diagonal`; zeros elsewhere."""
    if input.ndim < 2:
        raise RuntimeError("tril: input tensor must have at least 2 dimensions")
    return tril_op(input, diagonal=diagonal)


@public("torch Tensor", inplace=True, out=True)
def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """The upper triangle of matrices, on and above `diagonal`; zeros elsewhere."""
    if input.ndim < 2:
        raise RuntimeError("triu: input tensor must have at least 2 dimensions")
    return triu_op(input, diagonal=diagonal)


def _diag_embed(x: np.ndarray, k: int, dim1: int, dim2: int) -> np.ndarray:
    n = x.shape[-1] + abs(k)
    out = np.zeros((*x.shape[:-1], n, n), x.dtype)
    at = np.arange(x.shape[-1])
    out[..., at + max(-k, 0), at + max(k, 0)] = x
    return np.moveaxis(out, (-2, -1), (dim1, dim2))


def _meta_diag_embed(x: Tensor, k: int, dim1: int, dim2: int) -> Meta:
    n = x._shape[-1] + abs(k)
    rest = iter(x._shape[:-1])
    return Meta(tuple([n if d in (dim1, dim2) else next(rest) for d in range(x.ndim + 1)]), x.dtype)


diag_embed_op = op(
    "diag_embed", ref=_diag_embed, meta=_meta_diag_embed, lower=Kernels(move_ops.diag_embed),
    vjp=lambda g, _y, _x, k, dim1, dim2: (diagonal_op(g, k=k, dim1=dim1, dim2=dim2),),
    samples=lambda t: [call(t(3), k=0, dim1=0, dim2=1), call(t(2, 3), k=1, dim1=0, dim2=2),
                       call(t(2, 3), k=-2, dim1=2, dim2=0)],
)  # fmt: skip


@public("torch Tensor")
def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Matrices in dimensions `dim1` and `dim2` whose diagonals are the last dimension of `input`."""
    a, b = wrap_dim(dim1, input.ndim + 1), wrap_dim(dim2, input.ndim + 1)
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    return diag_embed_op(input, k=offset, dim1=a, dim2=b)


@public("torch Tensor", out=True)
def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """A vector as a diagonal matrix, or the diagonal of a matrix (a copy)."""
    if input.ndim == 1:
        return diag_embed(input, diagonal)
    if input.ndim != 2:
        raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {input.ndim}D")
    return clone(diagonal_op(input, k=diagonal, dim1=0, dim2=1), memory_format="contiguous_format")


@public("torch Tensor")
def diagflat(input: Tensor, offset: int = 0) -> Tensor:
    """All elements on the diagonal of a matrix."""
    return diag_embed(reshape(input, (-1,)), offset)


@public("Tensor", name="fill_diagonal_")
def fill_diagonal_(self: Tensor, fill_value: Any, wrap: bool = False) -> Tensor:
    """One value on the main diagonal, in place; `wrap` starts again below a tall matrix's last row."""
    if self.ndim < 2:
        raise RuntimeError("dimensions must larger than 1")
    shape = self._shape
    if self.ndim > 2 and len(set(shape)) != 1:
        raise RuntimeError("all dimensions of input must be of equal length")
    step = sum(self._strides)
    as_strided(self, (min(shape),), (step,), self._offset).fill_(fill_value)
    if wrap and self.ndim == 2 and shape[0] > shape[1] + 1:
        rows, columns = shape
        for top in range(columns + 1, rows, columns + 1):
            start = self._offset + top * self._strides[0]
            as_strided(self, (min(rows - top, columns),), (step,), start).fill_(fill_value)
    return self


def _meta_trace(x: Tensor) -> Meta:
    if x.ndim != 2:
        raise RuntimeError(f"trace: expected a matrix, but got tensor with dim {x.ndim}")
    if x.dtype is dtypes.bool_:
        raise NotImplementedError("\"trace\" not implemented for 'Bool'")
    return Meta((), dtypes.int64 if x.dtype.category == dtypes.INTEGER else x.dtype)


def _trace_vjp(g: Tensor, _y: Any, _x: Any) -> tuple:
    params = {"k": 0, "dim1": 0, "dim2": 1}
    return (embed_op(expand(g, (min(_x.shape),)), shape=_x.shape, of=diagonal_op, params=params),)


def _lowered_trace(t: Any, x: Any) -> Any:
    diagonal = t.diagonal(x)
    return t.sum(t.cast(diagonal, dtypes.int64) if x.dtype.category == dtypes.INTEGER else diagonal, keepdim=False)


trace_op = op(
    "trace", ref=np.trace, meta=_meta_trace, vjp=_trace_vjp, lower=Composite(_lowered_trace),
    samples=lambda t: [call(t(3, 4)), call(t(2, 2))],
)  # fmt: skip


@public("torch Tensor")
def trace(input: Tensor) -> Tensor:
    """The sum of a matrix's diagonal."""
    return trace_op(input)


@public("linalg", name="diagonal")
def linalg_diagonal(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """The diagonals of matrices, as a view."""
    return diagonal(A, offset, dim1, dim2)
