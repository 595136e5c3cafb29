"""A group: expressions that one kernel computes together, and the rules of what may join.

All full members have one element at each point of the group's space. Once a reduction has joined, the space has kept
and reduced axes; the reduction's results, and what is made of them alone, have one element a row (a point of the kept
axes). Axes may be cut finer where operands need it - kept axes only, since the order of a sum follows from the uncut
ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import Any, NamedTuple

from flambeau.dtypes import FLOAT, dtype
from flambeau.engine.graph import Call, Write
from flambeau.engine.kernel.nest import SWEEP_BLOCK, UNROLL
from flambeau.engine.kernel.target import vector_bytes
from flambeau.engine.schedule.expressions import Expr, Reduce, cost_of
from flambeau.engine.schedule.memory import Memory
from flambeau.engine.schedule.spaces import Axes, Axis, Form, View, flat, reduction_order
from flambeau.shape import Ints, contiguous_strides

MEMBERS, COST = 48, 320  # expressions of a group, and their instructions: bounds the time to compile one
AGAIN = 12  # members that are rather made twice than sent through memory, and instructions of theirs
LEAVES = 24  # different places in memory that a group touches


class Leaf(NamedTuple):
    """An operand that is no member: elements in memory, a place along an axis, or a number."""

    kind: str  # "load", "place", "constant" or "number"
    dtype: dtype  # of the elements in registers
    form: Form = Form((), ())
    offset: int = 0
    memory: Memory | None = None
    number: Any = None  # a constant; or (slot, Python type)


class Source(NamedTuple):
    """An operand seen through its views: `view` shows the natural order of `base`, or memory or places themselves."""

    base: Expr
    view: View


class Store(NamedTuple):
    """A member goes to memory."""

    expr: Expr
    memory: Memory
    form: Form


class Group:
    """One kernel's work. `index` is its position in the order of execution."""

    def __init__(self, index: int, numel: int) -> None:
        self.index = index
        self.axes: Axes = (Axis(numel, False),)
        self.reduction: Reduce | None = None
        self.numel = self.rows = numel
        self.members: list[Expr] = []
        self.cost = 0
        self.bindings: dict[Expr, list[Any]] = {}  # of each member's operands: members or leaves
        self.stores: list[Store] = []
        self.forms: dict[tuple[Form, bool], None] = {}  # how memory is walked, by full points or by rows
        self.cuts: list[frozenset[int]] = [frozenset()]  # of each axis
        self.loads: dict[int, set[tuple[Form, int, bool]]] = {}  # of each root (by id): where, and if at every point
        self.row_form = flat(numel)  # a row's value shown at every point
        self.sums: dtype | None = None  # the dtype of float sums (of their parts): it decides how many lanes there are
        self.overwrites = False  # whether it writes over what it reads: elements must be visited once
        self.work: list[Call | Write] = []  # for people: whose results, or parts of them, it makes

    # -- joining -------------------------------------------------------------------------------------------------

    def join(self, expr: Expr, sources: list[Source]) -> bool:
        """Take an expression in, if it fits."""
        cost = cost_of(expr)
        if len(self.members) >= MEMBERS or (self.members and self.cost + cost > COST):
            return False
        bindings = self.reduce(expr, sources) if expr.kind == "reduce" else self.map(expr, sources)
        if bindings is None:
            return False
        self.members.append(expr)
        self.cost += cost
        self.bindings[expr] = bindings
        expr.group = self
        for b in bindings:
            if isinstance(b, Leaf) and b.memory is not None:
                root = b.memory.root
                root.touched = max(root.touched, self.index)
                root.reader = self
                full = expr.full or expr.kind == "reduce"
                self.loads.setdefault(id(root), set()).add((b.form, b.offset, full))
        return True

    def fits(self, expr: Expr) -> bool:
        """Whether an expression has as many elements as the group has points or rows."""
        if expr.kind == "reduce":
            return prod(a.extent for a in expr.detail.axes) == self.numel
        return prod(expr.shape) in (self.numel, self.rows)

    def map(self, expr: Expr, sources: list[Source]) -> list[Any] | None:
        count = prod(expr.shape)
        if count == self.numel:
            full = True
        elif self.reduction is not None and count == self.rows and not self.reduction.order.blocks:
            full = False
        else:
            return None
        bindings = self.bound(sources, full)
        if bindings is None or not self.admit(bindings, full):
            return None
        expr.full = full
        return bindings

    def reduce(self, expr: Expr, sources: list[Source]) -> list[Any] | None:
        how: Reduce = expr.detail
        if prod(a.extent for a in how.axes) != self.numel:
            return None
        summed = expr.dtype.to_real() if how.how in ("sum", "prod") and expr.dtype.category >= FLOAT else None
        if summed is not None and self.sums not in (None, summed):
            return None
        if self.reduction is None:
            return self.begin(expr, sources, summed)
        if self.reduction.axes != how.axes:
            return None
        bindings = self.bound(sources, True)
        if bindings is None or not self.admit(bindings, True):
            return None
        expr.full = False
        self.sums = self.sums or summed
        return bindings

    def begin(self, expr: Expr, sources: list[Source], summed: dtype | None) -> list[Any] | None:
        """The first reduction: what has joined so far must suit its axes."""
        bindings = None if self.overwrites else self.bound(sources, True)
        if bindings is None:
            return None
        before = self.axes, self.cuts
        self.axes = expr.detail.axes
        self.cuts = [frozenset()] * len(self.axes)
        leaves = [b for b in bindings if isinstance(b, Leaf) and b.kind in ("load", "place")]
        forms = [*self.forms, *((leaf.form, True) for leaf in leaves)]
        cuts = self.cut(forms)
        if cuts is None:
            self.axes, self.cuts = before
            return None
        self.cuts = cuts
        self.forms.update(dict.fromkeys(forms))
        self.reduction = expr.detail
        self.rows = prod(a.extent for a in self.axes if not a.reduced)
        self.row_form = self.row_at_points()
        self.sums = summed
        expr.full = False
        return bindings

    def row_at_points(self) -> Form:
        """How a row's value looks from every point: the natural order of rows, and no step along reduced axes."""
        kept = [a.extent if not a.reduced else 1 for a in self.axes]
        strides = [s if not a.reduced else 0 for s, a in zip(contiguous_strides(kept), self.axes)]
        return View(tuple(a.extent for a in self.axes), tuple(strides)).form

    def bound(self, sources: list[Source], full: bool) -> list[Any] | None:
        """The operands of a member; None if one of them can not be had here."""
        bindings: list[Any] = []
        for base, view in sources:
            if base.kind == "constant":
                bindings.append(Leaf("constant", base.dtype, number=base.detail))
            elif base.kind == "number":
                bindings.append(Leaf("number", base.dtype, number=base.detail))
            elif base.kind == "place":
                bindings.append(Leaf("place", base.dtype, view.form, view.offset))
            elif base.kind == "read":
                bindings.append(Leaf("load", base.dtype, view.form, view.offset, base.memory))
            elif base.group is self:
                if not self.visible(base, view, full):
                    return None
                bindings.append(base)
            else:
                return None
        return bindings

    def visible(self, base: Expr, view: View, full: bool) -> bool:
        """Whether a view of a member shows, at each point (or row), the member's value there."""
        seen = view.form
        if view.offset or (base.kind == "reduce" and base.detail.order.blocks):
            return False
        if base.full:
            return full and seen == flat(self.numel)
        return seen == (self.row_form if full else flat(self.rows))

    # -- walking memory ------------------------------------------------------------------------------------------

    def admit(self, bindings: Iterable[Any], full: bool) -> bool:
        """Whether new leaves can be walked together with all others."""
        leaves = [b for b in bindings if isinstance(b, Leaf) and b.kind in ("load", "place")]
        return self.walk([(leaf.form, full) for leaf in leaves])

    def walk(self, forms: list[tuple[Form, bool]]) -> bool:
        fresh = [f for f in forms if f not in self.forms]
        if not fresh:
            return True
        if len(self.forms) + len(fresh) > LEAVES:
            return False
        cuts = self.cut(fresh)
        if cuts is None:
            return False
        self.cuts = cuts
        self.forms.update(dict.fromkeys(fresh))
        return True

    def cut(self, forms: Iterable[tuple[Form, bool]]) -> list[frozenset[int]] | None:
        """The cuts of every axis that also suit `forms`; None if sums would have another order, or cuts cross."""
        cuts = self.cuts
        for seen, full in forms:
            cuts = cut(self.axes, cuts, seen.extents, full)  # type: ignore[assignment]
            if cuts is None:
                return None
        return cuts

    def add_store(self, expr: Expr, memory: Memory) -> Store | None:
        """Let a member go to memory, if it can be walked with everything else."""
        seen = memory.view.form
        blocked = self.reduction is not None and self.reduction.order.blocks
        if not blocked and not self.walk([(seen, expr.full)]):
            return None
        store = Store(expr, memory, seen)
        self.stores.append(store)
        memory.root.touched = max(memory.root.touched, self.index)
        return store


def repeatable(base: Expr, axes: Axes, limit: int = AGAIN) -> list[Expr]:
    """The members that `base` is made of, operands first, if a group with `axes` may as well make them again.

    They have to be few and cheap (`limit` instructions), and made from little memory that still holds what it held.
    Otherwise, none of them.
    """
    group = base.group
    stored = base.memory is not None and base.memory.store is not None
    if group is None or base.kind != "map" or not base.full or stored:
        return []
    found: dict[Expr, None] = {}
    pending, cost = [base], 0
    memory: set[tuple[int, Form]] = set()
    uncut: list[frozenset[int]] = [frozenset()] * len(axes)
    while pending:
        member = pending.pop()
        if member in found:
            continue
        found[member] = None
        cost += cost_of(member)
        for b in group.bindings[member]:
            if isinstance(b, Expr):
                if b.full and b.kind == "map" and b.memory is None:
                    pending.append(b)
            elif b.memory is not None:
                if b.memory.root.ready > group.index or cut(axes, uncut, b.form.extents, True) is None:
                    return []
                if prod(b.form.extents) == group.numel and 0 not in b.form.strides:
                    memory.add((id(b.memory.root), b.form))
        if len(found) > AGAIN or cost > limit or len(memory) > 3:
            return []
    return [e for e in group.members if e in found]


def cut(axes: Axes, cuts: list[frozenset[int]], extents: Ints, full: bool) -> list[frozenset[int]] | None:
    """Cuts of axes at the boundaries of a window's dimensions."""
    count = 1
    boundaries = []
    for n in reversed(extents):
        boundaries.append(count)
        count *= n
    boundaries = [b for b in boundaries if b > 1]
    if not boundaries:
        return cuts
    result = list(cuts)
    low = 1
    for nr in range(len(axes) - 1, -1, -1):
        if axes[nr].reduced and not full:
            continue
        high = low * axes[nr].extent
        for b in boundaries:
            if low < b < high:
                if b % low or high % b:
                    return None
                finer = sorted(result[nr] | {b // low})
                if any(y % x for x, y in zip(finer, finer[1:])) or not in_order(axes, nr, finer):
                    return None
                result[nr] = frozenset(finer)
        low = high
    return result


def in_order(axes: Axes, nr: int, finer: list[int]) -> bool:
    """Whether an axis may be cut into parts of these sizes without another order of the sums."""
    if not axes[nr].reduced:
        return True
    if reduction_order(axes).blocks:
        return False
    if any(a.reduced for a in axes[nr + 1 :]):
        return True  # no more than an outer loop
    if nr < len(axes) - 1:
        return False
    turn = UNROLL * vector_bytes() // 4  # the most elements that a turn of the innermost loop takes
    joined = len(finer) == 1 and SWEEP_BLOCK % finer[0] == 0
    return finer[0] % turn == 0 and (finer[0] % SWEEP_BLOCK == 0 or joined)
