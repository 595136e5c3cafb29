"""Compare: measurements side by side, one table a label, one row a statement, one column a description."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable

from flambeau.utils.benchmark.measurement import UNITS, Measurement, ordered_unique, select_unit, trim_sigfig

_BEST, _GOOD, _BAD, _VERY_BAD, _BOLD, _END = (
    f"\033[{code}m" for code in ("92", "34", "2m\033[91", "31", "1", "0")
)  # fmt: skip


class Colorize(enum.Enum):
    NONE = "none"
    COLUMNWISE = "columnwise"
    ROWWISE = "rowwise"


class Compare:
    """Shows measurements in tables: `print` it, or call its `print()`.

    Raises ValueError for results that are not Measurements.
    """

    def __init__(self, results: Iterable[Measurement]) -> None:
        self._results: list[Measurement] = []
        self.extend_results(results)
        self._trim = False
        self._colorize = Colorize.NONE
        self._highlight = False

    def extend_results(self, results: Iterable[Measurement]) -> None:
        for result in results:
            if not isinstance(result, Measurement):
                raise ValueError(f"Expected an instance of `Measurement`, got {type(result)} instead.")
            self._results.append(result)

    def trim_significant_figures(self) -> None:
        """Show only digits that mean something."""
        self._trim = True

    def colorize(self, rowwise: bool = False) -> None:
        """Colour the times by how far they are from the best of their column, or row."""
        self._colorize = Colorize.ROWWISE if rowwise else Colorize.COLUMNWISE

    def highlight_warnings(self) -> None:
        """Mark times that vary much."""
        self._highlight = True

    def print(self) -> None:
        print(str(self))

    def __str__(self) -> str:
        tables: dict[str | None, list[Measurement]] = {}
        for result in Measurement.merge(self._results):
            tables.setdefault(result.label, []).append(result)
        return "\n".join(self._table(results) for results in tables.values())

    def _table(self, results: list[Measurement]) -> str:
        unit, scale = select_unit(min(r.median for r in results))
        columns = ordered_unique(r.description for r in results)
        keys = sorted(ordered_unique((r.num_threads, r.env, r.as_row_name) for r in results), key=lambda k: k[:2])
        cells = {((r.num_threads, r.env, r.as_row_name), r.description): r for r in results}
        rows: list[list[Measurement | None]] = [[cells.get((key, c)) for c in columns] for key in keys]
        highlight = [self._highlight and any(r[i] and r[i].has_warnings for r in rows) for i in range(len(columns))]  # type: ignore[union-attr]
        texts = [[self._time(r, rows, i, scale, highlight[i]) for i, r in enumerate(row)] for row in rows]
        names = self._row_names(keys)
        widths = [max(map(len, names))]
        widths += [max(len(c or ""), *(len(t[i]) for t in texts)) for i, c in enumerate(columns)]
        header = "  |  ".join(text.center(width) for text, width in zip(["", *(c or "" for c in columns)], widths))
        lines = []
        for number, (key, row) in enumerate(zip(keys, rows)):
            if number == 0 or key[0] != keys[number - 1][0]:
                lines.append(f"{key[0]} threads: ".ljust(len(header), "-"))
            parts = [names[number].ljust(widths[0])]
            for i, result in enumerate(row):
                best = self._best_of(keys, rows, number, i)
                parts.append(_coloured(texts[number][i].center(widths[i + 1]), result, best))
            lines.append("  |  ".join(parts))
        title = f" {results[0].label or ''} ".center(len(header) - 2, "-")
        notes = f"\nTimes are in {UNITS[unit][1]}s ({unit}).\n"
        if any(highlight):
            notes += "(! XX%) Measurement has high variance, where XX is the IQR / median * 100.\n"
        return "\n".join([f"[{title}]", header, *lines, notes])

    @staticmethod
    def _row_names(keys: list[tuple]) -> list[str]:
        """Return the statements, each with its environment where there are several and it is another."""
        environments = {env for _, env, _ in keys}
        if len(environments) == 1:
            return [f"  {' ' * 4}{name}" for _, _, name in keys]
        width = max(len(str(env)) for env in environments) + 4
        names, before = [], None
        for threads, env, name in keys:
            shown = f"({env})" if (threads, env) != before else ""
            before = (threads, env)
            names.append(f"  {shown.ljust(width)}{name}")
        return names

    def _time(
        self, result: Measurement | None, rows: list[list[Measurement | None]], i: int, scale: float, highlight: bool
    ) -> str:
        column = [row[i] for row in rows if row[i] is not None]
        digits = [math.ceil(math.log10(m.median / scale)) for m in column if m is not None]
        decimals = 1
        if self._trim:
            decimals = min(max(m.significant_figures - d, 0) for m, d in zip(column, digits) if m is not None)
        length = max(digits) + decimals + (1 if decimals else 0)
        mark = 7 if highlight else 0
        if result is None:
            return " " * (max(length, len(f"{1:.{decimals}f}")) + mark)
        value = result.median / scale
        if self._trim:
            value = trim_sigfig(value, result.significant_figures)
        spread = f" (! {result.iqr / result.median * 100:.0f}%)" if highlight and result.has_warnings else ""
        return f"{value:>{length}.{decimals}f}{spread:>{mark}}"

    def _best_of(self, keys: list[tuple], rows: list[list[Measurement | None]], number: int, i: int) -> float | None:
        if self._colorize is Colorize.ROWWISE:
            return min(r.median for r in rows[number] if r is not None)
        if self._colorize is Colorize.COLUMNWISE:
            group = [row[i] for key, row in zip(keys, rows) if key[0] == keys[number][0]]
            return min((r.median for r in group if r is not None), default=None)
        return None


def _coloured(text: str, result: Measurement | None, best: float | None) -> str:
    if result is None or best is None:
        return text
    value = result.median
    if value <= best * 1.01 or value <= best + 100e-9:
        return _BEST + _BOLD + text + _END * 2
    if value <= best * 1.1:
        return _GOOD + _BOLD + text + _END * 2
    if value >= best * 5:
        return _VERY_BAD + _BOLD + text + _END * 2
    if value >= best * 2:
        return _BAD + text + _END * 2
    return text
