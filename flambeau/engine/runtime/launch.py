"""A table of launches: what a program runs in one call of native code (see `native` for its form).

table = Table(launches, {buffer: slot, ...})
table.run(addresses.ctypes.data)      # an int64 array: the address of each slot's memory
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from time import perf_counter_ns
from typing import Any

import numpy as np

from flambeau.engine.plan import Address, Buffer, Launch
from flambeau.engine.runtime import jit, native, threads
from flambeau.engine.runtime.call import native_callable

WORTH_SHARING = 4000.0  # nanoseconds of work below which a launch stays on its caller
WORTH_WAKING = 15000.0  # nanoseconds of shareable work below which a table leaves sleeping workers alone
_CHUNK = 1000.0  # nanoseconds of work that are worth taking at a time
_BRIEF = 30000.0  # nanoseconds for which the interpreter may be held: cheaper than letting go of it


class Table:
    """Launches with their kernels compiled, ready to run on memory that is given each time."""

    def __init__(self, launches: Sequence[Launch], slot_of: Mapping[Buffer, int]) -> None:
        self.launches = tuple(launches)
        found = jit.addresses([launch.kernel for launch in launches])
        words: list[int] = []
        self._starts: list[int] = []
        for launch, function in zip(launches, found):
            self._starts.append(len(words))
            args = launch.args
            if launch.bundle:
                function, args = native.functions().bundle, (function, *args)
            words += [function, launch.tasks, _grain(launch), len(args)]
            for arg in args:
                words += (slot_of[arg.buffer], arg.offset) if isinstance(arg, Address) else (-1, arg)
        self._words = np.array(words, np.int64)
        self._address = self._words.ctypes.data
        self.shares = sum(launch.cost for launch in launches if _grain(launch)) >= WORTH_WAKING
        brief = sum(launch.cost for launch in launches) < _BRIEF
        self._releases = int(not brief)
        self._count = len(self.launches)
        self._call = _run()

    def run(self, buffers: int) -> None:
        """Run all launches; `buffers` is the address of an array with the address of each slot's memory."""
        pool = threads.pool() if self.shares else None
        self._call(pool.address if pool else 0, self._address, self._count, buffers, self._releases)

    def timed(self, buffers: int) -> list[int]:
        """Run the launches one by one, and give the nanoseconds that each took."""
        pool = threads.pool() if self.shares else None
        spent = []
        for start in self._starts:
            before = perf_counter_ns()
            self._call(pool.address if pool else 0, self._address + 8 * start, 1, buffers, self._releases)
            spent.append(perf_counter_ns() - before)
        return spent


def _grain(launch: Launch) -> int:
    """The least number of tasks worth handing to a thread; 0 keeps the launch on its caller."""
    if launch.tasks < 2 or launch.cost < WORTH_SHARING:
        return 0
    return max(1, int(_CHUNK * launch.tasks / launch.cost))


@functools.cache
def _run() -> Any:
    return native_callable(native.functions().run)
