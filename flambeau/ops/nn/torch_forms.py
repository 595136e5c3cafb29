"""The forms in which `torch` itself has some of `nn.functional`'s functions: numbers for reductions and modes, and the
argument orders of its kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flambeau.ops.nn import conv, ctc, embedding, loss_margin, loss_pointwise
from flambeau.ops.nn.grid import affine_grid, grid_sample
from flambeau.ops.op import public
from flambeau.tensors import Tensor

_REDUCTIONS = ("none", "mean", "sum")
_MODES, _PADDINGS = ("bilinear", "nearest", "bicubic"), ("zeros", "border", "reflection")
_BAGS = ("sum", "mean", "max")
_DEFAULT = 0  # what PyTorch takes here when no reduction is given is none, unlike in nn.functional


def _with_number(function: Callable, count: int, defaults: tuple = ()) -> None:
    """List `function`, whose arguments after the first `count` tensors are `defaults` and a reduction, under torch."""

    def form(*args: Any, reduction: int = _DEFAULT, **kwargs: Any) -> Tensor:
        if len(args) > count + len(defaults):
            *args, reduction = args
        named = dict(zip([name for name, _ in defaults], args[count:]))
        return function(*args[:count], **{**named, **kwargs}, reduction=_REDUCTIONS[reduction])

    form.__doc__ = f"`nn.functional.{function.__name__}` with the reduction as a number: 0 none, 1 mean, 2 sum."
    public("torch", name=function.__name__)(form)


_with_number(loss_margin.margin_ranking_loss, 3, (("margin", 0.0),))
_with_number(loss_margin.hinge_embedding_loss, 2, (("margin", 1.0),))
_with_number(loss_margin.cosine_embedding_loss, 3, (("margin", 0.0),))
_with_number(
    loss_margin.triplet_margin_loss, 3, (("margin", 1.0), ("p", 2.0), ("eps", 1e-6), ("swap", False))
)  # fmt: skip
_with_number(loss_pointwise.binary_cross_entropy_with_logits, 2, (("weight", None), ("pos_weight", None)))
_with_number(loss_pointwise.poisson_nll_loss, 2, (("log_input", True), ("full", False), ("eps", 1e-8)))


@public("torch")
def kl_div(input: Tensor, target: Tensor, reduction: int = _DEFAULT, *, log_target: bool = False) -> Tensor:
    """`nn.functional.kl_div` with the reduction as a number: 0 none, 1 mean, 2 sum."""
    return loss_pointwise.kl_div_op(input, target, reduction=_REDUCTIONS[reduction], log_target=log_target)


@public("torch")
def ctc_loss(log_probs: Tensor, targets: Tensor, input_lengths: Any, target_lengths: Any, blank: int = 0,
             reduction: int = _DEFAULT, zero_infinity: bool = False) -> Tensor:  # fmt: skip
    """`nn.functional.ctc_loss` with the reduction as a number: 0 none, 1 mean, 2 sum."""
    return ctc.ctc_loss(log_probs, targets, input_lengths, target_lengths, blank, _REDUCTIONS[reduction], zero_infinity)


@public("torch")
def grid_sampler(
    input: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int, align_corners: bool
) -> Tensor:
    """`nn.functional.grid_sample` with modes as numbers."""
    return grid_sample(input, grid, _MODES[interpolation_mode], _PADDINGS[padding_mode], align_corners)


@public("torch")
def affine_grid_generator(theta: Tensor, size: Sequence[int], align_corners: bool) -> Tensor:
    """`nn.functional.affine_grid`."""
    return affine_grid(theta, size, align_corners)


@public("torch")
def embedding_bag(
    weight: Tensor, indices: Tensor, offsets: Tensor, scale_grad_by_freq: bool = False, mode: int = 0,
    sparse: bool = False, per_sample_weights: Tensor | None = None, include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:  # fmt: skip
    """`nn.functional.embedding_bag` with the table first and the mode as a number: 0 sum, 1 mean, 2 max."""
    return embedding.embedding_bag(
        indices, weight, offsets, None, 2, scale_grad_by_freq, _BAGS[mode], sparse, per_sample_weights,
        include_last_offset, padding_idx,
    )  # fmt: skip


@public("torch")
def convolution(input: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any, dilation: Any,
                transposed: bool, output_padding: Any, groups: int) -> Tensor:  # fmt: skip
    """Any convolution of [N, C, ...], transposed or not."""
    n = weight.ndim - 3
    if transposed:
        function = (conv.conv_transpose1d, conv.conv_transpose2d, conv.conv_transpose3d)[n]
        return function(input, weight, bias, stride, padding, output_padding, groups, dilation)
    return (conv.conv1d, conv.conv2d, conv.conv3d)[n](input, weight, bias, stride, padding, dilation, groups)


@public("torch F")
def conv_tbc(input: Tensor, weight: Tensor, bias: Tensor, pad: int = 0) -> Tensor:
    """A 1-d convolution of [time, batch, channels] with `weight` [k, in, out]."""
    y = conv.conv1d(input.permute(1, 2, 0), weight.permute(2, 1, 0), bias, padding=pad)
    return y.permute(2, 0, 1)
