"""`x[...]` and `x[...] = value`: how Python's index objects become views, index tensors and writes.

Integers, slices, None and Ellipsis make a view; index tensors and masks are then applied to it by one op.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from flambeau import dtypes
from flambeau.autograd.mode import state
from flambeau.autograd.node import next_sequence
from flambeau.dtypes import dtype as DType
from flambeau.errors import warn_once
from flambeau.methods.member import Members
from flambeau.ops.apply import assign, check_writable
from flambeau.ops.copies import cast, overwritten
from flambeau.ops.create import array_of
from flambeau.ops.index import index as index_tensors
from flambeau.ops.index import index_put
from flambeau.ops.overlap import refuse_overlap
from flambeau.ops.views import alias, expand, reshape, select_op, slice_op, unsqueeze
from flambeau.tensors import Tensor, from_array, write_array

members = Members()

_ALL = slice(None)
_PLAIN = frozenset((int, slice, bool, type(None), type(Ellipsis)))
_DEPRECATED = (
    "Using a non-tuple sequence for multidimensional indexing is deprecated and will be changed in pytorch 2.9; use "
    "x[tuple(seq)] instead of x[seq]. In pytorch 2.9 this will be interpreted as tensor index, x[torch.tensor(seq)], "
    "which will result either in an error or a different result"
)


def _is_sequence(x: Any) -> bool:
    return isinstance(x, (list, tuple, range, str, np.ndarray)) or (
        hasattr(x, "__len__") and hasattr(x, "__getitem__") and not isinstance(x, (dict, Tensor))
    )


def _as_parts(index: Any) -> tuple:
    """The index as a tuple of one object a dimension; short lists of sequences and slices count as tuples."""
    if type(index) is slice:
        return (index,)
    if isinstance(index, tuple):
        return index
    if isinstance(index, list) and len(index) < 32:
        for part in index:
            if part is None or part is Ellipsis or isinstance(part, (Tensor, slice)) or _is_sequence(part):
                warn_once(_DEPRECATED, stacklevel=5)
                return tuple(index)
    return (index,)


def _consumed(part: Any) -> int:
    """The number of dimensions that a part of an index uses up."""
    kind = type(part)
    if kind is int or kind is slice:
        return 1
    if kind in _PLAIN:
        return 0
    return part.ndim if part.dtype is dtypes.bool_ or part.dtype is dtypes.uint8 else 1


def _select(x: Tensor, dim: int, position: int, real_dim: int) -> Tensor:
    if not x._shape:
        raise IndexError(
            "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` in C++ to convert a "
            "0-dim tensor to a number"
        )
    n = x._shape[dim]
    if not -n <= position < n:
        raise IndexError(f"index {position} is out of bounds for dimension {real_dim} with size {n}")
    return select_op(x, dim=dim, index=position + n if position < 0 else position)


def _slice(x: Tensor, dim: int, part: slice) -> Tensor:
    step = 1 if part.step is None else part.step.__index__()
    if step <= 0:
        raise ValueError("slice step cannot be zero" if step == 0 else "step must be greater than zero")
    n = x._shape[dim]
    start, stop, step = part.indices(n)
    return slice_op(x, dim=dim, start=min(start, n), length=max(0, -(-(stop - start) // step)), step=step)


def _index_tensor(part: Any) -> Tensor:
    """A sequence or array as an index tensor: bool and uint8 stay masks, all else is int64."""
    if isinstance(part, str):
        raise TypeError("new(): invalid data type 'str'")
    array = array_of(part)
    if array.dtype not in (np.bool_, np.uint8):
        array = array.astype(np.int64)
    return from_array(array)


def _prepared(part: Any) -> Any:
    """A part of an index as an int, a bool, a slice, None, Ellipsis or a tensor with dimensions."""
    if type(part) in _PLAIN:
        return part
    if isinstance(part, Tensor):
        if part._shape or part.dtype.category > dtypes.INTEGER:
            return part
        return bool(part) if part.dtype is dtypes.uint8 or part.dtype is dtypes.bool_ else int(part)
    if isinstance(part, np.ndarray) or (_is_sequence(part) and not isinstance(part, np.generic)):
        return _index_tensor(part)
    if hasattr(part, "__index__") and not isinstance(part, np.bool_):
        return part.__index__()
    raise IndexError(
        "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid indices "
        f"(got {_type_name(part)})"
    )


def _type_name(x: Any) -> str:
    kind = type(x)
    return kind.__name__ if kind.__module__ != "numpy" else f"numpy.{kind.__name__.rstrip('_')}"


def _apply_basic(x: Tensor, index: Any) -> tuple[Tensor, list[Tensor | None]]:
    """The view that the basic parts of an index give, and the index tensors (by dimension of the view) left over."""
    parts = [part if type(part) in _PLAIN else _prepared(part) for part in _as_parts(index)]
    used, ndim = sum([_consumed(part) for part in parts]), len(x._shape)
    if used > ndim and not (ndim == 0 and len(parts) == 1):
        raise IndexError(f"too many indices for tensor of dimension {ndim}")
    view, dim, real_dim = x, 0, 0
    found: list[tuple[int, Tensor]] = []
    for part in parts:
        kind = type(part)
        if kind is int:
            view, real_dim = _select(view, dim, part, real_dim), real_dim + 1
        elif kind is slice:
            if not view._shape:
                raise IndexError("slice() cannot be applied to a 0-dim tensor.")
            if len(parts) == 1 or part != _ALL:  # a whole dimension among others leaves no trace
                view = _slice(view, dim, part)
            dim, real_dim = dim + 1, real_dim + 1
        elif part is Ellipsis:
            dim, real_dim = dim + ndim - used, real_dim + ndim - used
        elif part is None:
            view, dim = unsqueeze(view, dim), dim + 1
        elif kind is bool:
            view = unsqueeze(view, dim)
            found.append((dim, from_array(np.zeros(int(part), np.int64))))
            dim += 1
        else:
            found.append((dim, part))
            dim, real_dim = dim + _consumed(part), real_dim + _consumed(part)
    return view, _spaced(found) if found else []


def _spaced(found: list[tuple[int, Tensor]]) -> list[Tensor | None]:
    """Index tensors in a list whose dimensions count as `ops.index.by_dimension` counts them."""
    spaced: list[Tensor | None] = []
    at = 0
    for dim, tensor in found:
        spaced += [None] * (dim - at)
        spaced.append(tensor)
        at = dim + _consumed(tensor)
    return spaced


@members
def __getitem__(self: Tensor, index: Any) -> Tensor:
    """`self[index]`: a view for integers, slices, None and Ellipsis; a copy for index tensors, lists and masks.

    Raises:
        IndexError: an index is out of range, of the wrong type, or there are too many.
        ValueError: a slice with a step that is not positive.
    """
    if type(index) is int:
        return _select(self, 0, index, 0)
    view, tensors = _apply_basic(self, index)
    if tensors:
        return index_tensors(view, tensors)
    return alias(self) if view is self else view


@members
def __setitem__(self: Tensor, index: Any, value: Any) -> None:
    """`self[index] = value`: overwrite in place, with `value` broadcast and (for views) cast.

    Raises:
        IndexError: as for reading.
        RuntimeError: the value does not broadcast to the indexed part.
        TypeError: the value is neither a tensor nor a number.
    """
    number = not isinstance(value, Tensor)
    if number and not isinstance(value, (bool, int, float, complex)):
        raise TypeError(f"can't assign a {_assigned_name(value)} to a {self.type()}")
    if number:
        _check_fits(value, self.dtype)
    if index is False:
        return
    view, tensors = _apply_basic(self, index)
    check_writable(view)
    if tensors:
        _put(view, tensors, _constant(view, value) if number else value)
    elif number and not _tracked(view):
        write_array(view, _number(value, self.dtype))
    elif number:
        view.fill_(value)
    else:
        _copy(view, value)


def _assigned_name(value: Any) -> str:
    kind = type(value)
    return f"numpy.{kind.__name__}" if kind.__module__ == "numpy" else kind.__name__


_C_NAMES = {"float32": "float", "float64": "double", "float16": "at::Half", "bfloat16": "at::BFloat16", "int32": "int"}


def _check_fits(value: Any, d: DType) -> None:
    """PyTorch's refusal of numbers that a dtype cannot hold; fractions are cut off, -1 wraps in uint8."""
    if d.is_complex or d is dtypes.bool_:
        return
    fits = not isinstance(value, complex)
    if fits and d.category == dtypes.INTEGER:
        limits = np.iinfo(d.np)
        low = limits.min if d.is_signed else -limits.max
        fits = low <= value <= limits.max
    elif fits and math.isfinite(value):
        fits = abs(value) <= float(dtypes.finfo(d).max)
    if not fits:
        shown = _C_NAMES.get(d.name, f"{d.name}_t")
        raise RuntimeError(f"value cannot be converted to type {shown} without overflow")


def _number(value: Any, d: DType) -> np.ndarray:
    wide = np.asarray(value, dtype=np.int64 if d.category == dtypes.INTEGER else None)
    return wide.astype(d.np)


def _tracked(view: Tensor) -> bool:
    base = view._base
    return view._inference or (state.grad and (view.requires_grad or (base is not None and base.requires_grad)))


def _constant(like: Tensor, value: Any) -> Tensor:
    return from_array(_number(value, like.dtype))


def _without_leading_ones(value: Tensor) -> Tensor:
    lead = 0
    while lead < value.ndim and value._shape[lead] == 1:
        lead += 1
    return reshape(value, value._shape[lead:]) if lead else value


def _copy(view: Tensor, value: Tensor) -> None:
    since = next_sequence()
    source = cast(value, view.dtype)
    if source._shape != view._shape:
        source = expand(_without_leading_ones(source), view._shape)
    if value._storage is view._storage:
        refuse_overlap(view, (value,))
        source = source.clone()  # the write must not be seen by the read
    assign(view, overwritten(view, source), since)


def _put(view: Tensor, tensors: list[Tensor | None], value: Tensor) -> None:
    refuse_overlap(view, (value,))
    since = next_sequence()
    assign(view, index_put(view, tensors, _without_leading_ones(value)), since)
