"""The image operations on tensors of shape (..., C, H, W); `functional` chooses between these and those on PIL images.

Everything is made of differentiable ops, so that gradients flow through where the mathematics has one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from flambeau import dtypes, ops
from flambeau.dtypes import dtype
from flambeau.nn import functional as NF
from flambeau.tensors import Tensor, from_array

MAX_VALUES = {
    dtypes.uint8: 255,
    dtypes.int8: 127,
    dtypes.int16: 32767,
    dtypes.int32: 2147483647,
    dtypes.int64: 9223372036854775807,
}


def _max_value(kind: dtype) -> int:
    """The value of full brightness: the largest of an integer dtype, 1 of a floating one."""
    return MAX_VALUES.get(kind, 1)


def _check_image(img: Tensor) -> None:
    if img.ndim < 2:
        raise TypeError("Tensor is not a torch image.")


def _check_channels(img: Tensor, min_ndim: int = 2) -> None:
    _check_image(img)
    if img.ndim < min_ndim:
        raise TypeError(f"Input image tensor should have at least {min_ndim} dimensions, but found {img.ndim}")
    channels = get_dimensions(img)[0]
    if channels not in (1, 3):
        raise TypeError(f"Input image tensor permitted channel values are [1, 3], but found {channels}")


def get_dimensions(img: Tensor) -> list[int]:
    _check_image(img)
    return [1 if img.ndim == 2 else img.shape[-3], *img.shape[-2:]]


def get_image_size(img: Tensor) -> list[int]:
    _check_image(img)
    return [img.shape[-1], img.shape[-2]]


def get_image_num_channels(img: Tensor) -> int:
    return get_dimensions(img)[0]


# -- values ----------------------------------------------------------------------------------------------------


def convert_image_dtype(image: Tensor, kind: dtype = dtypes.float32) -> Tensor:
    source = image.dtype
    if source == kind:
        return image
    if source.is_floating_point:
        return image.to(kind) if kind.is_floating_point else _float_to_int(image, kind)
    if kind.is_floating_point:
        return image.to(kind) / float(_max_value(source))
    levels, wanted = _max_value(source) + 1, _max_value(kind) + 1
    if levels > wanted:
        return ops.div(image, levels // wanted, rounding_mode="floor").to(kind)
    return image.to(kind) * (wanted // levels)


def _float_to_int(image: Tensor, kind: dtype) -> Tensor:
    unsafe = (dtypes.int32, dtypes.int64) if image.dtype == dtypes.float32 else (dtypes.int64,)
    if kind in unsafe and image.dtype in (dtypes.float32, dtypes.float64):
        raise RuntimeError(f"The cast from {image.dtype} to {kind} cannot be performed safely.")
    # The factor lies just under 256, so that each level takes an equal part of [0, 1] and 1 becomes the highest.
    return image.mul(_max_value(kind) + 1.0 - 1e-3).to(kind)


def _as_float_batch(img: Tensor) -> tuple[Tensor, Any]:
    """The image as a floating (N, C, H, W) batch, and a function that brings a result back to its form."""
    batch = img if img.dtype.is_floating_point else img.to(dtypes.float32)
    batch = batch.reshape(-1, *batch.shape[-3:]) if img.ndim != 4 else batch
    if img.ndim == 2:
        batch = batch.reshape(1, 1, *img.shape)

    def restore(result: Tensor) -> Tensor:
        result = result.reshape(*img.shape[:-3], *result.shape[-3:]) if img.ndim > 2 else result[0, 0]
        if img.dtype.is_floating_point:
            return result
        return result.round().to(img.dtype)

    return batch, restore


def _blend(img: Tensor, other: Tensor, ratio: float) -> Tensor:
    mixed = float(ratio) * img + (1.0 - float(ratio)) * other
    return mixed.clamp(0, _max_value(img.dtype)).to(img.dtype)


def normalize(tensor: Tensor, mean: Sequence[float], std: Sequence[float], inplace: bool = False) -> Tensor:
    _check_image(tensor)
    if not tensor.dtype.is_floating_point:
        raise TypeError(f"Input tensor should be a float tensor. Got {tensor.dtype}.")
    if tensor.ndim < 3:
        raise ValueError(
            "Expected tensor to be a tensor image of size (..., C, H, W). "
            f"Got tensor.size() = {tensor.size()}"
        )
    # As arrays: this runs once a sample, and recording ops would cost more than the arithmetic of a small image.
    centre, scale = (np.asarray(values, tensor.dtype.np) for values in (mean, std))
    if (scale == 0).any():
        raise ValueError(
            f"std evaluated to zero after conversion to {tensor.dtype}, leading to division by zero."
        )
    centre, scale = (v.reshape(-1, 1, 1) if v.ndim == 1 else v for v in (centre, scale))
    if not inplace and not tensor.requires_grad:
        values = tensor._array() - centre
        values /= scale
        return from_array(values)
    result = tensor.sub_(from_array(centre)) if inplace else tensor - from_array(centre)
    return result.div_(from_array(scale))


def erase(img: Tensor, i: int, j: int, h: int, w: int, v: Tensor, inplace: bool = False) -> Tensor:
    _check_image(img)
    img = img if inplace else img.clone()
    img[..., i : i + h, j : j + w] = v
    return img


# -- geometry --------------------------------------------------------------------------------------------------


def hflip(img: Tensor) -> Tensor:
    _check_image(img)
    return img.flip(-1)


def vflip(img: Tensor) -> Tensor:
    _check_image(img)
    return img.flip(-2)


def crop(img: Tensor, top: int, left: int, height: int, width: int) -> Tensor:
    """A window of the image; where it reaches outside, zeros."""
    _check_image(img)
    rows, columns = img.shape[-2:]
    bottom, right = top + height, left + width
    if min(top, left) >= 0 and bottom <= rows and right <= columns:
        return img[..., top:bottom, left:right]
    outside = [
        max(min(right, 0) - left, 0),
        max(right - max(columns, left), 0),
        max(min(bottom, 0) - top, 0),
        max(bottom - max(rows, top), 0),
    ]
    inside = img[..., max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    return NF.pad(inside, outside)


def pad(img: Tensor, padding: Sequence[int], fill: Any = 0, padding_mode: str = "constant") -> Tensor:
    """Pad by (left, right, top, bottom); negative amounts crop."""
    _check_image(img)
    if padding_mode == "constant":
        value = fill[0] if isinstance(fill, (list, tuple)) and len(fill) == 1 else fill
        if not isinstance(value, (int, float, type(None))):
            raise TypeError("Got inappropriate fill arg")
        return NF.pad(img, list(padding), value=float(value or 0))
    if padding_mode == "symmetric" and not 3 <= img.ndim <= 4:
        raise RuntimeError("Symmetric padding of N-D tensors are not supported yet")
    rows = _source_indices(img.shape[-2], padding[2], padding[3], padding_mode)
    columns = _source_indices(img.shape[-1], padding[0], padding[1], padding_mode)
    return img.index_select(-2, rows).index_select(-1, columns)


def _source_indices(size: int, before: int, after: int, mode: str) -> Tensor:
    """Where each position of a padded axis reads from."""
    if mode == "reflect" and max(before, after) >= size:
        raise RuntimeError(
            "Padding size should be less than the corresponding input dimension, "
            f"but got: padding ({before}, {after}) at a dimension of size {size}"
        )
    last = size - 1
    positions = range(-before, size + after)
    if mode == "edge":
        return ops.tensor([min(max(p, 0), last) for p in positions], dtype=dtypes.int64)
    overlap = 1 if mode == "symmetric" else 0  # symmetric repeats the border, reflect does not
    period = 2 * (last + overlap) or 1
    wrapped = (p % period for p in positions)
    return ops.tensor([p if p <= last else period - overlap - p for p in wrapped], dtype=dtypes.int64)


def resize(img: Tensor, size: Sequence[int], interpolation: str, antialias: bool | None = True) -> Tensor:
    _check_image(img)
    batch, restore = _as_float_batch(img)
    smooth = interpolation in ("bilinear", "bicubic")
    result = NF.interpolate(
        batch,
        size=list(size),
        mode=interpolation,
        align_corners=False if smooth else None,
        antialias=bool(antialias) and smooth,
    )
    if interpolation == "bicubic" and img.dtype == dtypes.uint8:
        result = result.clamp(0, 255)
    return restore(result)


def _check_grid_transform(img: Tensor, interpolation: str, fill: Any) -> None:
    _check_image(img)
    channels = get_dimensions(img)[0]
    if isinstance(fill, (tuple, list)) and len(fill) not in (1, channels):
        raise ValueError(
            "The number of elements in 'fill' cannot broadcast to match the number of channels of the image "
            f"({len(fill)} != {channels})"
        )
    if interpolation not in ("nearest", "bilinear"):
        raise ValueError(f"Interpolation mode '{interpolation}' is unsupported with Tensor input")


def _sample(img: Tensor, grid: np.ndarray, mode: str, fill: Any) -> Tensor:
    """Sample the image at a grid of shape (H, W, 2), with `fill` where the grid leaves it."""
    batch, restore = _as_float_batch(img)
    places = from_array(grid).to(batch.dtype).expand(batch.shape[0], *grid.shape)

    def sampled(source: Tensor) -> Tensor:
        return NF.grid_sample(source, places, mode=mode, padding_mode="zeros", align_corners=False)

    if fill is None:
        return restore(sampled(batch))
    # One more channel of ones is sampled along: it says how much of each pixel came from inside.
    covered = ops.ones(batch.shape[0], 1, *batch.shape[-2:], dtype=batch.dtype)
    both = sampled(ops.cat([batch, covered], 1))
    result, inside = both[:, :-1], both[:, -1:]
    values = fill if isinstance(fill, (tuple, list)) else [fill]
    colour = ops.tensor([float(v) for v in values], dtype=batch.dtype).view(1, -1, 1, 1)
    if mode == "nearest":
        return restore(ops.where(inside < 0.5, colour, result))
    return restore(result * inside + (1.0 - inside) * colour)


def _pixel_grid(width: int, height: int, x0: float, y0: float) -> np.ndarray:
    """Homogeneous coordinates (x, y, 1) of the pixel centres, shape (height, width, 3)."""
    grid = np.ones((height, width, 3), np.float32)
    grid[..., 0] = np.arange(width) + (x0 + 0.5)
    grid[..., 1] = (np.arange(height) + (y0 + 0.5))[:, None]
    return grid


def _affine_grid(matrix: Sequence[float], size: Sequence[int], out_size: Sequence[int]) -> np.ndarray:
    """The sampling grid of an affine map given in pixels about the image's centre; sizes are (width, height)."""
    width, height = out_size
    pixels = _pixel_grid(width, height, -0.5 * width, -0.5 * height)
    theta = np.array(matrix, np.float32).reshape(2, 3)
    return pixels @ (theta.T / (0.5 * np.array(size, np.float32)))


def affine(img: Tensor, matrix: Sequence[float], interpolation: str, fill: Any = None) -> Tensor:
    _check_grid_transform(img, interpolation, fill)
    size = get_image_size(img)
    return _sample(img, _affine_grid(matrix, size, size), interpolation, fill)


def _rotated_size(matrix: Sequence[float], width: int, height: int) -> list[int]:
    """(width, height) of the smallest image that holds the turned one, as PIL computes it."""
    corners = [(sx * 0.5 * width, sy * 0.5 * height) for sx in (-1, 1) for sy in (-1, 1)]
    result = []
    for size, (a, b, c) in zip((width, height), (matrix[:3], matrix[3:])):
        # Rounding noise of the trigonometry must not add a pixel: float32, and cut off after four digits.
        places = np.array([a * x + b * y + c + 0.5 * size for x, y in corners], np.float32)
        places = np.trunc(places / np.float32(1e-4)) * np.float32(1e-4)
        result.append(math.ceil(places.max()) - math.floor(places.min()))
    return result


def rotate(img: Tensor, matrix: Sequence[float], interpolation: str, expand: bool, fill: Any = None) -> Tensor:
    _check_grid_transform(img, interpolation, fill)
    size = get_image_size(img)
    out_size = _rotated_size(matrix, *size) if expand else size
    return _sample(img, _affine_grid(matrix, size, out_size), interpolation, fill)


def perspective(img: Tensor, coefficients: Sequence[float], interpolation: str, fill: Any = None) -> Tensor:
    _check_grid_transform(img, interpolation, fill)
    width, height = get_image_size(img)
    a, b, c, d, e, f, g, h = coefficients
    pixels = _pixel_grid(width, height, 0.0, 0.0)
    above = np.array([[a, b, c], [d, e, f]], np.float32).T / (0.5 * np.array([width, height], np.float32))
    below = np.array([g, h, 1.0], np.float32)
    grid = pixels @ above / (pixels @ below)[..., None] - 1.0
    return _sample(img, grid, interpolation, fill)


# -- filters ---------------------------------------------------------------------------------------------------


def _filtered(batch: Tensor, kernel: Tensor) -> Tensor:
    """Each channel convolved with the same 2-d kernel, without padding."""
    channels = batch.shape[1]
    return NF.conv2d(batch, kernel.to(batch.dtype).expand(channels, 1, *kernel.shape), groups=channels)


def _gaussian_kernel(size: int, sigma: float) -> Tensor:
    half = (size - 1) * 0.5
    x = ops.linspace(-half, half, steps=size)
    weights = ops.exp(-0.5 * (x / sigma).pow(2))
    return weights / weights.sum()


def gaussian_blur(img: Tensor, kernel_size: Sequence[int], sigma: Sequence[float]) -> Tensor:
    _check_image(img)
    (width, height), (sigma_x, sigma_y) = kernel_size, sigma
    kernel = _gaussian_kernel(height, sigma_y)[:, None] * _gaussian_kernel(width, sigma_x)[None, :]
    batch, restore = _as_float_batch(img)
    around = [width // 2, width // 2, height // 2, height // 2]
    return restore(_filtered(pad(batch, around, padding_mode="reflect"), kernel))


def adjust_sharpness(img: Tensor, sharpness_factor: float) -> Tensor:
    _check_factor("sharpness_factor", sharpness_factor)
    _check_channels(img)
    if min(img.shape[-2:]) <= 2:
        return img
    kernel = ops.tensor([[1.0, 1.0, 1.0], [1.0, 5.0, 1.0], [1.0, 1.0, 1.0]]) / 13.0
    batch, restore = _as_float_batch(img)
    blurred = img.clone()
    blurred[..., 1:-1, 1:-1] = restore(_filtered(batch, kernel))
    return _blend(img, blurred, sharpness_factor)


# -- colour ----------------------------------------------------------------------------------------------------


def _check_factor(name: str, factor: float) -> None:
    if factor < 0:
        raise ValueError(f"{name} ({factor}) is not non-negative.")


def rgb_to_grayscale(img: Tensor, num_output_channels: int = 1) -> Tensor:
    _check_channels(img, min_ndim=3)
    if num_output_channels not in (1, 3):
        raise ValueError("num_output_channels should be either 1 or 3")
    if img.shape[-3] == 3:
        r, g, b = img.unbind(dim=-3)
        gray = (0.2989 * r + 0.587 * g + 0.114 * b).to(img.dtype).unsqueeze(-3)
    else:
        gray = img.clone()
    return gray.expand(*img.shape[:-3], 3, *img.shape[-2:]) if num_output_channels == 3 else gray


def adjust_brightness(img: Tensor, brightness_factor: float) -> Tensor:
    _check_factor("brightness_factor", brightness_factor)
    _check_channels(img)
    return _blend(img, ops.zeros_like(img), brightness_factor)


def adjust_contrast(img: Tensor, contrast_factor: float) -> Tensor:
    _check_factor("contrast_factor", contrast_factor)
    _check_channels(img)
    gray = rgb_to_grayscale(img) if get_dimensions(img)[0] == 3 else img
    gray = gray if gray.dtype.is_floating_point else gray.to(dtypes.float32)
    axes = (-3, -2, -1) if img.ndim > 2 else (-2, -1)
    return _blend(img, gray.mean(dim=axes, keepdim=True), contrast_factor)


def adjust_saturation(img: Tensor, saturation_factor: float) -> Tensor:
    _check_factor("saturation_factor", saturation_factor)
    _check_channels(img)
    if get_dimensions(img)[0] == 1:
        return img
    return _blend(img, rgb_to_grayscale(img), saturation_factor)


def adjust_hue(img: Tensor, hue_factor: float) -> Tensor:
    _check_channels(img)
    if get_dimensions(img)[0] == 1:
        return img
    hue, saturation, value = _rgb_to_hsv(convert_image_dtype(img, dtypes.float32))
    turned = ops.remainder(hue + hue_factor, 1.0)
    return convert_image_dtype(_hsv_to_rgb(turned, saturation, value), img.dtype)


def adjust_gamma(img: Tensor, gamma: float, gain: float = 1) -> Tensor:
    _check_channels(img)
    levels = img if img.dtype.is_floating_point else convert_image_dtype(img, dtypes.float32)
    return convert_image_dtype((gain * levels**gamma).clamp(0, 1), img.dtype)


def _rgb_to_hsv(img: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Hue, saturation and value, each in [0, 1], of a floating RGB image; a gray pixel has hue 0."""
    r, g, b = img.unbind(dim=-3)
    high, low = img.amax(dim=-3), img.amin(dim=-3)
    spread = high - low
    gray = spread == 0
    one = ops.ones_like(high)
    saturation = spread / ops.where(gray, one, high)
    divisor = ops.where(gray, one, spread)
    rc, gc, bc = (high - r) / divisor, (high - g) / divisor, (high - b) / divisor
    sector = ops.where(high == r, bc - gc, ops.where(high == g, 2.0 + rc - bc, 4.0 + gc - rc))
    hue = ops.fmod(ops.where(gray, ops.zeros_like(high), sector) / 6.0 + 1.0, 1.0)
    return hue, saturation, high


def _hsv_to_rgb(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """The RGB image of shape (..., 3, H, W) of a hue, a saturation and a value, all in [0, 1]."""
    sector = ops.floor(hue * 6.0)
    fraction = hue * 6.0 - sector
    p = (value * (1.0 - saturation)).clamp(0.0, 1.0)
    q = (value * (1.0 - saturation * fraction)).clamp(0.0, 1.0)
    t = (value * (1.0 - saturation * (1.0 - fraction))).clamp(0.0, 1.0)
    which = ops.remainder(sector, 6.0).to(dtypes.int64).unsqueeze(0)
    channels = ([value, q, p, p, t, value], [t, value, value, q, p, p], [p, p, t, value, value, q])
    return ops.stack([ops.stack(six).gather(0, which)[0] for six in channels], dim=-3)


def invert(img: Tensor) -> Tensor:
    _check_channels(img, min_ndim=3)
    return _max_value(img.dtype) - img


def _check_uint8(img: Tensor) -> None:
    if img.dtype != dtypes.uint8:
        raise TypeError(f"Only torch.uint8 image tensors are supported, but found {img.dtype}")


def posterize(img: Tensor, bits: int) -> Tensor:
    _check_uint8(img)
    _check_channels(img, min_ndim=3)
    return img & (256 - 2 ** (8 - bits))


def solarize(img: Tensor, threshold: float) -> Tensor:
    _check_channels(img, min_ndim=3)
    if threshold > _max_value(img.dtype):
        raise TypeError("Threshold should be less than bound of img.")
    return ops.where(img >= threshold, invert(img), img)


def autocontrast(img: Tensor) -> Tensor:
    _check_channels(img, min_ndim=3)
    bound = _max_value(img.dtype)
    levels = img if img.dtype.is_floating_point else img.to(dtypes.float32)
    low, high = levels.amin(dim=(-2, -1), keepdim=True), levels.amax(dim=(-2, -1), keepdim=True)
    flat = low == high  # a channel of one level stays as it is
    base = ops.where(flat, ops.zeros_like(low), low)
    scale = ops.where(flat, ops.ones_like(low), bound / ops.where(flat, ops.ones_like(low), high - low))
    return ((levels - base) * scale).clamp(0, bound).to(img.dtype)


def equalize(img: Tensor) -> Tensor:
    _check_uint8(img)
    if not 3 <= img.ndim <= 4:
        raise TypeError(f"Input image tensor should have 3 or 4 dimensions, but found {img.ndim}")
    _check_channels(img)
    planes = img.reshape(-1, *img.shape[-2:])
    return ops.stack([_equalized(plane) for plane in planes]).reshape(img.shape)


def _equalized(plane: Tensor) -> Tensor:
    histogram = ops.bincount(plane.reshape(-1), minlength=256)
    used = histogram[histogram != 0]
    step = int(used[:-1].sum()) // 255
    if step == 0:
        return plane
    before = ops.cumsum(histogram, 0) - histogram  # how many pixels are darker than each level
    table = ops.div(before + step // 2, step, rounding_mode="floor").clamp(0, 255)
    return table[plane.to(dtypes.int64)].to(dtypes.uint8)
