"""Python's multiprocessing with tensors that are shared rather than copied (PyTorch's ``torch.multiprocessing``).

Everything of the standard module is here. In addition, importing this module makes tensors that go through its
queues and pipes, or into a started process, appear there over the same memory: a write on one side is seen on the
other. `Tensor.share_memory_` moves a tensor into such memory beforehand, so that forked processes share it.
"""

from __future__ import annotations

import multiprocessing as _standard
from typing import Any

from flambeau.multiprocessing import reductions
from flambeau.multiprocessing.spawn import (
    ProcessContext,
    ProcessException,
    ProcessExitedException,
    ProcessRaisedException,
    SpawnContext,
    spawn,
    start_processes,
)

_STRATEGIES = {"file_descriptor", "file_system"}
_strategy = "file_descriptor"


def get_all_sharing_strategies() -> set[str]:
    """Return the names that :func:`set_sharing_strategy` takes."""
    return set(_STRATEGIES)


def get_sharing_strategy() -> str:
    return _strategy


def set_sharing_strategy(new_strategy: str) -> None:
    """Choose how memory is shared. Both strategies use descriptors of nameless memory here: nothing can leak."""
    global _strategy
    if new_strategy not in _STRATEGIES:
        raise AssertionError(f"invalid sharing strategy {new_strategy!r}, expected one of {_STRATEGIES}")
    _strategy = new_strategy


def __getattr__(name: str) -> Any:
    """Everything else is the standard module's."""
    try:
        return getattr(_standard, name)
    except AttributeError:
        raise AttributeError(f"module 'flambeau.multiprocessing' has no attribute {name!r}") from None


reductions.register()

__all__ = [
    *_standard.__all__,
    "ProcessContext",
    "ProcessException",
    "ProcessExitedException",
    "ProcessRaisedException",
    "SpawnContext",
    "get_all_sharing_strategies",
    "get_sharing_strategy",
    "set_sharing_strategy",
    "spawn",
    "start_processes",
]
