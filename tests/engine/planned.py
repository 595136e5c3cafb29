"""Records ops into a graph, plans it and runs the plan, beside the NumPy references of the same steps.

    g = Recording()
    x = g.input(array)
    y = g.call(relu_op, g.call(add_op, x, x.view((3, 4), (4, 1))))
    g.check(y)            # planned with and without fusion: equal bits; and equal to the references

Memory handed out and scratch are guarded, and every launch runs its tasks in several pieces, last piece first.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np

from flambeau import dtypes
from flambeau.engine import reference
from flambeau.engine.graph import Arg, Call, Graph, Meta, Number, Write
from flambeau.engine.plan import Address, HostCall, Launch, Plan
from flambeau.engine.runtime import native
from flambeau.engine.schedule.planner import plan
from flambeau.engine.value import Storage
from flambeau.shape import contiguous_strides
from flambeau.tensors import Tensor, make
from tests.engine.harness import GUARD, function_of, guarded


@dataclass
class Ref:
    """A recorded value as an operand: a window on it."""

    value: int
    shape: tuple
    strides: tuple
    offset: int
    dtype: Any

    def view(self, shape: tuple, strides: tuple | None = None, offset: int = 0) -> Ref:
        return Ref(self.value, shape, contiguous_strides(shape) if strides is None else strides, offset, self.dtype)

    @property
    def arg(self) -> Arg:
        return Arg(self.value, self.shape, self.strides, self.offset, self.dtype)


class Recording:
    def __init__(self) -> None:
        self.arrays: list[np.ndarray] = []  # of the inputs
        self.steps: list[Call | Write] = []
        self.sizes: dict[int, int] = {}
        self.numbers: list[Any] = []
        self.count = 0
        self.status = np.zeros(1, np.int64)

    def input(self, array: np.ndarray) -> Ref:
        assert not self.steps, "inputs come first"
        array = np.ascontiguousarray(array)
        self.arrays.append(array)
        self.sizes[self.count] = array.nbytes
        self.count += 1
        return Ref(self.count - 1, array.shape, contiguous_strides(array.shape), 0, dtypes.of(array.dtype))

    def number(self, x: Any) -> Any:
        self.numbers.append(x)
        return x

    def call(self, op: Any, *operands: Any, **params: Any) -> Any:
        """Record a call; numbers become slots of the table."""
        metas = op.meta(*[_tensor(x) if isinstance(x, Ref) else x for x in operands], **params)
        single = isinstance(metas, Meta)
        metas = (metas,) if single else tuple(metas)
        inputs = []
        for x in operands:
            if isinstance(x, Ref):
                inputs.append(x.arg)
            elif isinstance(x, (bool, int, float)):
                inputs.append(Number(len(self.numbers), type(x)))
                self.numbers.append(x)
            else:
                inputs.append(x)
        outputs = tuple(range(self.count, self.count + len(metas)))
        self.count += len(metas)
        self.steps.append(Call(op, tuple(inputs), params, metas, outputs))
        refs = [Ref(n, m.shape, m.layout, 0, m.dtype) for n, m in zip(outputs, metas)]
        for ref in refs:
            span = 0 if 0 in ref.shape else 1 + sum((n - 1) * s for n, s in zip(ref.shape, ref.strides))
            self.sizes[ref.value] = span * ref.dtype.itemsize
        return refs[0] if single else refs

    def write(self, target: Ref, source: Ref) -> Ref:
        """Record a write; the target's value as it is afterwards, whole."""
        self.steps.append(Write(target.arg, source.arg, self.count))
        self.sizes[self.count] = self.sizes[target.value]
        self.count += 1
        flat = (self.sizes[target.value] // target.dtype.itemsize,)
        return Ref(self.count - 1, flat, (1,), 0, target.dtype)

    def graph(self, *wanted: Ref) -> Graph:
        sizes = [a.nbytes for a in self.arrays]
        return Graph(sizes, self.steps, tuple(r.value for r in wanted), len(self.numbers), self.sizes)

    # -- running -------------------------------------------------------------------------------------------------

    def reference(self, *wanted: Ref) -> list[np.ndarray]:
        """The values (and after them the inputs, as writes leave them), by the references."""
        data: dict[int, np.ndarray] = {n: a.reshape(-1).view(np.uint8).copy() for n, a in enumerate(self.arrays)}
        for step in self.steps:
            if isinstance(step, Write):
                data[step.output] = data[step.target.value].copy()
                target = step.target._replace(value=step.output)
                reference.overwrite(_window(data, target), _window(data, step.source))
                continue
            operands = [
                _window(data, x) if isinstance(x, Arg) else self.numbers[x.slot] if isinstance(x, Number) else x
                for x in step.inputs
            ]
            for number, result in zip(step.outputs, reference.run(step.op, operands, step.params, step.metas)):
                data[number] = result
        return [_window(data, r.arg) for r in wanted] + self._left(data)

    def _left(self, data: dict[int, np.ndarray]) -> list[np.ndarray]:
        """The memory of the inputs in the end."""
        final = {n: n for n in range(len(self.arrays))}
        first = {n: n for n in range(len(self.arrays))}
        for step in self.steps:
            if isinstance(step, Write) and step.target.value in first:
                first[step.output] = first[step.target.value]
                final[first[step.output]] = step.output
        return [data[final[n]].view(a.dtype).reshape(a.shape) for n, a in enumerate(self.arrays)]

    def run(self, *wanted: Ref, fuse: bool = True, pieces: int = 3) -> list[np.ndarray]:
        """The same by a plan."""
        made = plan(self.graph(*wanted), fuse)
        return self.execute(made, wanted, pieces)

    def execute(self, made: Plan, wanted: tuple[Ref, ...], pieces: int = 3) -> list[np.ndarray]:
        memory: dict[Any, np.ndarray] = {}
        for n, a in enumerate(self.arrays):
            memory["input", n] = a.reshape(-1).view(np.uint8).copy()
        for n, nbytes in made.outputs.items():
            memory["output", n] = guarded(nbytes)
        arena = guarded(made.arena)
        table = np.zeros(len(self.numbers) + 1, np.int64)
        for slot, x in enumerate(self.numbers):
            table[slot : slot + 1].view(np.float64 if isinstance(x, float) else np.int64)[0] = x

        def at(buffer: Any, offset: int = 0) -> np.ndarray:
            if buffer.kind == "temp":
                return arena[GUARD + buffer.index + offset :]
            if buffer.kind == "status":
                return self.status.view(np.uint8)
            if buffer.kind == "numbers":
                return table.view(np.uint8)[offset:]
            return memory[buffer][offset if buffer.kind == "input" else GUARD + offset :]

        for step in made.steps:
            if isinstance(step, HostCall):
                self._host(step, at)
            else:
                _launch(step, at, pieces)
        for name, m in [*memory.items(), ("arena", arena)]:
            if name[0] != "input":
                assert (m[:GUARD] == 0xA5).all() and (m[m.size - GUARD :] == 0xA5).all(), f"wrote beside {name}"
        roots: dict[int, int] = {}
        for s in self.steps:
            if isinstance(s, Write):
                roots[s.output] = roots.get(s.target.value, s.target.value)
        data = {}
        for r in wanted:
            n = roots.get(r.value, r.value)
            data[r.value] = memory["input", n] if n < len(self.arrays) else memory["output", n][GUARD:]
        left = [memory["input", n].view(a.dtype).reshape(a.shape) for n, a in enumerate(self.arrays)]
        return [_window(data, r.arg).copy() for r in wanted] + left

    def _host(self, step: HostCall, at: Any) -> None:
        call = step.call
        operands = [
            reference.window(at(step.places[x.value]), *x[1:]) if isinstance(x, Arg)
            else self.numbers[x.slot] if isinstance(x, Number) else x
            for x in call.inputs
        ]  # fmt: skip
        for number, result in zip(call.outputs, reference.run(call.op, operands, call.params, call.metas)):
            if number in step.places:
                at(step.places[number])[: result.size] = result

    def check(self, *wanted: Ref, rtol: float = 2e-5, atol: float = 1e-5) -> Plan:
        """Fused, op by op and by the references alike; the fused plan."""
        expected = self.reference(*wanted)
        made = plan(self.graph(*wanted))
        fused = self.execute(made, wanted)
        single = self.run(*wanted, fuse=False, pieces=1)
        for a, b, c in zip(fused, single, expected, strict=True):
            np.testing.assert_array_equal(_bits(a), _bits(b), "fused and op by op")
            close(a, c, rtol, atol)
        return made


def close(a: np.ndarray, b: np.ndarray, rtol: float, atol: float) -> None:
    assert a.shape == b.shape and a.dtype == b.dtype
    if a.dtype.kind in "biu":
        np.testing.assert_array_equal(a, b)
        return
    narrow = a.dtype.itemsize == 2
    wide = np.complex128 if a.dtype.kind == "c" else np.float64
    np.testing.assert_allclose(a.astype(wide), b.astype(wide), 1e-2 if narrow else rtol, 1e-2 if narrow else atol)


def _bits(a: np.ndarray) -> np.ndarray:
    a = np.ascontiguousarray(a)
    if a.dtype.kind in "fV" or a.dtype.itemsize == 2:
        whole = (
            a.view({2: np.int16, 4: np.int32, 8: np.int64}[a.dtype.itemsize]) if a.ndim else a.reshape(1).view(np.uint8)
        )
        return np.where(np.isnan(a.astype(np.float64)), 0, whole) if a.ndim else whole
    return a


def _launch(step: Launch, at: Any, pieces: int) -> None:
    words = [at(a.buffer, a.offset).ctypes.data if isinstance(a, Address) else a for a in step.args]
    function = function_of(step.kernel)
    if step.bundle:
        words.insert(0, ctypes.cast(function, ctypes.c_void_p).value)  # type: ignore[arg-type]
        function = type(function)(native.functions().bundle)
    block = (ctypes.c_int64 * max(len(words), 1))(*words)
    cuts = [step.tasks * part // pieces for part in range(pieces + 1)]
    for begin, end in reversed(list(zip(cuts, cuts[1:]))):
        if begin < end:
            function(ctypes.addressof(block), begin, end)


def _window(data: dict[int, np.ndarray], arg: Arg) -> np.ndarray:
    return reference.window(data[arg.value], *arg[1:])


def _tensor(ref: Ref) -> Tensor:
    """A tensor with a window's shape and strides, for shape rules."""
    span = 0 if 0 in ref.shape else 1 + sum((n - 1) * s for n, s in zip(ref.shape, ref.strides))
    nbytes = (ref.offset + span) * ref.dtype.itemsize
    return make(Storage(np.zeros(nbytes, np.uint8)), ref.shape, ref.strides, ref.offset, ref.dtype)
