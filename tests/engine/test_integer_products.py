"""Native products of integers beside NumPy's: every dtype wraps around; batches, broadcasts, transposes, skinny sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from flambeau.engine.schedule.lowering import Unsupported
from flambeau.ops.op import ops
from flambeau.tensors import Tensor, from_array
from tests.engine.harness import native, reference

DTYPES = [np.uint8, np.int8, np.int16, np.int32, np.int64]


def make(*shape: int, dtype: Any = np.int32) -> Tensor:
    info = np.iinfo(dtype)
    return from_array(np.random.default_rng(sum(shape)).integers(info.min, info.max, shape, dtype, endpoint=True))


def check(name: str, *inputs: Any, **params: Any) -> None:
    (want,) = reference(ops[name], *inputs, **params)
    for threads in (1, 3):
        (got,) = native(ops[name], *inputs, threads=threads, **params)
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.__name__)
@pytest.mark.parametrize("sizes", [(1, 1, 1), (3, 5, 7), (16, 33, 64), (65, 70, 131), (1, 200, 300)], ids=str)
def test_matrices(sizes: tuple[int, int, int], dtype: Any) -> None:
    rows, depth, columns = sizes
    a, b = make(rows, depth, dtype=dtype), make(depth, columns, dtype=dtype)
    check("mm", a, b)
    check("mm", make(depth, rows, dtype=dtype).t(), make(columns, depth, dtype=dtype).t())
    check("mv", a, make(depth, dtype=dtype))
    check("dot", make(depth, dtype=dtype), make(depth, dtype=dtype))


@pytest.mark.parametrize("dtype", [np.uint8, np.int64], ids=lambda d: d.__name__)
def test_batches_and_sums(dtype: Any) -> None:
    a, b = make(4, 3, 6, dtype=dtype), make(4, 6, 5, dtype=dtype)
    check("bmm", a, b)
    check("bmm", a.transpose(1, 2), make(1, 3, 5, dtype=dtype).expand(4, 3, 5))
    check("addmm", make(5, dtype=dtype), a[0], b[0], alpha=1, beta=1)
    check("addmm", make(3, 1, dtype=dtype), a[0], b[0], alpha=1, beta=1)
    check("baddbmm", make(4, 1, 5, dtype=dtype), a, b, alpha=1, beta=1)
    check("linear", make(2, 3, 6, dtype=dtype), make(5, 6, dtype=dtype), make(5, dtype=dtype))


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.__name__)
def test_scaled_sums(dtype: Any) -> None:
    """Factors wrap around as well; what is multiplied by nothing is not read."""
    a, b, c = make(3, 20, dtype=dtype), make(20, 33, dtype=dtype), make(33, dtype=dtype)
    for alpha, beta in ((3, -2), (1, 5), (-1, 0), (1000003, 1), (0, 7)):
        check("addmm", c, a, b, alpha=alpha, beta=beta)
    check("addmm", c, a, b, alpha=True, beta=2.9)  # as the references cast it


def test_scaled_sums_of_other_shapes() -> None:
    a, b = make(4, 3, 6), make(4, 6, 5)
    check("baddbmm", make(4, 1, 5), a, b, alpha=2, beta=3)
    check("baddbmm", make(5), a.flip(0), b.transpose(1, 2)[:, :, :6].transpose(1, 2), alpha=-2, beta=0)
    check("addmv", make(3), a[0], make(6), alpha=7, beta=-1)
    check("addmv", make(1), a[0].t().contiguous().t(), make(12)[::2], alpha=2, beta=2)
    check("addr", make(3, 5), make(3), make(5), alpha=2, beta=3)


@pytest.mark.parametrize("dtype", [np.int8, np.int64], ids=lambda d: d.__name__)
def test_sums_over_batches(dtype: Any) -> None:
    for rows, depth, columns in ((3, 6, 5), (1, 1, 1), (2, 40, 70)):
        a, b = make(4, rows, depth, dtype=dtype), make(4, depth, columns, dtype=dtype)
        check("addbmm", make(rows, 1, dtype=dtype), a, b, alpha=3, beta=-2)
        turned = make(4, columns, depth, dtype=dtype).transpose(1, 2)
        check("addbmm", make(columns, dtype=dtype), a[::2], turned[::2], alpha=1, beta=1)


def test_sums_of_nothing_are_left_to_the_reference() -> None:
    with pytest.raises(Unsupported):
        native(ops["addmm"], make(5), make(3, 0), make(0, 5), alpha=2, beta=1)
    with pytest.raises(Unsupported):
        native(ops["addbmm"], make(5), make(0, 3, 6), make(0, 6, 5), alpha=2, beta=1)
