"""Padding layers: `ZeroPad2d(1)`, `ReflectionPad2d((1, 2, 0, 0))` ..."""

from __future__ import annotations

from typing import Any

from flambeau.nn import functional as F
from flambeau.nn.modules.module import Module
from flambeau.nn.modules.utils import ntuple
from flambeau.tensors import Tensor


class _PadNd(Module):
    dims: int
    mode: str

    def __init__(self, padding: Any) -> None:
        super().__init__()
        self.padding = ntuple(padding, 2 * self.dims)

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, self.mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ConstantPadNd(_PadNd):
    mode = "constant"

    def __init__(self, padding: Any, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class _ZeroPadNd(_ConstantPadNd):
    def __init__(self, padding: Any) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ReflectionPadNd(_PadNd):
    mode = "reflect"


class _ReplicationPadNd(_PadNd):
    mode = "replicate"


class _CircularPadNd(_PadNd):
    mode = "circular"


def _family(name: str, base: type, doc: str, **fields: Any) -> Any:
    """The 1d, 2d and 3d classes of a kind of padding."""
    return tuple(
        type(base)(f"{name}{n}d", (base,), {"dims": n, "__doc__": doc, "__module__": __name__, **fields})
        for n in (1, 2, 3)
    )


ConstantPad1d, ConstantPad2d, ConstantPad3d = _family("ConstantPad", _ConstantPadNd, "Pads with one value.")
ZeroPad1d, ZeroPad2d, ZeroPad3d = _family("ZeroPad", _ZeroPadNd, "Pads with zeros.")
ReflectionPad1d, ReflectionPad2d, ReflectionPad3d = _family(
    "ReflectionPad", _ReflectionPadNd, "Pads by reflection at the border."
)
ReplicationPad1d, ReplicationPad2d, ReplicationPad3d = _family(
    "ReplicationPad", _ReplicationPadNd, "Pads with the border's values."
)
CircularPad1d, CircularPad2d, CircularPad3d = _family(
    "CircularPad", _CircularPadNd, "Pads with values from the other side."
)
