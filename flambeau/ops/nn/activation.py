"""Activation functions: what each is, and how it differentiates.

`activation` makes the record from a NumPy reference and a derivative written with differentiable ops, so that
derivatives of every order are there; those that sit in inner loops have the first derivative in NumPy beside it.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from flambeau import dtypes
from flambeau.engine.execute import Meta
from flambeau.engine.schedule.lowering import Kernels
from flambeau.later import later
from flambeau.ops.apply import in_place, type_name
from flambeau.ops.matched import direct
from flambeau.ops.nn.checks import require_floating, require_number
from flambeau.ops.nn.derive import grads_through, wants_history
from flambeau.ops.nn.erf import normal_cdf
from flambeau.ops.nn.fast import in_blocks, keep_where
from flambeau.ops.op import Op, names, op, public
from flambeau.ops.rules import elementwise, require_tensor
from flambeau.ops.samples import Samples, call, unary_on
from flambeau.shape import elementwise_strides, wrap_dim
from flambeau.tensors import Tensor

gates = later("flambeau.engine.kernel.gates")

_away_from_kinks = unary_on(0.1, 0.4)
_wide = unary_on(-4.0, 4.0)


def activation(
    name: str, ref: Callable, derivative: Callable, fused: Callable | None = None, kernel: str | None = None,
    from_result: bool = False, row_major: bool = False, samples: Samples = _wide, backward_name: Any = None,
    lower: Any = None, lower_fused: Any = None,
) -> Op:  # fmt: skip
    """Describe an activation.

    Args:
        ref: `ref(x, **params)` in NumPy.
        derivative: `derivative(g, x, **params)` in differentiable ops; `fused` is the same in NumPy.
        kernel: how PyTorch names the kernel when it refuses integers; None if it takes them.
        row_major: the result's memory is in order whatever that of `x`.
        from_result: derivatives get the result instead of `x`, so that in-place use copies nothing.
        lower: `ref` for the compiler, see `engine.schedule.lowering`; `lower_fused` is `fused` for it.
    """
    rule = elementwise()

    def meta(x: Tensor, **params: Any) -> Meta:
        if kernel is not None:
            require_floating(kernel, x.dtype)
        return rule(x)._replace(strides=None) if row_major else rule(x)

    backward = fused and op(name + "_backward", ref=fused, meta=lambda g, x, **_: rule(g, x), lower=lower_fused)

    def differentiate(g: Tensor, x: Tensor, params: dict[str, Any]) -> Tensor:
        if backward is None or wants_history((g, x)):
            return derivative(g, x, **params)
        return backward(g, x, **params)

    vjp: Callable
    if from_result:
        vjp = lambda g, y, _x, **params: (differentiate(g, y, params),)
    else:
        vjp = lambda g, _y, x, **params: (differentiate(g, x, params),)
    return op(name, ref=ref, meta=meta, vjp=vjp, samples=samples, backward_name=backward_name, lower=lower)


def with_inplace(where: str = "F", underscore: str = "") -> Callable[[Callable], Callable]:
    """List an activation with PyTorch's trailing `inplace` argument, and under `name_` in the spaces `underscore`."""

    def register(function: Callable) -> Callable:
        signature = inspect.signature(function)
        count = len(signature.parameters)
        overwrite = in_place(function, function.__name__ + "_")

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Tensor:
            if not kwargs and len(args) <= count:
                return function(*args)
            inplace = kwargs.pop("inplace", False)
            if len(args) > count:
                *args, inplace = args
            return overwrite(*args, **kwargs) if inplace else function(*args, **kwargs)

        flag = inspect.Parameter("inplace", inspect.Parameter.POSITIONAL_OR_KEYWORD, default=False, annotation="bool")
        wrapped.__signature__ = signature.replace(parameters=[*signature.parameters.values(), flag])  # type: ignore
        names["F"][function.__name__] = exported = direct(wrapped)
        for space in where.replace("F", "").split():
            names[space][function.__name__] = direct(function)
        for space in underscore.split():
            names[space][function.__name__ + "_"] = overwrite
        return exported

    return register


def _blocked(function: Callable) -> Callable:
    """`function(*arrays, **params)` for large arrays, a block at a time."""
    return lambda *arrays, **params: in_blocks(functools.partial(function, **params), *arrays)


# -- rectifiers ------------------------------------------------------------------------------------------------


def _leaky(x: np.ndarray, negative_slope: float) -> np.ndarray:
    low = x * x.dtype.type(negative_slope)
    return np.maximum(x, low) if 0 <= negative_slope <= 1 else np.where(x > 0, x, low)


relu_op = activation(
    "relu", lambda x: np.maximum(x, 0), lambda g, y: g.masked_fill(y <= 0, 0),
    fused=lambda g, y: keep_where(np.logical_not(y <= 0), g), from_result=True, samples=_away_from_kinks,
    lower=lambda k, x: k.maximum(x, 0), lower_fused=lambda k, g, y: k.where(k.le(y, 0), 0, g),
)  # fmt: skip
hardtanh_op = activation(
    "hardtanh", lambda x, min_val, max_val: np.clip(x, min_val, max_val).astype(x.dtype, copy=False),
    lambda g, y, min_val, max_val: g.masked_fill((y <= min_val) | (y >= max_val), 0), from_result=True,
    samples=lambda t: [call(t(5, low=-0.8, high=0.8), min_val=-1.0, max_val=1.0)],
    lower=lambda k, x, min_val, max_val: k.clamp(k.floating(x), min_val, max_val),
)  # fmt: skip
leaky_relu_op = activation(
    "leaky_relu", _leaky,
    lambda g, x, negative_slope: g.where(x > 0, g * negative_slope), kernel="leaky_relu_cpu",
    fused=lambda g, x, negative_slope: g * ((x > 0) * g.dtype.type(1 - negative_slope) + g.dtype.type(negative_slope)),
    samples=lambda t: [call(t(5), negative_slope=0.1)],
    lower=lambda k, x, negative_slope: k.where(x > 0, x, x * negative_slope),
    lower_fused=lambda k, g, x, negative_slope: k.where(x > 0, g, g * negative_slope),
)  # fmt: skip
threshold_op = activation(
    "threshold", lambda x, threshold, value: np.where(x <= threshold, x.dtype.type(value), x),
    lambda g, x, threshold, value: g.masked_fill(x <= threshold, 0),
    samples=lambda t: [call(t(5, low=0.2, high=1.0), threshold=0.1, value=20.0)],
    lower=lambda k, x, threshold, value: k.where(k.floating(x) <= threshold, value, x),
)  # fmt: skip


@with_inplace("torch Tensor F", "torch Tensor F")
def relu(input: Tensor) -> Tensor:
    """max(x, 0).

    >>> relu(tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    require_tensor("relu", "input", 1, input)
    if input.dtype is dtypes.bool_:
        raise RuntimeError("Boolean inputs not supported for relu")
    return relu_op(input)


@with_inplace("F", "F")
def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """`input` limited to [min_val, max_val]."""
    require_tensor("hardtanh", "input", 1, input)
    if min_val > max_val:
        raise ValueError("min_val cannot be greater than max_val")
    if input.dtype is dtypes.bool_:
        raise RuntimeError("Bool inputs not supported for hardtanh")
    return hardtanh_op(input, min_val=min_val, max_val=max_val)


@with_inplace("F")
def relu6(input: Tensor) -> Tensor:
    """min(max(x, 0), 6)."""
    require_tensor("relu6", "input", 1, input)
    return hardtanh_op(input, min_val=0, max_val=6)


@with_inplace("F", "F")
def leaky_relu(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """x where positive, else `negative_slope * x`."""
    require_tensor("leaky_relu", "input", 1, input)
    require_number("leaky_relu", negative_slope=negative_slope)
    return leaky_relu_op(input, negative_slope=negative_slope)


@with_inplace("torch F", "torch F")
def threshold(input: Tensor, threshold: float, value: float) -> Tensor:
    """x where greater than `threshold`, else `value`."""
    require_tensor("threshold", "input", 1, input)
    require_number("threshold", threshold=threshold, value=value)
    return threshold_op(input, threshold=threshold, value=value)


def _parameters_along_channels(x: Tensor, weight: Tensor) -> Tensor:
    if weight.ndim > 1 and weight.numel() != 1 or weight.ndim > 1:
        raise RuntimeError(f"prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = {weight.ndim}")
    if weight.numel() == 1:
        return weight.reshape(())
    if not x.ndim:
        raise RuntimeError("Not allow zero-dim input tensor.")
    channels = x._shape[1] if x.ndim > 1 else 1
    if weight.numel() != channels:
        raise RuntimeError(
            f"Mismatch of parameter numbers and input channel size. Found parameter numbers = {weight.numel()} and "
            f"channel size = {channels}."
        )
    return weight.reshape(-1, *(1,) * (x.ndim - 2)) if x.ndim > 1 else weight


prelu_op = op(
    "prelu", ref=lambda x, w: np.where(x > 0, x, x * w), meta=elementwise(),
    vjp=(
        lambda g, _y, x, w: (g * w).where(x <= 0, g),
        lambda g, _y, x, _w: (g * x).masked_fill(x > 0, 0),
    ),
    samples=lambda t: [call(t(2, 3), t(3)), call(t(4), t())], backward_name="PreluKernelBackward0",
    lower=lambda k, x, w: k.where(k.gt(x, 0), x, k.mul(x, w)),
)  # fmt: skip


@public("torch Tensor F")
def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """x where positive, else `weight * x`; `weight` has one number, or one for each channel (dimension 1)."""
    require_tensor("prelu", "input", 1, input)
    require_tensor("prelu", "weight", 2, weight)
    if input.dtype is not weight.dtype:
        raise RuntimeError(
            f"prelu: Type promoting not supported. Got {_c_name(input.dtype)} and {_c_name(weight.dtype)}"
        )
    return prelu_op(input, _parameters_along_channels(input, weight))


def _c_name(d: dtypes.dtype) -> str:
    return {"float32": "float", "float64": "double", "float16": "c10::Half", "bfloat16": "c10::BFloat16"}.get(
        d.name, d.name
    )


# -- exponential units -----------------------------------------------------------------------------------------


def _elu(x: np.ndarray, alpha: float, scale: float, input_scale: float) -> np.ndarray:
    kind = x.dtype.type
    return np.where(x > 0, x * kind(scale), np.expm1(x * kind(input_scale)) * kind(alpha * scale))


def _elu_lowered(k: Any, x: Any, alpha: float, scale: float, input_scale: float) -> Any:
    return k.where(x > 0, k.scaled(scale, x), k.expm1(k.scaled(input_scale, x)) * (alpha * scale))


def _elu_derivative(g: Tensor, x: Tensor, alpha: float, scale: float, input_scale: float) -> Tensor:
    low = g * (x.minimum(x.new_zeros(())) * input_scale).exp() * (alpha * scale * input_scale)
    return low.where(x <= 0, g * scale if scale != 1 else g)


elu_op = activation(
    "elu", _elu, _elu_derivative, kernel="elu_cpu",
    samples=lambda t: [call(t(5), alpha=0.7, scale=1.2, input_scale=1.5)], lower=_elu_lowered,
)  # fmt: skip
celu_op = activation(
    "celu", lambda x, alpha: _elu(x, alpha, 1.0, 1 / alpha),
    lambda g, x, alpha: _elu_derivative(g, x, alpha, 1.0, 1 / alpha), kernel="elu_cpu",
    samples=lambda t: [call(t(5), alpha=0.7)], lower=lambda k, x, alpha: _elu_lowered(k, x, alpha, 1.0, 1 / alpha),
)  # fmt: skip
_SELU = {"alpha": 1.6732632423543772848170429916717, "scale": 1.0507009873554804934193349852946, "input_scale": 1.0}


@with_inplace("F", "F")
def elu(input: Tensor, alpha: float = 1.0) -> Tensor:
    """x where positive, else alpha * (exp(x) - 1)."""
    require_tensor("elu", "input", 1, input)
    require_number("elu", alpha=alpha)
    return elu_op(input, alpha=alpha, scale=1.0, input_scale=1.0)


@with_inplace("torch F", "torch F")
def selu(input: Tensor) -> Tensor:
    """The self-normalising ELU (Klambauer et al., 2017)."""
    require_tensor("selu", "input", 1, input)
    return elu_op(input, **_SELU)


@with_inplace("torch F", "torch F")
def celu(input: Tensor, alpha: float = 1.0) -> Tensor:
    """max(0, x) + min(0, alpha * (exp(x / alpha) - 1))."""
    require_tensor("celu", "input", 1, input)
    require_number("celu", alpha=alpha)
    if alpha == 0:
        raise RuntimeError("ZeroDivisionError: alpha cannot be 0 for CELU")
    return celu_op(input, alpha=alpha)


# -- smooth units ----------------------------------------------------------------------------------------------


def _logistic(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _softplus(x: np.ndarray, beta: float = 1.0, threshold: float = 20.0) -> np.ndarray:
    scaled = x * x.dtype.type(beta)
    soft = np.log1p(np.exp(np.minimum(scaled, x.dtype.type(threshold)))) / x.dtype.type(beta)
    return np.where(scaled > threshold, x, soft)


def _log_sigmoid(x: np.ndarray) -> np.ndarray:
    return np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x)))


def _silu_derivative(g: Tensor, x: Tensor) -> Tensor:
    s = x.sigmoid()
    return g * (s * (1 + x * (1 - s)))


def _silu_backward(g: np.ndarray, x: np.ndarray) -> np.ndarray:
    s = _logistic(x)
    return g * (s * (1 + x * (1 - s)))


def _silu_backward_lowered(k: Any, g: Any, x: Any) -> Any:
    s = k.sigmoid(x)
    return g * (s * (1.0 + x * (1.0 - s)))


def _softplus_lowered(k: Any, x: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    scaled = k.scaled(beta, x)
    soft = k.log1p(k.exp(k.minimum(scaled, threshold)))
    return k.where(scaled > threshold, x, soft if beta == 1 else soft / beta)


def _mish_derivative(g: Tensor, x: Tensor) -> Tensor:
    t, s = softplus_op(x, beta=1.0, threshold=20.0).tanh(), x.sigmoid()
    return g * (t + x * s * (1 - t * t))


silu_op = activation(
    "silu", lambda x: x * _logistic(x), _silu_derivative, fused=_blocked(_silu_backward), kernel="silu_cpu",
    lower=lambda k, x: x * k.sigmoid(x), lower_fused=_silu_backward_lowered,
)  # fmt: skip
softplus_op = activation(
    "softplus", _softplus,
    lambda g, x, beta, threshold: (g * (x * beta).sigmoid()).where(x * beta <= threshold, g), kernel="softplus_cpu",
    samples=lambda t: [call(t(5), beta=1.0, threshold=20.0), call(t(5), beta=2.0, threshold=3.0)],
    lower=_softplus_lowered,
)  # fmt: skip
mish_op = activation(
    "mish", lambda x: x * np.tanh(_softplus(x)), _mish_derivative, kernel="mish_cpu",
    lower=lambda k, x: x * k.tanh(_softplus_lowered(k, x)),
)  # fmt: skip
log_sigmoid_op = activation(
    "log_sigmoid", _log_sigmoid, lambda g, x: g * (-x).sigmoid(), kernel="log_sigmoid_cpu", row_major=True,
    lower=lambda k, x: k.minimum(x, 0.0) - k.log1p(k.exp(-k.abs(x))),
)  # fmt: skip


@with_inplace("F")
def silu(input: Tensor) -> Tensor:
    """x * sigmoid(x), also called swish."""
    require_tensor("silu", "input", 1, input)
    return silu_op(input)


@with_inplace("F")
def mish(input: Tensor) -> Tensor:
    """x * tanh(softplus(x))."""
    require_tensor("mish", "input", 1, input)
    return mish_op(input)


@public("F", one_op=True)
def softplus(input: Tensor, beta: float = 1, threshold: float = 20) -> Tensor:
    """log(1 + exp(beta * x)) / beta; x itself where beta * x exceeds `threshold`."""
    require_tensor("softplus", "input", 1, input)
    require_number("softplus", beta=beta, threshold=threshold)
    return softplus_op(input, beta=beta, threshold=threshold)


@public("F", one_op=True)
def logsigmoid(input: Tensor) -> Tensor:
    """log(sigmoid(x))."""
    require_tensor("log_sigmoid", "input", 1, input)
    return log_sigmoid_op(input)


@public("F")
def softsign(input: Tensor) -> Tensor:
    """x / (1 + |x|)."""
    return input / (input.abs() + 1)


@public("F")
def tanhshrink(input: Tensor) -> Tensor:
    """x - tanh(x)."""
    return input - input.tanh()


# -- gelu ------------------------------------------------------------------------------------------------------

_TANH_SCALE, _TANH_CUBE = math.sqrt(2 / math.pi), 0.044715


def _gelu(x: np.ndarray, approximate: str) -> np.ndarray:
    kind = x.dtype.type
    if approximate == "tanh":
        return kind(0.5) * x * (1 + np.tanh(kind(_TANH_SCALE) * (x + kind(_TANH_CUBE) * x * x * x)))
    return x * normal_cdf(x)


def _gelu_backward(g: np.ndarray, x: np.ndarray, approximate: str) -> np.ndarray:
    kind = x.dtype.type
    if approximate == "tanh":
        t = np.tanh(kind(_TANH_SCALE) * (x + kind(_TANH_CUBE) * x * x * x))
        inner = kind(_TANH_SCALE) * (1 + kind(3 * _TANH_CUBE) * x * x)
        return g * (kind(0.5) * (1 + t) + kind(0.5) * x * (1 - t * t) * inner)
    return g * (normal_cdf(x) + x * np.exp(kind(-0.5) * x * x) * kind(1 / math.sqrt(2 * math.pi)))


def _gelu_lowered(k: Any, x: Any, approximate: str) -> Any:
    if approximate == "tanh":
        return x * 0.5 * (1.0 + k.tanh((x + x * _TANH_CUBE * x * x) * _TANH_SCALE))
    return x * k.normal_cdf(x)


def _gelu_backward_lowered(k: Any, g: Any, x: Any, approximate: str) -> Any:
    if approximate == "tanh":
        t = k.tanh((x + x * _TANH_CUBE * x * x) * _TANH_SCALE)
        inner = (x * (3 * _TANH_CUBE) * x + 1.0) * _TANH_SCALE
        return g * ((t + 1.0) * 0.5 + x * 0.5 * (1.0 - t * t) * inner)
    cdf, density = k.normal(x)
    return g * (cdf + x * density)


def _gelu_derivative(g: Tensor, x: Tensor, approximate: str) -> Tensor:
    if approximate == "tanh":
        t = (_TANH_SCALE * (x + _TANH_CUBE * x * x * x)).tanh()
        return g * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * (_TANH_SCALE * (1 + 3 * _TANH_CUBE * x * x)))
    return g * (normal_cdf_op(x) + x * _density(x))


def _density(x: Tensor) -> Tensor:
    return (-0.5 * x * x).exp() * (1 / math.sqrt(2 * math.pi))


normal_cdf_op = op(
    "normal_cdf", ref=normal_cdf, meta=elementwise(), vjp=lambda g, _y, x: (g * _density(x),), samples=_wide,
    lower=lambda k, x: k.normal_cdf(x),
)  # fmt: skip


gelu_op = activation(
    "gelu", _blocked(_gelu), _gelu_derivative, fused=_blocked(_gelu_backward), kernel="GeluKernelImpl",
    samples=lambda t: [call(t(5), approximate="none"), call(t(5), approximate="tanh")],
    lower=_gelu_lowered, lower_fused=_gelu_backward_lowered,
)  # fmt: skip


@public("F")
def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """x times the normal distribution function of x; `approximate="tanh"` uses the tanh formula instead."""
    require_tensor("gelu", "input", 1, input)
    if approximate not in ("none", "tanh"):
        raise RuntimeError("approximate argument must be either none or tanh.")
    return gelu_op(input, approximate=approximate)


# -- piecewise linear ------------------------------------------------------------------------------------------


def _hardswish_derivative(g: Tensor, x: Tensor) -> Tensor:
    return (g * (x / 3 + 0.5)).masked_fill(x <= -3, 0).where(x < 3, g)


hardswish_op = activation(
    "hardswish", lambda x: x * np.clip(x + 3, 0, 6) / 6, _hardswish_derivative, kernel="hardswish_cpu",
    lower=lambda k, x: x * k.clamp(x + 3.0, 0.0, 6.0) / 6.0,
)  # fmt: skip
hardsigmoid_op = activation(
    "hardsigmoid", lambda x: np.clip(x + 3, 0, 6) / 6,
    lambda g, x: (g * (1 / 6)).masked_fill((x <= -3) | (x >= 3), 0), kernel="hardsigmoid_cpu",
    lower=lambda k, x: k.clamp(x + 3.0, 0.0, 6.0) / 6.0,
)  # fmt: skip
hardshrink_op = activation(
    "hardshrink", lambda x, lambd: np.where((x >= -lambd) & (x <= lambd), x.dtype.type(0), x),
    lambda g, x, lambd: g.masked_fill((x >= -lambd) & (x <= lambd), 0), kernel="hardshrink_cpu",
    lower=lambda k, x, lambd: k.where((x >= -lambd) & (x <= lambd), 0.0, x),
    samples=lambda t: [call(t(5, low=0.6, high=2.0), lambd=0.5)],
)  # fmt: skip
softshrink_op = activation(
    "softshrink", lambda x, lambd: x - np.clip(x, x.dtype.type(-lambd), x.dtype.type(lambd)),
    lambda g, x, lambd: g.masked_fill((x >= -lambd) & (x <= lambd), 0), kernel="softshrink_check",
    lower=lambda k, x, lambd: x - k.clamp(x, -lambd, lambd),
    samples=lambda t: [call(t(5, low=0.6, high=2.0), lambd=0.5)],
)  # fmt: skip


@with_inplace("F")
def hardswish(input: Tensor) -> Tensor:
    """x * relu6(x + 3) / 6."""
    require_tensor("hardswish", "input", 1, input)
    return hardswish_op(input)


@with_inplace("F")
def hardsigmoid(input: Tensor) -> Tensor:
    """relu6(x + 3) / 6."""
    require_tensor("hardsigmoid", "input", 1, input)
    return hardsigmoid_op(input)


@public("torch Tensor F")
def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x, but 0 within [-lambd, lambd]."""
    require_tensor("hardshrink", "input", 1, input)
    require_number("hardshrink", lambd=lambd)
    return hardshrink_op(input, lambd=lambd)


@public("F")
def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x moved towards 0 by `lambd`, 0 within it."""
    require_tensor("softshrink", "input", 1, input)
    require_number("softshrink", lambd=lambd)
    require_floating("softshrink_check", input.dtype)
    if lambd < 0:
        raise RuntimeError(
            f"lambda must be in range [0, {dtypes.finfo(input.dtype).max:g}] for input dtype {type_name(input.dtype)}, "
            f"but found {lambd:g}"
        )
    return softshrink_op(input, lambd=lambd)


# -- gates -----------------------------------------------------------------------------------------------------


def _glu_meta(x: Tensor, dim: int) -> Meta:
    require_floating("glu_cpu", x.dtype)
    if x._shape[dim] % 2:
        raise RuntimeError(f"Halving dimension must be even, but dimension {dim} is size {x._shape[dim]}")
    shape = (*x._shape[:dim], x._shape[dim] // 2, *x._shape[dim + 1 :])
    return Meta(shape, x.dtype, elementwise_strides(shape, [(shape, x._strides)]))


def _glu(x: np.ndarray, dim: int) -> np.ndarray:
    a, b = np.split(x, 2, dim)
    return a * _logistic(b)


def _glu_backward(g: np.ndarray, x: np.ndarray, dim: int) -> np.ndarray:
    a, b = np.split(x, 2, dim)
    s = _logistic(b)
    return np.concatenate([g * s, g * a * s * (1 - s)], dim)


def _glu_vjp(g: Tensor, _y: Any, x: Tensor, dim: int) -> tuple:
    if not wants_history((g, x)):
        return (glu_backward_op(g, x, dim=dim),)

    def gated(x: Tensor) -> Tensor:
        a, b = x.chunk(2, dim)
        return a * b.sigmoid()

    return grads_through(gated, g, (x,), (True,))


glu_backward_op = op(
    "glu_backward", ref=_glu_backward, meta=lambda g, x, dim: Meta(x._shape, x.dtype), lower=Kernels(gates.glu_backward)
)
glu_op = op(
    "glu", ref=_glu, meta=_glu_meta, vjp=_glu_vjp, samples=lambda t: [call(t(3, 4), dim=1)], lower=Kernels(gates.glu)
)


@public("F")
def glu(input: Tensor, dim: int = -1) -> Tensor:
    """The first half of `dim` times the sigmoid of the second half."""
    require_tensor("glu", "input", 1, input)
    if not input.ndim:
        raise RuntimeError("glu does not support 0-dimensional tensors")
    return glu_op(input, dim=wrap_dim(dim, input.ndim))


# -- random slopes ---------------------------------------------------------------------------------------------


@with_inplace("torch F", "torch F")
def rrelu(input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False) -> Tensor:
    """x where positive, else a slope times x: random in [lower, upper] in training, else their mean."""
    require_tensor("rrelu", "input", 1, input)
    if lower > upper:
        raise RuntimeError("Lower bound should be less than or equal to the upper bound")
    if not training:
        return leaky_relu_op(input, negative_slope=(lower + upper) / 2)
    negative = input.detach() <= 0
    slopes = input.new_ones(input._shape)
    # PyTorch draws in double precision, and only where a slope is needed.
    slopes[negative] = (
        input.new_empty((int(negative.sum()),), dtype=dtypes.float64).uniform_(lower, upper).to(input.dtype)
    )
    return input * slopes
