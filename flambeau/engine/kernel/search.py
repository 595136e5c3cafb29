"""Choices by measurement: on request, kernels are timed, and the fastest of a shape is remembered on disk.

A lowering that could take several kernels asks its `Choices`, one after the other, for the one to take: that is the
estimated best, unless another was measured to be faster. `FLAMBEAU_SEARCH=1` measures what is not remembered yet; what
is remembered holds for later processes without the request as well, for every number of threads and whatever is fused
onto the kernel, as these must not change results. `FLAMBEAU_SEARCH=0` goes by the estimates alone.

What is remembered lies beside the object code (`runtime/cache.py`), a file for each shape, named `choice-*` and bound
to the same machine, versions and source. To forget it, delete those files.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from itertools import zip_longest
from time import perf_counter, perf_counter_ns
from typing import TypeVar

import numpy as np

from flambeau.dtypes import dtype
from flambeau.engine import log
from flambeau.engine.forking import at_fork
from flambeau.engine.graph import Arg, Call
from flambeau.engine.plan import Address, Buffer, Kernel, Launch
from flambeau.engine.runtime import jit
from flambeau.engine.runtime.launch import Table
from flambeau.engine.schedule.lowering import Epilogue, Site
from flambeau.engine.value import empty_bytes
from flambeau.errors import warn_once

MOST = 24  # kernels to measure for a choice
COMPILING, RUNNING = 1.0, 0.5  # seconds to spend on a choice, but for a few runs of those that take longer
CLEARLY = 0.97  # of the estimated best's time: whatever takes longer is not worth other bits and another kernel
CLOSE, HOPELESS = 1.1, 1.5  # times the least: who is measured again, who is not even a second time
ROUNDS = 3  # more measurements, at least
STRETCH, BRIEF = 20_000, 1_000_000  # nanoseconds that are worth measuring; that nobody minds measuring twice
PAGE, LARGE = 4096, 1 << 20  # bytes: large memory begins at a page, as the allocator has it

_ARENA = Buffer("temp", 0)
_FILL = 0x3F  # a byte that makes ordinary numbers of every float dtype

asked = os.environ.get("FLAMBEAU_SEARCH", "")
T = TypeVar("T")


class Choices:
    """The choices of one lowering, in order: the estimated best, or what `made` says."""

    def __init__(self, made: Sequence[str] = (), listing: bool = False) -> None:
        self._made, self._listing = made, listing
        self.options: list[list[str]] = []  # of every choice, if they are to be listed
        self._count = 0

    def pick(self, best: T, kinds: Callable[[], Sequence[Sequence[T]]]) -> T:
        """`best`, unless another one was found to be better.

        Args:
            best: the estimated best.
            kinds: lists all there are, kind by kind, the more promising ones first; their texts tell them apart.
        """
        nr, self._count = self._count, self._count + 1
        if self._listing:
            turns = [x for turn in zip_longest(*kinds()) for x in turn if x is not None]
            self.options.append(list(dict.fromkeys(map(repr, (best, *turns))))[:MOST])
        if nr >= len(self._made) or self._made[nr] == repr(best):
            return best
        for kind in kinds():
            for other in kind:
                if repr(other) == self._made[nr]:
                    return other
        warn_once("a choice of kernels that is remembered does not exist: the estimate holds")
        return best


Lowering = Callable[[Site, Choices], None]


def lowered(site: Site, key: str, lower: Lowering, scratch: Callable[[], Scratch]) -> None:
    """Let `lower` put its launches on the site, with the choices that are best for the shape that `key` describes.

    Args:
        scratch: makes a site with memory of its own, on which the same can be launched to be measured.
    """
    lower(site, Choices(_remembered(key, lower, scratch)))


class Scratch:
    """A site of its own: nothing is fused onto its kernels, and all memory is in one arena."""

    epilogue: Epilogue | None = None

    def __init__(self, *results: int) -> None:
        self.nbytes = 0
        self.launches: list[Launch] = []
        self._results = [self.temp(nbytes) for nbytes in results]

    @classmethod
    def of(cls, call: Call) -> Scratch:
        """A site with room for the results of a call."""
        spans = [1 + sum((n - 1) * s for n, s in zip(meta.shape, meta.layout)) for meta in call.metas]
        return cls(*[span * meta.dtype.itemsize for span, meta in zip(spans, call.metas)])

    def temp(self, nbytes: int) -> Address:
        align = PAGE if nbytes >= LARGE else 64
        start = -(-self.nbytes // align) * align
        self.nbytes = start + nbytes
        return Address(_ARENA, start)

    def source(self, operand: Arg) -> Address:
        return self.window(operand.dtype, operand.shape, operand.strides)

    def window(self, dtype: dtype, shape: Sequence[int], strides: Sequence[int]) -> Address:
        """Memory of its own for a strided operand: the address of the first element."""
        reach = [(max(n, 1) - 1) * s * dtype.itemsize for n, s in zip(shape, strides)]
        home, first = self.temp(sum(map(abs, reach)) + dtype.itemsize), -sum(r for r in reach if r < 0)
        return Address(home.buffer, home.offset + first)

    def result(self, nr: int = 0) -> Address:
        return self._results[nr]

    def number(self, slot: int) -> Address:
        return self.temp(8)

    def status(self) -> Address:
        return self.temp(8)

    def launch(
        self, kernel: Kernel, args: tuple[Address | int, ...], tasks: int = 1, cost: float = 0.0, note: str = "",
        work: tuple[float, float] = (0.0, 0.0),
    ) -> None:  # fmt: skip
        self.launches.append(Launch(kernel, args, tasks, cost, note, work))


# -- remembering ---------------------------------------------------------------------------------------------------

_known: dict[str, tuple[str, ...]] = {}  # of shapes that this process has met; the same until it ends
_turn = threading.Lock()  # one search at a time


def _begin_child() -> None:
    global _turn
    _turn = threading.Lock()


at_fork(in_child=_begin_child)


def _remembered(key: str, lower: Lowering, scratch: Callable[[], Scratch]) -> tuple[str, ...]:
    """The choices for a shape; none where the estimates hold."""
    if asked == "0":
        return ()
    found = _known.get(key)
    if found is None:
        with _turn:
            found = _known.get(key)
            if found is None:
                found = _read(key)
                if found is None and asked == "1":
                    found = _found(key, lower, scratch)
                found = _known[key] = found or ()
    return found


def _found(key: str, lower: Lowering, scratch: Callable[[], Scratch]) -> tuple[str, ...]:
    """Search, and remember what was found, unless another process did so first."""
    searched = tuple(_search(key, lower, scratch))
    found = _read(key)
    if found is None:
        found = searched
        if searched:
            jit.cache().write(_file(key), "\n".join([key, *searched]).encode())
    return found


def _read(key: str) -> tuple[str, ...] | None:
    content = jit.cache().read(_file(key))
    if content is None:
        return None
    first, *made = content.decode(errors="replace").split("\n")
    return tuple(made) if first == key else None


def _file(key: str) -> str:
    return "choice-" + jit.stored_name(hashlib.sha256(key.encode()).hexdigest())


# -- measuring -----------------------------------------------------------------------------------------------------


def _search(key: str, lower: Lowering, scratch: Callable[[], Scratch]) -> list[str]:
    """The fastest choices, one after the other: those after it are as estimated."""
    made: list[str] = []
    while True:
        listed = Choices(made, listing=True)
        lower(scratch(), listed)
        if len(listed.options) <= len(made):
            return made
        options = listed.options[len(made)]
        made.append(options[0] if len(options) == 1 else _fastest(key, made, options, lower, scratch))


def _fastest(key: str, made: list[str], options: list[str], lower: Lowering, scratch: Callable[[], Scratch]) -> str:
    """The option with which the launches take least; the first one, the estimated best, unless clearly beaten."""
    began = perf_counter()
    tables: dict[str, Table] = {}
    room = 0
    for option in options:
        if tables and perf_counter() - began > COMPILING:
            break
        site = scratch()
        lower(site, Choices([*made, option]))
        tables[option] = Table(site.launches, {_ARENA: 0})
        room = max(room, site.nbytes)
    arena = empty_bytes(room + PAGE)
    arena[:] = _FILL
    least = _race(tables, np.array([-(-arena.ctypes.data // PAGE) * PAGE], np.int64))
    estimated, fastest = options[0], min(least, key=least.__getitem__)
    best = fastest if least[fastest] < CLEARLY * least[estimated] else estimated
    if log.COMPILE:
        log.searched(key, least, estimated, best, perf_counter() - began)
    return best


def _race(tables: dict[str, Table], slots: np.ndarray) -> dict[str, float]:
    """The least nanoseconds of each: all of them run, then those that are close go on in turns with the first one."""
    least: dict[str, float] = {}
    end = perf_counter() + RUNNING
    for choice, table in tables.items():
        least[choice] = once = _nanoseconds(table, slots)
        if once < BRIEF or once < HOPELESS * min(least.values()):
            least[choice] = _nanoseconds(table, slots, once)
    first, rounds = next(iter(tables)), 0
    while rounds < ROUNDS or perf_counter() < end:
        leading = min(least.values())
        close = [choice for choice in tables if choice == first or least[choice] <= CLOSE * leading]
        if len(close) == 1 and rounds >= ROUNDS:
            break
        for choice in close:
            least[choice] = min(least[choice], _nanoseconds(tables[choice], slots, least[choice]))
        rounds += 1
    return least


def _nanoseconds(table: Table, slots: np.ndarray, expected: float = STRETCH) -> float:
    """The time of a run, taken over several if they are short."""
    times, address = max(1, int(STRETCH / expected)), slots.ctypes.data
    before = perf_counter_ns()
    for _ in range(times):
        table.run(address)
    return (perf_counter_ns() - before) / times
