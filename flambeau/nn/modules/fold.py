"""Sliding blocks of images as columns, and back."""

from __future__ import annotations

from flambeau.nn import functional as F
from flambeau.nn.modules.layer import REQUIRED, layer

Fold = layer(
    "Fold", F.fold, "Sliding blocks (N, C*k, L) summed into (N, C, H, W).", output_size=REQUIRED, kernel_size=REQUIRED,
    dilation=1, padding=0, stride=1,
)  # fmt: skip
Unfold = layer(
    "Unfold", F.unfold, "Sliding blocks of (N, C, H, W) as columns (N, C*k, L).", kernel_size=REQUIRED, dilation=1,
    padding=0, stride=1,
)  # fmt: skip
