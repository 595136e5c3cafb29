"""Adamax: Adam with the infinity norm (Kingma & Ba 2015, section 7.1)."""

from __future__ import annotations

from typing import Any

from flambeau import ops
from flambeau.optim.formula import FormulaOptimizer, check_betas, check_lr, lerp, option, require, scalar
from flambeau.optim.optimizer import ParamsT
from flambeau.tensors import Tensor


def adamax_update(
    k: Any, p: Any, g: Any, state: dict, *, step_size: Any, weight: Any, beta2: Any, eps: Any
) -> tuple[Any, dict]:
    mean = lerp(state["exp_avg"], g, weight)
    norm = k.maximum(state["exp_inf"] * beta2, k.abs(g) + eps)
    return p - step_size * mean / norm, {"exp_avg": mean, "exp_inf": norm}


class Adamax(FormulaOptimizer):
    """Adamax: a running mean of the gradient over a decaying maximum of its size.

    Raises:
        ValueError: an option out of its range.

    Example::

        >>> import flambeau as torch
        >>> w = torch.tensor([1.0, -2.0], requires_grad=True)
        >>> optimizer = torch.optim.Adamax([w], lr=0.1)
        >>> w.square().sum().backward()
        >>> optimizer.step()
        >>> w
        tensor([ 0.9000, -1.9000], requires_grad=True)
    """

    update = staticmethod(adamax_update)

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        check_lr(lr)
        require(eps >= 0.0, f"Invalid epsilon value: {eps}")
        check_betas(betas)
        require(weight_decay >= 0.0, f"Invalid weight_decay value: {weight_decay}")
        defaults = dict(
            lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, foreach=foreach, maximize=maximize,
            differentiable=differentiable, capturable=capturable,
        )  # fmt: skip
        super().__init__(params, defaults)

    def new_state(self, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        return {"step": scalar(0.0), "exp_avg": ops.zeros_like(p), "exp_inf": ops.zeros_like(p)}

    def numbers(self, step: float, group: dict[str, Any]) -> dict[str, Any]:
        beta1, beta2 = group["betas"]
        return {
            "step_size": option(group, "lr") / (1 - beta1**step),
            "weight": 1 - beta1,
            "beta2": beta2,
            "eps": group["eps"],
        }
