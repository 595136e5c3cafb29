"""Lets einops, installed as a user installs it, work on Flambeau tensors.

einops asks every subclass of its `AbstractBackend` whether a tensor is its own. Ours is defined when einops is first
imported.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from flambeau.compat.watching import when_imported


def _define(backends: ModuleType) -> None:
    """Define the backend: PyTorch's, over Flambeau."""

    class FlambeauBackend(backends.TorchBackend):  # type: ignore[name-defined, misc]
        framework_name = "flambeau"

        def __init__(self) -> None:
            self.torch = sys.modules["flambeau"]

        def layers(self) -> Any:
            raise NotImplementedError("einops layers: `from einops.layers.torch import ...` under `flambeau run`")

    backends.FlambeauBackend = FlambeauBackend  # type: ignore[attr-defined]


def watch() -> None:
    """Define the backend now if einops is there, else when it comes."""
    when_imported("einops._backends", _define)
