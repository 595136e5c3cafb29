"""What of a function does not run as a fused program: only our side imports this."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flambeau.engine import watching


class Collector(watching.Watcher):
    """Collects what does not run as a fused program."""

    def __init__(self) -> None:
        self.found: dict[str, None] = {}

    def reference(self, op: Any, metas: Sequence[Any], began: int, ended: int) -> None:
        self.found[f"{op.name} by reference"] = None

    def segment(self, segment: Any, program: Any, began: int, ended: int) -> None:
        for compilation in segment.known.programs.values() if program is not None else ():
            if compilation.program is program and not compilation.fuse:
                self.found["unfused"] = None


def remarks(run: Callable[[], None]) -> list[str]:
    """Ops of a run that their NumPy references computed; and "unfused" if a program was given up for a slower one."""
    collector = Collector()
    with watching.watched(collector):
        run()
    return list(collector.found)
