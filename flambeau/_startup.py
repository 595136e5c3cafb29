"""Keeps Python's garbage collector from running while the package is imported.

What an import makes stays: to look for garbage in it takes a fifth of the time, and some of a training's later.
"""

import gc

_collecting = gc.isenabled()
gc.disable()


def done() -> None:
    """Let the collector run again, if it ran before; it will not look at what there is by now."""
    gc.freeze()
    if _collecting:
        gc.enable()
