"""What has to rest while a process forks, in one order whichever parts of the engine are imported first.

The thread that forks realizes what it has pending before anything else: once the compiler and the threads of the pool
rest, it would wait for them for ever.
"""

from __future__ import annotations

import os
from collections.abc import Callable

Hook = Callable[[], object]

_settling: list[Hook] = []
_before: list[Hook] = []
_in_parent: list[Hook] = []
_in_child: list[Hook] = []


def at_fork(
    before: Hook | None = None, in_parent: Hook | None = None, in_child: Hook | None = None, settles: bool = False
) -> None:
    """Call these when a process forks, as `os.register_at_fork` does; what `settles` comes before all else."""
    for hooks, hook in ((_settling if settles else _before, before), (_in_parent, in_parent), (_in_child, in_child)):
        if hook is not None:
            hooks.append(hook)


def _run_before() -> None:
    for hook in [*_settling, *reversed(_before)]:
        hook()


def _run_in_parent() -> None:
    for hook in _in_parent:
        hook()


def _run_in_child() -> None:
    for hook in _in_child:
        hook()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_run_before, after_in_parent=_run_in_parent, after_in_child=_run_in_child)
