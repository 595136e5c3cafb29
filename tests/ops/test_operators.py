"""Operators with numbers on either side, as PyTorch 2.13 answers them."""

from __future__ import annotations

import operator
from typing import Any

import pytest

import flambeau as torch

BOOLS_SUBTRACTED = "Subtraction, the `-` operator, with"


@pytest.mark.parametrize(
    ("apply", "expected"),
    [
        (lambda t: 7 // t, [7, 3, -3]),
        (lambda t: -7 // t, [-7, -4, 2]),
        (lambda t: 7.5 // t, [7.0, 3.0, -3.0]),
        (lambda t: torch.floor_divide(7, t), [7, 3, -3]),
        (lambda t: 7 % t, [0, 1, -2]),
        (lambda t: 7 - t, [6, 5, 10]),
        (lambda t: 7 * t, [7, 14, -21]),
        (lambda t: 6 / t, [6.0, 3.0, -2.0]),
        (lambda t: 2 ** abs(t), [2, 4, 8]),
        (lambda t: 6 & t, [0, 2, 4]),
        (lambda t: 6 | t, [7, 6, -1]),
        (lambda t: 6 ^ t, [7, 4, -5]),
        (lambda t: 1 << abs(t), [2, 4, 8]),
        (lambda t: 64 >> abs(t), [32, 16, 8]),
    ],
)
def test_numbers_on_the_left(apply: Any, expected: list[Any]) -> None:
    result = apply(torch.tensor([1, 2, -3]))
    assert result.tolist() == expected
    assert result.dtype is (torch.float32 if isinstance(expected[0], float) else torch.int64)


@pytest.mark.parametrize(
    "apply", [lambda t: 2 @ t, lambda t: t @ 2, lambda t: t @ 2.5, lambda t: operator.imatmul(t, 2)]
)
def test_numbers_are_no_matrices(apply: Any) -> None:
    with pytest.raises(TypeError, match=r"unsupported operand type\(s\) for @"):
        apply(torch.ones(2))


@pytest.mark.parametrize("apply", [lambda t: t - True, lambda t: True - t, lambda t: operator.isub(t, True)])
def test_bools_are_not_subtracted(apply: Any) -> None:
    with pytest.raises(RuntimeError, match=f"{BOOLS_SUBTRACTED} a bool tensor"):
        apply(torch.ones(2))
    with pytest.raises(RuntimeError, match=f"{BOOLS_SUBTRACTED} two bool tensors"):
        apply(torch.tensor([True]))


@pytest.mark.parametrize(
    ("apply", "kernel"),
    [
        (operator.floordiv, "div_floor_cpu"),
        (operator.mod, "remainder_cpu"),
        (torch.fmod, "fmod_cpu"),
        (operator.pow, "pow"),
    ],
)
def test_bools_are_no_numbers_to_divide(apply: Any, kernel: str) -> None:
    with pytest.raises(NotImplementedError, match=f"\"{kernel}\" not implemented for 'Bool'"):
        apply(torch.tensor([True]), torch.tensor([True]))


def test_complex_numbers_have_no_remainder() -> None:
    with pytest.raises(NotImplementedError, match="\"fmod_cpu\" not implemented for 'ComplexFloat'"):
        torch.fmod(torch.ones(2), torch.tensor([1j, 2j]))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.bool])
def test_integers_to_negative_powers(dtype: Any) -> None:
    with pytest.raises(RuntimeError, match="Integers to negative integer powers are not allowed"):
        torch.ones(2, dtype=dtype) ** -3


@pytest.mark.parametrize("make", [lambda x: x // 2, lambda x: 2 // x, lambda x: torch.heaviside(x, torch.ones(2))])
def test_steps_are_in_the_graph_but_have_no_derivative(make: Any) -> None:
    x = torch.tensor([1.5, -2.0], requires_grad=True)
    y = make(x)
    assert y.requires_grad and type(y.grad_fn).__name__ == "NotImplemented"
    with pytest.raises(RuntimeError, match="derivative for aten::(floor_divide|heaviside) is not implemented"):
        (y * x).sum().backward()


def test_the_second_derivative_of_a_remainder_is_zero() -> None:
    a, b = torch.tensor([7.5], requires_grad=True), torch.tensor([2.0], requires_grad=True)
    _, by_divisor = torch.autograd.grad(a % b, (a, b), create_graph=True)
    assert by_divisor.tolist() == [-3.0]
    assert [g.tolist() for g in torch.autograd.grad(by_divisor, (a, b))] == [[0.0], [0.0]]


def test_remainders_keep_the_sign_of_zero() -> None:
    x = torch.tensor([-4.0, 4.0, -0.0, -3.0])
    for modulus in (2.0, torch.full((4,), 2.0)):
        for _ in range(4):  # by the reference, then by a kernel
            left = x % modulus
            assert left.tolist() == [0.0, 0.0, 0.0, 1.0]
            assert torch.signbit(left).tolist() == [True, False, True, False]
