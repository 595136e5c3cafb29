"""Short-time Fourier transforms and the windows they use."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from flambeau import dtypes
from flambeau.devices import require_cpu
from flambeau.dtypes import dtype as DType
from flambeau.errors import warn_once
from flambeau.ops.apply import type_name
from flambeau.ops.complex_views import view_as_real
from flambeau.ops.create import filled, finish
from flambeau.ops.fourier import fft, ifft, irfft, rfft
from flambeau.ops.gathering import index_add_op, index_select_op
from flambeau.ops.op import public
from flambeau.ops.shape_ops import constant_pad_op
from flambeau.ops.views import expand, reshape, slice_op, transpose, unfold, unsqueeze
from flambeau.tensors import Tensor, from_array

# -- windows ---------------------------------------------------------------------------------------------------

_C_NAMES = {"int64": "long int", "int32": "int", "int16": "short int", "int8": "signed char", "uint8": "unsigned char"}


def _window(name: str, shape: Callable[..., np.ndarray]) -> None:
    def function(window_length: int, periodic: bool = True, *args: Any, dtype: DType | None = None,
                 layout: Any = None, device: Any = None, pin_memory: bool = False, requires_grad: bool = False,
                 **named: Any) -> Tensor:  # fmt: skip
        require_cpu(device)
        kind = dtype or dtypes.get_default_dtype()
        if window_length < 0:
            raise RuntimeError(f"{name} requires non-negative window_length, got window_length={window_length}")
        if not kind.is_floating_point:
            shown = _C_NAMES.get(kind.name, kind.name)
            raise RuntimeError(
                f"{name} expects floating point dtypes, got: TensorOptions(dtype={shown}, device=cpu, layout=Strided "
                "(default), requires_grad=false (default), pinned_memory=false, memory_format=(nullopt))"
            )
        wide = np.float64 if kind is dtypes.float64 else np.float32
        points = window_length + 1 if periodic and window_length > 1 else window_length
        values = shape(points, wide, *args, **named) if points > 1 else np.ones(points, wide)
        return finish(from_array(values[:window_length].astype(kind.np)), requires_grad)

    function.__name__ = name
    function.__doc__ = f"A {name.removesuffix('_window')} window of the given length; `periodic` suits transforms."
    public("torch", name=name)(function)


def _cosine(n: int, kind: Any, alpha: float, beta: float) -> np.ndarray:
    return np.cos(np.arange(n, dtype=kind) * kind(2 * math.pi / (n - 1))) * kind(-beta) + kind(alpha)


def _hann(n: int, kind: Any) -> np.ndarray:
    return _cosine(n, kind, 0.5, 0.5)


def _hamming(n: int, kind: Any, alpha: float = 0.54, beta: float = 0.46) -> np.ndarray:
    return _cosine(n, kind, alpha, beta)


def _blackman(n: int, kind: Any) -> np.ndarray:
    x = np.arange(n, dtype=kind) * kind(math.pi / (n - 1))
    return np.cos(x * kind(4)) * kind(0.08) - np.cos(x * kind(2)) * kind(0.5) + kind(0.42)


def _bartlett(n: int, kind: Any) -> np.ndarray:
    x = np.arange(n, dtype=kind) * kind(2 / (n - 1))
    first = ((n - 1) >> 1) + 1
    return np.concatenate([x[:first], kind(2) - x[first:]])


def _kaiser(n: int, kind: Any, beta: float = 12.0) -> np.ndarray:
    middle = (n - 1) / 2
    x = (np.arange(n) - middle) / middle
    return (np.i0(beta * np.sqrt(np.maximum(1 - x * x, 0))) / np.i0(beta)).astype(kind)


_window("hann_window", _hann)
_window("hamming_window", _hamming)
_window("blackman_window", _blackman)
_window("bartlett_window", _bartlett)
_window("kaiser_window", _kaiser)

# -- forth -----------------------------------------------------------------------------------------------------


def _padded(x: Tensor, pad: int, mode: str) -> Tensor:
    n = x._shape[-1]
    if mode == "constant":
        return constant_pad_op(x, pad=(pad, pad), value=0)
    if mode == "reflect" and pad >= n:
        raise RuntimeError(
            "Argument #4: Padding size should be less than the corresponding input dimension, but got: padding "
            f"({pad}, {pad}) at dimension 2 of input {[1, *x._shape]}"
        )
    if mode not in ("reflect", "replicate", "circular"):
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    at = np.arange(-pad, n + pad)
    if mode == "reflect":
        at = np.abs(at)
        at = np.where(at >= n, 2 * (n - 1) - at, at)
    at = np.clip(at, 0, n - 1) if mode == "replicate" else at % n
    return index_select_op(x, from_array(at), dim=x.ndim - 1)


def _check_stft(x: Tensor, n_fft: int, hop: int, length: int, window: Tensor | None, normalized: bool, onesided: Any,
                return_complex: Any) -> None:  # fmt: skip
    def shown(t: Tensor | None, sizes: str) -> str:
        return "None" if t is None else f"torch.{type_name(t.dtype)}Tensor" + sizes

    flag = "None" if onesided is None else str(int(onesided))
    call = (
        f"stft({shown(x, str(list(x._shape)))}, n_fft={n_fft}, hop_length={hop}, win_length={length}, "
        f"window={shown(window, '{' + str(list(window._shape)) + '}') if window is not None else 'None'}, "
        f"normalized={int(normalized)}, onesided={flag}, return_complex={int(bool(return_complex))}, "
        "align_to_window=None) "
    )
    if x.dtype.category < dtypes.FLOAT:
        raise RuntimeError(call + ": expected a tensor of floating point or complex values")
    if x.ndim not in (1, 2):
        raise RuntimeError(call + ": expected a 1D or 2D tensor")
    if not 0 < n_fft <= x._shape[-1]:
        raise RuntimeError(call + f": expected 0 < n_fft < {x._shape[-1]}, but got n_fft={n_fft}")
    if hop <= 0:
        raise RuntimeError(call + f": expected hop_length > 0, but got hop_length={hop}")
    if not 0 < length <= n_fft:
        raise RuntimeError(call + f": expected 0 < win_length <= n_fft, but got win_length={length}")
    if window is not None and window._shape != (length,):
        raise RuntimeError(
            call + f": expected a 1D window tensor of size equal to win_length={length}, but got window with size "
            f"{list(window._shape)}"
        )


def _full_window(window: Tensor | None, length: int, n_fft: int, d: DType) -> Tensor:
    """The window in the middle of n_fft points."""
    given = filled((length,), 1, d) if window is None else window
    left = (n_fft - length) // 2
    return constant_pad_op(given, pad=(left, n_fft - length - left), value=0) if length < n_fft else given


@public("torch")
def stft(
    input: Tensor, n_fft: int, hop_length: int | None = None, win_length: int | None = None,
    window: Tensor | None = None, center: bool = True, pad_mode: str = "reflect", normalized: bool = False,
    onesided: bool | None = None, return_complex: bool | None = None, align_to_window: bool | None = None,
) -> Tensor:  # fmt: skip
    """Fourier transforms of overlapping windows of a signal: (batch, samples) to (batch, frequencies, frames).

    Args:
        n_fft: points of each transform; `hop_length` (n_fft // 4) samples lie between the starts of two.
        center: pad the signal on both sides so that frame t is centred at t * hop_length.
        return_complex: must be True for real input; False gives real and imaginary parts as a last dimension.
    """
    hop = n_fft // 4 if hop_length is None else hop_length
    length = n_fft if win_length is None else win_length
    is_complex = input.dtype.is_complex or (window is not None and window.dtype.is_complex)
    if return_complex is None:
        if not is_complex:
            raise RuntimeError(
                "stft requires the return_complex parameter be given for real inputs, and will further require that "
                "return_complex=True in a future PyTorch release."
            )
        return_complex = True
    if window is None:
        warn_once(
            "A window was not provided. A rectangular window will be applied,which is known to cause spectral leakage. "
            "Other windows such as torch.hann_window or torch.hamming_window are recommended to reduce spectral "
            "leakage.To suppress this warning and use a rectangular window, explicitly set `window=torch.ones(n_fft, "
            "device=<device>)`."
        )
    signal = _padded(input, n_fft // 2, pad_mode) if center else input
    _check_stft(signal, n_fft, hop, length, window, normalized, onesided, return_complex)
    frames = unfold(signal, -1, n_fft, hop)
    if window is not None or length < n_fft:
        frames = frames * _full_window(window, length, n_fft, input.dtype)
    one_side = not is_complex if onesided is None else onesided
    spectrum = (rfft if one_side else fft)(frames, norm="ortho" if normalized else None)
    result = transpose(spectrum, -2, -1)
    if return_complex:
        return result
    warn_once(
        "stft with return_complex=False is deprecated. In a future pytorch release, stft will return complex tensors "
        "for all inputs, and return_complex=False will raise an error.\nNote: you can still call torch.view_as_real on "
        "the complex output to recover the old return format."
    )
    return view_as_real(result)


@public("Tensor", name="stft")
def _stft_method(self: Tensor, n_fft: int, *args: Any, **kwargs: Any) -> Tensor:
    """See `torch.stft`."""
    return stft(self, n_fft, *args, **kwargs)


# -- and back --------------------------------------------------------------------------------------------------


def _overlapped(frames: Tensor, hop: int, total: int) -> Tensor:
    """Frames (batch, count, n_fft) added up where they overlap: (batch, total)."""
    batch, count, n = frames._shape
    at = (np.arange(count)[:, None] * hop + np.arange(n)).reshape(-1)
    zeros = frames.new_zeros((batch, total))
    return index_add_op(zeros, from_array(at), reshape(frames, (batch, count * n)), dim=1, alpha=1)


def _check_istft(x: Tensor, n_fft: int, hop: int, length: int, window: Tensor | None, call: str) -> None:
    if not x.dtype.is_complex:
        raise RuntimeError(
            "istft requires a complex-valued input tensor matching the output from stft with return_complex=True."
        )
    if x.numel() == 0:
        raise RuntimeError(call + ": input tensor cannot be empty.")
    if x.ndim not in (2, 3):
        raise RuntimeError(call + f": expected a tensor with 3 or 4 dimensions, but got {x.ndim + 1}")
    if not 0 < hop <= length:
        raise RuntimeError(call + ": expected 0 < hop_length <= win_length")
    if not 0 < length <= n_fft:
        raise RuntimeError(call + ": expected 0 < win_length <= n_fft")
    if window is not None and window._shape != (length,):
        raise RuntimeError(call + ": Invalid window shape. window has to be 1D and length of `win_length`")


@public("torch Tensor")
def istft(
    input: Tensor, n_fft: int, hop_length: int | None = None, win_length: int | None = None,
    window: Tensor | None = None, center: bool = True, normalized: bool = False, onesided: bool | None = None,
    length: int | None = None, return_complex: bool = False,
) -> Tensor:  # fmt: skip
    """The inverse of `stft`, by least squares: (batch, frequencies, frames) to (batch, samples).

    Raises:
        RuntimeError: the windows do not cover the signal, so that it cannot be recovered.
    """
    hop = n_fft // 4 if hop_length is None else hop_length
    span = n_fft if win_length is None else win_length
    shown = "None" if window is None else f"torch.{type_name(window.dtype)}Tensor{{{list(window._shape)}}}"
    flag, size = "None" if onesided is None else str(int(onesided)), "None" if length is None else str(length)
    call = (
        f"istft(CPU{type_name(input.dtype)}Type{list(input._shape)}, n_fft={n_fft}, hop_length={hop}, "
        f"win_length={span}, window={shown}, center={int(center)}, normalized={int(normalized)}, onesided={flag}, "
        f"length={size}, return_complex={int(return_complex)}) "
    )
    _check_istft(input, n_fft, hop, span, window, call)
    if window is None:
        warn_once(
            "A window was not provided. A rectangular window will be applied.Please provide the same window used by "
            "stft to make the inversion lossless.To suppress this warning and use a rectangular window, explicitly "
            "set `window=torch.ones(n_fft, device=<device>)`."
        )
    spectrum = transpose(input if input.ndim == 3 else unsqueeze(input, 0), 1, 2)
    full = _full_window(window, span, n_fft, input.dtype.to_real())
    norm = "ortho" if normalized else None
    if return_complex:
        frames = ifft(spectrum, norm=norm)
    else:
        one_side = spectrum._shape[-1] != n_fft if onesided is None else onesided
        half = spectrum if one_side else slice_op(spectrum, dim=2, start=0, length=n_fft // 2 + 1, step=1)
        frames = irfft(half, n=n_fft, norm=norm)
    count = frames._shape[1]
    total = n_fft + hop * (count - 1)
    signal = _overlapped(frames * full, hop, total)
    weight = _overlapped(expand(reshape(full * full, (1, 1, n_fft)), (1, count, n_fft)), hop, total)
    start = n_fft // 2 if center else 0
    end = start + length if length is not None else total - n_fft // 2 if center else total
    kept = min(end, total) - start
    signal, weight = (slice_op(t, dim=1, start=start, length=kept, step=1) for t in (signal, weight))
    if (np.abs(weight.detach()._array()) < 1e-11).any():
        raise RuntimeError(call + "window overlap add min: 1\n[ CPUBoolType{} ]")
    result = signal / weight
    if end > total:
        warn_once(
            "The length of signal is shorter than the length parameter. Result is being padded with zeros in the tail. "
            "Please check your center and hop_length settings."
        )
        result = constant_pad_op(result, pad=(0, end - total), value=0)
    return result if input.ndim == 3 else reshape(result, result._shape[1:])
