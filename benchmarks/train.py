"""One side of a training benchmark: `python -m benchmarks.train SIDE WORKLOAD`, driven through stdin and stdout.

With `--first`, prints the first loss and ends: what somebody waits for who starts a script.
"""

from __future__ import annotations

import itertools
import sys
import time
from typing import Any

from benchmarks.sides import framework, peak_memory, serve
from benchmarks.workloads import WORKLOADS


def main() -> None:
    side, name = sys.argv[1:3]
    start = time.perf_counter()
    workload = WORKLOADS[name]
    steps = workload.make(framework(side), workload.batch)
    if "--first" in sys.argv:
        print(next(steps), flush=True)
        return
    imported = time.perf_counter() - start

    def answer(seconds: float, most: int | None = None) -> dict[str, Any]:
        """Take steps for `seconds`, at most `most` and at least one."""
        losses, start = [], time.perf_counter()
        for _ in itertools.islice(itertools.count(), most):
            losses.append(next(steps))
            if (now := time.perf_counter()) - start >= seconds:
                break
        return {"losses": losses, "seconds": now - start, "imported": imported, "memory": peak_memory()}

    serve(answer)


if __name__ == "__main__":
    main()
