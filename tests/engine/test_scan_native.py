"""Running results beside their references: dtypes, every dimension, both directions, orders of memory, edge values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from flambeau import dtypes
from flambeau.dtypes import dtype
from flambeau.engine.schedule.lowering import Unsupported
from flambeau.ops.op import ops
from flambeau.tensors import from_array
from tests.engine.harness import native, reference
from tests.engine.test_move_native import same, strided, values

NAMES = ["cumsum", "cumprod", "logcumsumexp", "cummax", "cummin"]
SHAPES = [(), (1,), (0, 3), (3, 0), (17,), (1000,), (5, 33), (64, 7), (3, 40, 5), (2, 3, 4, 2)]


@pytest.mark.parametrize("kind", dtypes.ALL, ids=lambda d: d.name)
@pytest.mark.parametrize("name", NAMES)
def test_every_dimension(name: str, kind: dtype) -> None:
    rng = np.random.default_rng(0)
    for shape in SHAPES:
        base = from_array(values(rng, shape, kind))
        for dim in range(max(len(shape), 1)):
            for how in range(3):
                x = strided(base, how)
                try:
                    got = native(ops[name], x, threads=2, dim=dim)
                except (Unsupported, NotImplementedError):
                    assert name == "logcumsumexp" or (kind.is_complex and name in ("cummax", "cummin"))
                    continue
                same(got, reference(ops[name], x, dim=dim), close=name not in ("cummax", "cummin"))


@pytest.mark.parametrize("kind", [dtypes.float16, dtypes.float32, dtypes.float64, dtypes.int32], ids=lambda d: d.name)
def test_backwards_and_casts(kind: dtype) -> None:
    rng = np.random.default_rng(0)
    for shape in ((5, 33), (33, 5), (7,)):
        x = from_array(values(rng, shape, kind))
        for dim in range(len(shape)):
            for extra in ({"reverse": True}, {"dtype": dtypes.float64}, {"reverse": True, "dtype": dtypes.int16}):
                if kind is dtypes.int32 and "dtype" not in extra:
                    continue
                same(native(ops["cumsum"], x, dim=dim, **extra), reference(ops["cumsum"], x, dim=dim, **extra), True)


EDGES = [1.0, np.inf, 2.0, -np.inf, 3.0, np.nan, 1.0, -0.0, 0.0, 3.0, 3.0, 1e-40, -3.0]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("start", range(len(EDGES)))
def test_edge_values(name: str, start: int) -> None:
    array: Any = np.array(EDGES[start:], np.float32)
    for x, dim in ((from_array(array), 0), (from_array(np.stack([array] * 5, 1)), 0)):
        got, want = native(ops[name], x, dim=dim), reference(ops[name], x, dim=dim)
        np.testing.assert_allclose(got[0], want[0], 1e-6)
        if len(got) > 1:
            assert (got[1] == want[1]).all()


@pytest.mark.parametrize("name", ["cummax", "cummin"])
def test_of_equal_elements_the_latest_counts(name: str) -> None:
    x = from_array(np.array([3, 1, 3, 2, 1, 1, 3, 2, 0, 1, 3, 0, 2, 2, 1, 0, 0, 3], np.float32))
    same(native(ops[name], x, dim=0), reference(ops[name], x, dim=0))


@pytest.mark.parametrize("columns", [15, 500, 2048, 2100])
def test_many_rows_together(columns: int) -> None:
    rng = np.random.default_rng(0)
    x = from_array(rng.integers(0, 5, (4, columns)).astype(np.float32))
    for name in ("cumsum", "cummax"):
        same(native(ops[name], x, threads=3, dim=0), reference(ops[name], x, dim=0))
