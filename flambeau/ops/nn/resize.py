"""Resampling of images, signals and volumes: `interpolate`.

Every mode is linear and separable: along each dimension an output is a weighted sum of a few inputs ("taps"). The
gradient is the transposed map, so the two records are each other's derivatives.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from flambeau import dtypes
from flambeau.engine.execute import Meta
from flambeau.engine.schedule.lowering import Kernels
from flambeau.errors import warn_once
from flambeau.later import later
from flambeau.ops.nn.checks import image_layout
from flambeau.ops.nn.pool import adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d
from flambeau.ops.nn.resize_bytes import resample_bytes
from flambeau.ops.op import op, public
from flambeau.ops.rules import require_tensor
from flambeau.ops.samples import call
from flambeau.shape import Ints
from flambeau.tensors import Tensor

move_taps = later("flambeau.engine.kernel.move_taps")


class Resampling(NamedTuple):
    """How a dimension is resampled; `scale` is the user's factor where it, not the sizes, decides the positions."""

    mode: str  # nearest, nearest-exact, linear, cubic
    align_corners: bool
    antialias: bool


Scales = tuple[float | None, ...]

# -- taps ------------------------------------------------------------------------------------------------------


def _step(n: int, out: int, align_corners: bool, scale: float | None, kind: Any) -> Any:
    """Input pixels per output pixel."""
    if align_corners:
        return kind((n - 1) / (out - 1)) if out > 1 else kind(0)
    return kind(1.0 / scale) if scale is not None and scale > 0 else kind(n) / kind(out)


def _nearest(n: int, out: int, exact: bool, scale: float | None) -> np.ndarray:
    at = np.arange(out)
    if not exact and out == n:
        return at
    if not exact and out == 2 * n:
        return at >> 1
    step = _step(n, out, False, scale, np.float32)
    position = (at.astype(np.float32) + np.float32(0.5 if exact else 0)) * step
    return np.minimum(np.floor(position).astype(np.int64), n - 1)


def _cubic_weights(t: np.ndarray, a: float) -> list[np.ndarray]:
    def near(x: np.ndarray) -> np.ndarray:
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def far(x: np.ndarray) -> np.ndarray:
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a

    return [far(t + 1), near(t), near(1 - t), far(2 - t)]


@functools.lru_cache(256)
def _taps(n: int, out: int, how: Resampling, scale: float | None, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Input indices and weights of every output, both [taps, out]."""
    kind = np.float64 if dtype == "float64" else np.float32
    if how.mode.startswith("nearest"):
        index = _nearest(n, out, how.mode == "nearest-exact", scale)
        return index[None], np.ones((1, out), kind)
    if how.antialias:
        return _antialiased(n, out, how, scale, kind)
    step = _step(n, out, how.align_corners, scale, kind)
    at = np.arange(out).astype(kind)
    position = at * step if how.align_corners else (at + kind(0.5)) * step - kind(0.5)
    if how.mode == "cubic":
        low = np.floor(position).astype(np.int64)
        weights = np.stack(_cubic_weights((position - low).astype(kind), kind(-0.75)))
        return np.clip(low + np.arange(-1, 3)[:, None], 0, n - 1), weights
    position = np.maximum(position, 0)
    low = np.minimum(position.astype(np.int64), n - 1)
    share = np.clip(position - low, 0, 1).astype(kind)
    return np.stack([low, np.minimum(low + 1, n - 1)]), np.stack([1 - share, share])


def _antialiased(n: int, out: int, how: Resampling, scale: float | None, kind: Any) -> tuple[np.ndarray, np.ndarray]:
    """Filters as wide as the step when shrinking, as in Pillow."""
    step = float(_step(n, out, how.align_corners, scale, kind))
    half = 1.0 if how.mode == "linear" else 2.0
    support = half * max(step, 1.0)
    centre = step * (np.arange(out) + 0.5)
    first = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    last = np.minimum((centre + support + 0.5).astype(np.int64), n)
    index = first + np.arange(max(int((last - first).max()), 1))[:, None]
    x = np.abs((index - centre + 0.5) / max(step, 1.0))
    if how.mode == "linear":
        weights = np.maximum(1 - x, 0)
    else:
        a = -0.5
        near, far = ((a + 2) * x - (a + 3)) * x * x + 1, (((x - 5) * x + 8) * x - 4) * a
        weights = np.where(x < 1, near, np.where(x < 2, far, 0))
    weights = np.where(index < last, weights, 0)
    weights = weights / weights.sum(0)
    return np.minimum(index, n - 1), weights.astype(kind)


@functools.lru_cache(256)
def _matrix(n: int, out: int, how: Resampling, scale: float | None, dtype: str) -> np.ndarray:
    """The map of one dimension as a matrix [out, n]."""
    index, weights = _taps(n, out, how, scale, dtype)
    matrix = np.zeros((out, n), weights.dtype)
    np.add.at(matrix, (np.broadcast_to(np.arange(out), index.shape), index), weights)
    return matrix


def _resample(x: np.ndarray, axis: int, out: int, how: Resampling, scale: float | None) -> np.ndarray:
    n = x.shape[axis]
    index, weights = _taps(n, out, how, scale, x.dtype.name)
    if how.mode.startswith("nearest"):
        return np.take(x, index[0], axis)
    if len(index) > 4:
        return np.moveaxis(np.tensordot(x, _matrix(n, out, how, scale, x.dtype.name), (axis, 1)), -1, axis)
    shape = (-1, *(1,) * (x.ndim - 1 - axis))
    total = np.take(x, index[0], axis) * weights[0].reshape(shape)
    for places, weight in zip(index[1:], weights[1:]):
        total += np.take(x, places, axis) * weight.reshape(shape)
    return total


# -- records ---------------------------------------------------------------------------------------------------


def _forward(x: np.ndarray, size: Ints, how: Resampling, scales: Scales) -> np.ndarray:
    if x.dtype == np.uint8 and not how.mode.startswith("nearest"):
        return _forward_bytes(x, size, how, scales)
    wide = x
    for d in reversed(range(len(size))):
        axis = x.ndim - len(size) + d
        if x.shape[axis] != size[d] or scales[d] is not None or how.antialias:
            wide = _resample(wide, axis, size[d], how, scales[d])
    return wide if wide is not x else x.copy()


def _forward_bytes(x: np.ndarray, size: Ints, how: Resampling, scales: Scales) -> np.ndarray:
    taps = [
        None if n == out else _taps(n, out, how, scale, "float64") for n, out, scale in zip(x.shape[2:], size, scales)
    ]
    y = resample_bytes(x, taps)
    return y if y is not x else x.copy()


def _backward(g: np.ndarray, size: Ints, how: Resampling, scales: Scales) -> np.ndarray:
    for d in range(len(size)):
        axis = g.ndim - len(size) + d
        if g.shape[axis] != size[d] or scales[d] is not None or how.antialias:
            matrix = _matrix(size[d], g.shape[axis], how, scales[d], g.dtype.name)
            g = np.moveaxis(np.tensordot(g, matrix, (axis, 0)), -1, axis)
    return np.array(g, order="C")


def _meta(x: Tensor, size: Ints, **_: Any) -> Meta:
    shape = (*x._shape[:2], *size)
    return Meta(shape, x.dtype, image_layout(shape, x))


_STEMS = {"nearest": "Nearest", "nearest-exact": "NearestExact", "cubic": "Bicubic"}


def _node_name(_inputs: Any, params: dict[str, Any]) -> str:
    n, how = len(params["size"]), params["how"]
    stem = _STEMS.get(how.mode) or ("Linear", "Bilinear", "Trilinear")[n - 1]
    return f"Upsample{stem}{n}D{'Aa' if how.antialias else ''}Backward0"


def _samples(t: Any) -> Any:
    yield call(t(1, 2, 5), size=(7,), how=Resampling("linear", False, False), scales=(None,))
    yield call(t(1, 1, 3, 4), size=(5, 2), how=Resampling("cubic", True, False), scales=(None, None))
    yield call(t(1, 1, 3, 4), size=(5, 2), how=Resampling("nearest", False, False), scales=(None, None))
    yield call(t(1, 1, 6, 5), size=(3, 8), how=Resampling("linear", False, True), scales=(None, None))


upsample_op = op(
    "upsample", ref=_forward, meta=_meta, backward_name=_node_name, samples=_samples,
    lower=Kernels(move_taps.resampled(_taps, _nearest, True)),
    vjp=lambda g, _y, _x, size, how, scales: (
        upsample_backward_op(g, size=_x.shape[2:], how=how, scales=scales),
    ),
)  # fmt: skip
upsample_backward_op = op(
    "upsample_backward", ref=_backward, meta=_meta,
    lower=Kernels(move_taps.resampled(_taps, _nearest, False)),
    vjp=lambda h, _y, _g, size, how, scales: (upsample_op(h, size=_g.shape[2:], how=how, scales=scales),),
    samples=lambda t: [call(t(1, 2, 7), size=(5,), how=Resampling("linear", False, False), scales=(None,))],
)  # fmt: skip

# -- functions -------------------------------------------------------------------------------------------------

_NEEDS = {"linear": 3, "bilinear": 4, "bicubic": 4, "trilinear": 5}
_ANY = ("nearest", "nearest-exact", "area")


def _per_dim(input: Tensor, size: Any, scale_factor: Any) -> tuple[Ints | None, list[float] | None]:
    n = input.ndim - 2
    if size is not None and scale_factor is not None:
        raise ValueError("only one of size or scale_factor should be defined")
    if size is None and scale_factor is None:
        raise ValueError("either size or scale_factor should be defined")
    given, name = (size, "output size") if size is not None else (scale_factor, "scale_factor")
    if isinstance(given, (tuple, list)):
        if len(given) != n:
            where = "output size of" if size is not None else "scale_factor of shape"
            letters = "(o1, o2, ...,oK)" if size is not None else "(s1, s2, ...,sK)"
            first = "output" if size is not None else "scale_factor"
            raise ValueError(
                f"Input and {first} must have the same number of spatial dimensions, but got input with spatial "
                f"dimensions of {list(input._shape[2:])} and {where} {given}. Please provide input tensor in (N, C, "
                f"d1, d2, ...,dK) format and {name} in {letters} format."
            )
        values = list(given)
    else:
        values = [given] * n
    if size is None:
        return None, [float(v) for v in values]
    if not all(hasattr(v, "__index__") and not isinstance(v, bool) for v in values):
        raise TypeError(
            "expected size to be one of int or Tuple[int] or Tuple[int, int] or Tuple[int, int, int], but got size "
            f"with types {[type(v) for v in values]}"
        )
    return tuple(int(v) for v in values), None


def _check_mode(input: Tensor, mode: str, align_corners: bool | None, antialias: bool) -> None:
    if mode in _ANY and align_corners is not None:
        raise ValueError(
            "align_corners option can only be set with the interpolating modes: linear | bilinear | bicubic | trilinear"
        )
    if antialias and not (mode in ("bilinear", "bicubic") and input.ndim == 4):
        raise ValueError(
            "Anti-alias option is restricted to bilinear, bicubic, and lanczos modes and requires a 4-D tensor as input"
        )
    if input.ndim in (3, 4, 5):
        if mode in _ANY or _NEEDS.get(mode) == input.ndim:
            return
        if mode in ("linear", "bilinear", "trilinear"):
            raise NotImplementedError(f"Got {input.ndim}D input, but {mode} mode needs {_NEEDS[mode]}D input")
    raise NotImplementedError(
        f"Input Error: Only 3D, 4D and 5D input Tensors supported (got {input.ndim}D) for the modes: nearest | "
        f"linear | bilinear | bicubic | trilinear | lanczos | area | nearest-exact (got {mode})"
    )


@public("F")
def interpolate(
    input: Tensor, size: int | Sequence[int] | None = None, scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest", align_corners: bool | None = None, recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:  # fmt: skip
    """Resample the spatial dimensions of [N, C, L], [N, C, H, W] or [N, C, D, H, W].

    Args:
        size: the spatial size of the result; or give `scale_factor`.
        mode: "nearest", "nearest-exact", "area", "linear" (3-d), "bilinear" and "bicubic" (4-d), "trilinear" (5-d).
        align_corners: corner pixels keep their values (linear and cubic modes).
        recompute_scale_factor: derive positions from the rounded output size instead of `scale_factor`.
        antialias: filter when shrinking ("bilinear" and "bicubic").

    >>> interpolate(ones(1, 1, 2, 2), scale_factor=2).shape
    torch.Size([1, 1, 4, 4])
    """
    require_tensor("interpolate", "input", 1, input)
    wanted, factors = _per_dim(input, size, scale_factor)
    if recompute_scale_factor and size is not None:
        raise ValueError("recompute_scale_factor is not meaningful with an explicit size.")
    _check_mode(input, mode, align_corners, antialias)
    if wanted is None:
        wanted = tuple(math.floor(n * f) for n, f in zip(input._shape[2:], factors))  # type: ignore[arg-type]
    if mode == "area":
        return (adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d)[input.ndim - 3](input, wanted)
    if min((*wanted, *input._shape[2:])) <= 0:
        raise RuntimeError(
            f"Input and output sizes should be greater than 0, but got input (H: {input._shape[-2]}, W: "
            f"{input._shape[-1]}) output (H: {wanted[-2] if len(wanted) > 1 else 1}, W: {wanted[-1]})"
        )
    if input.dtype.category < dtypes.FLOAT and input.dtype is not dtypes.uint8:
        raise NotImplementedError(f"\"{_kernel(mode, antialias)}\" not implemented for '{_LETTERS[input.dtype.name]}'")
    keep = factors is not None and not recompute_scale_factor
    scales = tuple(factors) if keep and factors is not None else (None,) * len(wanted)
    kind = mode if mode.startswith("nearest") else "cubic" if mode == "bicubic" else "linear"
    return upsample_op(input, size=wanted, how=Resampling(kind, bool(align_corners), antialias), scales=scales)


_LETTERS = {"int64": "Long", "int32": "Int", "int16": "Short", "int8": "Char", "bool": "Bool"}


def _kernel(mode: str, antialias: bool) -> str:
    return "upsample_nearest2d_channels_last" if mode.startswith("nearest") else "compute_indices_weights_" + mode


def _deprecated(name: str) -> None:
    warn_once(f"`nn.functional.{name}` is deprecated. Use `nn.functional.interpolate` instead.", stacklevel=4)


@public("F")
def upsample(input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
             align_corners: bool | None = None) -> Tensor:  # fmt: skip
    """The old name of `interpolate`."""
    _deprecated("upsample")
    return interpolate(input, size, scale_factor, mode, align_corners)


@public("F")
def upsample_nearest(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """`interpolate` by the nearest pixel."""
    _deprecated("upsample_nearest")
    return interpolate(input, size, scale_factor, mode="nearest")


@public("F")
def upsample_bilinear(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """Bilinear `interpolate` with `align_corners=True`."""
    _deprecated("upsample_bilinear")
    return interpolate(input, size, scale_factor, mode="bilinear", align_corners=True)
