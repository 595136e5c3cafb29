"""The format before PyTorch 1.6: a row of pickles, then the storages one after another. Read and written.

The row: a magic number, the protocol version, facts about the machine, the object, the storages' keys.
"""

from __future__ import annotations

import pickle
import struct
import sys
from collections.abc import Callable
from typing import IO, Any

import numpy as np

from flambeau.engine.value import Storage, empty_bytes
from flambeau.serialization import pickler, unpickler
from flambeau.serialization.archive import read_exactly
from flambeau.serialization.errors import CheckpointError, TruncatedError
from flambeau.serialization.locations import Restore
from flambeau.serialization.source import Source
from flambeau.serialization.weights_only import WeightsUnpickler
from flambeau.storage import TypedStorage, UntypedStorage

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION = 1001
_TAR_MAGIC = slice(257, 262)
_COUNT = struct.Struct("<q")
LoadPickle = Callable[[Callable[[Any], Any] | None], Any]


def save(obj: Any, file: IO[bytes], pickle_module: Any, protocol: int) -> None:
    """Write `obj` in the old format."""
    table = pickler.StorageTable()
    sizes = {"short": 2, "int": 4, "long": 4}
    system = {"protocol_version": PROTOCOL_VERSION, "little_endian": sys.byteorder == "little", "type_sizes": sizes}
    for header in (MAGIC_NUMBER, PROTOCOL_VERSION, system):
        pickle_module.dump(header, file, protocol=protocol)

    def persistent(part: Any) -> Any:
        # The sixth field would make the storage a view of another; PyTorch itself no longer writes such views.
        return (*table.entry(part), None) if isinstance(part, (TypedStorage, UntypedStorage)) else None

    pickler.dump(obj, file, pickle_module, protocol, persistent)
    keys = sorted(table.storages)
    pickle_module.dump(keys, file, protocol=protocol)
    for key in keys:
        data = table.storages[key].bytes
        file.write(_COUNT.pack(data.size // table.itemsize(key)))
        file.write(np.ascontiguousarray(data).data)


class _Storages:
    """The storages that the object's pickle refers to: made when first met, filled after the pickle's end."""

    def __init__(self, file: IO[bytes], restore: Restore, left: int) -> None:
        self._file = file
        self._restore = restore
        self._left = left  # bytes of the file that storages may still claim
        self._found: dict[str, TypedStorage] = {}
        self._memory: dict[str, np.ndarray] = {}
        self._when_filled: list[Callable[[], None]] = []

    def persistent_load(self, pid: Any) -> Any:
        if not isinstance(pid, tuple) or not pid:
            raise CheckpointError("a storage is referred to by a tuple")
        if pid[0] in ("module", b"module"):
            return pid[1]
        if len(pid) != 6 or pid[0] not in ("storage", b"storage"):
            raise CheckpointError("a storage is referred to by its type, key, location, size and view")
        _, kind, key, location, count, view = pid
        key, location = _text(key), _text(location)
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = self._new(kind, key, location, count)
        return found if view is None else self._view(found, view)

    def _new(self, kind: Any, key: str, location: str, count: Any) -> Any:
        if not (isinstance(kind, type) and issubclass(kind, (TypedStorage, UntypedStorage))):
            raise CheckpointError("a storage's type is not one of torch.FloatStorage and its like")
        nbytes = count * kind.dtype.itemsize if type(count) is int and count >= 0 else -1
        if nbytes < 0 or nbytes > self._left:
            raise CheckpointError(f"storage {key!r} claims more bytes than the file has")
        self._left -= nbytes
        memory = self._memory[key] = empty_bytes(nbytes)
        placed = self._restore(UntypedStorage._of(Storage(memory)), location)
        found = placed if kind is UntypedStorage else TypedStorage._of(placed._storage, kind.dtype)
        found.when_filled = self._when_filled
        return found

    def _view(self, root: TypedStorage, view: Any) -> TypedStorage:
        if not isinstance(view, tuple) or len(view) != 3 or any(type(v) is not int for v in view[1:]):
            raise CheckpointError("a storage's view is a key, an offset and a size")
        key, offset, count = _text(view[0]), *view[1:]
        if key not in self._found:
            size = root.dtype.itemsize
            if offset < 0 or count < 0 or (offset + count) * size > root._storage.nbytes:
                raise CheckpointError(f"storage {key!r} is a view beyond its root")
            window = root._storage.bytes[offset * size : (offset + count) * size]
            self._found[key] = TypedStorage._of(Storage(window), root.dtype)
            self._found[key].when_filled = self._when_filled
        return self._found[key]

    def fill(self, keys: Any, swap: bool) -> None:
        """Read the data of the storages, which follow in the order of `keys`."""
        keys = [_text(key) for key in keys] if isinstance(keys, list) else []
        if sorted(keys) != sorted(self._memory):
            raise CheckpointError("the storages that follow are not those that the object refers to")
        for key in keys:
            memory, found = self._memory[key], self._found[key]
            header = self._file.read(_COUNT.size)
            if len(header) < _COUNT.size:
                raise TruncatedError("unexpected end of file while reading a tensor's data")
            (count,) = _COUNT.unpack(header)
            if count * found.dtype.itemsize != memory.size:
                raise CheckpointError(f"storage {key!r} has {count} elements where the pickle says {len(found)}")
            read_exactly(self._file, memory)
            if swap:
                UntypedStorage._of(Storage(memory)).byteswap(found.dtype)
        for action in self._when_filled:
            action()
        for found in self._found.values():
            found.when_filled = None


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    if not isinstance(value, str):
        raise CheckpointError("the keys of storages are text")
    return value


def load(file: IO[bytes], restore: Restore, pickle_module: Any | None, **options: Any) -> Any:
    """Read an object in the old format; without a `pickle_module`, data only."""

    def pickled(persistent: Callable[[Any], Any] | None) -> Any:
        if pickle_module is None:
            return WeightsUnpickler(Source(file), persistent).load()
        return unpickler.load(file, pickle_module, persistent or _no_storage, **options)

    _check_start(file, pickle_module is None)
    if pickled(None) != MAGIC_NUMBER:
        raise CheckpointError("Invalid magic number; corrupt file?")
    version = pickled(None)
    if version != PROTOCOL_VERSION:
        raise CheckpointError(f"Invalid protocol version: {version if isinstance(version, int) else 'not a number'}")
    system = pickled(None)
    at = file.tell()
    storages = _Storages(file, restore, file.seek(0, 2) - at)
    file.seek(at)
    result = pickled(storages.persistent_load)
    little = system.get("little_endian", True) if isinstance(system, dict) else True
    storages.fill(pickled(None), swap=bool(little) != (sys.byteorder == "little"))
    return result


def _check_start(file: IO[bytes], only_data: bool) -> None:
    """Say what a file is that is no checkpoint at all, such as a web page saved under its name."""
    at = file.tell()
    start = file.read(_TAR_MAGIC.stop)
    file.seek(at)
    if start[_TAR_MAGIC] == b"ustar":
        raise CheckpointError(
            "this file is in the .tar format of PyTorch 0.1, which Flambeau does not read: "
            "load and save it again with a newer PyTorch"
        )
    if only_data and start[:1] != pickle.PROTO:
        raise CheckpointError(
            f"Invalid magic number; corrupt file? It starts with {start[:16]!r}, as no checkpoint of PyTorch's does"
        )


def _no_storage(pid: Any) -> Any:
    raise CheckpointError("a storage is referred to before the object")
