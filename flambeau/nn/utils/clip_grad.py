"""Limiting gradients by norm or by value."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from flambeau import ops
from flambeau.autograd import no_grad
from flambeau.engine.execute import Meta
from flambeau.errors import warn_once
from flambeau.ops.op import op
from flambeau.ops.samples import call
from flambeau.tensors import Tensor, assign_into

Parameters = Tensor | Iterable[Tensor]

clip_factor_op = op(
    "clip_factor",
    ref=lambda norm, largest: np.minimum(largest / (norm + 1e-6), 1.0),
    meta=lambda norm, largest: Meta(norm._shape, norm.dtype, None, norm.dtype),
    lower=lambda k, norm, largest: k.minimum(largest / (norm + 1e-6), 1.0),
    samples=lambda t: [call(t(low=0.5, high=2), 1.0), call(t(low=0.5, high=0.8), 1.0)],
)


def _listed(parameters: Parameters) -> list[Tensor]:
    return [parameters] if isinstance(parameters, Tensor) else list(parameters)


@no_grad()
def get_total_norm(
    tensors: Parameters, norm_type: float = 2.0, error_if_nonfinite: bool = False, foreach: bool | None = None
) -> Tensor:  # fmt: skip
    """The norm of all tensors as one vector."""
    return _total_norm(_listed(tensors), float(norm_type), error_if_nonfinite)


def _total_norm(listed: list[Tensor], norm_type: float, error_if_nonfinite: bool) -> Tensor:
    if not listed:
        return ops.tensor(0.0)
    norms = [ops.linalg_vector_norm(t, norm_type) for t in listed]
    total = ops.linalg_vector_norm(ops.stack(norms), norm_type)
    if error_if_nonfinite and not np.isfinite(total._array()).all():
        raise RuntimeError(
            f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, so it cannot be "
            "clipped. "
            "To disable this error and scale the gradients by the non-finite norm anyway, set "
            "`error_if_nonfinite=False`"
        )
    return total


@no_grad()
def clip_grads_with_norm_(
    parameters: Parameters, max_norm: float, total_norm: Tensor, foreach: bool | None = None
) -> None:  # fmt: skip
    """Scale gradients so that a norm of `total_norm` becomes at most `max_norm`."""
    _scale([p.grad for p in _listed(parameters) if p.grad is not None], float(max_norm), total_norm)


def _scale(grads: list[Tensor], max_norm: float, total_norm: Tensor) -> None:
    factor = clip_factor_op(total_norm, max_norm)
    for grad in grads:
        assign_into(grad, ops.mul(grad, factor))


@no_grad()
def clip_grad_norm_(
    parameters: Parameters, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:  # fmt: skip
    """Scale all gradients so that their joint norm is at most `max_norm`; gives the norm before."""
    grads = [p.grad for p in _listed(parameters) if p.grad is not None]
    total = _total_norm(grads, float(norm_type), error_if_nonfinite)
    _scale(grads, float(max_norm), total)
    return total


def clip_grad_norm(*args: Any, **kwargs: Any) -> Tensor:
    """The old spelling of `clip_grad_norm_`."""
    warn_once(
        "torch.nn.utils.clip_grad_norm is now deprecated in favor of torch.nn.utils.clip_grad_norm_.", FutureWarning
    )
    return clip_grad_norm_(*args, **kwargs)


@no_grad()
def clip_grad_value_(parameters: Parameters, clip_value: float, foreach: bool | None = None) -> None:
    """Limit every gradient element to plus or minus `clip_value`."""
    for p in _listed(parameters):
        if p.grad is not None:
            p.grad.clamp_(-float(clip_value), float(clip_value))
