"""Stochastic gradient descent, with momentum (Polyak 1964) and Nesterov's form of it (Sutskever et al. 2013)."""

from __future__ import annotations

from typing import Any, ClassVar

from flambeau.optim.formula import FormulaOptimizer, check_lr, option, require
from flambeau.optim.optimizer import ParamsT
from flambeau.tensors import Tensor


def sgd_update(
    k: Any, p: Any, g: Any, state: dict, *, lr: Any, momentum: Any, weight: Any, nesterov: bool
) -> tuple[Any, dict]:
    if momentum is None:
        return p - lr * g, {}
    buffer = state["momentum_buffer"]
    buffer = g if buffer is None else momentum * buffer + weight * g
    step = g + momentum * buffer if nesterov else buffer
    return p - lr * step, {"momentum_buffer": buffer}


class SGD(FormulaOptimizer):
    """Stochastic gradient descent: `p -= lr * g`, or with momentum `b = momentum * b + g; p -= lr * b`.

    Raises:
        ValueError: a negative option, or Nesterov momentum without momentum or with dampening.

    Example::

        >>> import flambeau as torch
        >>> w = torch.tensor([1.0, -2.0], requires_grad=True)
        >>> optimizer = torch.optim.SGD([w], lr=0.1, momentum=0.9)
        >>> w.square().sum().backward()
        >>> optimizer.step()
        >>> w
        tensor([ 0.8000, -1.6000], requires_grad=True)
    """

    update = staticmethod(sgd_update)
    counters = ()
    fixed = ("nesterov",)
    sampled = ({}, {"momentum": 0.9, "weight_decay": 0.1}, {"momentum": 0.9, "nesterov": True, "maximize": True})
    late_options: ClassVar[dict[str, Any]] = {
        "nesterov": False, "maximize": False, "foreach": None, "differentiable": False, "fused": False,
    }  # fmt: skip

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float | Tensor = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_lr(lr)
        require(momentum >= 0.0, f"Invalid momentum value: {momentum}")
        require(weight_decay >= 0.0, f"Invalid weight_decay value: {weight_decay}")
        require(
            not nesterov or (momentum > 0 and dampening == 0),
            "Nesterov momentum requires a momentum and zero dampening",
        )
        defaults = dict(
            lr=lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay, nesterov=nesterov,
            maximize=maximize, foreach=foreach, differentiable=differentiable, fused=fused,
        )  # fmt: skip
        super().__init__(params, defaults)

    def new_state(self, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        return {"momentum_buffer": None} if group["momentum"] != 0 else {}

    def advance(self, state: dict[str, Any], group: dict[str, Any]) -> Any:
        if "momentum_buffer" not in state and group["momentum"] != 0:  # a checkpoint made before it was turned on
            state["momentum_buffer"] = None

    def numbers(self, count: Any, group: dict[str, Any]) -> dict[str, Any]:
        return {
            "lr": option(group, "lr"),
            "momentum": group["momentum"] or None,
            "weight": 1 - group["dampening"],
            "nesterov": group["nesterov"],
        }
