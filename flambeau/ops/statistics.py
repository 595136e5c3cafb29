"""Spread and correlation: var, std, with their means, quantile, cov, corrcoef."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from flambeau import dtypes
from flambeau.engine.execute import Meta
from flambeau.engine.schedule.lowering import Composite
from flambeau.ops import sorting
from flambeau.ops.arguments import check_input, invalid, numpy_names, one_dim, some_dims
from flambeau.ops.create import tensor
from flambeau.ops.elementwise import conj
from flambeau.ops.fused import lerp_op
from flambeau.ops.op import Op, op, public
from flambeau.ops.reduce import add_up, count_of, keeping, restore
from flambeau.ops.samples import Call, Maker, call
from flambeau.shape import Ints, reduced_shape
from flambeau.tensors import Tensor

# -- variance --------------------------------------------------------------------------------------------------


def _moments(x: np.ndarray, dim: Ints, correction: float, keepdim: bool) -> tuple[np.ndarray, np.ndarray]:
    """Variance and mean in two passes."""
    n = count_of(x.shape, dim)
    kind = x.real.dtype.type
    center = add_up(x, dim, True) / kind(n)
    apart = x - center
    squares = apart.real**2 + apart.imag**2 if x.dtype.kind == "c" else apart * apart
    total = add_up(squares, dim, keepdim)
    return total / kind(max(n - correction, 0)), center if keepdim else center.reshape(total.shape)


_BLOCK = 4096  # elements that stay near for a second pass


def _lowered_moments(t: Any, x: Any, dim: Ints, correction: float, keepdim: bool) -> tuple:
    """Of many elements by blocks, whose moments are put together (Chan et al., 1983): each is fetched once."""
    n = count_of(x.shape, dim)
    block = _even_block(n) if len(dim) == len(x.shape) else n
    if block < n:
        blocks = t.reshape(x, (n // block, block))
        means = t.mean(blocks, 1)
        squares, mean = t.sum(t.squared_abs(blocks - means), 1), t.mean(means)
        total = t.sum(squares + t.squared_abs(means - mean) * block)
    else:
        mean = t.mean(x, dim)
        total = t.sum(t.squared_abs(x - mean), dim)
    shape = reduced_shape(x.shape, dim, keepdim)
    return t.reshape(total / max(n - correction, 0), shape), t.reshape(mean, shape)


def _even_block(n: int) -> int:
    """The size of blocks, equal and in whole lines; all elements if there are no such blocks, or few."""
    return next((size for size in range(_BLOCK, 1023, -64) if n % size == 0), n) if n > 16 * _BLOCK else n


def _moments_meta(name: str, several: bool) -> Callable[..., Any]:
    def meta(x: Tensor, dim: Ints, correction: float, keepdim: bool) -> Any:
        if x.dtype.category < dtypes.FLOAT:
            raise RuntimeError(f"{name} only support floating point and complex dtypes")
        shape = reduced_shape(x._shape, dim, keepdim)
        spread = Meta(shape, x.dtype.to_real())
        return (spread, Meta(shape, x.dtype)) if several else spread

    return meta


def _var_gradient(g: Tensor, x: Tensor, dim: Ints, correction: float, keepdim: bool) -> Tensor:
    n = count_of(x._shape, dim)
    free = n - correction
    scale = 2.0 / free if free else float("inf")
    return keeping(g, x._shape, dim, keepdim) * scale * (x - x.mean(dim, True) if dim else x - x)


def _std_gradient(g: Tensor, std: Tensor, x: Tensor, dim: Ints, correction: float, keepdim: bool) -> Tensor:
    return _var_gradient((g / (std * 2)).masked_fill(std == 0, 0), x, dim, correction, keepdim)


def _spread_samples(t: Maker) -> list[Call]:
    return [
        call(t(2, 3), dim=(0, 1), correction=1, keepdim=False),
        call(t(2, 3, 4), dim=(1,), correction=0, keepdim=False),
        call(t(2, 3, 4), dim=(0, 2), correction=1.5, keepdim=True),
    ]


def _spread(name: str, root: bool) -> tuple[Op, Op]:
    """`var` or `std`, and the op that gives the mean as well."""
    final = np.sqrt if root else (lambda v: v)

    def one(x: np.ndarray, **how: Any) -> np.ndarray:
        return final(_moments(x, **how)[0])

    def both(x: np.ndarray, **how: Any) -> tuple[np.ndarray, np.ndarray]:
        var, mean = _moments(x, **how)
        return final(var), mean

    def lower(t: Any, x: Any, **how: Any) -> tuple:
        variance, mean = _lowered_moments(t, x, **how)
        return t.sqrt(variance) if root else variance, mean

    def gradient(g: Tensor, y: Tensor, x: Tensor, **how: Any) -> Tensor:
        return _std_gradient(g, y, x, **how) if root else _var_gradient(g, x, **how)

    def both_vjp(g: Any, y: Any, x: Tensor, **how: Any) -> tuple:
        parts = []
        if g[0] is not None:
            parts.append(gradient(g[0], y[0], x, **how))
        if g[1] is not None:
            parts.append(restore(g[1], x._shape, how["dim"], how["keepdim"]) / count_of(x._shape, how["dim"]))
        return (parts[0] if len(parts) == 1 else parts[0] + parts[1],)

    alone = op(name, ref=one, meta=_moments_meta("std and var", False), samples=_spread_samples,
               lower=Composite(lambda t, x, **how: lower(t, x, **how)[0]),
               vjp=lambda g, y, x, **how: (gradient(g, y, x, **how),))  # fmt: skip
    pair = op(name + "_mean", ref=both, meta=_moments_meta(name + "_mean", True), vjp=both_vjp, multiple=True,
              kept_outputs=(0,), samples=_spread_samples, lower=Composite(lower))  # fmt: skip
    return alone, pair


var_op, var_mean_op = _spread("var", False)
std_op, std_mean_op = _spread("std", True)


def _how(name: str, input: Any, dim: Any, unbiased: Any, keepdim: bool, correction: Any) -> dict[str, Any]:
    """The parameters of PyTorch's three forms: `(unbiased)`, `(dim, unbiased)`, `(dim, *, correction)`."""
    check_input(name, input)
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if unbiased is not None:
        if correction is not None:
            raise invalid(name, input, dim, unbiased, correction)
        correction = 1 if unbiased else 0
    correction = 1 if correction is None else correction
    dims = some_dims(name, input, dim)
    if count_of(input._shape, dims) - correction <= 0 and input.dtype.category >= dtypes.FLOAT:
        warnings.warn(
            f"{name}(): degrees of freedom is <= 0. Correction should be strictly less than the reduction factor "
            "(input numel divided by output numel).",
            stacklevel=4,
        )
    return {"dim": dims, "correction": correction, "keepdim": keepdim}


def _public_spread(name: str, record: Op, words: str) -> None:
    @numpy_names
    def function(
        input: Tensor, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: Any = None
    ) -> Any:
        return record(input, **_how(name, input, dim, unbiased, keepdim, correction))

    function.__name__ = name
    function.__doc__ = f"The {words} of all elements or over `dim`, the squares divided by n - `correction` (1)."
    public("torch Tensor" if record in (var_op, std_op) else "torch", name=name, out=True)(function)


_public_spread("var", var_op, "variance")
_public_spread("std", std_op, "standard deviation")
_public_spread("var_mean", var_mean_op, "variance and mean")
_public_spread("std_mean", std_mean_op, "standard deviation and mean")

# -- quantiles -------------------------------------------------------------------------------------------------

_INTERPOLATIONS = ("linear", "lower", "higher", "midpoint", "nearest")


def _check_quantile(name: str, input: Any, q: Any, interpolation: str) -> Tensor:
    check_input(name, input)
    if not isinstance(q, Tensor):
        if not isinstance(q, (int, float)) or isinstance(q, bool):
            raise invalid(name, input, q)
        if not 0 <= q <= 1:
            raise RuntimeError(f"{name}() q must be in the range [0, 1] but got {q}")
    if input.numel() == 0:
        raise RuntimeError(f"{name}() input tensor must be non-empty")
    if input.dtype not in (dtypes.float32, dtypes.float64):
        raise RuntimeError(f"{name}() input tensor must be either float or double dtype")
    if isinstance(q, Tensor):
        if q.ndim > 1:
            raise RuntimeError(f"{name}() q must be a scalar or 1D tensor")
        if q.dtype is not input.dtype:
            raise RuntimeError(f"{name}() q tensor must be same dtype as the input tensor")
        if not ((q >= 0) & (q <= 1))._array().all():
            raise RuntimeError(f"{name}() q values must be in the range [0, 1]")
    if interpolation not in _INTERPOLATIONS:
        raise RuntimeError(
            f"{name}() interpolation must be one of linear, lower, higher, midpoint or nearest, but got {interpolation}"
        )
    return q if isinstance(q, Tensor) else tensor(float(q), dtype=input.dtype)


def _quantile(name: str, input: Tensor, q: Any, dim: Any, keepdim: bool, how: str, ignore_nan: bool) -> Tensor:
    q = _check_quantile(name, input, q, how)
    if dim is None:
        kept = (1,) * input.ndim
        x = input.reshape(-1)
    else:
        d = one_dim(name, input, dim)
        kept = reduced_shape(input._shape, (d,), True)
        x = input.movedim(d, -1) if input._shape else input.reshape(1)
    n = x._shape[-1]
    nans = x.isnan()
    last = (nans.logical_not().sum(-1, True) - 1).clamp(min=0) if ignore_nan else n - 1
    ranks = q.reshape(-1) * last
    if not ignore_nan:  # NaNs sort to the end, and one of them spoils the result
        ranks = ranks.masked_fill(nans.any(-1, True), n - 1)
    ordered = sorting.sort(x, -1).values
    if how in ("lower", "higher", "nearest"):
        ranks = {"lower": ranks.floor, "higher": ranks.ceil, "nearest": ranks.round}[how]()
    below = ranks.floor()
    found = ordered.gather(-1, below.long().expand(*x._shape[:-1], q.numel()))
    if how in ("linear", "midpoint"):
        above = ordered.gather(-1, ranks.ceil().long().expand(*x._shape[:-1], q.numel()))
        found = lerp_op(found, above, (ranks - below) if how == "linear" else (ranks - below).ceil() * 0.5)
    if keepdim:
        found = found.movedim(-1, 0).reshape((q.numel(), *kept))
        return found if q.ndim else found.squeeze(0)
    return found.movedim(-1, 0) if q.ndim else found.squeeze(-1)


@public("torch Tensor", out=True)
@numpy_names
def quantile(
    input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Tensor:
    """The `q`-th quantiles of all elements or along `dim`; several `q` give a leading dimension.

    Args:
        q: a number or a 1-d tensor of numbers in [0, 1].
        interpolation: between the two nearest elements: "linear", "lower", "higher", "midpoint" or "nearest".

    >>> quantile(tensor([0.0, 1.0, 2.0]), 0.25)
    tensor(0.5000)
    """
    return _quantile("quantile", input, q, dim, keepdim, interpolation, False)


@public("torch Tensor", out=True)
@numpy_names
def nanquantile(
    input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Tensor:
    """`quantile` of the elements that are not NaN."""
    return _quantile("nanquantile", input, q, dim, keepdim, interpolation, True)


# -- correlation -----------------------------------------------------------------------------------------------


def _weights(input: Tensor, fweights: Tensor | None, aweights: Tensor | None, count: int) -> Tensor | None:
    w = None
    for name, given in (("fweights", fweights), ("aweights", aweights)):
        if given is None:
            continue
        if given.ndim > 1:
            raise RuntimeError(
                f"cov(): expected {name} to have one or fewer dimensions but got {name} with {given.ndim} dimensions"
            )
        if given.numel() != count:
            raise RuntimeError(
                f"cov(): expected {name} to have the same numel as there are observations in the input but got "
                f"{given.numel()} != {count}"
            )
        if (given < 0).any():
            raise RuntimeError(f"cov(): {name} cannot be negative")
        w = given.reshape(-1) if w is None else w * given.reshape(-1)
    return w


@public("torch Tensor")
def cov(
    input: Tensor, *, correction: int = 1, fweights: Tensor | None = None, aweights: Tensor | None = None
) -> Tensor:
    """The covariance matrix of variables (rows) over observations (columns).

    Args:
        correction: the sum of products is divided by the number of observations less this.
        fweights: how often each observation counts (integers); aweights: how much it weighs.
    """
    check_input("cov", input)
    if input.ndim > 2:
        raise RuntimeError(
            f"cov(): expected input to have two or fewer dimensions but got an input with {input.ndim} dimensions"
        )
    if input.dtype is dtypes.bool_:
        raise RuntimeError("cov(): bool dtype is not supported for input")
    x = input if input.ndim == 2 else input.reshape(1, -1)
    if x.dtype.category < dtypes.FLOAT:
        x = x.to(dtypes.get_default_dtype())
    n = x._shape[1]
    w = _weights(input, fweights, aweights, n)
    if w is None:
        total: Any = n
        mean = x.sum(1, True) / n
        free: Any = n - correction
    else:
        total = w.sum()
        mean = (x * w).sum(1, True) / total
        lost = (w * aweights).sum() * correction / total if aweights is not None else correction
        free = total - lost
    if (free if isinstance(free, (int, float)) else free.item()) <= 0:
        warnings.warn("cov(): degrees of freedom is <= 0", stacklevel=2)
        free = 0
    apart = x - mean
    products = apart.matmul(conj(apart if w is None else apart * w).t())
    return (products / free).squeeze()


@public("torch Tensor")
def corrcoef(input: Tensor) -> Tensor:
    """Pearson's correlation coefficients of variables (rows) over observations (columns)."""
    check_input("corrcoef", input)
    if input.ndim > 2:
        raise RuntimeError(
            f"corrcoef(): expected input to have two or fewer dimensions but got an input with {input.ndim} dimensions"
        )
    c = cov(input)
    if not c._shape:
        return c / c
    spread = c.diagonal()
    spread = (spread.real if spread.dtype.is_complex else spread).sqrt()
    c = c / spread.unsqueeze(1) / spread.unsqueeze(0)
    return c if c.dtype.is_complex else c.clamp(-1, 1)


