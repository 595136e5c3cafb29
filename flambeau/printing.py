"""How tensors print: the same characters as PyTorch's.

`array_str` lays out the numbers of an array; `tensor_str` adds what only a tensor knows (dtype, device, gradient).
Imports the tensor floor; `methods` attaches the two as `Tensor.__repr__` and `Tensor.__format__`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from flambeau import dtypes
from flambeau.tensors import Tensor


@dataclasses.dataclass
class PrintOptions:
    """The options of `set_printoptions`, at PyTorch's defaults."""

    precision: int = 4
    threshold: float = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


_PROFILES: dict[str | None, dict[str, Any]] = {
    "default": {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80},
    "short": {"precision": 2, "threshold": 1000, "edgeitems": 2, "linewidth": 80},
    "full": {"precision": 4, "threshold": math.inf, "edgeitems": 3, "linewidth": 80},
}
_options = PrintOptions()


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Set how tensors print, from now on.

    Args:
        precision: digits after the point of floating-point numbers (4).
        threshold: number of elements above which a tensor is summarised (1000).
        edgeitems: elements kept at either end of each summarised dimension (3).
        linewidth: characters a line (80).
        profile: "default", "short" or "full"; the other arguments override it.
        sci_mode: always (True), never (False) or where it reads better (None) the scientific form.

    >>> set_printoptions(precision=2)
    >>> print(array_str(np.float32([1.12345])))
    [1.12]
    >>> set_printoptions(profile="default")
    """
    given = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems, "linewidth": linewidth}
    chosen = _PROFILES.get(profile, {}) | {k: v for k, v in given.items() if v is not None}
    for name, value in chosen.items():
        setattr(_options, name, value)
    _options.sci_mode = sci_mode


def get_printoptions() -> dict[str, Any]:
    """The options in force, as keyword arguments for `set_printoptions`."""
    return dataclasses.asdict(_options)


@contextlib.contextmanager
def printoptions(**options: Any) -> Iterator[None]:
    """Print with other options inside a `with` block; arguments as `set_printoptions`."""
    before = get_printoptions()
    set_printoptions(**options)
    try:
        yield
    finally:
        set_printoptions(**before)


class _NumberFormat:
    """One common form (integral, fixed or scientific) and width for all the real numbers of a tensor."""

    def __init__(self, values: np.ndarray, floating: bool) -> None:
        self.width = 1
        self._spec = self._point = ""
        if floating:
            self._choose_float_form(values[np.isfinite(values) & (values != 0)])
        elif values.size:
            self.width = max(len(str(values.min())), len(str(values.max())))

    def _choose_float_form(self, values: np.ndarray) -> None:
        self._spec, self._point = ".0f", "."
        if not values.size:
            return
        size = np.abs(values)
        integral = bool((values == np.ceil(values)).all())
        with np.errstate(over="ignore"):
            spread = bool(size.max() / size.min() > 1000.0 or size.max() > 1e8 or size.min() < 1e-4)
        if spread if _options.sci_mode is None else _options.sci_mode:
            self._spec, self._point = f".{_options.precision}e", ""
        elif not integral:
            self._spec, self._point = f".{_options.precision}f", ""
        self.width = max(len(self._text(v)) for v in _longest_candidates(values))

    def _text(self, value: Any) -> str:
        text = format(value, self._spec)
        return text + self._point if self._point and math.isfinite(value) else text

    def __call__(self, value: Any) -> str:
        return self._text(value).rjust(self.width)


def _longest_candidates(values: np.ndarray) -> list[float]:
    """The numbers among which the longest text is: on either side of zero, those of least and greatest size."""
    sides = (values[values < 0], values[values > 0])
    return [float(end(side)) for side in sides if side.size for end in (np.min, np.max)]


class _ComplexFormat:
    """Real and imaginary parts, each in its own common form."""

    def __init__(self, values: np.ndarray) -> None:
        self._real = _NumberFormat(values.real, floating=True)
        self._imag = _NumberFormat(values.imag, floating=True)
        self.width = self._real.width + self._imag.width + 1

    def __call__(self, value: complex) -> str:
        imag = (self._imag(value.imag) + "j").lstrip()
        return self._real(value.real) + ("" if imag[0] in "+-" else "+") + imag


def array_str(array: np.ndarray, indent: int = 0) -> str:
    """The numbers of an array in brackets, as they stand in a printed tensor whose first bracket is at `indent`.

    >>> print(array_str(np.float32([[1, 2.5], [-3, 0]])))
    [[ 1.0000,  2.5000],
     [-3.0000,  0.0000]]
    """
    if array.size == 0:
        return "[]"
    summarize = array.size > _options.threshold
    shown = _edges(array) if summarize else array
    kind = dtypes.of(array.dtype)
    if kind.is_complex:
        form: Any = _ComplexFormat(shown.astype(np.complex128))
    else:
        form = _NumberFormat(shown.astype(np.float64) if kind.is_floating_point else shown, kind.is_floating_point)
    return _nested(array, indent, summarize, form)


def _edges(array: np.ndarray) -> np.ndarray:
    """The elements that a summary shows: they alone decide the form and the width."""
    edge = _options.edgeitems
    for axis, n in enumerate(array.shape):
        if n > 2 * edge:
            first, last = np.split(array, [edge, n - edge], axis)[::2]
            array = np.concatenate((first, last), axis)
    return array


def _nested(array: np.ndarray, indent: int, summarize: bool, form: Any) -> str:
    if array.ndim == 0:
        return form(array.item())
    edge, n = _options.edgeitems, len(array)
    elide = summarize and n > 2 * edge
    if array.ndim == 1:
        return _row(array, indent, elide, form)
    shown = [*range(edge), *range(n - edge, n)] if elide else range(n)
    parts = [_nested(array[i], indent + 1, summarize, form) for i in shown]
    if elide:
        parts.insert(edge, "...")
    return "[" + ("," + "\n" * (array.ndim - 1) + " " * (indent + 1)).join(parts) + "]"


def _row(row: np.ndarray, indent: int, elide: bool, form: Any) -> str:
    edge = _options.edgeitems
    if elide:
        shown = [form(v) for v in (*row[:edge].tolist(), *row[len(row) - edge :].tolist())]
        shown.insert(edge, " ..." if edge else "...")
    else:
        shown = [form(v) for v in row.tolist()]
    per_line = max(1, math.floor((_options.linewidth - indent) / (form.width + 2)))
    lines = [", ".join(shown[i : i + per_line]) for i in range(0, len(shown), per_line)]
    return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"


def tensor_str(tensor: Tensor, *, tensor_contents: str | None = None) -> str:
    """`Tensor.__repr__`: the numbers, then what is not evident from them.

    Args:
        tensor_contents: what to print in place of the numbers.
    """
    kind = type(tensor)
    plain = kind is Tensor or kind.__qualname__ == "Parameter"
    prefix = "tensor(" if plain else f"{kind.__name__}("
    numbers = array_str(tensor._array(), len(prefix)) if tensor_contents is None else tensor_contents
    text = _with_suffixes(prefix + numbers, _suffixes(tensor), len(prefix))
    if not plain and _is_parameter(kind):
        text = f"Parameter({text})"
    return text


def _is_parameter(kind: type) -> bool:
    # nn is a floor above: the class is known here by its name.
    return any(base.__qualname__ == "Parameter" for base in kind.__mro__)


def _suffixes(tensor: Tensor) -> list[str]:
    default, kind, shape = dtypes.get_default_dtype(), tensor.dtype, tuple(tensor.shape)
    found = []
    if tensor.device.type != "cpu":
        found.append(f"device='{tensor.device}'")
    empty = 0 in shape
    if (empty and len(shape) != 1) or (not empty and not _options.edgeitems):
        found.append(f"size={shape}")
    evident = (default,) if empty else (default, default.to_complex(), dtypes.int64, dtypes.bool_)
    if kind not in evident:
        found.append(f"dtype={kind}")
    if tensor.grad_fn is not None:
        found.append(f"grad_fn=<{tensor.grad_fn.name()}>")
    elif tensor.requires_grad:
        found.append("requires_grad=True")
    return found


def _with_suffixes(text: str, suffixes: list[str], indent: int) -> str:
    """Add ", suffix" for each and the closing bracket, breaking the line before one that would not fit."""
    column = len(text) - text.rfind("\n") + 1
    for suffix in suffixes:
        if column + len(suffix) + 2 > _options.linewidth:
            text += ",\n" + " " * indent + suffix
            column = indent + len(suffix)
        else:
            text += ", " + suffix
            column += len(suffix) + 2
    return text + ")"


def tensor_format(tensor: Any, spec: str) -> str:
    """`Tensor.__format__`: a tensor without dimensions formats as its number."""
    if tensor.shape == () and type(tensor) is Tensor:
        return format(tensor._array().item(), spec)
    return object.__format__(tensor, spec)
