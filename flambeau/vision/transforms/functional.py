"""The image operations, on PIL images and on tensors of shape (..., C, H, W) alike (torchvision.transforms.functional).

Each function checks its arguments and hands over to `_functional_pil` or `_functional_tensor`. "Image" below means
either of both kinds, and what comes back is of the same kind.
"""

from __future__ import annotations

import math
import numbers
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from flambeau.dtypes import dtype, float32
from flambeau.tensors import Tensor
from flambeau.vision.transforms import _functional_pil as F_pil
from flambeau.vision.transforms import _functional_tensor as F_t
from flambeau.vision.transforms._conversion import pil_to_tensor, to_pil_image, to_tensor
from flambeau.vision.transforms.interpolation import InterpolationMode, as_mode, pil_modes_mapping

__all__ = [
    "InterpolationMode",
    "adjust_brightness",
    "adjust_contrast",
    "adjust_gamma",
    "adjust_hue",
    "adjust_saturation",
    "adjust_sharpness",
    "affine",
    "autocontrast",
    "center_crop",
    "convert_image_dtype",
    "crop",
    "equalize",
    "erase",
    "five_crop",
    "gaussian_blur",
    "get_dimensions",
    "get_image_num_channels",
    "get_image_size",
    "hflip",
    "invert",
    "normalize",
    "pad",
    "perspective",
    "pil_modes_mapping",
    "pil_to_tensor",
    "posterize",
    "resize",
    "resized_crop",
    "rgb_to_grayscale",
    "rotate",
    "solarize",
    "ten_crop",
    "to_grayscale",
    "to_pil_image",
    "to_tensor",
    "vflip",
]


def _is_pil_image(img: Any) -> bool:
    return isinstance(img, Image.Image)


def _of(img: Any) -> Any:
    """The module whose functions work on this kind of image."""
    if isinstance(img, Tensor):
        return F_t
    if isinstance(img, Image.Image):
        return F_pil
    raise TypeError(f"img should be PIL Image. Got {type(img)}")


def _tensor_image(img: Any, message: str = "img should be Tensor Image. Got {}") -> Tensor:
    if not isinstance(img, Tensor):
        raise TypeError(message.format(type(img)))
    return img


def _two(size: Any, message: str = "Please provide only two dimensions (h, w) for size.") -> tuple[int, int]:
    """A size given as one number, or as a sequence of one or two, as (height, width)."""
    if isinstance(size, numbers.Number):
        return int(size), int(size)  # type: ignore[call-overload]
    if len(size) == 1:
        return size[0], size[0]
    if len(size) != 2:
        raise ValueError(message)
    return size[0], size[1]


# -- what an image is ------------------------------------------------------------------------------------------


def get_dimensions(img: Any) -> list[int]:
    """[channels, height, width] of an image."""
    return _of(img).get_dimensions(img)


def get_image_size(img: Any) -> list[int]:
    """[width, height] of an image."""
    return _of(img).get_image_size(img)


def get_image_num_channels(img: Any) -> int:
    """How many channels an image has."""
    return _of(img).get_image_num_channels(img)


# -- values ----------------------------------------------------------------------------------------------------


def convert_image_dtype(image: Tensor, dtype: dtype = float32) -> Tensor:
    """Convert a tensor image to another dtype and scale its values: 255 in uint8 is 1.0 in float32.

    Raises:
        RuntimeError: where the values would not fit (float32 to int32 or int64, float64 to int64).
    """
    return F_t.convert_image_dtype(_tensor_image(image, "Input img should be Tensor Image"), dtype)


def normalize(tensor: Tensor, mean: Sequence[float], std: Sequence[float], inplace: bool = False) -> Tensor:
    """(tensor - mean) / std, channel by channel, of a floating tensor image.

    Raises:
        TypeError: when it is no floating tensor; ValueError: when a deviation is zero.
    """
    return F_t.normalize(_tensor_image(tensor), mean, std, inplace)


def erase(img: Tensor, i: int, j: int, h: int, w: int, v: Tensor, inplace: bool = False) -> Tensor:
    """Write `v` over rows i to i + h and columns j to j + w of a tensor image."""
    return F_t.erase(_tensor_image(img), i, j, h, w, v, inplace)


# -- cutting and padding ---------------------------------------------------------------------------------------


def _output_size(image_size: tuple[int, int], size: Sequence[int], max_size: int | None) -> list[int]:
    """[height, width] after resizing; one number in `size` is the new length of the shorter edge."""
    if len(size) == 2:
        return [size[0], size[1]]
    height, width = image_size
    short, long = min(height, width), max(height, width)
    new_short, new_long = size[0], int(size[0] * long / short)
    if max_size is not None:
        if max_size <= size[0]:
            raise ValueError(
                f"max_size = {max_size} must be strictly greater than the requested "
                f"size for the smaller edge size = {list(size)}"
            )
        if new_long > max_size:
            new_short, new_long = int(max_size * new_short / new_long), max_size
    return [new_long, new_short] if width <= height else [new_short, new_long]


def resize(
    img: Any,
    size: int | Sequence[int],
    interpolation: InterpolationMode | int = InterpolationMode.BILINEAR,
    max_size: int | None = None,
    antialias: bool | None = True,
) -> Any:
    """Resize an image.

    Args:
        size: (height, width), or one number for the shorter edge (the aspect ratio stays).
        interpolation: tensors know nearest, nearest-exact, bilinear and bicubic; PIL images all modes.
        max_size: a bound of the longer edge, where `size` is one number.
        antialias: smooth while shrinking (bilinear and bicubic); PIL images always do.
    """
    mode = as_mode(interpolation)
    if not isinstance(size, int):
        if len(size) not in (1, 2):
            raise ValueError(
                f"Size must be an int or a 1 or 2 element tuple/list, not a {len(size)} element tuple/list"
            )
        if max_size is not None and len(size) != 1:
            raise ValueError(
                "max_size should only be passed if size specifies the length of the smaller edge, "
                "i.e. size should be an int or a sequence of length 1 in torchscript mode."
            )
    _, height, width = get_dimensions(img)
    wanted = _output_size((height, width), [size] if isinstance(size, int) else size, max_size)
    if wanted == [height, width]:
        return img
    if isinstance(img, Tensor):
        return F_t.resize(img, wanted, mode.value, antialias)
    if antialias is False:
        warnings.warn("Anti-alias option is always applied for PIL Image input. Argument antialias is ignored.")
    return F_pil.resize(img, wanted, pil_modes_mapping[mode])


def _ltrb(padding: Any) -> list[int]:
    """Padding as (left, right, top, bottom)."""
    if isinstance(padding, int):
        return [padding] * 4
    if not isinstance(padding, (tuple, list)):
        raise TypeError("Got inappropriate padding arg")
    if len(padding) not in (1, 2, 4):
        raise ValueError(
            f"Padding must be an int or a 1, 2, or 4 element tuple, not a {len(padding)} element tuple"
        )
    left, top, right, bottom = padding if len(padding) == 4 else list(padding) * (4 // len(padding))
    return [left, right, top, bottom]


def pad(img: Any, padding: int | Sequence[int], fill: Any = 0, padding_mode: str = "constant") -> Any:
    """Pad an image.

    Args:
        padding: one number for all sides, (left and right, top and bottom), or (left, top, right, bottom).
        fill: the value of constant padding; for a PIL image also a tuple with a value a channel.
        padding_mode: `constant`, `edge` (repeats the border), `reflect` or `symmetric` (mirrors without, or with it).
    """
    sides = _ltrb(padding)
    if not isinstance(fill, (numbers.Number, str, tuple, list, type(None))):
        raise TypeError("Got inappropriate fill arg")
    if not isinstance(padding_mode, str):
        raise TypeError("Got inappropriate padding_mode arg")
    if padding_mode not in ("constant", "edge", "reflect", "symmetric"):
        raise ValueError("Padding mode should be either constant, edge, reflect or symmetric")
    return _of(img).pad(img, sides, fill, padding_mode)


def crop(img: Any, top: int, left: int, height: int, width: int) -> Any:
    """Cut a window out of an image; what lies outside of the image is 0."""
    return _of(img).crop(img, top, left, height, width)


def center_crop(img: Any, output_size: int | Sequence[int]) -> Any:
    """Cut (height, width) out of the middle of an image, padding it with 0 where it is smaller."""
    crop_height, crop_width = _two(output_size)
    _, height, width = get_dimensions(img)
    if crop_width > width or crop_height > height:
        extra_width, extra_height = max(crop_width - width, 0), max(crop_height - height, 0)
        img = pad(img, [extra_width // 2, extra_height // 2, (extra_width + 1) // 2, (extra_height + 1) // 2])
        _, height, width = get_dimensions(img)
        if (crop_height, crop_width) == (height, width):
            return img
    top, left = round((height - crop_height) / 2.0), round((width - crop_width) / 2.0)
    return crop(img, top, left, crop_height, crop_width)


def resized_crop(
    img: Any,
    top: int,
    left: int,
    height: int,
    width: int,
    size: int | Sequence[int],
    interpolation: InterpolationMode | int = InterpolationMode.BILINEAR,
    antialias: bool | None = True,
) -> Any:
    """`crop`, then `resize`."""
    return resize(crop(img, top, left, height, width), size, interpolation, antialias=antialias)


def five_crop(img: Any, size: int | Sequence[int]) -> tuple[Any, ...]:
    """The four corners of an image and its middle: top left, top right, bottom left, bottom right, centre."""
    h, w = _two(size)
    _, height, width = get_dimensions(img)
    if w > width or h > height:
        raise ValueError(f"Requested crop size {(h, w)} is bigger than input size {(height, width)}")
    corners = [(0, 0), (0, width - w), (height - h, 0), (height - h, width - w)]
    return (*(crop(img, top, left, h, w) for top, left in corners), center_crop(img, [h, w]))


def ten_crop(img: Any, size: int | Sequence[int], vertical_flip: bool = False) -> tuple[Any, ...]:
    """`five_crop` of an image and of the image flipped."""
    _two(size)
    return five_crop(img, size) + five_crop(vflip(img) if vertical_flip else hflip(img), size)


# -- turning ---------------------------------------------------------------------------------------------------


def hflip(img: Any) -> Any:
    """Flip an image left to right."""
    return _of(img).hflip(img)


def vflip(img: Any) -> Any:
    """Flip an image upside down."""
    return _of(img).vflip(img)


def _get_inverse_affine_matrix(
    center: Sequence[float],
    angle: float,
    translate: Sequence[float],
    scale: float,
    shear: Sequence[float],
    inverted: bool = True,
) -> list[float]:
    """The two rows of the affine map that takes output pixels to input pixels (or back, when not `inverted`).

    The map turns by `angle` degrees, scales and shears about `center`, then translates: T C R S Hy Hx C^-1.
    """
    turn, shear_x, shear_y = math.radians(angle), math.radians(shear[0]), math.radians(shear[1])
    (cx, cy), (tx, ty) = center, translate
    a = math.cos(turn - shear_y) / math.cos(shear_y)
    b = -math.cos(turn - shear_y) * math.tan(shear_x) / math.cos(shear_y) - math.sin(turn)
    c = math.sin(turn - shear_y) / math.cos(shear_y)
    d = -math.sin(turn - shear_y) * math.tan(shear_x) / math.cos(shear_y) + math.cos(turn)
    if inverted:  # the determinant of (a, b; c, d) is 1
        a, b, c, d = (value / scale for value in (d, -b, -c, a))
        before, after = (-cx - tx, -cy - ty), (cx, cy)
    else:
        a, b, c, d = (value * scale for value in (a, b, c, d))
        before, after = (-cx, -cy), (cx + tx, cy + ty)
    return [
        a,
        b,
        a * before[0] + b * before[1] + after[0],
        c,
        d,
        c * before[0] + d * before[1] + after[1],
    ]


def _check_angle(angle: Any, center: Any) -> None:
    if not isinstance(angle, (int, float)):
        raise TypeError("Argument angle should be int or float")
    if center is not None and not isinstance(center, (list, tuple)):
        raise TypeError("Argument center should be a sequence")


def _from_middle(img: Any, center: Sequence[float] | None) -> list[float]:
    """A point given in pixels, seen from the middle of the image."""
    return [0.0, 0.0] if center is None else [c - 0.5 * s for c, s in zip(center, get_image_size(img))]


def rotate(
    img: Any,
    angle: float,
    interpolation: InterpolationMode | int = InterpolationMode.NEAREST,
    expand: bool = False,
    center: Sequence[float] | None = None,
    fill: Any = None,
) -> Any:
    """Turn an image counter-clockwise by `angle` degrees.

    Args:
        interpolation: tensors know nearest and bilinear.
        expand: grow the image to hold the whole turned one.
        center: (x, y) of the point to turn about; default, the middle.
        fill: a number, or one a channel, for what was outside; default, 0.
    """
    mode = as_mode(interpolation)
    _check_angle(angle, center)
    if _of(img) is F_pil:
        return F_pil.rotate(img, angle, pil_modes_mapping[mode], expand, center, fill)
    # Angles of `_get_inverse_affine_matrix` run clockwise.
    matrix = _get_inverse_affine_matrix(_from_middle(img, center), -angle, [0.0, 0.0], 1.0, [0.0, 0.0])
    return F_t.rotate(img, matrix, mode.value, expand, fill)


def affine(
    img: Any,
    angle: float,
    translate: Sequence[int],
    scale: float,
    shear: float | Sequence[float],
    interpolation: InterpolationMode | int = InterpolationMode.NEAREST,
    fill: Any = None,
    center: Sequence[float] | None = None,
) -> Any:
    """Turn, scale, shear and shift an image about its middle.

    Args:
        angle: degrees, clockwise.
        translate: pixels to the right and down, after turning.
        scale: larger than 0.
        shear: degrees along x, or along x and along y.
        interpolation: tensors know nearest and bilinear.
        fill: a number, or one a channel, for what was outside; default, 0.
        center: (x, y) of the fixed point; default, the middle.
    """
    mode = as_mode(interpolation)
    _check_angle(angle, center)
    if not isinstance(translate, (list, tuple)):
        raise TypeError("Argument translate should be a sequence")
    if len(translate) != 2:
        raise ValueError("Argument translate should be a sequence of length 2")
    if scale <= 0.0:
        raise ValueError("Argument scale should be positive")
    if isinstance(shear, numbers.Number):
        shear = [shear, 0.0]  # type: ignore[list-item]
    if not isinstance(shear, (list, tuple)):
        raise TypeError("Shear should be either a single value or a sequence of two values")
    shear = list(shear) * 2 if len(shear) == 1 else shear
    if len(shear) != 2:
        raise ValueError(f"Shear should be a sequence containing two values. Got {shear}")

    if _of(img) is F_pil:
        pivot = [0.5 * side for side in img.size] if center is None else center
        matrix = _get_inverse_affine_matrix(pivot, angle, translate, scale, shear)
        return F_pil.affine(img, matrix, pil_modes_mapping[mode], fill)
    matrix = _get_inverse_affine_matrix(_from_middle(img, center), angle, translate, scale, shear)
    return F_t.affine(img, matrix, mode.value, fill)


def _get_perspective_coeffs(
    startpoints: Sequence[Sequence[int]], endpoints: Sequence[Sequence[int]]
) -> list[float]:
    """(a ... h) of the map that takes an output pixel (x, y) to the input's
    ((ax + by + c) / (gx + hy + 1), (dx + ey + f) / (gx + hy + 1)): four corners give eight equations."""
    if len(startpoints) != 4 or len(endpoints) != 4:
        raise ValueError(
            f"Please provide exactly four corners, got {len(startpoints)} startpoints and "
            f"{len(endpoints)} endpoints."
        )
    equations = []
    for (x, y), (u, v) in zip(endpoints, startpoints):
        equations.append([x, y, 1, 0, 0, 0, -u * x, -u * y])
        equations.append([0, 0, 0, x, y, 1, -v * x, -v * y])
    wanted = np.asarray(startpoints, np.float64).reshape(8)
    solution = np.linalg.lstsq(np.asarray(equations, np.float64), wanted, rcond=None)[0]
    return solution.astype(np.float32).tolist()


def perspective(
    img: Any,
    startpoints: Sequence[Sequence[int]],
    endpoints: Sequence[Sequence[int]],
    interpolation: InterpolationMode | int = InterpolationMode.BILINEAR,
    fill: Any = None,
) -> Any:
    """Change the perspective: move four points (x, y) of an image from `startpoints` to `endpoints`.

    The corners run top left, top right, bottom right, bottom left. Tensors know nearest and bilinear interpolation.
    """
    coefficients = _get_perspective_coeffs(startpoints, endpoints)
    mode = as_mode(interpolation)
    if _of(img) is F_pil:
        return F_pil.perspective(img, coefficients, pil_modes_mapping[mode], fill)
    return F_t.perspective(img, coefficients, mode.value, fill)


# -- filters and colour ----------------------------------------------------------------------------------------


def gaussian_blur(img: Any, kernel_size: int | Sequence[int], sigma: Any = None) -> Any:
    """Blur an image with a Gaussian kernel; the borders are reflected.

    Args:
        kernel_size: an odd number, or (width, height).
        sigma: the deviation in pixels, or (along x, along y); default, 0.15 kernel_size + 0.35.
    """
    if not isinstance(kernel_size, (int, list, tuple)):
        raise TypeError(f"kernel_size should be int or a sequence of integers. Got {type(kernel_size)}")
    kernel = [kernel_size] * 2 if isinstance(kernel_size, int) else list(kernel_size)
    if len(kernel) != 2:
        raise ValueError(f"If kernel_size is a sequence its length should be 2. Got {len(kernel)}")
    if any(size % 2 == 0 or size < 0 for size in kernel):
        raise ValueError(f"kernel_size should have odd and positive integers. Got {kernel}")
    if sigma is None:
        sigma = [size * 0.15 + 0.35 for size in kernel]
    if not isinstance(sigma, (int, float, list, tuple)):
        raise TypeError(f"sigma should be either float or sequence of floats. Got {type(sigma)}")
    if isinstance(sigma, (int, float)) or len(sigma) == 1:
        sigma = [float(sigma if isinstance(sigma, (int, float)) else sigma[0])] * 2
    if len(sigma) != 2:
        raise ValueError(f"If sigma is a sequence, its length should be 2. Got {len(sigma)}")
    if any(deviation <= 0.0 for deviation in sigma):
        raise ValueError(f"sigma should have positive values. Got {sigma}")
    if isinstance(img, Tensor):
        return F_t.gaussian_blur(img, kernel, sigma)
    if not _is_pil_image(img):
        raise TypeError(f"img should be PIL Image or Tensor. Got {type(img)}")
    return to_pil_image(F_t.gaussian_blur(pil_to_tensor(img), kernel, sigma), mode=img.mode)


def adjust_brightness(img: Any, brightness_factor: float) -> Any:
    """Multiply the brightness: 0 is black, 1 the image itself, 2 twice as bright."""
    return _of(img).adjust_brightness(img, brightness_factor)


def adjust_contrast(img: Any, contrast_factor: float) -> Any:
    """Multiply the contrast: 0 is an even gray, 1 the image itself."""
    return _of(img).adjust_contrast(img, contrast_factor)


def adjust_saturation(img: Any, saturation_factor: float) -> Any:
    """Multiply the saturation: 0 is black and white, 1 the image itself."""
    return _of(img).adjust_saturation(img, saturation_factor)


def adjust_hue(img: Any, hue_factor: float) -> Any:
    """Turn the hues around the colour circle by a part of it, from -0.5 to 0.5."""
    if not -0.5 <= hue_factor <= 0.5:
        raise ValueError(f"hue_factor ({hue_factor}) is not in [-0.5, 0.5].")
    return _of(img).adjust_hue(img, hue_factor)


def adjust_gamma(img: Any, gamma: float, gain: float = 1) -> Any:
    """gain * image ** gamma, for brightness from 0 to 1: below 1 lightens the dark parts."""
    if gamma < 0:
        raise ValueError("Gamma should be a non-negative real number")
    return _of(img).adjust_gamma(img, gamma, gain)


def adjust_sharpness(img: Any, sharpness_factor: float) -> Any:
    """0 blurs an image, 1 is the image itself, 2 sharpens it."""
    return _of(img).adjust_sharpness(img, sharpness_factor)


def rgb_to_grayscale(img: Any, num_output_channels: int = 1) -> Any:
    """The luminance of an RGB image, as 1 channel or as 3 equal ones."""
    return _of(img).rgb_to_grayscale(img, num_output_channels)


def to_grayscale(img: Image.Image, num_output_channels: int = 1) -> Image.Image:
    """`rgb_to_grayscale` of a PIL image of any mode."""
    if not _is_pil_image(img):
        raise TypeError("Input should be PIL Image")
    return F_pil.rgb_to_grayscale(img, num_output_channels)


def invert(img: Any) -> Any:
    """The negative of an image."""
    return _of(img).invert(img)


def posterize(img: Any, bits: int) -> Any:
    """Keep only the highest `bits` (0 to 8) of each byte of a uint8 image."""
    if not 0 <= bits <= 8:
        raise ValueError(f"The number if bits should be between 0 and 8. Got {bits}")
    return _of(img).posterize(img, bits)


def solarize(img: Any, threshold: float) -> Any:
    """Invert the pixels at or above a threshold."""
    return _of(img).solarize(img, threshold)


def autocontrast(img: Any) -> Any:
    """Stretch each channel so that its darkest pixel becomes 0 and its lightest full."""
    return _of(img).autocontrast(img)


def equalize(img: Any) -> Any:
    """Even out the histogram of each channel of a uint8 image."""
    return _of(img).equalize(img)
