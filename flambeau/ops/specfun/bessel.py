"""Modified Bessel functions of the first kind: Chebyshev series from S. L. Moshier's Cephes library."""

from __future__ import annotations

import numpy as np

from flambeau.engine.kernel.coefficients import I0E_FAR, I0E_NEAR, I1E_FAR, I1E_NEAR
from flambeau.ops.specfun.precision import chebyshev


def _scaled(size: np.ndarray, near: tuple, far: tuple) -> np.ndarray:
    large = np.maximum(size, 8.0)
    return np.where(
        size <= 8, chebyshev(np.minimum(size, 8) / 2 - 2, near), chebyshev(32 / large - 2, far) / np.sqrt(large)
    )


def i0e(x: np.ndarray) -> np.ndarray:
    """exp(-|x|) I0(x)."""
    return np.where(np.isnan(x), x, _scaled(np.abs(x), I0E_NEAR, I0E_FAR))


def i0(x: np.ndarray) -> np.ndarray:
    """The modified Bessel function of order 0."""
    return np.exp(np.abs(x)) * i0e(x)


def i1e(x: np.ndarray) -> np.ndarray:
    """exp(-|x|) I1(x)."""
    size = np.abs(x)
    near = size * chebyshev(np.minimum(size, 8) / 2 - 2, I1E_NEAR)
    large = np.maximum(size, 8.0)
    far = chebyshev(32 / large - 2, I1E_FAR) / np.sqrt(large)
    return np.where(np.isnan(x), x, np.copysign(np.where(size <= 8, near, far), x))


def i1(x: np.ndarray) -> np.ndarray:
    """The modified Bessel function of order 1."""
    return np.exp(np.abs(x)) * i1e(x)
