"""Fixtures of the vision tests: pictures, and where the full data sets are."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def data_folder() -> Path | None:
    """The folder of full data sets: $FLAMBEAU_DATA, or shared/data beside the repository; None where neither is."""
    named = os.environ.get("FLAMBEAU_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[3] / "shared" / "data"
    return folder if folder.is_dir() else None


@pytest.fixture
def full_data():
    """A function of a data set's folder name that gives the root it lies in, and skips where it is absent."""

    def root(name: str) -> Path:
        folder = data_folder()
        if folder is None or not (folder / name).is_dir():
            pytest.skip(f"the full {name} is not here")
        return folder

    return root


@pytest.fixture
def pixels() -> np.ndarray:
    """A colourful image as an array of shape (20, 30, 3)."""
    y, x = np.mgrid[:20, :30]
    noise = np.random.default_rng(0).integers(0, 40, (20, 30))
    return np.stack([x * 8 % 256, y * 12 % 256, (x * y + noise) % 256], -1).astype(np.uint8)


@pytest.fixture
def picture(pixels) -> Image.Image:
    return Image.fromarray(pixels)
