"""Tensors as pickles and copies: what `pickle`, `copy` and `torch.save` need to take one apart and build it again.

Storages that tensors share stay shared within one pickle or one deepcopy. `methods.py` attaches `reduce_tensor`
and `deepcopy_tensor` to Tensor; `nn.Parameter` uses the two for parameters. Imports the tensor floor only.
"""

from __future__ import annotations

import copy
import warnings
from collections import OrderedDict
from math import prod
from typing import Any

import numpy as np

from flambeau.dtypes import dtype
from flambeau.shape import contiguous_strides, extent
from flambeau.storage import TypedStorage, copied_storage
from flambeau.tensors import Tensor, from_array, make

_MAX_BYTES = 2**63
_MAX_DIMS = 64  # NumPy's limit
_OWN_FIELDS = frozenset(Tensor.__annotations__) | {"_conj", "__dict__", "__class__"}


def rebuild_tensor(storage: TypedStorage, offset: int, size: tuple, stride: tuple) -> Tensor:
    """A tensor over a storage, after checking that it lies inside.

    Raises RuntimeError for a negative or mismatched size, stride or offset and for a view beyond the storage.
    """
    if not isinstance(storage, TypedStorage):
        raise RuntimeError(f"a tensor is built over a storage, not over {type(storage).__name__}")
    shape, strides = _whole_numbers("size", size), _whole_numbers("stride", stride)
    if len(shape) > _MAX_DIMS:
        raise RuntimeError(f"a tensor has at most {_MAX_DIMS} dimensions, got {len(shape)}")
    if len(shape) != len(strides):
        raise RuntimeError(f"mismatch in length of strides and shape: {list(strides)} and {list(shape)}")
    (start,) = _whole_numbers("storage offset", (offset,))
    itemsize = storage.dtype.itemsize
    needed = (start + extent(shape, strides)) * itemsize if 0 not in shape else 0
    if needed > storage._storage.nbytes:
        raise RuntimeError(
            f"setStorage: sizes {list(shape)}, strides {list(strides)}, storage offset {start}, and itemsize "
            f"{itemsize} requiring a storage size of {needed} are out of bounds for storage of size "
            f"{storage._storage.nbytes}"
        )
    if prod(max(n, 1) for n in shape) * itemsize >= _MAX_BYTES:
        raise RuntimeError(f"a tensor of size {list(shape)} has more bytes than can be addressed")
    if 0 in shape and (start * itemsize > storage._storage.nbytes or max(strides, default=0) * itemsize >= _MAX_BYTES):
        start, strides = 0, contiguous_strides(shape)
    return make(storage._storage, shape, strides, start, storage.dtype)


def _whole_numbers(what: str, values: Any) -> tuple[int, ...]:
    if not isinstance(values, (tuple, list)) or any(type(v) is not int or not 0 <= v < _MAX_BYTES for v in values):
        raise RuntimeError(f"a tensor's {what} must be whole numbers from 0 on")
    return tuple(values)


def rebuild_tensor_v2(
    storage: TypedStorage, offset: int, size: tuple, stride: tuple, requires_grad: bool, backward_hooks: Any,
    metadata: Any = None,
) -> Tensor:  # fmt: skip
    """`rebuild_tensor` with the gradient flag. Hooks are never saved; `metadata` says if the memory is conjugated."""
    tensor = rebuild_tensor(storage, offset, size, stride)
    if metadata:
        if not isinstance(metadata, dict) or not (tensor.dtype.is_complex or tensor.dtype.is_floating_point):
            raise RuntimeError("a tensor's metadata must be a dict that marks complex memory as conjugated or negated")
        if storage.when_filled is None:
            _resolve(tensor, metadata)
        else:
            storage.when_filled.append(lambda: _resolve(tensor, metadata))
    tensor.requires_grad = bool(requires_grad)
    return tensor


def rebuild_tensor_v3(
    storage: TypedStorage, offset: int, size: tuple, stride: tuple, requires_grad: bool, backward_hooks: Any,
    dtype: dtype, metadata: Any = None,
) -> Tensor:  # fmt: skip
    """`rebuild_tensor_v2` over untyped memory, seen as `dtype`."""
    seen = TypedStorage._of(storage._storage, dtype)
    return rebuild_tensor_v2(seen, offset, size, stride, requires_grad, backward_hooks, metadata)


def _resolve(tensor: Tensor, metadata: Any) -> None:
    """PyTorch may save a conjugated or negated view as a flag over the plain memory; here it becomes memory."""
    array = np.array(tensor._array(), order="C")
    if metadata.get("conj"):
        array = np.conj(array)
    if metadata.get("neg"):
        array = -array
    tensor.data = from_array(array)


def rebuild_from_type_v2(func: Any, new_type: type, args: tuple, state: Any) -> Any:
    """A tensor of a subclass, or one that carries attributes: `func(*args)` with `state` put back."""
    tensor = func(*args)
    if type(tensor) is not new_type:
        plain = tensor
        tensor = make(plain._storage, plain._shape, plain._strides, plain._offset, plain.dtype, cls=new_type)
        tensor._requires_grad = plain._requires_grad
    return set_fields(tensor, state)


def rebuild_parameter(cls: type[Tensor], data: Tensor, requires_grad: bool, state: Any) -> Tensor:
    """The parameter of class `cls` over the memory of `data`."""
    return set_fields(cls(data, requires_grad), state)  # type: ignore[call-arg]


def fields_of(tensor: Tensor) -> dict[str, Any]:
    """The attributes a user gave a tensor."""
    return {k: v for k, v in tensor.__dict__.items() if k not in _OWN_FIELDS}


def set_fields(tensor: Any, state: Any) -> Any:
    """Put saved attributes back: a dict, or a pair of dicts where the class has slots."""
    attributes, slots = state if isinstance(state, tuple) and len(state) == 2 else (state, None)
    for part in (attributes, slots):
        for name, value in (part or {}).items():
            if not isinstance(name, str) or name in _OWN_FIELDS:
                raise RuntimeError(f"a saved tensor may not set the attribute {name!r}")
            setattr(tensor, name, value) if part is slots else tensor.__dict__.__setitem__(name, value)
    return tensor


def reduce_plain(tensor: Tensor) -> tuple:
    """How a tensor is rebuilt, without the attributes a user gave it."""
    if tensor._hooks:
        warnings.warn(
            "backward hooks on a tensor will not be serialized. If this is expected, you can decorate the function "
            "with @torch.utils.hooks.unserializable_hook to suppress this warning",
            stacklevel=2,
        )
    storage = TypedStorage._of(tensor._storage, tensor.dtype)
    args = (storage, tensor._offset, tensor._shape, tensor._strides, tensor.requires_grad, OrderedDict())
    return rebuild_tensor_v2, args


def reduce_tensor(tensor: Tensor, protocol: Any) -> tuple:
    """`Tensor.__reduce_ex__`: history and gradient are left behind, everything else is kept."""
    func, args = reduce_plain(tensor)
    state = fields_of(tensor)
    if type(tensor) is Tensor and not state:
        return func, args
    return rebuild_from_type_v2, (func, type(tensor), args, state)


def reduce_parameter(parameter: Tensor, protocol: Any) -> tuple:
    """`nn.Parameter.__reduce_ex__`."""
    return rebuild_parameter, (type(parameter), parameter.data, parameter.requires_grad, fields_of(parameter))


def deepcopy_tensor(tensor: Tensor, memo: dict[int, Any]) -> Tensor:
    """`Tensor.__deepcopy__`: a leaf with its gradient and attributes; shared storages are copied once.

    Raises RuntimeError for a tensor that was computed.
    """
    if not tensor.is_leaf:
        raise RuntimeError(
            "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the moment.  "
            "If you were attempting to deepcopy a module, this may be because of a torch.nn.utils.weight_norm usage, "
            "see https://github.com/pytorch/pytorch/pull/103001"
        )
    if id(tensor) in memo:
        return memo[id(tensor)]
    storage = copied_storage(tensor._storage, memo)
    result = make(storage, tensor._shape, tensor._strides, tensor._offset, tensor.dtype, cls=type(tensor))
    memo[id(tensor)] = result
    result._requires_grad = tensor._requires_grad
    if tensor._grad is not None:
        result._grad = deepcopy_tensor(tensor._grad, memo)
    result.__dict__.update(copy.deepcopy(fields_of(tensor), memo))
    return result


def deepcopy_parameter(parameter: Any, memo: dict[int, Any]) -> Any:
    """`nn.Parameter.__deepcopy__`: its own memory, without the gradient."""
    if id(parameter) not in memo:
        memo[id(parameter)] = type(parameter)(parameter.data.clone(), parameter.requires_grad)
    return memo[id(parameter)]
