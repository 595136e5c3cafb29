"""A depthwise-separable network in the form of MobileNetV2, at 32x32."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.workloads.resnet import train

# (expansion, out_planes, num_blocks, stride)
SHAPE = [(1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]


def make_mobilenet(torch: Any, classes: int = 10) -> Any:
    nn, F = torch.nn, torch.nn.functional

    class Block(nn.Module):
        """Expand, depthwise, project."""

        def __init__(self, in_planes: int, out_planes: int, expansion: int, stride: int) -> None:
            super().__init__()
            self.stride = stride
            planes = expansion * in_planes
            self.conv1 = nn.Conv2d(in_planes, planes, kernel_size=1, bias=False)
            self.bn1 = nn.BatchNorm2d(planes)
            self.conv2 = nn.Conv2d(planes, planes, 3, stride=stride, padding=1, groups=planes, bias=False)
            self.bn2 = nn.BatchNorm2d(planes)
            self.conv3 = nn.Conv2d(planes, out_planes, kernel_size=1, bias=False)
            self.bn3 = nn.BatchNorm2d(out_planes)
            if stride == 1:
                nn.init.zeros_(self.bn3.weight)  # the block begins as its shortcut
            self.shortcut = nn.Sequential()
            if stride == 1 and in_planes != out_planes:
                self.shortcut = nn.Sequential(
                    nn.Conv2d(in_planes, out_planes, kernel_size=1, bias=False), nn.BatchNorm2d(out_planes)
                )

        def forward(self, x: Any) -> Any:
            out = F.relu6(self.bn1(self.conv1(x)))
            out = F.relu6(self.bn2(self.conv2(out)))
            out = self.bn3(self.conv3(out))
            return out + self.shortcut(x) if self.stride == 1 else out

    class MobileNetV2(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(3, 32, kernel_size=3, stride=1, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(32)
            layers, in_planes = [], 32
            for expansion, out_planes, num_blocks, stride in SHAPE:
                for i in range(num_blocks):
                    layers.append(Block(in_planes, out_planes, expansion, stride if i == 0 else 1))
                    in_planes = out_planes
            self.layers = nn.Sequential(*layers)
            self.conv2 = nn.Conv2d(320, 1280, kernel_size=1, bias=False)
            self.bn2 = nn.BatchNorm2d(1280)
            self.linear = nn.Linear(1280, classes)

        def forward(self, x: Any) -> Any:
            out = F.relu6(self.bn1(self.conv1(x)))
            out = self.layers(out)
            out = F.relu6(self.bn2(self.conv2(out)))
            out = F.avg_pool2d(out, 4)
            out = out.view(out.size(0), -1)
            return self.linear(out)

    return MobileNetV2()


def mobilenet(torch: Any, batch: int) -> Iterator[float]:
    torch.manual_seed(0)
    return train(torch, make_mobilenet(torch), batch, lr=0.002)
