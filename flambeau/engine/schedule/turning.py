"""Memory that lies across the lanes: large operands and results are turned by copy kernels, in tiles of whole lines.

Which axis the lanes run along is known only when a group is complete: it follows from the memory that the group writes,
and from the axes that it reduces.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

from flambeau.engine.kernel import move
from flambeau.engine.plan import Address
from flambeau.engine.schedule.build import Built
from flambeau.engine.schedule.groups import Group, Leaf, Store
from flambeau.engine.schedule.memory import Memory, Root
from flambeau.engine.schedule.opaque import Opaque
from flambeau.engine.schedule.spaces import Form, View
from flambeau.shape import contiguous_strides, is_dense

LARGE = 8192  # elements from which a copy costs less than touching a cache line for each of them
LINE = 8  # neighbours in memory that make it worth while


class Turned(NamedTuple):
    """A group's stores, and the copies to make before and after it runs."""

    stores: list[Store]
    before: list[Opaque]
    after: list[Opaque]


def turn(group: Group, stores: list[Store]) -> Turned:
    """Let a group use turned copies of memory that lies across its lanes."""
    if group.numel < LARGE:
        return Turned(stores, [], [])
    built = Built(group, stores)
    found: dict[Any, tuple[Leaf, Opaque]] = {}
    for member in built.members:
        for nr, b in enumerate(group.bindings[member]):
            full = member.full or member.kind == "reduce"
            if full and isinstance(b, Leaf) and b.memory is not None and _across(b.form, built):
                key = id(b.memory.root), b.memory.dtype, b.form, b.offset
                if key not in found:
                    found[key] = _operand(b, built)
                group.bindings[member][nr] = found[key][0]
    kept, after = [], []
    for s in stores:
        if s.expr.full and _across(s.form, built):
            s, copy = _result(s, built)
            after.append(copy)
        kept.append(s)
    return Turned(kept, [copy for _, copy in found.values()], after)


def _across(seen: Form, built: Built) -> bool:
    strides = built.strides[seen, True]
    neighbours = [a.extent for a, s in zip(built.axes, strides) if s == 1]
    return strides[built.lane] not in (0, 1) and 0 not in seen.strides and max(neighbours, default=0) >= LINE


def _operand(leaf: Leaf, built: Built) -> tuple[Leaf, Opaque]:
    """The operand in the order of the group's first result (if that has no gaps), and the copy that makes it."""
    assert leaf.memory is not None
    shape, strides = tuple(built.logical[0]), built.logical[1]
    first, full = built.walks[0]
    by_result = built.group.reduction is None and full and is_dense(shape, strides[first, full])
    memory = _scratch(leaf.memory, shape, strides[first, full] if by_result else contiguous_strides(shape))
    step = Opaque(None)
    step.temps.append(memory.root)
    source = View(shape, tuple(strides[leaf.form, True]), leaf.offset)
    _copy(step, memory, Memory(leaf.memory.root, source, memory.dtype))
    return leaf._replace(form=memory.view.form, offset=0, memory=memory), step


def _result(store: Store, built: Built) -> tuple[Store, Opaque]:
    """The store in natural order, and the copy that brings it home."""
    shape, strides = tuple(built.logical[0]), built.logical[1]
    memory = _scratch(store.memory, shape, contiguous_strides(shape))
    step = Opaque(None)
    step.temps.append(memory.root)
    home = View(shape, tuple(strides[store.form, True]), store.memory.view.offset)
    _copy(step, Memory(store.memory.root, home, memory.dtype), memory)
    return Store(store.expr, memory, memory.view.form), step


def _scratch(like: Memory, shape: tuple[int, ...], strides: Sequence[int]) -> Memory:
    return Memory(Root(prod(shape) * like.dtype.itemsize), View(shape, tuple(strides)), like.dtype)


def _copy(step: Opaque, to: Memory, source: Memory) -> None:
    def window(memory: Memory) -> move.Window:
        root: Any = memory.root
        return move.Window(Address(root, memory.view.offset * memory.dtype.itemsize), memory.view.strides, memory.dtype)

    site: Any = step
    move.copy(site, to.view.shape, window(to), window(source), "turn")
