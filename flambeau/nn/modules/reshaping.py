"""Layers that rearrange: flatten, fold, upsample, pixel shuffle."""

from __future__ import annotations

from typing import Any

from flambeau.nn import functional as F
from flambeau.nn.modules.layer import REQUIRED, layer
from flambeau.nn.modules.module import Module
from flambeau.tensors import Tensor


class Flatten(Module):
    """Dimensions from `start_dim` to `end_dim` as one: (N, C, H, W) to (N, C*H*W)."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, input: Tensor) -> Tensor:
        return input.flatten(self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """One dimension as several."""

    def __init__(self, dim: int, unflattened_size: Any) -> None:
        super().__init__()
        if not isinstance(unflattened_size, (tuple, list)):
            raise TypeError(f"unflattened_size must be a tuple of ints, but found type {type(unflattened_size).__name__}")
        for i, size in enumerate(unflattened_size):
            if not isinstance(size, int):
                raise TypeError(f"unflattened_size must be tuple of ints, but found element of type {type(size).__name__} at pos {i}")
        self.dim, self.unflattened_size = dim, unflattened_size

    def forward(self, input: Tensor) -> Tensor:
        return input.unflatten(self.dim, self.unflattened_size)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"


class Upsample(Module):
    """`nn.functional.interpolate` as a layer."""

    def __init__(
        self, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.name = type(self).__name__
        self.size = size
        self.scale_factor = (
            tuple(float(f) for f in scale_factor) if isinstance(scale_factor, tuple)
            else float(scale_factor) if scale_factor else None
        )  # fmt: skip
        self.mode, self.align_corners, self.recompute_scale_factor = mode, align_corners, recompute_scale_factor

    def forward(self, input: Tensor) -> Tensor:
        return F.interpolate(
            input, self.size, self.scale_factor, self.mode, self.align_corners, self.recompute_scale_factor
        )

    def extra_repr(self) -> str:
        size = f"scale_factor={self.scale_factor!r}" if self.scale_factor is not None else f"size={self.size!r}"
        return f"{size}, mode={self.mode!r}"


class UpsamplingNearest2d(Upsample):
    """Nearest-neighbour upsampling of images."""

    def __init__(self, size: Any = None, scale_factor: Any = None) -> None:
        super().__init__(size, scale_factor, mode="nearest")


class UpsamplingBilinear2d(Upsample):
    """Bilinear upsampling of images with aligned corners."""

    def __init__(self, size: Any = None, scale_factor: Any = None) -> None:
        super().__init__(size, scale_factor, mode="bilinear", align_corners=True)


PixelShuffle = layer("PixelShuffle", F.pixel_shuffle, "(N, C*r*r, H, W) to (N, C, H*r, W*r).", upscale_factor=REQUIRED)
PixelUnshuffle = layer(
    "PixelUnshuffle", F.pixel_unshuffle, "(N, C, H*r, W*r) to (N, C*r*r, H, W).", downscale_factor=REQUIRED
)
ChannelShuffle = layer("ChannelShuffle", F.channel_shuffle, "Channels of groups interleaved.", groups=REQUIRED)
Fold = layer(
    "Fold", F.fold, "Sliding blocks (N, C*k, L) summed into (N, C, H, W).", output_size=REQUIRED, kernel_size=REQUIRED,
    dilation=1, padding=0, stride=1,
)  # fmt: skip
Unfold = layer(
    "Unfold", F.unfold, "Sliding blocks of (N, C, H, W) as columns (N, C*k, L).", kernel_size=REQUIRED, dilation=1,
    padding=0, stride=1,
)  # fmt: skip
CosineSimilarity = layer("CosineSimilarity", F.cosine_similarity, shown=lambda self: "", dim=1, eps=1e-8)
PairwiseDistance = layer("PairwiseDistance", F.pairwise_distance, shown=lambda self: "", p=2.0, eps=1e-6, keepdim=False)
