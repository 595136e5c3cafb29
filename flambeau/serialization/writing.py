"""`save`: an object and the tensors in it, as a checkpoint that PyTorch reads too."""

from __future__ import annotations

import os
import pickle
import sys
from typing import IO, Any

import numpy as np

from flambeau.serialization import legacy
from flambeau.serialization.archive import ALIGNMENT, ArchiveWriter
from flambeau.serialization.files import FileLike, is_path, writing
from flambeau.serialization.pickler import StorageTable, dumps
from flambeau.serialization.settings import get_crc32_options, skips_data

DEFAULT_PROTOCOL = 2


def save(
    obj: object,
    f: FileLike,
    pickle_module: Any = pickle,
    pickle_protocol: int = DEFAULT_PROTOCOL,
    _use_new_zipfile_serialization: bool = True,
    _disable_byteorder_record: bool = False,
) -> None:
    """Save an object to a file; tensors that share memory still share it after `load`.

    A path gets its new content in one step when all of it is on the disk: an error or a crash leaves the old file.

    Args:
        obj: what to save: a state_dict, a tensor, a module, or any picklable object that holds such.
        f: a path, or a binary file with `write`.
        pickle_module: module to pickle with.
        pickle_protocol: the pickle's protocol; 2 is what every version of PyTorch reads.
        _use_new_zipfile_serialization: False writes the format of PyTorch before 1.6.

    >>> import flambeau, io
    >>> buffer = io.BytesIO()
    >>> flambeau.save(flambeau.tensor([0, 1, 2]), buffer)
    """
    with writing(f) as file:
        if not _use_new_zipfile_serialization:
            if skips_data():
                raise RuntimeError("Cannot use skip_data=True with _use_new_zipfile_serialization=False")
            legacy.save(obj, file, pickle_module, pickle_protocol)
            return
        _save_archive(obj, file, _root(f), pickle_module, pickle_protocol, not _disable_byteorder_record)


def _root(f: FileLike) -> str:
    """The name that PyTorch gives the archive inside the file: the file's own, without its ending."""
    if not is_path(f):
        return "archive"
    path = os.fspath(f)  # type: ignore[arg-type]
    name = os.path.basename(path.decode(errors="replace") if isinstance(path, bytes) else path)
    stem = name.rpartition(".")[0] or name
    return stem if stem.isascii() else "archive"


def _save_archive(obj: object, file: IO[bytes], root: str, module: Any, protocol: int, byteorder: bool) -> None:
    table = StorageTable()
    data = dumps(obj, module, protocol, table)
    archive, checksum = ArchiveWriter(file, root), get_crc32_options()
    archive.write("data.pkl", data, checksum)
    archive.write(".format_version", b"1", checksum)
    archive.write(".storage_alignment", str(ALIGNMENT).encode(), checksum)
    if byteorder:
        archive.write("byteorder", sys.byteorder.encode(), checksum)
    for key, storage in table.storages.items():
        if skips_data():
            archive.write(f"data/{key}", np.zeros(storage.nbytes, np.uint8).data, checksum=False)
        else:
            archive.write(f"data/{key}", np.ascontiguousarray(storage.bytes).data, checksum)
    archive.close(checksum)
