"""Modules whose switches exist for programs that set them, and change nothing here; they say so once."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from flambeau.errors import warn_once


class QuietModule(ModuleType):
    """A module that warns once when a program sets one of its switches."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__.get("SWITCHES", ()) and self.__dict__.get(name) != value:
            shown = self.__name__.replace("flambeau", "torch", 1)
            warn_once(f"{shown}.{name} = {value!r} has no effect: Flambeau computes on the CPU", stacklevel=3)
        super().__setattr__(name, value)


def quiet(module_name: str) -> None:
    """Let the module of that name warn once about its SWITCHES."""
    sys.modules[module_name].__class__ = QuietModule
