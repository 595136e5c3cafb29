"""Parts of the house that a program may never need: named where they are used, imported when they are.

    scan = later("flambeau.engine.kernel.scan")
    cumsum = op("cumsum", lower=Kernels(scan.running("sum")))      # nothing is imported
    scan.running("sum").now()                                      # imports the module and calls its function

The compiler is such a part: a script imports in half the time without it. `tests/repo` checks that what is named so
exists, and that it obeys the order of the floors.
"""

from __future__ import annotations

import os
import threading
from importlib import import_module
from typing import Any

_importing = threading.RLock()  # a fork waits for it, so that a child finds no module half imported
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_importing.acquire, after_in_parent=_importing.release, after_in_child=_importing.release
    )


class Deferred:
    """Something of a module, or the result of calling it, that is worked out when somebody wants it."""

    def __init__(self, module: str, name: str, arguments: tuple[tuple[Any, ...], dict[str, Any]] | None = None) -> None:
        self.module, self.name, self.arguments = module, name, arguments

    def __call__(self, *args: Any, **kwargs: Any) -> Deferred:
        return Deferred(self.module, self.name, (args, kwargs))

    def __repr__(self) -> str:
        return f"<{self.module}.{self.name}, later>"

    def now(self) -> Any:
        """The thing itself."""
        with _importing:
            found = getattr(import_module(self.module), self.name)
        if self.arguments is None:
            return found
        args, kwargs = self.arguments
        return found(*args, **kwargs)


class Later:
    """A module that is not imported yet; its attributes are `Deferred`."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Deferred:
        return Deferred(self._module, name)


def later(module: str) -> Later:
    """A module by its full name, to be imported when something of it is wanted."""
    return Later(module)
