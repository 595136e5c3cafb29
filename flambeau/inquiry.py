"""Questions about objects and types that PyTorch asks at its top level."""

from __future__ import annotations

from typing import Any, NoReturn

from flambeau import dtypes
from flambeau.dtypes import dtype
from flambeau.errors import NotSupportedError
from flambeau.ops.rules import promoted
from flambeau.shape import Size
from flambeau.shape import broadcast_shapes as _broadcast_shapes
from flambeau.storage import TypedStorage, UntypedStorage
from flambeau.tensors import Tensor

promote_types = dtypes.promote_types


def is_tensor(obj: Any) -> bool:
    """Whether `obj` is a tensor."""
    return isinstance(obj, Tensor)


def is_storage(obj: Any) -> bool:
    """Whether `obj` is a storage."""
    return isinstance(obj, (TypedStorage, UntypedStorage))


def is_floating_point(input: Tensor) -> bool:
    """Whether the dtype is a floating-point one."""
    return input.dtype.is_floating_point


def is_complex(input: Tensor) -> bool:
    """Whether the dtype is a complex one."""
    return input.dtype.is_complex


def is_signed(input: Tensor) -> bool:
    """Whether the dtype has negative numbers."""
    return input.dtype.is_signed


def get_device(input: Tensor) -> int:
    """-1: the CPU has no ordinal."""
    return input.get_device()


def detach(input: Tensor) -> Tensor:
    """The same memory, outside the graph."""
    return input.detach()


def is_conj(input: Tensor) -> bool:
    return False


def is_neg(input: Tensor) -> bool:
    return False


def is_inference(input: Tensor) -> bool:
    return input.is_inference()


def is_same_size(input: Tensor, other: Tensor) -> bool:
    return input.shape == other.shape


def numel(input: Tensor) -> int:
    """The number of elements."""
    return input.numel()


def typename(obj: Any) -> str:
    """The name of a type, as PyTorch spells it."""
    if isinstance(obj, Tensor):
        return obj.type()
    kind = obj if isinstance(obj, type) else type(obj)
    return f"{kind.__module__}.{kind.__qualname__}"


def result_type(tensor1: Any, tensor2: Any) -> dtype:
    """The dtype that arithmetic of the two gives."""
    return promoted((tensor1, tensor2))


def can_cast(from_: dtype, to: dtype) -> bool:
    """Whether a result of one dtype may be written into a tensor of another."""
    return dtypes.can_cast(from_, to)


def broadcast_shapes(*shapes: Any) -> Size:
    """The shape that all shapes broadcast to."""
    return Size(_broadcast_shapes(*[(s,) if isinstance(s, int) else tuple(s) for s in shapes]))


def _assert(condition: Any, message: Any) -> None:
    """`assert` as a function."""
    assert condition, message


def _check(cond: Any, message: Any = None) -> None:
    """RuntimeError unless `cond`."""
    _check_with(RuntimeError, cond, message)


def _check_with(error: type[Exception], cond: Any, message: Any) -> None:
    if not cond:
        raise error(
            "Expected cond to be True, but got False"
            if message is None
            else str(message() if callable(message) else message)
        )


def _check_value(cond: Any, message: Any = None) -> None:
    """ValueError unless `cond`."""
    _check_with(ValueError, cond, message)


def _check_type(cond: Any, message: Any = None) -> None:
    """TypeError unless `cond`."""
    _check_with(TypeError, cond, message)


def _check_index(cond: Any, message: Any = None) -> None:
    """IndexError unless `cond`."""
    _check_with(IndexError, cond, message)


def sparse_coo_tensor(*args: Any, **kwargs: Any) -> NoReturn:
    """Sparse tensors are not built."""
    raise NotSupportedError(
        "sparse tensors are not in this release of Flambeau (see docs/differences.md): use dense ones"
    )


sparse_csr_tensor = sparse_tensor = sparse_coo_tensor
