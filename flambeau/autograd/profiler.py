"""`torch.autograd.profiler`: what takes the time, op by op and launch by launch.

While a profiler looks on, the recording of each op, each run of pending ops and, inside those, each launch of a kernel
(or each reference) becomes an event. Launches run one by one, which costs a little more than a program in one call.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ContextDecorator, contextmanager
from time import perf_counter_ns
from typing import Any

from flambeau.autograd.profiler_util import EventList, FunctionEvent, FunctionEventAvg, nest, write_trace
from flambeau.engine import execute, watching
from flambeau.engine.graph import Meta
from flambeau.engine.plan import HostCall, Launch

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_current: Collector | None = None


class Collector(watching.Watcher):
    """Gathers events while it is on; one at a time."""

    def __init__(self, shapes: bool = False, stacks: bool = False) -> None:
        self.shapes, self.stacks = shapes, stacks
        self.events: list[FunctionEvent] = []
        self.calls: dict[Any, FunctionEvent] = {}  # the last event of each recorded entry

    @contextmanager
    def on(self) -> Iterator[None]:
        """Look on inside the block. What was pending before it is run first."""
        global _current
        execute.settle()
        before, _current = _current, self
        call, record = execute.call, execute.record
        execute.call, execute.record = self._timed(call), self._timed(record)
        try:
            with watching.watched(self):
                try:
                    yield
                finally:
                    execute.settle()
        finally:
            execute.call, execute.record, _current = call, record, before

    def _timed(self, function: Callable) -> Callable:
        """`execute.call` or `execute.record`, so that it tells how long it takes: in its place only while somebody
        wants to know, it costs nobody else anything."""

        def timed(*args: Any) -> Any:
            began = perf_counter_ns()
            result = function(*args)
            op, inputs = args[:2] if len(args) == 4 else args[1:3]
            event = self.add(op.name, "cpu_op", began, perf_counter_ns(), inputs)
            if len(args) == 5:
                self.calls[result[0]] = event
            return result

        return timed

    def add(
        self, name: str, kind: str, began: int, ended: int, inputs: Sequence[Any] = (),
        causes: Sequence[FunctionEvent] = (),
    ) -> FunctionEvent:  # fmt: skip
        shapes = [list(getattr(x, "_shape", ())) for x in inputs] if self.shapes and inputs else None
        stack = _stack() if self.stacks and kind in ("cpu_op", "user_annotation") else ()
        event = FunctionEvent(name, kind, threading.get_ident(), began / 1e3, ended / 1e3, shapes, stack, causes)
        self.events.append(event)
        return event

    # -- what the engine tells ------------------------------------------------------------------------------------

    def times(self, program: Any) -> bool:
        return True

    def segment(self, segment: Any, program: Any, began: int, ended: int) -> None:
        how = "compiled" if program is not None else "by reference"
        self.add(f"segment of {len(segment)} ops, {how}", "segment", began, ended)

    def launches(self, program: Any, began: int, spent: Sequence[tuple[Launch | HostCall, int]]) -> None:
        entries = {id(step): entry for step, entry in zip(program.graph.steps, program.segment.path())}
        for step, taken in spent:
            calls = step.calls if isinstance(step, Launch) else (step.call,)
            causes = [self.calls[entries[id(c)]] for c in calls if entries[id(c)] in self.calls]
            if isinstance(step, Launch):
                self.add(step.note, "kernel", began, began + taken, causes=causes)
            began += taken

    def reference(self, op: Any, metas: Sequence[Meta], began: int, ended: int) -> None:
        self.add(op.name, "reference", began, ended)


def _stack() -> list[str]:
    """The user's frames, innermost first."""
    frames = traceback.extract_stack(sys._getframe(3), limit=64)
    return [f"{f.filename}({f.lineno}): {f.name}" for f in reversed(frames) if not f.filename.startswith(_PACKAGE)]


class record_function(ContextDecorator):
    """A named stretch of a program, as a context or a decorator: an event where a profiler looks on.

    Example:
        >>> with flambeau.profiler.record_function("forward"):
        ...     y = flambeau.ones(3).exp()
    """

    def __init__(self, name: str, args: str | None = None) -> None:
        self.name = name

    def __enter__(self) -> record_function:
        self._began = perf_counter_ns()
        return self

    def __exit__(self, *error: object) -> None:
        if _current is not None:
            _current.add(self.name, "user_annotation", self._began, perf_counter_ns())

    def _recreate_cm(self) -> record_function:
        return record_function(self.name)


class profile:
    """Watches what runs inside a block.

    Args:
        enabled: False does nothing.
        record_shapes: keep the shapes of operands.
        with_stack: keep the lines that called.

    The other arguments of PyTorch's are accepted and have no effect.

    Example:
        >>> x = flambeau.ones(3)
        >>> with flambeau.autograd.profiler.profile() as prof:
        ...     y = (x + 1).sum().item()
        >>> [e.key for e in prof.key_averages() if e.kind == "cpu_op"]
        ['add', 'sum']
    """

    def __init__(
        self, enabled: bool = True, *, record_shapes: bool = False, with_stack: bool = False, **ignored: Any
    ) -> None:
        self.enabled = enabled
        self.collector = Collector(record_shapes, with_stack)
        self.function_events: EventList | None = None

    def __enter__(self) -> profile:
        if self.enabled:
            self._looking = self.collector.on()
            self._looking.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        if self.enabled:
            self._looking.__exit__(*error)
            self.function_events = finished(self.collector.events)

    def _events(self) -> EventList:
        if self.function_events is None:
            raise RuntimeError("Profiler didn't finish running")
        return self.function_events

    def key_averages(self, group_by_input_shape: bool = False, group_by_stack_n: int = 0) -> EventList:
        """Events of the same name together."""
        return self._events().key_averages(group_by_input_shape, group_by_stack_n)

    def table(self, sort_by: str | None = None, row_limit: int = 100, **layout: Any) -> str:
        """All events as text, see `EventList.table`."""
        return self._events().table(sort_by, row_limit, **layout)

    def total_average(self) -> FunctionEventAvg:
        """All events together."""
        return self._events().total_average()

    @property
    def self_cpu_time_total(self) -> float:
        return self._events().self_cpu_time_total

    def export_chrome_trace(self, path: str | os.PathLike) -> None:
        """Write a file for chrome://tracing or ui.perfetto.dev."""
        write_trace(self._events(), path, {})

    def __str__(self) -> str:
        return self.table() if self.function_events is not None else "<unfinished torch.autograd.profile>"


def finished(events: list[FunctionEvent]) -> EventList:
    """The events of a finished profile, in the order of time, each with those inside it."""
    found = EventList(sorted(events, key=lambda e: (e.time_range.start, -e.time_range.end)))
    nest(found)
    return found
