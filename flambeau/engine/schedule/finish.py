"""The end of planning: what nobody reads is dropped, scratch gets its place in the arena, groups become launches."""

from __future__ import annotations

from typing import Any

from flambeau.engine.plan import Buffer, Plan
from flambeau.engine.schedule.build import launch_of, read_roots
from flambeau.engine.schedule.bundles import PASSES, Bundle, bundle, together
from flambeau.engine.schedule.epilogues import absorb
from flambeau.engine.schedule.groups import Group, Store
from flambeau.engine.schedule.memory import Root, arrange
from flambeau.engine.schedule.opaque import Host, Opaque
from flambeau.engine.schedule.turning import turn

Step = Group | Bundle | Opaque | Host


def finished(steps: list[Step], wanted: dict[int, Root], fuse: bool) -> Plan:
    """The plan of steps in order; `wanted` is memory to hand out, by value."""
    handed = [id(root) for root in wanted.values()]
    alive, uses = _alive(steps, set(handed))
    for change in (absorb, *[bundle] * PASSES) if fuse else ():
        if change(steps, alive, uses):
            alive, uses = _alive(steps, set(handed))
    turned = {step.index: turn(step, stores) for step, stores in alive if isinstance(step, Group)}
    for position, made in turned.items():
        uses.update({root: [position] for copy in (*made.before, *made.after) for root in copy.temps})
    plan = Plan([], _place(uses), {number: root.nbytes for number, root in wanted.items()})
    for step, _ in alive:
        if isinstance(step, Group):
            made = turned[step.index]
            plan.steps += [launch for copy in made.before for launch in copy.final()]
            plan.steps.append(launch_of(step, made.stores))
            plan.steps += [launch for copy in made.after for launch in copy.final()]
        else:
            made = step.final()
            plan.steps += together(made) if fuse and isinstance(step, Opaque) and step.apart else made
    return plan


def _alive(steps: list[Step], read: set[int]) -> tuple[list[tuple[Any, list[Store]]], dict[Root, list[int]]]:
    """The steps that matter with the stores that do, in order; and the positions at which each root is in use."""
    alive: list[tuple[Any, list[Store]]] = []
    uses: dict[Root, list[int]] = {}

    def use(root: Root, position: int) -> None:
        uses.setdefault(root, []).append(position)

    for position in range(len(steps) - 1, -1, -1):
        step = steps[position]
        if isinstance(step, Group):
            stores = [s for s in step.stores if _matters(s.memory.root, read)]
            if not stores:
                continue
            reads = read_roots(step, stores)
            written = [s.memory.root for s in stores]
        elif isinstance(step, Bundle):
            stores, reads, written = [], step.reads, step.writes
        else:
            if not any(_matters(root, read) for root in step.results.values()):
                continue
            stores = []
            reads = [*step.operands.values(), *step.more]
            written = [r for r in step.results.values() if _matters(r, read) or isinstance(step, Opaque)] + step.temps
        for root in (*reads, *written):
            use(root, position)
        read.update(id(root) for root in reads)
        alive.append((step, stores))
    return alive[::-1], uses


def _matters(root: Root, read: set[int]) -> bool:
    """Whether what is put into memory is seen by anybody."""
    return id(root) in read or (root.buffer is not None and root.buffer.kind in ("input", "status"))


def _place(uses: dict[Root, list[int]]) -> int:
    """Give scratch its place in the arena; the bytes of the arena."""
    scratch = [(min(at), max(at), root) for root, at in uses.items() if root.buffer is None]
    scratch.sort(key=lambda life: life[:2])
    offsets, nbytes = arrange([(first, last, root.nbytes) for first, last, root in scratch])
    for (_, _, root), offset in zip(scratch, offsets):
        root.buffer = Buffer("temp", offset)
    return nbytes
