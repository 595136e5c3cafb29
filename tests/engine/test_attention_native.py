"""Native attention, forward and backward, against the references of its records."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flambeau as torch
from flambeau.engine.graph import Call
from flambeau.ops.nn.attention import attention_backward_op, attention_op, mask_gradient_op
from tests.engine.harness import Bench, metas_of, native, reference

BOUNDS = {"float64": 1e-11, "float32": 2e-5, "float16": 2e-3, "bfloat16": 1.6e-2}


def make(*shape: int, dtype: Any = torch.float32, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng([seed, *shape]).standard_normal(shape)).to(dtype)


def same(op: Any, *inputs: Any, **params: Any) -> list[torch.Tensor]:
    """The reference's results; native at one thread and at two agrees with itself bit for bit, and with them in value."""
    expected = reference(op, *inputs, **params)
    one, two = native(op, *inputs, threads=1, **params), native(op, *inputs, threads=2, **params)
    for x, y, z in zip(one, two, expected):
        assert x.tobytes() == y.tobytes()
        assert x.shape == z.shape and x.dtype == z.dtype
        bound = BOUNDS[x.dtype.name]
        np.testing.assert_allclose(x, z, rtol=bound, atol=bound)
    return [torch.from_numpy(z) for z in expected]


def check(
    q: Any, k: Any, v: Any, mask: Any = None, noise: Any = None, causal: bool = False, scale: float = 0.3
) -> None:
    out, sums = same(attention_op, q, k, v, mask, noise, scale=scale, causal=causal)
    g = make(*out.shape, dtype=out.dtype, seed=9)
    same(attention_backward_op, g, q, k, v, mask, noise, out, sums, scale=scale, causal=causal)
    if mask is not None and mask.dtype is not torch.bool:
        same(mask_gradient_op, g, q, k, v, mask, noise, out, sums, scale=scale, causal=causal)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("rows, lanes", [(1, 1), (3, 5), (17, 17), (128, 128), (13, 300), (301, 40), (600, 600)])
def test_lengths(rows: int, lanes: int, causal: bool) -> None:
    check(make(2, rows, 32), make(2, lanes, 32, seed=1), make(2, lanes, 32, seed=2), causal=causal)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    "rows, lanes, depth, size", [(1, 1, 4, 4), (5, 3, 1, 7), (65, 65, 64, 64), (128, 128, 32, 32), (40, 300, 33, 17)]
)
def test_many_heads(rows: int, lanes: int, depth: int, size: int, causal: bool) -> None:
    check(make(4, 5, rows, depth), make(4, 5, lanes, depth, seed=1), make(4, 5, lanes, size, seed=2), causal=causal)


def test_eight_heads_have_their_gradients_in_one_pass() -> None:
    inputs = [make(2, 4, 30, 16, seed=seed) for seed in range(4)]
    out, sums = reference(attention_op, *inputs[1:], None, None, scale=0.3, causal=True)
    call = (*inputs, None, None, torch.from_numpy(out), torch.from_numpy(sums))
    params = {"scale": 0.3, "causal": True}
    metas = metas_of(attention_backward_op, call, params)
    bench = Bench(call, metas)
    operands = tuple(bench.operand(x, call) for x in call)
    attention_backward_op.lower.function(bench, Call(attention_backward_op, operands, params, metas, (20, 21, 22)))
    assert [tasks for _, tasks, _ in bench.launches] == [8]


def test_many_heads_masked() -> None:
    q, k, v = make(20, 30, 16), make(20, 70, 16, seed=1), make(20, 70, 16, seed=2)
    noise = (make(20, 30, 70) > 0).to(torch.float32) * 2
    check(q, k, v, make(30, 70), noise)
    check(q, k, v, make(20, 1, 70) > 0)
    check(q, k, v, torch.zeros(30, 70, dtype=torch.bool))
    check(q, make(70, 16), make(70, 16, seed=2), causal=True)
    check(make(16, 0, 4), make(16, 3, 4), make(16, 3, 5))
    check(make(16, 3, 4), make(16, 0, 4), make(16, 0, 5))


def test_gradients_lie_as_pytorch_lays_them() -> None:
    q, k, v = (torch.randn(2, 3, 8, 16, requires_grad=True) for _ in range(3))
    y = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    for g in torch.autograd.grad(y.sum(), (q, k, v)):
        assert g.stride() == (384, 16, 48, 1)


def test_many_heads_of_long_rows() -> None:
    q, k, v = (make(16, 300, 400, seed=seed) * 0.2 for seed in range(3))  # more than a task packs by itself
    check(q[:, :20], k, v)
    check(q, k[:, :20], v[:, :20], causal=True)


@pytest.mark.parametrize("depth, size", [(1, 1), (8, 3), (64, 64), (80, 17), (33, 130)])
def test_sizes_of_heads(depth: int, size: int) -> None:
    check(make(2, 20, depth), make(2, 30, depth, seed=1), make(2, 30, size, seed=2), causal=True)


def test_doubles() -> None:
    for heads in (2, 16):
        q, k, v = (make(heads, 70, 16, dtype=torch.float64, seed=seed) for seed in range(3))
        check(q, k, v)
        check(q, k, v, causal=True)


def test_heads_inside_one_projection() -> None:
    q, k, v = (x.transpose(1, 2) for x in make(3, 2, 40, 4, 16).unbind(0))
    check(q, k, v, causal=True)


def test_gradient_of_a_sum() -> None:
    q, k, v = make(2, 3, 20, 16), make(2, 3, 25, 16, seed=1), make(2, 3, 25, 8, seed=2)
    out, sums = same(attention_op, q, k, v, None, None, scale=0.3, causal=True)
    g = torch.ones(1).expand(out.shape)
    same(attention_backward_op, g, q, k, v, None, None, out, sums, scale=0.3, causal=True)


def test_rows_that_lie_across() -> None:
    q, k, v = (make(2, 3, 16, 30, seed=seed).transpose(2, 3) for seed in range(3))
    check(q, k, v)


def test_heads_that_are_shared() -> None:
    check(make(2, 4, 20, 16), make(2, 1, 25, 16), make(2, 1, 25, 16, seed=1))
    check(make(3, 20, 16), make(25, 16), make(25, 16, seed=1))


def test_masks() -> None:
    q, k, v = make(2, 3, 20, 16), make(2, 3, 70, 16, seed=1), make(2, 3, 70, 16, seed=2)
    for shape in ((20, 70), (3, 20, 70), (2, 1, 1, 70), (20, 1), (2, 3, 20, 70), (1,)):
        mask = make(*shape)
        check(q, k, v, mask)
        check(q, k, v, mask > 0)
    check(q, k, v, make(70, 20).t())
    check(q, k, v, make(70, 20).t() > 0)
    check(q, k, v, torch.full((20, 70), -torch.inf))
    check(q, k, v, torch.zeros(20, 70, dtype=torch.bool))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("rows, lanes, depth, size", [(1, 1, 4, 4), (5, 3, 1, 7), (17, 300, 33, 17), (301, 40, 8, 64)])
def test_the_gradient_of_a_mask(rows: int, lanes: int, depth: int, size: int, causal: bool) -> None:
    q, k, v = make(2, 3, rows, depth), make(2, 3, lanes, depth, seed=1), make(2, 3, lanes, size, seed=2)
    mask = make(rows, lanes)
    mask[rows // 2] = -torch.inf
    check(q, k, v, mask, causal=causal)
    check(q, k, v, mask.expand(3, rows, lanes), (make(2, 3, rows, lanes) > 0) * 2.0, causal=causal)
    check(*(x.to(torch.bfloat16) for x in (q, k, v, mask)), causal=causal)
    check(*(x.to(torch.float64) for x in (q, k, v, mask)), causal=causal)


def test_dropout() -> None:
    q, k, v = make(2, 3, 20, 16), make(2, 3, 70, 16, seed=1), make(2, 3, 70, 16, seed=2)
    noise = (make(2, 3, 20, 70) > 0).to(torch.float32) * 2
    check(q, k, v, noise=noise)
    check(q, k, v, noise=noise, causal=True)
    check(q, k, v, make(20, 70) > 0, noise)


def test_large_scores_stay_finite() -> None:
    wide = torch.float64
    check(make(1, 30, 16, dtype=wide) * 1e3, make(1, 600, 16, dtype=wide, seed=1), make(1, 600, 16, dtype=wide, seed=2))


def test_nothing_to_attend_to() -> None:
    check(make(2, 3, 4), make(2, 0, 4), make(2, 0, 5))
    check(make(2, 0, 4), make(2, 3, 4), make(2, 3, 5))


def test_nan_stays_in_its_row() -> None:
    q = make(1, 20, 16).clone()
    q[0, 3, 2] = torch.nan
    same(attention_op, q, make(1, 40, 16, seed=1), make(1, 40, 16, seed=2), None, None, scale=1.0, causal=False)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_floats(dtype: Any) -> None:
    q, k, v = (make(2, 3, 20, 16, dtype=dtype, seed=seed) for seed in range(3))
    check(q, k, v, causal=True)
    check(q, k.transpose(-1, -2)[..., :16, :16], v[..., :16, :], make(1, 1, 20, 16, dtype=dtype))
    check(q, q, q, make(20, 20) > 0)
    qkv = make(2, 20, 3, 3, 16, dtype=dtype).permute(2, 0, 3, 1, 4)
    check(*qkv.unbind(0))
    check(q, make(1, 1, 5, 16, dtype=dtype).expand(2, 3, 5, 16), make(1, 3, 5, 16, dtype=dtype).expand(2, 3, 5, 16))
    square = make(1, 16, 16, dtype=dtype)
    check(square, square.transpose(1, 2), square)
