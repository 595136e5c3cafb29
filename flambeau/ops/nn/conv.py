"""Convolutions and transposed convolutions in 1, 2 and 3 dimensions.

Convolution is linear in its input and in its weights; its two gradients are ops of their own, and each of the three
is a derivative of the others, so that derivatives of every order are products of the same kind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from flambeau.engine.execute import Meta
from flambeau.engine.schedule.lowering import Kernels
from flambeau.later import later
from flambeau.ops.apply import c_name, type_name
from flambeau.ops.elementwise import conj
from flambeau.ops.nn import conv_kernels as kernels
from flambeau.ops.nn.checks import as_int, expanded, image_layout, tensor_shape
from flambeau.ops.nn.conv_kernels import Window
from flambeau.ops.op import op, public
from flambeau.ops.rules import require_tensor
from flambeau.ops.samples import call
from flambeau.shape import Ints
from flambeau.tensors import Tensor

lowerings = later("flambeau.engine.kernel.conv.lower")

# -- shape rules -----------------------------------------------------------------------------------------------


def _check_types(x: Tensor, w: Tensor, b: Tensor | None, transposed: bool = False) -> None:
    if b is not None and b.dtype is not x.dtype and not transposed:
        raise RuntimeError(f"Input type ({c_name(x.dtype)}) and bias type ({c_name(b.dtype)}) should be the same")
    for other in (w, b):
        if other is not None and other.dtype is not x.dtype:
            raise RuntimeError(f"expected scalar type {type_name(x.dtype)} but found {type_name(other.dtype)}")


def _check_window(window: Window) -> None:
    if window.groups <= 0:
        raise RuntimeError("non-positive groups is not supported")
    if any(p < 0 for pair in window.padding for p in pair):
        raise RuntimeError("negative padding is not supported")
    if any(s <= 0 for s in window.stride):
        raise RuntimeError("non-positive stride is not supported")
    if any(d <= 0 for d in window.dilation):
        raise RuntimeError("non-positive dilation is not supported")


def _meta(x: Tensor, w: Tensor, b: Tensor | None, window: Window) -> Meta:
    _check_types(x, w, b)
    _check_window(window)
    groups, shape = window.groups, w._shape
    if shape[0] < groups:
        raise RuntimeError(
            f"Given groups={groups}, expected weight to be at least {groups} at dimension 0, but got weight of size "
            f"{tensor_shape(w)} instead"
        )
    if shape[0] % groups:
        raise RuntimeError(
            f"Given groups={groups}, expected weight to be divisible by {groups} at dimension 0, but got weight of "
            f"size [{tensor_shape(w)}] instead"
        )
    if x._shape[1] != shape[1] * groups:
        raise RuntimeError(
            f"Given groups={groups}, weight of size {tensor_shape(w)}, expected input{tensor_shape(x)} to have "
            f"{shape[1] * groups} channels, but got {x._shape[1]} channels instead"
        )
    if b is not None and b._shape != shape[:1]:
        raise RuntimeError(
            f"Given weight of size {tensor_shape(w)}, expected bias to be 1-dimensional with {shape[0]} elements, "
            f"but got bias of size {tensor_shape(b)} instead"
        )
    _check_fits(x._shape[2:], shape[2:], window)
    out = (x._shape[0], shape[0], *window.out_size(x._shape[2:], shape[2:]))
    return Meta(out, x.dtype, image_layout(out, x, w))


def _check_fits(size: Ints, kernel: Ints, window: Window) -> None:
    padded = [n + lo + hi for n, (lo, hi) in zip(size, window.padding)]
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, window.dilation)]
    if any(n < r for n, r in zip(padded, reach)):
        raise RuntimeError(
            f"Calculated padded input size per channel: ({' x '.join(map(str, padded))}). Kernel size: "
            f"({' x '.join(map(str, reach))}). Kernel size can't be greater than actual input size"
        )


def _transposed_meta(x: Tensor, w: Tensor, b: Tensor | None, window: Window, output_padding: Ints) -> Meta:
    _check_types(x, w, b, transposed=True)
    _check_window(window)
    if x._shape[1] != w._shape[0]:
        raise RuntimeError(
            f"Given transposed=1, weight of size {tensor_shape(w)}, expected input{tensor_shape(x)} to have "
            f"{w._shape[0]} channels, but got {x._shape[1]} channels instead"
        )
    channels = w._shape[1] * window.groups
    if b is not None and b._shape != (channels,):
        raise RuntimeError(
            f"Given transposed=1, weight of size {tensor_shape(w)}, expected bias to be 1-dimensional with {channels} "
            f"elements, but got bias of size {tensor_shape(b)} instead"
        )
    shape = (x._shape[0], channels, *_transposed_size(x._shape[2:], w._shape[2:], window, output_padding))
    return Meta(shape, x.dtype, image_layout(shape, x, w))


def _transposed_size(size: Ints, kernel: Ints, window: Window, output_padding: Ints) -> Ints:
    return tuple([
        (n - 1) * s - lo - hi + d * (k - 1) + extra + 1
        for n, k, s, (lo, hi), d, extra in zip(
            size, kernel, window.stride, window.padding, window.dilation, output_padding
        )
    ])  # fmt: skip


# -- records ---------------------------------------------------------------------------------------------------


def _bias_gradient(g: Tensor) -> Tensor:
    return g.sum((0, *range(2, g.ndim)))


def _samples(t: Any) -> Any:
    yield call(t(2, 3, 7), t(4, 3, 3), t(4), window=Window((2,), ((1, 1),), (1,), 1))
    yield call(t(2, 3, 6, 5), t(4, 3, 3, 2), None, window=Window((1, 2), ((1, 0), (0, 1)), (1, 2), 1))
    yield call(t(1, 4, 4, 4), t(6, 2, 2, 2), t(6), window=Window((1, 1), ((0, 0), (0, 0)), (1, 1), 2))
    yield call(t(2, 3, 4, 4), t(6, 1, 3, 3), t(6), window=Window((1, 1), ((1, 1), (1, 1)), (1, 1), 3))
    yield call(t(1, 2, 3, 3, 3), t(2, 2, 2, 2, 2), t(2), window=Window((1,) * 3, ((0, 0),) * 3, (1,) * 3, 1))
    yield call(t(2, 3, 4), t(4, 3, 1), t(4), window=Window((1,), ((0, 0),), (1,), 1))


convolution_op = op(
    "convolution",
    ref=kernels.forward,
    meta=_meta,
    vjp=(
        lambda g, _y, _x, w, _b, window: input_gradient_op(g, conj(w), shape=_x.shape, window=window),
        lambda g, _y, x, _w, _b, window: weight_gradient_op(g, conj(x), shape=_w.shape, window=window),
        lambda g, _y, _x, _w, _b, window: _bias_gradient(g),
    ),
    samples=_samples,
    narrows=True,
    lower=Kernels(lowerings.convolution, epilogue=True, reads_planes=True, writes_planes=True),
)


def _transposed(x: np.ndarray, w: np.ndarray, b: np.ndarray | None, window: Window, output_padding: Ints) -> np.ndarray:
    size = _transposed_size(x.shape[2:], w.shape[2:], window, output_padding)
    shape = (x.shape[0], w.shape[1] * window.groups, *size)
    y = kernels.input_gradient(_enlarged(x, shape, w.shape, window), w, shape, window)
    if b is not None:
        y += b.reshape(-1, *(1,) * len(size))
    return y


conv_transpose_op = op(
    "conv_transpose",
    ref=_transposed,
    meta=_transposed_meta,
    vjp=(
        lambda g, _y, _x, w, _b, window, output_padding: _conv_of(g, conj(w), _x.shape, window),
        lambda g, _y, x, _w, _b, window, output_padding: weight_gradient_op(
            conj(x), g, shape=_w.shape, window=window
        ),
        lambda g, _y, _x, _w, _b, window, output_padding: _bias_gradient(g),
    ),
    backward_name="ConvolutionBackward0",
    narrows=True,
    lower=Kernels(lowerings.transposed, reads_planes=True, writes_planes=True),
    samples=lambda t: [
        call(t(2, 3, 4), t(3, 2, 3), t(2), window=Window((2,), ((1, 1),), (1,), 1), output_padding=(1,)),
        call(t(1, 4, 3, 3), t(4, 2, 2, 3), None, window=Window((1, 2), ((0, 0), (1, 1)), (2, 1), 2),
             output_padding=(0, 0)),
    ],
)  # fmt: skip


def _conv_of(x: Tensor, w: Tensor, shape: Ints, window: Window) -> Tensor:
    """The convolution of `x`, cut to the size `shape` that a transposed one started from."""
    y = convolution_op(x, w, None, window=window)
    for d in range(2, y.ndim):  # output_padding can leave room for one more position
        if y._shape[d] != shape[d]:
            y = y.narrow(d, 0, shape[d])
    return y


weight_gradient_op = op(
    "conv_weight_gradient",
    ref=lambda g, x, shape, window: kernels.weight_gradient(_enlarged(g, x.shape, shape, window), x, shape, window),
    meta=lambda g, x, shape, window: Meta(tuple(shape), g.dtype),
    vjp=(
        lambda h, _y, _g, x, shape, window: _conv_of(conj(x), h, _g.shape, window),
        lambda h, _y, g, _x, shape, window: input_gradient_op(conj(g), h, shape=_x.shape, window=window),
    ),
    samples=lambda t: [call(t(2, 4, 3), t(2, 3, 7), shape=(4, 3, 3), window=Window((2,), ((0, 0),), (1,), 1))],
    lower=Kernels(lowerings.weight_gradient, reads_planes=True),
)
input_gradient_op = op(
    "conv_input_gradient",
    ref=lambda g, w, shape, window: kernels.input_gradient(_enlarged(g, shape, w.shape, window), w, shape, window),
    meta=lambda g, w, shape, window: Meta(tuple(shape), g.dtype, image_layout(shape, g, w)),
    vjp=(
        lambda h, _y, _g, w, shape, window: _conv_of(h, conj(w), _g.shape, window),
        lambda h, _y, g, _w, shape, window: weight_gradient_op(conj(g), h, shape=_w.shape, window=window),
    ),
    samples=lambda t: [call(t(2, 4, 3), t(4, 3, 3), shape=(2, 3, 7), window=Window((2,), ((0, 0),), (1,), 1))],
    lower=Kernels(lowerings.input_gradient, reads_planes=True, writes_planes=True),
)


def _enlarged(g: np.ndarray, x_shape: Ints, w_shape: Ints, window: Window) -> np.ndarray:
    """`g` with zeros where the convolution has positions that a transposed one did not start from."""
    out = window.out_size(tuple(x_shape[2:]), tuple(w_shape[2:]))
    if g.shape[2:] == out:
        return g
    return kernels.pad(g, tuple((0, n - have) for n, have in zip(out, g.shape[2:])))


# -- functions -------------------------------------------------------------------------------------------------


def _batched(function: str, x: Tensor, w: Tensor, n: int) -> bool:
    require_tensor(function, "input", 1, x)
    require_tensor(function, "weight", 2, w)
    ndim = len(x._shape)
    if ndim != n + 2 and ndim != n + 1:
        raise RuntimeError(
            f"Expected {n + 1}D (unbatched) or {n + 2}D (batched) input to {function}, but got input of size: "
            f"{tensor_shape(x)}"
        )
    if len(w._shape) != n + 2:
        raise RuntimeError(
            f"Expected {n + 2}-dimensional weight for {n + 2}-dimensional input, but got weight of size "
            f"{tensor_shape(w)}"
        )
    return ndim == n + 2


def _padding(function: str, padding: Any, kernel: Ints, stride: Ints, dilation: Ints) -> tuple[tuple[int, int], ...]:
    if not isinstance(padding, str):
        return tuple([(p, p) for p in expanded(function, "padding", padding, len(kernel))])
    if padding == "valid":
        return ((0, 0),) * len(kernel)
    if padding != "same":
        raise RuntimeError(f"Invalid padding string: '{padding}'")
    if any(s != 1 for s in stride):
        raise RuntimeError("padding='same' is not supported for strided convolutions")
    totals = [d * (k - 1) for k, d in zip(kernel, dilation)]
    return tuple([(total // 2, total - total // 2) for total in totals])


def _convolve(function: str, n: int, input: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any,
              dilation: Any, groups: int) -> Tensor:  # fmt: skip
    batched = _batched(function, input, weight, n)
    kernel = weight._shape[2:]
    try:
        window = _window(function, n, kernel, stride, padding, dilation, groups)
    except TypeError:  # a list cannot be looked up
        window = _window.__wrapped__(function, n, kernel, stride, padding, dilation, groups)
    if batched:
        return convolution_op(input, weight, bias, window=window)
    return convolution_op(input.unsqueeze(0), weight, bias, window=window).squeeze(0)


@lru_cache(1024, typed=True)
def _window(function: str, n: int, kernel: Ints, stride: Any, padding: Any, dilation: Any, groups: Any) -> Window:
    stride, dilation = expanded(function, "stride", stride, n), expanded(function, "dilation", dilation, n)
    groups = as_int(function, "groups", 7, groups)
    return Window(stride, _padding(function, padding, kernel, stride, dilation), dilation, groups)


def _convolve_transposed(function: str, n: int, input: Tensor, weight: Tensor, bias: Tensor | None, stride: Any,
                         padding: Any, output_padding: Any, groups: int, dilation: Any) -> Tensor:  # fmt: skip
    batched = _batched(function, input, weight, n)
    if isinstance(padding, str):
        raise TypeError(f"{function}(): argument 'padding' must be tuple of ints, not str")
    stride, dilation = expanded(function, "stride", stride, n), expanded(function, "dilation", dilation, n)
    extra = expanded(function, "output_padding", output_padding, n)
    if any(e >= s and e >= d for e, s, d in zip(extra, stride, dilation)):
        _refuse_output_padding(extra, stride, dilation)
    window = Window(stride, tuple([(p, p) for p in expanded(function, "padding", padding, n)]), dilation, groups)
    x = input if batched else input.unsqueeze(0)
    y = conv_transpose_op(x, weight, bias, window=window, output_padding=extra)
    return y if batched else y.squeeze(0)


def _refuse_output_padding(extra: Ints, stride: Ints, dilation: Ints) -> None:
    names = ("depth", "height", "width")[-max(len(extra), 2) :]
    fill = 2 - len(extra)
    parts = []
    for label, values, default in (
        ("output_padding", extra, 0), ("stride", stride, 1), ("dilation", dilation, 1),
    ):  # fmt: skip
        values = (default,) * fill + tuple(values)
        parts += [f"{label}_{name}: {v}" for name, v in zip(names, values)]
    raise RuntimeError("output padding must be smaller than either stride or dilation, but got " + " ".join(parts))


def _publish(n: int) -> tuple[Callable, Callable]:
    name, transposed = f"conv{n}d", f"conv_transpose{n}d"

    def conv(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: int | Sequence[int] = 1,
             padding: int | Sequence[int] | str = 0, dilation: int | Sequence[int] = 1,
             groups: int = 1) -> Tensor:  # fmt: skip
        return _convolve(name, n, input, weight, bias, stride, padding, dilation, groups)

    def conv_transpose(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: int | Sequence[int] = 1,
                       padding: int | Sequence[int] = 0, output_padding: int | Sequence[int] = 0, groups: int = 1,
                       dilation: int | Sequence[int] = 1) -> Tensor:  # fmt: skip
        return _convolve_transposed(
            transposed, n, input, weight, bias, stride, padding, output_padding, groups, dilation
        )

    dims, kernel, three = ", ".join("DHW"[3 - n :]), ", ".join("k" * n), ", ".join("3" * n)
    conv.__name__ = conv.__qualname__ = name
    conv.__doc__ = f"""Convolve `input` [N, C, {dims}] (or without N) with `weight` [O, C/groups, {kernel}].

    Args:
        bias: one number for each output channel, [O].
        stride, dilation: steps between windows and between the taps of one window.
        padding: zeros on both sides, or "valid" (none), or "same" (output as large as the input; stride 1 only).
        groups: split channels into so many parts, each convolved on its own.

    Raises:
        RuntimeError: shapes or dtypes that do not go together.

    >>> conv{n}d(ones(1, 2, {", ".join("5" * n)}), ones(3, 2, {three})).shape
    torch.Size([1, 3, {three}])
    """
    conv_transpose.__name__ = conv_transpose.__qualname__ = transposed
    conv_transpose.__doc__ = f"""The transposed convolution of `input` [N, C, {dims}], `weight` [C, O/groups, {kernel}].

    It maps the output size of a convolution back to its input size; `output_padding` adds to one side where several
    input sizes fit.

    >>> conv_transpose{n}d(ones(1, 2, {three}), ones(2, 3, {three}), stride=2).shape
    torch.Size([1, 3, {", ".join("7" * n)}])
    """
    exported = public("torch F", name=name, one_op=True)(conv)
    return exported, public("torch F", name=transposed, one_op=True)(conv_transpose)


conv1d, conv_transpose1d = _publish(1)
conv2d, conv_transpose2d = _publish(2)
conv3d, conv_transpose3d = _publish(3)
