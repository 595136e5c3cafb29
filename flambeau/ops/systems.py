"""Systems of equations and what goes with them: solve, inv, det, LU, triangular systems, least squares."""

from __future__ import annotations

from typing import Any

import numpy as np

from flambeau import dtypes
from flambeau.engine.execute import Meta
from flambeau.errors import warn_once
from flambeau.ops import return_types
from flambeau.ops.apply import type_name
from flambeau.ops.create import eye
from flambeau.ops.elementwise import conj
from flambeau.ops.join import cat
from flambeau.ops.matrices import (
    LinAlgError,
    batch_note,
    first_zero_pivot,
    in_columns,
    real_part,
    require_float,
    require_matrix,
    require_square,
)
from flambeau.ops.op import op, public
from flambeau.ops.samples import Maker, call
from flambeau.ops.shape_ops import tril, triu
from flambeau.ops.views import adjoint, squeeze_op, unsqueeze
from flambeau.shape import broadcast_shapes
from flambeau.tensors import Tensor, from_array

# -- triangular systems ----------------------------------------------------------------------------------------


def _substitute(A: np.ndarray, B: np.ndarray, upper: bool) -> np.ndarray:
    """Row by row, for matrices with zeros on the diagonal: infinities come out as in LAPACK."""
    X = np.array(np.broadcast_to(B, (*np.broadcast_shapes(A.shape[:-2], B.shape[:-2]), *B.shape[-2:])))
    n = A.shape[-1]
    for i in range(n - 1, -1, -1) if upper else range(n):
        known = slice(i + 1, n) if upper else slice(0, i)
        dot = np.matmul(A[..., i : i + 1, known], X[..., known, :])[..., 0, :]
        X[..., i, :] = (X[..., i, :] - dot) / A[..., i, i, None]
    return X


def _solve_triangular(A: np.ndarray, B: np.ndarray, upper: bool, left: bool, unitriangular: bool) -> np.ndarray:
    if not left:
        flipped = _solve_triangular(A.swapaxes(-1, -2), B.swapaxes(-1, -2), not upper, True, unitriangular)
        return flipped.swapaxes(-1, -2)
    T = np.triu(A) if upper else np.tril(A)
    if unitriangular:
        diagonal = np.arange(T.shape[-1])
        T[..., diagonal, diagonal] = 1
    try:
        return np.linalg.solve(T, B)
    except np.linalg.LinAlgError:
        return _substitute(T, B, upper)


def _meta_triangular(A: Tensor, B: Tensor, upper: bool, left: bool, unitriangular: bool) -> Meta:
    batch = broadcast_shapes(A._shape[:-2], B._shape[:-2])
    shape = (*batch, *B._shape[-2:])
    return Meta(shape, B.dtype, in_columns(shape))


def _triangular_B_vjp(g: Tensor, _y: Any, A: Tensor, _B: Any, upper: bool, left: bool, unitriangular: bool) -> Tensor:
    return solve_triangular_op(adjoint(A), g, upper=not upper, left=left, unitriangular=unitriangular)


def _triangular_A_vjp(g: Tensor, y: Tensor, A: Tensor, _B: Any, upper: bool, left: bool, unitriangular: bool) -> Tensor:
    gB = solve_triangular_op(adjoint(A), g, upper=not upper, left=left, unitriangular=unitriangular)
    gA = -(gB @ adjoint(y) if left else adjoint(y) @ gB)
    return triu(gA, int(unitriangular)) if upper else tril(gA, -int(unitriangular))


def _safe(t: Maker, *shape: int) -> Tensor:
    """Matrices far from singular."""
    x = t(*shape)
    return (x + 4 * eye(shape[-1], dtype=x.dtype)).detach()


solve_triangular_op = op(
    "linalg_solve_triangular", eager=True, ref=_solve_triangular, meta=_meta_triangular,
    vjp=(_triangular_A_vjp, _triangular_B_vjp),
    samples=lambda t: [
        call(_safe(t, 3, 3), t(3, 2), upper=True, left=True, unitriangular=False),
        call(_safe(t, 2, 3, 3), t(4, 3), upper=False, left=False, unitriangular=False),
        call(_safe(t, 3, 3), t(2, 3, 1), upper=False, left=True, unitriangular=True),
    ],
)  # fmt: skip


@public("linalg", out=True)
def solve_triangular(
    A: Tensor, B: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Tensor:
    """X with `A @ X == B` (or `X @ A == B` if not `left`) for triangular A; the other triangle is not read."""
    name = "linalg.solve_triangular"
    require_square(name, A)
    require_matrix(name, B, "B")
    if A.dtype is not B.dtype:
        raise RuntimeError(
            f"{name}: Expected A and B to have the same dtype, but found A of type {type_name(A.dtype)} and B of type "
            f"{type_name(B.dtype)} instead"
        )
    if A._shape[-1] != B._shape[-2 if left else -1]:
        raise RuntimeError(
            f"{name}: Incompatible shapes of A and B for the equation {'AX = B' if left else 'XA = B'} "
            f"({A._shape[-2]}x{A._shape[-1]} and {B._shape[-2]}x{B._shape[-1]})"
        )
    return solve_triangular_op(A, B, upper=upper, left=left, unitriangular=unitriangular)


@public("torch Tensor")
def triangular_solve(
    input: Tensor, A: Tensor, upper: bool = True, transpose: bool = False, unitriangular: bool = False
) -> Any:
    """The deprecated spelling of `linalg.solve_triangular`; gives the solution and a copy of A."""
    warn_once(
        "torch.triangular_solve is deprecated in favor of torch.linalg.solve_triangularand will be removed in a future "
        "PyTorch release."
    )
    matrix = A.transpose(-2, -1) if transpose else A
    X = solve_triangular(matrix, input, upper=upper != transpose, unitriangular=unitriangular)
    return return_types.triangular_solve((X, A.clone()))


# -- general systems -------------------------------------------------------------------------------------------


def _singular(name: str, A: np.ndarray, what: str) -> LinAlgError:
    at, pivot = first_zero_pivot(A)
    if what == "solver":
        return LinAlgError(
            f"torch.linalg.solve: {batch_note(A.shape, at)}The solver failed because the input matrix is singular."
        )
    return LinAlgError(
        f"{name}: {batch_note(A.shape, at)}The diagonal element {pivot} is zero, the inversion could not be completed "
        "because the input matrix is singular."
    )


def _inv(A: np.ndarray) -> np.ndarray:
    try:
        return np.linalg.inv(A)
    except np.linalg.LinAlgError:
        raise _singular("linalg.inv", A, "inversion") from None


inv_op = op(
    "linalg_inv_ex", eager=True, ref=_inv, meta=lambda A: Meta(A._shape, A.dtype, in_columns(A._shape)),
    vjp=lambda g, y, _A: (-(adjoint(y) @ g @ adjoint(y)),),
    samples=lambda t: [call(_safe(t, 3, 3)), call(_safe(t, 2, 2, 2))],
)  # fmt: skip


@public("linalg", out=True)
def inv(A: Tensor) -> Tensor:
    """The inverse of a square matrix (or batch).

    Raises:
        LinAlgError: A is singular.
    """
    require_square("linalg.inv", A)
    require_float("linalg.inv", A)
    return inv_op(A)


public("torch Tensor", name="inverse", out=True)(inv)


@public("linalg")
def inv_ex(A: Tensor, *, check_errors: bool = False) -> Any:
    """`inv` that reports singular matrices in `info` (the pivot that is zero) and fills them with infinity."""
    require_square("linalg.inv_ex", A)
    require_float("linalg.inv_ex", A)
    flat = A._array().reshape(-1, *A._shape[-2:])
    info = np.array([first_zero_pivot(m)[1] for m in flat], np.int32).reshape(A._shape[:-2])
    if not info.any() or check_errors:
        return return_types.linalg_inv_ex((inv(A), from_array(info)))
    bad = info[..., None, None] != 0
    safe = np.where(bad, np.eye(A._shape[-1], dtype=A.dtype.np), A._array())
    inverse = np.where(bad, np.array(np.inf, A.dtype.np), np.linalg.inv(safe))
    return return_types.linalg_inv_ex((from_array(inverse), from_array(info)))


def _solve(A: np.ndarray, B: np.ndarray, left: bool) -> np.ndarray:
    try:
        if left:
            return np.linalg.solve(A, B)
        return np.linalg.solve(A.swapaxes(-1, -2), B.swapaxes(-1, -2)).swapaxes(-1, -2)
    except np.linalg.LinAlgError:
        raise _singular("linalg.solve", A, "solver") from None


def _solve_A_vjp(g: Tensor, y: Tensor, A: Tensor, _B: Any, left: bool) -> Tensor:
    gB = solve_op(adjoint(A), g, left=left)
    return -(gB @ adjoint(y) if left else adjoint(y) @ gB)


solve_op = op(
    "linalg_solve_ex", eager=True, ref=_solve, meta=lambda A, B, left: _meta_triangular(A, B, False, left, False),
    vjp=(_solve_A_vjp, lambda g, _y, A, _B, left: solve_op(adjoint(A), g, left=left)),
    samples=lambda t: [call(_safe(t, 3, 3), t(3, 2), left=True), call(_safe(t, 2, 3, 3), t(4, 3), left=False)],
)  # fmt: skip


@public("linalg", out=True)
def solve(A: Tensor, B: Tensor, *, left: bool = True) -> Tensor:
    """X with `A @ X == B` (`X @ A == B` if not `left`); B is a matrix or a vector, or a batch of them.

    Raises:
        LinAlgError: A is singular.
        RuntimeError: the shapes do not fit.
    """
    name = "linalg.solve"
    require_square(name, A)
    require_float(name, A, "lu_cpu")
    if A.dtype is not B.dtype:
        raise RuntimeError(
            f"{name}: Expected A and B to have the same dtype, but found A of type {type_name(A.dtype)} and B of type "
            f"{type_name(B.dtype)} instead"
        )
    vector = B.ndim == 1 or (A.ndim - 1 == B.ndim and B._shape == A._shape[:-1])
    if vector and not left:
        raise RuntimeError(f"{name}: Vector broadcasting of the left hand side is not supported for left=False.")
    right = unsqueeze(B, -1) if vector else B
    if A._shape[-1] != right._shape[-2 if left else -1]:
        raise RuntimeError(
            f"{name}: Incompatible shapes of A and B for the equation {'AX = B' if left else 'XA = B'} "
            f"({A._shape[-2]}x{A._shape[-1]} and {right._shape[-2]}x{right._shape[-1]})"
        )
    X = solve_op(A, right, left=left)
    return squeeze_op(X, dims=(X.ndim - 1,)) if vector else X


@public("linalg")
def solve_ex(A: Tensor, B: Tensor, *, left: bool = True, check_errors: bool = False) -> Any:
    """`solve` with an `info` that is 0 for every matrix that could be solved."""
    flat = A._array().reshape(-1, *A._shape[-2:])
    info = np.array([first_zero_pivot(m)[1] for m in flat], np.int32).reshape(A._shape[:-2])
    if info.any() and not check_errors:
        bad = from_array(np.where(info[..., None, None] != 0, np.array(np.nan, A.dtype.np), A._array()))
        return return_types.linalg_solve_ex((solve(bad, B, left=left), from_array(info)))
    return return_types.linalg_solve_ex((solve(A, B, left=left), from_array(info)))


# -- determinants ----------------------------------------------------------------------------------------------


def _det_vjp(g: Tensor, y: Tensor, A: Tensor) -> tuple:
    if A._shape[-1] == 0:
        return (A * 0,)
    scale = unsqueeze(unsqueeze(g * conj(y), -1), -1)
    if y._array().all():
        return (scale * adjoint(inv_op(A)),)
    return (unsqueeze(unsqueeze(g, -1), -1) * _cofactors(A),)


def _cofactors(A: Tensor) -> Tensor:
    """The derivative of det, for singular matrices too: minors by way of the singular values."""
    U, S, Vh = np.linalg.svd(A._array())
    n = S.shape[-1]
    others = np.stack([np.delete(S, i, -1).prod(-1) for i in range(n)], -1)
    turn = np.conj(np.linalg.det(U) * np.linalg.det(Vh))[..., None, None]
    return from_array((np.conj(turn) * ((U * others[..., None, :]) @ Vh)).astype(A.dtype.np))


det_op = op(
    "linalg_det", eager=True,
    ref=lambda A: np.asarray(np.linalg.det(A)), meta=lambda A: Meta(A._shape[:-2], A.dtype), vjp=_det_vjp,
    samples=lambda t: [call(_safe(t, 3, 3)), call(_safe(t, 2, 2, 2))],
)  # fmt: skip


def _slogdet_vjp(g: tuple, y: tuple, A: Tensor) -> tuple:
    g_sign, g_log = g
    scale = g_log.to(A.dtype) if g_log is not None else None
    if A.dtype.is_complex and g_sign is not None:
        turn = conj(g_sign) * y[0]
        imaginary = (turn - real_part(turn)).to(A.dtype)
        scale = -imaginary if scale is None else scale - imaginary
    if scale is None:
        return (None,)
    return (unsqueeze(unsqueeze(scale, -1), -1) * adjoint(inv_op(A)),)


slogdet_op = op(
    "linalg_slogdet", eager=True,
    ref=lambda A: tuple(np.asarray(p) for p in np.linalg.slogdet(A)), multiple=True, vjp=_slogdet_vjp,
    meta=lambda A: (Meta(A._shape[:-2], A.dtype), Meta(A._shape[:-2], A.dtype.to_real())),
    samples=lambda t: [call(_safe(t, 3, 3)), call(_safe(t, 2, 2, 2))],
)  # fmt: skip


@public("linalg torch Tensor", out=True)
def det(A: Tensor) -> Tensor:
    """The determinant of a square matrix (or batch)."""
    require_square("linalg.det", A)
    require_float("linalg.det", A, "lu_cpu")
    return det_op(A)


@public("linalg", out=True)
def slogdet(A: Tensor) -> Any:
    """The sign of the determinant and the logarithm of its size."""
    require_square("linalg.slogdet", A)
    require_float("linalg.slogdet", A)
    return return_types.linalg_slogdet(slogdet_op(A))


@public("torch Tensor", name="slogdet")
def _old_slogdet(input: Tensor) -> Any:
    """The older spelling of `linalg.slogdet`."""
    return return_types.slogdet(slogdet(input))


@public("torch Tensor")
def logdet(input: Tensor) -> Tensor:
    """The logarithm of the determinant: NaN where it is negative."""
    sign, log = slogdet(input)
    if input.dtype.is_complex:
        return sign.log() + log
    return log.masked_fill(sign == -1, float("nan"))


# -- LU --------------------------------------------------------------------------------------------------------


def _lu(A: np.ndarray, pivot: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """L and U packed in one matrix, the row swapped with each row (1-based), and the first zero pivot."""
    LU = np.array(A, order="C")
    flat = LU.reshape(-1, *A.shape[-2:])
    m, n = A.shape[-2:]
    k = min(m, n)
    pivots = np.broadcast_to(np.arange(1, k + 1, dtype=np.int32), (len(flat), k)).copy()
    info = np.zeros(len(flat), np.int32)
    for b, M in enumerate(flat):
        for j in range(k):
            p = j + int(np.argmax(np.abs(M[j:, j]))) if pivot else j
            pivots[b, j] = p + 1
            if p != j:
                M[[j, p]] = M[[p, j]]
            if M[j, j] == 0:
                info[b] = info[b] or j + 1
                continue
            M[j + 1 :, j] /= M[j, j]
            M[j + 1 :, j + 1 :] -= np.outer(M[j + 1 :, j], M[j, j + 1 :])
    return LU, pivots.reshape(*A.shape[:-2], k), info.reshape(A.shape[:-2])


def permutation(pivots: np.ndarray, rows: int) -> np.ndarray:
    """The matrix P with `P @ L @ U == A` for LAPACK's list of row swaps."""
    flat = pivots.reshape(-1, pivots.shape[-1])
    P = np.zeros((len(flat), rows, rows))
    for b, swaps in enumerate(flat):
        order = np.arange(rows)
        for j, p in enumerate(swaps):
            order[[j, p - 1]] = order[[p - 1, j]]
        P[b, order, np.arange(rows)] = 1
    return P.reshape(*pivots.shape[:-1], rows, rows)


def _meta_lu(A: Tensor, pivot: bool) -> tuple[Meta, Meta, Meta]:
    k = min(A._shape[-2:])
    batch = A._shape[:-2]
    return (
        Meta(A._shape, A.dtype, in_columns(A._shape)), Meta((*batch, k), dtypes.int32), Meta(batch, dtypes.int32),
    )  # fmt: skip


def _lu_vjp(g: tuple, y: tuple, _A: Any, pivot: bool) -> tuple:
    """Of `P @ L @ U == A`: the square part by triangular solves, what is left over of a long side by one of them."""
    gLU, LU = g[0], y[0]
    if gLU is None:
        return (None,)
    m, n = _A.shape[-2:]
    k = min(m, n)
    P = from_array(permutation(y[1]._array(), m).astype(LU.dtype.np))
    head, g_head = LU[..., :k, :k], gLU[..., :k, :k]
    Lh, Uh = adjoint(_unit_lower(head)), adjoint(triu(head))
    low, up = Lh @ tril(g_head, -1), triu(g_head) @ adjoint(triu(head))
    if n > k:
        low = low - gLU[..., :k, k:] @ adjoint(LU[..., :k, k:])
    if m > k:
        up = up - adjoint(LU[..., k:, :k]) @ gLU[..., k:, :k]
    inner = tril(low, -1) + triu(up)

    def by_L(x: Tensor) -> Tensor:
        return solve_triangular_op(Lh, x, upper=True, left=True, unitriangular=True)

    def by_U(x: Tensor) -> Tensor:
        return solve_triangular_op(Uh, x, upper=False, left=False, unitriangular=False)

    gA = by_U(by_L(inner))
    if n > k:
        gA = cat([gA, by_L(gLU[..., :k, k:])], -1)
    if m > k:
        gA = cat([gA, by_U(gLU[..., k:, :k])], -2)
    return (P @ gA,)


def _unit_lower(LU: Tensor) -> Tensor:
    k = min(LU._shape[-2:])
    ones = np.eye(LU._shape[-2], k, dtype=LU.dtype.np)
    return tril(LU[..., :k], -1) + from_array(ones)


lu_op = op(
    "linalg_lu_factor_ex", eager=True, ref=_lu, meta=_meta_lu, vjp=_lu_vjp, multiple=True, kept_outputs=(0, 1),
    samples=lambda t: [call(_safe(t, 3, 3), pivot=True), call(t(2, 4, 3), pivot=True), call(t(2, 4), pivot=True)],
)  # fmt: skip


@public("linalg", out=True)
def lu_factor(A: Tensor, *, pivot: bool = True) -> Any:
    """L and U packed in one matrix, and the row swaps: what `lu_solve` needs."""
    require_matrix("linalg.lu_factor", A)
    require_float("linalg.lu_factor", A, "lu_cpu")
    LU, pivots, info = lu_op(A, pivot=pivot)
    if info._array().any():
        orders = info._array().reshape(-1)
        at = int(np.flatnonzero(orders)[0])
        raise RuntimeError(
            f"torch.linalg.lu_factor: {batch_note(A._shape, at)}U[{orders[at]},{orders[at]}] is zero and using it on "
            "lu_solve would result in a division by zero. If you still want to perform the factorization, consider "
            "calling linalg.lu(A, pivot) or linalg.lu_factor_ex(A, pivot)"
        )
    return return_types.linalg_lu_factor((LU, pivots))


@public("linalg")
def lu_factor_ex(A: Tensor, *, pivot: bool = True, check_errors: bool = False) -> Any:
    """`lu_factor` with an `info`: the first zero on the diagonal of U, or 0."""
    require_matrix("linalg.lu_factor_ex", A)
    require_float("linalg.lu_factor_ex", A, "lu_cpu")
    return return_types.linalg_lu_factor_ex(lu_op(A, pivot=pivot))


def _unpacked(LU: Tensor, pivots: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    m, n = LU._shape[-2:]
    P = from_array(permutation(pivots._array(), m).astype(LU.dtype.np))
    return P, _unit_lower(LU), triu(LU[..., : min(m, n), :])


@public("linalg", out=True)
def lu(A: Tensor, *, pivot: bool = True) -> Any:
    """P, L, U with `A == P @ L @ U`: a permutation, a unit lower and an upper triangle."""
    require_matrix("linalg.lu", A)
    require_float("linalg.lu", A, "lu_cpu")
    LU, pivots, _ = lu_op(A, pivot=pivot)
    return return_types.linalg_lu(_unpacked(LU, pivots))


@public("torch")
def lu_unpack(LU_data: Tensor, LU_pivots: Tensor, unpack_data: bool = True, unpack_pivots: bool = True) -> Any:
    """P, L and U from the packed form that `lu_factor` gives."""
    P, L, U = _unpacked(LU_data, LU_pivots)
    none = LU_data.new_empty((0,))
    return return_types.lu_unpack(
        (P if unpack_pivots else none, L if unpack_data else none, U if unpack_data else none)
    )


@public("torch Tensor", name="lu")
def _old_lu(A: Tensor, pivot: bool = True, get_infos: bool = False) -> tuple[Tensor, ...]:
    """The deprecated spelling of `linalg.lu_factor`."""
    warn_once(
        "torch.lu is deprecated in favor of torch.linalg.lu_factor / torch.linalg.lu_factor_ex and will be removed in "
        "a future PyTorch release."
    )
    parts = lu_op(A, pivot=pivot)
    return parts if get_infos else parts[:2]


@public("linalg", out=True)
def lu_solve(LU: Tensor, pivots: Tensor, B: Tensor, *, left: bool = True, adjoint: bool = False) -> Tensor:
    """X with `A @ X == B` (`X @ A == B` if not `left`) from the LU factors of A."""
    P, L, U = _unpacked(LU, pivots)
    if adjoint != (not left):  # solve with the transposed factors, in the other order
        first = solve_triangular_op(U.mH if adjoint else U.mT, B if left else B.mT, upper=False, left=True,
                                    unitriangular=False)  # fmt: skip
        X = P @ solve_triangular_op(L.mH if adjoint else L.mT, first, upper=True, left=True, unitriangular=True)
    else:
        right = B if left else B.mH
        first = solve_triangular_op(L, P.mT @ right, upper=False, left=True, unitriangular=True)
        X = solve_triangular_op(U, first, upper=True, left=True, unitriangular=False)
    return X if left else X.mT if not adjoint else X.mH


@public("torch Tensor", name="lu_solve")
def _old_lu_solve(b: Tensor, LU_data: Tensor, LU_pivots: Tensor) -> Tensor:
    """The deprecated spelling of `linalg.lu_solve`, its arguments reversed."""
    warn_once(
        "torch.lu_solve is deprecated in favor of torch.linalg.lu_solveand will be removed in a future PyTorch "
        "release."
    )
    return lu_solve(LU_data, LU_pivots, b)
