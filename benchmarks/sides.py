"""The two sides of a comparison: a process each, PyTorch's and Flambeau's, that take orders through pipes.

Both run the same code with the same number of threads; the driver gives them turns, so that whatever else the machine
does falls on both. A side waits inside `readline` while the other works.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SIDES = ("torch", "flambeau")


def options(description: str) -> argparse.ArgumentParser:
    """What every driver takes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("names", nargs="*", help="which rows; all of them if none is named")
    parser.add_argument("--torch-python", default=str(ROOT / ".venv-torch/bin/python"), help="a Python with PyTorch")
    parser.add_argument("--threads", type=int, default=2, help="threads of both sides")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side; medians are shown")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a turn")
    parser.add_argument("--execution", help="FLAMBEAU_EXECUTION of our side: immediate, lazy or compiled")
    parser.add_argument("--json", type=Path, help="write all figures there")
    parser.add_argument("--out", type=Path, help="write the table there as well")
    return parser


class Fleet:
    """How the processes of this run are started: their Pythons, their threads, their kernel cache."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        self.pythons = {"torch": chosen.torch_python, "flambeau": sys.executable}
        self.cache = tempfile.TemporaryDirectory(prefix="flambeau-bench-")
        threads = str(chosen.threads)
        self.environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "OPENBLAS_NUM_THREADS": threads,
            "FLAMBEAU_NUM_THREADS": threads,
            "FLAMBEAU_CACHE_DIR": self.cache.name,
        }
        if chosen.execution:
            self.environment["FLAMBEAU_EXECUTION"] = chosen.execution
        self.environment.pop("PYTHONDONTWRITEBYTECODE", None)
        self.bytecode = tempfile.TemporaryDirectory(prefix="flambeau-bytecode-")
        compiling = [self.pythons["flambeau"], "-m", "compileall", "-q", "flambeau", "benchmarks"]
        subprocess.run(compiling, env=self.environment_of("flambeau"), cwd=ROOT, check=True)

    def environment_of(self, side: str) -> dict[str, str]:
        """What a side's process finds. Ours has bytecode, as pip would give it, in a folder of its own."""
        own = {"PYTHONPYCACHEPREFIX": self.bytecode.name} if side == "flambeau" else {}
        return self.environment | own

    def empty_cache(self) -> None:
        """From now on our side finds no compiled kernel on disk."""
        self.cache = tempfile.TemporaryDirectory(prefix="flambeau-bench-")
        self.environment["FLAMBEAU_CACHE_DIR"] = self.cache.name

    def command(self, side: str, module: str, *arguments: str) -> list[str]:
        return [self.pythons[side], "-m", module, side, *arguments]

    def start(self, side: str, module: str, *arguments: str) -> Side:
        return Side(self.command(side, module, *arguments), self.environment_of(side))

    def seconds(self, side: str, *arguments: str) -> float:
        """How long the Python of a side runs with these arguments."""
        start = time.perf_counter()
        subprocess.run([self.pythons[side], *arguments], env=self.environment_of(side), cwd=ROOT, check=True)
        return time.perf_counter() - start


class Side:
    """A process that answers each line of JSON by another."""

    def __init__(self, command: Sequence[str], environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(command, env=environment, cwd=ROOT, stdin=-1, stdout=-1, text=True, bufsize=1)

    def ask(self, **order: Any) -> Any:
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{' '.join(self.process.args)} ended with {self.process.wait()}")
        return json.loads(line)

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def serve(answer: Any) -> None:
    """The other end of the pipe: answer orders until there are no more. What the code prints goes to stderr."""
    replies, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        print(json.dumps(answer(**json.loads(line))), file=replies, flush=True)


def framework(side: str) -> Any:
    """The module that is called `torch` on this side, with its threads set."""
    if importlib.util.find_spec(side) is None:
        raise SystemExit(f"{sys.executable} has no module {side}")
    torch = __import__(side)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    return torch


def peak_memory() -> int:
    """The most memory this process has had, in bytes (its own, without what its parent had before it started)."""
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if "VmHWM" in line)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def geometric_mean(numbers: Iterable[float]) -> float:
    return statistics.geometric_mean(list(numbers))


def markdown(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table whose first column is words and whose others are numbers."""
    cells = [list(columns), *([str(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells)]
    lines = [
        "| " + " | ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths))) + " |"
        for row in cells
    ]
    rule = "|" + "|".join("-" * (w + 2) if i == 0 else "-" * (w + 1) + ":" for i, w in enumerate(widths)) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def machine() -> str:
    """The class of machine, without its name."""
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    vectors = next((name for name, flag in (("AVX-512", "avx512f"), ("AVX2", "avx2")) if flag in flags), "")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} cores" + (f", {vectors}" if vectors else "") + f", {time.strftime('%Y-%m-%d')}"


def report(chosen: argparse.Namespace, text: str, figures: Any) -> None:
    """Show the result, and keep it where that was asked for."""
    print(text)
    if chosen.out:
        chosen.out.write_text(text + "\n")
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=1) + "\n")
