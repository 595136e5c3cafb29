"""Muon: momentum made orthogonal, for the matrices of hidden layers (Jordan et al. 2024,
https://kellerjordan.github.io/posts/muon/)."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from flambeau import ops
from flambeau.optim.formula import FormulaOptimizer, lerp, option, require
from flambeau.optim.optimizer import ParamsT
from flambeau.tensors import Tensor


def muon_update(
    k: Any, p: Any, g: Any, state: dict, *,
    step_size: Any, shrink: Any, weight: Any, momentum: Any, nesterov: bool, coefficients: Any, iterations: int,
    eps: Any,
) -> tuple[Any, dict]:  # fmt: skip
    buffer = lerp(state["momentum_buffer"], g, weight)
    direction = orthogonalized(k, lerp(g, buffer, momentum) if nesterov else buffer, coefficients, iterations, eps)
    return p * shrink - step_size * direction, {"momentum_buffer": buffer}


def orthogonalized(k: Any, x: Any, coefficients: Any, iterations: int, eps: float) -> Any:
    """A matrix with (about) the singular vectors of `x` and singular values near 1, by Newton-Schulz iteration."""
    a, b, c = coefficients
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    norm = k.sqrt(k.sum(x * x))
    x = x / k.where(norm < eps, eps, norm)
    for _ in range(iterations):
        gram = x @ x.T
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x.T if tall else x


class Muon(FormulaOptimizer):
    """Muon, for parameters with two dimensions; train the others with another optimizer.

    The iteration runs in the parameter's precision (PyTorch's runs in bfloat16).

    Args:
        ns_coefficients: of the polynomial that the iteration applies to the singular values.
        adjust_lr_fn: how the rate follows the shape: "original" or "match_rms_adamw".

    Raises:
        ValueError: an option out of its range, or a parameter that is no matrix.

    Example::

        >>> import flambeau as torch
        >>> w = torch.zeros(3, 2, requires_grad=True)
        >>> optimizer = torch.optim.Muon([w], lr=0.1)
        >>> (w - 1).square().sum().backward()
        >>> optimizer.step()
        >>> bool((w > 0).all())
        True
    """

    update = staticmethod(muon_update)
    elementwise = False
    fixed = ("nesterov", "coefficients", "iterations")
    counters = ()
    late_options: ClassVar[dict[str, Any]] = {}
    decays_itself = True

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        require(not (isinstance(lr, Tensor) and lr.numel() != 1), "Tensor lr must be 1-element")
        require(lr >= 0.0, f"Learning rate should be >= 0 but is: {lr}")
        require(momentum >= 0.0, f"momentum should be >= 0 but is: {momentum}")
        require(weight_decay >= 0.0, f"weight decay should be >= 0 but is: {weight_decay}")
        require(
            adjust_lr_fn in (None, "original", "match_rms_adamw"),
            f"Adjust learning rate function {adjust_lr_fn} is not supported",
        )
        defaults = dict(
            lr=lr, weight_decay=weight_decay, momentum=momentum, nesterov=nesterov, ns_coefficients=ns_coefficients,
            eps=eps, ns_steps=ns_steps, adjust_lr_fn=adjust_lr_fn,
        )  # fmt: skip
        super().__init__(params, defaults)
        for p in self._all_params():
            require(
                p.ndim == 2, f"Muon only supports 2D parameters whereas we found a parameter with size: {p.size()}"
            )

    def new_state(self, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        if p.is_complex():
            raise RuntimeError("Muon does not support complex parameters")
        require(group["ns_steps"] < 100, "Number of steps must be less than 100 for computational efficiency")
        require(len(group["ns_coefficients"]) == 3, "Coefficients must be a tuple of exactly 3 values")
        return {"momentum_buffer": ops.zeros_like(p)}

    def advance(self, state: dict[str, Any], group: dict[str, Any]) -> Any:
        return state["momentum_buffer"]._shape

    def numbers(self, count: tuple[int, int], group: dict[str, Any]) -> dict[str, Any]:
        (rows, columns), lr = count, option(group, "lr")
        match = group["adjust_lr_fn"] == "match_rms_adamw"
        ratio = 0.2 * math.sqrt(max(rows, columns)) if match else math.sqrt(max(1, rows / columns))
        return {
            "step_size": lr * ratio,
            "shrink": 1 - lr * group["weight_decay"],
            "weight": 1 - group["momentum"],
            "momentum": group["momentum"],
            "nesterov": group["nesterov"],
            "coefficients": group["ns_coefficients"],
            "iterations": group["ns_steps"],
            "eps": group["eps"],
        }
