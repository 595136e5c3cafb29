"""Reading and writing images as uint8 tensors of shape (C, H, W), through Pillow (torchvision.io)."""

from __future__ import annotations

from enum import Enum
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from flambeau.dtypes import uint8
from flambeau.tensors import Tensor, from_array

__all__ = [
    "ImageReadMode",
    "decode_image",
    "decode_jpeg",
    "decode_png",
    "encode_jpeg",
    "encode_png",
    "read_file",
    "read_image",
    "write_file",
    "write_jpeg",
    "write_png",
]


class ImageReadMode(Enum):
    """How many channels an image is read as; UNCHANGED keeps the file's."""

    UNCHANGED = 0
    GRAY = 1
    GRAY_ALPHA = 2
    RGB = 3
    RGB_ALPHA = 4
    RGBA = RGB_ALPHA


PIL_MODES = {
    ImageReadMode.GRAY: "L",
    ImageReadMode.GRAY_ALPHA: "LA",
    ImageReadMode.RGB: "RGB",
    ImageReadMode.RGB_ALPHA: "RGBA",
}
BYTE_MODES = ("L", "LA", "RGB", "RGBA")


def read_file(path: str | Path) -> Tensor:
    """The bytes of a file, as a uint8 tensor of shape (N,)."""
    return from_array(np.fromfile(path, np.uint8))


def write_file(filename: str | Path, data: Tensor) -> None:
    """Write a uint8 tensor of shape (N,) to a file."""
    Path(filename).write_bytes(_bytes_of(data))


def _bytes_of(data: Tensor) -> bytes:
    if data.dtype != uint8 or data.ndim != 1:
        raise RuntimeError(
            f"Input tensor must be one-dimensional of dtype torch.uint8, got {data.dtype} of shape {tuple(data.shape)}"
        )
    return data.numpy().tobytes()


def decode_image(
    input: Tensor | str | Path,
    mode: ImageReadMode | str = ImageReadMode.UNCHANGED,
    apply_exif_orientation: bool = False,
) -> Tensor:
    """Decode a PNG, JPEG, GIF, WebP ... into a uint8 tensor of shape (C, H, W).

    Args:
        input: the file's path, or its bytes in a uint8 tensor.
        mode: the channels wanted; an ImageReadMode or its name.
        apply_exif_orientation: turn the image as the camera was held.

    Raises:
        RuntimeError: when it cannot be read as an image.
    """
    mode = ImageReadMode[mode.upper()] if isinstance(mode, str) else mode
    source: str | Path | BytesIO = BytesIO(_bytes_of(input)) if isinstance(input, Tensor) else input
    try:
        with Image.open(source) as image:
            image.load()
    except FileNotFoundError:
        raise RuntimeError(f"[Errno 2] No such file or directory: '{input}'") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise RuntimeError(f"cannot decode the image: {error}") from error
    picture: Image.Image = ImageOps.exif_transpose(image) if apply_exif_orientation else image
    wanted = PIL_MODES.get(mode) or (picture.mode if picture.mode in BYTE_MODES else "RGB")
    pixels = np.array(picture if picture.mode == wanted else picture.convert(wanted))
    return from_array(np.ascontiguousarray(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)))


def decode_png(
    input: Tensor, mode: ImageReadMode = ImageReadMode.UNCHANGED, apply_exif_orientation: bool = False
) -> Tensor:
    """`decode_image` of a PNG file's bytes."""
    return decode_image(input, mode, apply_exif_orientation)


def decode_jpeg(
    input: Tensor,
    mode: ImageReadMode = ImageReadMode.UNCHANGED,
    device: str = "cpu",
    apply_exif_orientation: bool = False,
) -> Tensor:
    """`decode_image` of a JPEG file's bytes."""
    return decode_image(input, mode, apply_exif_orientation)


def read_image(
    path: str | Path,
    mode: ImageReadMode | str = ImageReadMode.UNCHANGED,
    apply_exif_orientation: bool = False,
) -> Tensor:
    """Read an image file into a uint8 tensor of shape (C, H, W); arguments and errors as `decode_image`'s."""
    return decode_image(path, mode, apply_exif_orientation)


def _encode(input: Tensor, format: str, **options: int) -> bytes:
    if input.dtype != uint8:
        raise RuntimeError("Input tensor dtype should be uint8")
    if input.ndim != 3:
        raise RuntimeError("Input data should be a 3-dimensional tensor")
    if input.shape[0] not in (1, 3):
        raise RuntimeError(f"The number of channels should be 1 or 3, got: {input.shape[0]}")
    pixels = np.ascontiguousarray(input.numpy().transpose(1, 2, 0))
    buffer = BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(buffer, format, **options)
    return buffer.getvalue()


def encode_png(input: Tensor, compression_level: int = 6) -> Tensor:
    """The bytes of a PNG file, as a uint8 tensor of shape (N,), of a uint8 image of shape (1 or 3, H, W)."""
    return from_array(np.frombuffer(_encode(input, "PNG", compress_level=compression_level), np.uint8).copy())


def encode_jpeg(input: Tensor, quality: int = 75) -> Tensor:
    """The bytes of a JPEG file, as a uint8 tensor of shape (N,), of a uint8 image of shape (1 or 3, H, W)."""
    if not 1 <= quality <= 100:
        raise ValueError("Image quality should be a positive number between 1 and 100")
    return from_array(np.frombuffer(_encode(input, "JPEG", quality=quality), np.uint8).copy())


def write_png(input: Tensor, filename: str | Path, compression_level: int = 6) -> None:
    """Write a uint8 image of shape (1 or 3, H, W) to a PNG file."""
    write_file(filename, encode_png(input, compression_level))


def write_jpeg(input: Tensor, filename: str | Path, quality: int = 75) -> None:
    """Write a uint8 image of shape (1 or 3, H, W) to a JPEG file."""
    write_file(filename, encode_jpeg(input, quality))
