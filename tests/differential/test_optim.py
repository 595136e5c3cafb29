"""Every optimizer over 50 steps beside PyTorch's, with its options; every schedule over 60; checkpoints both ways."""

from __future__ import annotations

import copy
import importlib
import warnings
from typing import Any

import numpy as np
import pytest
import torch

import flambeau
import flambeau.optim
from flambeau.tensor import Tensor

STEPS = 50
SHAPES = [(5, 3), (4,), (), (2, 3, 2)]

CASES: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.05}),
    ("SGD", {"lr": 0.05, "momentum": 0.9}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.02}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.02}),
    ("SGD", {"lr": 0.02, "maximize": True, "momentum": 0.5}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "foreach": True}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "fused": True, "weight_decay": 0.02}),
    ("Adam", {"lr": 0.02}),
    ("Adam", {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-5, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.02, "amsgrad": True}),
    ("Adam", {"lr": 0.02, "amsgrad": True, "maximize": True, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.02, "decoupled_weight_decay": True, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.02, "foreach": True}),
    ("Adam", {"lr": 0.02, "fused": True}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.02, "weight_decay": 0.3, "amsgrad": True}),
    ("RMSprop", {"lr": 0.01}),
    ("RMSprop", {"lr": 0.01, "alpha": 0.9, "eps": 1e-4, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 0.01, "centered": True}),
    ("RMSprop", {"lr": 0.01, "centered": True, "momentum": 0.9, "maximize": True}),
    ("Adagrad", {"lr": 0.1}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.05, "weight_decay": 0.1, "initial_accumulator_value": 0.2}),
    ("Adadelta", {}),
    ("Adadelta", {"lr": 0.5, "rho": 0.8, "eps": 1e-4, "weight_decay": 0.1, "maximize": True}),
    ("Adamax", {}),
    ("Adamax", {"lr": 0.02, "betas": (0.8, 0.9), "weight_decay": 0.1, "maximize": True}),
    ("NAdam", {}),
    ("NAdam", {"lr": 0.02, "weight_decay": 0.1, "momentum_decay": 0.01}),
    ("NAdam", {"lr": 0.02, "weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True}),
    ("RAdam", {}),
    ("RAdam", {"lr": 0.02, "betas": (0.8, 0.9), "weight_decay": 0.1}),
    ("RAdam", {"lr": 0.02, "weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True}),
    ("Rprop", {}),
    ("Rprop", {"lr": 0.05, "etas": (0.4, 1.5), "step_sizes": (1e-3, 0.2), "maximize": True}),
    ("ASGD", {}),
    ("ASGD", {"lr": 0.05, "lambd": 0.01, "alpha": 0.5, "t0": 20, "weight_decay": 0.1, "maximize": True}),
]
IDS = [f"{name}-{i}-" + ",".join(options) for i, (name, options) in enumerate(CASES)]


def parameters(lib: Any, dtype: str = "float32") -> list[Any]:
    rng = np.random.default_rng(1)
    arrays = [rng.standard_normal(s).astype(np.float32) for s in SHAPES]
    return [lib.tensor(a.tolist(), dtype=getattr(lib, dtype)).requires_grad_() for a in arrays]


def gradients(step: int, params: list[Any], lib: Any) -> None:
    """A gradient that depends on where the parameter is, so that differences would grow, and changes sign."""
    rng = np.random.default_rng(step)
    for i, p in enumerate(params):
        if i == 1 and step % 7 == 3:
            p.grad = None  # as of a layer that was not used in this step
            continue
        noise = lib.tensor(rng.standard_normal(p.shape).astype(np.float32).tolist(), dtype=p.dtype)
        p.grad = p.detach() * 0.3 + noise.reshape(p.shape)


def run(lib: Any, name: str, options: dict[str, Any], steps: int = STEPS, dtype: str = "float32") -> tuple[Any, Any]:
    params = parameters(lib, dtype)
    optimizer = getattr(lib.optim, name)(params, **options)
    for step in range(steps):
        gradients(step, params, lib)
        optimizer.step()
    return params, optimizer


def numpy_of(t: Any) -> np.ndarray:
    return np.asarray(t.detach().float().tolist() if str(t.dtype).endswith("bfloat16") else t.detach().numpy())


def assert_state_close(mine: Any, theirs: Any, rtol: float = 3e-6, where: str = "") -> None:
    """The same keys in the same order, types, dtypes and (nearly) numbers, however deep."""
    if isinstance(theirs, torch.Tensor):
        assert isinstance(mine, Tensor), where
        assert str(mine.dtype) == str(theirs.dtype), where
        assert tuple(mine.shape) == tuple(theirs.shape), where
        np.testing.assert_allclose(numpy_of(mine), numpy_of(theirs), rtol=rtol, atol=2e-7, err_msg=where)
    elif isinstance(theirs, dict):
        assert list(mine) == list(theirs), where
        for key in theirs:
            assert_state_close(mine[key], theirs[key], rtol, f"{where}[{key!r}]")
    elif isinstance(theirs, (list, tuple)):
        assert type(mine) is type(theirs) and len(mine) == len(theirs), where
        for i, (a, b) in enumerate(zip(mine, theirs)):
            assert_state_close(a, b, rtol, f"{where}[{i}]")
    else:
        assert mine == theirs, where


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


def to_lib(value: Any, lib: Any) -> Any:
    if isinstance(value, (torch.Tensor, Tensor)):
        return lib.tensor(value.detach().tolist(), dtype=getattr(lib, str(value.dtype).split(".")[1]))
    if isinstance(value, dict):
        return {k: to_lib(v, lib) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(to_lib(v, lib) for v in value)
    return value


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
        ("SparseAdam", {"lr": 0}), ("SparseAdam", {"eps": 0}),
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


SCHEDULES: dict[str, Any] = {
    "LambdaLR": lambda s, o: s.LambdaLR(o, lambda t: 0.95**t),
    "LambdaLR, a list": lambda s, o: s.LambdaLR(o, [lambda t: 0.95**t, lambda t: 1 / (t + 1)]),
    "MultiplicativeLR": lambda s, o: s.MultiplicativeLR(o, lambda t: 0.9 + 0.1 / (t + 1)),
    "StepLR": lambda s, o: s.StepLR(o, 7, 0.5),
    "MultiStepLR": lambda s, o: s.MultiStepLR(o, [3, 10, 10, 25], 0.3),
    "ConstantLR": lambda s, o: s.ConstantLR(o, 0.2, 9),
    "LinearLR": lambda s, o: s.LinearLR(o, 0.1, 0.8, 20),
    "ExponentialLR": lambda s, o: s.ExponentialLR(o, 0.93),
    "PolynomialLR": lambda s, o: s.PolynomialLR(o, 30, 2.0),
    "CosineAnnealingLR": lambda s, o: s.CosineAnnealingLR(o, 13, 1e-3),
    "CosineAnnealingWarmRestarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 5, 2, 1e-3),
    "CosineAnnealingWarmRestarts, equal": lambda s, o: s.CosineAnnealingWarmRestarts(o, 6),
    "CyclicLR": lambda s, o: s.CyclicLR(o, 0.01, 0.2, 5, 8),
    "CyclicLR triangular2": lambda s, o: s.CyclicLR(o, [0.01, 0.02], [0.2, 0.3], 5, mode="triangular2"),
    "CyclicLR exp_range": lambda s, o: s.CyclicLR(o, 0.01, 0.2, 5, mode="exp_range", gamma=0.97),
    "CyclicLR scale_fn": lambda s, o: s.CyclicLR(o, 0.01, 0.2, 5, scale_fn=lambda x: 1 / x, cycle_momentum=False),
    "OneCycleLR": lambda s, o: s.OneCycleLR(o, 0.5, 60),
    "OneCycleLR linear": lambda s, o: s.OneCycleLR(o, [0.5, 0.3], 60, anneal_strategy="linear", pct_start=0.4),
    "OneCycleLR three": lambda s, o: s.OneCycleLR(o, 0.5, epochs=6, steps_per_epoch=10, three_phase=True),
    "SequentialLR": lambda s, o: s.SequentialLR(
        o, [s.ConstantLR(o, 0.1, 4), s.LinearLR(o, 0.2, 1.0, 10), s.ExponentialLR(o, 0.9)], [8, 25]
    ),
    "ChainedScheduler": lambda s, o: s.ChainedScheduler([s.ConstantLR(o, 0.1, 8), s.ExponentialLR(o, 0.95)]),
    "Sequential of Chained": lambda s, o: s.SequentialLR(
        o, [s.ChainedScheduler([s.ConstantLR(o, 0.1, 8), s.StepLR(o, 3)]), s.CosineAnnealingLR(o, 9)], [12]
    ),
}


def two_groups(lib: Any, kind: str, lr_tensor: bool = False) -> Any:
    a, b = lib.zeros(2, requires_grad=True), lib.zeros(3, requires_grad=True)
    lr = lib.tensor(0.1) if lr_tensor else 0.1
    options = {"momentum": 0.9} if kind == "SGD" else {}
    return getattr(lib.optim, kind)([{"params": [a]}, {"params": [b], "lr": 0.04}], lr=lr, **options)


def follow(lib: Any, make: Any, kind: str, steps: int, lr_tensor: bool = False) -> tuple[list[Any], Any, Any]:
    optimizer = two_groups(lib, kind, lr_tensor)
    scheduler = make(lib.optim.lr_scheduler, optimizer)
    seen = []
    for _ in range(steps):
        momenta = [g.get("momentum", g.get("betas")) for g in optimizer.param_groups]
        seen.append([float(x) for x in scheduler.get_last_lr()] + momenta)
        optimizer.step()
        scheduler.step()
    return seen, optimizer, scheduler


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_give_the_same_rates(name: str, kind: str) -> None:
    mine, _, my_scheduler = follow(flambeau, SCHEDULES[name], kind, 60)
    theirs, _, their_scheduler = follow(torch, SCHEDULES[name], kind, 60)
    assert mine == theirs
    ours, other = my_scheduler.state_dict(), their_scheduler.state_dict()
    assert sorted(ours) == sorted(other)
    for inner in (ours, other):
        inner.pop("_schedulers", None)  # each names its own class of Counter, function ...
    assert ours == other


@pytest.mark.parametrize("name", ["StepLR", "LinearLR", "CosineAnnealingLR", "ExponentialLR", "OneCycleLR"])
def test_rates_that_are_tensors_change_in_place(name: str) -> None:
    (mine, optimizer, _), (theirs, _, _) = (follow(lib, SCHEDULES[name], "SGD", 20, True) for lib in (flambeau, torch))
    assert isinstance(optimizer.param_groups[0]["lr"], Tensor)
    np.testing.assert_allclose([m[:2] for m in mine], [t[:2] for t in theirs], rtol=1e-6)


@pytest.mark.parametrize("direction", ["from PyTorch", "to PyTorch"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_resume_from_each_others_checkpoints(name: str, direction: str) -> None:
    first, second = (torch, flambeau) if direction == "from PyTorch" else (flambeau, torch)
    _, optimizer, scheduler = follow(first, SCHEDULES[name], "SGD", 17)
    resumed = two_groups(second, "SGD")
    schedule = SCHEDULES[name](second.optim.lr_scheduler, resumed)
    schedule.load_state_dict(copy.deepcopy(scheduler.state_dict()))
    resumed.load_state_dict(to_lib(optimizer.state_dict(), second))
    for _ in range(20):
        for o, s in ((optimizer, scheduler), (resumed, schedule)):
            o.step()
            s.step()
        assert schedule.get_last_lr() == scheduler.get_last_lr()


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
def test_reduce_on_plateau(mode: str, threshold_mode: str) -> None:
    rng = np.random.default_rng(0)
    metrics = np.exp(-np.arange(60) / 8) + 0.05 * rng.standard_normal(60)
    metrics = metrics if mode == "min" else -metrics
    seen = []
    for lib in (flambeau, torch):
        optimizer = two_groups(lib, "SGD")
        scheduler = lib.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, mode, factor=0.5, patience=2, threshold=0.01, threshold_mode=threshold_mode, cooldown=1,
            min_lr=[0.001, 0.01],
        )  # fmt: skip
        rates = []
        for metric in metrics:
            scheduler.step(metric)
            rates.append(list(scheduler.get_last_lr()))
        seen.append((rates, scheduler.state_dict()))
    assert seen[0] == seen[1]


SCHEDULE_ERRORS: list[Any] = [
    lambda s, o: s.StepLR(object(), 3),
    lambda s, o: s.StepLR(o, 3, last_epoch=4),
    lambda s, o: s.LambdaLR(o, [lambda t: 1.0]),
    lambda s, o: s.MultiplicativeLR(o, 3.0),
    lambda s, o: s.ConstantLR(o, 2.0),
    lambda s, o: s.LinearLR(o, 0.0),
    lambda s, o: s.LinearLR(o, 0.5, 2.0),
    lambda s, o: s.ReduceLROnPlateau(o, factor=1.0),
    lambda s, o: s.ReduceLROnPlateau(o, mode="best"),
    lambda s, o: s.ReduceLROnPlateau(o, threshold_mode="best"),
    lambda s, o: s.ReduceLROnPlateau(o, min_lr=[0.1]),
    lambda s, o: s.CyclicLR(o, [0.1], 0.2),
    lambda s, o: s.CyclicLR(o, 0.1, 0.2, mode="square"),
    lambda s, o: s.OneCycleLR(o, 0.1),
    lambda s, o: s.OneCycleLR(o, 0.1, total_steps=-1),
    lambda s, o: s.OneCycleLR(o, 0.1, epochs=0, steps_per_epoch=3),
    lambda s, o: s.OneCycleLR(o, 0.1, 10, pct_start=2.0),
    lambda s, o: s.OneCycleLR(o, 0.1, 10, anneal_strategy="step"),
    lambda s, o: (lambda cycle: [cycle.step() for _ in range(4)])(s.OneCycleLR(o, 0.1, 3)),
    lambda s, o: s.CosineAnnealingWarmRestarts(o, 0),
    lambda s, o: s.CosineAnnealingWarmRestarts(o, 3, 0),
    lambda s, o: s.SequentialLR(o, [], []),
    lambda s, o: s.SequentialLR(o, [s.StepLR(o, 3)], [4]),
    lambda s, o: s.ChainedScheduler([]),
    lambda s, o: s.ChainedScheduler([s.ReduceLROnPlateau(o)]),
]


@pytest.mark.parametrize("make", SCHEDULE_ERRORS)
def test_bad_schedules_raise_the_same(make: Any) -> None:
    errors = []
    for lib in (flambeau, torch):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises((TypeError, ValueError, KeyError)) as info:
                make(lib.optim.lr_scheduler, two_groups(lib, "SGD"))
        errors.append((info.type, str(info.value)))
    assert errors[0] == errors[1]


def orders(lib: Any) -> list[str]:
    """The warnings of the ways to use a schedule wrongly."""
    said = []
    schedulers = lib.optim.lr_scheduler
    for misuse in ("before", "replaced", "get_lr", "epoch"):
        optimizer = two_groups(lib, "SGD")
        scheduler = schedulers.StepLR(optimizer, 2)
        if misuse != "before":
            optimizer.step()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            if misuse == "replaced":
                optimizer.step = lambda: None
            if misuse == "get_lr":
                scheduler.get_lr()
            scheduler.step(*[3] if misuse == "epoch" else [])
        said += [f"{w.category.__name__} {w.message}" for w in caught]
    return said


def test_warnings_about_the_order_of_calls_are_the_same() -> None:
    assert orders(flambeau) == orders(torch)


COMBINED = ("SequentialLR", "ChainedScheduler", "Sequential of Chained")  # their `step` takes no epoch


@pytest.mark.parametrize("name", [n for n in SCHEDULES if n not in COMBINED])
def test_jumping_to_an_epoch_is_the_same(name: str) -> None:
    seen = []
    for lib in (flambeau, torch):
        optimizer = two_groups(lib, "SGD")
        scheduler = SCHEDULES[name](lib.optim.lr_scheduler, optimizer)
        optimizer.step()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rates = []
            for epoch in (3, 11, 4, 22):
                scheduler.step(epoch)
                rates.append(list(scheduler.get_last_lr()))
        seen.append(rates)
    assert seen[0] == seen[1]
