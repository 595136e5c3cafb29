"""The text of what was recorded and what was made of it, for people (`flambeau explain`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from flambeau.engine.entry import WRITE, Entry, Segment
from flambeau.engine.graph import Arg, Call, Meta, Number, Write
from flambeau.engine.plan import Address, HostCall, Launch, Plan
from flambeau.engine.program import Program
from flambeau.errors import UserLine
from flambeau.shape import contiguous_strides

_LONGEST = 40  # characters of a parameter


class Op(NamedTuple):
    """An entry as text: where it was called, what it gives, and the call."""

    line: UserLine | None
    result: str
    call: str


def inputs_of(segment: Segment) -> dict[int, str]:
    """The values that a segment takes from outside, by number, as they look where they are first read."""
    made = set(segment.results)
    found: dict[int, str] = {}
    for entry in segment.path():
        for x in entry.operands:
            if isinstance(x, Arg) and x.value not in made and x.value not in found:
                found[x.value] = kind(x)
    return found


def ops_of(segment: Segment) -> list[Op]:
    """The ops of a segment in order."""
    shapes: dict[int, tuple] = {}
    found = []
    for entry in segment.path():
        for n, meta in zip(entry.outputs, entry.metas):
            shapes[n] = meta.shape, meta.layout
        found.append(Op(entry.line, *_op(entry, shapes)))
    return found


def _op(entry: Entry, shapes: Mapping[int, tuple]) -> tuple[str, str]:
    if entry.op is WRITE:
        target, source = entry.operands
        return "", f"{_operand(target, shapes)} := {_operand(source, shapes)}  (from here on %{entry.outputs[0]})"
    result = ", ".join(f"%{n} {kind(m)}" for n, m in zip(entry.outputs, entry.metas))
    operands = [_operand(x, shapes) for x in entry.operands if x is not None]
    operands += [f"{name}={_short(x)}" for name, x in entry.params.items() if x is not None]
    return result, f"{entry.op.name}({', '.join(operands)})"


def kind(x: Arg | Meta) -> str:
    """`float32[4, 3]`"""
    return f"{x.dtype.name}{list(x.shape)}"


def _operand(x: Any, shapes: Mapping[int, tuple]) -> str:
    if isinstance(x, Arg):
        plain = (x.shape, contiguous_strides(x.shape))
        if x.value not in shapes or ((x.shape, x.strides) == shapes[x.value] and not x.offset):
            return f"%{x.value}"
        window = f"%{x.value} as {list(x.shape)}"
        if (x.shape, x.strides) != plain:
            window += f" by {list(x.strides)}"
        return window + (f" from {x.offset}" if x.offset else "")
    if x.__class__ is Number:
        return f"{x.kind.__name__} #{x.slot}"
    return _short(x)


def _short(x: Any) -> str:
    text = repr(x if not isinstance(x, tuple) else tuple(x))
    return text if len(text) <= _LONGEST else type(x).__name__ if not isinstance(x, str) else text[:_LONGEST] + "..."


# -- what was made of it -------------------------------------------------------------------------------------------


def launches_of(program: Program) -> list[list[int]]:
    """For each entry of a program's segment, the steps of the plan that compute it."""
    position = {_made_by(step): nr for nr, step in enumerate(program.graph.steps)}
    found: list[list[int]] = [[] for _ in program.graph.steps]
    for nr, step in enumerate(program.plan.steps):
        calls = step.calls if isinstance(step, Launch) else (step.call,)
        for call in dict.fromkeys(calls):
            found[position[_made_by(call)]].append(nr)
    return found


def _made_by(step: Call | Write) -> tuple[int, ...]:
    """The values of the graph that a step makes, which tell it from others."""
    return step.outputs if isinstance(step, Call) else (step.output,)


def kernels_of(plan: Plan) -> dict[str, list[int]]:
    """The keys of a plan's kernels, in the order of their first launch, and the steps that launch each."""
    found: dict[str, list[int]] = {}
    for nr, step in enumerate(plan.steps):
        if isinstance(step, Launch):
            found.setdefault(step.kernel.key, []).append(nr)
    return found


def note(step: Launch | HostCall) -> str:
    """What a step of a plan does, in a few words."""
    return step.note if isinstance(step, Launch) else f"{step.call.op.name}, by its NumPy reference"


def arguments(launch: Launch, program: Program) -> Iterator[str]:
    """What each argument of a launch points at: `p0 = %3`."""
    numbers = [*program.outside, *sorted(program.segment.results)]
    for word, arg in enumerate(launch.block):
        if not isinstance(arg, Address):
            yield f"p{word} = {arg}"
            continue
        buffer, offset = arg.buffer, arg.offset
        if buffer.kind in ("input", "output"):
            text = f"%{numbers[buffer.index]}"
        elif buffer.kind == "temp":
            text, offset = f"scratch+{buffer.index + offset}", 0
        else:
            text = {"numbers": f"number #{offset // 8}", "status": "status"}[buffer.kind]
            offset = 0
        yield f"p{word} = {text}" + (f"+{offset}" if offset else "")
