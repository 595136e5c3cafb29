"""Autograd's methods of a tensor."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from flambeau.autograd import walk
from flambeau.autograd.node import RemovableHandle
from flambeau.methods.member import Members
from flambeau.ops import join
from flambeau.tensors import Tensor, detached

members = Members()


@members
def backward(self: Tensor, gradient: Tensor | None = None, retain_graph: bool | None = None,
             create_graph: bool = False, inputs: Any = None) -> None:  # fmt: skip
    """Add the gradients of this tensor into the `.grad` of the leaves it was computed from.

    >>> x = tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    tensor([2., 4.])
    """
    walk.backward(self, gradient, retain_graph, create_graph, inputs=inputs)


@members
def detach(self: Tensor) -> Tensor:
    """The same memory, outside the graph."""
    return detached(self)


@members
def detach_(self: Tensor) -> Tensor:
    """Cut this tensor itself from the graph."""
    if self._base is not None:
        raise RuntimeError(
            "Can't detach views in-place. Use detach() instead. If you are using DistributedDataParallel (DDP) for "
            "training, and gradient_as_bucket_view is set as True, gradients are views of DDP buckets."
        )
    self._grad_fn, self._output_nr, self._requires_grad = None, 0, False
    return self


@members
def requires_grad_(self: Tensor, requires_grad: bool = True) -> Tensor:
    """Set `requires_grad` and return the tensor."""
    self.requires_grad = requires_grad
    return self


@members
def retain_grad(self: Tensor) -> None:
    """Let backward fill `.grad` although this tensor is not a leaf."""
    if not self.requires_grad:
        raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
    node = self.grad_fn
    if node is None or self._retains_grad:
        return
    node.watched = True
    if node.retained is None:
        node.retained = {}
    node.retained[self._output_nr] = weakref.ref(self)
    self._retains_grad = True


@members
def register_hook(self: Tensor, hook: Callable) -> RemovableHandle:
    """Call `hook(grad)` when this tensor's gradient is known; what it returns (if anything) replaces it."""
    if not self.requires_grad:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    node = self.grad_fn
    if node is None:
        self._hooks = OrderedDict() if self._hooks is None else self._hooks
        hooks = self._hooks
    else:
        node.watched = True
        node.tensor_hooks = {} if node.tensor_hooks is None else node.tensor_hooks
        hooks = node.tensor_hooks.setdefault(self._output_nr, OrderedDict())
    handle = RemovableHandle(hooks)
    hooks[handle.id] = hook
    return handle


@members
def register_post_accumulate_grad_hook(self: Tensor, hook: Callable) -> RemovableHandle:
    """Call `hook(tensor)` after a leaf's `.grad` has been added to."""
    if not self.requires_grad:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    if self.grad_fn is not None:
        raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
    if self._post_accumulate_hooks is None:
        self._post_accumulate_hooks = OrderedDict()
    handle = RemovableHandle(self._post_accumulate_hooks)
    self._post_accumulate_hooks[handle.id] = hook
    return handle


@members
def stacked(self: Tensor, rows: Sequence[Tensor]) -> Tensor:
    """`rows` along a new first dimension: how autograd, which knows no op, joins gradients."""
    return join.stack(list(rows))


@members.property
def _backward_hooks(self: Tensor) -> Any:
    return self._hooks
