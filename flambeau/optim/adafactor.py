"""Adafactor: Adam's scaling from row and column means, in little memory (Shazeer & Stern 2018,
https://arxiv.org/abs/1804.04235)."""

from __future__ import annotations

from typing import Any, ClassVar

from flambeau import ops
from flambeau.dtypes import finfo
from flambeau.optim.formula import FormulaOptimizer, lerp, require, scalar
from flambeau.optim.optimizer import ParamsT, _get_value
from flambeau.tensors import Tensor


def adafactor_update(
    k: Any, p: Any, g: Any, state: dict, *,
    rate: Any, shrink: Any, weight: Any, eps1: Any, tiny: Any, eps2: Any, clip: Any,
) -> tuple[Any, dict]:  # fmt: skip
    square = g * g
    if "variance" in state:
        new = {"variance": lerp(state["variance"], square, weight)}
        variance = new["variance"]
    else:
        row = lerp(state["row_var"], k.mean(square, axis=-1, keepdims=True), weight)
        column = lerp(state["col_var"], k.mean(square, axis=-2, keepdims=True), weight)
        new = {"row_var": row, "col_var": column}
        variance = row * column / _at_least(k, k.mean(row, axis=-2, keepdims=True), eps1)
    update = g / k.sqrt(_at_least(k, variance, tiny))
    step = rate * _at_least(k, _root_mean_square(k, p), eps2) / _at_least(k, _root_mean_square(k, update) / clip, 1.0)
    return p * shrink - step * update, new


def _root_mean_square(k: Any, x: Any) -> Any:
    return k.sqrt(k.mean(x * x))


def _at_least(k: Any, x: Any, bound: float) -> Any:
    return k.where(x < bound, bound, x)


class Adafactor(FormulaOptimizer):
    """Adafactor: steps relative to the size of the parameter; of a matrix only row and column means are kept.

    Raises:
        ValueError: an option out of its range.
        RuntimeError: complex parameters, at `step`.

    Example::

        >>> import flambeau as torch
        >>> w = torch.ones(2, 3, requires_grad=True)
        >>> optimizer = torch.optim.Adafactor([w], lr=0.1)
        >>> w.square().sum().backward()
        >>> optimizer.step()
        >>> {name: tuple(t.shape) for name, t in optimizer.state[w].items()}
        {'step': (), 'row_var': (2, 1), 'col_var': (1, 3)}
    """

    update = staticmethod(adafactor_update)
    elementwise = False
    sampled = ({}, {"weight_decay": 0.1})
    late_options: ClassVar[dict[str, Any]] = {"foreach": None}
    decays_itself = True

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        require(not (isinstance(lr, Tensor) and lr.numel() != 1), "Tensor lr must be 1-element")
        require(lr >= 0.0, f"Learning rate should be >= 0 but is: {lr}")
        require(beta2_decay <= 0.0, f"beta2_decay should be <= 0 but is: {beta2_decay}")
        require(eps[0] is None or eps[0] >= 0.0, f"epsilon1 should be >= 0 but is: {eps[0]}")
        require(eps[1] >= 0.0, f"epsilon2 should be >= 0 but is: {eps[1]}")
        require(d >= 1.0, f"Clipping threshold d should be >= 1 but is: {d}")
        require(weight_decay >= 0.0, f"weight_decay should be >= 0 but is: {weight_decay}")
        defaults = dict(
            lr=lr, beta2_decay=beta2_decay, eps=eps, d=d, weight_decay=weight_decay, foreach=foreach, maximize=maximize
        )
        super().__init__(params, defaults)

    def new_state(self, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        if p.is_complex():
            raise RuntimeError("Adafactor does not support complex parameters")
        if p.ndim < 2:
            return {"step": scalar(0.0), "variance": ops.zeros_like(p)}
        shape = tuple(p.shape)
        return {
            "step": scalar(0.0),
            "row_var": p.new_zeros(shape[:-1] + (1,)),
            "col_var": p.new_zeros(shape[:-2] + (1, shape[-1])),
        }

    def advance(self, state: dict[str, Any], group: dict[str, Any]) -> Any:
        kept = state["variance"] if "variance" in state else state["row_var"]
        return super().advance(state, group), finfo(kept.dtype).eps

    def numbers(self, count: tuple[float, float], group: dict[str, Any]) -> dict[str, Any]:
        (step, smallest), lr = count, _get_value(group["lr"])
        eps1, eps2 = group["eps"]
        eps1 = smallest if eps1 is None else eps1
        return {
            "rate": min(lr, 1 / step**0.5),
            "shrink": 1 - lr * group["weight_decay"],
            "weight": step ** group["beta2_decay"],
            "eps1": eps1,
            "tiny": eps1 * eps1,
            "eps2": eps2,
            "clip": group["d"],
        }
