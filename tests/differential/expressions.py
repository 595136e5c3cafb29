"""Running one expression in both libraries and comparing what comes out.

An expression is Python text that names the library `torch` and the operands of an environment (functions of the
library, so that both get fresh ones). Compared are the outcome (values or error type and text), shapes, dtypes,
strides, and the gradients of every operand that requires them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import flambeau
from flambeau.tensors import Tensor

Operands = dict[str, Callable[[Any], Any]]
for _name in ("linalg", "fft"):
    importlib.import_module(f"flambeau.{_name}")


def ramp(*shape: int, scale: float = 0.37, modulus: float = 2.0, offset: float = -0.7) -> Callable[[Any], Any]:
    """A tensor of unremarkable numbers."""
    count = int(np.prod(shape))
    values = (np.arange(count) * scale % modulus + offset).astype(np.float32).reshape(shape).tolist()
    return lambda lib: lib.tensor(values)


def leaf(make: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda lib: make(lib).requires_grad_()


def run(lib: Any, expression: str, operands: Operands) -> tuple[str, Any, dict[str, Any]]:
    scope: dict[str, Any] = {"torch": lib, "np": np, **{name: make(lib) for name, make in operands.items()}}
    try:
        try:
            result = eval(expression, scope)
        except SyntaxError:
            exec(expression, scope)
            result = scope["x"]
    except Exception as error:
        return "error", (type(error).__name__, str(error)), scope
    return "result", parts(result), scope


def parts(result: Any) -> list[Any]:
    return [part for r in result for part in parts(r)] if isinstance(result, (tuple, list)) else [result]


def array(t: Any) -> np.ndarray:
    t = t.detach()
    if isinstance(t, torch.Tensor):
        t = t.resolve_conj()
    return np.asarray(t.tolist() if t.numel() else np.zeros(0)).reshape(tuple(t.shape))


def same_strides(mine: Any, theirs: Any) -> bool:
    """Where it matters: strides of dimensions of size 1, and of empty tensors, say nothing."""
    return not theirs.numel() or all(
        n == 1 or a == b for n, a, b in zip(theirs.shape, mine.stride(), theirs.stride())
    )


def check(expression: str, operands: Operands, tolerance: float = 1e-5, strides: bool = True) -> None:
    """Fail unless both libraries agree on `expression`."""
    outcome, theirs, their_scope = run(torch, expression, operands)
    my_outcome, mine, my_scope = run(flambeau, expression, operands)
    assert my_outcome == outcome, f"PyTorch gives {outcome} {theirs}; Flambeau {my_outcome} {mine}"
    if outcome == "error":
        assert mine[0] == theirs[0], (mine, theirs)
        assert first_line(mine[1]) == first_line(theirs[1])
        return
    assert len(mine) == len(theirs)
    for a, b in zip(mine, theirs):
        compare(a, b, tolerance, strides)
    compare_gradients(mine, theirs, my_scope, their_scope, tolerance)


def first_line(message: str) -> str:
    return message.partition(" (Triggered")[0].partition("\n")[0]


def compare(mine: Any, theirs: Any, tolerance: float, strides: bool) -> None:
    if not isinstance(theirs, torch.Tensor):
        assert str(mine) == str(theirs)
        return
    assert isinstance(mine, Tensor)
    assert tuple(mine.shape) == tuple(theirs.shape)
    assert str(mine.dtype) == str(theirs.dtype)
    assert mine.requires_grad == theirs.requires_grad
    if strides:
        assert same_strides(mine, theirs), (mine.stride(), theirs.stride())
    np.testing.assert_allclose(array(mine), array(theirs), rtol=tolerance, atol=tolerance)


def compare_gradients(mine: list, theirs: list, my_scope: dict, their_scope: dict, tolerance: float) -> None:
    rng = np.random.default_rng(0)
    for a, b in zip(mine, theirs):
        if isinstance(b, torch.Tensor) and b.requires_grad and b.grad_fn is not None:
            seed = rng.uniform(-1, 1, tuple(b.shape)).astype(np.float32)
            b.backward(torch.tensor(seed).to(b.dtype), retain_graph=True)
            a.backward(flambeau.tensor(seed).to(a.dtype), retain_graph=True)
    for name, b in their_scope.items():
        if isinstance(b, torch.Tensor) and b.is_leaf and b.requires_grad:
            a = my_scope[name]
            assert (a.grad is None) == (b.grad is None), name
            if b.grad is not None:
                loose = 10 * tolerance
                np.testing.assert_allclose(array(a.grad), array(b.grad), rtol=loose, atol=loose, err_msg=name)
