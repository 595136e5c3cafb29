"""Tensors as other things: other dtypes and devices, Python numbers, lists, ndarrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from flambeau import dtypes
from flambeau.autograd.node import next_sequence
from flambeau.devices import require_cpu
from flambeau.dtypes import dtype as DType
from flambeau.methods.member import Members
from flambeau.ops import copies, pieces, views
from flambeau.ops.apply import assign, check_writable, type_name
from flambeau.ops.copies import cast, overwritten
from flambeau.ops.overlap import refuse_overlap
from flambeau.tensors import Tensor, detached

members = Members()

TYPE_NAMES = {type_name(d) + "Tensor": d for d in dtypes.ALL if not d.is_complex}

# -- dtype and device ------------------------------------------------------------------------------------------


@members
def to(self: Tensor, *args: Any, dtype: DType | None = None, device: Any = None, non_blocking: bool = False,
       copy: bool = False, memory_format: Any = None) -> Tensor:  # fmt: skip
    """The tensor in another dtype or on another device: `to(dtype)`, `to(device)`, `to(device, dtype)`, `to(other)`.

    The tensor itself if nothing changes.
    """
    rest: list[Any] = []
    for arg in args:
        if isinstance(arg, DType):
            dtype = arg
        elif isinstance(arg, Tensor):
            dtype = arg.dtype
        elif isinstance(arg, bool):
            rest.append(arg)
        elif arg is not None:
            device = arg
    if len(rest) == 2:
        copy = rest[1]
    require_cpu(device)
    target = dtype or self.dtype
    if target is self.dtype and not copy:
        return self if memory_format is None else copies.contiguous(self, memory_format)
    return cast(self, target, copy, memory_format)


@members
def type(self: Tensor, dtype: Any = None, non_blocking: bool = False) -> Any:
    """The typed spelling ("torch.FloatTensor"), or the tensor cast to a dtype, type or spelling."""
    if dtype is None:
        return f"torch.{type_name(self.dtype)}Tensor"
    return cast(self, dtype_of(dtype))


def dtype_of(spelled: Any) -> DType:
    """A dtype from any of its spellings: itself, "torch.FloatTensor", the class, "torch.float32"."""
    if isinstance(spelled, DType):
        return spelled
    found = getattr(spelled, "dtype", None)
    if isinstance(found, DType):
        return found
    name = spelled if isinstance(spelled, str) else getattr(spelled, "__name__", str(spelled))
    short = name.rpartition(".")[2]
    if ".cuda." in name:
        require_cpu("cuda")
    if short == "Tensor":
        return dtypes.get_default_dtype()
    if short in TYPE_NAMES:
        return TYPE_NAMES[short]
    raise ValueError(f"invalid type: '{name}'")


@members
def type_as(self: Tensor, other: Tensor) -> Tensor:
    """`self.type(other.type())`."""
    return cast(self, other.dtype)


def _casting(name: str, target: DType) -> None:
    def method(self: Tensor, memory_format: Any = None) -> Tensor:
        return cast(self, target, memory_format=memory_format)

    method.__name__, method.__doc__ = name, f"The tensor as {target.name}."
    members[name] = method


for _name, _target in (
    ("float", dtypes.float32), ("double", dtypes.float64), ("half", dtypes.float16), ("bfloat16", dtypes.bfloat16),
    ("long", dtypes.int64), ("int", dtypes.int32), ("short", dtypes.int16), ("char", dtypes.int8),
    ("byte", dtypes.uint8), ("bool", dtypes.bool_), ("cfloat", dtypes.complex64), ("cdouble", dtypes.complex128),
):  # fmt: skip
    _casting(_name, _target)


@members
def cpu(self: Tensor, memory_format: Any = None) -> Tensor:
    """The tensor on the CPU: itself."""
    return self


@members
def cuda(self: Tensor, device: Any = None, non_blocking: bool = False, memory_format: Any = None) -> Tensor:
    """PyTorch's error of a build without CUDA."""
    require_cpu("cuda")
    return self


@members
def pin_memory(self: Tensor, device: Any = None) -> Tensor:
    """Pinning serves copies to an accelerator; PyTorch's error where there is none."""
    raise RuntimeError("Cannot access accelerator device when none is available.")


@members
def is_pinned(self: Tensor, device: Any = None) -> bool:
    return False


@members
def is_shared(self: Tensor) -> bool:
    """Whether the storage lies in memory that other processes see."""
    return self._storage.keeper is not None


# -- Python and NumPy ------------------------------------------------------------------------------------------


@members
def item(self: Tensor) -> Any:
    """The one element as a Python number."""
    if self.numel() != 1:
        raise RuntimeError(f"a Tensor with {self.numel()} elements cannot be converted to Scalar")
    return _python(self._array().reshape(()), self.dtype)


def _python(array: np.ndarray, d: DType) -> Any:
    return float(array) if d is dtypes.bfloat16 else array.item()


@members
def tolist(self: Tensor) -> Any:
    """Nested lists of Python numbers; a number for a 0-d tensor."""
    array = self._array()
    return (array.astype(np.float32) if self.dtype is dtypes.bfloat16 else array).tolist()


@members
def numpy(self: Tensor, *, force: bool = False) -> np.ndarray:
    """An ndarray over the same memory.

    Raises:
        RuntimeError: the tensor requires grad (unless `force`).
        TypeError: bfloat16, which NumPy does not have.
    """
    if self.requires_grad and not force:
        raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
    if self.dtype is dtypes.bfloat16:
        raise TypeError("Got unsupported ScalarType BFloat16")
    self._storage.lend()
    array = self._array()
    self._storage.lend()
    return array


@members
def __array__(self: Tensor, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
    array = numpy(self)
    if dtype is not None and np.dtype(dtype) != array.dtype:
        return array.astype(dtype)
    return array.copy() if copy else array


members["__array_priority__"] = 1000


@members
def __array_wrap__(self: Tensor, array: np.ndarray, context: Any = None, return_scalar: bool = False) -> Tensor:
    from_numpy = detached(self).new_tensor(array, dtype=dtypes.of(array.dtype))
    return from_numpy


@members
def __dlpack__(self: Tensor, *, stream: Any = None, max_version: Any = None, dl_device: Any = None,
               copy: bool | None = None) -> Any:  # fmt: skip
    """A DLPack capsule over the same memory."""
    if self.requires_grad:
        raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
    return numpy(self).__dlpack__()


@members
def __dlpack_device__(self: Tensor) -> tuple[int, int]:
    return (1, 0)


@members
def __bool__(self: Tensor) -> bool:
    n = self.numel()
    if n != 1:
        raise RuntimeError(
            "Boolean value of Tensor with " + ("no values" if n == 0 else "more than one value") + " is ambiguous"
        )
    return bool(self._array().reshape(()))


@members
def __float__(self: Tensor) -> float:
    value = item(self)
    if isinstance(value, complex):
        raise RuntimeError("value cannot be converted to type double without overflow")
    return float(value)


@members
def __int__(self: Tensor) -> int:
    return int(item(self))


@members
def __complex__(self: Tensor) -> complex:
    return complex(item(self))


@members
def __index__(self: Tensor) -> int:
    if self.dtype.category > dtypes.INTEGER or self.numel() != 1:
        raise TypeError("only integer tensors of a single element can be converted to an index")
    return int(self._array().reshape(()))


@members
def __len__(self: Tensor) -> int:
    if not self._shape:
        raise TypeError("len() of a 0-d tensor")
    return self._shape[0]


@members
def __iter__(self: Tensor) -> Any:
    if not self._shape:
        raise TypeError("iteration over a 0-d tensor")
    return iter(pieces.unbind(self, 0))


@members
def __contains__(self: Tensor, element: Any) -> bool:
    if isinstance(element, (Tensor, bool, int, float, complex)):
        return bool((self == element)._array().any())
    raise RuntimeError(
        f"Tensor.__contains__ only supports Tensor or scalar, but you passed in a {element.__class__}."
    )


members["__hash__"] = object.__hash__  # by identity, though `==` compares elements


@members
def copy_(self: Tensor, src: Any, non_blocking: bool = False) -> Tensor:
    """Overwrite with the elements of `src`, broadcast and cast."""
    if not isinstance(src, Tensor):
        raise TypeError(f"copy_(): argument 'other' (position 1) must be Tensor, not {src.__class__.__name__}")
    check_writable(self)
    refuse_overlap(self, (src,))
    since = next_sequence()
    return assign(self, overwritten(self, views.expand(cast(src, self.dtype), self._shape)), since)

