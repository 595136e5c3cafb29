"""Printing against what PyTorch printed (golden.json, written by make_golden.py), and the options' own behaviour."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flambeau
from flambeau import printing
from flambeau.dtypes import by_name, float32, get_default_dtype, set_default_dtype
from flambeau.nn.parameter import Parameter
from flambeau.shape import Size
from flambeau.tensors import Tensor, from_array, make

GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text())


@pytest.fixture(autouse=True)
def _defaults() -> Iterator[None]:
    default = get_default_dtype()
    yield
    printing.set_printoptions(profile="default")
    set_default_dtype(default)


def tensor_of(case: dict[str, Any]) -> Tensor:
    data = np.frombuffer(base64.b64decode(case["data"]), by_name(case["dtype"]).np).copy()
    tensor = from_array(data.reshape(case["shape"]))
    tensor.requires_grad = case["requires_grad"]
    return tensor


@pytest.mark.parametrize("dtype", sorted({case["dtype"] for case in GOLDEN}))
def test_prints_what_pytorch_prints(dtype: str) -> None:
    for case in GOLDEN:
        if case["dtype"] == dtype:
            printing.set_printoptions(**{"profile": "default"} | case["options"])
            set_default_dtype(by_name(case["default"]))
            assert repr(tensor_of(case)) == case["text"], case["options"]


def test_a_strided_view_prints_its_own_elements() -> None:
    tensor = from_array(np.arange(6.0, dtype=np.float32).reshape(2, 3).T)
    assert repr(tensor) == "tensor([[0., 3.],\n        [1., 4.],\n        [2., 5.]])"


def test_a_computed_tensor_names_its_grad_fn() -> None:
    x = flambeau.ones(2).requires_grad_()
    assert repr(x + 1) == "tensor([2., 2.], grad_fn=<AddBackward0>)"
    assert repr(x) == "tensor([1., 1.], requires_grad=True)"
    assert repr(x.detach()) == "tensor([1., 1.])"


def test_suffixes_break_the_line_where_it_is_full() -> None:
    x = flambeau.zeros(12).requires_grad_()
    assert repr(x) == "tensor([0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 0.], requires_grad=True)"
    x = flambeau.zeros(14).requires_grad_()
    assert repr(x) == f"tensor([{', '.join(['0.'] * 14)}],\n       requires_grad=True)"


def test_a_parameter_says_so() -> None:
    assert repr(Parameter(flambeau.ones(1))) == "Parameter containing:\ntensor([1.], requires_grad=True)"


def test_a_subclass_prints_its_own_name() -> None:
    class Mask(Tensor):
        pass

    plain = flambeau.ones(2, dtype=flambeau.int32)
    mask = make(plain._storage, plain._shape, plain._strides, 0, plain.dtype, cls=Mask)
    assert repr(mask) == "Mask([1, 1], dtype=torch.int32)"


def test_format_of_a_tensor_without_dimensions_is_that_of_its_number() -> None:
    pi = flambeau.tensor(math.pi)
    assert f"{pi:.2f} {pi:>8.3f} {flambeau.tensor(7):03d}" == "3.14    3.142 007"
    assert f"{pi}" == str(pi.item())
    assert f"{pi.requires_grad_():.1f}" == "3.1"
    assert f"{flambeau.ones(2)}" == "tensor([1., 1.])"
    with pytest.raises(TypeError, match="unsupported format string"):
        format(flambeau.ones(2), ".2f")


def test_options_are_set_read_and_restored() -> None:
    assert printing.get_printoptions() == {
        "precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80, "sci_mode": None
    }  # fmt: skip
    with printing.printoptions(precision=1, sci_mode=True):
        assert repr(flambeau.tensor([1.25])) == "tensor([1.2e+00])"
    assert repr(flambeau.tensor([1.25])) == "tensor([1.2500])"
    printing.set_printoptions(profile="full")
    assert printing.get_printoptions()["threshold"] == math.inf
    assert "..." not in repr(flambeau.zeros(2000))
    printing.set_printoptions(precision=6)
    assert printing.get_printoptions()["threshold"] == math.inf, "options that are not given stay"


def test_summarising_reads_only_the_edges() -> None:
    """A billion elements that are one number in memory print at once."""
    vast = flambeau.ones(1).expand(30_000, 30_000)
    row = "[1., 1., 1.,  ..., 1., 1., 1.]"
    assert repr(vast) == f"tensor([{(',' + chr(10) + ' ' * 8).join([row] * 3 + ['...'] + [row] * 3)}])"


def test_sizes_and_dtypes_print_as_pytorchs() -> None:
    assert repr(Size([2, 3])) == "torch.Size([2, 3])"
    assert repr(Size([])) == "torch.Size([])"
    assert repr(float32) == "torch.float32"
