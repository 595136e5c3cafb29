"""Reductions, comparisons, sorting and special functions swept over every dtype and several layouts, beside PyTorch."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch

import flambeau

DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64", "complex64")
TOLERANCE = {"float16": (2e-3, 2e-3), "bfloat16": (1.6e-2, 1.6e-2), "float32": (1e-5, 1e-6), "complex64": (1e-5, 1e-6),
             "float64": (1e-12, 1e-12), "complex128": (1e-12, 1e-12)}  # fmt: skip

# what is called, as functions of the module and operands a, b of one dtype
CALLS: dict[str, Any] = {
    "sum": lambda m, a, b: a.sum(1),
    "sum of all": lambda m, a, b: a.sum(),
    "mean": lambda m, a, b: a.mean(-1, keepdim=True),
    "prod": lambda m, a, b: a.prod(0),
    "nansum": lambda m, a, b: a.nansum(0),
    "logsumexp": lambda m, a, b: a.logsumexp(1),
    "all": lambda m, a, b: a.all(1),
    "any": lambda m, a, b: a.any(0),
    "count_nonzero": lambda m, a, b: a.count_nonzero(1),
    "amax": lambda m, a, b: a.amax((0, 1)),
    "aminmax": lambda m, a, b: a.aminmax(dim=0),
    "max": lambda m, a, b: a.max(1),
    "min of all": lambda m, a, b: a.min(),
    "argmin": lambda m, a, b: a.argmin(0),
    "argmax of all": lambda m, a, b: a.argmax(),
    "var": lambda m, a, b: a.var(0),
    "std_mean": lambda m, a, b: m.std_mean(a, 1),
    "norm": lambda m, a, b: a.norm(dim=1),
    "norm 3": lambda m, a, b: a.norm(3),
    "median": lambda m, a, b: a.median(),
    "kthvalue": lambda m, a, b: a.kthvalue(2, 0).values,
    "mode": lambda m, a, b: a.mode(1).values,
    "sort": lambda m, a, b: m.sort(a, dim=1, stable=True),
    "sort descending": lambda m, a, b: m.sort(a, dim=0, descending=True, stable=True),
    "topk": lambda m, a, b: a.topk(2, 1).values,
    "msort": lambda m, a, b: m.msort(a),
    "cumsum": lambda m, a, b: a.cumsum(1),
    "cumprod": lambda m, a, b: a.cumprod(0),
    "cummax": lambda m, a, b: a.cummax(1),
    "logcumsumexp": lambda m, a, b: a.logcumsumexp(0),
    "diff": lambda m, a, b: a.diff(dim=0),
    "unique": lambda m, a, b: m.unique(a, return_inverse=True, return_counts=True),
    "unique rows": lambda m, a, b: m.unique(a, dim=0),
    "eq": lambda m, a, b: a == b,
    "lt": lambda m, a, b: a < b,
    "ge number": lambda m, a, b: a >= 1,
    "ne float": lambda m, a, b: a != 0.5,
    "logical_xor": lambda m, a, b: m.logical_xor(a, b),
    "logical_not": lambda m, a, b: a.logical_not(),
    "bitwise_and": lambda m, a, b: a & b,
    "bitwise_not": lambda m, a, b: m.bitwise_not(a),
    "shift": lambda m, a, b: a << 1,
    "maximum": lambda m, a, b: m.maximum(a, b),
    "fmin": lambda m, a, b: m.fmin(a, b),
    "isnan": lambda m, a, b: a.isnan(),
    "isposinf": lambda m, a, b: a.isposinf(),
    "signbit": lambda m, a, b: a.signbit(),
    "where": lambda m, a, b: m.where(a == b, a, b),
    "where number": lambda m, a, b: m.where(a == b, a, 1),
    "masked_fill": lambda m, a, b: a.masked_fill(a == b, 1),
    "isin": lambda m, a, b: m.isin(a, b[0]),
    "isclose": lambda m, a, b: m.isclose(a, b),
    "equal": lambda m, a, b: m.equal(a, b),
    "searchsorted": lambda m, a, b: m.searchsorted(b.flatten().sort().values, a.contiguous()),
    "erf": lambda m, a, b: m.erf(a),
    "lgamma": lambda m, a, b: m.lgamma(a),
    "digamma": lambda m, a, b: m.digamma(a),
    "i0": lambda m, a, b: m.i0(a),
    "xlogy": lambda m, a, b: m.xlogy(a, b),
    "logit": lambda m, a, b: m.logit(a, 0.125),
    "heaviside": lambda m, a, b: m.heaviside(a, b),
    "lerp": lambda m, a, b: m.lerp(a, b, 0.25),
    "addcmul": lambda m, a, b: m.addcmul(a, a, b),
    "clamp": lambda m, a, b: a.clamp(0, 2),
    "gcd": lambda m, a, b: m.gcd(a, b),
    "abs": lambda m, a, b: a.abs(),
    "neg": lambda m, a, b: -a,
    "add number": lambda m, a, b: a + 1,
    "mul float": lambda m, a, b: a * 1.5,
    "div": lambda m, a, b: a / 2,
    "floor_divide": lambda m, a, b: a // 2,
    "remainder": lambda m, a, b: a % 3,
    "pow": lambda m, a, b: a**2,
    "sqrt": lambda m, a, b: a.abs().sqrt(),
    "round": lambda m, a, b: a.round(),
    "sigmoid": lambda m, a, b: a.sigmoid(),
    "sign": lambda m, a, b: a.sign(),
    "reciprocal": lambda m, a, b: m.reciprocal(a + a + 5) if a.dtype != m.bool else m.reciprocal(a),
    "sum in place of out": lambda m, a, b: a.clone().mul_(b),
    "add_ number": lambda m, a, b: a.clone().add_(1),
}
LAYOUTS = {
    "contiguous": lambda t: t,
    "transposed": lambda t: t.t(),
    "strided": lambda t: t[:, ::2],
    "expanded": lambda t: t[:1].expand(3, 6),
}


def operands(module: Any, dtype: str, layout: str) -> tuple[Any, Any]:
    rng = np.random.default_rng(5)
    made = []
    for _ in range(2):
        if dtype == "bool":
            array = rng.integers(0, 2, (3, 6)).astype(bool)
        elif dtype.startswith("complex"):
            array = (rng.integers(-3, 4, (3, 6)) + 1j * rng.integers(-3, 4, (3, 6))).astype(dtype)
        elif "float" in dtype:
            array = rng.integers(-6, 7, (3, 6)) / 4
        else:
            array = rng.integers(0 if dtype == "uint8" else -3, 5, (3, 6)).astype(dtype)
        made.append(LAYOUTS[layout](module.from_numpy(array).to(getattr(module, dtype))))
    return made[0], made[1]


def attempt(module: Any, name: str, dtype: str, layout: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return CALLS[name](module, *operands(module, dtype, layout))
        except Exception as error:
            return error


def array_of(t: Any) -> np.ndarray:
    return (t.float() if str(t.dtype) == "torch.bfloat16" else t).numpy()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CALLS)
def test_sweep(name: str, dtype: str) -> None:
    for layout in LAYOUTS:
        if name == "logcumsumexp" and dtype == "complex64":
            continue  # PyTorch's imaginary parts leave the principal branch
        theirs, ours = attempt(torch, name, dtype, layout), attempt(flambeau, name, dtype, layout)
        where = f"{name} of {layout} {dtype}"
        if isinstance(theirs, Exception):
            assert isinstance(ours, Exception), f"{where}: PyTorch raises {theirs!r:.200}, here {ours!r:.200}"
            builtin = next(k for k in type(theirs).__mro__ if k.__module__ == "builtins")
            assert isinstance(ours, builtin), f"{where}: {ours!r}, PyTorch {theirs!r}"
            continue
        if isinstance(ours, Exception):
            raise AssertionError(f"{where}: {ours!r}") from ours
        if isinstance(theirs, bool):
            assert ours is theirs, where
            continue
        pairs = zip(ours, theirs) if isinstance(theirs, tuple) else [(ours, theirs)]
        for a, b in pairs:
            assert str(a.dtype) == str(b.dtype) and tuple(a.shape) == tuple(b.shape), f"{where}: {a.dtype}, {b.dtype}"
            if b.numel():
                assert tuple(a.stride()) == tuple(b.stride()), f"{where}: strides {a.stride()}, PyTorch {b.stride()}"
            rtol, atol = TOLERANCE.get(str(b.dtype).removeprefix("torch."), (0, 0))
            np.testing.assert_allclose(array_of(a), array_of(b), rtol=rtol, atol=atol, err_msg=where)
