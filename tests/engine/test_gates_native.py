"""Gated linear units beside their references: every dimension, dtypes, strides, nothing at all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flambeau as torch
from flambeau.ops.op import ops
from tests.engine.harness import native, reference

BOUNDS = {"float64": 1e-14, "float32": 2e-6, "float16": 1e-3, "bfloat16": 8e-3}


def check(x: Any, dim: int, g: Any = None) -> None:
    calls = [(ops["glu"], (x,))]
    shape = tuple(n // 2 if d == dim else n for d, n in enumerate(x.shape))
    g = torch.from_numpy(np.random.default_rng(1).standard_normal(shape)).to(x.dtype) if g is None else g
    for op, inputs in [*calls, (ops["glu_backward"], (g, x))]:
        (want,) = reference(op, *inputs, dim=dim)
        (got,), (again,) = native(op, *inputs, dim=dim), native(op, *inputs, threads=3, dim=dim)
        assert got.tobytes() == again.tobytes() and got.dtype == want.dtype
        np.testing.assert_allclose(
            got.astype(float), want.astype(float), BOUNDS[got.dtype.name], BOUNDS[got.dtype.name]
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", [(2,), (6, 34), (4, 1, 2), (3, 0, 4), (2, 70, 513 * 2)])
def test_halves(shape: tuple[int, ...], dtype: Any) -> None:
    x = torch.from_numpy(np.random.default_rng(0).standard_normal(shape) * 3).to(dtype)
    for dim in range(len(shape)):
        if shape[dim] % 2 == 0:
            check(x, dim)


def test_other_strides() -> None:
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((6, 8, 40)).astype(np.float32))
    check(x.transpose(0, 2), 1)
    check(x[:, :, ::3], 0)
    check(x[:, :1].expand(6, 8, 40), 1)
    check(x, 2, torch.ones(()).expand(6, 8, 20))
    check(torch.tensor([[np.inf, -np.inf, np.nan, -200.0], [0.0, -0.0, 200.0, np.inf]]).t(), 1)
