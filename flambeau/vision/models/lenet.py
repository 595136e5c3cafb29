"""LeNet (LeCun et al. 1998), for small images, and a multi-layer perceptron to compare it with."""

from __future__ import annotations

from flambeau import nn, ops
from flambeau.nn import functional as F
from flambeau.tensors import Tensor
from flambeau.vision.models._api import register_model

KERNEL = 5


class LeNet(nn.Module):
    """Two 5 x 5 convolutions with pooling and three linear layers, for images of shape (N, in_channels, H, W).

    With 32 x 32 images of 3 channels it is the network of PyTorch's CIFAR-10 tutorial, parameter by parameter. For
    smaller images the convolutions are padded where they would run out of pixels: 28 x 28 (MNIST) and 8 x 8 (Digits)
    work too.

    Args:
        num_classes: the size of the output.
        in_channels: 1 for gray images, 3 for colour.
        image_size: H and W, from 4.

    Example::

        >>> from flambeau import ops
        >>> LeNet(in_channels=1, image_size=28)(ops.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 3, image_size: int = 32) -> None:
        super().__init__()
        if image_size < 4:
            raise ValueError(f"LeNet takes images from 4 x 4 pixels, not {image_size} x {image_size}")
        first = 0 if image_size >= 32 else KERNEL // 2
        size = (image_size + 2 * first - KERNEL + 1) // 2
        second = 0 if size > KERNEL else KERNEL // 2
        size = (size + 2 * second - KERNEL + 1) // 2
        self.conv1 = nn.Conv2d(in_channels, 6, KERNEL, padding=first)
        self.conv2 = nn.Conv2d(6, 16, KERNEL, padding=second)
        self.fc1 = nn.Linear(16 * size * size, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.fc1(ops.flatten(x, 1)))
        return self.fc3(F.relu(self.fc2(x)))


@register_model()
def lenet(num_classes: int = 10, in_channels: int = 3, image_size: int = 32) -> LeNet:
    """LeNet for images of shape (N, in_channels, image_size, image_size)."""
    return LeNet(num_classes, in_channels, image_size)


@register_model()
def mlp(num_classes: int = 10, in_channels: int = 1, image_size: int = 28, hidden: int = 256) -> nn.Sequential:
    """Two hidden layers over the flattened image, of shape (N, in_channels, image_size, image_size)."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(in_channels * image_size * image_size, hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Linear(hidden, num_classes),
    )
