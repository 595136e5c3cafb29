"""Gradients of convolutions by name: with respect to the input, given its size, and to the weight."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flambeau import ops
from flambeau.autograd import enable_grad
from flambeau.autograd import grad as gradient
from flambeau.nn import functional as F
from flambeau.tensors import Tensor

_CONVOLUTIONS = (F.conv1d, F.conv2d, F.conv3d)


def _with_respect_to_input(n: int) -> Callable[..., Tensor]:
    def conv_input(
        input_size: Any, weight: Tensor, grad_output: Tensor, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
        groups: int = 1,
    ) -> Tensor:  # fmt: skip
        with enable_grad():
            input = ops.zeros(tuple(input_size), dtype=grad_output.dtype).requires_grad_()
            out = _CONVOLUTIONS[n - 1](input, weight.detach(), None, stride, padding, dilation, groups)
        return gradient(out, input, grad_output)[0]

    conv_input.__name__ = conv_input.__qualname__ = f"conv{n}d_input"
    conv_input.__doc__ = f"The gradient of `conv{n}d` with respect to its input, whose size is given."
    return conv_input


def _with_respect_to_weight(n: int) -> Callable[..., Tensor]:
    def conv_weight(
        input: Tensor, weight_size: Any, grad_output: Tensor, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
        groups: int = 1,
    ) -> Tensor:  # fmt: skip
        with enable_grad():
            weight = ops.zeros(tuple(weight_size), dtype=grad_output.dtype).requires_grad_()
            out = _CONVOLUTIONS[n - 1](input.detach(), weight, None, stride, padding, dilation, groups)
        return gradient(out, weight, grad_output)[0]

    conv_weight.__name__ = conv_weight.__qualname__ = f"conv{n}d_weight"
    conv_weight.__doc__ = f"The gradient of `conv{n}d` with respect to its weight, whose size is given."
    return conv_weight


conv1d_input, conv2d_input, conv3d_input = (_with_respect_to_input(n) for n in (1, 2, 3))
conv1d_weight, conv2d_weight, conv3d_weight = (_with_respect_to_weight(n) for n in (1, 2, 3))
