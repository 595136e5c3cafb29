"""Layers that several models share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flambeau import nn, ops
from flambeau.tensors import Tensor


class ConvNormActivation(nn.Sequential):
    """A convolution, a normalisation and an activation.

    Args:
        in_channels, out_channels, kernel_size, stride, groups, dilation: of the convolution.
        padding: default, what keeps the size at stride 1.
        norm_layer: makes the normalisation from a number of channels, or None for none.
        activation_layer: makes the activation, or None for none.
        inplace: whether the activation works in place; None leaves it to the activation.
        bias: default, only where there is no normalisation.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, ...] = 3,
        stride: int | tuple[int, ...] = 1,
        padding: Any = None,
        groups: int = 1,
        norm_layer: Callable[..., nn.Module] | None = nn.BatchNorm2d,
        activation_layer: Callable[..., nn.Module] | None = nn.ReLU,
        dilation: int | tuple[int, ...] = 1,
        inplace: bool | None = True,
        bias: bool | None = None,
        conv_layer: Callable[..., nn.Module] = nn.Conv2d,
    ) -> None:
        if padding is None:
            padding = _same_padding(kernel_size, dilation)
        layers = [
            conv_layer(
                in_channels,
                out_channels,
                kernel_size,
                stride,
                padding,
                dilation=dilation,
                groups=groups,
                bias=norm_layer is None if bias is None else bias,
            )
        ]
        if norm_layer is not None:
            layers.append(norm_layer(out_channels))
        if activation_layer is not None:
            layers.append(activation_layer(**({} if inplace is None else {"inplace": inplace})))
        super().__init__(*layers)
        self.out_channels = out_channels


def _same_padding(kernel_size: Any, dilation: Any) -> Any:
    if isinstance(kernel_size, int) and isinstance(dilation, int):
        return (kernel_size - 1) // 2 * dilation
    dims = len(kernel_size) if isinstance(kernel_size, Sequence) else len(dilation)
    kernels = kernel_size if isinstance(kernel_size, Sequence) else (kernel_size,) * dims
    dilations = dilation if isinstance(dilation, Sequence) else (dilation,) * dims
    return tuple((k - 1) // 2 * d for k, d in zip(kernels, dilations))


class Conv2dNormActivation(ConvNormActivation):
    """`ConvNormActivation` with a Conv2d."""


class FrozenBatchNorm2d(nn.Module):
    """Batch normalisation whose statistics and parameters are fixed buffers.

    Args:
        num_features: the number of channels.
        eps: added to the variance.
    """

    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", ops.ones(num_features))
        self.register_buffer("bias", ops.zeros(num_features))
        self.register_buffer("running_mean", ops.zeros(num_features))
        self.register_buffer("running_var", ops.ones(num_features))

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: Any) -> None:
        # Checkpoints of ordinary batch normalisation count batches; there is nothing to count here.
        state_dict.pop(prefix + "num_batches_tracked", None)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        return x * scale.reshape(1, -1, 1, 1) + shift.reshape(1, -1, 1, 1)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.weight.shape[0]}, eps={self.eps})"


class MLP(nn.Sequential):
    """Linear layers with normalisation, activation and dropout between them.

    Args:
        in_channels: the size of the input.
        hidden_channels: the sizes of the layers; the last is the output.
        norm_layer: makes a normalisation from a size, or None for none.
        activation_layer: makes the activation.
        inplace: whether activation and dropout work in place; None leaves it to them.
        bias: of the linear layers.
        dropout: the share that is dropped after each layer.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: list[int],
        norm_layer: Callable[..., nn.Module] | None = None,
        activation_layer: Callable[..., nn.Module] | None = nn.ReLU,
        inplace: bool | None = None,
        bias: bool = True,
        dropout: float = 0.0,
    ) -> None:
        options = {} if inplace is None else {"inplace": inplace}
        layers: list[nn.Module] = []
        for index, size in enumerate(hidden_channels):
            layers.append(nn.Linear(in_channels, size, bias=bias))
            if index < len(hidden_channels) - 1:
                if norm_layer is not None:
                    layers.append(norm_layer(size))
                if activation_layer is not None:
                    layers.append(activation_layer(**options))
            layers.append(nn.Dropout(dropout, **options))
            in_channels = size
        super().__init__(*layers)


class SqueezeExcitation(nn.Module):
    """Weigh the channels of (N, C, H, W) by what the whole image shows (Hu et al. 2017).

    Args:
        input_channels: C.
        squeeze_channels: the size of the hidden layer.
        activation, scale_activation: make the activations of the two layers.
    """

    def __init__(
        self,
        input_channels: int,
        squeeze_channels: int,
        activation: Callable[..., nn.Module] = nn.ReLU,
        scale_activation: Callable[..., nn.Module] = nn.Sigmoid,
    ) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(input_channels, squeeze_channels, 1)
        self.fc2 = nn.Conv2d(squeeze_channels, input_channels, 1)
        self.activation = activation()
        self.scale_activation = scale_activation()

    def forward(self, input: Tensor) -> Tensor:
        weights = self.fc2(self.activation(self.fc1(self.avgpool(input))))
        return self.scale_activation(weights) * input
