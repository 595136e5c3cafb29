"""What this machine can do: the arithmetic of a loop of fused multiply-adds, and the bandwidth of a large copy.

Measured with as many threads as the tables use, in the same run as they.
"""

from __future__ import annotations

import ctypes
import functools
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

CHAINS = 16  # independent accumulators: enough to hide the latency of an FMA
STEPS = 1_000_000
WIDTH = 16


def flops(threads: int) -> float:
    """Floating-point operations a second in float32 on `threads` threads."""
    function = _fma_loop()

    def work(_: int) -> None:
        out = np.zeros(WIDTH * CHAINS, np.float32)
        words = np.array([out.ctypes.data, STEPS], np.int64)
        function(words.ctypes.data, 0, 1)

    return 2.0 * WIDTH * CHAINS * STEPS * threads / _best(work, threads)


def bandwidth(threads: int, megabytes: int = 256) -> float:
    """Bytes read and written a second by a copy between two arrays that no cache holds."""
    parts = [(np.ones(megabytes << 17), np.ones(megabytes << 17)) for _ in range(1)]
    source, target = parts[0]
    shares = [slice(i * source.size // threads, (i + 1) * source.size // threads) for i in range(threads)]
    return 2.0 * source.nbytes / _best(lambda i: np.copyto(target[shares[i]], source[shares[i]]), threads)


def _best(work: Callable[[int], Any], threads: int, repeats: int = 7) -> float:
    """The shortest time in which all threads have done their share."""
    times = []
    for _ in range(repeats):
        workers = [threading.Thread(target=work, args=(i,)) for i in range(1, threads)]
        start = time.perf_counter()
        for worker in workers:
            worker.start()
        work(0)
        for worker in workers:
            worker.join()
        times.append(time.perf_counter() - start)
    return min(times)


@functools.cache
def _fma_loop() -> Any:
    """x = x * a + b in every lane of every chain, `STEPS` times."""
    from flambeau.engine.kernel.emit import Emitter
    from flambeau.engine.runtime.jit import load

    k = Emitter("fma_peak")
    type = f"<{WIDTH} x float>"
    out, steps = k.pointer(0), k.integer(1)
    a, b = k.const(type, 0.999), k.const(type, 0.001)
    with k.loop(steps, carried=[k.const(type, float(i)) for i in range(CHAINS)]) as loop:
        loop.carry(*(k.fma(x, a, b) for x in loop.carried))
    for i, x in enumerate(loop.carried):
        k.store(x, out, i * WIDTH)
    return ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(load(k.text(), "fma_peak"))
