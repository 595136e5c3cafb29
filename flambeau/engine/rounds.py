"""Loops of a program, cut into rounds: where its recordings do not come again, and where rounds are heavy.

A sentence of another length, an episode of another number of steps: every recording of such a program is another one,
which is hardly ever matched, and compiled for nothing. But it consists of rounds, the same ops on the same shapes over
and over, and a recording that begins anew after a few rounds is the same for all lengths. So where recordings keep
branching off into something long and new, they end where rounds do. Programs that come again keep their long segments,
in which there is more to fuse.

A loop that computes much in every round and looks at nothing, such as a network applied to one batch after the other,
is cut at once: nothing is gained by holding all batches until the end. Layers of a network look like rounds as well.
But they read other parameters, where a loop reads the same ones again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from flambeau.engine.graph import Arg

if TYPE_CHECKING:
    from flambeau.engine.entry import Entry
    from flambeau.engine.value import Value

SHORT, DOUBT = 12, 8  # entries of a recording that counts, and more new ones than known: what is new may stay alone
LONG, MANY = 64, 3  # the same: rounds are cut
LEAST = 24  # entries from cut to cut
FARTHEST = 200  # entries of a round
HEAVY = 1 << 26  # bytes of results from which on a loop over the same memory is cut


class Rounds:
    """Whether a thread's recordings come again, and the round that the present one is in.

    Attributes:
        new, branching: how many more recordings had much that was new than were known: of all, and of long ones that
            began as a known one.
        period, run: the last `run` entries are like those `period` before them.
        noted, calls: each entry that was noted, and its op and shapes.
        last: for op and shapes, where they last came.
        again: operands from outside that the run has read where it read them a round ago, less the others.
    """

    def __init__(self) -> None:
        self.new = self.branching = 0
        self._begin()

    @property
    def doubtful(self) -> bool:
        """Whether what is new may well not come again."""
        return self.new >= DOUBT

    def ended(self, end: Entry, new: int) -> None:
        """A recording has ended, with so many new entries."""
        if self.noted:
            self._begin()
        if end.full:
            return
        if new >= SHORT:
            self.new = min(self.new + 1, 2 * DOUBT)
            if LONG <= new < end.depth:
                self.branching = min(self.branching + 1, 2 * MANY)
        elif end.depth >= SHORT and not new:
            self.new = max(self.new - 1, 0)
            if end.depth >= LONG:
                self.branching = max(self.branching - 1, 0)

    def close(self, entry: Entry, first: bool, values: Sequence[Value]) -> bool:
        """Whether the recording had better end at an entry that is new, because it closes a round. If it is the first
        new one, what it branches off from is known, but perhaps not cut yet."""
        if self.branching >= MANY:
            if first and entry.depth > LONG:
                self._cut(entry)
            return self._closes(entry)
        if entry.bytes < HEAVY:
            return False
        closes = self._closes(entry)
        if self.run <= 1:
            self.again = 0
        else:
            self.again += _again(entry, self.noted[-1 - self.period], values)
        return closes and self.again > 0

    def _cut(self, new: Entry) -> None:
        """Let what leads to an entry end at its first round the next time."""
        before = []
        at = new.parent
        while at is not None and at.parent is not None:
            before.append(at)
            at = at.parent
        for entry in reversed(before):
            if self._closes(entry):
                entry.full = True
                entry.call = entry.caller = None  # these do not look whether it is
                break
        self._begin()

    def _closes(self, entry: Entry) -> bool:
        """Take note of an entry; whether it closes a round, and enough came before."""
        call = (entry.op, *[x.shape if isinstance(x, Arg) else x.__class__ for x in entry.operands])
        at, period = len(self.noted), self.period
        last = self.last.get(call, at)
        if period and self.calls[at - period] == call:
            self.run += 1
        else:
            period = self.period = at - last
            self.run = 1
        self.noted.append(entry)
        self.calls.append(call)
        self.last[call] = at
        rounds = max(2, -(-LEAST // period)) if 0 < period <= FARTHEST else 0
        return rounds > 0 and self.run >= (rounds - 1) * period

    def _begin(self) -> None:
        self.period = self.run = 0
        self.again = 0
        self.noted: list[Entry] = []
        self.calls: list[tuple] = []
        self.last: dict[tuple, int] = {}


def _again(entry: Entry, before: Entry, values: Sequence[Value]) -> int:
    """How many operands from outside an entry shares with the one a round ago, less those that it does not share."""
    count = 0
    for x, y in zip(entry.operands, before.operands):
        if isinstance(x, Arg):
            if x.value == y.value:
                count += 1
            elif values[x.value].data is not None:
                count -= 1
    return count
