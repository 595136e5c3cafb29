"""Rprop: steps of their own size for every element, from the gradient's sign (Riedmiller & Braun 1993)."""

from __future__ import annotations

from typing import Any

from flambeau import ops
from flambeau.optim.formula import FormulaOptimizer, check_lr, require, scalar
from flambeau.optim.optimizer import ParamsT, _to_scalar
from flambeau.tensors import Tensor


def rprop_update(
    k: Any, p: Any, g: Any, state: dict, *, shrink: Any, grow: Any, smallest: Any, largest: Any
) -> tuple[Any, dict]:
    agreement = g * state["prev"]
    size = state["step_size"]
    size = k.where(agreement > 0, size * grow, k.where(agreement < 0, size * shrink, size))
    size = k.where(size < smallest, smallest, k.where(size > largest, largest, size))
    g = k.where(agreement < 0, 0.0, g)  # after a change of sign, stay for one step
    return p - k.sign(g) * size, {"prev": g, "step_size": size}


class Rprop(FormulaOptimizer):
    """Resilient backpropagation, for full batches: only the gradient's sign counts, and whether it has changed.

    Raises:
        ValueError: a negative `lr`, or not `0 < etas[0] < 1 < etas[1]`.

    Example::

        >>> import flambeau as torch
        >>> w = torch.tensor([1.0, -2.0], requires_grad=True)
        >>> optimizer = torch.optim.Rprop([w], lr=0.1)
        >>> w.square().sum().backward()
        >>> optimizer.step()
        >>> w
        tensor([ 0.9000, -1.9000], requires_grad=True)
    """

    update = staticmethod(rprop_update)

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        require(0.0 < etas[0] < 1.0 < etas[1], f"Invalid eta values: {etas[0]}, {etas[1]}")
        defaults = dict(
            lr=lr, etas=etas, step_sizes=step_sizes, foreach=foreach, maximize=maximize,
            differentiable=differentiable, capturable=capturable,
        )  # fmt: skip
        super().__init__(params, defaults)

    def new_state(self, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        lr = float(_to_scalar(group["lr"]))
        start = complex(lr, lr) if p.dtype.is_complex else lr
        return {"step": scalar(0.0), "prev": ops.zeros_like(p), "step_size": ops.full_like(p.grad, start)}

    def numbers(self, count: Any, group: dict[str, Any]) -> dict[str, Any]:
        (shrink, grow), (smallest, largest) = group["etas"], group["step_sizes"]
        return {"shrink": shrink, "grow": grow, "smallest": smallest, "largest": largest}
