"""Contractions: matrix products of every rank, and products added to something."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from flambeau import dtypes
from flambeau.dtypes import dtype as DType
from flambeau.engine.execute import Meta
from flambeau.engine.schedule.lowering import Kernels
from flambeau.errors import warn_once
from flambeau.later import later
from flambeau.ops.apply import c_name, type_name
from flambeau.ops.elementwise import conj, mul_op
from flambeau.ops.op import op, public
from flambeau.ops.rules import require_tensor
from flambeau.ops.samples import Maker, call
from flambeau.ops.views import adjoint, expand, permute_op, reshape, squeeze_op, transpose, unsqueeze, unsqueeze_op
from flambeau.shape import Ints, broadcast_shapes, wrap_dim
from flambeau.tensors import Tensor

records = later("flambeau.engine.kernel.contract.records")


def _require_numeric(d: DType, kernel: str = "addmm_impl_cpu_") -> None:
    if d is dtypes.bool_:
        raise NotImplementedError(f"\"{kernel}\" not implemented for 'Bool'")


def _require_same(a: Tensor, b: Tensor) -> None:
    if a.dtype is not b.dtype:
        raise RuntimeError(
            f"expected m1 and m2 to have the same dtype, but got: {c_name(a.dtype)} != {c_name(b.dtype)}"
        )
    _require_numeric(a.dtype)


def require_scalar_type(a: Tensor, b: Tensor) -> None:
    """PyTorch's refusal of two dtypes in one batched product."""
    if a.dtype is not b.dtype:
        raise RuntimeError(f"expected scalar type {type_name(a.dtype)} but found {type_name(b.dtype)}")
    _require_numeric(a.dtype, "bmm")


def _shown(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def for_blas(a: np.ndarray) -> np.ndarray:
    """A matrix (or batch) that BLAS can read as it lies, transposed or not; a copy of any other layout."""
    rows, cols = a.strides[-2:]
    size = a.itemsize
    if (cols == size and rows % size == 0 and rows >= a.shape[-1] * size) or (
        rows == size and cols % size == 0 and cols >= a.shape[-2] * size
    ):
        return a
    return np.ascontiguousarray(a)


# -- two matrices, a matrix and a vector, two vectors ----------------------------------------------------------


def _mm(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.matmul(for_blas(a), for_blas(b))


def _meta_mm(a: Tensor, b: Tensor) -> Meta:
    if a.ndim != 2:
        raise RuntimeError("self must be a matrix")
    if b.ndim != 2:
        raise RuntimeError("mat2 must be a matrix")
    if a._shape[1] != b._shape[0]:
        raise RuntimeError(f"mat1 and mat2 shapes cannot be multiplied ({_shown(a._shape)} and {_shown(b._shape)})")
    _require_same(a, b)
    return Meta((a._shape[0], b._shape[1]), a.dtype)


def _meta_mv(a: Tensor, b: Tensor) -> Meta:
    if a.ndim != 2 or b.ndim != 1:
        raise RuntimeError(f"vector + matrix @ vector expected, got 1, {a.ndim}, {b.ndim}")
    if a._shape[1] != b._shape[0]:
        raise RuntimeError(f"size mismatch, got input ({a._shape[0]}), mat ({_shown(a._shape)}), vec ({b._shape[0]})")
    if a.dtype is not b.dtype:
        raise RuntimeError(f"expected scalar type {type_name(a.dtype)} but found {type_name(b.dtype)}")
    _require_numeric(a.dtype, "addmv_impl_cpu")
    return Meta((a._shape[0],), a.dtype)


def _meta_dot(a: Tensor, b: Tensor) -> Meta:
    if a.ndim != 1 or b.ndim != 1:
        raise RuntimeError(f"1D tensors expected, but got {a.ndim}D and {b.ndim}D tensors")
    if a.dtype is not b.dtype:
        raise RuntimeError(
            f"dot : expected both vectors to have same dtype, but found {type_name(a.dtype)} and {type_name(b.dtype)}"
        )
    if a._shape != b._shape:
        n, m = a.numel(), b.numel()
        raise RuntimeError(
            f"inconsistent tensor size, expected tensor [{n}] and src [{m}] to have the same number of elements, but "
            f"got {n} and {m} elements respectively"
        )
    _require_numeric(a.dtype, "dot")
    return Meta((), a.dtype)


mm_op = op(
    "mm", ref=_mm, meta=_meta_mm, narrows=True, lower=Kernels(records.matmul, epilogue=True),
    vjp=(lambda g, _y, _a, b: mm_op(g, adjoint(b)), lambda g, _y, a, _b: mm_op(adjoint(a), g)),
    samples=lambda t: [call(t(2, 3), t(3, 4)), call(t(1, 3), t(3, 1)), call(t(2, 0), t(0, 3)),
                       call(transpose(t(3, 2), 0, 1), transpose(t(4, 3), 0, 1))],
)  # fmt: skip
mv_op = op(
    "mv", ref=lambda a, b: np.matmul(for_blas(a), b), meta=_meta_mv, narrows=True,
    lower=Kernels(records.mv, epilogue=True),
    vjp=(lambda g, _y, _a, b: mul_op(unsqueeze(g, 1), conj(b)), lambda g, _y, a, _b: mv_op(adjoint(a), g)),
    samples=lambda t: [call(t(2, 3), t(3)), call(t(2, 0), t(0))],
)  # fmt: skip
dot_op = op(
    "dot", ref=np.dot, meta=_meta_dot, lower=Kernels(records.dot, epilogue=True),
    vjp=(lambda g, _y, _a, b: g * conj(b), lambda g, _y, a, _b: g * conj(a)),
    samples=lambda t: [call(t(4), t(4)), call(t(0), t(0))],
)  # fmt: skip


@public("torch Tensor", out=True, one_op=True)
def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """The product of two matrices, (n, m) by (m, p).

    Raises:
        RuntimeError: the shapes do not fit, or the dtypes differ.
    """
    require_tensor("mm", "input", 1, input)
    require_tensor("mm", "mat2", 2, mat2)
    return mm_op(input, mat2)


@public("torch Tensor", out=True)
def mv(input: Tensor, vec: Tensor) -> Tensor:
    """The product of a matrix (n, m) and a vector (m)."""
    require_tensor("mv", "vec", 2, vec)
    return mv_op(input, vec)


@public("torch Tensor", out=True)
def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """The sum of products of two vectors of one length.

    >>> dot(tensor([2, 3]), tensor([2, 1]))
    tensor(7)
    """
    require_tensor("dot", "tensor", 2, tensor)
    return dot_op(input, tensor)


@public("torch Tensor", out=True)
def vdot(input: Tensor, other: Tensor) -> Tensor:
    """`dot` with the first vector conjugated."""
    return dot_op(conj(input), other)


# -- batches ---------------------------------------------------------------------------------------------------


def _meta_bmm(a: Tensor, b: Tensor) -> Meta:
    if a.ndim != 3:
        raise RuntimeError("batch1 must be a 3D tensor")
    if b.ndim != 3:
        raise RuntimeError("batch2 must be a 3D tensor")
    if b._shape[:2] != (a._shape[0], a._shape[2]):
        raise RuntimeError(
            f"Expected size for first two dimensions of batch2 tensor to be: [{a._shape[0]}, {a._shape[2]}] but got: "
            f"[{b._shape[0]}, {b._shape[1]}]."
        )
    require_scalar_type(a, b)
    return Meta((a._shape[0], a._shape[1], b._shape[2]), a.dtype)


bmm_op = op(
    "bmm", ref=_mm, meta=_meta_bmm, narrows=True, lower=Kernels(records.matmul, epilogue=True),
    vjp=(lambda g, _y, _a, b: bmm_op(g, adjoint(b)), lambda g, _y, a, _b: bmm_op(adjoint(a), g)),
    samples=lambda t: [call(t(2, 3, 4), t(2, 4, 2)), call(transpose(t(2, 4, 3), 1, 2), t(2, 4, 2)),
                       call(t(0, 3, 4), t(0, 4, 2))],
)  # fmt: skip


@public("torch Tensor", out=True, one_op=True)
def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """Products of matrices in batches: (b, n, m) by (b, m, p)."""
    require_tensor("bmm", "mat2", 2, mat2)
    return bmm_op(input, mat2)


def _matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if b.ndim == 2 and a.flags.c_contiguous:
        folded = a.reshape(prod(a.shape[:-1]), a.shape[-1])  # one large product in the place of many small ones
        return np.matmul(folded, for_blas(b)).reshape(*a.shape[:-1], b.shape[1])
    return np.matmul(for_blas(a), for_blas(b))


def _meta_matmul(a: Tensor, b: Tensor) -> Meta:
    n, k = a._shape[-2:]
    k2, m = b._shape[-2:]
    batch = broadcast_shapes(a._shape[:-2], b._shape[:-2])
    if k != k2:
        if b.ndim == 2 or a.ndim == 2:
            left = (prod(a._shape[:-1]), k) if b.ndim == 2 else (m * prod(b._shape[:-2]), k2)
            right = (k2, m) if b.ndim == 2 else (k, n)
            raise RuntimeError(f"mat1 and mat2 shapes cannot be multiplied ({_shown(left)} and {_shown(right)})")
        raise RuntimeError(
            f"Expected size for first two dimensions of batch2 tensor to be: [{prod(batch)}, {k}] but got: "
            f"[{prod(batch)}, {k2}]."
        )
    if a.ndim == 2 or b.ndim == 2:
        _require_same(a, b)
    else:
        require_scalar_type(a, b)
    return Meta((*batch, n, m), a.dtype)


def _matmul_right_vjp(g: Tensor, _y: Any, a: Tensor, _b: Any) -> Tensor:
    if _b.ndim == 2:
        flat = reshape(a, (-1, a._shape[-1])) if a.numel() else a.new_zeros((0, a._shape[-1]))
        return mm_op(adjoint(flat), reshape(g, (flat._shape[0], g._shape[-1])))
    return matmul_op(adjoint(a), g)


def _matmul_left_vjp(g: Tensor, _y: Any, _a: Any, b: Tensor) -> Tensor:
    if _a.ndim == 2 and g.ndim > 2:
        wide = permute_op(g, dims=(g.ndim - 2, *range(g.ndim - 2), g.ndim - 1))
        tall = transpose(expand(b, (*g._shape[:-2], *b._shape[-2:])), -2, -1)
        n, k = _a.shape
        return mm_op(reshape(wide, (n, prod(wide._shape[1:]))), conj(reshape(tall, (prod(tall._shape[:-1]), k))))
    return matmul_op(g, adjoint(b))


matmul_op = op(
    "matmul", ref=_matmul, meta=_meta_matmul, vjp=(_matmul_left_vjp, _matmul_right_vjp),
    backward_name="UnsafeViewBackward0", narrows=True, lower=Kernels(records.matmul, epilogue=True),
    samples=lambda t: [call(t(2, 3, 4), t(4, 2)), call(t(3, 4), t(2, 4, 2)), call(t(2, 1, 3, 4), t(3, 4, 2)),
                       call(t(2, 2, 1, 3), transpose(t(2, 2, 4, 3), 2, 3)), call(t(0, 3, 4), t(4, 2))],
)  # fmt: skip


@public("torch Tensor linalg", out=True, one_op=True)
def matmul(input: Tensor, other: Tensor) -> Tensor:
    """The matrix product: vectors and matrices as in algebra, leading dimensions as a batch that broadcasts.

    >>> matmul(tensor([[1, 2], [3, 4]]), tensor([1, 1]))
    tensor([3, 7])

    Raises:
        RuntimeError: the shapes do not fit, the dtypes differ, or an operand has no dimensions.
    """
    if not isinstance(input, Tensor):
        require_tensor("matmul", "input", 1, input)
    if not isinstance(other, Tensor):
        require_tensor("matmul", "other", 2, other)
    n, m = len(input._shape), len(other._shape)
    if n == 2 and m == 2:
        return mm_op(input, other)
    if n == 2 and m == 1:
        return mv_op(input, other)
    if n == 1 and m == 1:
        return dot_op(input, other)
    if not n or not m:
        raise RuntimeError(f"both arguments to matmul need to be at least 1D, but they are {n}D and {m}D")
    if n == 1 and m == 2:
        return squeeze_op(mm_op(unsqueeze_op(input, dim=0), other), dims=(0,))
    if m == 1:
        return _matrices_by_vector(input, other)
    if n == 1:
        return _matrices_by_vector(transpose(other, -2, -1), input)
    return matmul_op(input, other)


def _matrices_by_vector(a: Tensor, v: Tensor) -> Tensor:
    rows = a._shape[:-1]
    if a._shape[-1] != v._shape[0]:
        raise RuntimeError(
            f"size mismatch, got input ({prod(rows)}), mat ({prod(rows)}x{a._shape[-1]}), vec ({v._shape[0]})"
        )
    return squeeze_op(matmul_op(a, unsqueeze_op(v, dim=1)), dims=(len(rows),))


# -- products added to something -------------------------------------------------------------------------------


def _combined(c: np.ndarray, product: np.ndarray, beta: Any, alpha: Any) -> np.ndarray:
    if alpha != 1:
        product = product * np.asarray(alpha).astype(product.dtype)
    if beta == 0:  # as in BLAS, what is multiplied by nothing may be NaN
        return product
    return product + (c if beta == 1 else c * np.asarray(beta).astype(c.dtype))


def _times(g: Tensor, factor: Any) -> Tensor:
    return g if factor == 1 else g * factor


def _outer(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.multiply.outer(a, b)


def _meta_outer(a: Tensor, b: Tensor) -> Meta:
    if a.ndim != 1 or b.ndim != 1:
        which, bad = ("vec1", a) if a.ndim != 1 else ("vec2", b)
        raise RuntimeError(f"addr: Expected 1-D argument {which}, but got {bad.ndim}-D")
    return Meta((a._shape[0], b._shape[0]), a.dtype)


def _meta_addbmm(a: Tensor, b: Tensor) -> Meta:
    meta = _meta_bmm(a, b)
    return Meta(meta.shape[1:], meta.dtype)


def _adding(name: str, product: Callable, meta: Callable, vjp: Any, shapes: list, names: str,
            strict: bool = True) -> Any:  # fmt: skip
    """Describe the op `beta * input + alpha * product(a, b)`."""
    first, second = names.split()

    def meta_sum(c: Tensor, a: Tensor, b: Tensor, beta: Any = 1, alpha: Any = 1) -> Meta:
        if strict and c.dtype is not b.dtype:
            raise RuntimeError(
                f"self and {second} must have the same dtype, but got {type_name(c.dtype)} and {type_name(b.dtype)}"
            )
        result = meta(a, b)
        if c._shape != result.shape:
            expand(c, result.shape)  # PyTorch's error where it cannot be
        d = result.dtype if strict else dtypes.promote_types(dtypes.promote_types(c.dtype, a.dtype), b.dtype)
        return Meta(result.shape, d)

    samples = [(() if len(c) == 0 else c, a, b) for c, a, b in shapes]

    def calls(t: Maker) -> Any:
        for c, a, b in samples:
            yield call(t(*c), t(*a), t(*b))
            yield call(t(*c), t(*a), t(*b), beta=0.5, alpha=-2.0)

    record = op(
        name, ref=lambda c, a, b, beta=1, alpha=1: _combined(c, product(a, b), beta, alpha), meta=meta_sum,
        samples=calls, narrows=name.endswith("mm"), lower=Kernels(getattr(records, name), epilogue=True),
        vjp=(
            lambda g, _y, _c, _a, _b, beta=1, alpha=1: _times(g, beta),
            lambda g, _y, _c, _a, b, beta=1, alpha=1: vjp[0](_times(g, alpha), None, _a, b),
            lambda g, _y, _c, a, _b, beta=1, alpha=1: vjp[1](_times(g, alpha), None, a, _b),
        ),
    )  # fmt: skip

    def function(input: Tensor, *args: Any, beta: Any = 1, alpha: Any = 1, **named: Any) -> Tensor:
        operands = dict(zip((first, second), args), **named)
        for key in (first, second):
            if key not in operands:
                raise TypeError(f'{name}() missing 1 required positional arguments: "{key}"')
        if len(operands) > 2 or len(args) > 2:
            raise TypeError(f"{name}() takes two operands besides input, got {list(named) or len(args)}")
        a, b = operands[first], operands[second]
        for position, (key, value) in enumerate((("input", input), (first, a), (second, b)), 1):
            require_tensor(name, key, position, value)
        return record(input, a, b, beta=beta, alpha=alpha)

    function.__name__ = name
    function.__doc__ = f"`beta * input + alpha * product` of `{first}` and `{second}`; `input` broadcasts."
    return public("torch Tensor", name=name, inplace=True, out=True)(function)


def _spread(g: Tensor, batch: int) -> Tensor:
    return expand(g, (batch, *g._shape))


addmm = _adding("addmm", _mm, _meta_mm, mm_op.vjp, [((2, 4), (2, 3), (3, 4)), ((4,), (2, 3), (3, 4))], "mat1 mat2")
addmv = _adding("addmv", mv_op.ref, _meta_mv, mv_op.vjp, [((2,), (2, 3), (3,)), ((), (2, 3), (3,))], "mat vec")
baddbmm = _adding(
    "baddbmm", _mm, _meta_bmm, bmm_op.vjp, [((2, 3, 2), (2, 3, 4), (2, 4, 2)), ((3, 1), (2, 3, 4), (2, 4, 2))],
    "batch1 batch2",
)  # fmt: skip
addbmm = _adding(
    "addbmm", lambda a, b: _mm(a, b).sum(0), _meta_addbmm,
    (lambda g, _y, _a, b: bmm_op(_spread(g, _a.shape[0]), adjoint(b)),
     lambda g, _y, a, _b: bmm_op(adjoint(a), _spread(g, _b.shape[0]))),
    [((3, 2), (2, 3, 4), (2, 4, 2))], "batch1 batch2",
)  # fmt: skip
addr = _adding(
    "addr", _outer, _meta_outer,
    (lambda g, _y, _a, b: mv_op(g, conj(b)), lambda g, _y, a, _b: mv_op(transpose(g, 0, 1), conj(a))),
    [((2, 3), (2,), (3,)), ((3,), (2,), (3,))], "vec1 vec2", strict=False,
)  # fmt: skip


@public("torch Tensor", aliases=("ger",), out=True)
def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """The products of all pairs of two vectors' elements, (n) and (m) to (n, m)."""
    if input.ndim != 1:
        raise RuntimeError(f"outer: Expected 1-D argument self, but got {input.ndim}-D")
    if vec2.ndim != 1:
        raise RuntimeError(f"outer: Expected 1-D argument vec2, but got {vec2.ndim}-D")
    return mul_op(unsqueeze(input, 1), vec2)


@public("torch Tensor", out=True)
def inner(input: Tensor, other: Tensor) -> Tensor:
    """Sums of products over the last dimensions of both."""
    if not input._shape or not other._shape:
        return mul_op(input, other)
    if input._shape[-1] != other._shape[-1]:
        raise RuntimeError(
            "inner() the last dimension must match on both input tensors but got shapes "
            f"{list(input._shape)} and {list(other._shape)}"
        )
    if input.dtype is not other.dtype:
        raise RuntimeError(f"expected scalar type {type_name(input.dtype)} but found {type_name(other.dtype)}")
    k = input._shape[-1]
    left, right = input._shape[:-1], other._shape[:-1]
    product = mm_op(reshape(input, (prod(left), k)), transpose(reshape(other, (prod(right), k)), 0, 1))
    return reshape(product, (*left, *right))


# -- chains, and other products --------------------------------------------------------------------------------


def _chain_order(sizes: Sequence[int]) -> dict[tuple[int, int], int]:
    """Where to split each run of matrices so that the whole chain costs the fewest multiplications."""
    n = len(sizes) - 1
    cost = {(i, i): 0 for i in range(n)}
    split: dict[tuple[int, int], int] = {}
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            options = {
                s: cost[i, s] + cost[s + 1, j] + sizes[i] * sizes[s + 1] * sizes[j + 1] for s in range(i, j)
            }
            split[i, j] = min(options, key=lambda s: options[s])
            cost[i, j] = options[split[i, j]]
    return split


@public("linalg", out=True)
def multi_dot(tensors: Sequence[Tensor]) -> Tensor:
    """The product of two or more matrices, in the cheapest order; the first and last may be vectors."""
    if len(tensors) < 2:
        raise RuntimeError(f"multi_dot(): expected at least 2 tensors but got {len(tensors)}")
    chain = list(tensors)
    for i, x in enumerate(chain):
        ends = i in (0, len(chain) - 1)
        if x.ndim != 2 and not (ends and x.ndim == 1):
            raise RuntimeError(
                f"multi_dot(): the {'first' if i == 0 else 'last'} tensor must be 1D or 2D but got {x.ndim}D" if ends
                else f"multi_dot(): tensor {i} must be 2D but got {x.ndim}D"
            )  # fmt: skip
    drop = []
    if chain[0].ndim == 1:
        chain[0] = unsqueeze(chain[0], 0)
        drop.append(0)
    if chain[-1].ndim == 1:
        chain[-1] = unsqueeze(chain[-1], 1)
        drop.append(1)
    for i, (a, b) in enumerate(zip(chain, chain[1:])):
        if a._shape[1] != b._shape[0]:
            raise RuntimeError(
                f"multi_dot(): tensors {i} and {i + 1} with shapes {list(a._shape)} and {list(b._shape)} cannot be "
                "multiplied"
            )
    split = _chain_order([x._shape[0] for x in chain] + [chain[-1]._shape[1]])

    def product(i: int, j: int) -> Tensor:
        return chain[i] if i == j else mm_op(product(i, split[i, j]), product(split[i, j] + 1, j))

    result = product(0, len(chain) - 1)
    return squeeze_op(result, dims=tuple(drop)) if drop else result


@public("torch")
def chain_matmul(*matrices: Tensor) -> Tensor:
    """The deprecated spelling of `linalg.multi_dot`."""
    warn_once(
        "torch.chain_matmul is deprecated and will be removed in a future PyTorch release. Use torch.linalg.multi_dot "
        "instead, which accepts a list of two or more tensors rather than multiple parameters."
    )
    return matrices[0] if len(matrices) == 1 else multi_dot(matrices)


@public("torch Tensor", out=True)
def kron(input: Tensor, other: Tensor) -> Tensor:
    """The Kronecker product: every element of `input` times all of `other`, as blocks."""
    n = max(input.ndim, other.ndim)
    a = (1,) * (n - input.ndim) + input._shape
    b = (1,) * (n - other.ndim) + other._shape
    left = reshape(input, tuple(x for size in a for x in (size, 1)))
    right = reshape(other, tuple(x for size in b for x in (1, size)))
    return reshape(mul_op(left, right), tuple(x * y for x, y in zip(a, b)))


def _meta_cross(a: Tensor, b: Tensor, dim: int) -> Meta:
    d = dtypes.promote_types(a.dtype, b.dtype)
    _require_numeric(d, "cross")
    return Meta(broadcast_shapes(a._shape, b._shape), d, None, d)


def _cross(a: np.ndarray, b: np.ndarray, dim: int) -> np.ndarray:
    a, b = np.broadcast_arrays(a, b)
    x, y = np.moveaxis(a, dim, 0), np.moveaxis(b, dim, 0)
    parts = [x[(i + 1) % 3] * y[(i + 2) % 3] - x[(i + 2) % 3] * y[(i + 1) % 3] for i in range(3)]
    return np.stack(parts, axis=dim)


cross_op = op(
    "linalg_cross", ref=_cross, meta=_meta_cross,
    vjp=(lambda g, _y, _a, b, dim: cross_op(conj(b), g, dim=dim),
         lambda g, _y, a, _b, dim: cross_op(g, conj(a), dim=dim)),
    samples=lambda t: [call(t(4, 3), t(4, 3), dim=-1), call(t(3, 2), t(3, 1), dim=0)],
)  # fmt: skip


def _cross_product(name: str, input: Tensor, other: Tensor, dim: int) -> Tensor:
    if input.ndim != other.ndim:
        raise RuntimeError(f"{name}: inputs must have the same number of dimensions.")
    at = wrap_dim(dim, input.ndim)
    if input._shape[at] != 3 or other._shape[at] != 3:
        raise RuntimeError(
            f"{name}: inputs dimension {dim} must have length 3. Got {input._shape[at]} and {other._shape[at]}"
        )
    return cross_op(input, other, dim=at)


@public("linalg", name="cross", out=True)
def linalg_cross(input: Tensor, other: Tensor, *, dim: int = -1) -> Tensor:
    """The cross product of vectors of length 3 along `dim`."""
    return _cross_product("linalg.cross", input, other, dim)


@public("torch Tensor", out=True)
def cross(input: Tensor, other: Tensor, dim: int | None = None) -> Tensor:
    """The cross product along `dim`: by default the first dimension of size 3."""
    if dim is None:
        warn_once(
            "Using torch.cross without specifying the dim arg is deprecated.\nPlease either pass the dim explicitly "
            "or simply use torch.linalg.cross.\nThe default value of dim will change to agree with that of "
            "linalg.cross in a future release."
        )
        shape: Ints = input._shape
        if 3 not in shape:
            raise RuntimeError("no dimension of size 3 in input")
        dim = shape.index(3)
    return _cross_product("linalg.cross", input, other, dim)


@public("linalg", out=True)
def vecdot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    """Dot products along `dim`, the first operand conjugated; both broadcast."""
    for operand in (x, y):
        if operand.dtype.category < dtypes.FLOAT:
            raise RuntimeError(
                "linalg.vecdot: Expected a floating point or complex tensor as input. Got " + type_name(operand.dtype)
            )
    return mul_op(conj(x), y).sum(dim)
