"""`load`: a checkpoint back into memory, by default as data only."""

from __future__ import annotations

import io
import mmap as mappings
import os
import pickle
import sys
import warnings
from typing import IO, Any

import numpy as np

from flambeau.devices import device
from flambeau.engine.value import Storage
from flambeau.safetensors import load_file
from flambeau.serialization import legacy, unpickler
from flambeau.serialization.archive import MAGIC, ArchiveReader
from flambeau.serialization.errors import CheckpointError, TruncatedError
from flambeau.serialization.files import FileLike, is_path, reading
from flambeau.serialization.locations import Location, Restore, restorer
from flambeau.serialization.settings import (
    LoadEndianness,
    get_default_load_endianness,
    get_default_mmap_options,
    skips_data,
)
from flambeau.serialization.source import Source
from flambeau.serialization.weights_only import WeightsUnpickler
from flambeau.storage import TypedStorage, UntypedStorage

_FORCES = ("WEIGHTS_ONLY", "NO_WEIGHTS_ONLY")
_TRUE = ("1", "y", "yes", "true")


class _Storages:
    """The storages of an archive, each read when the pickle first refers to it."""

    def __init__(self, archive: ArchiveReader, restore: Restore, mapped: np.ndarray | None) -> None:
        self._archive = archive
        self._restore = restore
        self._mapped = mapped
        self._swap = _byteorder(archive) != sys.byteorder
        self._found: dict[str, UntypedStorage] = {}

    def persistent_load(self, pid: Any) -> Any:
        if not isinstance(pid, tuple) or len(pid) != 5 or pid[0] not in ("storage", b"storage"):
            raise CheckpointError("a storage is referred to by its type, key, location and size")
        _, kind, key, location, count = pid
        key, location = (v.decode("ascii", "replace") if isinstance(v, bytes) else v for v in (key, location))
        if not (isinstance(kind, type) and issubclass(kind, (TypedStorage, UntypedStorage))):
            raise CheckpointError("a storage's type is not one of torch.FloatStorage and its like")
        if type(key) is not str or type(location) is not str:
            raise CheckpointError("a storage's key and location are text")
        size = count * kind.dtype.itemsize if type(count) is int else -1
        if size != self._archive.size(f"data/{key}"):
            raise CheckpointError(
                f"storage {key!r} should have {size} bytes, its record has {self._archive.size(f'data/{key}')}"
            )
        placed = self._found.get(key)
        if placed is None:
            placed = self._found[key] = self._restore(self._read(key, size, kind), location)
        return placed if kind is UntypedStorage else TypedStorage._of(placed._storage, kind.dtype)

    def _read(self, key: str, size: int, kind: Any) -> UntypedStorage:
        name = f"data/{key}"
        if skips_data():
            storage = Storage(np.zeros(size, np.uint8))
        elif self._mapped is None:
            storage = Storage(self._archive.read(name))
        else:
            start = self._archive.offset(name)
            shared = get_default_mmap_options() == getattr(mappings, "MAP_SHARED", None)  # writes must reach the file
            storage = Storage(self._mapped[start : start + size], external=shared)
        handle = UntypedStorage._of(storage)
        if self._swap:
            handle.byteswap(kind.dtype)
        return handle


def _byteorder(archive: ArchiveReader) -> str:
    if "byteorder" not in archive:
        assumed = {LoadEndianness.BIG: "big", LoadEndianness.NATIVE: sys.byteorder}
        return assumed.get(get_default_load_endianness(), "little")  # type: ignore[arg-type]
    order = archive.read("byteorder").tobytes()
    if order not in (b"little", b"big"):
        raise CheckpointError("Unknown endianness type: " + order[:20].decode("ascii", "replace"))
    return order.decode()


def load(
    f: FileLike,
    map_location: Location = None,
    pickle_module: Any = None,
    *,
    weights_only: bool | None = None,
    mmap: bool | None = None,
    **pickle_load_args: Any,
) -> Any:
    """Load an object that `save` (or `torch.save`) wrote.

    Args:
        f: a path, or a seekable binary file.
        map_location: where storages go: a device or its name, a dict from tags to tags, or a function of a storage
            and its tag that gives the storage to use (None: the default).
        pickle_module: module to unpickle with; only with `weights_only=False`.
        weights_only: build tensors, numbers, text and containers only (the default); `False` runs the pickle, which
            can execute any code: only for files from a source you trust.
        mmap: map the file's storages instead of reading them; writes stay private to this process.
        pickle_load_args: passed to the unpickler where `weights_only=False`, such as `encoding`.

    Raises:
        CheckpointError (an UnpicklingError and RuntimeError): the file is damaged, or names what may not be built.

    >>> import flambeau
    >>> buffer = io.BytesIO()
    >>> flambeau.save({"step": 3}, buffer)
    >>> buffer.seek(0)
    0
    >>> flambeau.load(buffer)
    {'step': 3}
    """
    module = _unpickling_module(weights_only, pickle_module, pickle_load_args)
    restore = restorer(map_location)
    if is_path(f) and os.fspath(f).endswith(".safetensors"):  # type: ignore[arg-type]
        return _load_safetensors(f, map_location)
    with reading(f) as file:
        start = file.tell()
        magic = file.read(len(MAGIC))
        file.seek(start)
        if magic == MAGIC:
            return _load_archive(f, file, restore, module, bool(mmap), pickle_load_args)
        if mmap:
            raise RuntimeError(
                "mmap can only be used with files saved with `torch.save(_use_new_zipfile_serialization=True), "
                "please torch.save your checkpoint with this option in order to use mmap."
            )
        if not magic:
            raise TruncatedError("Ran out of input: the file is empty")
        return legacy.load(file, restore, module, **pickle_load_args)


def _mapped(f: FileLike) -> np.ndarray:
    shared = get_default_mmap_options() == getattr(mappings, "MAP_SHARED", None)
    access = mappings.ACCESS_WRITE if shared else mappings.ACCESS_COPY
    with open(f, "r+b" if shared else "rb") as file:  # type: ignore[arg-type]
        return np.frombuffer(mappings.mmap(file.fileno(), 0, access=access), np.uint8)


def _load_safetensors(f: FileLike, map_location: Location) -> dict[str, Any]:
    if map_location is not None and not isinstance(map_location, (str, device)):
        kind = "dict" if isinstance(map_location, dict) else "callable"
        raise RuntimeError(
            f"Loading safetensors file with {kind} map_location is not supported. "
            "Use a device string or torch.device instead."
        )
    return load_file(f, device=map_location or "cpu")  # type: ignore[arg-type]


def _unpickling_module(weights_only: bool | None, pickle_module: Any, options: dict[str, Any]) -> Any:
    """The module to unpickle with, None for the reader that builds data only."""
    only_data = pickle_module is None if weights_only is None else weights_only
    force, lift = (os.getenv(f"TORCH_FORCE_{v}_LOAD", "0").lower() in _TRUE for v in _FORCES)
    if force and lift:
        raise RuntimeError(
            "Only one of `TORCH_FORCE_WEIGHTS_ONLY_LOAD` or `TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD` "
            "should be set, but both were set."
        )
    if force:
        only_data = True
    elif lift and weights_only is None:
        warnings.warn(
            "Environment variable TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD detected, since the"
            "`weights_only` argument was not explicitly passed to `torch.load`, forcing weights_only=False.",
            UserWarning,
            stacklevel=3,
        )
        only_data = False
    if only_data and pickle_module is not None:
        raise RuntimeError("Can not safely load weights when explicit pickle_module is specified")
    if only_data and options:
        warnings.warn("pickle_load_args only works if `weights_only=False`.", stacklevel=3)
    options.setdefault("encoding", "utf-8")
    return None if only_data else pickle_module or pickle


def _load_archive(
    f: FileLike, file: IO[bytes], restore: Restore, module: Any, mmap: bool, options: dict[str, Any]
) -> Any:
    archive = ArchiveReader(file)
    if "constants.pkl" in archive:
        raise RuntimeError(
            "this file is a TorchScript archive: Flambeau loads checkpoints that torch.save wrote. In PyTorch, "
            "save the state_dict of the loaded module instead."
        )
    mapped = None
    if mmap:
        if not is_path(f):
            raise ValueError("f must be a file path in order to use the mmap argument")
        mapped = _mapped(f)
    storages = _Storages(archive, restore, mapped)
    data = io.BytesIO(archive.read("data.pkl").tobytes())
    if module is None:
        return WeightsUnpickler(Source(data), storages.persistent_load).load()
    return unpickler.load(data, module, storages.persistent_load, **options)
