"""SqueezeNet (Iandola et al. 2016, "AlexNet-level accuracy with 50x fewer parameters")."""

from __future__ import annotations

from typing import Any

from flambeau import nn, ops
from flambeau.nn import init
from flambeau.tensors import Tensor
from flambeau.vision.models._api import WeightsEnum, imagenet
from flambeau.vision.models._utils import classifier


class Fire(nn.Module):
    """Squeeze the channels with a 1 x 1 convolution, and expand them with 1 x 1 and 3 x 3 convolutions."""

    def __init__(self, inplanes: int, squeeze_planes: int, expand1x1_planes: int, expand3x3_planes: int) -> None:
        super().__init__()
        self.inplanes = inplanes
        self.squeeze = nn.Conv2d(inplanes, squeeze_planes, kernel_size=1)
        self.squeeze_activation = nn.ReLU(inplace=True)
        self.expand1x1 = nn.Conv2d(squeeze_planes, expand1x1_planes, kernel_size=1)
        self.expand1x1_activation = nn.ReLU(inplace=True)
        self.expand3x3 = nn.Conv2d(squeeze_planes, expand3x3_planes, kernel_size=3, padding=1)
        self.expand3x3_activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze_activation(self.squeeze(x))
        small, large = self.expand1x1(x), self.expand3x3(x)
        return ops.cat([self.expand1x1_activation(small), self.expand3x3_activation(large)], 1)


# The first convolution's channels and kernel, then squeeze and expand channels of each Fire; None is a max pool.
_NARROW: list[tuple[int, int]] = [(16, 64), (16, 64), (32, 128), (32, 128)]
_WIDE: list[tuple[int, int]] = [(48, 192), (48, 192), (64, 256), (64, 256)]
CONFIGURATIONS: dict[str, tuple[int, int, list[tuple[int, int] | None]]] = {
    "1_0": (96, 7, [None, *_NARROW[:3], None, _NARROW[3], *_WIDE[:3], None, _WIDE[3]]),
    "1_1": (64, 3, [None, *_NARROW[:2], None, *_NARROW[2:], None, *_WIDE]),
}


class SqueezeNet(nn.Module):
    """A small network for images of shape (N, 3, H, W) from 21 x 21 pixels.

    Args:
        version: "1_0" or "1_1" (which needs less than half of the arithmetic).
        num_classes: the size of the output.
        dropout: the share that is dropped before the last convolution.
    """

    def __init__(self, version: str = "1_0", num_classes: int = 1000, dropout: float = 0.5) -> None:
        super().__init__()
        if version not in CONFIGURATIONS:
            raise ValueError(f"Unsupported SqueezeNet version {version}: 1_0 or 1_1 expected")
        self.num_classes = num_classes
        channels, kernel, stages = CONFIGURATIONS[version]
        features: list[nn.Module] = [nn.Conv2d(3, channels, kernel_size=kernel, stride=2), nn.ReLU(inplace=True)]
        for stage in stages:
            if stage is None:
                features.append(nn.MaxPool2d(kernel_size=3, stride=2, ceil_mode=True))
            else:
                squeeze, expand = stage
                features.append(Fire(channels, squeeze, expand, expand))
                channels = 2 * expand
        self.features = nn.Sequential(*features)
        final = nn.Conv2d(512, num_classes, kernel_size=1)
        self.classifier = nn.Sequential(
            nn.Dropout(p=dropout), final, nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d((1, 1))
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                if module is final:
                    init.normal_(module.weight, mean=0.0, std=0.01)
                else:
                    init.kaiming_uniform_(module.weight)
                if module.bias is not None:
                    init.constant_(module.bias, 0)

    def forward(self, x: Tensor) -> Tensor:
        return ops.flatten(self.classifier(self.features(x)), 1)


class SqueezeNet1_0_Weights(WeightsEnum):
    IMAGENET1K_V1 = imagenet("squeezenet1_0-b66bff10.pth", 1248424, 58.092, 80.420, min_size=21)
    DEFAULT = IMAGENET1K_V1


class SqueezeNet1_1_Weights(WeightsEnum):
    IMAGENET1K_V1 = imagenet("squeezenet1_1-b8a52dc0.pth", 1235496, 58.178, 80.624, min_size=17)
    DEFAULT = IMAGENET1K_V1


def _version(version: str) -> Any:
    return lambda **kwargs: SqueezeNet(version, **kwargs)


squeezenet1_0 = classifier("squeezenet1_0", SqueezeNet1_0_Weights, _version("1_0"), "SqueezeNet 1.0.")
squeezenet1_1 = classifier("squeezenet1_1", SqueezeNet1_1_Weights, _version("1_1"), "SqueezeNet 1.1.")
