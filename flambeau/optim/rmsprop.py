"""RMSprop (Hinton 2012, lecture 6 of Neural Networks for Machine Learning), centered as in Graves 2013."""

from __future__ import annotations

from typing import Any, ClassVar

from flambeau import ops
from flambeau.optim.formula import FormulaOptimizer, check_lr, lerp, option, require, scalar
from flambeau.optim.optimizer import ParamsT
from flambeau.tensors import Tensor


def rmsprop_update(
    k: Any, p: Any, g: Any, state: dict, *,
    lr: Any, alpha: Any, weight: Any, eps: Any, momentum: Any, centered: bool,
) -> tuple[Any, dict]:  # fmt: skip
    square = variance = state["square_avg"] * alpha + weight * g * g
    new = {"square_avg": square}
    if centered:
        new["grad_avg"] = mean = lerp(state["grad_avg"], g, weight)
        variance = square - mean * mean
    scale = k.sqrt(variance) + eps
    if momentum is not None:
        new["momentum_buffer"] = buffer = state["momentum_buffer"] * momentum + g / scale
        return p - lr * buffer, new
    return p - lr * g / scale, new


class RMSprop(FormulaOptimizer):
    """RMSprop: the gradient divided by a running root mean square of itself; `centered` subtracts its mean.

    Raises:
        ValueError: an option out of its range.

    Example::

        >>> import flambeau as torch
        >>> w = torch.tensor([1.0, -2.0], requires_grad=True)
        >>> optimizer = torch.optim.RMSprop([w], lr=0.01)
        >>> w.square().sum().backward()
        >>> optimizer.step()
        >>> w
        tensor([ 0.9000, -1.9000], requires_grad=True)
    """

    update = staticmethod(rmsprop_update)
    fixed = ("centered",)
    sampled = ({}, {"centered": True, "momentum": 0.9, "weight_decay": 0.1})
    late_options: ClassVar[dict[str, Any]] = {"momentum": 0, "centered": False} | FormulaOptimizer.late_options

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        require(eps >= 0.0, f"Invalid epsilon value: {eps}")
        require(momentum >= 0.0, f"Invalid momentum value: {momentum}")
        require(weight_decay >= 0.0, f"Invalid weight_decay value: {weight_decay}")
        require(alpha >= 0.0, f"Invalid alpha value: {alpha}")
        defaults = dict(
            lr=lr, momentum=momentum, alpha=alpha, eps=eps, centered=centered, weight_decay=weight_decay,
            capturable=capturable, foreach=foreach, maximize=maximize, differentiable=differentiable,
        )  # fmt: skip
        super().__init__(params, defaults)

    def new_state(self, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        state = {"step": scalar(0.0), "square_avg": ops.zeros_like(p)}
        if group["momentum"] > 0:
            state["momentum_buffer"] = ops.zeros_like(p)
        if group["centered"]:
            state["grad_avg"] = ops.zeros_like(p)
        return state

    def numbers(self, count: Any, group: dict[str, Any]) -> dict[str, Any]:
        alpha, momentum = group["alpha"], group["momentum"]
        return {
            "lr": option(group, "lr"),
            "alpha": alpha,
            "weight": 1 - alpha,
            "eps": group["eps"],
            "momentum": momentum if momentum > 0 else None,
            "centered": group["centered"],
        }
