"""The errors of reading a checkpoint. Imports nothing from the house."""

from __future__ import annotations

import pickle


class CheckpointError(pickle.UnpicklingError, RuntimeError):
    """A file that cannot be loaded: not a checkpoint, damaged, hostile, or holding what may not be built.

    Both an `UnpicklingError` and a `RuntimeError`, because PyTorch raises one or the other.
    """


class TruncatedError(CheckpointError, EOFError):
    """A file that ends too early."""
