"""Storages as users see them: `tensor.untyped_storage()`, `tensor.storage()` and the old `FloatStorage` family.

Both are thin handles on the engine's Storage, the memory that views share. Imports the tensor floor only.
"""

from __future__ import annotations

import copyreg
import mmap
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from flambeau import dtypes
from flambeau.devices import CPU, device, require_cpu
from flambeau.dtypes import dtype
from flambeau.engine.value import Storage, Value

_fresh = np.zeros


class _Handle:
    """What the typed and the untyped view of a storage have in common."""

    _storage: Storage
    dtype: dtype = dtypes.uint8
    is_cuda = False
    is_sparse = False
    # Of a storage whose data the file brings after its tensors: what is to be done when it is there.
    when_filled: list[Callable[[], None]] | None = None

    @property
    def device(self) -> device:
        return CPU

    @property
    def _cdata(self) -> int:
        return id(self._storage)

    def _array(self) -> np.ndarray:
        size = self.dtype.itemsize
        return self._storage.bytes[: len(self) * size].view(self.dtype.np)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self._array() if dtype is None else self._array().astype(dtype, copy=False)
        return array.copy() if copy else array

    def __len__(self) -> int:
        return self._storage.nbytes // self.dtype.itemsize

    def size(self) -> int:
        """Number of elements."""
        return len(self)

    def nbytes(self) -> int:
        """Number of bytes."""
        return self._storage.nbytes

    def element_size(self) -> int:
        """Bytes of one element."""
        return self.dtype.itemsize

    def data_ptr(self) -> int:
        """Address of the first byte; 0 for an empty storage."""
        return self._storage.data_ptr() if self._storage.nbytes else 0

    def tolist(self) -> list:
        """The elements as Python numbers."""
        return self._array().tolist()

    def __iter__(self) -> Iterator:
        return iter(self.tolist())

    def __getitem__(self, index: Any) -> Any:
        found = self._array()[index]
        return self._over(found) if isinstance(index, slice) else found.item()

    def __setitem__(self, index: Any, value: Any) -> None:
        self._array()[index] = value

    def fill_(self, value: Any) -> Any:
        """Set every element."""
        self[:] = value
        return self

    def copy_(self, source: Any, non_blocking: bool = False) -> Any:
        """Copy the elements of another storage, which has as many."""
        self[:] = source._array()
        return self

    def clone(self) -> Any:
        """The same elements in new memory."""
        return self._over(self._array().copy())

    def _over(self, array: np.ndarray) -> Any:
        return type(self)._of(Storage(array.view(np.uint8)), self.dtype)

    @classmethod
    def _of(cls, storage: Storage, dtype: dtype) -> Any:
        raise NotImplementedError

    def cpu(self) -> Any:
        """Itself: every storage of this release lives on the CPU."""
        return self

    def cuda(self, device: Any = None, non_blocking: bool = False) -> Any:
        """Raises: there is no CUDA device."""
        require_cpu("cuda")

    def is_shared(self) -> bool:
        """Whether other processes see the memory."""
        return self._storage.keeper is not None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Handle) and self._storage is other._storage and self.dtype is other.dtype

    def __hash__(self) -> int:
        return hash((id(self._storage), self.dtype.name))

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return type(self)._of(copied_storage(self._storage, memo), self.dtype)

    def __repr__(self) -> str:
        lines = "".join(f" {v}\n" for v in self)
        return f"{lines}[{self._title()} of size {len(self)}]"

    def _title(self) -> str:
        return f"torch.storage.{type(self).__name__}(device=cpu)"


class UntypedStorage(_Handle):
    """A block of bytes: `UntypedStorage(nbytes)`, or what `tensor.untyped_storage()` gives."""

    def __init__(self, source: int | bytes | list = 0, *, device: Any = None) -> None:
        require_cpu(device)
        values = _fresh(source, np.uint8) if isinstance(source, int) else np.array(list(source), np.uint8)
        self._storage = Storage(values)

    @classmethod
    def _of(cls, storage: Storage, dtype: dtype = dtypes.uint8) -> UntypedStorage:
        self = object.__new__(cls)
        self._storage = storage
        return self

    @classmethod
    def from_file(cls, filename: str | os.PathLike, shared: bool = False, nbytes: int = 0) -> UntypedStorage:
        """The first `nbytes` of a file as memory, read when looked at.

        Args:
            shared: writes go to the file, which is made or lengthened as needed; else they stay in this process.
        """
        return cls._of(_map_file(filename, shared, nbytes))

    def untyped(self) -> UntypedStorage:
        """Itself."""
        return self

    def resize_(self, nbytes: int) -> UntypedStorage:
        """Change the number of bytes, keeping those that stay."""
        data = _fresh(nbytes, np.uint8)
        kept = min(nbytes, self._storage.nbytes)
        data[:kept] = self._storage.bytes[:kept]
        self._storage.value = Value(data)
        return self

    def byteswap(self, dtype: dtype) -> None:
        """Reverse the bytes of every element in place, as for data from the other kind of machine."""
        real = dtype.to_real()
        self._storage.bytes.view(f"u{real.itemsize}").byteswap(inplace=True)

    def __reduce__(self) -> tuple:
        return UntypedStorage._of, (self._storage,)


class TypedStorage(_Handle):
    """A storage and the dtype it is seen through: what `tensor.storage()` gives, and how pickles name memory."""

    def __init__(self, *args: Any, wrap_storage: Any = None, dtype: dtype | None = None, device: Any = None) -> None:
        require_cpu(device)
        own = type(self).__dict__.get("dtype")
        self.dtype = own or dtype or dtypes.get_default_dtype()
        if wrap_storage is not None:
            self._storage = wrap_storage._storage
        elif args and not isinstance(args[0], int):
            self._storage = Storage(np.array(list(args[0]), self.dtype.np).view(np.uint8))
        else:
            self._storage = Storage(_fresh((args[0] if args else 0) * self.dtype.itemsize, np.uint8))

    @classmethod
    def from_file(cls, filename: str | os.PathLike, shared: bool = False, size: int = 0) -> TypedStorage:
        """The first `size` elements of a file; see `UntypedStorage.from_file`."""
        kind = cls._own_dtype("from_file")
        return cls._of(_map_file(filename, shared, size * kind.itemsize), kind)

    @classmethod
    def from_buffer(cls, buffer: Any, byte_order: str = "native", count: int = -1, offset: int = 0) -> TypedStorage:
        """A copy of the elements in a Python buffer, such as `img.tobytes()`.

        Args:
            byte_order: of the elements: "native", "little" or "big".
            count: how many elements (-1: all).
            offset: bytes to skip.
        """
        kind = cls._own_dtype("from_buffer")
        data = np.frombuffer(buffer, kind.np, count, offset).copy()
        if byte_order not in ("native", sys.byteorder):
            data = data.byteswap()
        return cls._of(Storage(data.view(np.uint8)), kind)

    @classmethod
    def _own_dtype(cls, method: str) -> dtype:
        kind = cls.__dict__.get("dtype")
        if kind is None:
            raise RuntimeError(f"{method}: only valid on subclasses of TypedStorage, such as FloatStorage")
        return kind

    @classmethod
    def _of(cls, storage: Storage, dtype: dtype) -> TypedStorage:
        self = object.__new__(cls)
        self._storage = storage
        self.dtype = dtype
        return self

    def untyped(self) -> UntypedStorage:
        """The same memory as bytes."""
        return UntypedStorage._of(self._storage)

    _untyped_storage = property(untyped)

    def pickle_storage_type(self) -> str:
        """The name that a checkpoint gives this kind of storage, such as "FloatStorage"."""
        return STORAGE_TYPES[self.dtype].__name__

    def type(self) -> str:
        """The class's full name."""
        return f"torch.{self.pickle_storage_type()}"

    def _title(self) -> str:
        return f"torch.storage.TypedStorage(dtype={self.dtype}, device=cpu)"

    def __reduce__(self) -> tuple:
        return _typed, (self._storage, self.dtype)


def _typed(storage: Storage, dtype: dtype) -> TypedStorage:
    return TypedStorage._of(storage, dtype)


_NAMES = {
    "Double": dtypes.float64, "Float": dtypes.float32, "Half": dtypes.float16, "BFloat16": dtypes.bfloat16,
    "Long": dtypes.int64, "Int": dtypes.int32, "Short": dtypes.int16, "Char": dtypes.int8, "Byte": dtypes.uint8,
    "Bool": dtypes.bool_, "ComplexDouble": dtypes.complex128, "ComplexFloat": dtypes.complex64,
}  # fmt: skip
STORAGE_TYPES: dict[dtype, type[TypedStorage]] = {
    d: type(f"{name}Storage", (TypedStorage,), {"dtype": d, "__doc__": f"A storage of {d}.", "__module__": __name__})
    for name, d in _NAMES.items()
}
globals().update({kind.__name__: kind for kind in STORAGE_TYPES.values()})


def _map_file(filename: str | os.PathLike, shared: bool, nbytes: int) -> Storage:
    with open(filename, "a+b" if shared else "rb") as file:
        size = file.seek(0, os.SEEK_END)
        if shared and size < nbytes:
            size = file.truncate(nbytes)
        if nbytes > size:
            raise RuntimeError(f"file {os.fspath(filename)!r} has {size} bytes, fewer than the {nbytes} to be mapped")
        if not nbytes:
            return Storage(_fresh(0, np.uint8))
        memory = mmap.mmap(file.fileno(), nbytes, access=mmap.ACCESS_WRITE if shared else mmap.ACCESS_COPY)
    return Storage(np.frombuffer(memory, np.uint8), external=shared, keeper=memory if shared else None)


def copied_storage(storage: Storage, memo: dict[int, Any]) -> Storage:
    """A copy of a storage, the same one each time within a deepcopy."""
    found = memo.get(id(storage))
    if found is None:
        memo[id(storage)] = found = Storage(storage.bytes.copy())
        memo.setdefault(id(memo), []).append(storage)  # as copy.deepcopy does: keeps the id from being reused
    return found


def _reduce_storage(storage: Storage) -> tuple:
    return _from_buffer, (bytearray(storage.bytes),)


def _from_buffer(buffer: bytearray) -> Storage:
    return Storage(np.frombuffer(buffer, np.uint8))


copyreg.pickle(Storage, _reduce_storage)  # type: ignore[arg-type]
