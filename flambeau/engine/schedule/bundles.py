"""Bundles: groups that do the same to different memory, run by one launch. Above all an optimizer's updates.

Elementwise work on memory that is one run has code that does not know how long the run is. So one kernel updates all
parameters, and one launch goes through a table of them; the norms of gradients of one size go together as well, and the
copies of what is stacked. A group waits for the last one of its bundle as long as nobody in between touches what it
writes or writes what it reads, and as long as it does not hold scratch in place of others.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import Any, NamedTuple

from flambeau.dtypes import dtype
from flambeau.engine.plan import Address, Launch
from flambeau.engine.schedule.build import launch_of, read_roots
from flambeau.engine.schedule.expressions import Expr
from flambeau.engine.schedule.groups import Group, Store
from flambeau.engine.schedule.memory import Root
from flambeau.engine.schedule.spaces import Form, flat

MOST = 256  # groups of a bundle: bounds the argument block of its launch
PASSES = 3  # those that others waited for may wait in the next pass
LITTLE = 4096  # bytes of scratch that a group may hold while it waits
_END = 1 << 62


class Member(NamedTuple):
    group: Group
    stores: list[Store]
    until: int  # the position before which it has to run


class Bundle:
    """A step in place of several groups."""

    def __init__(self, members: list[Member]) -> None:
        self.members = members

    @property
    def reads(self) -> list[Root]:
        return [root for m in self.members for root in read_roots(m.group, m.stores)]

    @property
    def writes(self) -> list[Root]:
        return [s.memory.root for m in self.members for s in m.stores]

    def final(self) -> list[Launch]:
        """A launch for each kernel, once every root has its buffer."""
        return together([launch_of(m.group, m.stores) for m in self.members])


def together(launches: list[Launch]) -> list[Launch]:
    """Launches that write apart, those of one kernel as one."""
    found: dict[str, list[list[Launch]]] = {}
    for launch in launches:
        alike = found.setdefault(launch.kernel.key, [[]])
        if len(alike[-1]) == MOST:
            alike.append([])
        alike[-1].append(launch)
    return [_as_one(some) for alike in found.values() for some in alike]


def _as_one(launches: list[Launch]) -> Launch:
    """The launches of one kernel as a single one, with the argument block that `native` goes through."""
    first, count = launches[0], len(launches)
    if count == 1:
        return first
    args: list[Address | int] = [count, len(first.args)]
    tasks = 0
    for x in launches:
        args += [tasks, x.tasks, *x.args]
        tasks += x.tasks
    return Launch(
        first.kernel, tuple(args), tasks, sum(x.cost for x in launches), f"{first.note} and {count - 1} more",
        (sum(x.work[0] for x in launches), sum(x.work[1] for x in launches)),
        tuple(dict.fromkeys(call for x in launches for call in x.calls)), count,
    )  # fmt: skip


def bundle(steps: list[Any], alive: list[tuple[Any, list[Store]]], uses: dict[Root, list[int]]) -> bool:
    """Put bundles into `steps`, each in place of its last group; whether there are any."""
    waiting = _Waiting(steps, alive, uses)
    growing: dict[Any, tuple[list[Member], int]] = {}  # by what they do; until when all of them can wait
    found: list[list[Member]] = []
    for group, stores in alive:
        if not isinstance(group, Group) or not _runs(group, stores):
            continue
        what = group.reduction and group.axes, *[(_name(s.expr), s.memory.dtype) for s in stores]
        member = Member(group, stores, waiting.until(group, stores))
        members, until = growing.get(what, ([], 0))
        if until <= group.index or len(members) == MOST:
            members, until = [], _END
            found.append(members)
        members.append(member)
        growing[what] = members, min(until, member.until)
    found = [members for members in found if len(members) > 1]
    for members in found:
        for m in members:
            m.group.stores.clear()
        steps[members[-1].group.index] = Bundle(members)
    return bool(found)


def _runs(group: Group, stores: list[Store]) -> bool:
    """Whether a group is elementwise work on memory that is one run."""
    plain = flat(group.numel), Form((group.numel,), (0,)), Form((), ())
    checks = any(s.memory.root.buffer is not None and s.memory.root.buffer.kind == "status" for s in stores)
    return not checks and all(form in plain for form, full in group.forms if full)


def _name(expr: Expr) -> tuple[str, dtype]:
    return (expr.detail.key if expr.kind == "map" else expr.detail.how), expr.dtype


class _Waiting:
    """How long groups can wait."""

    def __init__(self, steps: list[Any], alive: list[tuple[Any, list[Store]]], uses: dict[Root, list[int]]) -> None:
        self.uses = {root: at[::-1] for root, at in uses.items()}
        self.writes: dict[Root, list[int]] = {}
        self.begins = sorted(at[0] for root, at in self.uses.items() if root.buffer is None)  # of scratch
        position = {id(step): nr for nr, step in enumerate(steps)}
        for step, stores in alive:
            written = [s.memory.root for s in stores] if isinstance(step, Group) else _written(step)
            for root in written:
                self.writes.setdefault(root, []).append(position[id(step)])

    def until(self, group: Group, stores: list[Store]) -> int:
        """The first position that must not come before a group."""
        at = group.index
        found = [_next(self.uses[s.memory.root], at) for s in stores]
        for root in read_roots(group, stores):
            found.append(_next(self.writes.get(root, []), at))
            if root.buffer is None and root.nbytes > LITTLE:  # nobody else would hold it any longer
                found.append(_next(self.begins, self.uses[root][-1]))
        return min(found)


def _written(step: Any) -> Iterable[Root]:
    return step.writes if isinstance(step, Bundle) else step.results.values()


def _next(positions: list[int], at: int) -> int:
    """The first of some positions, in order, after `at`."""
    nr = bisect_right(positions, at)
    return positions[nr] if nr < len(positions) else _END
