"""Fractional max pooling (Graham, 2014): windows at random, increasing places that fit the wanted output size."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import prod
from typing import Any

import numpy as np

from flambeau import dtypes
from flambeau.engine.execute import Meta
from flambeau.engine.schedule.lowering import Kernels
from flambeau.later import later
from flambeau.ops.nn.pool import scatter_op
from flambeau.ops.op import names, op, public
from flambeau.ops.rules import require_tensor
from flambeau.ops.samples import call
from flambeau.shape import Ints
from flambeau.tensors import Tensor

kernels = later("flambeau.engine.kernel.pool.fractional")


def _starts(u: np.ndarray, n: int, out: int, size: int) -> np.ndarray:
    """Where the windows of one dimension start, [..., out], from one uniform number a plane."""
    if out == 1:
        return np.full((*u.shape, 1), n - size)
    step = (n - size) / (out - 1)
    at = np.arange(out - 1, dtype=u.dtype)
    kind = u.dtype.type(step)
    inner = ((at + u[..., None]) * kind).astype(np.int64) - (u * kind).astype(np.int64)[..., None]
    return np.concatenate([inner, np.full((*u.shape, 1), n - size)], -1)


def _pool(x: np.ndarray, samples: np.ndarray, kernel: Ints, size: Ints) -> tuple[np.ndarray, np.ndarray]:
    n = len(kernel)
    space, planes = x.shape[-n:], x.shape[:-n]
    flat = x.reshape(*planes, prod(space))
    u = samples.reshape(*planes, n)
    starts = []
    for d in range(n):  # in two dimensions the first number places the columns
        first = _starts(u[..., d if n == 3 else n - 1 - d], space[d], size[d], kernel[d])
        starts.append(first.reshape(*planes, *(size[d] if k == d else 1 for k in range(n))))
    best, index = None, None
    for tap in product(*map(range, kernel)):
        at = np.zeros((), np.int64)
        for start, offset, length in zip(starts, tap, space):
            at = at * length + (start + offset)
        at = np.broadcast_to(at, (*planes, *size))
        values = np.take_along_axis(flat, at.reshape(*planes, prod(size)), -1).reshape(at.shape)
        if best is None:
            best, index = values, at.copy()
            continue
        larger = (values > best) | (values != values)
        best, index = np.where(larger, values, best), np.where(larger, at, index)
    return best, index


def _meta(x: Tensor, samples: Tensor, kernel: Ints, size: Ints) -> tuple[Meta, Meta]:
    shape = (*x._shape[: x.ndim - len(size)], *size)
    return Meta(shape, x.dtype), Meta(shape, dtypes.int64)


fractional_max_pool_op = op(
    "fractional_max_pool", ref=_pool, meta=_meta, multiple=True, kept_outputs=(1,), lower=Kernels(kernels.maximum),
    vjp=lambda g, y, _x, _samples, kernel, size: (
        scatter_op(g[0], y[1], size=_x.shape[-len(size) :], overlap=True), None,
    ),
    backward_name=lambda _inputs, params: f"FractionalMaxPool{len(params['size'])}DBackward0",
    samples=lambda t: [call(t(1, 2, 6, 7), t(1, 2, 2, low=0.0, high=1.0), kernel=(2, 3), size=(3, 3))],
)  # fmt: skip


def _as_sizes(value: Any, n: int) -> tuple:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,) * n


def _publish(n: int) -> Callable:
    name = f"fractional_max_pool{n}d"

    def with_indices(input: Tensor, kernel_size: Any, output_size: Any = None, output_ratio: Any = None,
                     return_indices: bool = False,
                     _random_samples: Tensor | None = None) -> tuple[Tensor, Tensor]:  # fmt: skip
        require_tensor(name, "input", 1, input)
        if output_size is None and output_ratio is None:
            raise ValueError(f"{name} requires specifying either an output_size or an output_ratio")
        space = input._shape[-n:]
        if output_size is None:
            output_size = tuple(int(size * ratio) for size, ratio in zip(space, _as_sizes(output_ratio, n)))
        size, kernel = _as_sizes(output_size, n), _as_sizes(kernel_size, n)
        for axis, length, out, k in zip(("time", "height", "width")[3 - n :], space, size, kernel):
            if out + k - 1 > length:
                raise RuntimeError(f"{name}(): pool {axis} {k} too large relative to input {axis} {length}")
        if _random_samples is None:
            batch = 1 if input.ndim == n + 1 else input._shape[0]
            _random_samples = names["torch"]["rand"](batch, input._shape[-n - 1], n, dtype=input.dtype)
        return fractional_max_pool_op(input, _random_samples, kernel=kernel, size=size)

    def pool(input: Tensor, kernel_size: Any, output_size: Any = None, output_ratio: Any = None,
             return_indices: bool = False, _random_samples: Tensor | None = None) -> Any:  # fmt: skip
        both = with_indices(input, kernel_size, output_size, output_ratio, return_indices, _random_samples)
        return both if return_indices else both[0]

    with_indices.__name__, pool.__name__ = name + "_with_indices", name
    pool.__doc__ = f"""The maxima of windows at random places in {n} dimensions (Graham, 2014).

    Give `output_size`, or `output_ratio` between 0 and 1. `_random_samples` [N, C, {n}] fixes the places.
    """
    with_indices.__doc__ = f"`{name}` with the flat indices of the maxima."
    public("F")(with_indices)
    return public("F")(pool)


fractional_max_pool2d, fractional_max_pool3d = _publish(2), _publish(3)
