"""Elementwise work at the end of a product or a convolution, done by its kernel before the sums are stored.

A group qualifies if all that it goes through lies as the call's result does, if nobody else reads that result, and if
all else that it reads was there before the call. The call is then lowered again with the group's work as its epilogue,
and stores what the group would have stored.
"""

from __future__ import annotations

from math import prod
from typing import Any

from flambeau.dtypes import dtype
from flambeau.engine.kernel.complex_scalars import namespace
from flambeau.engine.kernel.emit import Emitter, Index, Val, lanes, vector
from flambeau.engine.kernel.scalars import compute_type, convert, load
from flambeau.engine.plan import Address, Buffer
from flambeau.engine.schedule.build import alive_members, words
from flambeau.engine.schedule.expressions import Expr
from flambeau.engine.schedule.groups import Group, Leaf, Store
from flambeau.engine.schedule.lowering import Kernels, Unsupported
from flambeau.engine.schedule.memory import Root
from flambeau.engine.schedule.opaque import Opaque
from flambeau.engine.schedule.spaces import View, flat
from flambeau.shape import is_contiguous


class Epilogue:
    """A group's members as the end of a kernel (`lowering.Epilogue`)."""

    def __init__(self, group: Group, store: Store, result: Root, dtype: dtype) -> None:
        self.members = alive_members(group, [store.expr])
        self.bindings = group.bindings
        self.last, self.result, self.dtype, self.stored = store.expr, result, dtype, store.memory.dtype
        self.words: dict[Any, int] = {}  # of each operand in memory or number, its place among the arguments
        args: list[Any] = []
        parts = [f"{dtype.name}>{self.stored.name}"]
        numbered: dict[Any, int] = {}
        for nr, member in enumerate(self.members):
            names = []
            for b in self.bindings[member]:
                if isinstance(b, Leaf):
                    names.append(self._argument(b, args))
                else:
                    names.append(f"m{numbered[b]}")
            numbered[member] = nr
            parts.append(f"{member.detail.key} {member.dtype.name} {names}")
        self.args: tuple[Any, ...] = tuple(args)
        self.key = "|".join(parts)

    def _argument(self, leaf: Leaf, args: list[Any]) -> str:
        if leaf.kind == "constant":
            return f"{leaf.dtype.name} {leaf.number!r}"
        if leaf.kind == "number":
            key: Any = leaf.number
            arg = Address(Buffer("numbers", 0), 8 * leaf.number[0])
            name = f"number {leaf.number[1].__name__} {leaf.dtype.name}"
        else:
            assert leaf.memory is not None
            if leaf.memory.root is self.result:
                return "result"
            key = id(leaf.memory.root), leaf.offset, leaf.form, leaf.memory.dtype
            root: Any = leaf.memory.root
            arg = Address(root, leaf.offset * leaf.memory.dtype.itemsize)
            name = f"{leaf.memory.dtype.name} {len(leaf.form.extents)}"
        if key not in self.words:
            self.words[key] = len(args)
            args.append(arg)
        return f"{name} w{self.words[key]}"

    def apply(self, k: Emitter, x: Val, at: Index, first_word: int, mask: Val | None = None) -> Val:
        """The stored elements, from the sums `x`: lanes are consecutive elements of its memory from `at` on."""
        width = lanes(x.type)
        values: dict[Expr, Val] = {}
        given = convert(k, x, self.dtype)

        def operand(b: Any) -> Val:
            if not isinstance(b, Leaf):
                return values[b]
            if b.kind == "constant":
                return k.const(vector(compute_type(b.dtype), width), b.number)
            if b.kind == "number":
                kind = "double" if b.number[1] is float else "i64"
                word = k.load(k.pointer(first_word + self.words[b.number]), 0, kind)
                return k.splat(convert(k, word, b.dtype), width)
            assert b.memory is not None
            if b.memory.root is self.result:
                return given
            base = k.pointer(first_word + self.words[id(b.memory.root), b.offset, b.form, b.memory.dtype])
            if not b.form.extents:
                return k.splat(load(k, base, 0, b.memory.dtype, 1), width)
            return load(k, base, at, b.memory.dtype, width, mask if width > 1 else None)

        for member in self.members:
            operands = [operand(b) for b in self.bindings[member]]
            scalars = namespace(k, member.dtype, operands)
            result = member.detail.apply(scalars, *operands)
            type = vector(compute_type(member.dtype), width)
            values[member] = k.val(scalars.cast(result), type) if isinstance(result, Val) else k.const(type, result)
        return convert(k, values[self.last], self.stored)


def absorb(steps: list[Any], alive: list[tuple[Any, list[Store]]], uses: dict[Root, list[int]]) -> bool:
    """Give elementwise groups to the calls before them, where that is possible; whether any was."""
    makers = {
        id(step.results[step.call.outputs[0]]): (position, step)
        for position, step in enumerate(steps)
        if isinstance(step, Opaque) and step.call is not None and _takes(step)
    }
    found = False
    for group, stores in alive:
        if isinstance(group, Group) and group.reduction is None and len(stores) == 1:
            found = _absorbed(group, stores[0], makers, uses) or found
    return found


def _takes(step: Opaque) -> bool:
    assert step.call is not None
    lower, meta = step.call.op.lower, step.call.metas[0]
    if not isinstance(lower, Kernels) or not lower.epilogue:
        return False
    planes = lower.writes_planes and is_contiguous(meta.shape[2:], meta.layout[2:])
    return planes or is_contiguous(meta.shape, meta.layout)


def _absorbed(group: Group, store: Store, makers: dict[int, Any], uses: dict[Root, list[int]]) -> bool:
    leaves = [b for m in alive_members(group, [store.expr]) for b in group.bindings[m] if isinstance(b, Leaf)]
    roots = [b.memory.root for b in leaves if b.memory is not None]
    position, step, result = max(
        ((*makers[id(r)], r) for r in roots if id(r) in makers), key=lambda found: found[0], default=(0, None, None)
    )
    if step is None or result.buffer is not None or sorted(set(uses[result])) != [position, group.index]:
        return False
    meta, target = step.call.metas[0], store.memory
    plain = View(meta.shape, meta.layout).form
    if group.numel != prod(meta.shape) or store.form != plain or target.dtype is not meta.dtype:
        return False
    if min(uses[target.root]) != group.index or (target.root.buffer and target.root.buffer.kind == "input"):
        return False
    for b in leaves:
        if b.kind == "place":
            return False
        if b.memory is None:
            continue
        if b.memory.root is result:
            if b.form != plain or b.offset or b.memory.dtype is not meta.dtype:
                return False
        elif b.form not in (plain, flat(1)) or b.memory.root.ready > position:
            return False
    return _lowered_again(step, Epilogue(group, store, result, meta.dtype), store, group)


def _lowered_again(step: Opaque, epilogue: Epilogue, store: Store, group: Group) -> bool:
    """Lower the call with its epilogue; as before if its lowering has no room for it."""
    assert step.call is not None
    before = step.launches, step.temps, dict(step.results)
    step.launches, step.temps, step.epilogue = [], [], epilogue
    step.results[step.call.outputs[0]] = store.memory.root
    step.first_result = store.memory.view.offset * store.memory.dtype.itemsize
    try:
        step.call.op.lower.function(step, step.call)
    except Unsupported:
        step.launches, step.temps, step.results = before
        step.epilogue, step.first_result = None, 0
        return False
    leaves = [b for leaf in epilogue.members for b in epilogue.bindings[leaf] if isinstance(b, Leaf)]
    step.more = [b.memory.root for b in leaves if b.memory is not None and b.memory.root is not epilogue.result]
    step.launches[-1].note += f" {words(group.work)}"
    step.launches[-1].calls += tuple(group.work)
    group.stores.clear()
    return True
