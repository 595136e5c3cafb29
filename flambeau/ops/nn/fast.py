"""Ways to make NumPy faster on large arrays: selection without branches, and work in blocks that stay in the cache."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

_BLOCK = 1 << 14  # elements: a few arrays of them fit into a core's own cache


def keep_where(keep: np.ndarray, x: np.ndarray) -> np.ndarray:
    """`x` where `keep` is true, else 0, whatever is in `x`; many times faster than `where` on irregular masks."""
    if x.dtype not in (np.float32, np.float64):
        return np.where(keep, x, np.zeros((), x.dtype))
    bits = np.int32 if x.dtype == np.float32 else np.int64
    mask = np.asarray(keep).astype(bits)
    np.negative(mask, out=mask)  # 1 becomes all ones
    mask &= np.asarray(x, order="C").view(bits)
    return mask.view(x.dtype)


def in_blocks(function: Callable[..., np.ndarray], *arrays: np.ndarray) -> np.ndarray:
    """An elementwise `function` of arrays of one shape, applied block by block: its temporaries stay in the cache."""
    first = arrays[0]
    if first.size <= _BLOCK:
        return function(*arrays)
    flat = [np.ascontiguousarray(a).reshape(-1) for a in arrays]
    out = np.empty(first.size, first.dtype)
    for start in range(0, first.size, _BLOCK):
        part = slice(start, start + _BLOCK)
        out[part] = function(*[a[part] for a in flat])
    return out.reshape(first.shape)
