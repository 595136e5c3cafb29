"""Normalisation by mean and variance: over the batch, a layer, groups of channels or one image; and by the mean square.

All of them are one record, `standardize`: the input is seen in a shape in which statistics are taken over some axes
and the affine parameters broadcast. Its derivative is closed; higher ones go through a decomposition.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from flambeau.autograd.mode import no_grad
from flambeau.dtypes import finfo, float32, float64
from flambeau.engine.execute import Meta
from flambeau.engine.schedule.lowering import Composite
from flambeau.ops.nn.checks import image_layout, require_floating, tensor_shape
from flambeau.ops.nn.derive import grads_through, wants_history
from flambeau.ops.nn.pad import pad
from flambeau.ops.nn.pool import avg_pool2d
from flambeau.ops.op import op, public
from flambeau.ops.rules import require_tensor
from flambeau.ops.samples import call
from flambeau.shape import Ints
from flambeau.tensors import Tensor, assign_into, fresh


class Form(NamedTuple):
    """How an input is seen: its shape, the axes that are averaged, and the shape in which parameters broadcast."""

    shape: Ints
    axes: Ints
    affine: Ints
    name: str

    def statistics(self) -> Ints:
        return tuple(1 if d in self.axes else n for d, n in enumerate(self.shape))


def _moments(x: np.ndarray, form: Form, eps: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, variance (biased) and 1 / sqrt(variance + eps), in two passes."""
    view = x.reshape(form.shape)
    count = prod(form.shape[d] for d in form.axes)
    mean = view.sum(form.axes, keepdims=True) / x.dtype.type(count)
    centred = view - mean
    variance = np.square(centred, out=centred).sum(form.axes, keepdims=True) / x.dtype.type(count)
    return mean, variance, 1 / np.sqrt(variance + x.dtype.type(eps))


def _standardize(
    x: np.ndarray, w: Any, b: Any, mean: Any, variance: Any, form: Form, eps: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    if mean is None:
        mean, variance, scale = _moments(x, form, eps)
    else:
        mean, variance = mean.reshape(form.statistics()), variance.reshape(form.statistics())
        scale = 1 / np.sqrt(variance + x.dtype.type(eps))
    y = x.reshape(form.shape) - mean
    if w is not None and form.affine == form.statistics():
        y *= scale * w.reshape(form.affine)
    else:
        y *= scale
        if w is not None:
            y *= w.reshape(form.affine)
    if b is not None:
        y += b.reshape(form.affine)
    return y.reshape(x.shape), mean, variance, scale


def _standardize_meta(x: Tensor, w: Any, b: Any, mean: Any, variance: Any, form: Form, eps: float) -> tuple[Meta, ...]:
    statistics = Meta(form.statistics(), x.dtype if x.dtype.itemsize >= 4 else float32)  # halves are too coarse
    strides = image_layout(x._shape, x) if form.name == "NativeBatchNorm" else None
    return Meta(x._shape, x.dtype, strides), statistics, statistics, statistics


def _backward(
    g: np.ndarray, x: np.ndarray, w: Any, mean: np.ndarray, scale: np.ndarray, form: Form, fixed: bool, needs: tuple
) -> tuple:  # fmt: skip
    """Gradients of input, weight and bias; those not wanted come back empty."""
    g = g.reshape(form.shape)
    normal = x.reshape(form.shape) - mean
    normal *= scale
    over = tuple(d for d, n in enumerate(form.affine) if n == 1)
    nothing = np.empty(0, x.dtype)
    gw = (g * normal).sum(over).reshape(-1) if needs[1] else nothing
    gb = g.sum(over).reshape(-1) if needs[2] else nothing
    if not needs[0]:
        return nothing, gw, gb
    if w is not None:
        g = g * w.reshape(form.affine)
    if fixed:
        return (g * scale).reshape(x.shape), gw, gb
    count = x.dtype.type(prod(form.shape[d] for d in form.axes))
    mean_g = g.sum(form.axes, keepdims=True) / count
    mean_gn = (g * normal).sum(form.axes, keepdims=True) / count
    normal *= mean_gn
    gx = g - mean_g
    gx -= normal
    gx *= scale
    return gx.reshape(x.shape), gw, gb


def _backward_meta(g: Tensor, x: Tensor, w: Any, mean: Any, scale: Any, form: Form, fixed: bool, needs: tuple) -> tuple:
    parameters = prod(form.affine)
    return (
        Meta(x._shape if needs[0] else (0,), x.dtype),
        Meta((parameters if needs[1] else 0,), x.dtype),
        Meta((parameters if needs[2] else 0,), x.dtype),
    )


def _decomposed(x: Tensor, w: Any, b: Any, mean: Any, variance: Any, form: Form, eps: float) -> Tensor:
    view = x.reshape(form.shape)
    if mean is None:
        mean = view.mean(form.axes, keepdim=True)
        variance = ((view - mean) ** 2).mean(form.axes, keepdim=True)
    else:
        mean, variance = mean.reshape(form.statistics()), variance.reshape(form.statistics())
    y = (view - mean) * (variance + eps).rsqrt()
    y = y if w is None else y * w.reshape(form.affine)
    y = y if b is None else y + b.reshape(form.affine)
    return y.reshape(x._shape)


def _vjp(
    g: Any, y: Any, x: Tensor, w: Any, b: Any, mean: Any, variance: Any, needs: Any, form: Form, eps: float
) -> tuple:
    if wants_history((g[0], x, w)):
        through = lambda x, w, b: _decomposed(x, w, b, mean, variance, form, eps)
        return (*grads_through(through, g[0], (x, w, b), needs[:3]), None, None)
    wanted = tuple(needs[:3])
    grads = standardize_backward_op(g[0], x, w, y[1], y[3], form=form, fixed=mean is not None, needs=wanted)
    gx, gw, gb = (found if needed else None for found, needed in zip(grads, wanted))
    shape = lambda found, like: found if found is None else found.reshape(like._shape)
    return gx, shape(gw, w), shape(gb, b), None, None


def _samples(t: Any) -> Any:
    yield call(t(4, 3, 2), t(3), t(3), None, None, form=_batch_form((4, 3, 2)), eps=1e-5)
    yield call(t(4, 3), t(3), t(3), t(3), t(3, low=0.5, high=2), form=_batch_form((4, 3)), eps=1e-5)
    yield call(t(2, 3, 4), t(3, 4), None, None, None, form=_layer_form((2, 3, 4), (3, 4)), eps=1e-5)
    yield call(t(2, 4, 3), t(4), t(4), None, None, form=_group_form((2, 4, 3), 2), eps=1e-5)


# -- lowering --------------------------------------------------------------------------------------------------


def _lowered(t: Any, x: Any, w: Any, b: Any, mean: Any, variance: Any, form: Form, eps: float) -> tuple:
    view = t.reshape(x, form.shape)
    if mean is None:
        mean = t.mean(view, form.axes)
        apart = view - mean
        variance = t.mean(apart * apart, form.axes)
    else:
        mean, variance = t.reshape(mean, form.statistics()), t.reshape(variance, form.statistics())
    scale = 1.0 / t.sqrt(variance + eps)
    y = view - mean
    if w is None:
        y = y * scale
    elif form.affine == form.statistics():
        y = y * (scale * t.reshape(w, form.affine))
    else:
        y = y * scale * t.reshape(w, form.affine)
    if b is not None:
        y = y + t.reshape(b, form.affine)
    return t.reshape(y, x.shape), mean, variance, scale


def _lowered_backward(
    t: Any, g: Any, x: Any, w: Any, mean: Any, scale: Any, form: Form, fixed: bool, needs: tuple
) -> tuple:  # fmt: skip
    g = t.reshape(g, form.shape)
    normal = (t.reshape(x, form.shape) - mean) * scale
    over = tuple(d for d, n in enumerate(form.affine) if n == 1)
    gx = gw = gb = t.constant(0.0, x.dtype, (0,))
    shared = over == form.axes  # the sums of which `gx` is made are those of the parameters' gradients
    along = t.sum(g * normal, over) if needs[1] or shared else None
    total = t.sum(g, over) if needs[2] or shared else None
    if needs[0]:
        inner = g if w is None or shared else g * t.reshape(w, form.affine)
        weight = scale if w is None or not shared else scale * t.reshape(w, form.affine)
        if not fixed and shared:
            count = prod(form.shape[d] for d in form.axes)
            inner = inner - total / count - normal * (along / count)
        elif not fixed:
            inner = inner - t.mean(inner, form.axes) - normal * t.mean(inner * normal, form.axes)
        gx = t.reshape(inner * weight, x.shape)
    if needs[1]:
        gw = t.reshape(along, (-1,))
    if needs[2]:
        gb = t.reshape(total, (-1,))
    return gx, gw, gb


def _by_channel(params: dict[str, Any]) -> bool:
    form = params["form"]
    return form.axes == (0, *range(2, len(form.shape)))


# -- records ---------------------------------------------------------------------------------------------------

standardize_op = op(
    "standardize", lower=Composite(_lowered, _by_channel), ref=_standardize, meta=_standardize_meta, vjp=_vjp,
    multiple=True, kept_outputs=(1, 3), backward_name=lambda _inputs, params: params["form"].name + "Backward0",
    samples=_samples,
)  # fmt: skip
standardize_backward_op = op(
    "standardize_backward", ref=_backward, meta=_backward_meta, multiple=True,
    lower=Composite(_lowered_backward, _by_channel),
)  # fmt: skip

running_statistic_op = op(
    "running_statistic",
    ref=lambda old, found, keep, weight, scale: old * keep + found * scale * weight,
    meta=lambda old, *_: Meta(old._shape, old.dtype, None, float64 if old.dtype is float64 else float32),
    lower=lambda k, old, found, keep, weight, scale: old * keep + found * scale * weight,
    samples=lambda t: [call(t(3), t(3), 0.9, 0.1, 1.5)],
)  # fmt: skip

# -- forms -----------------------------------------------------------------------------------------------------


@lru_cache(1024)
def _batch_form(shape: Ints) -> Form:
    channels = tuple(n if d == 1 else 1 for d, n in enumerate(shape))
    return Form(shape, (0, *range(2, len(shape))), channels, "NativeBatchNorm")


@lru_cache(1024)
def _layer_form(shape: Ints, normalized: Ints) -> Form:
    split = len(shape) - len(normalized)
    rows, length = prod(shape[:split]), prod(normalized)
    return Form((rows, length), (1,), (1, length), "NativeLayerNorm")


@lru_cache(1024)
def _group_form(shape: Ints, groups: int) -> Form:
    n, channels = shape[:2]
    each = channels // groups
    area = prod(shape[2:])
    return Form((n, groups, each, area), (2, 3), (1, groups, each, 1), "NativeGroupNorm")


@lru_cache(1024)
def _instance_form(shape: Ints) -> Form:
    return Form((*shape[:2], prod(shape[2:])), (2,), (1, shape[1], 1), "View")


# -- functions -------------------------------------------------------------------------------------------------


def _check_parameters(x: Tensor, channels: int, **parameters: Tensor | None) -> None:
    for name, value in parameters.items():
        if value is None or (value.dtype is x.dtype and value._shape == (channels,)):
            continue
        if value.numel() != channels:
            raise RuntimeError(f"{name} should contain {channels} elements not {value.numel()}")
        if value.dtype is not x.dtype and x.dtype.itemsize >= 4:
            raise RuntimeError(f"mixed dtype (CPU): expect parameter to have scalar type of {_name(x)}")


def _name(x: Tensor) -> str:
    return {"float32": "Float", "float64": "Double"}.get(x.dtype.name, x.dtype.name)


def _matching(x: Tensor, parameter: Tensor | None) -> Tensor | None:
    """A parameter in the input's dtype: half inputs may come with float parameters."""
    return parameter if parameter is None or parameter.dtype is x.dtype else parameter.to(x.dtype)


def _update(running: Tensor | None, found: Tensor, momentum: float, scale: float = 1.0) -> None:
    """Move a running statistic towards `scale` times the one found."""
    if running is not None:
        found = fresh(found._storage, running._shape, found.dtype)
        assign_into(running, running_statistic_op(running, found, 1.0 - momentum, float(momentum), scale))


def _batch_norm(x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None,
                bias: Tensor | None, training: bool, momentum: float, eps: float) -> Tensor:  # fmt: skip
    require_tensor("batch_norm", "input", 1, x)
    require_floating("batch_norm", x.dtype)
    x_channels = x._shape[1] if len(x._shape) > 1 else 0
    if not training and (running_mean is None or running_var is None):
        missing = "running_mean" if running_mean is None else "running_var"
        raise RuntimeError(f"{missing} must be defined in evaluation mode")
    _check_parameters(x, x_channels, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    form = _batch_form(x._shape)
    weight, bias = _matching(x, weight), _matching(x, bias)
    if not training:
        given = (_matching(x, running_mean.detach()), _matching(x, running_var.detach()))  # type: ignore[union-attr]
        return standardize_op(x, weight, bias, *given, form=form, eps=eps)[0]
    count = _a_channel(x._shape)
    if not count or not x_channels:
        return x.clone()
    y, mean, variance, _ = standardize_op(x, weight, bias, None, None, form=form, eps=eps)
    _update(running_mean, mean, momentum)
    _update(running_var, variance, momentum, count / max(count - 1, 1))
    return y


@public("F")
def batch_norm(input: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None = None,
               bias: Tensor | None = None, training: bool = False, momentum: float = 0.1,
               eps: float = 1e-5) -> Tensor:  # fmt: skip
    """Normalise each channel (dimension 1) over batch and positions (Ioffe and Szegedy, 2015).

    In training the statistics are those of `input`, and the running ones move towards them by `momentum`, in place;
    otherwise the running statistics are used.

    Raises:
        ValueError: training with one value a channel.
    """
    if training:
        _verify_batch_size(input._shape)
        if eps <= 0.0:
            raise ValueError(f"batch_norm eps must be positive during training, but got {eps}")
    elif eps < 0.0:
        raise ValueError(f"batch_norm eps must be non-negative, but got {eps}")
    return _batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)


@public("torch", name="batch_norm")
def _torch_batch_norm(input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor | None,
                      running_var: Tensor | None, training: bool, momentum: float, eps: float,
                      cudnn_enabled: bool) -> Tensor:  # fmt: skip
    return _batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)


@lru_cache(1024)
def _a_channel(shape: Ints) -> int:
    """How many values a channel has."""
    return prod((shape[0], *shape[2:]))


def _verify_batch_size(shape: Ints) -> None:
    if _a_channel(shape) == 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {_sized(shape)}")


def _sized(shape: Sequence[int]) -> str:
    return f"torch.Size([{', '.join(map(str, shape))}])"


def _check_normalized(x: Tensor, normalized: Ints, spelled: str) -> None:
    if not normalized:
        raise RuntimeError(
            "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one element, but got "
            "normalized_shape = []"
        )
    if len(x._shape) < len(normalized) or x._shape[-len(normalized) :] != normalized:
        shown = ", ".join(map(str, normalized))
        raise RuntimeError(
            f"Given normalized_shape=[{shown}], expected input with shape [*{spelled}{shown}], but got input of "
            f"size{tensor_shape(x)}"
        )


def _check_affine(x: Tensor, normalized: Ints, **parameters: Tensor | None) -> None:
    for position, (name, value) in enumerate(parameters.items(), 3):
        if value is not None:
            require_tensor("layer_norm", name, position, value)
        if value is not None and value._shape != normalized:
            raise RuntimeError(
                f"Expected {name} to be of same shape as normalized_shape, but got {name} of shape "
                f"{tensor_shape(value)} and normalized_shape = {tensor_shape(normalized)}"
            )
        if value is not None and value.dtype is not x.dtype and x.dtype.itemsize >= 4:
            raise RuntimeError(f"mixed dtype (CPU): expect parameter to have scalar type of {_name(x)}")


def _normalized_shape(function: str, value: Any) -> Ints:
    if isinstance(value, int):
        raise TypeError(f"{function}(): argument 'normalized_shape' (position 2) must be tuple of ints, not int")
    return value if type(value) is tuple else tuple([int(n) for n in value])


def _layer_norm(input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None,
                bias: Tensor | None = None, eps: float = 1e-5, cudnn_enable: bool = True) -> Tensor:  # fmt: skip
    require_tensor("layer_norm", "input", 1, input)
    normalized = _normalized_shape("layer_norm", normalized_shape)
    _check_normalized(input, normalized, ", ")
    _check_affine(input, normalized, weight=weight, bias=bias)
    require_floating("LayerNormKernelImpl", input.dtype)
    if not input.numel():
        return input.clone()
    form = _layer_form(input._shape, normalized)
    return standardize_op(input, _matching(input, weight), _matching(input, bias), None, None, form=form, eps=eps)[0]


public("torch", name="layer_norm")(_layer_norm)


@public("F", one_op=True)
def layer_norm(input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, bias: Tensor | None = None,
               eps: float = 1e-5) -> Tensor:  # fmt: skip
    """Normalise over the last dimensions, those of `normalized_shape` (Ba et al., 2016).

    `weight` and `bias` have `normalized_shape`; the variance is the biased one.
    """
    return _layer_norm(input, normalized_shape, weight, bias, eps)


def _group_norm(input: Tensor, num_groups: int, weight: Tensor | None = None,
                bias: Tensor | None = None, eps: float = 1e-5, cudnn_enabled: bool = True) -> Tensor:  # fmt: skip
    require_floating("GroupNormKernelImpl", input.dtype)
    channels = input._shape[1]
    if num_groups <= 0:
        raise RuntimeError(f"Expected num groups to be greater than 0, got {num_groups}")
    if channels % num_groups:
        raise RuntimeError(
            f"Expected number of channels in input to be divisible by num_groups, but got input of shape "
            f"{tensor_shape(input)} and num_groups={num_groups}"
        )
    for name, value in (("weight", weight), ("bias", bias)):
        if value is not None and value._shape != (channels,):
            raise RuntimeError(
                f"Expected {name} to be a vector of size equal to the number of channels in input, but got {name} of "
                f"shape {tensor_shape(value)} and input of shape {tensor_shape(input)}"
            )
    if not input.numel():
        return input.clone()
    form = _group_form(input._shape, num_groups)
    return standardize_op(input, _matching(input, weight), _matching(input, bias), None, None, form=form, eps=eps)[0]


public("torch", name="group_norm")(_group_norm)


@public("F", one_op=True)
def group_norm(input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None,
               eps: float = 1e-5) -> Tensor:  # fmt: skip
    """Normalise over the channels of each group and their positions (Wu and He, 2018); parameters are one a channel."""
    require_tensor("group_norm", "input", 1, input)
    if input.ndim < 2:
        raise RuntimeError(f"Expected at least 2 dimensions for input tensor but received {input.ndim}")
    shape = input._shape
    if prod((shape[0], shape[1] // num_groups, *shape[2:])) == 1 and prod(shape) // num_groups == 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {list(shape)}")
    return _group_norm(input, num_groups, weight, bias, eps)


def _instance_norm(input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor | None,
                   running_var: Tensor | None, use_input_stats: bool, momentum: float, eps: float,
                   cudnn_enabled: bool = True) -> Tensor:  # fmt: skip
    require_tensor("instance_norm", "input", 1, input)
    require_floating("batch_norm", input.dtype)
    n, channels = input._shape[:2]
    for name, value in (("running_mean", running_mean), ("running_var", running_var)):
        if value is not None and value.numel() != channels:
            raise RuntimeError(f"{name} should contain {n * channels} elements not {n * value.numel()}")
    _check_parameters(input, channels, weight=weight, bias=bias)
    weight, bias = _matching(input, weight), _matching(input, bias)
    if not use_input_stats:
        if running_mean is None or running_var is None:
            raise RuntimeError("Expected running_mean and running_var to be defined when use_input_stats is false")
        form = _batch_form(input._shape)._replace(name="View")
        given = (_matching(input, running_mean.detach()), _matching(input, running_var.detach()))
        return standardize_op(input, weight, bias, *given, form=form, eps=eps)[0]
    form = _instance_form(input._shape)
    y, mean, variance, _ = standardize_op(input, weight, bias, None, None, form=form, eps=eps)
    with no_grad():
        count = prod(input._shape[2:])
        _update(running_mean, mean.mean(0), momentum)  # type: ignore[attr-defined]
        _update(running_var, variance.mean(0), momentum, count / max(count - 1, 1))  # type: ignore[attr-defined]
    return y


public("torch", name="instance_norm")(_instance_norm)


@public("F")
def instance_norm(input: Tensor, running_mean: Tensor | None = None, running_var: Tensor | None = None,
                  weight: Tensor | None = None, bias: Tensor | None = None, use_input_stats: bool = True,
                  momentum: float = 0.1, eps: float = 1e-5) -> Tensor:  # fmt: skip
    """Normalise each channel of each image over its positions (Ulyanov et al., 2016)."""
    if use_input_stats and prod(input._shape[2:]) == 1:
        raise ValueError(f"Expected more than 1 spatial element when training, got input size {_sized(input._shape)}")
    return _instance_norm(input, weight, bias, running_mean, running_var, use_input_stats, momentum, eps)


# -- other normalisations --------------------------------------------------------------------------------------


@public("torch F")
def rms_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """Divide by the root mean square over the last dimensions (Zhang and Sennrich, 2019).

    `eps` is the machine epsilon of the dtype unless given.
    """
    require_tensor("rms_norm", "input", 1, input)
    normalized = _normalized_shape("rms_norm", normalized_shape)
    require_floating("rms_norm", input.dtype)
    _check_normalized(input, normalized, "")
    _check_affine(input, normalized, weight=weight)
    small = eps if eps is not None else finfo(input.dtype if input.dtype.itemsize >= 4 else float32).eps
    wide = input.to(float32) if input.dtype.itemsize < 4 else input
    dims = tuple(range(input.ndim - len(normalized), input.ndim))
    y = wide * (wide.square().mean(dims, keepdim=True) + small).rsqrt()
    return (y if weight is None else y * weight).to(input.dtype)


@public("F")
def local_response_norm(input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """Divide by (k + alpha * mean of squares over `size` neighbouring channels) ** beta (Krizhevsky et al., 2012)."""
    require_tensor("local_response_norm", "input", 1, input)
    if input.ndim < 3:
        raise ValueError(
            "Expected 3D or higher dimensionality                          input (got " + f"{input.ndim} dimensions)"
        )
    if not input.numel():
        return input
    shape = input._shape
    squares = (input * input).reshape(shape[0], 1, shape[1], prod(shape[2:]))
    means = avg_pool2d(pad(squares, (0, 0, size // 2, (size - 1) // 2)), (size, 1), stride=1)
    return input / (means.reshape(shape) * alpha + k).pow(beta)
