"""Losses that compare input and target element by element, then take the mean or the sum.

`pointwise` makes a record from the loss of one element and its slopes, which are written with differentiable ops.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from flambeau.engine.execute import Meta
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
              samples: Samples | None = None) -> Op:  # fmt: skip
    """Describe a loss: `ref(x, target, ..., **params)` for every element, and d ref / d operand for each operand."""
    rule = elementwise()

    def meta(*inputs: Any, reduction: str, **_: Any) -> Meta:
        found = rule(*inputs)
        if kernel is not None:
            require_floating(kernel, found.dtype)
        return found if reduction == "none" else Meta((), found.dtype, None, found.compute)

    def reduced(*arrays: Any, reduction: str, **params: Any) -> np.ndarray:
        losses = ref(*arrays, **params)
        if reduction == "none":
            return losses
        total = losses.sum(dtype=losses.dtype)
        return np.asarray(total / losses.dtype.type(losses.size) if reduction == "mean" else total)

    def rule_for(slope: Slope) -> Callable:
        def vjp(g: Tensor, _y: Any, *inputs: Any, reduction: str, **params: Any) -> Tensor:
            if reduction == "mean":
                g = g / prod(rule(*inputs).shape)
            return slope(*inputs, **params) * g

        return vjp

    vjps = tuple(rule_for(slope) if slope is not None else None for slope in slopes)
    return op(name, ref=reduced, meta=meta, vjp=vjps, samples=samples or _pairs())



def _same_size(input: Tensor, target: Tensor) -> None:
    if target._shape != input._shape:
        warnings.warn(
            f"Using a target size ({target.shape}) that is different to the input size ({input.shape}). This will likely "
            "lead to incorrect results due to broadcasting. Please ensure they have the same size.",
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
    "mse_loss", lambda x, t: np.square(x - t), (lambda x, t: (x - t) * 2, lambda x, t: (t - x) * 2), "mse_cpu"
)  # fmt: skip
l1_op = pointwise("l1_loss", lambda x, t: np.abs(x - t), (lambda x, t: (x - t).sign(), lambda x, t: (t - x).sign()))


def _smooth_l1(x: np.ndarray, t: np.ndarray, beta: float) -> np.ndarray:
    z = np.abs(x - t)
    return np.where(z < beta, z * z * z.dtype.type(0.5 / beta), z - z.dtype.type(0.5 * beta)) if beta else z


def _smooth_l1_slope(x: Tensor, t: Tensor, beta: float) -> Tensor:
    z = x - t
    return (z / beta).clamp(-1, 1) if beta else z.sign()


def _huber(x: np.ndarray, t: np.ndarray, delta: float) -> np.ndarray:
    z = np.abs(x - t)
    return np.where(z <= delta, z * z * z.dtype.type(0.5), z.dtype.type(delta) * (z - z.dtype.type(0.5 * delta)))


smooth_l1_op = pointwise(
    "smooth_l1_loss", _smooth_l1,
    (lambda x, t, beta: _smooth_l1_slope(x, t, beta), lambda x, t, beta: _smooth_l1_slope(t, x, beta)),
    "smooth_l1_cpu", _pairs(beta=0.7),
)  # fmt: skip
huber_op = pointwise(
    "huber_loss", _huber,
    (lambda x, t, delta: (x - t).clamp(-delta, delta), lambda x, t, delta: (t - x).clamp(-delta, delta)),
    "huber_cpu", _pairs(delta=0.7),
)  # fmt: skip


def _weighted(record: Op, input: Tensor, target: Tensor, weight: Tensor | None, reduction: str, **params: Any) -> Tensor:
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
    return smooth_l1_op(input, target, reduction=reduction, beta=beta) if beta else l1_op(input, target, reduction=reduction)


@public("F")
def huber_loss(input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0,
               weight: Tensor | None = None) -> Tensor:  # fmt: skip
    """Half the squared differences up to `delta`, delta * (absolute differences - delta / 2) beyond."""
    reduction = _reduction("huber_loss", input, target, None, None, reduction)
    _same_size(input, target)
    if delta <= 0:
        raise RuntimeError("huber_loss does not support non-positive values for delta.")
    return _weighted(huber_op, input, target, weight, reduction, delta=delta)
