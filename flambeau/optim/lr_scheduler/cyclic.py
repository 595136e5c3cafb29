"""Schedules that go up and down: cycles, one cycle, and cosines that start again."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

from flambeau.optim.lr_scheduler.base import (
    LRScheduler,
    check_optimizer,
    function_state,
    per_group,
    set_group_value,
)
from flambeau.optim.optimizer import Optimizer
from flambeau.tensors import Tensor

Rates = list[float | Tensor]


def _uses_beta1(optimizer: Optimizer) -> bool:
    """Whether an optimizer's momentum is the first of its betas."""
    if "momentum" not in optimizer.defaults and "betas" not in optimizer.defaults:
        raise ValueError("optimizer must support momentum or beta1 with `cycle_momentum` option enabled")
    return "betas" in optimizer.defaults


def _set_momentum(group: dict[str, Any], momentum: float, use_beta1: bool) -> None:
    if use_beta1:
        group["betas"] = (momentum, *group["betas"][1:])
    else:
        group["momentum"] = momentum


def _start_momentum(optimizer: Optimizer, highest: list[float], lowest: list[float], use_beta1: bool) -> None:
    for high, low, group in zip(highest, lowest, optimizer.param_groups, strict=True):
        _set_momentum(group, high, use_beta1)
        group["max_momentum"] = high
        group["base_momentum"] = low


class CyclicLR(LRScheduler):
    """The rate goes in lines from `base_lr` to `max_lr` and back (Smith 2017, https://arxiv.org/abs/1506.01186),
    the momentum the other way.

    Args:
        mode: "triangular"; "triangular2" halves the height each cycle; "exp_range" scales it by `gamma ** step`.
        scale_fn: instead of a mode, the height's factor as a function of the cycle or, by `scale_mode`, the step.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: float | list[float],
        max_lr: float | list[float],
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: Literal["triangular", "triangular2", "exp_range"] = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: Literal["cycle", "iterations"] = "cycle",
        cycle_momentum: bool = True,
        base_momentum: float = 0.8,
        max_momentum: float = 0.9,
        last_epoch: int = -1,
    ) -> None:
        check_optimizer(optimizer)
        self.optimizer = optimizer
        base_lrs = per_group("base_lr", optimizer, base_lr)
        if last_epoch == -1:
            for lr, group in zip(base_lrs, optimizer.param_groups, strict=True):
                set_group_value(group, "lr", lr)
        self.max_lrs = per_group("max_lr", optimizer, max_lr)
        up = float(step_size_up)
        down = up if step_size_down is None else float(step_size_down)
        self.total_size = up + down
        self.step_ratio = up / self.total_size
        if mode not in ("triangular", "triangular2", "exp_range") and scale_fn is None:
            raise ValueError("mode is invalid and scale_fn is None")
        self.mode = mode
        self.gamma = gamma
        self._scale_fn_ref: Callable[[float], float]
        self._scale_fn_custom = scale_fn
        self.scale_mode: str = scale_mode
        self._init_scale_fn()
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self.use_beta1 = _uses_beta1(optimizer)
            self.base_momentums = per_group("base_momentum", optimizer, base_momentum)
            self.max_momentums = per_group("max_momentum", optimizer, max_momentum)
            if last_epoch == -1:
                _start_momentum(optimizer, self.max_momentums, self.base_momentums, self.use_beta1)
        super().__init__(optimizer, last_epoch)
        self.base_lrs = base_lrs

    def _init_scale_fn(self) -> None:
        if self._scale_fn_custom is not None:
            return
        if self.mode == "exp_range":
            self._scale_fn_ref, self.scale_mode = partial(_exp_range, self.gamma), "iterations"
        else:
            self._scale_fn_ref, self.scale_mode = _TRIANGLES[self.mode], "cycle"

    def scale_fn(self, x: float) -> float:
        """The factor of the height in cycle `x`, or at step `x`."""
        return (self._scale_fn_ref if self._scale_fn_custom is None else self._scale_fn_custom)(x)

    def get_lr(self) -> Rates:
        self._warn_outside_step()
        cycle = math.floor(1 + self.last_epoch / self.total_size)
        x = 1.0 + self.last_epoch / self.total_size - cycle
        height = x / self.step_ratio if x <= self.step_ratio else (x - 1) / (self.step_ratio - 1)
        scale = partial(self.scale_fn, cycle if self.scale_mode == "cycle" else self.last_epoch)
        if self.cycle_momentum:
            ranges = zip(self.base_momentums, self.max_momentums, self.optimizer.param_groups, strict=True)
            for low, high, group in ranges:
                _set_momentum(group, high - (high - low) * height * scale(), self.use_beta1)
        return [low + (high - low) * height * scale() for low, high in zip(self.base_lrs, self.max_lrs)]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer; of a `scale_fn` of your own only the fields, if it is an object."""
        state = super().state_dict()
        state.pop("_scale_fn_ref", None)
        return state | {"_scale_fn_custom": function_state(state["_scale_fn_custom"])}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        fields = state_dict["_scale_fn_custom"]
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "_scale_fn_custom"})
        if fields is not None and self._scale_fn_custom is not None:
            self._scale_fn_custom.__dict__.update(fields)
        self._init_scale_fn()


def _exp_range(gamma: float, x: float) -> float:
    return gamma**x


_TRIANGLES: dict[str, Callable[[float], float]] = {
    "triangular": lambda x: 1.0,
    "triangular2": lambda x: 1 / 2.0 ** (x - 1),
}


class OneCycleLR(LRScheduler):
    """One cycle for the whole training: up from `max_lr / div_factor` to `max_lr`, then down to far below where it
    began (Smith & Topin 2018, https://arxiv.org/abs/1708.07120); the momentum goes the other way.

    Raises:
        ValueError: neither `total_steps` nor `epochs` with `steps_per_epoch`; an option out of its range; a step
            after the last.

    Example::

        >>> import flambeau as torch
        >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1, momentum=0.9)
        >>> scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.5, total_steps=10)
        >>> round(scheduler.get_last_lr()[0], 6)
        0.02
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | list[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.85,
        max_momentum: float | list[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        check_optimizer(optimizer)
        self.optimizer = optimizer
        self.total_steps = _total_steps(total_steps, epochs, steps_per_epoch)
        self._schedule_phases = _phases(pct_start, self.total_steps, three_phase)
        if pct_start < 0 or pct_start > 1 or not isinstance(pct_start, float):
            raise ValueError(f"Expected float between 0 and 1 pct_start, but got {pct_start}")
        if anneal_strategy not in _ANNEALING:
            raise ValueError(f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}")
        self._anneal_func_type = anneal_strategy
        max_lrs = per_group("max_lr", optimizer, max_lr)
        if last_epoch == -1:
            for highest, group in zip(max_lrs, optimizer.param_groups):
                group["initial_lr"] = highest / div_factor
                group["max_lr"] = highest
                group["min_lr"] = group["initial_lr"] / final_div_factor
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self.use_beta1 = _uses_beta1(optimizer)
            highest_momentums = per_group("max_momentum", optimizer, max_momentum)
            lowest_momentums = per_group("base_momentum", optimizer, base_momentum)
            if last_epoch == -1:
                _start_momentum(optimizer, highest_momentums, lowest_momentums, self.use_beta1)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> Rates:
        self._warn_outside_step()
        step = self.last_epoch
        if step > self.total_steps:
            raise ValueError(
                f"Tried to step {step} times. The specified number of total steps is {self.total_steps}"
            )
        starts = [0.0] + [phase["end_step"] for phase in self._schedule_phases[:-1]]
        reached = (i for i, phase in enumerate(self._schedule_phases) if step <= phase["end_step"])
        i = next(reached, len(self._schedule_phases) - 1)
        start, phase = starts[i], self._schedule_phases[i]
        fraction = (step - start) / (phase["end_step"] - start)
        anneal = _ANNEALING[self._anneal_func_type]
        if self.cycle_momentum:
            for group in self.optimizer.param_groups:
                momentum = anneal(group[phase["start_momentum"]], group[phase["end_momentum"]], fraction)
                _set_momentum(group, momentum, self.use_beta1)
        return [
            anneal(group[phase["start_lr"]], group[phase["end_lr"]], fraction)
            for group in self.optimizer.param_groups
        ]


def _annealing_cos(start: float, end: float, fraction: float) -> float:
    return end + (start - end) / 2.0 * (math.cos(math.pi * fraction) + 1)


def _annealing_linear(start: float, end: float, fraction: float) -> float:
    return (end - start) * fraction + start


_ANNEALING = {"cos": _annealing_cos, "linear": _annealing_linear}


def _total_steps(total_steps: int | None, epochs: int | None, steps_per_epoch: int | None) -> int:
    def positive(name: str, value: Any) -> int:
        if value <= 0 or not isinstance(value, int):
            raise ValueError(f"Expected positive integer {name}, but got {value}")
        return value

    if total_steps is not None:
        return positive("total_steps", total_steps)
    if epochs is None or steps_per_epoch is None:
        raise ValueError("You must define either total_steps OR (epochs AND steps_per_epoch)")
    return positive("epochs", epochs) * positive("steps_per_epoch", steps_per_epoch)


def _phases(pct_start: float, total: int, three: bool) -> list[dict[str, Any]]:
    """The phases of a cycle: where each ends, and the group's options that rate and momentum go between."""
    lr, momentum = ["initial_lr", "max_lr", "min_lr"], ["max_momentum", "base_momentum", "max_momentum"]
    ends: list[float] = [float(pct_start * total) - 1, total - 1]
    if three:
        lr.insert(2, "initial_lr")
        momentum.append("max_momentum")
        ends.insert(1, float(2 * pct_start * total) - 2)
    return [
        {
            "end_step": end,
            "start_lr": lr[i],
            "end_lr": lr[i + 1],
            "start_momentum": momentum[i],
            "end_momentum": momentum[i + 1],
        }
        for i, end in enumerate(ends)
    ]


class CosineAnnealingWarmRestarts(LRScheduler):
    """The rate goes along half a cosine to `eta_min` in `T_0` steps, then starts again; each run is `T_mult` times
    as long as the last (Loshchilov & Hutter 2017, https://arxiv.org/abs/1608.03983).

    `step(epoch)` takes fractions of an epoch too, for rates that change within one.
    """

    def __init__(
        self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        if T_0 <= 0 or not isinstance(T_0, int):
            raise ValueError(f"Expected positive integer T_0, but got {T_0}")
        if T_mult < 1 or not isinstance(T_mult, int):
            raise ValueError(f"Expected integer T_mult >= 1, but got {T_mult}")
        if not isinstance(eta_min, (float, int)):
            raise ValueError(f"Expected float or int eta_min, but got {eta_min} of type {type(eta_min)}")
        self.T_0 = T_0
        self.T_i = T_0
        self.T_mult = T_mult
        self.eta_min = eta_min
        self.T_cur: float = last_epoch
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> Rates:
        self._warn_outside_step()
        low, height = self.eta_min, 1 + math.cos(math.pi * self.T_cur / self.T_i)
        return [low + (base - low) * height / 2 for base in self.base_lrs]

    def step(self, epoch: float | None = None) -> None:  # type: ignore[override]
        """Set the rates of the next step, or of the (fractional) `epoch`."""
        if epoch is None and self.last_epoch < 0:
            epoch = 0
        if epoch is None:
            epoch = self.last_epoch + 1
            self.T_cur = self.T_cur + 1
            if self.T_cur >= self.T_i:
                self.T_cur = self.T_cur % self.T_i
                self.T_i = self.T_i * self.T_mult
        else:
            self._seek(epoch)
        self.last_epoch = math.floor(epoch)
        with self._computing():
            self._set_lrs(self.get_lr())

    def _seek(self, epoch: float) -> None:
        if epoch < 0:
            raise ValueError(f"Expected non-negative epoch, but got {epoch}")
        first, grow = self.T_0, self.T_mult
        if epoch < first:
            self.T_i, self.T_cur = first, epoch
        elif grow == 1:
            self.T_cur = epoch % first
        else:
            n = int(math.log(epoch / first * (grow - 1) + 1, grow))
            self.T_cur = epoch - first * (grow**n - 1) / (grow - 1)
            self.T_i = first * grow**n
