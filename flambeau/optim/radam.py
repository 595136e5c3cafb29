"""RAdam: Adam whose variance is rectified in the first steps (Liu et al. 2020, https://arxiv.org/abs/1908.03265)."""

from __future__ import annotations

from typing import Any, ClassVar

from flambeau import ops
from flambeau.optim.formula import FormulaOptimizer, check_betas, check_lr, lerp, option, require, scalar
from flambeau.optim.optimizer import ParamsT
from flambeau.tensors import Tensor


def radam_update(
    k: Any, p: Any, g: Any, state: dict, *,
    lr: Any, weight1: Any, beta2: Any, weight2: Any, bias1: Any, bias2: Any, rectification: Any, eps: Any,
) -> tuple[Any, dict]:  # fmt: skip
    mean = lerp(state["exp_avg"], g, weight1)
    square = state["exp_avg_sq"] * beta2 + weight2 * g * g
    step = mean / bias1 * lr
    if rectification is not None:
        step = step * (bias2 / (k.sqrt(square) + eps)) * rectification
    return p - step, {"exp_avg": mean, "exp_avg_sq": square}


class RAdam(FormulaOptimizer):
    """RAdam: plain momentum while the running square rests on too few steps, then Adam, rectified.

    Raises:
        ValueError: an option out of its range.

    Example::

        >>> import flambeau as torch
        >>> w = torch.tensor([1.0, -2.0], requires_grad=True)
        >>> optimizer = torch.optim.RAdam([w], lr=0.1)
        >>> w.square().sum().backward()
        >>> optimizer.step()
        >>> w
        tensor([ 0.8000, -1.6000], requires_grad=True)
    """

    update = staticmethod(radam_update)
    late_options: ClassVar[dict[str, Any]] = FormulaOptimizer.late_options | {"decoupled_weight_decay": False}

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        require(eps >= 0.0, f"Invalid epsilon value: {eps}")
        check_betas(betas)
        require(weight_decay >= 0.0, f"Invalid weight_decay value: {weight_decay}")
        defaults = dict(
            lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, maximize=maximize, foreach=foreach,
            capturable=capturable, decoupled_weight_decay=decoupled_weight_decay, differentiable=differentiable,
        )  # fmt: skip
        super().__init__(params, defaults)

    def new_state(self, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        return {"step": scalar(0.0), "exp_avg": ops.zeros_like(p), "exp_avg_sq": ops.zeros_like(p)}

    def numbers(self, step: float, group: dict[str, Any]) -> dict[str, Any]:
        beta1, beta2 = group["betas"]
        bias2 = 1 - beta2**step
        longest = 2 / (1 - beta2) - 1
        length = longest - 2 * step * beta2**step / bias2  # of the simple moving average that equals the running one
        rectification = None
        if length > 5.0:
            ratio = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
            rectification = ratio**0.5
        return {
            "lr": option(group, "lr"),
            "weight1": 1 - beta1,
            "beta2": beta2,
            "weight2": 1 - beta2,
            "bias1": 1 - beta1**step,
            "bias2": bias2**0.5,
            "rectification": rectification,
            "eps": group["eps"],
        }
