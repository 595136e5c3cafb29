"""DatasetFolder and ImageFolder: one folder a class."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from flambeau.vision.datasets.vision import VisionDataset

IMG_EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


def has_file_allowed_extension(filename: str, extensions: str | tuple[str, ...]) -> bool:
    """Whether a file's name, in lower case, ends in one of the extensions."""
    return filename.lower().endswith(extensions if isinstance(extensions, str) else tuple(extensions))


def is_image_file(filename: str) -> bool:
    """Whether a file's name ends like an image's."""
    return has_file_allowed_extension(filename, IMG_EXTENSIONS)


def find_classes(directory: str | Path) -> tuple[list[str], dict[str, int]]:
    """The class folders of a dataset, sorted, and their indices.

    Raises:
        FileNotFoundError: when there is no such folder, or no folder in it.
    """
    classes = sorted(entry.name for entry in os.scandir(directory) if entry.is_dir())
    if not classes:
        raise FileNotFoundError(f"Couldn't find any class folder in {directory}.")
    return classes, {name: index for index, name in enumerate(classes)}


def _validity(
    extensions: str | tuple[str, ...] | None, is_valid_file: Callable[[str], bool] | None
) -> Callable[[str], bool]:
    if (extensions is None) == (is_valid_file is None):
        raise ValueError("Both extensions and is_valid_file cannot be None or not None at the same time")
    if is_valid_file is not None:
        return is_valid_file
    assert extensions is not None
    return lambda path: has_file_allowed_extension(path, extensions)


def make_dataset(
    directory: str | Path,
    class_to_idx: dict[str, int] | None = None,
    extensions: str | tuple[str, ...] | None = None,
    is_valid_file: Callable[[str], bool] | None = None,
    allow_empty: bool = False,
) -> list[tuple[str, int]]:
    """All samples of a folder of class folders, as (path, class index), sorted.

    Args:
        directory: the folder.
        class_to_idx: the classes and their indices; default, what `find_classes` finds.
        extensions: the file name endings to take; or
        is_valid_file: a function of a path that says whether to take it. Exactly one of both must be given.
        allow_empty: take classes without files too.

    Raises:
        ValueError: when both or neither of `extensions` and `is_valid_file` are given, or there is no class.
        FileNotFoundError: when a class has no file and `allow_empty` is False.
    """
    directory = os.path.expanduser(directory)
    if class_to_idx is None:
        _, class_to_idx = find_classes(directory)
    elif not class_to_idx:
        raise ValueError("'class_to_index' must have at least one entry to collect any samples.")
    valid = _validity(extensions, is_valid_file)

    samples = []
    empty = set(class_to_idx)
    for name in sorted(class_to_idx):
        for folder, _, files in sorted(os.walk(os.path.join(directory, name), followlinks=True)):
            paths = [os.path.join(folder, file) for file in sorted(files)]
            found = [(path, class_to_idx[name]) for path in paths if valid(path)]
            samples += found
            if found:
                empty.discard(name)
    if empty and not allow_empty:
        message = f"Found no valid file for the classes {', '.join(sorted(empty))}. "
        if extensions is not None:
            listed = extensions if isinstance(extensions, str) else ", ".join(extensions)
            message += f"Supported extensions are: {listed}"
        raise FileNotFoundError(message)
    return samples


class DatasetFolder(VisionDataset):
    """Samples in one folder a class: `root/cat/001.ext`, `root/dog/nested/002.ext` ...

    Args:
        root: the folder of class folders.
        loader: loads a sample from its path.
        extensions: file name endings to take; or
        is_valid_file: a function of a path that says whether to take it. Exactly one of both must be given.
        transform, target_transform: applied to each sample and target.
        allow_empty: take classes without files too.

    Attributes: `classes`, `class_to_idx`, `samples` (path and class index of each), `targets`.

    Raises:
        FileNotFoundError: when there is no such folder, no class folder in it, or a class without files.
    """

    def __init__(
        self,
        root: str | Path,
        loader: Callable[[str], Any],
        extensions: tuple[str, ...] | None = None,
        transform: Callable | None = None,
        target_transform: Callable | None = None,
        is_valid_file: Callable[[str], bool] | None = None,
        allow_empty: bool = False,
    ) -> None:
        super().__init__(root, transform=transform, target_transform=target_transform)
        self.loader = loader
        self.extensions = extensions
        self.classes, self.class_to_idx = self.find_classes(self.root)
        self.samples = self.make_dataset(
            self.root,
            class_to_idx=self.class_to_idx,
            extensions=extensions,
            is_valid_file=is_valid_file,
            allow_empty=allow_empty,
        )
        self.targets = [target for _, target in self.samples]

    @staticmethod
    def make_dataset(
        directory: str | Path,
        class_to_idx: dict[str, int],
        extensions: tuple[str, ...] | None = None,
        is_valid_file: Callable[[str], bool] | None = None,
        allow_empty: bool = False,
    ) -> list[tuple[str, int]]:
        """The samples of the dataset; override it to take something else than the files on disk."""
        if class_to_idx is None:
            # `make_dataset` would then look for the classes itself, past an overridden `find_classes`.
            raise ValueError("The class_to_idx parameter cannot be None.")
        return make_dataset(directory, class_to_idx, extensions, is_valid_file, allow_empty)

    def find_classes(self, directory: str | Path) -> tuple[list[str], dict[str, int]]:
        """The classes of the dataset; override it to take others than the folders on disk."""
        return find_classes(directory)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        path, target = self.samples[index]
        return self._transformed(self.loader(path), target)

    def __len__(self) -> int:
        return len(self.samples)


def pil_loader(path: str | Path) -> Image.Image:
    """Load an image file as RGB.

    Raises:
        PIL.UnidentifiedImageError or OSError: with the path in its text, when the file is no image or is damaged.
    """
    with open(path, "rb") as file:  # PIL would keep the file open when given the path
        try:
            return Image.open(file).convert("RGB")
        except (OSError, SyntaxError, ValueError) as error:
            kind = type(error) if isinstance(error, OSError) else OSError
            raise kind(f"cannot read image {path}: {error}") from error


def default_loader(path: str | Path) -> Image.Image:
    """The loader of ImageFolder: `pil_loader`."""
    return pil_loader(path)


class ImageFolder(DatasetFolder):
    """Images in one folder a class: `root/cat/001.png`, `root/dog/nested/002.jpg` ...

    Args:
        root: the folder of class folders.
        transform, target_transform: applied to each image (a PIL image in mode RGB) and class index.
        loader: loads an image from its path.
        is_valid_file: a function of a path that says whether to take it; default, by file name ending.
        allow_empty: take classes without files too.

    Attributes: `classes`, `class_to_idx`, `imgs` and `samples` (path and class index of each), `targets`.

    Raises:
        FileNotFoundError: when there is no such folder, no class folder in it, or a class without images.
    """

    def __init__(
        self,
        root: str | Path,
        transform: Callable | None = None,
        target_transform: Callable | None = None,
        loader: Callable[[str], Any] = default_loader,
        is_valid_file: Callable[[str], bool] | None = None,
        allow_empty: bool = False,
    ) -> None:
        super().__init__(
            root,
            loader,
            IMG_EXTENSIONS if is_valid_file is None else None,
            transform=transform,
            target_transform=target_transform,
            is_valid_file=is_valid_file,
            allow_empty=allow_empty,
        )
        self.imgs = self.samples
