"""One side of an operator benchmark: `python -m benchmarks.calls SIDE`, driven through stdin and stdout."""

from __future__ import annotations

import gc
import importlib
import math
import sys
import time
from typing import Any

from benchmarks.cases import CASES
from benchmarks.sides import framework, serve

MOST = 10_000  # calls in a stretch
FIRST = 12  # calls before the clock starts: a program has been compiled, tried and kept or given up by then


def observed(result: Any) -> None:
    """Have every result in memory, as somebody who reads it would."""
    for tensor in result if isinstance(result, (tuple, list)) else (result,):
        tensor.data_ptr()


class Bench:
    """One side: prepares a case and times it on demand."""

    def __init__(self, side: str) -> None:
        self.torch = framework(side)
        self.run: Any = None
        ours = side == "flambeau"
        self.remarks = importlib.import_module("benchmarks.remarks").remarks if ours else lambda run: []

    def answer(self, name: str = "", seconds: float = 0.0, remarks: bool = False) -> Any:
        if name:
            return self.prepare(name)
        return self.remarks(lambda: observed(self.run())) if remarks else self.time(seconds)

    def prepare(self, name: str) -> None:
        """Make the operands and reach the steady state."""
        self.run = None
        gc.collect()
        self.torch.manual_seed(0)
        self.run = CASES[name].make(self.torch)
        for _ in range(FIRST):
            observed(self.run())

    def time(self, seconds: float) -> float:
        """The shortest of some stretches of calls, in seconds a call."""
        best, calls, until = math.inf, 1, time.perf_counter() + seconds
        while time.perf_counter() < until or math.isinf(best):
            start = time.perf_counter()
            for _ in range(calls):
                observed(self.run())
            once = (time.perf_counter() - start) / calls
            best = min(best, once)
            calls = max(1, min(MOST, int(seconds / 10 / once)))
        return best


if __name__ == "__main__":
    serve(Bench(sys.argv[1]).answer)
