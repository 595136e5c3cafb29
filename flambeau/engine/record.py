"""Recording and matching: what happens between a tensor op's call and its realization.

Each thread has one `Recorder`. Ops are not run at their call: they become entries of what the thread has pending,
their results are Values without data. At an observation (`settle`) that `Segment` is run and forgotten, but its entries
stay in a tree: the next time the same ops come with the same shapes, `match` finds them one child after the other, and
neither shape rules nor anything else is computed again. A branch in the user's program is a branch of the tree.

Whoever only looks at a result (`look`) may leave the recording open: `loss.item()` before `loss.backward()` runs the
forward pass, and backward goes on where it ended, in the same branch of the tree and over the same numbers. That is so
where a backward pass has once been seen to work on what the ops before the look had kept (`keep_together`).

Python numbers among the operands are not part of an entry; they are collected in `numbers`, so that a learning-rate
schedule matches and recompiles nothing. The state of the generators and data-dependent shapes never come here: see
`engine.execute`.
"""

from __future__ import annotations

import sys
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from flambeau.engine import log
from flambeau.engine.entry import SIGNED, Entry, Segment, path
from flambeau.engine.graph import Arg, Meta, Number, Part
from flambeau.engine.rounds import Rounds
from flambeau.engine.value import Copied, Value
from flambeau.errors import user_line
from flambeau.shape import extent

LONGEST = 10000  # entries of a recording: a loop that never looks at its results is realized now and then
LARGEST = 1 << 34  # bytes of results of a recording
MANY_CHILDREN = 24  # of an entry: programs that branch on every value must not fill the memory
MANY_LOOKS = 4  # whose recordings may yet turn out to go on
MANY_SEGMENTS = 512  # that begin differently
MANY_ENTRIES = 200_000  # of a thread's tree: then it is planted anew
IN_PARTS = -2  # the number of a value from outside whose parts are numbered instead
INT64 = range(-(1 << 63), 1 << 63)


def _equal(known: dict[str, Any], params: dict[str, Any]) -> bool:
    try:
        return known == params
    except ValueError:  # an array among them, which is equal in some places
        return False


class Foreign(Exception):
    """An operand is pending in another thread: that thread's segment must be settled first, without our lock."""

    def __init__(self, other: Recorder) -> None:
        self.other = other


everyone: weakref.WeakSet[Recorder] = weakref.WeakSet()


class Recorder:
    """A thread's recording, and the tree of all that it has seen.

    Whoever changes it holds the lock, but for calls that are written out (`ops.matched`), which a lock would slow down:
    they say that the recorder is `busy` and then leave it alone if it is `claimed`. Another thread claims it and then
    waits until it is not busy.
    """

    def __init__(self, run: Callable[[Segment, list[Value], list[Any]], None]) -> None:
        self.lock = threading.RLock()
        self.owner = threading.get_ident()
        self.busy = self.claimed = False
        everyone.add(self)
        self.run = run  # realizes a segment: (segment, values, numbers)
        self.planted = 0
        self.new = 0  # entries of this recording that had not been seen before
        self.rounds = Rounds()
        self.regime: Any = None  # what the autograd floor lets calls depend on besides their operands
        self.example: Any = None  # the last call that was written out, for `ops.matched`
        self.ended: Entry | None = None  # where the last recording ended, until the next one begins
        self._plant()
        self._begin()

    def _plant(self) -> None:
        self.root = Entry(None, (), {}, None, ())
        self.looked: deque[Entry] = deque(maxlen=MANY_LOOKS)  # where looks have ended recordings
        self.entries = 0
        self.planted += 1

    def _begin(self) -> None:
        self.cursor = self.root
        self.done = self.root  # the last entry that has run
        self.values: list[Value] = []
        self.numbers: list[Any] = []
        self.parts: dict[tuple[int, int], int] = {}  # of values seen in parts: (which, offset in bytes) -> number
        self.split: list[Value] = []  # those values
        self.overwritten: list[tuple[Any, Any]] = []  # (a storage or a reference to it, what it held)

    # -- matching ------------------------------------------------------------------------------------------------

    def match(self, op: Any, operands: Sequence[Any], params: dict[str, Any], needs: Any) -> Entry | None:
        """Move on to the entry of this call if it has been seen here before; its results then stand at the end of
        `values`. The caller holds the lock."""
        cursor = self.cursor
        entry = cursor.hot
        if entry is not None and entry.op is op and self._fits(entry, operands, params, needs):
            self._advance(entry)
            return entry
        for other in cursor.children:
            if other.op is op and other is not entry and self._fits(other, operands, params, needs):
                cursor.hot = other
                if len(cursor.children) >= MANY_CHILDREN:  # the one that was wanted last goes last
                    cursor.children.remove(other)
                    cursor.children.append(other)
                self._advance(other)
                return other
        return None

    def _fits(self, entry: Entry, operands: Sequence[Any], params: dict[str, Any], needs: Any) -> bool:
        """Whether a call is what `entry` recorded; binds the values it sees first."""
        if entry.needs != needs or len(operands) != len(entry.operands):
            return False
        if params or entry.params:
            known = entry.params
            if known is not params and not _equal(known, params):
                return False
            for name, kind, text in entry.strict:
                if type(params[name]) is not kind or (kind in SIGNED and str(params[name]) != text):
                    return False
        values, numbers = self.values, self.numbers
        begun, slots = len(values), len(numbers)
        try:
            for x, spec in zip(operands, entry.operands):
                kind = spec.__class__
                if kind is Arg:
                    storage = x._storage
                    value = storage.value
                    if value.segment is self:
                        number = value.number
                        if number != spec[0] and (number != IN_PARTS or self._part_from(value, 0) != spec[0]):
                            break
                    elif spec[0] != len(values):
                        break
                    else:
                        self.bind(storage)
                    if x._shape != spec[1] or x._strides != spec[2] or x._offset != spec[3] or x.dtype is not spec[4]:
                        break
                elif kind is Part:
                    if x._shape != spec[1] or x._strides != spec[2] or x.dtype is not spec[4]:
                        break
                    if not self._partial(x) or self._part(x) != spec[0]:
                        break
                elif kind is Number:
                    if x.__class__ is not spec.kind or (spec.kind is int and x not in INT64):
                        break
                    numbers.append(x)
                elif x is not spec and (x.__class__ is not kind or x != spec):
                    break
            else:
                return True
        except AttributeError:  # something else where a tensor stood
            pass
        except BaseException:  # an operand that is pending in another thread
            self.unbind(begun, slots)
            raise
        self.unbind(begun, slots)
        return False

    def unbind(self, begun: int, slots: int) -> None:
        """Forget the values and numbers that were seen since there were so many."""
        for value in self.values[begun:]:
            if value is not None:
                value.segment = None
        if self.parts:
            self.parts = {key: number for key, number in self.parts.items() if number < begun}
        del self.values[begun:], self.numbers[slots:]

    def bind(self, storage: Any) -> int:
        """The number of a storage's value in this segment."""
        value = storage.value
        if value.segment is self:
            if value.number == IN_PARTS:
                return self._part_from(value, 0)
            return value.number
        if value.segment is not None:
            raise Foreign(value.segment)
        if storage._external and storage.seen_outside():  # what NumPy may change at any moment is read now
            value = Value(value.data.copy())
        value.segment, value.number = self, len(self.values)
        self.values.append(value)
        return value.number

    def _partial(self, x: Any) -> bool:
        """Whether a tensor shows a part of a value from outside that nothing else will tell apart from other parts: a
        slice of a data set, at another place in every step. Of memory that NumPy sees, all is seen in parts."""
        storage = x._storage
        value = storage.value
        if value.segment is not None and (value.segment is not self or value.number != IN_PARTS):
            return False
        if value.data is None or x._requires_grad or x._grad_fn is not None:
            return False
        n = x.dtype.itemsize
        for size in x._shape:
            n *= size
        return 0 < n < value.nbytes or (n > 0 and storage._external and storage.seen_outside())

    def _part(self, x: Any) -> int:
        """The number of the part that a tensor shows."""
        storage = x._storage
        if storage._external and storage.seen_outside():
            self.values.append(self._copy(x, len(self.values)))
            return len(self.values) - 1
        value = storage.value
        if value.segment is None:
            value.segment, value.number = self, IN_PARTS
            self.split.append(value)
        return self._part_from(value, x._offset * x.dtype.itemsize)

    def _part_from(self, value: Value, offset: int) -> int:
        key = id(value), offset
        number = self.parts.get(key)
        if number is None:
            number = self.parts[key] = len(self.values)
            self.values.append(self._part_value(value, offset, number))
        return number

    def _copy(self, x: Any, number: int) -> Copied:
        """What a tensor over memory that NumPy may change at any moment shows now, gaps included."""
        offset, n = x._offset * x.dtype.itemsize, extent(x._shape, x._strides) * x.dtype.itemsize
        copy = Copied(x._storage.value.data[offset : offset + n].copy())
        copy.storage, copy.offset = x._storage, offset
        copy.segment, copy.number = self, number
        return copy

    def _part_value(self, value: Value, offset: int, number: int) -> Value:
        part = Value(value.data[offset:])  # type: ignore[index]
        part.segment, part.number = self, number
        part.shared = True
        return part

    def bind_at(self, number: int, x: Any, part: bool) -> bool:
        """Give the value of a realized tensor, or the part that it shows, the number that it had in a recording that is
        replayed; False if it has another one already."""
        value = x._storage.value
        if not part:
            if value.segment is None and self.values[number] is None:
                value.segment, value.number = self, number
                self.values[number] = value
            return self.values[number] is value
        if not self._partial(x):
            return False
        if x._storage._external:
            self.values[number] = self._copy(x, number)
            return True
        if value.segment is None:
            value.segment, value.number = self, IN_PARTS
            self.split.append(value)
        offset = x._offset * x.dtype.itemsize
        if self.parts.setdefault((id(value), offset), number) != number:
            return False
        if self.values[number] is None:
            self.values[number] = self._part_value(value, offset, number)
        return True

    def _advance(self, entry: Entry) -> None:
        values = self.values
        for nbytes in entry.sizes:
            value = Value.__new__(Value)
            value.data, value.nbytes = None, nbytes
            value.segment, value.number = self, len(values)
            values.append(value)
        if self.ended is not None:
            self.begins(entry)
        self.cursor = entry  # at last: Ctrl-C may come at any line, and a value too many does no harm

    def begins(self, entry: Entry) -> None:
        """Note what follows upon the last recording."""
        if entry.parent is self.root and self.ended is not None:
            self.ended.following = entry
        self.ended = None

    def outputs(self, entry: Entry) -> list[Value]:
        """The values of the entry just matched or recorded."""
        return self.values[entry.count - len(entry.sizes) :]

    # -- recording -----------------------------------------------------------------------------------------------

    def record(
        self, op: Any, operands: Sequence[Any], params: dict[str, Any], needs: Any, metas: Sequence[Meta]
    ) -> Entry:
        """Append a call that has not been seen at this place before. The caller holds the lock."""
        first, slot = len(self.values), len(self.numbers)
        try:
            specs = tuple([self._operand(x) for x in operands])
        except BaseException:
            self.unbind(first, slot)
            raise
        entry = Entry(op, specs, params, needs, metas)
        entry.first, entry.parent = first, self.cursor
        entry.outputs = tuple(range(len(self.values), len(self.values) + len(entry.sizes)))
        entry.line = user_line(inside=3)  # who records, who lets it, and who asks for that
        if log.TRACE:
            log.recorded(entry, self.cursor)
        self._append(entry)
        return entry

    def _append(self, entry: Entry) -> None:
        cursor = self.cursor
        entry.depth = cursor.depth + 1
        entry.bytes = cursor.bytes + sum(entry.sizes)
        entry.slots = len(self.numbers)
        entry.count = len(self.values) + len(entry.sizes)
        grown = entry.depth >= LONGEST or entry.bytes >= LARGEST
        entry.full = grown or self.rounds.close(entry, not self.new, self.values)
        if len(cursor.children) >= (MANY_SEGMENTS if cursor is self.root else MANY_CHILDREN):
            cursor.children.pop(0)
        cursor.children.append(entry)
        cursor.hot = entry
        self.entries += 1
        self.new += 1
        self._advance(entry)

    def _operand(self, x: Any) -> Any:
        storage = getattr(x, "_storage", None)
        if storage is not None:
            value = storage.value
            if value.segment is self and value.number != IN_PARTS:
                return Arg(value.number, x._shape, x._strides, x._offset, x.dtype)
            if self._partial(x):
                return Part(self._part(x), x._shape, x._strides, 0, x.dtype)
            return Arg(self.bind(storage), x._shape, x._strides, x._offset, x.dtype)
        if x.__class__ in (int, float, bool) and (x.__class__ is not int or x in INT64):
            self.numbers.append(x)
            return Number(len(self.numbers) - 1, x.__class__)
        return x

    # -- writing in place ----------------------------------------------------------------------------------------

    def overwrite(self, storage: Any, value: Value) -> None:
        """Let a storage hold another value; should computing it fail, the storage gets its old one back."""
        old = storage.value  # a pending one must not seem wanted because it stands here
        self.overwritten.append((weakref.ref(storage), weakref.ref(old) if old.data is None else old))
        storage.value = value

    # -- realizing -----------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Run what is pending. Afterwards every value that somebody holds has data, and the recording is empty."""
        with self.lock:
            before = self._claim()
            try:
                self._end(goes_on=False)
            finally:
                self.claimed = before

    def look(self) -> None:
        """Run what is pending, for somebody who only looks at a result; the recording may go on afterwards."""
        with self.lock:
            before = self._claim()
            try:
                end = self.cursor
                if not end.goes_on and end is not self.root:
                    self.looked.append(end)
                self._end(end.goes_on)
            finally:
                self.claimed = before

    def _claim(self) -> bool:
        """Keep written-out calls away, and wait for one that has begun; whether they were kept away already."""
        before, self.claimed = self.claimed, True
        while self.busy and self.owner != threading.get_ident():
            time.sleep(0)
        return before

    def keep_together(self, nodes: Iterable[Any]) -> None:
        """What entries kept as these nodes was needed after looks had ended their recordings: next time these looks do
        not. But if an entry comes twice, the program looks in every round of a loop: were it all one recording, each
        round would be another piece of it, and none would come again."""
        times = Counter(map(id, nodes))
        for end in self.looked:
            entries = path(self.root, end)
            most = max([times[id(entry.node)] for entry in entries if entry.node is not None], default=0)
            if most == 1:
                end.goes_on = True
            elif most:
                for entry in entries:
                    entry.goes_on = False

    def _end(self, goes_on: bool) -> None:
        start, end = self.done, self.cursor
        recording = self.values, self.numbers, self.parts, self.split
        values, numbers, overwritten = self.values, self.numbers, self.overwritten
        try:
            for value in self.split:
                value.segment = None
            self._begin()
            if end is not start:
                segment = end.after(start)
                segment.doubtful = self.rounds.doubtful
                if log.TRACE:
                    log.settled(segment)
                self._expect_next(end)
                self.run(segment, values, numbers)
            if goes_on and self.cursor is self.root and not self.values:
                self._resume(end, recording)
                return
            for value in filter(None, values):
                value.segment = None
        except BaseException as error:
            if self.values is values:
                self._begin()
            _fail(values, overwritten, error)
            raise

    def _expect_next(self, end: Entry) -> None:
        """Prepare for what usually comes after a recording that ended so."""
        self.root.hot = end.following or self.root.hot
        self.ended = end
        self.rounds.ended(end, self.new)
        self.new = 0
        if self.entries > MANY_ENTRIES:
            self._plant()
            self.cursor = self.done = self.root

    def _resume(self, end: Entry, recording: tuple) -> None:
        """Take a recording up again that has run up to `end`."""
        self.values, self.numbers, self.parts, self.split = recording
        for value in self.split:
            value.segment, value.number = self, IN_PARTS
        self.cursor = self.done = end
        self.ended = None


class _Failed:
    """The segment of values that could not be computed: looking at them raises the error again."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def settle(self) -> None:
        raise self.error

    look = settle


def _fail(values: list[Value], overwritten: list[tuple[Any, Any]], error: BaseException) -> None:
    """Nothing is half-written: storages whose new contents could not be computed keep their old ones."""
    for held, old in reversed(overwritten):
        storage = held() if isinstance(held, weakref.ref) else held
        if storage is not None and storage.value.data is None:
            storage.value = old if isinstance(old, Value) else old() or storage.value
    failed = _Failed(error)
    for value in values:
        if value is not None:
            value.segment = failed if value.data is None else None


def alive(values: list[Value], results: Sequence[int]) -> tuple[int, ...]:
    """Which results somebody besides the segment still holds."""
    count, held = sys.getrefcount, _HELD_BY_LIST
    return tuple([n for n in results if values[n] is not None and count(values[n]) > held])


def _baseline() -> int:
    values = [Value.__new__(Value)]
    return sys.getrefcount(values[0])


_HELD_BY_LIST = _baseline()
