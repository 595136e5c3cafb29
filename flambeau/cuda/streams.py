"""Streams and events: making one raises, as in a PyTorch without CUDA."""

from __future__ import annotations

from typing import Any


class _Absent:
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise AssertionError("Torch not compiled with CUDA enabled")


class Stream(_Absent):
    """A queue of GPU work."""


class Event(_Absent):
    """A point in a stream."""


class StreamContext(_Absent):
    """Selects a stream."""
