"""Schedules without PyTorch: its recorded rates, checkpoints, warnings."""

from __future__ import annotations

import copy
import subprocess
import sys
import warnings

import pytest

import flambeau as torch
from tests.optim.cases import SCHEDULES, follow, golden, golden_schedule, two_groups

# A schedule inside another steps before the optimizer does, in PyTorch too.
pytestmark = pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")


@pytest.mark.parametrize("name", SCHEDULES)
def test_sixty_steps_give_pytorchs_rates(name: str) -> None:
    assert golden_schedule(torch, name) == golden("schedules")[name]


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_continues_from_its_checkpoint(name: str) -> None:
    _, optimizer, scheduler = follow(torch, SCHEDULES[name], "Adam", 13)
    resumed = two_groups(torch, "Adam")
    schedule = SCHEDULES[name](torch.optim.lr_scheduler, resumed)
    saved = copy.deepcopy((scheduler.state_dict(), optimizer.state_dict()))
    kept = copy.deepcopy(saved[0])
    schedule.load_state_dict(saved[0])
    assert saved[0] == kept, "load_state_dict changed what it was given"
    resumed.load_state_dict(saved[1])
    for _ in range(15):
        for o, s in ((optimizer, scheduler), (resumed, schedule)):
            o.step()
            s.step()
        assert schedule.get_last_lr() == scheduler.get_last_lr()
        assert [g["betas"] for g in resumed.param_groups] == [g["betas"] for g in optimizer.param_groups]


def test_an_object_as_lr_lambda_is_saved_by_its_fields() -> None:
    class Decay:
        def __init__(self, rate: float) -> None:
            self.rate = rate

        def __call__(self, step: int) -> float:
            return self.rate**step

    schedule = torch.optim.lr_scheduler.LambdaLR(two_groups(torch, "SGD"), Decay(0.5))
    saved = schedule.state_dict()
    assert saved["lr_lambdas"] == [{"rate": 0.5}, {"rate": 0.5}]
    other = torch.optim.lr_scheduler.LambdaLR(two_groups(torch, "SGD"), Decay(0.1))
    other.load_state_dict(saved)
    assert other.lr_lambdas[0].rate == 0.5


def test_the_right_order_of_calls_is_silent_and_the_wrong_one_warns() -> None:
    optimizer = two_groups(torch, "SGD")
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.step()
        schedule.step()
    other = torch.optim.lr_scheduler.StepLR(two_groups(torch, "SGD"), 1)
    with pytest.warns(UserWarning, match="before `optimizer.step"):
        other.step()


def test_plateau_follows_added_groups() -> None:
    optimizer = two_groups(torch, "SGD")
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
    optimizer.add_param_group({"params": [torch.zeros(1)], "lr": 1.0})
    for _ in range(2):
        schedule.step(1.0)
    assert optimizer.param_groups[2]["lr"] == pytest.approx(0.1)


def test_swa_utils_is_there_without_an_import_of_its_own():
    program = "import flambeau as torch; print(torch.optim.swa_utils.AveragedModel.__name__)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "AveragedModel\n", done.stderr
