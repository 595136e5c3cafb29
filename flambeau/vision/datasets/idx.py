"""Reading the IDX format (big-endian arrays with a small header) of MNIST and its relatives, plain or compressed."""

from __future__ import annotations

import bz2
import gzip
import lzma
import math
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

DTYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}


def find_idx(path: str | Path) -> str | None:
    """The file itself, or the compressed file beside it, or None where neither exists."""
    for suffix in ("", *OPENERS):
        if os.path.isfile(str(path) + suffix):
            return str(path) + suffix
    return None


def read_idx(path: str | Path, dims: int | None = None) -> np.ndarray:
    """Read an IDX file (`path`, or the `.gz`, `.xz` or `.bz2` beside it) as a writable array in native byte order.

    Args:
        path: the file without a compression's suffix, or with it.
        dims: how many dimensions it must have; None accepts any.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: one line with the path, when the file is damaged or is something else.
    """
    found = find_idx(path)
    if found is None:
        raise FileNotFoundError(f"No such file: '{path}' (nor a compressed one beside it)")
    opener: Callable[..., Any] = OPENERS.get(os.path.splitext(found)[1], open)
    try:
        with opener(found, "rb") as file:
            data = file.read()
    except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        raise ValueError(f"{found} is damaged: {error}") from error
    return _parse(data, found, dims)


def _parse(data: bytes, path: str, dims: int | None) -> np.ndarray:
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in DTYPES:
        raise ValueError(f"{path} is not an IDX file: it starts with {data[:4]!r}")
    dtype, ndim = np.dtype(DTYPES[data[2]]), data[3]
    if dims is not None and ndim != dims:
        raise ValueError(f"{path} holds an array of {ndim} dimensions, {dims} were expected")
    start = 4 + 4 * ndim
    shape = [int.from_bytes(data[i : i + 4], "big") for i in range(4, start, 4)]
    if len(data) - start != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{path} is damaged: {len(data) - start} bytes do not hold {dtype} of shape {shape}")
    return np.frombuffer(data, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))
