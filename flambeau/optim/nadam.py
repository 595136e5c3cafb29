"""NAdam: Adam with Nesterov momentum (Dozat 2016, https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ)."""

from __future__ import annotations

from typing import Any, ClassVar

from flambeau import ops
from flambeau.optim.formula import FormulaOptimizer, check_betas, check_lr, lerp, option, require, scalar
from flambeau.optim.optimizer import ParamsT
from flambeau.tensors import Tensor


def nadam_update(
    k: Any, p: Any, g: Any, state: dict, *,
    grad_step: Any, mean_step: Any, weight1: Any, beta2: Any, weight2: Any, bias: Any, eps: Any,
) -> tuple[Any, dict]:  # fmt: skip
    mean = lerp(state["exp_avg"], g, weight1)
    square = state["exp_avg_sq"] * beta2 + weight2 * g * g
    scale = k.sqrt(square / bias) + eps
    return p - grad_step * g / scale - mean_step * mean / scale, {"exp_avg": mean, "exp_avg_sq": square}


class NAdam(FormulaOptimizer):
    """NAdam: Adam that looks one momentum step ahead, with a momentum that warms up by `momentum_decay`.

    Raises:
        ValueError: an option out of its range.

    Example::

        >>> import flambeau as torch
        >>> w = torch.tensor([1.0, -2.0], requires_grad=True)
        >>> optimizer = torch.optim.NAdam([w], lr=0.1)
        >>> w.square().sum().backward()
        >>> optimizer.step()
        >>> w
        tensor([ 0.8944, -1.8944], requires_grad=True)
    """

    update = staticmethod(nadam_update)
    counters = ("step", "mu_product")
    late_options: ClassVar[dict[str, Any]] = FormulaOptimizer.late_options | {"decoupled_weight_decay": False}

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
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
        require(momentum_decay >= 0.0, f"Invalid momentum_decay value: {momentum_decay}")
        defaults = dict(
            lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, momentum_decay=momentum_decay,
            decoupled_weight_decay=decoupled_weight_decay, maximize=maximize, foreach=foreach,
            capturable=capturable, differentiable=differentiable,
        )  # fmt: skip
        super().__init__(params, defaults)

    def new_state(self, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        return {
            "step": scalar(0.0),
            "mu_product": scalar(1.0),
            "exp_avg": ops.zeros_like(p),
            "exp_avg_sq": ops.zeros_like(p),
        }

    def advance(self, state: dict[str, Any], group: dict[str, Any]) -> Any:
        step, product = super().advance(state, group), self._cell(state["mu_product"])
        return step, self._put(state["mu_product"], product * self._momentum(step, group))

    @staticmethod
    def _momentum(step: float, group: dict[str, Any]) -> float:
        return group["betas"][0] * (1.0 - 0.5 * 0.96 ** (step * group["momentum_decay"]))

    def numbers(self, count: tuple[float, float], group: dict[str, Any]) -> dict[str, Any]:
        (step, product), lr, (beta1, beta2) = count, option(group, "lr"), group["betas"]
        mu, mu_next = self._momentum(step, group), self._momentum(step + 1, group)
        return {
            "grad_step": lr * (1.0 - mu) / (1.0 - product),
            "mean_step": lr * mu_next / (1.0 - product * mu_next),
            "weight1": 1 - beta1,
            "beta2": beta2,
            "weight2": 1 - beta2,
            "bias": 1 - beta2**step,
            "eps": group["eps"],
        }
