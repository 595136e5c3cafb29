"""What this machine can reach: the rate of fused multiply-adds and of copies, measured with kernels of our own.

Benchmarks and `flambeau explain` give the speed of a kernel as a share of these. Rates are in operations and bytes per
nanosecond, that is GFLOP/s and GB/s; a multiply-add is two operations, a copied byte counts twice (read and written).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from time import perf_counter_ns
from typing import NamedTuple

import numpy as np

from flambeau.engine.kernel.emit import BITS, Emitter, vector
from flambeau.engine.kernel.target import vector_bytes, vector_registers
from flambeau.engine.plan import Address, Buffer, Kernel, Launch
from flambeau.engine.runtime.allocator import allocate, release
from flambeau.engine.runtime.cores import MAXIMUM, get_num_threads
from flambeau.engine.runtime.launch import WORTH_WAKING, Table

_ROUNDS = 20000  # of multiply-adds in one task: some tens of microseconds
_COPIED = 64 << 20  # bytes: more than caches hold
_PIECE = 1 << 18  # bytes of one task's copy
_MEASURED = 60_000_000  # nanoseconds to go on looking for the best time
_SOURCE, _TARGET = Buffer("input", 0), Buffer("output", 0)


class Rate(NamedTuple):
    """A rate on one thread and on all threads."""

    one: float
    all: float


@functools.cache
def flops(scalar: str = "float") -> Rate:
    """GFLOP/s of multiply-adds on `float` or `double` vectors that stay in registers."""
    width, sums = vector_bytes() * 8 // BITS[scalar], vector_registers() * 3 // 4
    kernel = Kernel(f"peak of {sums} sums of {width} {scalar}", _multiply_adds(scalar, width, sums))
    return _rate(
        lambda threads: Launch(kernel, (Address(_TARGET),), 4 * threads), 32 * MAXIMUM, 2 * width * sums * _ROUNDS
    )


@functools.cache
def copy() -> Rate:
    """GB/s of a copy in memory, from and to pages that are there already: the better of writing through and past the
    caches."""
    return _best_of([_moves("copying", stream=stream) for stream in (False, True)], 2 * _PIECE)


@functools.cache
def read() -> Rate:
    """GB/s of reading memory and writing nothing."""
    return _best_of([_moves("reading", writes=False)], _PIECE)


def _best_of(kernels: list[Kernel], moved: int) -> Rate:
    """The better rate of kernels that go through memory by pieces, and move so many bytes in each."""
    launches = [Launch(kernel, (Address(_SOURCE), Address(_TARGET)), _COPIED // _PIECE) for kernel in kernels]
    rates = [_rate(lambda threads, launch=launch: launch, _COPIED, moved) for launch in launches]  # type: ignore[misc]
    return Rate(*map(max, zip(*rates)))


def _multiply_adds(scalar: str, width: int, sums: int) -> Callable[[Emitter], None]:
    def emit(k: Emitter) -> None:
        type = vector(scalar, width)
        with k.tasks() as task:
            start = [k.const(type, 1.0 + nr) for nr in range(sums)]
            with k.loop(_ROUNDS, carried=start) as loop:
                loop.carry(*[k.fma(x, 0.5, k.const(type, 1.0)) for x in loop.carried])
            total = loop.results[0]
            for x in loop.results[1:]:
                total = total + x
            k.store(k.lane(total, 0), k.pointer(0), task)

    return emit


def _moves(what: str, writes: bool = True, stream: bool = False) -> Kernel:
    """Goes through the source piece by piece, and writes it to the target or adds it up."""
    width = vector_bytes() // 4
    type = vector("float", width)

    def emit(k: Emitter) -> None:
        with k.tasks() as task:
            start = task * (_PIECE // 4)
            with k.loop(_PIECE // 4, step=4 * width, carried=[k.const(type, 0.0)] * 4) as loop:
                places = [loop.i + start + nr * width for nr in range(4)]
                found = [k.load(k.pointer(0), at, type) for at in places]
                if writes:
                    for x, at in zip(found, places):
                        k.store(x, k.pointer(1), at, stream=stream)
                loop.carry(*([a + x for a, x in zip(loop.carried, found)] if not writes else loop.carried))
            if not writes:
                total = loop.results[0] + loop.results[1] + (loop.results[2] + loop.results[3])
                k.store(k.lane(total, 0), k.pointer(1), task)

    return Kernel(f"peak of {what} by {vector_bytes()}{' streamed' if stream else ''}", emit)


def _rate(launch_for: Callable[[int], Launch], nbytes: int, work: int) -> Rate:
    """The best rate of launches whose tasks do `work` each, on one thread and on all.

    Memory holds ones: some machines move lines of zeros faster than any data.
    """
    source, target = allocate(nbytes), allocate(nbytes)
    source.array[:], target.array[:] = 1, 1
    slots = np.array([source.address, target.address])
    rates = []
    for threads, cost in ((1, 0.0), (get_num_threads(), 100 * WORTH_WAKING)):
        launch = launch_for(threads)
        launch.cost = cost
        table = Table([launch], {_SOURCE: 0, _TARGET: 1})
        rates.append(launch.tasks * work / _best_time(table, slots))
    release(source)
    release(target)
    return Rate(*rates)


def _best_time(table: Table, slots: np.ndarray) -> int:
    """Nanoseconds of the fastest of several runs."""
    best, end = 0, perf_counter_ns() + _MEASURED
    while not best or perf_counter_ns() < end:
        before = perf_counter_ns()
        table.run(slots.ctypes.data)
        spent = perf_counter_ns() - before
        best = min(best or spent, spent)
    return best
