"""Vision Transformer (Dosovitskiy et al. 2020, "An image is worth 16x16 words")."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

from flambeau import nn, ops
from flambeau.nn import init
from flambeau.tensors import Tensor
from flambeau.vision.models._api import WeightsEnum, imagenet
from flambeau.vision.models._utils import classifier
from flambeau.vision.ops.misc import MLP

NormLayer = Callable[..., nn.Module]
LAYER_NORM: NormLayer = partial(nn.LayerNorm, eps=1e-6)


class MLPBlock(MLP):
    """The two linear layers of an encoder block."""

    def __init__(self, in_dim: int, mlp_dim: int, dropout: float) -> None:
        super().__init__(in_dim, [mlp_dim, in_dim], activation_layer=nn.GELU, inplace=None, dropout=dropout)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    init.normal_(module.bias, std=1e-6)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for old, new in (("linear_1", "0"), ("linear_2", "3")):  # the names in the published checkpoints
            for kind in ("weight", "bias"):
                if f"{prefix}{old}.{kind}" in state_dict:
                    state_dict[f"{prefix}{new}.{kind}"] = state_dict.pop(f"{prefix}{old}.{kind}")
        super()._load_from_state_dict(state_dict, prefix, *args)


class EncoderBlock(nn.Module):
    """Self-attention and an MLP, each normalised before and added to what came in; (N, L, C) to (N, L, C)."""

    def __init__(
        self,
        num_heads: int,
        hidden_dim: int,
        mlp_dim: int,
        dropout: float,
        attention_dropout: float,
        norm_layer: NormLayer = LAYER_NORM,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.ln_1 = norm_layer(hidden_dim)
        self.self_attention = nn.MultiheadAttention(
            hidden_dim, num_heads, dropout=attention_dropout, batch_first=True
        )
        self.dropout = nn.Dropout(dropout)
        self.ln_2 = norm_layer(hidden_dim)
        self.mlp = MLPBlock(hidden_dim, mlp_dim, dropout)

    def forward(self, input: Tensor) -> Tensor:
        if input.dim() != 3:
            raise RuntimeError(f"Expected (batch_size, seq_length, hidden_dim) got {input.shape}")
        x = self.ln_1(input)
        attended, _ = self.self_attention(x, x, x, need_weights=False)
        x = self.dropout(attended) + input
        return x + self.mlp(self.ln_2(x))


class Encoder(nn.Module):
    """Position embedding, blocks and a last normalisation."""

    def __init__(
        self,
        seq_length: int,
        num_layers: int,
        num_heads: int,
        hidden_dim: int,
        mlp_dim: int,
        dropout: float,
        attention_dropout: float,
        norm_layer: NormLayer = LAYER_NORM,
    ) -> None:
        super().__init__()
        self.pos_embedding = nn.Parameter(ops.empty(1, seq_length, hidden_dim).normal_(std=0.02))
        self.dropout = nn.Dropout(dropout)
        layers = OrderedDict(
            (
                f"encoder_layer_{i}",
                EncoderBlock(num_heads, hidden_dim, mlp_dim, dropout, attention_dropout, norm_layer),
            )
            for i in range(num_layers)
        )
        self.layers = nn.Sequential(layers)
        self.ln = norm_layer(hidden_dim)

    def forward(self, input: Tensor) -> Tensor:
        if input.dim() != 3:
            raise RuntimeError(f"Expected (batch_size, seq_length, hidden_dim) got {input.shape}")
        return self.ln(self.layers(self.dropout(input + self.pos_embedding)))


class VisionTransformer(nn.Module):
    """A Transformer over the patches of images of shape (N, 3, image_size, image_size).

    Args:
        image_size: pixels of the square image.
        patch_size: pixels of the square patches.
        num_layers, num_heads, hidden_dim, mlp_dim: of the encoder.
        dropout, attention_dropout: shares that are dropped.
        num_classes: the size of the output.
        representation_size: the size of a hidden layer before the output; None for none.
        norm_layer: makes a normalisation layer from a size.
    """

    def __init__(
        self,
        image_size: int,
        patch_size: int,
        num_layers: int,
        num_heads: int,
        hidden_dim: int,
        mlp_dim: int,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        num_classes: int = 1000,
        representation_size: int | None = None,
        norm_layer: NormLayer = LAYER_NORM,
    ) -> None:
        super().__init__()
        if image_size % patch_size:
            raise ValueError("Input shape indivisible by patch size!")
        self.image_size = image_size
        self.patch_size = patch_size
        self.hidden_dim = hidden_dim
        self.conv_proj = nn.Conv2d(3, hidden_dim, kernel_size=patch_size, stride=patch_size)
        self.class_token = nn.Parameter(ops.zeros(1, 1, hidden_dim))
        self.seq_length = (image_size // patch_size) ** 2 + 1  # and the class token
        self.encoder = Encoder(
            self.seq_length,
            num_layers,
            num_heads,
            hidden_dim,
            mlp_dim,
            dropout,
            attention_dropout,
            norm_layer,
        )
        heads: OrderedDict[str, nn.Module] = OrderedDict()
        if representation_size is None:
            heads["head"] = nn.Linear(hidden_dim, num_classes)
        else:
            heads["pre_logits"] = nn.Linear(hidden_dim, representation_size)
            heads["act"] = nn.Tanh()
            heads["head"] = nn.Linear(representation_size, num_classes)
        self.heads = nn.Sequential(heads)
        self._init_weights()

    def _init_weights(self) -> None:
        projection, head = self.conv_proj, self.heads.head
        fan_in = projection.in_channels * self.patch_size * self.patch_size
        init.trunc_normal_(projection.weight, std=math.sqrt(1 / fan_in))
        init.zeros_(projection.bias)
        if hasattr(self.heads, "pre_logits"):
            hidden = self.heads.pre_logits
            init.trunc_normal_(hidden.weight, std=math.sqrt(1 / hidden.in_features))
            init.zeros_(hidden.bias)
        init.zeros_(head.weight)
        init.zeros_(head.bias)

    def _process_input(self, x: Tensor) -> Tensor:
        """Images as sequences of patches, (N, L, hidden_dim)."""
        n, _, height, width = x.shape
        for name, side in (("height", height), ("width", width)):
            if side != self.image_size:
                raise RuntimeError(f"Wrong image {name}! Expected {self.image_size} but got {side}!")
        return self.conv_proj(x).reshape(n, self.hidden_dim, -1).permute(0, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        patches = self._process_input(x)
        tokens = ops.cat([self.class_token.expand(x.shape[0], -1, -1), patches], dim=1)
        return self.heads(self.encoder(tokens)[:, 0])


class ViT_B_16_Weights(WeightsEnum):
    IMAGENET1K_V1 = imagenet("vit_b_16-c867db91.pth", 86567656, 81.072, 95.318, min_size=224)
    DEFAULT = IMAGENET1K_V1


class ViT_B_32_Weights(WeightsEnum):
    IMAGENET1K_V1 = imagenet("vit_b_32-d86f8d99.pth", 88224232, 75.912, 92.466, min_size=224)
    DEFAULT = IMAGENET1K_V1


class ViT_L_16_Weights(WeightsEnum):
    IMAGENET1K_V1 = imagenet("vit_l_16-852ce7e3.pth", 304326632, 79.662, 94.638, resize_size=242, min_size=224)
    DEFAULT = IMAGENET1K_V1


class ViT_L_32_Weights(WeightsEnum):
    IMAGENET1K_V1 = imagenet("vit_l_32-c7638314.pth", 306535400, 76.972, 93.070, min_size=224)
    DEFAULT = IMAGENET1K_V1


def _vit(name: str, weights: type[WeightsEnum], **shape: int) -> Callable[..., nn.Module]:
    def make(image_size: int = 224, **kwargs: Any) -> VisionTransformer:
        return VisionTransformer(image_size=image_size, **shape, **kwargs)

    doc = f"{name}: patches of {shape['patch_size']} x {shape['patch_size']} pixels, {shape['num_layers']} layers."
    return classifier(name, weights, make, doc)


_BASE = {"num_layers": 12, "num_heads": 12, "hidden_dim": 768, "mlp_dim": 3072}
_LARGE = {"num_layers": 24, "num_heads": 16, "hidden_dim": 1024, "mlp_dim": 4096}

vit_b_16 = _vit("vit_b_16", ViT_B_16_Weights, patch_size=16, **_BASE)
vit_b_32 = _vit("vit_b_32", ViT_B_32_Weights, patch_size=32, **_BASE)
vit_l_16 = _vit("vit_l_16", ViT_L_16_Weights, patch_size=16, **_LARGE)
vit_l_32 = _vit("vit_l_32", ViT_L_32_Weights, patch_size=32, **_LARGE)
