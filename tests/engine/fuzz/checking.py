"""Runs a program in every execution mode and compares; makes a failing program small.

* immediate against recorded (and run by the references): the same bits;
* immediate against native code: what is discrete must be equal, floats within the rounding of sums;
* lazy against fused (compiled from the first sighting on): the same bits;
* compiled against compiled again, on another number of threads: the same bits.

A difference between immediate and native that a change of the data by a few units in the last place makes as well is no
fault: such a program amplifies rounding (a branch at its border, a sum that cancels).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

import flambeau
from flambeau.engine import execute
from flambeau.ops import matched
from tests.engine.fuzz.compare import differences
from tests.engine.fuzz.program import Program, smaller
from tests.engine.fuzz.running import Running, Seen, run

# name: mode, and how often a segment is seen before it runs compiled (-1: never, the references run what was recorded)
MODES: dict[str, tuple[str, int | None]] = {
    "immediate": ("immediate", None),
    "recorded": ("compiled", -1),
    "lazy": ("lazy", None),
    "fused": ("compiled", 0),
    "compiled": ("compiled", 2),
}
# Code for every segment of a program takes long to make, so most programs show only that recording and replay see what
# immediate execution does.
ROTATION = {0: ("recorded", "lazy", "fused", "compiled"), 8: ("fused",), 16: ("compiled",), 24: ("lazy",)}


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


def run_in(mode: str, program: Program, threads: int = 2, perturbed: bool = False) -> Running:
    """A run in one execution mode."""
    before, mode_before = flambeau.get_num_threads(), execute.mode()
    flambeau.set_num_threads(threads)
    execute.set_mode(*MODES[mode])
    often, matched.OFTEN = matched.OFTEN, 1 + program.seed % 4
    try:
        return run(program, flambeau, perturbed)
    finally:
        execute.set_mode(mode_before)
        matched.OFTEN = often
        flambeau.set_num_threads(before)


def faults(program: Program, tally: Tally | None = None) -> list[str]:
    """What is wrong with how the modes run this program: some in all of them, all in one and immediate."""
    tally = tally or Tally()
    immediate = run_in("immediate", program)
    tally.add(immediate)
    modes = ROTATION.get(program.seed // 2 % 32, ("recorded",))
    threads = 1 + program.seed % 2
    native = {mode: run_in(mode, program, threads) for mode in modes}
    found = {mode: list(differences(run.log, immediate.log, exact=False)) for mode, run in native.items()}
    if any(found.values()) and not (program.exact and exact_still(immediate.log)):
        nudged = run_in("immediate", program, perturbed=True)
        explained = {where for where, _ in differences(nudged.log, immediate.log, exact=False)}
        found = {mode: [f for f in wrong if f[0] not in explained] for mode, wrong in found.items()}
        tally.amplifying += not any(found.values())
    if "recorded" in native:
        found["recorded"] = list(differences(native["recorded"].log, immediate.log, exact=True))
    wrong = [text for mode in modes for text in labelled(f"{mode} and immediate", found[mode])]
    if len(modes) > 1:
        again = run_in("compiled", program, 3 - threads)
        wrong += labelled("fused and lazy", differences(native["fused"].log, native["lazy"].log, exact=True))
        wrong += labelled("compiled, 1 thread and 2", differences(again.log, native["compiled"].log, exact=True))
    return wrong


def exact_still(x: Any) -> bool:
    """Whether the numbers of an exact program stayed so short that every order of a sum of products gives the same."""
    if isinstance(x, Seen):
        x = x.values
    if isinstance(x, np.ndarray):
        return x.dtype.kind != "f" or bool(np.all(np.frexp(x)[0] * 2**12 % 1 == 0) and np.all(np.abs(x) < 2**20))
    if isinstance(x, dict):
        return all(map(exact_still, x.values()))
    return all(map(exact_still, x)) if isinstance(x, (list, tuple)) else True


def labelled(what: str, found: Iterable[tuple[Any, str]]) -> list[str]:
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
    return labelled("Flambeau and PyTorch", found)


def outline(x: Any) -> Any:
    """What two implementations must agree on: not how often each wrote to a tensor on its way."""
    if isinstance(x, Seen):
        return x._replace(strides=(), offset=0, version=0, node="")
    if isinstance(x, (list, tuple)):
        return type(x)(map(outline, x))
    return {key: outline(value) for key, value in x.items()} if isinstance(x, dict) else x
