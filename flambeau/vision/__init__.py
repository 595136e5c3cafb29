"""Images: data sets, transforms, models and tools, with torchvision's API."""

from flambeau.vision import datasets, io, models, ops, transforms, utils
from flambeau.vision.backends import (
    get_image_backend,
    get_video_backend,
    set_image_backend,
    set_video_backend,
)

__version__ = "0.28.0"  # of the torchvision whose API this is

__all__ = [
    "__version__",
    "datasets",
    "get_image_backend",
    "get_video_backend",
    "io",
    "models",
    "ops",
    "set_image_backend",
    "set_video_backend",
    "transforms",
    "utils",
]
