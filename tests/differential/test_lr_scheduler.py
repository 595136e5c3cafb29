"""Every learning-rate schedule over 60 steps beside PyTorch's, with its warnings, errors and checkpoints."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import pytest
import torch

import flambeau
import flambeau.optim
from flambeau.tensors import Tensor
from tests.differential.beside import to_lib
from tests.optim.cases import SCHEDULES, follow, golden, golden_schedule, two_groups

# A schedule inside another steps before the optimizer does, in PyTorch too.
pytestmark = pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")


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


@pytest.mark.parametrize("name", SCHEDULES)
def test_golden_rates_are_pytorchs(name: str) -> None:
    assert golden_schedule(torch, name) == golden("schedules")[name]
