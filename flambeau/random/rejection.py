"""Poisson, binomial, gamma and Dirichlet numbers: samplers that draw until a candidate is accepted.

How many numbers one element takes depends on what it draws, so these run element by element, in Python's doubles,
from uniform numbers drawn ahead (`Generator.rewindable`). The acceptance rules are those of PyTorch's CPU kernels.
"""

from __future__ import annotations

import math

import numpy as np

from flambeau.random.cast import convert
from flambeau.random.generator import Generator, Rewind


def poisson(g: Generator, rates: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """A Poisson count for each rate of a vector.

    Hoermann, "The transformed rejection method for generating Poisson random variables", 1993; products of uniforms
    below a rate of 10.
    """
    if not (rates >= 0).all():
        raise RuntimeError("invalid Poisson rate, expected rate to be non-negative")
    with g.rewindable() as ahead:
        counts = [_poisson(rate, ahead) for rate in rates.tolist()]
    return convert(np.array(counts, np.int64), dtype)


def _poisson(rate: float, ahead: Rewind) -> int:
    if rate == 0:
        return 0
    if rate < 10:
        enough, product, count = math.exp(-rate), ahead.uniform(), 0
        while product > enough:
            product *= ahead.uniform()
            count += 1
        return count
    root, log_rate = math.sqrt(rate), math.log(rate)
    b = 0.931 + 2.53 * root
    a = -0.059 + 0.02483 * b
    inverse_alpha = 1.1239 + 1.1328 / (b - 3.4)
    v_r = 0.9277 - 3.6224 / (b - 2)
    while True:
        u, v = ahead.uniform() - 0.5, ahead.uniform()
        us = 0.5 - abs(u)
        if us == 0.0:
            continue
        k = math.floor((2 * a / us + b) * u + rate + 0.43)
        if us >= 0.07 and v <= v_r:
            return k
        if k < 0 or (us < 0.013 and v > us):
            continue
        left = _log(v) + math.log(inverse_alpha) - math.log(a / (us * us) + b)
        if left <= -rate + k * log_rate - math.lgamma(k + 1):
            return k


def _log(x: float) -> float:
    return math.log(x) if x > 0 else -math.inf


def binomial(g: Generator, counts: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """The successes in `counts[i]` trials with `probabilities[i]`, in the dtype of `counts` (float32 or float64).

    Hormann, "The generation of binomial random variates", 1993; geometric gaps where few successes are expected.
    """
    scalar = counts.dtype.type
    out = np.empty_like(counts)
    with g.rewindable() as ahead:
        for i, (count, p) in enumerate(zip(counts, probabilities)):
            out[i] = _binomial(count, p, scalar, ahead)
    return out


def _binomial(count: np.floating, p: np.floating, scalar: type, ahead: Rewind) -> float:
    if count <= 0 or p <= 0:
        return 0.0
    if p >= 1:
        return float(count)
    if p != p:
        return math.nan
    few = p <= 0.5
    q = p if few else scalar(1.0 - float(p))
    sampler = _binomial_rejection if count * q >= 10 else _binomial_gaps
    successes = sampler(count, q, ahead)
    return successes if few else float(count) - successes


def _binomial_gaps(count: np.floating, p: np.floating, ahead: Rewind) -> float:
    log_failure = float(type(p)(math.log1p(-float(p))))
    place, successes = 0.0, 0
    while True:
        u = ahead.uniform()
        place += math.ceil(_log(u) / log_failure) if u > 0 else math.inf
        if place > count:
            return float(successes)
        successes += 1


_STIRLING_TAIL = (0.0810614667953272, 0.0413406959554092, 0.0276779256849983, 0.02079067210376509, 0.0166446911898211,
                  0.0138761288230707, 0.0118967099458917, 0.0104112652619720, 0.00925546218271273,
                  0.00833056343336287)  # fmt: skip


def _stirling_tail(k: float) -> float:
    """What Stirling's approximation of log(k!) leaves out."""
    if k < len(_STIRLING_TAIL):
        return _STIRLING_TAIL[int(k)]
    square = (k + 1) * (k + 1)
    return (1.0 / 12 - (1.0 / 360 - 1.0 / 1260 / square) / square) / (k + 1)


def _binomial_rejection(count: np.floating, p: np.floating, ahead: Rewind) -> float:
    one = type(p)(1)
    deviation = float(np.sqrt(count * p * (one - p)))
    b = 1.15 + 2.53 * deviation
    a = -0.0873 + 0.0248 * b + 0.01 * float(p)
    c = float(count * p) + 0.5
    v_r = 0.92 - 4.2 / b
    r = float(p / (one - p))
    alpha = (2.83 + 5.1 / b) * deviation
    m = float(np.floor((count + one) * p))
    n = float(count)
    while True:
        u, v = ahead.uniform() - 0.5, ahead.uniform()
        us = 0.5 - abs(u)
        if us == 0.0:
            continue
        k = float(math.floor((2 * a / us + b) * u + c))
        if k < 0 or k > n:
            continue
        if us >= 0.07 and v <= v_r:
            return k
        bound = (
            (m + 0.5) * math.log((m + 1) / (r * (n - m + 1)))
            + (n + 1) * math.log((n - m + 1) / (n - k + 1))
            + (k + 0.5) * math.log(r * (n - k + 1) / (k + 1))
            + _stirling_tail(m) + _stirling_tail(n - m) - _stirling_tail(k) - _stirling_tail(n - k)
        )  # fmt: skip
        if _log(v * alpha / (a / (us * us) + b)) <= bound:
            return k


def standard_gamma(g: Generator, alpha: np.ndarray) -> np.ndarray:
    """A gamma number of scale 1 for each shape `alpha[i]`, in the dtype of `alpha` (float32 or float64).

    Marsaglia and Tsang, "A simple method for generating gamma variables", 2000.
    """
    least = float(np.finfo(alpha.dtype).tiny)
    out = np.empty_like(alpha)
    with g.rewindable() as ahead:
        for i, a in enumerate(alpha):
            out[i] = max(least, float(alpha.dtype.type(_gamma(a, ahead, g))))
    return out


def _gamma(alpha: np.floating, ahead: Rewind, g: Generator) -> float:
    single = alpha.dtype.type
    scale = 1.0
    if alpha < 1:
        if alpha == 0:
            return 0.0
        scale = (1 - ahead.uniform()) ** float(single(1) / alpha)
        alpha = alpha + single(1)
    d = float(alpha - single(np.float32(1) / np.float32(3)))
    c = 1.0 / math.sqrt(9.0 * d)
    while True:
        y = 0.0
        while y <= 0:
            x = _normal(ahead, g)
            y = 1.0 + c * x
        v = y * y * y
        u = 1 - ahead.uniform()
        square = x * x
        if u < 1.0 - _SQUEEZE * square * square:
            return scale * d * v
        if math.log(u) < 0.5 * square + d * (1.0 - v + math.log(v)):
            return scale * d * v


_SQUEEZE = float(np.float32(0.0331))


def _normal(ahead: Rewind, g: Generator) -> float:
    """One standard normal number, as `normal.standard_pairs` draws them."""
    if g.next_normal is not None:
        waiting, g.next_normal = g.next_normal, None
        return waiting
    angle = 2.0 * math.pi * ahead.uniform()
    radius = math.sqrt(-2.0 * math.log1p(-ahead.uniform()))
    g.next_normal = radius * math.sin(angle)
    return radius * math.cos(angle)


def dirichlet(g: Generator, alpha: np.ndarray) -> np.ndarray:
    """Points of the simplex, one for each row of concentrations `alpha` [..., k]."""
    gammas = standard_gamma(g, alpha.reshape(-1).astype(np.float64)).reshape(alpha.shape)
    shares = (gammas / gammas.sum(axis=-1, keepdims=True)).astype(alpha.dtype)
    least = np.finfo(alpha.dtype).tiny
    most = np.nextafter(alpha.dtype.type(1), alpha.dtype.type(0))
    return np.minimum(most, np.maximum(least, shares))
