"""`python -m tests.engine.fuzz`: check random programs, the seeds from --first on, for some time or some number.

    python -m tests.engine.fuzz --seconds 600            a longer search
    python -m tests.engine.fuzz --first 4711 --count 1 --show    one program, printed
    .venv-torch/bin/python -m tests.engine.fuzz --beside torch   the fuzzer itself, against PyTorch

A failing program is made small and printed, with what differs; the exit status is then 1. When the process dies, the
last line of stderr names the seed that it was running.
"""

from __future__ import annotations

import argparse
import faulthandler
import importlib
import sys
import time

from tests.engine.fuzz.checking import Tally, beside, faults, shrunk
from tests.engine.fuzz.grammar import program


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--stride", type=int, default=1, help="the distance of seeds")
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--failures", type=int, default=1, help="stop after so many failing programs")
    parser.add_argument("--beside", help="compare immediate execution with this module instead of the modes")
    parser.add_argument("--show", action="store_true", help="print the programs")
    parser.add_argument("--small", type=float, default=60.0, help="seconds to make a failing program small")
    chosen = parser.parse_args()
    faulthandler.enable()
    tally, failures = Tally(), 0
    other = importlib.import_module(chosen.beside) if chosen.beside else None
    check = (lambda p, t=None: beside(p, other, t)) if other else faults
    until = time.monotonic() + chosen.seconds
    for seed in range(chosen.first, chosen.first + chosen.count * chosen.stride, chosen.stride):
        if time.monotonic() > until or failures >= chosen.failures:
            break
        candidate = program(seed)
        if chosen.show:
            print(candidate)
        print(f"\rseed {seed}", end="", file=sys.stderr, flush=True)
        if check(candidate, tally):
            failures += 1
            small = shrunk(candidate, lambda p: bool(check(p)), chosen.small)
            print(f"\n{small}", *check(small)[:8], sep="\n")
    print(f"\n{tally}; {failures} programs failed")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
