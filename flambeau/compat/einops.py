"""Lets einops, installed as a user installs it, work on Flambeau tensors.

einops asks every subclass of its `AbstractBackend` whether a tensor is its own. Ours is defined when einops is first
imported, by a finder that waits for that import and does nothing else.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_BACKENDS = "einops._backends"


def _define(backends: ModuleType) -> None:
    """Define the backend: PyTorch's, over Flambeau."""

    class FlambeauBackend(backends.TorchBackend):  # type: ignore[name-defined, misc]
        framework_name = "flambeau"

        def __init__(self) -> None:
            self.torch = sys.modules["flambeau"]

        def layers(self) -> Any:
            raise NotImplementedError("einops layers: `from einops.layers.torch import ...` under `flambeau run`")

    backends.FlambeauBackend = FlambeauBackend  # type: ignore[attr-defined]


class _Watcher(importlib.abc.MetaPathFinder):
    """Waits for einops's backends to be imported."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if fullname != _BACKENDS:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            return None
        run = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            run(module)
            _define(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def watch() -> None:
    """Define the backend now if einops is there, else when it comes."""
    if _BACKENDS in sys.modules:
        _define(sys.modules[_BACKENDS])
    else:
        sys.meta_path.insert(0, _Watcher())
