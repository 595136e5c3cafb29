"""Reductions over columns that keep many results in memory, which pays off from some size on: here, from any."""

from __future__ import annotations

import numpy as np
import pytest

from flambeau import dtypes
from flambeau.dtypes import dtype
from flambeau.engine.kernel import nest
from flambeau.engine.plan import Launch
from flambeau.ops.op import ops
from tests.engine.planned import Recording

SHAPES = [(3, 130), (9, 2000), (300, 257), (2, 17, 1030), (5, 9, 200), (20000, 140)]


@pytest.fixture(autouse=True)
def no_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nest, "cache_sizes", lambda: (0, 0))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("d", [dtypes.float32, dtypes.float64, dtypes.bfloat16, dtypes.int32, dtypes.bool_])
def test_against_the_references(shape: tuple[int, ...], d: dtype) -> None:
    x = np.random.default_rng(0).uniform(-1, 3, shape).astype(d.np)
    for name in ("sum", "amax", "any"):
        g = Recording()
        steps = g.check(g.call(ops[name], g.input(x), dim=(len(shape) - 2,), keepdim=False), rtol=1e-4, atol=1e-4).steps
        assert any(s.kernel.nest is not None and s.kernel.nest.wide for s in steps if isinstance(s, Launch))


def test_work_before_and_after() -> None:
    rng = np.random.default_rng(1)
    g = Recording()
    x, row, column = (g.input(rng.standard_normal(shape, np.float32)) for shape in ((5, 400), (400,), (5, 1)))
    y = g.call(ops["mul"], g.call(ops["add"], g.call(ops["exp"], x), row), column)
    total, most = g.call(ops["sum"], y, dim=(0,), keepdim=False), g.call(ops["amax"], x, dim=(0,), keepdim=False)
    g.check(g.call(ops["mul"], total, row), most, y)


def test_the_order_of_a_sum_is_that_of_narrow_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    g = Recording()
    y = g.call(
        ops["sum"], g.input(np.random.default_rng(2).standard_normal((777, 320), np.float32)), dim=(0,), keepdim=False
    )
    wide = g.run(y)[0]
    monkeypatch.setattr(nest, "cache_sizes", lambda: (1 << 30, 1 << 30))
    np.testing.assert_array_equal(wide, g.run(y)[0])


def test_several_reductions_share_the_memory() -> None:
    g = Recording()
    x = g.input(np.random.default_rng(3).standard_normal((3, 33000), np.float32))
    wanted = [g.call(ops[name], x, dim=(0,), keepdim=False) for name in ("sum", "amax", "amin")]
    (launch,) = g.check(*wanted).steps
    assert launch.kernel.nest is not None
    assert nest.WIDE < launch.kernel.nest.wide <= nest.WIDEST // 3
