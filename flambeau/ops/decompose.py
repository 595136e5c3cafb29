"""Decompositions of matrices: Cholesky, QR, eigenvalues, singular values, with their derivatives."""

from __future__ import annotations

from typing import Any

import numpy as np

from flambeau import dtypes
from flambeau.engine.execute import Meta
from flambeau.errors import warn_once
from flambeau.ops import return_types
from flambeau.ops.apply import type_name
from flambeau.ops.create import eye
from flambeau.ops.join import cat
from flambeau.ops.matrices import (
    LinAlgError,
    batch_note,
    diag_of,
    in_columns,
    real_part,
    require_float,
    require_matrix,
    require_square,
    skew,
)
from flambeau.ops.op import op, public
from flambeau.ops.samples import Maker, call
from flambeau.ops.shape_ops import diag_embed, tril, triu
from flambeau.ops.systems import solve_op, solve_triangular_op
from flambeau.ops.views import adjoint, slice_op, unsqueeze
from flambeau.shape import Ints
from flambeau.tensors import Tensor


def _narrowed(x: Tensor, dim: int, start: int, stop: int) -> Tensor:
    return slice_op(x, dim=dim % x.ndim, start=start, length=stop - start, step=1)


def _total(*parts: Tensor | None) -> Tensor | None:
    found = [p for p in parts if p is not None]
    return sum(found[1:], found[0]) if found else None


# -- Cholesky --------------------------------------------------------------------------------------------------


def _failing_minor(A: np.ndarray) -> int:
    """The order of the first leading minor that is not positive, 0 if all are."""
    for k in range(1, len(A) + 1):
        try:
            np.linalg.cholesky(A[:k, :k])
        except np.linalg.LinAlgError:
            return k
    return 0


def _cholesky(A: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    info = np.zeros(A.shape[:-2], np.int32)
    try:
        return np.linalg.cholesky(A), info
    except np.linalg.LinAlgError:
        L = np.tril(A)
    flat, flags = L.reshape(-1, *A.shape[-2:]), info.reshape(-1)
    for i, matrix in enumerate(A.reshape(flat.shape)):
        flags[i] = _failing_minor(matrix)
        if not flags[i]:
            flat[i] = np.linalg.cholesky(matrix)
    return L, info


def _cholesky_vjp(g: tuple, y: tuple, _A: Any) -> tuple:
    gL, L = g[0], y[0]
    if gL is None:
        return (None,)
    Lh = adjoint(L)
    inner = tril(Lh @ gL)
    inner = (inner + adjoint(tril(inner, -1))) if not inner.dtype.is_complex else _hermitian_lower(inner)
    half = solve_triangular_op(Lh, inner, upper=True, left=True, unitriangular=False)
    return (solve_triangular_op(L, half, upper=False, left=False, unitriangular=False) * 0.5,)


def _hermitian_lower(x: Tensor) -> Tensor:
    return tril(x, -1) + adjoint(tril(x, -1)) + diag_embed(real_part(diag_of(x)))


def _positive(t: Maker, *shape: int) -> Tensor:
    a = t(*shape)
    return (a @ adjoint(a) + 2 * eye(shape[-1], dtype=a.dtype)).detach()


cholesky_op = op(
    "linalg_cholesky_ex", eager=True, ref=_cholesky, multiple=True, vjp=_cholesky_vjp, smooth=False, kept_outputs=(0,),
    meta=lambda A: (Meta(A._shape, A.dtype, in_columns(A._shape)), Meta(A._shape[:-2], dtypes.int32)),
    samples=lambda t: [call(_positive(t, 3, 3)), call(_positive(t, 2, 3, 3))],
)  # fmt: skip


def _raise_not_positive(name: str, shape: Ints, info: Tensor) -> None:
    orders = info._array().reshape(-1)
    at = int(np.flatnonzero(orders)[0])
    raise LinAlgError(
        f"{name}: {batch_note(shape, at)}The factorization could not be completed because the input is not "
        f"positive-definite (the leading minor of order {orders[at]} is not positive-definite)."
    )


def _factor(name: str, A: Tensor, upper: bool, check: bool) -> tuple[Tensor, Tensor]:
    require_square(name, A)
    require_float(name, A, "cholesky_cpu")
    L, info = cholesky_op(adjoint(A) if upper else A)
    if check and info._array().any():
        _raise_not_positive(name, A._shape, info)
    return adjoint(L) if upper else L, info


@public("linalg", out=True)
def cholesky(A: Tensor, *, upper: bool = False) -> Tensor:
    """The lower triangular L with `L @ L.mH == A` of a positive definite matrix (or batch); `upper` gives `L.mH`.

    Raises:
        LinAlgError: A is not positive definite.
    """
    return _factor("linalg.cholesky", A, upper, True)[0]


@public("linalg")
def cholesky_ex(A: Tensor, *, upper: bool = False, check_errors: bool = False) -> Any:
    """`cholesky` that reports failure in `info` (0: none; else the order of the minor that is not positive)."""
    return return_types.linalg_cholesky_ex(_factor("linalg.cholesky_ex", A, upper, check_errors))


@public("torch Tensor", name="cholesky")
def _old_cholesky(input: Tensor, upper: bool = False) -> Tensor:
    """The deprecated spelling of `linalg.cholesky`."""
    warn_once(
        "torch.cholesky is deprecated in favor of torch.linalg.cholesky and will be removed in a future PyTorch "
        "release."
    )
    return _factor("cholesky", input, upper, True)[0]


# -- QR --------------------------------------------------------------------------------------------------------


def _qr(A: np.ndarray, mode: Any) -> tuple[Any, ...]:
    return (np.zeros((0,), A.dtype), np.linalg.qr(A, "r")) if mode == "r" else tuple(np.linalg.qr(A, mode))


def _meta_qr(A: Tensor, mode: str) -> tuple[Meta, Meta]:
    m, n = A._shape[-2:]
    k = min(m, n) if mode != "complete" else m
    batch = A._shape[:-2]
    q, r = (*batch, m, k), (*batch, k, n)
    Q = Meta((0,), A.dtype) if mode == "r" else Meta(q, A.dtype, in_columns(q))
    return Q, Meta(r, A.dtype, in_columns(r))


def _qr_vjp(g: tuple, y: tuple, A: Tensor, mode: str) -> tuple:
    (gQ, gR), (Q, R) = g, y
    m, n = A._shape[-2:]
    if mode == "r":
        raise RuntimeError(
            "The derivative of linalg.qr depends on Q, which is not computed when mode='r'. Please use "
            "linalg.qr(A, mode='reduced') if you are going to require gradients."
        )
    if mode == "complete" and m > n:
        raise RuntimeError(
            "The QR decomposition is not differentiable when mode='complete' and nrows > ncols. Consider using "
            "linalg.qr(A, mode='reduced')."
        )
    if gQ is None and gR is None:
        return (None,)
    if m >= n:
        return (_qr_tall(gQ, gR, Q, R),)
    rest = None
    R1, gR1 = _narrowed(R, -1, 0, m), None
    if gR is not None:  # the last columns are Q times those of R: a product with Q like any other
        gR1, gR2 = _narrowed(gR, -1, 0, m), _narrowed(gR, -1, m, n)
        A2 = _narrowed(A, -1, m, n)
        gQ = _total(gQ, A2 @ adjoint(gR2))
        rest = Q @ gR2
    first = _qr_tall(gQ, gR1, Q, R1)
    rest = first.new_zeros((*first._shape[:-1], n - m)) if rest is None else rest
    return (cat([first, rest], -1),)


def _qr_tall(gQ: Tensor | None, gR: Tensor | None, Q: Tensor, R: Tensor) -> Tensor:
    turn = _total(gR @ adjoint(R) if gR is not None else None, -(adjoint(Q) @ gQ) if gQ is not None else None)
    assert turn is not None
    upper = triu(turn, 1)
    both = upper + adjoint(upper) + diag_embed(real_part(diag_of(turn)))
    inner = _total(Q @ both, gQ)
    assert inner is not None
    return solve_triangular_op(adjoint(R), inner, upper=False, left=False, unitriangular=False)


qr_op = op(
    "linalg_qr", eager=True, ref=_qr, meta=_meta_qr, vjp=_qr_vjp, multiple=True,
    samples=lambda t: [call(t(4, 3), mode="reduced"), call(t(2, 3, 3), mode="complete"), call(t(2, 4), mode="reduced")],
)  # fmt: skip


@public("linalg", out=True)
def qr(A: Tensor, mode: str = "reduced") -> Any:
    """Q with orthonormal columns and R upper triangular, `A == Q @ R`; `mode` is "reduced", "complete" or "r"."""
    require_matrix("linalg.qr", A)
    require_float("linalg.qr", A, "geqrf_cpu")
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(
            f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), 'r', or 'complete'"
        )
    return return_types.linalg_qr(qr_op(A, mode=mode))


@public("torch Tensor", name="qr")
def _old_qr(input: Tensor, some: bool = True) -> Any:
    """The deprecated spelling of `linalg.qr`."""
    warn_once("torch.qr is deprecated in favor of torch.linalg.qr and will be removed in a future PyTorch release.")
    return return_types.qr(qr(input, "reduced" if some else "complete"))


# -- eigenvalues -----------------------------------------------------------------------------------------------


def _gaps(L: Tensor) -> Tensor:
    """Differences of eigenvalues, L_j - L_i, with ones on the diagonal."""
    return unsqueeze(L, -2) - unsqueeze(L, -1) + _eye(L)


def _eye(L: Tensor) -> Tensor:
    return diag_embed(L.detach() * 0 + 1)


def _off_diagonal(x: Tensor) -> Tensor:
    return x - diag_embed(diag_of(x))


def _eigh_vjp(g: tuple, y: tuple, _A: Any, UPLO: str) -> tuple:
    (gL, gV), (L, V) = g, y
    inner = None
    if gV is not None:
        inner = skew(adjoint(V) @ gV) * 0.5
        inner = _off_diagonal(inner) / _gaps(L)
    if gL is not None:
        inner = _total(inner, diag_embed(gL.to(V.dtype)))
    return (V @ inner @ adjoint(V) if inner is not None else None,)


eigh_op = op(
    "linalg_eigh", eager=True,
    ref=lambda A, UPLO: tuple(np.linalg.eigh(A, UPLO)), multiple=True, vjp=_eigh_vjp, smooth=False,
    meta=lambda A, UPLO: (Meta(A._shape[:-1], A.dtype.to_real()), Meta(A._shape, A.dtype, in_columns(A._shape))),
    samples=lambda t: [call(_positive(t, 3, 3), UPLO="L"), call(_positive(t, 2, 3, 3), UPLO="U")],
)  # fmt: skip


def _hermitian(name: str, A: Tensor, UPLO: str) -> tuple[Tensor, Tensor]:
    require_square(name, A)
    if A.dtype.category < dtypes.FLOAT:
        raise NotImplementedError(f"\"linalg_eigh_cpu\" not implemented for '{type_name(A.dtype)}'")
    require_float(name, A, "linalg_eigh_cpu")
    if UPLO.upper() not in ("L", "U"):
        raise RuntimeError(f"Expected UPLO argument to be 'L' or 'U', but got {UPLO}")
    try:
        return eigh_op(A, UPLO=UPLO.upper())
    except np.linalg.LinAlgError:
        raise LinAlgError(
            f"{name}: The algorithm failed to converge because the input matrix is ill-conditioned or has too many "
            "repeated eigenvalues (error code: 1)."
        ) from None


@public("linalg", out=True)
def eigh(A: Tensor, UPLO: str = "L") -> Any:
    """Eigenvalues (ascending) and eigenvectors (columns) of a symmetric or Hermitian matrix; one triangle is read."""
    return return_types.linalg_eigh(_hermitian("linalg.eigh", A, UPLO))


@public("linalg", out=True)
def eigvalsh(A: Tensor, UPLO: str = "L") -> Tensor:
    """Eigenvalues (ascending) of a symmetric or Hermitian matrix."""
    return _hermitian("linalg.eigh", A, UPLO)[0]


def _eig(A: np.ndarray) -> tuple[np.ndarray, ...]:
    values, vectors = np.linalg.eig(A)
    kind = np.result_type(A.dtype, np.complex64)  # NumPy gives real arrays where all eigenvalues are real
    return values.astype(kind), vectors.astype(kind)


def _eig_vjp(g: tuple, y: tuple, _A: Any) -> tuple:
    (gL, gV), (L, V) = g, y
    Vh = adjoint(V)
    inner = None
    if gV is not None:
        VhgV = Vh @ gV
        # eigenvectors have norm 1: what would stretch them is taken out
        inner = _off_diagonal(VhgV - (Vh @ V) * unsqueeze(real_part(diag_of(VhgV)), -2)) / _gaps(L).conj()
    if gL is not None:
        inner = _total(inner, diag_embed(gL))
    if inner is None:
        return (None,)
    return (solve_op(Vh, inner @ Vh, left=True),)


def _meta_eig(A: Tensor) -> tuple[Meta, Meta]:
    c = A.dtype.to_complex()
    return Meta(A._shape[:-1], c), Meta(A._shape, c, in_columns(A._shape))


eig_op = op(
    "linalg_eig", eager=True, ref=_eig, meta=_meta_eig, vjp=_eig_vjp, multiple=True, smooth=False,
    samples=lambda t: [call(t(3, 3)), call(t(2, 3, 3))],
)  # fmt: skip


def _general(A: Tensor) -> tuple[Tensor, Tensor]:
    require_square("linalg.eig", A)
    require_float("linalg.eig", A)
    if not np.isfinite(A._array()).all():
        raise RuntimeError("torch.linalg.eig: input tensor should not contain infs or NaNs.")
    return eig_op(A)


@public("linalg", out=True)
def eig(A: Tensor) -> Any:
    """Complex eigenvalues and eigenvectors (columns of norm 1) of a square matrix."""
    return return_types.linalg_eig(_general(A))


@public("linalg", out=True)
def eigvals(A: Tensor) -> Tensor:
    """Complex eigenvalues of a square matrix."""
    return _general(A)[0]


# -- singular values -------------------------------------------------------------------------------------------


def _svd(A: np.ndarray, full_matrices: bool) -> tuple:
    return tuple(np.linalg.svd(A, full_matrices))


def _meta_svd(A: Tensor, full_matrices: bool) -> tuple[Meta, Meta, Meta]:
    m, n = A._shape[-2:]
    k, batch = min(m, n), A._shape[:-2]
    u = (*batch, m, m if full_matrices else k)
    v = (*batch, n if full_matrices else k, n)
    return (
        Meta(u, A.dtype, in_columns(u)), Meta((*batch, k), A.dtype.to_real()), Meta(v, A.dtype, in_columns(v)),
    )  # fmt: skip


def _svd_vjp(g: tuple, y: tuple, _A: Any, full_matrices: bool) -> tuple:
    gU, gS, gVh = g
    U, S, Vh = y
    m, n = _A.shape[-2:]
    k = min(m, n)
    if full_matrices:
        U, Vh = _narrowed(U, -1, 0, k), _narrowed(Vh, -2, 0, k)
        gU = _narrowed(gU, -1, 0, k) if gU is not None else None
        gVh = _narrowed(gVh, -2, 0, k) if gVh is not None else None
    if gU is None and gVh is None:
        return (U @ (unsqueeze(gS.to(U.dtype), -1) * Vh) if gS is not None else None,)
    S = S.to(U.dtype)
    gaps = unsqueeze(S * S, -2) - unsqueeze(S * S, -1) + _eye(S)
    V = adjoint(Vh)
    UhgU = adjoint(U) @ gU if gU is not None else None
    VhgV = Vh @ adjoint(gVh) if gVh is not None else None
    inner = _total(
        skew(UhgU) / gaps * unsqueeze(S, -2) if UhgU is not None else None,
        unsqueeze(S, -1) * (skew(VhgV) / gaps) if VhgV is not None else None,
        diag_embed(gS.to(U.dtype)) if gS is not None else None,
        diag_embed(diag_of(UhgU - real_part(UhgU)) / S) if UhgU is not None and U.dtype.is_complex else None,
    )
    assert inner is not None
    left = U @ inner
    if m > k and gU is not None:
        left = left + (gU - U @ UhgU) / unsqueeze(S, -2)
    result = left @ Vh
    if n > k and gVh is not None:
        result = result + U @ ((gVh - (gVh @ V) @ Vh) / unsqueeze(S, -1))
    return (result,)


svd_op = op(
    "linalg_svd", eager=True, ref=_svd, meta=_meta_svd, vjp=_svd_vjp, multiple=True,
    samples=lambda t: [call(t(3, 3), full_matrices=False), call(t(4, 2), full_matrices=False),
                       call(t(2, 2, 3), full_matrices=False), call(t(3, 3), full_matrices=True)],
)  # fmt: skip


def _singular(name: str, A: Tensor, full_matrices: bool) -> tuple[Tensor, Tensor, Tensor]:
    require_matrix(name, A)
    require_float(name, A, "linalg_svd_cpu")
    try:
        return svd_op(A, full_matrices=full_matrices)
    except np.linalg.LinAlgError:
        raise LinAlgError(
            f"{name}: The algorithm failed to converge because the input matrix contained non-finite values."
        ) from None


@public("linalg", out=True)
def svd(A: Tensor, full_matrices: bool = True, *, driver: str | None = None) -> Any:
    """U, S, Vh with `A == U @ diag(S) @ Vh`: orthonormal columns and rows, singular values descending."""
    return return_types.linalg_svd(_singular("linalg.svd", A, full_matrices))


@public("linalg", out=True)
def svdvals(A: Tensor, *, driver: str | None = None) -> Tensor:
    """Singular values, descending."""
    return _singular("linalg.svd", A, False)[1]


@public("torch Tensor", name="svd")
def _old_svd(input: Tensor, some: bool = True, compute_uv: bool = True) -> Any:
    """The older spelling: U, S, V with `input == U @ diag(S) @ V.mH`."""
    U, S, Vh = _singular("linalg.svd", input, not some)
    if not compute_uv:
        m, n = input._shape[-2:]
        return return_types.svd((input.new_zeros((*S._shape[:-1], m, m)), S, input.new_zeros((*S._shape[:-1], n, n))))
    return return_types.svd((U, S, adjoint(Vh)))
