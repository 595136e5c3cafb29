"""From a graph to a plan: every step becomes expressions, launches of a lowering of its own, or a call on the host.

Expressions are put into groups as they are made, each into the group of its latest operand if it fits there, otherwise
into a new group at the end. A group's position in the list of steps is its place in the order of execution, so whatever
joins an earlier group moves to an earlier time: it may, if its operands are there by then. Memory keeps the first
position at which it may be read (`ready`) and the last one that touches it (`touched`); a write goes behind the latter.
Everything is done in one walk over the graph, without looking back, so that planning takes time linear in its steps.

With `fuse=False` a group takes in the expressions of one call only: the same kernels, one op at a time.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import Any

from flambeau import dtypes
from flambeau.engine.graph import Arg, Call, Graph, Write
from flambeau.engine.plan import Buffer, Plan
from flambeau.engine.schedule.calls import results_of
from flambeau.engine.schedule.expressions import VIEWS, WIDE, Expr, Tensors
from flambeau.engine.schedule.finish import finished
from flambeau.engine.schedule.groups import Group, Source, repeatable
from flambeau.engine.schedule.layouts import laid_out
from flambeau.engine.schedule.lowering import Kernels, Unsupported, Update
from flambeau.engine.schedule.memory import Memory, Root
from flambeau.engine.schedule.opaque import Host, Opaque
from flambeau.engine.schedule.pieces import put_together
from flambeau.engine.schedule.spaces import Axis, View, flat
from flambeau.shape import contiguous_strides, extent, is_contiguous

REPEATED = 32  # instructions for an element that cost no more than memory
SMALL = 32768  # elements of work that may as well be done by the way


def plan(graph: Graph, fuse: bool = True) -> Plan:
    """The launches that compute a graph, and the memory they need."""
    return Planner(laid_out(put_together(graph)), fuse).plan()


class Value:
    """A value of the graph: its memory and, where kernels of ours make it, its expression (in the memory's shape)."""

    __slots__ = ("memory", "expr")

    def __init__(self, memory: Memory, expr: Expr | None = None) -> None:
        self.memory, self.expr = memory, expr


class Planner:
    def __init__(self, graph: Graph, fuse: bool) -> None:
        self.graph, self.fuse = graph, fuse
        self.steps: list[Group | Opaque | Host] = []
        self.floor = 0  # the first group that what is made now may join
        self.t = Tensors(self)
        self.status = Root(8, Buffer("status", 0))
        self.values: dict[int, Value] = {}
        self.reducing: dict[Any, Group] = {}  # for the axes of reductions, the last group that goes over them
        for number, nbytes in enumerate(graph.inputs):
            root = Root(nbytes, Buffer("input", number))
            self.values[number] = Value(Memory(root, View((nbytes,), (1,)), None))  # type: ignore[arg-type]
        self.overwritten: dict[int, int] = {}  # of a value that was wanted but written over, what it has become
        self.roots: dict[int, int] = {}  # of a written value, the value whose memory it has
        self.wanted_values = frozenset(graph.wanted)
        self.last = _last_uses(graph)
        self.gradients = {x.value for s in graph.steps if _updates(s) for x in s.inputs if isinstance(x, Arg)}
        self.alone: int | None = None  # of a call that keeps apart from its neighbours, the first group of its own
        self.updating = False
        self.into = {s.source.value: s.target.value for s in graph.steps if isinstance(s, Write)}

    def plan(self) -> Plan:
        for number, step in enumerate(self.graph.steps):
            self.floor = 0 if self.fuse else len(self.steps)
            if isinstance(step, Call):
                self.call(step)
            else:
                self.write(number, step)
        return finished(self.steps, self.wanted(), self.fuse)

    def wanted(self) -> dict[int, Root]:
        """The memory to hand out, by the number of the value that it began as; of overwritten values, as it is left."""
        found: dict[int, Root] = {}
        for number in self.graph.wanted:
            value = self.values[self.overwritten.get(number, number)]
            root = value.memory.root
            if value.expr is not None:
                self.stored(value.expr, value.memory)
            if root.buffer is None:
                first = self.roots.get(number, number)
                root.buffer = Buffer("output", first)
                found[first] = root
            elif root.buffer.kind == "output":
                found[root.buffer.index] = root
        return found

    # -- calls ---------------------------------------------------------------------------------------------------

    def call(self, call: Call) -> None:
        lower = call.op.lower
        if all(0 in meta.shape for meta in call.metas):
            for number, meta in zip(call.outputs, call.metas):
                self.values[number] = Value(self.fresh(meta, number))
            return
        try:
            if lower is None:
                raise Unsupported(f"{call.op.name} has no lowering")
            if isinstance(lower, Kernels):
                self.opaque(Opaque(call), call, lower)
            else:
                self.expressed(call)
        except Unsupported:
            self.opaque(Host(call), call, None)

    def expressed(self, call: Call) -> None:
        """A call as expressions, which join groups."""
        begun = len(self.steps)
        self.avoid_conflict(call)
        self.updating = _updates(call)
        self.alone = begun if self.updating or call.outputs[0] in self.gradients else None
        results = results_of(self.t, call, self.operand)
        for number, meta, expr in zip(call.outputs, call.metas, results):
            if 0 in meta.shape:
                self.values[number] = Value(self.fresh(meta, number))
                continue
            base = self.settled(expr)
            memory = self.fresh(meta, number)
            base.memory = memory
            self.values[number] = Value(memory, base)
            base.group.work.append(call)
        for step in self.steps[begun:]:
            if isinstance(step, Group) and not step.work:
                step.work.append(call)
        self.alone = None

    def require(self, condition: Expr) -> None:
        """Check a condition where it is computed."""
        base, _ = self.source(condition)
        if base.group is None:
            base = self.t.copy(condition)
        base.group.add_store(base, Memory(self.status, View((), ()), dtypes.bool_))

    def avoid_conflict(self, call: Call) -> None:
        """What is to be written over memory at once had better be computed where it may be stored there."""
        target = self.into.get(call.outputs[0])
        value = self.values.get(target) if target is not None else None
        if value is not None and value.memory.root.touched >= 0:
            touched = value.memory.root.touched
            step = self.steps[touched]
            elementwise = isinstance(step, Group) and step.reduction is None
            self.floor = max(self.floor, touched if elementwise else touched + 1)

    def settled(self, expr: Expr) -> Expr:
        """The group's member whose elements, in order, are those of `expr`; a copy of it if there is no such member."""
        base, view = self.source(expr)
        plain = base.group is not None and view.form == flat(prod(base.shape)) and not view.offset
        if not plain or base.memory is not None or (base.kind == "reduce" and base.detail.order.blocks):
            return self.t.copy(expr)
        return base

    def fresh(self, meta: Any, number: int) -> Memory:
        """Memory for a result."""
        nbytes = max(self.graph.sizes.get(number, 0), extent(meta.shape, meta.layout) * meta.dtype.itemsize)
        return Memory(Root(nbytes), View(meta.shape, meta.layout), meta.dtype)

    def opaque(self, step: Opaque | Host, call: Call, lower: Kernels | None) -> None:
        """A call that runs kernels of its own, or on the host: its operands have to be in memory."""
        position = len(self.steps)
        for x in call.inputs:
            if isinstance(x, Arg):
                value = self.values[x.value]
                step.operands[x.value] = self.in_memory(value).root
        made = {number: self.fresh(meta, number) for number, meta in zip(call.outputs, call.metas)}
        step.results = {number: memory.root for number, memory in made.items()}
        if lower is not None:
            lower.function(step, call)  # type: ignore[arg-type]
        position = len(self.steps)
        for root in step.operands.values():
            root.touched = max(root.touched, position)
        for number, memory in made.items():
            memory.root.ready, memory.root.touched = position + 1, position
            self.values[number] = Value(memory)
        self.steps.append(step)

    # -- operands ------------------------------------------------------------------------------------------------

    def operand(self, arg: Arg) -> Expr:
        """An operand as an expression: of the value's own, where the window shows that in order; else of its memory."""
        value = self.values[arg.value]
        if 0 in arg.shape:
            return self.t.constant(0, arg.dtype, arg.shape)
        expr, memory = value.expr, value.memory
        if expr is not None and arg.dtype is memory.dtype:
            seen = View(arg.shape, arg.strides, arg.offset)
            if not arg.offset and seen.form == memory.view.form and prod(arg.shape) == prod(memory.view.shape):
                return self.t.reshape(expr, arg.shape)
            if is_contiguous(memory.view.shape, memory.view.strides):
                return Expr(self.t, "window", arg.shape, expr.dtype, (expr,), seen)
        self.in_memory(value)
        read = Expr(self.t, "read", arg.shape, WIDE.get(arg.dtype, arg.dtype), (), View(*arg[1:4]))
        read.memory = Memory(memory.root, View(*arg[1:4]), arg.dtype)
        return read

    def in_memory(self, value: Value) -> Memory:
        """Memory that holds a value."""
        if value.expr is not None:
            self.stored(value.expr, value.memory)
        return value.memory

    def stored(self, expr: Expr, memory: Memory | None = None) -> Memory:
        """Memory that holds a member of a group. The store is dropped in the end if nobody reads."""
        memory = memory or expr.memory
        if memory is None:
            root = Root(prod(expr.shape) * expr.dtype.itemsize)
            memory = expr.memory = Memory(root, View.natural(expr.shape), expr.dtype)
        if memory.store is None:
            group = expr.group
            memory.store = group.add_store(expr, memory)
            if memory.store is None:  # not walked as the group walks: through memory in natural order
                expr.memory = None
                copied = self.apart(expr)
                expr.memory = memory
                memory.store = copied.group.add_store(copied, memory)
                group = copied.group
            memory.root.ready = group.index + 1
        return memory

    def apart(self, expr: Expr) -> Expr:
        """A copy of a member in a group of its own."""
        floor, self.floor = self.floor, len(self.steps)
        copied = self.t.copy(expr)
        self.floor = floor
        return copied

    def source(self, expr: Expr) -> Source:
        """What an expression shows, and how, through expansions and reshapes."""
        views = []
        base = expr
        while base.kind in VIEWS:
            views.append(base)
            base = base.operands[0]
        if base.kind in ("constant", "number"):
            return Source(base, View((), ()))
        view: View = base.detail if base.kind in ("read", "place") else View.natural(base.shape)
        for node in reversed(views):
            if node.kind == "window":
                view = node.detail
            elif node.kind == "part":
                view = node.detail(view)
            elif node.kind == "expand":
                view = view.expanded(node.shape)
            else:
                shown = view.reshaped(node.shape)
                if shown is None:
                    base = self.t.copy(node.operands[0])
                    shown = View.natural(node.shape)
                view = shown
        return Source(base, view)

    # -- placing -------------------------------------------------------------------------------------------------

    def place(self, expr: Expr, again: bool = True) -> None:
        """Put a new map or reduction into a group."""
        sources = [self.source(o) for o in expr.operands]
        floor = self.floor
        for base, _ in sources:
            floor = max(floor, base.group.index if base.group is not None else 0)
            if base.kind == "read":
                floor = max(floor, base.memory.root.ready)
        for group in self.candidates(expr, floor, sources):
            if group.fits(expr) and group.join(expr, self.seen_from(group, sources)):
                if expr.kind == "reduce":
                    self.reducing[expr.detail.axes] = group
                return
        if again and self.made_again(expr, sources):
            return
        if not self.begin(expr, sources):
            apart = [Source(self.plain(o), View.natural(o.shape)) for o in expr.operands]
            if not self.begin(expr, apart):
                raise AssertionError(f"{expr} does not fit a group of its own")

    def candidates(self, expr: Expr, floor: int, sources: list[Source]) -> Iterable[Group]:
        """Groups that may take an expression in: that of its latest operand, one that reads the same memory, and for a
        reduction the last one that goes over the same axes; for little work the last one of all, to save a launch."""
        small = prod(expr.shape) <= SMALL
        near = [self.steps[floor]] if floor < len(self.steps) else []
        near += [base.memory.root.reader for base, _ in sources if base.memory is not None]
        if expr.kind == "reduce":
            near.append(self.reducing.get(expr.detail.axes))
        elif self.steps and small:
            near.append(self.steps[-1])
        tried = set()
        for group in near:
            if isinstance(group, Group) and group.index >= floor and group.index not in tried:
                tried.add(group.index)
                if self.alone is None or expr.kind == "reduce" or self.related(group, sources, small):
                    yield group

    def related(self, group: Group, sources: list[Source], small: bool) -> bool:
        """Whether an update, or what makes its gradient, may join a group.

        One that makes an operand saves a pass over memory, where that is as large as the update or at least large. All
        else would only give parameters kernels of their own, where one launch of one kernel may update them all
        (`bundles`).
        """
        assert self.alone is not None
        makes = any(base.group is group for base, _ in sources)
        apart = small and self.updating and group.reduction is not None
        return group.index >= self.alone or (makes and not apart)

    def begin(self, expr: Expr, sources: list[Source]) -> bool:
        """Put an expression into a new group at the end."""
        count = prod(expr.shape)
        if expr.kind == "reduce":
            count = prod(a.extent for a in expr.detail.axes)
        sources = self.seen_from(None, sources)
        group = Group(len(self.steps), count)
        if not group.join(expr, sources):
            return False
        self.steps.append(group)
        if expr.kind == "reduce":
            self.reducing[expr.detail.axes] = group
        return True

    def made_again(self, expr: Expr, sources: list[Source]) -> bool:
        """Start a group for an expression of cheap elementwise work that another group does too.

        To do it twice costs less than to send its result through memory.
        """
        count = prod(expr.shape)
        if expr.kind == "reduce":
            again = repeatable(sources[0].base, expr.detail.axes)
        elif expr.detail.key == "copy":
            return False
        else:  # steps inside an op; what ops give is in memory sooner or later
            inside = [s.base for s in sources if s.base.memory is None and prod(s.base.shape) == count]
            again = [m for base in inside for m in repeatable(base, (Axis(count, False),), REPEATED)]
        if not again:
            return False
        floor, self.floor = self.floor, len(self.steps)
        copies: dict[Expr, Expr] = {}
        for member in dict.fromkeys(again):
            operands = tuple([_rebuilt(o, copies) for o in member.operands])
            copies[member] = Expr(self.t, member.kind, member.shape, member.dtype, operands, member.detail)
            self.place(copies[member])
        expr.operands = tuple([_rebuilt(o, copies) for o in expr.operands])
        self.place(expr, again=False)
        self.floor = floor
        return True

    def plain(self, operand: Expr) -> Expr:
        """A copy of an operand in natural order, in a group before."""
        if self.source(operand).base.kind in ("constant", "number"):
            return operand
        return self.apart(operand)

    def seen_from(self, group: Group | None, sources: list[Source]) -> list[Source]:
        """Sources as a group sees them: what other groups compute is read from memory."""
        return [s if s.base.group is None or s.base.group is group else self.reading(*s) for s in sources]

    def reading(self, base: Expr, view: View) -> Source:
        """A member of an earlier group, as elements in memory."""
        memory = self.stored(base)
        if not is_contiguous(memory.view.shape, memory.view.strides):
            whole = view.form == View.natural(base.shape).form and not view.offset
            there = memory.view.reshaped(view.shape) if whole else None
            if there is not None:
                view = there
            else:  # views are of the natural order
                kept, base.memory = memory, None
                natural = self.stored(base)
                base.memory, memory = kept, natural
        read = Expr(self.t, "read", view.shape, base.dtype, (), view)
        read.memory = memory
        return Source(read, view)

    # -- writes --------------------------------------------------------------------------------------------------

    def write(self, number: int, write: Write) -> None:
        target, source = write.target, write.source
        value = self.values[target.value]
        root = value.memory.root
        self.roots[write.output] = self.roots.get(target.value, target.value)
        self.overwritten = {n: write.output if to == target.value else to for n, to in self.overwritten.items()}
        if target.value in self.wanted_values:
            self.overwritten[target.value] = write.output
        if self.last.get(target.value, -1) > number:
            self.preserve(target)
        whole = not target.offset and prod(target.shape) * target.dtype.itemsize == root.nbytes
        whole = whole and View(*target[1:4]).form == flat(prod(target.shape))
        if not whole:
            self.in_memory(value)
        after = Value(Memory(root, View((root.nbytes // target.dtype.itemsize,), (1,)), target.dtype))
        self.values[write.output] = after
        if 0 in target.shape:
            self.values[write.output] = value
            return
        expr = self.t.cast(self.operand(source), target.dtype)
        last = self.last.get(source.value, -1) <= number and source.value not in self.wanted_values
        base = self.overwrite(expr, target, root, last)
        base.group.work.append(write)
        if whole and WIDE.get(target.dtype, target.dtype) is base.dtype and base.memory is after.memory:
            after.expr = base
        elif whole and base.memory is not None and base.memory.root is root:
            after.memory, after.expr = base.memory, base

    def overwrite(self, expr: Expr, target: Arg, root: Root, last: bool) -> Expr:
        """Store an expression in a window of memory that may be in use; the member that is stored."""
        memory = Memory(root, View(*target[1:4]), target.dtype)
        base, view = self.source(expr)
        if base.group is not None and view.form == flat(prod(base.shape)) and self.store_over(base, memory):
            if last and (base.memory is None or base.memory.store is None):
                base.memory = memory
            return base
        self.floor = max(self.floor, root.touched + 1)
        copied = self.t.copy(expr)
        if not self.store_over(copied, memory):  # it reads what it would overwrite
            copied = self.apart(self.apart(expr))
            if not self.store_over(copied, memory):
                raise AssertionError(f"{target} cannot be written")
        copied.memory = copied.memory or memory
        return copied

    def store_over(self, base: Expr, memory: Memory) -> bool:
        """Let a member go to memory in use, if its group comes after all other uses."""
        group, root = base.group, memory.root
        if group.index < root.touched or (base.kind == "reduce" and base.detail.order.blocks):
            return False
        if root.touched == group.index:
            same = memory.view.form, memory.view.offset, base.full
            mine = any(s.memory.root is root for s in group.stores)
            again = base.full and group.reduction is not None  # a later pass would read what this one wrote
            if mine or again or group.loads.get(id(root), set()) - {same}:
                return False
        store = group.add_store(base, memory)
        if store is None:
            return False
        group.overwrites = group.overwrites or id(root) in group.loads
        memory.store = store
        root.ready = group.index + 1
        return True

    def preserve(self, target: Arg) -> None:
        """Keep what a value holds in other memory: it is still to be read after the write."""
        value = self.values[target.value]
        root = value.memory.root
        dtype = value.memory.dtype or target.dtype
        count = root.nbytes // dtype.itemsize
        shape = (count,)
        kept = self.apart(self.operand(Arg(target.value, shape, contiguous_strides(shape), 0, dtype)))
        self.stored(kept)
        self.values[target.value] = Value(kept.memory, None)


def _rebuilt(operand: Expr, copies: dict[Expr, Expr]) -> Expr:
    """An operand with its views, of the copy of what it shows."""
    views = []
    while operand.kind in VIEWS:
        views.append(operand)
        operand = operand.operands[0]
    made = copies.get(operand, operand)
    for view in reversed(views):
        made = Expr(view.t, view.kind, view.shape, view.dtype, (made,), view.detail)
    return made


def _updates(step: Call | Write) -> bool:
    return isinstance(step, Call) and isinstance(step.op.lower, Update)


def _last_uses(graph: Graph) -> dict[int, int]:
    """For each value the number of the last step that reads it."""
    last: dict[int, int] = {}
    for number, step in enumerate(graph.steps):
        read = step.inputs if isinstance(step, Call) else (step.source,)
        for x in read:
            if isinstance(x, Arg):
                last[x.value] = number
    return last
