"""Parameters and buffers: tensors that a Module registers when they are assigned to it."""

from __future__ import annotations

from typing import Any

from flambeau import ops, pickling
from flambeau.tensors import Tensor, TensorMeta, make


class _ParameterMeta(TensorMeta):
    """Tensors of other classes marked `_is_param` count as Parameters."""

    def __instancecheck__(cls, instance: Any) -> bool:
        if type.__instancecheck__(cls, instance):
            return True
        return cls is Parameter and isinstance(instance, Tensor) and getattr(instance, "_is_param", False)


class Parameter(Tensor, metaclass=_ParameterMeta):
    """A tensor that is a module's parameter: assigned to an attribute, it appears in `Module.parameters()`.

    It shares the memory of `data` and requires grad unless told otherwise.
    """

    def __new__(cls, data: Any = None, requires_grad: bool = True) -> Parameter:
        if data is None:
            data = ops.empty(0)
        if not isinstance(data, Tensor):
            raise TypeError(f"cannot create a Parameter from {type(data).__name__}: expected a Tensor")
        if requires_grad and not (data.dtype.is_floating_point or data.dtype.is_complex):
            raise RuntimeError("Only Tensors of floating point and complex dtype can require gradients")
        made = make(data._storage, data._shape, data._strides, data._offset, data.dtype, data._version_counter, cls)
        made.requires_grad = requires_grad
        return made

    def __init__(self, data: Any = None, requires_grad: bool = True) -> None:
        pass

    __deepcopy__ = pickling.deepcopy_parameter
    __reduce_ex__ = pickling.reduce_parameter

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()


class _BufferMeta(TensorMeta):
    """Buffers are plain tensors with a mark."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, Tensor) and getattr(instance, "_is_buffer", False)


class Buffer(Tensor, metaclass=_BufferMeta):
    """A tensor that a Module registers as a buffer when it is assigned: `self.mean = Buffer(zeros(3))`."""

    def __new__(cls, data: Any = None, *, persistent: bool = True) -> Any:
        data = ops.empty(0) if data is None else data
        made = data.detach().requires_grad_(data.requires_grad)
        made.persistent, made._is_buffer = persistent, True
        return made


class _Uninitialized:
    """What a tensor is before the first input tells its shape."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __reduce_ex__(self, protocol: Any) -> tuple:
        return type(self), (self.requires_grad,)  # type: ignore[attr-defined]

    def __deepcopy__(self, memo: dict) -> Any:
        made = type(self)(self.requires_grad, None, self.dtype)  # type: ignore[attr-defined, call-arg]
        return memo.setdefault(id(self), made)


class UninitializedParameter(_Uninitialized, Parameter):
    """A parameter without a shape yet: `materialize(shape)` gives it one. Lazy modules use it."""

    def __new__(cls, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> UninitializedParameter:
        made = make(ops.empty(0, dtype=dtype)._storage, (0,), (1,), 0, ops.empty(0, dtype=dtype).dtype, None, cls)
        made.requires_grad = requires_grad
        return made

    def __init__(self, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> None:
        pass

    def materialize(self, shape: Any, device: Any = None, dtype: Any = None) -> None:
        self.data = ops.empty(tuple(shape), dtype=dtype or self.dtype)
        self.__class__ = Parameter


class UninitializedBuffer(_Uninitialized, Tensor):
    """A buffer without a shape yet."""

    def __new__(cls, requires_grad: bool = False, device: Any = None, dtype: Any = None) -> UninitializedBuffer:
        empty = ops.empty(0, dtype=dtype)
        return make(empty._storage, (0,), (1,), 0, empty.dtype, None, cls)

    def __init__(self, requires_grad: bool = False, device: Any = None, dtype: Any = None) -> None:
        pass

    def materialize(self, shape: Any, device: Any = None, dtype: Any = None) -> None:
        self.data = ops.empty(tuple(shape), dtype=dtype or self.dtype)
        self.__class__ = Tensor


def is_lazy(param: Any) -> bool:
    return isinstance(param, _Uninitialized)
