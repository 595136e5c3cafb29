"""Gradients of gamma and Dirichlet samples with respect to their concentrations.

They are implicit: -(d cdf / d concentration) / pdf (Figurnov et al. 2018), by PyTorch's piecewise approximations:
series near zero, saddle points for large parameters, rational functions between.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from flambeau import ops
from flambeau.autograd.function import Function, once_differentiable
from flambeau.ops.specfun.gamma import digamma
from flambeau.tensors import Tensor, from_array

_GAMMA = np.array(
    [
        [0.16009398, -0.094634809, 0.025146376, -0.0030648343, 1, 0.32668115, 0.10406089, 0.0014179084],
        [0.53487893, 0.1298071, 0.065735949, -0.0015649758, 0.16639465, 0.020070113, -0.0035938915, -0.00058392623],
        [0.040121004, -0.0065914022, -0.0026286047, -0.0013441777, 0.017050642, -0.0021309326, 0.00085092367,
         -1.5247877e-07],
    ]
)  # fmt: skip
# Numerator and denominator: powers of log x, of log(concentration / x), of the third variable.
_BETA = np.array(
    [
        [
            [[1.003668233, -0.01061107488, -0.0657888334, 0.01201642863],
             [0.6336835991, -0.3557432599, 0.05486251648, -0.001465281033],
             [-0.03276231906, 0.004474107445, 0.002429354597, -0.0001557569013]],
            [[0.221950385, -0.3187676331, 0.01799915743, 0.01074823814],
             [-0.2951249643, 0.06219954479, 0.01535556598, 0.001550077057],
             [0.02155310298, 0.004170831599, 0.001292462449, 6.976601077e-05]],
            [[-0.05980841433, 0.008441916499, 0.01085618172, 0.002319392565],
             [0.02911413504, 0.01400243777, -0.002721828457, 0.000751041181],
             [0.005900514878, -0.001936558688, -9.495446725e-06, 5.385558597e-05]],
        ],
        [
            [[1, -0.02924021934, -0.04438342661, 0.007285809825],
             [0.6357567472, -0.3473456711, 0.05454656494, -0.002407477521],
             [-0.03301322327, 0.004845219414, 0.00231480583, -0.0002307248149]],
            [[0.5925320577, -0.1757678135, 0.01505928619, 0.000564515273],
             [0.1014815858, -0.06589186703, 0.01272886114, -0.0007316646956],
             [-0.007258481865, 0.001096195486, 0.0003934994223, -4.12701925e-05]],
            [[0.06469649321, -0.0236701437, 0.002902096474, -5.896963079e-05],
             [0.001925008108, -0.002869809258, 0.0008000589141, -6.063713228e-05],
             [-0.0003477407336, 6.959756487e-05, 1.097287507e-05, -1.650964693e-06]],
        ],
    ]
)  # fmt: skip


def _piecewise(pieces: list[tuple[np.ndarray, Callable]], *arrays: np.ndarray) -> np.ndarray:
    """Each element by the first piece whose condition holds."""
    result, left = np.zeros(arrays[0].shape), np.ones(arrays[0].shape, bool)
    for condition, formula in pieces:
        here = left & condition
        if here.any():
            result[here] = formula(*[a[here] for a in arrays])
        left &= ~here
    return result


def gamma_grad(alpha: np.ndarray, x: np.ndarray) -> np.ndarray:
    """d x / d alpha of samples x of Gamma(alpha, 1)."""
    a, x = alpha.astype(np.float64), x.astype(np.float64)
    near_mean = (0.9 * a <= x) & (x <= 1.1 * a)
    pieces = [
        (x < 0.8, _gamma_small), ((a > 8) & near_mean, _gamma_at_mean), (a > 8, _gamma_saddle),
        (np.ones(x.shape, bool), _gamma_rational),
    ]  # fmt: skip
    with np.errstate(all="ignore"):
        return _piecewise(pieces, a, x)


def _gamma_small(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    numer, denom = np.ones_like(x), a.copy()
    first, second = numer / denom, numer / denom**2
    for i in range(1, 6):
        numer = numer * (-x / i)
        denom = denom + 1
        first, second = first + numer / denom, second + numer / denom**2
    power = x**a
    slope = (np.log(x) - digamma(a)) * power * first - power * second
    result = -slope / (x ** (a - 1) * np.exp(-x))
    return np.where(np.isnan(result), 0.0, result)


def _gamma_at_mean(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    first = 1 + 24 * a * (1 + 12 * a)
    second = 1440 * a * a + 6 * x * (53 - 120 * x) - 65 * x * x / a + a * (107 + 3600 * x)
    return first * second / (1244160 * a**4)


def _gamma_saddle(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    root = np.sqrt(8 * a)
    log_ratio = np.log(x / a)
    term2, term3 = root / (a - x), (x - a - a * log_ratio) ** -1.5
    term1 = log_ratio * np.where(x < a, term2 - term3, term2 + term3) - np.sqrt(2 / a) * (a + x) / (a - x) ** 2
    stirling = 1 + 1 / (12 * a) * (1 + 1 / (24 * a))
    return -stirling * x * term1 / root


def _gamma_rational(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    u, v = np.log(x / a), np.log(a)
    c = _GAMMA[0][:, None] + u * (_GAMMA[1][:, None] + u * _GAMMA[2][:, None])
    p = c[0] + v * (c[1] + v * (c[2] + v * c[3]))
    q = c[4] + v * (c[5] + v * (c[6] + v * c[7]))
    return np.exp(p / q)


def dirichlet_grad(x: np.ndarray, alpha: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Scaled gradient of x ~ Beta(alpha, total - alpha): -(d cdf / d alpha) / pdf / (1 - x)."""
    x, a, t = (v.astype(np.float64) for v in (x, alpha, total))
    edge = t * x * (1 - x)
    pieces = [
        ((x <= 0.5) & (edge < 2.5), _beta_small), ((x >= 0.5) & (edge < 0.75), _beta_near_one),
        ((a > 6) & (t - a > 6), _beta_middle), (np.ones(x.shape, bool), _beta_rational),
    ]  # fmt: skip
    with np.errstate(all="ignore"):
        return _piecewise(pieces, x, a, t)


def _beta_small(x: np.ndarray, a: np.ndarray, t: np.ndarray) -> np.ndarray:
    b = t - a
    factor = digamma(a) - digamma(t) - np.log(x)
    numer = np.ones_like(x)
    series = numer / a * (factor + 1 / a)
    for i in range(1, 11):
        numer = numer * (i - b) * x / i
        series = series + numer / (a + i) * (factor + 1 / (a + i))
    result = x * (1 - x) ** -b * series
    return np.where(np.isnan(result), 0.0, result)


def _beta_near_one(x: np.ndarray, a: np.ndarray, t: np.ndarray) -> np.ndarray:
    """By symmetry: the gradient with respect to the other concentration at 1 - x."""
    x, a, b = 1 - x, t - a, a
    factor = digamma(t) - digamma(b)
    numer, betas, slopes = np.ones_like(x), np.ones_like(x), np.zeros_like(x)
    series = factor / a
    for i in range(1, 9):
        numer = numer * (-x / i)
        slopes = slopes * (b - i) + betas
        betas = betas * (b - i)
        series = series + numer / (a + i) * (slopes + factor * betas)
    result = (1 - x) ** (1 - b) * series
    return np.where(np.isnan(result), 0.0, result)


def _beta_middle(x: np.ndarray, a: np.ndarray, t: np.ndarray) -> np.ndarray:
    b = t - a
    mean = a / t
    std = np.sqrt(a * b / (t + 1)) / t
    return np.where(np.abs(x - mean) <= 0.1 * std, _beta_at_mean(x, a, b, t), _beta_saddle(x, a, b, t))


def _beta_at_mean(x: np.ndarray, a: np.ndarray, b: np.ndarray, t: np.ndarray) -> np.ndarray:
    inner = (453 + 1620 * b * (1 - x) - 455 * x) * b + a * (8 * (1 - x) * (135 * b - 11))
    inner = 3 * (59 + 180 * b - 90 * x) * b**2 + a * inner
    poly = 47 * x * b**4 + a * ((43 + 20 * (16 + 27 * b) * x) * b**3 + a * inner)
    above = (1 + 12 * a) * (1 + 12 * b) / t**2
    return above / (1 - x) * poly / (12960 * a**3 * b**2 * (1 + 12 * t))


def _beta_saddle(x: np.ndarray, a: np.ndarray, b: np.ndarray, t: np.ndarray) -> np.ndarray:
    def stirling(n: np.ndarray) -> np.ndarray:
        return 1 + 1 / (12 * n) + 1 / (288 * n * n)

    away = a * (x - 1) + b * x
    term1 = (2 * a * a * (x - 1) + a * b * (x - 1) - x * b * b) / (np.sqrt(2 * a / b) * t**1.5 * away * away)
    term2 = 0.5 * np.log(a / (t * x))
    term3 = np.sqrt(8 * a * b / t) / away
    term4 = (b * np.log(b / (t * (1 - x))) + a * np.log(a / (t * x))) ** -1.5
    total = term1 + term2 * (term3 + np.where(x < a / t, term4, -term4))
    return stirling(a) * stirling(b) / stirling(t) * (-x / np.sqrt(2 * a * b / t)) * total


def _beta_rational(x: np.ndarray, a: np.ndarray, t: np.ndarray) -> np.ndarray:
    u = np.log(x)
    v = np.log(a) - u
    w = np.log(t) - v
    powers = np.stack([np.ones_like(w), w, w**2, w**3])
    rows = np.stack([np.ones_like(u), u, u * u]), np.stack([np.ones_like(v), v, v * v])
    p, q = np.einsum("nijk,ie,je,ke->ne", _BETA, *rows, powers)
    return p / q * (x * (digamma(t) - digamma(a)) / (t - a))


class StandardGamma(Function):
    """Samples of Gamma(concentration, 1)."""

    @staticmethod
    def forward(ctx: Any, concentration: Tensor) -> Tensor:
        x = ops._standard_gamma(concentration)
        ctx.save_for_backward(x, concentration)
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> Tensor:
        x, concentration = ctx.saved_tensors
        slope = gamma_grad(concentration._array(), x._array())
        return grad_output * from_array(slope.astype(x.dtype.np))


class SampledDirichlet(Function):
    """Samples of Dirichlet(concentration)."""

    @staticmethod
    def forward(ctx: Any, concentration: Tensor) -> Tensor:
        x = ops._sample_dirichlet(concentration)
        ctx.save_for_backward(x, concentration)
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> Tensor:
        x, concentration = ctx.saved_tensors
        total = concentration.sum(-1, True).expand_as(concentration)
        slope = dirichlet_grad(x._array(), concentration._array(), total._array())
        return from_array(slope.astype(x.dtype.np)) * (grad_output - (x * grad_output).sum(-1, True))
