"""Values and storages: what tensors are made of.

A `Value` is the immutable result of one op, or memory that came from outside. Until it is realized its `data` is None
and its `segment` knows how to compute it. A `Storage` is a variable that points at its current Value; a tensor is a
strided view of a Storage. An in-place op makes a new Value and repoints the Storage, so every alias sees the write and
every earlier reader keeps the old contents.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from flambeau.engine.runtime.allocator import Block, allocate, release
from flambeau.errors import UserLine, user_line


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


class Leased(Value):
    """A value in memory that its program uses again once nobody holds the value (`runtime.leases`)."""


class Copied(Value):
    """What memory that is visible outside held when it was read: of which storage, from which byte on."""

    storage: Storage
    offset: int


def located(value: Value) -> int:
    """The address of a realized value."""
    value.address = value.data.__array_interface__["data"][0]  # type: ignore[union-attr]
    return value.address


class Version:
    """Counts the writes to memory that tensors share; remembers the user's line of the last one."""

    count = 0
    where: UserLine | None = None

    def bump(self) -> None:
        self.count += 1
        self.where = user_line()


class Storage(Version):
    """A variable holding a Value. `external` memory is visible outside (NumPy, DLPack, shared memory).

    It is also the version counter of the tensors that were made with it, and of all that share their history.
    """

    _external: bool = False
    _lent: bool = False  # external only as long as an array of NumPy's is alive, ours lent to it or its own to us
    keeper: object = None  # whatever must outlive the memory: a shared-memory segment, a file mapping

    def __init__(self, data: np.ndarray, external: bool = False, keeper: object = None) -> None:
        self.value = Value(data)
        if external:
            self._external = True
            owner = data.base
            self._lent = type(owner) is np.ndarray and owner.flags.owndata and keeper is None
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
            data = self.bytes  # pending readers must see what is there now, other storages no later writes
            if self.value.__class__ is Leased:  # who holds memory outside counts on its references
                self.value = Value(data.copy())
        self._external, self._lent = visible, False

    def lend(self) -> None:
        """The memory is external while an array over it lives, of which it holds the reference. Call this before the
        array is made, and once more afterwards: another thread may just have found that there was none."""
        if self._lent or not self._external:
            self.external = True
            self._lent = True

    def seen_outside(self) -> bool:
        """Whether the memory is external; no longer, once the last array over memory that was lent has died."""
        if self._lent and _holders(self.value) == (_ALONE_POOLED if isinstance(self.value, Pooled) else _ALONE):
            self._external = self._lent = False
        return self._external

    @property
    def nbytes(self) -> int:
        return self.value.nbytes

    def data_ptr(self) -> int:
        return self.bytes.ctypes.data


def _with_all_fields() -> None:
    """The first storage has every field, so that Python finds room for them in all that follow."""
    storage = Storage(empty_bytes(0))
    storage._external = storage._lent = False
    storage.keeper, storage.count, storage.where = None, 0, None


def _holders(value: Value) -> tuple[int, int]:
    """How many hold the array of a value, and the memory under it, as this function sees it."""
    data = value.data
    return sys.getrefcount(data), sys.getrefcount(data.base) if data is not None and data.base is not None else 0


def holding(value: Value) -> Storage:
    """A new storage of a value."""
    storage = Storage.__new__(Storage)
    storage.value = value
    return storage


def pooled(nbytes: int) -> Pooled:
    """A value in uninitialised memory of the allocator: large memory that is fresh from the system costs more to touch
    than to fill."""
    block = allocate(nbytes)
    value = Pooled(block.array)
    value.block = block
    return value


def empty_bytes(nbytes: int) -> np.ndarray:
    """Uninitialised memory for a new Value, aligned for vector loads."""
    raw = np.empty(nbytes + 64, np.uint8)
    start = -raw.ctypes.data % 64 if nbytes > 256 else 0
    return raw[start : start + nbytes]


_with_all_fields()
_ALONE = _holders(Value(empty_bytes(1)))  # what a value shows that only its storage knows
_ALONE_POOLED = _ALONE[0] + 1, _ALONE[1]  # its block holds the array as well
