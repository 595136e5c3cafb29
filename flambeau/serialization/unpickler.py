"""The unpickler behind `load(weights_only=False)`: Python's own, with PyTorch's names led to this house's objects.

It runs what the pickle says. Only a file from a source one trusts may be loaded with it.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import IO, Any

from flambeau.serialization import names


class _Names:
    """Mixed into an unpickler."""

    persistent: Callable[[Any], Any]

    def persistent_load(self, pid: Any) -> Any:
        return self.persistent(pid)

    def find_class(self, module: str, name: str) -> Any:
        if names.is_torch(module):
            return names.resolve(module, name)
        return super().find_class(module, name)  # type: ignore[misc]


@functools.cache
def _unpickler_class(module: types.ModuleType) -> type:
    return type("CheckpointUnpickler", (_Names, module.Unpickler), {})


def load(file: IO[bytes], module: Any, persistent: Callable[[Any], Any], **options: Any) -> Any:
    """The object of one pickle; `persistent` gives the storages it refers to."""
    unpickler = _unpickler_class(module)(file, **options)
    unpickler.persistent = persistent
    return unpickler.load()
