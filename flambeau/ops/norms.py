"""Norms and distances: linalg.vector_norm, norm, dist, cdist, pdist, renorm."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from flambeau import dtypes
from flambeau.dtypes import dtype as DType
from flambeau.engine.execute import Meta
from flambeau.engine.schedule.lowering import Composite, Kernels
from flambeau.later import later
from flambeau.ops.apply import type_name
from flambeau.ops.arguments import check_input, not_implemented, numpy_names, one_dim, some_dims
from flambeau.ops.copies import cast
from flambeau.ops.op import names, op, public
from flambeau.ops.reduce import add_up, keeping
from flambeau.ops.rules import require_tensor
from flambeau.ops.samples import Call, Maker, call
from flambeau.shape import Ints, broadcast_shapes, reduced_shape
from flambeau.tensors import Tensor

distances = later("flambeau.engine.kernel.distances")

# -- the norm of a vector --------------------------------------------------------------------------------------


def _vector_norm(x: np.ndarray, ord: float, dim: Ints, keepdim: bool) -> np.ndarray:
    if ord == 2 and x.dtype.kind == "f":
        return np.sqrt(add_up(x * x, dim, keepdim))
    size = np.abs(x)
    if ord == math.inf:
        return np.max(size, axis=dim, keepdims=keepdim)
    if ord == -math.inf:
        return np.min(size, axis=dim, keepdims=keepdim)
    if ord == 0:
        return add_up((size != 0).astype(size.dtype), dim, keepdim)
    if ord == 1:
        return add_up(size, dim, keepdim)
    if ord == 2:
        return np.sqrt(add_up(size * size, dim, keepdim))
    return add_up(size**ord, dim, keepdim) ** size.dtype.type(1 / ord)


def _lowered_norm(t: Any, x: Any, ord: float, dim: Ints, keepdim: bool) -> Any:
    if ord == 2:
        return t.sqrt(t.sum(t.squared_abs(x), dim, keepdim))
    size = t.abs(x)
    if abs(ord) == math.inf:
        return (t.max if ord > 0 else t.min)(size, dim, keepdim)
    if ord == 0:
        return t.sum(t.cast(t.ne(size, 0), size.dtype), dim, keepdim)
    if ord == 1:
        return t.sum(size, dim, keepdim)
    return t.pow(t.sum(t.pow(size, ord), dim, keepdim), 1 / ord)


def _vector_norm_meta(x: Tensor, ord: float, dim: Ints, keepdim: bool) -> Meta:
    return Meta(reduced_shape(x._shape, dim, keepdim), x.dtype.to_real())


def _vector_norm_vjp(g: Tensor, y: Tensor, x: Tensor, ord: float, dim: Ints, keepdim: bool) -> tuple:
    g, y = (keeping(part, x._shape, dim, keepdim) for part in (g, y))
    if ord == 0:
        return (None,)
    if ord == 1:
        return (x.sgn() * g,)
    if ord == 2:
        return (x * (g / y).masked_fill(y == 0, 0),)
    if abs(ord) == math.inf:
        size = x.abs()
        hits = ((size == y) | (size.isnan() & y.isnan())).to(g.dtype)
        return (x.sgn() * (g / (hits.sum(dim, True) if dim else hits) * hits),)
    size = x.abs()
    if ord < 1:
        powers = x.sgn() * size.pow(ord - 1).masked_fill(size == 0, 0)
        return (powers * (g * y.pow(1 - ord)),)
    if ord < 2:
        return (x.sgn() * size.pow(ord - 1) * (g / y.pow(ord - 1)).masked_fill(y == 0, 0),)
    return (x * size.pow(ord - 2) * (g / y.pow(ord - 1)).masked_fill(y == 0, 0),)


def _norm_samples(t: Maker) -> list[Call]:
    calls = [call(t(2, 3), ord=2, dim=(0, 1), keepdim=False)]
    for ord in (1, 2, 3, 0.5, 1.5, -2, math.inf, -math.inf):
        calls.append(call(t(2, 3, low=0.3, high=2), ord=ord, dim=(1,), keepdim=ord == 3))
    return calls


vector_norm_op = op(
    "linalg_vector_norm", ref=_vector_norm, meta=_vector_norm_meta, vjp=_vector_norm_vjp, samples=_norm_samples,
    lower=Composite(_lowered_norm),
)  # fmt: skip


@public("linalg", name="vector_norm", out=True)
@numpy_names
def vector_norm(
    input: Tensor, ord: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Tensor:
    """The norm of order `ord` of all elements, or over `dim`: `sum(|x| ** ord) ** (1 / ord)`.

    Args:
        ord: any number; `inf` and `-inf` give the largest and smallest size, 0 the number of nonzero elements.
        dtype: compute in this dtype.

    >>> vector_norm(tensor([3.0, 4.0]))
    tensor(5.)
    """
    require_tensor("linalg_vector_norm", "self", 1, input)
    if not isinstance(ord, (int, float)) or isinstance(ord, bool):
        raise TypeError(f"linalg_vector_norm(): argument 'ord' (position 2) must be Number, not {type(ord).__name__}")
    if input.dtype.category < dtypes.FLOAT:
        raise RuntimeError(
            f"linalg.vector_norm: Expected a floating point or complex tensor as input. Got {type_name(input.dtype)}"
        )
    if dtype is not None:
        if dtypes.promote_types(input.dtype, dtype) is not dtype:
            raise RuntimeError(
                f"linalg.vector_norm: the dtype of the input ({type_name(input.dtype)}) should be convertible without "
                f"narrowing to the specified dtype ({type_name(dtype)})"
            )
        input = cast(input, dtype)
    dims = some_dims("linalg_vector_norm", input, dim)
    if (ord < 0 or ord == math.inf) and 0 in [input._shape[d] for d in dims]:
        shown = "inf" if ord == math.inf else f"{ord:g}"
        raise RuntimeError(
            f"linalg.vector_norm cannot compute the {shown} norm on an empty tensor because the operation does not "
            "have an identity"
        )
    return vector_norm_op(input, ord=float(ord), dim=dims, keepdim=keepdim)


public("torch", name="linalg_vector_norm")(vector_norm)


@numpy_names
def norm(
    input: Tensor, p: Any = "fro", dim: Any = None, keepdim: bool = False, out: Tensor | None = None,
    dtype: DType | None = None,
) -> Tensor:  # fmt: skip
    """The norm of a tensor: of all elements as one vector, or over `dim`.

    Args:
        p: a number (the order of a vector norm), "fro" (2) or "nuc" (the sum of the singular values of matrices).
    """
    check_input("norm", input)
    if isinstance(p, str) and p != "fro":
        if p != "nuc":
            raise RuntimeError(f"linalg.matrix_norm: Order {p} not supported.")
        return names["linalg"]["matrix_norm"](input, p, (-2, -1) if dim is None else dim, keepdim, dtype=dtype)
    order = 2.0 if p is None or p == "fro" else p
    return names["linalg"]["vector_norm"](input, order, dim, keepdim, dtype=dtype, out=out)


public("torch")(norm)


@public("Tensor", name="norm")
def _norm_method(
    self: Tensor, p: Any = "fro", dim: Any = None, keepdim: bool = False, dtype: DType | None = None
) -> Tensor:
    """The norm of the tensor, see `torch.norm`."""
    return norm(self, p, dim, keepdim, dtype=dtype)


# -- distances -------------------------------------------------------------------------------------------------


def _dist_vjp(g: Tensor, y: Tensor, a: Tensor, b: Tensor, p: float) -> tuple:
    apart = a - b
    part = _vector_norm_vjp(g, y, apart, p, tuple(range(apart.ndim)), False)[0]
    return part, -part


def _dist_meta(a: Tensor, b: Tensor, p: float) -> Meta:
    compute = dtypes.promote_types(a.dtype, b.dtype)
    if compute.category < dtypes.FLOAT:
        raise not_implemented("norm_cpu", compute)
    broadcast_shapes(a._shape, b._shape)
    return Meta((), compute.to_real(), None, compute)


def _lowered_dist(t: Any, a: Any, b: Any, p: float) -> Any:
    apart = a - b
    return _lowered_norm(t, apart, p, tuple(range(len(apart.shape))), False)


dist_op = op(
    "dist", lower=Composite(_lowered_dist),
    ref=lambda a, b, p: _vector_norm(np.subtract(a, b), p, tuple(range(max(a.ndim, b.ndim))), False),
    meta=_dist_meta, vjp=_dist_vjp, samples=lambda t: [call(t(2, 3), t(3), p=2), call(t(4), t(4), p=3)],
)  # fmt: skip


@public("torch Tensor")
def dist(input: Tensor, other: Tensor, p: float = 2) -> Tensor:
    """The `p`-norm of `input - other`."""
    require_tensor("dist", "input", 1, input)
    require_tensor("dist", "other", 2, other)
    return dist_op(input, other, p=p)


def _cdist(a: np.ndarray, b: np.ndarray, p: float, product: bool) -> np.ndarray:
    if product:
        squares = (a * a).sum(-1)[..., :, None] + (b * b).sum(-1)[..., None, :] - 2 * (a @ np.swapaxes(b, -1, -2))
        return np.sqrt(np.maximum(squares, 0))
    apart = a[..., :, None, :] - b[..., None, :, :]
    if not apart.shape[-1]:
        return np.zeros(apart.shape[:-1], apart.dtype)
    return _vector_norm(apart, p, (apart.ndim - 1,), False)


def _cdist_meta(a: Tensor, b: Tensor, p: float, product: bool) -> Meta:
    batch = broadcast_shapes(a._shape[:-2], b._shape[:-2])
    return Meta((*batch, a._shape[-2], b._shape[-2]), a.dtype)


def _cdist_vjp(g: Tensor, y: Tensor, a: Tensor, b: Tensor, p: float, product: bool) -> tuple:
    if p == 2:
        w = (g / y).masked_fill(y == 0, 0)
        return w.sum(-1, True) * a - w.matmul(b), w.sum(-2).unsqueeze(-1) * b - w.transpose(-1, -2).matmul(a)
    apart = a.unsqueeze(-2) - b.unsqueeze(-3)
    part = _vector_norm_vjp(g, y, apart, p, (apart.ndim - 1,), False)[0]
    return part.sum(-2), -part.sum(-3)


cdist_op = op(
    "cdist", ref=_cdist, meta=_cdist_meta, vjp=_cdist_vjp, lower=Kernels(distances.lower),
    samples=lambda t: [call(t(3, 2), t(4, 2), p=2, product=False), call(t(2, 3, 2), t(4, 2), p=3, product=False),
                       call(t(3, 2), t(4, 2), p=2, product=True), call(t(2, 2), t(3, 2), p=1, product=False)],
)  # fmt: skip
_COMPUTE_MODES = {
    None: None, "use_mm_for_euclid_dist_if_necessary": None, "use_mm_for_euclid_dist": True,
    "donot_use_mm_for_euclid_dist": False,
}  # fmt: skip


@public("torch")
def cdist(
    x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: str | None = "use_mm_for_euclid_dist_if_necessary"
) -> Tensor:
    """The `p`-norm distances of every row of `x1` (..., P, M) from every row of `x2` (..., R, M): (..., P, R).

    Args:
        compute_mode: whether Euclidean distances go through a matrix product (default: for more than 25 rows).
    """
    if compute_mode not in _COMPUTE_MODES:
        raise ValueError(f"{compute_mode} is not a valid value for compute_mode")
    for name, x in (("X1", x1), ("X2", x2)):
        if x.ndim < 2:
            raise RuntimeError(f"cdist only supports at least 2D tensors, {name} got: {x.ndim}D")
        if not x.dtype.is_floating_point:
            raise RuntimeError(f"cdist only supports floating-point dtypes, {name} got: {type_name(x.dtype)}")
    if x1._shape[-1] != x2._shape[-1]:
        raise RuntimeError(f"X1 and X2 must have the same number of columns. X1: {x1._shape[-1]} X2: {x2._shape[-1]}")
    if p < 0:
        raise RuntimeError("cdist only supports non-negative p values")
    if x1.dtype is not x2.dtype:
        raise RuntimeError(f"expected scalar type {type_name(x1.dtype)} but found {type_name(x2.dtype)}")
    product = _COMPUTE_MODES[compute_mode]
    if product is None:
        product = x1._shape[-2] > 25 or x2._shape[-2] > 25
    return cdist_op(x1, x2, p=float(p), product=p == 2 and product)


@public("torch F")
def pdist(input: Tensor, p: float = 2) -> Tensor:
    """The `p`-norm distances between every two rows of a matrix, as a vector: rows (0, 1), (0, 2) ... (N-2, N-1)."""
    check_input("pdist", input)
    if input.ndim != 2:
        raise RuntimeError(f"pdist only supports 2D tensors, got: {input.ndim}D")
    if not input.dtype.is_floating_point:
        raise RuntimeError("pdist only supports floating-point dtypes")
    if p < 0:
        raise RuntimeError("pdist only supports non-negative p values")
    rows, others = np.triu_indices(input._shape[0], 1)
    at = names["torch"]["from_numpy"]
    apart = input.index_select(0, at(rows)) - input.index_select(0, at(others))
    return vector_norm_op(apart, ord=float(p), dim=(1,), keepdim=False)


# -- limiting norms --------------------------------------------------------------------------------------------


def _renorm(x: np.ndarray, p: float, dim: int, maxnorm: float) -> np.ndarray:
    size = _vector_norm(x, p, tuple(d for d in range(x.ndim) if d != dim), True)
    return x * np.where(size > maxnorm, maxnorm / (size + 1e-7), 1).astype(size.dtype)


def _lowered_renorm(t: Any, x: Any, p: float, dim: int, maxnorm: float) -> Any:
    size = _lowered_norm(t, x, p, tuple(d for d in range(len(x.shape)) if d != dim), True)
    return x * t.where(size > maxnorm, maxnorm / (size + 1e-7), 1.0)


def _renorm_vjp(g: Tensor, _y: Any, x: Tensor, p: float, dim: int, maxnorm: float) -> tuple:
    rest = tuple(d for d in range(x.ndim) if d != dim)
    size = vector_norm_op(x, ord=p, dim=rest, keepdim=True)
    shrinking = (g * x).sum(rest, True) * -maxnorm / (size + 1e-7) ** 2
    along = _vector_norm_vjp(shrinking, size, x, p, rest, True)[0]
    where = names["torch"]["where"]
    return (where(size > maxnorm, along + g * (maxnorm / (size + 1e-7)), g),)


renorm_op = op(
    "renorm", ref=_renorm, meta=lambda x, p, dim, maxnorm: Meta(x._shape, x.dtype), vjp=_renorm_vjp,
    lower=Composite(_lowered_renorm),
    samples=lambda t: [call(t(3, 2, low=0.3, high=2), p=2.0, dim=0, maxnorm=1.0),
                       call(t(2, 3, low=0.3, high=2), p=3.0, dim=1, maxnorm=0.5)],
)  # fmt: skip


@public("torch Tensor", inplace=True, out=True)
def renorm(input: Tensor, p: float, dim: int, maxnorm: float) -> Tensor:
    """Slices along `dim` scaled down so that none has a `p`-norm above `maxnorm`."""
    check_input("renorm", input)
    if input.dtype.category < dtypes.FLOAT:
        raise not_implemented("renorm", input.dtype)
    if p <= 0:
        raise RuntimeError("renorm: non-positive-norm not supported")
    if maxnorm < 0:
        raise RuntimeError(f"renorm: expected maxnorm to be >= 0 but got {maxnorm:g}")
    if input.ndim < 2:
        raise RuntimeError(f"renorm: input needs at least 2 dimensions, got {input.ndim} dimensions")
    return renorm_op(input, p=float(p), dim=one_dim("renorm", input, dim), maxnorm=float(maxnorm))
