"""Programs around autograd give what PyTorch gave for them (golden.json), and its errors."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path
from typing import Any

import pytest

import flambeau

HERE = Path(__file__).parent
_spec = importlib.util.spec_from_file_location("autograd_programs", HERE / "programs.py")
programs = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(programs)
GOLDEN = json.loads((HERE / "golden.json").read_text())


def close(a: Any, b: Any) -> bool:
    if isinstance(a, (list, tuple)):
        return isinstance(b, (list, tuple)) and len(a) == len(b) and all(close(x, y) for x, y in zip(a, b))
    if isinstance(a, float):
        return math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-7)
    return a == b


@pytest.mark.parametrize("name", programs.PROGRAMS)
def test_program_gives_what_pytorch_gave(name: str) -> None:
    found = programs.PROGRAMS[name](flambeau)
    assert close(found, GOLDEN[name]), f"{found}\nPyTorch: {GOLDEN[name]}"


@pytest.mark.filterwarnings("ignore:Anomaly Detection", "ignore:Error detected")
@pytest.mark.parametrize("name", programs.ERRORS)
def test_error_says_what_pytorch_says(name: str) -> None:
    program, text = programs.ERRORS[name]
    with pytest.raises((RuntimeError, TypeError)) as caught:
        program(flambeau)
    assert text in str(caught.value)


def test_overwritten_tensor_names_the_line_that_wrote() -> None:
    x = flambeau.ones(3, requires_grad=True)
    y = x.exp()
    y.mul_(2)  # the line
    with pytest.raises(RuntimeError, match=r"last write was at .*test_programs\.py:\d+"):
        y.sum().backward()


def test_chain_of_a_hundred_thousand_ops() -> None:
    x = flambeau.ones(1, requires_grad=True)
    y = x
    for _ in range(100_000):
        y = y + x
    y.backward()
    assert x.grad.item() == 100_001
    del y


def test_gradients_accumulated_in_place_are_not_seen_through_other_names() -> None:
    kept = []
    a = flambeau.zeros(2, requires_grad=True)
    b = flambeau.zeros(2, requires_grad=True)
    a.register_hook(lambda g: kept.append(g))
    for _ in range(2):
        (a + b).sum().backward()
    assert [g.tolist() for g in kept] == [[1.0, 1.0], [1.0, 1.0]]
    assert a.grad.tolist() == b.grad.tolist() == [2.0, 2.0]


def test_gradcheck_accepts_right_and_refuses_wrong_derivatives() -> None:
    x = flambeau.tensor([0.5, 1.5], dtype=flambeau.float64, requires_grad=True)
    assert flambeau.autograd.gradcheck(lambda t: (t * t).exp(), (x,))
    assert flambeau.autograd.gradgradcheck(lambda t: (t * t).exp(), (x,))

    class Wrong(flambeau.autograd.Function):
        @staticmethod
        def forward(ctx: Any, t: Any) -> Any:
            return t * 2

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * 3

    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        flambeau.autograd.gradcheck(Wrong.apply, (x,))
    assert not flambeau.autograd.gradcheck(Wrong.apply, (x,), raise_exception=False)


def test_once_differentiable_refuses_a_second_derivative() -> None:
    class Once(flambeau.autograd.Function):
        @staticmethod
        def forward(ctx: Any, t: Any) -> Any:
            ctx.save_for_backward(t)
            return t * t

        @staticmethod
        @flambeau.autograd.function.once_differentiable
        def backward(ctx: Any, g: Any) -> Any:
            return g * 2 * ctx.saved_tensors[0]

    x = flambeau.ones(1, requires_grad=True)
    w = flambeau.ones(1, requires_grad=True)
    (g,) = flambeau.autograd.grad(Once.apply(x) * w, x, create_graph=True)
    assert g.item() == 2
    with pytest.raises(RuntimeError, match="once_differentiable"):
        flambeau.autograd.grad(g, w)


def test_batched_gradients_are_rows_of_the_jacobian_and_keep_their_graph() -> None:
    x = flambeau.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = x * x * x
    (rows,) = flambeau.autograd.grad(y, x, flambeau.eye(3), is_grads_batched=True, create_graph=True)
    assert rows.tolist() == [[3, 0, 0], [0, 12, 0], [0, 0, 27]]
    (second,) = flambeau.autograd.grad(rows.sum(), x)
    assert second.tolist() == [6, 12, 18]


def test_jacobian_of_a_jacobian() -> None:
    jacobian = flambeau.autograd.functional.jacobian
    x = flambeau.tensor([1.0, 2.0])
    twice = jacobian(lambda v: jacobian(lambda u: u**3, v, create_graph=True).sum(0), x)
    assert twice.tolist() == [[6, 0], [0, 12]]


def test_types_of_nodes_have_pytorchs_names() -> None:
    class Same(flambeau.autograd.Function):
        @staticmethod
        def forward(ctx: Any, t: Any) -> Any:
            return t * 1

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g

    x = flambeau.ones(1, requires_grad=True)
    names = [type(y.grad_fn).__name__ for y in (x * 2, x.exp(), Same.apply(x), x[0])]
    assert names == ["MulBackward0", "ExpBackward0", "SameBackward", "SelectBackward0"]
