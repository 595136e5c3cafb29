"""Random programs of elementwise steps, reductions, views and writes: fused, op by op and by the references alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from flambeau import dtypes
from flambeau.dtypes import dtype
from flambeau.engine.plan import HostCall
from flambeau.ops.op import ops
from tests.engine.planned import Recording, Ref

SHAPES = [(6,), (4, 6), (2, 3, 4), (8, 20), (3, 40, 5), (2, 70), (17, 33), (1, 5), (40, 130)]


class Program:
    """Grows a recording by random steps; values stay between -2 and 2 or so."""

    def __init__(self, seed: int, d: dtype = dtypes.float32) -> None:
        self.random = np.random.default_rng(seed)
        self.g = Recording()
        self.shape = SHAPES[self.random.integers(len(SHAPES))]
        self.refs: list[Ref] = []
        for shape in (self.shape, self.shape, self.shape[-1:], (*self.shape[:-1], 1), ()):
            self.refs.append(self.g.input(self.random.uniform(-2, 2, shape).astype(d.np)))

    def pick(self) -> Ref:
        return self.refs[self.random.integers(len(self.refs))]

    def step(self) -> None:
        kind = self.random.choice(["binary", "unary", "reduce", "view", "write", "softmax"], p=[0.4, 0.2, 0.15, 0.1, 0.1, 0.05])
        getattr(self, kind)()

    def binary(self) -> None:
        a, b = self.pick(), self.pick()
        try:
            np.broadcast_shapes(a.shape, b.shape)
        except ValueError:
            return
        name = self.random.choice(["add", "sub", "mul"])
        made = self.g.call(ops[name], a, b if self.random.random() < 0.8 else 0.75)
        self.refs.append(self.g.call(ops["mul"], made, 0.5))

    def unary(self) -> None:
        name = self.random.choice(["exp", "tanh", "neg", "abs"])
        made = self.g.call(ops[name], self.pick())
        self.refs.append(self.g.call(ops["tanh"], made))

    def reduce(self) -> None:
        x = self.pick()
        dims = tuple(sorted(self.random.choice(len(x.shape), self.random.integers(1, len(x.shape) + 1), False).tolist())) if x.shape else ()
        name = self.random.choice(["mean", "amax", "amin"])
        self.refs.append(self.g.call(ops[name], x, dim=dims, keepdim=bool(self.random.random() < 0.6)))

    def softmax(self) -> None:
        x = self.pick()
        if x.shape:
            self.refs.append(self.g.call(ops["softmax"], x, dim=int(self.random.integers(len(x.shape)))))

    def view(self) -> None:
        """A transpose, a slice, an expansion or a reshape of something."""
        x = self.pick()
        if not x.shape:
            return
        kind = self.random.integers(3)
        if kind == 0:
            self.refs.append(Ref(x.value, x.shape[::-1], x.strides[::-1], x.offset, x.dtype))
        elif kind == 1 and x.shape[0] > 1:
            first = int(self.random.integers(1, x.shape[0]))
            self.refs.append(Ref(x.value, (x.shape[0] - first, *x.shape[1:]), x.strides, x.offset + first * x.strides[0], x.dtype))
        else:
            self.refs.append(Ref(x.value, (3, *x.shape), (0, *x.strides), x.offset, x.dtype))
        self.random.shuffle(self.refs)

    def write(self) -> None:
        """Overwrite a window of something by something else; nobody reads the old value any more."""
        x = self.pick()
        source = self.pick()
        if source.shape != x.shape or any(s == 0 and n > 1 for s, n in zip(x.strides, x.shape)):
            return
        before, after = x.value, self.g.write(x, source)
        for ref in self.refs:
            if ref.value == before:
                ref.value = after.value

    def result(self) -> tuple[Recording, list[Ref]]:
        count = min(len(self.refs), 4)
        return self.g, [self.refs[i] for i in self.random.choice(len(self.refs), count, False)]


@pytest.mark.parametrize("seed", range(60))
def test_random_program(seed: int) -> None:
    program = Program(seed)
    for _ in range(int(program.random.integers(3, 25))):
        program.step()
    g, wanted = program.result()
    made = g.check(*wanted, rtol=1e-4, atol=1e-4)
    on_host: list[Any] = [s.call.op.name for s in made.steps if isinstance(s, HostCall)]
    assert not on_host


@pytest.mark.parametrize("seed", range(100, 120))
@pytest.mark.parametrize("d", [dtypes.float64, dtypes.bfloat16, dtypes.float16])
def test_random_program_of_other_dtypes(seed: int, d: dtype) -> None:
    program = Program(seed, d)
    for _ in range(int(program.random.integers(3, 25))):
        program.step()
    g, wanted = program.result()
    if d is dtypes.float64:
        g.check(*wanted, rtol=1e-9, atol=1e-9)
        return
    for fused, single in zip(g.run(*wanted), g.run(*wanted, fuse=False), strict=True):  # rounding to 8 bits amplifies
        np.testing.assert_array_equal(fused.astype(np.float32), single.astype(np.float32))
