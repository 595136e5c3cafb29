"""Decompositions of low rank by random projection (Halko, Martinsson and Tropp, 2011)."""

from __future__ import annotations

from flambeau.ops.decompose import qr, svd
from flambeau.ops.op import public
from flambeau.ops.random_create import randn
from flambeau.ops.views import adjoint, expand
from flambeau.tensors import Tensor


def _approximate_basis(A: Tensor, q: int, niter: int) -> Tensor:
    """Orthonormal columns that span most of what A reaches."""
    start = randn(A._shape[-1], q, dtype=A.dtype)
    Q = qr(A @ start)[0]
    for _ in range(niter):
        Q = qr(adjoint(A) @ Q)[0]
        Q = qr(A @ Q)[0]
    return Q


@public("torch")
def svd_lowrank(A: Tensor, q: int | None = 6, niter: int | None = 2, M: Tensor | None = None) -> tuple[Tensor, ...]:
    """U, S, V of `A - M` with about the `q` largest singular values; draws from the random generator."""
    q = 6 if q is None else q
    A = A if M is None else A - expand(M, A._shape)
    m, n = A._shape[-2:]
    wide = m < n
    A = adjoint(A) if wide else A
    Q = _approximate_basis(A, q, 2 if niter is None else niter)
    U, S, Vh = svd(adjoint(Q) @ A, full_matrices=False)
    U, V = Q @ U, adjoint(Vh)
    return (V, S, U) if wide else (U, S, V)


@public("torch")
def pca_lowrank(A: Tensor, q: int | None = None, center: bool = True, niter: int = 2) -> tuple[Tensor, ...]:
    """The leading principal components of the rows of A, as `svd_lowrank` of A less its mean row."""
    m, n = A._shape[-2:]
    if q is None:
        q = min(6, m, n)
    elif not 0 <= q <= min(m, n):
        raise ValueError(f"q(={q}) must be non-negative integer and not greater than min(m, n)={min(m, n)}")
    if niter < 0:
        raise ValueError(f"niter(={niter}) must be non-negative integer")
    return svd_lowrank(A - A.mean(-2, keepdim=True) if center else A, q, niter)
