"""Sums, means, products and extrema: accuracy, dtypes, empty inputs, ties and NaN."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest

import flambeau as torch

nan, inf = float("nan"), float("inf")


def test_long_float32_sums_are_pairwise_along_every_dimension() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, (200_000, 3)).astype(np.float32)
    for array, dim in ((x, 0), (np.ascontiguousarray(x.T), 1)):
        found = torch.from_numpy(array).sum(dim).numpy()
        exact = array.astype(np.float64).sum(dim)
        assert np.abs(found - exact).max() / exact.max() < 3e-7
    ones = torch.ones(3_000_000, 2).transpose(0, 1)
    assert ones.sum(1).tolist() == [3_000_000.0] * 2


def test_integer_sums_are_int64() -> None:
    for d in (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32):
        assert torch.ones(300, dtype=d).sum().item() == 300
        assert torch.ones(3, dtype=d).sum().dtype is torch.int64
        assert torch.ones(3, dtype=d).prod().dtype is torch.int64
    assert torch.ones(3, dtype=torch.int32).sum(dtype=torch.float16).dtype is torch.float16


def test_half_precision_sums_do_not_stop_at_the_precision_of_half() -> None:
    assert torch.ones(5000, dtype=torch.float16).sum().item() == 5000
    assert torch.ones(5000, dtype=torch.bfloat16).mean().item() == 1
    assert torch.full((4,), 60000.0, dtype=torch.float16).mean().item() == 60000


def test_reductions_of_nothing() -> None:
    empty = torch.zeros(2, 0)
    assert empty.sum().item() == 0 and empty.prod().item() == 1
    assert math.isnan(empty.mean().item())
    assert empty.sum(1).tolist() == [0, 0] and empty.sum(0).shape == (0,)
    assert empty.all().item() is True and empty.any().item() is False
    assert empty.logsumexp(1).tolist() == [-inf, -inf]
    with pytest.raises(RuntimeError, match=r"max\(\): Expected reduction dim to be specified for input.numel\(\) == 0"):
        empty.max()
    with pytest.raises(IndexError, match=r"argmax\(\): Expected reduction dim 1 to have non-zero size."):
        empty.argmax(1)
    assert empty.max(0).values.shape == (0,)


def test_max_gives_a_named_tuple() -> None:
    found = torch.tensor([[1.0, 3.0], [4.0, 2.0]]).max(1)
    values, indices = found
    assert found.values is values and found.indices is indices
    assert repr(found) == "torch.return_types.max(\nvalues=tensor([3., 4.]),\nindices=tensor([1, 0]))"
    again = pickle.loads(pickle.dumps(found))
    assert type(again) is type(found) and again.indices.tolist() == [1, 0]
    with pytest.raises(TypeError, match="takes a 2-sequence"):
        type(found)((values,))


def test_max_of_two_tensors_and_of_all() -> None:
    a, b = torch.tensor([1.0, 5.0]), torch.tensor([3.0, 2.0])
    assert torch.max(a, b).tolist() == [3, 5] and a.min(b).tolist() == [1, 2]
    assert a.max().item() == 5
    with pytest.raises(TypeError, match="invalid combination of arguments"):
        a.max("dim")


@pytest.mark.parametrize("function,expected", [("max", [0, 0.5, 0.5]), ("amax", [0, 0.5, 0.5]), ("min", [1, 0, 0])])
def test_equal_extrema_share_the_gradient(function: str, expected: list[float]) -> None:
    x = torch.tensor([1.0, 2.0, 2.0], requires_grad=True)
    getattr(x, function)().backward()
    assert x.grad.tolist() == expected


def test_along_a_dimension_the_first_extremum_gets_the_gradient() -> None:
    x = torch.tensor([[2.0, 2.0], [1.0, 3.0]], requires_grad=True)
    x.max(1).values.sum().backward()
    assert x.grad.tolist() == [[1, 0], [0, 1]]


def test_nan_wins_and_is_found() -> None:
    x = torch.tensor([1.0, nan, 3.0])
    assert math.isnan(x.max().item()) and math.isnan(x.min().item())
    assert x.argmax().item() == 1 and x.max(0).indices.item() == 1
    assert x.nansum().item() == 4 and x.nanmean().item() == 2


def test_product_gradient_with_zeros() -> None:
    for values, expected in (([2.0, 0.0, 3.0], [0, 6, 0]), ([0.0, 0.0, 3.0], [0, 0, 0]), ([2.0, 3.0], [3, 2])):
        x = torch.tensor(values, requires_grad=True)
        x.prod().backward()
        assert x.grad.tolist() == expected
    x = torch.tensor([2.0, 0.0, 3.0], requires_grad=True)
    (first,) = torch.autograd.grad(x.prod(), x, create_graph=True)
    first.sum().backward()
    assert x.grad.tolist() == [3, 5, 2]


def test_logsumexp_does_not_overflow() -> None:
    assert torch.tensor([1000.0, 1000.0]).logsumexp(0).item() == pytest.approx(1000 + math.log(2))
    assert torch.tensor([-inf, -inf]).logsumexp(0).item() == -inf
    x = torch.tensor([-inf, -inf], requires_grad=True)
    x.logsumexp(0).backward()
    assert x.grad.tolist() == [0, 0]


def test_numpy_names_of_arguments() -> None:
    x = torch.arange(6).reshape(2, 3)
    assert x.sum(axis=0).tolist() == [3, 5, 7]
    assert torch.max(x, axis=1, keepdims=True).values.tolist() == [[2], [5]]


def test_out_takes_the_result_and_is_resized() -> None:
    x = torch.ones(2, 3)
    out = torch.empty(3)
    assert torch.sum(x, 0, out=out) is out and out.tolist() == [2, 2, 2]
    with pytest.warns(UserWarning, match="An output with one or more elements was resized"):
        torch.sum(x, 1, out=out)
    assert out.tolist() == [3, 3]
    values, indices = torch.empty(3), torch.empty(3, dtype=torch.int64)
    torch.max(x, 0, out=(values, indices))
    assert values.tolist() == [1, 1, 1] and indices.tolist() == [0, 0, 0]


def test_any_and_all_keep_uint8() -> None:
    assert torch.tensor([1, 0], dtype=torch.uint8).any().dtype is torch.uint8
    assert torch.tensor([1.0, 0.0]).all().dtype is torch.bool
    assert torch.tensor([[1, 0], [1, 1]]).all(1).tolist() == [False, True]
    assert torch.tensor([[3, 0], [1, 1]]).count_nonzero(0).tolist() == [2, 1]
