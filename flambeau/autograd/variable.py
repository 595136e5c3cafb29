"""`Variable`, the spelling of 2017: since tensors record history themselves it only hands them through."""

from __future__ import annotations

from typing import Any

from flambeau.tensors import Tensor, TensorMeta


class _VariableMeta(TensorMeta):
    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, Tensor)

    def __call__(cls, data: Any = None, requires_grad: bool = False, volatile: bool = False, **_: Any) -> Tensor:
        """The tensor itself, outside its graph, with `requires_grad` as asked."""
        if data is None:
            return Tensor()
        made = data.detach()
        if requires_grad:
            made.requires_grad = True
        return made


class Variable(Tensor, metaclass=_VariableMeta):
    """`Variable(tensor, requires_grad=False)`: the tensor itself, as a new leaf."""
