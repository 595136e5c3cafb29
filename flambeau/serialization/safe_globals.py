"""What a `weights_only` load may name: the built-in list, and what the user adds to it."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any

from flambeau.serialization.names import torch_name

SafeGlobal = Callable | tuple[Callable, str]

_added: set[SafeGlobal] = set()


def add_safe_globals(safe_globals: list[SafeGlobal]) -> None:
    """Let `load(weights_only=True)` build these classes and call these functions.

    Args:
        safe_globals: classes and functions, or pairs of one and the full name that the file gives it.
    """
    _added.update(safe_globals)


def get_safe_globals() -> list[SafeGlobal]:
    """What `add_safe_globals` has added."""
    return list(_added)


def clear_safe_globals() -> None:
    """Forget all that `add_safe_globals` has added."""
    _added.clear()


class safe_globals:
    """Allow these classes and functions inside a `with` block; see `add_safe_globals`."""

    def __init__(self, safe_globals: list[SafeGlobal]) -> None:
        self.safe_globals = safe_globals

    def __enter__(self) -> None:
        add_safe_globals(self.safe_globals)

    def __exit__(self, *exc: object) -> None:
        _added.difference_update(self.safe_globals)


def user_globals() -> dict[str, Any]:
    """Full name -> object, under the name that Flambeau has for it and the one that PyTorch writes.

    Raises ValueError or TypeError for an entry that is neither a callable nor a (callable, name) pair.
    """
    found: dict[str, Any] = {}
    for entry in _added:
        if isinstance(entry, tuple):
            if len(entry) != 2:
                raise ValueError(
                    "Expected tuple of length 2 (global, str of callable full path), "
                    f"but got tuple of length: {len(entry)}"
                )
            if type(entry[1]) is not str:
                raise TypeError(
                    f"Expected second item in tuple to be str of callable full path, but got: {type(entry[1])}"
                )
            found[entry[1]] = entry[0]
            continue
        found[f"{entry.__module__}.{entry.__qualname__}"] = entry
        theirs = torch_name(entry)
        if theirs is not None:
            found[".".join(theirs)] = entry
    return found


CONTAINERS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "Counter"): Counter,
    ("builtins", "set"): set,
    ("builtins", "bytes"): bytes,  # empty ones: PyTorch refuses them, for no reason
    ("builtins", "bytearray"): bytearray,
    ("builtins", "complex"): complex,
}
BLOCKED_MODULES = ("sys", "os", "posix", "nt")
