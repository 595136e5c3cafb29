"""Reading and writing at index tensors and masks. How `x[...]` comes down to this is in methods/indexing.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flambeau import dtypes
from flambeau.dtypes import dtype as DType
from flambeau.engine.execute import Meta
from flambeau.engine.schedule.lowering import Kernels
from flambeau.errors import warn_once
from flambeau.later import later
from flambeau.ops import hazards
from flambeau.ops.accumulate import add_at, checked, leading
from flambeau.ops.apply import in_place, type_name
from flambeau.ops.copies import cast
from flambeau.ops.op import names, op, public
from flambeau.ops.samples import call
from flambeau.ops.views import expand, reshape, unsqueeze
from flambeau.shape import Ints, contiguous_strides, elementwise_strides, expand_strides, is_contiguous, view_strides
from flambeau.tensors import Tensor, from_array

gather_ops = later("flambeau.engine.kernel.gather_ops")

Indices = Sequence[Tensor | None]

# -- index tensors, one a dimension ----------------------------------------------------------------------------


def nonzero_columns(mask: Tensor) -> list[Tensor]:
    """The places where `mask` is true, one index tensor a dimension."""
    return [from_array(np.ascontiguousarray(column)) for column in np.nonzero(mask._array())]


def by_dimension(x: Tensor, indices: Indices) -> list[Tensor | None]:
    """Index tensors as int64, one a dimension of `x` (None: all of it); masks become the places where they are true."""
    found: list[Tensor | None] = []
    for position, index in enumerate(indices):
        if index is None:
            found.append(None)
        elif index.dtype is dtypes.bool_ or index.dtype is dtypes.uint8:
            if index.dtype is dtypes.uint8:
                warn_once(
                    "indexing with dtype torch.uint8 is now deprecated, please use a dtype torch.bool instead.",
                    stacklevel=5,
                )
            at = len(found)
            if index._shape != x._shape[at : at + index.ndim]:
                _refuse_mask(x, index, at, position)
            found.extend(nonzero_columns(index))
        elif index.dtype is dtypes.int64 or index.dtype is dtypes.int32:
            found.append(cast(index, dtypes.int64))
        else:
            raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
    if len(found) > x.ndim:
        raise IndexError(f"too many indices for tensor of dimension {x.ndim}")
    return found


def _refuse_mask(x: Tensor, mask: Tensor, at: int, position: int) -> None:
    for d, n in enumerate(mask._shape):
        if at + d >= x.ndim:
            raise IndexError(f"too many indices for tensor of dimension {x.ndim}")
        if x._shape[at + d] != n:
            raise IndexError(
                f"The shape of the mask {list(mask._shape)} at index {d} does not match the shape of the indexed "
                f"tensor {list(x._shape)} at index {at + d}"
            )


def _spread(indices: Indices) -> Ints:
    """The shape that index tensors broadcast to."""
    used = [i._shape for i in indices if i is not None]
    try:
        return np.broadcast_shapes(*used)
    except ValueError:
        shown = ", ".join(str(list(s)) for s in used)
        raise IndexError(
            f"shape mismatch: indexing tensors could not be broadcast together with shapes {shown}"
        ) from None


def _result_layout(x: Any, indices: Indices) -> tuple[Ints, Ints]:
    """Shape of `x[indices]`, and the strides PyTorch gives it: in the order of the source, then of the indices."""
    spread = _spread(indices)
    front = leading(indices)
    rest = [d for d in range(x.ndim) if d >= len(indices) or indices[d] is None]
    if any(i is not None and x._shape[d] == 0 for d, i in enumerate(indices)) and 0 not in spread:
        raise IndexError("index is out of bounds for dimension with size 0")
    kept = [x._shape[d] for d in rest]
    shape = (*kept[:front], *spread, *kept[front:])
    used = [i for i in indices if i is not None]
    if x._strides == contiguous_strides(x._shape) and all(is_contiguous(i._shape, i._strides) for i in used):
        return shape, contiguous_strides(shape)
    steps = [x._strides[d] for d in rest]
    operands = [(*steps[:front], *[0] * len(spread), *steps[front:])]
    after = len(shape) - front - len(spread)
    for i in used:
        own = expand_strides(i._shape, i._strides, spread)
        among = view_strides(spread, own, (*[1] * front, *spread, *[1] * after)) or contiguous_strides(shape)
        inside = range(front, front + len(spread))
        operands.append(tuple([s if d in inside or shape[d] == 1 else 0 for d, s in enumerate(among)]))
    return shape, elementwise_strides(shape, [(shape, s) for s in operands])


def _arrays(x: np.ndarray, indices: Sequence[np.ndarray | None]) -> list[np.ndarray | None]:
    return [None if i is None else checked(i, x.shape[d], d) for d, i in enumerate(indices)]


def _key(indices: Sequence[np.ndarray | None]) -> tuple:
    return tuple([slice(None) if i is None else i for i in indices])


# -- reading and writing ---------------------------------------------------------------------------------------


def _index(x: np.ndarray, *indices: np.ndarray | None) -> np.ndarray:
    found = _arrays(x, indices)
    used = [d for d, i in enumerate(found) if i is not None]
    if len(used) == 1:
        return np.asarray(x.take(found[used[0]], axis=used[0]))
    return x[_key(found)]


def _meta_index(x: Tensor, *indices: Tensor | None) -> Meta:
    shape, strides = _result_layout(x, indices)
    return Meta(shape, x.dtype, strides)


def _index_vjp(g: Tensor, _y: Any, _x: Any, *indices: Tensor | None) -> tuple:
    return (index_put_op(g.new_zeros(_x.shape), g, *indices, accumulate=True),)


def _index_put(x: np.ndarray, values: np.ndarray, *indices: np.ndarray | None, accumulate: bool) -> np.ndarray:
    found = _arrays(x, indices)
    used = np.broadcast_arrays(*[i for i in found if i is not None])
    spread = iter(used)
    found = [None if i is None else next(spread) for i in found]
    out = x.copy()
    if not accumulate:
        out[_key(found)] = values
        return out
    rest = [x.shape[d] for d in range(x.ndim) if d >= len(found) or found[d] is None]
    front = leading(found)
    return add_at(out, found, np.broadcast_to(values, (*rest[:front], *used[0].shape, *rest[front:])))


def _meta_index_put(x: Tensor, values: Tensor, *indices: Tensor | None, accumulate: bool) -> Meta:
    if x.dtype is not values.dtype:
        raise RuntimeError(
            f"Index put requires the source and destination dtypes match, got {type_name(x.dtype)} for the destination "
            f"and {type_name(values.dtype)} for the source."
        )
    shape, _ = _result_layout(x, indices)
    lead = len(shape) - values.ndim
    if lead < 0 or any(n not in (1, want) for n, want in zip(values._shape, shape[lead:])):
        raise RuntimeError(
            f"shape mismatch: value tensor of shape {list(values._shape)} cannot be broadcast to indexing result of "
            f"shape {list(shape)}"
        )
    return Meta(x._shape, x.dtype)


def _samples_index(t: Any) -> Any:
    def at(high: int, *shape: int) -> Tensor:
        return t(*shape, dtype=dtypes.int64, low=0, high=high)

    yield call(t(5, 3), at(5, 4))
    yield call(t(4, 3, 2), None, at(3, 2, 2))
    yield call(t(4, 3, 2), at(4, 3), at(3, 1))
    yield call(t(4, 3, 2), at(4, 3), None, at(2, 3))
    yield call(t(2, 4, 3), None, at(4, 0))


def _samples_index_put(t: Any) -> Any:
    def at(high: int, *shape: int) -> Tensor:
        return t(*shape, dtype=dtypes.int64, low=0, high=high)

    fixed = from_array(np.array([3, 0]))
    yield call(t(5, 3), t(2, 3), fixed, accumulate=False)
    yield call(t(5, 3), t(4, 3), at(5, 4), accumulate=True)
    yield call(t(4, 3, 2), t(4, 5), None, at(3, 5), at(2, 5), accumulate=True)
    yield call(t(4, 3, 2), t(2), at(4, 3), at(3, 1), accumulate=True)
    yield call(t(4, 3, 2), t(3, 3), at(4, 3), None, at(2, 3), accumulate=True)


index_op = op(
    "index", hazard=hazards.indices(1), picks=True, ref=_index, meta=_meta_index, vjp=_index_vjp,
    samples=_samples_index, lower=Kernels(gather_ops.index),
)  # fmt: skip
index_put_op = op(
    "index_put", hazard=hazards.indices(2), ref=_index_put, meta=_meta_index_put, samples=_samples_index_put,
    lower=Kernels(gather_ops.index_put),
    vjp=(
        lambda g, _y, _x, _v, *indices, accumulate: g if accumulate else index_put_op(
            g, g.new_zeros(()), *indices, accumulate=False),
        lambda g, _y, _x, _v, *indices, accumulate: index_op(g, *indices),
    ),
)  # fmt: skip
# The same under the names that PyTorch's graph shows.
masked_select_op = op(
    "masked_select", ref=_index, meta=_meta_index, vjp=_index_vjp, samples=_samples_index,
    lower=Kernels(gather_ops.index),
)  # fmt: skip
masked_scatter_op = op(
    "masked_scatter", ref=_index_put, meta=_meta_index_put, vjp=index_put_op.vjp, samples=_samples_index_put,
    lower=Kernels(gather_ops.index_put),
)  # fmt: skip
# Writing one value under a mask: `x[mask] = value` without listing the places.
mask_put_op = op(
    "mask_put", ref=lambda x, mask, value: np.where(mask, value, x), backward_name="IndexPutBackward0",
    lower=lambda k, x, mask, value: k.where(mask, value, x),
    meta=lambda x, mask, value: Meta(x._shape, x.dtype),
    vjp=(lambda g, _y, _x, mask, _v: mask_put_op(g, mask, g.new_zeros(())), None,
         lambda g, _y, _x, mask, _v: mask_put_op(g, ~mask, g.new_zeros(()))),
    samples=lambda t: [call(t(3, 4), t(3, 4) > 0, t()), call(t(3, 4), t(3, 1) > 0, t())],
)  # fmt: skip


def index(x: Tensor, indices: Indices) -> Tensor:
    """`x` at index tensors and masks, one a dimension; None takes a dimension whole."""
    found = by_dimension(x, indices)
    return index_op(x, *found)


def is_mask(i: Tensor | None) -> bool:
    return i is not None and (i.dtype is dtypes.bool_ or i.dtype is dtypes.uint8)


@public("torch Tensor", inplace=True)
def index_put(input: Tensor, indices: Indices, values: Tensor, accumulate: bool = False) -> Tensor:
    """A copy of `input` with `values` written (or added, repeats included) at the places `indices` name."""
    if len(indices) == 1 and is_mask(indices[0]) and values.numel() == 1 and not accumulate:
        return _mask_put(input, indices[0], values)  # type: ignore[arg-type]
    return index_put_op(input, values, *by_dimension(input, indices), accumulate=accumulate)


def _mask_put(input: Tensor, mask: Tensor, value: Tensor) -> Tensor:
    if mask._shape != input._shape[: mask.ndim]:
        _refuse_mask(input, mask, 0, 0)
    mask = cast(reshape(mask, (*mask._shape, *[1] * (input.ndim - mask.ndim))), dtypes.bool_)
    return mask_put_op(input, mask, cast(reshape(value, ()), input.dtype))


names["Tensor"]["_index_put_impl_"] = in_place(index_put, "_index_put_impl_")

# -- where the nonzero elements are ----------------------------------------------------------------------------


@public("torch Tensor", out=True)
def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """Indices of the nonzero elements: a row each (n, dims), or a tuple of one index tensor a dimension.

    >>> nonzero(tensor([0, 3, 4]))
    tensor([[1],
            [2]])
    """
    array = input._array()
    if as_tuple:
        return tuple(nonzero_columns(input if array.ndim else reshape(input.detach(), (1,))))
    if not array.ndim:
        return from_array(np.empty((int(bool(array)), 0), np.int64))
    return from_array(np.stack(np.nonzero(array)).T)


@public("torch Tensor")
def argwhere(input: Tensor) -> Tensor:
    """Indices of the nonzero elements, a row each."""
    return nonzero(input)


@public("torch Tensor")
def nonzero_static(input: Tensor, *, size: int, fill_value: int = -1) -> Tensor:
    """The first `size` rows of `nonzero`, filled up with `fill_value`: a shape that does not depend on the data."""
    found = nonzero(input)._array()[:size]
    rows = np.full((size, found.shape[1]), fill_value, np.int64)
    rows[: len(found)] = found
    return from_array(rows)


@public("torch")
def unravel_index(indices: Tensor, shape: int | Sequence[int]) -> tuple[Tensor, ...]:
    """Flat indices as one index tensor for each dimension of `shape`.

    >>> unravel_index(tensor([5, 7]), (3, 4))
    (tensor([1, 1]), tensor([1, 3]))
    """
    if indices.dtype.category > dtypes.INTEGER or indices.dtype is dtypes.bool_:
        raise TypeError(f"expected 'indices' to be integer dtype, but got {indices.dtype}")
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    left, places = indices._array(), []
    for n in reversed(sizes):
        places.append(from_array(np.asarray(left % n)))
        left = left // n
    return tuple(reversed(places))


@public("torch Tensor", out=True)
def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The elements where `mask` is true, in one dimension; both broadcast together."""
    if mask.dtype is not dtypes.bool_:
        raise RuntimeError("masked_select: expected BoolTensor for mask")
    shape = np.broadcast_shapes(input._shape, mask._shape)
    input, mask = (unsqueeze(t, 0) if not shape else expand(t, shape) for t in (input, mask))
    return masked_select_op(input, *nonzero_columns(mask))


@public("torch Tensor", inplace=True)
def masked_scatter(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """A copy of `input` whose elements under `mask` are those of `source`, in order."""
    if input.dtype is not source.dtype:
        raise RuntimeError(
            f"masked_scatter: expected self and source to have same dtypes but got{type_name(input.dtype)} and "
            f"{type_name(source.dtype)}"
        )
    if mask.dtype is not dtypes.bool_:
        raise RuntimeError(f"masked_scatter_ only supports boolean masks, but got mask with dtype {_lower(mask.dtype)}")
    shape = np.broadcast_shapes(input._shape, mask._shape)
    input, mask = expand(input, shape), expand(mask, shape)
    columns = nonzero_columns(mask if shape else unsqueeze(mask, 0))
    count = columns[0].numel()
    if count > source.numel():
        raise RuntimeError("Number of elements of source < number of ones in mask")
    values = reshape(source, (-1,))[:count]
    written = masked_scatter_op(input if shape else unsqueeze(input, 0), values, *columns, accumulate=False)
    return written if shape else reshape(written, ())


def _lower(d: DType) -> str:
    return type_name(d).lower()


# -- flat indices ----------------------------------------------------------------------------------------------


def _flat(index: np.ndarray, size: int) -> np.ndarray:
    try:
        return checked(index, size, 0)
    except IndexError:
        bad = index[(index < -size) | (index >= size)].reshape(-1)[0]
        raise IndexError(f"out of range: tried to access index {bad} on a tensor of {size} elements.") from None


def _put(x: np.ndarray, index: np.ndarray, source: np.ndarray, accumulate: bool) -> np.ndarray:
    out = np.array(x, order="C")
    at = _flat(index, out.size).reshape(-1)
    if accumulate:
        np.add.at(out.reshape(-1), at, source.reshape(-1))
    else:
        out.reshape(-1)[at] = source.reshape(-1)
    return out


take_op = op(
    "take", picks=True, hazard=hazards.index(1, lambda x, *_, **__: x.numel()),
    ref=lambda x, index: np.asarray(x.reshape(-1)[_flat(index, x.size)]),
    meta=lambda x, index: Meta(index._shape, x.dtype), lower=Kernels(gather_ops.take),
    vjp=(lambda g, _y, _x, index: put_op(g.new_zeros(_x.shape), index, g, accumulate=True), None),
    samples=lambda t: [call(t(2, 3), t(4, 2, dtype=dtypes.int64, low=-6, high=6))],
)  # fmt: skip
put_op = op(
    "put", hazard=hazards.index(1, lambda x, *_, **__: x.numel()), ref=_put,
    meta=lambda x, index, source, accumulate: Meta(x._shape, x.dtype), lower=Kernels(gather_ops.put),
    vjp=(
        lambda g, _y, _x, index, _s, accumulate: g if accumulate else put_op(
            g, index, g.new_zeros(_s.shape), accumulate=False),
        None,
        lambda g, _y, _x, index, _s, accumulate: reshape(take_op(g, index), _s.shape),
    ),
    samples=lambda t: [call(t(2, 3), from_array(np.array([[5, 0]])), t(2), accumulate=False),
                       call(t(2, 3), t(4, dtype=dtypes.int64, low=-6, high=6), t(2, 2), accumulate=True)],
)  # fmt: skip


def _require_long(name: str, index: Tensor) -> None:
    if index.dtype is not dtypes.int64:
        raise RuntimeError(f"{name}(): Expected a long tensor for index, but got {type_name(index.dtype)}")


@public("torch Tensor", out=True)
def take(input: Tensor, index: Tensor) -> Tensor:
    """Elements at flat (row-major) indices; the shape is that of `index`."""
    _require_long("take", index)
    return take_op(input, index)


@public("Tensor torch", inplace=True)
def put(input: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    """A copy of `input` with `source` written (or added) at flat indices."""
    _require_long("put_", index)
    if input.dtype is not source.dtype:
        raise RuntimeError(
            "put_(): self and source expected to have the same dtype, but got self.dtype = "
            f"{type_name(input.dtype)} and source.dtype = {type_name(source.dtype)}"
        )
    if index.numel() != source.numel():
        raise RuntimeError(
            "put_(): Expected source and index to have the same number of elements, but got source.numel() = "
            f"{source.numel()}, index.numel() = {index.numel()}"
        )
    return put_op(input, index, source, accumulate=accumulate)
