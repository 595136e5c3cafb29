"""Layout choice: images that stay inside a segment lie as those who read them go through them.

Batch norms, and what fuses with them, take the channels of [N, C, *spatial] one by one, over all images. In row-major
order a channel is a short run of each image. These runs are often a power of two apart, so that they take one another's
places in the second cache, and the passes after the first find nothing there. So such images lie channel by channel,
and a channel is one long run:

    row-major          strides (C * P, P, *within the plane)       P pixels a plane
    channel by channel strides (P, pitch, *within the plane)       pitch: N * P, filled up to an odd number of lines

The odd number of lines keeps channels from taking one another's places in the first cache, where kernels go from
channel to channel. Planes stay as they are, and the order of every sum follows from shapes alone, so that results are
the same bits. What leaves the segment, is written in place, or is read by a call that wants other than planes, stays
row-major.

The choice is made for sets of images that elementwise calls and norms join: to take a whole set costs nothing, to take
a part of it only means that a kernel goes through two orders at once. It is a pure function of the graph, made before
anything is fused, in time linear in its calls.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import prod
from typing import Any

from flambeau.engine.graph import Arg, Call, Graph, Meta, Write
from flambeau.engine.schedule.lowering import Composite, Kernels
from flambeau.shape import Ints, is_contiguous

LINE = 64  # bytes


def laid_out(graph: Graph) -> Graph:
    """The graph with other strides for images that stay inside."""
    strides = _Images(graph).chosen()
    if not strides:
        return graph
    steps = [_moved(step, strides) if isinstance(step, Call) else step for step in graph.steps]
    return replace(graph, steps=steps)


def channel_major(shape: Ints, itemsize: int) -> Ints:
    """Strides of [N, C, *spatial], channel by channel.

    >>> channel_major((2, 3, 4, 4), 4)
    (16, 48, 4, 1)
    """
    plane, within = prod(shape[2:]), []
    step = plane
    for n in shape[2:]:
        step //= n
        within.append(step)
    lines = -(-shape[0] * plane * itemsize // LINE)
    return (plane, (lines + 1 - lines % 2) * LINE // itemsize, *within)


class _Images:
    """The images that calls of a graph make, in sets, and which of them have to stay as they are."""

    def __init__(self, graph: Graph) -> None:
        self.metas: dict[int, Meta] = {}
        self.fixed = set(graph.wanted)
        self.joined: dict[int, int] = {}  # towards the representative of a set
        self.by_channel: list[int] = []  # images that norms go through
        for step in graph.steps:
            if isinstance(step, Write):
                self.fixed.update((step.target.value, step.source.value))
            else:
                self.call(step)

    def chosen(self) -> dict[int, Ints]:
        """Strides by value."""
        sets = {self.representative(value) for value in self.by_channel}
        return {
            value: channel_major(meta.shape, meta.dtype.itemsize) for value, meta in self.metas.items()
            if value not in self.fixed and self.representative(value) in sets
        }  # fmt: skip

    def call(self, call: Call) -> None:
        lower = call.op.lower
        kernels = lower if isinstance(lower, Kernels) else None
        reads = kernels.reads_planes if kernels else lower is not None
        writes = kernels.writes_planes if kernels else lower is not None
        for value, meta in zip(call.outputs, call.metas):
            if writes and _is_image(meta):
                self.metas[value] = meta
                self.joined[value] = value
        touched = [value for value in call.outputs if value in self.metas]
        for x in call.inputs:
            if isinstance(x, Arg) and x.value in self.metas:
                if reads and _is_whole(x, self.metas[x.value]):
                    touched.append(x.value)
                else:
                    self.fixed.add(x.value)
        if kernels is None:
            self.join(touched)
            if touched and isinstance(lower, Composite) and lower.by_channel(call.params):
                self.by_channel.append(touched[0])

    def join(self, values: list[int]) -> None:
        """Make one set of the sets of images of one shape."""
        first: dict[Ints, int] = {}
        for value in values:
            root = self.representative(value)
            self.joined[root] = first.setdefault(self.metas[value].shape, root)

    def representative(self, value: int) -> int:
        while self.joined[value] != value:
            self.joined[value] = value = self.joined[self.joined[value]]
        return value


def _is_image(meta: Meta) -> bool:
    several = len(meta.shape) > 2 and meta.shape[0] > 1 and meta.shape[1] > 1 and prod(meta.shape[2:]) > 1
    return several and is_contiguous(meta.shape, meta.layout)


def _is_whole(x: Arg, meta: Meta) -> bool:
    """Whether an operand is all of a value, seen as it is."""
    return x.shape == meta.shape and x.dtype is meta.dtype and not x.offset and is_contiguous(x.shape, x.strides)


def _moved(call: Call, strides: dict[int, Ints]) -> Call:
    """The call with operands and results where they are now."""
    inputs = tuple(_operands(call, strides))
    metas = [m._replace(strides=strides[n]) if n in strides else m for n, m in zip(call.outputs, call.metas)]
    return replace(call, inputs=inputs, metas=tuple(metas))


def _operands(call: Call, strides: dict[int, Ints]) -> Iterator[Any]:
    for x in call.inputs:
        yield x._replace(strides=strides[x.value]) if isinstance(x, Arg) and x.value in strides else x
