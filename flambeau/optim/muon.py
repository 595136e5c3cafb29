"""Muon: momentum made orthogonal, for the matrices of hidden layers (Jordan et al. 2024,
https://kellerjordan.github.io/posts/muon/)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from flambeau import ops
from flambeau.dtypes import dtype, float32
from flambeau.engine.execute import Meta
from flambeau.engine.schedule.lowering import Composite, Kernels, Update
from flambeau.later import later
from flambeau.ops.op import op
from flambeau.ops.samples import Call, Maker, call
from flambeau.optim.formula import FormulaOptimizer, lerp, option, require
from flambeau.optim.optimizer import ParamsT
from flambeau.shape import preserved_strides
from flambeau.tensors import Tensor

orthogonal = later("flambeau.engine.kernel.contract.orthogonal")
COEFFICIENTS = 3.4445, -4.7750, 2.0315
SHAPES = (3, 4), (4, 3), (2, 2), (1, 5), (0, 3)


def _wide(d: dtype) -> dtype:
    """What a matrix is made orthogonal in."""
    return d if d.itemsize >= 4 else float32


# -- the direction before it is made orthogonal ------------------------------------------------------------------


def _direction(
    k: Any, g: Any, buffer: Any, weight: Any, momentum: Any, eps: Any, nesterov: bool
) -> tuple[Any, Any]:  # fmt: skip
    """The new momentum, and the direction with norm 1."""
    buffer = lerp(buffer, g, weight)
    x = lerp(g, buffer, momentum) if nesterov else buffer
    norm = k.sqrt(k.sum(x * x))
    return buffer, x / k.where(norm < eps, eps, norm)


def _direction_meta(g: Tensor, buffer: Tensor, *_: Any, nesterov: bool) -> tuple[Meta, Meta]:
    strides = preserved_strides(buffer._shape, buffer._strides)
    return Meta(buffer._shape, buffer.dtype, strides), Meta(g._shape, _wide(g.dtype))


def _direction_samples(t: Maker) -> Iterator[Call]:
    for shape in SHAPES:
        for nesterov in (True, False):
            yield call(t(*shape), t(*shape), 0.05, 0.95, 1e-7, nesterov=nesterov)


direction_op = op(
    "muon_direction", ref=lambda *operands, **fixed: _direction(np, *operands, **fixed), meta=_direction_meta,
    multiple=True, samples=_direction_samples, lower=Composite(_direction),
)  # fmt: skip


# -- making it orthogonal ----------------------------------------------------------------------------------------


def _newton_schulz(x: np.ndarray, coefficients: tuple[float, float, float], iterations: int) -> np.ndarray:
    """A matrix with (about) the singular vectors of `x`, whose norm is 1, and singular values near 1."""
    a, b, c = coefficients
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for _ in range(iterations):
        gram = x @ x.T
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x.T if tall else x


def _newton_schulz_samples(t: Maker) -> Iterator[Call]:
    for shape in SHAPES:
        for iterations in (0, 1, 2, 5):
            yield call(t(*shape, low=-0.3, high=0.3), coefficients=COEFFICIENTS, iterations=iterations)


newton_schulz_op = op(
    "newton_schulz", ref=_newton_schulz, meta=lambda x, **_: Meta(x._shape, x.dtype), samples=_newton_schulz_samples,
    lower=Kernels(orthogonal.newton_schulz),
)  # fmt: skip


# -- the step ----------------------------------------------------------------------------------------------------


def _step(_k: Any, p: Any, direction: Any, step_size: Any, shrink: Any) -> Any:
    return p * shrink - step_size * direction


step_op = op(
    "muon_update", ref=lambda *operands: _step(np, *operands),
    meta=lambda p, *_: Meta(p._shape, p.dtype, preserved_strides(p._shape, p._strides)),
    samples=lambda t: [call(t(*shape), t(*shape), 0.02, 0.998) for shape in SHAPES], lower=Update(_step),
)  # fmt: skip


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

    update_op = step_op
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
        ns_coefficients: tuple[float, float, float] = COEFFICIENTS,
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
            require(p.ndim == 2, f"Muon only supports 2D parameters whereas we found a parameter with size: {p.size()}")

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
            "weight": 1 - group["momentum"],
            "momentum": group["momentum"],
            "eps": group["eps"],
            "step_size": lr * ratio,
            "shrink": 1 - lr * group["weight_decay"],
            "nesterov": group["nesterov"],
            "coefficients": group["ns_coefficients"],
            "iterations": group["ns_steps"],
        }

    def _applied(self, p: Tensor, g: Tensor, tensors: list, values: list, params: dict[str, Any]) -> Any:
        fixed = dict(params["recipe"].fixed)
        (buffer,), (weight, momentum, eps, step_size, shrink) = tensors, values
        buffer, x = direction_op(g, buffer, weight, momentum, eps, nesterov=fixed.pop("nesterov"))
        return step_op(p, newton_schulz_op(x, **fixed), step_size, shrink), buffer
