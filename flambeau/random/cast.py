"""Conversion to a tensor's dtype as PyTorch does it: the 16-bit floating types are reached through float32."""

from __future__ import annotations

import numpy as np


def convert(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """float64 or int64 `values` as `dtype`."""
    if values.dtype == dtype:
        return values
    with np.errstate(over="ignore", invalid="ignore"):
        if dtype.itemsize == 2 and dtype.kind not in "iu":
            values = values.astype(np.float32)
        return values.astype(dtype)
