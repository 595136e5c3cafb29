"""Layers and Module's machinery give what PyTorch gave (golden.json): weights, outputs, gradients, texts."""

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
layers, machinery = loading.table("layers"), loading.table("machinery")
GOLDEN = json.loads((HERE / "golden.json").read_text())


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(("layer", "inputs"), layers.PARSED, ids=[f"{a} {b}"[:70] for a, b in layers.PARSED])
def test_layer(layer: str, inputs: str) -> None:
    found, expected = layers.digest(layers.run(flambeau, layer, inputs)), GOLDEN["layers"][f"{layer} | {inputs}"]
    assert loading.close(found, expected, 2e-4), loading.first_difference(found, expected)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("name", machinery.PROGRAMS)
def test_machinery(name: str) -> None:
    found = json.loads(json.dumps(machinery.PROGRAMS[name](flambeau)))
    expected = GOLDEN["machinery"][name]
    assert loading.close(found, expected, 5e-5), loading.first_difference(found, expected)
