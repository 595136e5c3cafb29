"""The image operations on PIL images; `functional` chooses between these and those on tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageOps
from PIL.Image import Image as PILImage

GRAY_MODES = ("L", "1", "I", "F")


def get_dimensions(img: PILImage) -> list[int]:
    width, height = img.size
    return [len(img.getbands()), height, width]


def get_image_size(img: PILImage) -> list[int]:
    return list(img.size)


def get_image_num_channels(img: PILImage) -> int:
    return len(img.getbands())


# -- geometry --------------------------------------------------------------------------------------------------


def hflip(img: PILImage) -> PILImage:
    return img.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def vflip(img: PILImage) -> PILImage:
    return img.transpose(Image.Transpose.FLIP_TOP_BOTTOM)


def crop(img: PILImage, top: int, left: int, height: int, width: int) -> PILImage:
    return img.crop((left, top, left + width, top + height))


def resize(img: PILImage, size: Sequence[int], interpolation: int, antialias: bool | None = True) -> PILImage:
    return img.resize((size[1], size[0]), interpolation)


def fill_options(fill: Any, img: PILImage, name: str = "fillcolor") -> dict[str, Any]:
    """A fill value as PIL wants it: one number a band, integers except in mode F."""
    if isinstance(fill, str):
        return {name: fill}
    channels = get_image_num_channels(img)
    number = float if img.mode == "F" else int
    if not isinstance(fill, (list, tuple)):
        value = number(0 if fill is None else fill)
        return {name: (value,) * channels if channels > 1 else value}
    if len(fill) == 1:
        fill = list(fill) * channels
    elif len(fill) != channels:
        raise ValueError(
            "The number of elements in 'fill' does not match the number of channels of the image "
            f"({len(fill)} != {channels})"
        )
    return {name: tuple(number(value) for value in fill)}


def pad(img: PILImage, padding: Sequence[int], fill: Any = 0, padding_mode: str = "constant") -> PILImage:
    """Pad by (left, right, top, bottom); negative amounts crop."""
    left, right, top, bottom = padding
    if padding_mode == "constant":
        padded = ImageOps.expand(img, border=(left, top, right, bottom), **fill_options(fill, img, name="fill"))
    else:
        img = img.crop((-min(left, 0), -min(top, 0), img.width + min(right, 0), img.height + min(bottom, 0)))
        pixels = np.asarray(img)
        widths = [(max(top, 0), max(bottom, 0)), (max(left, 0), max(right, 0))]
        widths += [(0, 0)] * (pixels.ndim - 2)
        padded = Image.fromarray(np.pad(pixels, widths, padding_mode))  # type: ignore[call-overload]
    if img.mode == "P":
        palette = img.getpalette()
        assert palette is not None
        padded = padded if padded.mode == "P" else padded.convert("P")
        padded.putpalette(palette)
    return padded


def affine(img: PILImage, matrix: Sequence[float], interpolation: int, fill: Any = None) -> PILImage:
    options = fill_options(fill, img)
    return img.transform(img.size, Image.Transform.AFFINE, tuple(matrix), interpolation, **options)


def rotate(
    img: PILImage, angle: float, interpolation: int, expand: bool, center: Sequence[float] | None, fill: Any
) -> PILImage:
    pivot = None if center is None else (center[0], center[1])
    return img.rotate(angle, Image.Resampling(interpolation), expand, pivot, **fill_options(fill, img))


def perspective(img: PILImage, coefficients: Sequence[float], interpolation: int, fill: Any = None) -> PILImage:
    options = fill_options(fill, img)
    return img.transform(img.size, Image.Transform.PERSPECTIVE, tuple(coefficients), interpolation, **options)


# -- colour ----------------------------------------------------------------------------------------------------


def adjust_brightness(img: PILImage, brightness_factor: float) -> PILImage:
    return ImageEnhance.Brightness(img).enhance(brightness_factor)


def adjust_contrast(img: PILImage, contrast_factor: float) -> PILImage:
    return ImageEnhance.Contrast(img).enhance(contrast_factor)


def adjust_saturation(img: PILImage, saturation_factor: float) -> PILImage:
    return ImageEnhance.Color(img).enhance(saturation_factor)


def adjust_sharpness(img: PILImage, sharpness_factor: float) -> PILImage:
    return ImageEnhance.Sharpness(img).enhance(sharpness_factor)


def adjust_hue(img: PILImage, hue_factor: float) -> PILImage:
    if img.mode in GRAY_MODES:
        return img
    hue, saturation, value = img.convert("HSV").split()
    shift = np.int32(hue_factor * 255).astype(np.uint8)  # bytes wrap around as hues do
    turned = Image.fromarray(np.asarray(hue) + shift)
    return Image.merge("HSV", (turned, saturation, value)).convert(img.mode)


def adjust_gamma(img: PILImage, gamma: float, gain: float = 1) -> PILImage:
    table = [int((255 + 1 - 1e-3) * gain * pow(level / 255.0, gamma)) for level in range(256)] * 3
    return img.convert("RGB").point(table).convert(img.mode)


def rgb_to_grayscale(img: PILImage, num_output_channels: int = 1) -> PILImage:
    gray = img.convert("L")
    if num_output_channels == 1:
        return gray
    if num_output_channels == 3:
        return Image.merge("RGB", (gray, gray, gray))
    raise ValueError("num_output_channels should be either 1 or 3")


def invert(img: PILImage) -> PILImage:
    return ImageOps.invert(img)


def posterize(img: PILImage, bits: int) -> PILImage:
    return ImageOps.posterize(img, bits)


def solarize(img: PILImage, threshold: float) -> PILImage:
    return ImageOps.solarize(img, threshold)  # type: ignore[arg-type]


def autocontrast(img: PILImage) -> PILImage:
    return ImageOps.autocontrast(img)


def equalize(img: PILImage) -> PILImage:
    return ImageOps.equalize(img)
