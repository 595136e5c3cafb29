"""Waits for a module to be imported: what has to be told about tensors is told then, and costs nothing before."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def when_imported(name: str, run: Callable[[ModuleType], Any]) -> None:
    """Call `run(module)` now if a module is there, else right after it has been imported."""
    present = sys.modules.get(name)
    if present is not None:
        run(present)
    else:
        sys.meta_path.insert(0, _Watcher(name, run))  # type: ignore[arg-type]


class _Watcher:
    """A finder that finds nothing, but sees the import it waits for."""

    def __init__(self, name: str, run: Callable[[ModuleType], Any]) -> None:
        self.name, self.run = name, run

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if fullname != self.name:
            return None
        sys.meta_path.remove(self)  # type: ignore[arg-type]
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            self.run(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec
