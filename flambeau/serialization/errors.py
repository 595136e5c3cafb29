"""The errors of reading a checkpoint. Imports nothing from the house."""

from __future__ import annotations

import pickle


class CheckpointError(pickle.UnpicklingError, RuntimeError):
    """A file that cannot be loaded: not a checkpoint, damaged, hostile, or holding what may not be built.

    Both an `UnpicklingError` and a `RuntimeError`, because PyTorch raises one or the other.
    """


class TruncatedError(CheckpointError, EOFError):
    """A file that ends too early."""


_UNSAFE = (
    "In PyTorch 2.6, we changed the default value of the `weights_only` argument in `torch.load` "
    "from `False` to `True`. Re-running `torch.load` with `weights_only` set to `False` will likely succeed, "
    "but it can result in arbitrary code execution. Do it only if you got the file from a trusted source."
)
_DOCS = (
    "\n\nCheck the documentation of torch.load to learn more about types accepted by default with weights_only "
    "https://pytorch.org/docs/stable/generated/torch.load.html."
)


def explained(message: str) -> str:
    """The reader's message in PyTorch's words, with what the user can do about it."""
    if "was not an allowed global by default" in message:
        return (
            "Weights only load failed. This file can still be loaded, to do so you have two options, "
            "\033[1mdo those steps only if you trust the source of the checkpoint\033[0m. "
            f"\n\t(1) {_UNSAFE}\n\t(2) Alternatively, to load with `weights_only=True` please check "
            f"the recommended steps in the following error message.\n\tWeightsUnpickler error: {message}{_DOCS}"
        )
    return f"Weights only load failed. {message}{_DOCS}"
