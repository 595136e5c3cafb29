"""What random ops refuse, in PyTorch's words: dtypes, ranges of integers, calls that fit no signature."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from flambeau import dtypes
from flambeau.dtypes import dtype as DType
from flambeau.ops.apply import c_name, type_name
from flambeau.random import discrete
from flambeau.tensors import Tensor

_MIN64, _MAX64 = -(1 << 63), (1 << 63) - 1


def refuse(wrong: bool, kernel: str, d: DType) -> None:
    """NotImplementedError for a dtype that a kernel has no code for."""
    if wrong:
        raise NotImplementedError(f"\"{kernel}\" not implemented for '{type_name(d)}'")


def need_float(kernel: str, t: Tensor, complex_too: bool = False) -> None:
    refuse(not (t.dtype.is_floating_point or (complex_too and t.dtype.is_complex)), kernel, t.dtype)


def bad_call(name: str, args: tuple, kwargs: dict[str, Any], *signatures: str) -> TypeError:
    """PyTorch's TypeError for arguments that fit none of a function's signatures."""
    got = [_kind(a) for a in args] + [f"{k}={_kind(v)}" for k, v in kwargs.items()]
    lines = "".join(f" * {s}\n" for s in signatures)
    return TypeError(
        f"{name}() received an invalid combination of arguments - got ({', '.join(got)}), but expected one of:\n{lines}"
    )


def _kind(value: Any) -> str:
    return "Tensor" if isinstance(value, Tensor) else type(value).__name__


def no_more(name: str, kwargs: dict[str, Any]) -> None:
    """TypeError for keywords that a function does not have."""
    for key in kwargs:
        raise TypeError(f"{name}() got an unexpected keyword argument '{key}'")


def need_uniform_range(d: DType, low: float, high: float) -> None:
    """The checks of `uniform_`, also those for the parts of a complex dtype."""
    real = d.to_real()
    refuse(not real.is_floating_point, "check_uniform_bounds", d)
    most = float(dtypes.finfo(real).max)
    for name, value in (("from", low), ("to", high)):
        if not -most <= value <= most:
            raise RuntimeError(f"{name} is out of bounds for {c_name(real)}")
    if not low <= high:
        raise RuntimeError(f"uniform_ expects to return a [from, to) range, but found from={low:g} > to={high:g}")
    if high - low > most:
        raise RuntimeError(
            f"uniform_ expects to-from <= std::numeric_limits<{type_name(real)}>::max(), but found to={high:g} and "
            f"from={low:g} which result in to-from to exceed the limit"
        )


def checked_integer_range(low: int, high: int | None, d: DType) -> tuple[int, int] | None:
    """[low, high) as the first integer and the number of integers; None stands for all of int64.

    Floating dtypes get the part of the range that rounding does not leave. A `high` of None is the dtype's largest.
    """
    for bound in (low, high if high is not None else 0):
        if not _MIN64 <= bound <= _MAX64:
            raise ValueError("Overflow when unpacking long long")
    if d.is_complex:
        raise RuntimeError("check_random_bounds handles only integral, floating-point and boolean types")
    if high is None:
        return _open_range(low, d)
    if low >= high:
        raise RuntimeError(f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}")
    low, high = discrete.integer_bounds(low, high, d.np)
    if low >= high:
        raise RuntimeError(
            "random_ expects 'from' casted to dtype to be less than 'to' casted to dtype, but got "
            f"from={low} >= to={high}"
        )
    _check_bounds(low, high - 1, d)
    return low, (high - low) & ((1 << 64) - 1)


def _open_range(low: int, d: DType) -> tuple[int, int] | None:
    if low == _MIN64:
        refuse(d in (dtypes.float16, dtypes.bool_), "random_full_64_bits_range_kernel_cpu", d)
        if d not in (dtypes.int64, dtypes.float64, dtypes.float32, dtypes.bfloat16):
            raise RuntimeError("random_full_64_bits_range_kernel_cpu handles only int64, double, float and bfloat16")
        return None
    if d.is_floating_point:
        last = 1 << discrete.DIGITS[d.name]
        low = discrete.lowest_start(low, d.np)
        if low >= last:
            raise RuntimeError(
                "random_ expects 'from' casted to dtype to be less than or equal to 'to_inc' casted to dtype, but got "
                f"from={low} > to_inc={last}"
            )
    else:
        last = 1 if d is dtypes.bool_ else int(np.iinfo(d.np).max)
    _check_bounds(low, last, d)
    return low, last - low + 1


def _check_bounds(low: int, last: int, d: DType) -> None:
    if d.is_floating_point:
        most = float(dtypes.finfo(d).max)
        least = -most
    else:
        info = np.iinfo(d.np) if d is not dtypes.bool_ else None
        least, most = (info.min, info.max) if info else (0, 1)
    for name, value in (("from", low), ("to - 1", last)):
        if not least <= value <= most:
            raise RuntimeError(f"{name} is out of bounds for {c_name(d)}")
        digits = discrete.DIGITS.get(d.name)
        if digits and abs(value) > 1 << digits:
            warnings.warn(
                f"{name} is out of bounds [-(2^{digits}), 2^{digits}]. Due to precision limitations {c_name(d)} can "
                "support discrete uniform distribution only within this range. This warning will become an error in "
                "version 1.7 release, please fix the code in advance",
                stacklevel=5,
            )
