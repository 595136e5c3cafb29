"""`torch.profiler.profile` and its schedule."""

from __future__ import annotations

import gzip
import json
import os
import socket
import time
from collections.abc import Callable, Iterable
from enum import Enum
from pathlib import Path
from typing import Any

from flambeau.autograd.profiler import Collector, finished, record_function
from flambeau.autograd.profiler_util import EventList, write_trace


class ProfilerActivity(Enum):
    """What is watched."""

    CPU, CUDA, XPU = 0, 1, 2


class ProfilerAction(Enum):
    """What a schedule asks for at a step."""

    NONE, WARMUP, RECORD, RECORD_AND_SAVE = range(4)


_RECORDING = (ProfilerAction.RECORD, ProfilerAction.RECORD_AND_SAVE)


def supported_activities() -> set[ProfilerActivity]:
    """What can be watched here."""
    return {ProfilerActivity.CPU}


def schedule(
    *, wait: int, warmup: int, active: int, repeat: int = 0, skip_first: int = 0, skip_first_wait: int = 0
) -> Callable[[int], ProfilerAction]:
    """Which steps a profiler records: after `skip_first` steps, cycles of `wait`, `warmup` and `active` steps.

    Args:
        repeat: cycles at most (0: no end).
        skip_first_wait: whether the first cycle begins with its warm-up.
    """
    if min(wait, warmup, repeat, skip_first) < 0 or active <= 0:
        raise AssertionError("Invalid profiler schedule arguments")

    def action(step: int) -> ProfilerAction:
        if step < skip_first:
            return ProfilerAction.NONE
        step -= skip_first
        if skip_first_wait:
            step += wait
        cycle = wait + warmup + active
        at = step % cycle
        if repeat and step // cycle >= repeat or at < wait:
            return ProfilerAction.NONE
        if at < wait + warmup:
            return ProfilerAction.WARMUP
        return ProfilerAction.RECORD_AND_SAVE if at == cycle - 1 else ProfilerAction.RECORD

    return action


def tensorboard_trace_handler(
    dir_name: str | os.PathLike, worker_name: str | None = None, use_gzip: bool = False
) -> Callable[[profile], None]:
    """For `on_trace_ready`: writes each trace into a folder that TensorBoard's profiler page can read."""

    def handle(prof: profile) -> None:
        folder = Path(dir_name)
        folder.mkdir(parents=True, exist_ok=True)
        worker = worker_name or f"{socket.gethostname()}_{os.getpid()}"
        name = f"{worker}.{time.time_ns()}.pt.trace.json"
        prof.export_chrome_trace(folder / (name + ".gz" if use_gzip else name))

    return handle


class profile:
    """Watches what runs inside a block, or in the steps that a schedule chooses.

    Args:
        activities: accepted; the CPU is watched.
        schedule: gives the ProfilerAction of each step number; None records everything.
        on_trace_ready: called with the profiler whenever a cycle of the schedule is complete.
        record_shapes: keep the shapes of operands.
        with_stack: keep the lines that called.

    Memory, FLOPs and modules are not measured: those arguments are accepted and have no effect.

    Example:
        >>> from flambeau.profiler import profile, record_function
        >>> x = flambeau.ones(3, 4)
        >>> with profile(record_shapes=True) as prof, record_function("sums"):
        ...     y = x.exp().sum()
        >>> [e.key for e in prof.key_averages() if e.kind in ("cpu_op", "user_annotation")]
        ['sums', 'exp', 'sum']
    """

    def __init__(
        self, *, activities: Iterable[ProfilerActivity] | None = None,
        schedule: Callable[[int], ProfilerAction] | None = None,
        on_trace_ready: Callable[[profile], Any] | None = None, record_shapes: bool = False,
        profile_memory: bool = False, with_stack: bool = False, with_flops: bool = False, with_modules: bool = False,
        **ignored: Any,
    ) -> None:  # fmt: skip
        self.activities = set(activities or supported_activities())
        self.schedule, self.on_trace_ready = schedule, on_trace_ready
        self.record_shapes, self.with_stack = record_shapes, with_stack
        self.step_num = 0
        self.current_action = self._action()
        self.metadata: dict[str, Any] = {}
        self._collector: Collector | None = None
        self._step: record_function | None = None
        self._found: EventList | None = None

    def _action(self) -> ProfilerAction:
        return self.schedule(self.step_num) if self.schedule is not None else ProfilerAction.RECORD

    # -- steps ---------------------------------------------------------------------------------------------------

    def __enter__(self) -> profile:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def start(self) -> None:
        """Begin with the first step."""
        self._begin()

    def stop(self) -> None:
        """End; what has been recorded is handed to `on_trace_ready`."""
        self._end_step()
        if self._collector is not None:
            recorded = self.current_action in _RECORDING
            self._stop_collecting()
            if recorded and self.on_trace_ready is not None:
                self.on_trace_ready(self)

    def step(self) -> None:
        """The next step begins."""
        self._end_step()
        before = self.current_action
        self.step_num += 1
        self.current_action = self._action()
        if before is ProfilerAction.RECORD_AND_SAVE:
            self._stop_collecting()
            if self.on_trace_ready is not None:
                self.on_trace_ready(self)
        elif self.current_action is ProfilerAction.NONE and self._collector is not None:
            self._stop_collecting()
        elif before is ProfilerAction.WARMUP and self._collector is not None:
            self._collector.events.clear()
        self._begin()

    def _begin(self) -> None:
        if self.current_action is not ProfilerAction.NONE and self._collector is None:
            self._collector = Collector(self.record_shapes, self.with_stack)
            self._looking = self._collector.on()
            self._looking.__enter__()
        if self.schedule is not None and self._collector is not None:
            self._step = record_function(f"ProfilerStep#{self.step_num}")
            self._step.__enter__()

    def _end_step(self) -> None:
        if self._step is not None:
            self._step.__exit__()
            self._step = None

    def _stop_collecting(self) -> None:
        assert self._collector is not None
        self._looking.__exit__(None, None, None)
        self._found = finished(self._collector.events)
        self._collector = None

    # -- results -------------------------------------------------------------------------------------------------

    def events(self) -> EventList:
        """The events that were recorded last, in the order of time."""
        if self._found is None:
            raise AssertionError("nothing has been recorded yet: the profiler is still running, or no step was active")
        return self._found

    def key_averages(self, group_by_input_shape: bool = False, group_by_stack_n: int = 0) -> EventList:
        """Events of the same name together, for `.table(sort_by="cpu_time_total", row_limit=10)`."""
        return self.events().key_averages(group_by_input_shape, group_by_stack_n)

    def export_chrome_trace(self, path: str | os.PathLike) -> None:
        """Write a file for chrome://tracing or ui.perfetto.dev; a name that ends in .gz is compressed."""
        if not str(path).endswith(".gz"):
            write_trace(self.events(), path, self.metadata)
            return
        plain = Path(str(path)[:-3])
        write_trace(self.events(), plain, self.metadata)
        Path(path).write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()

    def export_stacks(self, path: str | os.PathLike, metric: str = "self_cpu_time_total") -> None:
        """Write the lines that called, with what they cost, for flame graphs. Needs `with_stack=True`."""
        lines = [
            ";".join(frame.replace(" ", "_") for frame in reversed(e.stack)) + f" {int(getattr(e, metric))}\n"
            for e in self.events() if e.stack
        ]  # fmt: skip
        Path(path).write_text("".join(lines))

    def add_metadata(self, key: str, value: str) -> None:
        """Put a string into the trace."""
        self.metadata[key] = value

    def add_metadata_json(self, key: str, value: str) -> None:
        """Put a value, given as JSON, into the trace."""
        self.metadata[key] = json.loads(value)

    preset_metadata_json = add_metadata_json
