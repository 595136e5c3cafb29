"""Arguments of the functions of this folder: one number or one a dimension, dtypes that kernels take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flambeau import dtypes
from flambeau.dtypes import dtype
from flambeau.errors import warn_once
from flambeau.ops.apply import type_name
from flambeau.shape import Ints, channels_last_strides, is_channels_last, is_contiguous
from flambeau.tensors import Tensor


def expanded(function: str, name: str, value: Any, n: int) -> Ints:
    """`value` as `n` ints: one for all, or a sequence of `n`."""
    if isinstance(value, (tuple, list)):
        if len(value) == n:
            return tuple([v if type(v) is int else v.__index__() for v in value])
        if len(value) == 1:
            return (value[0].__index__(),) * n
        raise RuntimeError(
            f"expected {name} to be a single integer value or a list of {n} values to match the convolution "
            f"dimensions, but got {name}={list(value)}"
        )
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{function}(): argument '{name}' must be tuple of ints, not {type(value).__name__}")
    return (value.__index__(),) * n


def as_int(function: str, name: str, position: int, value: Any) -> int:
    """`value` as an int; PyTorch's TypeError for anything else."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(
            f"{function}(): argument '{name}' (position {position}) must be int, not {type(value).__name__}"
        )
    return value.__index__()


def as_ints(function: str, name: str, position: int, value: Any) -> Ints:
    """An int, or a sequence of them, as a tuple; PyTorch's TypeError for anything else."""
    where = f"{function}(): argument '{name}' (position {position}) must be tuple of ints"
    if not isinstance(value, (tuple, list)):
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            raise TypeError(f"{where}, not {type(value).__name__}")
        return (value.__index__(),)
    for at, part in enumerate(value):
        if isinstance(part, bool) or not hasattr(part, "__index__"):
            raise TypeError(f"{where}, but found element of type {type(part).__name__} at pos {at}")
    return tuple([part.__index__() for part in value])


def require_number(function: str, **arguments: Any) -> None:
    """PyTorch's TypeError where an argument (the second one on, in order) is not a number."""
    for position, (name, value) in enumerate(arguments.items(), 2):
        if not isinstance(value, (int, float, Tensor)) and not hasattr(value, "__float__"):
            raise TypeError(
                f"{function}(): argument '{name}' (position {position}) must be Number, not {type(value).__name__}"
            )


def require_floating(kernel: str, d: dtype) -> None:
    """PyTorch's error of a kernel that knows floating-point types only."""
    if d.category < dtypes.FLOAT:
        raise NotImplementedError(f"\"{kernel}\" not implemented for '{type_name(d)}'")


def legacy_reduction(size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    """The reduction that the deprecated pair of flags means; `reduction` itself when neither is given."""
    if size_average is None and reduce is None:
        return reduction
    size_average = True if size_average is None else size_average
    reduce = True if reduce is None else reduce
    chosen = "none" if not reduce else "mean" if size_average else "sum"
    warn_once(
        f"size_average and reduce args will be deprecated, please use reduction='{chosen}' instead.", stacklevel=4
    )
    return chosen


def check_reduction(reduction: str) -> None:
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction")


def tensor_shape(t: Tensor | Sequence[int]) -> str:
    """A shape as PyTorch's messages show it."""
    return f"[{', '.join(map(str, t._shape if isinstance(t, Tensor) else t))}]"


def image_layout(shape: Ints, *operands: Tensor) -> Ints | None:
    """Channels-last strides if an operand has them, as PyTorch's kernels propagate them; None is row-major."""
    for x in operands:
        if len(x._shape) not in (4, 5) or is_contiguous(x._shape, x._strides):
            continue
        if is_channels_last(x._shape, x._strides):
            return channels_last_strides(shape)
    return None
