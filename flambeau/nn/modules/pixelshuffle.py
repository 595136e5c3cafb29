"""Channels into pixels, and back."""

from __future__ import annotations

from flambeau.nn import functional as F
from flambeau.nn.modules.layer import REQUIRED, layer

PixelShuffle = layer("PixelShuffle", F.pixel_shuffle, "(N, C*r*r, H, W) to (N, C, H*r, W*r).", upscale_factor=REQUIRED)
PixelUnshuffle = layer(
    "PixelUnshuffle", F.pixel_unshuffle, "(N, C, H*r, W*r) to (N, C*r*r, H, W).", downscale_factor=REQUIRED
)
