"""Adagrad (Duchi, Hazan & Singer 2011, https://jmlr.org/papers/v12/duchi11a.html)."""

from __future__ import annotations

from typing import Any, ClassVar

from flambeau import ops
from flambeau.optim.formula import FormulaOptimizer, check_fused, check_lr, option, require, scalar
from flambeau.optim.optimizer import ParamsT
from flambeau.tensors import Tensor


def adagrad_update(k: Any, p: Any, g: Any, state: dict, *, lr: Any, eps: Any) -> tuple[Any, dict]:
    total = state["sum"] + g * g
    return p - lr * g / (k.sqrt(total) + eps), {"sum": total}


class Adagrad(FormulaOptimizer):
    """Adagrad: the gradient divided by the root of the sum of its squares so far.

    Raises:
        ValueError: an option out of its range.

    Example::

        >>> import flambeau as torch
        >>> w = torch.tensor([1.0, -2.0], requires_grad=True)
        >>> optimizer = torch.optim.Adagrad([w], lr=0.1)
        >>> w.square().sum().backward()
        >>> optimizer.step()
        >>> w
        tensor([ 0.9000, -1.9000], requires_grad=True)
    """

    update = staticmethod(adagrad_update)
    late_options: ClassVar[dict[str, Any]] = {
        "foreach": None, "maximize": False, "differentiable": False, "fused": None,
    }  # fmt: skip

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_lr(lr)
        require(lr_decay >= 0.0, f"Invalid lr_decay value: {lr_decay}")
        require(weight_decay >= 0.0, f"Invalid weight_decay value: {weight_decay}")
        start = initial_accumulator_value
        require(start >= 0.0, f"Invalid initial_accumulator_value value: {start}")
        require(eps >= 0.0, f"Invalid epsilon value: {eps}")
        defaults = dict(
            lr=lr, lr_decay=lr_decay, eps=eps, weight_decay=weight_decay, initial_accumulator_value=start,
            foreach=foreach, maximize=maximize, differentiable=differentiable, fused=fused,
        )  # fmt: skip
        super().__init__(params, defaults)
        for group in self.param_groups:
            for p in group["params"]:
                if fused:
                    check_fused(p)
                self.state[p] = self.new_state(p, group)

    def new_state(self, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        start = self.defaults["initial_accumulator_value"]
        start = complex(start, start) if p.dtype.is_complex else start
        return {"step": scalar(0.0), "sum": ops.full_like(p, start)}

    def numbers(self, step: float, group: dict[str, Any]) -> dict[str, Any]:
        return {"lr": option(group, "lr") / (1 + (step - 1) * group["lr_decay"]), "eps": group["eps"]}

    def share_memory(self) -> None:
        """Put the sums where other processes can write them."""
        for p in self._all_params():
            self.state[p]["sum"].share_memory_()
