"""Linear algebra: what the factors multiply to, and derivatives where the registry's tests cannot look."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import flambeau as torch
from flambeau import linalg
from flambeau.autograd.gradcheck import gradcheck, gradgradcheck
from flambeau.tensors import Tensor

RNG = np.random.default_rng(1)


def random(*shape: int, complex_: bool = False) -> Tensor:
    values = RNG.uniform(-1, 1, shape)
    return torch.from_numpy(values + 1j * RNG.uniform(-1, 1, shape) if complex_ else values)


def close(mine: Tensor, theirs: Tensor | np.ndarray) -> None:
    expected = theirs.detach().numpy() if isinstance(theirs, Tensor) else theirs
    np.testing.assert_allclose(mine.detach().numpy(), expected, rtol=1e-9, atol=1e-9)


def symmetric(x: Tensor) -> Tensor:
    return x + x.mH


def positive(x: Tensor) -> Tensor:
    return x @ x.mH + 2 * torch.eye(x.shape[-1], dtype=x.dtype)


@pytest.mark.parametrize("complex_", [False, True])
@pytest.mark.parametrize("shape", [(3, 3), (4, 2), (2, 4), (2, 3, 3), (2, 2, 3), (0, 3, 2)])
def test_factors_multiply_to_the_matrix(shape: tuple, complex_: bool) -> None:
    A = random(*shape, complex_=complex_)
    U, S, Vh = linalg.svd(A, full_matrices=False)
    close(U @ (S.unsqueeze(-1).to(A.dtype) * Vh), A)
    for mode in ("reduced", "complete"):
        Q, R = linalg.qr(A, mode)
        close(Q @ R, A)
    P, L, U = linalg.lu(A)
    close(P @ L @ U, A)
    close(A @ linalg.pinv(A) @ A, A)


@pytest.mark.parametrize("complex_", [False, True])
def test_square_matrices(complex_: bool) -> None:
    A, B = random(2, 3, 3, complex_=complex_), random(2, 3, 2, complex_=complex_)
    close(A @ linalg.inv(A), np.broadcast_to(np.eye(3), (2, 3, 3)))
    close(A @ linalg.solve(A, B), B)
    close(linalg.solve(A, B.mT, left=False) @ A, B.mT)
    close(linalg.det(A), np.linalg.det(A.numpy()))
    sign, log = linalg.slogdet(A)
    close(sign * log.exp(), linalg.det(A))
    L = linalg.cholesky(positive(A))
    close(L @ L.mH, positive(A))
    w, V = linalg.eigh(symmetric(A))
    close(V @ torch.diag_embed(w.to(A.dtype)) @ V.mH, symmetric(A))
    w, V = linalg.eig(A)
    close(V @ torch.diag_embed(w), A.to(torch.complex128) @ V)
    LU, pivots = linalg.lu_factor(A)
    close(A @ linalg.lu_solve(LU, pivots, B), B)
    close(A.mH @ linalg.lu_solve(LU, pivots, B, adjoint=True), B)
    close(linalg.lu_solve(LU, pivots, B.mT, left=False) @ A, B.mT)
    close(linalg.lu_solve(LU, pivots, B.mT, left=False, adjoint=True) @ A.mH, B.mT)


@pytest.mark.parametrize("upper", [False, True])
@pytest.mark.parametrize("left", [False, True])
def test_triangular_systems_read_one_triangle(upper: bool, left: bool) -> None:
    A = random(3, 3) + 2 * torch.eye(3, dtype=torch.float64)
    B = random(3, 2) if left else random(2, 3)
    T = A.triu() if upper else A.tril()
    X = linalg.solve_triangular(A, B, upper=upper, left=left)
    close(T @ X if left else X @ T, B)


def test_a_zero_on_a_triangles_diagonal_gives_infinities() -> None:
    T = torch.tensor([[2.0, 1.0], [0.0, 0.0]])
    assert linalg.solve_triangular(T, torch.ones(2, 1), upper=True).flatten().tolist()[1] == float("inf")


GAUGE_FREE: dict[str, Callable] = {
    "cholesky": lambda x: linalg.cholesky(positive(x)),
    "eigvalsh": lambda x: linalg.eigvalsh(symmetric(x)),
    "eigh": lambda x: linalg.eigh(symmetric(x))[1].abs(),
    "eigvals": lambda x: torch.view_as_real(linalg.eigvals(x)),
    "eig": lambda x: linalg.eig(x)[1].abs(),
    "polar": lambda x: linalg.svd(x, full_matrices=False)[0] @ linalg.svd(x, full_matrices=False)[2],
    "nuclear": lambda x: linalg.matrix_norm(x, "nuc"),
    "spectral": lambda x: linalg.matrix_norm(x, 2),
    "columns": lambda x: linalg.matrix_norm(x, 1),
    "cond": lambda x: linalg.cond(x),
    "expm": lambda x: torch.matrix_exp(x),
    "lstsq": lambda x: linalg.lstsq(x, torch.ones(3, 2, dtype=x.dtype)).solution,
    "logdet": lambda x: torch.logdet(positive(x)),
}


@pytest.mark.parametrize("complex_", [False, True])
@pytest.mark.parametrize("name", GAUGE_FREE)
def test_derivatives(name: str, complex_: bool) -> None:
    if name == "logdet" and complex_:
        pytest.skip("the logarithm of a complex determinant jumps by turns")
    x = random(3, 3, complex_=complex_).requires_grad_()
    assert gradcheck(GAUGE_FREE[name], (x,))
    assert gradgradcheck(GAUGE_FREE[name], (x,))


def test_gradient_of_det_at_a_singular_matrix() -> None:
    x = torch.tensor([[1.0, 2.0], [2.0, 4.0]], dtype=torch.float64, requires_grad=True)
    linalg.det(x).backward()
    assert x.grad is not None
    close(x.grad, np.array([[4.0, -2.0], [-2.0, 1.0]]))


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (lambda: linalg.inv(torch.zeros(2, 2)), "linalg.inv: The diagonal element 1 is zero, the inversion could not"),
        (lambda: linalg.inv(torch.stack([torch.eye(2), torch.zeros(2, 2)])), "linalg.inv: (Batch element 1): The"),
        (lambda: linalg.solve(torch.zeros(2, 2), torch.ones(2)), "The solver failed because the input matrix is"),
        (lambda: linalg.cholesky(torch.tensor([[1.0, 2.0], [2.0, 1.0]])),
         "the input is not positive-definite (the leading minor of order 2 is not positive-definite)."),
    ],
)  # fmt: skip
def test_singular_matrices_raise_linalg_errors(attempt: Callable, message: str) -> None:
    with pytest.raises(linalg.LinAlgError) as caught:
        attempt()
    assert message in str(caught.value)
    assert isinstance(caught.value, RuntimeError)


def test_ex_variants_report_instead() -> None:
    L, info = linalg.cholesky_ex(torch.stack([torch.eye(2), -torch.eye(2)]))
    assert info.tolist() == [0, 1]
    assert L[0].tolist() == torch.eye(2).tolist()
    inverse, info = linalg.inv_ex(torch.zeros(2, 2))
    assert info.item() == 1
    assert not inverse.isfinite().any()


def test_norms_ranks_and_conditions() -> None:
    A = random(4, 3)
    for order in ("fro", "nuc", 1, -1, 2, -2, float("inf"), float("-inf")):
        close(linalg.matrix_norm(A, order), np.linalg.norm(A.numpy(), order))
        close(linalg.norm(A, order, keepdim=True), np.linalg.norm(A.numpy(), order, keepdims=True))
    assert linalg.matrix_rank(torch.ones(3, 3)).item() == 1
    close(linalg.cond(A[:3], 1), np.linalg.cond(A[:3].numpy(), 1))
    batch = random(2, 3, 4)
    close(linalg.matrix_norm(batch, "nuc", dim=(0, 2)), np.linalg.norm(batch.numpy(), "nuc", axis=(0, 2)))


def test_tensor_equations() -> None:
    A = random(2, 3, 6)
    close(torch.tensordot(linalg.tensorinv(A, ind=2), A, 2), np.eye(6))
    B = random(2, 3)
    close(torch.tensordot(A, linalg.tensorsolve(A, B), 1), B)


def test_householder_products_are_orthonormal() -> None:
    v = random(4, 2)
    tau = torch.stack([2 / (1 + (v[i + 1 :, i] ** 2).sum()) for i in range(2)])
    Q = linalg.householder_product(v, tau)
    close(Q.mT @ Q, np.eye(2))
