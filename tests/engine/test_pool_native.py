"""Pools as kernels against the NumPy references, gradients and indices included."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flambeau as torch
from flambeau.engine.kernel import move
from flambeau.ops.nn.fractional import fractional_max_pool_op
from flambeau.ops.nn.pool import (
    adaptive_avg_pool_backward_op,
    adaptive_avg_pool_op,
    adaptive_max_pool_op,
    avg_pool_backward_op,
    avg_pool_op,
    gather_op,
    max_pool_op,
    scatter_op,
)
from flambeau.ops.nn.pool_kernels import Pool
from tests.engine.harness import BadData, native, reference


def compare(op, *inputs, digits=None, **params):
    """Native results equal the reference's, and one another's to the bit whatever the number of threads."""
    wanted = reference(op, *inputs, **params)
    found, shared = native(op, *inputs, **params), native(op, *inputs, threads=2, **params)
    for want, have, other in zip(wanted, found, shared, strict=True):
        assert have.dtype == want.dtype and have.shape == want.shape
        assert have.tobytes() == other.tobytes()
        if have.dtype.kind in "iu":
            np.testing.assert_array_equal(have, want)
        else:
            tolerance = {2: 1e-2, 4: 1e-5, 8: 1e-13}[have.dtype.itemsize]
            np.testing.assert_allclose(have.astype(float), want.astype(float), rtol=tolerance, atol=tolerance)


def passes(shape, pool, dtype=torch.float32):
    """Maxima and means over windows, and their gradients."""
    x = torch.randn(shape).to(dtype)
    n = len(pool.kernel)
    size = tuple(shape[-n:])
    compare(max_pool_op, x, pool=pool)
    values, indices = max_pool_op(x, pool=pool)
    g = torch.randn(values.shape).to(dtype)
    compare(scatter_op, g, indices, size=size, overlap=pool.overlap())
    compare(gather_op, x, indices, dims=n, overlap=pool.overlap())
    if any(d > 1 for d in pool.dilation):
        return
    for include, override in ((True, None), (False, None), (True, 3)):
        how = {"pool": pool, "count_include_pad": include, "override": override}
        compare(avg_pool_op, x, **how)
        compare(avg_pool_backward_op, g, size=size, **how)


POOLS = [
    ((4, 6, 28, 28), Pool((2, 2), (2, 2), (0, 0), (1, 1))),
    ((4, 16, 10, 10), Pool((2, 2), (2, 2), (0, 0), (1, 1))),
    ((2, 3, 112, 113), Pool((3, 3), (2, 2), (1, 1), (1, 1))),
    ((2, 5, 9, 7), Pool((3, 3), (1, 1), (1, 1), (1, 1))),
    ((2, 5, 9, 70), Pool((3, 2), (2, 3), (1, 1), (1, 2), True)),
    ((1, 2, 11, 90), Pool((2, 9), (3, 6), (1, 4), (1, 1))),
    ((3, 4, 4, 4), Pool((4, 4), (4, 4), (0, 0), (1, 1))),
    ((3, 8, 8), Pool((3, 3), (2, 2), (0, 0), (1, 1), True)),
    ((2, 3, 50), Pool((3,), (2,), (1,), (1,))),
    ((3, 17), Pool((2,), (2,), (0,), (2,))),
    ((1, 300), Pool((5,), (1,), (2,), (1,))),
    ((2, 2, 5, 6, 7), Pool((2, 3, 2), (2, 1, 2), (1, 1, 0), (1, 1, 1))),
    ((1, 1, 1, 1), Pool((1, 1), (1, 1), (0, 0), (1, 1))),
    ((70, 1, 6, 1), Pool((2, 1), (2, 1), (0, 0), (1, 1))),
    ((0, 3, 4, 4), Pool((2, 2), (2, 2), (0, 0), (1, 1))),
]


@pytest.mark.parametrize("shape,pool", POOLS)
def test_passes(shape, pool):
    passes(shape, pool)


WHOLE_LINES = [
    ((3, 5, 64, 64), Pool((2, 2), (2, 2), (0, 0), (1, 1))),
    ((2, 3, 9, 96), Pool((3, 3), (2, 3), (1, 1), (1, 1))),
    ((2, 3, 10, 128), Pool((2, 4), (2, 4), (1, 0), (1, 1))),
    ((70, 64), Pool((3,), (1,), (1,), (1,))),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape,pool", [*WHOLE_LINES, ((2, 5, 9, 7), Pool((3, 3), (2, 2), (1, 1), (1, 1)))])
def test_results_past_the_caches(shape, pool, dtype, monkeypatch):
    monkeypatch.setattr(move, "last_cache", lambda: 0)
    passes(shape, pool, dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape,pool", [POOLS[1], POOLS[3], POOLS[4], POOLS[8]])
def test_dtypes(shape, pool, dtype):
    passes(shape, pool, dtype)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.int8])
def test_maxima_of_integers(dtype):
    x = torch.randint(0, 100, (2, 3, 9, 20)).to(dtype)
    compare(max_pool_op, x, pool=Pool((3, 3), (2, 2), (1, 1), (1, 1)))
    compare(adaptive_max_pool_op, x, size=(4, 3))


@pytest.mark.parametrize("pool", [POOLS[0][1], POOLS[2][1], Pool((3, 3), (1, 1), (1, 1), (1, 1), True)])
def test_values_that_are_no_numbers(pool):
    x = torch.randn(2, 3, 12, 21)
    x[0, 0], x[1, 1, 3:6], x[0, 1, 2, 3], x[1, 2, 5, 5:9] = -torch.inf, torch.inf, torch.nan, torch.nan
    x[0, 2] = 1.0
    compare(max_pool_op, x, pool=pool)
    compare(avg_pool_op, x, pool=pool, count_include_pad=False, override=None)
    compare(adaptive_max_pool_op, x, size=(5, 4))


def test_strided_inputs():
    pool = POOLS[0][1]
    for x in (
        torch.randn(2, 3, 8, 40)[:, :, 1:, 3:20],
        torch.randn(2, 9, 3, 8).transpose(1, 3),
        torch.randn(1, 1, 6, 6).expand(2, 4, 6, 6),
    ):
        compare(max_pool_op, x, pool=pool)
        compare(adaptive_avg_pool_op, x, size=(3, 2))
        compare(
            avg_pool_backward_op,
            x,
            pool=pool,
            size=(2 * x.shape[2], 2 * x.shape[3] + 1),
            count_include_pad=True,
            override=None,
        )


ADAPTIVE = [
    ((2, 3, 7), (3,)), ((2, 5, 6), (2, 3)), ((2, 3, 3), (1, 5)), ((2, 4, 32, 32), (7, 7)), ((1, 3, 13, 50), (4, 1)),
    ((2, 2, 5, 6, 7), (2, 3, 4)), ((3, 4, 6, 6), (6, 6)), ((1, 2, 9, 100), (3, 2)), ((0, 2, 4, 4), (2, 2)),
]  # fmt: skip


@pytest.mark.parametrize("shape,size", ADAPTIVE)
def test_adaptive(shape, size):
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        x = torch.randn(shape).to(dtype)
        compare(adaptive_avg_pool_op, x, size=size)
        compare(adaptive_max_pool_op, x, size=size)
        g = torch.randn(*shape[: len(shape) - len(size)], *size).to(dtype)
        compare(adaptive_avg_pool_backward_op, g, size=shape[-len(size) :])


def test_indices_out_of_range_are_reported():
    g, index = torch.ones(2, 3, 2, 2), torch.zeros(2, 3, 2, 2, dtype=torch.int64)
    index[1, 2, 1, 1] = 16
    with pytest.raises(BadData):
        native(scatter_op, g, index, size=(4, 4), overlap=True)
    index[1, 2, 1, 1] = -1
    with pytest.raises(BadData):
        native(gather_op, torch.ones(2, 3, 4, 4), index, dims=2, overlap=True)


FRACTIONAL = [
    ((2, 3, 9, 11), (2, 2), (4, 5)), ((1, 2, 33, 70), (3, 2), (11, 40)), ((3, 5, 5), (1, 5), (1, 1)),
    ((2, 2, 4, 4), (1, 1), (4, 4)), ((2, 1, 6, 7, 8), (2, 3, 2), (3, 2, 5)), ((0, 2, 5, 5), (2, 2), (2, 2)),
    ((1, 1, 7, 300), (7, 20), (1, 17)),
]  # fmt: skip


@pytest.mark.parametrize("shape,kernel,size", FRACTIONAL)
def test_windows_at_random_places(shape, kernel, size):
    dims = len(size)
    for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        x = torch.randn(shape).to(dtype)
        samples = torch.rand(*shape[:-dims][-2:], dims, dtype=torch.float64).to(dtype).clamp(max=0.99)
        compare(fractional_max_pool_op, x, samples, kernel=kernel, size=size)
        compare(
            fractional_max_pool_op,
            x.transpose(-1, -2).contiguous().transpose(-1, -2),
            samples,
            kernel=kernel,
            size=size,
        )
    compare(fractional_max_pool_op, x.float(), samples.double(), kernel=kernel, size=size)
    if x.numel():
        x.reshape(-1)[::5], x.reshape(-1)[3::7] = torch.nan, -torch.inf
    compare(fractional_max_pool_op, x, samples, kernel=kernel, size=size)
    values, indices = fractional_max_pool_op(x, samples, kernel=kernel, size=size)
    compare(scatter_op, torch.randn(values.shape).to(x.dtype), indices, size=shape[-dims:], overlap=True)


def test_random_places_outside_are_reported():
    for bad in (1.5, -0.5, torch.nan, torch.inf):
        samples = torch.tensor([[[0.5, bad]]])
        with pytest.raises(BadData):
            native(fractional_max_pool_op, torch.randn(1, 1, 9, 9), samples, kernel=(2, 2), size=(4, 4))


@st.composite
def pools(draw):
    n = draw(st.sampled_from([1, 2, 2, 3]))
    kernel = tuple(draw(st.integers(1, 4)) for _ in range(n))
    stride = tuple(draw(st.integers(1, 6)) for _ in range(n))
    dilation = tuple(draw(st.integers(1, 2)) for _ in range(n))
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    size = [draw(st.integers(d * (k - 1) + 1, 40 if n < 3 else 10)) for k, d in zip(kernel, dilation)]
    lead = [draw(st.integers(1, 4)) for _ in range(draw(st.integers(1, 2)))]
    return (*lead, *size), Pool(kernel, stride, padding, dilation, draw(st.booleans()))


@settings(max_examples=12, deadline=None, derandomize=True)
@given(pools())
def test_any_pool(case):
    passes(*case)
