"""In immediate mode a debugger steps from the user's line to the NumPy reference of an op."""

from __future__ import annotations

import bdb
import inspect
import io
import pdb
import sys
from types import FrameType, FunctionType
from typing import Any

import numpy as np
import pytest

import flambeau as torch
from flambeau.engine import execute, reference
from flambeau.ops.op import ops
from tests.ops.test_registry import RANDOM, samples_of

REFERENCE = inspect.getsourcelines(reference._run)
CALLS_REF = REFERENCE[1] + next(nr for nr, line in enumerate(REFERENCE[0]) if "op.ref(" in line)
COMPUTED = sorted(
    name for name, op in ops.items() if op.layout is None and op.samples is not None and name not in RANDOM
)


@pytest.fixture(autouse=True)
def immediate(runs_compiled):
    with execute.immediately():
        yield


def test_stepping_from_a_line_to_numpy():
    seen: list[tuple[str, str, int]] = []

    class Stepper(bdb.Bdb):
        reached: Any = None

        def user_line(self, frame: FrameType) -> None:
            seen.append((frame.f_code.co_filename, frame.f_code.co_name, frame.f_lineno))
            if frame.f_code is reference._run.__code__ and frame.f_lineno == CALLS_REF:
                self.reached = frame.f_locals["op"].ref, self.get_stack(frame, None)[0]
                self.set_quit()
            else:
                self.set_step()

    def user(x: Any) -> Any:
        y = x.sqrt()
        return y

    stepper = Stepper()
    x = torch.full((3,), 4.0)
    stepper.runcall(user, x)
    ref, stack = stepper.reached
    assert ref is np.sqrt
    assert seen[0] == (__file__, "user", user.__code__.co_firstlineno + 1)
    functions = [frame.f_code.co_name for frame, _ in stack]
    path = functions[functions.index("user") :]
    assert path[0] == "user" and path[-1] == "_run" and "apply" in path
    assert len(path) <= 8, path  # few enough to follow


def test_pdb_shows_the_operands():
    """The same by hand: `tbreak` at the reference, `continue`, and a look at what it was given."""
    commands = f"tbreak {reference.__file__}:{CALLS_REF}\ncontinue\np op.name, arrays[0].tolist()\nwhere\nquit\n"
    output = io.StringIO()
    debugger = pdb.Pdb(stdin=io.StringIO(commands), stdout=output, nosigint=True, readrc=False)
    debugger.use_rawinput = False
    x = torch.tensor([4.0, 9.0])
    debugger.runcall(lambda: x.sqrt())
    said = output.getvalue()
    assert "('sqrt', [4.0, 9.0])" in said
    assert "lambda: x.sqrt()" in said and "op.ref(*arrays, **params)" in said


@pytest.mark.parametrize("name", COMPUTED)
def test_every_op_comes_to_its_reference(name):
    op = ops[name]
    call = next((c for c in samples_of(op)), None)
    if call is None:
        pytest.skip("no samples")
    ran: list[Any] = []

    def trace(frame: FrameType, event: str, arg: Any) -> None:
        if frame.f_code is reference._run.__code__:
            ran.append(frame.f_locals["op"])
        elif isinstance(op.ref, FunctionType) and frame.f_code is op.ref.__code__:
            ran.append(op.ref)

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        op(*call.inputs, **call.params)
    finally:
        sys.settrace(before)
    assert op in ran
    if isinstance(op.ref, FunctionType):
        assert op.ref in ran, "its reference was not entered as Python"
