"""Weights of convolutions in another memory format."""

from __future__ import annotations

from typing import Any, TypeVar

from flambeau.nn.modules.conv import _ConvNd
from flambeau.nn.modules.module import Module

M = TypeVar("M", bound=Module)


def _convert(module: M, memory_format: Any, ndim: int) -> M:
    for part in module.modules():
        if isinstance(part, _ConvNd) and part.weight.ndim == ndim:
            part.weight.data = part.weight.detach().clone(memory_format=memory_format)
    return module


def convert_conv2d_weight_memory_format(module: M, memory_format: Any) -> M:
    """Lay out the weights of all 2d convolutions in a memory format."""
    return _convert(module, memory_format, 4)


def convert_conv3d_weight_memory_format(module: M, memory_format: Any) -> M:
    """Lay out the weights of all 3d convolutions in a memory format."""
    return _convert(module, memory_format, 5)
