"""Reading and writing safetensors files, without the safetensors package: named tensors and nothing that could run.

A file is the length of its header (8 bytes), the header (JSON: name -> dtype, shape, position) and the tensors' bytes
without gaps. Names, defaults and file layout are those of `safetensors.torch`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from math import prod
from typing import IO, Any

import numpy as np

from flambeau.devices import require_cpu
from flambeau.dtypes import (
    bfloat16,
    bool_,
    complex64,
    dtype,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
)
from flambeau.engine.value import Storage, empty_bytes
from flambeau.serialization.archive import read_exactly
from flambeau.serialization.errors import CheckpointError, TruncatedError
from flambeau.serialization.files import writing
from flambeau.tensors import Tensor, fresh

# In the order of the format's own enumeration: the widest types are written first.
_DTYPES = {
    "BOOL": bool_, "U8": uint8, "I8": int8, "I16": int16, "F16": float16, "BF16": bfloat16, "I32": int32,
    "F32": float32, "C64": complex64, "F64": float64, "I64": int64,
}  # fmt: skip
_NAMES = {d: name for name, d in _DTYPES.items()}
_RANK = {d: rank for rank, d in enumerate(_NAMES)}
_MAX_HEADER = 100_000_000
_METADATA = "__metadata__"


def save_file(tensors: dict[str, Tensor], filename: str | os.PathLike, metadata: dict[str, str] | None = None) -> None:
    """Write named tensors to a file, in one step; tensors that share memory are written each in full.

    Raises ValueError for what is not a dict of tensors, or a dtype the format lacks.
    """
    header, order = _header(tensors, metadata)
    with writing(filename) as file:
        file.write(header)
        for name in order:
            file.write(_bytes_of(tensors[name]).data)


def save(tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """Named tensors as the bytes of a safetensors file."""
    header, order = _header(tensors, metadata)
    return b"".join([header, *(_bytes_of(tensors[name]).tobytes() for name in order)])


def _bytes_of(tensor: Tensor) -> np.ndarray:
    data = np.ascontiguousarray(tensor._array())
    if sys.byteorder == "big":
        data = data.byteswap()
    return data.reshape(-1).view(np.uint8)


def _header(tensors: dict[str, Tensor], metadata: dict[str, str] | None) -> tuple[bytes, list[str]]:
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor) or tensor.dtype not in _NAMES or not isinstance(name, str):
            what = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise ValueError(f"Key `{name}` is invalid: safetensors holds tensors under text keys, not {what}")
    order = sorted(tensors, key=lambda name: (-_RANK[tensors[name].dtype], name))
    entries: dict[str, Any] = {_METADATA: dict(sorted(metadata.items()))} if metadata is not None else {}
    at = 0
    for name in order:
        tensor = tensors[name]
        end = at + tensor.numel() * tensor.dtype.itemsize
        entries[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, order


class safe_open:
    """A safetensors file whose tensors are read one by one: `with safe_open(path, "pt") as f: f.get_tensor(name)`."""

    def __init__(self, filename: str | os.PathLike, framework: str = "pt", device: Any = "cpu") -> None:
        if framework not in ("pt", "torch", "pytorch"):
            raise ValueError(f"framework {framework!r}: Flambeau gives its own tensors, spelled 'pt'")
        require_cpu(device)
        self._file: IO[bytes] = open(filename, "rb")  # noqa: SIM115
        try:
            self._start, self._entries, self._metadata = _read_header(self._file, os.fstat(self._file.fileno()).st_size)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> safe_open:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()

    def metadata(self) -> dict[str, str] | None:
        """The text that was saved beside the tensors."""
        return self._metadata

    def keys(self) -> list[str]:
        """The tensors' names in alphabetical order."""
        return sorted(self._entries)

    def offset_keys(self) -> list[str]:
        """The tensors' names in the order of the file."""
        return sorted(self._entries, key=lambda name: self._entries[name][2])

    def get_tensor(self, name: str) -> Tensor:
        """Read a tensor."""
        if name not in self._entries:
            raise CheckpointError(f"File does not contain tensor {name}")
        kind, shape, at, size = self._entries[name]
        data = empty_bytes(size)
        self._file.seek(self._start + at)
        read_exactly(self._file, data)
        return _tensor(data, kind, shape)

    def get_slice(self, name: str) -> Tensor:
        """A tensor, to be indexed."""
        return self.get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())


def load_file(filename: str | os.PathLike, device: Any = "cpu") -> dict[str, Tensor]:
    """All tensors of a file by name; CheckpointError for a file that is damaged or no safetensors file."""
    with safe_open(filename, device=device) as file:
        return {name: file.get_tensor(name) for name in file.offset_keys()}


def load(data: bytes) -> dict[str, Tensor]:
    """All tensors of a file's bytes by name."""
    view = memoryview(data)
    header = _Bytes(view)
    start, entries, _ = _read_header(header, len(view))
    found = {}
    for name, (kind, shape, at, size) in entries.items():
        found[name] = _tensor(np.frombuffer(view, np.uint8, size, start + at).copy(), kind, shape)
    return found


class _Bytes:
    """Bytes, read as a file."""

    def __init__(self, view: memoryview) -> None:
        self._view, self._at = view, 0

    def read(self, n: int) -> bytes:
        self._at += n
        return bytes(self._view[self._at - n : self._at])


def _tensor(data: np.ndarray, kind: dtype, shape: tuple[int, ...]) -> Tensor:
    if sys.byteorder == "big":
        data = data.view(kind.np).byteswap().view(np.uint8)
    return fresh(Storage(data), shape, kind)


Entry = tuple[dtype, tuple[int, ...], int, int]


def _read_header(file: Any, size: int) -> tuple[int, dict[str, Entry], dict[str, str] | None]:
    """Where the data starts, the tensors by name, and the metadata: all checked against the file's size."""
    length = int.from_bytes(file.read(8), "little") if size >= 8 else -1
    if length < 0 or length > size - 8:
        raise TruncatedError("Error while deserializing header: the file is not a safetensors file, or is truncated")
    if length > _MAX_HEADER:
        raise CheckpointError(f"Error while deserializing header: header too large: {length} bytes")
    try:
        header = json.loads(file.read(length), object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"Error while deserializing header: invalid JSON: {str(error)[:100]}") from None
    if not isinstance(header, dict):
        raise CheckpointError("Error while deserializing header: it is not a table of tensors")
    metadata = header.pop(_METADATA, None)
    if metadata is not None and not _is_text_table(metadata):
        raise CheckpointError("Error while deserializing header: the metadata must be a table of texts")
    entries = {name: _entry(name, fields) for name, fields in header.items()}
    at = 0
    for name, (_, _, start, nbytes) in sorted(entries.items(), key=lambda item: item[1][2:]):
        if start != at:
            raise CheckpointError(f"Error while deserializing header: invalid offset for tensor `{name[:100]}`")
        at += nbytes
    if at != size - 8 - length:
        raise TruncatedError(f"the header describes {at} bytes of tensors, the file has {size - 8 - length}")
    return 8 + length, entries, metadata


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _is_text_table(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(v, str) for v in value.values())


def _entry(name: str, fields: Any) -> Entry:
    kind = fields.get("dtype") if isinstance(fields, dict) else None
    if not isinstance(kind, str):
        raise CheckpointError(f"Error while deserializing header: tensor `{name[:100]}` has no dtype")
    if kind not in _DTYPES:
        raise CheckpointError(f"tensor `{name[:100]}` has the dtype {kind[:20]!r}, which Flambeau does not have")
    shape, span = fields.get("shape"), fields.get("data_offsets")
    if not _are_counts(shape) or not _are_counts(span) or len(span) != 2 or len(shape) > 64:
        raise CheckpointError(f"Error while deserializing header: tensor `{name[:100]}` has no valid shape and offsets")
    found = _DTYPES[kind]
    if span[1] - span[0] != prod(shape) * found.itemsize:
        raise CheckpointError(f"tensor `{name[:100]}`: its shape and its bytes do not agree")
    return found, tuple(shape), span[0], span[1] - span[0]


def _are_counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(v) is int and 0 <= v < 2**63 for v in values)
