"""softmax and log_softmax, what is made of them, and vector normalisation along a dimension."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from flambeau.dtypes import dtype as DType
from flambeau.engine.execute import Meta
from flambeau.engine.schedule.lowering import Composite
from flambeau.ops.copies import cast
from flambeau.ops.nn.checks import require_floating
from flambeau.ops.op import op, public
from flambeau.ops.rules import require_tensor
from flambeau.ops.samples import call
from flambeau.shape import wrap_dim
from flambeau.tensors import Tensor


def softmax_of(x: np.ndarray, dim: int) -> np.ndarray:
    """exp(x) / sum(exp(x)) along `dim`, with the maximum taken out first."""
    if x.ndim == 0:
        return np.ones_like(x)
    e = np.exp(x - x.max(dim, keepdims=True, initial=-np.inf))
    e /= e.sum(dim, keepdims=True)
    return e


def log_softmax_of(x: np.ndarray, dim: int) -> np.ndarray:
    """x - log(sum(exp(x))) along `dim`, with the maximum taken out first."""
    if x.ndim == 0:
        return np.zeros_like(x)
    shifted = x - x.max(dim, keepdims=True, initial=-np.inf)
    shifted -= np.log(np.exp(shifted).sum(dim, keepdims=True))
    return shifted


def _softmax_backward(g: np.ndarray, y: np.ndarray, dim: int) -> np.ndarray:
    if y.ndim == 0:
        return np.zeros_like(y)
    product = g * y
    product -= y * product.sum(dim, keepdims=True)
    return product


def _log_softmax_backward(g: np.ndarray, y: np.ndarray, dim: int) -> np.ndarray:
    if y.ndim == 0:
        return np.zeros_like(y)
    return g - np.exp(y) * g.sum(dim, keepdims=True)


# -- lowering --------------------------------------------------------------------------------------------------


def lowered_log_softmax(t: Any, x: Any, dim: int) -> Any:
    if not x.shape:
        return t.constant(0.0, x.dtype)
    shifted = x - t.max(x, dim)
    return shifted - t.log(t.sum(t.decay(shifted), dim))


def _lowered_softmax(t: Any, x: Any, dim: int) -> Any:
    if not x.shape:
        return t.constant(1.0, x.dtype)
    e = t.decay(x - t.max(x, dim))
    return e * (1.0 / t.sum(e, dim))


def _lowered_softmax_backward(t: Any, g: Any, y: Any, dim: int) -> Any:
    product = g * y
    return product - y * t.sum(product, dim if y.shape else ())


def _lowered_log_softmax_backward(t: Any, g: Any, y: Any, dim: int) -> Any:
    return g - t.decay(y) * t.sum(g, dim if y.shape else ())


# -- records ---------------------------------------------------------------------------------------------------


def _meta(kernel: str) -> Any:
    def meta(x: Tensor, dim: int) -> Meta:
        require_floating(
            f"{kernel}_lastdim_kernel_impl" if dim in (-1, x.ndim - 1, 0) else f"{kernel}_kernel_impl", x.dtype
        )
        return Meta(x._shape, x.dtype)

    return meta


def _samples(t: Any) -> Any:
    yield call(t(3, 4), dim=1)
    yield call(t(3, 4, 2), dim=0)
    yield call(t(), dim=0)


softmax_backward_op = op(
    "softmax_backward", lower=Composite(_lowered_softmax_backward), ref=_softmax_backward,
    meta=lambda g, y, dim: Meta(y._shape, y.dtype),
    vjp=(
        lambda h, _r, _g, y, dim: softmax_backward_op(h, y, dim=dim),
        lambda h, _r, g, y, dim: h * (g - (g * y).sum(dim, keepdim=True)) - g * (h * y).sum(dim, keepdim=True),
    ),
    samples=lambda t: [call(t(3, 4), t(3, 4), dim=1)],
)  # fmt: skip
log_softmax_backward_op = op(
    "log_softmax_backward", lower=Composite(_lowered_log_softmax_backward), ref=_log_softmax_backward,
    meta=lambda g, y, dim: Meta(y._shape, y.dtype),
    vjp=(
        lambda h, _r, _g, y, dim: h - (h * y.exp()).sum(dim, keepdim=True),
        lambda h, _r, g, y, dim: -h * y.exp() * g.sum(dim, keepdim=True),
    ),
    samples=lambda t: [call(t(3, 4), t(3, 4), dim=1)],
)  # fmt: skip
softmax_op = op(
    "softmax", lower=Composite(_lowered_softmax), ref=softmax_of, meta=_meta("softmax"), samples=_samples,
    vjp=lambda g, y, _x, dim: (softmax_backward_op(g, y, dim=dim),),
)  # fmt: skip
log_softmax_op = op(
    "log_softmax", lower=Composite(lowered_log_softmax), ref=log_softmax_of, meta=_meta("log_softmax"),
    samples=_samples,
    vjp=lambda g, y, _x, dim: (log_softmax_backward_op(g, y, dim=dim),),
)  # fmt: skip


def _prepared(name: str, input: Any, dtype: DType | None) -> Tensor:
    require_tensor(name, "input", 1, input)
    return input if dtype is None else cast(input, dtype)


@public("torch Tensor special", name="softmax", one_op=True)
def _softmax(input: Tensor, dim: int, dtype: DType | None = None) -> Tensor:
    """exp(x) / sum(exp(x)) along `dim`, computed in `dtype` if given.

    >>> softmax(tensor([0.0, 0.0]), 0)
    tensor([0.5000, 0.5000])
    """
    x = _prepared("softmax", input, dtype)
    return softmax_op(x, dim=wrap_dim(dim, x.ndim))


@public("torch Tensor special", name="log_softmax", one_op=True)
def _log_softmax(input: Tensor, dim: int, dtype: DType | None = None) -> Tensor:
    """log(softmax(x)) along `dim`, computed in one stable step."""
    x = _prepared("log_softmax", input, dtype)
    return log_softmax_op(x, dim=wrap_dim(dim, x.ndim))


def _implicit_dim(name: str, ndim: int, stacklevel: int) -> int:
    warnings.warn(
        f"Implicit dimension choice for {name} has been deprecated. Change the call to include dim=X as an argument.",
        stacklevel=stacklevel,
    )
    return 0 if ndim in (0, 1, 3) else 1


@public("F")
def softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: DType | None = None) -> Tensor:
    """exp(x) / sum(exp(x)) along `dim`, computed in `dtype` if given.

    >>> softmax(tensor([0.0, 0.0]), 0)
    tensor([0.5000, 0.5000])
    """
    return _softmax(input, _implicit_dim("softmax", input.ndim, _stacklevel) if dim is None else dim, dtype)


@public("F")
def log_softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: DType | None = None) -> Tensor:
    """log(softmax(x)) along `dim`, computed in one stable step."""
    return _log_softmax(input, _implicit_dim("log_softmax", input.ndim, _stacklevel) if dim is None else dim, dtype)


@public("F")
def softmin(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: DType | None = None) -> Tensor:
    """softmax(-x)."""
    return _softmax(-input, _implicit_dim("softmin", input.ndim, _stacklevel) if dim is None else dim, dtype)


@public("F")
def gumbel_softmax(logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1) -> Tensor:
    """A sample from the Gumbel-softmax distribution (Jang et al., 2016); one-hot if `hard`, with soft gradients."""
    if eps != 1e-10:
        warnings.warn("`eps` parameter is deprecated and has no effect.", stacklevel=2)
    gumbels = -logits.detach().new_empty(logits._shape).exponential_().log()
    soft = _softmax((logits + gumbels) / tau, dim)
    if not hard:
        return soft
    index = soft.detach().max(dim, keepdim=True)[1]
    one_hot = soft.new_zeros(soft._shape).scatter_(dim, index, 1.0)
    return one_hot - soft.detach() + soft


@public("F")
def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: Tensor | None = None) -> Tensor:
    """Vectors along `dim` divided by their p-norm (at least `eps`)."""
    require_tensor("normalize", "input", 1, input)
    length = input.norm(p, dim, keepdim=True).clamp_min(eps).expand_as(input)
    if out is None:
        return input / length
    return out.resize_(input._shape).copy_(input / length)
