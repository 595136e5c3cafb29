"""Pooling: maxima, averages and p-norms over windows, fixed or adaptive, and unpooling."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from flambeau import dtypes
from flambeau.engine.execute import Meta
from flambeau.engine.schedule.lowering import Kernels
from flambeau.later import later
from flambeau.ops.apply import type_name
from flambeau.ops.nn import pool_kernels as kernels
from flambeau.ops.nn.checks import as_ints, image_layout, tensor_shape
from flambeau.ops.nn.pool_kernels import Pool
from flambeau.ops.op import op, public
from flambeau.ops.rules import require_tensor
from flambeau.ops.samples import call
from flambeau.shape import Ints
from flambeau.tensors import Tensor

adaptive = later("flambeau.engine.kernel.pool.adaptive")
spread = later("flambeau.engine.kernel.pool.spread")
windows = later("flambeau.engine.kernel.pool.windows")

_POSITIONS = {"kernel_size": 2, "stride": 3, "padding": 4, "dilation": 5}
_WORDS = {1: "one int", 2: "two ints", 3: "three ints"}

# -- shape rules -----------------------------------------------------------------------------------------------


def _pooled_shape(x: Tensor, pool: Pool, name: str) -> Ints:
    n = len(pool.kernel)
    size, out = x._shape[-n:], pool.out_size(x._shape[-n:])
    if min(out, default=1) < 1:
        if name == "max" and n == 1:
            raise RuntimeError(f"max_pool1d() Invalid computed output size: {out[0]}")
        if name == "avg" and n == 3:
            image, kernel = (
                " ".join(f"{prefix}{axis}: {value}" for axis, value in zip("THW", values))
                for prefix, values in (("", size), ("k", pool.kernel))
            )
            raise RuntimeError(f"input image ({image}) smaller than kernel size ({kernel})")
        ones = (1,) if n == 1 else ()
        before, after = ("x".join(map(str, (x._shape[-n - 1], *ones, *sizes))) for sizes in (size, out))
        raise RuntimeError(f"Given input size: ({before}). Calculated output size: ({after}). Output size is too small")
    return (*x._shape[:-n], *out)


def _max_meta(x: Tensor, pool: Pool) -> tuple[Meta, Meta]:
    shape = _pooled_shape(x, pool, "max")
    strides = image_layout(shape, x)
    return Meta(shape, x.dtype, strides), Meta(shape, dtypes.int64, strides)


def _average_meta(x: Tensor, pool: Pool, **_: Any) -> Meta:
    shape = _pooled_shape(x, pool, "avg")
    return Meta(shape, x.dtype, image_layout(shape, x))


# -- records ---------------------------------------------------------------------------------------------------


def _dimensional(stem: str) -> Callable:
    """PyTorch's node name for pools in 1, 2 and 3 dimensions (the first are squeezed pools in 2)."""

    def name(_inputs: Any, params: dict[str, Any]) -> str:
        n = len(params["pool"].kernel if "pool" in params else params["size"])
        return "SqueezeBackward1" if n == 1 else f"{stem.format(n=n)}Backward0"

    return name


scatter_op = op(
    "pool_scatter", ref=lambda g, index, size, overlap: kernels.scatter(g, index, size, overlap),
    meta=lambda g, index, size, overlap: Meta((*g._shape[: g.ndim - len(size)], *size), g.dtype),
    vjp=(lambda h, _y, _g, index, size, overlap: gather_op(h, index, dims=len(size), overlap=overlap), None),
    lower=Kernels(spread.scatter),
)  # fmt: skip
gather_op = op(
    "pool_gather", ref=lambda x, index, dims, overlap: kernels.gather(x, index, dims),
    meta=lambda x, index, dims, overlap: Meta(index._shape, x.dtype),
    vjp=(
        lambda g, _y, _x, index, dims, overlap: scatter_op(g, index, size=_x.shape[-dims:], overlap=overlap),
        None,
    ),
    lower=Kernels(spread.gather),
)  # fmt: skip


def _max_ref(x: np.ndarray, pool: Pool) -> tuple[np.ndarray, np.ndarray]:
    return kernels.max_pool(x, pool, pool.out_size(x.shape[-len(pool.kernel) :]))


max_pool_op = op(
    "max_pool", ref=_max_ref, meta=_max_meta, multiple=True, kept_outputs=(1,),
    vjp=lambda g, y, _x, pool: (scatter_op(g[0], y[1], size=_x.shape[-len(pool.kernel) :], overlap=pool.overlap()),),
    backward_name=_dimensional("MaxPool{n}DWithIndices"), lower=Kernels(windows.maximum),
    samples=lambda t: [
        call(t(2, 3, 6), pool=Pool((2,), (2,), (0,), (1,))),
        call(t(2, 5, 6), pool=Pool((3, 2), (2, 1), (1, 1), (1, 2), True)),
        call(t(1, 2, 4, 4, 4), pool=Pool((2,) * 3, (2,) * 3, (0,) * 3, (1,) * 3)),
    ],
)  # fmt: skip


def _average_ref(x: np.ndarray, pool: Pool, count_include_pad: bool, override: int | None) -> np.ndarray:
    size = x.shape[-len(pool.kernel) :]
    out = pool.out_size(size)
    total = kernels.sum_pool(x, pool, out)
    counts = kernels.divisors(size, pool, out, count_include_pad, override, x.dtype)
    return total / counts if x.dtype.kind in "fc" else np.trunc(total / counts)


def _average_backward(
    g: np.ndarray, pool: Pool, count_include_pad: bool, override: int | None, size: Ints
) -> np.ndarray:
    counts = kernels.divisors(size, pool, pool.out_size(size), count_include_pad, override, g.dtype)
    return kernels.spread(g / counts, pool, size)


avg_pool_op = op(
    "avg_pool", ref=_average_ref, meta=_average_meta, backward_name=_dimensional("AvgPool{n}D"),
    lower=Kernels(windows.average),
    vjp=lambda g, _y, _x, pool, **how: (avg_pool_backward_op(g, pool=pool, size=_x.shape[-len(pool.kernel) :], **how),),
    samples=lambda t: [
        call(t(2, 3, 6), pool=Pool((2,), (2,), (0,), (1,)), count_include_pad=True, override=None),
        call(t(2, 5, 6), pool=Pool((3, 2), (2, 1), (1, 1), (1, 1), True), count_include_pad=False, override=None),
        call(t(2, 4, 4), pool=Pool((2, 2), (2, 2), (0, 0), (1, 1)), count_include_pad=True, override=3),
    ],
)  # fmt: skip
avg_pool_backward_op = op(
    "avg_pool_backward", ref=_average_backward,
    meta=lambda g, pool, size, **_: Meta((*g._shape[: g.ndim - len(size)], *size), g.dtype),
    vjp=lambda h, _y, _g, size, **how: (avg_pool_op(h, **how),), lower=Kernels(spread.average),
)  # fmt: skip


def _adaptive_meta(x: Tensor, size: Ints) -> Meta:
    shape = (*x._shape[: x.ndim - len(size)], *size)
    return Meta(shape, x.dtype, image_layout(shape, x))


adaptive_avg_pool_op = op(
    "adaptive_avg_pool", ref=lambda x, size: kernels.adaptive_average(x, size), meta=_adaptive_meta,
    vjp=lambda g, _y, _x, size: (adaptive_avg_pool_backward_op(g, size=_x.shape[-len(size) :]),),
    backward_name=_dimensional("AdaptiveAvgPool{n}D"), lower=Kernels(adaptive.average),
    samples=lambda t: [call(t(2, 3, 7), size=(3,)), call(t(2, 5, 6), size=(2, 3)), call(t(2, 3, 3), size=(1, 5))],
)  # fmt: skip
adaptive_avg_pool_backward_op = op(
    "adaptive_avg_pool_backward", ref=lambda g, size: kernels.adaptive_spread(g, size), meta=_adaptive_meta,
    vjp=lambda h, _y, _g, size: (adaptive_avg_pool_op(h, size=_g.shape[-len(size) :]),),
    lower=Kernels(adaptive.average_gradient),
)  # fmt: skip


def _adaptive_max_meta(x: Tensor, size: Ints) -> tuple[Meta, Meta]:
    meta = _adaptive_meta(x, size)
    return meta, Meta(meta.shape, dtypes.int64, meta.strides)


adaptive_max_pool_op = op(
    "adaptive_max_pool", ref=lambda x, size: kernels.adaptive_max(x, size), meta=_adaptive_max_meta, multiple=True,
    vjp=lambda g, y, _x, size: (scatter_op(g[0], y[1], size=_x.shape[-len(size) :], overlap=True),), kept_outputs=(1,),
    backward_name=_dimensional("AdaptiveMaxPool{n}D"), lower=Kernels(adaptive.maximum),
    samples=lambda t: [call(t(2, 3, 7), size=(3,)), call(t(2, 5, 6), size=(2, 3))],
)  # fmt: skip

# -- arguments -------------------------------------------------------------------------------------------------


def _sizes(function: str, name: str, value: Any, n: int) -> Ints:
    values = as_ints(function, name, _POSITIONS[name], value)
    if len(values) not in (1, n):
        raise RuntimeError(f"{function}: {name} must either be a single int, or a tuple of {_WORDS[n]}")
    return values * n if len(values) == 1 else values


def _pool(
    function: str, x: Any, n: int, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> Pool:
    require_tensor(function, "input", 1, x)
    try:
        return _windows(function, n, kernel_size, stride, padding, dilation, ceil_mode)
    except TypeError:  # a list cannot be looked up
        return _windows.__wrapped__(function, n, kernel_size, stride, padding, dilation, ceil_mode)


@lru_cache(1024, typed=True)
def _windows(
    function: str, n: int, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> Pool:
    kernel = _sizes(function, "kernel_size", kernel_size, n)
    given = stride is not None and not (isinstance(stride, (tuple, list)) and not stride)
    steps = _sizes(function, "stride", stride, n) if given else kernel
    pool = Pool(
        kernel, steps, _sizes(function, "padding", padding, n), _sizes(function, "dilation", dilation, n), ceil_mode
    )
    (_check_max_pool1d if function == "max_pool1d" else _check_windows)(pool, function.startswith("max"))
    return pool


def _check_max_pool1d(pool: Pool, _is_max: bool) -> None:
    (kernel,), (stride,), (padding,), (dilation,) = pool.kernel, pool.stride, pool.padding, pool.dilation
    for name, value in (("kernel_size", kernel), ("stride", stride)):
        if value <= 0:
            raise RuntimeError(f"max_pool1d() {name} must be greater than zero, but got {value}")
    if padding < 0:
        raise RuntimeError(f"max_pool1d() padding must be non-negative, but got {padding}")
    if padding > kernel // 2:
        raise RuntimeError(
            "max_pool1d() padding should be at most half of kernel size, but got "
            f"padding={padding} and kernel_size={kernel}"
        )
    if dilation <= 0:
        raise RuntimeError(f"max_pool1d() dilation must be greater than zero, but got {dilation}")


def _named(prefix: str, values: Ints) -> str:
    """Sizes as PyTorch lists them, a single one as the second of two."""
    values = (1, *values) if len(values) == 1 else values
    return " ".join(f"{prefix}{axis}: {value}" for axis, value in zip("THW"[3 - len(values) :], values))


def _check_windows(pool: Pool, is_max: bool) -> None:
    if 0 in pool.stride:
        raise RuntimeError("stride should not be zero")
    for k, p, d in zip(pool.kernel, pool.padding, pool.dilation):
        if p < 0:
            raise RuntimeError(f"pad must be non-negative, but got pad: {p}")
        if p > ((k - 1) * d + 1) // 2:
            raise RuntimeError(
                f"pad should be at most half of effective kernel size, but got pad={p}, kernel_size={k} and "
                f"dilation={d}"
            )
    for what, prefix, values in (("kernel size", "k", pool.kernel), ("stride", "d", pool.stride)):
        if min(values) <= 0:
            raise RuntimeError(f"{what} should be greater than zero, but got {_named(prefix, values)}")
    if min(pool.dilation) <= 0:
        raise RuntimeError(f"dilation should be greater than zero, but got {_named('dilation', pool.dilation)}")
    if is_max and any(p > k // 2 for k, p in zip(pool.kernel, pool.padding)):
        raise RuntimeError(
            "pad should be smaller than or equal to half of kernel size, but got "
            + _unbalanced(pool.kernel, pool.padding)
        )


def _unbalanced(kernel: Ints, padding: Ints) -> str:
    if len(kernel) == 2:
        return f"padW = {padding[1]}, padH = {padding[0]}, kW = {kernel[1]}, kH = {kernel[0]}"
    (kt, kh, kw), (pt, ph, pw) = kernel, padding
    return f"kT: {kt} kW: {kw} kH: {kh} padT: {pt} padW: {pw} padH: {ph}"


def _check_input(function: str, x: Tensor, n: int, one: str) -> None:
    ndim = len(x._shape)
    if n == 1:
        if ndim not in (2, 3):
            raise RuntimeError(one.format(shape=tensor_shape(x), ndim=ndim))
    elif ndim != n + 2 and ndim != n + 1:
        raise RuntimeError(f"non-empty {n + 1}D or {n + 2}D (batch mode) tensor expected for input")
    elif 0 in (x._shape[1:] if ndim == n + 2 else x._shape):
        raise RuntimeError(
            f"Expected {n + 1}D or {n + 2}D (batch mode) tensor with optional 0 dim batch size for input, but "
            f"got:{tensor_shape(x)}"
        )


# -- functions -------------------------------------------------------------------------------------------------

_MAX_1D = "max_pool1d: Expected 2D or 3D (batch mode) tensor with optional 0 dim batch size for input, but got:{shape}"
_AVG_1D = (
    "Expected 2 to 3 dimensions, but got {ndim}-dimensional tensor for argument #1 'self' (while checking arguments "
    "for avg_pool1d)"
)


def _max(n: int) -> Callable:
    name = f"max_pool{n}d"

    def with_indices(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
                     ceil_mode: bool = False, return_indices: bool = False) -> Any:  # fmt: skip
        pool = _pool(name, input, n, kernel_size, stride, padding, dilation, ceil_mode)
        _check_input(name, input, n, _MAX_1D)
        return max_pool_op(input, pool=pool)

    def pool(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
             ceil_mode: bool = False, return_indices: bool = False) -> Any:  # fmt: skip
        both = with_indices(input, kernel_size, stride, padding, dilation, ceil_mode)
        return both if return_indices else both[0]

    pool.__doc__ = (
        f"The largest element of every window of {n} spatial dimension{'s' * (n > 1)}.\n\n    `stride` is "
        "`kernel_size` unless given; `return_indices` adds where the elements lay, for unpooling."
    )
    with_indices.__doc__ = f"`{name}` with the flat indices of the maxima."
    pool.__name__, with_indices.__name__ = name, name + "_with_indices"
    public("F", one_op=True)(with_indices)
    public("F", one_op=True)(pool)
    public("torch", name=name)(lambda input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False: (
        pool(input, kernel_size, stride, padding, dilation, ceil_mode)
    ))  # fmt: skip
    return pool


max_pool1d, max_pool2d, max_pool3d = _max(1), _max(2), _max(3)
public("torch", name="max_pool1d_with_indices")(
    lambda input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False: max_pool1d(
        input, kernel_size, stride, padding, dilation, ceil_mode, True
    )
)


def _average(n: int, x: Tensor, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool, include: bool,
             override: int | None) -> Tensor:  # fmt: skip
    pool = _pool(f"avg_pool{n}d", x, n, kernel_size, stride, padding, 1, ceil_mode)
    _check_input(f"avg_pool{n}d", x, n, _AVG_1D)
    if override == 0:
        raise RuntimeError("divisor must be not zero")
    return avg_pool_op(x, pool=pool, count_include_pad=include, override=override)


@public("torch F")
def avg_pool1d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
               count_include_pad: bool = True) -> Tensor:  # fmt: skip
    """The mean of every window of one spatial dimension."""
    return _average(1, input, kernel_size, stride, padding, ceil_mode, count_include_pad, None)


@public("F", one_op=True)
def avg_pool2d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
               count_include_pad: bool = True, divisor_override: int | None = None) -> Tensor:  # fmt: skip
    """The mean of every window of two spatial dimensions.

    `count_include_pad` counts padding as zeros; `divisor_override` divides the sums by a number of your own.
    """
    return _average(2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


@public("F", one_op=True)
def avg_pool3d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
               count_include_pad: bool = True, divisor_override: int | None = None) -> Tensor:  # fmt: skip
    """The mean of every window of three spatial dimensions."""
    return _average(3, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def _adaptive_size(function: str, x: Any, output_size: Any, n: int) -> Ints:
    require_tensor(function, "input", 1, x)
    given = output_size if isinstance(output_size, (tuple, list)) else [output_size]
    as_ints(function, "output_size", 2, [size for size in given if size is not None])
    if isinstance(output_size, (tuple, list)):
        if n == 1 and len(output_size) != 1:
            raise RuntimeError(f"{function}() argument 'output_size' should contain one int (got {len(output_size)})")
        if len(output_size) not in (1, n):
            raise RuntimeError(f"{function}: output_size must be {n}")
        wanted = list(output_size) * (n if len(output_size) == 1 else 1)
    else:
        wanted = [output_size] * n
    if x.ndim not in (n + 1, n + 2):
        if n == 1:
            raise RuntimeError(
                f"Expected 2 to 3 dimensions, but got {x.ndim}-dimensional tensor for argument #1 'self' (while "
                f"checking arguments for {function})"
            )
        colon = ":" if "max" in function else ""
        raise RuntimeError(f"{function}(): Expected {n + 1}D or {n + 2}D tensor, but got{colon} {tensor_shape(x)}")
    size = tuple([have if w is None else int(w) for w, have in zip(wanted, x._shape[-n:])])
    if any(s < 0 for s in size):
        raise RuntimeError(
            f"{function}: elements of output_size must be greater than or equal to 0 but received "
            f"{{{', '.join(map(str, size))}}}"
        )
    return size


def _adaptive_average(n: int) -> Callable:
    name = f"adaptive_avg_pool{n}d"

    def pool(input: Tensor, output_size: Any) -> Tensor:
        size = _adaptive_size(name, input, output_size, n)
        if input.dtype.category < dtypes.FLOAT:
            raise NotImplementedError(
                f"\"adaptive_avg_pool{max(n, 2)}d\" not implemented for '{type_name(input.dtype)}'"
            )
        if n > 1 and prod(size) == 1:
            return input.mean(tuple(range(-n, 0)), keepdim=True)
        return adaptive_avg_pool_op(input, size=size)

    pool.__name__ = name
    pool.__doc__ = f"Means over windows that divide {n} spatial dimension{'s' * (n > 1)} into `output_size` parts."
    public("torch F" if n == 1 else "F", one_op=True)(pool)
    return pool


def _adaptive_max(n: int) -> Callable:
    name = f"adaptive_max_pool{n}d"

    def with_indices(input: Tensor, output_size: Any, return_indices: bool = False) -> tuple[Tensor, Tensor]:
        return adaptive_max_pool_op(input, size=_adaptive_size(name, input, output_size, n))

    def pool(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
        both = with_indices(input, output_size)
        return both if return_indices else both[0]

    pool.__name__, with_indices.__name__ = name, name + "_with_indices"
    pool.__doc__ = f"Maxima over windows that divide {n} spatial dimension{'s' * (n > 1)} into `output_size` parts."
    with_indices.__doc__ = f"`{name}` with the flat indices of the maxima."
    public("F")(pool)
    public("F")(with_indices)
    if n == 1:
        public("torch", name=name)(with_indices)
    return pool


adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d = (
    _adaptive_average(1),
    _adaptive_average(2),
    _adaptive_average(3),
)
adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d = _adaptive_max(1), _adaptive_max(2), _adaptive_max(3)


def _lp(n: int) -> Callable:
    def pool(input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Tensor:
        count = prod(_sizes(f"lp_pool{n}d", "kernel_size", kernel_size, n))
        average = (avg_pool1d, avg_pool2d, avg_pool3d)[n - 1]
        powers = average(input.pow(norm_type), kernel_size, stride, 0, ceil_mode)
        return (powers.sign() * powers.abs().relu()).mul(count).pow(1.0 / norm_type)

    pool.__name__ = f"lp_pool{n}d"
    pool.__doc__ = f"The p-norm (p = `norm_type`) of every window of {n} spatial dimension{'s' * (n > 1)}."
    public("F")(pool)
    return pool


lp_pool1d, lp_pool2d, lp_pool3d = _lp(1), _lp(2), _lp(3)

# -- unpooling -------------------------------------------------------------------------------------------------


def _unpooled_size(n: int, x: Tensor, kernel: Ints, stride: Ints, padding: Ints, output_size: Any) -> Ints:
    default = [(size - 1) * s + k - 2 * p for size, s, k, p in zip(x._shape[-n:], stride, kernel, padding)]
    if output_size is None:
        return tuple(default)
    wanted = list(output_size)
    if len(wanted) == n + 2:
        wanted = wanted[2:]
    if len(wanted) != n:
        raise ValueError(
            f"output_size should be a sequence containing {n} or {n + 2} elements, but it has a length of "
            f"'{len(wanted)}'"
        )
    for d, (size, middle, s) in enumerate(zip(wanted, default, stride)):
        if not middle - s < size < middle + s:
            raise ValueError(
                f'invalid output_size "{tuple(wanted)}" (dim {d} must be between {middle - s} and {middle + s})'
            )
    return tuple(wanted)


def _unpool(n: int) -> Callable:
    name = f"max_unpool{n}d"

    def unpool(input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0,
               output_size: Any = None) -> Tensor:  # fmt: skip
        kernel = _sizes(name, "kernel_size", kernel_size, n)
        steps = kernel if stride is None else _sizes(name, "stride", stride, n)
        size = _unpooled_size(n, input, kernel, steps, _sizes(name, "padding", padding, n), output_size)
        if indices.dtype is not dtypes.int64:
            raise RuntimeError(f"elements in indices should be type int64 but got: {type_name(indices.dtype)}")
        if indices._shape != input._shape:
            raise RuntimeError(
                f"Expected shape of indices to be same as that of the input tensor ({tensor_shape(input)}) but got "
                f"indices tensor with shape: {tensor_shape(indices)}"
            )
        found = indices._array()
        if found.size and not 0 <= int(found.max()) < prod(size) or found.size and int(found.min()) < 0:
            worst = int(found.max()) if int(found.max()) >= prod(size) else int(found.min())
            raise RuntimeError(
                f"Found an invalid max index: {worst} (output volumes are of size {'x'.join(map(str, size))})"
            )
        return scatter_op(input, indices, size=size, overlap=False)

    unpool.__name__ = name
    unpool.__doc__ = f"The partial inverse of `max_pool{n}d`: values put back at `indices`, zeros elsewhere."
    public("F")(unpool)
    return unpool


max_unpool1d, max_unpool2d, max_unpool3d = _unpool(1), _unpool(2), _unpool(3)
