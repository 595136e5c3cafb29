"""The compiled stream of random numbers, once there is one: larger draws use it, and the numbers are the same.

The kernels are compiled (or read from the cache on disk) by a background thread, which the first larger draw starts;
until it is done, and wherever execution is immediate, NumPy draws.
"""

from __future__ import annotations

import ctypes
import os
import threading
from typing import Any

import numpy as np

from flambeau.engine.runtime import jit
from flambeau.random.kernels import KERNELS

LEAST = 16  # numbers that are worth a call
PATIENCE = 16  # calls with fewer than MANY numbers that are left to NumPy before anything is compiled
MANY = 4096


class _Library:
    """The kernels' functions, when they are there."""

    def __init__(self) -> None:
        self.functions: dict[str, Any] | None = None
        self.calls = 0
        self.thread: threading.Thread | None = None
        self.off = os.environ.get("FLAMBEAU_EXECUTION") == "immediate"

    def ready(self, n: int) -> dict[str, Any] | None:
        """The functions, or None if NumPy has to do it."""
        if self.functions is None and not self.off and self.thread is None:
            self.calls += 1
            if n >= MANY or self.calls > PATIENCE:
                self.thread = threading.Thread(target=self.load, name="flambeau-random", daemon=True)
                self.thread.start()
        return self.functions

    def load(self) -> None:
        """Compile everything, and make it known."""
        try:
            addresses = jit.addresses(list(KERNELS.values()))
        except Exception:  # a machine without a compiler goes on as it was
            self.off = True
            return
        kind = ctypes.PYFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)  # keeps the lock of the stream
        self.functions = dict(zip(KERNELS, map(kind, addresses)))

    def forked(self) -> None:
        """A child has no such thread; what it had not finished may begin again."""
        if self.functions is None:
            self.thread = None


library = _Library()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=library.forked)


def drawn(kernel: str, twister: np.random.MT19937, out: np.ndarray, *words: int) -> bool:
    """Fill `out` from a stream by a kernel; False if that is left to NumPy."""
    if out.size < LEAST:
        return False
    functions = library.ready(out.size)
    if functions is None:
        return False
    state = twister.ctypes.state_address
    address = state if isinstance(state, int) else state.value
    with twister.lock:
        block = (ctypes.c_int64 * (3 + len(words)))(address, out.ctypes.data, out.size, *words)
        functions[kernel](ctypes.addressof(block), 0, 1)
    return True
