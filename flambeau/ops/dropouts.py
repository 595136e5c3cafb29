"""Dropout in its four kinds, with PyTorch's numbers: `nn.functional` calls these.

    dropout(x, 0.5, True)               every element on its own
    feature_dropout(x, 0.5, True)       whole channels: nn.functional.dropout1d, dropout2d, dropout3d
    alpha_dropout(x, 0.5, True)         keeps mean and variance (for SELU)
    feature_alpha_dropout(x, 0.5, True)

Each has an in-place form (`dropout_` ...). The mask is drawn in the dtype and memory order of the input from the
default generator, one draw an element; nothing is drawn if `p` is 0 or 1 or `train` is False.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from flambeau.autograd.mode import no_grad
from flambeau.ops.create import empty_like, uninitialised
from flambeau.ops.op import names
from flambeau.ops.random import bernoulli_
from flambeau.ops.rules import require_tensor
from flambeau.tensors import Tensor

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
