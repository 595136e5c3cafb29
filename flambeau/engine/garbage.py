"""Python's garbage collector, while much is made that stays.

A plan and its kernels are hundreds of thousands of objects that refer to one another. Python looks through all objects
of the process each time their number has grown by a quarter: that took as long as planning itself. While a program is
made, it looks for garbage less often.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

RARELY = (50_000, 20, 100)


@contextmanager
def collected_rarely() -> Iterator[None]:
    """Collect garbage less often; what the program sets meanwhile (in another thread) stays."""
    before = gc.get_threshold()
    if 0 < before[0] < RARELY[0]:
        gc.set_threshold(*RARELY)
    try:
        yield
    finally:
        if gc.get_threshold() == RARELY:
            gc.set_threshold(*before)
