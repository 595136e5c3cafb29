"""DLPack: sharing memory with other array libraries."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from flambeau.tensors import Tensor, from_array


class _Capsule:
    """Lets NumPy take a bare capsule."""

    def __init__(self, capsule: Any) -> None:
        self._capsule = capsule

    def __dlpack__(self, **_: Any) -> Any:
        return self._capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)


def from_dlpack(ext_tensor: Any, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor over the memory of an object with `__dlpack__` (or of a capsule)."""
    source = ext_tensor if hasattr(ext_tensor, "__dlpack__") else _Capsule(ext_tensor)
    array = np.from_dlpack(source)
    if not array.flags.writeable or copy:
        array = array.copy() if copy or not _writable_by_origin(ext_tensor) else _writable(array)
    return from_array(array, external=True)


def _writable_by_origin(source: Any) -> bool:
    flags = getattr(source, "flags", None)
    return isinstance(source, Tensor) or getattr(flags, "writeable", True)


def _writable(array: np.ndarray) -> np.ndarray:
    """NumPy shows DLPack memory of older exporters as read-only; the exporter allows writing."""
    address = array.ctypes.data
    span = int(sum((n - 1) * s for n, s in zip(array.shape, array.strides))) + array.itemsize if array.size else 0
    buffer = (ctypes.c_char * span).from_address(address)
    buffer._owner = array  # type: ignore[attr-defined]
    return np.ndarray(array.shape, array.dtype, buffer, 0, array.strides)


def to_dlpack(tensor: Tensor) -> Any:
    """A DLPack capsule over the memory of a tensor."""
    return tensor.__dlpack__()
