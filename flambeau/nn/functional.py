"""`flambeau.nn.functional`: the functions of neural networks. They are described in `flambeau.ops.nn`."""

from typing import TYPE_CHECKING, Any

from flambeau.ops.op import names

if TYPE_CHECKING:  # the functions are collected from the registry

    def __getattr__(name: str) -> Any: ...


globals().update(names["F"])
__all__ = sorted(names["F"])
