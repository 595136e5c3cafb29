"""VGG (Simonyan and Zisserman 2014, "Very deep convolutional networks for large-scale image recognition")."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flambeau import nn, ops
from flambeau.nn import init
from flambeau.tensors import Tensor
from flambeau.vision.models._api import WeightsEnum, imagenet
from flambeau.vision.models._utils import classifier

# Output channels of each convolution; "M" is a max pool.
cfgs: dict[str, list[str | int]] = {
    "A": [64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"],
    "B": [64, 64, "M", 128, 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"],
    "D": [64, 64, "M", 128, 128, "M", *[256] * 3, "M", *[512] * 3, "M", *[512] * 3, "M"],
    "E": [64, 64, "M", 128, 128, "M", *[256] * 4, "M", *[512] * 4, "M", *[512] * 4, "M"],
}


class VGG(nn.Module):
    """Convolutions of 3 x 3 and three linear layers, for images of shape (N, 3, H, W) from 32 x 32 pixels.

    Args:
        features: the convolutional part, as `make_layers` builds it.
        num_classes: the size of the output.
        init_weights: initialise as the paper's reimplementations do, not as each layer does by itself.
        dropout: the share that is dropped after the first two linear layers.
    """

    def __init__(
        self, features: nn.Module, num_classes: int = 1000, init_weights: bool = True, dropout: float = 0.5
    ) -> None:
        super().__init__()
        self.features = features
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096),
            nn.ReLU(True),
            nn.Dropout(p=dropout),
            nn.Linear(4096, 4096),
            nn.ReLU(True),
            nn.Dropout(p=dropout),
            nn.Linear(4096, num_classes),
        )
        if init_weights:
            self._init_weights()

    def _init_weights(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    init.constant_(module.bias, 0)
            elif isinstance(module, nn.BatchNorm2d):
                init.constant_(module.weight, 1)
                init.constant_(module.bias, 0)
            elif isinstance(module, nn.Linear):
                init.normal_(module.weight, 0, 0.01)
                init.constant_(module.bias, 0)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(ops.flatten(self.avgpool(self.features(x)), 1))


def make_layers(cfg: list[str | int], batch_norm: bool = False) -> nn.Sequential:
    """The convolutional part for one of `cfgs`."""
    layers: list[nn.Module] = []
    channels = 3
    for item in cfg:
        if isinstance(item, str):
            layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
            continue
        layers.append(nn.Conv2d(channels, item, kernel_size=3, padding=1))
        if batch_norm:
            layers.append(nn.BatchNorm2d(item))
        layers.append(nn.ReLU(inplace=True))
        channels = item
    return nn.Sequential(*layers)


class VGG11_Weights(WeightsEnum):
    IMAGENET1K_V1 = imagenet("vgg11-8a719046.pth", 132863336, 69.020, 88.628, min_size=32)
    DEFAULT = IMAGENET1K_V1


class VGG11_BN_Weights(WeightsEnum):
    IMAGENET1K_V1 = imagenet("vgg11_bn-6002323d.pth", 132868840, 70.370, 89.810, min_size=32)
    DEFAULT = IMAGENET1K_V1


class VGG13_Weights(WeightsEnum):
    IMAGENET1K_V1 = imagenet("vgg13-19584684.pth", 133047848, 69.928, 89.246, min_size=32)
    DEFAULT = IMAGENET1K_V1


class VGG13_BN_Weights(WeightsEnum):
    IMAGENET1K_V1 = imagenet("vgg13_bn-abd245e5.pth", 133053736, 71.586, 90.374, min_size=32)
    DEFAULT = IMAGENET1K_V1


class VGG16_Weights(WeightsEnum):
    IMAGENET1K_V1 = imagenet("vgg16-397923af.pth", 138357544, 71.592, 90.382, min_size=32)
    DEFAULT = IMAGENET1K_V1


class VGG16_BN_Weights(WeightsEnum):
    IMAGENET1K_V1 = imagenet("vgg16_bn-6c64b313.pth", 138365992, 73.360, 91.516, min_size=32)
    DEFAULT = IMAGENET1K_V1


class VGG19_Weights(WeightsEnum):
    IMAGENET1K_V1 = imagenet("vgg19-dcbb9e9d.pth", 143667240, 72.376, 90.876, min_size=32)
    DEFAULT = IMAGENET1K_V1


class VGG19_BN_Weights(WeightsEnum):
    IMAGENET1K_V1 = imagenet("vgg19_bn-c79401a0.pth", 143678248, 74.218, 91.842, min_size=32)
    DEFAULT = IMAGENET1K_V1


def _vgg(name: str, weights: type[WeightsEnum], cfg: str, batch_norm: bool = False) -> Callable[..., nn.Module]:
    def make(**kwargs: Any) -> VGG:
        return VGG(make_layers(cfgs[cfg], batch_norm=batch_norm), **kwargs)

    depth = name[3:5]
    doc = f"VGG-{depth} (configuration {cfg}){' with batch normalisation' if batch_norm else ''}."
    return classifier(name, weights, make, doc)


vgg11 = _vgg("vgg11", VGG11_Weights, "A")
vgg11_bn = _vgg("vgg11_bn", VGG11_BN_Weights, "A", batch_norm=True)
vgg13 = _vgg("vgg13", VGG13_Weights, "B")
vgg13_bn = _vgg("vgg13_bn", VGG13_BN_Weights, "B", batch_norm=True)
vgg16 = _vgg("vgg16", VGG16_Weights, "D")
vgg16_bn = _vgg("vgg16_bn", VGG16_BN_Weights, "D", batch_norm=True)
vgg19 = _vgg("vgg19", VGG19_Weights, "E")
vgg19_bn = _vgg("vgg19_bn", VGG19_BN_Weights, "E", batch_norm=True)
