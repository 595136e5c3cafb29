"""The image operations under the names of torchvision.transforms.v2.functional."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from flambeau.dtypes import dtype, float32
from flambeau.tensors import Tensor, from_array
from flambeau.vision.transforms import functional as v1
from flambeau.vision.transforms.functional import *  # noqa: F403
from flambeau.vision.transforms.functional import get_image_num_channels, hflip, pil_to_tensor, vflip

get_num_channels = get_image_num_channels
horizontal_flip = hflip
vertical_flip = vflip

__all__ = [
    *v1.__all__,
    "get_num_channels",
    "get_size",
    "horizontal_flip",
    "to_dtype",
    "to_image",
    "vertical_flip",
]


def get_size(img: Any) -> list[int]:
    """[height, width] of an image."""
    return v1.get_dimensions(img)[1:]


def to_image(inpt: Tensor | Image.Image | np.ndarray) -> Tensor:
    """A PIL image, an array of shape (H, W) or (H, W, C), or a tensor as a tensor image, with its own values.

    Raises:
        TypeError: for anything else.
    """
    if isinstance(inpt, Tensor):
        return inpt
    if isinstance(inpt, Image.Image):
        return pil_to_tensor(inpt)
    if isinstance(inpt, np.ndarray):
        pixels = inpt[:, :, None] if inpt.ndim == 2 else inpt
        return from_array(np.ascontiguousarray(pixels)).permute(2, 0, 1)
    raise TypeError(
        f"Input can either be a pure Tensor, a numpy array, or a PIL image, but got {type(inpt)} instead."
    )


def to_dtype(inpt: Tensor, dtype: dtype = float32, scale: bool = False) -> Tensor:
    """Convert a tensor image to a dtype; with `scale` its values too, as `convert_image_dtype` does."""
    return v1.convert_image_dtype(inpt, dtype) if scale else inpt.to(dtype)
