"""Adam (Kingma & Ba 2015, https://arxiv.org/abs/1412.6980) and its AMSGrad variant (Reddi et al. 2018)."""

from __future__ import annotations

from typing import Any, ClassVar

from flambeau import ops
from flambeau.optim.formula import FormulaOptimizer, check_betas, check_lr, lerp, option, require, scalar
from flambeau.optim.optimizer import ParamsT, _to_scalar
from flambeau.tensors import Tensor


def adam_update(
    k: Any, p: Any, g: Any, state: dict, *,
    step_size: Any, weight1: Any, beta2: Any, weight2: Any, bias: Any, eps: Any, amsgrad: bool,
) -> tuple[Any, dict]:  # fmt: skip
    mean = lerp(state["exp_avg"], g, weight1)
    square = largest = state["exp_avg_sq"] * beta2 + weight2 * g * g
    new = {"exp_avg": mean, "exp_avg_sq": square}
    if amsgrad:
        new["max_exp_avg_sq"] = largest = k.maximum(state["max_exp_avg_sq"], square)
    return p - step_size * mean / (k.sqrt(largest) / bias + eps), new


class Adam(FormulaOptimizer):
    """Adam: steps of about `lr`, scaled by running means of the gradient and of its square.

    `decoupled_weight_decay=True` makes it AdamW. `foreach`, `fused` and `capturable` choose PyTorch's
    implementations; here there is one.

    Raises:
        ValueError: an option out of its range.

    Example::

        >>> import flambeau as torch
        >>> w = torch.tensor([1.0, -2.0], requires_grad=True)
        >>> optimizer = torch.optim.Adam([w], lr=0.1)
        >>> w.square().sum().backward()
        >>> optimizer.step()
        >>> w
        tensor([ 0.9000, -1.9000], requires_grad=True)
    """

    update = staticmethod(adam_update)
    fixed = ("amsgrad",)
    sampled = (
        {}, {"amsgrad": True, "weight_decay": 0.1},
        {"decoupled_weight_decay": True, "weight_decay": 0.1, "maximize": True},
    )  # fmt: skip
    late_options: ClassVar[dict[str, Any]] = {
        "amsgrad": False, "maximize": False, "foreach": None, "capturable": False, "differentiable": False,
        "decoupled_weight_decay": False, "fused": None,
    }  # fmt: skip

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        require(
            not (isinstance(lr, Tensor) and foreach and not capturable),
            "lr as a Tensor is not supported for capturable=False and foreach=True",
        )
        check_lr(lr)
        require(eps >= 0.0, f"Invalid epsilon value: {eps}")
        check_betas(betas)
        require(weight_decay >= 0.0, f"Invalid weight_decay value: {weight_decay}")
        _check_beta_types(betas, bool(foreach and not capturable))
        defaults = dict(
            lr=lr, betas=tuple(map(_to_scalar, betas)), eps=eps, weight_decay=weight_decay, amsgrad=amsgrad,
            maximize=maximize, foreach=foreach, capturable=capturable, differentiable=differentiable, fused=fused,
            decoupled_weight_decay=decoupled_weight_decay,
        )  # fmt: skip
        super().__init__(params, defaults)

    def new_state(self, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        slots = ["exp_avg", "exp_avg_sq"] + (["max_exp_avg_sq"] if group["amsgrad"] else [])
        return {"step": scalar(0.0)} | {name: ops.zeros_like(p) for name in slots}

    def numbers(self, step: float, group: dict[str, Any]) -> dict[str, Any]:
        beta1, beta2 = group["betas"]
        if isinstance(beta1, Tensor) and not group["differentiable"]:
            beta1, beta2 = beta1.item(), beta2.item()
        return {
            "step_size": option(group, "lr") / (1 - beta1**step),
            "bias": (1 - beta2**step) ** 0.5,
            "weight1": 1 - beta1,
            "beta2": beta2,
            "weight2": 1 - beta2,
            "eps": group["eps"],
            "amsgrad": group["amsgrad"],
        }


def _check_beta_types(betas: tuple[Any, Any], plain_foreach: bool) -> None:
    floats, tensors = ([isinstance(b, kind) for b in betas] for kind in (float, Tensor))
    require(all(floats) or all(tensors), "betas must be either both floats or both Tensors")
    for i, beta in enumerate(betas):
        if isinstance(beta, Tensor):
            require(
                not plain_foreach,
                f"betas[{i}] as a Tensor is not supported for capturable=False and foreach=True",
            )
            require(beta.numel() == 1, f"Tensor betas[{i}] must be 1-element")
