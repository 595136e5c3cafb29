"""The benchmarks' trainings lose what PyTorch's lose: they are no race between two chaotic runs."""

from __future__ import annotations

import itertools

import pytest

torch = pytest.importorskip("torch")

import flambeau  # noqa: E402
from benchmarks.workloads import WORKLOADS  # noqa: E402

BATCHES = {"lenet-4": 4, "mlp": 8, "vae": 8, "lstm": 4, "gpt": 2, "dcgan": 8, "resnet18": 8, "mobilenet": 8, "vit": 2}
STEPS = 10


@pytest.mark.parametrize("name", BATCHES)
def test_losses(name):
    ours, theirs = (
        list(itertools.islice(WORKLOADS[name].make(module, BATCHES[name]), STEPS)) for module in (flambeau, torch)
    )
    assert ours == pytest.approx(theirs, rel=1e-3)
