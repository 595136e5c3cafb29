"""SVHN: house numbers in street views, read from MATLAB files (which needs SciPy)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from flambeau.vision.datasets.utils import check_integrity, download_url, verify_str_arg
from flambeau.vision.datasets.vision import VisionDataset


def _load_matlab(path: str) -> dict[str, np.ndarray]:
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise ImportError("SVHN is stored in MATLAB's format; to read it, install SciPy: pip install scipy") from error
    return loadmat(path)


class SVHN(VisionDataset):
    """Street View House Numbers: digits of 32 x 32 RGB pixels; 73,257 to train, 26,032 to test and 531,131 more.

    Args:
        root: the folder that holds `train_32x32.mat` and the others, or to download them to.
        split: `train`, `test` or `extra`.
        transform, target_transform: applied to each image (a PIL image in mode RGB) and digit (an int).
        download: fetch the file where it is missing.

    Attributes: `data` (uint8 array of shape (N, 3, 32, 32)), `labels` (int64 array (N,)).

    Raises:
        RuntimeError: when the file is missing or damaged and `download` is False, or cannot be downloaded.
        ValueError: for an unknown split; ImportError: without SciPy.
    """

    split_list = {
        "train": [
            "http://ufldl.stanford.edu/housenumbers/train_32x32.mat",
            "train_32x32.mat",
            "e26dedcc434d2e4c54c9b2d4a06d8373",
        ],
        "test": [
            "http://ufldl.stanford.edu/housenumbers/test_32x32.mat",
            "test_32x32.mat",
            "eb5a983be6a315427106f1b164d9cef3",
        ],
        "extra": [
            "http://ufldl.stanford.edu/housenumbers/extra_32x32.mat",
            "extra_32x32.mat",
            "a93ce644f1a588dc4d68dda5feec44a7",
        ],
    }

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        transform: Callable | None = None,
        target_transform: Callable | None = None,
        download: bool = False,
    ) -> None:
        super().__init__(root, transform=transform, target_transform=target_transform)
        self.split = verify_str_arg(split, "split", tuple(self.split_list))
        self.url, self.filename, self.file_md5 = self.split_list[split]
        if download:
            self.download()
        if not self._check_integrity():
            raise RuntimeError("Dataset not found or corrupted. You can use download=True to download it")
        loaded = _load_matlab(os.path.join(self.root, self.filename))
        self.data = np.transpose(loaded["X"], (3, 2, 0, 1))
        # The source counts classes from 1, so that a 0 is of class 10.
        self.labels = loaded["y"].astype(np.int64).reshape(-1) % 10

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image = Image.fromarray(np.ascontiguousarray(self.data[index].transpose(1, 2, 0)))
        return self._transformed(image, int(self.labels[index]))

    def __len__(self) -> int:
        return len(self.data)

    def _check_integrity(self) -> bool:
        return check_integrity(os.path.join(self.root, self.filename), self.file_md5)

    def download(self) -> None:
        """Fetch the file where it is missing or damaged."""
        download_url(self.url, self.root, self.filename, self.file_md5)

    def extra_repr(self) -> str:
        return f"Split: {self.split}"
