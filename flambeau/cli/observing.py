"""What `flambeau explain` notes while a script runs: every segment, how often it ran and for how long."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from statistics import median

from flambeau.engine.entry import Segment
from flambeau.engine.plan import HostCall, Launch
from flambeau.engine.program import Program
from flambeau.engine.watching import Watcher

OFTEN = 16  # runs of a program of which every second is timed launch by launch; afterwards one in `SELDOM`
SELDOM = 8


class Seen:
    """What was seen of one segment."""

    def __init__(self, segment: Segment) -> None:
        self.segment = segment
        self.by_reference: list[int] = []  # nanoseconds of each run
        self.whole: list[int] = []
        self.python: list[int] = []  # nanoseconds in Python before each run by a program
        self.spent: dict[Program, list[list[int]]] = {}  # nanoseconds of each launch, of every run that was timed
        self.programs: dict[Program, int] = {}  # and how often each ran

    @property
    def program(self) -> Program | None:
        """The program that ran most often; else one that is ready to run."""
        if self.programs:
            return max(self.programs, key=lambda program: self.programs[program])
        known = self.segment.known
        futures = known.programs.values() if known is not None else ()
        return next((program for future in futures if (program := future.result()) is not None), None)

    @property
    def compiled(self) -> int:
        return sum(self.programs.values())

    @property
    def runs(self) -> int:
        return self.compiled + len(self.by_reference)

    def launch_times(self) -> list[float]:
        """The usual nanoseconds of each step of the program."""
        runs = self.spent.get(self.program, []) if self.program is not None else []
        return [median(times) for times in zip(*runs)]

    def weight(self) -> tuple[float, float]:
        """What makes a segment worth looking at: how often it ran compiled, and for how long."""
        return self.compiled, sum(self.whole) + sum(self.by_reference)


class Observer(Watcher):
    """Takes note of every segment that runs."""

    def __init__(self) -> None:
        self.segments: dict[Segment, Seen] = {}
        self.thread = threading.local()

    def times(self, program: Program) -> bool:
        seen = self.segments.get(program.segment)
        runs = seen.programs.get(program, 0) if seen is not None else 0
        return runs % 2 == 1 if runs < OFTEN else runs % SELDOM == 0

    def launches(self, program: Program, began: int, spent: Sequence[tuple[Launch | HostCall, int]]) -> None:
        self._seen(program.segment).spent.setdefault(program, []).append([taken for _, taken in spent])
        self.thread.timed = True

    def segment(self, segment: Segment, program: Program | None, began: int, ended: int) -> None:
        seen = self._seen(segment)
        here = self.thread
        if program is None:
            seen.by_reference.append(ended - began)
        else:
            seen.programs[program] = seen.programs.get(program, 0) + 1
            if not getattr(here, "timed", False):
                seen.whole.append(ended - began)
            if hasattr(here, "last"):
                seen.python.append(began - here.last)
        here.last, here.timed = ended, False

    def _seen(self, segment: Segment) -> Seen:
        found = self.segments.get(segment)
        if found is None:
            found = self.segments[segment] = Seen(segment)
        return found

    def ordered(self) -> list[Seen]:
        """The segments, the one that matters most first."""
        return sorted(self.segments.values(), key=Seen.weight, reverse=True)
