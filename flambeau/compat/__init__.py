"""Standing in for PyTorch: in a process where `install()` was called, `import torch` gives Flambeau.

`flambeau run script.py` does that. `torch.a.b` is `flambeau.a.b`, and `torchvision` is `flambeau.vision`.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

# Where a name of PyTorch's is kept under another name here; the longest match decides.
_PLACES = {
    "torch": "flambeau",
    "torchvision": "flambeau.vision",
    "torch.cuda.amp.autocast_mode": "flambeau.cuda.amp",
    "torch.cuda.amp.grad_scaler": "flambeau.cuda.amp",
    "torch.autograd.grad_mode": "flambeau.autograd.mode",
    "torch.functional": "flambeau.ops",
    "torch.utils.data.dataset": "flambeau.utils.data.dataset",
}


def place_of(name: str) -> str | None:
    """The Flambeau module that stands for a module of PyTorch's, or None if the name is none of its."""
    head = name
    while head:
        if head in _PLACES:
            return _PLACES[head] + name[len(head) :]
        head = head.rpartition(".")[0]
    return None


class _Finder:
    """Finds `torch...` and `torchvision...` in Flambeau."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        place = place_of(fullname)
        if place is None:
            return None
        try:
            found = importlib.util.find_spec(place)
        except ModuleNotFoundError:
            found = None
        if found is None:
            raise ModuleNotFoundError(
                f"No module named {fullname!r} in Flambeau (see docs/differences.md)", name=fullname
            )
        return ModuleSpec(fullname, self, is_package=found.submodule_search_locations is not None)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        place = place_of(spec.name)
        assert place is not None
        module = importlib.import_module(place)
        self._identity = (module.__spec__, module.__name__)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run: the module is Flambeau's own. The import system has overwritten its spec: put that back."""
        name = module.__name__
        spec = getattr(module, "__spec__", None)
        place = place_of(spec.name) if spec is not None else None
        if place is not None:
            original = sys.modules[place]
            original.__spec__ = importlib.util.spec_from_loader(place, getattr(original, "__loader__", None))
        module.__name__ = name


_finder = _Finder()


def install() -> None:
    """From now on `import torch` and `import torchvision` give Flambeau in this process.

    Raises:
        RuntimeError: the real PyTorch has been imported already.
    """
    present = sys.modules.get("torch")
    if present is not None and getattr(present, "__name__", "") != "flambeau":
        raise RuntimeError("cannot stand in for torch: it has been imported already")
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    importlib.import_module("torch")


def uninstall() -> None:
    """Undo `install`."""
    if _finder in sys.meta_path:
        sys.meta_path.remove(_finder)
    for name in [n for n in sys.modules if place_of(n) is not None]:
        del sys.modules[name]
