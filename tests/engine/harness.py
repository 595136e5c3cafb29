"""Runs one op natively, launch by launch, beside its NumPy reference: the bench on which lowerings are tested.

`native(op, *inputs, **params)` takes tensors (any strides), numbers and None, and gives the results as arrays; `reference`
gives what the record's reference gives for the same call. Memory around every result is guarded.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from flambeau.engine.graph import Arg, Call, Meta, Number
from flambeau.engine.kernel.complex_emit import Emitter
from flambeau.engine.plan import Address, Buffer, Kernel
from flambeau.engine.runtime import jit
from flambeau.engine.schedule.lowering import Kernels
from flambeau.tensors import Tensor

GUARD = 256  # bytes around every result, which no kernel may touch
_compiled: dict[str, Any] = {}


def function_of(kernel: Kernel) -> Any:
    """The kernel as a callable, compiled once."""
    if kernel.key not in _compiled:
        k = Emitter("kernel")
        kernel.emit(k)
        signature = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
        _compiled[kernel.key] = signature(jit.load(k.text(), "kernel"))
    return _compiled[kernel.key]


def metas_of(op: Any, inputs: Sequence[Any], params: dict[str, Any]) -> tuple[Meta, ...]:
    metas = op.meta(*inputs, **params)
    return (metas,) if isinstance(metas, Meta) else tuple(metas)


def guarded(nbytes: int) -> np.ndarray:
    """Memory with guards around `nbytes` that begin at a line's start, as the allocator's and the arena do."""
    raw = np.full(nbytes + 2 * GUARD + 64, 0xA5, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + nbytes + 2 * GUARD]


class Bench:
    """A Site that runs every launch at once; `threads` cuts the tasks into as many calls, last one first."""

    def __init__(self, inputs: Sequence[Any], metas: Sequence[Meta], threads: int = 1) -> None:
        self.epilogue = None
        self.threads = threads
        self.launches: list[tuple[Kernel, int, str]] = []
        self.tensors = [x for x in inputs if isinstance(x, Tensor)]
        self.memory: dict[Buffer, np.ndarray] = {
            Buffer("input", i): t._storage.bytes for i, t in enumerate(self.tensors)
        }
        self.memory[Buffer("status", 0)] = np.zeros(8, np.uint8)
        self.metas = metas
        for nr, meta in enumerate(metas):
            self.memory[Buffer("output", nr)] = guarded(self._span(meta))
        numbers = [x for x in inputs if isinstance(x, (bool, int, float))]
        self.memory[Buffer("numbers", 0)] = np.zeros(8 * len(numbers) + 8, np.uint8)
        for slot, x in enumerate(numbers):
            view = self.memory[Buffer("numbers", 0)][8 * slot : 8 * slot + 8]
            view.view(np.float64 if isinstance(x, float) else np.int64)[0] = x

    @staticmethod
    def _span(meta: Meta) -> int:
        last = sum((n - 1) * s for n, s in zip(meta.shape, meta.layout)) if 0 not in meta.shape else -1
        return (last + 1) * meta.dtype.itemsize

    def operand(self, x: Any, inputs: Sequence[Any]) -> Any:
        if isinstance(x, Tensor):
            position = next(i for i, t in enumerate(self.tensors) if t is x)
            return Arg(position, x._shape, x._strides, x._offset, x.dtype)
        if isinstance(x, (bool, int, float)):
            numbers = [y for y in inputs if isinstance(y, (bool, int, float))]
            return Number(next(i for i, y in enumerate(numbers) if y is x), type(x))
        return x

    # -- the Site ------------------------------------------------------------------------------------------------

    def source(self, operand: Arg) -> Address:
        return Address(Buffer("input", operand.value), operand.offset * operand.dtype.itemsize)

    def result(self, nr: int = 0) -> Address:
        return Address(Buffer("output", nr), GUARD)

    def temp(self, nbytes: int) -> Address:
        buffer = Buffer("temp", len(self.memory))
        raw = np.full(nbytes + 64, 0xA5, np.uint8)
        start = -raw.ctypes.data % 64
        self.memory[buffer] = raw[start : start + nbytes]
        return Address(buffer)

    def number(self, slot: int) -> Address:
        return Address(Buffer("numbers", 0), 8 * slot)

    def status(self) -> Address:
        return Address(Buffer("status", 0))

    def launch(
        self, kernel: Kernel, args: tuple[Address | int, ...], tasks: int = 1, cost: float = 0.0, note: str = "",
        work: tuple[float, float] = (0.0, 0.0),
    ) -> None:  # fmt: skip
        words = [a if isinstance(a, int) else self.memory[a.buffer].ctypes.data + a.offset for a in args]
        block = (ctypes.c_int64 * max(len(words), 1))(*words)
        self.launches.append((kernel, tasks, note))
        cuts = [tasks * part // self.threads for part in range(self.threads + 1)]
        for begin, end in reversed(list(zip(cuts, cuts[1:]))):
            if begin < end:
                function_of(kernel)(ctypes.addressof(block), begin, end)

    def results(self) -> list[np.ndarray]:
        found = []
        for nr, meta in enumerate(self.metas):
            memory = self.memory[Buffer("output", nr)]
            span = memory.size - 2 * GUARD
            assert (memory[:GUARD] == 0xA5).all(), "wrote before the result"
            assert (memory[GUARD + span :] == 0xA5).all(), "wrote behind the result"
            if 0 in meta.shape:
                found.append(np.empty(meta.shape, meta.dtype.np))
                continue
            strides = tuple(s * meta.dtype.itemsize for s in meta.layout)
            found.append(np.ndarray(meta.shape, meta.dtype.np, memory[GUARD : GUARD + span].copy(), 0, strides))
        return found


def native(op: Any, *inputs: Any, threads: int = 1, **params: Any) -> list[np.ndarray]:
    """The results of a `Kernels` lowering, in the order of the op's metas."""
    assert isinstance(op.lower, Kernels), f"{op} has no lowering of the form Kernels"
    metas = metas_of(op, inputs, params)
    bench = Bench(inputs, metas, threads)
    operands = tuple(bench.operand(x, inputs) for x in inputs)
    first = len(bench.tensors)
    call = Call(op, operands, params, metas, tuple(range(first, first + len(metas))))
    op.lower.function(bench, call)
    if bench.memory[Buffer("status", 0)].any():
        raise BadData
    return bench.results()


class BadData(Exception):
    """A kernel met data that it cannot accept: the reference would raise."""


def reference(op: Any, *inputs: Any, **params: Any) -> list[np.ndarray]:
    """The results of the record's reference, as immediate execution places them."""
    result = op(*inputs, **params)
    return [t._array().copy() for t in (result if op.multiple else (result,))]
