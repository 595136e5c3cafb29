"""`torch.autograd.functional`: Jacobians, Hessians and their products with vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from flambeau.autograd import walk
from flambeau.autograd.mode import enable_grad
from flambeau.tensors import Tensor, detached, from_array


def _as_tuple(x: Any, what: str) -> tuple[bool, tuple[Tensor, ...]]:
    if isinstance(x, Tensor):
        return False, (x,)
    if not isinstance(x, (tuple, list)) or not all(isinstance(t, Tensor) for t in x):
        raise TypeError(
            f"The {what} given to the function must be either a Tensor or a tuple of Tensors but got {type(x)}."
        )
    return True, tuple(x)


def _inputs(inputs: Any, create_graph: bool) -> tuple[bool, tuple[Tensor, ...]]:
    many, given = _as_tuple(inputs, "inputs")
    if create_graph:
        return many, tuple(t.view_as(t) if t.requires_grad else detached(t).requires_grad_() for t in given)
    return many, tuple(detached(t).requires_grad_() for t in given)


def _zeros(shape: tuple, like: Tensor) -> Tensor:
    return from_array(np.zeros(shape, like.dtype.np))


def _result(t: Tensor, create_graph: bool) -> Tensor:
    return t if create_graph else detached(t)


def jacobian(
    func: Callable, inputs: Any, create_graph: bool = False, strict: bool = False, vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:  # fmt: skip
    """The Jacobian of `func` at `inputs`: for each output and input a tensor of shape output.shape + input.shape.

    >>> jacobian(lambda x: x * x, tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """
    with enable_grad():
        many_in, given = _inputs(inputs, create_graph)
        many_out, outputs = _as_tuple(func(*given), "outputs")
        rows = [_rows(out, given, create_graph, strict) for out in outputs]
    blocks = [tuple(_result(b, create_graph) for b in row) for row in rows]
    if many_out:
        return tuple(row if many_in else row[0] for row in blocks)
    return blocks[0] if many_in else blocks[0][0]


def _rows(out: Tensor, given: tuple[Tensor, ...], create_graph: bool, strict: bool) -> list[Tensor]:
    """One gradient an element of `out`, stacked for each input."""
    if not out.requires_grad:
        if strict:
            raise RuntimeError(
                "Output 0 of the user-provided function is independent of the input. This is not allowed in strict "
                "mode."
            )
        return [_zeros((*out._shape, *x._shape), x) for x in given]
    flat = out.reshape(-1)
    per_input: list[list[Tensor]] = [[] for _ in given]
    for i in range(out.numel()):
        found = walk.grad(flat[i], given, retain_graph=True, create_graph=create_graph, allow_unused=True)
        for j, (g, x) in enumerate(zip(found, given)):
            if g is None and strict:
                raise RuntimeError(
                    f"Output 0 of the user-provided function is independent of input {j}. This is not allowed in "
                    "strict mode."
                )
            per_input[j].append(_zeros(x._shape, x) if g is None else g)
    return [
        parts[0].stacked(parts).reshape((*out._shape, *x._shape)) if parts else _zeros((*out._shape, *x._shape), x)
        for parts, x in zip(per_input, given)
    ]


def hessian(
    func: Callable, inputs: Any, create_graph: bool = False, strict: bool = False, vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:  # fmt: skip
    """The Hessian of a scalar function."""
    many, _ = _as_tuple(inputs, "inputs")

    def gradient(*xs: Tensor) -> Any:
        out = func(*xs)
        if not isinstance(out, Tensor) or out.numel() != 1:
            raise RuntimeError("The Tensor returned by the function given to hessian should contain a single element")
        found = walk.grad(out.squeeze(), xs, create_graph=True, allow_unused=True)
        found = tuple(x * 0 if g is None else g for g, x in zip(found, xs))
        return found if many else found[0]

    return jacobian(gradient, inputs, create_graph, strict)


def vjp(
    func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """The outputs, and the product of `v` with the Jacobian."""
    with enable_grad():
        many_in, given = _inputs(inputs, create_graph)
        many_out, outputs = _as_tuple(func(*given), "outputs")
        weights = None if v is None else _as_tuple(v, "v")[1]
        if weights is None and any(out.numel() != 1 for out in outputs):
            raise RuntimeError(
                "The vector v can only be None if the user-provided function returns a single Tensor with a single "
                "element."
            )
        found = walk.grad(outputs, given, weights, create_graph=create_graph, allow_unused=True)
        grads = tuple(_zeros(x._shape, x) if g is None else _result(g, create_graph) for g, x in zip(found, given))
    shown = tuple(_result(out, create_graph) for out in outputs)
    return (shown if many_out else shown[0]), (grads if many_in else grads[0])


def jvp(
    func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """The outputs, and the product of the Jacobian with `v` (by two reverse passes)."""
    with enable_grad():
        _, given = _inputs(inputs, create_graph)
        many_out, outputs = _as_tuple(func(*given), "outputs")
        vectors = _as_tuple(v, "v")[1] if v is not None else None
        if vectors is None:
            if len(given) != 1 or given[0].numel() != 1:
                raise RuntimeError(
                    "The vector v can only be None if the input to the user-provided function is a single Tensor "
                    "with a single element."
                )
            vectors = (given[0].new_ones(given[0]._shape),)
        dummies = tuple(_zeros(out._shape, out).requires_grad_() for out in outputs)
        inner = walk.grad(outputs, given, dummies, create_graph=True, allow_unused=True)
        used = [(g, u) for g, u in zip(inner, vectors) if g is not None]
        found = walk.grad(
            [g for g, _ in used], dummies, [u for _, u in used], create_graph=create_graph, allow_unused=True
        )
        tangents = tuple(_zeros(o._shape, o) if t is None else _result(t, create_graph) for t, o in zip(found, outputs))
    shown = tuple(_result(out, create_graph) for out in outputs)
    return (shown, tangents) if many_out else (shown[0], tangents[0])


def _gradient_of(func: Callable, many: bool) -> Callable:
    def gradient(*xs: Tensor) -> Any:
        found = walk.grad(func(*xs), xs, create_graph=True, allow_unused=True)
        found = tuple(x * 0 if g is None else g for g, x in zip(found, xs))
        return found if many else found[0]

    return gradient


def vhp(
    func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """The value, and the product of `v` with the Hessian of a scalar function."""
    many, given = _as_tuple(inputs, "inputs")
    value = func(*given)
    return _result(value, create_graph), vjp(_gradient_of(func, many), inputs, v, create_graph, strict)[1]


def hvp(
    func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """The value, and the product of the Hessian of a scalar function with `v`."""
    many, given = _as_tuple(inputs, "inputs")
    value = func(*given)
    return _result(value, create_graph), jvp(_gradient_of(func, many), inputs, v, create_graph, strict)[1]
