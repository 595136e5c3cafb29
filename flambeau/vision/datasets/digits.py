"""Digits: the handwritten digits that come with Flambeau, so that a first model can be trained without a network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from flambeau.tensors import from_array
from flambeau.vision.datasets.vision import VisionDataset

DATA_FILE = Path(__file__).parent / "data" / "digits.npz"
TEST_EVERY = 5  # of the images of one digit, in the order of the source: each fifth is a test image


class Digits(VisionDataset):
    """1,797 handwritten digits of 8 x 8 gray pixels: 1,442 to train and 355 to test. Nothing is downloaded.

    The images are the test part of the UCI data set "Optical Recognition of Handwritten Digits" (E. Alpaydin and
    C. Kaynak, 1998, CC BY 4.0), as scikit-learn's `load_digits` has them; `datasets/data/digits.txt` tells more.
    The split is fixed: of the images of each digit, in the order of the source, every fifth is a test image.

    Args:
        root, download: accepted so that it can stand where `MNIST` stands; not used.
        train: the training images, or the test images.
        transform, target_transform: applied to each image (a PIL image in mode L) and class index (an int).

    Attributes: `data` (uint8 tensor of shape (N, 8, 8), 0 to 255), `targets` (int64 tensor (N,)), `classes`,
    `class_to_idx`.

    Example::

        >>> from flambeau.vision.datasets import Digits
        >>> test = Digits(train=False)
        >>> image, label = test[0]
        >>> len(test), image.size, label
        (355, (8, 8), 5)
    """

    classes = [str(digit) for digit in range(10)]
    class_to_idx = {name: index for index, name in enumerate(classes)}

    def __init__(
        self,
        root: str | Path | None = None,
        train: bool = True,
        transform: Callable | None = None,
        target_transform: Callable | None = None,
        download: bool = False,
    ) -> None:
        super().__init__(root, transform=transform, target_transform=target_transform)
        self.train = train
        with np.load(DATA_FILE) as file:
            images, labels = file["images"], file["labels"].astype(np.int64)
        chosen = _is_test(labels) != train
        # The source counts dark pixels in blocks of 4 x 4: 0 to 16.
        pixels = np.rint(images[chosen] * (255 / 16)).astype(np.uint8)
        self.data = from_array(pixels)
        self.targets = from_array(labels[chosen])

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image = Image.fromarray(np.asarray(self.data[index]))
        return self._transformed(image, int(self.targets[index]))

    def __len__(self) -> int:
        return len(self.data)

    def extra_repr(self) -> str:
        return f"Split: {'Train' if self.train is True else 'Test'}"


def _is_test(labels: np.ndarray) -> np.ndarray:
    """A mask of the test images."""
    mask = np.zeros(len(labels), bool)
    for digit in range(10):
        mask[np.flatnonzero(labels == digit)[TEST_EVERY - 1 :: TEST_EVERY]] = True
    return mask
