"""Fetching pretrained weights into the cache that PyTorch's hub uses too, so that nothing is downloaded twice."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import urlparse

from flambeau import serialization
from flambeau.vision.datasets.utils import fetch

HASH_IN_NAME = re.compile(r"-([a-f0-9]*)\.")


def checkpoint_dir() -> str:
    """The folder of downloaded checkpoints: $TORCH_HOME/hub/checkpoints, by default in the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("TORCH_HOME", os.path.join(cache, "torch"))
    return os.path.join(os.path.expanduser(home), "hub", "checkpoints")


def _hash_complaint(prefix: str) -> Callable[[str], str | None]:
    def check(path: str) -> str | None:
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found.startswith(prefix):
            return None
        return f'invalid hash value (expected "{prefix}", got "{found[: len(prefix)]}")'

    return check


def load_state_dict_from_url(
    url: str,
    model_dir: str | None = None,
    map_location: Any = None,
    progress: bool = True,
    check_hash: bool = False,
    file_name: str | None = None,
    weights_only: bool = True,
) -> dict[str, Any]:
    """Load a checkpoint from an address, or from the cache where it has been downloaded before.

    Args:
        url: where it is.
        model_dir: the cache; default, `checkpoint_dir()`.
        map_location, weights_only: as for `flambeau.load`.
        progress: show a progress bar.
        check_hash: the name ends in the start of the file's SHA-256, which must be right.
        file_name: its name in the cache; default, the last part of the address.

    Raises:
        RuntimeError: one line that says why, when it cannot be fetched or has another hash.
    """
    folder = model_dir or checkpoint_dir()
    name = file_name or os.path.basename(urlparse(url).path)
    target = os.path.join(folder, name)
    if not os.path.exists(target):
        print(f'Downloading: "{url}" to {target}', file=sys.stderr)
        hashed = HASH_IN_NAME.search(name) if check_hash else None
        fetch(url, target, _hash_complaint(hashed.group(1)) if hashed else lambda path: None, progress)
    return serialization.load(target, map_location=map_location, weights_only=weights_only)
