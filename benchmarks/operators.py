"""Single operators beside PyTorch: `python -m benchmarks.operators [FAMILY ...]`.

Each row shows the time of both sides in a steady loop, their ratio, and how much of the machine's measured peak ours
reaches: arithmetic as a share of a loop of fused multiply-adds, memory as a share of a large copy (more than 100 %
where caches hold the operands). The last column names what did not run compiled: ops that ran by their NumPy
references, and programs that were given up for slower ones.
"""

from __future__ import annotations

import math
import sys
from typing import Any

from benchmarks.cases import CASES, FAMILIES, Case
from benchmarks.sides import SIDES, Fleet, geometric_mean, machine, markdown, options, report
from flambeau import set_num_threads
from flambeau.engine.runtime import peak


class Peaks:
    """The best that was measured so far of what this machine can do, on the threads of this run."""

    def __init__(self) -> None:
        self.flops = self.copy = self.read = 0.0

    def measure(self) -> None:
        for function in (peak.flops, peak.copy, peak.read):
            function.cache_clear()
        self.flops = max(self.flops, peak.flops().all)
        self.copy = max(self.copy, peak.copy().all)
        self.read = max(self.read, peak.read().all)

    def __str__(self) -> str:
        return f"peak {self.flops:.0f} GFLOP/s, copy {self.copy:.1f} GB/s (reading alone: {self.read:.1f} GB/s)"


def measure(sides: dict[str, Any], case: Case, rounds: int, seconds: float) -> dict[str, Any]:
    """The best seconds of a call on each side, which take turns, and how ours ran."""
    for process in sides.values():
        process.ask(name=case.name)
    best = dict.fromkeys(SIDES, math.inf)
    for _ in range(rounds):
        for side, process in sides.items():
            best[side] = min(best[side], process.ask(seconds=seconds))
    return best | {"remarks": sides["flambeau"].ask(remarks=True)}


def table(found: dict[str, dict[str, Any]], peaks: Peaks) -> str:
    rows = []
    for name, row in found.items():
        case, ours, theirs = CASES[name], row["flambeau"], row["torch"]
        rate, unit, of = (case.flops, "GFLOP/s", peaks.flops) if case.flops else (case.bytes, "GB/s", peaks.copy)
        rows.append(
            [name, f"{theirs * 1e6:.4g}", f"{ours * 1e6:.4g}", f"{theirs / ours:.2f}", f"{rate / theirs / 1e9:.1f}",
             f"{rate / ours / 1e9:.1f} {unit}", f"{rate / ours / 1e9 / of:.0%}", ", ".join(row["remarks"])]
        )  # fmt: skip
    columns = ["operator", "PyTorch us", "Flambeau us", "ratio", "PyTorch", "Flambeau", "share of peak", "not compiled"]
    mean = geometric_mean(row["torch"] / row["flambeau"] for row in found.values())
    return f"{markdown(columns, rows)}\n\nGeometric mean of the ratios: {mean:.2f}."


def main() -> None:
    parser = options("Operators beside PyTorch")
    parser.set_defaults(seconds=0.1)
    chosen = parser.parse_args()
    families = chosen.names or list(FAMILIES)
    if unknown := set(families) - set(FAMILIES):
        parser.error(f"no family {', '.join(sorted(unknown))}; there are {', '.join(FAMILIES)}")
    set_num_threads(chosen.threads)
    fleet, peaks = Fleet(chosen), Peaks()
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for family in families:
        peaks.measure()
        sides = {side: fleet.start(side, "benchmarks.calls") for side in SIDES}
        try:
            found[family] = {
                case.name: measure(sides, case, chosen.rounds, chosen.seconds) for case in FAMILIES[family]()
            }
        finally:
            for process in sides.values():
                process.stop()
        print(f"{family}: {len(found[family])} rows", file=sys.stderr, flush=True)
    peaks.measure()
    heading = f"{machine()}, {chosen.threads} threads, execution {chosen.execution or 'by default'}: {peaks}"
    text = [heading, *(f"### {family}\n\n{table(rows, peaks)}" for family, rows in found.items())]
    report(chosen, "\n\n".join(text), {"peaks": vars(peaks), "rows": found})


if __name__ == "__main__":
    main()
