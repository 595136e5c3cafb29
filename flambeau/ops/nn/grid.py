"""Sampling at positions: `grid_sample`, and `affine_grid`, which makes the positions of an affine map.

One record reads an image at positions in pixels. Its derivative by a position is the same sampling with the slopes of
the interpolation weights along that axis (`orders`), so derivatives of every order are samplings too.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from math import prod
from typing import Any

import numpy as np

from flambeau.engine.execute import Meta
from flambeau.engine.schedule.lowering import Kernels
from flambeau.later import later
from flambeau.ops.apply import type_name
from flambeau.ops.join import stack
from flambeau.ops.nn.checks import tensor_shape
from flambeau.ops.op import op, public
from flambeau.ops.rules import require_tensor
from flambeau.ops.samples import call
from flambeau.shape import Ints
from flambeau.tensors import Tensor

affine = later("flambeau.engine.kernel.affine")
kernels = later("flambeau.engine.kernel.sample")

# -- weights and taps ------------------------------------------------------------------------------------------

_CUBIC = -0.75


def _cubic_pieces() -> list[np.poly1d]:
    """The weights of the taps at -1, 0, 1 and 2 as polynomials of the fraction."""
    a, t = _CUBIC, np.poly1d([1.0, 0.0])

    def near(x: np.poly1d) -> np.poly1d:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1

    def far(x: np.poly1d) -> np.poly1d:
        return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a

    return [far(t + 1), near(t), near(1 - t), far(2 - t)]


_PIECES = {"nearest": [np.poly1d([1.0])], "bilinear": [np.poly1d([-1.0, 1.0]), np.poly1d([1.0, 0.0])],
           "bicubic": _cubic_pieces()}  # fmt: skip
_FIRST = {"nearest": 0, "bilinear": 0, "bicubic": -1}


@functools.lru_cache(32)
def _pieces(mode: str, order: int) -> list[tuple[int, list[float]]]:
    """Of each tap along an axis: how far it is from the pixel below (or the nearest one), and the coefficients of its
    weight, differentiated `order` times, as a polynomial of the fraction."""
    return [(_FIRST[mode] + nr, piece.deriv(order).coeffs.tolist()) for nr, piece in enumerate(_PIECES[mode])]


def _tap(p: np.ndarray, mode: str, order: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """(pixel, weight) of each tap along one axis, weights differentiated `order` times."""
    low = np.rint(p) if mode == "nearest" else np.floor(p)
    fraction = p - low
    return [
        (low + shift, np.polyval(coefficients, fraction).astype(p.dtype))
        for shift, coefficients in _pieces(mode, order)
    ]


def _reflected(at: np.ndarray, n: int, align_corners: bool) -> np.ndarray:
    """Pixels outside mirrored at the centre of the border pixel, or at its outer edge."""
    low, span = (0.0, n - 1.0) if align_corners else (-0.5, float(n))
    if span == 0:
        return np.zeros_like(at)
    away = np.abs(at - low)
    turns = np.floor(away / span)
    rest = away - turns * span
    return np.clip(np.where(turns % 2 == 0, rest + low, span - rest + low), 0, n - 1)


def _corners(
    positions: np.ndarray, size: Ints, mode: str, padding: str, align_corners: bool, orders: Ints
) -> Iterator[tuple[np.ndarray, np.ndarray]]:  # fmt: skip
    """Flat pixel index and weight [N, points] of every combination of taps; weights outside are 0."""
    n, dims = positions.shape[0], len(size)
    with_axis = []
    for d in range(dims):  # positions list x first, sizes end with it
        p = np.nan_to_num(
            positions[..., dims - 1 - d].reshape(n, prod(positions.shape[1:-1])),
            nan=-100.0,
            posinf=-100.0,
            neginf=-100.0,
        )
        taps = []
        for at, weight in _tap(p, mode, orders[d]):
            if mode == "bicubic" and padding == "border":
                at = np.clip(at, 0, size[d] - 1)
            elif mode == "bicubic" and padding == "reflection":
                at = _reflected(at, size[d], align_corners)
            taps.append((at, weight))
        with_axis.append(taps)
    for chosen in product(*with_axis):
        index, weight, inside = np.zeros((), np.int64), np.ones((), positions.dtype), np.ones((), bool)
        for (at, w), length in zip(chosen, size):
            inside = inside & (at >= 0) & (at < length)
            index = index * length + np.clip(at, 0, length - 1).astype(np.int64)
            weight = weight * w
        yield index, np.where(inside, weight, 0).astype(positions.dtype)


def _sample(x: np.ndarray, positions: np.ndarray, orders: Ints, **how: Any) -> np.ndarray:
    n, channels, *size = x.shape
    flat = x.reshape(n, channels, prod(size))
    total = np.zeros((n, channels, prod(positions.shape[1:-1])), x.dtype)
    for index, weight in _corners(positions, tuple(size), orders=orders, **how):
        values = np.take_along_axis(flat, index[:, None], 2)
        total += np.where(weight[:, None] == 0, 0, values) * weight[:, None]
    return total.reshape(n, channels, *positions.shape[1:-1])


def _splat(g: np.ndarray, positions: np.ndarray, size: Ints, orders: Ints, **how: Any) -> np.ndarray:
    """The transpose of `_sample`."""
    n, channels = g.shape[:2]
    out = np.zeros((n * channels, prod(size)), g.dtype)
    flat = g.reshape(n, channels, prod(positions.shape[1:-1]))
    planes = np.arange(n * channels).reshape(n, channels, 1) * prod(size)
    for index, weight in _corners(positions, size, orders=orders, **how):
        shares = np.where(weight[:, None] == 0, 0, flat) * weight[:, None]
        np.add.at(out.reshape(-1), (planes + index[:, None]).reshape(-1), shares.reshape(-1))
    return out.reshape(n, channels, *size)


def _raised(orders: Ints, d: int) -> Ints:
    return tuple(o + (i == d) for i, o in enumerate(orders))


def _slopes(g: np.ndarray, x: np.ndarray, positions: np.ndarray, orders: Ints, **how: Any) -> np.ndarray:
    """What moving each position changes: the sum over the channels of `g` times the samples' slopes."""
    parts = [(g * _sample(x, positions, _raised(orders, d), **how)).sum(1) for d in range(len(orders))]
    return np.stack(parts[::-1], -1)


def _added_up(parts: Iterable[Tensor]) -> Tensor:
    first, *others = parts
    for other in others:
        first = first + other
    return first


def _along(h: Tensor, orders: Ints) -> Iterator[tuple[Tensor, Ints]]:
    """The gradient of the slopes along each axis, for all channels, and the orders of those slopes."""
    for d in range(len(orders)):
        yield h.select(-1, len(orders) - 1 - d).unsqueeze(1), _raised(orders, d)


def _sample_meta(x: Tensor, positions: Tensor, **_: Any) -> Meta:
    return Meta((*x._shape[:2], *positions._shape[1:-1]), x.dtype)


def _samples(t: Any) -> Any:
    for mode in ("bilinear", "bicubic"):
        how = {"mode": mode, "padding": "zeros", "align_corners": False}
        yield call(t(1, 2, 4, 3), t(1, 2, 2, 2, low=0.3, high=1.7), orders=(0, 0), **how)
    how = {"mode": "bilinear", "padding": "zeros", "align_corners": False}
    yield call(t(1, 1, 3, 3, 3), t(1, 2, 1, 1, 3, low=1.1, high=1.9), orders=(0, 0, 0), **how)


sample_op = op(
    "grid_sampler", ref=_sample, meta=_sample_meta, lower=Kernels(kernels.forward(_pieces)),
    vjp=(
        lambda g, _y, _x, positions, **how: splat_op(g, positions, size=_x.shape[2:], **how),
        lambda g, _y, x, positions, **how: slopes_op(g, x, positions, **how),
    ),
    backward_name=lambda _inputs, params: f"GridSampler{len(params['orders'])}DBackward0", samples=_samples,
)  # fmt: skip
splat_op = op(
    "grid_sampler_backward", ref=_splat, lower=Kernels(kernels.backward(_pieces)),
    meta=lambda g, positions, size, **_: Meta((*g._shape[:2], *size), g.dtype),
    vjp=(
        lambda h, _y, _g, positions, size, **how: sample_op(h, positions, **how),
        lambda h, _y, g, positions, size, **how: slopes_op(g, h, positions, **how),
    ),
    samples=lambda t: [
        call(t(1, 2, 2, 2), t(1, 2, 2, 2, low=0.3, high=1.7), size=(4, 3), orders=(0, 0), mode="bicubic",
             padding="zeros", align_corners=False)
    ],
)  # fmt: skip

slopes_op = op(
    "grid_sampler_slopes", ref=_slopes, lower=Kernels(kernels.slopes(_pieces)),
    meta=lambda _g, _x, positions, **_: Meta(positions._shape, positions.dtype),
    vjp=(
        lambda h, _y, _g, x, positions, orders, **how: _added_up(
            part * sample_op(x, positions, orders=raised, **how) for part, raised in _along(h, orders)
        ),
        lambda h, _y, g, _x, positions, orders, **how: _added_up(
            splat_op(g * part, positions, size=_x.shape[2:], orders=raised, **how) for part, raised in _along(h, orders)
        ),
        lambda h, _y, g, x, positions, orders, **how: _added_up(
            slopes_op(g * part, x, positions, orders=raised, **how) for part, raised in _along(h, orders)
        ),
    ),
    samples=lambda t: [
        call(t(1, 2, 2, 2), t(1, 2, 4, 3), t(1, 2, 2, 2, low=0.3, high=1.7), orders=(0, 0), mode="bicubic",
             padding="zeros", align_corners=False)
    ],
)  # fmt: skip

# -- grid_sample -----------------------------------------------------------------------------------------------


def _in_pixels(grid: Tensor, size: Ints, mode: str, padding: str, align_corners: bool) -> Tensor:
    """Positions in [-1, 1] as pixels, moved inside where the padding mode says so."""
    columns = []
    for axis, n in enumerate(reversed(size)):
        p = grid.select(-1, axis)
        p = (p + 1) * ((n - 1) / 2) if align_corners else ((p + 1) * n - 1) * 0.5
        if mode != "bicubic" and padding == "border":
            p = p.clamp(0, n - 1)
        elif mode != "bicubic" and padding == "reflection":
            p = _mirrored(p, n, align_corners).clamp(0, n - 1)
        columns.append(p)
    return stack(columns, -1)


def _mirrored(p: Tensor, n: int, align_corners: bool) -> Tensor:
    low, span = (0.0, n - 1.0) if align_corners else (-0.5, float(n))
    if span == 0:
        return p * 0
    away = (p - low).abs()
    turns = (away.detach() / span).floor()
    rest = away - turns * span
    return (rest + low).where(turns % 2 == 0, span - rest + low)


def _check(input: Tensor, grid: Tensor, mode: str, padding_mode: str) -> None:
    if mode not in ("bilinear", "nearest", "bicubic"):
        raise ValueError(
            "nn.functional.grid_sample(): expected mode to be 'bilinear', 'nearest' or 'bicubic', but got: "
            + repr(mode)
        )
    if padding_mode not in ("zeros", "border", "reflection"):
        raise ValueError(
            "nn.functional.grid_sample(): expected padding_mode to be 'zeros', 'border', or 'reflection', but got: "
            + repr(padding_mode)
        )
    sizes = f"but got input with sizes {tensor_shape(input)} and grid with sizes {tensor_shape(grid)}"
    if input._shape[:1] != grid._shape[:1]:
        raise RuntimeError(f"grid_sampler(): expected grid and input to have same batch size, {sizes}")
    if input.ndim not in (4, 5) or input.ndim != grid.ndim:
        raise RuntimeError(f"grid_sampler(): expected 4D or 5D input and grid with same number of dimensions, {sizes}")
    if grid._shape[-1] != input.ndim - 2:
        raise RuntimeError(
            f"grid_sampler(): expected grid to have size {input.ndim - 2} in last dimension, but got grid with sizes "
            f"{tensor_shape(grid)}"
        )
    if 0 in input._shape[2:]:
        raise RuntimeError(
            f"grid_sampler(): expected input to have non-empty spatial dimensions, but input has sizes "
            f"{tensor_shape(input)} with dimension {2 + input._shape[2:].index(0)} being empty"
        )
    if input.ndim == 5 and mode == "bicubic":
        raise RuntimeError("grid_sampler(): bicubic interpolation only supports 4D input")
    if input.dtype is not grid.dtype:
        raise RuntimeError(f"expected scalar type {type_name(input.dtype)} but found {type_name(grid.dtype)}")


_CHANGED = (
    "Default grid_sample and affine_grid behavior has changed to align_corners=False since 1.3.0. Please specify "
    "align_corners=True if the old behavior is desired. See the documentation of grid_sample for details."
)


@public("F")
def grid_sample(input: Tensor, grid: Tensor, mode: str = "bilinear", padding_mode: str = "zeros",
                align_corners: bool | None = None) -> Tensor:  # fmt: skip
    """Pixels of images [N, C, H, W] at positions `grid` [N, H', W', 2], as [N, C, H', W']; volumes likewise.

    Args:
        grid: (x, y) in [-1, 1], where -1 and 1 are the image's borders.
        mode: "bilinear", "nearest" or "bicubic".
        padding_mode: what lies outside: "zeros", the "border" pixel, or a "reflection".
        align_corners: -1 and 1 are the centres of the corner pixels, not their outer edges.
    """
    require_tensor("grid_sampler", "input", 1, input)
    require_tensor("grid_sampler", "grid", 2, grid)
    _check(input, grid, mode, padding_mode)
    if align_corners is None:
        warnings.warn(_CHANGED, stacklevel=2)
    aligned = bool(align_corners)
    positions = _in_pixels(grid, input._shape[2:], mode, padding_mode, aligned)
    orders = (0,) * (input.ndim - 2)
    return sample_op(input, positions, orders=orders, mode=mode, padding=padding_mode, align_corners=aligned)


# -- affine_grid -----------------------------------------------------------------------------------------------


@functools.lru_cache(32)
def _base(size: Ints, align_corners: bool, dtype: str) -> np.ndarray:
    """Homogeneous positions [points, dims + 1] of the pixels, x first."""
    axes = []
    for n in size:
        line = np.linspace(-1, 1, n) if n > 1 else np.zeros(1)
        axes.append(line if align_corners else line * (n - 1) / n)
    grids = np.meshgrid(*axes, indexing="ij")
    return np.stack([g.reshape(-1) for g in (*reversed(grids), np.ones(size))], -1).astype(dtype)


def _affine(theta: np.ndarray, size: Ints, align_corners: bool) -> np.ndarray:
    points = _base(size, align_corners, theta.dtype.name) @ theta.swapaxes(1, 2)
    return points.reshape(theta.shape[0], *size, len(size))


def _affine_backward(g: np.ndarray, size: Ints, align_corners: bool) -> np.ndarray:
    flat = g.reshape(g.shape[0], -1, len(size))
    return flat.swapaxes(1, 2) @ _base(size, align_corners, g.dtype.name)


affine_grid_op = op(
    "affine_grid_generator", ref=_affine, lower=Kernels(affine.grid),
    meta=lambda theta, size, align_corners: Meta((theta._shape[0], *size, len(size)), theta.dtype),
    vjp=lambda g, _y, _theta, **how: (affine_grid_backward_op(g, **how),),
    samples=lambda t: [call(t(2, 2, 3), size=(3, 4), align_corners=a) for a in (True, False)],
)  # fmt: skip
affine_grid_backward_op = op(
    "affine_grid_generator_backward", ref=_affine_backward, lower=Kernels(affine.gradient),
    meta=lambda g, size, align_corners: Meta((g._shape[0], len(size), len(size) + 1), g.dtype),
    vjp=lambda h, _y, _g, **how: (affine_grid_op(h, **how),),
    samples=lambda t: [call(t(2, 3, 4, 2), size=(3, 4), align_corners=False)],
)  # fmt: skip


@public("F")
def affine_grid(theta: Tensor, size: Sequence[int], align_corners: bool | None = None) -> Tensor:
    """The positions at which `grid_sample` applies the affine maps `theta` [N, 2, 3] (or [N, 3, 4]).

    Args:
        size: of the result of `grid_sample`, [N, C, H, W] or [N, C, D, H, W].
    """
    require_tensor("affine_grid_generator", "theta", 1, theta)
    size = tuple(int(n) for n in size)
    if align_corners is None:
        warnings.warn(_CHANGED, stacklevel=2)
    if not theta.dtype.is_floating_point:
        raise ValueError(f"Expected theta to have floating point type, but got {theta.dtype}")
    if len(size) not in (4, 5):
        raise NotImplementedError(
            "affine_grid only supports 4D and 5D sizes, for 2D and 3D affine transforms, respectively. Got size "
            f"{size}."
        )
    n = len(size) - 2
    if theta.ndim != 3 or theta._shape[1:] != (n, n + 1):
        raise ValueError(
            f"Expected a batch of {n}D affine matrices of shape Nx{n}x{n + 1} for size {size}. Got {theta.shape}."
        )
    if min(size) <= 0:
        raise ValueError(f"Expected non-zero, positive output size. Got {size}")
    if theta._shape[0] != size[0]:
        raise RuntimeError(
            f"Expected size for first two dimensions of batch2 tensor to be: [{size[0]}, {n + 1}] but got: "
            f"[{theta._shape[0]}, {n + 1}]."
        )
    return affine_grid_op(theta, size=size[2:], align_corners=bool(align_corners))
