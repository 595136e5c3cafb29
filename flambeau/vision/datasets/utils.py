"""Getting and checking files for the datasets: checksums, downloads, archives, argument checks.

Imports nothing of the house. A download goes to a temporary file beside its target and is renamed only when its
checksum is right, so that an interrupted download never passes for a complete one.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import os
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterable
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlparse

from tqdm import tqdm

USER_AGENT = "flambeau/vision"
TIMEOUT_SECONDS = 30
CHUNK_BYTES = 1 << 16

# -- checksums -------------------------------------------------------------------------------------------------


def calculate_md5(fpath: str | Path, chunk_size: int = 1024 * 1024) -> str:
    """The MD5 checksum of a file, as 32 hexadecimal digits."""
    digest = hashlib.md5(usedforsecurity=False)
    with open(fpath, "rb") as file:
        while chunk := file.read(chunk_size):
            digest.update(chunk)
    return digest.hexdigest()


def check_md5(fpath: str | Path, md5: str, **kwargs: Any) -> bool:
    """Whether a file has the given MD5 checksum."""
    return md5 == calculate_md5(fpath, **kwargs)


def check_integrity(fpath: str | Path, md5: str | None = None) -> bool:
    """Whether `fpath` is a file and, when `md5` is given, has that checksum."""
    return os.path.isfile(fpath) and (md5 is None or check_md5(fpath, md5))


# -- downloads -------------------------------------------------------------------------------------------------


class DownloadError(RuntimeError):
    """A file could not be fetched: no network, no such address, or contents with the wrong checksum."""


def fetch(url: str, target: str | Path, check: Callable[[str], str | None], progress: bool = True) -> None:
    """Download `url` to `target` through a temporary file that replaces it only when complete and right.

    `check` is given the temporary file's path and returns what is wrong with it, or None.

    Raises:
        DownloadError: one line that names the address and the reason.
    """
    folder = os.path.dirname(os.path.abspath(target))
    os.makedirs(folder, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=folder, prefix=os.path.basename(target) + ".", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            _stream(url, file, progress)
        wrong = check(partial)
        if wrong:
            raise DownloadError(f"Download of {url} failed: {wrong}")
        os.chmod(partial, 0o644)
        os.replace(partial, target)
    finally:
        if os.path.exists(partial):
            os.unlink(partial)


def _stream(url: str, file: IO[bytes], progress: bool) -> None:
    request = urllib.request.Request(url, headers={"User-Agent": USER_AGENT})
    reason: object
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
            length = response.headers.get("Content-Length")
            total = int(length) if length and length.isdigit() else None
            with tqdm(total=total, unit="B", unit_scale=True, disable=not progress) as bar:
                while chunk := response.read(CHUNK_BYTES):
                    file.write(chunk)
                    bar.update(len(chunk))
            if total is None or file.tell() >= total:
                return
            reason = f"the connection closed after {file.tell()} of {total} bytes"
    except urllib.error.HTTPError as error:
        reason = f"the server answered {error.code} {error.reason}"
    except urllib.error.URLError as error:
        reason = f"no connection ({error.reason})"
    except (OSError, HTTPException, ValueError) as error:
        reason = error
    raise DownloadError(f"Download of {url} failed: {reason}")


def _md5_complaint(md5: str | None) -> Callable[[str], str | None]:
    def check(path: str) -> str | None:
        if md5 is None or (found := calculate_md5(path)) == md5:
            return None
        return f"File not found or corrupted. Its MD5 is {found}, {md5} was expected"

    return check


def download_url(
    url: str,
    root: str | Path,
    filename: str | Path | None = None,
    md5: str | None = None,
    max_redirect_hops: int = 3,
) -> None:
    """Download a file into `root`, unless it is already there with the right checksum.

    Args:
        url: where the file is.
        root: the folder to put it in; made when missing.
        filename: its name there; default, the last part of the address.
        md5: the checksum it must have; None accepts anything.
        max_redirect_hops: accepted for PyTorch's signature (urllib follows redirects itself).

    Raises:
        RuntimeError: one line that says why, when the file cannot be fetched or has another checksum.
    """
    root = os.path.expanduser(root)
    target = os.path.join(root, filename or os.path.basename(urlparse(url).path))
    if not check_integrity(target, md5):
        fetch(url, target, _md5_complaint(md5))


def download_and_extract_archive(
    url: str,
    download_root: str | Path,
    extract_root: str | Path | None = None,
    filename: str | Path | None = None,
    md5: str | None = None,
    remove_finished: bool = False,
) -> None:
    """`download_url`, then `extract_archive` into `extract_root` (default: where the archive is)."""
    download_root = os.path.expanduser(download_root)
    extract_root = download_root if extract_root is None else extract_root
    filename = filename or os.path.basename(urlparse(url).path)
    download_url(url, download_root, filename, md5)
    extract_archive(os.path.join(download_root, filename), extract_root, remove_finished)


# -- archives --------------------------------------------------------------------------------------------------

COMPRESSIONS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}
ARCHIVES = {".tar", ".zip"}
ALIASES = {
    ".tbz": (".tar", ".bz2"),
    ".tbz2": (".tar", ".bz2"),
    ".tgz": (".tar", ".gz"),
    ".txz": (".tar", ".xz"),
}


def _detect_file_type(file: str | Path) -> tuple[str, str | None, str | None]:
    """The suffix of a file's name as (whole suffix, archive type or None, compression or None)."""
    suffixes = Path(file).suffixes
    if not suffixes:
        raise RuntimeError(
            f"File '{file}' has no suffixes that could be used to detect the archive type and compression."
        )
    suffix = suffixes[-1]
    if suffix in ALIASES:
        return suffix, *ALIASES[suffix]
    if suffix in ARCHIVES:
        return suffix, suffix, None
    if suffix in COMPRESSIONS:
        if len(suffixes) > 1 and suffixes[-2] in ARCHIVES:
            return suffixes[-2] + suffix, suffixes[-2], suffix
        return suffix, None, suffix
    valid = sorted(set(ALIASES) | ARCHIVES | set(COMPRESSIONS))
    raise RuntimeError(f"Unknown compression or archive type: '{suffix}'.\nKnown suffixes are: '{valid}'.")


def _decompress(from_path: str | Path, to_path: str | Path | None = None, remove_finished: bool = False) -> Path:
    """Decompress a .gz, .xz or .bz2 file; the default target is its name without that suffix."""
    suffix, archive_type, compression = _detect_file_type(from_path)
    if not compression:
        raise RuntimeError(f"Couldn't detect a compression from suffix {suffix}.")
    target = Path(to_path) if to_path is not None else Path(str(from_path).removesuffix(suffix))
    partial = target.with_name(target.name + ".part")
    with COMPRESSIONS[compression](from_path, "rb") as source, open(partial, "wb") as sink:
        shutil.copyfileobj(source, sink)
    os.replace(partial, target)
    if remove_finished:
        os.remove(from_path)
    return target


def _extract_tar(from_path: str | Path, to_path: str | Path) -> None:
    """Extract the files and folders of a tar archive; anything that would land outside `to_path` is an error."""
    root = os.path.realpath(to_path)
    with tarfile.open(from_path, "r:*") as archive:
        for member in archive:
            place = os.path.realpath(os.path.join(root, member.name))
            if os.path.commonpath([root, place]) != root:
                raise RuntimeError(f"{from_path}: refusing to extract '{member.name}' outside of {to_path}")
            if member.isdir():
                os.makedirs(place, exist_ok=True)
            elif member.isfile():
                os.makedirs(os.path.dirname(place), exist_ok=True)
                source = archive.extractfile(member)
                assert source is not None
                with source, open(place, "wb") as sink:
                    shutil.copyfileobj(source, sink)


def extract_archive(
    from_path: str | Path, to_path: str | Path | None = None, remove_finished: bool = False
) -> str | Path:
    """Extract a .zip or (compressed) .tar archive, or decompress a single .gz, .xz or .bz2 file.

    Args:
        from_path: the archive; what it is is read from its suffix.
        to_path: the folder to extract into; default, the archive's own.
        remove_finished: delete the archive afterwards.

    Returns:
        The folder extracted into, or the decompressed file.

    Raises:
        RuntimeError: for an unknown suffix, or a member that would be written outside of `to_path`.
    """
    _, archive_type, compression = _detect_file_type(from_path)
    to_path = os.path.dirname(from_path) if to_path is None else to_path
    if archive_type is None:
        name = os.path.basename(from_path).removesuffix(str(compression))
        return _decompress(from_path, os.path.join(to_path, name), remove_finished)
    if archive_type == ".zip":
        with zipfile.ZipFile(from_path) as archive:
            archive.extractall(to_path)  # the zipfile module itself keeps members inside
    else:
        _extract_tar(from_path, to_path)
    if remove_finished:
        os.remove(from_path)
    return to_path


# -- folders and arguments -------------------------------------------------------------------------------------


def list_dir(root: str | Path, prefix: bool = False) -> list[str]:
    """The folders in `root`, with `root` before their names when `prefix`."""
    root = os.path.expanduser(root)
    names = [name for name in os.listdir(root) if os.path.isdir(os.path.join(root, name))]
    return [os.path.join(root, name) for name in names] if prefix else names


def list_files(root: str | Path, suffix: str | tuple[str, ...], prefix: bool = False) -> list[str]:
    """The files in `root` whose names end in `suffix`, with `root` before their names when `prefix`."""
    root = os.path.expanduser(root)
    names = [n for n in os.listdir(root) if os.path.isfile(os.path.join(root, n)) and n.endswith(suffix)]
    return [os.path.join(root, name) for name in names] if prefix else names


def iterable_to_str(iterable: Iterable[Any]) -> str:
    """The items in quotes, separated by commas."""
    return "'" + "', '".join([str(item) for item in iterable]) + "'"


def verify_str_arg(
    value: Any,
    arg: str | None = None,
    valid_values: Iterable[str] | None = None,
    custom_msg: str | None = None,
) -> str:
    """`value`, when it is a string and one of `valid_values`; a ValueError that says what would be valid if not."""
    if not isinstance(value, str):
        where = "" if arg is None else f" for argument {arg}"
        raise ValueError(f"Expected type str{where}, but got type {type(value)}.")
    if valid_values is not None and value not in valid_values:
        raise ValueError(
            custom_msg
            or f"Unknown value '{value}' for argument {arg}. Valid values are {{{iterable_to_str(valid_values)}}}."
        )
    return value
