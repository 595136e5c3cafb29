"""`torch.cuda.nvtx`: marks for a GPU profiler; without effect."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


def range_push(msg: str) -> None:
    """Accepted, without effect."""


def range_pop() -> None:
    """Accepted, without effect."""


def mark(msg: str) -> None:
    """Accepted, without effect."""


@contextmanager
def range(msg: str, *args: object, **kwargs: object) -> Iterator[None]:
    """Accepted, without effect."""
    yield
