"""Arguments as PyTorch takes them: NumPy's spellings of names, dimensions, and the errors of wrong types."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from flambeau.dtypes import dtype as DType
from flambeau.ops.apply import type_name
from flambeau.shape import Ints, wrap_dim, wrap_dims
from flambeau.tensors import Tensor

_NUMPY = {"axis": "dim", "keepdims": "keepdim", "x": "input", "x1": "input", "x2": "other"}


def numpy_names(function: Callable) -> Callable:
    """Let a function's `dim`, `keepdim`, `input` and `other` also be given by NumPy's names of them."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if kwargs:
            for theirs, ours in _NUMPY.items():
                if theirs in kwargs and ours not in kwargs:
                    kwargs[ours] = kwargs.pop(theirs)
        return function(*args, **kwargs)

    return wrapped


def invalid(function: str, *given: Any) -> TypeError:
    """The error of arguments that no form of a function takes."""
    names = ", ".join(_type_name(x) for x in given)
    return TypeError(f"{function}() received an invalid combination of arguments - got ({names})")


def _type_name(x: Any) -> str:
    if isinstance(x, (tuple, list)):
        return f"{type(x).__name__} of ({', '.join(type(part).__name__ for part in x)})"
    return type(x).__name__


def is_int(x: Any) -> bool:
    """Whether PyTorch takes `x` for a dimension: an int or an integer tensor of one element, not a bool."""
    return not isinstance(x, bool) and hasattr(x, "__index__") and not (isinstance(x, Tensor) and x._shape)


def one_dim(function: str, input: Any, dim: Any) -> int:
    """One dimension, wrapped; TypeError where it is not an int."""
    if type(dim) is not int and not is_int(dim):
        raise invalid(function, input, dim)
    return wrap_dim(dim, len(input._shape))


def some_dims(function: str, input: Any, dim: Any) -> Ints:
    """Dimensions to reduce, sorted: from an int, several ints, or None (all)."""
    if dim is None or type(dim) is int:
        return _wrapped(dim, len(input._shape))
    if not is_int(dim):
        if not isinstance(dim, (tuple, list)) or not all(is_int(d) for d in dim):
            raise invalid(function, input, dim)
    return wrap_dims(dim if isinstance(dim, (tuple, list)) else int(dim), len(input._shape))


_wrapped = functools.cache(wrap_dims)  # of None, or of one int


def check_input(function: str, input: Any) -> None:
    if not isinstance(input, Tensor):
        raise TypeError(f"{function}(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}")


def not_implemented(kernel: str, d: DType) -> NotImplementedError:
    """PyTorch's error of a kernel that lacks a dtype."""
    return NotImplementedError(f'"{kernel}" not implemented for \'{type_name(d)}\'')
