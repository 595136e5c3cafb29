"""Resampling of 8-bit images as PyTorch and Pillow do it: weights in fixed point, each pass rounded to bytes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Taps = tuple[np.ndarray, np.ndarray]  # input indices and weights of every output, both [taps, out]


def _fixed_point(weights: np.ndarray) -> tuple[np.ndarray, int]:
    """Weights as integers with so many binary places that they just fit into 16 bits."""
    places = 0
    while places < 22 and int(0.5 + weights.max() * (1 << (places + 1))) < 1 << 15:
        places += 1
    scaled = weights * (1 << places)
    return np.trunc(scaled + np.where(scaled < 0, -0.5, 0.5)).astype(np.int64), places


def _merged(index: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weights with those of taps that meet the same (border) pixel added up in one of them."""
    weights = weights.astype(np.float64)
    for k in reversed(range(1, len(index))):
        same = index[k] == index[k - 1]
        weights[k - 1] += weights[k] * same
        weights[k] *= ~same
    return weights


def resample_bytes(x: np.ndarray, taps: Sequence[Taps | None]) -> np.ndarray:
    """Arrays of uint8 resampled along their last dimensions, the last one first; None leaves a dimension as it is."""
    for d in reversed(range(len(taps))):
        found, axis = taps[d], x.ndim - len(taps) + d
        if found is None:
            continue
        index = found[0]
        weights, places = _fixed_point(_merged(*found))
        shape = (-1, *(1,) * (x.ndim - 1 - axis))
        total = np.full((*x.shape[:axis], index.shape[1], *x.shape[axis + 1 :]), 1 << (places - 1), np.int64)
        for pixels, weight in zip(index, weights):
            total += np.take(x, pixels, axis).astype(np.int64) * weight.reshape(shape)
        x = np.clip(total >> places, 0, 255).astype(np.uint8)
    return x
