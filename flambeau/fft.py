"""`torch.fft`: the functions that the op registry lists under "fft"."""

from typing import TYPE_CHECKING, Any

from flambeau.ops.op import names

if TYPE_CHECKING:  # the functions are collected from the registry

    def __getattr__(name: str) -> Any: ...


globals().update(names["fft"])
__all__ = sorted(names["fft"])
