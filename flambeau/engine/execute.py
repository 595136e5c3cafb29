"""The seam between tensors and execution.

`call` records an op (or finds it recorded), `assign` overwrites a tensor with another, `read` and `write` are what
NumPy sees. In `immediate` mode, and for ops that cannot wait (random numbers, data-dependent shapes), an op is its
NumPy reference, run at the call; in the other modes it is pending until somebody looks:

    immediate   each op at its call, through its reference: a debugger steps from the user's line to NumPy
    lazy        recorded, and realized one op after the other by native kernels
    compiled    recorded, and segments that come again run as one fused program
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import numpy as np

from flambeau.dtypes import dtype, float32
from flambeau.engine import reference
from flambeau.engine.entry import WRITE, Entry, Segment
from flambeau.engine.forking import at_fork
from flambeau.engine.graph import Meta
from flambeau.engine.realize import LITTLE, foreseen, realize
from flambeau.engine.record import IN_PARTS, Foreign, Recorder, everyone
from flambeau.engine.value import Storage, Value
from flambeau.shape import Ints, contiguous_strides

MODES = ("immediate", "lazy", "compiled")


class View(Protocol):
    """What the engine needs to know of a tensor: a strided window on a storage."""

    _storage: Storage
    _shape: Ints
    _strides: Ints
    _offset: int
    dtype: dtype


# -- modes -------------------------------------------------------------------------------------------------------


class _Thread(threading.local):
    """A thread's recorder, made when the thread first records."""

    recorder: Recorder | None = None


thread = _Thread()
_mode = os.environ.get("FLAMBEAU_EXECUTION", "compiled")
if _mode not in MODES:
    raise ValueError(f"FLAMBEAU_EXECUTION={_mode!r}: one of {', '.join(MODES)} is wanted")
_patience: int | None = None


def mode() -> str:
    """The mode of execution."""
    return _mode


def set_mode(mode: str, patience: int | None = None) -> None:
    """Execute so from now on: "immediate", "lazy" or "compiled". What is pending in this thread is realized first.

    Args:
        patience: sightings of a segment before it runs compiled (default: FLAMBEAU_PATIENCE, 2); negative: never.
    """
    global _mode, _patience
    if mode not in MODES:
        raise ValueError(f"execution mode {mode!r}: one of {', '.join(MODES)} is wanted")
    settle()
    _mode, _patience = mode, patience
    thread.recorder = None


def repeatably() -> None:
    """Run compiled from the first sighting on, where the mode is "compiled": a program that goes on in another process
    then meets the same kernels."""
    if _mode == "compiled" and _patience is None and "FLAMBEAU_PATIENCE" not in os.environ:
        set_mode("compiled", 0)


@contextmanager
def immediately() -> Iterator[None]:
    """Ops inside run at their call."""
    before, patience = _mode, _patience
    set_mode("immediate")
    try:
        yield
    finally:
        set_mode(before, patience)


def _run(segment: Segment, values: list[Value], numbers: list[Any]) -> None:
    if _mode == "lazy":
        realize(segment, values, numbers, fuse=False, patience=0)
    else:
        realize(segment, values, numbers, patience=_patience)


def recorder() -> Recorder | None:
    """This thread's recorder; None where ops run at their call."""
    found = thread.recorder
    if found is None and _mode != "immediate":
        found = thread.recorder = Recorder(_run)
    return found


def settle() -> None:
    """Realize what this thread has pending."""
    found = thread.recorder
    if found is not None:
        found.settle()


def _forked() -> None:
    """A forked child has one thread, and no lock that another one holds."""
    for found in list(everyone):
        found.lock = threading.RLock()
        found.busy = found.claimed = False


at_fork(before=settle, in_child=_forked, settles=True)


watching: list[Any] = []  # called with (op, inputs, params, metas) of every call: counters and profilers


# -- calls -------------------------------------------------------------------------------------------------------


def call(
    into: Recorder, op: Any, inputs: Sequence[Any], params: dict[str, Any], needs: Any
) -> tuple[Entry, list[Value]]:
    """The entry of an op's call, found or made, and its pending results; `op.meta` runs only where it is made.

    Raises:
        Unrecordable: the op must run now.
    """
    if op.hazard is not None and op.hazard.threatens(inputs, params):
        raise Unrecordable
    if op.picks and _large_and_visible(inputs[0]):
        raise Unrecordable
    while True:
        try:
            with into.lock:
                entry = into.match(op, inputs, params, needs)
                if entry is not None:
                    return entry, into.outputs(entry)
            if not _waits(op, inputs, params):
                raise Unrecordable
            before = reads.count
            metas = op.meta(*inputs, **params)
            if reads.count != before:  # a rule that looked at data: it must look every time
                op.eager = True
                raise Unrecordable
            with into.lock:
                entry = into.record(op, inputs, params, needs, (metas,) if isinstance(metas, Meta) else metas)
                return entry, into.outputs(entry)
        except Foreign as foreign:
            foreign.other.settle()


class Unrecordable(Exception):
    """A call that must run now."""


class Hazard(NamedTuple):
    """Operands whose data a reference may refuse.

    Attributes:
        positions: of the operands to look at; None: all tensors from `first` on.
        suspicious: `suspicious(arrays of those that are in memory, operands, params)`: whether to run the op at once.
    """

    positions: tuple[int, ...] | None
    suspicious: Callable[[Sequence[np.ndarray], Sequence[Any], dict[str, Any]], bool]
    first: int = 0

    def looked_at(self, operands: Sequence[Any]) -> Sequence[Any]:
        """The operands in question."""
        return operands[self.first :] if self.positions is None else [operands[i] for i in self.positions]

    def threatens(self, inputs: Sequence[Any], params: dict[str, Any]) -> bool:
        """Whether the op had better run at its call; what is pending is not waited for, but may be foreseen."""
        arrays = []
        for x in self.looked_at(inputs):
            if hasattr(x, "_storage"):
                value = x._storage.value
                data = foreseen(value) if value.data is None else value.data
                if data is None:
                    return False
                arrays.append(reference.window(data, x._shape, x._strides, x._offset, x.dtype))
        return self.suspicious(arrays, inputs, params)


def _large_and_visible(x: Any) -> bool:
    """Whether it would cost much to keep what a tensor shows now, as NumPy may change it before it is read."""
    return x._storage._external and x._storage.value.nbytes > LITTLE


_CONSTANTS = (type(None), bool, int, float, complex, str, dtype)


def _waits(op: Any, inputs: Sequence[Any], params: dict[str, Any]) -> bool:
    """Whether a call means the same at any later time: its parameters are constants."""
    if op.eager:
        return False
    for x in inputs:
        if not (hasattr(x, "_storage") or isinstance(x, _CONSTANTS)):
            return False
    return not params or all(_constant(v) for v in params.values())


def _constant(x: Any) -> bool:
    if isinstance(x, tuple):
        return all(_constant(v) for v in x)
    if isinstance(x, dict):
        return all(_constant(v) for v in x.values())
    return isinstance(x, _CONSTANTS) or x.__class__ in _CONSTANT_CLASSES


_CONSTANT_CLASSES: set[type] = set()


def constant(cls: type) -> type:
    """Class decorator: instances are immutable and compare by value, so that they may be parameters of recorded ops."""
    _CONSTANT_CLASSES.add(cls)
    return cls


def record(op: Any, inputs: Sequence[Any], params: dict[str, Any], metas: Sequence[Meta]) -> list[Storage]:
    """Run `op` now, by its reference; one new Storage for each of `metas`, laid out as it says."""
    operands = [read(x) if hasattr(x, "_storage") else x for x in inputs]
    return [Storage(memory) for memory in reference.run(op, operands, params, metas)]


# -- reading and writing -------------------------------------------------------------------------------------------


class _Reads(threading.local):
    """Counts a thread's observations, so that shape rules that make some are noticed."""

    count = 0


reads = _Reads()


def read(view: View) -> np.ndarray:
    """The memory of a view as an ndarray (no copy), to be read only; what is pending for it is realized."""
    reads.count += 1
    value = view._storage.value
    if value.data is None:
        value.segment.look()
    return reference.window(value.data, view._shape, view._strides, view._offset, view.dtype)  # type: ignore[arg-type]


def copied(array: np.ndarray, strides: Ints | None = None) -> Storage:
    """A new Storage holding a copy of `array` with the given (dense) element strides."""
    return Storage(reference.copied(array, strides))


def write(view: View, array: Any) -> None:
    """Overwrite the elements of a view from NumPy, now; cast to its dtype and broadcast to its shape."""
    refuse_repeated(view)
    storage = view._storage
    target = reference.window(storage.bytes, view._shape, view._strides, view._offset, view.dtype)
    if not target.flags.writeable:
        raise RuntimeError("the memory of this tensor is read-only: clone() it before writing")
    reference.overwrite(target, array)


def refuse_repeated(view: View) -> None:
    """PyTorch's error where an element of memory shows more than once in what is to be written."""
    if any(s == 0 and n > 1 for s, n in zip(view._strides, view._shape)):
        raise RuntimeError(
            "unsupported operation: more than one element of the written-to tensor refers to a single memory "
            "location. Please clone() the tensor before performing the operation."
        )


def mark() -> int:
    """How many values this thread has seen pending; see `assign`."""
    found = thread.recorder
    return len(found.values) if found is not None else 0


def assign(target: View, source: View, since: int = 1 << 62) -> None:
    """Overwrite a view with the elements of another of its shape, as if now.

    A source computed after `mark()` gave `since` is nobody else's: the target may simply take it over.
    """
    storage = target._storage
    into = recorder()
    if into is None or storage._external and storage.seen_outside():
        write(target, read(source))
        return
    refuse_repeated(target)
    if _repointed(into, target, source, since):
        return
    while True:
        try:
            with into.lock:
                recorded = _record_write(into, target, source)
            break
        except Foreign as foreign:
            foreign.other.settle()
    if not recorded:
        into.settle()
        write(target, read(source))
    elif into.cursor.full:
        into.settle()


def _repointed(into: Recorder, target: View, source: View, since: int) -> bool:
    """Whether the target's storage could simply take over the value: nothing of the old one is left to see, and its
    memory is not known to anybody yet."""
    storage, value = target._storage, source._storage.value
    old = storage.value
    if (
        (old.data is not None and not old.shared)
        or source._storage._external
        or target.dtype is not source.dtype
        or target._offset
        or source._offset
        or target._strides != source._strides
        or old.nbytes != value.nbytes
        or not _covers(target, old.nbytes)
    ):
        return False
    if value.segment is not None and value.segment is not into or old.segment is not None and old.segment is not into:
        return False
    if value.segment is not into or value.data is not None or value.number < since:
        value.shared = True
    with into.lock:
        into.overwrite(storage, value)
    return True


def _covers(view: View, nbytes: int) -> bool:
    """Whether a view shows every byte of its storage once."""
    n = view.dtype.itemsize
    for size in view._shape:
        n *= size
    if n != nbytes:
        return False
    if view._strides == contiguous_strides(view._shape):
        return True
    expected = 1
    for stride, size in sorted(zip(view._strides, view._shape)):
        if size != 1:
            if stride != expected:
                return False
            expected *= size
    return True


def _record_write(into: Recorder, target: View, source: View) -> bool:
    """Record a write; False if it had better be done now, as it goes to another place every time."""
    storage = target._storage
    if storage.value.segment is into and storage.value.number == IN_PARTS:
        into.settle()  # what parts were read of it must not be mistaken for other memory
    if storage.value.shared:  # others keep the old contents: write into a copy
        if storage.value.segment not in (None, into):
            raise Foreign(storage.value.segment)
        _ = storage.bytes
    if storage.value.data is not None and not storage.value.data.flags.writeable:
        raise RuntimeError("the memory of this tensor is read-only: clone() it before writing")
    if storage.value.segment is None:
        into.bind(storage)  # as a whole: only readers may see parts
    entry = into.match(WRITE, (target, source), {}, None)
    if entry is None:
        if any(_elsewhere(known, target) for known in into.cursor.children):
            return False
        entry = into.record(WRITE, (target, source), {}, None, (_WRITTEN,))
    (value,) = into.outputs(entry)
    value.nbytes = storage.value.nbytes
    into.overwrite(storage, value)
    return True


def _elsewhere(known: Entry, target: View) -> bool:
    """Whether an entry wrote what a view shows, but of another place: another row of a table that is filled."""
    if known.op is not WRITE:
        return False
    _, shape, strides, offset, dtype = known.operands[0]
    return (shape, strides, dtype) == (target._shape, target._strides, target.dtype) and offset != target._offset


_WRITTEN = Meta((0,), float32)  # of its own a write computes nothing
