"""MobileNetV2 (Sandler et al. 2018, "Inverted residuals and linear bottlenecks")."""

from __future__ import annotations

from collections.abc import Callable

from flambeau import nn, ops
from flambeau.nn import init
from flambeau.tensors import Tensor
from flambeau.vision.models._api import WeightsEnum, imagenet
from flambeau.vision.models._utils import _make_divisible, classifier
from flambeau.vision.ops.misc import Conv2dNormActivation

# Expansion, output channels, number of blocks and first stride of each stage.
STAGES = [
    [1, 16, 1, 1],
    [6, 24, 2, 2],
    [6, 32, 3, 2],
    [6, 64, 4, 2],
    [6, 96, 3, 1],
    [6, 160, 3, 2],
    [6, 320, 1, 1],
]


class InvertedResidual(nn.Module):
    """Widen, convolve each channel by itself, narrow; with a shortcut where the shape stays."""

    def __init__(
        self,
        inp: int,
        oup: int,
        stride: int,
        expand_ratio: int,
        norm_layer: Callable[..., nn.Module] | None = None,
    ) -> None:
        super().__init__()
        if stride not in (1, 2):
            raise ValueError(f"stride should be 1 or 2 instead of {stride}")
        self.stride = stride
        norm_layer = norm_layer or nn.BatchNorm2d
        hidden = round(inp * expand_ratio)
        self.use_res_connect = stride == 1 and inp == oup

        style = {"norm_layer": norm_layer, "activation_layer": nn.ReLU6}
        layers: list[nn.Module] = []
        if expand_ratio != 1:
            layers.append(Conv2dNormActivation(inp, hidden, kernel_size=1, **style))
        layers += [
            Conv2dNormActivation(hidden, hidden, stride=stride, groups=hidden, **style),
            nn.Conv2d(hidden, oup, 1, 1, 0, bias=False),
            norm_layer(oup),
        ]
        self.conv = nn.Sequential(*layers)
        self.out_channels = oup
        self._is_cn = stride > 1

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.use_res_connect else self.conv(x)


class MobileNetV2(nn.Module):
    """A small network for images of shape (N, 3, H, W).

    Args:
        num_classes: the size of the output.
        width_mult: multiplies the number of channels of every layer.
        inverted_residual_setting: expansion, output channels, blocks and first stride of each stage.
        round_nearest: the number of channels of every layer is a multiple of this.
        block: the residual block; default, `InvertedResidual`.
        norm_layer: makes a normalisation layer from a number of channels; default, BatchNorm2d.
        dropout: the share that is dropped before the last layer.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        width_mult: float = 1.0,
        inverted_residual_setting: list[list[int]] | None = None,
        round_nearest: int = 8,
        block: Callable[..., nn.Module] | None = None,
        norm_layer: Callable[..., nn.Module] | None = None,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        block = block or InvertedResidual
        norm_layer = norm_layer or nn.BatchNorm2d
        stages = STAGES if inverted_residual_setting is None else inverted_residual_setting
        if not stages or len(stages[0]) != 4:
            raise ValueError(
                f"inverted_residual_setting should be non-empty or a 4-element list, got {stages}"
            )
        style = {"norm_layer": norm_layer, "activation_layer": nn.ReLU6}
        channels = _make_divisible(32 * width_mult, round_nearest)
        self.last_channel = _make_divisible(1280 * max(1.0, width_mult), round_nearest)
        features: list[nn.Module] = [Conv2dNormActivation(3, channels, stride=2, **style)]
        for expansion, width, count, first_stride in stages:
            out_channels = _make_divisible(width * width_mult, round_nearest)
            for i in range(count):
                stride = first_stride if i == 0 else 1
                features.append(
                    block(channels, out_channels, stride, expand_ratio=expansion, norm_layer=norm_layer)
                )
                channels = out_channels
        features.append(Conv2dNormActivation(channels, self.last_channel, kernel_size=1, **style))
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(nn.Dropout(p=dropout), nn.Linear(self.last_channel, num_classes))
        self._init_weights()

    def _init_weights(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                init.kaiming_normal_(module.weight, mode="fan_out")
                if module.bias is not None:
                    init.zeros_(module.bias)
            elif isinstance(module, (nn.BatchNorm2d, nn.GroupNorm)):
                init.ones_(module.weight)
                init.zeros_(module.bias)
            elif isinstance(module, nn.Linear):
                init.normal_(module.weight, 0, 0.01)
                init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.adaptive_avg_pool2d(self.features(x), (1, 1))
        return self.classifier(ops.flatten(x, 1))


class MobileNet_V2_Weights(WeightsEnum):
    IMAGENET1K_V1 = imagenet("mobilenet_v2-b0353104.pth", 3504872, 71.878, 90.286)
    IMAGENET1K_V2 = imagenet("mobilenet_v2-7ebf99e0.pth", 3504872, 72.154, 90.822, resize_size=232)
    DEFAULT = IMAGENET1K_V2


mobilenet_v2 = classifier("mobilenet_v2", MobileNet_V2_Weights, MobileNetV2, "MobileNetV2.")
