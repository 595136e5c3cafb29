"""From a group of expressions to the loop nest that computes it, and its launch.

Only what leads to a store that somebody reads is kept. Axes are cut as the remaining walks through memory need it; the
axes of elementwise work are put in the order of the memory that it writes, and merged again where all walks allow it.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from flambeau import dtypes
from flambeau.engine.graph import Call, Write
from flambeau.engine.kernel.emit import LINE
from flambeau.engine.kernel.loops import emit_nest
from flambeau.engine.kernel.nest import SWEEP_BLOCK, Access, Axis, Nest, Step
from flambeau.engine.kernel.nest import Store as NestStore
from flambeau.engine.kernel.target import vector_bytes
from flambeau.engine.plan import Address, Buffer, Kernel, Launch
from flambeau.engine.schedule.expressions import Expr, cost_of
from flambeau.engine.schedule.groups import Group, Leaf, Store, cut
from flambeau.engine.schedule.spaces import Axes, Form, flat

_BYTES_A_NANOSECOND, _INSTRUCTIONS_A_NANOSECOND = 60, 10  # of one thread, about
_COLUMN_VECTORS = 4  # accumulators of a reduction over columns: strips side by side, times rows at once


class Built:
    """A nest in the making: its axes first, then every member and leaf as a step."""

    def __init__(self, group: Group, stores: list[Store]) -> None:
        self.group, self.stores = group, stores
        self.members = alive_members(group, [s.expr for s in stores])
        self.walks = self._walks()
        self.parts = self._cut_axes()  # of each axis: (extent, stride in the axis), outermost first
        self.axes = [Axis(n, axis.reduced) for axis, parts in zip(group.axes, self.parts) for n, _ in parts]
        self.strides = {walk: self._strides(*walk) for walk in self.walks}
        self.logical = [a.extent for a in self.axes], self.strides  # the axes as they are before they are put in order
        if group.reduction is None:
            self._order_axes()
        self.lane, self.width, self.sums, self.strips = self._lanes()
        self.accesses: list[Access] = []
        self.args: list[Any] = []
        self.number_args: dict[int, int] = {}

    # -- axes ----------------------------------------------------------------------------------------------------

    def _walks(self) -> list[tuple[Form, bool]]:
        """Every way in which memory is walked, the first store's first."""
        found: dict[tuple[Form, bool], None] = {}
        for s in self.stores:
            found[s.form, self._full(s.expr)] = None
        for expr in self.members:
            for leaf in self.group.bindings[expr]:
                if isinstance(leaf, Leaf) and leaf.kind in ("load", "place"):
                    found[leaf.form, self._operands_full(expr)] = None
        return [*found]

    def _full(self, expr: Expr) -> bool:
        return expr.full

    def _operands_full(self, expr: Expr) -> bool:
        return expr.full or expr.kind == "reduce"

    def _blocked(self, walk: tuple[Form, bool]) -> bool:
        """Whether this is the walk over the partial results of a reduction in blocks."""
        return not walk[1] and self.group.reduction is not None and bool(self.group.reduction.order.blocks)

    def _cut_axes(self) -> list[list[tuple[int, int]]]:
        axes: Axes = self.group.axes
        cuts: Any = [frozenset()] * len(axes)
        for walk in self.walks:
            if not self._blocked(walk):
                cuts = cut(axes, cuts, walk[0].extents, walk[1])
        parts = []
        for axis, at in zip(axes, cuts):
            bounds = [axis.extent, *sorted(at, reverse=True), 1]
            parts.append([(high // low, low) for high, low in zip(bounds, bounds[1:])])
        return parts

    def _strides(self, seen: Form, full: bool) -> list[int]:
        """The step in memory along each axis of the nest."""
        apart = 1
        if self._blocked((seen, full)):
            apart, _ = self._parts()
            seen = flat(self.group.rows)
        dims = []
        count = 1
        for n, s in zip(reversed(seen.extents), reversed(seen.strides)):
            dims.append((count, count * n, s))
            count *= n
        found: list[int] = []
        low = 1
        for axis, parts in zip(reversed(self.group.axes), reversed(self.parts)):
            if axis.reduced and not full:
                found += [0] * len(parts)
                continue
            for _, part in reversed(parts):
                at = low * part
                found.append(next((s * (at // first) for first, end, s in dims if first <= at < end), 0))
            low *= axis.extent
        return [s * apart for s in found[::-1]]

    def _parts(self) -> tuple[int, int]:
        """How far the results of one block of a reduction lie apart, and those of neighbouring blocks."""
        order = self.group.reduction.order  # type: ignore[union-attr]
        return (order.blocks, 1) if order.sweep else (1, self.group.rows)

    def _order_axes(self) -> None:
        """Elementwise work: the axes in the order of the written memory, merged where all walks agree."""
        first = self.strides[self.walks[0]]
        order = sorted(range(len(self.axes)), key=lambda nr: -abs(first[nr]))
        merged: list[list[int]] = []
        for nr in order:
            if merged and self._mergeable(merged[-1][-1], nr):
                merged[-1].append(nr)
            else:
                merged.append([nr])
        axes = [Axis(prod(self.axes[nr].extent for nr in run), False) for run in merged]
        self.strides = {walk: [strides[run[-1]] for run in merged] for walk, strides in self.strides.items()}
        self.axes = axes

    def _mergeable(self, outer: int, inner: int) -> bool:
        extent = self.axes[inner].extent
        return all(strides[outer] == strides[inner] * extent for strides in self.strides.values())

    # -- lanes ---------------------------------------------------------------------------------------------------

    def _lanes(self) -> tuple[int, int, int, int]:
        """The axis of the lanes, lanes a vector, and accumulators down and across for reductions over columns."""
        width = self._width()
        reduction = self.group.reduction
        if reduction is None or reduction.order.sweep:
            return len(self.axes) - 1, width, 1, 1
        columns = self.group.axes[-1].extent
        across = min(_COLUMN_VECTORS, -(-columns // width))
        across = across if across != 3 else 2
        strips = max(1, min(across, -(-self.axes[-1].extent // width)))
        return len(self.axes) - 1, width, _COLUMN_VECTORS // across, strips

    def _joined(self) -> int:
        """How many parts of a run that is cut make a block of its sum."""
        reduction, part = self.group.reduction, self.parts[-1][-1][0]
        if self.group.sums is None or not reduction.order.sweep or len(self.parts[-1]) == 1:  # type: ignore[union-attr]
            return 0
        return SWEEP_BLOCK // part if part < SWEEP_BLOCK else 0

    def _width(self) -> int:
        if self.group.sums is not None:
            return vector_bytes() // self.group.sums.itemsize
        sizes = {e.dtype.to_real().itemsize for e in self.members if e.dtype is not dtypes.bool_}
        for expr in self.members:
            sizes |= {b.dtype.to_real().itemsize for b in self.group.bindings[expr] if b.dtype is not dtypes.bool_}
        size = 4 if sizes & {2, 4} else 8 if 8 in sizes else 2
        return vector_bytes() // size

    # -- steps ---------------------------------------------------------------------------------------------------

    def nest(self) -> Nest:
        steps: list[Step] = []
        numbers: dict[Any, int] = {}  # of a member or leaf, its step
        accesses: dict[Any, int] = {}
        waiting: list[tuple[int, Leaf]] = []

        def leaf_step(leaf: Leaf, full: bool) -> int:
            where = (id(leaf.memory.root), leaf.memory.dtype) if leaf.memory is not None else leaf.dtype
            key = leaf.kind, where, leaf.form, leaf.offset, repr(leaf.number), full and leaf.kind in ("load", "place")
            if key in numbers:
                return numbers[key]
            if leaf.kind == "load":
                detail: Any = self._access(accesses, leaf.memory, leaf.offset, leaf.form, full)
            elif leaf.kind == "place":
                detail = tuple(self.strides[leaf.form, full]), leaf.offset
            elif leaf.kind == "number":
                waiting.append((len(steps), leaf))
                detail = None
            else:
                detail = leaf.number
            numbers[key] = len(steps)
            steps.append(Step(leaf.kind, leaf.dtype, (), detail))
            return numbers[key]

        for expr in self.members:
            full = self._operands_full(expr)
            operands = [leaf_step(b, full) if isinstance(b, Leaf) else numbers[b] for b in self.group.bindings[expr]]
            detail = expr.detail.how if expr.kind == "reduce" else expr.detail
            numbers[expr] = len(steps)
            steps.append(Step(expr.kind, expr.dtype, tuple(operands), detail, cost_of(expr)))
        stores = []
        for s in self.stores:
            access = self._access(accesses, s.memory, s.memory.view.offset, s.form, self._full(s.expr))
            check = s.memory.root.buffer is not None and s.memory.root.buffer.kind == "status"
            stores.append(NestStore(numbers[s.expr], access, self._full(s.expr), check))
        for at, leaf in waiting:
            slot, kind = leaf.number
            word = self.number_args.setdefault(slot, len(self.accesses) + len(self.number_args))
            steps[at] = steps[at]._replace(detail=(word, kind))
        order = self.group.reduction.order if self.group.reduction else None
        return Nest(
            tuple(self.axes), self.lane, self.width, self.accesses, steps, stores, self.sums, self.strips,
            self._joined(), order.chunk if order else 0, *self._only_written(steps),
        )  # fmt: skip

    def _only_written(self, steps: list[Step]) -> tuple[frozenset[int], frozenset[int]]:
        """The accesses to memory that is not read here: those that begin at a line's start, and those that may not."""
        read = {id(self.args[s.detail][0]) for s in steps if s.kind == "load"}
        written = {nr: root.buffer.kind for nr, (root, _) in enumerate(self.args) if id(root) not in read}
        own = {nr for nr, kind in written.items() if kind in ("output", "temp")}
        aligned = frozenset(nr for nr in own if not self.args[nr][1] % LINE)
        loose = frozenset(nr for nr, kind in written.items() if kind == "input" or nr in own - aligned)
        return aligned, loose

    def _access(self, known: dict[Any, int], memory: Any, offset: int, seen: Form, full: bool) -> int:
        key = id(memory.root), memory.dtype, offset, seen, full
        if key not in known:
            known[key] = len(self.accesses)
            strides = self.strides[seen, full]
            block = self._parts()[1] if self._blocked((seen, full)) else 0
            self.accesses.append(Access(tuple(strides), memory.dtype, block))
            self.args.append((memory.root, offset * memory.dtype.itemsize))
        return known[key]


def alive_members(group: Group, roots: list[Expr]) -> list[Expr]:
    """The members that `roots` are made of, in order."""
    needed = set(roots)
    for expr in reversed(group.members):
        if expr in needed:
            needed.update(b for b in group.bindings[expr] if isinstance(b, Expr))
    return [e for e in group.members if e in needed]


def read_roots(group: Group, stores: list[Store]) -> list[Any]:
    """The stretches of memory that the live part of a group reads."""
    return [
        b.memory.root for e in alive_members(group, [s.expr for s in stores]) for b in group.bindings[e]
        if isinstance(b, Leaf) and b.memory is not None
    ]  # fmt: skip


def launch_of(group: Group, stores: list[Store]) -> Launch:
    """The launch of a group's kernel; every root has its buffer by now."""
    built = Built(group, stores)
    nest = built.nest()
    args: list[Any] = [Address(root.buffer, offset) for root, offset in built.args]
    args += [Address(Buffer("numbers", 0), 8 * slot) for slot in built.number_args]
    if nest.flat:
        args.append(nest.axes[0].extent)
    count = prod(a.extent for a in nest.axes)
    moved = sum(
        a.dtype.itemsize * prod(axis.extent for axis, s in zip(nest.axes, a.strides) if s) for a in nest.accesses
    )
    work = sum(s.cost for s in nest.steps if s.kind in ("map", "reduce"))
    shape = "x".join(str(a.extent) for a in group.axes)
    return Launch(
        Kernel(nest.key, lambda k: emit_nest(k, nest), nest), tuple(args), nest.tasks,
        cost=max(moved / _BYTES_A_NANOSECOND, count * work / nest.width / _INSTRUCTIONS_A_NANOSECOND),
        note=f"{words(group.work)} [{shape}]", work=(float(count * work), float(moved)),
        calls=tuple(group.work),
    )  # fmt: skip


def words(work: Sequence[Call | Write]) -> str:
    """The names of steps, for people; a write goes without saying where there is something to write."""
    names = list(dict.fromkeys(step.op.name for step in work if isinstance(step, Call))) or ["write"]
    return " ".join(names[:8]) + (" ..." if len(names) > 8 else "")
