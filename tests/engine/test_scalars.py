"""Every elementwise lowering against its NumPy reference: over the record's samples and over edge values, in every dtype.

A record whose `lower` is a plain function runs here as a kernel of its own: a loop of vectors and a loop of single
elements for the rest, on operands that NumPy has broadcast.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

import flambeau  # noqa: F401 - fills the registry
from flambeau import dtypes
from flambeau.dtypes import FLOAT, dtype
from flambeau.engine.graph import Meta
from flambeau.engine.kernel.complex_emit import Emitter
from flambeau.engine.kernel.scalars import Scalars, load, store
from flambeau.engine.plan import HostCall
from flambeau.engine.runtime import jit
from flambeau.engine.schedule.lowering import Unsupported
from flambeau.ops.op import Op, ops
from flambeau.ops.samples import Call
from flambeau.tensors import Tensor, from_array
from tests.engine.planned import Recording
from tests.ops.test_registry import maker

NAMES = sorted(n for n, o in ops.items() if callable(o.lower) and not o.multiple and o.samples is not None)
NAMES = [n for n in NAMES if "_polynomial_" not in n]  # of degrees, as many steps: test_special_native
NAMES += sorted(n for n, o in ops.items() if callable(o.lower) and n.endswith("_backward"))
KINDS = (
    dtypes.float32, dtypes.float64, dtypes.float16, dtypes.bfloat16, dtypes.int64, dtypes.int32, dtypes.int8,
    dtypes.uint8, dtypes.bool_,
)  # fmt: skip
NARROW = (dtypes.float16, dtypes.bfloat16)
# formulas of several steps that subtract what is nearly equal: the reference is as far from the truth
AMPLIFYING = {
    "logaddexp", "logaddexp2", "mish", "gelu", "gelu_backward", "silu_backward", "logit", "normal_cdf", "sinc",
    "lgamma", "digamma", "special_log_ndtr", "special_ndtri", "addcmul", "addcdiv", "lerp", "erfinv", "log_sigmoid",
    "mvlgamma", "polygamma", "special_airy_ai", "special_bessel_y0", "special_bessel_y1", "special_modified_bessel_k0",
    "special_scaled_modified_bessel_k0",
}  # fmt: skip
OTHERWISE = {"to_copy", *(n for n in NAMES if n.startswith("bitwise"))}  # a test of its own; of integers only
FLOATS_ONLY = {"clip_factor", "muon_update", "running_statistic"}
FLOAT_EDGES = (
    0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 3.0, -3.0, 0.1, -2.7, 6.5, 20.0, -20.0, 88.0, 100.0, -104.0, 710.0,
    1e-3, 1e-8, 1e-40, -1e-40, 65504.0, 1e5, -1e8, 3e38, float("inf"), float("-inf"), float("nan"),
)  # fmt: skip
WIDTH = 16


def compiled(op: Op, operands: Sequence[dtype | None], result: dtype, params: dict[str, Any]) -> Any:
    """A kernel: words are the operands' addresses, the result's, and the number of elements."""
    k = Emitter("kernel")
    count = k.integer(len(operands) + 1)
    register = dtypes.float32 if result in NARROW else result

    def step(i: Any, width: int) -> None:
        s = Scalars(k, register)
        values = [None if d is None else load(k, k.pointer(nr), i, d, width) for nr, d in enumerate(operands)]
        y = s.cast(op.lower(s, *values, **params), result)
        store(k, y, k.pointer(len(operands)), i, result)

    whole = count - count % WIDTH
    with k.loop(whole, step=WIDTH) as i:
        step(i, WIDTH)
    with k.loop(count, start=whole) as i:
        step(i, 1)
    signature = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
    return signature(jit.load(k.text(), "kernel"))


_kernels: dict[Any, Any] = {}


def native(op: Op, arrays: Sequence[Any], meta: Meta, kinds: Sequence[dtype | None], params: dict[str, Any]) -> Any:
    key = op.name, tuple(kinds), meta.dtype, repr(sorted(params.items()))
    if key not in _kernels:
        _kernels[key] = compiled(op, kinds, meta.dtype, params)
    spread = [None if a is None else np.ascontiguousarray(np.broadcast_to(a, meta.shape)) for a in arrays]
    out = np.empty(meta.shape, meta.dtype.np)
    words = [0 if a is None else a.ctypes.data for a in spread] + [out.ctypes.data, out.size]
    block = (ctypes.c_int64 * len(words))(*words)
    _kernels[key](ctypes.addressof(block), 0, 1)
    return out


def both(op: Op, call: Call, meta: Meta) -> tuple[np.ndarray, np.ndarray]:
    """Native and reference results of a call."""
    kinds: list[dtype | None] = []
    arrays: list[Any] = []
    for x in call.inputs:
        if x is None:
            kinds.append(None)
            arrays.append(None)
            continue
        own = x.dtype if isinstance(x, Tensor) else next(d.dtype for d in call.inputs if isinstance(d, Tensor))
        array = x._array() if isinstance(x, Tensor) else np.asarray(x)
        kinds.append(meta.compute or own)
        with np.errstate(all="ignore"):
            arrays.append(array.astype((meta.compute or own).np))
    got = native(op, arrays, meta, kinds, call.params)
    wide = [a.astype(np.float32) if a is not None and d in NARROW else a for a, d in zip(arrays, kinds)]
    with np.errstate(all="ignore"):
        want = np.broadcast_to(np.asarray(op.ref(*wide, **call.params)), meta.shape).astype(meta.dtype.np)
    return got, want


def assert_close(name: str, got: np.ndarray, want: np.ndarray, d: dtype) -> None:
    if d.category < FLOAT:
        np.testing.assert_array_equal(got, want)
        return
    if d.is_complex:
        for part in (np.real, np.imag):
            assert_close(name, part(got), part(want), d.to_real())
        return
    ulp = float(dtypes.finfo(d).eps)
    least = 4 * float(dtypes.finfo(d).tiny) if d in (dtypes.float32, dtypes.float64) else 0.0
    steps, floor = (512, 16 * ulp) if name in AMPLIFYING else (4, least)
    with np.errstate(all="ignore"):
        a, b = got.astype(np.float64), want.astype(np.float64)
        same = (a == b) | (np.isnan(a) & np.isnan(b)) | (np.abs(a - b) <= steps * ulp * np.abs(b) + floor)
    assert same.all(), f"{name} {d}: {a[~same][:5]} where the reference gives {b[~same][:5]}"


def recast(x: Any, kind: dtype) -> Any:
    """A sample of float64 as another dtype; conditions and indices stay."""
    if not isinstance(x, Tensor) or x.dtype is not dtypes.float64:
        return x
    with np.errstate(all="ignore"):
        return from_array(x._array().astype(kind.np))


def calls(op: Op, kind: dtype) -> Iterator[Call]:
    samples = list(op.samples(maker(op.name))) if op.samples is not None else []
    if op.name.endswith("_backward"):
        for c in ops[op.name.removesuffix("_backward")].samples(maker(op.name)):
            samples.append(Call((c.inputs[0], c.inputs[0]), c.params))
    for c in samples:
        yield Call(tuple(recast(x, kind) for x in c.inputs), c.params)
    seen = set()
    for c in samples:  # the same calls on edge values, whatever their shapes were
        if repr(c.params) in seen:
            continue
        seen.add(repr(c.params))
        places = [i for i, x in enumerate(c.inputs) if isinstance(x, Tensor) and x.dtype is dtypes.float64]
        grids = np.meshgrid(*[edges(kind)] * min(len(places), 2), indexing="ij")
        fresh = [from_array(grids[min(nr, 1)].ravel()) for nr in range(len(places))]
        replaced = dict(zip(places, fresh))
        size = fresh[0]._shape if fresh else ()
        yield Call(tuple(replaced.get(i, resized(x, size)) for i, x in enumerate(c.inputs)), c.params)


def resized(x: Any, shape: tuple[int, ...]) -> Any:
    return from_array(np.resize(x._array(), shape)) if isinstance(x, Tensor) and x.numel() else x


def edges(kind: dtype) -> np.ndarray:
    with np.errstate(all="ignore"):
        if kind.category == FLOAT:
            return np.array(FLOAT_EDGES).astype(kind.np)
        if kind is dtypes.bool_:
            return np.array([False, True])
        limits = np.iinfo(kind.np)
        some = [limits.min, limits.max, limits.max - 1, 0, 1, 2, 3, 7, 8, 31, 64, 100, *(-x for x in (1, 2, 5, 100))]
        return np.array([x for x in some if limits.min <= x <= limits.max], kind.np)


def accepted(op: Op, kind: dtype) -> bool:
    """Whether the function that users call gets as far as the op with this dtype."""
    if op.name == "sgn" and kind is dtypes.bool_ or op.name == "to_copy":
        return False
    return kind.category == FLOAT or not (op.name.endswith("_backward") or op.name in FLOATS_ONLY)


@pytest.mark.parametrize("kind", KINDS, ids=lambda d: d.name)
@pytest.mark.parametrize("name", NAMES)
def test_a_lowering_gives_what_the_reference_gives(name: str, kind: dtype) -> None:
    op = ops[name]
    ran = False
    for call in calls(op, kind):
        if not accepted(op, kind):
            continue
        try:
            meta = op.meta(*call.inputs, **call.params)
        except (NotImplementedError, RuntimeError, TypeError):
            continue  # PyTorch refuses this dtype
        try:
            got, want = both(op, call, meta)
        except Unsupported:
            continue  # left to the reference
        ran = True
        assert_close(name, got, want, dtypes.of(got.dtype))
    assert ran or kind not in (dtypes.float32, dtypes.float64) or name in OTHERWISE, f"{name} never ran"


def test_casts_round_once_and_wrap() -> None:
    values = np.array([*FLOAT_EDGES, 300.7, -300.7, 2.5e9, 1e19, 2049.0000001, 65519.999, 1.0009765625000002])
    for source, target in itertools.product(KINDS, KINDS):
        if source is target:
            continue
        with np.errstate(all="ignore"):
            array = values.astype(source.np) if source.category == FLOAT else edges(source)
            call = Call((from_array(array),), {"dtype": target, "strides": None})
            got, want = both(ops["to_copy"], call, Meta(array.shape, target))
        np.testing.assert_array_equal(got.view(np.uint8), want.view(np.uint8), err_msg=f"{source} to {target}")


LOSSES = (
    "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy_with_logits", "kl_div",
    "soft_margin_loss",
)  # fmt: skip


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_one_kernel_or_two(name: str, reduction: str) -> None:
    op = ops[name]
    for c in op.samples(maker(name)):
        for kind in (np.float32, np.float64):
            g = Recording()
            operands = [g.input(x._array().astype(kind)) if isinstance(x, Tensor) else x for x in c.inputs]
            plan = g.check(g.call(op, *operands, **{**c.params, "reduction": reduction}))
            assert not any(isinstance(step, HostCall) for step in plan.steps)


@pytest.mark.parametrize("kind", [dtypes.float32, dtypes.float64, dtypes.bfloat16], ids=lambda d: d.name)
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_the_cross_entropy_of_probabilities_looks_at_them(reduction: str, kind: dtype) -> None:
    op, rng = ops["binary_cross_entropy"], np.random.default_rng(0)
    for count in (1, 7, 64, 1000, 8192, 20_001):
        for weighted in (False, True):
            x, t, w = (rng.uniform(0, 1, count).astype(kind.np) for _ in range(3))
            x[:2] = [0, 1][: len(x)]
            for bad in (None, -1e-3, 1.01, np.nan):
                g = Recording()
                if bad is not None:
                    x = x.copy()
                    x[count * 2 // 3] = bad
                operands = [g.input(x), g.input(t), g.input(w) if weighted else None]
                y = g.call(op, *operands, reduction=reduction)
                if bad is not None:
                    g.run(y)
                    assert g.status[0] == 1, f"{bad} passed for a probability"
                    continue
                plan = g.check(y)
                assert g.status[0] == 0 and not any(isinstance(step, HostCall) for step in plan.steps)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_functions_that_branch_fuse_like_others(kind: Any) -> None:
    rng = np.random.default_rng(0)
    for shape in ((3,), (37, 19), (5, 1000)):
        g = Recording()
        x, y = (g.input(rng.uniform(-3, 3, shape).astype(kind)) for _ in range(2))
        wave = g.call(ops["sin"], g.call(ops["mul"], x, 1e6))
        power = g.call(ops["pow"], g.call(ops["abs"], y), g.call(ops["add"], wave, 2.0))
        rest = g.call(ops["mul"], g.call(ops["remainder"], x, y), power)
        total = g.call(ops["sum"], rest, dim=None, keepdim=False)
        plan = g.check(rest, g.call(ops["pow"], rest, 2.0), total, rtol=1e-4, atol=1e-3)
        assert not any(isinstance(step, HostCall) for step in plan.steps)


@pytest.mark.parametrize("kind", KINDS, ids=lambda d: d.name)
@pytest.mark.parametrize("name", ["floor_divide", "remainder", "fmod", "floor", "trunc", "pow"])
def test_divisions_and_powers_give_what_the_references_give(name: str, kind: dtype) -> None:
    if kind is dtypes.bool_:
        return
    op, params = (ops["rounded_divide"], {"mode": name}) if name in ("floor", "trunc") else (ops[name], {})
    a, b = (grid.ravel() for grid in np.meshgrid(edges(kind), edges(kind)))
    for divisor in (b if kind.category == FLOAT else np.where(b == 0, 3, b).astype(kind.np), b):
        g = Recording()
        y = g.call(op, g.input(a), g.input(divisor), **params)
        got = g.run(y)[0]
        refused = kind.category < FLOAT and name != "pow" and (divisor == 0).any()
        assert g.status[0] == refused
        if not refused:
            assert_close("floor_divide", got, g.reference(y)[0], kind)


@pytest.mark.parametrize("kind", [k for k in KINDS if k.category == dtypes.INTEGER], ids=lambda d: d.name)
@pytest.mark.parametrize("name", ["gcd", "lcm"])
def test_common_factors(name: str, kind: dtype) -> None:
    limits = np.iinfo(kind.np)
    drawn = np.random.default_rng(0).integers(limits.min, limits.max, (2, 3000), kind.np, endpoint=True)
    few = np.random.default_rng(1).integers(0, 100, (2, 3000)).astype(kind.np)
    grid = np.array([x.ravel() for x in np.meshgrid(edges(kind), edges(kind))])
    for a, b in (drawn, few, grid):
        g = Recording()
        y = g.call(ops[name], g.input(a), g.input(b))
        plan = g.check(y, rtol=0, atol=0)
        assert not any(isinstance(step, HostCall) for step in plan.steps)


def test_a_whole_number_to_one_negative_power_is_refused() -> None:
    for exponent in (-1, 3):
        g = Recording()
        y = g.call(ops["pow"], g.input(np.arange(-3, 40)), exponent)
        if exponent < 0:
            g.run(y)
        else:
            g.check(y)
        assert g.status[0] == (exponent < 0)


def test_a_number_is_not_cut_to_the_dtype_of_a_mask() -> None:
    for mask in (np.uint8, np.bool_):
        g = Recording()
        condition, x = g.input(np.array([1, 0, 2]).astype(mask)), g.input(np.array([1, 2, 3]))
        g.check(g.call(ops["where"], condition, 300, x), g.call(ops["where"], condition, x, -1))


@pytest.mark.parametrize("decimals", [-2, 0, 3])
def test_rounding_to_decimals(decimals: int) -> None:
    for array in (np.array([1234, -1250, 7]), np.array([1234.5678, -0.0005, 2.5]), np.float32([1250, 0.1235, -3.5])):
        g = Recording()
        g.check(g.call(ops["round"], g.input(array), decimals=decimals))
