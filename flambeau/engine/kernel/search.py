"""Choices by measurement: on request, kernels are timed, and the fastest of a shape is remembered on disk.

A lowering that could take several kernels asks its `Choices` for the one to take: that is the estimated best, unless
another was measured to be faster. `FLAMBEAU_SEARCH=1` measures what is not remembered yet; what is remembered holds
for later processes without the request as well, for every number of threads and whatever is fused onto the kernel, as
these must not change results. `FLAMBEAU_SEARCH=0` goes by the estimates alone.

What is remembered lies beside the object code (`runtime/cache.py`), a file for each shape, named `choice-*` and bound
to the same machine, versions and source. To forget it, delete those files.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from statistics import median
from time import get_clock_info, perf_counter, perf_counter_ns, thread_time_ns
from typing import TypeVar

import numpy as np

from flambeau.dtypes import dtype
from flambeau.engine import log
from flambeau.engine.forking import at_fork
from flambeau.engine.graph import Arg, Call
from flambeau.engine.plan import Address, Buffer, Kernel, Launch
from flambeau.engine.runtime import jit
from flambeau.engine.runtime.cores import get_num_threads
from flambeau.engine.runtime.launch import Table
from flambeau.engine.schedule.lowering import Epilogue, Site
from flambeau.engine.value import empty_bytes
from flambeau.errors import warn_once

MOST = 24  # kernels to measure for a choice
COMPILING, RUNNING = 1.0, 0.5  # seconds to spend on a choice, but for a few runs of those that take longer
CLEARLY = 0.97  # of the estimated best's time: whatever takes longer is not worth other bits and another kernel
CLOSE, HOPELESS = 1.1, 1.5  # times the least: who is measured again, who is not even a second time
FEW, ROUNDS, FINALS = 6, 2, 5  # kernels that run in any case; then measurements of those that are close; of two
STRETCH, BRIEF = 20_000, 1_000_000  # nanoseconds that are worth measuring; that nobody minds measuring twice
PAGE, LARGE = 4096, 1 << 20  # bytes: large memory begins at a page, as the allocator has it

_ARENA = Buffer("temp", 0)
_PRECISE = get_clock_info("thread_time").resolution <= 1e-6  # seconds
_FILL = 0x3F  # a byte that makes ordinary numbers of every float dtype

asked = os.environ.get("FLAMBEAU_SEARCH", "")
T = TypeVar("T")


class Choices:
    """The choices of one lowering: the estimated best, or what `made` says. They have names, and options texts."""

    def __init__(self, made: Mapping[str, str], listing: bool = False) -> None:
        self._made, self._listing = made, listing
        self.options: dict[str, list[str]] = {}  # what there was to choose from, if that is to be listed

    def pick(self, name: str, best: T, kinds: Callable[[], Sequence[Sequence[T]]]) -> T:
        """`best`, unless another one was found to be better.

        Args:
            best: the estimated best.
            kinds: lists all there are, kind by kind, the more promising ones first.
        """
        if self._listing:
            turns = [x for turn in zip_longest(*kinds()) for x in turn if x is not None]
            self.options[name] = list(dict.fromkeys(map(repr, (best, *turns))))[:MOST]
        wanted = self._made.get(name)
        if wanted is None or wanted == repr(best):
            return best
        for kind in kinds():
            for other in kind:
                if repr(other) == wanted:
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

_known: dict[str, dict[str, str]] = {}  # of shapes that this process has met; the same until it ends
_turn = threading.Lock()  # one search at a time


def _begin_child() -> None:
    global _turn
    _turn = threading.Lock()


at_fork(in_child=_begin_child)


def _remembered(key: str, lower: Lowering, scratch: Callable[[], Scratch]) -> dict[str, str]:
    """The choices for a shape; none where the estimates hold."""
    if asked == "0":
        return {}
    found = _known.get(key)
    if found is None:
        with _turn:
            found = _known.get(key)
            if found is None:
                found = _read(key)
                if found is None and asked == "1":
                    found = _found(key, lower, scratch)
                found = _known[key] = found or {}
    return found


def _found(key: str, lower: Lowering, scratch: Callable[[], Scratch]) -> dict[str, str]:
    """Search, and remember what was found, unless another process did so first."""
    searched = _search(key, lower, scratch)
    found = _read(key)
    if found is None:
        found = searched
        write(key, searched)
    return found


def _read(key: str) -> dict[str, str] | None:
    content = jit.cache().read(_file(key))
    if content is None:
        return None
    first, *lines = content.decode(errors="replace").split("\n")
    return dict(line.split(": ", 1) for line in lines if ": " in line) if first == key else None


def write(key: str, made: Mapping[str, str]) -> None:
    """Let later processes make these choices for a shape."""
    lines = [key, *[f"{name}: {choice}" for name, choice in made.items()]]
    jit.cache().write(_file(key), "\n".join(lines).encode())


def _file(key: str) -> str:
    return "choice-" + jit.stored_name(hashlib.sha256(key.encode()).hexdigest())


# -- measuring -----------------------------------------------------------------------------------------------------


def _search(key: str, lower: Lowering, scratch: Callable[[], Scratch]) -> dict[str, str]:
    """The fastest choices, one after the other: those after it are as estimated."""
    made: dict[str, str] = {}
    while True:
        listed = Choices(made, listing=True)
        lower(scratch(), listed)
        name = next((name for name in listed.options if name not in made), None)
        if name is None:
            return made
        made[name] = _fastest(f"{key}: {name}", made, name, listed.options[name], lower, scratch)


def _fastest(
    title: str, made: dict[str, str], name: str, options: list[str], lower: Lowering, scratch: Callable[[], Scratch]
) -> str:
    """The option with which the launches take least; the first one, the estimated best, unless clearly beaten."""
    began = perf_counter()
    tables: dict[str, Table] = {}
    room, seen = 0, set()
    for option in options:
        site = scratch()
        lower(site, Choices({**made, name: option}))
        work = tuple([(launch.kernel.key, launch.args, launch.tasks) for launch in site.launches])
        if work in seen:  # the option makes no difference
            continue
        if tables and perf_counter() - began > COMPILING:
            break
        seen.add(work)
        tables[option] = Table(site.launches, {_ARENA: 0})
        room = max(room, site.nbytes)
    if len(tables) == 1:
        return options[0]
    arena = empty_bytes(room + PAGE)
    arena[:] = _FILL
    slots = np.array([-(-arena.ctypes.data // PAGE) * PAGE], np.int64)
    least, taken = _race([*tables.values()], slots)
    best = [*tables][taken]
    if log.COMPILE:
        log.searched(title, dict(zip(tables, least)), options[0], best, perf_counter() - began)
    return best


def _race(tables: list[Table], slots: np.ndarray) -> tuple[list[float], int]:
    """The least nanoseconds of each, but for the last ones if time is up, and which to take.

    All of them run; those that are close go on in turns with the first one; the fastest must beat that in a final.
    """
    least: list[float] = []
    end = perf_counter() + RUNNING
    for table in tables:
        if len(least) >= FEW and perf_counter() > end:
            break
        once = _nanoseconds(table, slots)
        again = once < BRIEF or once < HOPELESS * min([once, *least])
        least.append(_nanoseconds(table, slots, once) if again else once)
    rounds = 0
    while rounds < ROUNDS or perf_counter() < end:
        close = [nr for nr, time in enumerate(least) if nr == 0 or time <= CLOSE * min(least)]
        if len(close) == 1 and rounds >= ROUNDS:
            break
        for nr in close:
            least[nr] = min(least[nr], _nanoseconds(tables[nr], slots, least[nr]))
        rounds += 1
    fastest = least.index(min(least))
    if fastest == 0:
        return least, 0
    finals = [[_nanoseconds(tables[nr], slots, least[nr]) for nr in (0, fastest)] for _ in range(FINALS)]
    clearly = median(time / estimated for estimated, time in finals) < CLEARLY
    return least, fastest if clearly and least[fastest] < CLEARLY * least[0] else 0


def _nanoseconds(table: Table, slots: np.ndarray, expected: float = STRETCH) -> float:
    """The time of a run, taken over several if they are short. A thread by itself is not charged for waiting."""
    times, address = max(1, int(STRETCH / max(expected, 1))), slots.ctypes.data
    clock = thread_time_ns if _PRECISE and get_num_threads() == 1 else perf_counter_ns
    before = clock()
    for _ in range(times):
        table.run(address)
    return (clock() - before) / times
