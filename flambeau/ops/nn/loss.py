"""Losses of classification: negative log-likelihood, and cross entropy as one op with log_softmax inside it."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from flambeau import dtypes
from flambeau.engine.execute import Meta
from flambeau.engine.schedule.lowering import Composite
from flambeau.ops import hazards
from flambeau.ops.apply import type_name
from flambeau.ops.nn.checks import check_reduction, legacy_reduction, require_floating, tensor_shape
from flambeau.ops.nn.derive import grads_through, wants_history
from flambeau.ops.nn.linear import linear
from flambeau.ops.nn.softmax import _log_softmax, log_softmax_of, lowered_log_softmax
from flambeau.ops.op import op, public
from flambeau.ops.rules import require_tensor
from flambeau.ops.samples import call
from flambeau.tensors import Tensor

_CLASSES = hazards.index(1, lambda x, *_, **__: x._shape[1 if x.ndim > 1 else 0], ignored="ignore_index")

# -- shape rule ------------------------------------------------------------------------------------------------


def _check_targets(x: Tensor, target: Tensor, weight: Tensor | None) -> None:
    """PyTorch's errors of `nll_loss` for inputs [N, C, ...] and targets [N, ...]."""
    if target.dtype not in (dtypes.int64, dtypes.uint8):
        raise RuntimeError(f"expected target dtype to be Long or Byte, but got {type_name(target.dtype)}")
    classes = x._shape[1] if x.ndim > 1 else x._shape[0]
    if x.ndim <= 2:
        if target.ndim > 1:
            raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
    elif x.ndim == 4 and target.ndim != 3:
        raise RuntimeError(
            f"only batches of spatial targets supported (3D tensors) but got targets of dimension: {target.ndim}"
        )
    elif x._shape[2:] != target._shape[1:]:
        if x.ndim == 4:
            raise RuntimeError(f"size mismatch (got input: {tensor_shape(x)} , target: {tensor_shape(target)}")
        raise RuntimeError(
            f"Expected target size {tensor_shape((x._shape[0], *x._shape[2:]))}, got {tensor_shape(target)}"
        )
    if weight is not None:
        if weight._shape != (classes,):
            raise RuntimeError(
                f"weight tensor should be defined either for all {classes} classes or no classes but got weight "
                f"tensor of shape: {tensor_shape(weight)}"
            )
        if weight.dtype is not x.dtype:
            raise RuntimeError(f"expected scalar type {type_name(x.dtype)} but found {type_name(weight.dtype)}")


def _nll_meta(x: Tensor, target: Tensor, weight: Tensor | None, reduction: str, **_: Any) -> Meta:
    require_floating("nll_loss_out_frame", x.dtype)
    _check_targets(x, target, weight)
    return Meta(target._shape if reduction == "none" else (), x.dtype)


def _cross_entropy_meta(
    x: Tensor, target: Tensor, weight: Tensor | None, reduction: str, **_: Any
) -> tuple[Meta, Meta]:
    require_floating("log_softmax_lastdim_kernel_impl", x.dtype)
    _check_targets(x, target, weight)
    return Meta(target._shape if reduction == "none" else (), x.dtype), Meta(x._shape, x.dtype)


# -- references ------------------------------------------------------------------------------------------------


class _Picked:
    """Where the targets point: class indices made safe, which of them count, and their weights."""

    def __init__(self, shape: tuple, dtype: np.dtype, target: np.ndarray, weight: Any, ignore_index: int) -> None:
        self.classes = shape[1] if len(shape) > 1 else shape[0]
        self.view = (shape[0], self.classes, prod(shape[2:])) if len(shape) > 1 else (1, self.classes, 1)
        flat = target.reshape(self.view[0], self.view[2]).astype(np.int64, copy=False)
        self.valid = flat != ignore_index
        self.all_valid = bool(self.valid.all())
        self.index = flat if self.all_valid else np.where(self.valid, flat, 0)
        if self.index.size and not (0 <= self.index.min() and self.index.max() < self.classes):
            wrong = self.index[(self.index < 0) | (self.index >= self.classes)]
            raise IndexError(f"Target {int(wrong.flat[0])} is out of bounds.")
        self.weights = self.valid.astype(dtype) if weight is None else weight[self.index] * self.valid
        self.total = self.weights.sum(dtype=dtype)

    def of(self, values: np.ndarray) -> np.ndarray:
        """Elements of `values` at the targets, [N, positions]."""
        if self.classes == 0:
            return np.zeros(self.index.shape, values.dtype)
        return np.take_along_axis(values.reshape(self.view), self.index[:, None], 1)[:, 0]

    def reduced(self, losses: np.ndarray, target: np.ndarray, reduction: str) -> np.ndarray:
        if reduction == "none":
            return losses.reshape(target.shape)
        total = losses.sum()
        return np.asarray(total / self.total if reduction == "mean" else total)

    def scaled(self, g: np.ndarray, reduction: str) -> np.ndarray:
        """The gradient of each position's loss, [N, positions]."""
        if reduction == "mean":
            g = g / self.total
        each = np.broadcast_to(g.reshape(self.index.shape) if reduction == "none" else g, self.index.shape)
        # what is ignored has no gradient, even if everything is and the mean is 0 / 0
        return each if self.all_valid else np.where(self.valid, each, 0)


def _nll(x: np.ndarray, target: np.ndarray, weight: Any, reduction: str, ignore_index: int) -> np.ndarray:
    at = _Picked(x.shape, x.dtype, target, weight, ignore_index)
    losses = -at.of(x) * at.weights
    if not at.all_valid:
        losses[~at.valid] = 0
    return at.reduced(losses, target, reduction)


def _nll_backward(
    g: np.ndarray, target: np.ndarray, weight: Any, shape: tuple, reduction: str, ignore_index: int
) -> np.ndarray:  # fmt: skip
    at = _Picked(shape, g.dtype, target, weight, ignore_index)
    out = np.zeros(shape, g.dtype)
    np.put_along_axis(out.reshape(at.view), at.index[:, None], -(at.scaled(g, reduction) * at.weights)[:, None], 1)
    return out


def _cross_entropy(
    x: np.ndarray, target: np.ndarray, weight: Any, reduction: str, ignore_index: int, smoothing: float
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    log_p = log_softmax_of(x, 1 if x.ndim > 1 else 0)
    at = _Picked(x.shape, x.dtype, target, weight, ignore_index)
    losses = -at.of(log_p) * at.weights
    if smoothing:
        rows = log_p.reshape(at.view)
        smooth = -(rows if weight is None else rows * weight.reshape(1, -1, 1)).sum(1) * at.valid
        losses = losses * x.dtype.type(1 - smoothing) + smooth * x.dtype.type(smoothing / at.classes)
    if not at.all_valid:
        losses[~at.valid] = 0
    return at.reduced(losses, target, reduction), log_p


def _cross_entropy_backward(
    g: np.ndarray, log_p: np.ndarray, target: np.ndarray, weight: Any, reduction: str, ignore_index: int,
    smoothing: float,
) -> np.ndarray:  # fmt: skip
    at = _Picked(log_p.shape, log_p.dtype, target, weight, ignore_index)
    scale = at.scaled(g, reduction)
    out = np.exp(log_p).reshape(at.view)
    hit = (scale * at.weights if not smoothing else scale * at.weights * (1 - smoothing)).astype(out.dtype, copy=False)
    if not smoothing:
        out *= hit[:, None]
    else:
        even = (scale * at.valid * (smoothing / at.classes)).astype(out.dtype)[:, None]
        each = even if weight is None else even * weight.reshape(1, -1, 1)
        out *= hit[:, None] + (each * at.classes if weight is None else each.sum(1, keepdims=True))
        out -= each
    rows = np.arange(at.index.shape[0])[:, None], at.index, np.arange(at.index.shape[1])
    out[rows] -= hit
    return out.reshape(log_p.shape)


# -- lowering --------------------------------------------------------------------------------------------------


class _Lowered:
    """`_Picked` as tensor expressions. Nothing is read at a target: each class asks whether it is meant."""

    def __init__(self, t: Any, shape: tuple, target: Any, weight: Any, ignore_index: int, dtype: Any) -> None:
        self.t, self.dim, self.target, self.dtype = t, 1 if len(shape) > 1 else 0, target, dtype
        self.classes = shape[self.dim]
        along = tuple(1 if d == self.dim else n for d, n in enumerate(shape))  # where there is one a target
        self.index = t.reshape(t.cast(target, dtypes.int64), along)
        self.valid = t.ne(self.index, ignore_index)
        self.inside = (self.index >= 0) & (self.index < self.classes)
        places = t.index(t.constant(0, dtypes.int64, shape), self.dim)
        self.hit = t.eq(places, t.cast(t.where(self.inside, self.index, -1), places.dtype))
        per_class = tuple(n if d == self.dim else 1 for d, n in enumerate(shape))
        self.weight = None if weight is None else t.reshape(weight, per_class)
        counted = t.cast(self.valid, dtype)
        self.weights = counted if weight is None else self.at_targets(self.weight) * counted

    def at_targets(self, x: Any) -> Any:
        return self.t.sum(self.t.where(self.hit, x, 0), self.dim)

    def total(self) -> Any:
        return self.t.sum(self.weights, None)

    def reduced(self, losses: Any, reduction: str) -> Any:
        t = self.t
        t.require(~self.valid | self.inside)
        losses = t.where(self.valid, losses, 0)
        if reduction == "none":
            return t.reshape(losses, self.target.shape)
        total = t.sum(losses, None, keepdim=False)
        return total / t.reshape(self.total(), ()) if reduction == "mean" else total

    def scaled(self, g: Any, reduction: str) -> Any:
        t = self.t
        if reduction == "mean":
            g = g / t.reshape(self.total(), ())
        each = t.reshape(g, self.index.shape) if reduction == "none" else t.expand(t.reshape(g, ()), self.index.shape)
        return t.where(self.valid, each, 0)


def _lowered_nll(t: Any, x: Any, target: Any, weight: Any, reduction: str, ignore_index: int) -> Any:
    at = _Lowered(t, x.shape, target, weight, ignore_index, x.dtype)
    return at.reduced(-at.at_targets(x) * at.weights, reduction)


def _lowered_nll_backward(
    t: Any, g: Any, target: Any, weight: Any, shape: tuple, reduction: str, ignore_index: int
) -> Any:  # fmt: skip
    at = _Lowered(t, shape, target, weight, ignore_index, g.dtype)
    return t.where(at.hit & at.valid, -(at.scaled(g, reduction) * at.weights), 0)


def _lowered_cross_entropy(
    t: Any, x: Any, target: Any, weight: Any, reduction: str, ignore_index: int, smoothing: float
) -> tuple:  # fmt: skip
    dim = 1 if len(x.shape) > 1 else 0
    log_p = lowered_log_softmax(t, x, dim)
    at = _Lowered(t, x.shape, target, weight, ignore_index, x.dtype)
    losses = -at.at_targets(log_p) * at.weights
    if smoothing:
        smooth = -t.sum(log_p if weight is None else log_p * at.weight, dim)
        losses = losses * (1 - smoothing) + smooth * (smoothing / at.classes)
    return at.reduced(losses, reduction), log_p


def _lowered_cross_entropy_backward(
    t: Any, g: Any, log_p: Any, target: Any, weight: Any, reduction: str, ignore_index: int, smoothing: float
) -> Any:  # fmt: skip
    at = _Lowered(t, log_p.shape, target, weight, ignore_index, log_p.dtype)
    scale = at.scaled(g, reduction)
    hit = scale * at.weights
    p = t.exp(log_p)
    if not smoothing:
        return p * hit - t.where(at.hit & at.valid, hit, 0)
    hit = hit * (1 - smoothing)
    even = scale * (smoothing / at.classes)
    each = even if weight is None else even * at.weight
    spread = even * at.classes if weight is None else t.sum(each, at.dim)
    return p * (hit + spread) - each - t.where(at.hit & at.valid, hit, 0)


# -- records ---------------------------------------------------------------------------------------------------


def _weights_of(x: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int) -> tuple[Tensor, Tensor]:
    valid = target != ignore_index
    index = target.long().masked_fill(valid.logical_not(), 0)
    return index, (x.new_ones(target._shape) if weight is None else weight[index]) * valid


def _decomposed(log_p: Tensor, target: Tensor, weight: Tensor | None, reduction: str, ignore_index: int,
                smoothing: float = 0.0) -> Tensor:  # fmt: skip
    """The loss from log-probabilities in smaller ops, for derivatives of higher order."""
    dim = 1 if log_p.ndim > 1 else 0
    index, weights = _weights_of(log_p, target, weight, ignore_index)
    losses = -log_p.gather(dim, index.unsqueeze(dim)).squeeze(dim) * weights
    if smoothing:
        each = log_p if weight is None else log_p * weight.reshape(-1, *(1,) * (log_p.ndim - 1 - dim))
        smooth = -each.sum(dim) * (target != ignore_index)
        losses = losses * (1 - smoothing) + smooth * (smoothing / log_p._shape[dim])
    if reduction == "none":
        return losses
    return losses.sum() / weights.sum() if reduction == "mean" else losses.sum()


def _nll_vjp(g: Tensor, _y: Any, _x: Any, target: Tensor, weight: Any, **how: Any) -> tuple:
    return nll_backward_op(g, target, weight, shape=_x.shape, **how), None, None


def _cross_entropy_vjp(g: Any, y: Any, x: Tensor, target: Tensor, weight: Any, needs: Any, **how: Any) -> tuple:
    if wants_history((g[0], x)):
        through = lambda x: _decomposed(_log_softmax(x, 1 if x.ndim > 1 else 0), target, weight, **how)
        return (*grads_through(through, g[0], (x,), (True,)), None, None)
    return cross_entropy_backward_op(g[0], y[1], target, weight, **how), None, None


def _node_name(inputs: Any, _params: Any) -> str:
    return "NllLossBackward0" if inputs[0].ndim <= 2 else "NllLoss2DBackward0"


def _samples(t: Any) -> Any:
    some = {"reduction": "mean", "ignore_index": -100}
    yield call(t(4, 5), t(4, dtype=dtypes.int64, low=0, high=5), None, **some)
    yield call(t(4, 5), t(4, dtype=dtypes.int64, low=0, high=5), t(5, low=0.5, high=2), reduction="sum", ignore_index=2)
    yield call(t(2, 3, 2, 2), t(2, 2, 2, dtype=dtypes.int64, low=0, high=3), None, reduction="none", ignore_index=1)
    yield call(t(5), t(dtype=dtypes.int64, low=0, high=5), None, **some)


def _smoothed_samples(t: Any) -> Any:
    for sample in _samples(t):
        for smoothing in (0.0, 0.1):
            inputs = tuple(None if i == 2 else x for i, x in enumerate(sample.inputs))
            yield call(*inputs, **sample.params, smoothing=smoothing)


nll_op = op(
    "nll_loss", hazard=_CLASSES, lower=Composite(_lowered_nll), ref=_nll, meta=_nll_meta, vjp=_nll_vjp,
    backward_name=_node_name, samples=_samples, widens=True,
)  # fmt: skip
nll_backward_op = op(
    "nll_loss_backward", lower=Composite(_lowered_nll_backward), ref=_nll_backward,
    meta=lambda g, target, weight, shape, **_: Meta(tuple(shape), g.dtype),
    vjp=lambda h, _y, _g, target, weight, shape, **how: (nll_op(h, target, weight, **how), None, None),
)  # fmt: skip
cross_entropy_op = op(
    "cross_entropy", hazard=_CLASSES, lower=Composite(_lowered_cross_entropy), ref=_cross_entropy,
    meta=_cross_entropy_meta, vjp=_cross_entropy_vjp, multiple=True, kept_outputs=(1,),
    backward_name=_node_name, samples=_smoothed_samples, widens=True,
)  # fmt: skip
cross_entropy_backward_op = op(
    "cross_entropy_backward", lower=Composite(_lowered_cross_entropy_backward), ref=_cross_entropy_backward,
    meta=lambda g, log_p, *_, **__: Meta(log_p._shape, log_p.dtype),
)  # fmt: skip

# -- functions -------------------------------------------------------------------------------------------------


def _check_batch(x: Tensor, target: Tensor) -> None:
    if x.ndim == 0:
        raise ValueError("Expected 1 or more dimensions (got 0)")
    if x.ndim != 1 and (target.ndim == 0 or x._shape[0] != target._shape[0]):
        count = target._shape[0] if target.ndim else 1
        if x._shape[0] != count:
            raise ValueError(f"Expected input batch_size ({x._shape[0]}) to match target batch_size ({count}).")


@public("F", one_op=True)
def nll_loss(input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
             ignore_index: int = -100, reduce: bool | None = None, reduction: str = "mean") -> Tensor:  # fmt: skip
    """The negative log-likelihood of `target` under log-probabilities `input`.

    Args:
        input: log-probabilities [N, C], [C] or [N, C, d1, ...].
        target: class indices [N], [] or [N, d1, ...].
        weight: one factor a class [C]; the mean is weighted.
        ignore_index: a target that counts nothing.

    Raises:
        IndexError: a target outside 0 ... C-1.

    >>> nll_loss(tensor([[-0.5, -1.0]]), tensor([1]))
    tensor(1.)
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    check_reduction(reduction)
    require_tensor("nll_loss_nd", "input", 1, input)
    require_tensor("nll_loss_nd", "target", 2, target)
    _check_batch(input, target)
    return nll_op(input, target, weight, reduction=reduction, ignore_index=ignore_index)


@public("F", one_op=True)
def cross_entropy(input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
                  ignore_index: int = -100, reduce: bool | None = None, reduction: str = "mean",
                  label_smoothing: float = 0.0) -> Tensor:  # fmt: skip
    """The cross entropy between logits `input` and `target`: class indices, or class probabilities.

    Args:
        input: logits [N, C], [C] or [N, C, d1, ...].
        target: int64 indices [N], [] or [N, d1, ...]; or probabilities in the shape of `input`.
        weight: one factor a class [C]; the mean over indices is weighted.
        ignore_index: an index that counts nothing.
        label_smoothing: how much of the target is spread evenly over the classes, in [0, 1].

    Raises:
        IndexError: an index outside 0 ... C-1.
        ValueError: input and target of different batch sizes.

    >>> cross_entropy(tensor([[0.0, 0.0]]), tensor([1]))
    tensor(0.6931)
    """
    reduction = legacy_reduction(size_average, reduce, reduction)
    check_reduction(reduction)
    require_tensor("cross_entropy_loss", "input", 1, input)
    require_tensor("cross_entropy_loss", "target", 2, target)
    if not 0.0 <= label_smoothing <= 1.0:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing:g}")
    if input._shape == target._shape and input.ndim:
        return _with_probabilities(input, target, weight, reduction, ignore_index, label_smoothing)
    _check_batch(input, target)
    how = {"reduction": reduction, "ignore_index": ignore_index, "smoothing": label_smoothing}
    return cross_entropy_op(input, target, weight, **how)[0]


def _with_probabilities(input: Tensor, target: Tensor, weight: Tensor | None, reduction: str, ignore_index: int,
                        smoothing: float) -> Tensor:  # fmt: skip
    if not target.dtype.is_floating_point:
        raise RuntimeError(
            f"Expected floating point type for target with class probabilities, got {type_name(target.dtype)}"
        )
    if ignore_index >= 0:
        raise RuntimeError("ignore_index is not supported for floating point target")
    dim = 1 if input.ndim > 1 else 0
    classes = input._shape[dim]
    if weight is not None and weight._shape != (classes,):
        raise RuntimeError(
            "cross_entropy: weight tensor should be defined either for all "
            f"{classes} classes or no classes but got weight tensor of shape: {tensor_shape(weight)}"
        )
    if smoothing:
        target = target * (1 - smoothing) + smoothing / classes
    product = _log_softmax(input, dim) * target
    if weight is not None:
        product = product * weight.reshape(-1, *(1,) * (input.ndim - 1 - dim))
    if reduction == "none":
        return -product.sum(dim)
    if reduction == "sum":
        return -product.sum()
    return -product.sum() / max(input.numel() // max(classes, 1), 1)


@public("F")
def linear_cross_entropy(input: Tensor, linear_weight: Tensor, target: Tensor, *, linear_bias: Tensor | None = None,
                         weight: Tensor | None = None, reduction: str = "mean", ignore_index: int | None = None,
                         label_smoothing: float = 0.0, options: Any = None) -> Tensor:  # fmt: skip
    """`cross_entropy(linear(input, linear_weight, linear_bias), target)`; `options` about memory change nothing."""
    logits = linear(input, linear_weight, linear_bias)
    ignored = -100 if ignore_index is None else ignore_index
    return cross_entropy(
        logits, target, weight, ignore_index=ignored, reduction=reduction, label_smoothing=label_smoothing
    )
