"""The thread pool: worker threads that wait inside native code for launches to share.

Workers are Python's daemon threads, which enter `native.functions().worker` once and hold no lock of the interpreter
there. They are started by the first program that is worth sharing, and stopped before a fork, at exit, and when the
number of threads changes.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import math
import platform
import sys
import threading
import time
from typing import Any

import numpy as np

from flambeau.engine.forking import at_fork
from flambeau.engine.runtime import native
from flambeau.engine.runtime.cores import choose, get_num_threads

# Seconds before a worker sleeps: between programs, where Python takes about 100 us for a small model's step (who sleeps
# then is too late for the first kernels of the next), and while a program is running.
_SPIN, _SPIN_HOT = 150e-6, 300e-6
_NAP = 1e-3  # seconds between looks at the pool where the system offers workers no way to sleep
_JOIN = 0.2  # seconds to wait for workers that were told to stop

_lock = threading.Lock()
_pool: Pool | None = None


def set_num_threads(count: int) -> None:
    """Let `count` threads run a launch together."""
    before = get_num_threads()
    choose(count)
    if get_num_threads() != before:
        stop_workers()


def pool() -> Pool | None:
    """The running pool, started now if need be; None if there is one thread only."""
    global _pool
    if _pool is None and get_num_threads() > 1:
        with _lock:
            if _pool is None:
                _pool = Pool(get_num_threads())
    return _pool


def stop_workers() -> None:
    """End the worker threads; a program that needs them starts new ones."""
    global _pool
    with _lock:
        old, _pool = _pool, None
    if old is not None:
        old.stop()


class Pool:
    """Worker threads and the block of memory where they meet their caller."""

    def __init__(self, threads: int) -> None:
        size = native.STATE["next"] + native.LINE * threads
        self._memory = np.zeros(size + native.LINE, np.uint8)
        self.address = -(-self._memory.ctypes.data // native.LINE) * native.LINE
        pause = _seconds_of_pause()
        wait, wake, give_way = _system_calls()
        self._set("threads", threads)
        self._set("spin", int(_SPIN / pause))
        self._set("spin_hot", int(_SPIN_HOT / pause))
        self._set("wait", wait)
        self._set("wake", wake)
        self._set("yield", give_way)
        self._workers: list[threading.Thread] = []
        try:
            for nr in range(1, threads):
                worker = threading.Thread(target=self._work, args=(nr,), daemon=True, name=f"flambeau-{nr}")
                worker.start()
                self._workers.append(worker)
        except RuntimeError:  # a limit on threads, or the interpreter is ending: so many have to do
            self._set("threads", 1 + len(self._workers))

    def _set(self, field: str, value: int) -> None:
        ctypes.c_int64.from_address(self.address + native.STATE[field]).value = value

    def _work(self, nr: int) -> None:
        life = _prototype(ctypes.c_int64, 2)(native.functions().worker)
        while life(self.address, nr):
            time.sleep(_NAP)

    def stop(self) -> None:
        """Send the workers home. A launch that is running ends first, with or without them."""
        ctypes.c_int32.from_address(self.address + native.STATE["stop"]).value = 1
        _prototype(None, 2)(native.functions().advance)(self.address, 2)
        for worker in self._workers:
            worker.join(_JOIN)


def _prototype(result: Any, count: int) -> Any:
    return ctypes.CFUNCTYPE(result, *[ctypes.c_int64] * count)


@functools.cache
def _seconds_of_pause() -> float:
    """How long the processor's pause instruction takes."""
    pause, times = _prototype(None, 1)(native.functions().pause), 500
    best = math.inf
    for _ in range(3):
        start = time.perf_counter()
        pause(times)
        best = min(best, (time.perf_counter() - start) / times)
    return max(best, 1e-9)


_SYSTEM_CALLS = {  # system -> library, and the names of what `native` calls wait, wake and yield
    "linux": (None, ("syscall", "syscall", "sched_yield")),
    "darwin": (None, ("__ulock_wait", "__ulock_wake", "sched_yield")),
    "win32": ("kernelbase.dll", ("WaitOnAddress", "WakeByAddressAll", "SwitchToThread")),
}


@functools.cache
def _system_calls() -> tuple[int, int, int]:
    """Addresses of the functions with which `native` lets threads sleep, wakes them and gives way; 0 for none."""
    known = sys.platform in _SYSTEM_CALLS and (sys.platform != "linux" or platform.machine() in native.FUTEX)
    if not known:
        return 0, 0, 0
    library, names = _SYSTEM_CALLS[sys.platform]
    try:
        functions = ctypes.CDLL(library)
        wait, wake, give_way = (ctypes.cast(getattr(functions, name), ctypes.c_void_p).value or 0 for name in names)
        return wait, wake, give_way
    except (OSError, AttributeError):
        return 0, 0, 0


def _begin_child() -> None:
    """A forked child has none of the threads: no pool, and no lock that another thread held."""
    global _pool, _lock
    _pool, _lock = None, threading.Lock()


def _end() -> None:
    """What still runs while the interpreter ends stays on its caller."""
    set_num_threads(1)


atexit.register(_end)
at_fork(before=stop_workers, in_child=_begin_child)
