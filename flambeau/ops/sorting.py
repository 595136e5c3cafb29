"""Order: sort, argsort, topk, kthvalue, median, mode, unique, searchsorted.

NaN counts as greater than every number. Sorting is always stable; of equal elements the first in the input is picked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from flambeau import dtypes
from flambeau.engine.execute import Meta
from flambeau.ops import return_types
from flambeau.ops.arguments import check_input, invalid, is_int, not_implemented, numpy_names, one_dim
from flambeau.ops.extrema import one_dim_samples, pick_vjp, picked_meta, require_elements, take
from flambeau.ops.op import Op, op, public
from flambeau.ops.samples import Call, Maker, call
from flambeau.shape import preserved_strides
from flambeau.tensors import Tensor

# -- sorting ---------------------------------------------------------------------------------------------------


def sorted_order(x: np.ndarray, dim: int, descending: bool = False) -> np.ndarray:
    """The indices that sort `x` along a dimension, stable in both directions."""
    if not x.ndim:
        return np.zeros((), np.int64)
    if not descending:
        return np.argsort(x, dim, kind="stable")
    order = np.argsort(np.flip(x, dim), dim, kind="stable")
    return x.shape[dim] - 1 - np.flip(order, dim)


def _sort(x: np.ndarray, dim: int, descending: bool) -> tuple[np.ndarray, np.ndarray]:
    order = sorted_order(x, dim, descending)
    return (np.take_along_axis(x, order, dim), order) if x.ndim else (x.copy(), order)


def _sort_meta(x: Tensor, dim: int, descending: bool, stable: bool | None = None) -> tuple[Meta, Meta]:
    if x.dtype.is_complex:
        raise RuntimeError(" Sort does not support complex dtypes on CPU")
    strides = preserved_strides(x._shape, x._strides)
    return Meta(x._shape, x.dtype, strides), Meta(x._shape, dtypes.int64, strides)


def _permuted_vjp(g: Any, y: Any, _x: Any, dim: int, **_: Any) -> tuple:
    return (g[0].new_zeros(_x.shape).scatter(dim, y[1], g[0]),)


sort_op = op(
    "sort", ref=lambda x, dim, descending, stable=None: _sort(x, dim, descending), meta=_sort_meta, vjp=_permuted_vjp,
    multiple=True, kept_outputs=(1,),
    backward_name=lambda _inputs, params: f"SortBackward{0 if params.get('stable') is None else 1}",
    samples=lambda t: [call(t(5), dim=0, descending=False), call(t(2, 4), dim=1, descending=True),
                       call(t(), dim=0, descending=False), call(t(0, 2), dim=0, descending=True)],
)  # fmt: skip


@public("torch Tensor", out=True)
@numpy_names
def sort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool | None = None) -> Any:
    """The elements in order along `dim`, and the indices that put them there: a named tuple `(values, indices)`.

    >>> sort(tensor([3, 1, 2])).indices
    tensor([1, 2, 0])
    """
    check_input("sort", input)
    given = {} if stable is None else {"stable": stable}
    return return_types.sort(sort_op(input, dim=one_dim("sort", input, dim), descending=bool(descending), **given))


@public("torch Tensor", out=True)
@numpy_names
def argsort(input: Tensor, dim: int = -1, descending: bool = False, *, stable: bool = False) -> Tensor:
    """The indices that sort `input` along `dim`."""
    return sort(input.detach(), dim, descending).indices


@public("torch Tensor", out=True)
def msort(input: Tensor) -> Tensor:
    """The elements in order along the first dimension."""
    return sort(input, 0).values


# -- the largest few -------------------------------------------------------------------------------------------


def _topk(x: np.ndarray, k: int, dim: int, largest: bool) -> tuple[np.ndarray, np.ndarray]:
    if not x.ndim:
        return (x.copy(), np.zeros((), np.int64))
    n = x.shape[dim]
    head = (slice(None),) * dim
    if 0 < 8 * k < n:
        few = np.argpartition(x, n - k if largest else k - 1, dim)[(*head, slice(n - k, n) if largest else slice(0, k))]
        few = np.sort(few, dim)
        picked = np.take_along_axis(x, few, dim)
        order = np.take_along_axis(few, sorted_order(picked, dim, largest), dim)
    else:
        order = sorted_order(x, dim, largest)[(*head, slice(0, k))]
    return np.take_along_axis(x, order, dim), order


def _topk_meta(x: Tensor, k: int, dim: int, largest: bool) -> tuple[Meta, Meta]:
    if x.dtype.is_complex:
        raise not_implemented("topk_cpu", x.dtype)
    if x.dtype is dtypes.bool_:
        raise RuntimeError("topk does not support bool dtypes on CPU")
    shape = tuple([k if d == dim else n for d, n in enumerate(x._shape)])
    return Meta(shape, x.dtype), Meta(shape, dtypes.int64)


topk_op = op(
    "topk", ref=_topk, meta=_topk_meta, vjp=_permuted_vjp, multiple=True, kept_outputs=(1,),
    samples=lambda t: [call(t(5), k=2, dim=0, largest=True), call(t(2, 4), k=3, dim=1, largest=False),
                       call(t(40), k=2, dim=0, largest=True), call(t(40), k=2, dim=0, largest=False),
                       call(t(), k=1, dim=0, largest=True), call(t(2, 3), k=0, dim=1, largest=True)],
)  # fmt: skip


@public("torch Tensor", out=True)
@numpy_names
def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    """The `k` largest (or smallest) elements along `dim`, in order, with indices: `(values, indices)`."""
    check_input("topk", input)
    if not is_int(k):
        raise invalid("topk", input, k)
    d, k = one_dim("topk", input, dim), int(k)
    if not 0 <= k <= (input._shape[d] if input._shape else 1):
        raise RuntimeError("selected index k out of range")
    return return_types.topk(topk_op(input, k=k, dim=d, largest=bool(largest)))


# -- one element by rank ---------------------------------------------------------------------------------------


def _by_rank(name: str, place: Callable[[np.ndarray, np.ndarray, int], np.ndarray | int], node: str) -> Op:
    """An op that picks, along a dimension, the element at a place in sorted order."""

    def ref(x: np.ndarray, dim: int, keepdim: bool, k: int = 0) -> tuple[np.ndarray, np.ndarray]:
        if not x.ndim:
            return x.copy(), np.zeros((), np.int64)
        order = sorted_order(x, dim)
        at = place(x, np.take_along_axis(x, order, dim), dim) if not k else k - 1
        if isinstance(at, int):
            at = np.full([1 if d == dim else n for d, n in enumerate(x.shape)], at)
        return take(x, np.take_along_axis(order, at, dim), dim, keepdim)

    def meta(x: Tensor, dim: int, keepdim: bool, k: int = 0) -> tuple[Meta, Meta]:
        if x.dtype.is_complex or (x.dtype is dtypes.bool_ and name != "mode"):
            raise not_implemented(f"{name}_cpu", x.dtype)
        return picked_meta(x, dim, keepdim)

    def samples(t: Maker) -> list[Call]:
        calls = one_dim_samples(t)
        return [call(*c.inputs, **c.params, k=1) for c in calls] if name == "kthvalue" else calls

    return op(
        name, ref=ref, meta=meta, vjp=pick_vjp, samples=samples, multiple=True, kept_outputs=(1,), backward_name=node
    )


def _last_run(x: np.ndarray, ordered: np.ndarray, dim: int) -> np.ndarray:
    """The place of the most frequent element in sorted order: where the longest run of equal ones ends."""
    n = x.shape[dim]
    places = np.arange(n).reshape([-1 if d == dim else 1 for d in range(x.ndim)])
    starts = np.ones(x.shape, bool)
    later = (slice(None),) * dim
    starts[(*later, slice(1, n))] = ordered[(*later, slice(1, n))] != ordered[(*later, slice(0, n - 1))]
    run = places - np.maximum.accumulate(np.where(starts, places, 0), dim)
    return np.argmax(run, axis=dim, keepdims=True)


def _middle(x: np.ndarray, ordered: np.ndarray, dim: int) -> np.ndarray:
    """The place of the lower median; NaN, if there is one, comes first."""
    middle = np.full([1 if d == dim else n for d, n in enumerate(x.shape)], (x.shape[dim] - 1) // 2)
    nans = _count_nan(x, dim)
    return np.where(nans > 0, x.shape[dim] - nans, middle)


def _middle_of_numbers(x: np.ndarray, ordered: np.ndarray, dim: int) -> np.ndarray:
    """The place of the lower median of the elements that are not NaN."""
    return np.maximum(x.shape[dim] - _count_nan(x, dim) - 1, 0) // 2


def _count_nan(x: np.ndarray, dim: int) -> np.ndarray:
    isnan = np.isnan(x) if x.dtype.kind == "f" else np.zeros(x.shape, bool)
    return np.sum(isnan, axis=dim, keepdims=True)


kthvalue_op = _by_rank("kthvalue", lambda x, ordered, dim: 0, "KthvalueBackward0")
mode_op = _by_rank("mode", _last_run, "ModeBackward0")
median_op = _by_rank("median", _middle, "MedianBackward1")
nanmedian_op = _by_rank("nanmedian", _middle_of_numbers, "NanmedianBackward1")


@public("torch Tensor", out=True)
@numpy_names
def kthvalue(input: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    """The `k`-th smallest element along `dim` with its index: `(values, indices)`."""
    check_input("kthvalue", input)
    d, k = one_dim("kthvalue", input, dim), int(k)
    if not 1 <= k <= (input._shape[d] if input._shape else 1):
        raise RuntimeError(f"kthvalue(): selected number k out of range for dimension {d}")
    return return_types.kthvalue(kthvalue_op(input, dim=d, keepdim=keepdim, k=k))


@public("torch Tensor", out=True)
@numpy_names
def mode(input: Tensor, dim: int = -1, keepdim: bool = False) -> Any:
    """The most frequent element along `dim` (the smallest of several) with the last index of it."""
    check_input("mode", input)
    d = one_dim("mode", input, dim)
    require_elements("mode", input, (d,)[: input.ndim])
    return return_types.mode(mode_op(input, dim=d, keepdim=keepdim))


def _whole_median(name: str, along: Op, node: str) -> Op:
    """The median of all elements: equal ones share its gradient, as those of `max()` do."""

    def ref(x: np.ndarray) -> np.ndarray:
        flat = x.reshape(-1)
        return along.ref(flat, 0, False)[0] if flat.size else np.asarray(np.nan)

    def vjp(g: Tensor, y: Tensor, x: Tensor) -> tuple:
        hits = ((x == y) | (x.isnan() & y.isnan())).to(g.dtype)
        return (g * hits / hits.sum(),)

    def meta(x: Tensor) -> Meta:
        if x.dtype.is_complex or x.dtype is dtypes.bool_:
            raise not_implemented("median_cpu", x.dtype)
        return Meta((), x.dtype)

    return op(
        name + "_all", ref=ref, meta=meta, vjp=vjp, samples=lambda t: [call(t(5)), call(t(2, 4)), call(t())],
        backward_name=node,
    )  # fmt: skip


def _median(name: str, along: Op, node: str, result: type, words: str) -> None:
    whole = _whole_median(name, along, node)

    @numpy_names
    def function(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
        check_input(name, input)
        if dim is None:
            return whole(input)
        d = one_dim(name, input, dim)
        require_elements(name, input, (d,)[: input.ndim])
        return result(along(input, dim=d, keepdim=keepdim))

    function.__name__ = name
    function.__doc__ = f"The median of all elements, or along `dim` with its index; the lower of two. {words}"
    public("torch Tensor", name=name, out=True)(function)


_median("median", median_op, "MedianBackward0", return_types.median, "NaN where an element is NaN.")
_median("nanmedian", nanmedian_op, "NanmedianBackward0", return_types.nanmedian, "NaNs are left out.")
