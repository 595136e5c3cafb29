"""MNIST and the data sets in its format: FashionMNIST, KMNIST, EMNIST, QMNIST."""

from __future__ import annotations

import os
import shutil
import string
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from flambeau.tensors import Tensor, from_array
from flambeau.vision.datasets.idx import find_idx, read_idx
from flambeau.vision.datasets.utils import (
    DownloadError,
    download_and_extract_archive,
    extract_archive,
    verify_str_arg,
)
from flambeau.vision.datasets.vision import VisionDataset

NUMBER_CLASSES = [
    "0 - zero",
    "1 - one",
    "2 - two",
    "3 - three",
    "4 - four",
    "5 - five",
    "6 - six",
    "7 - seven",
    "8 - eight",
    "9 - nine",
]


def read_sn3_pascalvincent_tensor(path: str | Path, strict: bool = True) -> Tensor:
    """Read an IDX file, plain or compressed, as a tensor of its own dtype and shape."""
    return from_array(read_idx(path))


def read_label_file(path: str | Path) -> Tensor:
    """Read an IDX file of labels as an int64 tensor of shape (N,)."""
    labels = read_idx(path, dims=1)
    if labels.dtype != np.uint8:
        raise TypeError(f"x should be of dtype torch.uint8 instead of torch.{labels.dtype}")
    return from_array(labels.astype(np.int64))


def read_image_file(path: str | Path) -> Tensor:
    """Read an IDX file of images as a uint8 tensor of shape (N, H, W)."""
    images = read_idx(path, dims=3)
    if images.dtype != np.uint8:
        raise TypeError(f"x should be of dtype torch.uint8 instead of torch.{images.dtype}")
    return from_array(images)


class MNIST(VisionDataset):
    """The MNIST handwritten digits: 60,000 training and 10,000 test images of 28 x 28 gray pixels.

    Args:
        root: the folder that holds `MNIST/raw/train-images-idx3-ubyte` and the others (also as `.gz`).
        train: the training images, or the test images.
        transform, target_transform: applied to each image (a PIL image in mode L) and class index (an int).
        download: fetch the files where they are missing.

    Attributes: `data` (uint8 tensor of shape (N, 28, 28)), `targets` (int64 tensor (N,)), `classes`, `class_to_idx`.

    Raises:
        RuntimeError: when the files are not there and `download` is False, or cannot be downloaded.
    """

    mirrors = ["https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"]
    resources: Any = [
        ("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        ("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"),
        ("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
        ("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"),
    ]
    classes = NUMBER_CLASSES

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
        if not self._check_exists():
            raise RuntimeError("Dataset not found. You can use download=True to download it")
        self.data, self.targets = self._load_data()

    @property
    def images_file(self) -> str:
        return os.path.join(self.raw_folder, f"{'train' if self.train else 't10k'}-images-idx3-ubyte")

    @property
    def labels_file(self) -> str:
        return os.path.join(self.raw_folder, f"{'train' if self.train else 't10k'}-labels-idx1-ubyte")

    def _load_data(self) -> tuple[Tensor, Tensor]:
        return read_image_file(self.images_file), read_label_file(self.labels_file)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image = Image.fromarray(np.asarray(self.data[index]))
        return self._transformed(image, int(self.targets[index]))

    def __len__(self) -> int:
        return len(self.data)

    @property
    def raw_folder(self) -> str:
        return os.path.join(self.root, type(self).__name__, "raw")

    @property
    def processed_folder(self) -> str:
        return os.path.join(self.root, type(self).__name__, "processed")

    @property
    def class_to_idx(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.classes)}

    def _check_exists(self) -> bool:
        return all(
            find_idx(os.path.join(self.raw_folder, name.removesuffix(".gz"))) for name, _ in self.resources
        )

    def download(self) -> None:
        """Fetch and unpack the files where they are missing."""
        if self._check_exists():
            return
        for name, md5 in self.resources:
            errors = []
            for mirror in self.mirrors:
                try:
                    download_and_extract_archive(mirror + name, self.raw_folder, filename=name, md5=md5)
                    break
                except DownloadError as error:
                    errors.append(str(error))
            else:
                raise RuntimeError(f"Error downloading {name}: {'; '.join(errors)}")

    def extra_repr(self) -> str:
        return f"Split: {'Train' if self.train is True else 'Test'}"


def _renamed(old: str, new: str) -> property:
    def read(self: MNIST) -> Tensor:
        warnings.warn(f"{old} has been renamed {new}")
        return getattr(self, new)

    return property(read, doc=f"The old name of `{new}`.")


for _old, _new in (
    ("train_data", "data"),
    ("test_data", "data"),
    ("train_labels", "targets"),
    ("test_labels", "targets"),
):
    setattr(MNIST, _old, _renamed(_old, _new))


class FashionMNIST(MNIST):
    """Fashion-MNIST: 60,000 training and 10,000 test images of clothes, 28 x 28 gray pixels. As `MNIST`."""

    mirrors = ["http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"]
    resources = [
        ("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        ("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
        ("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
        ("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"),
    ]
    classes = [
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ]


class KMNIST(MNIST):
    """Kuzushiji-MNIST: 60,000 training and 10,000 test images of cursive Japanese characters. As `MNIST`."""

    mirrors = ["http://codh.rois.ac.jp/kmnist/dataset/kmnist/"]
    resources = [
        ("train-images-idx3-ubyte.gz", "bdb82020997e1d708af4cf47b453dcf7"),
        ("train-labels-idx1-ubyte.gz", "e144d726b3acfaa3e44228e80efcd344"),
        ("t10k-images-idx3-ubyte.gz", "5c965bf0a639b31b8f53240b1b52f4d7"),
        ("t10k-labels-idx1-ubyte.gz", "7320c461ea6c1c855c0b718fb2a4b134"),
    ]
    classes = ["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"]


class EMNIST(MNIST):
    """EMNIST: handwritten letters and digits in six splits. As `MNIST`, and

    Args:
        split: one of `byclass`, `bymerge`, `balanced`, `letters`, `digits`, `mnist`.
    """

    url = "https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip"
    md5 = "58c8d27c78d21e728a6bc7b3cc06412e"
    splits = ("byclass", "bymerge", "balanced", "letters", "digits", "mnist")
    # The letters whose upper and lower case look alike are one class in the merged splits.
    _merged_classes = set("cijklmopsuvwxyz")
    _all_classes = set(string.digits + string.ascii_letters)
    classes_split_dict = {
        "byclass": sorted(_all_classes),
        "bymerge": sorted(_all_classes - _merged_classes),
        "balanced": sorted(_all_classes - _merged_classes),
        "letters": ["N/A", *string.ascii_lowercase],
        "digits": list(string.digits),
        "mnist": list(string.digits),
    }

    def __init__(self, root: str | Path, split: str, **kwargs: Any) -> None:
        self.split = verify_str_arg(split, "split", self.splits)
        super().__init__(root, **kwargs)
        self.classes = self.classes_split_dict[self.split]

    @property
    def _file_prefix(self) -> str:
        return f"emnist-{self.split}-{'train' if self.train else 'test'}"

    @property
    def images_file(self) -> str:
        return os.path.join(self.raw_folder, f"{self._file_prefix}-images-idx3-ubyte")

    @property
    def labels_file(self) -> str:
        return os.path.join(self.raw_folder, f"{self._file_prefix}-labels-idx1-ubyte")

    def _check_exists(self) -> bool:
        return all(find_idx(file) for file in (self.images_file, self.labels_file))

    def download(self) -> None:
        """Fetch and unpack the files of all splits where those of this one are missing."""
        if self._check_exists():
            return
        download_and_extract_archive(self.url, self.raw_folder, md5=self.md5)
        unpacked = os.path.join(self.raw_folder, "gzip")
        for name in sorted(os.listdir(unpacked)):
            if name.endswith(".gz"):
                extract_archive(os.path.join(unpacked, name), self.raw_folder)
        shutil.rmtree(unpacked)


class QMNIST(MNIST):
    """QMNIST: MNIST with its lost test images and the data of each image's origin. As `MNIST`, and

    Args:
        what: one of `train`, `test`, `test10k`, `test50k`, `nist`; default, by `train`.
        compat: targets are class indices, as MNIST's; else tensors of QMNIST's eight numbers.
    """

    subsets = {"train": "train", "test": "test", "test10k": "test", "test50k": "test", "nist": "nist"}
    _base = "https://raw.githubusercontent.com/facebookresearch/qmnist/master/"
    resources = {
        "train": [
            (_base + "qmnist-train-images-idx3-ubyte.gz", "ed72d4157d28c017586c42bc6afe6370"),
            (_base + "qmnist-train-labels-idx2-int.gz", "0058f8dd561b90ffdd0f734c6a30e5e4"),
        ],
        "test": [
            (_base + "qmnist-test-images-idx3-ubyte.gz", "1394631089c404de565df7b7aeaf9412"),
            (_base + "qmnist-test-labels-idx2-int.gz", "5b5b05890a5e13444e108efe57b788aa"),
        ],
        "nist": [
            (_base + "xnist-images-idx3-ubyte.xz", "7f124b3b8ab81486c9d8c2749c17f834"),
            (_base + "xnist-labels-idx2-int.xz", "5ed0e788978e45d4a8bd4b7caec3d79d"),
        ],
    }

    def __init__(
        self,
        root: str | Path,
        what: str | None = None,
        compat: bool = True,
        train: bool = True,
        **kwargs: Any,
    ) -> None:
        what = what if what is not None else "train" if train else "test"
        self.what = verify_str_arg(what, "what", tuple(self.subsets))
        self.compat = compat
        super().__init__(root, train, **kwargs)

    def _file(self, which: int) -> str:
        url, _ = self.resources[self.subsets[self.what]][which]
        return os.path.join(self.raw_folder, os.path.splitext(os.path.basename(url))[0])

    @property
    def images_file(self) -> str:
        return self._file(0)

    @property
    def labels_file(self) -> str:
        return self._file(1)

    def _check_exists(self) -> bool:
        return all(find_idx(file) for file in (self.images_file, self.labels_file))

    def _load_data(self) -> tuple[Tensor, Tensor]:
        images = read_image_file(self.images_file)
        targets = from_array(read_idx(self.labels_file, dims=2).astype(np.int64))
        part = {"test10k": slice(0, 10000), "test50k": slice(10000, None)}.get(self.what, slice(None))
        return images[part].clone(), targets[part].clone()

    def download(self) -> None:
        """Fetch and unpack the files of this subset where they are missing."""
        if not self._check_exists():
            for url, md5 in self.resources[self.subsets[self.what]]:
                download_and_extract_archive(url, self.raw_folder, md5=md5)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image = Image.fromarray(np.asarray(self.data[index]))
        target = self.targets[index]
        return self._transformed(image, int(target[0]) if self.compat else target)

    def extra_repr(self) -> str:
        return f"Split: {self.what}"
