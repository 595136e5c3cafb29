"""Showing images: grids, image files, boxes and masks drawn on them (torchvision.utils)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from flambeau import ops
from flambeau.autograd import no_grad
from flambeau.dtypes import bool_ as bool_dtype
from flambeau.dtypes import int64, uint8
from flambeau.tensors import Tensor, from_array

__all__ = ["make_grid", "save_image", "draw_bounding_boxes", "draw_segmentation_masks", "draw_keypoints"]

Colour = str | tuple[int, int, int]
Colours = Colour | list[Colour] | None
FILL_ALPHA = 100

# -- grids -----------------------------------------------------------------------------------------------------


@no_grad()
def make_grid(
    tensor: Tensor | list[Tensor],
    nrow: int = 8,
    padding: int = 2,
    normalize: bool = False,
    value_range: tuple[float, float] | None = None,
    scale_each: bool = False,
    pad_value: float = 0.0,
) -> Tensor:
    """Lay a batch of images out as one image.

    Args:
        tensor: a batch of shape (B, C, H, W), one image (C, H, W) or (H, W), or a list of images of one shape. Gray
            images become RGB.
        nrow: how many images a row has.
        padding: pixels between the images, and around them.
        normalize: bring the values to [0, 1]: (x - low) / (high - low).
        value_range: (low, high) for that; default, the least and the greatest value.
        scale_each: take the least and the greatest value of each image by itself.
        pad_value: the value of the padding.

    Returns:
        A tensor of shape (C, rows * (H + padding) + padding, columns * (W + padding) + padding); a single image stays
        as it is.

    Example::

        >>> from flambeau import ops
        >>> make_grid(ops.zeros(10, 3, 4, 4), nrow=5).shape
        torch.Size([3, 14, 32])
    """
    batch = _as_batch(tensor)
    if normalize is True:
        batch = _normalized(batch, value_range, scale_each)
    count, channels, height, width = batch.shape
    if count == 1:
        return batch.squeeze(0)
    columns = min(nrow, count)
    rows = math.ceil(count / columns)
    height, width = height + padding, width + padding
    grid = batch.new_full((channels, height * rows + padding, width * columns + padding), pad_value)
    for index in range(count):
        top = index // columns * height + padding
        left = index % columns * width + padding
        grid[:, top : top + height - padding, left : left + width - padding] = batch[index]
    return grid


def _as_batch(tensor: Tensor | list[Tensor]) -> Tensor:
    """Images as a batch of shape (B, C, H, W), gray ones with three equal channels."""
    if isinstance(tensor, list):
        for one in tensor:
            if not isinstance(one, Tensor):
                raise TypeError(f"tensor or list of tensors expected, got a list containing {type(one)}")
        batch: Tensor = ops.stack(tensor, dim=0)
    elif isinstance(tensor, Tensor):
        batch = tensor
    else:
        raise TypeError(f"tensor or list of tensors expected, got {type(tensor)}")
    if batch.ndim == 2:
        batch = batch.unsqueeze(0)
    if batch.ndim == 3:
        batch = batch.unsqueeze(0)
    if batch.ndim == 4 and batch.size(1) == 1:
        batch = ops.cat((batch, batch, batch), 1)
    return batch


def _normalized(batch: Tensor, value_range: tuple[float, float] | None, scale_each: bool) -> Tensor:
    if value_range is not None and not isinstance(value_range, tuple):
        raise TypeError("value_range has to be a tuple (min, max) if specified. min and max are numbers")
    batch = batch.clone()
    for part in batch if scale_each is True else [batch]:
        low, high = value_range if value_range is not None else (float(part.min()), float(part.max()))
        part.clamp_(min=low, max=high).sub_(low).div_(max(high - low, 1e-5))
    return batch


@no_grad()
def save_image(
    tensor: Tensor | list[Tensor],
    fp: str | Path | BinaryIO,
    format: str | None = None,
    **kwargs: Any,
) -> None:
    """Write an image, or a batch as a grid, to an image file.

    Args:
        tensor: values in [0, 1]; shapes as for `make_grid`.
        fp: a file name or an open file.
        format: the format's name; default, by the file name's ending.
        **kwargs: for `make_grid`.
    """
    grid = make_grid(tensor, **kwargs)
    levels = grid.mul(255).add_(0.5).clamp_(0, 255).permute(1, 2, 0).to(uint8)
    Image.fromarray(np.ascontiguousarray(levels.numpy())).save(fp, format=format)


# -- drawing ---------------------------------------------------------------------------------------------------


def _palette(count: int) -> list[tuple[int, int, int]]:
    """Colours that differ well."""
    red, green, blue = 2**25 - 1, 2**15 - 1, 2**21 - 1
    return [(red * i % 255, green * i % 255, blue * i % 255) for i in range(count)]


def _colour_list(colours: Colours, count: int) -> list[tuple[int, ...]]:
    """A colour for each object, as RGB.

    Raises:
        ValueError: when there are too few, or they are no colours.
    """
    if colours is None:
        chosen: list[Any] = list(_palette(count))
    elif isinstance(colours, list):
        if len(colours) < count:
            raise ValueError(
                "Number of colors must be equal or larger than the number of objects, "
                f"but got {len(colours)} < {count}."
            )
        chosen = list(colours)
    elif isinstance(colours, (str, tuple)):
        if isinstance(colours, tuple) and len(colours) != 3:
            raise ValueError("If passed as tuple, colors should be an RGB triplet.")
        chosen = [colours] * count
    else:
        raise ValueError(f"`colors` must be a tuple or a string, or a list thereof, but got {colours}.")
    return [ImageColor.getrgb(colour) if isinstance(colour, str) else tuple(colour) for colour in chosen]


def _check_image(image: Any, channels: tuple[int, ...]) -> None:
    if not isinstance(image, Tensor):
        raise TypeError(f"The image must be a tensor, got {type(image)}")
    if not (image.dtype == uint8 or image.dtype.is_floating_point):
        raise ValueError(f"The image dtype must be uint8 or float, got {image.dtype}")
    if image.ndim != 3:
        raise ValueError("Pass individual images, not batches")
    if image.size(0) not in channels:
        raise ValueError(
            "Only grayscale and RGB images are supported"
            if 1 in channels
            else "Pass an RGB image. Other Image formats are not supported"
        )


def _to_picture(image: Tensor) -> Image.Image:
    """A gray or RGB tensor image, bytes or floats in [0, 1], as an RGB picture to draw on."""
    pixels = image.detach()
    if image.dtype.is_floating_point:
        pixels = (pixels * 255).clamp(0, 255).to(uint8)
    array = pixels.permute(1, 2, 0).numpy()
    return Image.fromarray(np.ascontiguousarray(np.broadcast_to(array, (*array.shape[:2], 3))))


def _from_picture(picture: Image.Image, like: Tensor) -> Tensor:
    drawn = from_array(np.array(picture)).permute(2, 0, 1)
    return drawn.to(like.dtype) / 255 if like.dtype.is_floating_point else drawn


@no_grad()
def draw_bounding_boxes(
    image: Tensor,
    boxes: Tensor,
    labels: list[str | None] | None = None,
    colors: Colours = None,
    fill: bool | None = False,
    width: int = 1,
    font: str | None = None,
    font_size: int | None = None,
    label_colors: Colours = None,
) -> Tensor:
    """Draw boxes and their labels on an image.

    Args:
        image: of shape (1 or 3, H, W), uint8, or floating in [0, 1].
        boxes: of shape (N, 4), each (xmin, ymin, xmax, ymax) in pixels.
        labels: a text for each box, or None for those without.
        colors: one colour, a list of them, or None for different ones; names, "#rrggbb" or RGB tuples.
        fill: paint the boxes, half transparent.
        width: of the lines.
        font, font_size: a TrueType font's file and its size.
        label_colors: of the texts; default, those of the boxes.

    Returns:
        A new image of shape (3, H, W).

    Raises:
        TypeError, ValueError: when image, boxes, labels or colours do not fit.
    """
    _check_image(image, (1, 3))
    if (boxes[:, 0] > boxes[:, 2]).any() or (boxes[:, 1] > boxes[:, 3]).any():
        raise ValueError(
            "Boxes need to be in (xmin, ymin, xmax, ymax) format. Use torchvision.ops.box_convert to convert them"
        )
    count = boxes.size(0)
    if labels is not None and len(labels) != count:
        raise ValueError(
            f"The number of boxes ({count}) and labels ({len(labels)}) mismatch. Please specify labels for each box."
        )
    picture = _to_picture(image)
    draw = ImageDraw.Draw(picture, "RGBA" if fill else None)
    outlines = _colour_list(colors, count)
    texts = _colour_list(label_colors, count) if label_colors is not None else outlines
    typeface = ImageFont.truetype(font=font, size=font_size or 10) if font is not None else ImageFont.load_default()
    for box, label, outline, text in zip(boxes.to(int64).tolist(), labels or [None] * count, outlines, texts):
        inside = (*outline, FILL_ALPHA) if fill else None
        draw.rectangle(box, width=width, outline=outline, fill=inside)
        if label is not None:
            draw.text((box[0] + width + 1, box[1] + width + 1), label, fill=text, font=typeface)
    return _from_picture(picture, image)


@no_grad()
def draw_segmentation_masks(
    image: Tensor, masks: Tensor, alpha: float = 0.8, colors: Colours = None
) -> Tensor:
    """Paint masks on an RGB image.

    Args:
        image: of shape (3, H, W), uint8, or floating in [0, 1].
        masks: of shape (N, H, W) or (H, W), bool.
        alpha: how opaque they are, from 0 to 1.
        colors: as for `draw_bounding_boxes`.

    Returns:
        A new image of shape (3, H, W).

    Raises:
        TypeError, ValueError: when image, masks or colours do not fit.
    """
    _check_image(image, (3,))
    masks = masks[None] if masks.ndim == 2 else masks
    if masks.ndim != 3:
        raise ValueError("masks must be of shape (H, W) or (batch_size, H, W)")
    if masks.dtype != bool_dtype:
        raise ValueError(f"The masks must be of dtype bool. Got {masks.dtype}")
    if masks.shape[-2:] != image.shape[-2:]:
        raise ValueError("The image and the masks must have the same height and width")
    painted = image.detach().clone()
    for mask, colour in zip(masks, _colour_list(colors, masks.size(0))):
        levels = ops.tensor(colour, dtype=image.dtype)
        painted[:, mask] = (levels / 255 if image.dtype.is_floating_point else levels)[:, None]
    return (image * (1 - alpha) + painted * alpha).to(image.dtype)


@no_grad()
def draw_keypoints(
    image: Tensor,
    keypoints: Tensor,
    connectivity: Sequence[tuple[int, int]] | None = None,
    colors: Colour | None = None,
    radius: int = 2,
    width: int = 3,
    visibility: Tensor | None = None,
) -> Tensor:
    """Draw the key points of objects on an RGB image.

    Args:
        image: of shape (3, H, W), uint8, or floating in [0, 1].
        keypoints: of shape (objects, K, 2), each (x, y) in pixels.
        connectivity: pairs of points to join by lines.
        colors: of the points.
        radius: of the points, in pixels.
        width: of the lines.
        visibility: of shape (objects, K), bool: which points to draw; default, all.

    Returns:
        A new image of shape (3, H, W).

    Raises:
        TypeError, ValueError: when image or points do not fit.
    """
    _check_image(image, (3,))
    if keypoints.ndim != 3:
        raise ValueError("keypoints must be of shape (num_instances, K, 2)")
    picture = _to_picture(image)
    draw = ImageDraw.Draw(picture)
    seen = ops.ones(keypoints.shape[:2], dtype=bool_dtype) if visibility is None else visibility
    for points, shown in zip(keypoints.to(int64).tolist(), seen.reshape(keypoints.shape[:2]).tolist()):
        for (x, y), visible in zip(points, shown):
            if visible:
                draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=colors, outline=None, width=0)
        for start, end in connectivity or ():
            if shown[start] and shown[end]:
                draw.line([*points[start], *points[end]], width=width)
    return _from_picture(picture, image)


def _log_api_usage_once(obj: Any) -> None:
    """Does nothing: PyTorch counts the use of its functions here, Flambeau does not."""
