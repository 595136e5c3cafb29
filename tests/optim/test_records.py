"""The update of a parameter as one op: what is an input, what is fixed, and the counters beside it."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import flambeau as torch
from flambeau.optim.formula import FormulaOptimizer


def stepping(name: str, **options: Any) -> tuple[FormulaOptimizer, torch.Tensor]:
    p = torch.ones(3)
    p.grad = torch.ones(3)
    return getattr(torch.optim, name)([p], **options), p


def call_of(optimizer: FormulaOptimizer) -> tuple[list, dict]:
    """Numbers and parameters of the op in the next step."""
    group = optimizer.param_groups[0]
    state = optimizer.state[group["params"][0]]
    _, values, params = optimizer._prepared(tuple(state), optimizer.advance(state, group), group)
    return values, params


@pytest.mark.parametrize("name, options", [
    ("SGD", {"momentum": 0.9}), ("Adam", {}), ("AdamW", {"weight_decay": 0.1}), ("RMSprop", {"momentum": 0.5}),
    ("NAdam", {}), ("Adagrad", {}), ("Adamax", {}), ("Adadelta", {}), ("Rprop", {}),
])  # fmt: skip
def test_schedules_and_step_counts_change_numbers_only(name: str, options: dict) -> None:
    optimizer, _ = stepping(name, lr=0.1, **options)
    optimizer.step()
    optimizer.step()
    values, params = call_of(optimizer)
    optimizer.param_groups[0]["lr"] = 0.01
    later, same = call_of(optimizer)
    assert params is same
    assert len(values) == len(later) and all(x is None or type(x) is float for x in (*values, *later))


def test_what_the_formula_branches_on_is_fixed() -> None:
    optimizer, _ = stepping("Adam", amsgrad=True, maximize=True, weight_decay=0.1)
    optimizer.step()
    recipe = call_of(optimizer)[1]["recipe"]
    assert recipe.fixed == (("amsgrad", True),) and recipe.maximize and recipe.decay == "l2"
    assert recipe.tensors == ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")


def test_the_step_count_is_a_tensor_that_python_counts_in() -> None:
    optimizer, p = stepping("Adam")
    optimizer.step()
    step = optimizer.state[p]["step"]
    before = step.clone()
    for _ in range(3):
        optimizer.step()
    assert step is optimizer.state[p]["step"] and step.item() == 4 and before.item() == 1
    saved = copy.deepcopy(optimizer.state_dict())
    optimizer.step()
    assert saved["state"][0]["step"].item() == 4


def test_a_step_count_may_be_replaced() -> None:
    optimizer, p = stepping("Adam")
    optimizer.step()
    optimizer.state[p]["step"] = torch.tensor(10.0)
    optimizer.step()
    assert optimizer.state[p]["step"].item() == 11
    optimizer.state[p]["step"] += 1
    optimizer.step()
    assert optimizer.state[p]["step"].item() == 13


def test_numbers_are_computed_in_double_precision() -> None:
    """1 - 0.999 in float32 would be off by a hundred thousandth."""
    optimizer, p = stepping("Adam", lr=0.0)
    optimizer.step()
    np.testing.assert_array_equal(optimizer.state[p]["exp_avg_sq"].numpy(), np.float32(1 - 0.999))


def test_parameters_that_have_stepped_less_get_numbers_of_their_own() -> None:
    a, b = torch.ones(2), torch.ones(2)
    optimizer = torch.optim.Adam([a, b], lr=0.1)
    a.grad = torch.ones(2)
    optimizer.step()
    b.grad = torch.ones(2)
    optimizer.step()
    assert [optimizer.state[t]["step"].item() for t in (a, b)] == [2, 1]
    np.testing.assert_allclose(b.numpy(), 0.9, rtol=1e-6)
