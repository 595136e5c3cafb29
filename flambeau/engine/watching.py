"""Looking on while programs run, for profilers and `flambeau explain`. Nobody looking costs one test a run.

    with watched(MyWatcher()):
        ...
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flambeau.engine.entry import Segment
    from flambeau.engine.graph import Meta
    from flambeau.engine.plan import HostCall, Launch
    from flambeau.engine.program import Program


class Watcher:
    """Is told what ran; times are nanoseconds of `time.perf_counter_ns`. Called in the thread that ran it."""

    def times(self, program: Program) -> bool:
        """Whether the program should run launch by launch, so that the time of each is known."""
        return False

    def segment(self, segment: Segment, program: Program | None, began: int, ended: int) -> None:
        """A segment ran: by a program, or (None) by the references."""

    def launches(self, program: Program, began: int, spent: Sequence[tuple[Launch | HostCall, int]]) -> None:
        """A program's steps ran one by one, and how long each took."""

    def reference(self, op: Any, metas: Sequence[Meta], began: int, ended: int) -> None:
        """An op ran by its reference."""


current: Watcher | None = None


@contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """Let a watcher look on inside the block, in place of any other."""
    global current
    before, current = current, watcher
    try:
        yield
    finally:
        current = before
