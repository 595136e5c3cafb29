"""The functions of `vecmath` against wider arithmetic: over all exponents, around every threshold, at the edges.

Float is measured against float64; double against the 80-bit `longdouble` where NumPy has one, else against float64 itself.
Errors are in units in the last place of the exact result. `FLAMBEAU_VECMATH_STEP=127` tries more floats.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from flambeau.engine.kernel import vecmath_error, vecmath_exp, vecmath_gamma, vecmath_log, vecmath_power, vecmath_trig
from flambeau.engine.kernel.emit import Emitter, vector
from flambeau.engine.runtime import codegen, jit
from flambeau.ops.elementwise import remainder_op
from flambeau.ops.specfun import error, gamma

STEP = int(os.environ.get("FLAMBEAU_VECMATH_STEP", "8191"))  # odd, so that all low bits are tried
LONG = np.longdouble
HAS_LONG = np.finfo(LONG).nmant > 60
Function = Callable[..., Any]


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


# name: (function, wider one, bound in float, bound in double; None: the wider one is no better than ours)
EXACT: dict[str, tuple[Function, Function, float, float]] = {
    "exp": (vecmath_exp.exp, np.exp, 1.1, 1.1),
    "exp2": (vecmath_exp.exp2, np.exp2, 1.1, 1.2),
    "expm1": (vecmath_exp.expm1, np.expm1, 1.6, 2.0),
    "sigmoid": (vecmath_exp.sigmoid, sigmoid, 2.0, 2.0),
    "tanh": (vecmath_exp.tanh, np.tanh, 1.6, 1.6),
    "sinh": (vecmath_exp.sinh, np.sinh, 0.51, 3.0),
    "cosh": (vecmath_exp.cosh, np.cosh, 0.51, 3.0),
    "log": (vecmath_log.log, np.log, 0.9, 0.9),
    "log2": (vecmath_log.log2, np.log2, 1.9, 1.9),
    "log10": (vecmath_log.log10, np.log10, 2.0, 3.0),
    "log1p": (vecmath_log.log1p, np.log1p, 0.9, 0.9),
    "asinh": (vecmath_log.asinh, np.arcsinh, 0.51, 2.5),
    "acosh": (vecmath_log.acosh, np.arccosh, 0.51, 2.5),
    "atanh": (vecmath_log.atanh, np.arctanh, 0.51, 2.5),
    "sin": (vecmath_trig.sin, np.sin, 1.7, 2.6),
    "cos": (vecmath_trig.cos, np.cos, 1.7, 2.6),
    "tan": (vecmath_trig.tan, np.tan, 0.51, 4.0),
    "asin": (vecmath_trig.asin, np.arcsin, 0.51, 2.5),
    "acos": (vecmath_trig.acos, np.arccos, 0.51, 2.5),
    "atan": (vecmath_trig.atan, np.arctan, 0.51, 2.5),
}
# against the NumPy references, which are as good as ours in double
FLOAT_ONLY: dict[str, tuple[Function, Function, float]] = {
    "erf": (vecmath_error.erf, error.erf, 1.1),
    "erfc": (vecmath_error.erfc, error.erfc, 0.51),
    "erfcx": (vecmath_error.erfcx, error.erfcx, 0.51),
    "erfinv": (vecmath_error.erfinv, error.erfinv, 0.51),
    "ndtr": (vecmath_error.ndtr, error.ndtr, 0.51),
    "lgamma": (vecmath_gamma.lgamma, gamma.lgamma, 0.51),
    "digamma": (vecmath_gamma.digamma, gamma.digamma, 0.51),
}
PAIRS: dict[str, tuple[Function, Function, float, float]] = {
    "pow": (vecmath_power.pow, np.power, 1.0, 4.0),
    "hypot": (vecmath_power.hypot, np.hypot, 0.51, 1.5),
    "atan2": (vecmath_trig.atan2, np.arctan2, 0.51, 3.0),
}
REMAINDERS: dict[str, tuple[Function, Function]] = {
    "fmod": (vecmath_power.fmod, np.fmod),
    "remainder": (vecmath_power.remainder, remainder_op.ref),
}
EDGES = (
    0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 3.0, 8.0, 10.0, 1000.0, np.inf, -np.inf, np.nan, 88.72283, 88.72284,
    -87.33, -87.34, -103.9, -104.0, 128.0, -126.0, -149.0, -150.0, -151.0, 709.782712893384, 709.7827128933841, -708.4,
    -745.13, -745.14, 1024.0, -1022.0, -1075.0, -1076.0, 0.46875, 0.55, 0.9277, 22.0, 1e5, 1e-20, 5e-324, 2.2e-308,
    1.7e308, -1.7e308, 1e-45, 1.1754943e-38, 3.4028235e38,
)  # fmt: skip


def native(function: Function, arity: int, dtype: Any, nbytes: int = 64) -> Callable[..., np.ndarray]:
    """A function of vectors as one of arrays: a vector of `nbytes` at a time, and the rest one by one."""
    scalar = "float" if dtype == np.float32 else "double"
    width = nbytes // np.dtype(dtype).itemsize
    k = Emitter("kernel")
    count = k.integer(arity + 1)
    whole = count - count % width
    for start, stop, lanes in ((0, whole, width), (whole, count, 1)):
        with k.loop(stop, start=start, step=lanes) as i:
            operands = [k.load(k.pointer(nr), i, vector(scalar, lanes)) for nr in range(arity)]
            k.store(function(k, *operands), k.pointer(arity), i)
    kernel = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(jit.load(k.text(), "kernel"))

    def call(*arrays: np.ndarray) -> np.ndarray:
        out = np.empty_like(arrays[0])
        block = (ctypes.c_int64 * (arity + 2))(*[a.ctypes.data for a in (*arrays, out)], out.size)
        kernel(ctypes.addressof(block), 0, 1)
        return out

    return call


def assert_within(bound: float, got: np.ndarray, want: Any, *operands: np.ndarray) -> None:
    """`got` is at most `bound` units in the last place from `want`, which is wider; NaN, infinity, zero agree."""
    with np.errstate(all="ignore"):
        rounded = want.astype(got.dtype)
        unit = np.spacing(np.minimum(np.abs(rounded), np.finfo(got.dtype).max))
        error = np.abs(got.astype(want.dtype) - want) / unit
        same = (got == rounded) | (np.isnan(got) & np.isnan(rounded))
    error = np.where(same & ~np.isfinite(rounded), 0, np.where(np.isnan(error), np.inf, error))
    worst = int(np.argmax(error))
    at = [float(x[worst]) for x in operands]
    assert error[worst] <= bound, f"{error[worst]:.3f} ulp at {at}: {got[worst]!r} is {want[worst]!r}"
    signs = (got == 0) & (rounded == 0) & (np.signbit(got) != np.signbit(rounded))
    assert not signs.any(), f"the sign of zero at {[float(x[np.argmax(signs)]) for x in operands]}"


def all_floats() -> np.ndarray:
    """Every `STEP`th float of all there are, the edges, and some of those that networks see."""
    bits = np.arange(0, 2**32, STEP, dtype=np.uint64).astype(np.uint32).view(np.float32)
    rng = np.random.default_rng(0)
    with np.errstate(all="ignore"):
        edges = np.array(EDGES).astype(np.float32)
    usual = [rng.uniform(-a, a, 20_000).astype(np.float32) for a in (1, 10, 100)]
    return np.concatenate([bits, edges, np.nextafter(edges, np.float32(0)), *usual])


def many_doubles() -> np.ndarray:
    """Random bits, random sizes, neighbours of 1 and of multiples of pi/2, the edges."""
    rng, n = np.random.default_rng(1), 20_000
    signs = rng.choice([-1.0, 1.0], n)
    return np.concatenate([
        rng.integers(0, 2**64, n, dtype=np.uint64).view(np.float64), *[rng.uniform(-a, a, n) for a in (1, 4, 30, 720, 1e5)],
        signs * np.exp(rng.uniform(-40, 8, n)), 1 + signs * np.exp(rng.uniform(-36, -1, n)),
        np.arange(1, n) * (np.pi / 2), np.array(EDGES), np.nextafter(EDGES, 0), [6381956970095103 * 2.0**797],
    ])  # fmt: skip


def pairs_of(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each value with some other one, moderate bases with exponents that go to the limits, the edges with each other."""
    rng, n = np.random.default_rng(2), 40_000
    with np.errstate(all="ignore"):
        edges = np.array(EDGES).astype(values.dtype)
    base = np.exp(rng.uniform(-5, 5, n))
    limit = 85 if values.dtype == np.float32 else 700
    power = rng.uniform(-limit, limit, n) / np.where(np.abs(np.log(base)) < 0.01, 1.0, np.log(base))
    whole = rng.integers(-20, 20, n), rng.integers(-12, 12, n)
    left, right = (grid.ravel() for grid in np.meshgrid(edges, edges))
    with np.errstate(all="ignore"):
        return (
            np.concatenate([values, base, whole[0], left]).astype(values.dtype),
            np.concatenate([rng.permutation(values), power, whole[1], right]).astype(values.dtype),
        )


@pytest.mark.parametrize("name", [*EXACT, *FLOAT_ONLY])
def test_floats(name: str) -> None:
    function, wider, bound = (EXACT.get(name) or FLOAT_ONLY[name])[:3]
    x = all_floats()
    if name == "erfcx":
        x = x[~(x < -9.3)]  # beyond the largest float, which the reference rounds differently
    if name in ("lgamma", "digamma"):
        x = x[~(x < 0)]  # where they cross zero, nothing in double is enough
    with np.errstate(all="ignore"):
        want = wider(x.astype(np.float64))
    assert_within(bound, native(function, 1, np.float32)(x), want, x)


@pytest.mark.skipif(not HAS_LONG, reason="no arithmetic wider than double")
@pytest.mark.parametrize("name", EXACT)
def test_doubles(name: str) -> None:
    function, wider, _, bound = EXACT[name]
    x = many_doubles()
    with np.errstate(all="ignore"):
        want = wider(x.astype(LONG))
    assert_within(bound, native(function, 1, np.float64)(x), want, x)


@pytest.mark.parametrize("name", FLOAT_ONLY)
def test_doubles_beside_the_reference(name: str) -> None:
    function, reference, _ = FLOAT_ONLY[name]
    rng = np.random.default_rng(3)
    low, high = {"erfinv": (-1, 1), "lgamma": (0, 40), "digamma": (0, 40), "erfcx": (-20, 60)}.get(name, (-6, 25))
    x = np.concatenate([rng.uniform(low, high, 20_000), [np.inf, np.nan, 0.0]])
    with np.errstate(all="ignore"):
        want = reference(x)
    got = native(function, 1, np.float64)(x)
    np.testing.assert_allclose(got, want, rtol=2e-14, atol=4e-15)


@pytest.mark.parametrize(
    "dtype, wide, low, bound", [(np.float32, np.float64, -87.3, 1.1), (np.float64, LONG, -708.3, 1.1)]
)
def test_decay(dtype: Any, wide: Any, low: float, bound: float) -> None:
    if dtype is np.float64 and not HAS_LONG:
        pytest.skip("no arithmetic wider than double")
    x = np.random.default_rng(4).uniform(low, 1e-6, 50_000).astype(dtype)
    decay = native(vecmath_exp.decay, 1, dtype)
    assert_within(bound, decay(x), np.exp(x.astype(wide)), x)
    edges = np.array([0.0, -0.0, 1.01 * low, -1e30, -np.inf, np.nan], dtype)
    np.testing.assert_array_equal(decay(edges), np.array([1, 1, 0, 0, 0, np.nan], dtype))


@pytest.mark.parametrize("dtype, bound", [(np.float32, 1.2e-7), (np.float64, 3e-16)])
def test_normal_distribution(dtype: Any, bound: float) -> None:
    with np.errstate(all="ignore"):
        x = np.concatenate([all_floats(), np.linspace(-9, 9, 50_001, dtype=np.float32)]).astype(dtype)
        x64 = x.astype(np.float64)
        cdf, density = error.ndtr(x64), np.exp(-0.5 * x64 * x64) / np.sqrt(2 * np.pi)
    for function, want in (
        (vecmath_error.normal_cdf, cdf), (lambda k, x: vecmath_error.normal(k, x)[0], cdf),
        (lambda k, x: vecmath_error.normal(k, x)[1], density),
    ):  # fmt: skip
        got = native(function, 1, dtype)(x).astype(np.float64)
        np.testing.assert_allclose(got, want, rtol=0, atol=bound)  # NaN for NaN


@pytest.mark.parametrize("name", PAIRS)
def test_pairs_of_floats(name: str) -> None:
    function, wider, bound, _ = PAIRS[name]
    a, b = pairs_of(all_floats()[::7])
    with np.errstate(all="ignore"):
        want = wider(a.astype(np.float64), b.astype(np.float64))
    assert_within(bound, native(function, 2, np.float32)(a, b), want, a, b)


@pytest.mark.skipif(not HAS_LONG, reason="no arithmetic wider than double")
@pytest.mark.parametrize("name", PAIRS)
def test_pairs_of_doubles(name: str) -> None:
    function, wider, _, bound = PAIRS[name]
    a, b = pairs_of(many_doubles())
    with np.errstate(all="ignore"):
        want = wider(a.astype(LONG), b.astype(LONG))
    assert_within(bound, native(function, 2, np.float64)(a, b), want, a, b)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", REMAINDERS)
def test_remainders_are_exact(name: str, dtype: Any) -> None:
    function, reference = REMAINDERS[name]
    a, b = pairs_of(all_floats()[::7] if dtype == np.float32 else many_doubles())
    with np.errstate(all="ignore"):
        want = reference(a, b)
    assert_within(0.0, native(function, 2, dtype)(a, b), want, a, b)


@pytest.mark.parametrize("name", [*EXACT, *FLOAT_ONLY, *PAIRS, *REMAINDERS])
def test_the_width_of_vectors_changes_no_bit(name: str) -> None:
    function = {**EXACT, **FLOAT_ONLY, **PAIRS, **REMAINDERS}[name][0]
    arity = 2 if name in PAIRS or name in REMAINDERS else 1
    for values in (all_floats()[::101], many_doubles()[::31]):
        operands = pairs_of(values) if arity == 2 else (values,)
        results = [native(function, arity, values.dtype, n)(*operands) for n in (16, 64, values.itemsize)]
        for other in results[1:]:
            same = (results[0].view(f"i{values.itemsize}") == other.view(f"i{values.itemsize}")) | np.isnan(other)
            assert same.all(), [x[~same][:3] for x in (*operands, results[0], other)]


def test_powers_of_two_are_exact() -> None:
    exponents = np.arange(-1074, 1024, dtype=np.float64)
    powers = np.ldexp(1.0, exponents.astype(np.int32))
    np.testing.assert_array_equal(native(vecmath_exp.exp2, 1, np.float64)(exponents), powers)
    np.testing.assert_array_equal(native(vecmath_log.log2, 1, np.float64)(powers), exponents)
    np.testing.assert_array_equal(
        native(vecmath_power.pow, 2, np.float64)(np.full_like(exponents, 2), exponents), powers
    )


@pytest.mark.parametrize(
    "machine",
    [("aarch64-unknown-linux-gnu", "neoverse-n1", ""), ("nvptx64-nvidia-cuda", "sm_70", "+ptx70"),
     ("x86_64-unknown-linux-gnu", "haswell", "")], ids=lambda m: m[0],
)  # fmt: skip
def test_other_machines_compile_every_function_without_a_library(machine: tuple[str, str, str]) -> None:
    functions = [f[0] for table in (EXACT, FLOAT_ONLY, PAIRS, REMAINDERS) for f in table.values()]
    for function in functions:
        arity = 2 if function in [f[0] for table in (PAIRS, REMAINDERS) for f in table.values()] else 1
        for scalar, width in (("float", 1), ("float", 8), ("double", 4)):
            k = Emitter("kernel")
            operands = [k.load(k.pointer(nr), 0, vector(scalar, width)) for nr in range(arity)]
            k.store(function(k, *operands), k.pointer(arity), 0)
            assembly = codegen.compile_for(*machine, k.text())
            calls = [line for line in assembly.splitlines() if line.strip().startswith(("bl\t", "call"))]
            assert not calls, f"{function.__name__} of {width} x {scalar} calls {calls[0]}"
