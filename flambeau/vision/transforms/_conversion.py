"""Between PIL images, arrays of shape (H, W, C) and tensors of shape (C, H, W)."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from PIL import Image

from flambeau.dtypes import get_default_dtype
from flambeau.tensors import Tensor, from_array

INT16_MODE = "I;16" if sys.byteorder == "little" else "I;16B"
PIXEL_DTYPES = {"I": np.int32, INT16_MODE: np.int16, "F": np.float32}
GRAY_MODES = {"uint8": "L", "int16": INT16_MODE, "int32": "I", "float32": "F"}
COLOUR_MODES = {2: ("LA",), 3: ("RGB", "YCbCr", "HSV"), 4: ("RGBA", "CMYK", "RGBX")}


def to_tensor(pic: Image.Image | np.ndarray) -> Tensor:
    """Convert a PIL image or an array of shape (H, W) or (H, W, C) to a tensor of shape (C, H, W).

    Bytes become floats in [0, 1] (of the default dtype); other values stay as they are.

    Raises:
        TypeError: for anything else; ValueError: for an array of other dimensions.

    Example::

        >>> import numpy as np
        >>> to_tensor(np.full((2, 3, 1), 255, np.uint8)).shape
        torch.Size([1, 2, 3])
    """
    if isinstance(pic, np.ndarray):
        if pic.ndim not in (2, 3):
            raise ValueError(f"pic should be 2/3 dimensional. Got {pic.ndim} dimensions.")
        pixels = pic
    elif isinstance(pic, Image.Image):
        pixels = np.array(pic, PIXEL_DTYPES.get(pic.mode, np.uint8))
        if pic.mode == "1":
            pixels = pixels * np.uint8(255)
    else:
        raise TypeError(f"pic should be PIL Image or ndarray. Got {type(pic)}")
    planes = _channels_first(pixels)
    if planes.dtype == np.uint8:
        # One pass over the pixels: this runs once a sample.
        scaled = np.empty(planes.shape, get_default_dtype().np)
        return from_array(np.divide(planes, 255, out=scaled, dtype=scaled.dtype))
    return from_array(np.ascontiguousarray(planes))


def _channels_first(pixels: np.ndarray) -> np.ndarray:
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def pil_to_tensor(pic: Any) -> Tensor:
    """Convert a PIL image to a tensor of shape (C, H, W) with its own values and dtype (a copy).

    Raises:
        TypeError: for anything else.
    """
    if not isinstance(pic, Image.Image):
        raise TypeError(f"pic should be PIL Image. Got {type(pic)}")
    pixels = np.array(pic)
    return from_array(pixels if pixels.ndim == 3 else pixels[:, :, None]).permute(2, 0, 1)


def to_pil_image(pic: Tensor | np.ndarray, mode: str | None = None) -> Image.Image:
    """Convert a tensor of shape (C, H, W) or (H, W), or an array of shape (H, W, C) or (H, W), to a PIL image.

    Floats are taken as 0 to 1 and become bytes, except for mode F.

    Args:
        mode: PIL's mode; default, by channels and dtype (L, LA, RGB, RGBA; I;16, I or F for one wide channel).

    Raises:
        TypeError: for anything else, or a dtype without a mode.
        ValueError: for other dimensions, more than 4 channels, or a mode that does not fit.
    """
    if isinstance(pic, Tensor):
        pixels = (pic.permute(1, 2, 0) if pic.ndim == 3 else pic).numpy(force=True)
    elif isinstance(pic, np.ndarray):
        pixels = pic
    else:
        raise TypeError(f"pic should be Tensor or ndarray. Got {type(pic)}.")
    if pixels.ndim not in (2, 3):
        raise ValueError(f"pic should be 2/3 dimensional. Got {pixels.ndim} dimensions.")
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    channels = pixels.shape[2]
    if channels > 4:
        raise ValueError(f"pic should not have > 4 channels. Got {channels} channels.")
    if np.issubdtype(pixels.dtype, np.floating) and mode != "F":
        # Through a wider integer, so that values outside of [0, 1] wrap as they do in PyTorch.
        with np.errstate(invalid="ignore"):
            pixels = (pixels * 255).astype(np.int64).astype(np.uint8)
    mode = _fitting_mode(pixels, mode)
    return _from_pixels(pixels[:, :, 0] if channels == 1 else pixels, mode)


def _fitting_mode(pixels: np.ndarray, mode: str | None) -> str:
    channels = pixels.shape[2]
    if channels == 1:
        expected = GRAY_MODES.get(str(pixels.dtype))
        if mode is not None and mode != expected:
            raise ValueError(f"Incorrect mode ({mode}) supplied for input type {np.dtype}. Should be {expected}")
        mode = expected
    else:
        permitted = COLOUR_MODES[channels]
        if mode is not None and mode not in permitted:
            raise ValueError(f"Only modes {list(permitted)} are supported for {channels}D inputs")
        if mode is None and pixels.dtype == np.uint8:
            mode = permitted[0]
    if mode is None:
        raise TypeError(f"Input type {pixels.dtype} is not supported")
    return mode


def _from_pixels(pixels: np.ndarray, mode: str) -> Image.Image:
    """An image of a given mode from memory (`Image.fromarray` guesses the mode, and no longer takes one)."""
    height, width = pixels.shape[:2]
    return Image.frombytes(mode, (width, height), np.ascontiguousarray(pixels).tobytes())
