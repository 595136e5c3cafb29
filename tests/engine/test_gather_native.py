"""Kernels that read and write at indices, beside their references: samples, dtypes, strides, indices that repeat, that
count from the end, that are out of range; sums in one order whatever the threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from flambeau import dtypes
from flambeau.dtypes import dtype
from flambeau.engine.kernel import gather, gather_columns, gather_terms, move
from flambeau.engine.kernel.move import Window
from flambeau.engine.plan import Address, Buffer
from flambeau.engine.schedule.lowering import Unsupported
from flambeau.ops.op import ops
from flambeau.tensors import Tensor, from_array
from tests.engine.harness import BadData, native, reference
from tests.engine.test_move_native import maker, same, strided, values

READS = ["gather", "index_select", "index", "masked_select", "take", "embedding"]
WRITES = ["scatter", "index_copy", "index_fill"]
SUMS = ["scatter_add", "scatter_reduce", "index_add", "index_put", "masked_scatter", "put", "embedding_dense_backward"]


@pytest.mark.parametrize("kind", dtypes.ALL, ids=lambda d: d.name)
@pytest.mark.parametrize("name", READS + WRITES + SUMS)
def test_samples(name: str, kind: dtype) -> None:
    if kind is dtypes.bool_ and name in ("index_add", "embedding_dense_backward", "scatter_reduce"):
        return
    ran = 0
    for inputs, params in ops[name].samples(maker(name, kind)):
        for how in range(3):
            given = [strided(x, how) if isinstance(x, Tensor) else x for x in inputs]
            try:
                got = native(ops[name], *given, threads=2, **params)
            except Unsupported:
                continue
            except NotImplementedError:  # the op itself refuses the dtype
                ran = 1
                continue
            same(got, reference(ops[name], *given, **params), close=name in SUMS)
            ran += 1
    assert ran


def indices(rng: Any, high: int, *shape: int, low: int = 0, kind: Any = np.int64) -> Tensor:
    return from_array(rng.integers(low, high, shape).astype(kind))


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("shape", [(1000, 128), (50, 1), (7, 33), (300, 515)], ids=str)
def test_embedding_and_its_gradient(shape: tuple[int, int], threads: int) -> None:
    rng = np.random.default_rng(1)
    table = from_array(rng.standard_normal(shape).astype(np.float32))
    for kind in (np.int64, np.int32):
        at = indices(rng, shape[0], 35, 20, kind=kind)
        for padding, by_frequency in ((-1, False), (3, False), (-1, True), (3, True)):
            how = {"padding_idx": padding, "by_frequency": by_frequency}
            for index in (at, at.t()):
                (y,) = native(ops["embedding"], table, index, threads=threads, **how)
                same([y], reference(ops["embedding"], table, index, **how))
                g = from_array(rng.standard_normal(y.shape).astype(np.float32))
                args = (ops["embedding_dense_backward"], g, index)
                one = native(*args, rows=shape[0], **how)
                same(native(*args, threads=threads, rows=shape[0], **how), one)
                want = reference(*args, rows=shape[0], **how)
                np.testing.assert_allclose(one[0], want[0], 1e-5, 1e-5)


@pytest.mark.parametrize("dim", [0, 1, 2])
@pytest.mark.parametrize("kind", [dtypes.float32, dtypes.bfloat16, dtypes.int8], ids=lambda d: d.name)
def test_larger_gathers_and_scatters(dim: int, kind: dtype) -> None:
    rng = np.random.default_rng(dim)
    shape = (13, 70, 45)
    x, n = from_array(values(rng, shape, kind)), shape[dim]
    for index_shape in (shape, (5, 33, 40), tuple(90 if d == dim else 9 for d in range(3))):
        at = indices(rng, n, *index_shape)
        same(native(ops["gather"], x, at, threads=3, dim=dim), reference(ops["gather"], x, at, dim=dim))
        src = from_array(values(rng, index_shape, kind))
        for name in ("scatter", "scatter_add"):
            got = native(ops[name], x, at, src, threads=3, dim=dim)
            same(got, native(ops[name], x, at, src, threads=1, dim=dim))
            want = reference(ops[name], x, at, src, dim=dim)
            if kind is dtypes.float32:
                np.testing.assert_allclose(got[0], want[0], 1e-5, 1e-5)
            else:
                same(got, want)
    vector = indices(rng, n, 90)
    same(native(ops["index_select"], x, vector, threads=2, dim=dim), reference(ops["index_select"], x, vector, dim=dim))


def test_indices_from_the_end() -> None:
    rng = np.random.default_rng(0)
    x = from_array(rng.standard_normal((6, 5, 4)))
    a, b = indices(rng, 6, 3, 2, low=-6), indices(rng, 4, 2, low=-4)
    same(native(ops["index"], x, a, None, b), reference(ops["index"], x, a, None, b))
    same(native(ops["index"], x, None, None, b), reference(ops["index"], x, None, None, b))
    same(native(ops["take"], x, indices(rng, 120, 50, low=-120)), [x._array().reshape(-1)[_last_range(120)]])
    v = from_array(rng.standard_normal((3, 2, 5)))
    for accumulate in (False, True):
        got = native(ops["index_put"], x, v, a, None, b, threads=2, accumulate=accumulate)
        same(got, reference(ops["index_put"], x, v, a, None, b, accumulate=accumulate), close=True)
    for name in ("index_copy", "index_fill"):
        src = from_array(rng.standard_normal((2, 5, 4))) if name == "index_copy" else 2.5
        at = from_array(np.array([-1, 2]))
        same(native(ops[name], x, at, src, dim=0), reference(ops[name], x, at, src, dim=0))


def _last_range(high: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    rng.standard_normal((6, 5, 4)), rng.integers(-6, 6, (3, 2)), rng.integers(-4, 4, (2,))
    return rng.integers(-high, high, (50,))


@pytest.mark.parametrize("bad", [5, -1, 2**40, -(2**62)])
def test_indices_out_of_range_touch_nothing_and_are_told(bad: int) -> None:
    x = from_array(np.arange(20.0).reshape(5, 4))
    at = np.zeros((3, 4), np.int64)
    at[2, 3] = bad
    two, one = from_array(at), from_array(np.array([0, bad, 1]))
    with pytest.raises(BadData):
        native(ops["gather"], x, two, dim=0)
    with pytest.raises(BadData):
        native(ops["scatter_add"], x, two, from_array(np.ones((3, 4))), dim=0)
    with pytest.raises(BadData):
        native(ops["index_select"], x, one, dim=0)
    with pytest.raises(BadData):
        native(ops["embedding"], x, one, padding_idx=-1, by_frequency=False)
    with pytest.raises(BadData):
        native(ops["embedding_dense_backward"], from_array(np.ones((3, 4))), one, rows=5, padding_idx=-1,
               by_frequency=False)  # fmt: skip
    if bad != -1:
        for name, values_ in (("index", []), ("index_put", [from_array(np.ones((3, 4)))])):
            params = {"accumulate": True} if values_ else {}
            with pytest.raises(BadData):
                native(ops[name], x, *values_, one, **params)
    with pytest.raises(Unsupported):
        native(ops["embedding"], from_array(np.ones((0, 4))), one, padding_idx=-1, by_frequency=False)


def test_integer_reductions() -> None:
    rng = np.random.default_rng(0)
    x = from_array(rng.integers(-9, 9, (4, 6)).astype(np.int32))
    at, src = indices(rng, 4, 9, 6), from_array(rng.integers(-9, 9, (9, 6)).astype(np.int32))
    for reduce in ("sum", "prod", "amax", "amin"):
        for own in (True, False):
            how = {"dim": 0, "reduce": reduce, "include_self": own}
            same(native(ops["scatter_reduce"], x, at, src, threads=2, **how),
                 reference(ops["scatter_reduce"], x, at, src, **how))  # fmt: skip


@pytest.fixture
def small_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is large: tables are taken strip by strip, results go past the caches."""
    monkeypatch.setattr(gather_columns, "cache_sizes", lambda: (1 << 10, 1 << 14))
    monkeypatch.setattr(gather, "cache_sizes", lambda: (1 << 10, 1 << 14))
    monkeypatch.setattr(move, "last_cache", lambda: 0)


@pytest.mark.parametrize("shape", [(70, 200), (3, 64, 171), (2, 2, 90, 128)], ids=str)
@pytest.mark.parametrize("kind", [dtypes.float64, dtypes.float32, dtypes.bfloat16], ids=lambda d: d.name)
@pytest.mark.parametrize("threads", [1, 5])
def test_large_gathers(shape: tuple[int, ...], kind: dtype, threads: int, small_caches: None) -> None:
    rng = np.random.default_rng(0)
    x = from_array(values(rng, shape, kind))
    for dim in range(len(shape)):
        for place in (np.int64, np.int32):
            at = indices(rng, shape[dim], *shape, kind=place)
            same(native(ops["gather"], x, at, threads=threads, dim=dim), reference(ops["gather"], x, at, dim=dim))


def test_strips_are_taken_down_columns_only(small_caches: None) -> None:
    term = gather_terms.Term(Window(Address(Buffer("input", 0)), (200, 1), dtypes.int64), 70, 200)
    assert gather_columns.strips([(70, (200, 0, 200)), (200, (1, 1, 1))], 4, [term]) is not None
    assert gather_columns.strips([(9, (200, 0, 200)), (200, (1, 1, 1))], 4, [term]) is None  # too few rows
    assert gather_columns.strips([(70, (200, 200, 200)), (200, (1, 0, 1))], 4, [term._replace(step=1)]) is None


@pytest.mark.parametrize("dim", [0, 1])
@pytest.mark.parametrize("place", [(0, 0), (33, 77), (69, 199)])
def test_one_bad_index_among_many(dim: int, place: tuple[int, int], small_caches: None) -> None:
    rng = np.random.default_rng(0)
    x, array = from_array(values(rng, (70, 200), dtypes.float32)), rng.integers(0, 70, (70, 200))
    array[place] = -1
    with pytest.raises(BadData):
        native(ops["gather"], x, from_array(array), threads=2, dim=dim)
    columns = from_array(array[place[0]].copy())
    same(native(ops["index"], x, None, columns), reference(ops["index"], x, None, columns))
