"""`torch.testing`: `assert_close` and `make_tensor`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from flambeau import dtypes, ops
from flambeau.dtypes import dtype
from flambeau.tensors import Tensor

_TOLERANCES = {
    dtypes.float16: (1e-3, 1e-5), dtypes.bfloat16: (1.6e-2, 1e-5), dtypes.float32: (1.3e-6, 1e-5),
    dtypes.float64: (1e-7, 1e-7), dtypes.complex64: (1.3e-6, 1e-5), dtypes.complex128: (1e-7, 1e-7),
}  # fmt: skip


def assert_close(
    actual: Any, expected: Any, *, allow_subclasses: bool = True, rtol: float | None = None, atol: float | None = None,
    equal_nan: bool = False, check_device: bool = True, check_dtype: bool = True, check_layout: bool = True,
    check_stride: bool = False, msg: Any = None,
) -> None:  # fmt: skip
    """AssertionError unless two tensors (numbers, sequences, mappings of them) are close.

    Tolerances default by dtype: `|actual - expected| <= atol + rtol * |expected|`.
    """
    if (rtol is None) ^ (atol is None):
        raise ValueError(
            "Both 'rtol' and 'atol' must be either specified or unspecified, but got no "
            f"{'rtol' if rtol is None else 'atol'} "
            f"and {'atol' if rtol is None else 'rtol'}={atol if rtol is None else rtol} instead."
        )
    settings = {
        "rtol": rtol,
        "atol": atol,
        "equal_nan": equal_nan,
        "check_dtype": check_dtype,
        "check_stride": check_stride,
    }
    problem = _compare(actual, expected, "", settings)
    if problem:
        raise AssertionError(msg(problem) if callable(msg) else msg or problem)


def _compare(actual: Any, expected: Any, at: str, settings: dict[str, Any]) -> str | None:
    if isinstance(actual, Mapping) and isinstance(expected, Mapping):
        if set(actual) != set(expected):
            return f"The keys of the mappings do not match: {sorted(map(str, set(actual) ^ set(expected)))}"
        pairs = [(actual[k], expected[k], f"{at}[{k!r}]") for k in expected]
    elif _is_sequence(actual) and _is_sequence(expected):
        if len(actual) != len(expected):
            return f"The length of the sequences mismatch: {len(actual)} != {len(expected)}"
        pairs = [(a, e, f"{at}[{i}]") for i, (a, e) in enumerate(zip(actual, expected))]
    else:
        return _compare_leaves(actual, expected, at, settings)
    return next((found for a, e, where in pairs if (found := _compare(a, e, where, settings))), None)


def _is_sequence(x: Any) -> bool:
    return isinstance(x, Sequence) and not isinstance(x, str)


def _compare_leaves(actual: Any, expected: Any, at: str, settings: dict[str, Any]) -> str | None:
    where = f"\n\nThe failure occurred for item {at}" if at else ""
    if actual is None or expected is None:
        return None if actual is expected else f"None mismatch: {actual} is not {expected}{where}"
    numbers = not isinstance(actual, Tensor) and not isinstance(expected, Tensor)
    if not numbers and isinstance(actual, Tensor) != isinstance(expected, Tensor) and not _arrays(actual, expected):
        raise TypeError(f"No comparison pair was able to handle inputs of type {type(actual)} and {type(expected)}.")
    a = (
        actual
        if isinstance(actual, Tensor)
        else ops.as_tensor(actual, dtype=dtypes.float64 if _is_float(actual, expected) else None)
    )
    e = (
        expected
        if isinstance(expected, Tensor)
        else ops.as_tensor(expected, dtype=dtypes.float64 if _is_float(actual, expected) else None)
    )
    if a.shape != e.shape:
        return f"The values for attribute 'shape' do not match: {a.shape} != {e.shape}.{where}"
    if settings["check_dtype"] and a.dtype is not e.dtype:
        return f"The values for attribute 'dtype' do not match: {a.dtype} != {e.dtype}.{where}"
    if settings["check_stride"] and a.stride() != e.stride():
        return f"The values for attribute 'stride()' do not match: {a.stride()} != {e.stride()}.{where}"
    rtol, atol = settings["rtol"], settings["atol"]
    if rtol is None:
        each = [_TOLERANCES.get(t.dtype, (0.0, 0.0)) for t in (a, e)]
        rtol, atol = max(t[0] for t in each), max(t[1] for t in each)
    return _mismatch(a, e, rtol, atol, settings["equal_nan"], where, numbers)


def _arrays(*values: Any) -> bool:
    return any(isinstance(v, np.ndarray) for v in values)


def _is_float(*values: Any) -> bool:
    return any(isinstance(v, float) for v in values) and all(isinstance(v, (int, float)) for v in values)


def _mismatch(a: Tensor, e: Tensor, rtol: float, atol: float, equal_nan: bool, where: str, scalar: bool) -> str | None:
    wide = np.complex128 if a.dtype.is_complex else np.float64 if a.dtype.is_floating_point else np.int64
    x, y = a._array().astype(wide), e._array().astype(wide)
    with np.errstate(all="ignore"):
        off = ~np.isclose(x, y, rtol=rtol, atol=atol, equal_nan=equal_nan)
        if not off.any():
            return None
        distance = np.where(off, np.abs(x - y), 0)
        relative = distance / np.abs(y)
    exact = rtol == 0 and atol == 0
    kind = "Scalars" if scalar else "Tensor-likes"
    head = f"{kind} are not {'equal' if exact else 'close'}!"
    if x.ndim == 0:
        allowed = "" if exact else f" (up to {atol} allowed)"
        share = "" if exact else f" (up to {rtol} allowed)"
        expected = f"Expected {e.item()} but got {a.item()}.\n"
        return (
            f"{head}\n\n{expected}Absolute difference: {float(distance)}{allowed}\n"
            f"Relative difference: {float(relative)}{share}{where}"
        )
    greatest, largest = (
        np.unravel_index(distance.argmax(), x.shape),
        np.unravel_index(np.nan_to_num(relative).argmax(), x.shape),
    )
    shown = [tuple(int(i) for i in index) for index in (greatest, largest)]
    return (
        f"{head}\n\nMismatched elements: {off.sum()} / {off.size} ({off.mean():.1%})\n"
        f"Greatest absolute difference: {distance[greatest]} at index "
        f"{shown[0]}{'' if exact else f' (up to {atol} allowed)'}\n"
        f"Greatest relative difference: {relative[largest]} at index "
        f"{shown[1]}{'' if exact else f' (up to {rtol} allowed)'}{where}"
    )


def assert_allclose(
    actual: Any,
    expected: Any,
    rtol: float | None = None,
    atol: float | None = None,
    equal_nan: bool = True,
    msg: str = "",
) -> None:
    """The deprecated spelling of `assert_close`, which does not compare dtypes."""
    assert_close(
        ops.as_tensor(actual),
        ops.as_tensor(expected),
        rtol=rtol,
        atol=atol,
        equal_nan=equal_nan,
        check_dtype=False,
        msg=msg or None,
    )


def make_tensor(
    *shape: Any, dtype: dtype, device: Any = None, low: float | None = None, high: float | None = None,
    requires_grad: bool = False, noncontiguous: bool = False, exclude_zero: bool = False, memory_format: Any = None,
) -> Tensor:  # fmt: skip
    """A random tensor of any dtype, uniform on [low, high)."""
    size = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
    if dtype is dtypes.bool_:
        low, high = 0, 2
    low = (-9 if dtype.is_signed else 0) if low is None else low
    high = (9 if dtype.is_floating_point or dtype.is_complex else 10) if high is None else high
    if dtype.is_floating_point or dtype.is_complex:
        made = (ops.rand(size, dtype=dtypes.float64) * (high - low) + low).to(dtype)
        if dtype.is_complex:
            made = made + 1j * (ops.rand(size, dtype=dtypes.float64) * (high - low) + low)
            made = made.to(dtype)
    else:
        made = ops.randint(int(low), int(high), size).to(dtype)
    if exclude_zero:
        made = made.masked_fill(made == 0, 1)
    if noncontiguous and made.numel() > 1:
        made = ops.repeat_interleave(made, 2, dim=-1)[..., ::2]
    return made.requires_grad_(requires_grad) if requires_grad else made
