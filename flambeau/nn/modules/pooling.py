"""Pooling layers."""

from __future__ import annotations

from typing import Any

from flambeau.nn import functional as F
from flambeau.nn.modules.layer import REQUIRED, FunctionLayer, layer
from flambeau.nn.modules.module import Module
from flambeau.nn.modules.utils import ntuple
from flambeau.tensors import Tensor


class _MaxPoolNd(FunctionLayer):
    def check(self) -> None:
        if self.stride is None:
            self.stride = self.kernel_size

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, dilation={self.dilation}, "
            f"ceil_mode={self.ceil_mode}"
        )


class _AvgPoolNd(FunctionLayer):
    def check(self) -> None:
        if self.stride is None:
            self.stride = self.kernel_size

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class _AvgPool1d(_AvgPoolNd):
    def check(self) -> None:
        first = lambda v: v if isinstance(v, tuple) else (v,)  # noqa: E731
        self.stride = first(self.kernel_size if self.stride is None else self.stride)
        self.kernel_size, self.padding = first(self.kernel_size), first(self.padding)


class _Adaptive(FunctionLayer):
    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class _AdaptiveMaxPoolNd(_Adaptive):
    """Of maxima."""


class _AdaptiveAvgPoolNd(_Adaptive):
    """Of means."""


class _LPPoolNd(FunctionLayer):
    def extra_repr(self) -> str:
        names = ("norm_type", "kernel_size", "stride", "ceil_mode")
        return ", ".join(f"{name}={getattr(self, name)}" for name in names)


_MAX = {
    "kernel_size": REQUIRED,
    "stride": None,
    "padding": 0,
    "dilation": 1,
    "return_indices": False,
    "ceil_mode": False,
}
_MAX_KEYS = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
_AVG = {"kernel_size": REQUIRED, "stride": None, "padding": 0, "ceil_mode": False, "count_include_pad": True}
_LP = {"norm_type": REQUIRED, "kernel_size": REQUIRED, "stride": None, "ceil_mode": False}

MaxPool1d = layer("MaxPool1d", F.max_pool1d, "Maxima of windows of (N, C, L).", base=_MaxPoolNd, **_MAX)
MaxPool2d = layer("MaxPool2d", F.max_pool2d, "Maxima of windows of (N, C, H, W).", base=_MaxPoolNd, **_MAX)
MaxPool3d = layer("MaxPool3d", F.max_pool3d, "Maxima of windows of (N, C, D, H, W).", base=_MaxPoolNd, **_MAX)
AvgPool1d = layer("AvgPool1d", F.avg_pool1d, "Means of windows of (N, C, L).", base=_AvgPool1d, **_AVG)
AvgPool2d = layer(
    "AvgPool2d", F.avg_pool2d, "Means of windows of (N, C, H, W).", base=_AvgPoolNd, **_AVG, divisor_override=None
)
AvgPool3d = layer(
    "AvgPool3d", F.avg_pool3d, "Means of windows of (N, C, D, H, W).", base=_AvgPoolNd, **_AVG, divisor_override=None
)
AdaptiveMaxPool1d, AdaptiveMaxPool2d, AdaptiveMaxPool3d = (
    layer(f"AdaptiveMaxPool{n}d", function, "Maxima over windows that give `output_size`.", base=_AdaptiveMaxPoolNd,
          output_size=REQUIRED, return_indices=False)
    for n, function in ((1, F.adaptive_max_pool1d), (2, F.adaptive_max_pool2d), (3, F.adaptive_max_pool3d))
)  # fmt: skip
AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveAvgPool3d = (
    layer(f"AdaptiveAvgPool{n}d", function, "Means over windows that give `output_size`.", base=_AdaptiveAvgPoolNd,
          output_size=REQUIRED)
    for n, function in ((1, F.adaptive_avg_pool1d), (2, F.adaptive_avg_pool2d), (3, F.adaptive_avg_pool3d))
)  # fmt: skip
LPPool1d = layer("LPPool1d", F.lp_pool1d, base=_LPPoolNd, **_LP)
LPPool2d = layer("LPPool2d", F.lp_pool2d, base=_LPPoolNd, **_LP)
LPPool3d = layer("LPPool3d", F.lp_pool3d, base=_LPPoolNd, **_LP)


class _MaxUnpoolNd(Module):
    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        super().__init__()
        n = self.dims
        self.kernel_size, self.padding = ntuple(kernel_size, n), ntuple(padding, n)
        self.stride = ntuple(kernel_size if stride is None else stride, n)

    def forward(self, input: Tensor, indices: Tensor, output_size: Any = None) -> Tensor:
        unpool = (F.max_unpool1d, F.max_unpool2d, F.max_unpool3d)[self.dims - 1]
        return unpool(input, indices, self.kernel_size, self.stride, self.padding, output_size)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool1d(_MaxUnpoolNd):
    """Maxima back where they came from, zeros elsewhere."""

    dims = 1


class MaxUnpool2d(_MaxUnpoolNd):
    """Maxima back where they came from, zeros elsewhere."""

    dims = 2


class MaxUnpool3d(_MaxUnpoolNd):
    """Maxima back where they came from, zeros elsewhere."""

    dims = 3


class _FractionalMaxPoolNd(Module):
    """Maxima of windows at random places (Graham 2014)."""

    dims: int

    def __init__(
        self, kernel_size: Any, output_size: Any = None, output_ratio: Any = None, return_indices: bool = False,
        _random_samples: Tensor | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        n = self.dims
        self.kernel_size, self.return_indices = ntuple(kernel_size, n), return_indices
        if n == 3 and any(k <= 0 for k in self.kernel_size):
            raise ValueError(f"kernel_size must be greater than 0, but got {kernel_size}")
        self.register_buffer("_random_samples", _random_samples)
        self.output_size = None if output_size is None else ntuple(output_size, n)
        self.output_ratio = None if output_ratio is None else ntuple(output_ratio, n)
        if output_size is None and output_ratio is None:
            raise ValueError(
                f"FractionalMaxPool{n}d requires specifying either an output size, or a pooling ratio"
            )
        if output_size is not None and output_ratio is not None:
            raise ValueError("only one of output_size and output_ratio may be specified")
        if self.output_ratio is not None and not all(0 < ratio < 1 for ratio in self.output_ratio):
            raise ValueError(f"output_ratio must be between 0 and 1 (got {output_ratio})")

    def forward(self, input: Tensor) -> Any:
        pool = F.fractional_max_pool2d if self.dims == 2 else F.fractional_max_pool3d
        return pool(
            input, self.kernel_size, self.output_size, self.output_ratio, self.return_indices,
            _random_samples=self._random_samples,
        )  # fmt: skip


class FractionalMaxPool2d(_FractionalMaxPoolNd):
    """Maxima of windows at random places of (N, C, H, W) (Graham 2014)."""

    dims = 2


class FractionalMaxPool3d(_FractionalMaxPoolNd):
    """Maxima of windows at random places of (N, C, D, H, W) (Graham 2014)."""

    dims = 3
