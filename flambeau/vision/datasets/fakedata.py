"""FakeData: random images of any size, to try a program without a data set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flambeau import ops
from flambeau.random import Generator
from flambeau.vision.datasets.vision import VisionDataset
from flambeau.vision.transforms.functional import to_pil_image


class FakeData(VisionDataset):
    """Random images; the one at an index is the same each time, and the global random state is left alone.

    Args:
        size: how many images.
        image_size: the shape of an image, (channels, height, width).
        num_classes: how many classes the random targets have.
        transform, target_transform: applied to each image (a PIL image) and class index (an int).
        random_offset: added to an image's index to seed it.
    """

    def __init__(
        self,
        size: int = 1000,
        image_size: tuple[int, int, int] = (3, 224, 224),
        num_classes: int = 10,
        transform: Callable | None = None,
        target_transform: Callable | None = None,
        random_offset: int = 0,
    ) -> None:
        super().__init__(transform=transform, target_transform=target_transform)
        self.size = size
        self.num_classes = num_classes
        self.image_size = image_size
        self.random_offset = random_offset

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        if index >= len(self):
            raise IndexError(f"{type(self).__name__} index out of range")
        generator = Generator()
        generator.manual_seed(index + self.random_offset)
        image = ops.randn(*self.image_size, generator=generator)
        target = ops.randint(0, self.num_classes, (1,), generator=generator)
        return self._transformed(to_pil_image(image), int(target.item()))

    def __len__(self) -> int:
        return self.size
