"""The old spellings that make tensors: `Tensor(2, 3)`, `FloatTensor([1, 2])`, `x.new(...)`.

A number or several are a size (uninitialised memory); a sequence or an array is data to copy; a tensor or a storage is
shown as it is.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from flambeau import dtypes
from flambeau.devices import device as Device
from flambeau.dtypes import dtype as DType
from flambeau.methods.member import Members
from flambeau.ops import views
from flambeau.ops.apply import type_name
from flambeau.ops.create import array_of, uninitialised
from flambeau.ops.op import names
from flambeau.shape import Size
from flambeau.tensors import Tensor, from_array, make

members = Members()

_SIGNATURES = """but expected one of:
 * (*, torch.device device = None)
      didn't match because some of the keywords were incorrect: {keywords}
 * (torch.Storage storage)
 * (Tensor other)
 * (tuple of ints size, *, torch.device device = None)
 * (object data, *, torch.device device = None)
"""
_C_NAMES = {
    "float32": "float", "float64": "double", "float16": "c10::Half", "bfloat16": "c10::BFloat16", "int64": "long int",
    "int32": "int", "int16": "short int", "int8": "signed char", "uint8": "unsigned char", "bool": "bool",
    "complex64": "c10::complex<float>", "complex128": "c10::complex<double>",
}  # fmt: skip


def _options(d: DType) -> str:
    return (
        f"TensorOptions(dtype={_C_NAMES[d.name]}, device=cpu, layout=Strided, requires_grad=false (default), "
        "pinned_memory=false (default), memory_format=(nullopt))"
    )


def _kind(x: Any) -> str:
    return f"torch.{type(x).__name__}" if isinstance(x, (DType, Device, Size)) else type(x).__name__


def _check_keywords(args: tuple, kwargs: dict) -> None:
    wrong = [k for k in kwargs if k not in ("device", "size", "data", "other", "storage")]
    if wrong:
        given = ", ".join([*[_kind(a) for a in args], *[f"{k}={_kind(v)}" for k, v in kwargs.items()]])
        raise TypeError(
            f"new() received an invalid combination of arguments - got ({given}), "
            + _SIGNATURES.format(keywords=", ".join(wrong))
        )
    place = kwargs.pop("device", None)
    kind = place.type if isinstance(place, Device) else "cpu" if place is None else str(place).partition(":")[0]
    if kind != "cpu":
        raise RuntimeError(f"legacy constructor expects device type: cpu but device type: {kind} was passed")


def _is_int(x: Any) -> bool:
    return not isinstance(x, (bool, float, np.floating)) and hasattr(x, "__index__") and not hasattr(x, "__len__")


def _storage_of(x: Any) -> Any:
    return getattr(x, "_storage", None) if not isinstance(x, Tensor) and hasattr(x, "data_ptr") else None


def _shown(other: Tensor, d: DType, strict: bool) -> Tensor:
    if strict and other.dtype is not d:
        raise TypeError(f"expected {_options(d)} (got {_options(other.dtype)})")
    return views.alias(other)


def _from_data(data: Any, d: DType) -> Tensor:
    if isinstance(data, str):
        raise TypeError("new(): invalid data type 'str'")
    sized = hasattr(data, "__len__") and hasattr(data, "__getitem__")
    if not sized or (isinstance(data, np.ndarray) and not data.ndim):
        kind = type(data)
        name = f"numpy.{kind.__name__}" if kind.__module__ == "numpy" else kind.__name__
        raise TypeError(f"new(): data must be a sequence (got {name})")
    return from_array(array_of(data, d))


def construct(d: DType, args: tuple, kwargs: dict, strict: bool) -> Tensor:
    """What the old constructors make of their arguments, in dtype `d`; `strict` refuses tensors of another dtype."""
    _check_keywords(args, kwargs)
    if "size" in kwargs:
        return uninitialised(tuple(kwargs["size"]), d)
    args = args or tuple(kwargs.values())
    if not args:
        return uninitialised((0,), d)
    first = args[0]
    if len(args) == 1:
        if isinstance(first, Tensor):
            return _shown(first, d, strict)
        storage = _storage_of(first)
        if storage is not None:
            return make(storage, (storage.nbytes // d.itemsize,), (1,), 0, d)
        if isinstance(first, Size):
            return uninitialised(tuple(first), d)
        if not _is_int(first):
            return _from_data(first, d)
    for position, n in enumerate(args, 1):
        if not _is_int(n):
            raise TypeError(
                f"new(): argument 'size' failed to unpack the object at pos {position} with error \"type must be tuple "
                f'of ints,but got {type(n).__name__}"'
            )
    return uninitialised(tuple(n.__index__() for n in args), d)


def _new_tensor(cls: type[Tensor], *args: Any, **kwargs: Any) -> Tensor:
    made = construct(dtypes.get_default_dtype(), args, kwargs, strict=False)
    if cls is Tensor:
        return made
    return make(made._storage, made._shape, made._strides, made._offset, made.dtype, made._version_counter, cls)


members["__new__"] = staticmethod(_new_tensor)


@members
def new(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """A tensor of this one's dtype, by the rules of the old constructors."""
    return construct(self.dtype, args, kwargs, strict=True)


class tensortype(type):
    """The class of `FloatTensor` and its like: calling one makes a tensor of its dtype, `isinstance` asks for it."""

    dtype: DType
    is_cuda: bool

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if cls.is_cuda:
            name = f"{cls.__module__}.{cls.__name__}"
            raise TypeError(f"type {name} not available. Torch not compiled with CUDA enabled.")
        return construct(cls.dtype, args, kwargs, strict=True)

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, Tensor) and instance.dtype is cls.dtype and not cls.is_cuda

    def __repr__(cls) -> str:
        return f"<class '{cls.__module__}.{cls.__name__}'>"

    def __reduce__(cls) -> str:
        return cls.__name__


tensortype.__module__ = "torch"


def _typed(d: DType, module: str) -> tensortype:
    name = type_name(d) + "Tensor"
    return tensortype(
        name, (), {"__module__": module, "dtype": d, "is_cuda": "cuda" in module, "is_sparse": False,
                   "__doc__": f"The old spelling of a {d.name} tensor."},
    )  # fmt: skip


typed = {type_name(d) + "Tensor": _typed(d, "torch") for d in dtypes.ALL if not d.is_complex}
cuda_typed = {name: _typed(kind.dtype, "torch.cuda") for name, kind in typed.items()}
names["torch"].update(typed)  # type: ignore[arg-type]
