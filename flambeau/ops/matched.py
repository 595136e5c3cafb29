"""The call of an entry that is matched again and again, as straight-line Python.

What `apply` does for a call that was recorded before is known to the last attribute: how each operand must look, which
numbers its values have, how the results look, what the node of its history keeps. `matched_call` writes that down as
source, without a loop or a test whose outcome is fixed, and binds the entry's own constants. Calls of the same form
share their code; a debugger shows it like any other.

    matched(into, inputs, params)    # the result, or None: the call is another one, and nothing has happened
"""

from __future__ import annotations

import functools
import linecache
from collections.abc import Callable, Sequence
from typing import Any

from flambeau.autograd.mode import state
from flambeau.autograd.node import SavedOutput, SavedTensor, accumulator, next_sequence
from flambeau.dtypes import FLOAT
from flambeau.engine import execute
from flambeau.engine.graph import Arg, Number, Part
from flambeau.engine.record import INT64, Entry
from flambeau.engine.value import Storage, Value
from flambeau.tensors import Tensor

OFTEN = 4  # matches of an entry before its call is written out

Matched = Callable[[Any, Sequence[Any], dict[str, Any]], Any]


def matched_call(entry: Entry) -> Matched | None:
    """The function for an entry; None where `apply` has to look closer."""
    if entry.full or not state.plain or (entry.needs is not None) != (entry.node is not None):
        return None
    writer = _Writer(entry)
    return _factory(writer.source())(*writer.constants.values())


@functools.lru_cache(4096)
def _factory(source: str) -> Callable[..., Matched]:
    name = f"<matched call {_factory.cache_info().currsize}>"
    linecache.cache[name] = len(source), None, source.splitlines(True), name
    names = {
        "new": object.__new__, "state": state, "watching": execute.watching, "accumulator": accumulator,
        "next_sequence": next_sequence, "Value": Value, "Storage": Storage, "Tensor": Tensor,
        "SavedTensor": SavedTensor, "SavedOutput": SavedOutput, "INT64": INT64,
    }  # fmt: skip
    exec(compile(source, name, "exec"), names)
    return names["factory"]  # type: ignore[return-value]


class _Writer:
    """Writes the source of one entry's call; what differs from entry to entry of a form becomes a constant."""

    def __init__(self, entry: Entry) -> None:
        self.entry, self.form = entry, entry.node
        self.constants: dict[str, Any] = {}
        self.lines: list[str] = []
        self.seen: dict[int, int] = {}  # values seen here first: number -> operand

    def constant(self, name: str, value: Any) -> str:
        self.constants[name] = value
        return name

    def put(self, depth: int, *lines: str) -> None:
        self.lines += ["    " * depth + line for line in lines]

    def source(self) -> str:
        entry = self.entry
        hazard = entry.op.hazard is not None
        conditions = [f"state.regime is not {self.constant('regime', state.regime)}", "watching", *self._parameters()]
        if hazard:
            conditions.append(f"{self.constant('threatens', entry.op.hazard.threatens)}(inputs, params)")
        self.put(2, "try:", f"    if {' or '.join(conditions)}:", "        return None")
        self.put(2, "except ValueError:  # an array among the parameters", "    return None", "with into.lock:")
        self.put(3, f"if into.cursor is not {self.constant('parent', entry.parent)}:", "    return None")
        names = ", ".join(f"x{i}" for i in range(len(entry.operands)))
        self.put(3, "try:", f"    {names}{',' if len(entry.operands) == 1 else ''} = inputs")
        for i, spec in enumerate(entry.operands):
            self._check(i, spec)
        self.put(3, "except (AttributeError, ValueError):  # something else where a tensor stood", "    return None")
        self.put(3, "values = into.values")
        for i, spec in enumerate(entry.operands):
            self._bind(i, spec)
        for nr in range(len(entry.metas)):
            self._value(nr)
        self.put(
            3, "if into.ended is not None:", f"    into.begins({self.constant('entry', entry)})", "into.cursor = entry"
        )
        for nr in range(len(entry.metas)):
            self._tensor(nr)
        if entry.needs is not None:
            self._history()
        else:
            self.put(3, *[f"y{nr}._grad_fn = None" for nr in range(len(entry.metas))])
        outputs = [f"y{nr}" for nr in range(len(entry.metas))]
        self.put(2, f"return {', '.join(outputs)}," if entry.op.multiple else "return y0")
        head = ["def factory(" + ", ".join(self.constants) + "):", "    def matched(into, inputs, params):"]
        return "\n".join([*head, *self.lines, "    return matched", ""])

    # -- is it the same call? --------------------------------------------------------------------------------------

    def _parameters(self) -> list[str]:
        """Conditions under which the parameters are others than the recorded ones."""
        known = self.entry.params
        if not known:
            return ["params"]
        conditions = []
        for name, kind, text in self.entry.strict:
            conditions.append(f"params[{name!r}].__class__ is not {self.constant(f'kind_{name}', kind)}")
            if kind is complex or (kind is float and known[name] == 0.0):  # two zeros that are equal
                conditions.append(f"str(params[{name!r}]) != {self.constant(f'text_{name}', text)}")
        params = self.constant("known", known)
        different = f"params != {params}" + (f" or {' or '.join(conditions)}" if conditions else "")
        return [f"params is not {params} and ({different})"]

    def _check(self, i: int, spec: Any) -> None:
        """Leave unless operand `i` looks as it did."""
        kind = spec.__class__
        if kind is Number:
            test = f"x{i}.__class__ is not {self.constant(f'k{i}', spec.kind)}"
            test += f" or x{i} not in INT64" if spec.kind is int else ""
        elif kind is Arg or kind is Part:
            looks = [("_shape", spec[1]), ("_strides", spec[2])] + ([("_offset", spec[3])] if kind is Arg else [])
            self.put(4, f"s{i} = x{i}._storage", f"v{i} = s{i}.value")
            tests = [f"x{i}.dtype is not {self.constant(f'dtype{i}', spec[4])}"]
            tests += [f"x{i}.{name} != {self.constant(f'{name[1:]}{i}', to)}" for name, to in looks]
            tests += [self._elsewhere(i, spec)] if kind is Arg else []
            test = " or ".join(tests)
        else:
            same = self.constant(f"c{i}", spec)
            test = f"x{i} is not {same} and (x{i}.__class__ is not {self.constant(f'k{i}', kind)} or x{i} != {same})"
        self.put(4, f"if {test}:", "    return None")
        if kind is Arg or kind is Part:
            self._check_history(i)

    def _elsewhere(self, i: int, spec: Arg) -> str:
        """The condition that operand `i` is another value."""
        number = spec.value
        if number in self.seen:
            return f"v{i} is not v{self.seen[number]}"
        if number < self.entry.first:
            return f"v{i}.segment is not into or v{i}.number != {self.constant(f'n{i}', number)}"
        others = "".join(f" or v{i} is v{j}" for j in self.seen.values())
        self.seen[number] = i
        return f"v{i}.segment is not None or s{i}._external{others}"

    def _check_history(self, i: int) -> None:
        """Leave unless operand `i` wants a gradient just as it did."""
        needs = self.entry.needs
        if self.entry.op.vjp is None or not state.grad:
            return
        self.put(4, f"f{i} = x{i}._grad_fn if x{i}._base is None else x{i}.grad_fn")
        if needs is not None and needs[i]:
            self.put(4, f"if f{i} is None and not x{i}._requires_grad:", "    return None")
        else:
            self.put(4, f"if f{i} is not None or x{i}._requires_grad:", "    return None")

    # -- what it does ----------------------------------------------------------------------------------------------

    def _bind(self, i: int, spec: Any) -> None:
        if spec.__class__ is Number:
            self.put(3, f"into.numbers.append(x{i})")
        elif spec.__class__ is Part:
            first, slots = self.constant("first", self.entry.first), self.constant("slots", self.entry.parent.slots)
            self.put(3, f"if not into._partial(x{i}) or into._part(x{i}) != {self.constant(f'n{i}', spec[0])}:")
            self.put(4, f"into.unbind({first}, {slots})", "return None")
        elif spec.__class__ is Arg and self.seen.get(spec.value) == i:
            self.put(3, f"v{i}.segment, v{i}.number = into, {self.constant(f'n{i}', spec.value)}")
            self.put(3, f"values.append(v{i})")

    def _value(self, nr: int) -> None:
        nbytes, number = self.entry.sizes[nr], self.entry.outputs[nr]
        self.put(
            3, f"w{nr} = new(Value)", f"w{nr}.data, w{nr}.nbytes = None, {self.constant(f'bytes{nr}', nbytes)}",
            f"w{nr}.segment, w{nr}.number = into, {self.constant(f'number{nr}', number)}", f"values.append(w{nr})",
        )  # fmt: skip

    def _tensor(self, nr: int) -> None:
        meta = self.entry.metas[nr]
        shape, strides = self.constant(f"new_shape{nr}", meta.shape), self.constant(f"new_strides{nr}", meta.strides)
        self.put(
            3, f"r{nr} = new(Storage)", f"r{nr}.value = w{nr}", f"y{nr} = new(Tensor)",
            f"y{nr}._storage = y{nr}._version_counter = r{nr}",
            f"y{nr}._shape, y{nr}._strides, y{nr}._offset = {shape}, {strides}, 0",
            f"y{nr}.dtype = {self.constant(f'new_dtype{nr}', meta.dtype)}",
            f"y{nr}._requires_grad = False", f"y{nr}._base = None",
        )  # fmt: skip

    def _history(self) -> None:
        """The node, as `opnode.node_of` makes it."""
        form = self.form
        self.put(3, f"node = new({self.constant('cls', form.cls)})", f"node.form = {self.constant('form', form)}")
        self.put(3, "node.sequence = next_sequence()")
        for i, needed in enumerate(form.needs):
            if needed:
                self.put(3, f"e{i} = (accumulator(x{i}), 0) if f{i} is None else (f{i}, x{i}._output_nr)")
        edges = [f"e{i}" if needed else "None" for i, needed in enumerate(form.needs)]
        self.put(3, f"node.edges = ({''.join(edge + ', ' for edge in edges)})")
        kept = []
        for i, like in enumerate(form.likes):
            if i in form.kept:
                self.put(
                    3, f"k{i} = new(SavedTensor)", f"k{i}.tensor, k{i}.version = x{i}, x{i}._version_counter.count"
                )
                kept.append(f"k{i}")
            else:
                kept.append(f"x{i}" if like is None else self.constant(f"like{i}", like))
        self.put(3, f"node.inputs = [{', '.join(kept)}]")
        if form.kept_outputs:
            given = [self.constant(f"made{nr}", like) for nr, like in enumerate(form.metas)]
            for nr in form.kept_outputs:
                self.put(3, f"given{nr} = new(SavedOutput)", f"given{nr}.version = 0")
                of = f"r{nr}, new_shape{nr}, new_strides{nr}, 0, new_dtype{nr}, y{nr}._version_counter"
                self.put(3, f"given{nr}.of = {of}")
                given[nr] = f"given{nr}"
            self.put(3, f"node.outputs = [{', '.join(given)}]")
        else:
            self.put(3, f"node.outputs = {self.constant('metas', form.metas)}")
        for nr, meta in enumerate(self.entry.metas):
            derived = meta.dtype.category >= FLOAT
            self.put(3, f"y{nr}._grad_fn = {'node' if derived else None}")
            if nr and derived:
                self.put(3, f"y{nr}._output_nr = {nr}")
