"""InterpolationMode, and its spelling as Pillow's integer constants."""

from __future__ import annotations

from enum import Enum


class InterpolationMode(Enum):
    """How pixels between pixels get their values. Tensors know the first four, PIL images all."""

    NEAREST = "nearest"
    NEAREST_EXACT = "nearest-exact"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"


pil_modes_mapping = {
    InterpolationMode.NEAREST: 0,
    InterpolationMode.BILINEAR: 2,
    InterpolationMode.BICUBIC: 3,
    InterpolationMode.NEAREST_EXACT: 0,
    InterpolationMode.BOX: 4,
    InterpolationMode.HAMMING: 5,
    InterpolationMode.LANCZOS: 1,
}

_FROM_INT = {
    number: mode
    for mode, number in pil_modes_mapping.items()
    if mode is not InterpolationMode.NEAREST_EXACT
}


def as_mode(interpolation: InterpolationMode | int) -> InterpolationMode:
    """The mode, also from Pillow's integer constant.

    Raises:
        TypeError: for anything else.
    """
    if isinstance(interpolation, InterpolationMode):
        return interpolation
    if isinstance(interpolation, int) and interpolation in _FROM_INT:
        return _FROM_INT[interpolation]
    raise TypeError(
        "Argument interpolation should be a InterpolationMode or a corresponding Pillow integer constant"
    )
