"""Printing beside PyTorch over many random tensors, options and shapes."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

import flambeau
from flambeau import printing
from flambeau.dtypes import by_name
from flambeau.nn.parameter import Parameter
from flambeau.tensors import Tensor, from_array

DTYPES = ("float32", "float64", "float16", "bfloat16", "int64", "int32", "int8", "uint8", "int16", "bool", "complex64",
          "complex128")  # fmt: skip
SCALES = (1, 1, 1, 1e-6, 1e-3, 10, 100, 1e4, 1e9, 1e30, 1e-30, 1e150)


@pytest.fixture(autouse=True)
def _default_options():
    yield
    torch.set_printoptions(profile="default")
    printing.set_printoptions(profile="default")


class Source:
    """Random shapes, numbers and options from one seed."""

    def __init__(self, seed: int) -> None:
        self.pick = random.Random(seed)
        self.rng = np.random.default_rng(seed)

    def shape(self) -> tuple[int, ...]:
        ndim = self.pick.choice((0, 1, 1, 2, 2, 3, 4, 5))
        sizes = (0, 1, 2, 3, 5, 7, 12 if ndim < 4 else 4, 40 if ndim < 3 else 2, 1200 if ndim < 2 else 3)
        return tuple(self.pick.choice(sizes) for _ in range(ndim))

    def real(self, shape: tuple[int, ...]) -> np.ndarray:
        values = np.asarray(self.rng.standard_normal(shape) * self.pick.choice(SCALES))
        if self.pick.random() < 0.3:
            values = np.floor(values)
        if self.pick.random() < 0.2:
            values = values * 10.0 ** self.rng.integers(-6, 7, size=shape)
        for special in (np.nan, np.inf, -np.inf, 0.0, -0.0):
            if self.pick.random() < 0.15:
                values = np.where(self.rng.random(shape) < 0.2, special, values)
        return np.asarray(values)

    def tensor(self) -> torch.Tensor:
        dtype, shape = getattr(torch, self.pick.choice(DTYPES)), self.shape()
        if dtype is torch.bool:
            return torch.tensor(self.rng.random(shape) < self.pick.random())
        if dtype.is_complex:
            return torch.complex(torch.tensor(self.real(shape)), torch.tensor(self.real(shape))).to(dtype)
        if dtype.is_floating_point:
            return torch.tensor(self.real(shape)).to(dtype)
        info = torch.iinfo(dtype)
        low, high = self.pick.choice(((0, 5), (info.min, info.max), (-5 if info.min < 0 else 0, 100)))
        return torch.tensor(self.rng.integers(low, high, shape, endpoint=True, dtype=np.int64)).to(dtype)

    def options(self) -> dict:
        choices = {
            "precision": (0, 1, 2, 6, 10), "threshold": (0, 5, 20, 100), "edgeitems": (0, 1, 2, 4),
            "linewidth": (10, 40, 120, 200), "sci_mode": (True, False),
        }  # fmt: skip
        chosen = {name: self.pick.choice(values) for name, values in choices.items() if self.pick.random() < 0.3}
        return {"profile": self.pick.choice(("default", "default", "short", "full"))} | chosen


def ours(tensor: torch.Tensor) -> Tensor:
    """The same elements as a Flambeau tensor, by way of their bytes."""
    flat = tensor.contiguous().reshape(-1)
    data = flat.view(torch.uint8).numpy() if flat.numel() else np.empty(0, np.uint8)
    return from_array(data.view(by_name(str(tensor.dtype).removeprefix("torch.")).np).reshape(tuple(tensor.shape)))


@pytest.mark.parametrize("seed", range(6))
def test_random_tensors(seed: int) -> None:
    source = Source(seed)
    for _ in range(300):
        options, theirs = source.options(), source.tensor()
        torch.set_printoptions(**options)
        printing.set_printoptions(**options)
        mine = ours(theirs)
        if theirs.dtype.is_floating_point and source.pick.random() < 0.3:
            theirs, mine = theirs.requires_grad_(), mine.requires_grad_()
        assert repr(mine) == repr(theirs), options
        assert printing.get_printoptions() == torch._tensor_str.get_printoptions()


@pytest.mark.parametrize("default", ["float32", "float64", "float16", "bfloat16"])
def test_the_dtype_shows_where_it_is_not_the_default(default: str) -> None:
    torch.set_default_dtype(getattr(torch, default))
    flambeau.set_default_dtype(by_name(default))
    try:
        for name in DTYPES:
            for shape in ((2,), (0,), (0, 2), ()):
                theirs = torch.zeros(shape, dtype=getattr(torch, name))
                assert repr(ours(theirs)) == repr(theirs)
    finally:
        torch.set_default_dtype(torch.float32)
        flambeau.set_default_dtype(by_name("float32"))


@pytest.mark.parametrize("expression", ["x + 1", "x * x", "x.sum()", "x.view(-1)", "-x", "x.exp()", "x.t()", "x / 2"])
def test_grad_fn(expression: str) -> None:
    texts = [repr(eval(expression, {"x": lib.ones(2, 3).requires_grad_()})) for lib in (torch, flambeau)]
    assert texts[0] == texts[1]


def test_parameters() -> None:
    assert repr(Parameter(flambeau.ones(2, 2))) == repr(torch.nn.Parameter(torch.ones(2, 2)))


@pytest.mark.parametrize("spec", ["", ".3f", ">10.2e", "g"])
def test_format(spec: str) -> None:
    assert format(flambeau.tensor(2.5), spec) == format(torch.tensor(2.5), spec)
    assert format(flambeau.tensor(3), spec) == format(torch.tensor(3), spec)
