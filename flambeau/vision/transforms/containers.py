"""Transforms made of transforms, and those between kinds of images."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from flambeau.dtypes import dtype
from flambeau.nn import Module
from flambeau.tensors import Tensor
from flambeau.vision.transforms import functional as F
from flambeau.vision.transforms._base import chance


def _listed(name: str, lines: list[str]) -> str:
    return "\n".join([f"{name}(", *(f"    {line}" for line in lines), ")"])


class Compose:
    """Apply transforms one after the other.

    Args:
        transforms: a list of transforms.

    Example::

        >>> from flambeau.vision import transforms
        >>> preprocess = transforms.Compose([transforms.CenterCrop(10), transforms.ToTensor()])
    """

    def __init__(self, transforms: Sequence[Callable]) -> None:
        self.transforms = transforms

    def __call__(self, img: Any) -> Any:
        for transform in self.transforms:
            img = transform(img)
        return img

    def __repr__(self) -> str:
        return _listed(type(self).__name__, [str(transform) for transform in self.transforms])


class ToTensor:
    """Convert a PIL image or an array of shape (H, W, C) to a tensor of shape (C, H, W), bytes to floats in [0, 1]."""

    def __call__(self, pic: Image.Image | np.ndarray) -> Tensor:
        return F.to_tensor(pic)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class PILToTensor:
    """Convert a PIL image to a tensor of shape (C, H, W), with its own values."""

    def __call__(self, pic: Image.Image) -> Tensor:
        return F.pil_to_tensor(pic)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class ToPILImage:
    """Convert a tensor of shape (C, H, W) or an array of shape (H, W, C) to a PIL image.

    Args:
        mode: PIL's mode; default, by channels and dtype.
    """

    def __init__(self, mode: str | None = None) -> None:
        self.mode = mode

    def __call__(self, pic: Tensor | np.ndarray) -> Image.Image:
        return F.to_pil_image(pic, self.mode)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'' if self.mode is None else f'mode={self.mode}'})"


class ConvertImageDtype(Module):
    """Convert a tensor image to a dtype and scale its values to it.

    Args:
        dtype: the dtype.
    """

    def __init__(self, dtype: dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, image: Tensor) -> Tensor:
        return F.convert_image_dtype(image, self.dtype)


class Lambda:
    """Apply a function as a transform.

    Args:
        lambd: the function.
    """

    def __init__(self, lambd: Callable) -> None:
        if not callable(lambd):
            raise TypeError(f"Argument lambd should be callable, got {repr(type(lambd).__name__)}")
        self.lambd = lambd

    def __call__(self, img: Any) -> Any:
        return self.lambd(img)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class RandomTransforms:
    """Base of the random choices among transforms."""

    def __init__(self, transforms: Sequence[Callable]) -> None:
        if not isinstance(transforms, Sequence):
            raise TypeError("Argument transforms should be a sequence")
        self.transforms = transforms

    def __call__(self, img: Any) -> Any:
        raise NotImplementedError

    def __repr__(self) -> str:
        return _listed(type(self).__name__, [str(transform) for transform in self.transforms])


class RandomApply(Module):
    """Apply a list of transforms, all or none, with a probability.

    Args:
        transforms: a sequence of transforms, or a ModuleList.
        p: the probability.
    """

    def __init__(self, transforms: Any, p: float = 0.5) -> None:
        super().__init__()
        self.transforms = transforms
        self.p = p

    def forward(self, img: Any) -> Any:
        if not chance(self.p):
            return img
        for transform in self.transforms:
            img = transform(img)
        return img

    def __repr__(self) -> str:
        return _listed(type(self).__name__, [f"p={self.p}", *(str(transform) for transform in self.transforms)])


class RandomOrder(RandomTransforms):
    """Apply all transforms in a random order (Python's random numbers, as in PyTorch)."""

    def __call__(self, img: Any) -> Any:
        order = list(range(len(self.transforms)))
        random.shuffle(order)
        for index in order:
            img = self.transforms[index](img)
        return img


class RandomChoice(RandomTransforms):
    """Apply one of the transforms (Python's random numbers, as in PyTorch).

    Args:
        transforms: a sequence of transforms.
        p: the weight of each; default, equal ones.
    """

    def __init__(self, transforms: Sequence[Callable], p: Sequence[float] | None = None) -> None:
        super().__init__(transforms)
        if p is not None and not isinstance(p, Sequence):
            raise TypeError("Argument p should be a sequence")
        self.p = p

    def __call__(self, img: Any) -> Any:
        return random.choices(self.transforms, weights=self.p)[0](img)

    def __repr__(self) -> str:
        return f"{super().__repr__()}(p={self.p})"
