"""Values and storages: what tensors are made of.

A `Value` is the immutable result of one op; a `Storage` is a variable that points at its current Value. A tensor is
a strided view of a Storage. An in-place op makes a new Value and repoints the Storage, so every alias sees the write.
Immediate execution lets the new Value take over the old one's memory, which nobody can still want to read.
"""

from __future__ import annotations

import numpy as np


class Value:
    """The bytes that one op produced; `data` is a flat uint8 array."""

    __slots__ = ("data",)

    def __init__(self, data: np.ndarray) -> None:
        self.data = data


class Storage:
    """A variable holding a Value. `external` memory is visible outside (NumPy, DLPack, shared memory)."""

    __slots__ = ("value", "external", "keeper", "__weakref__")

    def __init__(self, data: np.ndarray, external: bool = False, keeper: object = None) -> None:
        self.value = Value(data)
        self.external = external
        self.keeper = keeper  # whatever must outlive the memory: a shared-memory segment, a file mapping

    @property
    def bytes(self) -> np.ndarray:
        """The realized memory as a flat, writable uint8 array."""
        return self.value.data

    @property
    def nbytes(self) -> int:
        return self.value.data.size

    def data_ptr(self) -> int:
        return self.value.data.ctypes.data


def empty_bytes(nbytes: int) -> np.ndarray:
    """Uninitialised memory for a new Value, aligned for vector loads."""
    raw = np.empty(nbytes + 64, np.uint8)
    start = -raw.ctypes.data % 64 if nbytes > 256 else 0
    return raw[start : start + nbytes]
