"""Keeps Python's garbage collector from running while the package is imported.

What an import makes stays: to look for garbage in it again and again takes a tenth of the time.
"""

import gc

_collecting = gc.isenabled()
gc.disable()


def done() -> None:
    """Let the collector run again, if it ran before."""
    if _collecting:
        gc.enable()
