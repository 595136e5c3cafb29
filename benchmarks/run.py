"""Trainings beside PyTorch: `python -m benchmarks.run [WORKLOAD ...]` prints a table of ratios.

For each workload both sides first take the same 50 steps, whose losses are compared, and then turns of a second each.
A ratio above 1 says that Flambeau is faster. `--start` measures the time from the start of a process to the first
printed loss instead.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import time
from typing import Any

from benchmarks.sides import ROOT, SIDES, Fleet, geometric_mean, machine, markdown, options, report
from benchmarks.workloads import WORKLOADS

COMPARED = 50  # steps whose losses are laid side by side
PATIENCE = 120.0  # seconds that these steps may take


def measure(fleet: Fleet, name: str, chosen: argparse.Namespace) -> dict[str, Any]:
    """One workload: the first steps of both sides, then turns."""
    sides = {side: fleet.start(side, "benchmarks.train", name) for side in SIDES}
    try:
        first = {s: side.ask(seconds=PATIENCE, most=1) for s, side in sides.items()}
        more = {s: side.ask(seconds=chosen.patience, most=COMPARED - 1) for s, side in sides.items()}
        turns: dict[str, list[float]] = {side: [] for side in SIDES}
        for _ in range(chosen.rounds):
            for side, process in sides.items():
                last = process.ask(seconds=chosen.seconds)
                turns[side].append(len(last["losses"]) / last["seconds"])
        memory = {s: side.ask(seconds=0, most=1)["memory"] for s, side in sides.items()}
    finally:
        for side in sides.values():
            side.stop()
    losses = [[*first[side]["losses"], *more[side]["losses"]] for side in SIDES]
    speed = {side: statistics.median(turns[side]) for side in SIDES}
    return {
        "steps/s": speed,
        "ratio": speed["flambeau"] / speed["torch"],
        "compared": min(map(len, losses)),
        "difference": max(abs(a - b) / max(abs(b), 1e-6) for b, a in zip(*losses)),
        "beginning": {s: first[s]["imported"] + first[s]["seconds"] + more[s]["seconds"] for s in SIDES},
        "memory": memory,
        "kind": WORKLOADS[name].kind,
    }


def table(found: dict[str, dict[str, Any]], heading: str) -> str:
    rows = []
    for name, row in found.items():
        torch, ours = (row["steps/s"][side] for side in SIDES)
        memory = [row["memory"][side] / 2**20 for side in SIDES]
        difference = f"{row['difference']:.0e}" + ("" if row["compared"] == COMPARED else f" ({row['compared']} steps)")
        rows.append(
            [name, f"{torch:.4g}", f"{ours:.4g}", f"{row['ratio']:.2f}", difference,
             *(f"{row['beginning'][side]:.1f}" for side in SIDES),
             f"{memory[0]:.0f}", f"{memory[1]:.0f}", f"{memory[1] / memory[0]:.2f}"]
        )  # fmt: skip
    columns = ["workload", "PyTorch steps/s", "Flambeau steps/s", "ratio", "loss differs by", "PyTorch begins",
               "Flambeau begins", "PyTorch MB", "Flambeau MB", "ratio of memory"]  # fmt: skip
    words = f"A workload begins with the import and its first {COMPARED} steps (seconds), whose losses are compared."
    lines = [heading, "", markdown(columns, rows), "", words]
    ratios = {name: row["ratio"] for name, row in found.items() if row["kind"] == "training"}
    if len(ratios) > 1:
        slowest = min(ratios, key=ratios.__getitem__)
        mean = geometric_mean(ratios.values())
        lines += ["", f"Training: geometric mean {mean:.2f}, slowest {ratios[slowest]:.2f} ({slowest})."]
    return "\n".join(lines)


def first_loss(fleet: Fleet, side: str, name: str) -> float:
    """Seconds from the start of a process to the first loss it prints."""
    start = time.perf_counter()
    command = fleet.command(side, "benchmarks.train", name, "--first")
    with subprocess.Popen(command, env=fleet.environment_of(side), cwd=ROOT, stdout=-1) as process:
        assert process.stdout is not None
        float(process.stdout.readline())
        return time.perf_counter() - start


def starts(fleet: Fleet, chosen: argparse.Namespace) -> tuple[str, Any]:
    """Process start to the first printed loss, with an empty and with a filled kernel cache."""
    rows, found = [], {}
    for name in chosen.names or ["lenet-4"]:
        times: dict[str, list[float]] = {"torch": [], "empty": [], "warm": []}
        for _ in range(chosen.rounds + 1):
            times["torch"].append(first_loss(fleet, "torch", name))
            fleet.empty_cache()
            times["empty"].append(first_loss(fleet, "flambeau", name))
            times["warm"].append(first_loss(fleet, "flambeau", name))
        torch, empty, warm = (statistics.median(t[1:]) for t in times.values())  # the first round fills the page cache
        found[name] = {"torch": torch, "empty cache": empty, "warm cache": warm}
        cells = (f"{torch:.2f} s", f"{empty:.2f} s", f"{warm:.2f} s", f"{empty / torch:.2f}", f"{warm / torch:.2f}")
        rows.append([name, *cells])
    columns = ["to the first loss", "PyTorch", "empty cache", "warm cache", "empty / PyTorch", "warm / PyTorch"]
    return markdown(columns, rows), found


def main() -> None:
    parser = options("Trainings beside PyTorch")
    parser.add_argument("--start", action="store_true", help="time from process start to the first printed loss")
    parser.add_argument("--warm", action="store_true", help="fill the kernel cache by a run before the measured one")
    parser.add_argument("--patience", type=float, default=PATIENCE, help="seconds for the steps that are compared")
    chosen = parser.parse_args()
    unknown = set(chosen.names) - set(WORKLOADS)
    if unknown:
        parser.error(f"no workload {', '.join(sorted(unknown))}; there are {', '.join(WORKLOADS)}")
    fleet = Fleet(chosen)
    heading = f"{machine()}, {chosen.threads} threads, execution {chosen.execution or 'by default'}"
    if chosen.start:
        text, found = starts(fleet, chosen)
        report(chosen, f"{heading}\n\n{text}", found)
        return
    found = {}
    for name in chosen.names or WORKLOADS:
        fleet.empty_cache()
        if chosen.warm:
            side = fleet.start("flambeau", "benchmarks.train", name)
            side.ask(seconds=chosen.patience, most=COMPARED)
            side.stop()
        found[name] = measure(fleet, name, chosen)
        print(f"{name}: {found[name]['ratio']:.2f}", flush=True)
    cache = "filled" if chosen.warm else "empty at the start"
    report(chosen, table(found, f"{heading}, kernel cache {cache}"), found)


if __name__ == "__main__":
    main()
