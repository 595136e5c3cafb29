"""How an image becomes the input of a network: its size, channels and scale, kept in every checkpoint."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from flambeau.cli.errors import UserError, reason
from flambeau.vision import transforms

MODES = {1: "L", 3: "RGB"}


@dataclass(frozen=True)
class Preprocessing:
    """Resize to `size` x `size`, convert to `channels` (1 or 3), scale to 0..1, subtract `mean`, divide by `std`."""

    size: int
    channels: int
    mean: float
    std: float

    def transform(self, augment: bool = False, mirror: bool = False) -> transforms.Compose:
        """Return the transform from a PIL image to a float tensor (channels, size, size).

        With `augment` the image is moved by up to an eighth, and with `mirror` flipped half of the time.
        """
        steps: list[Any] = [_ToMode(MODES[self.channels]), transforms.Resize((self.size, self.size))]
        if augment:
            steps.append(transforms.RandomCrop(self.size, padding=max(1, self.size // 8)))
        if augment and mirror:
            steps.append(transforms.RandomHorizontalFlip())
        steps += [
            transforms.ToTensor(),
            transforms.Normalize([self.mean] * self.channels, [self.std] * self.channels),
        ]
        return transforms.Compose(steps)

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.channels, self.size, self.size

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class _ToMode:
    """Convert a PIL image; a class rather than a lambda, so that loader workers can be spawned with it."""

    def __init__(self, mode: str) -> None:
        self.mode = mode

    def __call__(self, image: Image.Image) -> Image.Image:
        return image if image.mode == self.mode else image.convert(self.mode)


def open_image(path: str | Path) -> Image.Image:
    """Read an image file completely, in its own mode.

    Raises UserError that names the file where it is missing, damaged or no image.
    """
    try:
        with Image.open(path) as image:
            image.load()
            if image.mode.startswith("I;16"):  # 16-bit grey, which Pillow's conversion would clip to white
                return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
            return image.convert("RGB") if image.mode in ("P", "RGBA", "LA", "CMYK") else image.copy()
    except UnidentifiedImageError:
        raise UserError(f"{path}: not an image") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: cannot be read: {reason(error)}") from error
