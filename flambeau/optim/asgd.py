"""Averaged stochastic gradient descent (Polyak & Juditsky 1992, https://doi.org/10.1137/0330046)."""

from __future__ import annotations

from typing import Any

from flambeau import ops
from flambeau.optim.formula import FormulaOptimizer, check_lr, require, scalar
from flambeau.optim.optimizer import ParamsT, _get_value, _to_scalar
from flambeau.tensors import Tensor


def asgd_update(k: Any, p: Any, g: Any, state: dict, *, shrink: Any, eta: Any, mu: Any) -> tuple[Any, dict]:
    p = p * shrink - eta * g
    average = p if mu is None else state["ax"] + (p - state["ax"]) * mu
    return p, {"ax": average}


class ASGD(FormulaOptimizer):
    """SGD with a decaying rate that keeps, as `state[p]["ax"]`, the average of the parameters after step `t0`.

    Raises:
        ValueError: an option out of its range.

    Example::

        >>> import flambeau as torch
        >>> w = torch.tensor([1.0, -2.0], requires_grad=True)
        >>> optimizer = torch.optim.ASGD([w], lr=0.1)
        >>> w.square().sum().backward()
        >>> optimizer.step()
        >>> w
        tensor([ 0.8000, -1.6000], requires_grad=True)
    """

    update = staticmethod(asgd_update)
    counters = ("step", "mu", "eta")

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        check_lr(lr)
        require(weight_decay >= 0.0, f"Invalid weight_decay value: {weight_decay}")
        defaults = dict(
            lr=lr, lambd=lambd, alpha=alpha, t0=t0, weight_decay=weight_decay, foreach=foreach, maximize=maximize,
            differentiable=differentiable, capturable=capturable,
        )  # fmt: skip
        super().__init__(params, defaults)

    def new_state(self, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        lr = float(_to_scalar(group["lr"]))
        return {"step": scalar(0.0), "eta": scalar(lr), "mu": scalar(1.0), "ax": ops.zeros_like(p)}

    def advance(self, state: dict[str, Any], group: dict[str, Any]) -> Any:
        """The rate and weight that the last step left, while those of the next one are put in their place."""
        step, lr, lambd = super().advance(state, group), _get_value(group["lr"]), group["lambd"]
        left = self._cell(state["eta"]).item(), self._cell(state["mu"]).item()
        self._put(state["eta"], lr / (1 + lambd * lr * step) ** group["alpha"])
        self._put(state["mu"], 1 / max(1, step - group["t0"]))
        return left

    def numbers(self, count: tuple[float, float], group: dict[str, Any]) -> dict[str, Any]:
        eta, mu = count
        return {"shrink": 1 - group["lambd"] * eta, "eta": eta, "mu": None if mu == 1 else mu}
