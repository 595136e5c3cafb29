"""`torch.profiler`: names that programs use around training steps. Timing by op comes with the compiled engine."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import Enum
from typing import Any

from flambeau.errors import NotSupportedError


class ProfilerActivity(Enum):
    """What is watched."""

    CPU, CUDA, XPU = 0, 1, 2


class ProfilerAction(Enum):
    """What a schedule asks for at a step."""

    NONE, WARMUP, RECORD, RECORD_AND_SAVE = range(4)


def schedule(
    *, wait: int, warmup: int, active: int, repeat: int = 0, skip_first: int = 0
) -> Callable[[int], ProfilerAction]:
    """Which steps a profiler records."""

    def action(step: int) -> ProfilerAction:
        if step < skip_first:
            return ProfilerAction.NONE
        cycle = wait + warmup + active
        at = (step - skip_first) % cycle
        if repeat and (step - skip_first) // cycle >= repeat or at < wait:
            return ProfilerAction.NONE
        if at < wait + warmup:
            return ProfilerAction.WARMUP
        return ProfilerAction.RECORD_AND_SAVE if at == cycle - 1 else ProfilerAction.RECORD

    return action


class record_function:
    """Names a region and measures it: `with record_function("forward") as region:`; `region.seconds` afterwards."""

    def __init__(self, name: str, args: str | None = None) -> None:
        self.name, self.seconds = name, 0.0

    def __enter__(self) -> record_function:
        self._start = time.perf_counter()
        return self

    def __exit__(self, *exc: object) -> None:
        self.seconds = time.perf_counter() - self._start


class profile:
    """Not in this release: entering it raises, rather than showing an empty table."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise NotSupportedError(
            "torch.profiler.profile is not in this release of Flambeau (see docs/differences.md): use cProfile"
        )
