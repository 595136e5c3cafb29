"""What the engine does, a line at a time on stderr: FLAMBEAU_LOG=compile, FLAMBEAU_LOG=trace, or both with a comma.

    compile   each segment that became a program: why, of what, and in how long
              and each search for kernels that was asked for: what was estimated, what is best, and their times
    trace     each time that pending ops are run, and why; each op that came where another one was expected
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from types import FrameType
from typing import TYPE_CHECKING, Any

from flambeau.errors import UserLine, outside_frame

if TYPE_CHECKING:
    from flambeau.engine.entry import Entry, Segment

_wanted = os.environ.get("FLAMBEAU_LOG", "").replace(",", " ").split()
COMPILE, TRACE = "compile" in _wanted, "trace" in _wanted


def say(text: str) -> None:
    print(f"flambeau: {text}", file=sys.stderr)


def compiled(what: Segment, again: bool, summary: str, made: Counter[str], seconds: float) -> None:
    """A segment became a program; `again` is whether it had one for other results. Of its kernels, some were stored
    on disk, some are new, and the others were in memory."""
    kernels = f"kernels: {made['new']} compiled, {made['stored']} from the cache"
    say(f"{segment(what)}: a program ({why(what, again)}) of {summary}; {kernels}; {seconds * 1e3:.0f} ms")


def refused(what: Segment, error: Exception) -> None:
    """A segment could not be compiled."""
    say(f"{segment(what)} stays with the references: {type(error).__name__}: {error}")


def searched(key: str, least: dict[str, float], estimated: str, best: str, seconds: float) -> None:
    """Kernels for a shape were timed; the least nanoseconds of each, what the estimates say, and what is taken."""
    times = f"{estimated}: {least[estimated] / 1e3:.1f} us"
    won = "is best" if best == estimated else f"is beaten by {best}: {least[best] / 1e3:.1f} us"
    say(f"{key}: of {len(least)} kernels, the estimated best, {times}, {won}; searched for {seconds * 1e3:.0f} ms")


def undone(what: Segment, fused: int, by_reference: int) -> None:
    """A program was given up for one that runs op by op; nanoseconds."""
    times = f"{fused / 1e3:.0f} us, by the references {by_reference / 1e3:.0f} us"
    say(f"{segment(what)} is slow when fused ({times}): it runs op by op from now on")


def settled(what: Segment) -> None:
    """Pending ops are about to run."""
    line, asked = _asked()
    why = "enough ops are pending" if what.end.full else asked
    say(f"{place(line)}: {segment(what)} runs: {why}")


def recorded(entry: Entry, at: Entry) -> None:
    """An op came that had not been seen after `at` before."""
    expected = _expected(entry, at)
    if expected is not None:
        say(f"{place(entry.line)}: {_difference(entry, expected)}")


# -- words -------------------------------------------------------------------------------------------------------


def place(line: UserLine | None) -> str:
    """`train.py:12`"""
    return f"{os.path.basename(line[0])}:{line[1]}" if line is not None else "somewhere"


def segment(what: Segment) -> str:
    """A segment by its size and its first line."""
    return f"a segment of {len(what)} ops from {place(what.path()[0].line)}"


def why(what: Segment, again: bool) -> str:
    """What made a program necessary: what is new in its segment."""
    if again:
        return "other results are wanted"
    entry = what.end
    while entry.parent is not None:
        expected = _expected(entry, entry.parent)
        if expected is not None:
            return f"at {place(entry.line)} {_difference(entry, expected)}"
        entry = entry.parent
    return "seen for the first time"


def _expected(entry: Entry, at: Entry) -> Entry | None:
    """What had been seen after `at`, when `entry` came; at the begin of a segment, from the same line."""
    known = at.children[: at.children.index(entry)] if entry in at.children else at.children
    if at.parent is None:
        known = [other for other in known if other.op is entry.op and other.line == entry.line]
    return known[-1] if known else None


def _difference(entry: Entry, expected: Entry) -> str:
    name, other = _name(entry), _name(expected)
    if name != other:
        return f"{name} came where {other} came before"
    if entry.needs != expected.needs:
        return f"other operands of {name} want gradients than before"
    for x, y in zip(entry.operands, expected.operands):
        if getattr(x, "shape", None) != getattr(y, "shape", None):
            return f"{name} of {_look(x)} came, of {_look(y)} before"
        if getattr(x, "dtype", None) is not getattr(y, "dtype", None):
            return f"{name} of {_look(x)} came, of {_look(y)} before"
        if getattr(x, "value", None) != getattr(y, "value", None):
            return f"{name} came with another operand than before"
    return f"{name} came with other settings than before"


def _name(entry: Entry) -> str:
    return getattr(entry.op, "name", None) or str(entry.op)


def _look(x: Any) -> str:
    return f"{x.dtype.name}{list(x.shape)}" if hasattr(x, "shape") else repr(x)


def _asked() -> tuple[UserLine, str]:
    """The user's line that made pending ops run, and what it called."""
    frame: FrameType
    called: FrameType | None
    frame, called = outside_frame()
    name = called.f_code.co_name if called is not None else ""
    return (frame.f_code.co_filename, frame.f_lineno), _CALLS.get(name, f"{name.strip('_')}() was called")


_CALLS = {"hooked_step": "an optimizer stepped", "": "it was asked for"}
