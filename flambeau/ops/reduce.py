"""Reductions that add up or multiply: sum, mean, prod, logsumexp, and the logical and counting ones.

Dimensions reach the records wrapped and sorted. Floating-point sums run in the elements' own precision over pairwise
partial sums, so that their error grows with the logarithm of the count.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

import numpy as np

from flambeau import dtypes
from flambeau.dtypes import dtype as DType
from flambeau.engine.execute import Meta
from flambeau.engine.schedule.lowering import Composite
from flambeau.ops.apply import type_name
from flambeau.ops.arguments import check_input, numpy_names, one_dim, some_dims
from flambeau.ops.elementwise import conj
from flambeau.ops.op import names, op, public
from flambeau.ops.samples import Call, Maker, call
from flambeau.ops.views import expand_op, reshape, view_op
from flambeau.shape import Ints, reduced_shape, shape_args
from flambeau.tensors import Tensor

_BLOCK = 128  # rows added in sequence before partial sums are added in turn


Dims = Ints | None  # what is reduced: None for everything, as PyTorch's forms without `dim` do


def add_up(x: np.ndarray, dim: Dims, keepdim: bool = False) -> np.ndarray:
    """The sum over `dim` (None: everything) with pairwise partial sums along every dimension.

    NumPy's are pairwise along the last dimension only; a long sum over another one is cut into blocks here.
    """
    outer = [d for d in (range(x.ndim) if dim is None else dim) if d != x.ndim - 1] if x.dtype.kind in "fc" else []
    if outer:
        longest = max(outer, key=lambda d: x.shape[d])
        n = x.shape[longest]
        if n >= 4 * _BLOCK:
            x = _blocks(x, longest, n)
            return add_up(x, dim, keepdim)
    return np.add.reduce(x, axis=dim, keepdims=keepdim)


def _blocks(x: np.ndarray, d: int, n: int) -> np.ndarray:
    """Sums of blocks along one dimension, as that dimension."""
    whole = n - n % _BLOCK
    before = (slice(None),) * d
    body = x[(*before, slice(0, whole))]
    blocks = np.lib.stride_tricks.as_strided(
        body, (*x.shape[:d], whole // _BLOCK, _BLOCK, *x.shape[d + 1 :]),
        (*x.strides[:d], x.strides[d] * _BLOCK, x.strides[d], *x.strides[d + 1 :]), writeable=False,
    )  # fmt: skip
    sums = np.add.reduce(blocks, axis=d + 1)
    if whole == n:
        return sums
    return np.concatenate([sums, np.add.reduce(x[(*before, slice(whole, n))], axis=d, keepdims=True)], axis=d)


def reduced(shape: Ints, dim: Dims, keepdim: bool) -> Ints:
    """The shape of a reduction's result."""
    return () if dim is None else reduced_shape(shape, dim, keepdim)


def restore(g: Tensor, shape: Ints, dim: Dims, keepdim: bool) -> Tensor:
    """A reduction's gradient (or result) shown in the shape of its input."""
    if g._shape == shape:
        return g
    if dim is not None and g._shape and not keepdim:
        g = reshape(g, reduced_shape(shape, dim, True))
    return expand_op(g, size=shape)


def keeping(x: Tensor, shape: Ints, dim: Ints, keepdim: bool) -> Tensor:
    """A reduction's result with its reduced dimensions kept as ones."""
    return x if keepdim else reshape(x, reduced_shape(shape, dim, True))


def count_of(shape: Ints, dim: Dims) -> int:
    """How many elements are reduced to one."""
    n = 1
    for d in range(len(shape)) if dim is None else dim:
        n *= shape[d]
    return n


def over_dims(t: Maker) -> list[Call]:
    """One dimension, several, kept and not, and none at all."""
    return [
        call(t(2, 3), dim=(0, 1), keepdim=False),
        call(t(2, 3, 4), dim=(1,), keepdim=False),
        call(t(2, 3, 4), dim=(0, 2), keepdim=True),
        call(t(), dim=(), keepdim=False),
        call(t(0, 3), dim=(0,), keepdim=False),
    ]


def everything_too(t: Maker) -> list[Call]:
    """`over_dims`, and all elements without naming them."""
    return [*over_dims(t), call(t(2, 3), dim=None, keepdim=False), call(t(), dim=None, keepdim=False)]


def numbered(name: str) -> Callable[[Any, dict], str]:
    """PyTorch's node names: `SumBackward0` without `dim`, `SumBackward1` with it."""
    return lambda _inputs, params: f"{name}Backward{0 if params['dim'] is None else 1}"


# -- sum -------------------------------------------------------------------------------------------------------


def _sum_meta(x: Tensor, dim: Dims, keepdim: bool, dtype: DType | None = None) -> Meta:
    d = dtype or (x.dtype if x.dtype.category >= dtypes.FLOAT else dtypes.int64)
    return Meta(reduced(x._shape, dim, keepdim), d, None, d)


sum_op = op(
    "sum", lower=Composite(lambda t, x, dim, keepdim, dtype=None: t.sum(x, dim, keepdim)),
    ref=lambda x, dim, keepdim, dtype=None: add_up(x, dim, keepdim), meta=_sum_meta, samples=everything_too,
    vjp=lambda g, _y, _x, dim, keepdim, dtype=None: (restore(g, _x.shape, dim, keepdim),),
    backward_name=numbered("Sum"),
)  # fmt: skip


@public("torch Tensor", out=True, one_op=True)
@numpy_names
def sum(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: DType | None = None) -> Tensor:
    """The sum of all elements, or over `dim` (one or several). Integers and bools give int64.

    >>> sum(tensor([[1, 2], [3, 4]]), dim=0)
    tensor([4, 6])
    """
    if not isinstance(input, Tensor):
        check_input("sum", input)
    dims = None if dim is None and not keepdim else some_dims("sum", input, dim)
    if dtype is None:
        return sum_op(input, dim=dims, keepdim=keepdim)
    return sum_op(input, dim=dims, keepdim=keepdim, dtype=dtype)


@public("Tensor")
def sum_to_size(self: Tensor, *size: Any) -> Tensor:
    """The tensor summed to `size`, from which it could be broadcast."""
    to = shape_args(size)
    shape = self._shape
    lead = len(shape) - len(to)
    if lead < 0 or builtins.any(n != 1 and n != have for n, have in zip(to, shape[max(lead, 0) :])):
        raise RuntimeError(f"size {{{list(to)}}} is not expandable to size {{{list(shape)}}}.")
    if shape == to:
        return self
    dims = (*range(lead), *[lead + i for i, n in enumerate(to) if n == 1 and shape[lead + i] != 1])
    if not dims:
        return self
    total = sum_op(self, dim=dims, keepdim=True)
    return view_op(total, size=to) if lead else total


def _nansum(x: np.ndarray, dim: Ints, keepdim: bool, dtype: DType | None = None) -> np.ndarray:
    return add_up(np.where(np.isnan(x), 0, x) if x.dtype.kind == "f" else x, dim, keepdim)


nansum_op = op(
    "nansum", lower=Composite(lambda t, x, dim, keepdim, dtype=None: t.sum(t.where(t.isnan(x), 0, x), dim, keepdim)),
    ref=_nansum, meta=_sum_meta, samples=over_dims,
    vjp=lambda g, _y, x, dim, keepdim, dtype=None: (restore(g, x.shape, dim, keepdim).masked_fill(x.isnan(), 0),),
)  # fmt: skip


@public("torch Tensor", out=True)
@numpy_names
def nansum(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: DType | None = None) -> Tensor:
    """`sum` that takes NaN for zero."""
    check_input("nansum", input)
    if input.dtype.is_complex:
        raise RuntimeError("nansum on CPU does not support complex inputs")
    given = {} if dtype is None else {"dtype": dtype}
    return nansum_op(input, dim=some_dims("nansum", input, dim), keepdim=keepdim, **given)


# -- mean ------------------------------------------------------------------------------------------------------


def _mean_meta(x: Tensor, dim: Dims, keepdim: bool, dtype: DType | None = None) -> Meta:
    d = dtype or x.dtype
    if d.category < dtypes.FLOAT:
        kind = "Input dtype must be either a floating point or complex dtype." if dtype is None else (
            "Optional dtype must be either a floating point or complex dtype.")  # fmt: skip
        raise RuntimeError(f"mean(): could not infer output dtype. {kind} Got: {type_name(d)}")
    return Meta(reduced(x._shape, dim, keepdim), d, None, d)


def _mean(x: np.ndarray, dim: Dims, keepdim: bool, dtype: Any = None) -> np.ndarray:
    total = add_up(x, dim, keepdim)
    return np.true_divide(total, total.dtype.type(count_of(x.shape, dim)))


mean_op = op(
    "mean", lower=Composite(lambda t, x, dim, keepdim, dtype=None: t.mean(x, dim, keepdim)),
    ref=_mean, meta=_mean_meta, samples=everything_too,
    vjp=lambda g, _y, _x, dim, keepdim, dtype=None: (
        restore(g, _x.shape, dim, keepdim) / max(count_of(_x.shape, dim), 1),
    ),
    backward_name=numbered("Mean"),
)  # fmt: skip


@public("torch Tensor", out=True, one_op=True)
@numpy_names
def mean(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: DType | None = None) -> Tensor:
    """The mean of all elements, or over `dim` (one or several), of floating-point or complex tensors.

    >>> mean(tensor([[1.0, 2.0], [3.0, 4.0]]), dim=1)
    tensor([1.5000, 3.5000])
    """
    if not isinstance(input, Tensor):
        check_input("mean", input)
    dims = None if dim is None and not keepdim else some_dims("mean", input, dim)
    if dtype is None:
        return mean_op(input, dim=dims, keepdim=keepdim)
    return mean_op(input, dim=dims, keepdim=keepdim, dtype=dtype)


@public("torch Tensor", out=True)
@numpy_names
def nanmean(input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: DType | None = None) -> Tensor:
    """The mean of the elements that are not NaN."""
    check_input("nanmean", input)
    if input.dtype.category < dtypes.FLOAT:
        raise RuntimeError(
            f"nanmean(): expected input to have floating point or complex dtype but got {type_name(input.dtype)}"
        )
    counts = sum(input.isnan().logical_not(), dim, keepdim)
    return nansum(input, dim, keepdim, dtype=dtype) / counts


# -- prod ------------------------------------------------------------------------------------------------------


def _prod_vjp(g: Tensor, y: Tensor, x: Tensor, dim: Dims, keepdim: bool, dtype: Any = None) -> tuple:
    if not x._shape:
        return (g,)
    if not (x._array() == 0).any():
        return (restore(g * conj(y), x._shape, dim, keepdim) / conj(x),)
    if dim is None or len(dim) != 1:
        flat = reshape(x, (-1,))
        return (g * reshape(conj(_others(flat, 0)), x._shape),)
    return (restore(g, x._shape, dim, keepdim) * conj(_others(x, dim[0])),)


def _others(x: Tensor, dim: int) -> Tensor:
    """For each element the product of all the others along `dim`, right where some are zero."""
    n = x._shape[dim]
    one = x.narrow(dim, 0, 1) * 0 + 1
    cat = names["torch"]["cat"]
    before = cat((one, x.narrow(dim, 0, n - 1)), dim).cumprod(dim)
    after = cat((one, x.narrow(dim, 1, n - 1).flip(dim)), dim).cumprod(dim).flip(dim)
    return before * after


def _prod(x: np.ndarray, dim: Dims, keepdim: bool, dtype: Any = None) -> np.ndarray:
    return np.multiply.reduce(x, axis=dim, keepdims=keepdim)


prod_op = op(
    "prod", lower=Composite(lambda t, x, dim, keepdim, dtype=None: t.prod(x, dim, keepdim)),
    ref=_prod, meta=_sum_meta, vjp=_prod_vjp, widens=True, backward_name=numbered("Prod"),
    samples=lambda t: [call(t(2, 3), dim=None, keepdim=False), call(t(2, 3), dim=(1,), keepdim=True),
                       call(t(), dim=(), keepdim=False), call(t(0, 2), dim=(0,), keepdim=False)],
)  # fmt: skip


@public("torch Tensor", out=True)
@numpy_names
def prod(input: Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: DType | None = None) -> Tensor:
    """The product of all elements, or over one dimension. Integers and bools give int64."""
    check_input("prod", input)
    dims = None if dim is None else (one_dim("prod", input, dim),)[: input.ndim]
    return prod_op(input, dim=dims, keepdim=keepdim, **({} if dtype is None else {"dtype": dtype}))


# -- logsumexp -------------------------------------------------------------------------------------------------


def _logsumexp(x: np.ndarray, dim: Ints, keepdim: bool) -> np.ndarray:
    if x.size == 0:
        return np.log(add_up(np.exp(x), dim, keepdim))
    top = np.max(x.real, axis=dim, keepdims=True)
    top = np.where(np.isfinite(top), top, 0).astype(top.dtype)
    total = np.log(add_up(np.exp(x - top), dim, keepdim))
    return total + (top if keepdim else top.reshape(total.shape))


def _logsumexp_meta(x: Tensor, dim: Ints, keepdim: bool) -> Meta:
    d = x.dtype if x.dtype.category >= dtypes.FLOAT else dtypes.get_default_dtype()
    return Meta(reduced(x._shape, dim, keepdim), d, None, d)


def _logsumexp_vjp(g: Tensor, y: Tensor, x: Tensor, dim: Ints, keepdim: bool) -> tuple:
    shape = x._shape
    y = keeping(y, shape, dim, keepdim)
    y = y.masked_fill(y.isinf() & (y < 0), 0) if not y.dtype.is_complex else y
    return (keeping(g, shape, dim, keepdim) * conj((x - y).exp()),)


def _lowered_logsumexp(t: Any, x: Any, dim: Ints, keepdim: bool) -> Any:
    if 0 in x.shape:
        return t.log(t.sum(t.exp(x), dim, keepdim))
    top = t.max(t.real(x), dim)
    top = t.where(t.isfinite(top), top, 0)
    total = t.log(t.sum(t.exp(x - top), dim)) + top
    return total if keepdim else t.reshape(total, reduced_shape(x.shape, dim, False))


logsumexp_op = op(
    "logsumexp", ref=_logsumexp, meta=_logsumexp_meta, vjp=_logsumexp_vjp, samples=over_dims,
    lower=Composite(_lowered_logsumexp),
)  # fmt: skip


@public("torch Tensor special", out=True)
@numpy_names
def logsumexp(input: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    """`log(sum(exp(input)))` over `dim`, without overflow."""
    check_input("logsumexp", input)
    return logsumexp_op(input, dim=some_dims("logsumexp", input, dim), keepdim=keepdim)


# -- logic and counting ----------------------------------------------------------------------------------------


def _logical_meta(x: Tensor, dim: Ints, keepdim: bool) -> Meta:
    d = dtypes.uint8 if x.dtype is dtypes.uint8 else dtypes.bool_
    return Meta(reduced_shape(x._shape, dim, keepdim), d)


all_op = op(
    "all", ref=lambda x, dim, keepdim: np.all(x, axis=dim, keepdims=keepdim), meta=_logical_meta, samples=over_dims,
    lower=Composite(lambda t, x, dim, keepdim: t.all(x, dim, keepdim)),
)  # fmt: skip
any_op = op(
    "any", ref=lambda x, dim, keepdim: np.any(x, axis=dim, keepdims=keepdim), meta=_logical_meta, samples=over_dims,
    lower=Composite(lambda t, x, dim, keepdim: t.any(x, dim, keepdim)),
)  # fmt: skip


@public("torch Tensor", out=True)
@numpy_names
def all(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Whether all elements (or all over `dim`) are true; a bool tensor (uint8 stays uint8)."""
    check_input("all", input)
    return all_op(input, dim=some_dims("all", input, dim), keepdim=keepdim)


@public("torch Tensor", out=True)
@numpy_names
def any(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Whether any element (or any over `dim`) is true; a bool tensor (uint8 stays uint8)."""
    check_input("any", input)
    return any_op(input, dim=some_dims("any", input, dim), keepdim=keepdim)


@public("torch Tensor")
@numpy_names
def count_nonzero(input: Tensor, dim: Any = None) -> Tensor:
    """The number of nonzero elements, in all or over `dim`."""
    check_input("count_nonzero", input)
    return sum(input != 0, dim)


# -- questions with one answer ---------------------------------------------------------------------------------


@public("torch Tensor")
def is_nonzero(input: Tensor) -> bool:
    """Whether the one element of `input` is not zero."""
    check_input("is_nonzero", input)
    if input.numel() != 1:
        raise RuntimeError(
            "Boolean value of Tensor with " + ("no values" if input.numel() == 0 else "more than one value") +
            " is ambiguous"
        )  # fmt: skip
    return bool(input)
