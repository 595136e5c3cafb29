"""The number of threads of the BLAS library inside NumPy, which does the matrix products of the references."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np

# OpenBLAS as NumPy's wheels name its functions, from the newest to the oldest.
_SETTERS = ("scipy_openblas_set_num_threads64_", "openblas_set_num_threads64_", "openblas_set_num_threads")


@functools.cache
def _setter() -> Callable[[int], None] | None:
    """The library's function, or None where NumPy came with another library."""
    package = Path(np.__file__).parent
    for folder in (package.parent / "numpy.libs", package / ".dylibs"):
        for library in sorted(folder.glob("*openblas*")):
            for name in _SETTERS:
                try:
                    return getattr(ctypes.CDLL(str(library)), name)
                except (OSError, AttributeError):
                    continue
    return None


def set_blas_threads(count: int) -> bool:
    """Let matrix products use so many threads; returns whether the library could be told."""
    setter = _setter()
    if setter is None:
        return False
    setter(count)
    return True


@functools.cache
def one_blas_thread() -> bool:
    """Let matrix products of the references use one thread from now on: their sums depend on how many there are."""
    return set_blas_threads(1)
