"""Reading and writing along one dimension at indices: gather and scatter, index_select, index_add and their kin."""

from __future__ import annotations

from typing import Any

import numpy as np

from flambeau import dtypes
from flambeau.engine.execute import Meta
from flambeau.engine.schedule.lowering import Kernels
from flambeau.errors import warn_once
from flambeau.later import later
from flambeau.ops import hazards
from flambeau.ops.accumulate import add_at, checked
from flambeau.ops.apply import type_name
from flambeau.ops.copies import cast
from flambeau.ops.op import op, public
from flambeau.ops.rules import require_tensor
from flambeau.ops.samples import Maker, call
from flambeau.ops.views import expand, reshape, slice_op, unsqueeze
from flambeau.shape import Ints, broadcast_shapes, wrap_dim
from flambeau.tensors import Tensor, from_array

gather_ops = later("flambeau.engine.kernel.gather_ops")

# -- index arithmetic ------------------------------------------------------------------------------------------


def _within(index: np.ndarray, n: int, dim: int) -> None:
    """Refuse indices outside 0..n-1 (these ops do not count from the end)."""
    if index.size and (index.min() < 0 or index.max() >= n):
        bad = index[(index < 0) | (index >= n)].reshape(-1)[0]
        raise RuntimeError(f"index {bad} is out of bounds for dimension {dim} with size {n}")


def _window(x: np.ndarray, index: np.ndarray, dim: int) -> np.ndarray:
    """The part of `x` that an index of smaller size in the other dimensions reaches."""
    return x[tuple(slice(None) if d == dim else slice(0, n) for d, n in enumerate(index.shape))]


def _flat(shape: Ints, index: np.ndarray, dim: int) -> np.ndarray:
    """Row-major positions in an array of `shape` that (index along `dim`, own place elsewhere) name."""
    flat = np.zeros(index.shape, np.intp)
    step = 1
    for d in range(len(shape) - 1, -1, -1):
        if d == dim:
            flat += index * step
        else:
            flat += np.arange(index.shape[d]).reshape([-1 if e == d else 1 for e in range(index.ndim)]) * step
        step *= shape[d]
    return flat


def _require_index(name: str, index: Tensor) -> None:
    require_tensor(name, "index", 2, index)
    if index.dtype is not dtypes.int64 and index.dtype is not dtypes.int32:
        raise RuntimeError(f"{name}(): Expected dtype int32/int64 for index")


_ALONG = hazards.index(1, lambda x, *_, dim, **__: x._shape[dim] if x._shape else 1)  # the index of all these ops

# -- gather ----------------------------------------------------------------------------------------------------


def _gather(x: np.ndarray, index: np.ndarray, dim: int) -> np.ndarray:
    _within(index, x.shape[dim], dim)
    return np.take_along_axis(_window(x, index, dim), index, axis=dim)


def _meta_gather(x: Tensor, index: Tensor, dim: int) -> Meta:
    if x.ndim != index.ndim:
        raise RuntimeError("Index tensor must have the same number of dimensions as input tensor")
    if index.numel():
        for d, n in enumerate(index._shape):
            if d != dim and n > x._shape[d]:
                raise RuntimeError(
                    f"Size does not match at dimension {d} expected index {list(index._shape)} to be no larger than "
                    f"self {list(x._shape)} apart from dimension {dim}"
                )
    return Meta(index._shape, x.dtype)


def _at(t: Maker, high: int, *shape: int) -> Tensor:
    return t(*shape, dtype=dtypes.int64, low=0, high=high)


gather_op = op(
    "gather", hazard=_ALONG, picks=True, ref=_gather, meta=_meta_gather, lower=Kernels(gather_ops.gather),
    vjp=(lambda g, _y, _x, index, dim: scatter_add_op(g.new_zeros(_x.shape), index, g, dim=dim), None),
    samples=lambda t: [call(t(3, 4), _at(t, 4, 3, 2), dim=1), call(t(3, 4), _at(t, 3, 5, 2), dim=0),
                       call(t(2, 3, 4), _at(t, 3, 2, 4, 3), dim=1), call(t(4), _at(t, 4, 6), dim=0)],
)  # fmt: skip


def _with_dims(x: Tensor) -> Tensor:
    return x if x._shape else unsqueeze(x, 0)


@public("torch Tensor", out=True)
def gather(input: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False) -> Tensor:
    """Elements of `input` at `index` along `dim`, shaped like `index`: `out[i][j] = input[index[i][j]][j]` for dim 0.

    >>> gather(tensor([[1, 2], [3, 4]]), 1, tensor([[0, 0], [1, 0]]))
    tensor([[1, 1],
            [4, 3]])

    Raises:
        RuntimeError: an index is out of bounds, or the shapes do not fit.
    """
    _require_index("gather", index)
    dim = wrap_dim(dim, input.ndim)
    if input._shape and index._shape:
        return gather_op(input, cast(index, dtypes.int64), dim=dim)
    return reshape(gather_op(_with_dims(input), cast(_with_dims(index), dtypes.int64), dim=dim), index._shape)


def _wrap_index(index: np.ndarray, size: int, dim: int) -> np.ndarray:
    wrapped = np.where(index < 0, index + size, index)
    _within(wrapped, size, dim)
    return wrapped


# What native code leaves out of range here, the gather that reads it refuses.
wrap_index_op = op(
    "wrap_index", ref=_wrap_index, meta=lambda index, size, dim: Meta(index._shape, index.dtype),
    hazard=hazards.index(0, lambda *_, size, **__: size, from_end=True),
    lower=lambda k, index, size, dim: k.where(index < 0, index + size, index),
    samples=lambda t: [call(t(3, 2, dtype=dtypes.int64, low=-4, high=4), size=4, dim=0)],
)  # fmt: skip


@public("torch Tensor", out=True)
def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """`gather` whose operands broadcast apart from `dim`; flat without `dim`."""
    if indices.dtype is not dtypes.int64:
        kind = type_name(indices.dtype)
        raise RuntimeError(f"torch.take_along_dim(): dtype of indices should be Long but got {kind}")
    if dim is None:
        return gather(reshape(input, (-1,)), 0, reshape(indices, (-1,)))
    if input.ndim != indices.ndim:
        raise RuntimeError(
            "torch.take_along_dim(): input and indices should have the same number of dimensions, but got "
            f"{input.ndim} dimensions for input, and {indices.ndim} dimensions for indices"
        )
    dim = wrap_dim(dim, input.ndim)
    rest = broadcast_shapes(_swap(input._shape, dim, 1), _swap(indices._shape, dim, 1))
    n = input._shape[dim]
    wrapped = wrap_index_op(indices, size=n, dim=dim)
    spread = expand(wrapped, _swap(rest, dim, indices._shape[dim]))
    return gather(expand(input, _swap(rest, dim, n)), dim, spread)


def _swap(shape: Ints, dim: int, n: int) -> Ints:
    return (*shape[:dim], n, *shape[dim + 1 :])


# -- scatter ---------------------------------------------------------------------------------------------------


def _scatter(x: np.ndarray, index: np.ndarray, src: Any, dim: int) -> np.ndarray:
    _within(index, x.shape[dim], dim)
    out = x.copy()
    if not isinstance(src, np.ndarray):
        src = np.asarray(src).astype(x.dtype)
    if index.size:
        np.put_along_axis(_window(out, index, dim), index, src, axis=dim)
    return out


def _scatter_add(x: np.ndarray, index: np.ndarray, src: np.ndarray, dim: int) -> np.ndarray:
    _within(index, x.shape[dim], dim)
    out = np.array(x, order="C")
    np.add.at(out.reshape(-1), _flat(x.shape, index, dim).reshape(-1), src.reshape(-1))
    return out


def _meta_scatter(x: Tensor, index: Tensor, src: Any, dim: int, **_: Any) -> Meta:
    if isinstance(src, Tensor) and src.dtype is not x.dtype:
        raise RuntimeError("scatter(): Expected self.dtype to be equal to src.dtype")
    if index.numel():
        if x.ndim != index.ndim:
            raise RuntimeError("Index tensor must have the same number of dimensions as self tensor")
        if any(n > m for d, (n, m) in enumerate(zip(index._shape, x._shape)) if d != dim):
            raise RuntimeError(
                f"Expected index {list(index._shape)} to be no larger than self {list(x._shape)} apart from dimension "
                f"{dim}"
            )
    return Meta(x._shape, x.dtype)


def _samples_scatter(t: Maker) -> Any:
    once = from_array(np.array([[0, 2], [3, 1], [1, 0]]))
    yield call(t(3, 4), once, t(3, 2), dim=1)
    yield call(t(3, 4), once, 2.5, dim=1)


def _samples_add(t: Maker) -> Any:
    yield call(t(3, 4), _at(t, 4, 3, 5), t(3, 5), dim=1)
    yield call(t(2, 3, 4), _at(t, 3, 2, 4, 2), t(2, 4, 2), dim=1)
    yield call(t(4), _at(t, 4, 6), t(6), dim=0)


scatter_op = op(
    "scatter", hazard=_ALONG, ref=_scatter, meta=_meta_scatter, samples=_samples_scatter,
    lower=Kernels(gather_ops.scatter("write")),
    vjp=(lambda g, _y, _x, index, _s, dim: scatter_op(g, index, 0, dim=dim), None,
         lambda g, _y, _x, index, _s, dim: gather_op(g, index, dim=dim)),
    backward_name=lambda inputs, _: f"ScatterBackward{0 if isinstance(inputs[2], Tensor) else 1}",
)  # fmt: skip
scatter_add_op = op(
    "scatter_add", hazard=_ALONG, ref=_scatter_add, meta=_meta_scatter, samples=_samples_add,
    lower=Kernels(gather_ops.scatter("add")),
    vjp=(lambda g, _y, _x, _i, _s, dim: g, None, lambda g, _y, _x, index, _s, dim: gather_op(g, index, dim=dim)),
)  # fmt: skip


def _scattering(input: Tensor, dim: int, index: Tensor, src: Any) -> tuple[Tensor, Tensor, Any, int]:
    """Operands of a scatter, with dimensions, and the source cut down to what the index reaches."""
    _require_index("scatter", index)
    dim = wrap_dim(dim, input.ndim)
    index = cast(_with_dims(index), dtypes.int64)
    if isinstance(src, Tensor):
        src = _with_dims(src)
        if index.numel():
            if src.ndim != index.ndim:
                raise RuntimeError("Index tensor must have the same number of dimensions as src tensor")
            if any(n > m for n, m in zip(index._shape, src._shape)):
                raise RuntimeError(
                    f"Expected index {list(index._shape)} to be no larger than self {list(input._shape)} apart from "
                    f"dimension {dim} and to be no larger size than src {list(src._shape)}"
                )
        for d, n in enumerate(index._shape if index.numel() else ()):
            if src._shape[d] != n:
                src = slice_op(src, dim=d, start=0, length=n, step=1)
    return _with_dims(input), index, src, dim


@public("torch Tensor", inplace=True, out=True)
def scatter(
    input: Tensor, dim: int, index: Tensor, src: Any = None, *, value: Any = None, reduce: str | None = None
) -> Tensor:  # fmt: skip
    """A copy of `input` with `src` (a tensor or a number) written at `index` along `dim`.

    `reduce` "add" or "multiply" combines with what is there.
    """
    source = value if src is None else src
    if source is None:
        raise TypeError("scatter() missing 1 required positional arguments: 'src'")
    x, index, source, dim = _scattering(input, dim, index, source)
    if not index.numel():
        return input.clone()
    if reduce is None:
        result = scatter_op(x, index, source, dim=dim)
    elif reduce in ("add", "multiply"):
        if isinstance(src, Tensor):
            warn_once(
                "The reduce argument of torch.scatter with Tensor src is deprecated and will be removed in a future "
                "PyTorch release. Use torch.scatter_reduce instead for more reduction options."
            )
        else:
            source = expand(from_array(np.asarray(source).astype(x.dtype.np)), index._shape)
        reduction = "sum" if reduce == "add" else "prod"
        result = scatter_reduce_op(x, index, source, dim=dim, reduce=reduction, include_self=True)
    else:
        raise RuntimeError("reduce argument must be either add or multiply.")
    return result if input._shape else reshape(result, ())


@public("torch Tensor", inplace=True, out=True)
def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """A copy of `input` with `src` added at `index` along `dim`, repeats included."""
    require_tensor("scatter_add", "src", 4, src)
    x, index, src, dim = _scattering(input, dim, index, src)
    if not index.numel():
        return input.clone()
    result = scatter_add_op(x, index, src, dim=dim)
    return result if input._shape else reshape(result, ())


# -- scatter with a reduction ----------------------------------------------------------------------------------

_REDUCTIONS: dict[str, np.ufunc] = {
    "sum": np.add, "mean": np.add, "prod": np.multiply, "amax": np.maximum, "amin": np.minimum,
}  # fmt: skip


def _start(reduce: str, d: np.dtype) -> Any:
    """What a reduction starts from where `self` does not count."""
    if reduce in ("sum", "mean"):
        return 0
    if reduce == "prod":
        return 1
    if d.kind in "iu":
        return np.iinfo(d).min if reduce == "amax" else np.iinfo(d).max
    if d.kind == "b":
        return reduce == "amin"
    return -np.inf if reduce == "amax" else np.inf


def _scatter_reduce(
    x: np.ndarray, index: np.ndarray, src: np.ndarray, dim: int, reduce: str, include_self: bool
) -> np.ndarray:  # fmt: skip
    _within(index, x.shape[dim], dim)
    out = np.array(x, order="C")
    flat, at = out.reshape(-1), _flat(x.shape, index, dim).reshape(-1)
    if not include_self:
        flat[at] = _start(reduce, x.dtype)
    _REDUCTIONS[reduce].at(flat, at, src.reshape(-1))
    if reduce == "mean":
        count = np.bincount(at, minlength=flat.size) + (1 if include_self else 0)
        count = np.maximum(count, 1)
        flat[...] = flat // count.astype(flat.dtype) if flat.dtype.kind in "iu" else flat / count.astype(flat.dtype)
    return out


def _untouched(g: Tensor, index: Tensor, dim: int, include_self: bool) -> Tensor:
    return g if include_self else scatter_op(g, index, 0, dim=dim)


def _scatter_reduce_vjp(g: Tensor, y: Tensor, x: Tensor, index: Tensor, src: Tensor, dim: int, reduce: str,
                        include_self: bool) -> tuple:  # fmt: skip
    def pick(t: Tensor) -> Tensor:
        return gather_op(t, index, dim=dim)

    if reduce == "sum":
        return _untouched(g, index, dim, include_self), None, pick(g)
    if reduce == "mean":
        ones = x.new_ones(x._shape) if include_self else x.new_zeros(x._shape)
        count = scatter_add_op(ones, index, src.new_ones(src._shape), dim=dim).clamp_min(1)
        share = g / count
        return _untouched(share, index, dim, include_self), None, pick(share)
    if reduce == "prod":
        return _prod_vjp(g, x, index, src, dim, include_self)
    from_src = (src == pick(y)).to(g.dtype)
    from_self = (x == y).to(g.dtype)
    if not include_self:
        from_self = scatter_op(from_self, index, 0, dim=dim)
    share = g / scatter_add_op(from_self, index, from_src, dim=dim).clamp_min(1)
    untouched = share * from_self if include_self else _untouched(g, index, dim, False)
    return untouched, None, from_src * pick(share)


def _prod_vjp(g: Tensor, x: Tensor, index: Tensor, src: Tensor, dim: int, include_self: bool) -> tuple:
    """Products of all other factors, computed so that zeros among them are not divided by."""

    def product(of_x: Tensor, of_src: Tensor) -> Tensor:
        return scatter_reduce_op(of_x, index, of_src, dim=dim, reduce="prod", include_self=include_self)

    def pick(t: Tensor) -> Tensor:
        return gather_op(t, index, dim=dim)

    ones = x.new_ones(x._shape)
    to_x = g * product(ones, src) if include_self else _untouched(g, index, dim, False)
    zero = src == 0
    zeros = scatter_add_op(x.new_zeros(x._shape), index, zero.to(src.dtype), dim=dim)
    only = zero & (pick(zeros) == 1)
    others = pick(g * product(x, src.masked_fill(only, 1)))
    all_of_them = pick(g * product(x, src)) / src.masked_fill(zero, 1)
    to_src = others * only.to(g.dtype) + all_of_them * (~zero).to(g.dtype)
    return to_x, None, to_src


def _samples_reduce(t: Maker) -> Any:
    for reduce in _REDUCTIONS:
        for include_self in (True, False):
            yield call(t(3, 4), _at(t, 4, 3, 5), t(3, 5), dim=1, reduce=reduce, include_self=include_self)


def _meta_reduce(x: Tensor, index: Tensor, src: Tensor, dim: int, reduce: str, include_self: bool) -> Meta:
    unordered = x.dtype.is_complex and reduce in ("amax", "amin")
    if unordered or (x.dtype is dtypes.bool_ and reduce == "mean"):
        kernel = f"scatter_gather_tensor_cpu_reduce_{reduce}"
        raise NotImplementedError(f"\"{kernel}\" not implemented for '{type_name(x.dtype)}'")
    return _meta_scatter(x, index, src, dim)


scatter_reduce_op = op(
    "scatter_reduce", hazard=_ALONG, ref=_scatter_reduce, meta=_meta_reduce, vjp=_scatter_reduce_vjp,
    samples=_samples_reduce, lower=Kernels(gather_ops.scatter_reduce),
)  # fmt: skip


@public("torch Tensor", inplace=True, out=True)
def scatter_reduce(
    input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:  # fmt: skip
    """A copy of `input` where all of `src` sent to one place is reduced: "sum", "prod", "mean", "amax" or "amin"."""
    if reduce not in _REDUCTIONS:
        raise RuntimeError(f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}")
    require_tensor("scatter_reduce", "src", 4, src)
    x, index, src, dim = _scattering(input, dim, index, src)
    if not index.numel():
        return input.clone()
    result = scatter_reduce_op(x, index, src, dim=dim, reduce=reduce, include_self=include_self)
    return result if input._shape else reshape(result, ())


# -- whole slices at indices -----------------------------------------------------------------------------------


def _vector_index(name: str, index: Tensor) -> Tensor:
    require_tensor(name, "index", 3, index)
    if index.dtype is not dtypes.int64 and index.dtype is not dtypes.int32:
        raise RuntimeError(f"{name}(): Expected dtype int32 or int64 for index")
    if index.ndim > 1:
        raise IndexError(f"{name}(): Index is supposed to be a vector")
    return cast(_with_dims(index), dtypes.int64)


def _index_select(x: np.ndarray, index: np.ndarray, dim: int) -> np.ndarray:
    if index.size and (index.min() < 0 or index.max() >= x.shape[dim]):
        raise IndexError("index out of range in self")
    return x.take(index, axis=dim)


def _meta_index_select(x: Tensor, index: Tensor, dim: int) -> Meta:
    return Meta(_swap(x._shape, dim, index._shape[0]), x.dtype)


def _meta_same(x: Tensor, *_: Any, **__: Any) -> Meta:
    return Meta(x._shape, x.dtype)


def _index_add(x: np.ndarray, index: np.ndarray, source: np.ndarray, dim: int, alpha: Any) -> np.ndarray:
    _within(index, x.shape[dim], dim)
    if alpha != 1:
        source = source * np.asarray(alpha).astype(source.dtype)
    return np.ascontiguousarray(add_at(x, [None] * dim + [index], source))


def _index_write(x: np.ndarray, index: np.ndarray, source: Any, dim: int) -> np.ndarray:
    index = checked(index, x.shape[dim], dim)
    out = x.copy()
    if not isinstance(source, np.ndarray):
        source = np.asarray(source).astype(x.dtype)
    out[(slice(None),) * dim + (index,)] = source
    return out


index_select_op = op(
    "index_select", hazard=_ALONG, picks=True, ref=_index_select, meta=_meta_index_select,
    lower=Kernels(gather_ops.index_select),
    vjp=(lambda g, _y, _x, index, dim: index_add_op(g.new_zeros(_x.shape), index, g, dim=dim, alpha=1), None),
    samples=lambda t: [call(t(4, 3), _at(t, 4, 6), dim=0), call(t(2, 4, 3), _at(t, 4, 2), dim=1)],
)  # fmt: skip
index_add_op = op(
    "index_add", hazard=_ALONG, ref=_index_add, meta=_meta_same, lower=Kernels(gather_ops.index_write("add")),
    vjp=(lambda g, _y, _x, _i, _s, dim, alpha: g, None,
         lambda g, _y, _x, index, _s, dim, alpha: index_select_op(g if alpha == 1 else g * alpha, index, dim=dim)),
    samples=lambda t: [call(t(4, 3), _at(t, 4, 6), t(6, 3), dim=0, alpha=1),
                       call(t(4), _at(t, 4, 6), t(6), dim=0, alpha=2),
                       call(t(2, 4, 3), _at(t, 4, 2), t(2, 2, 3), dim=1, alpha=-0.5)],
)  # fmt: skip
index_copy_op = op(
    "index_copy", hazard=_ALONG, ref=_index_write, meta=_meta_same, lower=Kernels(gather_ops.index_write("write")),
    vjp=(lambda g, _y, _x, index, _s, dim: index_fill_op(g, index, 0, dim=dim), None,
         lambda g, _y, _x, index, _s, dim: index_select_op(g, index, dim=dim)),
    samples=lambda t: [call(t(4, 3), from_array(np.array([2, 0])), t(2, 3), dim=0)],
)  # fmt: skip
index_fill_op = op(
    "index_fill", hazard=_ALONG, ref=_index_write, meta=_meta_same, lower=Kernels(gather_ops.index_write("write")),
    backward_name=lambda inputs, _: f"IndexFillBackward{int(isinstance(inputs[2], Tensor))}",
    vjp=(lambda g, _y, _x, index, _v, dim: index_fill_op(g, index, 0, dim=dim), None,
         lambda g, _y, _x, index, _v, dim: index_select_op(g, index, dim=dim).sum()),
    samples=lambda t: [call(t(4, 3), from_array(np.array([2, 0])), 1.5, dim=0),
                       call(t(4, 3), from_array(np.array([2, 0])), t(), dim=1)],
)  # fmt: skip


@public("torch Tensor", out=True)
def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """Slices of `input` at the places `index` (a vector) names along `dim`, as a copy."""
    require_tensor("index_select", "input", 1, input)
    index = _vector_index("index_select", index)
    dim = wrap_dim(dim, input.ndim)
    if not input._shape:
        return reshape(index_select_op(unsqueeze(input, 0), index, dim=0), ())
    return index_select_op(input, index, dim=dim)


@public("torch Tensor", inplace=True, out=True)
def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: Any = 1) -> Tensor:
    """A copy of `input` with `alpha * source` added to the slices that `index` names along `dim`, repeats included."""
    index = _vector_index("index_add_", index)
    dim = wrap_dim(dim, input.ndim)
    if source.dtype is not input.dtype:
        raise RuntimeError(
            f"index_add_(): self ({type_name(input.dtype)}) and source ({type_name(source.dtype)}) must have the same "
            "scalar type"
        )
    x, source_ = _with_dims(input), _with_dims(source)
    if index.numel() != source_._shape[dim]:
        raise RuntimeError(
            f"index_add_(): Number of indices ({index.numel()}) should be equal to source.size(dim): "
            f"({source_._shape[dim]}), for dim: {dim}"
        )
    if _swap(source_._shape, dim, 1) != _swap(x._shape, dim, 1):
        raise RuntimeError(
            "source tensor shape must match self tensor shape, excluding the specified dimension. Got self.shape = "
            f"{list(input._shape)} source.shape = {list(source._shape)}"
        )
    result = index_add_op(x, index, source_, dim=dim, alpha=alpha)
    return result if input._shape else reshape(result, ())


@public("torch Tensor", inplace=True, out=True)
def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """A copy of `input` with `source` in the place of the slices that `index` names along `dim`."""
    index = _vector_index("index_copy_", index)
    dim = wrap_dim(dim, input.ndim)
    if source.dtype is not input.dtype:
        raise RuntimeError(
            "index_copy_(): self and source expected to have the same dtype, but got (self) "
            f"{type_name(input.dtype)} and (source) {type_name(source.dtype)}"
        )
    x, source_ = _with_dims(input), _with_dims(source)
    if index.numel() != source_._shape[dim]:
        raise IndexError(
            f"index_copy_(): Number of indices ({index.numel()}) should be equal to source.size(dim) "
            f"({source_._shape[dim]})"
        )
    result = index_copy_op(x, index, source_, dim=dim)
    return result if input._shape else reshape(result, ())


@public("torch Tensor", inplace=True)
def index_fill(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """A copy of `input` with one value in the slices that `index` names along `dim`."""
    if isinstance(value, Tensor):
        if value._shape:
            raise RuntimeError(
                f"index_fill_ only supports a 0-dimensional value tensor, but got tensor with {value.ndim} "
                "dimension(s)."
            )
        value = cast(value, input.dtype)
    index = _vector_index("index_fill_", index)
    result = index_fill_op(_with_dims(input), index, value, dim=wrap_dim(dim, input.ndim))
    return result if input._shape else reshape(result, ())


@public("torch Tensor", inplace=True, out=True)
def index_reduce(
    input: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:  # fmt: skip
    """A copy of `input` whose slices at `index` are reduced with `source`, by "prod", "mean", "amax" or "amin"."""
    if reduce not in ("prod", "mean", "amax", "amin"):
        raise RuntimeError(f"index_reduce(): Expected reduce to be one of prod, mean, amax or amin but got {reduce}.")
    warn_once("index_reduce() is in beta and the API may change at any time.")
    index = _vector_index("index_reduce", index)
    dim = wrap_dim(dim, input.ndim)
    x, source_ = _with_dims(input), _with_dims(source)
    column = reshape(index, tuple(-1 if d == dim else 1 for d in range(x.ndim)))
    places = expand(column, _swap(x._shape, dim, index.numel()))
    return scatter_reduce(x, dim, places, source_, reduce, include_self=include_self).reshape(input._shape)
