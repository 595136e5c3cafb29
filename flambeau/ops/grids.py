"""Grids, products and combinations of tensors, and tensors made to fit each other."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from flambeau import dtypes
from flambeau.devices import require_cpu
from flambeau.dtypes import dtype as DType
from flambeau.errors import warn_once
from flambeau.ops.create import finish
from flambeau.ops.gathering import index_select_op
from flambeau.ops.join import stack
from flambeau.ops.op import public
from flambeau.ops.views import expand, reshape, unsqueeze
from flambeau.shape import broadcast_shapes
from flambeau.tensors import Tensor, from_array


def _unpacked(tensors: tuple) -> tuple[Tensor, ...]:
    return tuple(tensors[0]) if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)) else tensors


@public("torch")
def broadcast_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
    """All tensors expanded to the shape they broadcast to (views)."""
    found = _unpacked(tensors)
    shape = broadcast_shapes(*[t._shape for t in found])
    return tuple(expand(t, shape) for t in found)


@public("torch")
def meshgrid(*tensors: Any, indexing: str | None = None) -> tuple[Tensor, ...]:
    """Grids of coordinates from vectors: `indexing` "ij" puts the first vector along dimension 0, "xy" along 1.

    >>> x, y = meshgrid(tensor([1, 2]), tensor([3, 4, 5]), indexing="ij")
    >>> x.shape
    torch.Size([2, 3])
    """
    found = list(_unpacked(tensors))
    if not found:
        raise RuntimeError("meshgrid expects a non-empty TensorList")
    if any(t.dtype is not found[0].dtype for t in found):
        raise RuntimeError("meshgrid expects all tensors to have the same dtype")
    for t in found:
        if t.ndim > 1:
            raise RuntimeError(f"Expected 0D or 1D tensor in the tensor list but got: {t.ndim}D")
    if indexing is None:
        warn_once(
            "torch.meshgrid: in an upcoming release, it will be required to pass the indexing argument.", stacklevel=4
        )
    elif indexing not in ("ij", "xy"):
        raise RuntimeError(f'torch.meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}')
    swap = indexing == "xy" and len(found) >= 2
    if swap:
        found[0], found[1] = found[1], found[0]
    n = len(found)
    shape = tuple(t.numel() for t in found)
    grids = [expand(reshape(t, tuple(-1 if e == d else 1 for e in range(n))), shape) for d, t in enumerate(found)]
    if swap:
        grids[0], grids[1] = grids[1], grids[0]
    return tuple(grids)


def _require_vector(t: Tensor) -> None:
    if t.ndim != 1:
        raise RuntimeError(f"Expect a 1D vector, but got shape {list(t._shape)}")


@public("torch")
def cartesian_prod(*tensors: Tensor) -> Tensor:
    """All ways to take one element of each vector, a row each."""
    for t in tensors:
        _require_vector(t)
    if len(tensors) == 1:
        return tensors[0]
    return stack([reshape(g, (-1,)) for g in meshgrid(*tensors, indexing="ij")], 1)


@public("torch Tensor")
def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """All ways to take `r` elements of a vector, a row each, in order."""
    _require_vector(input)
    if r < 0:
        raise RuntimeError(f"Expect a non-negative number, but got {r}")
    if r == 0:
        return input.new_empty((0,))
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    rows = np.array(list(choose(range(input.numel()), r)), np.int64).reshape(-1, r)
    return reshape(index_select_op(input, from_array(rows.reshape(-1)), dim=0), rows.shape)


@public("torch", out=True)
def vander(x: Tensor, N: int | None = None, increasing: bool = False) -> Tensor:
    """The Vandermonde matrix of a vector: its powers as columns, falling unless `increasing`."""
    if x.ndim != 1:
        raise RuntimeError("x must be a one-dimensional tensor.")
    count = x.numel() if N is None else N
    if count < 0:
        raise RuntimeError("N must be non-negative.")
    powers = np.arange(count) if increasing else np.arange(count)[::-1]
    return unsqueeze(x, 1) ** from_array(np.ascontiguousarray(powers, np.int64))


@public("linalg", name="vander")
def linalg_vander(x: Tensor, *, N: int | None = None) -> Tensor:
    """Vandermonde matrices of the vectors in the last dimension, with rising powers."""
    count = x._shape[-1] if N is None else N
    if count <= 1:
        raise RuntimeError(f"N must be greater than 1, got {count}.")
    powers = from_array(np.arange(count))
    return unsqueeze(x, -1) ** powers


def _triangle(name: str, places: Any) -> None:
    def function(row: int, col: int, offset: int = 0, *, dtype: DType = dtypes.int64, device: Any = None,
                 layout: Any = None, requires_grad: bool = False) -> Tensor:  # fmt: skip
        require_cpu(device)
        for what, n in (("row", row), ("col", col)):
            if n < 0:
                raise RuntimeError(f"{what} must be non-negative, got{n}")
        return finish(from_array(np.stack(places(row, offset, col)).astype(dtype.np)), requires_grad)

    side = "lower" if name == "tril_indices" else "upper"
    function.__doc__ = f"Row and column indices of the {side} triangle of a `row` by `col` matrix, as (2, n)."
    public("torch", name=name)(function)


_triangle("tril_indices", np.tril_indices)
_triangle("triu_indices", np.triu_indices)
