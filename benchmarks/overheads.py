"""What surrounds the arithmetic: `python -m benchmarks.overheads` measures, on both sides,

* one small op that was not seen before, one that repeats what the last step did, and the latter with autograd;
* the time of the import, over Python's own start;
* the size of what is installed, with all required dependencies.
"""

from __future__ import annotations

import importlib.metadata as metadata
import importlib.util
import math
import random
import re
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.sides import SIDES, Fleet, framework, machine, markdown, options, report, serve

OPS = 200  # small ops between two observations
NAMES = ("add", "sub", "mul", "maximum", "minimum")


def sequence(torch: Any, choice: random.Random) -> list[Any]:
    return [getattr(torch, choice.choice(NAMES)) for _ in range(OPS)]


def time_ops(torch: Any, functions: list[Any], x: Any, y: Any) -> float:
    """Seconds of an op; reading the result is not counted, as it runs what was recorded."""
    start = time.perf_counter()
    for function in functions:
        x = function(x, y)
    taken = time.perf_counter() - start
    x.data_ptr()
    return taken / len(functions)


_unseen = random.Random(0)  # goes on from round to round: what was drawn in one is known in the next


def small_ops(torch: Any, kind: str, seconds: float) -> float:
    """The median of many stretches: `recorded` draws another sequence each time, the others repeat one."""
    choice = _unseen if kind == "recorded" else random.Random(0)
    x, y = torch.ones(4), torch.full((4,), 0.5)
    x.requires_grad_(kind == "matched, autograd")
    functions = sequence(torch, choice)
    for _ in range(20):
        time_ops(torch, functions, x, y)
    times, until = [], time.perf_counter() + seconds
    while time.perf_counter() < until:
        if kind == "recorded":
            functions = sequence(torch, choice)
        times.append(time_ops(torch, functions, x, y))
    return statistics.median(times)


def closure(name: str) -> dict[str, metadata.Distribution]:
    """A distribution and everything that it requires here."""
    found: dict[str, metadata.Distribution] = {}
    waiting = [name]
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        try:
            found[name] = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        requirements = found[name].requires or []
        waiting += [re.split(r"[^\w.-]", r)[0] for r in requirements if "extra" not in r.partition(";")[2]]
    return found


def installed_size(side: str) -> int:
    """Bytes of the files of `side` and its dependencies, bytecode included as pip installs it.

    Our sources are counted where they are (an editable install lists others), their bytecode where Python keeps it.
    """
    sizes = 0
    for name, distribution in closure(side).items():
        if name == "flambeau":
            continue
        places = (Path(str(distribution.locate_file(f))) for f in distribution.files or ())
        sizes += sum(p.stat().st_size for p in places if p.is_file())
    if side == "flambeau":
        package = Path(sys.modules[side].__file__ or "").parent
        sizes += sum(p.stat().st_size for p in package.rglob("*") if p.is_file() and p.suffix != ".pyc")
        sources = map(str, package.rglob("*.py"))
        bytecode = (Path(importlib.util.cache_from_source(source)) for source in sources)
        sizes += sum(p.stat().st_size for p in bytecode if p.exists())
    return sizes


def import_times(fleet: Fleet, rounds: int) -> dict[str, float]:
    """Seconds that the import adds to a Python that does nothing, turn by turn."""
    times: dict[str, list[float]] = {side: [] for side in SIDES}
    for _ in range(rounds + 1):  # the first round fills the page cache
        for side in SIDES:
            bare, full = (fleet.seconds(side, "-c", program) for program in ("pass", f"import {side}"))
            times[side].append(full - bare)
    return {side: statistics.median(t[1:]) for side, t in times.items()}


def main() -> None:
    chosen = options("Overheads beside PyTorch").parse_args()
    fleet = Fleet(chosen)
    processes = {side: fleet.start(side, "benchmarks.overheads") for side in SIDES}
    found: dict[str, dict[str, float]] = {}
    for kind in ("recorded", "matched", "matched, autograd"):
        best = dict.fromkeys(SIDES, math.inf)
        for _ in range(chosen.rounds):
            for side, process in processes.items():
                best[side] = min(best[side], process.ask(kind=kind, seconds=chosen.seconds / 4))
        found[f"one small op, {kind} (us)"] = {side: t * 1e6 for side, t in best.items()}
    sizes = {side: process.ask(kind="size", seconds=0) / 1e6 for side, process in processes.items()}
    for process in processes.values():
        process.stop()
    found["import (s)"] = import_times(fleet, chosen.rounds)
    found["installed (MB)"] = sizes
    rows = [
        [name, *(f"{row[side]:.3g}" for side in SIDES), f"{row['flambeau'] / row['torch']:.2f}"]
        for name, row in found.items()
    ]
    heading = f"{machine()}, execution {chosen.execution or 'by default'}"
    report(chosen, f"{heading}\n\n{markdown(['cost', 'PyTorch', 'Flambeau', 'ratio'], rows)}", found)


def serve_side() -> None:
    torch = framework(sys.argv[1])

    def answer(kind: str, seconds: float) -> float:
        return installed_size(sys.argv[1]) if kind == "size" else small_ops(torch, kind, seconds)

    serve(answer)


if __name__ == "__main__":
    serve_side() if len(sys.argv) > 1 and sys.argv[1] in SIDES else main()
