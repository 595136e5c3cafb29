"""`nn.functional`'s dropouts: the checks and forms around `ops.dropouts`, which draws PyTorch's numbers."""

from __future__ import annotations

from collections.abc import Callable

from flambeau.errors import warn_once
from flambeau.ops import dropouts
from flambeau.ops.op import public
from flambeau.tensors import Tensor

Kind = tuple[Callable[..., Tensor], Callable[..., Tensor]]  # out of place, in place
_ELEMENTS: Kind = dropouts.dropout, dropouts.dropout_
_FEATURES: Kind = dropouts.feature_dropout, dropouts.feature_dropout_
_ALPHA: Kind = dropouts.alpha_dropout, dropouts.alpha_dropout_
_FEATURE_ALPHA: Kind = dropouts.feature_alpha_dropout, dropouts.feature_alpha_dropout_


def _check(p: float) -> None:
    if p < 0.0 or p > 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


def _run(kind: Kind, input: Tensor, p: float, training: bool, inplace: bool) -> Tensor:
    _check(p)
    return kind[inplace](input, p, training)


@public("F")
def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Elements zeroed with probability `p` in training, the rest scaled by 1 / (1 - p).

    Raises:
        ValueError: `p` outside [0, 1].
    """
    return _run(_ELEMENTS, input, p, training, inplace)


@public("F")
def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Dropout that keeps mean and variance of SELU activations (Klambauer et al., 2017)."""
    return _run(_ALPHA, input, p, training, inplace)


@public("F")
def feature_alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Alpha dropout of whole channels."""
    return _run(_FEATURE_ALPHA, input, p, training, inplace)


def _channelwise(n: int, input: Tensor, p: float, training: bool, inplace: bool) -> Tensor:
    _check(p)
    name, ndim = f"dropout{n}d", input.ndim
    if ndim not in (n + 1, n + 2):
        shown = f"{name}: Received a {ndim}-D input to {name}"
        if n == 1:
            raise RuntimeError(f"dropout1d: Expected 2D or 3D input, but received a {ndim}D input. Note that dropout1d "
                               "exists to provide channel-wise dropout on inputs with 1 spatial dimension, a channel "
                               "dimension, and an optional batch dimension (i.e. 2D or 3D inputs).")  # fmt: skip
        warn_once(
            f"{shown}, which is deprecated and will result in an error in a future release. To retain the behavior and "
            f"silence this warning, please use dropout instead. Note that {name} exists to provide channel-wise "
            f"dropout on inputs with {n} spatial dimensions, a channel dimension, and an optional batch dimension "
            f"(i.e. {n + 1}D or {n + 2}D inputs)."
        )
    unbatched = ndim == n + 1 and n != 2
    if n == 2 and ndim == 3:
        warn_once(
            "dropout2d: Received a 3D input to dropout2d and assuming that channel-wise 1D dropout behavior is "
            "desired - input is interpreted as shape (N, C, L), where C is the channel dim. This behavior will "
            "change in a future release to interpret the input as one without a batch dimension, i.e. shape (C, H, "
            "W). To maintain the 1D channel-wise dropout behavior, please switch to using dropout1d instead."
        )
    if not unbatched:
        return _run(_FEATURES, input, p, training, inplace)
    if inplace:
        _run(_FEATURES, input.unsqueeze(0), p, training, True)
        return input
    return _run(_FEATURES, input.unsqueeze(0), p, training, False).squeeze(0)


@public("F")
def dropout1d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Whole channels of [N, C, L] or [C, L] zeroed with probability `p`."""
    return _channelwise(1, input, p, training, inplace)


@public("F")
def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Whole channels of [N, C, H, W] zeroed with probability `p`."""
    return _channelwise(2, input, p, training, inplace)


@public("F")
def dropout3d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Whole channels of [N, C, D, H, W] or [C, D, H, W] zeroed with probability `p`."""
    return _channelwise(3, input, p, training, inplace)
