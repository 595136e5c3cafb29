"""How a pending segment is run: by the references at first, then as a compiled program.

The first `PATIENCE` times that a segment is seen it runs op by op through the NumPy references, while a background thread
compiles it; from then on it runs as a program. The switch comes at a fixed sighting, not when the compiler happens to be
ready, so that a run gives the same bits as the run before.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from flambeau.engine import reference, watching
from flambeau.engine.graph import Arg, Number
from flambeau.engine.program import Program, Refused, compiled
from flambeau.engine.record import WRITE, Entry, alive, results_of
from flambeau.engine.value import Value

PATIENCE = int(os.environ.get("FLAMBEAU_PATIENCE", "2"))  # sightings by reference before a segment runs compiled
WORTHWHILE = 12  # entries of a segment that is compiled at its first sighting already: a training step will come again
VARIANTS = 4  # programs of one segment, for different sets of results that are still wanted
LOG = os.environ.get("FLAMBEAU_LOG", "")
STRICT = bool(os.environ.get("FLAMBEAU_STRICT"))  # for tests: a compiler error is an error


class Ending:
    """What is known of the segments that end at one entry."""

    def __init__(self) -> None:
        self.sightings: dict[tuple[int, ...], int] = {}
        self.programs: dict[tuple[int, ...], Future] = {}


def realize(end: Entry, values: list[Value], numbers: list[Any], fuse: bool = True, patience: int | None = None) -> None:
    """Give data to every value of a segment that is still wanted."""
    wanted = alive(values, results_of(end))
    if not wanted:
        return
    program = _program(end, wanted, fuse, PATIENCE if patience is None else patience)
    watcher = watching.current
    began = time.perf_counter_ns() if watcher is not None else 0
    if program is not None and not _ran(program, values, numbers):
        program = None
    if program is None:
        run_reference(end, values, numbers, wanted)
    if watcher is not None:
        watcher.segment(end, program, began, time.perf_counter_ns())


def _ran(program: Program, values: list[Value], numbers: list[Any]) -> bool:
    """Run a program; whether it accepted the data."""
    try:
        program.run(values, numbers)
    except Refused:
        return False
    return True


def _program(end: Entry, wanted: tuple[int, ...], fuse: bool, patience: int) -> Program | None:
    """The program to run this time, if it is time for it; a negative patience never ends."""
    if patience < 0:
        return None
    ending = end.ends
    if ending is None:
        ending = end.ends = Ending()
    key = wanted if fuse else (-1, *wanted)
    seen = ending.sightings.get(key, 0)
    ending.sightings[key] = seen + 1
    future = ending.programs.get(key)
    if future is None:
        if len(ending.programs) >= VARIANTS or (seen == 0 and patience > 1 and end.depth < WORTHWHILE):
            return None
        future = ending.programs[key] = compiler.submit(end, wanted, fuse, now=patience == 0)
    if seen < patience:
        return None
    return future.result()


# -- the references, op by op ------------------------------------------------------------------------------------


def run_reference(end: Entry, values: list[Value], numbers: list[Any], wanted: Sequence[int]) -> None:
    """Run a segment through the references, dropping memory after its last reader.

    What does not depend on an op that fails is computed all the same; the first error is raised at the end.
    """
    path = needed(end.path(), wanted)
    for number, value in enumerate(values):
        if value is None:  # skipped in a replay, by whoever knew that nobody wants it
            values[number] = Value.__new__(Value)
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


class Compiler:
    """A thread that turns segments into programs, one at a time, first come first served."""

    def __init__(self) -> None:
        self.jobs: queue.SimpleQueue = queue.SimpleQueue()
        self.thread: threading.Thread | None = None
        self.lock = threading.Lock()
        self.waiting: set[Future] = set()

    def submit(self, end: Entry, wanted: tuple[int, ...], fuse: bool, now: bool) -> Future:
        future: Future = Future()
        if now:
            _compile(future, end, wanted, fuse)
            return future
        with self.lock:
            if self.thread is None:
                self.thread = threading.Thread(target=self._work, name="flambeau-compiler", daemon=True)
                self.thread.start()
            self.waiting.add(future)
        self.jobs.put((future, end, wanted, fuse))
        return future

    def _work(self) -> None:
        while True:
            future, end, wanted, fuse = self.jobs.get()
            _compile(future, end, wanted, fuse)
            with self.lock:
                self.waiting.discard(future)

    def forked(self) -> None:
        """In a forked child there is no such thread: what it had not finished stays with the references."""
        abandoned, lock = self.waiting, threading.Lock()
        self.jobs, self.thread, self.lock, self.waiting = queue.SimpleQueue(), None, lock, set()
        for future in abandoned:
            if not future.done():
                future._condition = threading.Condition()  # its lock may be held by a thread that is not here
                future.set_result(None)


def _compile(future: Future, end: Entry, wanted: tuple[int, ...], fuse: bool) -> None:
    start = time.perf_counter()
    program = None
    try:
        program = compiled(end, wanted, fuse)
    except Exception as error:
        if STRICT:
            future.set_exception(error)
            return
        if LOG:
            print(f"flambeau: {_name(end)} stays with the references: {type(error).__name__}: {error}", file=sys.stderr)
    if program is not None and "compile" in LOG:
        took = time.perf_counter() - start
        print(f"flambeau: compiled {_name(end)}: {program.summary()}, in {took * 1e3:.0f} ms", file=sys.stderr)
    future.set_result(program)


def _name(end: Entry) -> str:
    path = end.path()
    first = path[0].line
    where = f" from {os.path.basename(first[0])}:{first[1]}" if first else ""
    return f"a segment of {len(path)} ops{where}"


compiler = Compiler()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=compiler.forked)

