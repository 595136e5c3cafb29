"""The transforms that pretrained models expect their images to have gone through."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flambeau.dtypes import float32
from flambeau.nn import Module
from flambeau.tensors import Tensor
from flambeau.vision.transforms import functional as F
from flambeau.vision.transforms.interpolation import InterpolationMode


class ImageClassification(Module):
    """Resize, cut the middle out, scale to [0, 1] and normalise.

    Args:
        crop_size: pixels of the square that is left.
        resize_size: pixels of the shorter edge before.
        mean, std: one number a channel; default, ImageNet's.
        interpolation, antialias: as for `Resize`.
    """

    def __init__(
        self,
        *,
        crop_size: int,
        resize_size: int = 256,
        mean: Sequence[float] = (0.485, 0.456, 0.406),
        std: Sequence[float] = (0.229, 0.224, 0.225),
        interpolation: InterpolationMode = InterpolationMode.BILINEAR,
        antialias: bool | None = True,
    ) -> None:
        super().__init__()
        self.crop_size = [crop_size]
        self.resize_size = [resize_size]
        self.mean = list(mean)
        self.std = list(std)
        self.interpolation = interpolation
        self.antialias = antialias

    def forward(self, img: Any) -> Tensor:
        img = F.resize(img, self.resize_size, interpolation=self.interpolation, antialias=self.antialias)
        img = F.center_crop(img, self.crop_size)
        if not isinstance(img, Tensor):
            img = F.pil_to_tensor(img)
        return F.normalize(F.convert_image_dtype(img, float32), mean=self.mean, std=self.std)

    def __repr__(self) -> str:
        names = ("crop_size", "resize_size", "mean", "std", "interpolation")
        lines = [f"    {name}={getattr(self, name)}" for name in names]
        return "\n".join([f"{type(self).__name__}(", *lines, ")"])
