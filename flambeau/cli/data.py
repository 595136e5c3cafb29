"""Which images `--data` names: a dataset that is known by name, or a folder with one folder a class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flambeau.cli.errors import UserError, as_user_error, reason
from flambeau.cli.images import Preprocessing, open_image
from flambeau.cli.settings import TrainSettings
from flambeau.random import Generator, fork_rng, manual_seed
from flambeau.utils.data import Dataset, Subset, random_split
from flambeau.vision import datasets

FOLDER_SIZE = 64  # images of a folder are resized to this where neither the user nor the model says more
TEST_SHARE = 0.2  # of a folder that has no part for testing


@dataclass(frozen=True)
class KnownDataset:
    """A dataset with a name: how to open it, what its images are, and what is known about their pixels."""

    open: Callable[..., Any]
    size: int
    channels: int
    mean: float
    std: float
    mirror: bool = False  # whether a mirrored image is still one of its class


KNOWN = {
    "digits": KnownDataset(datasets.Digits, 8, 1, 0.305, 0.376),
    "mnist": KnownDataset(datasets.MNIST, 28, 1, 0.1307, 0.3081),
    "fashion-mnist": KnownDataset(datasets.FashionMNIST, 28, 1, 0.2860, 0.3530, mirror=True),
    "cifar10": KnownDataset(datasets.CIFAR10, 32, 3, 0.4734, 0.2516, mirror=True),
}


@dataclass(frozen=True)
class Splits:
    """The three parts of a dataset. `validation` is None where nothing is kept for it."""

    train: Augmented
    validation: Dataset | None
    test: Dataset
    classes: list[str]


class Transformed(Dataset):
    """A dataset of (image, class) with a transform of the image, so that one source serves training and testing."""

    def __init__(self, source: Dataset, transform: Callable) -> None:
        self.source = source
        self.transform = transform

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image, label = self.source[index]
        return self.transform(image), label

    def __len__(self) -> int:
        return len(self.source)  # type: ignore[arg-type]


class Augmented(Transformed):
    """Transformed at random: what is drawn depends on the seed, the epoch and the image, not on who loads it."""

    def __init__(self, source: Dataset, transform: Callable, seed: int) -> None:
        super().__init__(source, transform)
        self.seed = seed
        self.epoch = 0

    def __getitem__(self, index: int) -> tuple[Any, int]:
        with fork_rng():
            manual_seed(hash((self.seed, self.epoch, index)))
            return super().__getitem__(index)


def data_format(name: str) -> tuple[int, int, float, float]:
    """Return the size, channels, mean and standard deviation of a dataset's images."""
    known = KNOWN.get(name)
    if known is None:
        return FOLDER_SIZE, 3, 0.5, 0.25
    return known.size, known.channels, known.mean, known.std


def load_splits(settings: TrainSettings, preprocessing: Preprocessing) -> Splits:
    """Open the dataset, set the validation part aside and attach the transforms.

    The parts depend on the settings' seed only. Raises UserError for data that are missing or damaged.
    """
    if settings.data in KNOWN:
        train, validation, test, classes = _known_parts(settings)
        mirror = KNOWN[settings.data].mirror
    else:
        train, validation, test, classes = _folder_parts(settings)
        mirror = True
    if len(classes) < 2:
        raise UserError(f"{settings.data} has only one class: {classes[0]}")
    if validation is None:
        train, validation = _cut(train, settings.val_split, settings.seed, "--val-split")
    if settings.limit is not None:
        train = Subset(train, range(min(settings.limit, len(train))))  # type: ignore[arg-type]
    plain = preprocessing.transform()
    return Splits(
        Augmented(train, preprocessing.transform(settings.augment, mirror), settings.seed),
        None if validation is None else Transformed(validation, plain),
        Transformed(test, plain),
        classes,
    )


def load_test(settings: TrainSettings, preprocessing: Preprocessing, classes: list[str], whole: bool) -> Dataset:
    """Open the test part for a trained model; its classes must be among the model's.

    `whole` says that the model was trained on something else, so that all images of a folder may test it.
    """
    if settings.data in KNOWN:
        test = _open_known(settings, train=False)
        found = list(test.classes)
    else:
        _, _, test, found = _folder_parts(settings, whole)
    if not set(found) <= set(classes):
        extra = sorted(set(found) - set(classes))
        raise UserError(f"{settings.data} has classes that the model does not know: {', '.join(extra)}")
    if found != classes:
        test = Relabelled(test, [classes.index(name) for name in found])
    return Transformed(test, preprocessing.transform())


class Relabelled(Dataset):
    """A dataset whose class numbers are those of another order of the classes."""

    def __init__(self, source: Dataset, numbers: list[int]) -> None:
        self.source = source
        self.numbers = numbers

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image, label = self.source[index]
        return image, self.numbers[label]

    def __len__(self) -> int:
        return len(self.source)  # type: ignore[arg-type]


def _open_known(settings: TrainSettings, train: bool) -> Any:
    with as_user_error(f"cannot open {settings.data}", RuntimeError, OSError):
        return KNOWN[settings.data].open(root=settings.data_root, train=train, download=settings.download)


def _known_parts(settings: TrainSettings) -> tuple[Dataset, None, Dataset, list[str]]:
    train = _open_known(settings, train=True)
    return train, None, _open_known(settings, train=False), list(train.classes)


def _open_folder(path: Path) -> Any:
    try:
        return datasets.ImageFolder(path, loader=open_image)
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        raise UserError(f"{path}: {reason(error)}") from error


def _folder_parts(settings: TrainSettings, whole: bool = False) -> tuple[Dataset, Dataset | None, Dataset, list[str]]:
    """Return train, validation, test and the classes of a folder.

    A folder may hold `train`, `val` and `test`, or the classes themselves. `whole` makes all of the latter the
    test part (the model was trained on something else).
    """
    root = Path(settings.data)
    if not root.is_dir():
        names = ", ".join(KNOWN)
        raise UserError(f"--data {settings.data}: neither a known dataset ({names}) nor a folder")
    if not (root / "train").is_dir():
        if whole and (root / "test").is_dir():
            root = root / "test"
        source = _open_folder(root)
        if whole:
            return source, None, source, source.classes
        train, test = _cut(source, TEST_SHARE, settings.seed + 1, "the test part")
        assert test is not None
        return train, None, test, source.classes
    source = train = _open_folder(root / "train")
    parts = {name: _open_folder(root / name) for name in ("val", "test") if (root / name).is_dir()}
    for name, part in parts.items():
        if part.classes != source.classes:
            raise UserError(f"{root / name} does not have the classes of {root / 'train'}")
    validation, test = parts.get("val"), parts.get("test") or parts.get("val")
    if test is None:
        train, test = _cut(source, TEST_SHARE, settings.seed + 1, "the test part")
        assert test is not None
    return train, validation, test, source.classes


def _cut(source: Dataset, share: float, seed: int, what: str) -> tuple[Dataset, Dataset | None]:
    """Set a random share of a dataset aside."""
    total = len(source)  # type: ignore[arg-type]
    aside = round(total * share)
    if share == 0:
        return source, None
    if aside == 0 or aside == total:
        raise UserError(f"{total} images are too few for {what} to get a share of {share:g}")
    first, second = random_split(source, [total - aside, aside], Generator().manual_seed(seed))
    return first, second
