"""Weights computed from other weights before every forward: weight norm and spectral norm."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from flambeau import ops
from flambeau.autograd import no_grad
from flambeau.nn import functional as F
from flambeau.nn.modules.module import Module
from flambeau.nn.parameter import Parameter
from flambeau.tensors import Tensor


class _Reparametrization:
    """A forward pre-hook that sets `module.<name>` from the parameters it replaced it by."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, module: Module, inputs: Any) -> None:
        object.__setattr__(module, self.name, self.compute(module))

    def compute(self, module: Module) -> Tensor:
        raise NotImplementedError

    def attach(self, module: Module) -> Module:
        for hook in module._forward_pre_hooks.values():
            if type(hook) is type(self) and hook.name == self.name:
                raise RuntimeError(f"Cannot register two {type(self).__name__} hooks on the same parameter {self.name}")
        module.register_forward_pre_hook(self)
        return module

    @classmethod
    def detach(cls, module: Module, name: str) -> Module:
        for key, hook in list(module._forward_pre_hooks.items()):
            if type(hook) is cls and hook.name == name:
                with no_grad():
                    weight = hook.compute(module)
                hook.forget(module)
                module.__dict__.pop(name, None)
                module.register_parameter(name, Parameter(weight.detach()))
                del module._forward_pre_hooks[key]
                return module
        raise ValueError(f"{cls.__name__} of '{name}' not found in {module}")

    def forget(self, module: Module) -> None:
        raise NotImplementedError


def _norm_except(v: Tensor, dim: int | None) -> Tensor:
    """The norm over all dimensions but one."""
    if dim is None:
        return v.norm()
    dims = [d for d in range(v.ndim) if d != dim % v.ndim]
    return (v * v).sum(dims, keepdim=True).sqrt()


class WeightNorm(_Reparametrization):
    """`w = g v / |v|` (Salimans and Kingma 2016)."""

    def __init__(self, name: str, dim: int | None) -> None:
        super().__init__(name)
        self.dim = dim

    def compute(self, module: Module) -> Tensor:
        g, v = getattr(module, self.name + "_g"), getattr(module, self.name + "_v")
        return v * (g / _norm_except(v, self.dim))

    def forget(self, module: Module) -> None:
        del module._parameters[self.name + "_g"], module._parameters[self.name + "_v"]


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Replace a parameter by its length `<name>_g` and its direction `<name>_v`."""
    hook = WeightNorm(name, dim)
    hook.attach(module)
    weight = module._parameters.pop(name)
    assert weight is not None
    module.register_parameter(name + "_g", Parameter(_norm_except(weight.detach(), dim)))
    module.register_parameter(name + "_v", Parameter(weight.detach()))
    hook(module, None)
    return module


def remove_weight_norm(module: Module, name: str = "weight") -> Module:
    """Undo `weight_norm`."""
    return WeightNorm.detach(module, name)


class SpectralNorm(_Reparametrization):
    """`w / sigma(w)`, the largest singular value estimated by power iteration (Miyato et al. 2018)."""

    def __init__(self, name: str, n_power_iterations: int, dim: int, eps: float) -> None:
        super().__init__(name)
        self.n_power_iterations, self.dim, self.eps = n_power_iterations, dim, eps

    def matrix(self, weight: Tensor) -> Tensor:
        return weight.movedim(self.dim, 0).flatten(1) if weight.ndim > 1 else weight.unsqueeze(0)

    def compute(self, module: Module) -> Tensor:
        weight = getattr(module, self.name + "_orig")
        u, v = getattr(module, self.name + "_u"), getattr(module, self.name + "_v")
        matrix = self.matrix(weight)
        if module.training:
            with no_grad():
                for _ in range(self.n_power_iterations):
                    v.copy_(F.normalize(ops.mv(matrix.t(), u), dim=0, eps=self.eps))
                    u.copy_(F.normalize(ops.mv(matrix, v), dim=0, eps=self.eps))
                u, v = u.clone(), v.clone()
        return weight / ops.dot(u, ops.mv(matrix, v))

    def forget(self, module: Module) -> None:
        del module._buffers[self.name + "_u"], module._buffers[self.name + "_v"]
        del module._parameters[self.name + "_orig"]


def spectral_norm(
    module: Module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> Module:  # fmt: skip
    """Divide a parameter by its largest singular value."""
    hook = SpectralNorm(name, n_power_iterations, (1 if getattr(module, "transposed", False) else 0) if dim is None else dim, eps)
    hook.attach(module)
    weight = module._parameters.pop(name)
    assert weight is not None
    with no_grad():
        rows, cols = hook.matrix(weight).shape
        u = F.normalize(weight.new_empty(rows).normal_(0, 1), dim=0, eps=eps)
        v = F.normalize(weight.new_empty(cols).normal_(0, 1), dim=0, eps=eps)
    module.register_parameter(name + "_orig", weight)
    object.__setattr__(module, name, weight.data)
    module.register_buffer(name + "_u", u)
    module.register_buffer(name + "_v", v)
    return module


def remove_spectral_norm(module: Module, name: str = "weight") -> Module:
    """Undo `spectral_norm`."""
    return SpectralNorm.detach(module, name)


def fuse_conv_bn_eval(conv: Any, bn: Any, transpose: bool = False) -> Any:
    """A convolution that does what `conv` followed by `bn` does in eval mode."""
    fused = copy.deepcopy(conv)
    scale = bn.weight._array() / np.sqrt(bn.running_var._array() + bn.eps)
    shape = [1] * conv.weight.ndim
    shape[1 if transpose else 0] = -1
    bias = 0.0 if conv.bias is None else conv.bias._array()
    fused.weight = Parameter(ops.tensor(conv.weight._array() * scale.reshape(shape)))
    fused.bias = Parameter(ops.tensor((bias - bn.running_mean._array()) * scale + bn.bias._array()))
    return fused
