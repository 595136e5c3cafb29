"""Traces, norms and distances in programs, beside their references: shapes, windows, orders of norms, edge values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from flambeau.engine.plan import HostCall
from flambeau.ops.op import ops
from flambeau.tensors import Tensor, from_array
from tests.engine.harness import native, reference
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


# -- distances between rows ------------------------------------------------------------------------------------

SHAPES = [
    ((3, 2), (4, 2)), ((1, 1), (1, 1)), ((5, 0), (3, 0)), ((0, 3), (4, 3)), ((33, 7), (70, 7)), ((1, 130), (200, 130)),
    ((2, 3, 5), (17, 5)), ((4, 1, 9, 3), (2, 30, 3)), ((7, 300), (5, 300)), ((2, 30, 40), (2, 41, 40)),
]  # fmt: skip


def distances(a: Tensor, b: Tensor, p: float, product: bool = False) -> None:
    """One thread and three agree bit for bit, and both with the reference up to rounding."""
    how = {"p": p, "product": product}
    one, many = (native(ops["cdist"], a, b, threads=n, **how)[0] for n in (1, 3))
    want = reference(ops["cdist"], a, b, **how)[0]
    assert one.tobytes() == many.tobytes() and one.dtype == want.dtype and one.shape == want.shape
    tolerance = {2: 2e-2, 4: 1e-4, 8: 1e-12}[one.itemsize]
    got, wanted = one.astype(float), want.astype(float)
    if product:  # of rows that are nearly equal, only the square is known, up to the rounding of large ones
        got, wanted = got**2, wanted**2
        tolerance *= np.nanmax(wanted, initial=1, where=np.isfinite(wanted))
    np.testing.assert_allclose(got, wanted, tolerance, tolerance)


@pytest.mark.parametrize("p", ORDERS)
@pytest.mark.parametrize(("a", "b"), SHAPES, ids=str)
def test_cdist(a: tuple, b: tuple, p: float) -> None:
    x, y = from_array(floats(*a)), from_array(floats(*b) + 0.5)
    distances(x, y, p)
    if p == 2:
        distances(x, y, p, product=True)


@pytest.mark.parametrize("product", [False, True])
@pytest.mark.parametrize("kind", [np.float64, np.float16, np.float32])
def test_cdist_of_windows(kind: Any, product: bool) -> None:
    wide = from_array(floats(20, 60, kind=kind))
    a, b, turned = wide[::2, 1::3], wide[10:, 20:40], from_array(floats(20, 40, kind=kind)).t()
    distances(a, b, 2.0, product)
    distances(turned, a, 2.0, product)
    distances(a, turned, 2.0, product)
    distances(wide[0].expand(7, 60), wide, 2.0, product)
    distances(wide.flip(0)[:, 3:], wide[:, :57], 1.0)


def test_cdist_of_edge_values() -> None:
    x = floats(6, 40)
    x[0, 3], x[1, 5], x[2, 7], x[3] = np.nan, np.inf, -np.inf, -0.0
    a, b = from_array(x), from_array(floats(5, 40))
    with np.errstate(invalid="ignore"):
        for p in (0, 1, 2, math.inf):
            distances(a, b, p)
        distances(a[1:2], a, 1)
        distances(a, b, 2, product=True)
