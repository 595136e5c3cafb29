"""Immediate execution: an op is its NumPy reference, run at the call.

`record` runs an op over strided views and gives the Storages of its results; `write` overwrites a view. These two
and `read` are the whole seam between the tensor floor and execution: the compiled engine replaces what is behind it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from flambeau.dtypes import bfloat16, dtype, float16, float32
from flambeau.engine.graph import Meta
from flambeau.engine.value import Storage, empty_bytes
from flambeau.shape import Ints, contiguous_strides, is_contiguous

MODE = os.environ.get("FLAMBEAU_EXECUTION", "immediate")
if MODE != "immediate":
    raise ValueError(f"FLAMBEAU_EXECUTION={MODE!r}: this release executes 'immediate' only")

_NARROW = (float16, bfloat16)


class View(Protocol):
    """What the engine needs to know of a tensor: a strided window on a storage."""

    _storage: Storage
    _shape: Ints
    _strides: Ints
    _offset: int
    dtype: dtype


def read(view: View) -> np.ndarray:
    """The memory of a view as an ndarray (no copy)."""
    d = view.dtype
    size = d.itemsize
    if 0 in view._shape:  # its offset may lie beyond the memory, which NumPy refuses
        return np.empty(view._shape, d.np)
    return np.ndarray(
        view._shape, d.np, view._storage.value.data, view._offset * size, tuple([s * size for s in view._strides])
    )


def record(op: Any, inputs: Sequence[Any], params: dict[str, Any], metas: Sequence[Meta]) -> list[Storage]:
    """Run `op` on tensors, numbers and Nones; one new Storage for each of `metas`, laid out as it says."""
    compute = metas[0].compute if metas else None
    with np.errstate(all="ignore"):  # casts of operands and results included: overflow is silent in PyTorch
        arrays = [_operand(x, compute) for x in inputs]
        results = op.ref(*arrays, **params)
        if not op.multiple:
            results = (results,)
        seen = {_owner(a) for a in arrays if isinstance(a, np.ndarray)}
        storages = []
        for result, meta in zip(map(np.asarray, results), metas, strict=True):
            storages.append(place(result, meta, seen))
            seen.add(_owner(result))  # one array given as two results must not become one memory
        return storages


def _owner(array: np.ndarray) -> int:
    return id(array if array.base is None else array.base)


def _operand(x: Any, compute: dtype | None) -> Any:
    if hasattr(x, "_storage"):
        array = read(x)
        if compute is not None and x.dtype is not compute:
            array = array.astype(compute.np)
        # Narrow floats compute in fp32 and are rounded once, when the result is placed.
        return array.astype(np.float32) if (compute or x.dtype) in _NARROW else array
    if x is None or compute is None or not isinstance(x, (bool, int, float, complex, np.generic)):
        return x
    target = float32 if compute in _NARROW else compute
    return np.asarray(x).astype(target.np)


def place(result: np.ndarray, meta: Meta, borrowed: set[int] = frozenset()) -> Storage:
    """A Storage holding `result` as `meta` lays it out; its own memory is kept when nobody else can see it."""
    if result.dtype != meta.dtype.np:
        result = result.astype(meta.dtype.np)
    if result.shape != meta.shape:
        raise AssertionError(f"the reference gave shape {result.shape}, the shape rule {meta.shape}")
    strides = meta.strides or contiguous_strides(meta.shape)
    owner = result if result.base is None else result.base
    mine = isinstance(owner, np.ndarray) and owner.flags.owndata and id(owner) not in borrowed
    if mine and result.flags.c_contiguous and is_contiguous(meta.shape, strides) and owner.nbytes == result.nbytes:
        return Storage(result.reshape(-1).view(np.uint8))
    return copied(result, strides)


def copied(array: np.ndarray, strides: Ints | None = None) -> Storage:
    """A new Storage holding a copy of `array` with the given (dense) element strides."""
    size = array.itemsize
    data = empty_bytes(array.nbytes)
    strides = contiguous_strides(array.shape) if strides is None else strides
    np.ndarray(array.shape, array.dtype, data, 0, tuple([s * size for s in strides]))[...] = array
    return Storage(data)


def write(view: View, array: Any) -> None:
    """Overwrite the elements of a view, cast to its dtype and broadcast to its shape."""
    if any(s == 0 and n > 1 for s, n in zip(view._strides, view._shape)):
        raise RuntimeError(
            "unsupported operation: more than one element of the written-to tensor refers to a single memory "
            "location. Please clone() the tensor before performing the operation."
        )
    target = read(view)
    if not target.flags.writeable:
        raise RuntimeError("the memory of this tensor is read-only: clone() it before writing")
    with np.errstate(all="ignore"):
        np.copyto(target, array, casting="unsafe")
