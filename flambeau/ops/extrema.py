"""The largest and smallest elements and where they are: amax, amin, aminmax, max, min, argmax, argmin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from flambeau import dtypes
from flambeau.engine.execute import Meta
from flambeau.engine.schedule.lowering import Composite
from flambeau.ops import return_types
from flambeau.ops.arguments import check_input, invalid, is_int, not_implemented, numpy_names, one_dim, some_dims
from flambeau.ops.compare import maximum_op, minimum_op
from flambeau.ops.op import Op, op, public
from flambeau.ops.reduce import restore
from flambeau.ops.samples import Call, Maker, call
from flambeau.shape import Ints, reduced_shape
from flambeau.tensors import Tensor


def require_elements(name: str, x: Tensor, dim: Ints) -> None:
    """PyTorch's error of extrema along an empty dimension."""
    for d in dim:
        if x._shape[d] == 0:
            raise IndexError(f"{name}(): Expected reduction dim {d} to have non-zero size.")


def require_some(name: str, x: Tensor) -> None:
    """PyTorch's error of an extremum of nothing at all."""
    if x.numel() == 0:
        raise RuntimeError(
            f"{name}(): Expected reduction dim to be specified for input.numel() == 0. Specify the reduction dim with "
            "the 'dim' argument."
        )


def _dims_samples(t: Maker) -> list[Call]:
    return [
        call(t(2, 3), dim=(0, 1), keepdim=False),
        call(t(2, 3, 4), dim=(1,), keepdim=False),
        call(t(2, 3, 4), dim=(0, 2), keepdim=True),
        call(t(), dim=(), keepdim=False),
        call(t(0, 3), dim=(1,), keepdim=False),
    ]


def _whole_samples(t: Maker) -> list[Call]:
    return [call(t(2, 3), dim=(0, 1), keepdim=False), call(t(), dim=(), keepdim=False)]


# -- values ----------------------------------------------------------------------------------------------------


def _spread(g: Tensor, y: Tensor, x: Tensor, dim: Ints, keepdim: bool) -> tuple:
    """The gradient of an extremum, shared evenly by the elements that attain it; NaN where it is NaN."""
    hits = (x == restore(y, x._shape, dim, keepdim)).to(g.dtype)
    return (restore(g, x._shape, dim, keepdim) * (hits / hits.sum(dim, True) if dim else hits),)


def _spread_whole(g: Tensor, y: Tensor, x: Tensor, dim: Ints, keepdim: bool) -> tuple:
    """The gradient of the extremum of everything: if that is NaN, the NaNs share it."""
    hits = ((x == y) | (x.isnan() & y.isnan())).to(g.dtype)
    return (g * (hits / hits.sum()),)


def _lowered(how: str) -> Composite:
    def largest(t: Any, x: Any, dim: Ints, keepdim: bool) -> Any:
        return getattr(t, how)(x, dim, keepdim)

    return Composite(largest)


def _extremum(name: str, ref: Callable, kernel: str, backward_name: str, vjp: Callable = _spread) -> Op:
    def meta(x: Tensor, dim: Ints, keepdim: bool) -> Meta:
        if x.dtype.is_complex:
            raise not_implemented(kernel, x.dtype)
        return Meta(reduced_shape(x._shape, dim, keepdim), x.dtype)

    return op(
        name, ref=lambda x, dim, keepdim: ref(x, axis=dim, keepdims=keepdim), meta=meta, vjp=vjp,
        samples=_dims_samples if vjp is _spread else _whole_samples, backward_name=backward_name,
        lower=_lowered("max" if ref is np.max else "min"),
    )  # fmt: skip


amax_op = _extremum("amax", np.max, "max_values_cpu", "AmaxBackward0")
amin_op = _extremum("amin", np.min, "min_values_cpu", "AminBackward0")
max_all_op = _extremum("max_all", np.max, "max_all", "MaxBackward1", _spread_whole)
min_all_op = _extremum("min_all", np.min, "min_all", "MinBackward1", _spread_whole)


@public("torch Tensor", out=True)
@numpy_names
def amax(input: Tensor, dim: Any = (), keepdim: bool = False) -> Tensor:
    """The largest elements over `dim` (one, several, or all); equal ones share the gradient."""
    check_input("amax", input)
    dims = some_dims("amax", input, dim)
    if dim == ():
        require_some("amax", input)
    require_elements("amax", input, dims)
    return amax_op(input, dim=dims, keepdim=keepdim)


@public("torch Tensor", out=True)
@numpy_names
def amin(input: Tensor, dim: Any = (), keepdim: bool = False) -> Tensor:
    """The smallest elements over `dim` (one, several, or all); equal ones share the gradient."""
    check_input("amin", input)
    dims = some_dims("amin", input, dim)
    if dim == ():
        require_some("amin", input)
    require_elements("amin", input, dims)
    return amin_op(input, dim=dims, keepdim=keepdim)


def _aminmax_meta(x: Tensor, dim: Ints, keepdim: bool) -> tuple[Meta, Meta]:
    if x.dtype.is_complex:
        raise not_implemented("aminmax_kernel", x.dtype)
    for d in dim:
        if x._shape[d] == 0:
            raise IndexError(f"aminmax: Expected reduction dim {d} to have non-zero size.")
    one = Meta(reduced_shape(x._shape, dim, keepdim), x.dtype)
    return one, one


def _aminmax_vjp(g: Any, y: Any, x: Tensor, dim: Ints, keepdim: bool) -> tuple:
    parts = [_spread(part, end, x, dim, keepdim)[0] for part, end in zip(g, y) if part is not None]
    return (parts[0] if len(parts) == 1 else parts[0] + parts[1],)


aminmax_op = op(
    "aminmax", lower=Composite(lambda t, x, dim, keepdim: (t.min(x, dim, keepdim), t.max(x, dim, keepdim))),
    meta=_aminmax_meta, vjp=_aminmax_vjp, multiple=True,
    ref=lambda x, dim, keepdim: (np.min(x, axis=dim, keepdims=keepdim), np.max(x, axis=dim, keepdims=keepdim)),
    samples=lambda t: [call(t(2, 3), dim=(0, 1), keepdim=False), call(t(2, 3), dim=(1,), keepdim=True)],
)  # fmt: skip


@public("torch Tensor", out=True)
@numpy_names
def aminmax(input: Tensor, *, dim: int | None = None, keepdim: bool = False) -> Any:
    """The smallest and the largest elements, of all or along one dimension: a named tuple `(min, max)`."""
    check_input("aminmax", input)
    if dim is None:
        if input.numel() == 0:
            raise RuntimeError(
                "aminmax(): cannot compute aminmax over an empty dimension as the operation has no identity."
            )
        dims: Ints = tuple(range(input.ndim))
    else:
        dims = (one_dim("aminmax", input, dim),)[: input.ndim]
    return return_types.aminmax(aminmax_op(input, dim=dims, keepdim=keepdim))


# -- values with their places ----------------------------------------------------------------------------------


def pick_vjp(g: Any, y: Any, _x: Any, dim: int, keepdim: bool, **_: Any) -> tuple:
    """The gradient of elements picked along a dimension: it goes to the places in the second result."""
    grad, index = g[0], y[1]
    if not keepdim and _x.shape:
        grad, index = grad.unsqueeze(dim), index.unsqueeze(dim)
    return (grad.new_zeros(_x.shape).scatter(dim, index, grad),)


def picked_meta(x: Tensor, dim: int, keepdim: bool, **_: Any) -> tuple[Meta, Meta]:
    shape = reduced_shape(x._shape, (dim,), keepdim)
    return Meta(shape, x.dtype), Meta(shape, dtypes.int64)


def take(x: np.ndarray, index: np.ndarray, dim: int, keepdim: bool) -> tuple[np.ndarray, np.ndarray]:
    """The elements at `index` (which keeps `dim`, of size 1) and the index itself, as results."""
    values = np.take_along_axis(x, index, dim)
    return (values, index) if keepdim else (values.squeeze(dim), index.squeeze(dim))


def one_dim_samples(t: Maker) -> list[Call]:
    return [
        call(t(4), dim=0, keepdim=False),
        call(t(2, 3, 4), dim=1, keepdim=False),
        call(t(2, 3), dim=1, keepdim=True),
        call(t(), dim=0, keepdim=False),
        call(t(0, 3), dim=1, keepdim=False),
    ]


def _lowered_place(how: str) -> Callable:
    """Values and places of extrema, as expressions."""

    def find(t: Any, x: Any, dim: int, keepdim: bool) -> tuple:
        if not x.shape:
            return x, t.constant(0, dtypes.int64)
        shape = reduced_shape(x.shape, (dim,), keepdim)
        return t.reshape(getattr(t, how)(x, dim), shape), t.reshape(getattr(t, f"arg{how}")(x, dim), shape)

    return find


def _picking(name: str, where: Callable) -> Op:
    def ref(x: np.ndarray, dim: int, keepdim: bool) -> tuple:
        if not x.ndim:
            return x.copy(), np.zeros((), np.int64)
        return take(x, where(x, axis=dim, keepdims=True), dim, keepdim)

    def meta(x: Tensor, dim: int, keepdim: bool) -> tuple[Meta, Meta]:
        if x.dtype.is_complex:
            raise not_implemented(name, x.dtype)
        return picked_meta(x, dim, keepdim)

    return op(
        name, ref=ref, meta=meta, vjp=pick_vjp, samples=one_dim_samples, lower=Composite(_lowered_place(name)),
        multiple=True, kept_outputs=(1,),
        backward_name={"max": "MaxBackward0", "min": "MinBackward0"}[name],
    )  # fmt: skip


max_op = _picking("max", np.argmax)
min_op = _picking("min", np.argmin)


def _extreme(name: str, whole: Op, along: Op, pair: Op, result: type) -> Callable:
    def function(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
        check_input(name, input)
        other = dim if isinstance(dim, Tensor) and (dim._shape or not is_int(dim)) else other
        if isinstance(other, Tensor):
            return pair(input, other)
        if dim is None:
            require_some(name, input)
            return whole(input, dim=tuple(range(input.ndim)), keepdim=False)
        if not is_int(dim) or not isinstance(keepdim, bool):
            raise invalid(name, dim) if keepdim is False else invalid(name, dim, keepdim)
        d = one_dim(name, input, dim)
        require_elements(name, input, (d,)[: input.ndim])
        return result(along(input, dim=d, keepdim=keepdim))

    function.__name__ = name
    function.__doc__ = f"""The {name}imum of all elements; or along `dim`, with indices; or of two tensors, elementwise.

    With `dim` the result is a named tuple `(values, indices)`; of equal elements the first is taken.
    """
    return public("torch Tensor", name=name, out=True)(numpy_names(function))


max = _extreme("max", max_all_op, max_op, maximum_op, return_types.max)
min = _extreme("min", min_all_op, min_op, minimum_op, return_types.min)

# -- places ----------------------------------------------------------------------------------------------------


def _place(name: str, where: Callable) -> None:
    def meta(x: Tensor, dim: int | None, keepdim: bool) -> Meta:
        for kind, refused in (("bool", x.dtype is dtypes.bool_), ("complex", x.dtype.is_complex)):
            if refused:
                raise RuntimeError(f"{name}(): does not support {kind} input")
        dims = tuple(range(x.ndim)) if dim is None else (dim,)[: x.ndim]
        return Meta(reduced_shape(x._shape, dims, keepdim), dtypes.int64)

    def ref(x: np.ndarray, dim: int | None, keepdim: bool) -> np.ndarray:
        return where(x, axis=dim if x.ndim else None, keepdims=keepdim)

    def lower(t: Any, x: Any, dim: int | None, keepdim: bool) -> Any:
        if dim is None:
            return _lowered_place(name[3:])(t, t.reshape(x, (-1,)), 0, True)[1]
        return _lowered_place(name[3:])(t, x, dim, keepdim)[1]

    record = op(
        name, ref=ref, meta=meta, lower=Composite(lower),
        samples=lambda t: [call(t(2, 3), dim=None, keepdim=False), call(t(2, 3), dim=1, keepdim=True),
                           call(t(), dim=0, keepdim=False), call(t(0, 3), dim=1, keepdim=False)],
    )  # fmt: skip

    def function(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
        check_input(name, input)
        if dim is None:
            if input.numel() == 0:
                raise IndexError(f"{name}(): Expected reduction dim to be specified for input.numel() == 0.")
            return record(input, dim=None, keepdim=keepdim)
        d = one_dim(name, input, dim)
        require_elements(name, input, (d,)[: input.ndim])
        return record(input, dim=d, keepdim=keepdim)

    function.__name__ = name
    function.__doc__ = f"The index of the {name[3:]}imum, of all elements or along `dim`; the first of equal ones."
    public("torch Tensor", name=name, out=True)(numpy_names(function))


_place("argmax", np.argmax)
_place("argmin", np.argmin)
