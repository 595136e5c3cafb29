"""A segment as one native program: its graph, its plan, and the buffers that a run binds."""

from __future__ import annotations

import struct
import threading
from collections.abc import Sequence
from dataclasses import replace
from operator import itemgetter
from time import perf_counter_ns
from typing import Any

import numpy as np

from flambeau.engine import reference, watching
from flambeau.engine.entry import WRITE, Segment
from flambeau.engine.garbage import collected_rarely
from flambeau.engine.graph import Arg, Call, Graph, Number, Write
from flambeau.engine.plan import Address, Buffer, HostCall, Launch, Plan
from flambeau.engine.runtime.allocator import Block, trim
from flambeau.engine.runtime.launch import Table
from flambeau.engine.runtime.leases import Leases
from flambeau.engine.schedule.planner import plan
from flambeau.engine.value import Leased, Pooled, Value, empty_bytes, located
from flambeau.engine.watching import Watcher

_address_of = itemgetter(1)  # of a block
_NUMBERS, _STATUS, _ARENA = Buffer("numbers", 0), Buffer("status", 0), Buffer("temp", 0)


@collected_rarely()
def compiled(segment: Segment, wanted: Sequence[int], fuse: bool) -> Program:
    """The program of a segment, giving the results `wanted`."""
    graph, outside, number_of = graph_of(segment, wanted)
    return Program(graph, plan(graph, fuse=fuse), outside, {number_of[n]: n for n in wanted}, segment)


# -- from entries to a graph -------------------------------------------------------------------------------------


def graph_of(segment: Segment, wanted: Sequence[int]) -> tuple[Graph, list[int], dict[int, int]]:
    """The graph of a segment, the recording's numbers of its inputs in order, and the graph's numbers of all values."""
    path, made = segment.path(), set(segment.results)
    read = {x.value for entry in path for x in entry.operands if isinstance(x, Arg)}
    outside = sorted(read - made)
    number_of = {n: i for i, n in enumerate([*outside, *sorted(made)])}

    slots = segment.start.slots

    def renumbered(x: Any) -> Any:
        if isinstance(x, Arg):
            return Arg(number_of[x.value], *x[1:])
        return Number(x.slot - slots, x.kind) if x.__class__ is Number else x

    steps: list[Call | Write] = []
    sizes = dict.fromkeys(range(len(outside)), 0)
    for entry in path:
        operands = tuple([renumbered(x) for x in entry.operands])
        outputs = tuple([number_of[n] for n in entry.outputs])
        for x in operands:
            if isinstance(x, Arg) and x.value < len(outside):
                sizes[x.value] = max(sizes[x.value], _reach(x))
        if entry.op is WRITE:
            target, source = operands
            steps.append(Write(target, source, outputs[0]))
            sizes[outputs[0]] = sizes[target.value]
        else:
            steps.append(Call(entry.op, operands, entry.params, entry.metas, outputs))
            sizes.update(zip(outputs, entry.sizes))
    inputs = [sizes[n] for n in range(len(outside))]
    graph = Graph(inputs, steps, tuple([number_of[n] for n in wanted]), segment.end.slots - slots, sizes)
    return graph, outside, number_of


def _reach(x: Arg) -> int:
    """The bytes of a value up to the last element that an operand reads."""
    if 0 in x.shape:
        return 0
    return (1 + x.offset + sum((n - 1) * s for n, s in zip(x.shape, x.strides))) * x.dtype.itemsize


def number_kinds(graph: Graph) -> str:
    """How `struct` packs the table of numbers."""
    kinds = ["q"] * graph.numbers
    for step in graph.steps:
        for x in step.inputs if isinstance(step, Call) else ():
            if x.__class__ is Number:
                kinds[x.slot] = "d" if x.kind is float else "q"
    return "=" + "".join(kinds)


def memory_of(graph: Graph) -> dict[int, int]:
    """For each value that a write made, the value whose memory it has in the end."""
    root: dict[int, int] = {}
    for step in graph.steps:
        if isinstance(step, Write):
            root[step.output] = root.get(step.target.value, step.target.value)
    return root


# -- running -----------------------------------------------------------------------------------------------------


class _Scratch(threading.local):
    """A thread's arena: programs do not run inside one another, so one is enough for all of them."""

    memory = _NO_MEMORY = np.empty(0, np.uint8)
    address = 0

    def of(self, nbytes: int) -> int:
        """The address of at least so many bytes."""
        if self.memory.size < nbytes:
            self.memory = self._NO_MEMORY
            trim()  # what the references have used until now
            self.memory = empty_bytes(nbytes)
            self.address = self.memory.__array_interface__["data"][0]
        return self.address


_scratch = _Scratch()


def may_refuse(graph: Graph) -> bool:
    """Whether an op could refuse data that this graph computes; data from outside was looked over at the call."""
    return any(
        isinstance(step, Call) and step.op.hazard is not None
        and any(isinstance(x, Arg) and x.value >= len(graph.inputs) for x in step.op.hazard.looked_at(step.inputs))
        for step in graph.steps
    )  # fmt: skip


def last_refusing(plan: Plan) -> int:
    """The place of the last launch that looks at data which it may not accept; -1 if none does."""
    places = [
        nr for nr, step in enumerate(plan.steps) if isinstance(step, Launch)
        and any(isinstance(a, Address) and a.buffer == _STATUS for a in step.args)
    ]  # fmt: skip
    return max(places, default=-1)


def written_after(plan: Plan, place: int, roots: dict[int, int]) -> set[int]:
    """The values whose memory is written, but by no step up to a place."""
    early: set[int] = set()
    late: set[int] = set()
    for nr, step in enumerate(plan.steps):
        calls = step.calls if isinstance(step, Launch) else ()
        found = {roots[call.output] for call in calls if isinstance(call, Write)}
        (late if nr > place else early).update(found)
    return late - early


class Program:
    """A plan with its kernels compiled.

    Args:
        outside: the recording's number of each input.
        wanted: the graph's number of each value to give -> the recording's.
        segment: what was recorded.
    """

    def __init__(self, graph: Graph, plan: Plan, outside: list[int], wanted: dict[int, int], segment: Segment) -> None:
        self.graph, self.plan, self.outside, self.segment = graph, plan, outside, segment
        self.inputs = len(outside)
        roots = memory_of(graph)
        given = [(roots.get(n, n), to) for n, to in wanted.items()]
        made = list(plan.outputs)
        self.leases = Leases(list(plan.outputs.values()))
        self.fresh = [(made.index(n), to) for n, to in given if n >= self.inputs]  # (nr of the block, number)
        self.written = [(n, to) for n, to in given if n < self.inputs]  # (nr of the input it was written over, number)
        self.kinds = struct.Struct(number_kinds(graph))
        self.earlier = segment.start.slots  # numbers that are not the segment's
        self.numbers = bytearray(8 * graph.numbers + 8)
        self.status = np.zeros(1, np.int64)
        slots: list[Buffer] = [Buffer("input", i) for i in range(self.inputs)]
        slots += [Buffer("output", n) for n in made]
        self.slot_of = {buffer: i for i, buffer in enumerate(slots)} | {
            _NUMBERS: len(slots), _STATUS: len(slots) + 1, _ARENA: len(slots) + 2,
        }  # fmt: skip
        self.slots = struct.Struct(f"={len(slots) + 3}q")
        self.table = np.zeros(len(slots) + 3, np.int64)
        self.table_address = self.table.ctypes.data
        self.fixed = (_address(np.frombuffer(self.numbers, np.uint8)), _address(self.status))
        refusing = last_refusing(plan) if may_refuse(graph) else -1
        early = set(roots.values()) - written_after(plan, refusing, roots) if refusing >= 0 else set()
        self.endangered = sorted(n for n in early if n < self.inputs)
        self.refusing: Table | None = None  # after this one no kernel looks at data that it may not accept
        self.pieces = self._pieces(refusing)

    def _pieces(self, refusing: int) -> list[Table | HostCall]:
        """The plan's steps, each native stretch as one table; one ends with the last launch that may refuse data."""
        pieces: list[Table | HostCall] = []
        stretch: list[Launch] = []
        for nr, step in enumerate([*self.plan.steps, None]):
            if isinstance(step, Launch):
                stretch.append(step)
                if nr != refusing:
                    continue
            if stretch:
                pieces.append(Table([_in_one_arena(launch) for launch in stretch], self.slot_of))
                stretch = []
            if nr == refusing:
                self.refusing = pieces[-1]  # type: ignore[assignment]
            elif step is not None:
                pieces.append(step)  # type: ignore[arg-type]
        return pieces

    def run(self, values: list[Value], numbers: list[Any]) -> bool:
        """Compute what is wanted of a segment's values; False if a kernel met data that it cannot accept.

        Inputs are then as they were: the references will say what is wrong.
        """
        outside = [*map(values.__getitem__, self.outside)]
        blocks, leased = self.leases.take(), self.leases.own
        self.slots.pack_into(
            self.table, 0, *[v.address or located(v) for v in outside], *map(_address_of, blocks),
            *self.fixed, _scratch.of(self.plan.arena),
        )  # fmt: skip
        if self.earlier:
            numbers = numbers[self.earlier :]
        if numbers:
            self.kinds.pack_into(self.numbers, 0, *numbers)
        kept = [(outside[n], outside[n].data.copy()) for n in self.endangered]  # type: ignore[union-attr]
        if watching.current is not None and watching.current.times(self):
            self._run_timed(watching.current, outside, blocks, numbers)
        else:
            for piece in self.pieces:
                if piece.__class__ is Table:
                    piece.run(self.table_address)  # type: ignore[union-attr]
                    if piece is self.refusing and self.status[0]:
                        break
                else:
                    self._run_host(piece, outside, blocks, numbers)  # type: ignore[arg-type]
        if self.status[0]:
            self.status[0] = 0
            for value, before in kept:
                value.data[:] = before  # type: ignore[index]
            return False
        for number, to in self.fresh:
            value = values[to]
            value.data, value.address = block = blocks[number]
            if number in leased:
                value.__class__ = Leased
            else:
                value.__class__, value.block = Pooled, block  # type: ignore[attr-defined]
        for number, to in self.written:  # over a value that nobody holds any more
            old, new = outside[number], values[to]
            new.data, new.address = old.data, old.address
            kind = old.__class__
            if kind is not Value:
                new.__class__ = kind
                if kind is Pooled:
                    new.block, old.__class__ = old.block, Value  # type: ignore[attr-defined]
                    del old.block  # type: ignore[attr-defined]
        return True

    def _run_timed(self, watcher: Watcher, outside: list[Value], blocks: list[Block], numbers: list[Any]) -> None:
        """Run launch by launch, for somebody who wants to know how long each takes."""
        began = perf_counter_ns()
        spent: list[tuple[Launch | HostCall, int]] = []
        for piece in self.pieces:
            if isinstance(piece, Table):
                spent += zip(piece.launches, piece.timed(self.table_address))
                if piece is self.refusing and self.status[0]:
                    break
            else:
                before = perf_counter_ns()
                self._run_host(piece, outside, blocks, numbers)
                spent.append((piece, perf_counter_ns() - before))
        watcher.launches(self, began, spent)

    def _run_host(self, step: HostCall, outside: list[Value], blocks: list[Block], numbers: list[Any]) -> None:
        def at(buffer: Buffer) -> np.ndarray:
            if buffer.kind == "temp":
                return _scratch.memory[buffer.index :]
            slot = self.slot_of[buffer]
            return outside[slot].data if slot < self.inputs else blocks[slot - self.inputs].array  # type: ignore

        call = step.call
        operands = [
            reference.window(at(step.places[x.value]), *x[1:]) if isinstance(x, Arg)
            else numbers[x.slot] if x.__class__ is Number else x
            for x in call.inputs
        ]  # fmt: skip
        results = reference.run(call.op, operands, call.params, call.metas)
        for number, result in zip(call.outputs, results):
            if number in step.places:
                at(step.places[number])[: result.size] = result

    def summary(self) -> str:
        """What the program consists of, for a line in a log."""
        launches = [s for s in self.plan.steps if isinstance(s, Launch)]
        hosts = sorted({s.call.op.name for s in self.plan.steps if isinstance(s, HostCall)})
        kernels = len({s.kernel.key for s in launches})
        text = f"{len(launches)} launches of {kernels} kernels, {self.plan.arena / 1024:.0f} KB scratch"
        return text + (f", on the host: {', '.join(hosts)}" if hosts else "")


def _in_one_arena(launch: Launch) -> Launch:
    """The launch with its scratch buffers, which are offsets into the arena, as places in the one arena slot."""
    args = tuple([
        Address(_ARENA, a.buffer.index + a.offset) if isinstance(a, Address) and a.buffer.kind == "temp" else a
        for a in launch.args
    ])  # fmt: skip
    return replace(launch, args=args)


def _address(memory: np.ndarray) -> int:
    return memory.__array_interface__["data"][0]
