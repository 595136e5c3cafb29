"""MobileNetV3 (Howard et al. 2019, "Searching for MobileNetV3")."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from flambeau import nn, ops
from flambeau.nn import init
from flambeau.tensors import Tensor
from flambeau.vision.models._api import WeightsEnum, imagenet
from flambeau.vision.models._utils import _make_divisible, classifier
from flambeau.vision.ops.misc import Conv2dNormActivation, SqueezeExcitation


@dataclass
class InvertedResidualConfig:
    """One block: input channels, kernel, widened and output channels, whether it weighs channels, activation ("RE" or
    "HS"), stride, dilation; all channels are multiplied by `width_mult`."""

    input_channels: int
    kernel: int
    expanded_channels: int
    out_channels: int
    use_se: bool
    activation: str
    stride: int
    dilation: int
    width_mult: float = 1.0

    def __post_init__(self) -> None:
        self.use_hs = self.activation == "HS"
        for name in ("input_channels", "expanded_channels", "out_channels"):
            setattr(self, name, self.adjust_channels(getattr(self, name), self.width_mult))

    @staticmethod
    def adjust_channels(channels: int, width_mult: float) -> int:
        return _make_divisible(channels * width_mult, 8)


class InvertedResidual(nn.Module):
    """Widen, convolve each channel by itself, weigh, narrow; with a shortcut where the shape stays."""

    def __init__(self, cnf: InvertedResidualConfig, norm_layer: Callable[..., nn.Module]) -> None:
        super().__init__()
        if not 1 <= cnf.stride <= 2:
            raise ValueError("illegal stride value")
        self.use_res_connect = cnf.stride == 1 and cnf.input_channels == cnf.out_channels
        wide = cnf.expanded_channels
        style: dict[str, Any] = {
            "norm_layer": norm_layer,
            "activation_layer": nn.Hardswish if cnf.use_hs else nn.ReLU,
        }
        layers: list[nn.Module] = []
        if wide != cnf.input_channels:
            layers.append(Conv2dNormActivation(cnf.input_channels, wide, kernel_size=1, **style))
        stride = 1 if cnf.dilation > 1 else cnf.stride
        layers.append(
            Conv2dNormActivation(wide, wide, cnf.kernel, stride, dilation=cnf.dilation, groups=wide, **style)
        )
        if cnf.use_se:
            squeeze = _make_divisible(wide // 4, 8)
            layers.append(SqueezeExcitation(wide, squeeze, scale_activation=nn.Hardsigmoid))
        layers.append(
            Conv2dNormActivation(wide, cnf.out_channels, 1, norm_layer=norm_layer, activation_layer=None)
        )
        self.block = nn.Sequential(*layers)
        self.out_channels = cnf.out_channels
        self._is_cn = cnf.stride > 1

    def forward(self, input: Tensor) -> Tensor:
        result = self.block(input)
        return result + input if self.use_res_connect else result


class MobileNetV3(nn.Module):
    """A small network for images of shape (N, 3, H, W).

    Args:
        inverted_residual_setting: the blocks.
        last_channel: the size of the hidden linear layer.
        num_classes: the size of the output.
        block: the residual block; default, `InvertedResidual`.
        norm_layer: makes a normalisation layer from a number of channels; default, BatchNorm2d with eps=0.001 and
            momentum=0.01.
        dropout: the share that is dropped before the last layer.
    """

    def __init__(
        self,
        inverted_residual_setting: Sequence[InvertedResidualConfig],
        last_channel: int,
        num_classes: int = 1000,
        block: Callable[..., nn.Module] | None = None,
        norm_layer: Callable[..., nn.Module] | None = None,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        if not inverted_residual_setting:
            raise ValueError("The inverted_residual_setting should not be empty")
        block = block or InvertedResidual
        norm_layer = norm_layer or partial(nn.BatchNorm2d, eps=0.001, momentum=0.01)
        style: dict[str, Any] = {"norm_layer": norm_layer, "activation_layer": nn.Hardswish}
        first, last = inverted_residual_setting[0].input_channels, inverted_residual_setting[-1].out_channels
        layers: list[nn.Module] = [Conv2dNormActivation(3, first, kernel_size=3, stride=2, **style)]
        layers += [block(cnf, norm_layer) for cnf in inverted_residual_setting]
        layers.append(Conv2dNormActivation(last, 6 * last, kernel_size=1, **style))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            nn.Linear(6 * last, last_channel),
            nn.Hardswish(inplace=True),
            nn.Dropout(p=dropout, inplace=True),
            nn.Linear(last_channel, num_classes),
        )
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
        return self.classifier(ops.flatten(self.avgpool(self.features(x)), 1))


# The blocks as `InvertedResidualConfig` takes them, but for dilation and width.
LARGE = [
    (16, 3, 16, 16, False, "RE", 1),
    (16, 3, 64, 24, False, "RE", 2),
    (24, 3, 72, 24, False, "RE", 1),
    (24, 5, 72, 40, True, "RE", 2),
    (40, 5, 120, 40, True, "RE", 1),
    (40, 5, 120, 40, True, "RE", 1),
    (40, 3, 240, 80, False, "HS", 2),
    (80, 3, 200, 80, False, "HS", 1),
    (80, 3, 184, 80, False, "HS", 1),
    (80, 3, 184, 80, False, "HS", 1),
    (80, 3, 480, 112, True, "HS", 1),
    (112, 3, 672, 112, True, "HS", 1),
    (112, 5, 672, 160, True, "HS", 2),
    (160, 5, 960, 160, True, "HS", 1),
    (160, 5, 960, 160, True, "HS", 1),
]
SMALL = [
    (16, 3, 16, 16, True, "RE", 2),
    (16, 3, 72, 24, False, "RE", 2),
    (24, 3, 88, 24, False, "RE", 1),
    (24, 5, 96, 40, True, "HS", 2),
    (40, 5, 240, 40, True, "HS", 1),
    (40, 5, 240, 40, True, "HS", 1),
    (40, 5, 120, 48, True, "HS", 1),
    (48, 5, 144, 48, True, "HS", 1),
    (48, 5, 288, 96, True, "HS", 2),
    (96, 5, 576, 96, True, "HS", 1),
    (96, 5, 576, 96, True, "HS", 1),
]
TAIL = 3  # how many of the last blocks `reduced_tail` and `dilated` change


def _blocks(
    rows: list[tuple], width_mult: float, reduced_tail: bool, dilated: bool
) -> list[InvertedResidualConfig]:
    settings = []
    half = 2 if reduced_tail else 1
    for index, (inputs, kernel, wide, outputs, use_se, activation, stride) in enumerate(rows):
        tail = index - (len(rows) - TAIL)  # 0, 1 ... in the tail
        if tail > 0:
            inputs, wide = inputs // half, wide // half
        if tail >= 0:
            outputs //= half
        dilation = 2 if dilated and tail >= 0 else 1
        settings.append(
            InvertedResidualConfig(
                inputs, kernel, wide, outputs, use_se, activation, stride, dilation, width_mult
            )
        )
    return settings


def _mobilenet(name: str, weights: type[WeightsEnum], rows: list[tuple], last: int) -> Callable[..., nn.Module]:
    def make(
        width_mult: float = 1.0, reduced_tail: bool = False, dilated: bool = False, **kwargs: Any
    ) -> MobileNetV3:
        settings = _blocks(rows, width_mult, reduced_tail, dilated)
        last_channel = InvertedResidualConfig.adjust_channels(last // (2 if reduced_tail else 1), width_mult)
        return MobileNetV3(settings, last_channel, **kwargs)

    return classifier(name, weights, make, f"{name}: {len(rows)} inverted residual blocks.")


class MobileNet_V3_Large_Weights(WeightsEnum):
    IMAGENET1K_V1 = imagenet("mobilenet_v3_large-8738ca79.pth", 5483032, 74.042, 91.340)
    IMAGENET1K_V2 = imagenet("mobilenet_v3_large-5c1a4163.pth", 5483032, 75.274, 92.566, resize_size=232)
    DEFAULT = IMAGENET1K_V2


class MobileNet_V3_Small_Weights(WeightsEnum):
    IMAGENET1K_V1 = imagenet("mobilenet_v3_small-047dcff4.pth", 2542856, 67.668, 87.402)
    DEFAULT = IMAGENET1K_V1


mobilenet_v3_large = _mobilenet("mobilenet_v3_large", MobileNet_V3_Large_Weights, LARGE, 1280)
mobilenet_v3_small = _mobilenet("mobilenet_v3_small", MobileNet_V3_Small_Weights, SMALL, 1024)
