"""STL10: larger images with few labels, read from their binary files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from flambeau.vision.datasets.utils import check_integrity, download_and_extract_archive, verify_str_arg
from flambeau.vision.datasets.vision import VisionDataset

IMAGE_SHAPE = (3, 96, 96)  # each channel is stored column by column


class STL10(VisionDataset):
    """STL-10: images of 96 x 96 RGB pixels in 10 classes; 5,000 to train, 8,000 to test and 100,000 without a label.

    Args:
        root: the folder that holds `stl10_binary`, or to download it to.
        split: `train`, `test`, `unlabeled` or `train+unlabeled`.
        folds: one of the ten given parts, 0 to 9, of the labelled training images; None for all.
        transform, target_transform: applied to each image (a PIL image in mode RGB) and class index (-1 for none).
        download: fetch the files where they are missing.

    Attributes: `data` (uint8 array of shape (N, 3, 96, 96)), `labels` (array (N,)), `classes`.

    Raises:
        RuntimeError: when the files are missing or damaged and `download` is False, or cannot be downloaded.
        ValueError: for an unknown split or fold.
    """

    base_folder = "stl10_binary"
    url = "http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz"
    filename = "stl10_binary.tar.gz"
    tgz_md5 = "91f7769df0f17e558f3565bffb0c7dfb"
    class_names_file = "class_names.txt"
    folds_list_file = "fold_indices.txt"
    train_list = [
        ["train_X.bin", "918c2871b30a85fa023e0c44e0bee87f"],
        ["train_y.bin", "5a34089d4802c674881badbb80307741"],
        ["unlabeled_X.bin", "5242ba1fed5e4be9e1e742405eb56ca4"],
    ]
    test_list = [
        ["test_X.bin", "7f263ba9f9e0b06b93213547f721ac82"],
        ["test_y.bin", "36f9794fa4beb8a2c72628de14fa638e"],
    ]
    splits = ("train", "train+unlabeled", "unlabeled", "test")

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        folds: int | None = None,
        transform: Callable | None = None,
        target_transform: Callable | None = None,
        download: bool = False,
    ) -> None:
        super().__init__(root, transform=transform, target_transform=target_transform)
        self.split = verify_str_arg(split, "split", self.splits)
        if folds is not None and not (isinstance(folds, int) and 0 <= folds < 10):
            raise ValueError(f"Value for argument folds should be in the range [0, 10), but got {folds}.")
        self.folds = folds
        if download:
            self.download()
        if not self._check_integrity():
            raise RuntimeError("Dataset not found or corrupted. You can use download=True to download it")
        parts = [self._load(part) for part in self.split.split("+")]
        self.data = np.concatenate([images for images, _ in parts])
        self.labels = np.concatenate([labels for _, labels in parts])
        names = Path(self._path(self.class_names_file))
        self.classes = names.read_text().splitlines() if names.is_file() else None

    def _path(self, name: str) -> str:
        return os.path.join(self.root, self.base_folder, name)

    def _load(self, part: str) -> tuple[np.ndarray, np.ndarray]:
        images = np.fromfile(self._path(f"{part}_X.bin"), np.uint8).reshape(-1, *IMAGE_SHAPE).transpose(0, 1, 3, 2)
        if part == "unlabeled":
            return images, np.full(len(images), -1)
        labels = np.fromfile(self._path(f"{part}_y.bin"), np.uint8).astype(np.int64) - 1
        if part == "train" and self.folds is not None:
            rows = Path(self._path(self.folds_list_file)).read_text().splitlines()
            chosen = np.array(rows[self.folds].split(), np.int64)
            return images[chosen], labels[chosen]
        return images, labels

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image = Image.fromarray(np.ascontiguousarray(self.data[index].transpose(1, 2, 0)))
        return self._transformed(image, int(self.labels[index]))

    def __len__(self) -> int:
        return len(self.data)

    def _check_integrity(self) -> bool:
        return all(check_integrity(self._path(name), md5) for name, md5 in self.train_list + self.test_list)

    def download(self) -> None:
        """Fetch and unpack the archive where its files are missing or damaged."""
        if not self._check_integrity():
            download_and_extract_archive(self.url, self.root, filename=self.filename, md5=self.tgz_md5)

    def extra_repr(self) -> str:
        return f"Split: {self.split}"
