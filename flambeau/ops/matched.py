"""The call of an entry that is matched again and again, as straight-line Python.

What `apply` does for a call that was recorded before is known to the last attribute: how each operand must look, which
numbers its values have, how the results look, what the node of its history keeps. `seen_often` puts that down as
source, without a loop or a test whose outcome is fixed, and binds the entry's own constants. Calls of the same form
share their code; a debugger shows it like any other.

    matched(into, inputs, params)    # the result, or None: the call is another one, and nothing has happened

A public function that only checks its arguments and calls one op (`direct`) need not be gone through either: for other
tensors that look the same, and equal other arguments, it makes the same call of them. Its entry then has the source
from the function's arguments on: `matched(into, args, kwargs)`. The entry remembers one function, as an inline cache.
"""

from __future__ import annotations

import functools
import linecache
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from flambeau.autograd.mode import state
from flambeau.autograd.node import SavedOutput, SavedTensor, accumulator, next_sequence
from flambeau.dtypes import FLOAT, dtype
from flambeau.engine import execute
from flambeau.engine.entry import Entry
from flambeau.engine.execute import thread
from flambeau.engine.graph import Arg, Number, Part
from flambeau.engine.record import INT64
from flambeau.engine.value import Storage, Value
from flambeau.tensors import Tensor

OFTEN = 4  # matches of an entry before its call is written out

Matched = Callable[[Any, Sequence[Any], dict[str, Any]], Any]


class _Example(NamedTuple):
    """A call that has come often: its entry, what it depended on, which inputs are leaves, the numbers' values, the
    identities of inputs and results."""

    entry: Entry
    regime: Any
    leaves: list[bool]
    numbers: list[Any]
    inputs: list[int]
    outputs: list[int]


def seen_often(into: Any, entry: Entry, inputs: Sequence[Any], outputs: Sequence[Tensor]) -> None:
    """Let an entry's call, which has come `OFTEN` times, be an example to the function that makes it. If it comes once
    more, write it out for all who make it. Neither is done where `apply` has to look closer."""
    if entry.full or not state.plain or (entry.needs is not None) != (entry.node is not None):
        return
    parts = [spec.value for spec in entry.operands if spec.__class__ is Part]
    if any(spec.__class__ is Arg and spec.value in parts for spec in entry.operands):
        return  # a part that begins where the whole does: which of them is seen first is not fixed
    into.regime = state.regime
    leaves = [isinstance(x, Tensor) and x.grad_fn is None for x in inputs]
    if entry.matches > OFTEN:
        entry.call = _Writer(entry, leaves).function()
        return
    numbers = into.numbers[len(into.numbers) - sum(x.__class__ is Number for x in entry.operands) :]
    into.example = _Example(entry, state.regime, leaves, numbers, [id(x) for x in inputs], [id(y) for y in outputs])


def direct(function: Callable) -> Callable:
    """Let a function whose outcome is that of one op be passed over where its call has been written out.

    The outcome must follow from the looks of the tensors among its arguments and from the values of the others.
    """

    @functools.wraps(function)
    def caller(*args: Any, **kwargs: Any) -> Any:
        into = thread.recorder
        if into is None:
            return function(*args, **kwargs)
        parent = into.cursor
        entry = parent.hot
        if entry is not None and entry.caller is caller:
            outputs = entry.direct(into, args, kwargs)
            if outputs is not None:
                return outputs
        into.example = None
        outputs = function(*args, **kwargs)
        if into.example is not None:
            entry = into.example.entry
            if entry is into.cursor and entry.parent is parent:
                found = _directly(into.example, args, kwargs, outputs)
                if found is not None:
                    entry.direct, entry.caller = found, caller
        return outputs

    caller.one_op = True  # type: ignore[attr-defined]
    return caller


def _directly(example: _Example, args: tuple, kwargs: dict[str, Any], outputs: Any) -> Matched | None:
    """The function for such calls, if it is known what became of every argument and where every operand came from."""
    made = outputs if isinstance(outputs, tuple) else (outputs,)
    ids = [id(y) for y in made]
    entry = example.entry
    if isinstance(outputs, tuple):
        result = None if entry.op.multiple and ids == example.outputs else -1
    else:
        result = example.outputs.index(ids[0]) if ids[0] in example.outputs else -1
    given = (*args, *kwargs.values())
    places = [id(x) for x in given]
    sources = [places.index(i) if i in places else None for i in example.inputs]
    tensors = [nr for nr, spec in zip(sources, entry.operands) if spec.__class__ is Arg or spec.__class__ is Part]
    known = all(places.index(id(x)) in tensors if isinstance(x, Tensor) else x.__class__ in _PLAIN for x in given)
    if result == -1 or None in tensors or not known or example.regime is not state.regime:
        return None
    return _DirectWriter(example, args, kwargs, sources, result).function()


_PLAIN = (type(None), bool, int, float, str, dtype, tuple)  # arguments that are told by identity, or class and value


@functools.lru_cache(4096)
def _factory(source: str) -> Callable[..., Matched]:
    name = f"<matched call {_factory.cache_info().currsize}>"
    linecache.cache[name] = len(source), None, source.splitlines(True), name
    names = {
        "new": object.__new__, "watching": execute.watching, "accumulator": accumulator,
        "next_sequence": next_sequence, "Value": Value, "Storage": Storage, "Tensor": Tensor,
        "SavedTensor": SavedTensor, "SavedOutput": SavedOutput, "INT64": INT64,
    }  # fmt: skip
    exec(compile(source, name, "exec"), names)
    return names["factory"]  # type: ignore[return-value]


class _Writer:
    """Writes the source of one entry's call; what differs from entry to entry of a form becomes a constant."""

    parameters = "inputs, params"

    def __init__(self, entry: Entry, leaves: Sequence[bool]) -> None:
        self.entry, self.form, self.leaves = entry, entry.node, leaves
        self.constants: dict[str, Any] = {}
        self.lines: list[str] = []
        self.seen: dict[int, int] = {}  # values seen here first: number -> operand

    def constant(self, name: str, value: Any) -> str:
        self.constants[name] = value
        return name

    def put(self, depth: int, *lines: str) -> None:
        self.lines += ["    " * depth + line for line in lines]

    def function(self) -> Matched:
        return _factory(self.source())(*self.constants.values())

    def source(self) -> str:
        entry = self.entry
        self.put(2, f"if into.regime is not {self.constant('regime', state.regime)} or watching:", "    return None")
        self._before()
        self.put(2, "into.busy = True", "try:")
        parent = self.constant("parent", entry.parent)
        self.put(3, f"if into.claimed or into.cursor is not {parent}:", "    return None")
        self.put(3, "try:")
        self._unpack()
        for i, spec in enumerate(entry.operands):
            self._check(i, spec)
        self._after_checks()
        # something else where a tensor stood, an array among the arguments, others by name
        self.put(3, "except (AttributeError, ValueError, KeyError):", "    return None", "values = into.values")
        for i, spec in enumerate(entry.operands):
            self._bind(i, spec)
        for nr in range(len(entry.metas)):
            self._value(nr)
        self.constant("entry", entry)
        if entry.parent is not None and entry.parent.parent is None:  # it begins a recording
            self.put(3, "if into.ended is not None:", "    into.begins(entry)")
        self.put(3, "into.cursor = entry")
        for nr in range(len(entry.metas)):
            self._storage(nr)
            if self._wanted(nr):
                self._tensor(nr)
        if entry.needs is not None:
            self._history()
        self.put(2, "finally:", "    into.busy = False", f"return {self._returned()}")
        head = ["def factory(" + ", ".join(self.constants) + "):", f"    def matched(into, {self.parameters}):"]
        return "\n".join([*head, *self.lines, "    return matched", ""])

    def _returned(self) -> str:
        outputs = ", ".join(f"y{nr}" for nr in range(len(self.entry.metas)))
        return f"({outputs},)" if self.entry.op.multiple else "y0"

    # -- is it the same call? --------------------------------------------------------------------------------------

    def _before(self) -> None:
        """Leave unless the parameters are the recorded ones and the data is harmless."""
        different = self._different_parameters()
        if different:
            self.put(2, "try:", f"    if {different}:", "        return None")
            self.put(2, "except ValueError:  # an array among the parameters", "    return None")
        if self.entry.op.hazard is not None:
            threatens = self.constant("threatens", self.entry.op.hazard.threatens)
            self.put(2, f"if {threatens}(inputs, params):", "    return None")

    def _different_parameters(self) -> str:
        known = self.entry.params
        if not known:
            return "params"
        conditions = []
        for name, kind, text in self.entry.strict:
            conditions.append(f"params[{name!r}].__class__ is not {self.constant(f'kind_{name}', kind)}")
            if kind is complex or (kind is float and known[name] == 0.0):  # two zeros that are equal
                conditions.append(f"str(params[{name!r}]) != {self.constant(f'text_{name}', text)}")
        params = self.constant("known", known)
        different = " or ".join([f"params != {params}", *conditions])
        return f"params is not {params} and ({different})"

    def _unpack(self) -> None:
        names = "".join(f"x{i}, " for i in range(len(self.entry.operands)))
        self.put(4, f"({names}) = inputs")

    def _check(self, i: int, spec: Any) -> None:
        """Leave unless operand `i` looks as it did."""
        kind = spec.__class__
        if kind is Arg or kind is Part:
            looks = [("_shape", spec[1]), ("_strides", spec[2])]
            self.put(4, f"s{i} = x{i}._storage", f"v{i} = s{i}.value")
            tests = [f"x{i}.dtype is not {self.constant(f'dtype{i}', spec[4])}"]
            for name, to in looks:
                of = self.constant(f"{name[1:]}{i}", to)
                tests.append(f"(x{i}.{name} is not {of} and x{i}.{name} != {of})")
            if kind is Arg:
                tests += [f"x{i}._offset != {self.constant(f'offset{i}', spec[3])}", self._elsewhere(i, spec)]
            self.put(4, f"if {' or '.join(tests)}:", "    return None")
            self._check_history(i)
        else:
            self._check_other(i, spec)

    def _check_other(self, i: int, spec: Any) -> None:
        """Leave unless an operand that is no tensor is a number of the same kind, or the same constant."""
        if spec.__class__ is Number:
            test = f"x{i}.__class__ is not {self.constant(f'k{i}', spec.kind)}"
            test += f" or x{i} not in INT64" if spec.kind is int else ""
        else:
            test = self._another(f"x{i}", spec)
        self.put(4, f"if {test}:", "    return None")

    def _another(self, name: str, known: Any) -> str:
        """The condition that something is not what it was."""
        same, kind = self.constant(f"c_{name}", known), self.constant(f"k_{name}", known.__class__)
        return f"{name} is not {same} and ({name}.__class__ is not {kind} or {name} != {same})"

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
        if needs is None or not needs[i]:
            self.put(4, f"if f{i} is not None or x{i}._requires_grad:", "    return None")
        elif self.leaves[i]:
            self.put(4, f"if f{i} is not None or not x{i}._requires_grad:", "    return None")
        else:
            self.put(4, f"if f{i} is None:", "    return None")

    def _after_checks(self) -> None:
        """What else to look at, with the operands known."""

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

    def _wanted(self, nr: int) -> bool:
        """Whether somebody will see a result."""
        return True

    def _storage(self, nr: int) -> None:
        meta = self.entry.metas[nr]
        for name, x in (("shape", meta.shape), ("strides", meta.strides), ("dtype", meta.dtype)):
            self.constant(f"new_{name}{nr}", x)
        self.put(3, f"r{nr} = new(Storage)", f"r{nr}.value = w{nr}")

    def _tensor(self, nr: int) -> None:
        self.put(
            3, f"y{nr} = new(Tensor)", f"y{nr}._storage = y{nr}._version_counter = r{nr}",
            f"y{nr}._shape, y{nr}._strides, y{nr}._offset = new_shape{nr}, new_strides{nr}, 0",
            f"y{nr}.dtype, y{nr}._requires_grad, y{nr}._grad_fn, y{nr}._base = new_dtype{nr}, False, None, None",
        )  # fmt: skip

    def _history(self) -> None:
        """The node, as `opnode.node_of` makes it."""
        form = self.form
        self.put(3, f"node = new({self.constant('cls', form.cls)})", f"node.form = {self.constant('form', form)}")
        edges = []
        for i, needed in enumerate(form.needs):
            if needed and self.leaves[i]:  # as `accumulator` finds or makes it
                self.put(3, f"end{i} = x{i}._accumulator")
                edges.append(f"(end{i} is not None and end{i}() or accumulator(x{i}), 0)")
            else:
                edges.append(f"(f{i}, x{i}._output_nr)" if needed else "None")
        self.put(3, f"node.edges = ({''.join(edge + ', ' for edge in edges)})")
        self.put(3, "node.sequence = next_sequence()")
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
                of = f"r{nr}, new_shape{nr}, new_strides{nr}, 0, new_dtype{nr}, r{nr}"
                self.put(3, f"given{nr}.of = {of}")
                given[nr] = f"given{nr}"
            self.put(3, f"node.outputs = [{', '.join(given)}]")
        else:
            self.put(3, f"node.outputs = {self.constant('metas', form.metas)}")
        for nr, meta in enumerate(self.entry.metas):
            if meta.dtype.category >= FLOAT and self._wanted(nr):
                self.put(3, f"y{nr}._grad_fn = node", *([f"y{nr}._output_nr = {nr}"] if nr else []))


class _DirectWriter(_Writer):
    """Writes the source for a call of a public function.

    Args:
        sources: for each operand the argument that it is, counted through positions and names; None if it is none.
        result: which of the op's results the function gives; None: all of them.
    """

    parameters = "args, kwargs"

    def __init__(
        self, example: _Example, args: tuple, kwargs: dict[str, Any], sources: list[int | None], result: int | None
    ) -> None:
        super().__init__(example.entry, example.leaves)
        self.numbers, self.args, self.kwargs = list(example.numbers), args, kwargs
        self.sources, self.result = sources, result

    def _before(self) -> None:
        self.put(2, f"if len(kwargs) != {len(self.kwargs)}:" if self.kwargs else "if kwargs:", "    return None")

    def _unpack(self) -> None:
        """Name the arguments, and leave unless those that are no tensors are what they were."""
        given = [*self.args, *self.kwargs.values()]
        names = [f"a{nr}" for nr in range(len(given))]
        again = []
        for i, spec in enumerate(self.entry.operands):
            nr = self.sources[i]
            if nr is not None and (spec.__class__ is Arg or spec.__class__ is Part):
                if names[nr] == f"a{nr}":
                    names[nr] = f"x{i}"
                else:
                    again.append(f"x{i} = {names[nr]}")
        self.put(4, f"({''.join(f'{name}, ' for name in names[: len(self.args)])}) = args")
        for name, key in zip(names[len(self.args) :], self.kwargs):
            self.put(4, f"{name} = kwargs[{self.constant(f'key_{name}', key)}]")
        places = [id(x) for x in given]
        for name, x in zip(names, given):
            if not isinstance(x, Tensor):
                self.put(4, f"if {self._different(name, x)}:", "    return None")
            elif name != names[places.index(id(x))]:
                self.put(4, f"if {name} is not {names[places.index(id(x))]}:", "    return None")
        self.put(4, *again)

    def _different(self, name: str, x: Any) -> str:
        """The condition that an argument is not what it was."""
        if x.__class__ in (int, str) or (x.__class__ is float and x):  # zeros may be two, and tuples hold anything
            return self._another(name, x)
        return f"{name} is not {self.constant(f'c_{name}', x)}"

    def _check_other(self, i: int, spec: Any) -> None:
        """The arguments were looked at; numbers and constants that were made of them are what they were."""
        self.constant(f"x{i}", self.numbers.pop(0) if spec.__class__ is Number else spec)

    def _after_checks(self) -> None:
        entry = self.entry
        if entry.op.hazard is not None:
            threatens = self.constant("threatens", entry.op.hazard.threatens)
            known = self.constant("known", entry.params)
            inputs = "".join(f"x{i}, " for i in range(len(entry.operands)))
            self.put(4, f"if {threatens}(({inputs}), {known}):", "    return None")

    def _wanted(self, nr: int) -> bool:
        return self.result is None or self.result == nr

    def _returned(self) -> str:
        return super()._returned() if self.result is None else f"y{self.result}"
