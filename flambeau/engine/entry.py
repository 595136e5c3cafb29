"""What was recorded: entries, the nodes of a tree, and the segments of it that run together.

An entry knows its operands by number: values are numbered in the order in which the recording first sees them, those
from outside and those it computes alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flambeau.engine.graph import Meta
from flambeau.errors import UserLine

WRITE = "write"  # the `op` of an entry that overwrites a window of a value
MANY_EVENTS = 8  # walks and steps that begin at one entry and may be replayed
SIGNED = (float, complex)  # kinds of numbers with two zeros that are equal


class Entry:
    """One recorded op (or write), a node of the tree of all segments that a thread has seen.

    Attributes:
        operands: an Arg, a Number or a constant for each operand. An Arg whose number is `first` or beyond was seen
            here for the first time.
        outputs: the numbers of its results.
        count, slots: how many values and numbers the recording has seen after this entry.
        needs: which operands wanted gradients, or None: part of what must match, for the autograd floor.
        node: what the autograd floor keeps with the entry.
        full: whether the recording has grown to where it should be realized, observed or not.
        following: the entry that began the next recording when this one ended a recording.
        goes_on: whether a look at results does not end the recording here.
        segments: those that ended here, by the entries after which they began.
        events: what began here and may be replayed as a whole (`stretch.Stretch`, `autograd.replay.Replay`).
        matches: how often the call has come again; `call` is then a function that does it (`ops.matched`), and `direct`
            one that does what the public function `caller` makes of it.
    """

    __slots__ = (
        "op", "operands", "params", "strict", "needs", "metas", "outputs", "sizes", "first", "count", "slots", "depth",
        "bytes", "full", "line", "parent", "children", "hot", "following", "goes_on", "node", "segments", "events",
        "matches", "call", "caller", "direct",
    )  # fmt: skip

    def __init__(self, op: Any, operands: tuple, params: dict[str, Any], needs: Any, metas: Sequence[Meta]) -> None:
        self.op, self.operands, self.params, self.needs = op, operands, params, needs
        self.metas = tuple([m if m.strides is not None else Meta(m.shape, m.dtype, m.layout, m.compute) for m in metas])
        # 1 == 1.0 == True, but not to a shape rule: parameters that are numbers must agree in type as well
        self.strict: tuple = ()
        if params:
            numbers = [(k, v) for k, v in params.items() if isinstance(v, (bool, int, float, complex))]
            self.strict = tuple([(k, type(v), str(v)) for k, v in numbers])
        self.sizes = tuple([_span(m) for m in self.metas])
        self.outputs: tuple[int, ...] = ()
        self.first = self.count = self.slots = self.depth = self.bytes = 0
        self.full = self.goes_on = False
        self.line: UserLine | None = None
        self.parent: Entry | None = None
        self.children: list[Entry] = []
        self.hot: Entry | None = None
        self.following: Entry | None = None
        self.node: Any = None
        self.segments: dict[Entry, Segment] | None = None
        self.events: Any = None
        self.matches = 0
        self.call: Any = None
        self.caller: Any = None
        self.direct: Any = None

    def __repr__(self) -> str:
        return f"<entry {self.depth} {getattr(self.op, 'name', self.op)}>"

    def keep(self, event: Any) -> None:
        """Remember an event that begins after this entry; the oldest is forgotten."""
        self.events = [event, *(self.events or ())][:MANY_EVENTS]

    def after(self, start: Entry) -> Segment:
        """What is recorded after `start` up to here."""
        known = self.segments
        if known is None:
            known = self.segments = {}
        found = known.get(start)
        if found is None:
            found = known[start] = Segment(start, self)
        return found


class Segment:
    """Entries that run together: those after `start`, up to `end`.

    Attributes:
        results: the numbers of all that they compute.
        doubtful: whether they may well not come again.
        known: what is known of running them (`realize.Known`).
    """

    __slots__ = ("start", "end", "results", "doubtful", "known")

    def __init__(self, start: Entry, end: Entry) -> None:
        self.start, self.end = start, end
        self.results = [n for entry in path(start, end) for n in entry.outputs]
        self.doubtful = False
        self.known: Any = None

    def __len__(self) -> int:
        return self.end.depth - self.start.depth

    def path(self) -> list[Entry]:
        """The entries, first entry first."""
        return path(self.start, self.end)


def path(start: Entry, end: Entry) -> list[Entry]:
    """The entries after one entry up to another."""
    found: list[Entry] = []
    at = end
    while at is not start:
        found.append(at)
        at = at.parent  # type: ignore[assignment]
    return found[::-1]


def _span(meta: Meta) -> int:
    """The bytes of a result with its strides."""
    if 0 in meta.shape:
        return 0
    last = 0
    for n, s in zip(meta.shape, meta.strides):  # type: ignore[arg-type]
        last += (n - 1) * s
    return (1 + last) * meta.dtype.itemsize
