"""`torch.hub`: downloading files and state dicts. Repositories of code are not loaded."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlparse

from tqdm import tqdm

from flambeau.errors import NotSupportedError
from flambeau.serialization import load as _load

_HASH = re.compile(r"-([a-f0-9]*)\.")
_chosen: list[str] = []


def _get_torch_home() -> str:
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return os.path.expanduser(os.environ.get("TORCH_HOME", os.path.join(cache, "torch")))


def get_dir() -> str:
    """The folder that downloads are kept in."""
    return _chosen[-1] if _chosen else os.path.join(_get_torch_home(), "hub")


def set_dir(d: str | os.PathLike) -> None:
    """Choose the folder that downloads are kept in."""
    _chosen.append(os.path.expanduser(d))


def download_url_to_file(url: str, dst: str, hash_prefix: str | None = None, progress: bool = True) -> None:
    """Download to a file, checked against the start of its SHA-256; nothing half-written stays behind.

    Raises:
        RuntimeError: no network, or a hash that does not fit.
    """
    target = Path(dst).expanduser()
    digest = hashlib.sha256()
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers={"User-Agent": "flambeau"}))
    except (urllib.error.URLError, OSError) as error:
        raise RuntimeError(f"could not download {url}: {getattr(error, 'reason', error)}") from None
    total = int(response.headers.get("Content-Length") or 0) or None
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=target.name, suffix=".partial")
    try:
        with os.fdopen(handle, "wb") as file, response, tqdm(
            total=total, disable=not progress, unit="B", unit_scale=True
        ) as bar:  # fmt: skip
            while block := response.read(128 * 1024):
                file.write(block)
                digest.update(block)
                bar.update(len(block))
        if hash_prefix and not digest.hexdigest().startswith(hash_prefix):
            raise RuntimeError(f'invalid hash value (expected "{hash_prefix}", got "{digest.hexdigest()}")')
        os.replace(name, target)
    finally:
        Path(name).unlink(missing_ok=True)


def load_state_dict_from_url(
    url: str, model_dir: str | None = None, map_location: Any = None, progress: bool = True, check_hash: bool = False,
    file_name: str | None = None, weights_only: bool = True,
) -> Any:  # fmt: skip
    """Load a checkpoint by address; it is downloaded once and kept."""
    folder = Path(model_dir or os.path.join(get_dir(), "checkpoints"))
    folder.mkdir(parents=True, exist_ok=True)
    cached = folder / (file_name or os.path.basename(urlparse(url).path))
    if not cached.exists():
        found = _HASH.search(cached.name) if check_hash else None
        download_url_to_file(url, str(cached), found.group(1) if found else None, progress)
    return _load(cached, map_location=map_location, weights_only=weights_only)


def _absent(name: str) -> Any:
    def function(*args: Any, **kwargs: Any) -> NoReturn:
        raise NotSupportedError(
            f"torch.hub.{name} runs code from repositories, which Flambeau does not (see docs/differences.md)"
        )

    function.__name__, function.__doc__ = name, "Not supported: it would run code from a repository."
    return function


load, list, help = _absent("load"), _absent("list"), _absent("help")
