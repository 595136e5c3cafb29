"""Measurement: repeated times of one statement, and what can be said of them."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

MOST_FIGURES = 4
SMALLEST_INTERVAL = 25e-9  # seconds; no confidence interval is believed to be narrower
NOTABLE_SPREAD, GROSS_SPREAD = 0.1, 0.25  # interquartile range, as a share of the median

UNITS = {"ns": (1e-9, "nanosecond"), "us": (1e-6, "microsecond"), "ms": (1e-3, "millisecond"), "s": (1, "second")}

T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True, repr=False)
class TaskSpec:
    """What was timed, and how it is called in tables."""

    stmt: str
    setup: str
    global_setup: str = ""
    label: str | None = None
    sub_label: str | None = None
    description: str | None = None
    env: str | None = None
    num_threads: int = 1

    @property
    def title(self) -> str:
        if self.label is not None:
            return self.label + (f": {self.sub_label}" if self.sub_label else "")
        if "\n" not in self.stmt:
            return self.stmt + (f": {self.sub_label}" if self.sub_label else "")
        more = f" ({self.sub_label})" if self.sub_label else ""
        return f"stmt:{more}\n{textwrap.indent(self.stmt, '  ')}"

    def setup_str(self) -> str:
        if self.setup == "pass" or not self.setup:
            return ""
        if "\n" in self.setup:
            return f"setup:\n{textwrap.indent(self.setup, '  ')}"
        return f"setup: {self.setup}"

    def summarize(self) -> str:
        sections = [part for part in (self.title, self.description or "", self.setup_str()) if part]
        return "\n".join(f"{part}\n" if "\n" in part else part for part in sections)


_SPEC_FIELDS = frozenset(item.name for item in fields(TaskSpec))


@dataclass(repr=False)
class Measurement:
    """The times that a Timer measured: `raw_times` in seconds, each of `number_per_run` runs.

    The fields of its TaskSpec can be read from it directly.
    """

    number_per_run: int
    raw_times: list[float]
    task_spec: TaskSpec
    metadata: dict[Any, Any] | None = None

    def __getattr__(self, name: str) -> Any:
        if name in _SPEC_FIELDS:
            return getattr(self.task_spec, name)
        raise AttributeError(f"'Measurement' object has no attribute {name!r}")

    @property
    def times(self) -> list[float]:
        """Seconds of one run, for each measurement."""
        return [time / self.number_per_run for time in self.raw_times]

    @cached_property
    def _quartiles(self) -> tuple[float, float, float]:
        low, middle, high = np.quantile(self.times, [0.25, 0.5, 0.75])
        return float(low), float(middle), float(high)

    @property
    def median(self) -> float:
        return self._quartiles[1]

    @property
    def mean(self) -> float:
        return float(np.mean(self.times))

    @property
    def iqr(self) -> float:
        """The range of the middle half of the times."""
        return self._quartiles[2] - self._quartiles[0]

    @property
    def significant_figures(self) -> int:
        """A rough estimate of how many digits of the median mean anything, from the middle half of the times."""
        ordered = sorted(self.times)
        middle = ordered[len(ordered) // 4 : math.ceil(3 * len(ordered) / 4)]
        interval = max(1.645 * float(np.std(middle)) / math.sqrt(len(middle)), SMALLEST_INTERVAL)
        return min(max(math.floor(math.log10(self.median / interval)), 1), MOST_FIGURES)

    def meets_confidence(self, threshold: float = NOTABLE_SPREAD) -> bool:
        return self.iqr / self.median < threshold

    @property
    def _warnings(self) -> list[str]:
        if self.meets_confidence(NOTABLE_SPREAD):
            return []
        gross = not self.meets_confidence(GROSS_SPREAD)
        meaning = "suggests significant environmental influence" if gross else "could indicate system fluctuation"
        return [
            f"  WARNING: Interquartile range is {self.iqr / self.median * 100:.1f}% of the median measurement.",
            f"           This {meaning}.",
        ]

    @property
    def has_warnings(self) -> bool:
        return bool(self._warnings)

    @property
    def title(self) -> str:
        return self.task_spec.title

    @property
    def as_row_name(self) -> str:
        return self.sub_label or self.stmt or "[Unknown]"

    def __repr__(self) -> str:
        unit, scale = select_unit(self.median)
        count, plural = len(self.raw_times), "s" if len(self.raw_times) > 1 else ""
        low, middle, high = (time / scale for time in self._quartiles)
        threads = f"{self.num_threads} thread{'s' if self.num_threads > 1 else ''}"
        lines = [
            f"<flambeau.utils.benchmark.Measurement object at {hex(id(self))}>",
            *self.task_spec.summarize().splitlines(),
            f"  {'Median: ' if count > 1 else ''}{middle:.2f} {unit}",
        ]
        if count >= 4:
            lines.append(f"  IQR:    {high - low:.2f} {unit} ({low:.2f} to {high:.2f})")
        runs = f"{self.number_per_run} runs {'per measurement,' if count > 1 else ','} {threads}"
        return "\n".join([*lines, f"  {count} measurement{plural}, {runs}", *self._warnings])

    @staticmethod
    def merge(measurements: Iterable[Measurement]) -> list[Measurement]:
        """Join the measurements of equal tasks."""
        groups: dict[TaskSpec, list[float]] = {}
        for measurement in measurements:
            groups.setdefault(measurement.task_spec, []).extend(measurement.times)
        return [Measurement(1, times, spec) for spec, times in groups.items()]


def select_unit(seconds: float) -> tuple[str, float]:
    """Return the unit in which a time is a number of ordinary size, and its length in seconds.

    >>> select_unit(0.002)
    ('ms', 0.001)
    """
    unit = {-3: "ns", -2: "us", -1: "ms"}.get(int(math.log10(seconds) // 3), "s")
    return unit, UNITS[unit][0]


def trim_sigfig(x: float, n: int) -> float:
    """Round to `n` significant figures.

    >>> trim_sigfig(3.14159, 2)
    3.1
    """
    if x == 0:
        return x
    return round(x, n - math.ceil(math.log10(abs(x))))


def ordered_unique(elements: Iterable[T]) -> list[T]:
    return list(dict.fromkeys(elements))
