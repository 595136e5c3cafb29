"""Rearrangements of pixels: shuffles, and sliding blocks taken apart (unfold) and put together (fold)."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from flambeau.engine.execute import Meta
from flambeau.engine.schedule.lowering import Kernels
from flambeau.later import later
from flambeau.ops.nn import conv_kernels as kernels
from flambeau.ops.nn.checks import as_int, as_ints, tensor_shape
from flambeau.ops.nn.conv_kernels import Window
from flambeau.ops.op import op, public
from flambeau.ops.rules import require_tensor
from flambeau.ops.samples import call
from flambeau.shape import Ints
from flambeau.tensors import Tensor

move_windows = later("flambeau.engine.kernel.move_windows")

# -- shuffles --------------------------------------------------------------------------------------------------


def _shuffle_meta(x: Tensor, factor: int) -> Meta:
    if x.ndim < 3:
        raise RuntimeError(
            f"pixel_shuffle expects input to have at least 3 dimensions, but got input with {x.ndim} dimension(s)"
        )
    if factor <= 0:
        raise RuntimeError(f"pixel_shuffle expects a positive upscale_factor, but got {factor}")
    *lead, c, h, w = x._shape
    if c % (factor * factor):
        raise RuntimeError(
            "pixel_shuffle expects its input's 'channel' dimension to be divisible by the square of upscale_factor, "
            f"but input.size(-3)={c} is not divisible by {factor * factor}"
        )
    return Meta((*lead, c // (factor * factor), h * factor, w * factor), x.dtype)


def _shuffle(x: np.ndarray, factor: int) -> np.ndarray:
    *lead, c, h, w = x.shape
    out = c // (factor * factor)
    split = np.moveaxis(x.reshape(*lead, out, factor, factor, h, w), (-4, -3), (-3, -1))
    return np.array(split, order="C").reshape(*lead, out, h * factor, w * factor)


def _unshuffle_meta(x: Tensor, factor: int) -> Meta:
    if x.ndim < 3:
        raise RuntimeError(
            f"pixel_unshuffle expects input to have at least 3 dimensions, but got input with {x.ndim} dimension(s)"
        )
    if factor <= 0:
        raise RuntimeError(f"pixel_unshuffle expects a positive downscale_factor, but got {factor}")
    *lead, c, h, w = x._shape
    for name, size, dim in (("height", h, -2), ("width", w, -1)):
        if size % factor:
            raise RuntimeError(
                f"pixel_unshuffle expects {name} to be divisible by downscale_factor, but input.size({dim})={size} "
                f"is not divisible by {factor}"
            )
    return Meta((*lead, c * factor * factor, h // factor, w // factor), x.dtype)


def _unshuffle(x: np.ndarray, factor: int) -> np.ndarray:
    *lead, c, h, w = x.shape
    split = x.reshape(*lead, c, h // factor, factor, w // factor, factor)
    moved = np.moveaxis(split, (-3, -1), (-4, -3))
    return np.array(moved, order="C").reshape(*lead, c * factor * factor, h // factor, w // factor)


pixel_shuffle_op = op(
    "pixel_shuffle", ref=_shuffle, meta=_shuffle_meta, lower=Kernels(move_windows.pixel_shuffle),
    samples=lambda t: [call(t(2, 8, 2, 3), factor=2)],
    vjp=lambda g, _y, _x, factor: (pixel_unshuffle_op(g, factor=factor),),
)  # fmt: skip
pixel_unshuffle_op = op(
    "pixel_unshuffle", ref=_unshuffle, meta=_unshuffle_meta, lower=Kernels(move_windows.pixel_unshuffle),
    samples=lambda t: [call(t(2, 4, 6), factor=2)],
    vjp=lambda g, _y, _x, factor: (pixel_shuffle_op(g, factor=factor),),
)  # fmt: skip


def _mix(x: np.ndarray, groups: int) -> np.ndarray:
    n, c = x.shape[:2]
    return np.array(x.reshape(n, groups, c // groups, *x.shape[2:]).swapaxes(1, 2), order="C").reshape(x.shape)


channel_shuffle_op = op(
    "channel_shuffle", ref=_mix, lower=Kernels(move_windows.channel_shuffle),
    meta=lambda x, groups: Meta(x._shape, x.dtype),
    vjp=lambda g, _y, _x, groups: (channel_shuffle_op(g, groups=_x.shape[1] // groups),),
    samples=lambda t: [call(t(2, 6, 2), groups=2)],
)  # fmt: skip


@public("torch F")
def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """[..., C * r * r, H, W] as [..., C, H * r, W * r] (Shi et al., 2016)."""
    require_tensor("pixel_shuffle", "input", 1, input)
    return pixel_shuffle_op(input, factor=as_int("pixel_shuffle", "upscale_factor", 2, upscale_factor))


@public("torch F")
def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """[..., C, H * r, W * r] as [..., C * r * r, H, W]: the inverse of `pixel_shuffle`."""
    require_tensor("pixel_unshuffle", "input", 1, input)
    return pixel_unshuffle_op(input, factor=as_int("pixel_unshuffle", "downscale_factor", 2, downscale_factor))


@public("torch F", aliases=("native_channel_shuffle",))
def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """The channels (dimension 1) of `groups` groups dealt out in turn (Zhang et al., 2018)."""
    require_tensor("channel_shuffle", "input", 1, input)
    if input.ndim < 3:
        raise RuntimeError(
            f"channel_shuffle expects input with > 2 dims, but got input with sizes {tensor_shape(input)}"
        )
    if groups <= 0:
        raise RuntimeError(f"Number of groups to divide channels in must be positive. Value of groups:{groups}")
    if input._shape[1] % groups:
        raise RuntimeError(
            f"Number of channels must be divisible by groups. Got {input._shape[1]} channels and {groups} groups."
        )
    return channel_shuffle_op(input, groups=groups)


# -- sliding blocks --------------------------------------------------------------------------------------------


def _unfold(x: np.ndarray, kernel: Ints, window: Window) -> np.ndarray:
    out = window.out_size(x.shape[2:], kernel)
    x = kernels.pad(x, window.padding)
    steps = x.strides
    inner = [s * d for s, d in zip(steps[2:], window.dilation)]
    outer = [s * d for s, d in zip(steps[2:], window.stride)]
    view = as_strided(x, (*x.shape[:2], *kernel, *out), (*steps[:2], *inner, *outer))
    return np.array(view, order="C").reshape(x.shape[0], x.shape[1] * prod(kernel), prod(out))


def _fold(x: np.ndarray, size: Ints, kernel: Ints, window: Window) -> np.ndarray:
    out = window.out_size(size, kernel)
    n, channels = x.shape[0], x.shape[1] // prod(kernel)
    blocks = x.reshape(n, channels, *kernel, *out)
    whole = np.zeros((n, channels, *[s + lo + hi for s, (lo, hi) in zip(size, window.padding)]), x.dtype)
    for tap, places in window.taps(kernel, out):
        whole[(slice(None), slice(None), *places)] += blocks[(slice(None), slice(None), *tap)]
    return np.ascontiguousarray(kernels.crop(whole, window.padding))


def _unfold_meta(x: Tensor, kernel: Ints, window: Window) -> Meta:
    out = window.out_size(x._shape[2:], kernel)
    return Meta((x._shape[0], x._shape[1] * prod(kernel), prod(out)), x.dtype)


_SLIDING = {"kernel": (2, 3), "window": Window((1, 2), ((1, 1), (0, 0)), (1, 1), 1)}
unfold_op = op(
    "im2col", ref=_unfold, meta=_unfold_meta, lower=Kernels(move_windows.im2col), backward_name="Im2ColBackward0",
    vjp=lambda g, _y, _x, kernel, window: (fold_op(g, size=_x.shape[2:], kernel=kernel, window=window),),
    samples=lambda t: [call(t(2, 2, 4, 5), **_SLIDING)],
)  # fmt: skip
fold_op = op(
    "col2im", ref=_fold, lower=Kernels(move_windows.col2im), backward_name="Col2ImBackward0",
    meta=lambda x, size, kernel, window: Meta((x._shape[0], x._shape[1] // prod(kernel), *size), x.dtype),
    vjp=lambda g, _y, _x, size, kernel, window: (unfold_op(g, kernel=kernel, window=window),),
    samples=lambda t: [call(t(2, 12, 10), size=(4, 5), **_SLIDING)],
)  # fmt: skip


_POSITIONS = {"output_size": 2, "kernel_size": 2, "dilation": 3, "padding": 4, "stride": 5}


def _pair(function: str, name: str, value: Any) -> Ints:
    values = as_ints(function, name, _POSITIONS[name], value)
    if len(values) not in (1, 2):
        raise RuntimeError(f"{function}(): argument '{name}' must be tuple of 2 ints, but got {len(values)}")
    return values * 2 if len(values) == 1 else values


def _arguments(function: str, kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> tuple[Ints, Window]:
    kernel, spread = _pair(function, "kernel_size", kernel_size), _pair(function, "dilation", dilation)
    around, steps = _pair(function, "padding", padding), _pair(function, "stride", stride)
    for name, values in (("kernel size", kernel), ("dilation", spread), ("stride", steps)):
        if min(values) <= 0:
            word = name.split()[0]
            raise RuntimeError(
                f"{name} should be greater than zero, but got {word}_height: {values[0]} {word}_width: {values[1]}"
            )
    if min(around) < 0:
        raise RuntimeError(f"padding should be non-negative, but got pad_height: {around[0]} pad_width: {around[1]}")
    return kernel, Window(steps, ((around[0],) * 2, (around[1],) * 2), spread, 1)


def _shown(window: Window) -> tuple[Ints, Ints]:
    return window.dilation, (window.padding[0][0], window.padding[1][0])


@public("F")
def unfold(input: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """The sliding blocks of images [N, C, H, W] as columns [N, C * kh * kw, blocks] ("im2col").

    >>> unfold(ones(1, 2, 3, 3), 2).shape
    torch.Size([1, 8, 4])
    """
    require_tensor("im2col", "input", 1, input)
    kernel, window = _arguments("im2col", kernel_size, dilation, padding, stride)
    if input.ndim not in (3, 4) or 0 in input._shape[-3:]:
        raise RuntimeError(
            "Expected 3D or 4D (batch mode) tensor with possibly 0 batch size and other non-zero dimensions for "
            f"input, but got: {tensor_shape(input)}"
        )
    size = input._shape[-2:]
    out = window.out_size(size, kernel)
    if min(out) < 1:
        spread, around = _shown(window)
        raise RuntimeError(
            f"Given input with spatial size {size}, kernel_size={kernel}, dilation={spread}, padding={around}, "
            f"calculated shape of the array of sliding blocks as {out}, but its components must be at least one."
        )
    if input.ndim == 4:
        return unfold_op(input, kernel=kernel, window=window)
    return unfold_op(input.unsqueeze(0), kernel=kernel, window=window).squeeze(0)


@public("F")
def fold(
    input: Tensor, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Tensor:
    """Columns [N, C * kh * kw, blocks] added up into images [N, C, H, W]: the transpose of `unfold` ("col2im")."""
    require_tensor("col2im", "input", 1, input)
    kernel, window = _arguments("col2im", kernel_size, dilation, padding, stride)
    size = _pair("col2im", "output_size", output_size)
    if input.ndim not in (2, 3) or 0 in input._shape[-2:]:
        raise RuntimeError(
            "Expected 2D or 3D (batch mode) tensor for input with possibly 0 batch size and non-zero dimensions for "
            f"input, but got: {tensor_shape(input)}"
        )
    rows, blocks = input._shape[-2:]
    if rows % prod(kernel):
        raise RuntimeError(
            "Expected size of input's dimension 1 to be divisible by the product of kernel_size, but got "
            f"input.size(1)={rows} and kernel_size={kernel}."
        )
    out = window.out_size(size, kernel)
    if prod(out) != blocks or min(out) < 1:
        spread, around = _shown(window)
        raise RuntimeError(
            f"Given output_size={size}, kernel_size={kernel}, dilation={spread}, padding={around}, "
            f"stride={window.stride}, expected size of input's dimension 2 to match the calculated number of sliding "
            f"blocks {out[0]} * {out[1]} = {prod(out)}, but got input.size(2)={blocks}."
        )
    if input.ndim == 3:
        return fold_op(input, size=size, kernel=kernel, window=window)
    return fold_op(input.unsqueeze(0), size=size, kernel=kernel, window=window).squeeze(0)
