"""Functions of whole matrices: norms, condition, rank, powers, exponential, pseudo-inverse, least squares."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NoReturn

import numpy as np

from flambeau import dtypes
from flambeau.dtypes import dtype as DType
from flambeau.engine.execute import Meta
from flambeau.ops import return_types
from flambeau.ops.apply import type_name
from flambeau.ops.copies import cast, clone
from flambeau.ops.create import eye
from flambeau.ops.decompose import eigvalsh, svdvals
from flambeau.ops.elementwise import conj
from flambeau.ops.join import cat
from flambeau.ops.matrices import require_float, require_matrix, require_square
from flambeau.ops.norms import vector_norm
from flambeau.ops.op import op, public
from flambeau.ops.samples import call
from flambeau.ops.systems import inv, inv_op, solve, solve_triangular_op
from flambeau.ops.views import adjoint, expand, permute, reshape, squeeze_op, unsqueeze
from flambeau.shape import wrap_dim
from flambeau.tensors import Tensor, from_array

# -- norms -----------------------------------------------------------------------------------------------------


@public("linalg", out=True)
def matrix_norm(
    A: Tensor, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, *, dtype: DType | None = None
) -> Tensor:
    """A norm of matrices: "fro", "nuc", 2 and -2 (singular values), 1, -1 (columns), inf, -inf (rows)."""
    require_matrix("linalg.matrix_norm", A)
    if dtype is None:
        if A.dtype.category < dtypes.FLOAT:
            require_float("linalg.matrix_norm", A)
    else:
        A = cast(A, dtype)
    rows, columns = (wrap_dim(d, A.ndim) for d in dim)
    if rows == columns:
        raise RuntimeError(f"linalg.matrix_norm: dims must be different. Got ({dim[0]}, {dim[1]})")
    if ord == "fro":
        return vector_norm(A, 2, (rows, columns), keepdim)
    if ord != "nuc" and (isinstance(ord, str) or abs(ord) not in (1, 2, math.inf)):
        shown = ord if isinstance(ord, str) else f"{ord:g}"
        raise RuntimeError(f"linalg.matrix_norm: Order {shown} not supported.")
    if ord in ("nuc", 2, -2):
        rest = [d for d in range(A.ndim) if d not in (rows, columns)]
        S = svdvals(permute(A, [*rest, rows, columns]))
        result = S.sum(-1) if ord == "nuc" else S.amax(-1) if ord == 2 else S.amin(-1)
        for d in sorted((rows, columns)) if keepdim else ():
            result = unsqueeze(result, d)
        return result
    summed, over = (rows, columns) if abs(ord) == 1 else (columns, rows)
    sums = vector_norm(A, 1, summed, True)
    best = sums.amax(over, True) if ord > 0 else sums.amin(over, True)
    return best if keepdim else squeeze_op(best, dims=(rows, columns))


@public("linalg", out=True)
def norm(
    A: Tensor, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Tensor:
    """A vector norm (one dimension, or no `ord`) or a matrix norm (two dimensions)."""
    if ord is None:
        return vector_norm(A, 2, dim, keepdim, dtype=dtype)
    if dim is not None:
        dims = (dim,) if isinstance(dim, int) else tuple(dim)
        if len(dims) not in (1, 2):
            raise RuntimeError(f"linalg.norm: If dim is specified, it must be of length 1 or 2. Got {list(dims)}")
        matrix = len(dims) == 2
    else:
        if A.ndim not in (1, 2):
            raise RuntimeError(
                f"linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got {A.ndim}D."
            )
        matrix = A.ndim == 2 or isinstance(ord, str)
        dims = (-2, -1) if matrix else (0,)
    if matrix or isinstance(ord, str):
        return matrix_norm(A, ord, dims, keepdim, dtype=dtype)
    return vector_norm(A, ord, dims, keepdim, dtype=dtype)


@public("linalg", out=True)
def cond(A: Tensor, p: Any = None) -> Tensor:
    """The condition number: the ratio of extreme singular values, or a norm times that of the inverse."""
    require_matrix("linalg.cond", A)
    if p in (None, 2, -2):
        S = svdvals(A)
        return S[..., -1] / S[..., 0] if p == -2 else S[..., 0] / S[..., -1]
    require_square(f"linalg.cond(ord={p})", A)
    if p == "nuc":
        S = svdvals(A)
        return S.sum(-1) * (1 / S).sum(-1)
    return matrix_norm(A, p) * matrix_norm(inv(A), p)


@public("linalg", out=True)
def matrix_rank(
    A: Tensor, tol: Any = None, *, atol: Any = None, rtol: Any = None, hermitian: bool = False
) -> Tensor:
    """The number of singular values above `max(atol, rtol * largest)`; rtol is max(m, n) * eps unless atol is given."""
    require_matrix("torch.linalg.matrix_rank", A, "input")
    _require_wide(A)
    S = eigvalsh(A).abs() if hermitian else svdvals(A)
    if tol is not None:
        limit = np.asarray(tol._array() if isinstance(tol, Tensor) else tol)
    else:
        limit = _tolerance(S, A, atol, rtol)
    values = S.detach()._array()
    return from_array(np.asarray((values > limit[..., None]).sum(-1, dtype=np.int64)))


def _require_wide(A: Tensor) -> None:
    if A.dtype.category < dtypes.FLOAT or A.dtype.itemsize < 4:
        raise RuntimeError("This function doesn't handle types other than float and double")


def _tolerance(S: Tensor, A: Tensor, atol: Any, rtol: Any) -> np.ndarray:
    absolute, relative = (np.asarray(t._array() if isinstance(t, Tensor) else t or 0.0) for t in (atol, rtol))
    if rtol is None and not (absolute > 0).any():
        relative = np.asarray(max(A._shape[-2:]) * dtypes.finfo(S.dtype).eps)
    values = S.detach()._array()
    largest = values.max(-1) if values.shape[-1] else np.zeros(values.shape[:-1])
    return np.maximum(absolute, relative * largest)


# -- powers and the exponential --------------------------------------------------------------------------------


@public("torch Tensor linalg", out=True)
def matrix_power(input: Tensor, n: int) -> Tensor:
    """The n-th power of a square matrix (or batch); negative powers are those of the inverse."""
    require_square("linalg.matrix_power", input)
    if n == 0:
        return expand(eye(input._shape[-1], dtype=input.dtype), input._shape).clone()
    if n < 0:
        input, n = inv(input), -n
    if n == 1:
        return clone(input)
    result, square = None, input
    while n:
        if n & 1:
            result = square if result is None else result @ square
        n >>= 1
        square = square @ square if n else square
    assert result is not None
    return result


_PADE = (64764752532480000, 32382376266240000, 7771770303897600, 1187353796428800, 129060195264000, 10559470521600,
         670442572800, 33522128640, 1323241920, 40840800, 960960, 16380, 182, 1)  # fmt: skip


def _expm(A: np.ndarray) -> np.ndarray:
    """Scaling and squaring with the Pade approximant of degree 13 (Higham, 2005), in double precision."""
    if A.shape[-1] == 0:
        return A.copy()
    wide = A.astype(np.complex128 if A.dtype.kind == "c" else np.float64)
    size = np.abs(wide).sum(-2).max(-1)
    squarings = np.where(size > 5.4, np.ceil(np.log2(np.maximum(size, 1e-300) / 5.4)), 0).astype(int)
    X = wide / (2.0**squarings)[..., None, None]
    one = np.broadcast_to(np.eye(A.shape[-1]), X.shape)
    X2 = X @ X
    X4 = X2 @ X2
    X6 = X4 @ X2
    c = _PADE
    U = X @ (X6 @ (c[13] * X6 + c[11] * X4 + c[9] * X2) + c[7] * X6 + c[5] * X4 + c[3] * X2 + c[1] * one)
    V = X6 @ (c[12] * X6 + c[10] * X4 + c[8] * X2) + c[6] * X6 + c[4] * X4 + c[2] * X2 + c[0] * one
    result = np.linalg.solve(V - U, V + U)
    for i in range(int(squarings.max(initial=0))):
        result = np.where((squarings > i)[..., None, None], result @ result, result)
    return result


def _expm_vjp(g: Tensor, _y: Any, A: Tensor) -> tuple:
    """The derivative stands in the corner of the exponential of a block matrix (Van Loan, 1978)."""
    Ah, n = adjoint(A), A._shape[-1]
    blocks = cat([cat([Ah, g], -1), cat([Ah * 0, Ah], -1)], -2)
    return (matrix_exp_op(blocks)[..., :n, n:],)


matrix_exp_op = op(
    "linalg_matrix_exp", eager=True, ref=_expm, meta=lambda A: Meta(A._shape, A.dtype), vjp=_expm_vjp,
    samples=lambda t: [call(t(3, 3, low=-1, high=1)), call(t(2, 2, 2))],
)  # fmt: skip


@public("linalg torch Tensor")
def matrix_exp(A: Tensor) -> Tensor:
    """The exponential of a square matrix (or batch): the sum of `A ** k / k!`."""
    require_square("linalg.matrix_exp", A)
    if A.dtype.category < dtypes.FLOAT:
        require_float("linalg.matrix_exp", A)
    return matrix_exp_op(A)


# -- pseudo-inverse and least squares --------------------------------------------------------------------------


def _pinv(A: np.ndarray, limit: np.ndarray, hermitian: bool) -> np.ndarray:
    if 0 in A.shape:
        return np.zeros((*A.shape[:-2], A.shape[-1], A.shape[-2]), A.dtype)
    U, S, Vh = np.linalg.svd(A, False, hermitian=hermitian)
    inverse = np.where(limit[..., None] < S, 1 / np.where(S == 0, 1, S), 0).astype(S.dtype)
    return Vh.conj().swapaxes(-1, -2) @ (inverse[..., None] * U.conj().swapaxes(-1, -2))


def _meta_pinv(A: Tensor, limit: np.ndarray, hermitian: bool) -> Meta:
    return Meta((*A._shape[:-2], A._shape[-1], A._shape[-2]), A.dtype)


def _pinv_vjp(g: Tensor, y: Tensor, A: Tensor, limit: np.ndarray, hermitian: bool) -> tuple:
    """Golub and Pereyra, 1973."""
    m, n = A._shape[-2:]
    gh, yh = adjoint(g), adjoint(y)
    if m <= n:
        K = gh @ y
        Kyh = K @ yh
        return (-adjoint(y @ K) + Kyh - (A @ y) @ Kyh + (yh @ y) @ (gh - K @ A),)
    K = y @ gh
    yhK = yh @ K
    return (-adjoint(K @ y) + (gh - A @ K) @ y @ yh + yhK - (yhK @ y) @ A,)


pinv_op = op(
    "linalg_pinv", eager=True, ref=_pinv, meta=_meta_pinv, vjp=_pinv_vjp,
    samples=lambda t: [call(t(2, 4), limit=np.asarray(1e-9), hermitian=False),
                       call(t(2, 4, 3), limit=np.asarray(1e-9), hermitian=False)],
)  # fmt: skip


@public("linalg", out=True)
def pinv(A: Tensor, rcond: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None) -> Tensor:
    """The Moore-Penrose pseudo-inverse; singular values up to `max(atol, rtol * largest)` count as zero."""
    require_matrix("linalg.pinv", A)
    if A.dtype.category < dtypes.FLOAT or A.dtype.itemsize < 4:
        raise RuntimeError(
            f"linalg.pinv({type_name(A.dtype)}{{{list(A._shape)}}}): expected a tensor with 2 or more dimensions of "
            "float, double, cfloat or cdouble types"
        )
    limit = np.zeros(A._shape[:-2])
    if A.numel():
        limit = _tolerance(svdvals(A.detach()), A, atol, rcond if rtol is None else rtol)
    return pinv_op(A, limit=limit, hermitian=hermitian)


@public("torch Tensor")
def pinverse(input: Tensor, rcond: float = 1e-15) -> Tensor:
    """The older spelling of `linalg.pinv`."""
    return pinv(input, rcond)


@public("linalg")
def lstsq(A: Tensor, B: Tensor, rcond: Any = None, *, driver: str | None = None) -> Any:
    """The X of least norm that makes `A @ X - B` smallest, with residuals, rank and singular values.

    `driver` is "gels", "gelsy" (the default), "gelsd" or "gelss"; it says which of the extras are filled.
    """
    name = "torch.linalg.lstsq"
    require_matrix(name, A)
    if driver not in (None, "gels", "gelsy", "gelsd", "gelss"):
        raise RuntimeError(f"{name}: parameter `driver` should be one of (gels, gelsy, gelsd, gelss)")
    driver = driver or "gelsy"
    if A.dtype is not B.dtype:
        raise RuntimeError(f"{name}: Expected input and other to have the same dtype, but got input's dtype {A.dtype} "
                           f"and other's dtype {B.dtype}")  # fmt: skip
    vector = B.ndim == A.ndim - 1
    right = unsqueeze(B, -1) if vector else B
    _require_wide(A)
    if A._shape[-2] != right._shape[-2]:
        raise RuntimeError(f"{name}: input.size(-2) should match other.size(-{1 if vector else 2})")
    m, n = A._shape[-2:]
    S = svdvals(A.detach())
    X = pinv(A, rtol=max(m, n) * dtypes.finfo(A.dtype).eps if rcond is None else rcond) @ right
    rank = matrix_rank(A.detach(), rtol=rcond)
    none = A.new_empty((0,), dtype=S.dtype)
    residuals = none
    if m > n and driver != "gelsy" and bool((rank._array() == n).all()):
        gap = A @ X - right
        residuals = (gap * gap.conj()).real.sum(-2) if gap.dtype.is_complex else (gap * gap).sum(-2)
    X = squeeze_op(X, dims=(X.ndim - 1,)) if vector else X
    ranks = rank if driver != "gels" else A.new_empty((0,), dtype=dtypes.int64)
    return return_types.linalg_lstsq((X, residuals, ranks, S if driver in ("gelsd", "gelss") else none))


# -- by factors ------------------------------------------------------------------------------------------------


@public("torch Tensor", out=True)
def cholesky_solve(B: Tensor, L: Tensor, upper: bool = False) -> Tensor:
    """X with `L @ L.mH @ X == B` (`L.mH @ L @ X == B` if `upper`)."""
    lower = adjoint(L) if upper else L
    first = solve_triangular_op(lower, B, upper=False, left=True, unitriangular=False)
    return solve_triangular_op(adjoint(lower), first, upper=True, left=True, unitriangular=False)


@public("torch Tensor", out=True)
def cholesky_inverse(L: Tensor, upper: bool = False) -> Tensor:
    """The inverse of the matrix whose Cholesky factor is `L`."""
    return cholesky_solve(expand(eye(L._shape[-1], dtype=L.dtype), L._shape), L, upper)


@public("linalg", out=True)
def tensorinv(A: Tensor, ind: int = 2) -> Tensor:
    """The inverse for `tensordot(..., ind)`: the first `ind` dimensions are rows, the others columns."""
    if ind <= 0:
        raise RuntimeError("Expected a strictly positive integer for 'ind'")
    rows, columns = math.prod(A._shape[:ind]), math.prod(A._shape[ind:])
    if rows != columns:
        raise RuntimeError(
            "Expected self to satisfy the requirement prod(self.shape[ind:]) == prod(self.shape[:ind]), but got "
            f"{columns} != {rows}"
        )
    return reshape(inv_op(reshape(A, (rows, columns))), (*A._shape[ind:], *A._shape[:ind]))


@public("linalg", out=True)
def tensorsolve(A: Tensor, B: Tensor, dims: Any = None) -> Tensor:
    """X with `tensordot(A, X, X.ndim) == B`."""
    if dims is not None:
        moved = [wrap_dim(d, A.ndim) for d in dims]
        A = permute(A, [d for d in range(A.ndim) if d not in moved] + moved)
    shape = A._shape[B.ndim :]
    if math.prod(shape) != math.prod(A._shape[: B.ndim]):
        raise RuntimeError(
            "Expected self to satisfy the requirement prod(self.shape[other.ndim:]) == prod(self.shape[:other.ndim])"
        )
    n = math.prod(shape)
    return reshape(solve(reshape(A, (n, n)), reshape(B, (n,))), shape)


@public("linalg", out=True)
def householder_product(A: Tensor, tau: Tensor) -> Tensor:
    """The first columns of the product of Householder reflections, as QR keeps them."""
    m, n = A._shape[-2:]
    return _reflected(A, eye(m, n, dtype=A.dtype), reversed(range(tau._shape[-1])), tau)


public("torch Tensor", name="orgqr", out=True)(householder_product)


def _reflected(A: Tensor, X: Tensor, order: Iterable[int], scale: Tensor) -> Tensor:
    """X after reflections by the columns under A's diagonal, one after the other."""
    for i in order:
        v = cat([A.new_zeros((*A._shape[:-2], i)), A.new_ones((*A._shape[:-2], 1)), A[..., i + 1 :, i]], -1)
        column = unsqueeze(v, -1)
        X = X - unsqueeze(unsqueeze(scale[..., i], -1), -1) * (column @ (adjoint(column) @ X))
    return X


@public("torch Tensor")
def geqrf(input: Tensor) -> Any:
    """The QR decomposition as LAPACK packs it: R with Householder vectors below it, and their factors."""
    require_matrix("geqrf", input, "input")
    require_float("geqrf", input, "geqrf_cpu")
    array = input.detach()._array()
    flat = [np.linalg.qr(matrix, "raw") for matrix in array.reshape(-1, *array.shape[-2:])]
    k = min(array.shape[-2:])
    packed = np.array([h.T for h, _ in flat], array.dtype).reshape(array.shape)
    factors = np.array([tau for _, tau in flat], array.dtype).reshape(*array.shape[:-2], k)
    return return_types.geqrf((from_array(packed), from_array(factors)))


@public("torch Tensor", out=True)
def ormqr(input: Tensor, tau: Tensor, other: Tensor, left: bool = True, transpose: bool = False) -> Tensor:
    """`other` multiplied by the Q that `geqrf` packs (its adjoint if `transpose`), from the left or the right."""
    if not left:
        return adjoint(ormqr(input, tau, adjoint(other), True, not transpose))
    forward = range(tau._shape[-1])
    return _reflected(input, other, forward if transpose else reversed(forward), conj(tau) if transpose else tau)

# -- names that PyTorch has removed ----------------------------------------------------------------------------


def _removed(name: str, instead: str) -> None:
    def function(*args: Any, **kwargs: Any) -> NoReturn:
        raise RuntimeError(f"This function was deprecated since version 1.9 and is now removed. {instead}")

    function.__doc__ = f"Removed from PyTorch. {instead}"
    public("torch" if name == "matrix_rank" else "torch Tensor", name=name)(function)


for _name, _instead in (
    ("eig", "`torch.linalg.eig` returns complex tensors of dtype `cfloat` or `cdouble` rather than real tensors "
            "mimicking complex tensors."),
    ("symeig", "The default behavior has changed from using the upper triangular portion of the matrix by default to "
               "using the lower triangular portion. Use `torch.linalg.eigh` or `torch.linalg.eigvalsh`."),
    ("solve", "`torch.solve` is deprecated in favor of `torch.linalg.solve`. `torch.linalg.solve` has its arguments "
              "reversed and does not return the LU factorization."),
    ("lstsq", "`torch.lstsq` is deprecated in favor of `torch.linalg.lstsq`."),
    ("matrix_rank", "Please use the `torch.linalg.matrix_rank` function instead."),
):  # fmt: skip
    _removed(_name, _instead)
