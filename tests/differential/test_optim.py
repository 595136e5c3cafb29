"""Every optimizer over 50 steps beside PyTorch's, with its options, errors and checkpoints."""

from __future__ import annotations

import importlib
import os
from typing import Any

import numpy as np
import pytest
import torch

import flambeau
import flambeau.optim
from tests.differential.beside import assert_state_close, numpy_of, to_lib
from tests.optim.cases import CASES, IDS, SCHEDULES, golden, golden_optimizer, gradients, record_golden, run


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_fifty_steps(name: str, options: dict[str, Any]) -> None:
    mine, my_optimizer = run(flambeau, name, options)
    theirs, their_optimizer = run(torch, name, options)
    for a, b in zip(mine, theirs):
        np.testing.assert_allclose(numpy_of(a), numpy_of(b), rtol=3e-6, atol=3e-7)
    assert_state_close(my_optimizer.state_dict(), their_optimizer.state_dict())
    assert repr(my_optimizer) == repr(their_optimizer)


@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop", "Adagrad", "NAdam"])
def test_fifty_steps_in_double_precision_are_the_same_to_its_rounding(name: str) -> None:
    mine, theirs = (run(lib, name, {"lr": 0.05}, dtype="float64")[0] for lib in (flambeau, torch))
    for a, b in zip(mine, theirs):
        np.testing.assert_allclose(numpy_of(a), numpy_of(b), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop"])
def test_narrow_parameters_keep_narrow_state(name: str) -> None:
    (mine, mo), (theirs, to) = (run(lib, name, {"lr": 0.05}, 5, "bfloat16") for lib in (flambeau, torch))
    for a, b in zip(mine, theirs):
        assert str(a.dtype) == str(b.dtype)
        np.testing.assert_allclose(numpy_of(a), numpy_of(b), rtol=0.05, atol=0.02)
    assert_state_close(mo.state_dict(), to.state_dict(), rtol=0.1) if name == "SGD" else None


@pytest.mark.parametrize("direction", ["from PyTorch", "to PyTorch"])
@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_checkpoints_go_both_ways(name: str, options: dict[str, Any], direction: str) -> None:
    """Train in one library, go on in the other from the checkpoint: as if it had been one."""
    first, second = (torch, flambeau) if direction == "from PyTorch" else (flambeau, torch)
    params, optimizer = run(first, name, options, 10)
    moved = [second.tensor(p.detach().tolist(), dtype=second.float32).requires_grad_() for p in params]
    resumed = getattr(second.optim, name)(moved, **options)
    resumed.load_state_dict(to_lib(optimizer.state_dict(), second))
    for step in range(10, 20):
        gradients(step, params, first)
        optimizer.step()
        gradients(step, moved, second)
        resumed.step()
    for a, b in zip(moved, params):
        np.testing.assert_allclose(numpy_of(a), numpy_of(b), rtol=3e-6, atol=3e-7)


def rosenbrock(lib: Any, options: dict[str, Any], steps: int) -> tuple[list[float], Any]:
    w = lib.tensor([-1.2, 1.0, 0.5], dtype=lib.float64, requires_grad=True)
    b = lib.tensor(0.3, dtype=lib.float64, requires_grad=True)
    optimizer = lib.optim.LBFGS([w, b], **options)

    def closure() -> Any:
        optimizer.zero_grad()
        loss = 10 * (w[1] - w[0] ** 2) ** 2 + (1 - w[0]) ** 2 + (w[2] - b) ** 4 + (b - 0.7) ** 2
        loss.backward()
        return loss

    losses = [float(optimizer.step(closure)) for _ in range(steps)]
    return losses + w.tolist() + [b.item()], optimizer


@pytest.mark.parametrize(
    "options",
    [
        {"lr": 0.1},
        {"lr": 0.5, "max_iter": 4, "history_size": 3},
        {"line_search_fn": "strong_wolfe"},
        {"line_search_fn": "strong_wolfe", "max_iter": 5, "history_size": 2, "tolerance_change": 1e-12},
    ],
)
def test_lbfgs(options: dict[str, Any]) -> None:
    (mine, mo), (theirs, to) = (rosenbrock(lib, options, 12) for lib in (flambeau, torch))
    np.testing.assert_allclose(mine, theirs, rtol=1e-6, atol=1e-9)
    ours, other = mo.state_dict(), to.state_dict()
    assert ours["param_groups"] == other["param_groups"]
    assert sorted(ours["state"][0]) == sorted(other["state"][0])
    assert ours["state"][0]["func_evals"] == other["state"][0]["func_evals"]
    assert ours["state"][0]["n_iter"] == other["state"][0]["n_iter"]


@pytest.mark.parametrize("options", [{}, {"nesterov": False, "adjust_lr_fn": "match_rms_adamw", "momentum": 0.5}])
def test_muon(options: dict[str, Any]) -> None:
    """PyTorch orthogonalizes in bfloat16, so that only the first digits can agree."""
    results = []
    for lib in (flambeau, torch):
        p = lib.tensor(np.random.default_rng(2).standard_normal((6, 4)).tolist(), requires_grad=True)
        optimizer = lib.optim.Muon([p], lr=0.02, **options)
        for step in range(10):
            gradients(step, [p], lib)
            optimizer.step()
        results.append((numpy_of(p), optimizer.state_dict(), repr(optimizer)))
    np.testing.assert_allclose(results[0][0], results[1][0], atol=0.02)
    assert results[0][1]["param_groups"] == results[1][1]["param_groups"]
    assert results[0][2] == results[1][2]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("SGD", {"lr": -1}), ("SGD", {"momentum": -1}), ("SGD", {"weight_decay": -1}), ("SGD", {"nesterov": True}),
        ("SGD", {"fused": True, "foreach": True}), ("SGD", {"fused": True, "differentiable": True}),
        ("Adam", {"lr": -1}), ("Adam", {"betas": (1.0, 0.9)}), ("Adam", {"betas": (0.9, -0.1)}), ("Adam", {"eps": -1}),
        ("Adam", {"betas": (0, 0.9)}), ("AdamW", {"weight_decay": -1}), ("RMSprop", {"alpha": -1}),
        ("RMSprop", {"momentum": -1}), ("Adagrad", {"lr_decay": -1}), ("Adagrad", {"initial_accumulator_value": -1}),
        ("Adadelta", {"rho": 1.5}), ("Adamax", {"betas": (0.9, 1.0)}), ("NAdam", {"momentum_decay": -1}),
        ("RAdam", {"eps": -1}), ("Rprop", {"etas": (1.2, 0.5)}), ("ASGD", {"weight_decay": -1}), ("LBFGS", {"lr": -1}),
        ("Adafactor", {"lr": -1}), ("Adafactor", {"d": 0.5}), ("Adafactor", {"eps": (-1, 0.1)}), ("Muon", {}),
        ("Muon", {"adjust_lr_fn": "best"}), ("SparseAdam", {"lr": 0}), ("SparseAdam", {"eps": 0}),
    ],
)  # fmt: skip
def test_bad_options_raise_the_same(name: str, options: dict[str, Any]) -> None:
    errors = []
    for lib in (flambeau, torch):
        with pytest.raises((ValueError, RuntimeError)) as info:
            getattr(lib.optim, name)([lib.zeros(1, requires_grad=True)], **options)
        errors.append((info.type, str(info.value)))
    assert errors[0] == errors[1]


@pytest.mark.parametrize("name", ["Adam", "RMSprop", "Adadelta", "Adamax", "NAdam", "RAdam", "Rprop", "ASGD"])
def test_capturable_is_refused_the_same(name: str) -> None:
    errors = []
    for lib in (flambeau, torch):
        p = lib.ones(2, requires_grad=True)
        p.grad = lib.ones(2)
        with pytest.raises(AssertionError) as info:
            getattr(lib.optim, name)([p], capturable=True).step()
        errors.append(str(info.value))
    assert errors[0] == errors[1]


# PyTorch takes the submodule's name off its package.
REQUIRED = {lib: importlib.import_module(f"{lib.__name__}.optim.optimizer").required for lib in (flambeau, torch)}
MAKERS: list[Any] = [
    lambda lib: lib.optim.SGD(lib.zeros(2), 0.1),
    lambda lib: lib.optim.SGD([], 0.1),
    lambda lib: lib.optim.SGD([1.0], 0.1),
    lambda lib: lib.optim.SGD({"params": [lib.zeros(2)]}, 0.1),
    lambda lib: lib.optim.SGD([{"params": {lib.zeros(2)}}], 0.1),
    lambda lib: lib.optim.SGD([lib.zeros(2, requires_grad=True) * 2], 0.1),
    lambda lib: lib.optim.SGD([("a", lib.zeros(2)), lib.zeros(2)], 0.1),
    lambda lib: lib.optim.SGD([lib.zeros(2)], 0.1).add_param_group([lib.zeros(2)]),
    lambda lib: lib.optim.SGD([lib.zeros(2)], 0.1).add_param_group({"params": [("a", lib.zeros(2))]}),
    lambda lib: (lambda p: lib.optim.SGD([{"params": [p]}, {"params": [p]}], 0.1))(lib.zeros(2)),
    lambda lib: lib.optim.Optimizer([lib.zeros(2)], {"lr": REQUIRED[lib]}),
    lambda lib: lib.optim.LBFGS([{"params": [lib.zeros(2)]}, {"params": [lib.zeros(2)]}]),
    lambda lib: lib.optim.SGD([lib.zeros(2)], 0.1).load_state_dict({"state": {}, "param_groups": []}),
    lambda lib: lib.optim.SGD([lib.zeros(2)], 0.1).load_state_dict(
        {"state": {}, "param_groups": [{"params": [0, 1], "lr": 1}]}
    ),
]


@pytest.mark.parametrize("make", MAKERS)
def test_bad_parameters_raise_the_same(make: Any) -> None:
    errors = []
    for lib in (flambeau, torch):
        with pytest.raises((TypeError, ValueError)) as info:
            make(lib)
        errors.append((info.type, str(info.value)))
    assert errors[0] == errors[1]


def test_named_parameters_and_groups_give_the_same_state_dict() -> None:
    dicts = []
    for lib in (flambeau, torch):
        a, b = lib.ones(2, requires_grad=True), lib.ones(3, requires_grad=True)
        optimizer = lib.optim.Adam([{"params": [("a", a)], "lr": 0.1}, {"params": [("b", b)], "betas": (0.5, 0.6)}])
        a.grad = lib.ones(2)
        optimizer.step()
        dicts.append((optimizer.state_dict(), repr(optimizer)))
    assert_state_close(dicts[0][0], dicts[1][0])
    assert dicts[0][1] == dicts[1][1]


@pytest.mark.skipif("FLAMBEAU_RECORD" not in os.environ, reason="writes tests/optim/golden.json")
def test_record_golden() -> None:
    record_golden(torch)


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_golden_numbers_are_pytorchs(name: str, options: dict[str, Any], request: pytest.FixtureRequest) -> None:
    kept = golden("optimizers")[request.node.callspec.id]
    np.testing.assert_allclose(golden_optimizer(torch, name, options), kept, rtol=1e-5, atol=1e-6)


def test_golden_covers_everything() -> None:
    assert list(golden("optimizers")) == IDS
    assert list(golden("schedules")) == list(SCHEDULES)
