"""What reads images and videos: one package for images, none for videos."""

from __future__ import annotations


def get_image_backend() -> str:
    """The package that loads images: "PIL"."""
    return "PIL"


def set_image_backend(backend: str) -> None:
    """Accepts "PIL"; nothing else is there to choose."""
    if backend != "PIL":
        raise ValueError(f"Invalid backend '{backend}'. Options are 'PIL'")


def get_video_backend() -> str:
    """The name that torchvision gives its default; videos cannot be read here."""
    return "pyav"


def set_video_backend(backend: str) -> None:
    """Raises an error: there is no reader of videos."""
    raise ValueError(f"Invalid video backend '{backend}': Flambeau reads no videos")
