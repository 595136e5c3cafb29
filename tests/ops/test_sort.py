"""Sorting, picking by rank, distinct elements, bins."""

from __future__ import annotations

import math

import numpy as np
import pytest

import flambeau as torch

nan = float("nan")


def test_sort_is_stable_in_both_directions_and_puts_nan_at_the_top() -> None:
    x = torch.tensor([2.0, nan, 1.0, 2.0, 1.0])
    assert x.sort().indices.tolist() == [2, 4, 0, 3, 1]
    assert x.sort(descending=True).indices.tolist() == [1, 0, 3, 2, 4]
    assert x.argsort().tolist() == [2, 4, 0, 3, 1]


def test_sort_sends_gradients_back() -> None:
    x = torch.tensor([[3.0, 1.0, 2.0]], requires_grad=True)
    (x.sort(1).values * torch.tensor([1.0, 10.0, 100.0])).sum().backward()
    assert x.grad.tolist() == [[100, 1, 10]]


@pytest.mark.parametrize("n,k", [(10, 3), (100, 3), (100, 0), (100, 100)])
@pytest.mark.parametrize("largest", [True, False])
def test_topk_agrees_with_sorting(n: int, k: int, largest: bool) -> None:
    x = torch.from_numpy(np.random.default_rng(n).permutation(2 * n).reshape(2, n).astype(np.float32))
    values, indices = x.topk(k, dim=1, largest=largest)
    expected = x.sort(1, descending=largest)
    assert torch.equal(values, expected.values[:, :k]) and torch.equal(indices, expected.indices[:, :k])


def test_rank_errors() -> None:
    with pytest.raises(RuntimeError, match="selected index k out of range"):
        torch.ones(3).topk(4)
    with pytest.raises(RuntimeError, match=r"kthvalue\(\): selected number k out of range for dimension 0"):
        torch.ones(3).kthvalue(0)
    with pytest.raises(IndexError, match="Dimension out of range"):
        torch.ones(3).sort(1)


def test_medians_and_mode() -> None:
    x = torch.tensor([4.0, 1.0, 3.0, 2.0])
    assert x.median().item() == 2 and x.median(0).indices.item() == 3
    with_nan = torch.tensor([4.0, nan, 3.0, 2.0])
    assert math.isnan(with_nan.median().item()) and with_nan.median(0).indices.item() == 1
    assert with_nan.nanmedian().item() == 3
    assert tuple(t.item() for t in torch.tensor([2, 5, 2, 5, 1]).mode()) == (2, 2)


def test_unique() -> None:
    x = torch.tensor([[3, 1], [3, 2]])
    values, inverse, counts = x.unique(return_inverse=True, return_counts=True)
    assert values.tolist() == [1, 2, 3] and counts.tolist() == [1, 1, 2]
    assert torch.equal(values[inverse], x)
    rows, at = torch.unique(torch.tensor([[1, 2], [0, 5], [1, 2]]), dim=0, return_inverse=True)
    assert rows.tolist() == [[0, 5], [1, 2]] and at.tolist() == [1, 0, 1]
    assert torch.unique_consecutive(torch.tensor([1, 1, 2, 1])).tolist() == [1, 2, 1]
    assert torch.unique(torch.tensor([nan, nan])).shape == (2,)


def test_searchsorted_by_rows_agrees_with_one_row_at_a_time() -> None:
    rng = np.random.default_rng(0)
    edges, values = np.sort(rng.integers(0, 9, (4, 7))), rng.integers(0, 9, (4, 5))
    for right in (False, True):
        found = torch.searchsorted(torch.from_numpy(edges), torch.from_numpy(values), right=right)
        expected = [np.searchsorted(e, v, "right" if right else "left") for e, v in zip(edges, values)]
        assert found.numpy().tolist() == np.stack(expected).tolist()
    assert torch.bucketize(torch.tensor([0.5, 2.0]), torch.tensor([0.0, 1.0, 2.0]), right=True).tolist() == [1, 3]


def test_counting() -> None:
    assert torch.bincount(torch.tensor([1, 1, 3]), minlength=5).tolist() == [0, 2, 0, 1, 0]
    assert torch.bincount(torch.tensor([0, 1, 1]), weights=torch.tensor([0.5, 1.0, 2.0])).tolist() == [0.5, 3]
    assert torch.histc(torch.tensor([0.0, 1.0, 1.5, 4.0, 9.0]), bins=4, min=0, max=4).tolist() == [1, 2, 0, 1]
    counts, edges = torch.histogram(torch.tensor([0.0, 1.0, 4.0]), bins=2)
    assert counts.tolist() == [2, 1] and edges.tolist() == [0, 2, 4]
    with pytest.raises(RuntimeError, match="only supports 1-d non-negative integral inputs"):
        torch.bincount(torch.tensor([-1]))


def test_running_extrema_remember_the_last_place() -> None:
    values, indices = torch.tensor([1.0, 1.0, 0.0, 2.0]).cummax(0)
    assert values.tolist() == [1, 1, 1, 2] and indices.tolist() == [0, 1, 1, 3]


def test_running_sums_round_once() -> None:
    x = torch.full((100_000,), 0.1)
    assert x.cumsum(0)[-1].item() == pytest.approx(10000, rel=1e-6)
    assert torch.tensor([200, 100], dtype=torch.uint8).cumsum(0).tolist() == [200, 300]


@pytest.mark.parametrize("values", [[2.0, 0.0, 3.0, 0.0], [0.0, 2.0], [1.0, 2.0, 0.0]])
def test_running_products_differentiate_through_zeros(values: list[float]) -> None:
    x = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: t.cumprod(0), (x,))
    assert torch.autograd.gradgradcheck(lambda t: t.cumprod(0), (x,))


def test_quantiles() -> None:
    x = torch.tensor([[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, nan]])
    assert x[0].quantile(0.25).item() == 0.75
    assert x[0].quantile(torch.tensor([0.0, 0.5, 1.0])).tolist() == [0, 1.5, 3]
    assert math.isnan(x.quantile(0.5, dim=1)[1].item()) and x.nanquantile(0.5, dim=1).tolist() == [1.5, 5]
    assert x[0].quantile(0.4, interpolation="nearest").item() == 1
    with pytest.raises(RuntimeError, match=r"q must be in the range \[0, 1\] but got 2"):
        x.quantile(2)


def test_spread_and_norms() -> None:
    x = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    assert x.var(0).tolist() == [2, 8] and x.std(1, correction=0).tolist() == [0.5, 1.5]
    with pytest.warns(UserWarning, match="degrees of freedom is <= 0"):
        assert math.isnan(torch.ones(1).std().item())
    assert x.norm().item() == pytest.approx(math.sqrt(50)) and x.norm(float("inf")).item() == 6
    zero = torch.zeros(3, requires_grad=True)
    zero.norm().backward()
    assert zero.grad.tolist() == [0, 0, 0]
    assert torch.cdist(x, x)[0].tolist() == pytest.approx([0, math.sqrt(20)])
    assert torch.pdist(x).tolist() == pytest.approx([math.sqrt(20)])
