"""Views: ops that re-read the memory of their input in another shape.

A view's `layout` maps (shape, strides, offset) to the new ones; no data moves. The derivative of a view that drops
elements is `embed`, which puts the gradient back where the elements were.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from flambeau.dtypes import dtype as DType
from flambeau.engine.execute import Meta
from flambeau.engine.schedule.lowering import Kernels
from flambeau.later import later
from flambeau.ops.apply import apply_view, one_view
from flambeau.ops.copies import clone
from flambeau.ops.op import Layout, Op, op, public, view
from flambeau.ops.rules import require_tensor
from flambeau.ops.samples import call
from flambeau.shape import (
    Ints,
    contiguous_strides,
    expand_strides,
    extent,
    infer_shape,
    shape_args,
    view_strides,
    wrap_dim,
)
from flambeau.tensors import Tensor, make

move_ops = later("flambeau.engine.kernel.move_ops")

cached = lru_cache(8192)  # for what follows from shapes and strides alone

# -- putting gradients back ------------------------------------------------------------------------------------


def _embed(g: np.ndarray, shape: Ints, of: Op, params: dict) -> np.ndarray:
    out = np.zeros(shape, g.dtype)
    if g.size == 0:
        return out  # an empty view may start behind the last element, where NumPy allows no window
    to_shape, strides, offset = of.layout(shape, contiguous_strides(shape), 0, **params)
    size = g.itemsize
    window = np.ndarray(to_shape, g.dtype, out, offset * size, tuple([s * size for s in strides]))
    if of.name in _OVERLAPPING:
        at = np.ndarray(to_shape, np.intp, np.arange(out.size), offset * 8, tuple([s * 8 for s in strides]))
        np.add.at(out.reshape(-1), at, g)
    else:
        window[...] = g
    return out


_OVERLAPPING = ("as_strided", "unfold")

embed_op = op(
    "embed", ref=_embed, meta=lambda g, shape, of, params: Meta(tuple(shape), g.dtype),
    vjp=lambda g, _y, _g, shape, of, params: (of(g, **params),), lower=Kernels(move_ops.embed),
)  # fmt: skip


def _embedding(of: str) -> Any:
    def vjp(g: Tensor, _y: Any, _x: Any, **params: Any) -> tuple:
        return (embed_op(g, shape=_x.shape, of=_VIEWS[of], params=params),)

    return vjp


_VIEWS: dict[str, Op] = {}


def dropping(name: str, layout: Any, **fields: Any) -> Op:
    """A view that shows only some elements of its input."""
    _VIEWS[name] = view(name, layout, _embedding(name), **fields)
    return _VIEWS[name]


# -- one dimension at a time -----------------------------------------------------------------------------------


@cached
def select_layout(shape: Ints, strides: Ints, offset: int, dim: int, index: int) -> Layout:
    return shape[:dim] + shape[dim + 1 :], strides[:dim] + strides[dim + 1 :], offset + index * strides[dim]


@cached
def slice_layout(shape: Ints, strides: Ints, offset: int, dim: int, start: int, length: int, step: int) -> Layout:
    return (
        (*shape[:dim], length, *shape[dim + 1 :]),
        (*strides[:dim], strides[dim] * step, *strides[dim + 1 :]),
        offset + start * strides[dim],
    )


select_op = dropping("select", select_layout, samples=lambda t: [call(t(3, 4), dim=1, index=2)])
slice_op = dropping("slice", slice_layout, samples=lambda t: [call(t(5, 4), dim=0, start=1, length=2, step=2)])


@public("torch Tensor")
def select(input: Tensor, dim: int, index: int) -> Tensor:
    """The slice of `input` at `index` of `dim`, as a view without that dimension."""
    if not input._shape:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    dim = wrap_dim(dim, input.ndim)
    n = input._shape[dim]
    if not -n <= index < n:
        raise IndexError(
            f"select(): index {index} out of range for tensor of size {list(input._shape)} at dimension {dim}"
        )
    return select_op(input, dim=dim, index=index % n)


def slice_dim(input: Tensor, dim: int, start: int | None, stop: int | None, step: int | None = None) -> Tensor:
    """Python's `start:stop:step` of one dimension, as a view."""
    if step is not None and step <= 0:
        raise ValueError("step must be greater than zero")
    start, stop, step = slice(start, stop, step).indices(input._shape[dim])
    return slice_op(input, dim=dim, start=start, length=max(0, -(-(stop - start) // step)), step=step)


@public("torch Tensor")
def narrow(input: Tensor, dim: int, start: Any, length: int) -> Tensor:
    """`length` elements of `dim` from `start` on, as a view."""
    if not input._shape:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    dim, start = wrap_dim(dim, input.ndim), int(start)
    n = input._shape[dim]
    if length < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    if not -n <= start <= n:
        raise IndexError(f"start out of range (expected to be in range of [{-n}, {n}], but got {start})")
    start = start + n if start < 0 else start
    if start + length > n:
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({n}).")
    return slice_op(input, dim=dim, start=start, length=length, step=1)


# -- order of dimensions ---------------------------------------------------------------------------------------


@cached
def _permute_layout(shape: Ints, strides: Ints, offset: int, dims: Ints) -> Layout:
    return tuple([shape[d] for d in dims]), tuple([strides[d] for d in dims]), offset


def _inverse(dims: Ints) -> Ints:
    back = [0] * len(dims)
    for to, from_ in enumerate(dims):
        back[from_] = to
    return tuple(back)


permute_op = view(
    "permute", _permute_layout, lambda g, _y, _x, dims: (permute_op(g, dims=_inverse(dims)),),
    samples=lambda t: [call(t(2, 3, 4), dims=(2, 0, 1))],
)  # fmt: skip
transpose_op = view(
    "transpose", _permute_layout, lambda g, _y, _x, dims: (transpose_op(g, dims=dims),),
    samples=lambda t: [call(t(2, 3, 4), dims=(0, 2, 1))],
)  # fmt: skip
t_op = view("t", _permute_layout, lambda g, _y, _x, dims: (t_op(g, dims=dims),), backward_name="TBackward0",
            samples=lambda t: [call(t(2, 3), dims=(1, 0)), call(t(3), dims=(0,))])  # fmt: skip


@public("torch Tensor", aliases=("swapaxes", "swapdims"))
@one_view
def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """`input` with two dimensions swapped, as a view."""
    require_tensor("transpose", "input", 1, input)
    return transpose_op(input, dims=_swapped(len(input._shape), dim0, dim1))


@lru_cache(1024, typed=True)
def _swapped(ndim: int, dim0: int, dim1: int) -> Ints:
    dim0, dim1 = wrap_dim(dim0, ndim), wrap_dim(dim1, ndim)
    dims = list(range(ndim))
    if dims:
        dims[dim0], dims[dim1] = dims[dim1], dims[dim0]
    return tuple(dims)


def permute(input: Tensor, dims: Sequence[int]) -> Tensor:
    """`input` with its dimensions in the order `dims`, as a view."""
    if len(dims) != len(input._shape):
        raise RuntimeError(
            "permute(sparse_coo): number of dimensions in the tensor input does not match the length of the desired "
            f"ordering of dimensions i.e. input.dim() = {input.ndim} is not equal to len(dims) = {len(dims)}"
        )
    return permute_op(input, dims=_order(shape_args((tuple(dims),))))


@cached
def _order(dims: Ints) -> Ints:
    wrapped = tuple([wrap_dim(d, len(dims)) for d in dims])
    if len(set(wrapped)) != len(wrapped):
        raise RuntimeError("permute(): duplicate dims are not allowed.")
    return wrapped


public("torch")(permute)


@public("Tensor", name="permute")
@one_view
def _permute_method(self: Tensor, *dims: Any) -> Tensor:
    return permute(self, shape_args(dims))


@public("torch Tensor")
@one_view
def t(input: Tensor) -> Tensor:
    """The transpose of a matrix; vectors and scalars as they are."""
    if input.ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {input.ndim}D")
    return t_op(input, dims=(1, 0)) if input.ndim == 2 else t_op(input, dims=tuple(range(input.ndim)))


@public("torch Tensor", aliases=("moveaxis",))
def movedim(input: Tensor, source: Any, destination: Any) -> Tensor:
    """Dimensions moved to new places, the others keeping their order."""
    source = [source] if isinstance(source, int) else list(source)
    destination = [destination] if isinstance(destination, int) else list(destination)
    if len(source) != len(destination):
        raise RuntimeError(
            f"movedim: Invalid source or destination dims: source ({source} dims) should contain the same number of "
            f"dims as destination ({destination} dims)"
        )
    ndim = input.ndim
    from_, to = [wrap_dim(d, ndim) for d in source], [wrap_dim(d, ndim) for d in destination]
    if len(set(from_)) != len(from_) or len(set(to)) != len(to):
        raise RuntimeError(f"movedim: repeated dim in `source` or `destination` ({source}, {destination})")
    rest = iter(d for d in range(ndim) if d not in from_)
    placed = dict(zip(to, from_))
    return permute_op(input, dims=tuple(placed[d] if d in placed else next(rest) for d in range(ndim)))


@public("torch Tensor")
def adjoint(input: Tensor) -> Tensor:
    """The conjugate transpose of the last two dimensions."""
    flipped = transpose(input, -2, -1)
    return flipped.conj() if input.dtype.is_complex else flipped


# -- shape -----------------------------------------------------------------------------------------------------


@cached
def _view_layout(shape: Ints, strides: Ints, offset: int, size: Ints) -> Layout:
    found = view_strides(shape, strides, size)
    if found is None:
        raise RuntimeError(
            "view size is not compatible with input tensor's size and stride (at least one dimension spans across two "
            "contiguous subspaces). Use .reshape(...) instead."
        )
    return tuple(size), found, offset


def _reshape_back(g: Tensor, _y: Any, _x: Any, **_: Any) -> tuple:
    return (reshape(g, _x.shape),)


view_op = view("view", _view_layout, _reshape_back, samples=lambda t: [call(t(2, 6), size=(3, 4))])
unsafe_view_op = view("unsafe_view", _view_layout, _reshape_back, backward_name="UnsafeViewBackward0")


@public("Tensor", name="view")
@one_view
def view_(self: Tensor, *shape: Any, dtype: Any = None) -> Tensor:
    """The same memory in another shape (or, given a dtype, reinterpreted); RuntimeError where that needs a copy."""
    if isinstance(dtype, DType) or (len(shape) == 1 and isinstance(shape[0], DType)):
        return view_dtype(self, dtype or shape[0])
    if not shape:
        raise TypeError("view() received an invalid combination of arguments - got (), but expected a size or dtype")
    return view_op(self, size=_inferred(shape_args(shape), self._shape))


@cached
def _inferred(wanted: Ints, shape: Ints) -> Ints:
    return infer_shape(wanted, prod(shape))


@cached
def _reshaped(shape: Ints, strides: Ints, wanted: Ints) -> tuple[Ints, bool]:
    """The shape that is meant, and whether a view can have it."""
    size = infer_shape(wanted, prod(shape))
    return size, view_strides(shape, strides, size) is not None


@public("torch")
def reshape(input: Tensor, shape: Sequence[int]) -> Tensor:
    """`input` in another shape: a view where its strides allow, else a copy."""
    return _reshape(input, shape_args((shape,)))


def _reshape(input: Tensor, shape: Ints) -> Tensor:
    size, viewable = _reshaped(input._shape, input._strides, shape)
    if viewable:
        return view_op(input, size=size)
    return unsafe_view_op(clone(input, memory_format="contiguous"), size=size)


@public("Tensor", name="reshape")
@one_view
def _reshape_method(self: Tensor, *shape: Any) -> Tensor:
    return _reshape(self, shape_args(shape))


@public("Tensor")
def view_as(self: Tensor, other: Tensor) -> Tensor:
    """`self.view(other.size())`."""
    return view_op(self, size=infer_shape(other._shape, self.numel()))


@public("Tensor")
def reshape_as(self: Tensor, other: Tensor) -> Tensor:
    """`self.reshape(other.size())`."""
    return reshape(self, other._shape)


@public("torch Tensor")
@one_view
def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Dimensions from `start_dim` to `end_dim` as one."""
    size = _flattened(input._shape, start_dim, end_dim)
    return input if size is None else _reshape(input, size)


@lru_cache(1024, typed=True)
def _flattened(shape: Ints, start_dim: int, end_dim: int) -> Ints | None:
    start, end = wrap_dim(start_dim, len(shape)), wrap_dim(end_dim, len(shape))
    if start > end:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if not shape:
        return (1,)
    return None if start == end else (*shape[:start], prod(shape[start : end + 1]), *shape[end + 1 :])


@public("torch Tensor")
def ravel(input: Tensor) -> Tensor:
    """All elements in one dimension."""
    return reshape(input, (-1,))


@public("torch Tensor")
def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """One dimension as several."""
    dim = wrap_dim(dim, input.ndim)
    sizes = tuple(sizes)
    try:
        inner = infer_shape(sizes, input._shape[dim])
    except RuntimeError:
        raise RuntimeError(
            f"unflatten: Provided sizes {list(sizes)} don't multiply up to the size of dim {dim} "
            f"({input._shape[dim]}) in the input tensor"
        ) from None
    return reshape(input, (*input._shape[:dim], *inner, *input._shape[dim + 1 :]))


@cached
def _squeeze_layout(shape: Ints, strides: Ints, offset: int, dims: Ints, form: int = 1) -> Layout:
    keep = [d for d in range(len(shape)) if d not in dims or shape[d] != 1]
    return tuple([shape[d] for d in keep]), tuple([strides[d] for d in keep]), offset


@cached
def _unsqueeze_layout(shape: Ints, strides: Ints, offset: int, dim: int) -> Layout:
    step = shape[dim] * strides[dim] if dim < len(shape) else 1
    return (*shape[:dim], 1, *shape[dim:]), (*strides[:dim], step, *strides[dim:]), offset


squeeze_op = view(
    "squeeze", _squeeze_layout, _reshape_back, samples=lambda t: [call(t(2, 1, 3), dims=(1,))],
    backward_name=lambda _, params: f"SqueezeBackward{params.get('form', 1)}",
)  # fmt: skip
unsqueeze_op = view("unsqueeze", _unsqueeze_layout, _reshape_back, samples=lambda t: [call(t(2, 3), dim=1)])


@public("torch Tensor")
@one_view
def squeeze(input: Tensor, dim: Any = None) -> Tensor:
    """Without the dimensions of size 1 (or only those of `dim`), as a view."""
    if dim is None:
        return squeeze_op(input, dims=tuple(range(input.ndim)), form=0)
    if isinstance(dim, (tuple, list)):
        return squeeze_op(input, dims=tuple(wrap_dim(d, input.ndim) for d in dim), form=2)
    return squeeze_op(input, dims=(wrap_dim(dim, input.ndim),))


@public("torch Tensor")
@one_view
def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """With a dimension of size 1 inserted at `dim`, as a view."""
    return unsqueeze_op(input, dim=wrap_dim(dim, input.ndim + 1))


# -- repeating -------------------------------------------------------------------------------------------------


@cached
def _expand_layout(shape: Ints, strides: Ints, offset: int, size: Ints) -> Layout:
    return size, expand_strides(shape, strides, size), offset


expand_op = view(
    "expand", _expand_layout, lambda g, _y, _x, size: (g.sum_to_size(_x.shape),),
    samples=lambda t: [call(t(3, 1), size=(2, 3, 4))],
)  # fmt: skip


def expand(self: Tensor, size: Sequence[int]) -> Tensor:
    """Dimensions of size 1 repeated (and new ones put in front) without copying; -1 keeps a size."""
    lead = len(size) - len(self._shape)
    if lead < 0:
        raise RuntimeError(
            f"expand({self.type()}{{{list(self._shape)}}}, size={list(size)}): the number of sizes provided "
            f"({len(size)}) must be greater or equal to the number of dimensions in the tensor ({self.ndim})"
        )
    return expand_op(self, size=_expanded(self._shape, shape_args((tuple(size),))))


@cached
def _expanded(shape: Ints, size: Ints) -> Ints:
    lead = len(size) - len(shape)
    full: list[int] = []
    for i, n in reversed([*enumerate(size)]):
        have = shape[i - lead] if i >= lead else None
        if n == -1:
            if have is None:
                raise RuntimeError(
                    f"The expanded size of the tensor (-1) isn't allowed in a leading, non-existing dimension {i}"
                )
            n = have
        elif have is not None and have != n and have != 1:
            raise RuntimeError(
                f"The expanded size of the tensor ({n}) must match the existing size ({have}) at non-singleton "
                f"dimension {i}.  Target sizes: {list(size)}.  Tensor sizes: {list(shape)}"
            )
        full.append(n)
    return tuple(reversed(full))


@public("Tensor", name="expand")
@one_view
def _expand_method(self: Tensor, *size: Any, implicit: bool = False) -> Tensor:
    return expand(self, shape_args(size))


@public("Tensor")
def expand_as(self: Tensor, other: Tensor) -> Tensor:
    """`self.expand(other.size())`."""
    return expand(self, other._shape)


@public("torch Tensor")
def broadcast_to(input: Tensor, size: Sequence[int]) -> Tensor:
    """`input` expanded to `size`."""
    return expand(input, tuple(size))


# -- windows and raw strides -----------------------------------------------------------------------------------


def _diagonal_layout(shape: Ints, strides: Ints, offset: int, k: int, dim1: int, dim2: int) -> Layout:
    rows, cols = shape[dim1], shape[dim2]
    length = max(0, min(rows, cols - k) if k >= 0 else min(rows + k, cols))
    if length:
        offset += k * strides[dim2] if k >= 0 else -k * strides[dim1]
    rest = [d for d in range(len(shape)) if d not in (dim1, dim2)]
    return (
        (*[shape[d] for d in rest], length),
        (*[strides[d] for d in rest], strides[dim1] + strides[dim2]),
        offset,
    )


diagonal_op = dropping("diagonal", _diagonal_layout, samples=lambda t: [call(t(3, 4), k=1, dim1=0, dim2=1)])


@public("torch Tensor")
def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The diagonal of two dimensions as the last dimension of a view."""
    dim1, dim2 = wrap_dim(dim1, input.ndim), wrap_dim(dim2, input.ndim)
    if dim1 == dim2:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    return diagonal_op(input, k=offset, dim1=dim1, dim2=dim2)


def _unfold_layout(shape: Ints, strides: Ints, offset: int, dim: int, size: int, step: int) -> Layout:
    if not shape:
        return (size,), (1,), offset
    count = (shape[dim] - size) // step + 1
    return (
        (*shape[:dim], count, *shape[dim + 1 :], size),
        (*strides[:dim], strides[dim] * step, *strides[dim + 1 :], strides[dim]),
        offset,
    )


unfold_op = dropping("unfold", _unfold_layout, samples=lambda t: [call(t(7, 2), dim=0, size=3, step=2)])


@public("Tensor")
def unfold(self: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """All windows of `size` elements along a dimension, every `step`, as the last dimension of a view."""
    dim = wrap_dim(dimension, self.ndim)
    n = self._shape[dim] if self._shape else 1
    if size > n:
        raise RuntimeError(f"maximum size for tensor at dimension {dim} is {n} but size is {size}")
    if step <= 0:
        raise RuntimeError(f"step is {step} but must be > 0")
    return unfold_op(self, dim=dim, size=size, step=step)


def _as_strided_layout(shape: Ints, strides: Ints, offset: int, size: Ints, stride: Ints, start: int | None) -> Layout:
    return size, stride, offset if start is None else start


as_strided_op = dropping(
    "as_strided", _as_strided_layout, samples=lambda t: [call(t(4, 3), size=(3, 2), stride=(2, 1), start=1)]
)


@public("torch Tensor")
def as_strided(input: Tensor, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None) -> Tensor:
    """A view of the storage with the given shape, strides and offset (in elements)."""
    size, stride = tuple(size), tuple(stride)
    if len(size) != len(stride):
        raise RuntimeError("mismatch in length of strides and shape")
    if any(s < 0 for s in stride):
        raise RuntimeError(f"as_strided: Negative strides are not supported at the moment, got strides: {list(stride)}")
    start = input._offset if storage_offset is None else storage_offset
    need = (start + extent(size, stride)) * input.dtype.itemsize
    if need > input._storage.nbytes:
        raise RuntimeError(
            f"setStorage: sizes {list(size)}, strides {list(stride)}, storage offset {start}, and itemsize "
            f"{input.dtype.itemsize} requiring a storage size of {need} are out of bounds for storage of size "
            f"{input._storage.nbytes}"
        )
    if not input.is_full_storage() and input.requires_grad:
        input = clone(input, memory_format="contiguous")
    return as_strided_op(input, size=size, stride=stride, start=storage_offset)


# -- other readings of the bytes, and the same one --------------------------------------------------------------


def reread(x: Tensor, shape: Ints, strides: Ints, offset: int, dtype: DType) -> Tensor:
    return make(x._storage, shape, strides, offset, dtype, x._version_counter)


def view_dtype(x: Tensor, dtype: DType) -> Tensor:
    """The same bytes as another dtype; the last dimension changes with the element size."""
    old, new = x.dtype.itemsize, dtype.itemsize
    if old == new:
        return reread(x, x._shape, x._strides, x._offset, dtype)
    if not x._shape:
        raise RuntimeError(f"self.dim() cannot be 0 to view {x.dtype} as {dtype} (different element sizes)")
    if x._strides[-1] != 1:
        raise RuntimeError(
            f"self.stride(-1) must be 1 to view {x.dtype} as {dtype} (different element sizes), but got "
            f"{x._strides[-1]}"
        )
    if new < old:
        times = old // new
        strides = (*[s * times for s in x._strides[:-1]], 1)
        return reread(x, (*x._shape[:-1], x._shape[-1] * times), strides, x._offset * times, dtype)
    times = new // old
    if x._shape[-1] % times or x._offset % times or any(s % times for s in x._strides[:-1]):
        raise RuntimeError(
            f"self.size(-1) must be divisible by {times} to view {x.dtype} as {dtype} (different element sizes), but "
            f"got {x._shape[-1]}"
        )
    strides = (*[s // times for s in x._strides[:-1]], 1)
    return reread(x, (*x._shape[:-1], x._shape[-1] // times), strides, x._offset // times, dtype)


alias_op = view("alias", lambda shape, strides, offset: (shape, strides, offset), lambda g, _y, _x: (g,))


def alias(x: Tensor) -> Tensor:
    """A view of everything."""
    return apply_view(alias_op, x, {})
