"""The old constructors: sizes, data, aliases, typed spellings and what they refuse."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import flambeau as torch
from flambeau.tensors import Tensor


def test_numbers_are_a_size() -> None:
    assert Tensor().shape == (0,)
    assert Tensor(2, 3).shape == (2, 3)
    assert Tensor(torch.Size([2, 3])).shape == (2, 3)
    assert torch.LongTensor(4).dtype is torch.int64
    assert torch.ones(2, dtype=torch.int32).new(2, 2).dtype is torch.int32


def test_sequences_are_data() -> None:
    assert Tensor([2, 3]).tolist() == [2.0, 3.0]
    assert Tensor((2, 3)).shape == (2,)
    assert Tensor(np.array([1, 2])).dtype is torch.float32
    assert torch.LongTensor([1.5, 2]).tolist() == [1, 2]
    assert torch.ByteTensor([0, 255]).tolist() == [0, 255]
    assert torch.BoolTensor([0, 2]).tolist() == [False, True]
    data = np.zeros(2, np.float32)
    torch.FloatTensor(data)[0] = 1
    assert data[0] == 0


def test_tensors_are_shown_as_they_are() -> None:
    x = torch.arange(3.0)
    alias = Tensor(x)
    alias[0] = 9
    assert x[0].item() == 9
    assert Tensor(torch.arange(3)).dtype is torch.int64
    with pytest.raises(TypeError, match=r"expected TensorOptions\(dtype=long int.*got TensorOptions\(dtype=float"):
        torch.LongTensor(x)


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (lambda: Tensor(2.5), r"new\(\): data must be a sequence \(got float\)"),
        (lambda: Tensor(None), r"new\(\): data must be a sequence \(got NoneType\)"),
        (lambda: Tensor("ab"), r"new\(\): invalid data type 'str'"),
        (lambda: Tensor(2, 3.5), "failed to unpack the object at pos 2"),
        (lambda: Tensor([1], dtype=torch.int64), "some of the keywords were incorrect: dtype"),
        (lambda: torch.cuda.FloatTensor(2), "type torch.cuda.FloatTensor not available. Torch not compiled with CUDA"),
    ],
)
def test_refusals(attempt: object, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        attempt()  # type: ignore[operator]


def test_types_ask_for_the_dtype() -> None:
    x = torch.ones(2)
    assert isinstance(x, torch.FloatTensor)
    assert not isinstance(x, torch.LongTensor)
    assert not isinstance(x, torch.cuda.FloatTensor)
    assert torch.FloatTensor.__module__ == "torch"
    assert repr(torch.FloatTensor) == "<class 'torch.FloatTensor'>"
    assert x.type(torch.LongTensor).dtype is torch.int64
    assert type(torch.FloatTensor([1])) is Tensor


def test_subclasses_are_made_the_same_way() -> None:
    class Marked(Tensor):
        pass

    made = Marked([1.0, 2.0])
    assert type(made) is Marked
    assert made.tolist() == [1, 2]


def test_copies_and_pickles() -> None:
    x = Tensor([1, 2])
    assert copy.deepcopy(x).tolist() == pickle.loads(pickle.dumps(x)).tolist() == [1, 2]


def test_the_default_dtype_decides() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        assert Tensor([1]).dtype is torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
