"""Losses with margins, and the distances and similarities that they compare. Compositions of smaller ops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from flambeau import dtypes
from flambeau.ops.nn.activation import logsigmoid
from flambeau.ops.nn.checks import check_reduction, legacy_reduction, tensor_shape
from flambeau.ops.nn.loss_pointwise import reduced
from flambeau.ops.op import public
from flambeau.ops.rules import require_tensor
from flambeau.shape import broadcast_shapes, wrap_dim
from flambeau.tensors import Tensor, from_array


def _chosen(size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    reduction = legacy_reduction(size_average, reduce, reduction)
    check_reduction(reduction)
    return reduction


# -- distances -------------------------------------------------------------------------------------------------


@public("torch F")
def pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    """The p-norm of `x1 - x2 + eps` along the last dimension."""
    return (x1 - x2 + eps).norm(p, -1, keepdim=keepdim)


@public("torch F")
def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """The cosine of the angle between vectors along `dim`; lengths are taken to be at least `eps`.

    >>> cosine_similarity(tensor([1.0, 0.0]), tensor([1.0, 0.0]), dim=0)
    tensor(1.)
    """
    require_tensor("cosine_similarity", "x1", 1, x1)
    require_tensor("cosine_similarity", "x2", 2, x2)
    common = dtypes.promote_types(x1.dtype, x2.dtype)
    if common.category < dtypes.FLOAT:
        raise RuntimeError(f"expected common dtype to be floating point, yet common dtype is {_spelled(common)}")
    shape = broadcast_shapes(x1._shape, x2._shape)
    dim = wrap_dim(dim, len(shape))
    a, b = x1.to(common).expand(shape), x2.to(common).expand(shape)
    length_a = (a * a).sum(dim, keepdim=True).sqrt().clamp_min(eps)
    length_b = (b * b).sum(dim, keepdim=True).sqrt().clamp_min(eps)
    return ((a / length_a) * (b / length_b)).sum(dim)


def _spelled(d: dtypes.dtype) -> str:
    return {"int64": "Long", "int32": "Int", "int16": "Short", "int8": "Char", "uint8": "Byte", "bool": "Bool"}[d.name]


# -- pairs -----------------------------------------------------------------------------------------------------


@public("F")
def margin_ranking_loss(input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0,
                        size_average: bool | None = None, reduce: bool | None = None,
                        reduction: str = "mean") -> Tensor:  # fmt: skip
    """max(0, -target * (input1 - input2) + margin): target 1 ranks `input1` higher, -1 lower."""
    reduction = _chosen(size_average, reduce, reduction)
    if input1.ndim != input2.ndim or input1.ndim != target.ndim:
        raise RuntimeError(
            "margin_ranking_loss : All input tensors should have same dimension but got sizes: input1: "
            f"{input1.shape}, input2: {input2.shape}, target: {target.shape} "
        )
    return reduced((-target * (input1 - input2) + margin).clamp_min(0), reduction)


@public("F")
def hinge_embedding_loss(input: Tensor, target: Tensor, margin: float = 1.0, size_average: bool | None = None,
                         reduce: bool | None = None, reduction: str = "mean") -> Tensor:  # fmt: skip
    """`input` where target is 1, max(0, margin - input) where it is -1."""
    reduction = _chosen(size_average, reduce, reduction)
    apart = (margin - input).clamp_min(0).masked_fill(target == 1, 0)
    together = input.masked_fill(target == -1, 0)
    return reduced(apart + together, reduction)


@public("F")
def cosine_embedding_loss(input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0,
                          size_average: bool | None = None, reduce: bool | None = None,
                          reduction: str = "mean") -> Tensor:  # fmt: skip
    """1 - cosine where target is 1, max(0, cosine - margin) where it is -1."""
    reduction = _chosen(size_average, reduce, reduction)
    if target.ndim not in (0, 1):
        raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
    if target.ndim == 1 and (input1.ndim != 2 or input2.ndim != 2):
        raise RuntimeError(
            f"1D target tensor expects 2D input tensors, but found inputs with sizes {tensor_shape(input1)} and "
            f"{tensor_shape(input2)}."
        )
    if target.ndim == 0 and (input1.ndim != 1 or input2.ndim != 1):
        raise RuntimeError(
            f"0D target tensor expects 1D input tensors, but found inputs with sizes {tensor_shape(input1)} and "
            f"{tensor_shape(input2)}."
        )
    tiny = 1e-12
    dot = (input1 * input2).sum(target.ndim)
    squares = ((input1 * input1).sum(target.ndim) + tiny) * ((input2 * input2).sum(target.ndim) + tiny)
    cosine = dot / squares.sqrt()
    together = (1 - cosine).masked_fill(target != 1, 0)
    apart = (cosine - margin).clamp_min(0).masked_fill(target != -1, 0)
    return reduced(together + apart, reduction)


# -- triplets --------------------------------------------------------------------------------------------------


@public("F")
def triplet_margin_loss(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0, p: float = 2,
                        eps: float = 1e-6, swap: bool = False, size_average: bool | None = None,
                        reduce: bool | None = None, reduction: str = "mean") -> Tensor:  # fmt: skip
    """max(0, d(anchor, positive) - d(anchor, negative) + margin) with d the p-norm distance."""
    reduction = _chosen(size_average, reduce, reduction)
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    return _triplet(anchor, positive, negative, lambda a, b: pairwise_distance(a, b, p, eps), margin, swap, reduction)


@public("F")
def triplet_margin_with_distance_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None, margin: float = 1.0, swap: bool = False,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """The triplet loss with a distance of your own (default: the Euclidean one)."""
    check_reduction(reduction)
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    return _triplet(anchor, positive, negative, distance_function or pairwise_distance, margin, swap, reduction)


def _triplet(anchor: Tensor, positive: Tensor, negative: Tensor, distance: Any, margin: float, swap: bool,
             reduction: str) -> Tensor:  # fmt: skip
    if not anchor.ndim == positive.ndim == negative.ndim:
        raise RuntimeError(
            "The anchor, positive, and negative tensors are expected to have the same number of dimensions, but got: "
            f"anchor {anchor.ndim}D, positive {positive.ndim}D, and negative {negative.ndim}D inputs"
        )
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = far.minimum(distance(positive, negative))
    return reduced((margin + near - far).clamp_min(0), reduction)


# -- classes ---------------------------------------------------------------------------------------------------


@public("F")
def multi_margin_loss(input: Tensor, target: Tensor, p: int = 1, margin: float = 1.0, weight: Tensor | None = None,
                      size_average: bool | None = None, reduce: bool | None = None,
                      reduction: str = "mean") -> Tensor:  # fmt: skip
    """The mean over wrong classes of max(0, margin - x[target] + x[i]) ** p."""
    reduction = _chosen(size_average, reduce, reduction)
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    if weight is not None and weight.ndim != 1:
        raise ValueError("weight must be one-dimensional")
    rows = input if input.ndim > 1 else input.unsqueeze(0)
    index = target.reshape(-1, 1)
    if index._shape[0] != rows._shape[0]:
        raise RuntimeError(f"inconsistent target size, expected {rows._shape[0]} but got {tensor_shape(target)}")
    classes = rows._shape[1]
    if index.numel() and not (0 <= int(index.min()) and int(index.max()) < classes):
        raise RuntimeError("target out of range")
    z = (margin - rows.gather(1, index) + rows).clamp_min(0)
    z = z * z if p == 2 else z
    if weight is not None:
        z = z * weight[index]
    others = from_array(np.arange(classes)) != index
    losses = (z * others).sum(1) / classes
    return reduced(losses if target.ndim else losses.squeeze(0), reduction)


@public("F")
def multilabel_margin_loss(input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
                           reduction: str = "mean") -> Tensor:  # fmt: skip
    """The sum over target classes j and other classes i of max(0, 1 - x[j] + x[i]) / C; a -1 ends a row of targets."""
    reduction = _chosen(size_average, reduce, reduction)
    if target._shape != input._shape:
        raise RuntimeError(f"inconsistent target size: {tensor_shape(target)} for input of size: {tensor_shape(input)}")
    rows, wanted = (x if x.ndim > 1 else x.reshape(1, -1) for x in (input, target))
    labels = wanted._array()
    valid = np.cumprod(labels >= 0, axis=1).astype(bool)
    index = np.where(valid, labels, 0)
    is_target = np.zeros(labels.shape, bool)
    np.logical_or.at(is_target, (np.arange(len(labels))[:, None], index), valid)
    pairs = from_array(valid[:, :, None] & ~is_target[:, None, :])
    gaps = 1 - rows.gather(1, from_array(index)).unsqueeze(2) + rows.unsqueeze(1)
    losses = (gaps.clamp_min(0) * pairs).sum((1, 2)) / rows._shape[1]
    return reduced(losses if input.ndim > 1 else losses.squeeze(0), reduction)


@public("F")
def multilabel_soft_margin_loss(input: Tensor, target: Tensor, weight: Tensor | None = None,
                                size_average: bool | None = None, reduce: bool | None = None,
                                reduction: str = "mean") -> Tensor:  # fmt: skip
    """The mean over classes of the binary cross entropy of logits `input` and `target`."""
    reduction = legacy_reduction(size_average, reduce, reduction)
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(reduction + " is not valid")
    losses = -(target * logsigmoid(input) + (1 - target) * logsigmoid(-input))
    if weight is not None:
        losses = losses * weight
    return reduced(losses.sum(-1) / input._shape[-1], reduction)
