"""Outputs that a node keeps for its derivative."""

from __future__ import annotations

import pytest

import flambeau as torch

SELECTIONS = {"max": (1,), "min": (1,), "cummax": (1,), "cummin": (1,), "sort": (1,), "topk": (2,), "median": (1,),
              "kthvalue": (2,), "mode": (1,)}  # fmt: skip


@pytest.mark.parametrize("name", SELECTIONS)
def test_indices_that_are_kept_are_no_part_of_the_graph(name: str) -> None:
    """The gradient of a selection depends on the chosen indices, which have no derivative."""
    x = torch.tensor([[1.0, 3.0, 2.0], [5.0, 4.0, 6.0]], requires_grad=True)
    select = getattr(torch, name)
    (linear,) = torch.autograd.grad(select(x, *SELECTIONS[name]).values.sum(), x, create_graph=True)
    assert not linear.requires_grad
    (squared,) = torch.autograd.grad(select(x * x, *SELECTIONS[name]).values.sum(), x, create_graph=True)
    assert squared.requires_grad
    (second,) = torch.autograd.grad(squared.sum(), x)
    assert second.count_nonzero() == (squared != 0).sum()
