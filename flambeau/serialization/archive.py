"""The container of a checkpoint: an uncompressed ZIP file laid out as PyTorch's.

Every record starts at a multiple of 64 bytes, so that storages can be mapped into memory. The reader trusts nothing:
it accepts stored records only, which lie inside the file, do not overlap and have distinct names.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from typing import IO, Any, NamedTuple

import numpy as np

from flambeau.serialization.errors import CheckpointError, TruncatedError

ALIGNMENT = 64
MAGIC = b"PK\x03\x04"
FORMAT_VERSION = b"3\n"

Buffer = bytes | memoryview

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR = struct.Struct("<4sIQI")
_DESCRIPTOR, _DESCRIPTOR64 = struct.Struct("<4s3I"), struct.Struct("<4sI2Q")
_MAX16, _MAX32 = 0xFFFF, 0xFFFFFFFF
_HAS_DESCRIPTOR, _UTF8, _ENCRYPTED = 0x8, 0x800, 0x1
_MAX_COMMENT = 0xFFFF


class Record(NamedTuple):
    """Where the central directory says a record is; its data ends before `limit`."""

    name: str
    header: int
    size: int
    crc: int
    limit: int


def _bad_archive(reason: str) -> CheckpointError:
    return CheckpointError(
        f"PytorchStreamReader failed reading zip archive: {reason}. There is a high likelihood that your checkpoint "
        "file is corrupted. This can happen if the checkpoint was not saved properly, was transferred incorrectly, "
        "or the file was modified after saving."
    )


class ArchiveReader:
    """Records by name, from the current position of a seekable binary file to its end."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._start = file.tell()
        self._size = file.seek(0, 2) - self._start
        if self._at(0, min(4, self._size)) != MAGIC:
            raise _bad_archive("not a ZIP archive")
        self._records = self._directory()
        self._root = next(iter(self._records)).partition("/")[0]

    def _at(self, offset: int, size: int) -> bytes:
        if offset < 0 or size < 0 or offset + size > self._size:
            raise TruncatedError(f"PytorchStreamReader failed reading zip archive: the file ends at byte {self._size}")
        self._file.seek(self._start + offset)
        data = self._file.read(size)
        if len(data) != size:
            raise TruncatedError("PytorchStreamReader failed reading zip archive: unexpected end of file")
        return data

    def _find_directory(self) -> tuple[int, int, int]:
        """Number of records, and where the central directory starts and ends."""
        tail_size = min(self._size, _END.size + _MAX_COMMENT)
        tail = self._at(self._size - tail_size, tail_size)
        at = tail.rfind(b"PK\x05\x06")
        if at < 0 or at + _END.size > len(tail):
            raise _bad_archive("failed finding central directory")
        _, disk, _, _, count, size, start, _ = _END.unpack_from(tail, at)
        end = self._size - tail_size + at
        locator = end - _LOCATOR.size
        if locator >= 0 and self._at(locator, 4) == b"PK\x06\x07":
            at64 = _LOCATOR.unpack(self._at(locator, _LOCATOR.size))[2]
            signature, _, _, _, disk, _, _, count, size, start = _END64.unpack(self._at(at64, _END64.size))
            if signature != b"PK\x06\x06":
                raise _bad_archive("failed finding central directory")
            end = at64
        if disk or start + size > end or count * _CENTRAL.size > size or not count:
            raise _bad_archive("invalid header or archive is corrupted")
        return count, start, start + size

    def _directory(self) -> dict[str, Record]:
        count, start, end = self._find_directory()
        table = self._at(start, end - start)
        records: dict[str, Record] = {}
        at = 0
        for _ in range(count):
            record, at = _central_record(table, at)
            if record.name in records:
                raise _bad_archive(f"two records are named {record.name!r}")
            records[record.name] = record
        limit = start
        for record in sorted(records.values(), key=lambda r: r.header, reverse=True):
            if record.header + _LOCAL.size + record.size > limit:
                raise _bad_archive(f"record {record.name!r} overlaps another or ends beyond the file")
            records[record.name] = record._replace(limit=limit)
            limit = record.header
        return records

    def names(self) -> list[str]:
        """The records' names without the archive's own."""
        return [name.partition("/")[2] for name in self._records]

    def __contains__(self, name: str) -> bool:
        return f"{self._root}/{name}" in self._records

    def size(self, name: str) -> int:
        """Length of a record in bytes."""
        return self._record(name).size

    def _record(self, name: str) -> Record:
        found = self._records.get(f"{self._root}/{name}")
        if found is None:
            raise CheckpointError(
                f"PytorchStreamReader failed locating file {name}: file not found. "
                "The archive is not a checkpoint, or it is damaged."
            )
        return found

    def offset(self, name: str) -> int:
        """Where in the file a record's data starts."""
        record = self._record(name)
        header = _LOCAL.unpack(self._at(record.header, _LOCAL.size))
        stored_name = self._at(record.header + _LOCAL.size, header[9])
        data = record.header + _LOCAL.size + header[9] + header[10]
        if header[0] != MAGIC or stored_name != record.name.encode() or data + record.size > record.limit:
            raise _bad_archive(f"the header of record {record.name!r} contradicts the central directory")
        return self._start + data

    def read(self, name: str) -> np.ndarray:
        """A record's bytes, in new memory, after their checksum is verified."""
        record = self._record(name)
        offset = self.offset(name)
        data = np.empty(record.size, np.uint8)
        self._file.seek(offset)
        read_exactly(self._file, data)
        # PyTorch leaves the checksum 0 where it was told not to compute it.
        if record.crc and zlib.crc32(data.data) != record.crc:
            raise CheckpointError(f"PytorchStreamReader failed reading file {name}: bad CRC-32, the data is damaged")
        return data


def _central_record(table: bytes, at: int) -> tuple[Record, int]:
    if at + _CENTRAL.size > len(table):
        raise _bad_archive("the central directory is truncated")
    (signature, _, _, flags, method, _, _, crc, stored, size, name_size, extra_size, comment_size, disk, _, _,
     header) = _CENTRAL.unpack_from(table, at)  # fmt: skip
    name_at = at + _CENTRAL.size
    extra_at = name_at + name_size
    end = extra_at + extra_size + comment_size
    if signature != b"PK\x01\x02" or end > len(table):
        raise _bad_archive("invalid header or archive is corrupted")
    try:
        name = table[name_at:extra_at].decode()
    except UnicodeDecodeError:
        raise _bad_archive("a record's name is not text") from None
    wide = _zip64_fields(table[extra_at : extra_at + extra_size])
    fields = [next(wide, _MAX32) if v == _MAX32 else v for v in (size, stored, header)]
    if flags & _ENCRYPTED or method or fields[0] != fields[1] or disk:
        raise _bad_archive(f"record {name!r} is compressed or encrypted, which checkpoints never are")
    return Record(name, fields[2], fields[0], crc, 0), end


def _zip64_fields(extra: bytes) -> Any:
    at = 0
    while at + 4 <= len(extra):
        kind, size = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            body = extra[at + 4 : at + 4 + size // 8 * 8]
            return iter(struct.unpack(f"<{len(body) // 8}Q", body[: len(body) // 8 * 8]))
        at += 4 + size
    return iter(())


def read_exactly(file: IO[bytes], into: np.ndarray) -> None:
    """Fill a uint8 array from a file, or raise TruncatedError."""
    view = into.data
    done = 0
    readinto = getattr(file, "readinto", None)
    while done < len(view):
        if readinto is not None:
            n = readinto(view[done:]) or 0
        else:
            piece = file.read(min(len(view) - done, 1 << 24))
            n = len(piece)
            view[done : done + n] = piece
        if n == 0:
            raise TruncatedError("unexpected end of file while reading a tensor's data")
        done += n


class ArchiveWriter:
    """Writes records one after another to a binary file; `close` adds the directory.

    The layout is PyTorch's to the byte, data descriptors included: its mapped loader computes positions from it.
    """

    def __init__(self, file: IO[bytes], root: str) -> None:
        self._file = file
        self._root = root
        self._position = 0
        self._central: list[bytes] = []
        self._digest = hashlib.sha256()

    def write(self, name: str, data: Buffer, checksum: bool = True) -> None:
        """Append a record, its checksum left 0 if not wanted."""
        view = memoryview(data)
        full = f"{self._root}/{name}".encode()
        crc = zlib.crc32(view) if checksum else 0
        self._digest.update(full + struct.pack("<I", crc))
        size, header = view.nbytes, self._position
        wide = [v for v in (size, size) if size >= _MAX32] + [v for v in (header,) if header >= _MAX32]
        zip64 = struct.pack(f"<2H{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""
        flags = _UTF8 | (_HAS_DESCRIPTOR if size else 0)
        padding = -(header + _LOCAL.size + len(full) + len(zip64) + 4) % ALIGNMENT
        extra = zip64 + b"FB" + struct.pack("<H", padding) + b"Z" * padding
        self._put(_LOCAL.pack(MAGIC, 0, flags, 0, 0, 0, 0, 0, 0, len(full), len(extra)) + full + extra)
        self._put(view)
        if size:
            self._put((_DESCRIPTOR64 if zip64 else _DESCRIPTOR).pack(b"PK\x07\x08", crc, size, size))
        shown = min(size, _MAX32)
        central = _CENTRAL.pack(b"PK\x01\x02", 0, 0, flags, 0, 0, 0, crc, shown, shown, len(full), len(zip64), 0, 0, 0,
                                0, min(header, _MAX32))  # fmt: skip
        self._central.append(central + full + zip64)

    def _put(self, data: Buffer) -> None:
        self._file.write(data)
        self._position += memoryview(data).nbytes

    def close(self, checksum: bool = True) -> None:
        """Write the version, the serialization id and the central directory."""
        self.write("version", FORMAT_VERSION, checksum)
        number = int.from_bytes(self._digest.digest(), "big")
        self.write(".data/serialization_id", f"{number % 10**40:040d}".encode(), checksum)
        start, count = self._position, len(self._central)
        for entry in self._central:
            self._put(entry)
        end, size = self._position, self._position - start
        self._put(_END64.pack(b"PK\x06\x06", _END64.size - 12, 0x031E, 45, 0, 0, count, count, size, start))
        self._put(_LOCATOR.pack(b"PK\x06\x07", 0, end, 1))
        shown = min(count, _MAX16)
        self._put(_END.pack(b"PK\x05\x06", 0, 0, shown, shown, min(size, _MAX32), min(start, _MAX32), 0))
