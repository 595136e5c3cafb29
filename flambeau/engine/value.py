"""Values and storages: what tensors are made of.

A `Value` is the immutable result of one op, or memory that came from outside. Until it is realized its `data` is None
and its `segment` knows how to compute it. A `Storage` is a variable that points at its current Value; a tensor is a
strided view of a Storage. An in-place op makes a new Value and repoints the Storage, so every alias sees the write and
every earlier reader keeps the old contents.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from flambeau.engine.runtime.allocator import Block, release


class Value:
    """The bytes that one op produced; `data` is a flat uint8 array, or None while the op is pending.

    `segment` and `number` say where the value stands in a recording that is still pending (see `engine.record`).
    """

    segment: Any = None
    number: int = -1
    shared: bool = False  # several storages may hold it: it must never be written in place
    address: int = 0  # of the data, once somebody has asked

    def __init__(self, data: np.ndarray) -> None:
        self.data: np.ndarray | None = data
        self.nbytes: int = data.size


class Pooled(Value):
    """A value whose memory goes back to the allocator with it."""

    block: Block

    def __del__(self) -> None:
        self.data = None
        release(self.block)


def located(value: Value) -> int:
    """The address of a realized value."""
    value.address = value.data.__array_interface__["data"][0]  # type: ignore[union-attr]
    return value.address


class Storage:
    """A variable holding a Value. `external` memory is visible outside (NumPy, DLPack, shared memory)."""

    _external: bool = False
    keeper: object = None  # whatever must outlive the memory: a shared-memory segment, a file mapping

    def __init__(self, data: np.ndarray, external: bool = False, keeper: object = None) -> None:
        self.value = Value(data)
        if external:
            self._external = True
        if keeper is not None:
            self.keeper = keeper

    @property
    def bytes(self) -> np.ndarray:
        """The memory as a flat, writable uint8 array that is this storage's alone; nothing pending reads it now."""
        if self.value.segment is not None:
            self.value.segment.settle()
        if self.value.shared:
            self.value = Value(self.value.data.copy())  # type: ignore[union-attr]
        return self.value.data  # type: ignore[return-value]

    @property
    def external(self) -> bool:
        return self._external

    @external.setter
    def external(self, visible: bool) -> None:
        if visible:
            _ = self.bytes  # pending readers must see what is there now, other storages no later writes
        self._external = visible

    @property
    def nbytes(self) -> int:
        return self.value.nbytes

    def data_ptr(self) -> int:
        return self.bytes.ctypes.data


def holding(value: Value) -> Storage:
    """A new storage of a value."""
    storage = Storage.__new__(Storage)
    storage.value = value
    return storage


def empty_bytes(nbytes: int) -> np.ndarray:
    """Uninitialised memory for a new Value, aligned for vector loads."""
    raw = np.empty(nbytes + 64, np.uint8)
    start = -raw.ctypes.data % 64 if nbytes > 256 else 0
    return raw[start : start + nbytes]
