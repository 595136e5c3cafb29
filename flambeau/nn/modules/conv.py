"""Convolutions and transposed convolutions in one, two and three dimensions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from flambeau import ops
from flambeau.nn import functional as F
from flambeau.nn import init
from flambeau.nn.modules.lazy import LazyModuleMixin
from flambeau.nn.modules.module import Module
from flambeau.nn.modules.utils import ntuple
from flambeau.nn.parameter import Parameter, UninitializedParameter
from flambeau.tensors import Tensor


class _ConvNd(Module):
    """What all convolutions share."""

    bias: Parameter | None

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: tuple, stride: tuple, padding: Any, dilation: tuple,
        transposed: bool, output_padding: tuple, groups: int, bias: bool, padding_mode: str, device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if groups <= 0:
            raise ValueError("groups must be a positive integer")
        if in_channels % groups:
            raise ValueError("in_channels must be divisible by groups")
        if out_channels % groups:
            raise ValueError("out_channels must be divisible by groups")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride, self.dilation = kernel_size, stride, dilation
        self.padding, self.output_padding, self.padding_mode = padding, output_padding, padding_mode
        self.transposed = transposed
        self._check_padding()
        channels = (in_channels, out_channels // groups) if self.transposed else (out_channels, in_channels // groups)
        self.weight = Parameter(ops.empty((*channels, *self.kernel_size), device=device, dtype=dtype))
        self.register_parameter(
            "bias", Parameter(ops.empty(out_channels, device=device, dtype=dtype)) if bias else None
        )
        self.reset_parameters()

    def _check_padding(self) -> None:
        if isinstance(self.padding, str):
            if self.padding not in ("same", "valid"):
                raise ValueError(f"Invalid padding string '{self.padding}', should be one of {{'valid', 'same'}}")
            if self.padding == "same" and any(s != 1 for s in self.stride):
                raise ValueError("padding='same' is not supported for strided convolutions")
        modes = ("zeros", "reflect", "replicate", "circular")
        if self.padding_mode not in modes:
            raise ValueError(f"padding_mode must be one of {set(modes)}, but got padding_mode='{self.padding_mode}'")
        if self.transposed and self.padding_mode != "zeros":
            raise ValueError(f'Only "zeros" padding mode is supported for {type(self).__name__}')

    def reset_parameters(self) -> None:
        """Uniform in plus or minus 1/sqrt(fan_in)."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            fan_in, _ = init._calculate_fan_in_and_fan_out(self.weight)
            if fan_in != 0:
                bound = 1 / math.sqrt(fan_in)
                init.uniform_(self.bias, -bound, bound)

    @property
    def _reversed_padding_repeated_twice(self) -> list[int]:
        """The padding as `F.pad` takes it: last dimension first, both sides."""
        if self.padding == "valid":
            return [0] * (2 * len(self.kernel_size))
        if self.padding == "same":
            sides = []
            for d, k in zip(reversed(self.dilation), reversed(self.kernel_size)):
                total = d * (k - 1)
                sides += [total // 2, total - total // 2]
            return sides
        return [p for pad in reversed(self.padding) for p in (pad, pad)]

    def extra_repr(self) -> str:
        n = len(self.kernel_size)
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        if self.padding != (0,) * n:
            text += f", padding={self.padding}"
        if self.dilation != (1,) * n:
            text += f", dilation={self.dilation}"
        if self.output_padding != (0,) * n:
            text += f", output_padding={self.output_padding}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        if self.padding_mode != "zeros":
            text += f", padding_mode={self.padding_mode}"
        return text


class _Conv(_ConvNd):
    """A convolution; `dims` is the number of spatial dimensions."""

    dims: int
    function: Callable[..., Tensor]

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
        dilation: Any = 1, groups: int = 1, bias: bool = True, padding_mode: str = "zeros", device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        n = self.dims
        super().__init__(
            in_channels, out_channels, ntuple(kernel_size, n), ntuple(stride, n),
            padding if isinstance(padding, str) else ntuple(padding, n), ntuple(dilation, n), False, ntuple(0, n),
            groups, bias, padding_mode, device, dtype,
        )  # fmt: skip

    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(input, self.weight, self.bias)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """With another weight: layers that mask or quantise theirs call it."""
        padding = self.padding
        if self.padding_mode != "zeros":
            input, padding = F.pad(input, self._reversed_padding_repeated_twice, mode=self.padding_mode), 0
        return type(self).function(input, weight, bias, self.stride, padding, self.dilation, self.groups)


class Conv1d(_Conv):
    """Convolution of signals: (N, C_in, L) to (N, C_out, L_out)."""

    dims = 1
    function = staticmethod(F.conv1d)


class Conv2d(_Conv):
    """Convolution of images: (N, C_in, H, W) to (N, C_out, H_out, W_out).

    >>> Conv2d(3, 16, 5, padding=2)(randn(8, 3, 32, 32)).shape
    torch.Size([8, 16, 32, 32])
    """

    dims = 2
    function = staticmethod(F.conv2d)


class Conv3d(_Conv):
    """Convolution of volumes: (N, C_in, D, H, W) to (N, C_out, D_out, H_out, W_out)."""

    dims = 3
    function = staticmethod(F.conv3d)


class _ConvTransposeNd(_ConvNd):
    """A transposed convolution; `dims` is the number of spatial dimensions."""

    dims: int

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
        output_padding: Any = 0, groups: int = 1, bias: bool = True, dilation: Any = 1, padding_mode: str = "zeros",
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        n = self.dims
        super().__init__(
            in_channels, out_channels, ntuple(kernel_size, n), ntuple(stride, n), ntuple(padding, n),
            ntuple(dilation, n), True, ntuple(output_padding, n), groups, bias, padding_mode, device, dtype,
        )  # fmt: skip

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        convolve = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[self.dims - 1]
        extra = self.output_padding if output_size is None else self._output_padding(input, list(output_size))
        return convolve(input, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation)

    def _output_padding(self, input: Tensor, output_size: list[int]) -> tuple:
        """The output padding that gives the wanted output size."""
        n = self.dims
        if len(output_size) in (n + 1, n + 2):
            output_size = output_size[-n:]
        if len(output_size) != n:
            raise ValueError(
                f"ConvTranspose{n}D: for {input.ndim}D input, output_size must have {n} or {n + 2} elements (got "
                f"{len(output_size)})"
            )
        least = [
            (input.size(d - n) - 1) * s - 2 * p + dil * (k - 1) + 1
            for d, (s, p, dil, k) in enumerate(zip(self.stride, self.padding, self.dilation, self.kernel_size))
        ]
        most = [low + s - 1 for low, s in zip(least, self.stride)]
        if any(not low <= size <= high for low, size, high in zip(least, output_size, most)):
            raise ValueError(
                f"requested an output size of {output_size}, but valid sizes range from {least} to {most} (for an "
                f"input of {input.size()[2:]})"
            )
        return tuple(size - low for size, low in zip(output_size, least))


class ConvTranspose1d(_ConvTransposeNd):
    """The gradient of Conv1d as a layer: (N, C_in, L) to (N, C_out, L_out)."""

    dims = 1


class ConvTranspose2d(_ConvTransposeNd):
    """The gradient of Conv2d as a layer: (N, C_in, H, W) to (N, C_out, H_out, W_out)."""

    dims = 2


class ConvTranspose3d(_ConvTransposeNd):
    """The gradient of Conv3d as a layer."""

    dims = 3


class _LazyConv(LazyModuleMixin, _ConvNd):
    """Takes `in_channels` from its first input."""

    dims: int

    def __init__(self, out_channels: int, kernel_size: Any, *args: Any, **kwargs: Any) -> None:
        made = {name: kwargs.get(name) for name in ("device", "dtype")}
        # Without channels or bias at first: the tensors that came would be replaced at once.
        super().__init__(0, 0, kernel_size, *args, **kwargs)
        has_bias = self.bias is not None
        self.weight = UninitializedParameter(**made)
        self.out_channels = out_channels
        if has_bias:
            self.bias = UninitializedParameter(**made)

    def reset_parameters(self) -> None:
        if not self.has_uninitialized_params() and self.in_channels != 0:
            super().reset_parameters()

    def initialize_parameters(self, input: Tensor, *args: Any, **kwargs: Any) -> None:
        if not self.has_uninitialized_params():
            return
        unbatched = self.dims + 1
        if input.ndim not in (unbatched, unbatched + 1):
            raise RuntimeError(
                f"Expected {unbatched}D (unbatched) or {unbatched + 1}D (batched) input to {type(self).__name__}, but "
                f"got input of size: {input.shape}"
            )
        self.in_channels = input.shape[-unbatched]
        if self.in_channels % self.groups:
            raise ValueError("in_channels must be divisible by groups")
        first, second = self.out_channels, self.in_channels // self.groups
        if self.transposed:
            first, second = self.in_channels, self.out_channels // self.groups
        self.weight.materialize((first, second, *self.kernel_size))
        if self.bias is not None:
            self.bias.materialize((self.out_channels,))
        self.reset_parameters()


def _lazy(base: type[_ConvNd]) -> Any:
    name = "Lazy" + base.__name__
    doc = f"{base.__name__} that takes `in_channels` from its first input."
    return type(Module)(name, (_LazyConv, base), {"cls_to_become": base, "__doc__": doc, "__module__": __name__})


LazyConv1d, LazyConv2d, LazyConv3d = _lazy(Conv1d), _lazy(Conv2d), _lazy(Conv3d)
LazyConvTranspose1d, LazyConvTranspose2d, LazyConvTranspose3d = (
    _lazy(ConvTranspose1d), _lazy(ConvTranspose2d), _lazy(ConvTranspose3d),
)  # fmt: skip
