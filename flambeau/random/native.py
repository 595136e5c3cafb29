"""The compiled stream of random numbers, once there is one: larger draws use it, and the numbers are the same.

A kernel that is wanted often is compiled (or read from the cache on disk) by a background thread; until that is done,
and wherever execution is immediate, NumPy draws.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections import Counter
from typing import Any

import numpy as np

from flambeau.later import later

jit = later("flambeau.engine.runtime.jit")
kernels = later("flambeau.random.kernels")

LEAST = 16  # numbers that are worth a call
ENOUGH = 1 << 16  # numbers left to NumPy before a kernel is compiled; a call counts as so many at least:
CALL = 1 << 11


class _Library:
    """The kernels' functions, as far as they are there."""

    def __init__(self) -> None:
        self.functions: dict[str, Any] = {}
        self.missed: Counter[str] = Counter()
        self.threads: dict[str, threading.Thread] = {}
        self.off = os.environ.get("FLAMBEAU_EXECUTION") == "immediate"

    def function(self, kernel: str, n: int) -> Any:
        """A kernel's function, or None if NumPy has to draw these `n` numbers."""
        found = self.functions.get(kernel)
        if found is None and not self.off and kernel not in self.threads:
            self.missed[kernel] += max(n, CALL)
            if self.missed[kernel] >= ENOUGH:
                thread = threading.Thread(target=self.load, args=(kernel,), name="flambeau-random", daemon=True)
                self.threads[kernel] = thread
                thread.start()
        return found

    def load(self, kernel: str) -> None:
        """Compile a kernel, and make it known."""
        try:
            address = jit.address.now()(kernels.KERNELS.now()[kernel])
        except Exception:  # a machine without a compiler goes on as it was
            self.off = True
            return
        kind = ctypes.PYFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)  # keeps the lock of the stream
        self.functions[kernel] = kind(address)

    def forked(self) -> None:
        """A child has no such threads; what they had not finished may begin again."""
        self.threads = {kernel: thread for kernel, thread in self.threads.items() if kernel in self.functions}


library = _Library()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=library.forked)


def drawn(kernel: str, twister: np.random.MT19937, out: np.ndarray, *words: int) -> bool:
    """Fill `out` from a stream by a kernel; False if that is left to NumPy."""
    if out.size < LEAST:
        return False
    function = library.function(kernel, out.size)
    if function is None:
        return False
    state = twister.ctypes.state_address
    address = state if isinstance(state, int) else state.value
    with twister.lock:
        block = (ctypes.c_int64 * (3 + len(words)))(address, out.ctypes.data, out.size, *words)
        function(ctypes.addressof(block), 0, 1)
    return True
