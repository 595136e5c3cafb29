"""The settings of saving and loading that hold until they are changed, as `torch.serialization` names them."""

from __future__ import annotations

import mmap
import threading
from enum import Enum


class LoadEndianness(Enum):
    """The byte order assumed of files that do not tell theirs."""

    NATIVE = 1
    LITTLE = 2
    BIG = 3


_load_endianness: LoadEndianness | None = None
_compute_crc32 = True
_mmap_flags = getattr(mmap, "MAP_PRIVATE", 0)
_local = threading.local()


def get_default_load_endianness() -> LoadEndianness | None:
    """The byte order assumed of files that do not tell theirs; None means little."""
    return _load_endianness


def set_default_load_endianness(endianness: LoadEndianness | None) -> None:
    """Set the byte order assumed of files that do not tell theirs."""
    global _load_endianness
    if not isinstance(endianness, LoadEndianness) and endianness is not None:
        raise TypeError("Invalid argument type in function set_default_load_endianness")
    _load_endianness = endianness


def get_crc32_options() -> bool:
    """Whether `save` computes the records' checksums."""
    return _compute_crc32


def set_crc32_options(compute_crc32: bool) -> None:
    """Whether `save` computes the records' checksums. Without them `load` cannot tell damaged data."""
    global _compute_crc32
    _compute_crc32 = compute_crc32


def get_default_mmap_options() -> int:
    """How `load(mmap=True)` maps files: `MAP_PRIVATE` or `MAP_SHARED`."""
    return _mmap_flags


class set_default_mmap_options:
    """Set how `load(mmap=True)` maps files, for good or inside a `with` block.

    Args:
        flags: `mmap.MAP_PRIVATE` keeps writes in this process, `mmap.MAP_SHARED` writes them to the file.
    """

    def __init__(self, flags: int) -> None:
        global _mmap_flags
        if flags not in (mmap.MAP_PRIVATE, mmap.MAP_SHARED):
            raise ValueError(
                "Invalid argument in function set_default_mmap_options, "
                f"expected mmap.MAP_PRIVATE or mmap.MAP_SHARED, but got {flags}"
            )
        self._before = _mmap_flags
        _mmap_flags = flags

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        global _mmap_flags
        _mmap_flags = self._before


class skip_data:
    """Inside the `with` block `save` leaves room for the storages' data without writing it, and `load` leaves it out.

    Args:
        materialize_fake_tensors: accepted for PyTorch's signature; there are no fake tensors here.
    """

    def __init__(self, materialize_fake_tensors: bool = False) -> None:
        self.materialize_fake_tensors = materialize_fake_tensors

    def __enter__(self) -> None:
        self._before = skips_data()
        _local.skip = True

    def __exit__(self, *exc: object) -> None:
        _local.skip = self._before


def skips_data() -> bool:
    """Whether this thread is inside `skip_data`."""
    return getattr(_local, "skip", False)
