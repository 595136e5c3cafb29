"""Backward as one event: a walk that was recorded is not walked again while nothing it depends on has changed.

The first `loss.backward()` at some place of a recording walks the graph node by node, and its ops are recorded like any
others. What it did is kept as a `Replay`: which nodes it visited, where their edges led, and which values became the
gradients of which leaves. The next time, if the graph is the same, nobody watches it and no tensor it keeps was
overwritten, the recorder jumps to where the walk ended, and only the gradients are made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flambeau.autograd.mode import state
from flambeau.autograd.node import AccumulateGrad, Node
from flambeau.autograd.opnode import OpNode
from flambeau.engine.record import Entry, Recorder
from flambeau.engine.value import Value, holding
from flambeau.tensors import Tensor, make

MOST = 4  # replays kept at one entry


class _Leaf:
    """A leaf that the walk reached: whether it had a gradient before, and how the new one looks."""

    __slots__ = ("number", "shape", "strides", "offset", "dtype", "held")

    def __init__(self, grad: Tensor, number: int, held: int | None) -> None:
        self.number = number  # of the value that the gradient has afterwards
        self.shape, self.strides, self.offset, self.dtype = grad._shape, grad._strides, grad._offset, grad.dtype
        self.held = held  # number of the value that the gradient had before, if there was one


class Replay:
    """A recorded walk from one root.

    Attributes:
        root: index of the root's node and number of the output.
        visits: of each node: its index, its form, and where its edges lead: (index, output) or (-1, number of a leaf).
        constants: values from outside that the walk used, by number.
        mode: what the ops depended on besides their operands.
    """

    def __init__(self, root: tuple[int, int], start: Entry, mode: Any) -> None:
        self.root, self.start, self.mode = root, start, mode
        self.visits: list[tuple[int, Any, tuple]] = []
        self.leaves: list[_Leaf] = []
        self.constants: dict[int, Value] = {}
        self.before: list[Any] = []  # the Python numbers recorded before the walk: they may shape its ops
        self.numbers: list[Any] = []  # those that the walk recorded
        self.end: Entry = start

    # -- recognising ---------------------------------------------------------------------------------------------

    def fits(self, into: Recorder, root: Tensor, mode: Any) -> list[Tensor] | None:
        """The leaves, if the graph is the recorded one."""
        node = root._grad_fn
        if mode != self.mode or node.index != self.root[0] or root._output_nr != self.root[1]:  # type: ignore[union-attr]
            return None
        nodes, leaves = into.nodes, [None] * len(self.leaves)
        if node is not nodes[self.root[0]] or into.numbers != self.before:
            return None
        for index, form, targets in self.visits:
            node = nodes[index]
            if node.form is not form or node.hooks or node.tensor_hooks or node.retained or not node.intact(into):
                return None
            for edge, target in zip(node.edges, targets):
                if edge is None or target is None:
                    if edge is not target:
                        return None
                    continue
                at, nr = target
                if at >= 0:
                    if edge[0] is not nodes[at] or edge[1] != nr:
                        return None
                    continue
                leaf = getattr(edge[0], "variable", None)
                if leaf is None or (leaves[nr] is not leaf and leaves[nr] is not None):
                    return None
                leaves[nr] = leaf
        for leaf, known in zip(leaves, self.leaves):
            if leaf is None or not _receives(leaf, known):
                return None
        return leaves  # type: ignore[return-value]

    # -- replaying -----------------------------------------------------------------------------------------------

    def play(self, into: Recorder, leaves: Sequence[Tensor]) -> None:
        """Do to leaves, graph and recording what the walk did."""
        values: list[Any] = into.values
        begun = len(values)
        values.extend([None] * (self.end.count - begun))
        into.numbers.extend(self.numbers)
        into.cursor = self.end
        for number, value in self.constants.items():
            value.segment, value.number = into, number
            values[number] = value
        for leaf, known in zip(leaves, self.leaves):
            value = values[known.number]
            if value is None:
                nbytes = self.sizes[known.number] if known.held is None else leaf._grad._storage.nbytes  # type: ignore
                value = into.pending(known.number, nbytes)
            if known.held is None:
                leaf._grad = make(holding(value), known.shape, known.strides, known.offset, known.dtype)
                continue
            grad = leaf._grad
            held = grad._storage.value  # type: ignore[union-attr]
            held.segment, held.number = into, known.held
            values[known.held] = held
            into.overwrite(grad._storage, value)  # type: ignore[union-attr]
            grad._version_counter.count += 1  # type: ignore[union-attr]
        nodes = into.nodes
        for index, _, _ in self.visits:
            nodes[index].release()

    def finish(self, into: Recorder) -> None:
        """Note where the walk ended."""
        self.end = into.cursor
        self.numbers = into.numbers[self.start.slots :]
        self.sizes = {leaf.number: into.values[leaf.number].nbytes for leaf in self.leaves}


def _receives(leaf: Tensor, known: _Leaf) -> bool:
    """Whether a leaf is as it was when the walk was recorded: unwatched, and with or without a gradient like then."""
    if leaf._hooks or leaf._post_accumulate_hooks:
        return False
    grad = leaf._grad
    if known.held is None or grad is None:
        return known.held is None and grad is None
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
    node = root._grad_fn
    if not isinstance(node, OpNode) or node.index < 0 or into.cursor.events is None or root._base is not None:
        return False
    mode = _mode()
    for replay in into.cursor.events:
        if replay.__class__ is Replay and node.index < len(into.nodes):
            leaves = replay.fits(into, root, mode)
            if leaves is not None:
                replay.play(into, leaves)
                return True
    return False


class Watch:
    """Watches a walk while it is recorded, and keeps it as a Replay if everything about it can be recognised again."""

    def __init__(self, into: Recorder, root: Tensor) -> None:
        node = root._grad_fn
        self.into, self.segment = into, into.values
        self.good = isinstance(node, OpNode) and 0 <= node.index and root._base is None and _mode() is not None
        if not self.good:
            return
        self.good = node.index < len(into.nodes) and into.nodes[node.index] is node  # type: ignore[union-attr]
        self.replay = Replay((node.index, root._output_nr), into.cursor, _mode())  # type: ignore[union-attr]
        self.replay.before = list(into.numbers)
        self.begun = len(into.values)
        self.leaves: dict[int, int] = {}  # id of a leaf's node -> its number
        self.order: list[Tensor] = []
        self.held: list[Value | None] = []

    def visit(self, node: Node) -> None:
        """The walk runs this node."""
        if not self.good:
            return
        nodes = self.into.nodes
        index = getattr(node, "index", -1)
        if not 0 <= index < len(nodes) or nodes[index] is not node or node.hooked() or not node.intact(self.into):
            self.good = False
            return
        targets: list[Any] = []
        for edge in node.edges:
            if edge is None:
                targets.append(None)
            elif isinstance(edge[0], AccumulateGrad):
                targets.append((-1, self._leaf(edge[0])))
            else:
                targets.append((getattr(edge[0], "index", -1), edge[1]))
                self.good = self.good and targets[-1][0] >= 0
        self.replay.visits.append((index, node.form, tuple(targets)))  # type: ignore[attr-defined]

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
        into = self.into
        if not self.good or into.values is not self.segment:  # what was recorded has been realized in between
            return
        replay = self.replay
        outside = {v.number: v for v in into.values[self.begun :] if v is not None and v.data is not None}
        for leaf, held in zip(self.order, self.held):
            grad = leaf._grad
            if grad is None or grad._storage.value.segment is not into or (held is not None) != (
                held is not None and held.number in outside
            ):  # fmt: skip
                return
            replay.leaves.append(_Leaf(grad, grad._storage.value.number, None if held is None else held.number))
            if held is not None:
                del outside[held.number]
        for value in constants:
            if value.segment is into and value.number in outside:
                replay.constants[value.number] = outside.pop(value.number)
        if outside or any(leaf.number < self.begun for leaf in replay.leaves):
            return
        replay.finish(into)
        start = replay.start
        start.events = [replay, *(start.events or ())][:MOST]
