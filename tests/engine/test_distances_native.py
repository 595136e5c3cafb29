"""Traces, norms and distances in programs, beside their references: shapes, windows, orders of norms, edge values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from flambeau.engine.plan import HostCall
from flambeau.ops.op import ops
from tests.engine.planned import Recording, Ref

ORDERS = [0, 0.5, 1, 2, 3, math.inf]


def floats(*shape: int, kind: Any = np.float32) -> np.ndarray:
    return np.random.default_rng([len(shape), *shape]).standard_normal(shape).astype(kind)


def check(g: Recording, *wanted: Ref, rtol: float = 2e-5, atol: float = 1e-5) -> Any:
    """Fused, op by op and by the references alike, with nothing left to the host."""
    made = g.check(*wanted, rtol=rtol, atol=atol)
    assert not any(isinstance(step, HostCall) for step in made.steps)
    return made


# -- trace -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1), (3, 4), (70, 33), (1, 9), (0, 3), (300, 300)], ids=str)
@pytest.mark.parametrize("kind", [np.float32, np.float64, np.float16, np.int32, np.uint8])
def test_trace(shape: tuple[int, int], kind: Any) -> None:
    g = Recording()
    x = g.input((10 * floats(*shape)).astype(kind))
    turned = Ref(x.value, shape[::-1], (1, shape[1]), 0, x.dtype)
    check(g, g.call(ops["trace"], x), g.call(ops["trace"], turned))


def test_trace_of_what_the_program_computes() -> None:
    """The diagonal of what is computed, in order, broadcast and through a window; NaN beside it does not count."""
    g = Recording()
    x, row = g.input(floats(40, 30)), g.input(floats(30))
    y = g.call(ops["mul"], x, row)
    part = Ref(y.value, (20, 10), (30, 2), 31, y.dtype)
    wide = Ref(row.value, (50, 30), (0, 1), 0, row.dtype)
    check(g, g.call(ops["trace"], y), g.call(ops["trace"], part), g.call(ops["trace"], wide))
    g = Recording()
    beside = floats(5, 5)
    beside[0, 1] = np.nan
    check(g, g.call(ops["trace"], g.input(beside)))


# -- norms -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", ORDERS)
@pytest.mark.parametrize(
    ("a", "b"), [((5,), (5,)), ((3, 1), (7,)), ((), ()), ((40, 70), (40, 70)), ((1,), (1,))], ids=str
)
def test_dist(a: tuple, b: tuple, p: float) -> None:
    g = Recording()
    x, y = g.input(floats(*a)), g.input(floats(*b) + 1)
    check(g, g.call(ops["dist"], x, y, p=p), rtol=1e-4)


def test_dist_of_several_dtypes_and_edge_values() -> None:
    g = Recording()
    x, y = g.input(floats(33)), g.input(floats(33, kind=np.float64))
    edge = floats(33)
    edge[3], edge[7], edge[9] = np.inf, -0.0, 0.0
    z = g.input(edge)
    found = [g.call(ops["dist"], x, y, p=2), g.call(ops["dist"], x, x, p=2), g.call(ops["dist"], z, x, p=math.inf)]
    check(g, *found, g.call(ops["dist"], z, z, p=1))


@pytest.mark.parametrize("p", [0.5, 1.0, 2.0, 3.0, math.inf])
@pytest.mark.parametrize(("shape", "dim"), [((3, 2), 0), ((5, 7, 33), 1), ((17, 130), 1), ((1, 1), 0), ((0, 3), 1)])
def test_renorm(shape: tuple, dim: int, p: float) -> None:
    if p == math.inf and 0 in shape:
        return
    g = Recording()
    x = floats(*shape)
    x.reshape(-1)[: x.size // 3] *= 0.01
    r = g.input(x)
    seen = Ref(r.value, shape, r.strides, 0, r.dtype)
    check(g, g.call(ops["renorm"], seen, p=p, dim=dim, maxnorm=0.5), rtol=1e-4)
