"""Layers, Module's machinery and nn.utils give what PyTorch gave (golden.json): weights, outputs, gradients, texts."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

import flambeau

HERE = Path(__file__).parent
_spec = importlib.util.spec_from_file_location("nn_tests_loading", HERE / "loading.py")
loading = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(loading)
layers = loading.table("layers")
PROGRAMS = [(of, name) for of in ("machinery", "parts", "reparametrizing", "subclassing") for name in loading.table(of).PROGRAMS]
GOLDEN = json.loads((HERE / "golden.json").read_text())


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(("layer", "inputs"), layers.PARSED, ids=[f"{a} {b}"[:70] for a, b in layers.PARSED])
def test_layer(layer: str, inputs: str) -> None:
    found, expected = layers.digest(layers.run(flambeau, layer, inputs)), GOLDEN["layers"][f"{layer} | {inputs}"]
    assert loading.close(found, expected, 2e-4), loading.first_difference(found, expected)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(("of", "name"), PROGRAMS)
def test_program(of: str, name: str) -> None:
    found = json.loads(json.dumps(loading.table(of).PROGRAMS[name](flambeau)))
    expected = GOLDEN[of][name]
    assert loading.close(found, expected, 5e-5), loading.first_difference(found, expected)
