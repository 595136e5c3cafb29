"""Object code on disk, in a folder of the user's own. A file is a checksum and what it is the checksum of.

The cache only ever saves time: whatever is wrong with a file or the folder is ignored, with one warning a process, and
the kernel is compiled anew. `FLAMBEAU_CACHE_DIR` names another folder; empty or "0" turns the cache off.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import os
import stat
import sys
import threading
import time
from pathlib import Path

from flambeau._version import __version__
from flambeau.errors import warn_once

LIMIT = 256 << 20  # bytes kept from one process to the next
_MAGIC = b"flambeau1"
_DIGEST = 32
_DAY = 86400.0  # a file that is used is touched at most once a day, so that the unused ones grow old


def default_folder() -> Path | None:
    """Where object code goes, or None if nothing is to be kept."""
    chosen = os.environ.get("FLAMBEAU_CACHE_DIR")
    if chosen is not None:
        return Path(chosen) if chosen not in ("", "0") else None
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or os.path.expanduser("~\\AppData\\Local")
    elif sys.platform == "darwin":
        base = os.path.expanduser("~/Library/Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "flambeau" / "kernels" if os.path.isabs(base) else None


class ObjectCache:
    """Files of object code by name. `folder` None keeps nothing."""

    def __init__(self, folder: Path | None, limit: int = LIMIT) -> None:
        self.folder = folder
        self.limit = limit
        self._made = False
        self._written = 0

    def read(self, name: str) -> bytes | None:
        """The object code stored under `name`, if it is there and whole."""
        if self.folder is None:
            return None
        path = self.folder / name
        try:
            if not self._made:
                self._check_owner()
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._give_up("read", error)
            return None
        head = len(_MAGIC) + _DIGEST
        code = content[head:]
        if content[:head] != _MAGIC + hashlib.sha256(code).digest():
            warn_once(f"a damaged file in the kernel cache {self.folder} is ignored and written anew")
            return None
        self._touch(path)
        return code

    def write(self, name: str, code: bytes) -> None:
        """Keep object code; another process sees all of it or nothing."""
        if self.folder is None:
            return
        try:
            self._make_folder()
            temporary = self.folder / f"{name}.{os.getpid()}.{threading.get_ident()}.part"
            try:
                with open(temporary, "xb", opener=_for_owner) as file:
                    file.write(_MAGIC + hashlib.sha256(code).digest() + code)
                os.replace(temporary, self.folder / name)
            except OSError:
                temporary.unlink(missing_ok=True)
                raise
        except OSError as error:
            self._give_up("write", error)
            return
        if not self._written:
            atexit.register(self.prune)
        self._written += len(code)
        if self._written > self.limit // 4:
            self._written = 1
            self.prune()

    def prune(self) -> None:
        """Remove the files that were not used for longest, until the rest is within the limit."""
        if self.folder is None:
            return
        files = []
        try:
            with os.scandir(self.folder) as entries:
                for entry in entries:
                    info = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(info.st_mode):
                        files.append((info.st_mtime, info.st_size, entry.path))
            files.sort(reverse=True)
            total = 0
            for age, size, path in files:
                total += size
                abandoned = path.endswith(".part") and time.time() - age > _DAY
                if total > self.limit or abandoned:
                    os.unlink(path)
        except OSError:  # another process prunes too
            return

    def _make_folder(self) -> None:
        if not self._made and self.folder is not None:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            self.folder.mkdir(mode=0o700, exist_ok=True)
            self._check_owner()

    def _check_owner(self) -> None:
        """Machine code is only taken from a folder that nobody else can write to."""
        info = os.stat(self.folder)
        if hasattr(os, "getuid") and (info.st_uid != os.getuid() or info.st_mode & 0o022):
            raise PermissionError(f"others can write to it (mode {stat.S_IMODE(info.st_mode):o})")
        self._made = True

    def _touch(self, path: Path) -> None:
        try:
            if time.time() - path.stat().st_mtime > _DAY:
                os.utime(path)
        except OSError:
            pass

    def _give_up(self, what: str, error: OSError) -> None:
        warn_once(f"cannot {what} the kernel cache {self.folder}: {error}; kernels are compiled in every process")
        self.folder = None


def _for_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


@functools.cache
def source_stamp() -> str:
    """Changes whenever the source that kernels are generated by does."""
    package = Path(__file__).resolve().parents[2]
    stamp, start = hashlib.sha256(__version__.encode()), len(str(package))
    for part in ("engine", "ops"):
        for folder, folders, files in os.walk(package / part):
            folders.sort()
            for name in sorted(files):
                if name.endswith(".py"):
                    path = os.path.join(folder, name)
                    info = os.stat(path)
                    stamp.update(f"{path[start:]} {info.st_size} {info.st_mtime_ns}\n".encode())
    return stamp.hexdigest()
