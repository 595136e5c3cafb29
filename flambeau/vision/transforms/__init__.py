"""Image transforms (torchvision.transforms)."""

from flambeau.vision.transforms import functional, v2
from flambeau.vision.transforms.autoaugment import AutoAugment, AutoAugmentPolicy, RandAugment, TrivialAugmentWide
from flambeau.vision.transforms.transforms import *  # noqa: F403
from flambeau.vision.transforms.transforms import __all__ as _classes

__all__ = [*_classes, "AutoAugment", "AutoAugmentPolicy", "RandAugment", "TrivialAugmentWide", "functional", "v2"]
