"""Timer: how long a statement takes, with as many repetitions as a trustworthy answer needs."""

from __future__ import annotations

import enum
import statistics
import textwrap
import timeit
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any, NoReturn

from flambeau.settings import get_num_threads, set_num_threads
from flambeau.utils.benchmark.measurement import Measurement, TaskSpec

timer = perf_counter

_MOST_RUNS = 2**31 - 1
_OVERHEAD = 1e-4  # of the clock, as a share of what is measured


class Language(enum.Enum):
    PYTHON = 0
    CPP = 1


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = get_num_threads()
    set_num_threads(count)
    try:
        yield
    finally:
        set_num_threads(before)


class Timer:
    """Times a statement, given as text.

    Args:
        stmt, setup: the statement, and what is done once before it; `global_setup` is for C++ and must be empty.
        timer: the clock.
        globals: the names that the statement knows.
        label, sub_label, description, env: names for tables: of the table, the row, the column and the environment.
        num_threads: threads that ops may use meanwhile.

    >>> from flambeau.utils.benchmark import Timer
    >>> Timer("x + x", globals={"x": 2}).timeit(100).number_per_run
    100
    """

    _timer_cls: type[timeit.Timer] = timeit.Timer

    def __init__(
        self,
        stmt: str = "pass",
        setup: str = "pass",
        global_setup: str = "",
        timer: Callable[[], float] = timer,
        globals: dict[str, Any] | None = None,
        label: str | None = None,
        sub_label: str | None = None,
        description: str | None = None,
        env: str | None = None,
        num_threads: int = 1,
        language: Language | str = Language.PYTHON,
    ) -> None:
        if not isinstance(stmt, str):
            raise ValueError("Currently only a `str` stmt is supported.")
        if language not in (Language.PYTHON, "py", "python"):
            raise NotImplementedError("only Python statements can be timed: there is no C++ here")
        if global_setup:
            raise ValueError(f"global_setup is C++ only, got {global_setup!r}")
        stmt, setup = textwrap.dedent(stmt).strip("\n"), textwrap.dedent(setup).strip("\n")
        self._globals = dict(globals or {})
        self._timer = self._timer_cls(stmt, setup, timer, globals=self._globals)
        self._task_spec = TaskSpec(stmt, setup, global_setup, label, sub_label, description, env, num_threads)

    def _timeit(self, number: int) -> float:
        return max(self._timer.timeit(number), 1e-9)

    def _measurement(self, number: int, times: list[float]) -> Measurement:
        return Measurement(number, times, self._task_spec)

    def timeit(self, number: int = 1000000) -> Measurement:
        """Time `number` runs together, after a hundredth of them to warm up."""
        with _threads(self._task_spec.num_threads):
            self._timeit(max(number // 100, 2))
            return self._measurement(number, [self._timeit(number)])

    def repeat(self, repeat: int = -1, number: int = -1) -> NoReturn:
        raise NotImplementedError("See `Timer.blocked_autorange.`")

    def autorange(self, callback: Callable[[int, float], Any] | None = None) -> NoReturn:
        raise NotImplementedError("See `Timer.blocked_autorange.`")

    def _block_size(self, min_run_time: float) -> int:
        """Return how many runs make the clock's own cost negligible."""
        overhead = statistics.median(self._timeit(0) for _ in range(5))
        number = 1
        while True:
            taken = self._timeit(number)
            precise = overhead / taken <= _OVERHEAD and taken >= min_run_time / 1000
            if precise or taken > min_run_time or number * 10 > _MOST_RUNS:
                return number
            number *= 10

    def blocked_autorange(
        self, callback: Callable[[int, float], Any] | None = None, min_run_time: float = 0.2
    ) -> Measurement:
        """Time blocks of runs until they took `min_run_time` seconds together."""
        return self._repeat(min_run_time, min_run_time, None, callback, lambda times, number: True)

    def adaptive_autorange(
        self,
        threshold: float = 0.1,
        *,
        min_run_time: float = 0.01,
        max_run_time: float = 10.0,
        callback: Callable[[int, float], Any] | None = None,
    ) -> Measurement:
        """Time blocks of runs until their spread (interquartile range by median) is below `threshold`."""

        def settled(times: list[float], number: int) -> bool:
            return len(times) > 3 and self._measurement(number, times).meets_confidence(threshold)

        return self._repeat(0.05, min_run_time, max_run_time, callback, settled)

    def _repeat(
        self,
        block_time: float,
        min_run_time: float,
        max_run_time: float | None,
        callback: Callable[[int, float], Any] | None,
        settled: Callable[[list[float], int], bool],
    ) -> Measurement:
        with _threads(self._task_spec.num_threads):
            number, times, total = self._block_size(block_time), [], 0.0
            while True:
                times.append(self._timeit(number))
                total += times[-1]
                if callback is not None:
                    callback(number, times[-1])
                if total >= min_run_time and settled(times, number):
                    break
                if max_run_time is not None and total > max_run_time:
                    break
        return self._measurement(number, times)
