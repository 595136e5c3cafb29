"""CIFAR10 and CIFAR100, read from their Python batches with an unpickler that can only build data."""

from __future__ import annotations

import math
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from flambeau.vision.datasets.utils import check_integrity, download_and_extract_archive
from flambeau.vision.datasets.vision import VisionDataset


class _PickledArray:
    """Stands for an ndarray while a batch is unpickled: it notes the array's state and runs nothing."""

    array: np.ndarray | None = None

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, data = state
        raw = data.encode("latin1") if isinstance(data, str) else data
        if dtype.name != "u1" or not isinstance(raw, bytes) or len(raw) != math.prod(shape):
            raise pickle.UnpicklingError("only whole arrays of unsigned bytes are expected")
        flat = np.frombuffer(raw, np.uint8)
        self.array = flat.reshape(shape, order="F" if fortran else "C").copy()


class _PickledDtype:
    def __init__(self, name: str, align: bool = False, copy: bool = False) -> None:
        self.name = name

    def __setstate__(self, state: tuple) -> None:
        """Byte order and field names: of no interest for unsigned bytes."""


def _reconstruct(kind: type, shape: tuple, typecode: Any) -> _PickledArray:
    return _PickledArray()


def _encode(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes in the pickle protocols of Python 2."""
    return text.encode("latin1")


class _BatchUnpickler(pickle.Unpickler):
    """Builds strings, numbers, lists, dicts and byte arrays; any other global is refused by name."""

    GLOBALS = {
        ("numpy", "ndarray"): _PickledArray,
        ("numpy", "dtype"): _PickledDtype,
        ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
        ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
        ("_codecs", "encode"): _encode,
    }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self.GLOBALS[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"a data batch must not use {module}.{name}") from None


def read_batch(path: str | Path) -> dict[str, Any]:
    """Read a pickled batch or its metadata: a dict of lists, strings and uint8 arrays.

    Raises:
        RuntimeError: one line with the path, when the file is damaged or holds anything but such data.
    """
    try:
        with open(path, "rb") as file:
            entry = _BatchUnpickler(file, encoding="latin1").load()
        if not isinstance(entry, dict):
            raise pickle.UnpicklingError(f"it holds a {type(entry).__name__}, not a dict")
    except FileNotFoundError:
        raise
    except Exception as error:  # whatever a hostile or truncated pickle can cause
        raise RuntimeError(f"{path} is not a data batch: {error}") from error
    return {
        key if isinstance(key, str) else key.decode("latin1"): value.array
        if isinstance(value, _PickledArray)
        else value
        for key, value in entry.items()
    }


class CIFAR10(VisionDataset):
    """CIFAR-10: 50,000 training and 10,000 test images of 32 x 32 RGB pixels in 10 classes.

    Args:
        root: the folder that holds `cifar-10-batches-py`, or to download it to.
        train: the training images, or the test images.
        transform, target_transform: applied to each image (a PIL image in mode RGB) and class index (an int).
        download: fetch the files where they are missing.

    Attributes: `data` (uint8 array of shape (N, 32, 32, 3)), `targets` (list of ints), `classes`, `class_to_idx`.

    Raises:
        RuntimeError: when the files are missing or damaged and `download` is False, or cannot be downloaded.
    """

    base_folder = "cifar-10-batches-py"
    url = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
    filename = "cifar-10-python.tar.gz"
    tgz_md5 = "c58f30108f718f92721af3b95e74349a"
    train_list = [
        ["data_batch_1", "c99cafc152244af753f735de768cd75f"],
        ["data_batch_2", "d4bba439e000b95fd0a9bffe97cbabec"],
        ["data_batch_3", "54ebc095f3ab1f0389bbae665268c751"],
        ["data_batch_4", "634d18415352ddfa80567beed471001a"],
        ["data_batch_5", "482c414d41f54cd18b22e5b47cb7c3cb"],
    ]
    test_list = [["test_batch", "40351d587109b95175f43aff81a1287e"]]
    meta = {"filename": "batches.meta", "key": "label_names", "md5": "5ff9c542aee3614f3951f8cda6e48888"}

    def __init__(
        self,
        root: str | Path,
        train: bool = True,
        transform: Callable | None = None,
        target_transform: Callable | None = None,
        download: bool = False,
    ) -> None:
        super().__init__(root, transform=transform, target_transform=target_transform)
        self.train = train
        if download:
            self.download()
        if not self._check_integrity():
            raise RuntimeError("Dataset not found or corrupted. You can use download=True to download it")
        self.data, self.targets = self._load_data()
        self._load_meta()

    def _path(self, name: str) -> str:
        return os.path.join(self.root, self.base_folder, name)

    def _load_data(self) -> tuple[np.ndarray, list[int]]:
        batches = [read_batch(self._path(name)) for name, _ in (self.train_list if self.train else self.test_list)]
        images = np.concatenate([batch["data"] for batch in batches]).reshape(-1, 3, 32, 32)
        targets = [t for b in batches for t in (b["labels"] if "labels" in b else b["fine_labels"])]
        return np.ascontiguousarray(images.transpose(0, 2, 3, 1)), targets

    def _load_meta(self) -> None:
        path = self._path(self.meta["filename"])
        if not check_integrity(path, self.meta["md5"]):
            raise RuntimeError(
                "Dataset metadata file not found or corrupted. You can use download=True to download it"
            )
        self.classes = read_batch(path)[self.meta["key"]]
        self.class_to_idx = {name: index for index, name in enumerate(self.classes)}

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self._transformed(Image.fromarray(self.data[index]), self.targets[index])

    def __len__(self) -> int:
        return len(self.data)

    def _check_integrity(self) -> bool:
        return all(check_integrity(self._path(name), md5) for name, md5 in self.train_list + self.test_list)

    def download(self) -> None:
        """Fetch and unpack the archive where its files are missing or damaged."""
        if not self._check_integrity():
            download_and_extract_archive(self.url, self.root, filename=self.filename, md5=self.tgz_md5)

    def extra_repr(self) -> str:
        return f"Split: {'Train' if self.train is True else 'Test'}"


class CIFAR100(CIFAR10):
    """CIFAR-100: 50,000 training and 10,000 test images of 32 x 32 RGB pixels in 100 classes. As `CIFAR10`."""

    base_folder = "cifar-100-python"
    url = "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"
    filename = "cifar-100-python.tar.gz"
    tgz_md5 = "eb9058c3a382ffc7106e4002c42a8d85"
    train_list = [["train", "16019d7e3df5f24257cddd939b257f8d"]]
    test_list = [["test", "f0ef6b0ae62326f3e7ffdfab6717acfc"]]
    meta = {"filename": "meta", "key": "fine_label_names", "md5": "7973b15100ade9c7d40fb424638fde48"}
