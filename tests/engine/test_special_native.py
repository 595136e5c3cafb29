"""Native special functions against the NumPy references, which `tests/ops/test_special.py` measures.

In float the results are those of the references, but for the rare tie; in double both are as far from the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import flambeau
from flambeau.engine.kernel import vecmath_bessel, vecmath_gamma, vecmath_incomplete, vecmath_log, vecmath_orthogonal
from flambeau.engine.kernel.emit import Emitter, vector
from flambeau.engine.plan import HostCall
from flambeau.engine.runtime import codegen
from flambeau.engine.schedule.planner import plan
from flambeau.ops.op import ops
from flambeau.ops.specfun import bessel, bessel_kinds, gamma, orthogonal
from tests.engine.everywhere import everywhere
from tests.engine.planned import Recording
from tests.engine.test_vecmath import EDGES, all_floats, assert_within, native
from tests.ops.test_registry import maker

Function = Callable[..., Any]
CHECKED = {"special_bessel_y1", "special_laguerre_polynomial_l", "special_zeta", "igammac", "mvlgamma"}
POLYNOMIALS = {name: getattr(vecmath_orthogonal, name) for name in vars(orthogonal) if "polynomial_" in name}
# name: (function, reference, largest error in double: relative, and near zeros absolute)
ALONE: dict[str, tuple[Function, Function, float, float]] = {
    **{name: (getattr(vecmath_bessel, name), getattr(bessel, name), 6e-15, 1e-323) for name in ("i0", "i0e", "i1", "i1e")},
    **{name: (getattr(vecmath_bessel, name), getattr(bessel_kinds, name), 6e-15, 6e-15) for name in (
        "bessel_j0", "bessel_j1", "bessel_y0", "bessel_y1", "spherical_bessel_j0", "airy_ai",
    )},
    **{name: (getattr(vecmath_bessel, name), getattr(bessel_kinds, name), 6e-15, 0) for name in (
        "k0", "k1", "scaled_k0", "scaled_k1",
    )},
    "trigamma": (lambda k, x: vecmath_gamma.polygamma(k, x, 1), gamma.polygamma(1), 4e-15, 0),
    "tetragamma": (lambda k, x: vecmath_gamma.polygamma(k, x, 2), gamma.polygamma(2), 4e-15, 1e-14),
}  # fmt: skip
PAIRS: dict[str, tuple[Function, Function, float, float]] = {
    "zeta": (vecmath_gamma.zeta, gamma.zeta, 4e-15, 0),
    "gammainc": (vecmath_incomplete.gammainc, gamma.gammainc, 1e-13, 0),
    "gammaincc": (vecmath_incomplete.gammaincc, gamma.gammaincc, 1e-13, 0),
    **{name: (function, getattr(orthogonal, name), 0, 0) for name, function in POLYNOMIALS.items()},
}
KINDS = [np.float32, np.float64]


def usual(n: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.concatenate([rng.uniform(-12, 12, n), rng.uniform(-80, 80, n), np.exp(rng.uniform(-30, 9, n))])


def points(dtype: Any) -> np.ndarray:
    """Of all sizes, around the thresholds, the edges."""
    thresholds = np.array([2.0, 2.09, 5.0, 8.0, 0.5, 103.892, 1e-5])
    with np.errstate(all="ignore"):
        near = np.concatenate([thresholds, np.nextafter(thresholds, 0), -thresholds])
        return np.concatenate([usual(1000), near, EDGES, all_floats()[::997]]).astype(dtype)


def pairs(name: str, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    """Operands where the function is wanted, and the edges with each other."""
    rng, n = np.random.default_rng(1), 1500
    left, right = (grid.ravel() for grid in np.meshgrid(EDGES, EDGES))
    if name in POLYNOMIALS:
        first, second = usual(n // 3), rng.integers(-2, 30, n).astype(float)
        right = np.where(np.abs(right) < 1e4, right, np.where(np.isfinite(right), 1e19, right))  # no endless degrees
    elif name == "zeta":
        first = np.concatenate([rng.uniform(1, 20, n), rng.integers(2, 9, n)])
        second = np.concatenate([rng.uniform(0, 30, n), rng.uniform(-10, 10, n)])
    else:
        large = 10.0 ** rng.uniform(6, 12, n // 5)
        first = np.concatenate([rng.uniform(0.01, 60, n), np.exp(rng.uniform(-10, 5, n)), [300.0, 3000.0], large])
        large = large + rng.uniform(-5, 5, n // 5) * np.sqrt(large)
        second = np.concatenate([rng.uniform(0.01, 80, n), np.exp(rng.uniform(-10, 5, n)), [310.0, 2950.0], large])
        keep = (left < 1e4) & (right < 1e4) | ~np.isfinite(left) | ~np.isfinite(right)  # others take thousands of terms
        left, right = left[keep], right[keep]
    with np.errstate(all="ignore"):
        return np.concatenate([left, first]).astype(dtype), np.concatenate([right, second]).astype(dtype)


def operands_of(name: str, dtype: Any) -> tuple[np.ndarray, ...]:
    return pairs(name, dtype) if name in PAIRS else (points(dtype),)


@pytest.mark.parametrize("name", [*ALONE, *PAIRS])
def test_floats_and_doubles(name: str) -> None:
    function, reference, relative, absolute = {**ALONE, **PAIRS}[name]
    for dtype in KINDS:
        operands = operands_of(name, dtype)
        with np.errstate(all="ignore"):
            want = reference(*(x.astype(np.float64) for x in operands))
        got = native(function, len(operands), dtype)(*operands)
        if dtype is np.float32:
            assert_within(0.51, got, want, *operands)
        else:
            np.testing.assert_allclose(got, want, rtol=relative, atol=absolute)


DISTINCT = [n for n in (*ALONE, *PAIRS) if "chebyshev" not in n] + ["shifted_chebyshev_polynomial_w"]


@pytest.mark.parametrize("name", DISTINCT)
def test_neighbours_and_the_width_of_vectors_change_no_bit(name: str) -> None:
    function = {**ALONE, **PAIRS}[name][0]
    for dtype in KINDS:
        operands = tuple(x[::7] for x in operands_of(name, dtype))
        results = [native(function, len(operands), dtype, n)(*operands) for n in (64, np.dtype(dtype).itemsize)]
        np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_frexp(dtype: Any) -> None:
    with np.errstate(all="ignore"):
        x = np.concatenate([points(np.float64), [6e-8, 1e-310, -1e-42, 65504]]).astype(dtype)
    g = Recording()
    mantissa, exponent = g.call(ops["frexp"], g.call(ops["neg"], g.input(x)))
    planned = g.check(mantissa, exponent, g.call(ops["add"], exponent, 1), rtol=0, atol=0)
    assert not any(isinstance(step, HostCall) for step in planned.steps)


@pytest.mark.parametrize("machine", [
    ("aarch64-unknown-linux-gnu", "neoverse-n1", ""), ("nvptx64-nvidia-cuda", "sm_70", "+ptx70"),
    ("x86_64-unknown-linux-gnu", "haswell", ""),
], ids=lambda m: m[0])  # fmt: skip
def test_other_machines_compile_every_function_without_a_library(machine: tuple[str, str, str]) -> None:
    functions = [({**ALONE, **PAIRS}[name][0], 2 if name in PAIRS else 1) for name in DISTINCT]
    for function, arity in [*functions, (vecmath_log.mantissa, 1), (vecmath_log.exponent, 1)]:
        for scalar, width in (("float", 1), ("double", 4)):
            k = Emitter("kernel")
            operands = [k.load(k.pointer(nr), 0, vector(scalar, width)) for nr in range(arity)]
            k.store(function(k, *operands), k.pointer(arity), 0)
            assembly = codegen.compile_for(*machine, k.text())
            calls = [line for line in assembly.splitlines() if line.strip().startswith(("bl\t", "call"))]
            assert not calls, f"{function} of {width} x {scalar} calls {calls[0]}"


RECORDS = sorted(n for n in ops if n.startswith(("special_", "i0", "igamma", "polygamma", "mvlgamma")))


@pytest.mark.parametrize("name", RECORDS)
def test_records_stay_in_programs(name: str) -> None:
    op, params = ops[name], {"polygamma": {"n": 3}, "mvlgamma": {"p": 2}}.get(name, {})
    rng = np.random.default_rng(2)
    g = Recording()
    x, y = g.input(rng.uniform(2, 6, (5, 1, 37))), g.input(rng.uniform(2, 6, (3, 37)).astype(np.float32))
    if len(next(iter(op.samples(maker(name)))).inputs) == 1:
        first = g.call(op, x.view((5, 3, 19), (37, 0, 2)), **params)
        last = g.call(op, g.call(ops["mul"], y, 0.5), **params)
    else:
        first, last = g.call(op, x, y, **params), g.call(op, g.call(ops["mul"], y, 0.5), 2.5, **params)
    wanted = first, last, g.call(ops["mul"], last, 3.0)
    planned = g.check(*wanted, rtol=1e-6, atol=1e-12) if name in CHECKED else plan(g.graph(*wanted))
    assert not any(isinstance(step, HostCall) for step in planned.steps)


def test_gradients_in_every_mode() -> None:
    def program() -> Iterator[Any]:
        x = flambeau.linspace(1.5, 6, 19, dtype=flambeau.float64).requires_grad_()
        for _ in range(4):
            x.grad = None
            y = flambeau.i0(x) * flambeau.special.i1e(x) + flambeau.special.i1(x) * flambeau.special.i0e(x)
            y = y + flambeau.polygamma(1, x) + flambeau.frexp(x).mantissa
            (y + flambeau.igammac(x.detach(), x)).sum().backward()
            yield x.grad.numpy().copy()

    everywhere(program, 1e-12)
