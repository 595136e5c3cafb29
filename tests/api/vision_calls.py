"""One small real call for each of torchvision's names that public programs use most, and what it must give.

`call(vision, folder) -> plain values`; PyTorch's package is not among the oracles here, so that the values are by hand.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import flambeau


def picture() -> Image.Image:
    """Four by two pixels: red falls from left to right, green marks the lower row."""
    pixels = np.zeros((2, 4, 3), np.uint8)
    pixels[..., 0] = [255, 204, 102, 0]
    pixels[1, :, 1] = 51
    return Image.fromarray(pixels)


def image_folder(vision: Any, folder: Path) -> Any:
    for name, count in (("cat", 1), ("dog", 2)):
        (folder / name).mkdir()
        for i in range(count):
            picture().save(folder / name / f"{i}.png")
    found = vision.datasets.ImageFolder(folder, vision.transforms.ToTensor())
    return [found.classes, found.class_to_idx, len(found), found.targets, list(found[2][0].shape), found[2][1]]


def mnist(vision: Any, folder: Path) -> Any:
    """Two digits in MNIST's own files, read back."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, count in (("train", 2), ("t10k", 1)):
        pixels, labels = bytes([7] * 784) * count, bytes([3, 9][:count])
        head = (0x803).to_bytes(4, "big") + count.to_bytes(4, "big") + (28).to_bytes(4, "big") * 2
        (raw / f"{part}-images-idx3-ubyte").write_bytes(head + pixels)
        (raw / f"{part}-labels-idx1-ubyte").write_bytes((0x801).to_bytes(4, "big") + count.to_bytes(4, "big") + labels)
    train, test = (vision.datasets.MNIST(folder, train=t) for t in (True, False))
    image, label = train[1]
    return [len(train), len(test), image.size, image.getpixel((3, 3)), label, train.targets.tolist(), list(train.data.shape)]


def cifar(vision: Any, folder: Path) -> Any:
    """A missing download says so, whole or not: the archive's checksum decides."""
    base = folder / "cifar-10-batches-py"
    base.mkdir()
    (base / "data_batch_1").write_bytes(pickle.dumps({"data": [], "labels": []}))
    try:
        vision.datasets.CIFAR10(folder, download=False)
    except RuntimeError as error:
        return str(error)
    return None


def floats(tensor: Any) -> Any:
    return [round(v, 4) for v in tensor.flatten().tolist()]


CALLS: dict[str, tuple[Callable[[Any, Path], Any], Any]] = {
    "torchvision.datasets": (lambda vision, folder: len(vision.datasets.FakeData(5)), 5),
    "torchvision.datasets.CIFAR10": (cifar, "Dataset not found or corrupted. You can use download=True to download it"),
    "torchvision.datasets.ImageFolder": (image_folder, [["cat", "dog"], {"cat": 0, "dog": 1}, 3, [0, 1, 1], [3, 2, 4], 1]),
    "torchvision.datasets.MNIST": (mnist, [2, 1, (28, 28), 7, 9, [3, 9], [2, 28, 28]]),
    "torchvision.models": (
        lambda vision, folder: [
            sum(p.numel() for p in vision.models.resnet18(num_classes=10).parameters()),
            list(vision.models.resnet18(num_classes=10).eval()(flambeau.zeros(1, 3, 64, 64)).shape),
        ],
        [11181642, [1, 10]],
    ),
    "torchvision.transforms": (lambda vision, folder: vision.transforms.CenterCrop(2)(picture()).size, (2, 2)),
    "torchvision.transforms.Compose": (
        lambda vision, folder: floats(
            vision.transforms.Compose([vision.transforms.Grayscale(), vision.transforms.ToTensor()])(picture())[0, 0]
        ),
        [round(v / 255, 4) for v in (76, 61, 30, 0)],
    ),
    "torchvision.transforms.Normalize": (
        lambda vision, folder: floats(vision.transforms.Normalize((0.5,), (0.25,))(flambeau.tensor([[[0.0, 0.5, 1.0]]]))),
        [-2.0, 0.0, 2.0],
    ),
    "torchvision.transforms.RandomHorizontalFlip": (
        lambda vision, folder: [vision.transforms.RandomHorizontalFlip(p)(picture()).getpixel((0, 0)) for p in (0.0, 1.0)],
        [(255, 0, 0), (0, 0, 0)],
    ),
    "torchvision.transforms.Resize": (
        lambda vision, folder: [vision.transforms.Resize(4)(picture()).size, vision.transforms.Resize((3, 5))(picture()).size],
        [(8, 4), (5, 3)],
    ),
    "torchvision.transforms.ToTensor": (
        lambda vision, folder: floats(vision.transforms.ToTensor()(picture())[:2, 1]), [1.0, 0.8, 0.4, 0.0, 0.2, 0.2, 0.2, 0.2],
    ),
    "torchvision.utils": (lambda vision, folder: list(vision.utils.make_grid(flambeau.zeros(3, 2, 2)).shape), [3, 2, 2]),
    "torchvision.utils.make_grid": (
        lambda vision, folder: [list((g := vision.utils.make_grid(flambeau.ones(3, 1, 2, 2), nrow=2, padding=1)).shape), g.sum().item()],
        [[3, 7, 7], 36.0],
    ),
}  # fmt: skip
