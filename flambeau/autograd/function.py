"""`autograd.Function`: an op of the user's own, with forward and backward written by hand."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from flambeau import tensors
from flambeau.autograd.mode import set_grad_enabled, state
from flambeau.autograd.node import FREED, Grads, Like, Node, SavedTensor, class_named, edge_of, saved_output
from flambeau.dtypes import FLOAT
from flambeau.tensors import Tensor


def _saved(t: Tensor, outputs: Sequence[Tensor]) -> SavedTensor:
    return saved_output(t) if any(t is out for out in outputs) else SavedTensor(t)


class FunctionCtx:
    """What a Function's forward leaves for its backward."""

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep tensors for backward, checked there against in-place changes."""
        self._to_save = tensors

    def save_for_forward(self, *tensors: Tensor | None) -> None:
        """Accepted for PyTorch's forward mode, which is not built."""

    def mark_dirty(self, *args: Tensor) -> None:
        """Say which inputs forward wrote in place; they must be returned."""
        self._dirty = args

    def mark_non_differentiable(self, *args: Tensor) -> None:
        """Say which outputs have no gradient."""
        self._non_differentiable = args

    def set_materialize_grads(self, value: bool) -> None:
        """Whether backward gets zeros (default) or None for outputs without gradient."""
        self.materialize_grads = value

    @property
    def saved_tensors(self) -> tuple:
        node = self._node
        if node is None:
            return tuple(getattr(self, "_to_save", ()))
        return node.unpacked()

    saved_variables = saved_tensors


class FunctionNode(Node):
    """History of one call of a Function; also the `ctx` that its backward gets."""

    def __init__(self, function: type, ctx: FunctionCtx, inputs: Sequence[Any], outputs: Sequence[Tensor]) -> None:
        super().__init__(
            [edge_of(x) if isinstance(x, Tensor) else None for x in inputs], [Like(out) for out in outputs]
        )
        self.function, self.ctx = function, ctx
        self.__class__ = class_named(FunctionNode, function.__name__ + "Backward")
        self.likes = [Like(x) if isinstance(x, Tensor) else None for x in inputs]
        self.saved: list[SavedTensor | None] | None = []

    def keep(self, to_save: Sequence[Any], outputs: Sequence[Tensor]) -> None:
        assert self.saved is not None
        for t in to_save:
            if t is not None and not isinstance(t, Tensor):
                raise TypeError(
                    f"save_for_backward can only save variables, but argument is of type {type(t).__name__}"
                )
            self.saved.append(None if t is None else _saved(t, outputs))
        self.output_numbers = [next((i for i, out in enumerate(outputs) if out is t), 0) for t in to_save]

    def unpacked(self) -> tuple:
        if self.saved is None:
            raise RuntimeError(FREED)
        found = []
        for kept, nr in zip(self.saved, self.output_numbers):
            t = None if kept is None else kept.unpack(self)
            if t is not None and kept is not None and kept.is_output:
                t._output_nr = nr
            found.append(t)
        return tuple(found)

    def name(self) -> str:
        return self.function.__name__ + "Backward"

    def run(self, grads: Grads) -> Grads:
        ctx = self.ctx
        if getattr(ctx, "materialize_grads", True):
            grads = [
                tensors.from_array(np.zeros(m.shape, m.dtype.np)) if g is None else g for g, m in zip(grads, self.metas)
            ]
        backward = self.function.backward
        if backward is Function.backward:
            backward = self.function.vjp
        results = backward(ctx, *grads)
        results = list(results) if isinstance(results, (tuple, list)) else [results]
        count = len(self.edges)
        if len(results) > count and all(r is None for r in results[count:]):
            results = results[:count]
        if len(results) != count:
            raise RuntimeError(
                f"function {self.name()} returned an incorrect number of gradients (expected {count}, got "
                f"{len(results)})"
            )
        return [self._checked(i, r) for i, r in enumerate(results)]

    def _checked(self, i: int, grad: Any) -> Any:
        like = self.likes[i]
        if grad is None or self.edges[i] is None or like is None:
            return None
        if not isinstance(grad, Tensor):
            raise TypeError(f"{self.name()}: expected a Tensor or None as gradient {i}, got {type(grad).__name__}")
        if grad._shape != like.shape:
            try:
                grad = grad.sum_to_size(like.shape)
            except RuntimeError:
                raise RuntimeError(
                    f"Function {self.name()} returned an invalid gradient at index {i} - got {list(grad._shape)} but "
                    f"expected shape compatible with {list(like.shape)}"
                ) from None
        return grad if grad.dtype is like.dtype else grad.to(like.dtype)

    def release(self) -> None:
        if self.saved:
            self.saved = None


class Function:
    """Subclass it with static methods `forward(ctx, *args)` and `backward(ctx, *grads)`; call `Sub.apply(*args)`.

    Alternatively `forward(*args)` with `setup_context(ctx, inputs, output)`.
    """

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """Compute the outputs; gradients are not recorded inside."""
        raise NotImplementedError("You must implement the forward function for custom autograd.Function.")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Any) -> None:
        """Fill `ctx` from inputs and output, where forward takes no `ctx`."""
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """One gradient an input of forward, None where there is none."""
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom autograd.Function to use it with "
            "backward mode AD."
        )

    vjp = backward

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Run forward and record the call."""
        separate = cls.setup_context is not Function.setup_context
        ctx = FunctionCtx()
        ctx._node = None
        ctx.needs_input_grad = tuple(isinstance(x, Tensor) and x.requires_grad for x in args)
        with set_grad_enabled(False):
            result = cls.forward(*args, **kwargs) if separate else cls.forward(ctx, *args, **kwargs)
            if separate:
                cls.setup_context(ctx, args, result)
        return _record(cls, ctx, args, result)

    @staticmethod
    def __call__(*_: Any, **__: Any) -> None:
        raise RuntimeError(
            "Legacy autograd function with non-static forward method is deprecated. Please use new-style autograd "
            "function with static forward method."
        )


def _record(cls: type, ctx: Any, args: Sequence[Any], result: Any) -> Any:
    outputs = list(result) if isinstance(result, (tuple, list)) else [result]
    dirty = getattr(ctx, "_dirty", ())
    if state.grad and any(ctx.needs_input_grad):
        constant = getattr(ctx, "_non_differentiable", ())
        outputs = [_as_output(out, args, dirty) for out in outputs]
        node = FunctionNode(cls, ctx, args, [out for out in outputs if isinstance(out, Tensor)])
        node.metas = tuple(Like(out) if isinstance(out, Tensor) else None for out in outputs)
        original = list(result) if isinstance(result, (tuple, list)) else [result]
        for nr, (out, raw) in enumerate(zip(outputs, original)):
            if isinstance(out, Tensor) and out.dtype.category >= FLOAT and not any(raw is c for c in constant):
                out._grad_fn, out._output_nr = node, nr
                if any(out is d for d in dirty):
                    out._requires_grad, out._history = False, out._history + 1
        to_save = [_renamed(t, original, outputs) for t in getattr(ctx, "_to_save", ())]
        node.keep(to_save, outputs)
        ctx._node = node
    ctx.__dict__.pop("_to_save", None) if ctx._node is not None else None
    return tuple(outputs) if isinstance(result, (tuple, list)) else outputs[0]


def _renamed(t: Any, original: Sequence[Any], outputs: Sequence[Any]) -> Any:
    """The recorded output for a raw one that forward saved."""
    return next((new for raw, new in zip(original, outputs) if raw is t), t)


def _as_output(out: Any, args: Sequence[Any], dirty: Sequence[Any]) -> Any:
    """An output as a tensor of its own: an input returned unchanged becomes an alias, so that it keeps its history."""
    if not isinstance(out, Tensor) or any(out is d for d in dirty):
        return out
    if any(out is x for x in args) or out._base is not None or out.requires_grad:
        return tensors.detached(out)
    return out


class NestedIOFunction(Function):
    """Not built; named so that the error says so."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        raise NotImplementedError("NestedIOFunction is not supported: use autograd.Function")


InplaceFunction = Function


def once_differentiable(function: Callable) -> Callable:
    """Mark a backward that must not itself be differentiated."""

    @functools.wraps(function)
    def wrapper(ctx: Any, *grads: Any) -> Any:
        with set_grad_enabled(False):
            results = function(ctx, *grads)
        if not state.grad or not any(isinstance(g, Tensor) and g.requires_grad for g in grads):
            return results
        listed = results if isinstance(results, tuple) else (results,)
        failing = [_Refuse.guard(r, grads) if isinstance(r, Tensor) else r for r in listed]
        return tuple(failing) if isinstance(results, tuple) else failing[0]

    return wrapper


class _Refuse(Node):
    """Raises when a once-differentiable result is differentiated."""

    @classmethod
    def guard(cls, result: Tensor, grads: Sequence[Any]) -> Tensor:
        out = tensors.detached(result)
        out._grad_fn = cls([edge_of(g) for g in grads if isinstance(g, Tensor)], (Like(out),))
        return out

    def run(self, grads: Grads) -> Grads:
        raise RuntimeError("trying to differentiate twice a function that was marked with @once_differentiable")
