"""What the linear algebra files share: argument checks, LinAlgError, layouts, matrix helpers."""

from __future__ import annotations

from typing import Any

import numpy as np

from flambeau import dtypes
from flambeau.ops.apply import type_name
from flambeau.ops.elementwise import conj
from flambeau.ops.op import names
from flambeau.ops.rules import require_tensor
from flambeau.ops.views import adjoint, diagonal
from flambeau.shape import Ints, contiguous_strides
from flambeau.tensors import Tensor


class _LinAlgError(RuntimeError):
    """Raised where a matrix cannot be factorised or inverted: `torch.linalg.LinAlgError`."""


LinAlgError = _LinAlgError
names["linalg"]["LinAlgError"] = LinAlgError


def require_float(name: str, A: Tensor, kernel: str | None = None) -> None:
    """PyTorch's refusal of integers, and of half precision by the kernel that lacks it."""
    if A.dtype.category < dtypes.FLOAT:
        raise RuntimeError(f"{name}: Expected a floating point or complex tensor as input. Got {type_name(A.dtype)}")
    if A.dtype.itemsize < 4:
        if kernel is None:
            raise RuntimeError(f"{name}: Low precision dtypes not supported. Got {type_name(A.dtype)}")
        raise NotImplementedError(f"\"{kernel}\" not implemented for '{type_name(A.dtype)}'")


def require_matrix(name: str, A: Any, argument: str = "A") -> None:
    require_tensor(name, argument, 1, A)
    if A.ndim < 2:
        raise RuntimeError(f"{name}: The input tensor {argument} must have at least 2 dimensions.")


def require_square(name: str, A: Any) -> None:
    require_matrix(name, A)
    rows, columns = A._shape[-2:]
    if rows != columns:
        raise RuntimeError(
            f"{name}: A must be batches of square matrices, but they are {rows} by {columns} matrices"
        )


def in_columns(shape: Ints) -> Ints:
    """Strides of matrices whose columns lie together, as LAPACK writes them."""
    if len(shape) < 2:
        return contiguous_strides(shape)
    rows, columns = shape[-2:]
    outer = contiguous_strides((*shape[:-2], rows * columns))[:-1]
    return (*outer, 1, max(rows, 1))


def batch_note(shape: Ints, at: int) -> str:
    return f"(Batch element {at}): " if len(shape) > 2 else ""


def first_zero_pivot(A: np.ndarray) -> tuple[int, int]:
    """(batch element, 1-based pivot) of the first singular matrix of a batch, by elimination; (-1, 0) if none."""
    for at, matrix in enumerate(A.reshape(-1, *A.shape[-2:])):
        u = matrix.copy()
        for k in range(len(u)):
            p = k + int(np.argmax(np.abs(u[k:, k])))
            if u[p, k] == 0:
                return at, k + 1
            u[[k, p]] = u[[p, k]]
            u[k + 1 :, k:] -= np.outer(u[k + 1 :, k] / u[k, k], u[k, k:])
    return -1, 0


def diag_of(A: Tensor) -> Tensor:
    return diagonal(A, 0, -2, -1)


def skew(A: Tensor) -> Tensor:
    """The part of a gradient that turns an orthogonal factor."""
    return A - adjoint(A)


def real_part(x: Tensor) -> Tensor:
    """The real part of a complex tensor in the graph; real tensors as they are."""
    return (x + conj(x)) * 0.5 if x.dtype.is_complex else x
