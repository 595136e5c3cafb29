"""Extrema and where they are, and rows that are gone over together while the next ones are brought near."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from flambeau.engine.kernel import nest
from flambeau.engine.plan import Launch, Plan
from flambeau.engine.schedule import spaces
from flambeau.ops.op import ops
from tests.engine.planned import Recording

SHAPES = [(1,), (37,), (3, 130), (9, 2000), (300, 7), (2, 17, 33), (70000,), (40000, 3)]


def nests(plan: Plan) -> list[nest.Nest]:
    return [s.kernel.nest for s in plan.steps if isinstance(s, Launch) and s.kernel.nest is not None]


def elements(shape: tuple[int, ...], kind: str) -> np.ndarray:
    """Whole numbers, so that many are equal; and what is special about a kind."""
    rng = np.random.default_rng(0)
    x = np.round(rng.standard_normal(shape) * 3)
    special = {"nan": np.nan, "inf": np.inf, "-inf": -np.inf}
    if kind in special:
        x[rng.random(shape) < 0.1] = special[kind]
    if kind == "lowest":
        x[...] = -np.inf
    return np.where(x == 0, np.copysign(0.0, rng.standard_normal(shape)), x)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["whole", "nan", "inf", "-inf", "lowest"])
def test_extrema_and_their_places(shape: tuple[int, ...], kind: str) -> None:
    x = elements(shape, kind).astype(np.float32)
    g = Recording()
    value = g.input(x)
    wanted = []
    for dim in range(len(shape)):
        for name in ("max", "min"):
            wanted += g.call(ops[name], value, dim=dim, keepdim=False)
    wanted += [g.call(ops[name], value, dim=None, keepdim=True) for name in ("argmax", "argmin")]
    g.check(*wanted)


@pytest.mark.parametrize("d", [np.float64, np.float16, np.int64, np.int32, np.int8, np.uint8])
def test_extrema_of_other_dtypes(d: Any) -> None:
    x = elements((5, 300), "nan" if np.dtype(d).kind == "f" else "whole")
    x = (np.abs(x) if d is np.uint8 else x).astype(d)
    if np.dtype(d).kind != "f":
        x[0], x[1] = np.iinfo(d).min, np.iinfo(d).max
    g = Recording()
    value = g.input(x)
    wanted = [r for name in ("max", "min") for dim in (0, 1) for r in g.call(ops[name], value, dim=dim, keepdim=True)]
    g.check(*wanted)


def test_places_of_what_is_computed_on_the_way() -> None:
    g = Recording()
    x, y = (g.input(elements((6, 200), "nan").astype(np.float32)) for _ in range(2))
    total = g.call(ops["add"], g.call(ops["relu"], x), y)
    place = g.call(ops["argmax"], total, dim=1, keepdim=True)
    (made,) = nests(g.check(g.call(ops["add"], place, 1)))
    assert [s.detail for s in made.steps if s.kind == "reduce"] == ["argmax"]


# -- rows together ---------------------------------------------------------------------------------------------


def rows(shape: tuple[int, int]) -> tuple[list[np.ndarray], list[nest.Nest]]:
    """Work of several passes over rows."""
    rng = np.random.default_rng(1)
    g = Recording()
    x, y = (g.input(rng.standard_normal(shape, np.float32)) for _ in range(2))
    scaled = g.call(ops["mul"], g.call(ops["softmax"], x, dim=1), y)
    apart = g.call(ops["sub"], scaled, g.call(ops["sum"], scaled, dim=(1,), keepdim=True))
    made = nests(g.check(apart, g.call(ops["amax"], apart, dim=(1,), keepdim=False)))
    return g.run(apart), made


@pytest.mark.parametrize("shape", [(12, 64), (10, 100), (6, 250), (7, 100)])
def test_rows_that_are_gone_over_together(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    one_by_one, made = rows(shape)
    assert {n.abreast for n in made} == {1}
    monkeypatch.setattr(nest, "cache_sizes", lambda: (0, 2048 if shape[0] * shape[1] < 1024 else 4096))
    monkeypatch.setattr(nest, "AHEAD", 512)
    several, made = rows(shape)
    together = 1 if shape[0] % 2 else 4 if shape[1] <= 8 * made[0].width and shape[0] % 4 == 0 else 2
    assert {n.abreast for n in made} == {together}
    for a, b in zip(one_by_one, several, strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_is_far_is_brought_near(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(2).standard_normal((3, 7000), np.float32)
    results = []
    for far in (1 << 30, 0):
        monkeypatch.setattr(nest, "cache_sizes", lambda far=far: (far, far))
        g = Recording()
        y = g.call(ops["sum"], g.call(ops["exp"], g.input(x)), dim=(1,), keepdim=False)
        assert all(bool(n.fetched) == (far == 0) for n in nests(g.check(y, rtol=1e-4)) if n.accesses[0].strides != (1,))
        results += g.run(y)[:1]
    np.testing.assert_array_equal(*results)


# -- runs that are cut -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "launches"),
    [((3, 10, 512), 1), ((2, 5, 1024), 1), ((3, 2, 4096), 1), ((1, 2, 8192), 1), ((3, 20, 128), 1), ((3, 5, 49), 3)],
)
def test_parameters_that_change_within_a_run(shape: tuple[int, int, int], launches: int) -> None:
    """The order of the sum is that of the whole run."""
    rng = np.random.default_rng(3)
    numbers, factors = rng.standard_normal(shape, np.float32), rng.standard_normal((shape[1], 1), np.float32)
    g = Recording()
    x, scale = g.input(numbers), g.input(factors)
    scaled = g.call(ops["mul"], x, scale)
    total = g.call(ops["sum"], scaled, dim=(1, 2), keepdim=True)
    most = g.call(ops["amax"], x, dim=(1, 2), keepdim=True)
    y = g.call(ops["mul"], g.call(ops["sub"], scaled, g.call(ops["add"], total, most)), scale)
    assert len(g.check(y, total, rtol=1e-4, atol=1e-4).steps) == launches
    whole = Recording()
    plain = whole.call(ops["sum"], whole.input(numbers * factors), dim=(1, 2), keepdim=True)
    np.testing.assert_array_equal(g.run(total)[0], whole.run(plain)[0])


def test_parameters_that_change_along_an_outer_reduced_axis() -> None:
    rng = np.random.default_rng(4)
    g = Recording()
    x, scale = g.input(rng.standard_normal((6, 4, 5, 70), np.float32)), g.input(rng.standard_normal(4, np.float32))
    scaled = g.call(ops["mul"], x, scale.view((4, 1, 1), (1, 0, 0)))
    total = g.call(ops["sum"], scaled, dim=(0, 1, 3), keepdim=True)
    assert len(g.check(g.call(ops["sub"], scaled, total), rtol=1e-4, atol=1e-4).steps) == 1


@pytest.mark.parametrize("d", [np.int8, np.bool_, np.float64])
def test_extrema_of_runs_that_are_cut(d: Any) -> None:
    rng = np.random.default_rng(5)
    g = Recording()
    x = g.input(rng.integers(0, 2 if d is np.bool_ else 100, (3, 10, 128)).astype(d))
    y = g.input(rng.integers(0, 2, (10, 1)).astype(d))
    most = g.call(ops["amax"], g.call(ops["maximum"], x, y), dim=(1, 2), keepdim=True)
    g.check(g.call(ops["maximum"], g.call(ops["minimum"], x, most), y), most)


@pytest.mark.parametrize("shape", [(70, 1024), (16, 5, 1024), (3, 23333)])
@pytest.mark.parametrize("offset", [0, 100])
def test_variance_by_blocks(shape: tuple[int, ...], offset: float) -> None:
    x = np.random.default_rng(6).standard_normal(shape) + offset
    x[0] += 5.0
    g = Recording()
    dims = tuple(range(len(shape)))
    g.check(*g.call(ops["var_mean"], g.input(x.astype(np.float32)), dim=dims, correction=1, keepdim=False))
    g = Recording()
    g.check(g.call(ops["std"], g.input(x), dim=dims, correction=0, keepdim=True), rtol=1e-12)


def test_many_rows_of_columns_are_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spaces, "_MANY", 1 << 17)
    x = np.random.default_rng(7).standard_normal((130, 1100), np.float32)
    g = Recording()
    value = g.input(x)
    y = g.call(ops["softmax"], value, dim=0)
    most, place = g.call(ops["max"], value, dim=0, keepdim=False)
    found = nests(g.check(y, g.call(ops["sum"], y, dim=(0,), keepdim=False), most, place))
    assert any(n.blocks > 1 and not n.sweep for n in found)


def test_what_a_later_pass_reads_first_is_brought_near_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nest, "cache_sizes", lambda: (0, 0))
    rng = np.random.default_rng(8)
    g = Recording()
    x, y = (g.input(rng.standard_normal((4, 6000), np.float32)) for _ in range(2))
    apart = g.call(ops["sub"], x, g.call(ops["amax"], x, dim=(1,), keepdim=True))
    (made,) = nests(g.check(g.call(ops["sum"], g.call(ops["mul"], apart, y), dim=(1,), keepdim=False), rtol=1e-4))
    assert sorted(made.fetching(access)[0] for access in made.fetched) == [0, 1]


def test_looking_ahead_of_runs_that_lie_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nest, "cache_sizes", lambda: (0, 0))
    x = np.random.default_rng(9).standard_normal((16, 4, 4096), np.float32)
    g = Recording()
    value = g.input(x)
    first = nests(g.check(g.call(ops["sum"], value, dim=(0, 2), keepdim=False), rtol=1e-3, atol=1e-3))[0]
    assert [*first.fetched.values()] == [4 * 4096]  # the next run
    whole = nests(g.check(g.call(ops["sum"], value, dim=None, keepdim=False), rtol=1e-3, atol=1e-3))
    assert [nest.AHEAD // 4] in [[*n.fetched.values()] for n in whole]
