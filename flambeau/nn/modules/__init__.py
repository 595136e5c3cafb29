"""The layers of `flambeau.nn`, one file a kind."""

from flambeau.nn.modules import (
    activation,
    batchnorm,
    container,
    conv,
    dropout,
    linear,
    loss,
    module,
    normalization,
    padding,
    pooling,
    reshaping,
    rnn,
    sparse,
    transformer,
)
from flambeau.nn.modules.module import Module


def _layers() -> dict[str, type]:
    """Every public Module class of the files above."""
    files = (activation, batchnorm, container, conv, dropout, linear, loss, normalization, padding, pooling, reshaping,
             rnn, sparse, transformer)  # fmt: skip
    return {
        name: member
        for file in files
        for name, member in vars(file).items()
        if isinstance(member, type) and issubclass(member, Module) and not name.startswith("_")
    }


layers = _layers()
globals().update(layers)
__all__ = ["Module", *layers]
