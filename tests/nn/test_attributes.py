"""Parameters, buffers and submodules as attributes: the shortcut to them is never seen."""

from __future__ import annotations

import copy
import pickle

import pytest

import flambeau as torch
from flambeau import nn


class Chosen(nn.Module):
    """Registers a bias only if it is asked to."""

    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        if bias:
            self.bias = nn.Parameter(torch.zeros(2))


def test_instances_that_lack_a_name_do_not_notice_those_that_have_it() -> None:
    full, bare = Chosen(True), Chosen(False)
    assert full.bias is full._parameters["bias"]
    assert not hasattr(bare, "bias") and not hasattr(Chosen, "bias")
    assert "bias" in dir(full) and "bias" not in dir(bare)
    with pytest.raises(AttributeError, match="'Chosen' object has no attribute 'bias'"):
        bare.bias  # noqa: B018


def test_the_tables_are_the_truth() -> None:
    module = Chosen(True)
    other = nn.Parameter(torch.ones(2) * 3)
    module._parameters["weight"] = other
    assert module.weight is other
    del module.weight
    assert not hasattr(module, "weight")
    module.weight = torch.ones(1)  # a plain attribute now, which goes before tables
    assert "weight" not in module._parameters and module.weight.shape == (1,)
    module.weight = nn.Parameter(torch.ones(4))
    assert module._parameters["weight"] is module.weight and "weight" not in module.__dict__


def test_a_name_moves_from_one_table_to_another() -> None:
    module = Chosen(False)
    del module.weight
    module.register_buffer("weight", torch.zeros(3))
    assert module.weight.shape == (3,)
    del module.weight
    module.weight = nn.Identity()
    assert isinstance(module.weight, nn.Identity)


def test_a_property_of_a_subclass_goes_before() -> None:
    class Doubled(Chosen):
        @property
        def bias(self) -> str:
            return "of the class"

    Chosen(True)
    assert Doubled(False).bias == "of the class"


def test_copies_and_pickles_have_their_own() -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert twin[0].weight is twin[0]._parameters["weight"] and twin[0].weight is not module[0].weight
        assert twin[1].running_mean is twin[1]._buffers["running_mean"]


def test_parameters_come_in_the_order_of_their_names() -> None:
    shared = nn.Linear(2, 2)
    module = nn.Sequential(nn.Sequential(shared, nn.Linear(2, 3)), shared, nn.Linear(3, 1, bias=False))
    named = [p for _, p in module.named_parameters()]
    assert [id(p) for p in module.parameters()] == [id(p) for p in named] and len(named) == 5


def test_overriding_named_parameters_decides_about_parameters() -> None:
    class Frozen(nn.Linear):
        def named_parameters(self, *args: object, **kwargs: object):  # type: ignore[no-untyped-def, override]
            return ((n, p) for n, p in super().named_parameters(*args, **kwargs) if n != "bias")

    assert len(list(Frozen(2, 2).parameters())) == 1
