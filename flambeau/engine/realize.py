"""How a pending segment is run: by the references at first, then as a compiled program.

The first `PATIENCE` times that a segment is seen it runs op by op through the NumPy references, while a background
thread compiles it; from then on it runs as a program. The switch comes at a fixed sighting, not when the compiler
happens to be ready, so that a run gives the same bits as the run before. A program that turns out slower than the
references is replaced by one that is not fused, which gives the same bits as well.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from flambeau.engine import log, reference, watching
from flambeau.engine.entry import WRITE, Entry, Segment
from flambeau.engine.forking import at_fork
from flambeau.engine.graph import Arg, Number
from flambeau.engine.record import Recorder, alive
from flambeau.engine.value import Value
from flambeau.later import later

if TYPE_CHECKING:
    from flambeau.engine.program import Program

program = later("flambeau.engine.program")
jit = later("flambeau.engine.runtime.jit")

PATIENCE = int(os.environ.get("FLAMBEAU_PATIENCE", "2"))  # sightings by reference before a segment runs compiled
WORTHWHILE = 12  # entries of a segment that is compiled at its first sighting already: a training step comes again
TRIALS, TOLERANCE = 4, 1.25  # runs of a program, and how much slower than the references its best may be
LITTLE, NEAR = 1 << 16, 4  # bytes that are looked at before their time, and how many ops back
VARIANTS = 4  # programs of one segment, for different sets of results that are still wanted
STRICT = bool(os.environ.get("FLAMBEAU_STRICT"))  # for tests: a compiler error is an error


class Known:
    """What is known of running a segment, for each set of results that was wanted of it."""

    def __init__(self) -> None:
        self.sightings: dict[tuple[int, ...], int] = {}
        self.programs: dict[tuple[int, ...], Compilation] = {}
        self.trials: dict[tuple[int, ...], Trial] = {}  # of the programs that are still on trial


class Trial:
    """The least nanoseconds that a segment took by the references, and as a program in its first runs."""

    def __init__(self) -> None:
        self.by_reference = self.compiled = 1 << 62
        self.runs = 0


def realize(
    segment: Segment, values: list[Value], numbers: list[Any], fuse: bool = True, patience: int | None = None
) -> None:
    """Give data to every value of a segment that is still wanted."""
    wanted = alive(values, segment.results)
    if not wanted:
        return
    found = _program(segment, wanted, fuse, PATIENCE if patience is None else patience)
    watcher = watching.current
    began = time.perf_counter_ns()
    if found is not None and not found.run(values, numbers):
        found = None
    if found is None:
        run_reference(segment, values, numbers, wanted)
    if segment.known is not None and wanted in segment.known.trials:
        _judge(segment, wanted, found is not None, time.perf_counter_ns() - began)
    if watcher is not None:
        watcher.segment(segment, found, began, time.perf_counter_ns())


def _program(segment: Segment, wanted: tuple[int, ...], fuse: bool, patience: int) -> Program | None:
    """The program to run this time, if it is time for it; a negative patience never ends."""
    if patience < 0:
        return None
    known = segment.known
    if known is None:
        known = segment.known = Known()
    key = wanted if fuse else (-1, *wanted)
    seen = known.sightings.get(key, 0)
    known.sightings[key] = seen + 1
    compilation = known.programs.get(key)
    if compilation is None:
        later = segment.doubtful or len(segment) < WORTHWHILE
        if len(known.programs) >= VARIANTS or (seen == 0 and patience > 1 and later):
            return None
        compilation = known.programs[key] = compiler.submit(segment, wanted, fuse, now=patience == 0)
        if fuse and patience > 0:
            known.trials[key] = Trial()
    if seen < patience:
        return None
    return compilation.result()


def _judge(segment: Segment, wanted: tuple[int, ...], compiled: bool, took: int) -> None:
    """Give a fused program up that is slower than the references, for one that runs op by op, with the same bits."""
    known = segment.known
    trial = known.trials[wanted]
    if not compiled:
        trial.by_reference = min(trial.by_reference, took)
        return
    trial.compiled, trial.runs = min(trial.compiled, took), trial.runs + 1
    if trial.runs < TRIALS:
        return
    del known.trials[wanted]
    if trial.compiled > TOLERANCE * trial.by_reference:
        known.programs[wanted] = compiler.submit(segment, wanted, False, now=False)
        if log.COMPILE:
            log.undone(segment, trial.compiled, trial.by_reference)


# -- the references, op by op ------------------------------------------------------------------------------------


def run_reference(segment: Segment, values: list[Value], numbers: list[Any], wanted: Sequence[int]) -> None:
    """Run a segment through the references, dropping memory after its last reader.

    What does not depend on an op that fails is computed all the same; the first error is raised at the end.
    """
    path = needed(segment.path(), wanted)
    for number, value in enumerate(values):
        if value is None:  # skipped in a replay, by whoever knew that nobody wants it
            values[number] = value = Value.__new__(Value)
            value.data = None
    dropped = _last_uses(path, set(wanted))
    failed: set[int] = set()  # results that could not be computed
    first: Exception | None = None
    for entry, drop in zip(path, dropped):
        if failed and any(isinstance(x, Arg) and x.value in failed for x in entry.operands):
            failed.update(entry.outputs)
            continue
        try:
            _run_entry(entry, values, numbers)
        except Exception as error:
            failed.update(entry.outputs)
            if entry.line is not None:
                error.add_note(f"The op that failed was called at {entry.line[0]}:{entry.line[1]}.")
            first = first or error
        for number in drop:
            values[number].data = None
    if first is not None:
        raise first


def _run_entry(entry: Entry, values: list[Value], numbers: list[Any]) -> None:
    operands = [operand(x, values, numbers) for x in entry.operands]
    if entry.op is WRITE:
        target, source = operands
        reference.overwrite(target, source)
        values[entry.outputs[0]].data = values[entry.operands[0].value].data
        return
    for number, data in zip(entry.outputs, reference.run(entry.op, operands, entry.params, entry.metas)):
        values[number].data = data


def operand(x: Any, values: list[Value], numbers: list[Any]) -> Any:
    """An operand of an entry as the references take it."""
    if isinstance(x, Arg):
        return reference.window(values[x.value].data, *x[1:])  # type: ignore[arg-type]
    return numbers[x.slot] if x.__class__ is Number else x


def foreseen(value: Value) -> np.ndarray | None:
    """What a pending value will be, where one of the last ops makes it from a little memory; None elsewhere."""
    into = value.segment
    if not isinstance(into, Recorder) or value.nbytes > LITTLE:
        return None
    entry = into.cursor
    for _ in range(NEAR):
        if entry.parent is None or value.number in entry.outputs:
            break
        entry = entry.parent
    if value.number not in entry.outputs or entry.op is WRITE:
        return None
    for x in entry.operands:
        if isinstance(x, Arg):
            read = into.values[x.value]
            if read is None or read.data is None or read.nbytes > LITTLE:
                return None
    operands = [operand(x, into.values, into.numbers) for x in entry.operands]
    try:
        results = reference.run(entry.op, operands, entry.params, entry.metas)
    except Exception:  # it will be raised where the value is computed
        return None
    return results[entry.outputs.index(value.number)]


def needed(path: Sequence[Entry], wanted: Sequence[int]) -> list[Entry]:
    """The entries that lead to results that are wanted; what nobody can see is not computed."""
    used = set(wanted)
    kept = []
    for entry in reversed(path):
        if not used.isdisjoint(entry.outputs):
            kept.append(entry)
            used.update(x.value for x in entry.operands if isinstance(x, Arg))
    return kept[::-1]


def _last_uses(path: list[Entry], wanted: set[int]) -> list[list[int]]:
    """For each entry the results that nobody needs once it has run."""
    last: dict[int, int] = {}
    for at, entry in enumerate(path):
        for number in entry.outputs:
            last[number] = at
        for x in entry.operands:
            if isinstance(x, Arg) and x.value in last:
                last[x.value] = at
    dropped: list[list[int]] = [[] for _ in path]
    for number, at in last.items():
        if number not in wanted:
            dropped[at].append(number)
    return dropped


# -- compiling in the background -----------------------------------------------------------------------------------


class Compilation:
    """A segment on its way to a program; None if it stays with the references."""

    def __init__(self, segment: Segment, wanted: tuple[int, ...], fuse: bool) -> None:
        self.segment, self.wanted, self.fuse = segment, wanted, fuse
        self.program: Program | None = None
        self.error: Exception | None = None
        self.done = threading.Event()

    def run(self) -> None:
        start = time.perf_counter()
        try:
            before = jit.made.now().copy() if log.COMPILE else None
            self.program = made = program.compiled.now()(self.segment, self.wanted, self.fuse)
            if log.COMPILE:
                again = any(other is not self for other in self.segment.known.programs.values())
                took = time.perf_counter() - start
                log.compiled(self.segment, again, made.summary(), jit.made.now() - before, took)
        except Exception as error:
            if STRICT:
                self.error = error
            elif log.COMPILE:
                log.refused(self.segment, error)
        self.done.set()

    def result(self) -> Program | None:
        """The program; who has to wait for it helps to compile."""
        if not self.done.is_set():
            jit.help.now()()
            self.done.wait()
        if self.error is not None:
            raise self.error
        return self.program

    def abandon(self) -> None:
        """Stay with the references: the thread that compiled this is not in this process."""
        if not self.done.is_set():
            self.done = threading.Event()  # its lock may be held by that thread
            self.done.set()


class Compiler:
    """A thread that turns segments into programs, one at a time, first come first served."""

    def __init__(self) -> None:
        self.jobs: queue.SimpleQueue[Compilation] = queue.SimpleQueue()
        self.thread: threading.Thread | None = None
        self.lock = threading.Lock()
        self.waiting: set[Compilation] = set()

    def submit(self, segment: Segment, wanted: tuple[int, ...], fuse: bool, now: bool) -> Compilation:
        job = Compilation(segment, wanted, fuse)
        if now:
            job.run()
            return job
        with self.lock:
            if self.thread is None:
                self.thread = threading.Thread(target=self._work, name="flambeau-compiler", daemon=True)
                self.thread.start()
            self.waiting.add(job)
        self.jobs.put(job)
        return job

    def _work(self) -> None:
        while True:
            job = self.jobs.get()
            job.run()
            with self.lock:
                self.waiting.discard(job)

    def forked(self) -> None:
        """In a forked child there is no such thread."""
        abandoned, lock = self.waiting, threading.Lock()
        self.jobs, self.thread, self.lock, self.waiting = queue.SimpleQueue(), None, lock, set()
        for job in abandoned:
            job.abandon()


compiler = Compiler()
at_fork(in_child=compiler.forked)
