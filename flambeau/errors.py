"""What errors have in common: finding the user's line, and warnings that are given once. No house imports."""

from __future__ import annotations

import os
import sys
import warnings
from types import FrameType

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_said: set[str] = set()

UserLine = tuple[str, int]


class NotSupportedError(NotImplementedError, RuntimeError):
    """A PyTorch feature that this release names in docs/differences.md as missing."""


def user_line(inside: int = 0) -> UserLine:
    """File and line of the nearest caller outside the package; so many callers are known to be inside."""
    frame, _ = outside_frame(inside + 1)
    return frame.f_code.co_filename, frame.f_lineno


def outside_frame(inside: int = 0) -> tuple[FrameType, FrameType | None]:
    """The frame of the nearest caller outside the package, and of what it called in the package."""
    called = None
    frame: FrameType = sys._getframe(inside + 1)
    while frame.f_code.co_filename.startswith(_PACKAGE) and frame.f_back is not None:
        called, frame = frame, frame.f_back
    return frame, called


def warn_once(message: str, category: type[Warning] = UserWarning, stacklevel: int = 3) -> None:
    """Warn the first time in this process that `message` is due."""
    if message not in _said:
        _said.add(message)
        warnings.warn(message, category, stacklevel=stacklevel)
