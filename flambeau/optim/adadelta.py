"""Adadelta (Zeiler 2012, https://arxiv.org/abs/1212.5701)."""

from __future__ import annotations

from typing import Any

from flambeau import ops
from flambeau.optim.formula import FormulaOptimizer, check_lr, option, require, scalar
from flambeau.optim.optimizer import ParamsT
from flambeau.tensors import Tensor


def adadelta_update(
    k: Any, p: Any, g: Any, state: dict, *, lr: Any, rho: Any, weight: Any, eps: Any
) -> tuple[Any, dict]:
    square = state["square_avg"] * rho + weight * g * g
    delta = k.sqrt(state["acc_delta"] + eps) / k.sqrt(square + eps) * g
    moved = state["acc_delta"] * rho + weight * delta * delta
    return p - lr * delta, {"square_avg": square, "acc_delta": moved}


class Adadelta(FormulaOptimizer):
    """Adadelta: the gradient in units of the parameter, from running means of both squares; needs no tuned `lr`.

    Raises:
        ValueError: an option out of its range.

    Example::

        >>> import flambeau as torch
        >>> w = torch.tensor([1.0, -2.0], requires_grad=True)
        >>> optimizer = torch.optim.Adadelta([w], lr=10.0)
        >>> w.square().sum().backward()
        >>> optimizer.step()
        >>> w
        tensor([ 0.9684, -1.9684], requires_grad=True)
    """

    update = staticmethod(adadelta_update)
    supports_xla = False
    sampled = ({}, {"weight_decay": 0.1, "maximize": True})

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        require(0.0 <= rho <= 1.0, f"Invalid rho value: {rho}")
        require(eps >= 0.0, f"Invalid epsilon value: {eps}")
        require(weight_decay >= 0.0, f"Invalid weight_decay value: {weight_decay}")
        defaults = dict(
            lr=lr, rho=rho, eps=eps, weight_decay=weight_decay, maximize=maximize, capturable=capturable,
            foreach=foreach, differentiable=differentiable,
        )  # fmt: skip
        super().__init__(params, defaults)

    def new_state(self, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        return {"step": scalar(0.0), "square_avg": ops.zeros_like(p), "acc_delta": ops.zeros_like(p)}

    def numbers(self, count: Any, group: dict[str, Any]) -> dict[str, Any]:
        rho = group["rho"]
        return {"lr": option(group, "lr"), "rho": rho, "weight": 1 - rho, "eps": group["eps"]}
