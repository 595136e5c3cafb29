"""Matrix products and einsum against NumPy, and PyTorch's messages."""

from __future__ import annotations

import numpy as np
import pytest

import flambeau as torch
from flambeau import linalg
from flambeau.autograd.gradcheck import gradcheck, gradgradcheck
from flambeau.tensors import Tensor

RNG = np.random.default_rng(0)


def random(*shape: int) -> Tensor:
    return torch.from_numpy(RNG.uniform(-1, 1, shape))


SHAPES = [
    ((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 4)), ((2, 3), (3, 4)), ((5, 2, 3), (3, 4)), ((2, 3), (5, 3, 4)),
    ((5, 2, 3), (5, 3, 4)), ((5, 1, 2, 3), (4, 3, 2)), ((5, 2, 3), (3,)), ((3,), (5, 3, 4)), ((0, 3), (3, 2)),
    ((2, 0), (0, 3)),
]  # fmt: skip


@pytest.mark.parametrize(("a", "b"), SHAPES)
def test_matmul_is_numpys(a: tuple, b: tuple) -> None:
    x, y = random(*a), random(*b)
    np.testing.assert_allclose((x @ y).numpy(), x.numpy() @ y.numpy(), rtol=1e-12)


@pytest.mark.parametrize(("a", "b"), [s for s in SHAPES if 0 not in s[0]])
def test_gradients_of_matmul(a: tuple, b: tuple) -> None:
    x, y = random(*a).requires_grad_(), random(*b).requires_grad_()
    assert gradcheck(torch.matmul, (x, y))
    assert gradgradcheck(torch.matmul, (x, y))


@pytest.mark.parametrize("layout", ["transposed", "every other", "expanded", "reversed rows"])
def test_layouts_that_blas_cannot_read(layout: str) -> None:
    wide = random(6, 8)
    x = {"transposed": wide.t(), "every other": wide[:, ::2], "expanded": wide[:1].expand(6, 8),
         "reversed rows": wide.as_strided((3, 4), (1, 1))}[layout]  # fmt: skip
    y = random(x.shape[1], 3)
    np.testing.assert_allclose((x @ y).numpy(), x.numpy() @ y.numpy(), rtol=1e-12)


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (lambda: torch.ones(2, 3) @ torch.ones(4, 5), "mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"),
        (lambda: torch.ones(2, 3) @ torch.ones(3, 4).double(),
         "expected m1 and m2 to have the same dtype, but got: float != double"),
        (lambda: torch.ones(2, 3) @ torch.ones(4), "size mismatch, got input (2), mat (2x3), vec (4)"),
        (lambda: torch.bmm(torch.ones(2, 3, 4), torch.ones(2, 3, 4)),
         "Expected size for first two dimensions of batch2 tensor to be: [2, 4] but got: [2, 3]."),
        (lambda: torch.dot(torch.ones(2, 2), torch.ones(2)), "1D tensors expected, but got 2D and 1D tensors"),
        (lambda: torch.einsum("ij,jk", torch.ones(2, 3), torch.ones(4, 5)),
         "einsum(): subscript j has size 4 for operand 1 which does not broadcast with previously seen size 3"),
        (lambda: torch.einsum("ij->k", torch.ones(2, 3)), "output subscript k does not appear in the equation"),
        (lambda: linalg.multi_dot([torch.ones(2, 2)]), "multi_dot(): expected at least 2 tensors but got 1"),
    ],
)  # fmt: skip
def test_messages(attempt: object, message: str) -> None:
    with pytest.raises(RuntimeError) as caught:
        attempt()  # type: ignore[operator]
    assert message in str(caught.value)


EQUATIONS = [
    ("ij,jk->ik", (2, 3), (3, 4)), ("ij,jk->ki", (2, 3), (3, 4)), ("bij,bjk->bik", (2, 3, 4), (2, 4, 5)),
    ("bij,bjk->ikb", (2, 3, 4), (2, 4, 5)), ("i,j->ij", (3,), (4,)), ("ij,ij->i", (3, 4), (3, 4)), ("ii->i", (3, 3)),
    ("ii", (3, 3)), ("ij->ji", (2, 3)), ("ij->", (2, 3)), ("ij,kj,lj->ikl", (2, 3), (4, 3), (5, 3)),
    ("...ij,jk->...ik", (2, 5, 3, 4), (4, 2)), ("...i,...i->...", (2, 3), (3,)), ("iji->j", (2, 3, 2)),
    ("ab,bc,cd,de->ae", (2, 3), (3, 4), (4, 2), (2, 5)), ("i,ij,j", (2,), (2, 3), (3,)), ("ijk,k", (2, 3, 4), (4,)),
    ("bhqd,bhkd->bhqk", (2, 2, 3, 4), (2, 2, 5, 4)), ("ij,j->i", (2, 3), (1,)), ("ijj,jk->ik", (2, 3, 3), (3, 2)),
]  # fmt: skip


@pytest.mark.parametrize("case", EQUATIONS, ids=lambda c: c[0])
def test_einsum_is_numpys(case: tuple) -> None:
    equation, shapes = case[0], case[1:]
    operands = [random(*shape) for shape in shapes]
    arrays = [x.numpy() for x in operands]
    if (1,) in shapes:
        arrays[1] = np.broadcast_to(arrays[1], (3,))
    np.testing.assert_allclose(torch.einsum(equation, *operands).numpy(), np.einsum(equation, *arrays), rtol=1e-9)
    leaves = [x.requires_grad_() for x in operands]
    assert gradcheck(lambda *xs: torch.einsum(equation, *xs), leaves)


def test_second_derivative_of_einsum() -> None:
    x, y = random(2, 3, 4).requires_grad_(), random(2, 4, 2).requires_grad_()
    assert gradgradcheck(lambda a, b: torch.einsum("bij,bjk->ikb", a, b), (x, y))


def test_einsum_with_lists_of_labels() -> None:
    x, y = random(2, 3), random(3, 4)
    np.testing.assert_allclose(torch.einsum(x, [0, 1], y, [1, 2], [2, 0]).numpy(), (x.numpy() @ y.numpy()).T)
    np.testing.assert_allclose(torch.einsum(x, [..., 1], y, [1, 2]).numpy(), x.numpy() @ y.numpy())


def test_einsum_contracts_in_the_cheap_order() -> None:
    """Left to right this would build 10^9 elements."""
    wide, thin = random(1000, 1000), random(1000)
    result = torch.einsum("i,j,k,ij,jk->", thin, thin, thin, wide, wide)
    t, w = thin.numpy(), wide.numpy()
    np.testing.assert_allclose(result.numpy(), ((t * (w @ (t * (w @ t)))).sum()), rtol=1e-9)


@pytest.mark.parametrize("dims", [0, 1, 2, ([0, 1], [1, 0]), ([2], [0])])
def test_tensordot_is_numpys(dims: object) -> None:
    x, y = random(3, 4, 4), random(4, 4, 3) if dims != ([0, 1], [1, 0]) else random(4, 3, 2)
    if dims == 2:
        y = random(4, 4, 2)
    np.testing.assert_allclose(
        torch.tensordot(x, y, dims=dims).numpy(), np.tensordot(x.numpy(), y.numpy(), axes=dims), rtol=1e-9
    )  # fmt: skip


def test_addmm_ignores_what_is_multiplied_by_nothing() -> None:
    nan = torch.full((2, 2), float("nan"))
    assert torch.addmm(nan, torch.ones(2, 2), torch.ones(2, 2), beta=0).tolist() == [[2, 2], [2, 2]]


def test_products_of_integers_and_halves() -> None:
    whole = torch.arange(6, dtype=torch.int32).view(2, 3)
    assert (whole @ whole.t()).tolist() == [[5, 14], [14, 50]]
    assert (whole @ whole.t()).dtype is torch.int32
    half = torch.full((64, 64), 0.1, dtype=torch.float16)
    np.testing.assert_allclose((half @ half).float().numpy(), 0.64, rtol=2e-3)


def test_multi_dot_and_matrix_power() -> None:
    a, b, c, v = random(2, 3), random(3, 4), random(4, 5), random(5)
    expected = a.numpy() @ b.numpy() @ c.numpy() @ v.numpy()
    np.testing.assert_allclose(linalg.multi_dot([a, b, c, v]).numpy(), expected, rtol=1e-9)
    square = random(3, 3)
    np.testing.assert_allclose(
        linalg.matrix_power(square, -3).numpy(), np.linalg.matrix_power(square.numpy(), -3), rtol=1e-8
    )


@pytest.mark.parametrize(
    "dtype, name", [("uint8", "unsigned char"), ("int16", "short int"), ("int64", "long int"), ("float64", "double")]
)
def test_different_dtypes_are_named_as_in_c(dtype: str, name: str) -> None:
    other = torch.ones(3, 3, dtype=getattr(torch, dtype))
    for product in (torch.mm, torch.nn.functional.linear):
        with pytest.raises(RuntimeError, match=f"expected m1 and m2 to have the same dtype, but got: float != {name}$"):
            product(torch.ones(3, 3), other)
    with pytest.raises(RuntimeError, match=rf"Input type \({name}\) and bias type \(float\) should be the same$"):
        torch.nn.functional.conv1d(other[None], torch.ones(1, 3, 1), torch.ones(1))
