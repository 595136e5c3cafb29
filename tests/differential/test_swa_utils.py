"""Weight averaging beside PyTorch's: averages, their schedule, and batch-norm statistics computed anew."""

from __future__ import annotations

import copy
import importlib
from typing import Any

import numpy as np
import pytest
import torch

import flambeau
from tests.differential.beside import LIBRARIES, assert_state_close
from tests.optim.cases import two_groups


def swa(lib: Any) -> Any:
    return importlib.import_module(f"{lib.__name__}.optim.swa_utils")


def network(lib: Any) -> Any:
    lib.manual_seed(3)
    nn = lib.nn
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, momentum=0.2), nn.ReLU(), nn.Linear(4, 2))


def batches(lib: Any) -> list[Any]:
    rng = np.random.default_rng(0)
    return [lib.from_numpy(rng.standard_normal((8, 3)).astype(np.float32)) for _ in range(6)]


AVERAGES: dict[str, Any] = {
    "mean": lambda u: {},
    "mean of buffers too": lambda u: {"use_buffers": True},
    "ema": lambda u: {"avg_fn": u.get_ema_avg_fn(0.9)},
    "ema of lists": lambda u: {"multi_avg_fn": u.get_ema_multi_avg_fn(0.9)},
    "swa": lambda u: {"avg_fn": u.get_swa_avg_fn()},
    "swa of lists": lambda u: {"multi_avg_fn": u.get_swa_multi_avg_fn()},
    "own": lambda u: {"avg_fn": lambda average, value, count: 0.5 * average + 0.5 * value},
}


@pytest.mark.parametrize("kind", AVERAGES)
def test_averaged_models(kind: str) -> None:
    results = []
    for lib in LIBRARIES:
        model = network(lib)
        averaged = swa(lib).AveragedModel(model, **AVERAGES[kind](swa(lib)))
        optimizer = lib.optim.SGD(model.parameters(), lr=0.1)
        for x in batches(lib):
            optimizer.zero_grad()
            model(x).square().sum().backward()
            optimizer.step()
            averaged.update_parameters(model)
        swa(lib).update_bn(batches(lib), averaged)
        results.append((averaged.state_dict(), averaged.module[1].momentum, averaged.training))
    assert list(results[0][0]) == list(results[1][0])
    assert_state_close(dict(results[0][0]), dict(results[1][0]), rtol=1e-5)
    assert results[0][1:] == results[1][1:]


@pytest.mark.parametrize("strategy", ["cos", "linear"])
@pytest.mark.parametrize("epochs", [0, 1, 7])
def test_swalr(strategy: str, epochs: int) -> None:
    results = []
    for lib in LIBRARIES:
        optimizer = two_groups(lib, "SGD")
        schedule = swa(lib).SWALR(optimizer, [0.5, 0.01], anneal_epochs=epochs, anneal_strategy=strategy)
        other = swa(lib).SWALR(two_groups(lib, "SGD"), 0.3)
        rates = []
        for _ in range(12):
            rates.append(list(schedule.get_last_lr()))
            optimizer.step()
            schedule.step()
        other.load_state_dict(copy.deepcopy(schedule.state_dict()))
        results.append((rates, schedule.state_dict(), other.anneal_epochs, other.get_last_lr()))
    assert results[0] == results[1]


@pytest.mark.parametrize(
    "make",
    [
        lambda u, o: u.SWALR(o, [0.1]),
        lambda u, o: u.SWALR(o, 0.1, anneal_strategy="step"),
        lambda u, o: u.SWALR(o, 0.1, anneal_epochs=-1),
        lambda u, o: u.get_ema_avg_fn(1.5),
        lambda u, o: u.get_ema_multi_avg_fn(-0.5),
    ],
)
def test_errors(make: Any) -> None:
    errors = []
    for lib in (flambeau, torch):
        with pytest.raises(ValueError) as info:
            make(swa(lib), two_groups(lib, "SGD"))
        errors.append(str(info.value))
    assert errors[0] == errors[1]
