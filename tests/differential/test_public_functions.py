"""Calls of public functions, made with PyTorch and with Flambeau: everything a program can see must agree.

The calls are in `calls/*.txt`, one expression a line, evaluated with `torch` being the one or the other and with the
operands of `operands` at hand. Compared: values, dtypes, shapes, strides, the kind of result, `grad_fn` names,
gradients; and where PyTorch raises, the type of the error and (but for the TypeErrors of its argument parser) its text.
A line that ends in `  # text` compares all but the text of the error, `  # order` all but the strides,
`  # node` all but the name of the node.
"""

from __future__ import annotations

import functools
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import flambeau

FOLDER = Path(__file__).parent / "calls"
CALLS = [
    (path.stem, line) for path in sorted(FOLDER.glob("*.txt")) for line in path.read_text().splitlines()
    if line.strip() and not line.startswith("#")
]  # fmt: skip
TOLERANCE = {"float64": (1e-10, 1e-11), "complex128": (1e-10, 1e-11), "float32": (2e-5, 2e-6),
             "complex64": (2e-5, 2e-6), "float16": (2e-3, 1e-3), "bfloat16": (1.6e-2, 1e-2)}  # fmt: skip


@functools.cache
def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    x = rng.uniform(-2, 2, (3, 4)).astype(np.float32)
    with_nan = x.copy()
    with_nan[1, 2] = np.nan
    return {
        "x": x,
        "y": rng.uniform(-2, 2, (4,)).astype(np.float32),
        "p": rng.uniform(0.2, 3, (3, 4)).astype(np.float32),
        "u": rng.uniform(0.1, 0.9, (3, 4)).astype(np.float32),
        "d": rng.uniform(-2, 2, (2, 3, 4)),
        "h": rng.uniform(-2, 2, (3, 4)).astype(np.float16),
        "i": rng.integers(-4, 5, (3, 4)),
        "j": rng.integers(1, 5, (3, 4)).astype(np.int32),
        "k": rng.integers(0, 9, (3, 4)).astype(np.uint8),
        "b": rng.integers(0, 2, (3, 4)).astype(bool),
        "n": with_nan,
        "w": np.array([-np.inf, -1, -0.0, 0, 0.5, 1, 2.5, np.inf, np.nan], np.float32),
        "z": (rng.uniform(-2, 2, (2, 3)) + 1j * rng.uniform(-2, 2, (2, 3))).astype(np.complex64),
        "t": rng.integers(0, 3, (3, 4)).astype(np.float32),
        "e": np.zeros((0,), np.float32),
        "e2": np.zeros((2, 0), np.float32),
        "s": np.float32(1.5).reshape(()),
        "c": rng.uniform(-2, 2, (2, 3, 4, 5)).astype(np.float32),
    }


def operands(module: Any) -> dict[str, Any]:
    """The operands as tensors of one of the two; floating-point ones require grad, named `x`; data of them is `x0`."""
    env: dict[str, Any] = {"torch": module, "T": module.tensor, "nan": float("nan"), "inf": float("inf"), "np": np}
    for name, array in arrays().items():
        plain = module.from_numpy(array.copy()) if array.ndim else module.tensor(float(array))
        floating = plain.dtype.is_floating_point or plain.dtype.is_complex
        env[name + "0"] = plain
        env[name] = plain.detach().clone().requires_grad_() if floating else plain
    env["f"] = env["x0"].bfloat16()
    env["q"] = env["x0"].t()
    env["r"] = env["d0"].permute(2, 0, 1)
    env["cl"] = env["c0"].contiguous(memory_format=module.channels_last)
    return env


def run(module: Any, expression: str) -> tuple[Any, dict[str, Any]]:
    env = operands(module)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return eval(expression, env), env
        except Exception as error:
            return error, env


def kind(value: Any) -> str:
    if type(value).__name__ == "Tensor":
        return "Tensor"
    name = type(value).__name__
    return name[: -len("_out")] if name.endswith("_out") else name


def as_array(t: Any) -> np.ndarray:
    t = t.detach()
    if str(t.dtype) == "torch.bfloat16":
        t = t.float()
    return t.resolve_conj().numpy(force=True)


def compare(ours: Any, theirs: Any, skip: set[str], where: str = "result") -> None:
    if isinstance(theirs, torch.Tensor):
        assert kind(ours) == "Tensor", f"{where}: {type(ours)}"
        assert str(ours.dtype) == str(theirs.dtype), f"{where}: {ours.dtype}, PyTorch {theirs.dtype}"
        assert tuple(ours.shape) == tuple(theirs.shape), f"{where}: {ours.shape}, PyTorch {theirs.shape}"
        if "gradient" not in where:
            assert ours.requires_grad == theirs.requires_grad, f"{where} requires grad: {ours.requires_grad}"
        if "order" not in skip:
            assert tuple(ours.stride()) == tuple(theirs.stride()), f"strides of {where}"
        if theirs.grad_fn is not None and "node" not in skip:
            assert ours.grad_fn.name() == theirs.grad_fn.name(), f"{where}: {ours.grad_fn.name()}"
        rtol, atol = TOLERANCE.get(str(theirs.dtype).removeprefix("torch."), (0, 0))
        np.testing.assert_allclose(as_array(ours), as_array(theirs), rtol=rtol, atol=atol, err_msg=where)
        return
    assert kind(ours) == kind(theirs), f"{where}: {type(ours)}, PyTorch {type(theirs)}"
    if isinstance(theirs, (tuple, list)):
        assert len(ours) == len(theirs)
        for at, (a, b) in enumerate(zip(ours, theirs)):
            compare(a, b, skip, f"{where}[{at}]")
    elif isinstance(theirs, float):
        assert ours == pytest.approx(theirs, rel=2e-5, nan_ok=True)
    elif not callable(theirs):
        assert str(ours) == str(theirs), where


def compare_errors(ours: Any, theirs: Exception, skip: set[str]) -> None:
    assert isinstance(ours, Exception), f"PyTorch raises {type(theirs).__name__}: {theirs!s:.200}; here {ours!r:.200}"
    builtin = next(k for k in type(theirs).__mro__ if k.__module__ == "builtins")
    assert isinstance(ours, builtin), f"{type(ours).__name__}: {ours}; PyTorch {type(theirs).__name__}: {theirs}"
    if "text" not in skip and not isinstance(theirs, TypeError):
        first = str(theirs).split("\nException raised from")[0]
        assert str(ours) == first


def gradients(module: Any, result: Any, env: dict[str, Any]) -> dict[str, Any]:
    """The gradients of all outputs, each weighted by a ramp, with respect to the operands."""
    outs = [o for o in (result if isinstance(result, (tuple, list)) else [result]) if hasattr(o, "requires_grad")]
    outs = [o for o in outs if o.requires_grad]
    leaves = {k: v for k, v in env.items() if hasattr(v, "is_leaf") and v.is_leaf and v.requires_grad}
    if not outs:
        return {}
    ramps = [module.from_numpy(np.linspace(0.5, 1.5, o.numel()).reshape(tuple(o.shape))).to(o.dtype) for o in outs]
    found = module.autograd.grad(outs, list(leaves.values()), ramps, allow_unused=True)
    return {name: g for name, g in zip(leaves, found) if g is not None}


@pytest.mark.parametrize("family,call", CALLS, ids=[f"{family}:{call}" for family, call in CALLS])
def test_call(family: str, call: str) -> None:
    expression, _, marks = call.partition("  # ")
    skip = set(re.split(r"[ ,]+", marks.strip()))
    theirs, their_env = run(torch, expression)
    ours, our_env = run(flambeau, expression)
    if isinstance(theirs, Exception):
        assert not isinstance(theirs, (NameError, SyntaxError, AttributeError)), f"a mistake in the call: {theirs}"
        compare_errors(ours, theirs, skip)
        return
    if isinstance(ours, Exception):
        raise ours
    compare(ours, theirs, skip)
    expected = gradients(torch, theirs, their_env)
    found = gradients(flambeau, ours, our_env)
    assert set(found) == set(expected), f"gradients of {set(found)}, PyTorch's of {set(expected)}"
    for name, g in expected.items():
        compare(found[name], g, {"order", "node"}, f"gradient of {name}")
