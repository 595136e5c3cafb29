"""Comparisons, logic, bits, masks: promotion, NaN, errors, gradients."""

from __future__ import annotations

import warnings

import pytest

import flambeau as torch

nan, inf = float("nan"), float("inf")


def test_comparison_with_numbers_promotes() -> None:
    i = torch.tensor([1, 2, 3])
    assert (i < 2.5).tolist() == [True, True, False] and (i == 2.0).tolist() == [False, True, False]
    assert (1 < i).tolist() == [False, True, True]
    assert (torch.tensor([0.1], dtype=torch.float16) == 0.1).item() is True
    assert (i == None) is False  # noqa: E711
    assert (i != i[:1]).tolist() == [False, True, True]


def test_comparison_errors() -> None:
    with pytest.raises(RuntimeError, match=r"The size of tensor a \(2\) must match the size of tensor b \(3\)"):
        torch.ones(2).eq(torch.ones(3))
    with pytest.raises(NotImplementedError, match="\"lt_cpu\" not implemented for 'ComplexFloat'"):
        torch.ones(2, dtype=torch.complex64).lt(1)
    with pytest.raises(TypeError):
        torch.ones(2).eq("a")


def test_in_place_comparison_writes_ones_and_zeros() -> None:
    x = torch.tensor([1.0, -1.0])
    assert x.gt_(0) is x and x.tolist() == [1.0, 0.0] and x.dtype is torch.float32


def test_bits() -> None:
    i = torch.tensor([5, -3])
    assert (i & 3).tolist() == [1, 1] and (i | 8).tolist() == [13, -3] and (~i).tolist() == [-6, 2]
    assert (i << 2).tolist() == [20, -12] and (i >> 70).tolist() == [0, -1]
    assert (torch.tensor([200], dtype=torch.uint8) << 1).item() == 144
    assert (~torch.tensor([True, False])).tolist() == [False, True]
    mask = torch.tensor([True, False])
    mask &= torch.tensor([True, True])
    assert mask.tolist() == [True, False]
    with pytest.raises(NotImplementedError, match="bitwise_and_cpu"):
        torch.ones(1) & 1
    with pytest.raises(TypeError, match="only implemented on integer and Boolean-type tensors"):
        ~torch.ones(1)


def test_float_tests() -> None:
    w = torch.tensor([-inf, -0.0, 1.0, nan])
    assert w.isnan().tolist() == [False, False, False, True]
    assert w.isfinite().tolist() == [False, True, True, False]
    assert w.signbit().tolist()[:3] == [True, True, False]
    assert w.isneginf().tolist() == [True, False, False, False]
    assert torch.tensor([1]).isnan().tolist() == [False]


def test_maximum_and_fmax_treat_nan_as_pytorch_does() -> None:
    a, b = torch.tensor([1.0, nan, 2.0]), torch.tensor([nan, 1.0, 2.0])
    assert torch.maximum(a, b).isnan().tolist() == [True, True, False]
    assert torch.fmax(a, b).tolist() == [1, 1, 2]
    a, b = torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor([1.0, 3.0], requires_grad=True)
    torch.maximum(a, b).sum().backward()
    assert a.grad.tolist() == [0.5, 0] and b.grad.tolist() == [0.5, 1]


def test_where() -> None:
    mask = torch.tensor([True, False])
    assert torch.where(mask, 1, 2.5).tolist() == [1, 2.5]
    assert torch.where(mask, torch.tensor([1, 2], dtype=torch.int32), 3).dtype is torch.int32
    rows, columns = torch.where(torch.tensor([[0, 1], [1, 0]]) > 0)
    assert rows.tolist() == [0, 1] and columns.tolist() == [1, 0]
    with pytest.raises(RuntimeError, match="where expected condition to be a boolean tensor"):
        torch.where(torch.ones(2), 1, 2)
    with pytest.raises(RuntimeError, match="value cannot be converted to type uint8_t without overflow"):
        torch.where(mask, torch.ones(2, dtype=torch.uint8), 300)
    x = torch.tensor([1.0, -1.0], requires_grad=True)
    torch.where(x > 0, x, x * 0.1).sum().backward()
    assert x.grad.tolist() == pytest.approx([1, 0.1])


def test_masked_fill() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    mask = torch.tensor([True, False])
    y = x.masked_fill(mask, -inf)
    assert y.tolist() == [-inf, 2]
    y[1].backward()
    assert x.grad.tolist() == [0, 1]
    fill = torch.tensor(3.0, requires_grad=True)
    torch.zeros(2, 2).masked_fill(mask, fill).sum().backward()
    assert fill.grad.item() == 2
    with pytest.raises(RuntimeError, match="only supports boolean masks"):
        x.masked_fill(torch.tensor([1, 0]), 0)
    with pytest.raises(RuntimeError, match="0-dimensional value tensor"):
        x.masked_fill(mask, torch.zeros(2))
    with pytest.raises(RuntimeError, match="doesn't match the broadcast shape"):
        torch.zeros(2).masked_fill_(torch.ones(2, 2, dtype=torch.bool), 1)


def test_equality_of_whole_tensors() -> None:
    a = torch.tensor([1.0, nan])
    assert not torch.equal(a, a) and torch.allclose(a, a, equal_nan=True) and not torch.allclose(a, a)
    assert torch.equal(torch.tensor([1, 2]), torch.tensor([1.0, 2.0])) and not torch.equal(torch.ones(2), torch.ones(3))
    assert torch.isclose(torch.tensor([1.0, 2.0]), torch.tensor([1.0 + 1e-6, 2.1])).tolist() == [True, False]
    with pytest.raises(RuntimeError, match="Float did not match Long"):
        torch.isclose(torch.ones(1), torch.ones(1, dtype=torch.int64))
    assert torch.isin(torch.tensor([1, 2, 3]), torch.tensor([2]), invert=True).tolist() == [True, False, True]


def test_overflow_in_narrow_floats_is_silent() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (torch.tensor([300.0]).half() * 300).item() == inf
        assert torch.tensor([1e5]).half().item() == inf
        assert torch.tensor([inf]).half().nan_to_num().item() == 65504
        torch.tensor([nan, inf]).long()


def test_errors_of_wrong_arguments_name_the_public_function() -> None:
    for call, name in ((lambda: torch.max(torch.ones(2), 0, foo=1), "max"), (lambda: torch.ones(2).eq(), "eq"),
                       (lambda: torch.erf(), "erf"), (lambda: torch.cumsum(torch.ones(2)), "cumsum")):  # fmt: skip
        with pytest.raises(TypeError, match=rf"^{name}\(\)"):
            call()
