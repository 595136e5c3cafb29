"""ResNet-18 in its CIFAR form: training, and inference at batch 1."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.workloads.data import images


def make_resnet18(torch: Any, classes: int = 10) -> Any:
    nn, F = torch.nn, torch.nn.functional

    class BasicBlock(nn.Module):
        def __init__(self, in_planes: int, planes: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(in_planes, planes, kernel_size=3, stride=stride, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(planes)
            self.conv2 = nn.Conv2d(planes, planes, kernel_size=3, stride=1, padding=1, bias=False)
            self.bn2 = nn.BatchNorm2d(planes)
            nn.init.zeros_(self.bn2.weight)  # each block begins as its shortcut
            self.shortcut = nn.Sequential()
            if stride != 1 or in_planes != planes:
                self.shortcut = nn.Sequential(
                    nn.Conv2d(in_planes, planes, kernel_size=1, stride=stride, bias=False), nn.BatchNorm2d(planes)
                )

        def forward(self, x: Any) -> Any:
            out = F.relu(self.bn1(self.conv1(x)))
            out = self.bn2(self.conv2(out))
            out += self.shortcut(x)
            return F.relu(out)

    class ResNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(64)
            blocks, in_planes = [], 64
            for planes, first in ((64, 1), (128, 2), (256, 2), (512, 2)):
                for stride in (first, 1):
                    blocks.append(BasicBlock(in_planes, planes, stride))
                    in_planes = planes
            self.layers = nn.Sequential(*blocks)
            self.linear = nn.Linear(512, classes)

        def forward(self, x: Any) -> Any:
            out = F.relu(self.bn1(self.conv1(x)))
            out = self.layers(out)
            out = F.avg_pool2d(out, 4)
            out = out.view(out.size(0), -1)
            return self.linear(out)

    return ResNet()


def train(torch: Any, net: Any, batch: int, lr: float) -> Iterator[float]:
    """The training loop of the CIFAR scripts: SGD with momentum and weight decay."""
    trainloader = images(torch, batch)
    criterion = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4)
    net.train()
    train_loss, correct, total = 0.0, 0, 0
    while True:
        for inputs, targets in trainloader:
            optimizer.zero_grad()
            outputs = net(inputs)
            loss = criterion(outputs, targets)
            loss.backward()
            optimizer.step()
            train_loss += loss.item()
            _, predicted = outputs.max(1)
            total += targets.size(0)
            correct += predicted.eq(targets).sum().item()
            yield loss.item()


def resnet18(torch: Any, batch: int) -> Iterator[float]:
    torch.manual_seed(0)
    return train(torch, make_resnet18(torch), batch, lr=0.002)


def resnet18_inference(torch: Any, batch: int) -> Iterator[float]:
    torch.manual_seed(0)
    net = make_resnet18(torch)
    net.eval()
    loader = images(torch, batch)
    while True:
        for inputs, _ in loader:
            with torch.no_grad():
                outputs = net(inputs)
                score = outputs.max().item()
            yield score
