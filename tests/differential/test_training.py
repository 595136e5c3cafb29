"""Whole trainings beside PyTorch's: the same seed, the same CIFAR-10 images, the same losses."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import flambeau
from flambeau.vision import models

DATA = Path(os.environ.get("FLAMBEAU_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
BATCHES = DATA / "cifar-10-batches-py"
needs_cifar10 = pytest.mark.skipif(not BATCHES.is_dir(), reason="CIFAR-10 is not here")


def cifar10(count: int) -> tuple[np.ndarray, np.ndarray]:
    with open(BATCHES / "data_batch_1", "rb") as file:
        batch = pickle.load(file, encoding="latin1")
    images = batch["data"][:count].reshape(-1, 3, 32, 32).astype(np.float32) / 255
    return (images - 0.5) / 0.25, np.asarray(batch["labels"][:count], np.int64)


def lenet(lib: Any) -> Any:
    nn = lib.nn

    class LeNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(3, 6, 5)
            self.conv2 = nn.Conv2d(6, 16, 5)
            self.fc1 = nn.Linear(400, 120)
            self.fc2 = nn.Linear(120, 84)
            self.fc3 = nn.Linear(84, 10)

        def forward(self, x: Any) -> Any:
            x = nn.functional.max_pool2d(nn.functional.relu(self.conv1(x)), 2)
            x = nn.functional.max_pool2d(nn.functional.relu(self.conv2(x)), 2)
            x = x.view(-1, 400)
            return self.fc3(nn.functional.relu(self.fc2(nn.functional.relu(self.fc1(x)))))

    return LeNet()


def torch_resnet18() -> Any:
    """torchvision's ResNet-18, which the PyTorch this suite installs does not bring."""
    nn = torch.nn

    class BasicBlock(nn.Module):
        def __init__(self, before: int, channels: int, stride: int, downsample: Any) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(before, channels, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(channels)
            self.relu = nn.ReLU(inplace=True)
            self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(channels)
            self.downsample = downsample

        def forward(self, x: Any) -> Any:
            y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
            return self.relu(y + (x if self.downsample is None else self.downsample(x)))

    def layer(before: int, channels: int, stride: int) -> Any:
        downsample = None
        if stride != 1:
            downsample = nn.Sequential(nn.Conv2d(before, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))
        return nn.Sequential(
            BasicBlock(before, channels, stride, downsample), BasicBlock(channels, channels, 1, None)
        )

    class ResNet18(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
            self.bn1 = nn.BatchNorm2d(64)
            self.relu = nn.ReLU(inplace=True)
            self.maxpool = nn.MaxPool2d(3, 2, 1)
            self.layer1, self.layer2 = layer(64, 64, 1), layer(64, 128, 2)
            self.layer3, self.layer4 = layer(128, 256, 2), layer(256, 512, 2)
            self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
            self.fc = nn.Linear(512, 10)
            for m in self.modules():
                if isinstance(m, nn.Conv2d):
                    nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
                elif isinstance(m, nn.BatchNorm2d):
                    nn.init.constant_(m.weight, 1)
                    nn.init.constant_(m.bias, 0)

        def forward(self, x: Any) -> Any:
            x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
            x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
            return self.fc(torch.flatten(self.avgpool(x), 1))

    return ResNet18()


def losses(
    lib: Any, make: Any, optimizer: Any, batch: int, steps: int = 50, dtype: str = "float32"
) -> tuple[list[float], dict]:
    """The loss of every step, and the weights that the training began with."""
    lib.manual_seed(0)
    net = make().to(getattr(lib, dtype))
    start = {name: t.detach().numpy().copy() for name, t in net.state_dict().items()}
    optimizer = optimizer(lib.optim, net.parameters())
    schedule = lib.optim.lr_scheduler.OneCycleLR(optimizer, optimizer.defaults["lr"], 50)
    images, labels = cifar10(batch * 20)
    images = images.astype(dtype)
    seen = []
    for step in range(steps):
        i = step % 20 * batch
        loss = lib.nn.CrossEntropyLoss()(
            net(lib.from_numpy(images[i : i + batch])), lib.from_numpy(labels[i : i + batch])
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        seen.append(loss.item())
    return seen, start


def assert_same_training(mine: tuple[list[float], dict], theirs: tuple[list[float], dict], atol: float) -> None:
    assert list(mine[1]) == list(theirs[1])
    for name in theirs[1]:
        np.testing.assert_array_equal(mine[1][name], theirs[1][name], err_msg=f"{name} does not start the same")
    np.testing.assert_allclose(mine[0], theirs[0], atol=atol, rtol=0)


@needs_cifar10
@pytest.mark.parametrize(
    "optimizer",
    [
        lambda optim, params: optim.SGD(params, lr=0.02, momentum=0.9, weight_decay=5e-4),
        lambda optim, params: optim.Adam(params, lr=1e-3),
        lambda optim, params: optim.RMSprop(params, lr=1e-4, momentum=0.5),
    ],
    ids=["SGD", "Adam", "RMSprop"],
)
def test_lenet_learns_the_same(optimizer: Any) -> None:
    mine, theirs = (losses(lib, lambda lib=lib: lenet(lib), optimizer, 32) for lib in (flambeau, torch))
    assert_same_training(mine, theirs, 1e-3)
    assert theirs[0][-1] < theirs[0][0]


def sgd(optim: Any, params: Any) -> Any:
    return optim.SGD(params, lr=0.01, momentum=0.9)


# A new ResNet-18 on images this small amplifies rounding so much that PyTorch's own losses, in single precision,
# change by 0.9 within these 50 steps when it uses two threads instead of one. So the whole curve is compared in
# double precision, and single precision only until the noise has grown.
@needs_cifar10
@pytest.mark.parametrize(("dtype", "batch", "steps"), [("float64", 8, 50), ("float32", 16, 3)])
def test_resnet18_learns_the_same(dtype: str, batch: int, steps: int) -> None:
    mine = losses(flambeau, lambda: models.resnet18(num_classes=10), sgd, batch, steps, dtype)
    theirs = losses(torch, torch_resnet18, sgd, batch, steps, dtype)
    assert_same_training(mine, theirs, 1e-3)
    assert len(set(theirs[0])) == steps
