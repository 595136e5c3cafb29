"""A stretch of a recording as one event: what a function recorded for some tensors, replayed for the same tensors.

An optimizer's step records an op and some writes for every parameter. The second time it comes at the same place with
tensors that stand where they stood, its entries are not matched one by one: the recorder jumps to the stretch's end,
the numbers are replaced by today's, and the storages that were overwritten get their new values.

    tag = ...                                     # whatever else the function's ops depend on, compared with ==
    if not replayed(into, tag, tensors, numbers):
        recording = Stretch(into, tag, tensors)
        ...                                       # apply ops to the tensors, assign results into some of them
        recording.close()
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import ref

from flambeau.engine.entry import WRITE, Entry, path
from flambeau.engine.record import Recorder
from flambeau.engine.value import Value


class Stretch:
    """What was recorded from now until `close` as a function of `tensors`.

    Attributes:
        slots: how many numbers it recorded.
        operands: for each tensor the number of its value, and how it looks at it.
        writes: (which tensor, number of its storage's value afterwards) for each that was overwritten.
    """

    def __init__(self, into: Recorder, tag: Any, tensors: Sequence[Any]) -> None:
        self.into, self.tag, self.tensors = into, tag, tensors
        self.start, self.begun = into.cursor, len(into.values)
        self.running = into.values, into.done
        self.before = [t._storage.value for t in tensors]
        self.usable = not any(v.shared or t._storage._external for v, t in zip(self.before, tensors))
        self.end: Entry = self.start
        self.slots = len(into.numbers)

    def close(self) -> None:
        """Keep the stretch, if it can be told from its tensors alone what it did."""
        into, before = self.into, self.before
        if not self.usable or into.values is not self.running[0] or into.done is not self.running[1]:
            return  # some of it has run
        if into.cursor is self.start:
            return
        if any(v.segment is not into for v in before):
            return
        ours = {v.number for v in before}
        if any(v.data is not None and v.number not in ours for v in into.values[self.begun :] if v is not None):
            return  # it read something that is not among its tensors
        self.operands = [
            (v.number, t._shape, t._strides, t._offset, t.dtype) for v, t in zip(before, self.tensors)
        ]  # fmt: skip
        self.writes = [
            (i, t._storage.value.number)
            for i, (v, t) in enumerate(zip(before, self.tensors)) if t._storage.value is not v
        ]  # fmt: skip
        written = {number for _, number in self.writes}
        self.end, self.slots = into.cursor, len(into.numbers) - self.slots
        if any(entry.op is WRITE and entry.outputs[0] not in written for entry in path(self.start, self.end)):
            return  # it overwrote something twice, or something that is not among its tensors
        del self.into, self.tensors, self.running, self.before
        self.start.keep(self)

    def fits(self, into: Recorder, tag: Any, tensors: Sequence[Any], slots: int) -> bool:
        """Whether these tensors stand where those of the recording stood; binds the values that were new in it."""
        if slots != self.slots or len(tensors) != len(self.operands) or self.tag != tag:
            return False
        values: list[Any] = into.values
        begun = self.begun
        values.extend([None] * (self.end.count - begun))
        for t, (number, shape, strides, offset, dtype) in zip(tensors, self.operands):
            if (
                (t._shape is not shape and t._shape != shape) or (t._strides is not strides and t._strides != strides)
                or t._offset != offset or t.dtype is not dtype
            ):  # fmt: skip
                break
            storage = t._storage
            value = storage.value
            if value.segment is into:
                if value.number != number:
                    break
            elif value.segment is not None or value.shared or storage._external:
                break
            elif number < begun or values[number] is not None:  # what was one value is two now
                break
            else:
                value.segment, value.number = into, number
                values[number] = value
        else:
            return True
        into.unbind(begun, len(into.numbers))
        return False

    def play(self, into: Recorder, tensors: Sequence[Any], numbers: Sequence[Any]) -> None:
        """Do to the tensors what the recorded function did to them."""
        into.numbers.extend(numbers)
        into.cursor, into.ended = self.end, None
        values, overwritten, new = into.values, into.overwritten, object.__new__
        for i, number in self.writes:
            t = tensors[i]
            storage = t._storage
            old = storage.value
            storage.value = values[number] = value = new(Value)
            value.data, value.nbytes = None, old.nbytes
            value.segment, value.number = into, number
            overwritten.append((storage, ref(old) if old.data is None else old))
            version = t._version_counter
            version.count += 1
            version.where = None


def replayed(into: Recorder, tag: Any, tensors: Sequence[Any], numbers: Sequence[Any]) -> bool:
    """Whether what is about to be recorded could be replayed, and has been."""
    for event in into.cursor.events or ():
        if event.__class__ is Stretch and event.fits(into, tag, tensors, len(numbers)):
            event.play(into, tensors, numbers)
            return True
    return False
