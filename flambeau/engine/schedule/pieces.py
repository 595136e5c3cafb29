"""Gradients of tensors that were split, put together from their pieces.

Backward, each piece of a `split`, `chunk` or `unbind` gives a gradient of the whole, its own among zeros (`embed`), and
these are added. Where the pieces are all there is along a dimension, the sum is nothing but each of them in its place,
and is written so: once, without the zeros. Where it is only read as a copy in another order (heads moved behind rows,
say), it is written in that order, and the copy is not made.

Made on the graph, before anything is fused, in time linear in its calls.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from flambeau.engine.graph import Arg, Call, Graph, Meta, Write
from flambeau.engine.kernel.move import copy, result, window
from flambeau.engine.schedule.lowering import Kernels, Site
from flambeau.shape import is_contiguous


def put_together(graph: Graph) -> Graph:
    """The graph with one call in place of each sum of all pieces."""
    sums = _Sums(graph)
    if not sums.joined:
        return graph
    return replace(graph, steps=[s for s in map(sums.instead, graph.steps) if s is not None])


class Joined:
    """The op of these calls, which only graphs have.

    Their parameters: `parts`, the view that shows each piece of the whole; the whole's `shape`, and its `strides` in
    the memory of the result.
    """

    name, hazard, multiple = "join", None, False

    @staticmethod
    def _launches(site: Site, call: Call) -> None:
        out, params = result(site, call), call.params
        for piece, (view, of) in zip(call.inputs, params["parts"]):
            shape, strides, offset = view.layout(params["shape"], params["strides"], 0, **of)
            copy(site, shape, out.part(offset, strides), window(site, piece), "join")

    lower = Kernels(_launches)


class _Pieces(NamedTuple):
    """A piece among zeros, or a sum of such: how much of one dimension they are, if none comes twice."""

    dim: int
    length: int
    inside: tuple[Any, ...]  # the call that embeds the piece, or the two `_Pieces` that are added

    def calls(self) -> list[Call]:
        found, waiting = [], [self]
        while waiting:
            inside = waiting.pop().inside
            if len(inside) == 1:
                found.append(inside[0])
            else:
                waiting.extend(inside)
        return found


class _Sums:
    """The sums of pieces in a graph."""

    def __init__(self, graph: Graph) -> None:
        self.reads = Counter(x for step in graph.steps for x in _read(step))
        self.reads.update(graph.wanted)
        self.parts: dict[int, _Pieces] = {}  # by the value that is such a sum
        self.adds: dict[int, Call] = {}
        self.joined: dict[int, Call] = {}  # by the value that is the sum of all
        self.left_out: set[int] = set()  # values that need not be made
        for step in graph.steps:
            if isinstance(step, Call):
                self._meet(step)

    def _meet(self, call: Call) -> None:
        value = call.outputs[0]
        if call.op.name == "embed" and (interval := _interval(call)) is not None:
            dim, start, stop = interval
            self.parts[value] = _Pieces(dim, stop - start, (call,))
        elif call.op.name == "add" and self._adds(call):
            a, b = (self.parts[x.value] for x in call.inputs)
            self.adds[value] = call
            parts = self.parts[value] = _Pieces(a.dim, a.length + b.length, (a, b))
            if parts.length == call.metas[0].shape[a.dim] and _are_apart(calls := parts.calls()):
                self.joined[value] = _join(call, calls)
                self._leave_out(call, calls)
        elif call.op.name == "clone" and (turned := self._turned(call)) is not None:
            self.left_out.add(call.inputs[0].value)
            self.joined[value] = turned

    def _leave_out(self, total: Call, pieces: list[Call]) -> None:
        """Drop what only leads to a sum."""
        self.left_out.update(piece.outputs[0] for piece in pieces)
        waiting = [total]
        while waiting:
            for x in waiting.pop().inputs:
                if len(self.parts[x.value].inside) == 2:
                    self.left_out.add(x.value)
                    waiting.append(self.adds[x.value])

    def _adds(self, call: Call) -> bool:
        """Whether a call adds two sums of pieces that nobody else reads."""
        meta = call.metas[0]
        dims = {
            self.parts[x.value].dim if isinstance(x, Arg) and self._is_own(x, meta) else None for x in call.inputs
        }  # fmt: skip
        return len(call.inputs) == 2 and not call.params and len(dims) == 1 and None not in dims

    def _is_own(self, x: Arg, meta: Meta) -> bool:
        """Whether an operand is all of a sum of pieces, read once, and of the form of what is made of it."""
        alike = x.shape == meta.shape and x.dtype is meta.dtype and is_contiguous(meta.shape, meta.layout)
        alone = x.value in self.parts and self.reads[x.value] == 1 and x.value not in self.joined
        return alone and alike and not x.offset and is_contiguous(x.shape, x.strides)

    def _turned(self, call: Call) -> Call | None:
        """The joining call that writes in the order of a copy, if that is all that reads what it joins."""
        x, meta = call.inputs[0], call.metas[0]
        whole = self.joined.get(x.value) if isinstance(x, Arg) else None
        if whole is None or self.reads[x.value] != 1 or x.dtype is not meta.dtype or meta.shape != x.shape:
            return None
        places = {step: to for n, step, to in zip(x.shape, x.strides, meta.layout) if n > 1}
        wide = [(n, step) for n, step in zip(whole.params["shape"], whole.params["strides"]) if n > 1]
        if x.offset or sorted((n, s) for n, s in zip(x.shape, x.strides) if n > 1) != sorted(wide):
            return None
        strides = tuple([places.get(step, 0) for step in whole.params["strides"]])
        return replace(whole, params={**whole.params, "strides": strides}, metas=call.metas, outputs=call.outputs)

    def instead(self, step: Call | Write) -> Call | Write | None:
        """What stands in a step's place."""
        if isinstance(step, Write):
            return step
        value = step.outputs[0]
        return None if value in self.left_out else self.joined.get(value, step)


def _read(step: Call | Write) -> Iterator[int]:
    operands: tuple[Any, ...] = (step.target, step.source) if isinstance(step, Write) else step.inputs
    return (x.value for x in operands if isinstance(x, Arg))


def _interval(call: Call) -> tuple[int, int, int] | None:
    """The dimension that an embedded piece is a part of, where it begins and ends; None if it is another kind."""
    meta, x, of = call.metas[0], call.inputs[0], call.params["params"]
    if not isinstance(x, Arg) or x.dtype is not meta.dtype or not is_contiguous(meta.shape, meta.layout):
        return None
    if set(of) == {"dim", "index"}:
        return of["dim"], of["index"], of["index"] + 1
    if set(of) == {"dim", "start", "length", "step"} and of["step"] == 1:
        return of["dim"], of["start"], of["start"] + of["length"]
    return None


def _are_apart(parts: list[Call]) -> bool:
    """Whether no two pieces have a place in common."""
    intervals = sorted(found[1:] for part in parts if (found := _interval(part)) is not None)
    return all(stop <= start for (_, stop), (start, _) in zip(intervals, intervals[1:]))


def _join(call: Call, parts: list[Call]) -> Call:
    meta = call.metas[0]
    views = [(part.params["of"], part.params["params"]) for part in parts]
    params = {"parts": views, "shape": meta.shape, "strides": meta.layout}
    return Call(Joined, tuple([part.inputs[0] for part in parts]), params, call.metas, call.outputs)
