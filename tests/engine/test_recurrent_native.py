"""Recurrent layers beside their references, forward and backward: cells, sizes off every tile, directions, missing biases,
strided operands; the same bits whatever the threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flambeau as torch
from flambeau.autograd import walk
from flambeau.dtypes import bfloat16, float16
from flambeau.engine.schedule.lowering import Unsupported
from flambeau.ops.op import ops
from flambeau.tensors import Tensor, from_array
from tests.engine.harness import native, reference

GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}
SIZES = [
    (1, 1, 1, 1),
    (3, 2, 4, 3),
    (5, 20, 30, 16),
    (4, 7, 5, 33),
    (2, 13, 8, 64),
    (3, 40, 9, 100),
]  # T, N, in, hidden
FORWARD, BACK = ops["rnn_layer"], ops["rnn_layer_backward"]


def operands(cell: str, sizes: tuple[int, ...], d: Any, bias: bool = True, turned: bool = False) -> list[Any]:
    rng = np.random.default_rng(sum(sizes))
    length, batch, features, n = sizes

    def t(*shape: int) -> Tensor:
        return from_array((rng.standard_normal(shape) / np.sqrt(n)).astype(d))

    wide = GATES[cell] * n
    x = t(batch, length, features).transpose(0, 1) if turned else t(length, batch, features)
    w_ih, w_hh = (t(features, wide).t(), t(n, wide).t()) if turned else (t(wide, features), t(wide, n))
    biases = [t(wide), t(wide)] if bias else [None, None]
    return [x, t(batch, n), t(batch, n) if cell == "lstm" else None, w_ih, w_hh, *biases, None]


def close(got: list[np.ndarray], want: list[np.ndarray], d: Any) -> None:
    tolerance = {np.float32: 2e-5, np.float64: 1e-12}.get(d, 2e-2)
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(g, w, tolerance, tolerance)


@pytest.mark.parametrize("cell", GATES)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("d", [np.float32, np.float64], ids=["float32", "float64"])
def test_layers(cell: str, sizes: tuple[int, ...], d: Any) -> None:
    for bias, backwards, turned in ((True, False, False), (False, True, True)):
        how = {"cell": cell, "sizes": None, "backwards": backwards}
        inputs = operands(cell, sizes, d, bias, turned)
        want = reference(FORWARD, *inputs, **how)
        got = native(FORWARD, *inputs, **how)
        close(got, want, d)
        for g, again in zip(got, native(FORWARD, *inputs, threads=3, **how)):
            assert g.tobytes() == again.tobytes()
        back_of(cell, inputs, want, d, how)


def back_of(cell: str, inputs: list[Any], forward: list[np.ndarray], d: Any, how: dict[str, Any]) -> None:
    rng = np.random.default_rng(1)
    grads = [from_array(rng.standard_normal(y.shape).astype(d)) for y in forward[:3]]
    kept = [from_array(y) for y in forward[3:]]
    args = (*grads, inputs[0], *kept, *inputs[3:])
    want = reference(BACK, *args, **how)
    got = native(BACK, *args, **how)
    scale = [max(np.abs(w).max(), 1.0) if w.size else 1.0 for w in want]
    close([g / s for g, s in zip(got, scale)], [w / s for w, s in zip(want, scale)], d)
    for g, again in zip(got, native(BACK, *args, threads=3, **how)):
        assert g.tobytes() == again.tobytes()


def test_gradients_that_are_broadcast() -> None:
    """`out.sum().backward()` hands over one number seen everywhere."""
    inputs = operands("lstm", (3, 4, 5, 6), np.float32)
    how = {"cell": "lstm", "sizes": None, "backwards": False}
    forward = reference(FORWARD, *inputs, **how)
    one = from_array(np.ones((), np.float32))
    grads = [one.expand(*y.shape) for y in forward[:3]]
    args = (*grads, inputs[0], *[from_array(y) for y in forward[3:]], *inputs[3:])
    close(native(BACK, *args, **how), reference(BACK, *args, **how), np.float32)


@pytest.mark.parametrize("cell", GATES)
@pytest.mark.parametrize("given", [(0,), (1,), (2,), (0, 2)], ids=str)
def test_gradients_that_are_not_there(cell: str, given: tuple[int, ...]) -> None:
    inputs = operands(cell, (3, 4, 5, 6), np.float32)
    how = {"cell": cell, "sizes": None, "backwards": False}
    forward = reference(FORWARD, *inputs, **how)
    ones = [from_array(np.ones(y.shape, np.float32)) for y in forward[:3]]
    rest = (inputs[0], *[from_array(y) for y in forward[3:]], *inputs[3:])
    args = (*[g if nr in given else None for nr, g in enumerate(ones)], *rest)
    zeros = (*[g if nr in given else g * 0 for nr, g in enumerate(ones)], *rest)
    want = reference(BACK, *zeros, **how)
    close(reference(BACK, *args, **how), want, np.float32)
    close(native(BACK, *args, **how), want, np.float32)


def test_backward_is_replayed_without_gradients_of_last_states(monkeypatch: pytest.MonkeyPatch) -> None:
    walked: list[int] = []
    losses: list[float] = []

    class Watched(walk._Walk):
        def run(self) -> Any:
            walked.append(len(losses))
            return super().run()

    monkeypatch.setattr(walk, "_Walk", Watched)
    layer, x = torch.nn.LSTM(4, 6, 2), torch.randn(3, 2, 4)
    while len(losses) < 5:
        layer.zero_grad()
        loss = layer(x)[0].sum()
        loss.backward()
        losses.append(loss.item())
    assert walked and max(walked) < 3


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn_tanh"])
@pytest.mark.parametrize("d", [float16.np, bfloat16.np], ids=["float16", "bfloat16"])
def test_narrow_floats(cell: str, d: Any) -> None:
    inputs = operands(cell, (3, 5, 4, 33), d, turned=True)
    how = {"cell": cell, "sizes": None, "backwards": True}
    want = reference(FORWARD, *inputs, **how)
    close(native(FORWARD, *inputs, **how), want, d)
    back_of(cell, inputs, want, d, how)


def test_packed_sequences_are_left_to_the_reference() -> None:
    inputs = operands("gru", (3, 2, 4, 5), np.float32)
    with pytest.raises(Unsupported):
        native(FORWARD, *inputs, cell="gru", sizes=(2, 1, 1), backwards=False)
