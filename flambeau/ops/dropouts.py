"""Dropout in its four kinds, with PyTorch's numbers: `nn.functional` calls these.

    dropout(x, 0.5, True)               every element on its own
    feature_dropout(x, 0.5, True)       whole channels: nn.functional.dropout1d, dropout2d, dropout3d
    alpha_dropout(x, 0.5, True)         keeps mean and variance (for SELU)
    feature_alpha_dropout(x, 0.5, True)

Each has an in-place form (`dropout_` ...). The mask is drawn in the memory order of the input from the default
generator, one draw an element, at the call; nothing is drawn if `p` is 0 or 1 or `train` is False.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from math import prod

import numpy as np

from flambeau import dtypes
from flambeau.autograd.mode import no_grad
from flambeau.dtypes import float32, float64
from flambeau.engine.execute import Meta
from flambeau.ops.create import empty_like, uninitialised
from flambeau.ops.op import names, op
from flambeau.ops.random import bernoulli_
from flambeau.ops.rules import require_tensor
from flambeau.ops.samples import call
from flambeau.random import default_generator, discrete
from flambeau.random.order import place
from flambeau.shape import contiguous_strides, preserved_strides
from flambeau.tensors import Tensor, from_array

_ALPHA = 1.7580993408473766  # minus the limit of SELU at minus infinity (Klambauer et al., 2017)


def dropout_mask(input: Tensor, p: float, feature: bool = False) -> Tensor:
    """Ones with probability 1 - p, else zeros: for each element of `input`, or [N, C, 1, ...] for each channel."""
    if not feature:
        mask = empty_like(input)
    elif input.ndim < 2:
        raise RuntimeError("Feature dropout requires at least 2 dimensions in the input")
    else:
        mask = uninitialised((*input._shape[:2], *[1] * (input.ndim - 2)), input.dtype)
    with no_grad():
        return bernoulli_(mask, 1 - p)


dropped_op = op(
    "dropped",
    ref=lambda x, kept, share: x * (kept / share),
    meta=lambda x, *_: Meta(x._shape, x.dtype, preserved_strides(x._shape, x._strides), x.dtype),
    vjp=(lambda g, _y, _x, kept, share: dropped_op(g, kept, share), None, None),
    lower=lambda k, x, kept, share: x * k.div(kept, share),
    backward_name="MulBackward0",
    samples=lambda t: [
        call(t(3, 4), t(3, 4, dtype=dtypes.int64, low=0, high=2).bool(), 0.7),
        call(t(2, 3, 2), t(2, 3, 1, dtype=dtypes.int64, low=0, high=2).bool(), 0.5),
    ],
)  # fmt: skip


def _drawn(input: Tensor, p: float, feature: bool) -> Tensor:
    """`dropout_mask` in bools."""
    shape, strides = input._shape, preserved_strides(input._shape, input._strides)
    if feature:
        shape = (*shape[:2], *[1] * (len(shape) - 2))
        strides = contiguous_strides(shape)
    flat = discrete.bernoulli(default_generator, prod(shape), 1 - p, np.dtype(np.bool_))
    return from_array(flat.reshape(shape) if strides == contiguous_strides(shape) else place(flat, shape, (strides,)))


def _noise(input: Tensor, p: float, feature: bool, alpha: bool) -> tuple[Tensor, Tensor | None]:
    """What the input is multiplied with, and what is added for the alpha kinds."""
    with no_grad():
        mask = dropout_mask(input, p, feature)
        if not alpha:
            return mask.div_(1 - p), None  # type: ignore[attr-defined]
        scale = 1.0 / math.sqrt((_ALPHA * _ALPHA * p + 1) * (1 - p))
        shift = mask.add(-1).mul_(_ALPHA * scale).add_(_ALPHA * scale * p)  # type: ignore[attr-defined]
        return mask.mul_(scale), shift  # type: ignore[attr-defined]


def _kind(name: str, doc: str, feature: bool = False, alpha: bool = False) -> tuple[Callable, Callable]:
    """A kind of dropout and its in-place form, registered as `torch.<name>` and `torch.<name>_`."""

    def checked(input: Tensor, p: float, train: bool) -> bool:
        """Whether there is anything to do."""
        require_tensor(name, "input", 1, input)
        if not 0 <= p <= 1:
            raise RuntimeError(f"dropout probability has to be between 0 and 1, but got {p:g}")
        return bool(p != 0 and train and input.numel())

    def function(input: Tensor, p: float, train: bool) -> Tensor:
        if not checked(input, p, train):
            return input
        if p == 1:
            return input * uninitialised((), input.dtype).zero_()  # type: ignore[operator, attr-defined]
        if not alpha and input.dtype in (float32, float64) and not (feature and input.ndim < 2):
            return dropped_op(input, _drawn(input, p, feature), float(1 - p))
        factor, shift = _noise(input, p, feature, alpha)
        out = input * factor  # type: ignore[operator]
        return out if shift is None else out.add_(shift)

    def in_place(input: Tensor, p: float, train: bool) -> Tensor:
        if not checked(input, p, train):
            return input
        if p == 1:
            return input.mul_(0)  # type: ignore[attr-defined]
        factor, shift = _noise(input, p, feature, alpha)
        input.mul_(factor)  # type: ignore[attr-defined]
        return input if shift is None else input.add_(shift)  # type: ignore[attr-defined]

    for form, spelling in ((function, name), (in_place, name + "_")):
        form.__name__ = form.__qualname__ = spelling
        form.__doc__ = doc
        names["torch"][spelling] = form
    return function, in_place


dropout, dropout_ = _kind("dropout", "Each element kept and scaled by 1 / (1 - p) with probability 1 - p, else zero.")
feature_dropout, feature_dropout_ = _kind("feature_dropout", "Dropout of whole channels.", feature=True)
alpha_dropout, alpha_dropout_ = _kind("alpha_dropout", "Dropout that keeps mean and variance.", alpha=True)
feature_alpha_dropout, feature_alpha_dropout_ = _kind(
    "feature_alpha_dropout", "Alpha dropout of whole channels.", feature=True, alpha=True
)
