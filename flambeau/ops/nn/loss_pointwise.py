"""Losses that compare input and target element by element, then take the mean or the sum.

`pointwise` makes a record from the loss of one element and its slopes, which are written with differentiable ops.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from flambeau.autograd.mode import no_grad
from flambeau.engine.execute import Meta
from flambeau.engine.schedule.lowering import Composite
from flambeau.errors import warn_once
from flambeau.ops import hazards
from flambeau.ops.apply import type_name
from flambeau.ops.nn.activation import log_sigmoid_op
from flambeau.ops.nn.checks import check_reduction, legacy_reduction, require_floating
from flambeau.ops.op import Op, op, public
from flambeau.ops.rules import elementwise, require_tensor
from flambeau.ops.samples import Samples, call
from flambeau.tensors import Tensor

Slope = Callable[..., Any]


def _pairs(**params: Any) -> Samples:
    def samples(t: Any) -> Any:
        for reduction in ("none", "mean", "sum"):
            yield call(t(3, 4), t(3, 4), reduction=reduction, **params)
        yield call(t(3, 4), t(4), reduction="mean", **params)

    return samples


def pointwise(name: str, ref: Callable, slopes: tuple[Slope | None, ...], kernel: str | None = None,
              samples: Samples | None = None, lower: Callable | None = None, hazard: Any = None) -> Op:  # fmt: skip
    """Describe a loss: `ref(x, target, ..., **params)` for every element, and d ref / d operand for each operand.

    `lower(t, x, target, ..., **params)` is `ref` in the compiler's tensor expressions.
    """
    rule = elementwise()

    def meta(*inputs: Any, reduction: str, **_: Any) -> Meta:
        found = rule(*inputs)
        if kernel is not None:
            require_floating(kernel, found.dtype)
        return found if reduction == "none" else Meta((), found.dtype, None, found.compute)

    def reference(*arrays: Any, reduction: str, **params: Any) -> np.ndarray:
        losses = ref(*arrays, **params)
        if reduction == "none":
            return losses
        total = losses.sum(dtype=losses.dtype)
        return np.asarray(total / losses.dtype.type(losses.size) if reduction == "mean" else total)

    def lowered(t: Any, *operands: Any, reduction: str, **params: Any) -> Any:
        losses = lower(t, *operands, **params)  # type: ignore[misc]
        return losses if reduction == "none" else t.mean(losses) if reduction == "mean" else t.sum(losses)

    def rule_for(slope: Slope) -> Callable:
        def vjp(g: Tensor, _y: Any, *inputs: Any, reduction: str, **params: Any) -> Tensor:
            if reduction == "mean":
                g = g / prod(rule(*inputs).shape)
            return slope(*inputs, **params) * g

        return vjp

    vjps = tuple(rule_for(slope) if slope is not None else None for slope in slopes)
    return op(name, ref=reference, meta=meta, vjp=vjps, samples=samples or _pairs(), widens=True, hazard=hazard,
              lower=Composite(lowered) if lower is not None else None)  # fmt: skip


def _same_size(input: Tensor, target: Tensor) -> None:
    if target._shape != input._shape:
        warnings.warn(
            f"Using a target size ({target.shape}) that is different to the input size ({input.shape}). This will "
            "likely lead to incorrect results due to broadcasting. Please ensure they have the same size.",
            stacklevel=3,
        )


def _reduction(function: str, input: Any, target: Any, size_average: Any, reduce: Any, reduction: str) -> str:
    require_tensor(function, "input", 1, input)
    require_tensor(function, "target", 2, target)
    reduction = legacy_reduction(size_average, reduce, reduction)
    check_reduction(reduction)
    return reduction


# -- distances -------------------------------------------------------------------------------------------------

mse_op = pointwise(
    "mse_loss", lambda x, t: np.square(x - t), (lambda x, t: (x - t) * 2, lambda x, t: (t - x) * 2), "mse_cpu",
    lower=lambda k, x, t: k.square(x - t),
)  # fmt: skip
l1_op = pointwise(
    "l1_loss", lambda x, t: np.abs(x - t), (lambda x, t: (x - t).sign(), lambda x, t: (t - x).sign()),
    lower=lambda k, x, t: k.abs(x - t),
)  # fmt: skip


def _smooth_l1(x: np.ndarray, t: np.ndarray, beta: float) -> np.ndarray:
    z = np.abs(x - t)
    return np.where(z < beta, z * z * z.dtype.type(0.5 / beta), z - z.dtype.type(0.5 * beta)) if beta else z


def _smooth_l1_lowered(k: Any, x: Any, t: Any, beta: float) -> Any:
    z = k.abs(x - t)
    return k.where(z < beta, z * z * (0.5 / beta), z - 0.5 * beta) if beta else z


def _smooth_l1_slope(x: Tensor, t: Tensor, beta: float) -> Tensor:
    z = x - t
    return (z / beta).clamp(-1, 1) if beta else z.sign()


def _huber(x: np.ndarray, t: np.ndarray, delta: float) -> np.ndarray:
    z = np.abs(x - t)
    return np.where(z <= delta, z * z * z.dtype.type(0.5), z.dtype.type(delta) * (z - z.dtype.type(0.5 * delta)))


def _huber_lowered(k: Any, x: Any, t: Any, delta: float) -> Any:
    z = k.abs(x - t)
    return k.where(z <= delta, z * z * 0.5, (z - 0.5 * delta) * delta)


smooth_l1_op = pointwise(
    "smooth_l1_loss", _smooth_l1,
    (lambda x, t, beta: _smooth_l1_slope(x, t, beta), lambda x, t, beta: _smooth_l1_slope(t, x, beta)),
    "smooth_l1_cpu", _pairs(beta=0.7), _smooth_l1_lowered,
)  # fmt: skip
huber_op = pointwise(
    "huber_loss", _huber,
    (lambda x, t, delta: (x - t).clamp(-delta, delta), lambda x, t, delta: (t - x).clamp(-delta, delta)),
    "huber_cpu", _pairs(delta=0.7), _huber_lowered,
)  # fmt: skip


def _weighted(
    record: Op, input: Tensor, target: Tensor, weight: Tensor | None, reduction: str, **params: Any
) -> Tensor:
    """A distance with a weight for each element, whose mean is weighted as well."""
    if weight is None:
        return record(input, target, reduction=reduction, **params)
    if weight._shape != input._shape:
        raise ValueError("Weights and input must have the same size.")
    losses = record(input, target, reduction="none", **params) * weight
    if reduction == "none":
        return losses
    return losses.sum() / weight.sum() if reduction == "mean" else losses.sum()


@public("F")
def mse_loss(input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
             reduction: str = "mean", weight: Tensor | None = None) -> Tensor:  # fmt: skip
    """The squared differences of `input` and `target`, and their mean, sum or none.

    >>> mse_loss(tensor([1.0, 2.0]), tensor([1.0, 4.0]))
    tensor(2.)
    """
    reduction = _reduction("mse_loss", input, target, size_average, reduce, reduction)
    _same_size(input, target)
    return _weighted(mse_op, input, target, weight, reduction)


@public("F")
def l1_loss(input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
            reduction: str = "mean", weight: Tensor | None = None) -> Tensor:  # fmt: skip
    """The absolute differences of `input` and `target`, and their mean, sum or none."""
    reduction = _reduction("l1_loss", input, target, size_average, reduce, reduction)
    _same_size(input, target)
    return _weighted(l1_op, input, target, weight, reduction)


@public("F")
def smooth_l1_loss(input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
                   reduction: str = "mean", beta: float = 1.0) -> Tensor:  # fmt: skip
    """Squared differences / (2 beta) below `beta`, absolute differences - beta / 2 above it."""
    reduction = _reduction("smooth_l1_loss", input, target, size_average, reduce, reduction)
    _same_size(input, target)
    if beta < 0:
        raise RuntimeError("smooth_l1_loss does not support negative values for beta.")
    return (
        smooth_l1_op(input, target, reduction=reduction, beta=beta)
        if beta
        else l1_op(input, target, reduction=reduction)
    )


@public("F")
def huber_loss(input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0,
               weight: Tensor | None = None) -> Tensor:  # fmt: skip
    """Half the squared differences up to `delta`, delta * (absolute differences - delta / 2) beyond."""
    reduction = _reduction("huber_loss", input, target, None, None, reduction)
    _same_size(input, target)
    if delta <= 0:
        raise RuntimeError("huber_loss does not support non-positive values for delta.")
    return _weighted(huber_op, input, target, weight, reduction, delta=delta)


# -- probabilities ---------------------------------------------------------------------------------------------


def _bce(x: np.ndarray, t: np.ndarray, w: Any) -> np.ndarray:
    if x.size and not (0 <= x.min() and x.max() <= 1):
        raise RuntimeError("all elements of input should be between 0 and 1")
    low = x.dtype.type(-100)
    loss = (t - 1) * np.maximum(np.log1p(-x), low) - t * np.maximum(np.log(x), low)
    return loss if w is None else loss * w


def _bce_lowered(t: Any, x: Any, target: Any, w: Any) -> Any:
    t.require((x >= 0.0) & (x <= 1.0))
    loss = (target - 1.0) * t.maximum(t.log1p(-x), -100.0) - target * t.maximum(t.log(x), -100.0)
    return loss if w is None else loss * w


def _times(slope: Tensor, w: Any) -> Tensor:
    return slope if w is None else slope * w


def _bce_slope(x: Tensor, t: Tensor, w: Any) -> Tensor:
    return _times((x - t) / ((1 - x) * x).clamp_min(1e-12), w)


def _bce_target_slope(x: Tensor, t: Tensor, w: Any) -> Tensor:
    return _times((-x).log1p().clamp_min(-100) - x.log().clamp_min(-100), w)


def _bce_logits(x: np.ndarray, t: np.ndarray, w: Any, pos_weight: Any) -> np.ndarray:
    soft = np.log1p(np.exp(-np.abs(x))) + np.maximum(-x, 0)
    loss = (1 - t) * x + (soft if pos_weight is None else (1 + (pos_weight - 1) * t) * soft)
    return loss if w is None else loss * w


def _bce_logits_lowered(k: Any, x: Any, t: Any, w: Any, pos_weight: Any) -> Any:
    soft = k.log1p(k.exp(-k.abs(x))) + k.maximum(-x, 0.0)
    loss = (1.0 - t) * x + (soft if pos_weight is None else ((pos_weight - 1.0) * t + 1.0) * soft)
    return loss if w is None else loss * w


def _bce_logits_slope(x: Tensor, t: Tensor, w: Any, pos_weight: Any) -> Tensor:
    if pos_weight is None:
        return _times(x.sigmoid() - t, w)
    positive = pos_weight * t
    return _times((positive + 1 - t) * x.sigmoid() - positive, w)


def _bce_logits_target_slope(x: Tensor, t: Tensor, w: Any, pos_weight: Any) -> Tensor:
    return _times(-x if pos_weight is None else log_sigmoid_op(-x) - pos_weight * log_sigmoid_op(x), w)


def _weighted_samples(t: Any) -> Any:
    for reduction in ("none", "mean", "sum"):
        yield call(t(3, 4, low=0.1, high=0.9), t(3, 4, low=0.1, high=0.9), None, reduction=reduction)
    yield call(t(3, 4, low=0.1, high=0.9), t(3, 4, low=0.1, high=0.9), t(3, 4), reduction="mean")


def _logit_samples(t: Any) -> Any:
    for weight, pos_weight in ((None, None), (t(3, 4), t(4, low=0.5, high=2.0))):
        yield call(t(3, 4), t(3, 4, low=0.1, high=0.9), weight, pos_weight, reduction="mean")


bce_op = pointwise(
    "binary_cross_entropy", _bce, (_bce_slope, _bce_target_slope, None), "binary_cross_entropy", _weighted_samples,
    _bce_lowered, hazards.probabilities,
)  # fmt: skip
bce_logits_op = pointwise(
    "binary_cross_entropy_with_logits", _bce_logits, (_bce_logits_slope, _bce_logits_target_slope, None, None),
    "log_sigmoid_cpu", _logit_samples, _bce_logits_lowered,
)  # fmt: skip


def _kl_div(x: np.ndarray, t: np.ndarray, log_target: bool) -> np.ndarray:
    if log_target:
        return np.exp(t) * (t - x)
    return np.where(t == 0, 0, t * np.log(t)).astype(t.dtype, copy=False) - t * x


def _kl_div_lowered(k: Any, x: Any, t: Any, log_target: bool) -> Any:
    if log_target:
        return k.exp(t) * (t - x)
    return k.where(k.eq(t, 0.0), 0.0, t * k.log(t)) - t * x


def _kl_target_slope(x: Tensor, t: Tensor, log_target: bool) -> Tensor:
    return t.exp() * (t - x + 1) if log_target else t.log() + 1 - x


kl_div_op = pointwise(
    "kl_div", _kl_div, (lambda x, t, log_target: -t.exp() if log_target else -t, _kl_target_slope),
    samples=lambda t: [
        call(t(3, 4), t(3, 4, low=0.1, high=0.9), reduction="mean", log_target=False),
        call(t(3, 4), t(3, 4), reduction="sum", log_target=True),
    ],
    lower=_kl_div_lowered,
)  # fmt: skip
soft_margin_op = pointwise(
    "soft_margin_loss", lambda x, t: np.log1p(np.exp(-t * x)),
    (lambda x, t: -t * (-t * x).sigmoid(), lambda x, t: -x * (-t * x).sigmoid()), samples=_pairs(),
    lower=lambda k, x, t: k.log1p(k.exp(-t * x)),
)  # fmt: skip


@public("F")
def binary_cross_entropy(input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
                         reduce: bool | None = None, reduction: str = "mean") -> Tensor:  # fmt: skip
    """The cross entropy of probabilities `input` and `target`; logarithms are kept above -100.

    Raises:
        RuntimeError: an input outside [0, 1].
        ValueError: shapes that differ.
    """
    reduction = _reduction("binary_cross_entropy", input, target, size_average, reduce, reduction)
    if target._shape != input._shape:
        raise ValueError(
            f"Using a target size ({target.shape}) that is different to the input size ({input.shape}) is deprecated. "
            "Please ensure they have the same size."
        )
    if input.dtype is not target.dtype:
        raise RuntimeError(f"Found dtype {type_name(target.dtype)} but expected {type_name(input.dtype)}")
    return bce_op(input, target, weight, reduction=reduction)


@public("F")
def binary_cross_entropy_with_logits(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean", pos_weight: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The cross entropy of sigmoid(`input`) and `target`, in one stable step; `pos_weight` scales positive examples."""
    reduction = _reduction("binary_cross_entropy_with_logits", input, target, size_average, reduce, reduction)
    if target._shape != input._shape:
        raise ValueError(f"Target size ({target.shape}) must be the same as input size ({input.shape})")
    return bce_logits_op(input, target, weight, pos_weight, reduction=reduction)


@public("F")
def kl_div(input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
           reduction: str = "mean", log_target: bool = False) -> Tensor:  # fmt: skip
    """The Kullback-Leibler divergence of `target` from log-probabilities `input`.

    `reduction="batchmean"` divides the sum by the batch size, which is the mathematical definition.
    """
    require_tensor("kl_div", "input", 1, input)
    require_tensor("kl_div", "target", 2, target)
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce, reduction)
    elif reduction == "mean":
        warn_once(
            "reduction: 'mean' divides the total loss by both the batch size and the support size.'batchmean' "
            "divides only by the batch size, and aligns with the KL div math definition.'mean' will be changed to "
            "behave the same as 'batchmean' in the next major release."
        )
    if reduction == "batchmean":
        total = kl_div_op(input, target, reduction="sum", log_target=log_target)
        return total / input._shape[0] if input.ndim else total
    check_reduction(reduction)
    return kl_div_op(input, target, reduction=reduction, log_target=log_target)


@public("F")
def soft_margin_loss(input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
                     reduction: str = "mean") -> Tensor:  # fmt: skip
    """log(1 + exp(-target * input)), targets -1 or 1."""
    return soft_margin_op(
        input, target, reduction=_reduction("soft_margin_loss", input, target, size_average, reduce, reduction)
    )


@public("F")
def poisson_nll_loss(input: Tensor, target: Tensor, log_input: bool = True, full: bool = False,
                     size_average: bool | None = None, eps: float = 1e-8, reduce: bool | None = None,
                     reduction: str = "mean") -> Tensor:  # fmt: skip
    """The negative log-likelihood of Poisson counts; `full` adds Stirling's approximation of log(target!)."""
    reduction = _reduction("poisson_nll_loss", input, target, size_average, reduce, reduction)
    loss = input.exp() - target * input if log_input else input - target * (input + eps).log()
    if full:
        stirling = target * target.log() - target + 0.5 * (2 * math.pi * target).log()
        loss = loss + stirling.masked_fill(target <= 1, 0)
    return reduced(loss, reduction)


@public("F")
def gaussian_nll_loss(input: Tensor, target: Tensor, var: Tensor | float, full: bool = False, eps: float = 1e-6,
                      reduction: str = "mean") -> Tensor:  # fmt: skip
    """The negative log-likelihood of `target` under normal distributions with mean `input` and variance `var`."""
    if isinstance(var, float):
        if var < 0:
            raise ValueError("var has negative entry/entries")
        var = input.new_full(input._shape, var)
    elif bool((var < 0).any()):
        raise ValueError("var has negative entry/entries")
    if var._shape != input._shape:
        if input._shape[:-1] == var._shape:
            var = var.unsqueeze(-1)
        elif not (input.ndim == var.ndim and sum(y for x, y in zip(input._shape, var._shape) if x != y) == 1):
            raise ValueError("var is of incorrect size")
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(reduction + " is not valid")
    var = var.clone()
    with no_grad():
        var.clamp_(min=eps)
    loss = 0.5 * (var.log() + (input - target) ** 2 / var)
    if full:
        loss = loss + 0.5 * math.log(2 * math.pi)
    return reduced(loss, reduction)


def reduced(loss: Tensor, reduction: str) -> Tensor:
    """The mean, the sum, or `loss` itself."""
    return loss.mean() if reduction == "mean" else loss.sum() if reduction == "sum" else loss
