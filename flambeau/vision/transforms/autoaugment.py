"""Learned and random augmentation policies: AutoAugment, RandAugment, TrivialAugmentWide.

They work on PIL images (modes L and RGB) and on uint8 tensors of shape (..., 1 or 3, H, W).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

from flambeau import ops
from flambeau.tensors import Tensor
from flambeau.vision.transforms import functional as F
from flambeau.vision.transforms._base import Transform, fill_for, integer
from flambeau.vision.transforms.interpolation import InterpolationMode

Space = dict[str, tuple[Tensor | None, bool]]  # name -> (magnitudes or None, whether their sign is drawn)


def _affine(
    img: Any, mode: InterpolationMode, fill: Any, shear: Sequence[float] = (0.0, 0.0), shift: Sequence[int] = (0, 0)
) -> Any:
    # Shears keep the upper left corner, as in the paper's code; shifts do not care.
    center = [0, 0] if any(shear) else None
    return F.affine(img, 0.0, list(shift), 1.0, list(shear), interpolation=mode, fill=fill, center=center)


def _degrees(slope: float) -> float:
    return math.degrees(math.atan(slope))


# Each takes (image, magnitude, interpolation mode, fill).
OPERATIONS: dict[str, Callable[[Any, float, InterpolationMode, Any], Any]] = {
    "Identity": lambda img, m, mode, fill: img,
    "ShearX": lambda img, m, mode, fill: _affine(img, mode, fill, shear=(_degrees(m), 0.0)),
    "ShearY": lambda img, m, mode, fill: _affine(img, mode, fill, shear=(0.0, _degrees(m))),
    "TranslateX": lambda img, m, mode, fill: _affine(img, mode, fill, shift=(int(m), 0)),
    "TranslateY": lambda img, m, mode, fill: _affine(img, mode, fill, shift=(0, int(m))),
    "Rotate": lambda img, m, mode, fill: F.rotate(img, m, interpolation=mode, fill=fill),
    "Brightness": lambda img, m, mode, fill: F.adjust_brightness(img, 1.0 + m),
    "Color": lambda img, m, mode, fill: F.adjust_saturation(img, 1.0 + m),
    "Contrast": lambda img, m, mode, fill: F.adjust_contrast(img, 1.0 + m),
    "Sharpness": lambda img, m, mode, fill: F.adjust_sharpness(img, 1.0 + m),
    "Posterize": lambda img, m, mode, fill: F.posterize(img, int(m)),
    "Solarize": lambda img, m, mode, fill: F.solarize(img, m),
    "AutoContrast": lambda img, m, mode, fill: F.autocontrast(img),
    "Equalize": lambda img, m, mode, fill: F.equalize(img),
    "Invert": lambda img, m, mode, fill: F.invert(img),
}


def _space(bins: int, shear: float, shift: Sequence[float], turn: float, colour: float, bits: int) -> Space:
    """The operations and their magnitudes, from weak to strong; the arguments are the strongest ones."""
    posterize = 8 - (ops.arange(bins) / ((bins - 1) / bits)).round()
    return {
        "Identity": (None, False),
        "ShearX": (ops.linspace(0.0, shear, bins), True),
        "ShearY": (ops.linspace(0.0, shear, bins), True),
        "TranslateX": (ops.linspace(0.0, shift[0], bins), True),
        "TranslateY": (ops.linspace(0.0, shift[1], bins), True),
        "Rotate": (ops.linspace(0.0, turn, bins), True),
        "Brightness": (ops.linspace(0.0, colour, bins), True),
        "Color": (ops.linspace(0.0, colour, bins), True),
        "Contrast": (ops.linspace(0.0, colour, bins), True),
        "Sharpness": (ops.linspace(0.0, colour, bins), True),
        "Posterize": (posterize, False),
        "Solarize": (ops.linspace(255.0, 0.0, bins), False),
        "AutoContrast": (None, False),
        "Equalize": (None, False),
        "Invert": (None, False),
    }


def _paper_space(bins: int, img: Any) -> Space:
    """The magnitudes of AutoAugment and RandAugment."""
    shift = [150.0 / 331.0 * side for side in F.get_image_size(img)]
    return _space(bins, shear=0.3, shift=shift, turn=30.0, colour=0.9, bits=4)


class AutoAugmentPolicy(Enum):
    """The data set a policy was learned on."""

    IMAGENET = "imagenet"
    CIFAR10 = "cifar10"
    SVHN = "svhn"


# The policies of the paper: in each pair, operation, probability and magnitude (from 0 to 9) of two steps.
POLICIES = {
    AutoAugmentPolicy.IMAGENET: """
        Posterize 0.4 8, Rotate 0.6 9        Solarize 0.6 5, AutoContrast 0.6 -
        Equalize 0.8 -, Equalize 0.6 -       Posterize 0.6 7, Posterize 0.6 6
        Equalize 0.4 -, Solarize 0.2 4       Equalize 0.4 -, Rotate 0.8 8
        Solarize 0.6 3, Equalize 0.6 -       Posterize 0.8 5, Equalize 1.0 -
        Rotate 0.2 3, Solarize 0.6 8         Equalize 0.6 -, Posterize 0.4 6
        Rotate 0.8 8, Color 0.4 0            Rotate 0.4 9, Equalize 0.6 -
        Equalize 0.0 -, Equalize 0.8 -       Invert 0.6 -, Equalize 1.0 -
        Color 0.6 4, Contrast 1.0 8          Rotate 0.8 8, Color 1.0 2
        Color 0.8 8, Solarize 0.8 7          Sharpness 0.4 7, Invert 0.6 -
        ShearX 0.6 5, Equalize 1.0 -         Color 0.4 0, Equalize 0.6 -
        Equalize 0.4 -, Solarize 0.2 4       Solarize 0.6 5, AutoContrast 0.6 -
        Invert 0.6 -, Equalize 1.0 -         Color 0.6 4, Contrast 1.0 8
        Equalize 0.8 -, Equalize 0.6 -""",
    AutoAugmentPolicy.CIFAR10: """
        Invert 0.1 -, Contrast 0.2 6         Rotate 0.7 2, TranslateX 0.3 9
        Sharpness 0.8 1, Sharpness 0.9 3     ShearY 0.5 8, TranslateY 0.7 9
        AutoContrast 0.5 -, Equalize 0.9 -   ShearY 0.2 7, Posterize 0.3 7
        Color 0.4 3, Brightness 0.6 7        Sharpness 0.3 9, Brightness 0.7 9
        Equalize 0.6 -, Equalize 0.5 -       Contrast 0.6 7, Sharpness 0.6 5
        Color 0.7 7, TranslateX 0.5 8        Equalize 0.3 -, AutoContrast 0.4 -
        TranslateY 0.4 3, Sharpness 0.2 6    Brightness 0.9 6, Color 0.2 8
        Solarize 0.5 2, Invert 0.0 -         Equalize 0.2 -, AutoContrast 0.6 -
        Equalize 0.2 -, Equalize 0.6 -       Color 0.9 9, Equalize 0.6 -
        AutoContrast 0.8 -, Solarize 0.2 8   Brightness 0.1 3, Color 0.7 0
        Solarize 0.4 5, AutoContrast 0.9 -   TranslateY 0.9 9, TranslateY 0.7 9
        AutoContrast 0.9 -, Solarize 0.8 3   Equalize 0.8 -, Invert 0.1 -
        TranslateY 0.7 9, AutoContrast 0.9 -""",
    AutoAugmentPolicy.SVHN: """
        ShearX 0.9 4, Invert 0.2 -           ShearY 0.9 8, Invert 0.7 -
        Equalize 0.6 -, Solarize 0.6 6       Invert 0.9 -, Equalize 0.6 -
        Equalize 0.6 -, Rotate 0.9 3         ShearX 0.9 4, AutoContrast 0.8 -
        ShearY 0.9 8, Invert 0.4 -           ShearY 0.9 5, Solarize 0.2 6
        Invert 0.9 -, AutoContrast 0.8 -     Equalize 0.6 -, Rotate 0.9 3
        ShearX 0.9 4, Solarize 0.3 3         ShearY 0.8 8, Invert 0.7 -
        Equalize 0.9 -, TranslateY 0.6 6     Invert 0.9 -, Equalize 0.6 -
        Contrast 0.3 3, Rotate 0.8 4         Invert 0.8 -, TranslateY 0.0 2
        ShearY 0.7 6, Solarize 0.4 8         Invert 0.6 -, Rotate 0.8 4
        ShearY 0.3 7, TranslateX 0.9 3       ShearX 0.1 6, Invert 0.6 -
        Solarize 0.7 2, TranslateY 0.6 7     ShearY 0.8 4, Invert 0.8 -
        ShearX 0.7 9, TranslateY 0.8 3       ShearY 0.8 5, AutoContrast 0.7 -
        ShearX 0.7 2, Invert 0.1 -""",
}

Step = tuple[str, float, int | None]


def _parsed(policy: str) -> list[tuple[Step, Step]]:
    words = policy.replace(",", " ").split()
    steps = [
        (name, float(p), None if magnitude == "-" else int(magnitude))
        for name, p, magnitude in zip(words[0::3], words[1::3], words[2::3])
    ]
    return list(zip(steps[0::2], steps[1::2]))


class AutoAugment(Transform):
    """One of 25 learned pairs of operations, drawn for each image (Cubuk et al. 2018).

    Args:
        policy: the data set that the pairs were learned on.
        interpolation: an InterpolationMode; tensors know nearest and bilinear.
        fill: a number, or one a channel, for what was outside.
    """

    _shown = ("policy", "fill")

    def __init__(
        self,
        policy: AutoAugmentPolicy = AutoAugmentPolicy.IMAGENET,
        interpolation: InterpolationMode = InterpolationMode.NEAREST,
        fill: Any = None,
    ) -> None:
        super().__init__()
        if policy not in POLICIES:
            raise ValueError(f"The provided policy {policy} is not recognized.")
        self.policy = policy
        self.interpolation = interpolation
        self.fill = fill
        self.policies = _parsed(POLICIES[policy])

    @staticmethod
    def get_params(transform_num: int) -> tuple[int, Tensor, Tensor]:
        """A random pair, and random probabilities and signs of its two steps."""
        return integer(0, transform_num), ops.rand(2), ops.randint(2, (2,))

    def forward(self, img: Any) -> Any:
        fill = None if self.fill is None else fill_for(img, self.fill)
        which, chances, signs = self.get_params(len(self.policies))
        for (name, p, level), drawn, sign in zip(self.policies[which], chances.tolist(), signs.tolist()):
            if drawn > p:
                continue
            magnitudes, signed = _paper_space(10, img)[name]
            magnitude = float(magnitudes[level]) if magnitudes is not None and level is not None else 0.0
            if signed and sign == 0:
                magnitude = -magnitude
            img = OPERATIONS[name](img, magnitude, self.interpolation, fill)
        return img


class RandAugment(Transform):
    """A few random operations of one magnitude (Cubuk et al. 2019).

    Args:
        num_ops: how many operations an image goes through.
        magnitude: how strong they are, from 0 to `num_magnitude_bins` - 1.
        num_magnitude_bins: how many magnitudes there are.
        interpolation: an InterpolationMode; tensors know nearest and bilinear.
        fill: a number, or one a channel, for what was outside.
    """

    _shown = ("num_ops", "magnitude", "num_magnitude_bins", "interpolation", "fill")

    def __init__(
        self,
        num_ops: int = 2,
        magnitude: int = 9,
        num_magnitude_bins: int = 31,
        interpolation: InterpolationMode = InterpolationMode.NEAREST,
        fill: Any = None,
    ) -> None:
        super().__init__()
        self.num_ops = num_ops
        self.magnitude = magnitude
        self.num_magnitude_bins = num_magnitude_bins
        self.interpolation = interpolation
        self.fill = fill

    def forward(self, img: Any) -> Any:
        fill = None if self.fill is None else fill_for(img, self.fill)
        for _ in range(self.num_ops):
            space = _paper_space(self.num_magnitude_bins, img)
            img = _random_operation(img, space, lambda count: self.magnitude, self.interpolation, fill)
        return img


def _random_operation(
    img: Any, space: Space, level: Callable[[int], int], mode: InterpolationMode, fill: Any
) -> Any:
    """Apply one operation of the space but Invert; `level` chooses among so many magnitudes."""
    names = [name for name in space if name != "Invert"]
    name = names[integer(0, len(names))]
    magnitudes, signed = space[name]
    magnitude = float(magnitudes[level(len(magnitudes))]) if magnitudes is not None else 0.0
    if signed and integer(0, 2):
        magnitude = -magnitude
    return OPERATIONS[name](img, magnitude, mode, fill)


class TrivialAugmentWide(Transform):
    """One random operation of random magnitude (Müller and Hutter 2021).

    Args:
        num_magnitude_bins: how many magnitudes there are.
        interpolation: an InterpolationMode; tensors know nearest and bilinear.
        fill: a number, or one a channel, for what was outside.
    """

    _shown = ("num_magnitude_bins", "interpolation", "fill")

    def __init__(
        self,
        num_magnitude_bins: int = 31,
        interpolation: InterpolationMode = InterpolationMode.NEAREST,
        fill: Any = None,
    ) -> None:
        super().__init__()
        self.num_magnitude_bins = num_magnitude_bins
        self.interpolation = interpolation
        self.fill = fill

    def forward(self, img: Any) -> Any:
        fill = None if self.fill is None else fill_for(img, self.fill)
        bins = self.num_magnitude_bins
        space = _space(bins, shear=0.99, shift=(32.0, 32.0), turn=135.0, colour=0.99, bits=6)
        return _random_operation(img, space, lambda count: integer(0, count), self.interpolation, fill)
