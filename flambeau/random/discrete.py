"""Integers, coin flips, permutations and draws from categories, as PyTorch's CPU kernels make them.

Each function returns a flat vector in drawing order; `order.place` lays it out for tensors that are not contiguous.
"""

from __future__ import annotations

import math

import numpy as np

from flambeau.random import libm
from flambeau.random.cast import convert
from flambeau.random.continuous import standard_doubles, standard_singles
from flambeau.random.generator import Generator

_NARROW_RANGE = 1 << 28  # wider ranges draw 64 bits a number, so that the remainder is not visibly skewed
_LONG_PERMUTATION = 0xFFFFFFFF // 20
DIGITS = {"float16": 11, "bfloat16": 8, "float32": 24, "float64": 53}


def integers(g: Generator, n: int, low: int, span: int, dtype: np.dtype) -> np.ndarray:
    """`n` integers in [low, low + span), as any dtype."""
    words = g.raw(n) if span < _NARROW_RANGE else g.raw64(n)
    words %= np.uint64(span)
    signed = words.view(np.int64)
    signed += np.int64(low)
    return convert(signed, dtype)


def all_int64(g: Generator, n: int, dtype: np.dtype) -> np.ndarray:
    """`n` integers in [-2**63, 2**63)."""
    return convert(g.raw64(n).view(np.int64), dtype)


def default_integers(g: Generator, n: int, dtype: np.dtype) -> np.ndarray:
    """`n` integers from 0 to the largest that `dtype` holds; to 2**digits for floating types."""
    if dtype == np.bool_:
        return (g.raw(n) & np.uint64(1)).astype(np.bool_)
    digits = DIGITS.get(dtype.name)
    span = (1 << digits) + 1 if digits else int(np.iinfo(dtype).max) + 1
    words = g.raw64(n) if dtype in (np.float64, np.int64) else g.raw(n)
    return convert((words % np.uint64(span)).view(np.int64), dtype)


def integer_bounds(low: int, high: int, dtype: np.dtype) -> tuple[int, int]:
    """[low, high) shrunk to where rounding to a floating dtype stays inside it."""
    digits = DIGITS.get(dtype.name)
    if digits is None:
        return low, high
    return lowest_start(low, dtype), _last_end(high, digits, dtype)


def lowest_start(low: int, dtype: np.dtype) -> int:
    """The first integer from `low` on that does not round below it."""
    digits = DIGITS[dtype.name]
    rounded = _rounded(low + 1, dtype)
    if rounded < low:
        return rounded + (1 << (abs(low + 1).bit_length() - digits))
    return low


def _last_end(high: int, digits: int, dtype: np.dtype) -> int:
    rounded = _rounded(high - 1, dtype)
    if rounded >= high:
        return rounded - (1 << (abs(high - 1).bit_length() - digits))
    return high


def _rounded(value: int, dtype: np.dtype) -> int:
    as_float = float(convert(np.array([value], np.int64), dtype)[0])
    if not np.isfinite(as_float) or not -(2.0**63) <= as_float < 2.0**63:
        return -(1 << 63)  # what the conversion to int64 gives on x86
    return int(as_float)


def bernoulli(g: Generator, n: int, p: float, dtype: np.dtype) -> np.ndarray:
    """`n` ones with probability `p`, else zeros. This is what dropout masks are made of."""
    out, one = np.empty(n, dtype), np.ones((), dtype)
    if g.drawn(f"flips{dtype.itemsize}", out, math.ceil(p * 2.0**53), int(one.view(f"i{dtype.itemsize}"))):
        return out
    return (standard_doubles(g, n) < p).astype(dtype)


def bernoulli_each(g: Generator, p: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """A one with probability p[i], else a zero, for each element of the vector `p`."""
    if not ((p >= 0) & (p <= 1)).all():
        raise RuntimeError(
            "Expected p_in >= 0 && p_in <= 1 to be true, but got false.  (Could this error message be improved?  "
            "If so, please report an enhancement request to PyTorch.)"
        )
    u = standard_doubles(g, p.size) if p.dtype == np.float64 else standard_singles(g, p.size)
    return (u < p.astype(u.dtype)).astype(dtype)


def geometric(g: Generator, n: int, p: float, dtype: np.dtype) -> np.ndarray:
    """`n` counts of trials up to the first success."""
    scale = libm.log1p(np.array([-p]))[0]
    return convert(np.ceil(libm.log(standard_doubles(g, n)) / scale), dtype)


def permutation(g: Generator, n: int, dtype: np.dtype) -> np.ndarray:
    """0 ... n - 1 in random order (Fisher and Yates).

    The swaps are not carried out one by one: step i takes what lies at `target[i] >= i`, which is what the last
    earlier step with that target had found at its own place, and so on back to a place that was never a target.
    """
    if n >= _LONG_PERMUTATION:
        return _long_permutation(g, n, dtype)
    if n < 2:
        return np.arange(n).astype(dtype)
    steps = np.arange(n)
    if g.drawn("shuffled", steps):
        return steps.astype(dtype, copy=False)
    target = steps.copy()
    target[:-1] += (g.raw(n - 1) % np.arange(n, 1, -1, dtype=np.uint64)).view(np.int64)
    return _swapped(steps, target).astype(dtype)


def _swapped(steps: np.ndarray, target: np.ndarray) -> np.ndarray:
    order = np.sort((target << 32) | steps)  # by target, then by step
    place, step = order >> 32, order & 0xFFFFFFFF
    again = place[1:] == place[:-1]
    before = np.full(steps.size, -1)  # the last earlier step with the same target
    before[step[1:][again]] = step[:-1][again]

    last = np.append(~again, True)
    place, step = place[last], step[last]
    came_from = steps.copy()  # whose find lies at place i when step i begins; i itself if nobody's
    came_from[place] = np.where(step == place, before[step], step)
    came_from[came_from < 0] = steps[came_from < 0]
    while True:
        further = came_from[came_from]
        if np.array_equal(further, came_from):
            break
        came_from = further
    return np.where(before >= 0, came_from[before], np.where(target == steps, came_from, target))


def _long_permutation(g: Generator, n: int, dtype: np.dtype) -> np.ndarray:
    """The inside-out variant with 64-bit draws that PyTorch uses where 32 bits would show a skew."""
    out = np.empty(n, np.int64)
    for start in range(0, n, 1 << 16):
        i = np.arange(start, min(n, start + (1 << 16)))
        targets = (g.raw64(i.size) % (i.astype(np.uint64) + np.uint64(1))).tolist()
        for k, z in zip(i.tolist(), targets):
            out[k] = k
            out[k] = out[z]
            out[z] = k
    return out.astype(dtype)


def multinomial_with_replacement(g: Generator, weights: np.ndarray, n: int) -> np.ndarray:
    """`n` categories for each row of `weights`, as int64 [rows, n]."""
    if weights.dtype.itemsize == 2:
        weights = weights.astype(np.float32)
    if not (weights >= 0).all():
        raise RuntimeError("invalid multinomial distribution (encountering probability entry < 0)")
    if not np.isfinite(weights).all():
        raise RuntimeError("invalid multinomial distribution (encountering probability entry = infinity or NaN)")
    out = np.empty((weights.shape[0], n), np.int64)
    for row, w in zip(out, weights):
        cumulative = np.add.accumulate(w)
        if not cumulative[-1] > 0:
            raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")
        cumulative /= cumulative[-1]
        row[...] = np.searchsorted(cumulative.astype(np.float64), standard_doubles(g, n), side="left")
    return out


def first_in_race(weights: np.ndarray, race: np.ndarray, n: int) -> np.ndarray:
    """The `n` categories of each row with the largest weights[i] / race[i]: draws without replacement.

    `race` holds exponential numbers (Efraimidis and Spirakis, "Weighted random sampling with a reservoir", 2006).
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        score = weights / race
    if n == 1:
        return score.argmax(axis=-1, keepdims=True)
    return np.argsort(-score, axis=-1, kind="stable")[..., :n]
