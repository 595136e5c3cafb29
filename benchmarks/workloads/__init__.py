"""The workloads: plain PyTorch programs, each written once as a function of the module `torch`.

`workload(torch, batch)` is a generator: one training step (or one inference) a value, the value being its loss. The
driver hands it `torch` or `flambeau`; there is no other difference between the two sides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from benchmarks.workloads.changing import reinforce, translation
from benchmarks.workloads.dcgan import dcgan
from benchmarks.workloads.gpt import gpt, gpt_generate
from benchmarks.workloads.lenet import lenet
from benchmarks.workloads.lstm import lstm
from benchmarks.workloads.mlp import mlp, vae
from benchmarks.workloads.mobilenet import mobilenet
from benchmarks.workloads.resnet import resnet18, resnet18_inference
from benchmarks.workloads.vit import vit


class Workload(NamedTuple):
    """`kind`: "training", "inference", or "changing" for trainings whose steps are never alike."""

    make: Callable[[Any, int], Iterator[float]]
    batch: int
    kind: str = "training"


WORKLOADS = {
    "lenet-4": Workload(lenet, 4),
    "lenet-32": Workload(lenet, 32),
    "lenet-128": Workload(lenet, 128),
    "lenet-512": Workload(lenet, 512),
    "mlp": Workload(mlp, 64),
    "vae": Workload(vae, 128),
    "lstm": Workload(lstm, 20),
    "gpt": Workload(gpt, 16),
    "dcgan": Workload(dcgan, 32),
    "resnet18": Workload(resnet18, 32),
    "mobilenet": Workload(mobilenet, 32),
    "vit": Workload(vit, 32),
    "resnet18-inference": Workload(resnet18_inference, 1, "inference"),
    "gpt-inference": Workload(gpt_generate, 1, "inference"),
    "translation": Workload(translation, 1, "changing"),
    "reinforce": Workload(reinforce, 1, "changing"),
}
