"""Joining, moving, repeating and scattering elements: NumPy's results, PyTorch's messages."""

from __future__ import annotations

import numpy as np
import pytest

import flambeau as torch


def test_cat_of_legacy_empty_tensors_and_mixed_dtypes() -> None:
    a, empty = torch.ones(2, 3), torch.tensor([])
    assert torch.cat([a, empty]).shape == (2, 3)
    assert torch.cat([empty, empty]).shape == (0,)
    assert torch.cat([torch.ones(2, dtype=torch.int64), torch.ones(2, dtype=torch.float16)]).dtype is torch.float16
    assert torch.cat([a.t(), a.t()], 1).stride() == (4, 1)


def test_cat_keeps_channels_last() -> None:
    x = torch.ones(2, 3, 4, 5).to(memory_format=torch.channels_last)
    assert torch.cat([x, x]).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("attempt", "kind", "message"),
    [
        (lambda: torch.cat([]), ValueError, "torch.cat(): expected a non-empty list of Tensors"),
        (lambda: torch.cat([torch.ones(2, 3), torch.ones(2, 4)]), RuntimeError,
         "Sizes of tensors must match except in dimension 0. Expected size 3 but got size 4 for tensor number 1"),
        (lambda: torch.cat([torch.ones(2, 3), torch.ones(2)]), RuntimeError,
         "Tensors must have same number of dimensions: got 2 and 1"),
        (lambda: torch.cat([torch.tensor(1.0)]), RuntimeError, "zero-dimensional tensor (at position 0) cannot be"),
        (lambda: torch.cat(torch.ones(2)), TypeError, "argument 'tensors' (position 1) must be tuple of Tensors"),
        (lambda: torch.stack([torch.ones(2), torch.ones(3)]), RuntimeError, "stack expects each tensor to be equal"),
        (lambda: torch.gather(torch.ones(2, 3), 1, torch.tensor([[5]])), RuntimeError,
         "index 5 is out of bounds for dimension 1 with size 3"),
        (lambda: torch.ones(2, 3).scatter(1, torch.zeros(3, 1).long(), 1.0), RuntimeError,
         "Expected index [3, 1] to be no larger than self [2, 3] apart from dimension 1"),
        (lambda: torch.ones(2, 3).index_select(0, torch.tensor([2])), IndexError, "index out of range in self"),
        (lambda: torch.ones(2, 3).repeat(2), RuntimeError, "Number of dimensions of repeat dims can not be smaller"),
        (lambda: torch.meshgrid(torch.ones(2), torch.ones(2, 2), indexing="ij"), RuntimeError, "Expected 0D or 1D"),
    ],
)  # fmt: skip
def test_messages(attempt: object, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as caught:
        attempt()  # type: ignore[operator]
    assert message in str(caught.value)


def test_scatter_by_value_and_with_reduction() -> None:
    labels = torch.tensor([[1], [2]])
    assert torch.zeros(2, 3).scatter_(1, labels, 1).tolist() == [[0, 1, 0], [0, 0, 1]]
    x = torch.zeros(3).scatter_add_(0, torch.tensor([0, 0, 2]), torch.tensor([1.0, 2.0, 3.0]))
    assert x.tolist() == [3, 0, 3]
    src, at = torch.tensor([5.0, 1.0, 4.0]), torch.tensor([0, 0, 1])
    base = torch.tensor([2.0, 2.0, 9.0])
    expected = {
        ("sum", True): [8, 6, 9], ("sum", False): [6, 4, 9], ("mean", False): [3, 4, 9], ("amax", True): [5, 4, 9],
        ("amin", True): [1, 2, 9], ("prod", False): [5, 4, 9],
    }  # fmt: skip
    for (reduce, include_self), result in expected.items():
        assert base.scatter_reduce(0, at, src, reduce, include_self=include_self).tolist() == result


def test_gradient_of_a_product_with_a_zero() -> None:
    src = torch.tensor([2.0, 0.0, 3.0], requires_grad=True)
    torch.ones(1).scatter_reduce(0, torch.zeros(3).long(), src, "prod").sum().backward()
    assert src.grad is not None
    assert src.grad.tolist() == [0, 6, 0]


@pytest.mark.parametrize("repeats", [(2, 2), (1, 3), (2, 1, 2), (0, 1)])
def test_repeat_is_tile(repeats: tuple[int, ...]) -> None:
    x = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(torch.from_numpy(x).repeat(*repeats).numpy(), np.tile(x, repeats))


def test_meshgrid_in_both_orders() -> None:
    a, b = torch.tensor([1, 2]), torch.tensor([3, 4, 5])
    for indexing in ("ij", "xy"):
        for mine, theirs in zip(torch.meshgrid(a, b, indexing=indexing), np.meshgrid(a, b, indexing=indexing)):
            np.testing.assert_array_equal(mine.numpy(), theirs)


def test_repeat_interleave_with_counts() -> None:
    x = torch.tensor([[1, 2], [3, 4]])
    assert x.repeat_interleave(torch.tensor([1, 2]), dim=0).tolist() == [[1, 2], [3, 4], [3, 4]]
    assert torch.repeat_interleave(torch.tensor([2, 0, 1])).tolist() == [0, 0, 2]


def test_padding_grows_and_cuts() -> None:
    x = torch.arange(6).view(2, 3)
    assert torch.constant_pad_nd(x, (1, -1), 9).tolist() == [[9, 0, 1], [9, 3, 4]]
    assert torch.constant_pad_nd(x, (0, 0, 1, 0)).tolist() == [[0, 0, 0], [0, 1, 2], [3, 4, 5]]


def test_view_scatters_leave_their_input() -> None:
    x = torch.zeros(3, 3)
    assert torch.diagonal_scatter(x, torch.ones(3)).tolist() == np.eye(3).tolist()
    assert torch.select_scatter(x, torch.ones(3), 0, -1)[2].tolist() == [1, 1, 1]
    assert torch.slice_scatter(x, torch.ones(3, 1), 1, 1, 2).sum() == 3
    assert not x.any()


def test_grids_and_products() -> None:
    assert torch.combinations(torch.tensor([1, 2, 3]), 2).tolist() == [[1, 2], [1, 3], [2, 3]]
    assert torch.cartesian_prod(torch.tensor([1, 2]), torch.tensor([4, 5])).tolist() == [[1, 4], [1, 5], [2, 4], [2, 5]]
    assert torch.tril_indices(2, 3).tolist() == [[0, 1, 1], [0, 0, 1]]
    assert torch.block_diag(torch.ones(1, 2), torch.tensor(3.0)).tolist() == [[1, 1, 0], [0, 0, 3]]
    assert torch.vander(torch.tensor([2, 3])).tolist() == [[2, 1], [3, 1]]
