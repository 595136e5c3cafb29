"""TensorBoard's event files: records of protocol buffers, written without TensorBoard or protobuf being there.

A record is: length (uint64), its checksum, the message, its checksum. The field numbers are those of TensorFlow's
event.proto, summary.proto, tensor.proto and of the plugins' own messages.
"""

from __future__ import annotations

import itertools
import os
import socket
import struct
import threading
import time
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

# -- protocol buffers ------------------------------------------------------------------------------------------

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1  # negative numbers are two's complement
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _field(number: int, wire: int, payload: bytes) -> bytes:
    return varint(number << 3 | wire) + payload


def integer(number: int, value: int) -> bytes:
    return _field(number, VARINT, varint(int(value)))


def double(number: int, value: float) -> bytes:
    return _field(number, FIXED64, struct.pack("<d", value))


def single(number: int, value: float) -> bytes:
    return _field(number, FIXED32, struct.pack("<f", value))


def text(number: int, value: str) -> bytes:
    return data(number, value.encode())


def data(number: int, value: bytes) -> bytes:
    """A bytes field, an embedded message or packed numbers."""
    return _field(number, BYTES, varint(len(value)) + value)


def doubles(number: int, values: Iterable[float]) -> bytes:
    values = list(values)
    return data(number, struct.pack(f"<{len(values)}d", *values))


def singles(number: int, values: Iterable[float]) -> bytes:
    values = list(values)
    return data(number, struct.pack(f"<{len(values)}f", *values))


# -- checksums -------------------------------------------------------------------------------------------------


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)  # CRC-32C (Castagnoli), reflected
        table.append(byte)
    return table


_TABLE = _crc_table()


def crc32c(content: bytes) -> int:
    """The Castagnoli checksum.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    crc = 0xFFFFFFFF
    for byte in content:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 255]
    return crc ^ 0xFFFFFFFF


def _masked(content: bytes) -> bytes:
    crc = crc32c(content)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def record(content: bytes) -> bytes:
    length = struct.pack("<Q", len(content))
    return length + _masked(length) + content + _masked(content)


# -- files -----------------------------------------------------------------------------------------------------

_serial = itertools.count()


class EventFile:
    """One event file in a folder, which is made if need be. It is flushed as asked for, and when the process ends.

    Args:
        folder: where the file is made.
        max_queue: events after which the file is flushed.
        flush_secs: seconds after which the next event flushes the file.
        suffix: end of the file's name.
    """

    def __init__(self, folder: str | Path, max_queue: int = 10, flush_secs: float = 120, suffix: str = "") -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}.{next(_serial)}{suffix}"
        self.path = self.folder / name
        self._file: BinaryIO = self.path.open("ab")
        self._close = weakref.finalize(self, self._file.close)
        self._lock = threading.Lock()
        self._max_queue, self._flush_secs = max_queue, flush_secs
        self._waiting, self._flushed = 0, time.monotonic()
        self.write(text(3, "brain.Event:2"))
        self.flush()

    def write(self, what: bytes, step: int | None = None, walltime: float | None = None) -> None:
        """Append an event whose content is the encoded field `what`."""
        event = double(1, time.time() if walltime is None else walltime)
        if step is not None:
            event += integer(2, step)
        with self._lock:
            if self._file.closed:
                raise ValueError(f"{self.path} is closed")
            self._file.write(record(event + what))
            self._waiting += 1
        if self._waiting >= self._max_queue or time.monotonic() - self._flushed >= self._flush_secs:
            self.flush()

    def flush(self) -> None:
        with self._lock:
            if not self._file.closed:
                self._file.flush()
            self._waiting, self._flushed = 0, time.monotonic()

    def close(self) -> None:
        self._close()
