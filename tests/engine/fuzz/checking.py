"""Runs a program in every execution mode and compares; makes a failing program small.

* immediate against lazy: what is discrete must be equal, floats within the rounding of sums;
* lazy, compiled, compiled on another number of threads, and once more: the same bits.

A difference between immediate and native that a change of the data by a few units in the last place makes as well is no
fault: such a program amplifies rounding (a branch at its border, a sum that cancels).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import flambeau
from flambeau.engine import execute
from tests.engine.fuzz.compare import differences
from tests.engine.fuzz.program import Program, smaller
from tests.engine.fuzz.running import Running, Seen, run

MODES = ("immediate", "lazy", "compiled")
set_mode: Callable[[str], Any] | None = getattr(execute, "set_mode", None)


@dataclass
class Tally:
    """What the checked programs were like."""

    programs: int = 0
    statements: int = 0
    errors: int = 0
    observations: int = 0
    amplifying: int = 0

    def add(self, running: Running) -> None:
        self.programs += 1
        self.statements += running.statements
        self.errors += running.errors
        self.observations += len(running.log)

    def __str__(self) -> str:
        share = self.errors / max(self.statements, 1)
        return (
            f"{self.programs} programs, {self.statements} statements run ({share:.1%} of them failing as they should), "
            f"{self.observations} things seen; {self.amplifying} programs amplify rounding"
        )


def run_in(mode: str, program: Program, threads: int | None = None, perturbed: bool = False) -> Running:
    """A run in one execution mode."""
    before = flambeau.get_num_threads()
    if set_mode is not None:
        set_mode(mode)
    if threads is not None:
        flambeau.set_num_threads(threads)
    try:
        return run(program, flambeau, perturbed)
    finally:
        flambeau.set_num_threads(before)
        if set_mode is not None:
            set_mode("immediate")


def faults(program: Program, tally: Tally | None = None) -> list[str]:
    """What is wrong with how the modes run this program."""
    tally = tally or Tally()
    immediate = run_in("immediate", program)
    tally.add(immediate)
    if set_mode is None:  # only immediate execution exists: it must at least repeat itself
        return labelled("immediate and again", differences(run_in("immediate", program).log, immediate.log, True))
    lazy = run_in("lazy", program)
    found = list(differences(lazy.log, immediate.log, exact=False))
    if found and not program.exact:
        nudged = run_in("immediate", program, perturbed=True)
        explained = {where for where, _ in differences(nudged.log, immediate.log, exact=False)}
        if all(where in explained for where, _ in found):
            tally.amplifying += 1
            found = []
    wrong = labelled("lazy and immediate", iter(found))
    compiled = run_in("compiled", program)
    wrong += labelled("compiled and lazy", differences(compiled.log, lazy.log, exact=True))
    threads = 1 + program.seed % 2
    again = run_in("compiled", program, threads)
    wrong += labelled(f"compiled on {threads} threads and compiled", differences(again.log, compiled.log, exact=True))
    return wrong


def labelled(what: str, found: Iterator[tuple[Any, str]]) -> list[str]:
    return [f"{what}: {text}" for _, text in found]


def shrunk(program: Program, fails: Callable[[Program], bool], seconds: float = 60.0) -> Program:
    """The smallest program found in that time that still fails."""
    until = time.monotonic() + seconds
    progress = True
    while progress and time.monotonic() < until:
        progress = False
        for candidate in smaller(program):
            if time.monotonic() > until:
                break
            if fails(candidate):
                program, progress = candidate, True
                break
    return program


def beside(program: Program, torch: ModuleType, tally: Tally | None = None) -> list[str]:
    """How immediate execution differs from PyTorch: a check of the fuzzer itself, and a search for differences."""
    immediate = run_in("immediate", program)
    if tally:
        tally.add(immediate)
    ours, theirs = outline(immediate.log), outline(run(program, torch).log)
    found = list(differences(ours, theirs, exact=False))
    if found and not program.exact:
        nudged = outline(run_in("immediate", program, perturbed=True).log)
        explained = {where for where, _ in differences(nudged, ours, exact=False)}
        found = [(where, text) for where, text in found if where not in explained]
    return labelled("Flambeau and PyTorch", iter(found))


def outline(x: Any) -> Any:
    """What two implementations must agree on: not how often each wrote to a tensor on its way."""
    if isinstance(x, Seen):
        return x._replace(strides=(), offset=0, version=0, node="")
    if isinstance(x, (list, tuple)):
        return type(x)(map(outline, x))
    return {key: outline(value) for key, value in x.items()} if isinstance(x, dict) else x
