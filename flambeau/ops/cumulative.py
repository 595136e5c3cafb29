"""Running results along a dimension, and differences: cumsum, cumprod, cummax, cummin, logcumsumexp, diff, trapezoid.

Running sums and products accumulate in double precision and are rounded once an element, as PyTorch's are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from flambeau import dtypes
from flambeau.autograd.mode import state
from flambeau.dtypes import dtype as DType
from flambeau.engine.execute import Meta
from flambeau.engine.schedule.lowering import Kernels
from flambeau.later import later
from flambeau.ops import return_types
from flambeau.ops.arguments import check_input, not_implemented, numpy_names, one_dim
from flambeau.ops.elementwise import conj
from flambeau.ops.op import Op, names, op, public
from flambeau.ops.samples import Call, Maker, call
from flambeau.tensors import Tensor

scan = later("flambeau.engine.kernel.scan")

_WIDE = {"f": np.float64, "c": np.complex128}


def along_a_dim(t: Maker) -> list[Call]:
    return [call(t(5), dim=0), call(t(2, 3, 4), dim=1), call(t(), dim=0), call(t(2, 0), dim=1), call(t(0, 2), dim=1)]


def _accumulated(ufunc: np.ufunc, x: np.ndarray, dim: int, reverse: bool = False) -> np.ndarray:
    if not x.ndim:
        return x.copy()
    wide = _WIDE.get(x.dtype.kind, x.dtype)
    if reverse:
        return np.flip(ufunc.accumulate(np.flip(x, dim), dim, dtype=wide), dim)
    return ufunc.accumulate(x, dim, dtype=wide)


def _running_meta(x: Tensor, dim: int, reverse: bool = False, dtype: DType | None = None) -> Meta:
    d = dtype or (x.dtype if x.dtype.category >= dtypes.FLOAT else dtypes.int64)
    return Meta(x._shape, d, None, d)


# -- sums ------------------------------------------------------------------------------------------------------

cumsum_op = op(
    "cumsum", ref=lambda x, dim, reverse=False, dtype=None: _accumulated(np.add, x, dim, reverse), meta=_running_meta,
    lower=Kernels(scan.running("sum")),
    samples=lambda t: [*along_a_dim(t), call(t(4), dim=0, reverse=True)],
    vjp=lambda g, _y, _x, dim, reverse=False, dtype=None: (cumsum_op(g, dim=dim, reverse=not reverse),),
)  # fmt: skip


@public("torch Tensor", inplace=True, out=True)
@numpy_names
def cumsum(input: Tensor, dim: int, *, dtype: DType | None = None) -> Tensor:
    """Running sums along `dim`. Integers and bools give int64.

    >>> cumsum(tensor([1, 2, 3]), dim=0)
    tensor([1, 3, 6])
    """
    check_input("cumsum", input)
    return cumsum_op(input, dim=one_dim("cumsum", input, dim), **({} if dtype is None else {"dtype": dtype}))


# -- products --------------------------------------------------------------------------------------------------


def _cumprod_vjp(g: Tensor, y: Tensor, x: Tensor, dim: int, dtype: Any = None) -> tuple:
    if not x._shape:
        return (g,)
    x = x.to(y.dtype)
    zero = x == 0
    if not zero._array().any():
        return (cumsum_op(g * conj(y), dim=dim, reverse=True) / conj(x),)
    if state.grad:
        return (_cumprod_vjp_by_element(g, x, dim),)
    zeros = zero.cumsum(dim)
    first = zero & (zeros == 1)
    without = cumprod_op(x.masked_fill(first, 1), dim=dim)
    before = cumsum_op(g * conj(y), dim=dim, reverse=True) / conj(x.masked_fill(zero, 1))
    at_first = cumsum_op(g * conj(without), dim=dim, reverse=True)
    return (before.masked_fill(zeros > 0, 0) + at_first.masked_fill(first.logical_not(), 0),)


def _cumprod_vjp_by_element(g: Tensor, x: Tensor, dim: int) -> Tensor:
    """The derivative as sums of products without the element: differentiable again where elements are zero."""
    n = x._shape[dim]
    cat = names["torch"]["cat"]
    parts = []
    for k in range(n):
        until = x.narrow(dim, 0, k).prod(dim, True)
        rest = until * x.narrow(dim, k + 1, n - k - 1).cumprod(dim)
        without = cat((until, rest), dim)
        parts.append((g.narrow(dim, k, n - k) * conj(without)).sum(dim, True))
    return cat(parts, dim)


cumprod_op = op(
    "cumprod", ref=lambda x, dim, dtype=None: _accumulated(np.multiply, x, dim), meta=_running_meta, vjp=_cumprod_vjp,
    samples=along_a_dim, lower=Kernels(scan.running("product")),
)  # fmt: skip


@public("torch Tensor", inplace=True, out=True)
@numpy_names
def cumprod(input: Tensor, dim: int, *, dtype: DType | None = None) -> Tensor:
    """Running products along `dim`. Integers and bools give int64."""
    check_input("cumprod", input)
    return cumprod_op(input, dim=one_dim("cumprod", input, dim), **({} if dtype is None else {"dtype": dtype}))


# -- log of sums of exponentials -------------------------------------------------------------------------------


def _logcumsumexp(x: np.ndarray, dim: int, reverse: bool = False) -> np.ndarray:
    if not x.ndim or not x.size:
        return x.copy()
    if x.dtype.kind == "f":
        return _accumulated(np.logaddexp, x, dim, reverse)
    top = np.max(x.real, axis=dim, keepdims=True)
    return np.log(_accumulated(np.add, np.exp(x - top), dim, reverse)) + top


def _logcumsumexp_meta(x: Tensor, dim: int, reverse: bool = False) -> Meta:
    if x.dtype.category < dtypes.FLOAT:
        raise not_implemented("logcumsumexp_out_cpu", x.dtype)
    return Meta(x._shape, x.dtype)


def _logcumsumexp_vjp(g: Tensor, y: Tensor, x: Tensor, dim: int, reverse: bool = False) -> tuple:
    """Sums of `g exp(x - y)` in logarithms, for positive and negative gradients apart, so that nothing overflows."""
    if x.dtype.is_complex:
        return (cumsum_op(g * conj((-y).exp()), dim=dim, reverse=not reverse) * conj(x.exp()),)
    lowest = dtypes.finfo(g.dtype).min

    def part(size: Tensor) -> Tensor:
        none = size <= 0
        logs = size.masked_fill(none, 1).log().masked_fill(none, lowest)
        return (logcumsumexp_op(logs - y, dim=dim, reverse=not reverse) + x).exp()

    return (part(g) - part(-g),)


logcumsumexp_op = op(
    "logcumsumexp", ref=_logcumsumexp, meta=_logcumsumexp_meta, vjp=_logcumsumexp_vjp, samples=along_a_dim,
    lower=Kernels(scan.running("logsum")),
)  # fmt: skip


@public("torch Tensor", out=True)
@numpy_names
def logcumsumexp(input: Tensor, dim: int) -> Tensor:
    """The logarithm of running sums of exponentials along `dim`, without overflow."""
    check_input("logcumsumexp", input)
    return logcumsumexp_op(input, dim=one_dim("logcumsumexp", input, dim))


# -- extrema so far --------------------------------------------------------------------------------------------


def _best_so_far(ufunc: np.ufunc) -> Callable:
    def ref(x: np.ndarray, dim: int) -> tuple[np.ndarray, np.ndarray]:
        if not x.ndim:
            return x.copy(), np.zeros((), np.int64)
        best = ufunc.accumulate(x, dim)
        renewed = x == best if x.dtype.kind != "f" else (x == best) | np.isnan(x)
        places = np.arange(x.shape[dim]).reshape([-1 if d == dim else 1 for d in range(x.ndim)])
        return best, np.maximum.accumulate(np.where(renewed, places, 0), dim)

    return ref


def _best_meta(x: Tensor, dim: int) -> tuple[Meta, Meta]:
    if x.dtype.is_complex:
        raise not_implemented("cummax_cpu", x.dtype)
    return Meta(x._shape, x.dtype), Meta(x._shape, dtypes.int64)


def _best_vjp(g: Any, y: Any, _x: Any, dim: int) -> tuple:
    return (g[0].new_zeros(_x.shape).scatter_add(dim, y[1], g[0]),)


def _running_best(name: str, ufunc: np.ufunc, result: type) -> Op:
    record = op(
        name, ref=_best_so_far(ufunc), meta=_best_meta, vjp=_best_vjp, multiple=True, kept_outputs=(1,),
        samples=along_a_dim, lower=Kernels(scan.best(name[3:])),
    )  # fmt: skip

    @numpy_names
    def function(input: Tensor, dim: int) -> Any:
        check_input(name, input)
        return result(record(input, dim=one_dim(name, input, dim)))

    function.__name__ = name
    function.__doc__ = f"The {name[3:]}imum so far along `dim` and its index: a named tuple `(values, indices)`."
    public("torch Tensor", name=name, out=True)(function)
    return record


cummax_op = _running_best("cummax", np.maximum, return_types.cummax)
cummin_op = _running_best("cummin", np.minimum, return_types.cummin)

# -- differences and areas -------------------------------------------------------------------------------------


@public("torch Tensor", out=True)
@numpy_names
def diff(
    input: Tensor, n: int = 1, dim: int = -1, prepend: Tensor | None = None, append: Tensor | None = None
) -> Tensor:  # fmt: skip
    """The `n`-th differences of neighbours along `dim`; of bools, whether they differ.

    >>> diff(tensor([1, 4, 9]))
    tensor([3, 5])
    """
    check_input("diff", input)
    if not input._shape:
        raise RuntimeError("diff expects input to be at least one-dimensional")
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    d = one_dim("diff", input, dim)
    if prepend is not None or append is not None:
        input = names["torch"]["cat"]([x for x in (prepend, input, append) if x is not None], d)
    if n == 0:
        return input.clone()
    for _ in range(min(n, input._shape[d])):
        count = input._shape[d] - 1
        later, earlier = input.narrow(d, 1, count), input.narrow(d, 0, count)
        input = later.logical_xor(earlier) if input.dtype is dtypes.bool_ else later - earlier
    return input


def _trapezoids(name: str, y: Tensor, x: Any, dx: Any, dim: int, gather: Callable[[Tensor, int], Tensor]) -> Tensor:
    """The areas of the trapezoids between neighbours, summed up by `gather`."""
    check_input(name, y)
    if x is not None and dx is not None:
        raise RuntimeError(f"{name}: only one of x and dx may be given")
    d = one_dim(name, y, dim)
    count = max(y._shape[d] - 1, 0)
    pairs = y.narrow(d, 0, count) + y.narrow(d, min(1, y._shape[d]), count)
    if x is None:
        return gather(pairs, d) * ((1 if dx is None else dx) / 2)
    if x.ndim == 1 and y.ndim > 1:
        if x._shape[0] != y._shape[d]:
            raise RuntimeError(f"{name}: There must be one `x` value for each sample point")
        steps = diff(x).reshape([count if k == d else 1 for k in range(y.ndim)])
    else:
        steps = diff(x, dim=d - y.ndim)
    return gather(steps * pairs, d) / 2


@public("torch", aliases=("trapz",))
@numpy_names
def trapezoid(y: Tensor, x: Tensor | None = None, *, dx: Any = None, dim: int = -1) -> Tensor:
    """The integral of `y` along `dim` by the trapezoidal rule, at points `x` or at steps `dx` (1)."""
    return _trapezoids("trapezoid", y, x, dx, dim, lambda areas, d: areas.sum(d))


@public("torch")
@numpy_names
def cumulative_trapezoid(y: Tensor, x: Tensor | None = None, *, dx: Any = None, dim: int = -1) -> Tensor:
    """Running integrals of `y` along `dim` by the trapezoidal rule."""
    return _trapezoids("cumulative_trapezoid", y, x, dx, dim, lambda areas, d: areas.cumsum(d))


# -- derivatives from samples ----------------------------------------------------------------------------------


def _points(spacing: Any, dims: Sequence[int], input: Tensor) -> list[Any]:
    """For each dimension its step (a number) or its coordinates (a tensor)."""
    if isinstance(spacing, (int, float)):
        return [spacing] * len(dims)
    if isinstance(spacing, Tensor):
        spacing = [spacing]
    if len(spacing) != len(dims):
        raise RuntimeError(
            "torch.gradient expected spacing to be unspecified, a scalar, or a list of length equal to "
            f"'self.dim() = {input.ndim}', but got a list of length {len(spacing)}"
        )
    return list(spacing)


def _slope(f: Tensor, h: Any, d: int, edge_order: int) -> Tensor:
    """The derivative along one dimension: central differences inside, one-sided ones of `edge_order` at the edges."""
    n = f._shape[d]

    def at(start: int, count: int) -> Tensor:
        return f.narrow(d, start, count)

    if isinstance(h, Tensor):
        steps = diff(h).reshape([n - 1 if k == d else 1 for k in range(f.ndim)])
        a, b = steps.narrow(d, 0, n - 2), steps.narrow(d, 1, n - 2)
    else:
        steps = None
        a = b = h
    inner = at(2, n - 2) * (a / (b * (a + b))) + at(1, n - 2) * ((b - a) / (a * b)) - at(0, n - 2) * (b / (a * (a + b)))
    s0, s1 = (h, h) if steps is None else (steps.narrow(d, 0, 1), steps.narrow(d, min(1, n - 2), 1))
    e0, e1 = (h, h) if steps is None else (steps.narrow(d, n - 2, 1), steps.narrow(d, max(n - 3, 0), 1))
    first, last = (at(1, 1) - at(0, 1)) / s0, (at(n - 1, 1) - at(n - 2, 1)) / e0
    if edge_order == 2:
        second = (at(2, 1) - at(1, 1)) / s1
        first = first - (second - first) * (s0 / (s0 + s1))
        before = (at(n - 2, 1) - at(n - 3, 1)) / e1
        last = last + (last - before) * (e0 / (e0 + e1))
    return names["torch"]["cat"]([first, inner, last], d)


@public("torch")
@numpy_names
def gradient(input: Tensor, *, spacing: Any = 1, dim: Any = None, edge_order: int = 1) -> tuple[Tensor, ...]:
    """Derivatives of samples along each dimension, by differences of second order (`edge_order` at the edges).

    Args:
        spacing: a step for all dimensions, or for each a step or a 1-d tensor of coordinates.
    """
    check_input("gradient", input)
    if edge_order not in (1, 2):
        raise RuntimeError("torch.gradient only supports edge_order=1 and edge_order=2.")
    if dim is None:
        dims = [*range(input.ndim)]
    else:
        dims = [one_dim("gradient", input, d) for d in (dim if isinstance(dim, (tuple, list)) else (dim,))]
    for d in dims:
        if input._shape[d] < edge_order + 1:
            raise RuntimeError("torch.gradient expected each dimension size to be at least edge_order+1")
    if input.dtype.category < dtypes.FLOAT:
        input = input.to(dtypes.get_default_dtype())
    return tuple(_slope(input, h, d, edge_order) for d, h in zip(dims, _points(spacing, dims, input)))
