"""Element types and the rules that combine them.

A `dtype` names an element type as PyTorch does and carries the NumPy type that holds it. This file imports
nothing from the house; everything above it asks here which type an operation computes in and returns.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

BOOL, INTEGER, FLOAT, COMPLEX = range(4)  # the categories of type promotion, in ascending order


class dtype:
    """An element type: `flambeau.float32`, `flambeau.int64`, ..."""

    __slots__ = ("name", "np", "category", "itemsize", "is_floating_point", "is_complex", "is_signed", "_order")

    def __init__(self, name: str, np_dtype: Any, category: int, order: int) -> None:
        self.name = name
        self.np = np.dtype(np_dtype)
        self.category = category
        self.itemsize = self.np.itemsize
        self.is_floating_point = category == FLOAT
        self.is_complex = category == COMPLEX
        self.is_signed = category >= FLOAT or (category == INTEGER and self.np.kind == "i")
        self._order = order

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> tuple:
        return by_name, (self.name,)

    def to_real(self) -> dtype:
        return _REAL_OF.get(self, self)

    def to_complex(self) -> dtype:
        return _COMPLEX_OF.get(self, self)


bool_ = dtype("bool", np.bool_, BOOL, 0)
uint8 = dtype("uint8", np.uint8, INTEGER, 1)
int8 = dtype("int8", np.int8, INTEGER, 1)
int16 = dtype("int16", np.int16, INTEGER, 2)
int32 = dtype("int32", np.int32, INTEGER, 3)
int64 = dtype("int64", np.int64, INTEGER, 4)
float16 = dtype("float16", np.float16, FLOAT, 5)
bfloat16 = dtype("bfloat16", ml_dtypes.bfloat16, FLOAT, 5)
float32 = dtype("float32", np.float32, FLOAT, 6)
float64 = dtype("float64", np.float64, FLOAT, 7)
complex64 = dtype("complex64", np.complex64, COMPLEX, 8)
complex128 = dtype("complex128", np.complex128, COMPLEX, 9)

half, float_, double, short, int_, long = float16, float32, float64, int16, int32, int64
cfloat, cdouble = complex64, complex128

ALL = (bool_, uint8, int8, int16, int32, int64, float16, bfloat16, float32, float64, complex64, complex128)
FLOATING = (float16, bfloat16, float32, float64)
INTEGRAL = (uint8, int8, int16, int32, int64)
_BY_NUMPY = {d.np: d for d in ALL}
_BY_NAME = {d.name: d for d in ALL}
_COMPLEX_OF = {float32: complex64, float64: complex128, float16: complex64, bfloat16: complex64}
_REAL_OF = {complex64: float32, complex128: float64}
_WIDENED = {np.dtype(np.uint16): int32, np.dtype(np.uint32): int64}

_default = float32


def of(np_dtype: Any) -> dtype:
    """The dtype that a NumPy type is held in; TypeError where PyTorch has none."""
    found = _BY_NUMPY.get(np.dtype(np_dtype))
    if found is None:
        raise TypeError(
            f"can't convert np.ndarray of type numpy.{np.dtype(np_dtype).name}. The only supported types are: "
            "float64, float32, float16, complex64, complex128, int64, int32, int16, int8, uint8, and bool."
        )
    return found


def by_name(name: str) -> dtype:
    return _BY_NAME[name]


def get_default_dtype() -> dtype:
    """The dtype of floating-point tensors made without one (float32 unless set)."""
    return _default


def set_default_dtype(d: dtype) -> None:
    """Set the dtype of floating-point tensors made without one."""
    global _default
    if not (isinstance(d, dtype) and d.is_floating_point):
        raise TypeError(f"only floating-point types are supported as the default type, got {d}")
    _default = d


def default_complex() -> dtype:
    return _COMPLEX_OF[_default]


def of_number(value: Any) -> dtype:
    """The dtype of a Python number as a tensor of its own."""
    if isinstance(value, (bool, np.bool_)):
        return bool_
    if isinstance(value, (int, np.integer)):
        return int64
    if isinstance(value, (complex, np.complexfloating)):
        return default_complex()
    return _default


def promote_types(a: dtype, b: dtype) -> dtype:
    """The smallest dtype that both convert to, by PyTorch's lattice.

    >>> promote_types(int64, float16)
    torch.float16
    """
    if a is b:
        return a
    if a.category != b.category:
        low, high = (a, b) if a.category < b.category else (b, a)
        if high is complex64 and low is float64:
            return complex128
        return high
    if a._order == b._order:  # uint8 with int8, float16 with bfloat16: neither holds the other
        return int16 if a.category == INTEGER else float32
    return a if a._order > b._order else b


def result_dtype(dims: list[dtype], zero_dims: list[dtype], numbers: list[Any]) -> dtype:
    """Promotion of an op's operands: tensors with dimensions decide; 0-d tensors and numbers only by category."""
    result: dtype | None = None
    for d in dims:
        result = d if result is None else promote_types(result, d)
    for group in (zero_dims, [of_number(n) for n in numbers]):
        best: dtype | None = None
        for d in group:
            best = d if best is None else promote_types(best, d)
        if best is None:
            continue
        if result is None:
            result = best
        elif best.category > result.category:
            result = result.to_complex() if best.is_complex and result.is_floating_point else best
    assert result is not None
    return result


def can_cast(from_: dtype, to: dtype) -> bool:
    """Whether PyTorch lets a result of `from_` be written into a tensor of `to`."""
    if from_.is_complex and not to.is_complex:
        return False
    if from_.is_floating_point and to.category < FLOAT:
        return False
    return not (from_.category != BOOL and to.category == BOOL)


class finfo:
    """Limits of a floating-point dtype, as `torch.finfo`.

    >>> finfo(float32).eps
    1.1920928955078125e-07
    """

    def __init__(self, type: dtype | None = None) -> None:
        d = type or _default
        if d.category < FLOAT:
            raise TypeError(f"torch.finfo() requires a floating point input type. Use torch.iinfo to handle '{d}'")
        info = ml_dtypes.finfo(d.to_real().np)
        self.dtype = d.to_real().name
        self.bits = d.to_real().itemsize * 8
        self.eps, self.max, self.min = float(info.eps), float(info.max), float(info.min)
        self.tiny = self.smallest_normal = float(info.smallest_normal)
        self.resolution = float(info.resolution)

    def __repr__(self) -> str:
        return (
            f"finfo(resolution={self.resolution:g}, min={self.min:g}, max={self.max:g}, eps={self.eps:g}, "
            f"smallest_normal={self.smallest_normal:g}, tiny={self.tiny:g}, dtype={self.dtype})"
        )


class iinfo:
    """Limits of an integer dtype, as `torch.iinfo`."""

    def __init__(self, type: dtype) -> None:
        if type.category != INTEGER:
            raise TypeError(f"torch.iinfo() requires an integer input type. Use torch.finfo to handle '{type}'")
        info = np.iinfo(type.np)
        self.dtype, self.bits, self.max, self.min = type.name, info.bits, int(info.max), int(info.min)

    def __repr__(self) -> str:
        return f"iinfo(min={self.min}, max={self.max}, dtype={self.dtype})"
