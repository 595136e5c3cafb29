"""Layers, Module's machinery and nn.utils beside PyTorch's: the tables of tests/nn, on both sides."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

import flambeau

_path = Path(__file__).parents[1] / "nn" / "loading.py"
_spec = importlib.util.spec_from_file_location("nn_tests_loading", _path)
loading = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(loading)
layers = loading.table("layers")
PROGRAMS = [(of, name) for of in ("machinery", "parts", "reparametrizing", "subclassing") for name in loading.table(of).PROGRAMS]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("layer", "inputs"), layers.PARSED, ids=[f"{a} {b}"[:70] for a, b in layers.PARSED])
def test_layer(layer: str, inputs: str) -> None:
    ours, theirs = layers.run(flambeau, layer, inputs), layers.run(torch, layer, inputs)
    assert ours["repr"] == theirs["repr"]
    assert list(ours["state"]) == list(theirs["state"]) and ours["meta"] == theirs["meta"]
    assert loading.close(ours["state"], theirs["state"], 0), "the same seed gives other weights"
    assert loading.close(ours, theirs), loading.first_difference(ours, theirs)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("of", "name"), PROGRAMS)
def test_program(of: str, name: str) -> None:
    program = loading.table(of).PROGRAMS[name]
    ours, theirs = program(flambeau), program(torch)
    assert loading.close(ours, theirs), loading.first_difference(ours, theirs)
