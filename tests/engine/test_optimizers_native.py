"""Updates that are not elementwise, by kernels: Adafactor's means and Muon's iteration, beside their references."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flambeau
from flambeau import dtypes
from flambeau.engine.plan import HostCall, Plan
from flambeau.ops.op import ops
from flambeau.optim import formula
from flambeau.optim.muon import COEFFICIENTS
from flambeau.optim.records import Recipe, params_of
from tests.engine import harness
from tests.engine.planned import Recording

random = np.random.default_rng(11)
NUMBERS = "rate", "shrink", "weight", "eps1", "tiny", "eps2", "clip"
DTYPES = [dtypes.float32, dtypes.float64, dtypes.bfloat16]


def normal(*shape: int, d: Any = dtypes.float32) -> np.ndarray:
    return np.asarray(random.standard_normal(shape)).astype(d.np)


def native(made: Plan) -> bool:
    return not any(isinstance(s, HostCall) for s in made.steps)


def adafactor(g: Recording, p: np.ndarray, grad: np.ndarray) -> list:
    shape = p.shape
    matrix = len(shape) > 1
    state = ((*shape[:-1], 1), (*shape[:-2], 1, shape[-1])) if matrix else (shape,)
    given = [g.input(x) for x in (p, grad, *[np.asarray(np.abs(normal(*s))).astype(p.dtype) for s in state])]
    recipe = Recipe(("row_var", "col_var") if matrix else ("variance",), NUMBERS)
    return g.call(ops["adafactor_update"], *given, 0.01, 0.9, 0.3, 1e-6, 1e-12, 1e-3, 1.0, **params_of(recipe))


@pytest.mark.filterwarnings("ignore:Mean of empty slice")  # by the reference
@pytest.mark.parametrize("d", DTYPES)
@pytest.mark.parametrize("shape", [(), (1,), (7,), (0,), (1, 1), (5, 3), (33, 1), (4, 3, 5, 5), (130, 257), (0, 3)])
def test_adafactor(shape: tuple, d: Any) -> None:
    if d is not dtypes.float32 and shape not in ((7,), (5, 3), (4, 3, 5, 5)):
        return
    g = Recording()
    with np.errstate(all="ignore"):
        assert native(g.check(*adafactor(g, normal(*shape, d=d), normal(*shape, d=d))))


def test_adafactor_of_what_is_not_finite() -> None:
    for odd in (np.nan, np.inf, -0.0):
        g = Recording()
        grad = normal(6, 5)
        grad[2, 3] = odd
        g.check(*adafactor(g, normal(6, 5), grad))


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 3), (3, 5), (17, 17), (40, 100), (131, 33), (0, 3)])
@pytest.mark.parametrize("iterations", [0, 1, 5])
def test_newton_schulz(shape: tuple[int, int], iterations: int) -> None:
    x = normal(*shape)
    x /= max(np.linalg.norm(x), 1e-7)
    across = np.ascontiguousarray(x.T)
    for d, tolerance in ((dtypes.float32, 2e-4), (dtypes.float64, 1e-10)):
        plain = flambeau.tensor(x, dtype=d)
        views = plain, flambeau.tensor(across, dtype=d).T, flambeau.tensor(x[::-1, ::-1].copy(), dtype=d).flip(0, 1)
        for t in views:
            params = {"coefficients": COEFFICIENTS, "iterations": iterations}
            once, twice = (harness.native(ops["newton_schulz"], t, threads=n, **params)[0] for n in (1, 2))
            np.testing.assert_array_equal(once, twice)
            wanted = harness.reference(ops["newton_schulz"], t, **params)[0]
            np.testing.assert_allclose(once, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("d", DTYPES)
@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("shape", [(1, 1), (20, 30), (200, 90)])
def test_a_step_of_muon(shape: tuple[int, int], nesterov: bool, d: Any) -> None:
    g = Recording()
    p, grad, buffer = (g.input(normal(*shape, d=d)) for _ in range(3))
    momentum, x = g.call(ops["muon_direction"], grad, buffer, 0.05, 0.95, 1e-7, nesterov=nesterov)
    x = g.call(ops["newton_schulz"], x, coefficients=COEFFICIENTS, iterations=2)
    new = g.call(ops["muon_update"], p, x, 0.02, 0.998)
    assert native(g.check(new, momentum, rtol=1e-4, atol=1e-5))


@pytest.mark.parametrize("name", ["Muon", "Adafactor"])
def test_a_step_is_replayed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its numbers are those that it gives to `replayed`, in order."""
    found: list[bool] = []
    replayed = formula.replayed
    monkeypatch.setattr(formula, "replayed", lambda *given: found.append(replayed(*given)) or found[-1])
    p = flambeau.tensor(normal(6, 4), requires_grad=True)
    optimizer = getattr(flambeau.optim, name)([p], lr=0.01)
    for _ in range(5):
        optimizer.zero_grad()
        (p * p).sum().backward()
        optimizer.step()
    assert found[-2:] == [True, True]
