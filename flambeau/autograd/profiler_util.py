"""What a profiler has measured: events, their averages, their table, and a trace for Chrome.

Names as in PyTorch. Times are microseconds.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple


class Interval(NamedTuple):
    """From `start` to `end`, since some moment before the program began."""

    start: float
    end: float

    def elapsed_us(self) -> float:
        return self.end - self.start


class FunctionEvent:
    """Something that took time.

    Attributes:
        kind: "cpu_op" (recording an op), "reference" (an op by its NumPy reference), "segment" (a run of pending ops),
            "kernel" (a launch of compiled code) or "user_annotation".
        causes: the events of the ops that a launch computes.
        cpu_children: events inside this one.
    """

    def __init__(
        self, name: str, kind: str, thread: int, start: float, end: float, shapes: list[list[int]] | None = None,
        stack: Sequence[str] = (), causes: Sequence[FunctionEvent] = (),
    ) -> None:  # fmt: skip
        self.name, self.kind, self.thread = name, kind, thread
        self.time_range = Interval(start, end)
        self.input_shapes, self.stack, self.causes = shapes, list(stack), causes
        self.cpu_children: list[FunctionEvent] = []
        self.count = 1

    key = property(lambda self: self.name)
    is_user_annotation = property(lambda self: self.kind == "user_annotation")

    @property
    def cpu_time_total(self) -> float:
        return self.time_range.elapsed_us()

    cpu_time = cpu_time_total

    @property
    def self_cpu_time_total(self) -> float:
        return self.cpu_time_total - sum(child.cpu_time_total for child in self.cpu_children)

    def __repr__(self) -> str:
        return f"<FunctionEvent {self.name} {self.kind} {self.cpu_time_total:.1f} us>"


class FunctionEventAvg:
    """Events of one name together."""

    def __init__(self, first: FunctionEvent) -> None:
        self.key, self.kind, self.input_shapes, self.stack = first.name, first.kind, first.input_shapes, first.stack
        self.count, self.cpu_time_total, self.self_cpu_time_total = 0, 0.0, 0.0
        self.is_user_annotation = first.is_user_annotation

    def add(self, event: FunctionEvent) -> FunctionEventAvg:
        self.count += event.count
        self.cpu_time_total += event.cpu_time_total
        self.self_cpu_time_total += event.self_cpu_time_total
        return self

    @property
    def cpu_time(self) -> float:
        """The mean of one call."""
        return self.cpu_time_total / self.count if self.count else 0.0

    def __repr__(self) -> str:
        return f"<FunctionEventAvg {self.key} {self.count} x {self.cpu_time:.1f} us>"


def nest(events: Iterable[FunctionEvent]) -> None:
    """Make events children of those that they happen in."""
    open_events: dict[int, list[FunctionEvent]] = {}
    for event in sorted(events, key=lambda e: (e.time_range.start, -e.time_range.end)):
        around = open_events.setdefault(event.thread, [])
        while around and around[-1].time_range.end < event.time_range.end:
            around.pop()
        if around:
            around[-1].cpu_children.append(event)
        around.append(event)


class EventList(list):
    """Events or averages of them."""

    @property
    def self_cpu_time_total(self) -> float:
        return sum(event.self_cpu_time_total for event in self)

    def total_average(self) -> FunctionEventAvg:
        """All events together."""
        total = FunctionEventAvg(FunctionEvent("Total", "", 0, 0.0, 0.0))
        for event in self:
            total.add(event)
        return total

    def key_averages(self, group_by_input_shapes: bool = False, group_by_stack_n: int = 0) -> EventList:
        """Events of the same name (and shapes, and innermost lines) together."""
        found: dict[tuple, FunctionEventAvg] = {}
        for event in self:
            shapes = str(event.input_shapes) if group_by_input_shapes else ""
            key = event.name, event.kind, shapes, tuple(event.stack[:group_by_stack_n])
            if key not in found:
                found[key] = FunctionEventAvg(event)
            found[key].add(event)
        return EventList(found.values())

    def table(
        self, sort_by: str | None = None, row_limit: int = 100, max_src_column_width: int = 75,
        max_name_column_width: int = 55, max_shapes_column_width: int = 80, header: str | None = None,
        top_level_events_only: bool = False,
    ) -> str:  # fmt: skip
        """The events as text, the largest of `sort_by` first.

        Args:
            sort_by: "cpu_time", "cpu_time_total", "self_cpu_time_total" or "count"; None leaves the order.
            row_limit: lines at most; negative: all.
        """
        rows = [e for e in self if not top_level_events_only or getattr(e, "kind", "") == "user_annotation"]
        if sort_by is not None:
            rows.sort(key=lambda e: getattr(e, sort_by.replace("cuda", "cpu").replace("device", "cpu")), reverse=True)
        rows = rows[: row_limit if row_limit >= 0 else None]
        titles = ["Name", "Kind", "Self CPU %", "Self CPU", "CPU total %", "CPU total", "CPU time avg", "# of Calls"]
        total = self.self_cpu_time_total
        lines = [_row(e, total, max_name_column_width) for e in rows]
        if any(e.input_shapes for e in rows):
            titles.append("Input Shapes")
            for line, e in zip(lines, rows):
                line.append(_cut(str(e.input_shapes or ""), max_shapes_column_width))
        if any(e.stack for e in rows):
            titles.append("Source Location")
            for line, e in zip(lines, rows):
                line.append(e.stack[0][-max_src_column_width:] if e.stack else "")
        text = _laid_out(titles, lines)
        return (f"{header}\n" if header else "") + f"{text}\nSelf CPU time total: {_time(total)}\n"

    def export_chrome_trace(self, path: str | os.PathLike) -> None:
        """Write a file for chrome://tracing or ui.perfetto.dev: the events, and arrows from ops to their launches."""
        write_trace(self, path, {})

    def __str__(self) -> str:
        return self.table()


def _row(e: Any, total: float, width: int) -> list[str]:
    def share(time: float) -> str:
        return f"{time / total:.2%}" if total else "-"

    return [
        _cut(e.key, width), e.kind, share(e.self_cpu_time_total), _time(e.self_cpu_time_total),
        share(e.cpu_time_total), _time(e.cpu_time_total), _time(e.cpu_time), str(e.count),
    ]  # fmt: skip


def _laid_out(titles: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[nr]) for row in (titles, *lines)) for nr in range(len(titles))]
    rule = "  ".join("-" * width for width in widths)
    rows = [f"{row[0]:<{widths[0]}}  " + "  ".join(f"{x:>{w}}" for x, w in zip(row[1:], widths[1:])) for row in lines]
    head = f"{titles[0]:<{widths[0]}}  " + "  ".join(f"{x:>{w}}" for x, w in zip(titles[1:], widths[1:]))
    return "\n".join([rule, head, rule, *rows, rule])


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."


def _time(microseconds: float) -> str:
    for unit, size in (("s", 1e6), ("ms", 1e3)):
        if microseconds >= size:
            return f"{microseconds / size:.3f}{unit}"
    return f"{microseconds:.3f}us"


# -- traces --------------------------------------------------------------------------------------------------------


def write_trace(events: Sequence[FunctionEvent], path: str | os.PathLike, metadata: dict[str, Any]) -> None:
    """Write events in Chrome's format."""
    process = os.getpid()
    records: list[dict[str, Any]] = []
    for number, event in enumerate(events):
        where = {"pid": process, "tid": event.thread}
        start, duration = round(event.time_range.start, 3), round(event.cpu_time_total, 3)
        args: dict[str, Any] = {}
        if event.input_shapes is not None:
            args["Input Dims"] = event.input_shapes
        if event.stack:
            args["Call stack"] = ";\n".join(event.stack)
        records.append(
            {"ph": "X", "cat": event.kind, "name": event.name, "ts": start, "dur": duration, "args": args, **where}
        )
        for nr, cause in enumerate(event.causes):
            flow = {"cat": "ac2g", "name": "ac2g", "id": number * 64 + nr, "pid": process}
            records.append({"ph": "s", "tid": cause.thread, "ts": round(cause.time_range.start, 3), **flow})
            records.append({"ph": "f", "bp": "e", "tid": event.thread, "ts": start, **flow})
    trace = {"schemaVersion": 1, "displayTimeUnit": "ms", "traceEvents": records, **metadata}
    Path(path).write_text(json.dumps(trace))
