"""Counters: 0-d tensors of a module's or an optimizer's state that Python counts in, by no op.

Their memory is open, as if NumPy had it: whatever reads them reads it at once.
"""

from __future__ import annotations

import numpy as np

from flambeau.tensors import Tensor


def memory_of(counter: Tensor) -> np.ndarray:
    """The memory of a counter as a writable array; whoever writes there counts the version up."""
    if not counter._array().flags.writeable:
        counter.data = counter.clone()
    counter._storage.external = True  # first: memory that another storage holds as well is given up for a copy
    return counter._array()


def add(counter: Tensor, more: int | float) -> None:
    """Count on."""
    memory_of(counter)[()] += more
    counter._version_counter.count += 1
