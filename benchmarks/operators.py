"""Single operators beside PyTorch: `python -m benchmarks.operators [FAMILY ...]`.

Each row shows the time of both sides, their ratio, and how much of the machine's measured peak ours reaches: arithmetic
as a share of a loop of fused multiply-adds, memory as a share of a large copy (more than 100 % where caches hold the
operands).
"""

from __future__ import annotations

import math
import sys
import time
from typing import Any

from benchmarks import peak
from benchmarks.cases import CASES, FAMILIES, Case
from benchmarks.sides import SIDES, Fleet, framework, geometric_mean, machine, markdown, options, report

FEWEST, MOST = 2, 10_000  # calls in a turn


def observed(result: Any) -> None:
    """Have every result in memory, as somebody who reads it would."""
    for tensor in result if isinstance(result, (tuple, list)) else (result,):
        tensor.data_ptr()


def measure(fleet: Fleet, case: Case, rounds: int, seconds: float) -> dict[str, float]:
    """The best time of a call on each side: they take turns."""
    sides = {side: fleet.start(side, "benchmarks.operators", case.name) for side in SIDES}
    try:
        best = dict.fromkeys(SIDES, math.inf)
        for _ in range(rounds):
            for side, process in sides.items():
                best[side] = min(best[side], process.ask(seconds=seconds))
        return best
    finally:
        for process in sides.values():
            process.stop()


def table(found: dict[str, dict[str, float]], peaks: tuple[float, float]) -> str:
    rows = []
    for name, best in found.items():
        case, ours = CASES[name], best["flambeau"]
        rate, unit, of = (case.flops, "GFLOP/s", peaks[0]) if case.flops else (case.bytes, "GB/s", peaks[1])
        rows.append(
            [name, f"{best['torch'] * 1e6:.4g}", f"{ours * 1e6:.4g}", f"{best['torch'] / ours:.2f}",
             f"{rate / best['torch'] / 1e9:.1f}", f"{rate / ours / 1e9:.1f} {unit}", f"{rate / ours / of:.0%}"]
        )  # fmt: skip
    columns = ["operator", "PyTorch us", "Flambeau us", "ratio", "PyTorch", "Flambeau", "share of peak"]
    mean = geometric_mean(best["torch"] / best["flambeau"] for best in found.values())
    return f"{markdown(columns, rows)}\n\nGeometric mean of the ratios: {mean:.2f}."


def main() -> None:
    parser = options("Operators beside PyTorch")
    parser.set_defaults(seconds=0.2)
    chosen = parser.parse_args()
    families = chosen.names or list(FAMILIES)
    if unknown := set(families) - set(FAMILIES):
        parser.error(f"no family {', '.join(sorted(unknown))}; there are {', '.join(FAMILIES)}")
    fleet = Fleet(chosen)
    peaks = peak.flops(chosen.threads), peak.bandwidth(chosen.threads)
    text = [
        f"{machine()}, {chosen.threads} threads, execution {chosen.execution or 'by default'}: peak "
        f"{peaks[0] / 1e9:.0f} GFLOP/s, copy {peaks[1] / 1e9:.1f} GB/s"
    ]
    found: dict[str, dict[str, float]] = {}
    for family in families:
        part = {case.name: measure(fleet, case, chosen.rounds, chosen.seconds) for case in FAMILIES[family]()}
        text += [f"### {family}", table(part, peaks)]
        print("\n".join(text[-2:]), flush=True)
        found |= part
    report(chosen, "\n\n".join(text), {"peaks": peaks, "seconds": found})


def serve_case() -> None:
    """One side: prepare the case and time it on demand."""
    from benchmarks.sides import serve

    side, name = sys.argv[1:3]
    torch = framework(side)
    torch.manual_seed(0)
    run = CASES[name].make(torch)
    observed(run())

    def answer(seconds: float) -> float:
        """The shortest of some stretches of calls, in seconds a call."""
        best, calls, until = math.inf, 1, time.perf_counter() + seconds
        while time.perf_counter() < until or math.isinf(best):
            start = time.perf_counter()
            for _ in range(calls):
                observed(run())
            once = (time.perf_counter() - start) / calls
            best = min(best, once)
            calls = max(1, min(MOST, int(seconds / 10 / once)))
        return best

    serve(answer)


if __name__ == "__main__":
    serve_case() if len(sys.argv) > 2 and sys.argv[1] in SIDES else main()
