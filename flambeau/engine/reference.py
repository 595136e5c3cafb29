"""Runs an op by its NumPy reference: immediate execution, the first sightings of a program, and every oracle."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter_ns
from typing import Any

import numpy as np

from flambeau.dtypes import bfloat16, dtype, float16, float32
from flambeau.engine import watching
from flambeau.engine.blas import one_blas_thread
from flambeau.engine.graph import Meta
from flambeau.engine.value import empty_bytes
from flambeau.shape import Ints, contiguous_strides, extent, is_contiguous

NARROW = (float16, bfloat16)


def window(data: np.ndarray, shape: Ints, strides: Ints, offset: int, d: dtype) -> np.ndarray:
    """Memory as a strided ndarray (no copy); strides and offset in elements."""
    if 0 in shape:  # its offset may lie beyond the memory, which NumPy refuses
        return np.empty(shape, d.np)
    size = d.itemsize
    return np.ndarray(shape, d.np, data, offset * size, tuple([s * size for s in strides]))


def run(op: Any, operands: Sequence[Any], params: dict[str, Any], metas: Sequence[Meta]) -> list[np.ndarray]:
    """The memory of each result, laid out as `metas` say. Tensors among the operands come as ndarrays."""
    watcher = watching.current
    began = perf_counter_ns() if watcher is not None else 0
    memories = _run(op, operands, params, metas)
    if watcher is not None:
        watcher.reference(op, metas, began, perf_counter_ns())
    return memories


def _run(op: Any, operands: Sequence[Any], params: dict[str, Any], metas: Sequence[Meta]) -> list[np.ndarray]:
    one_blas_thread()
    compute = metas[0].compute if metas else None
    with np.errstate(all="ignore"):  # casts of operands and results included: overflow is silent in PyTorch
        arrays = [_operand(x, compute) for x in operands]
        results = op.ref(*arrays, **params)
        if not op.multiple:
            results = (results,)
        seen = {_owner(a) for a in arrays if isinstance(a, np.ndarray)}
        memories = []
        for result, meta in zip(map(np.asarray, results), metas, strict=True):
            memories.append(place(result, meta, seen))
            seen.add(_owner(result))  # one array given as two results must not become one memory
        return memories


def _owner(array: np.ndarray) -> int:
    return id(array if array.base is None else array.base)


def _operand(x: Any, compute: dtype | None) -> Any:
    """An operand in the dtype to compute in; narrow floats compute in fp32, and are rounded when placed."""
    if isinstance(x, np.ndarray):
        if compute is not None and x.dtype != compute.np:
            x = x.astype(compute.np)
        return x.astype(np.float32) if x.dtype in (float16.np, bfloat16.np) else x
    if x is None or compute is None or not isinstance(x, (bool, int, float, complex, np.generic)):
        return x
    target = float32 if compute in NARROW else compute
    return np.asarray(x).astype(target.np)


def place(result: np.ndarray, meta: Meta, borrowed: set[int] = frozenset()) -> np.ndarray:
    """`result` as `meta` lays it out, as bytes; its own memory is kept when nobody else can see it."""
    if result.dtype != meta.dtype.np:
        result = result.astype(meta.dtype.np)
    if result.shape != meta.shape:
        raise AssertionError(f"the reference gave shape {result.shape}, the shape rule {meta.shape}")
    strides = meta.strides or contiguous_strides(meta.shape)
    owner = result if result.base is None else result.base
    mine = isinstance(owner, np.ndarray) and owner.flags.owndata and id(owner) not in borrowed
    if mine and result.flags.c_contiguous and is_contiguous(meta.shape, strides) and owner.nbytes == result.nbytes:
        return result.reshape(-1).view(np.uint8)
    return copied(result, strides)


def copied(array: np.ndarray, strides: Ints | None = None) -> np.ndarray:
    """A copy of `array` with the given element strides (no overlap), as bytes."""
    size = array.itemsize
    strides = contiguous_strides(array.shape) if strides is None else strides
    data = empty_bytes(extent(array.shape, strides) * size)
    np.ndarray(array.shape, array.dtype, data, 0, tuple([s * size for s in strides]))[...] = array
    return data


def overwrite(target: np.ndarray, array: Any) -> None:
    """Write into memory, cast to its dtype and broadcast to its shape."""
    with np.errstate(all="ignore"):
        np.copyto(target, array, casting="unsafe")
