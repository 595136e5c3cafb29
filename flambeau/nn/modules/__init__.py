"""The layers of `flambeau.nn`, one file a kind, under PyTorch's names."""

from typing import TYPE_CHECKING, Any

from flambeau.nn.modules import (
    activation,
    adaptive,
    batchnorm,
    channelshuffle,
    container,
    conv,
    distance,
    dropout,
    flatten,
    fold,
    instancenorm,
    lazy,
    linear,
    loss,
    module,
    normalization,
    padding,
    pixelshuffle,
    pooling,
    rnn,
    sparse,
    transformer,
    upsampling,
    utils,  # noqa: F401
)
from flambeau.nn.modules.module import Module

_FILES = (
    activation, adaptive, batchnorm, channelshuffle, container, conv, distance, dropout, flatten, fold, instancenorm,
    linear, loss, normalization, padding, pixelshuffle, pooling, rnn, sparse, transformer, upsampling,
)  # fmt: skip
_INTERNAL = ("FunctionLayer", "LazyModuleMixin", "NonDynamicallyQuantizableLinear")

if TYPE_CHECKING:  # the layers are collected from their files

    def __getattr__(name: str) -> Any: ...


def _layers() -> dict[str, type]:
    """Every public Module class of the files above."""
    return {
        name: member
        for file in _FILES
        for name, member in vars(file).items()
        if isinstance(member, type)
        and issubclass(member, Module)
        and not name.startswith("_")
        and name not in _INTERNAL
    }


layers = _layers()
globals().update(layers)
__all__ = ["Module", "lazy", "module", *layers]  # not utils: a star import would hide nn.utils
