"""Kernels that only move elements, beside their references: every op over its samples, dtypes and strides; then shapes
that the copies' ways (runs, tiles, steps, broadcasts, edges) must meet."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from flambeau import dtypes
from flambeau.dtypes import dtype
from flambeau.engine.graph import Arg
from flambeau.engine.kernel.move import Window, add, copy, fill
from flambeau.engine.plan import Address, Buffer
from flambeau.engine.schedule.lowering import Unsupported
from flambeau.ops.nn.resize import Resampling
from flambeau.ops.op import ops
from flambeau.shape import contiguous_strides
from flambeau.tensors import Tensor, from_array
from tests.engine.harness import Bench, native, reference

MOVES = [
    "clone", "copy", "cat", "stack", "constant_pad_nd", "repeat", "roll", "flip", "rot90", "tril", "triu", "diag_embed",
    "view_scatter", "embed", "pad_from_itself", "pad_from_itself_backward", "pixel_shuffle", "pixel_unshuffle",
    "channel_shuffle", "im2col", "col2im",
]  # fmt: skip
SUMS = {"pad_from_itself_backward", "col2im"}


def maker(seed: str, kind: dtype) -> Any:
    """The `t` of `ops.samples` for one dtype of data (indices stay what they are)."""
    rng = np.random.default_rng(zlib.crc32(seed.encode()))

    def t(*shape: int, low: float = -2.0, high: float = 2.0, dtype: dtype | None = None) -> Tensor:
        return from_array(values(rng, shape, dtype or kind, low, high))

    return t


def values(rng: Any, shape: tuple[int, ...], kind: dtype, low: float = -2.0, high: float = 2.0) -> np.ndarray:
    if kind.category < dtypes.FLOAT:
        low, high = (0, 2) if kind is dtypes.bool_ else (max(low, 0) if kind is dtypes.uint8 else low, high)
        return np.asarray(rng.integers(int(low), int(high), shape)).astype(kind.np)
    found = rng.uniform(low, high, shape)
    return np.asarray(found + 1j * rng.uniform(low, high, shape) if kind.is_complex else found).astype(kind.np)


def strided(x: Tensor, how: int) -> Tensor:
    """The same elements elsewhere: in another order of dimensions, every second of a larger memory, or broadcast."""
    array = x._array()
    if how == 1 and array.ndim:
        return from_array(np.ascontiguousarray(array.T)).permute(*range(array.ndim - 1, -1, -1))
    if how == 2 and array.ndim:
        wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1] + 1), array.dtype)
        wide[..., 1::2] = array
        return from_array(wide)[..., 1::2]
    return x


def same(got: list[np.ndarray], want: list[np.ndarray], close: bool = False) -> None:
    for g, w in zip(got, want, strict=True):
        assert g.shape == w.shape and g.dtype == w.dtype
        if close:
            tolerance = {2: 2e-2, 4: 1e-6}.get(g.real.dtype.itemsize, 1e-12)
            np.testing.assert_allclose(g.astype(np.complex128), w.astype(np.complex128), tolerance, tolerance)
        else:
            assert g.tobytes() == np.ascontiguousarray(w).tobytes() if g.flags.c_contiguous else (g == w).all()


def calls(name: str, kind: dtype) -> Iterator[Any]:
    record = ops[name]
    t = maker(name, kind)
    if name == "embed":
        yield (t(3), {"shape": (3, 4), "of": ops["select"], "params": {"dim": 1, "index": 2}})
        yield (t(2, 4), {"shape": (5, 4), "of": ops["slice"], "params": {"dim": 0, "start": 1, "length": 2, "step": 2}})
    else:
        for inputs, params in record.samples(t):
            yield (*inputs, params)


@pytest.mark.parametrize("kind", dtypes.ALL, ids=lambda d: d.name)
@pytest.mark.parametrize("name", MOVES)
def test_samples(name: str, kind: dtype) -> None:
    for *inputs, params in calls(name, kind):
        for how in range(3):
            given = [strided(x, how) if isinstance(x, Tensor) else x for x in inputs]
            same(native(ops[name], *given, threads=2, **params), reference(ops[name], *given, **params), name in SUMS)


SHAPES = [
    (), (0, 3), (1,), (7,), (64,), (65, 33), (3, 1000), (1000, 3), (2, 3, 16, 16), (4, 5, 6, 7, 2), (128, 260), (40000,),
]  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", [dtypes.bool_, dtypes.float16, dtypes.float32, dtypes.float64, dtypes.complex128],
                         ids=lambda d: d.name)  # fmt: skip
def test_every_order_of_memory(shape: tuple[int, ...], kind: dtype) -> None:
    rng = np.random.default_rng(len(shape))
    base = from_array(values(rng, shape, kind))
    orders = [tuple(np.roll(range(len(shape)), r)) for r in range(max(len(shape), 1))]
    for order in orders:
        x = base.permute(*order) if order else base
        clone = ops["clone"]
        same(native(clone, x, threads=3, strides=None), reference(clone, x, strides=None))
        if x.ndim:
            flip = {"dims": (x.ndim - 1,)}
            same(native(ops["flip"], x, **flip), reference(ops["flip"], x, **flip))
            wide = x.unsqueeze(-1).expand(*x.shape, 3)
            same(native(clone, wide, threads=2, strides=None), reference(clone, wide, strides=None))


def moved(
    write: Any, shape: tuple[int, ...], kind: dtype, strides: tuple[int, ...], held: np.ndarray, threads: int
) -> Any:
    """What `write(bench, window)` leaves in memory that holds `held`."""
    bench = Bench([], [], threads)
    bench.memory[Buffer("output", 0)] = held.copy()
    write(bench, Window(Address(Buffer("output", 0)), strides, kind))
    return bench.memory[Buffer("output", 0)]


@pytest.mark.parametrize("source", dtypes.ALL, ids=lambda d: d.name)
@pytest.mark.parametrize("target", dtypes.ALL, ids=lambda d: d.name)
def test_casts(source: dtype, target: dtype) -> None:
    """As `to_copy` casts, edge values included; between the elements of the target nothing changes."""
    edges = [0.0, -0.0, 1.5, -2.5, 1e30, -1e30, 65519.0, 65520.0, 1e-40, 3e-8, np.inf, -np.inf, np.nan, 2.0**31, 300.0]
    with np.errstate(all="ignore"):
        array = np.array(edges * 3 if source.category >= dtypes.FLOAT else range(-20, 25)).astype(source.np)
    x = from_array(array.reshape(9, 5))
    held = np.full(9 * 10 * target.itemsize, 0xA5, np.uint8)
    got = moved(
        lambda bench, out: copy(bench, (9, 5), out, Window(placed(bench, x), x._strides, source)),
        (9, 5), target, (10, 2), held, 2,
    )  # fmt: skip
    want = held.copy()
    (cast,) = reference(ops["to_copy"], x, dtype=target, strides=None)
    want.view(target.np).reshape(9, 10)[:, ::2] = cast
    valid = want.view(target.np).reshape(9, 10)
    found = got.view(target.np).reshape(9, 10)
    if target.category >= dtypes.FLOAT:  # a NaN is a NaN
        nan = np.isnan(cast.astype(np.complex128))
        found[:, ::2][nan] = valid[:, ::2][nan] = 0
    assert found.tobytes() == valid.tobytes()


def placed(bench: Bench, x: Tensor) -> Address:
    bench.memory[Buffer("input", 0)] = x._storage.bytes
    return bench.source(Arg(0, x._shape, x._strides, x._offset, x.dtype))


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_add_and_fill_keep_to_their_windows(threads: int) -> None:
    x = from_array(np.arange(15.0, dtype=np.float32).reshape(3, 5))
    held = np.arange(60, dtype=np.float32).view(np.uint8)
    got = moved(
        lambda bench, out: add(bench, (5, 3), out.part(1), Window(placed(bench, x), (1, 5), dtypes.float32)),
        (5, 3), dtypes.float32, (2, 20), held, threads,
    ).view(np.float32).reshape(3, 20)  # fmt: skip
    want = np.arange(60, dtype=np.float32).reshape(3, 20)
    want[:, 1:11:2] += x._array()
    assert (got == want).all()
    got = moved(lambda bench, out: fill(bench, (3, 7), out, True), (3, 7), dtypes.int16, (9, 1), held, threads)
    whole = held.copy().view(np.int16)
    whole[:27].reshape(3, 9)[:, :7] = 1
    assert (got.view(np.int16) == whole).all()


def test_overlapping_sources() -> None:
    x = from_array(np.arange(40.0)).unfold(0, 16, 3)
    same(native(ops["clone"], x, strides=None), reference(ops["clone"], x, strides=None))


@pytest.mark.parametrize("shape", [(20000, 5), (5, 20000), (2, 17000, 3), (3, 18000, 40), (16500, 130)])
@pytest.mark.parametrize("kind", [dtypes.float32, dtypes.uint8], ids=lambda d: d.name)
def test_transposes_of_few_long_rows(shape: tuple[int, ...], kind: dtype) -> None:
    """Tasks divide the long side, wherever it is."""
    x = from_array(values(np.random.default_rng(0), shape, kind)).mT
    same(native(ops["clone"], x, threads=3, strides=None), reference(ops["clone"], x, strides=None))
    rows = contiguous_strides(x._shape)
    same(native(ops["clone"], x, threads=3, strides=rows), reference(ops["clone"], x, strides=rows))


@pytest.mark.parametrize("kind", [dtypes.float32, dtypes.uint8, dtypes.complex64], ids=lambda d: d.name)
@pytest.mark.parametrize("many", [2, 3, 4, 7, 9])
@pytest.mark.parametrize("shape", [(1,), (3, 67), (5, 1), (2, 3, 64), (40000,), (0, 3)], ids=str)
def test_stacks_along_the_last_dimension(shape: tuple[int, ...], many: int, kind: dtype) -> None:
    rng = np.random.default_rng(0)
    for how in range(3):
        xs = [strided(from_array(values(rng, shape, kind)), how if nr else 0) for nr in range(many)]
        for given in (xs, [xs[-1]] * many):
            same(
                native(ops["stack"], *given, threads=3, dim=len(shape)), reference(ops["stack"], *given, dim=len(shape))
            )


@pytest.mark.parametrize("source", [dtypes.uint8, dtypes.float32, dtypes.complex64], ids=lambda d: d.name)
@pytest.mark.parametrize("colours", [2, 3, 4, 5, 8, 9])
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (8, 48), (130, 131)], ids=str)
def test_colours_beside_one_another_and_apart(size: tuple[int, int], colours: int, source: dtype) -> None:
    rng = np.random.default_rng(0)
    for x in (values(rng, (2, *size, colours), source), values(rng, (2, colours, *size), source)):
        first = x.shape[1] == colours and x.shape[2:] == size
        moved_ = from_array(x).permute(0, 2, 3, 1) if first else from_array(x).permute(0, 3, 1, 2)
        rows = contiguous_strides(moved_._shape)
        same(native(ops["clone"], moved_, threads=3, strides=rows), reference(ops["clone"], moved_, strides=rows))
        target = dtypes.complex64 if source.is_complex else dtypes.float32
        got = moved(
            lambda bench, out: copy(bench, moved_._shape, out, Window(placed(bench, moved_), moved_._strides, source)),  # noqa: B023
            moved_._shape, target, rows, np.zeros(x.size * target.itemsize, np.uint8), 2,
        )  # fmt: skip
        assert (got.view(target.np).reshape(moved_._shape) == moved_._array().astype(target.np)).all()


@pytest.mark.parametrize("step", [2, 3, 4, 5, -1])
@pytest.mark.parametrize("kind", [dtypes.float64, dtypes.float32, dtypes.bfloat16, dtypes.bool_], ids=lambda d: d.name)
def test_every_few_elements(step: int, kind: dtype) -> None:
    """Nothing is read behind the last of them."""
    for n in (1, 16, 64, 130, 1001):
        x = from_array(values(np.random.default_rng(0), (3, n * abs(step) - abs(step) + 1), kind))
        if step < 0:
            same(native(ops["flip"], x, threads=2, dims=(1,)), reference(ops["flip"], x, dims=(1,)))
            continue
        few = x[:, ::step]
        same(native(ops["clone"], few, threads=2, strides=None), reference(ops["clone"], few, strides=None))
        got = moved(
            lambda bench, out: copy(bench, (3, n), out, Window(placed(bench, few), few._strides, kind)),  # noqa: B023
            (3, n), dtypes.float32, (n, 1), np.zeros(12 * n, np.uint8), 2,
        )  # fmt: skip
        assert (got.view(np.float32).reshape(3, n) == few._array().astype(np.float32)).all()


def test_wide_padding_and_many_pieces() -> None:
    x = from_array(np.arange(12.0).reshape(3, 4))
    for mode in ("reflect", "replicate", "circular"):
        how = {"pads": ((2, 1), (3, 2)), "mode": mode}
        same(native(ops["pad_from_itself"], x, **how), reference(ops["pad_from_itself"], x, **how))
        (y,) = reference(ops["pad_from_itself"], x, **how)
        back = ops["pad_from_itself_backward"]
        same(native(back, from_array(y), **how), reference(back, from_array(y), **how), close=True)
    big = from_array(np.random.default_rng(0).standard_normal((200, 130)).astype(np.float32))
    how = {"pad": (3, -2, 5, 70), "value": 2.0}
    same(native(ops["constant_pad_nd"], big, threads=2, **how), reference(ops["constant_pad_nd"], big, **how))
    for name, diagonal in (("tril", -3), ("triu", 200), ("tril", 1), ("triu", 0)):
        for shape in (big, big.T):
            same(native(ops[name], shape, threads=2, diagonal=diagonal), reference(ops[name], shape, diagonal=diagonal))
    with pytest.raises(Unsupported):
        native(ops["pad_from_itself"], x, pads=((9000, 0), (0, 0)), mode="circular")


@pytest.mark.parametrize("kind", [dtypes.float32, dtypes.bfloat16, dtypes.uint8], ids=lambda d: d.name)
@pytest.mark.parametrize("exact", [False, True])
def test_enlarging_by_whole_factors(kind: dtype, exact: bool) -> None:
    how = Resampling("nearest-exact" if exact else "nearest", False, False)
    rng = np.random.default_rng(0)
    for size, factors in (((5,), (3,)), ((4, 17), (2, 2)), ((3, 5), (1, 4)), ((2, 3, 4), (2, 1, 3))):
        x = from_array(values(rng, (2, 3, *size), kind))
        large = tuple(n * f for n, f in zip(size, factors))
        for scales in ((None,) * len(size), tuple(map(float, factors))):
            for how_x in range(3):
                given = strided(x, how_x)
                params = {"size": large, "how": how, "scales": scales}
                same(native(ops["upsample"], given, threads=2, **params), reference(ops["upsample"], given, **params))
            if kind is not dtypes.uint8:
                g = from_array(values(rng, (2, 3, *large), kind))
                params["size"] = size
                back = ops["upsample_backward"]
                same(native(back, g, threads=2, **params), reference(back, g, **params), close=True)


@pytest.mark.parametrize("kind", [dtypes.float32, dtypes.float64, dtypes.float16], ids=lambda d: d.name)
@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "linear", "cubic"])
def test_resampling(kind: dtype, mode: str) -> None:
    rng = np.random.default_rng(0)
    cases = [
        ((7,), (5,), None),
        ((6, 9), (13, 4), None),
        ((5, 40), (11, 90), (2.3, 2.26)),
        ((3, 4, 5), (5, 4, 3), None),
    ]
    for small, large, scales in cases if kind is dtypes.float32 else cases[1:2]:
        for align in (False, True) if mode in ("linear", "cubic") else (False,):
            for soft in (False, True) if len(small) == 2 and mode in ("linear", "cubic") else (False,):
                how = {"how": Resampling(mode, align, soft), "scales": scales or (None,) * len(small)}
                x = from_array(values(rng, (2, 3, *small), kind))
                for way in range(3):
                    given = strided(x, way)
                    got = native(ops["upsample"], given, threads=2, size=large, **how)
                    near(got, reference(ops["upsample"], given, size=large, **how))
                g = from_array(values(rng, (2, 3, *large), kind))
                got = native(ops["upsample_backward"], g, threads=2, size=small, **how)
                near(got, reference(ops["upsample_backward"], g, size=small, **how))


def near(got: list[np.ndarray], want: list[np.ndarray]) -> None:
    tolerance = {2: 5e-3, 4: 1e-5}.get(got[0].dtype.itemsize, 1e-12)
    np.testing.assert_allclose(got[0].astype(np.float64), want[0].astype(np.float64), tolerance, tolerance)


def test_bytes_are_resampled_by_the_reference() -> None:
    x = from_array(np.ones((1, 1, 4), np.uint8))
    with pytest.raises(Unsupported):
        native(ops["upsample"], x, size=(6,), how=Resampling("linear", False, False), scales=(None,))


@pytest.mark.parametrize("kind", [dtypes.float32, dtypes.float64, dtypes.bfloat16, dtypes.bool_], ids=lambda d: d.name)
@pytest.mark.parametrize("pad", [(1, 1, 1, 1), (2, 0), (0, 3, 2, 0), (9, 1), (3, -2, -1, 2), (0, 0, 1, 1)])
def test_constant_pads_of_many_rows(kind: dtype, pad: tuple[int, ...]) -> None:
    x = from_array(values(np.random.default_rng(0), (5, 11, 17, 33), kind))
    record, given = ops["constant_pad_nd"], {"pad": pad, "value": 1.5}
    for how in (0, 1):
        same(native(record, strided(x, how), threads=3, **given), reference(record, x, **given))


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("edges", [(1, 1), (0, 2), (3, 0), (9, 9)])
def test_pads_of_rows_from_themselves(mode: str, edges: tuple[int, int]) -> None:
    x = from_array(values(np.random.default_rng(0), (5, 3, 17, 33), dtypes.float32))
    record, given = ops["pad_from_itself"], {"pads": ((0, 0), (0, 0), edges, edges), "mode": mode}
    same(native(record, x, threads=3, **given), reference(record, x, **given))
