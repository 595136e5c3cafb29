"""Backward as one event: a walk that was recorded is not walked again while nothing it depends on has changed.

The first `loss.backward()` at some place of a recording walks the graph node by node, and its ops are recorded like any
others. What it did is kept as a `Replay`: which nodes it visited, where their edges led, what they kept, and which
values became the gradients of which leaves. The next time, if the graph is the same, nobody watches it and no tensor it
keeps was overwritten, the recorder jumps to where the walk ended, and only the gradients are made.

A graph is recognised by the `Form`s of its nodes, which belong to entries of the tree. So its nodes may have been made
in this recording, or in earlier ones: a generator's, say, before its discriminator's optimizer made a step. What such
nodes kept comes from outside, and is bound to the numbers that it had in the recorded walk. If it was only a look at
the loss that ended the earlier recording, it will not end the next one (`Recorder.keep_together`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from flambeau.autograd.mode import state
from flambeau.autograd.node import AccumulateGrad, Node, SavedTensor
from flambeau.autograd.opnode import Form, OpNode
from flambeau.engine.entry import Entry
from flambeau.engine.record import IN_PARTS, Recorder
from flambeau.engine.value import Copied, Storage, Value
from flambeau.tensors import Tensor

UNUSED = -1  # the number of what a node kept in an earlier recording, and the walk did not read


class _Visit(NamedTuple):
    """A node that the walk ran.

    Attributes:
        index: of the node, in the order in which the walk came upon them; the root's is 0.
        form: what it has in common with all nodes of the same recorded call.
        nodes_behind: the edges by which the walk came upon nodes: (position, index of the node, output).
        leaves_behind: those by which it came upon leaves: (position, number of the leaf).
        inputs, outputs: what it kept of this segment: (position, number of the value).
        rest: what few nodes have, or None.
    """

    index: int
    form: Form
    nodes_behind: tuple
    leaves_behind: tuple
    inputs: tuple
    outputs: tuple
    rest: _Rest | None


class _Rest(NamedTuple):
    """What else is known of a visit.

    Attributes:
        nodes, leaves: edges to nodes and leaves that the walk had come upon before.
        outside: what the node kept of earlier segments: (whether an output, position, number of the value, how it was
            looked at).
        constants: (position, number) of operands that are Python numbers.
    """

    nodes: tuple
    leaves: tuple
    outside: tuple
    constants: tuple


class _Leaf(NamedTuple):
    """A leaf that the walk reached, and how its gradient looks."""

    number: int  # of the value that the gradient has afterwards
    held: int | None  # of the value that the gradient had before, if there was one
    nbytes: int
    shape: Any
    strides: Any
    offset: int
    dtype: Any


class Replay:
    """A recorded walk from one root.

    Attributes:
        output: which output of its node the root is.
        count: how many nodes the walk came upon.
        constants: values from outside that every walk uses, by number.
        mode: what the ops depended on besides their operands.
        numbers: the Python numbers that the walk recorded.
    """

    def __init__(self, output: int, start: Entry, begun: int, mode: Any) -> None:
        self.output, self.start, self.begun, self.mode = output, start, begun, mode
        self.count = 1
        self.visits: list[_Visit] = []
        self.leaves: list[_Leaf] = []
        self.constants: list[tuple[int, Value]] = []
        self.numbers: list[Any] = []
        self.end: Entry = start

    # -- recognising ---------------------------------------------------------------------------------------------

    def fits(self, into: Recorder, root: Tensor, mode: Any) -> tuple[list[Any], list[Tensor], list[Any]] | None:
        """The nodes, the leaves and what they kept from earlier segments, if the graph is the recorded one."""
        if mode != self.mode or root._output_nr != self.output:
            return None
        nodes: list[Any] = [None] * self.count
        leaves: list[Any] = [None] * len(self.leaves)
        outside: list[tuple[int, Any, bool]] = []
        nodes[0] = root._grad_fn
        last = 1 << 62
        for index, form, nodes_behind, leaves_behind, inputs, outputs, rest in self.visits:
            node = nodes[index]
            if node.form is not form or node.sequence >= last or (node.watched and node.hooked()):
                return None
            last, edges, kept = node.sequence, node.edges, node.inputs
            for i, at, nr in nodes_behind:
                nodes[at], output = edges[i]
                if output != nr:
                    return None
            for i, nr in leaves_behind:
                end = edges[i][0]
                leaves[nr] = end.variable
                if end.watched and end.hooks:
                    return None
            if kept is None:
                return None
            for i, number in inputs:
                saved = kept[i]
                tensor = saved.tensor
                value = tensor._storage.value
                if (
                    value.number != number or value.segment is not into
                    or tensor._version_counter.count != saved.version
                ):  # fmt: skip
                    return None
            for nr, number in outputs:
                saved = node.outputs[nr]
                value = saved.of[0].value
                if value.number != number or value.segment is not into or saved.of[5].count != saved.version:
                    return None
            if rest is not None and not _rest_fits(rest, node, nodes, leaves, outside):
                return None
        if len({*map(id, leaves)}) != len(leaves):
            return None
        held: set[int] = set()
        for leaf, known in zip(leaves, self.leaves):
            if leaf._hooks or leaf._post_accumulate_hooks:
                return None
            grad = leaf._grad
            if grad is not None or known[1] is not None:
                if not _receives(grad, known) or id(grad._storage) in held:
                    return None
                held.add(id(grad._storage))
        return nodes, leaves, outside

    # -- replaying -----------------------------------------------------------------------------------------------

    def bind(self, into: Recorder, outside: Sequence[tuple[int, Any, bool]]) -> bool:
        """Make room for the values of the walk, and give those from outside their numbers."""
        values: list[Any] = into.values
        values.extend([None] * (self.end.count - self.begun))
        for number, tensor, part in outside:
            if not into.bind_at(number, tensor, part):
                into.unbind(self.begun, len(into.numbers))
                return False
        return True

    def play(self, into: Recorder, nodes: Sequence[Any], leaves: Sequence[Tensor]) -> None:
        """Do to leaves, graph and recording what the walk did."""
        values: list[Any] = into.values
        into.numbers.extend(self.numbers)
        into.cursor, into.ended = self.end, None
        for number, value in self.constants:
            value.segment, value.number = into, number
            values[number] = value
        new = object.__new__
        for leaf, (number, held_number, nbytes, shape, strides, offset, dtype) in zip(leaves, self.leaves):
            value = values[number]
            if value is None:
                value = values[number] = new(Value)
                value.data, value.nbytes, value.segment, value.number = None, nbytes, into, number
            if held_number is None:
                storage = new(Storage)
                storage.value = value
                leaf._grad = grad = new(Tensor)
                grad._storage = grad._version_counter = storage
                grad._shape, grad._strides, grad._offset, grad.dtype = shape, strides, offset, dtype
                grad._requires_grad, grad._grad_fn, grad._base = False, None, None
                continue
            grad = leaf._grad  # type: ignore[assignment]
            held = grad._storage.value
            held.segment, held.number = into, held_number
            values[held_number] = held
            into.overwrite(grad._storage, value)
            grad._version_counter.count += 1
        for node in nodes:
            if node.form.keeps:
                node.inputs, node.outputs = None, ()


def _rest_fits(rest: _Rest, node: Any, nodes: list[Any], leaves: list[Any], outside: list[Any]) -> bool:
    """Whether the rest of a visit is as it was; notes what the walk reads of earlier segments."""
    edges, kept = node.edges, node.inputs
    for i, at, nr in rest.nodes:
        if edges[i][0] is not nodes[at] or edges[i][1] != nr:
            return False
    for i, nr in rest.leaves:
        if edges[i][0].variable is not leaves[nr]:
            return False
    for i, x in rest.constants:
        if kept[i] is not x and (kept[i].__class__ is not x.__class__ or str(kept[i]) != str(x)):
            return False
    return not rest.outside or _from_outside(node, rest.outside, outside)


def _from_outside(node: Any, known: Sequence[tuple], outside: list[tuple[int, Any, bool]]) -> bool:
    """Whether what a node kept of earlier segments is as it was then and looks as it did; notes what the walk reads."""
    for is_output, i, number, look in known:
        saved = (node.outputs if is_output else node.inputs)[i]
        tensor = saved.unpacked() if saved.packed is None else None
        if tensor is None or tensor._version_counter.count != saved.version:
            return False
        if number == UNUSED:
            continue
        part = look[2] is None
        storage = tensor._storage
        if _look(tensor, part) != look or storage.value.data is None or (storage._external and not part):
            return False
        outside.append((number, tensor, part))
    return True


def _look(t: Tensor, part: bool) -> tuple:
    return t._shape, t._strides, None if part else t._offset, t.dtype


def _receives(grad: Tensor | None, known: _Leaf) -> bool:
    """Whether a gradient is there to be added to, as it was when the walk was recorded."""
    if known.held is None or grad is None:
        return False
    value = grad._storage.value
    return (
        value.segment is None and not value.shared and not grad._storage._external and value.data is not None
        and grad._shape == known.shape and grad._strides == known.strides and grad._offset == known.offset
        and grad.dtype is known.dtype and not grad.requires_grad
    )  # fmt: skip


def _mode() -> Any:
    """What a walk depends on besides graph and data; None where it must be walked."""
    if state.anomaly or state.saved_hooks:
        return None
    return (state.autocast,)


def replayed(into: Recorder, root: Tensor) -> bool:
    """Whether `backward` from this root could be replayed, and has been."""
    events = into.cursor.events
    if events is None or root._base is not None:
        return False
    mode = _mode()
    for replay in events:
        if replay.__class__ is Replay:
            try:
                found = replay.fits(into, root, mode)
            except AttributeError:  # a node of another kind, or what it kept is gone
                continue
            if found is not None and replay.bind(into, found[2]):
                replay.play(into, *found[:2])
                return True
    return False


class Watch:
    """Watches a walk while it is recorded, and keeps it as a Replay if everything about it can be recognised again."""

    def __init__(self, into: Recorder, root: Tensor) -> None:
        node = root._grad_fn
        self.into, self.running = into, (into.values, into.done)
        self.good = isinstance(node, OpNode) and root._base is None and _mode() is not None
        self.begun, self.slots = len(into.values), len(into.numbers)
        self.replay = Replay(root._output_nr, into.cursor, self.begun, _mode())
        self.indices: dict[int, int] = {id(node): 0}  # of nodes that the walk came upon
        self.nodes: list[Node | None] = [node]  # kept, so that no other gets the same id
        self.visited: list[tuple] = []  # the fields of a _Visit, with values where it has their numbers
        self.last = 1 << 62
        self.order: list[Tensor] = []
        self.leaves: dict[int, int] = {}  # id of a leaf's node -> its number
        self.held: list[Value | None] = []

    def visit(self, node: Node) -> None:
        """The walk runs this node."""
        if not self.good:
            return
        index = self.indices.get(id(node))
        self.good = (
            self.into.values is self.running[0] and index is not None and isinstance(node, OpNode)
            and not node.hooked() and node.sequence < self.last and node.inputs is not None
        )  # fmt: skip
        if not self.good:
            return
        self.last = node.sequence
        edges = [(i, *self._target(edge)) for i, edge in enumerate(node.edges) if edge is not None]
        form, inputs, outputs = node.form, node.inputs, node.outputs  # type: ignore[attr-defined]
        kept = [self._kept(False, i, inputs[i]) for i in form.kept]
        kept += [self._kept(True, nr, outputs[nr]) for nr in form.kept_outputs]
        constants = tuple([(i, x) for i, x in enumerate(inputs) if isinstance(x, (bool, int, float, complex))])
        self.visited.append((index, form, edges, kept, constants))

    def _target(self, edge: Any) -> tuple[int, int]:
        """Where an edge leads: the index of a node and its output, or -1 and the number of a leaf."""
        if isinstance(edge[0], AccumulateGrad):
            return -1, self._leaf(edge[0])
        if id(edge[0]) not in self.indices:
            self.indices[id(edge[0])] = len(self.nodes)
            self.nodes.append(edge[0])
        return self.indices[id(edge[0])], edge[1]

    def _kept(self, is_output: bool, i: int, saved: SavedTensor) -> Any:
        tensor = saved.unpacked()
        if tensor is None or saved.packed is not None:
            self.good = False
            return None
        look = tensor._shape, tensor._strides, tensor._offset, tensor.dtype
        return is_output, i, tensor._storage, tensor._storage.value, look

    def _leaf(self, node: AccumulateGrad) -> int:
        found = self.leaves.get(id(node))
        if found is None:
            found = self.leaves[id(node)] = len(self.order)
            leaf = node.variable
            self.order.append(leaf)
            self.held.append(leaf._grad._storage.value if leaf._grad is not None else None)
            if node.hooked() or leaf._hooks or leaf._post_accumulate_hooks:
                self.good = False
        return found

    def end(self, constants: Sequence[Value]) -> None:
        """The walk is over: keep it, if it can be replayed."""
        into, replay = self.into, self.replay
        if not self.good or into.values is not self.running[0] or into.done is not self.running[1]:
            return  # some of it has run
        if len(self.visited) != len(self.nodes):  # some nodes were not run
            return
        self.outside = {v.number: v for v in into.values[self.begun :] if v is not None and v.data is not None}
        if not self._note_leaves():
            return
        for value in constants:
            if value.segment is into and value.number in self.outside:
                replay.constants.append((value.number, self.outside.pop(value.number)))
        taken: set[int] = set()
        known: set[Any] = {0}  # indices of nodes, and leaves, that the walk has come upon
        for index, form, edges, kept, numbers in self.visited:
            inputs, outputs, others = self._sorted(kept)
            behind: tuple[list, list] = ([], [])
            again: tuple[list, list] = ([], [])
            for i, at, nr in edges:
                key = at if at >= 0 else (nr,)
                (again if key in known else behind)[at < 0].append((i, at, nr) if at >= 0 else (i, nr))
                known.add(key)
            rest = None
            if any(again) or others or numbers:
                rest = _Rest(tuple(again[0]), tuple(again[1]), others, numbers)
            visit = _Visit(index, form, tuple(behind[0]), tuple(behind[1]), inputs, outputs, rest)
            replay.visits.append(visit)
            taken.update(number for _, _, number, _ in others)
        if taken:
            into.keep_together([form for _, form, *_ in self.visited])
        if self.outside.keys() - taken or any(leaf.number < self.begun for leaf in replay.leaves):
            return
        replay.count, replay.end, replay.numbers = len(self.nodes), into.cursor, into.numbers[self.slots :]
        replay.start.keep(replay)

    def _note_leaves(self) -> bool:
        """Note what became of the leaves; whether that can be done again."""
        into = self.into
        for leaf, held in zip(self.order, self.held):
            grad = leaf._grad
            if grad is None or grad._storage.value.segment is not into:
                return False
            if held is not None and self.outside.pop(held.number, None) is not held:
                return False
            value = grad._storage.value
            self.replay.leaves.append(
                _Leaf(value.number, None if held is None else held.number, value.nbytes,
                      grad._shape, grad._strides, grad._offset, grad.dtype)
            )  # fmt: skip
        return True

    def _sorted(self, kept: Sequence[tuple]) -> tuple[tuple, tuple, tuple]:
        """What a node kept, as a _Visit notes it."""
        into = self.into
        inputs: list[Any] = []
        outputs: list[Any] = []
        outside: list[Any] = []
        for is_output, i, storage, value, (shape, strides, offset, dtype) in kept:
            number = value.number if value.segment is into else UNUSED
            part = number == IN_PARTS
            if part:
                number = into.parts.get((id(value), offset * dtype.itemsize), UNUSED)
            elif storage._external:
                part, number = True, self._copied(storage, offset * dtype.itemsize)
            if 0 <= number < self.begun:
                (outputs if is_output else inputs).append((i, value.number))
            else:
                outside.append((is_output, i, number, (shape, strides, None if part else offset, dtype)))
        return tuple(inputs), tuple(outputs), tuple(outside)

    def _copied(self, storage: Storage, offset: int) -> int:
        """The number of the one copy that the walk made of memory which is visible outside."""
        copies = [v for v in self.outside.values() if isinstance(v, Copied) and v.storage is storage]
        numbers = [v.number for v in copies if v.offset == offset]
        return numbers[0] if len(numbers) == 1 else UNUSED
