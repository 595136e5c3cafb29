"""Recurrent layers beside their references, forward and backward: cells, sizes off every tile, directions, missing biases,
strided operands, projections, packed sequences; the same bits whatever the threads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import flambeau as torch
from flambeau.autograd import walk
from flambeau.dtypes import bfloat16, float16
from flambeau.engine.schedule.lowering import Unsupported
from flambeau.nn.utils.rnn import pack_padded_sequence
from flambeau.ops.op import ops
from flambeau.tensors import Tensor, from_array
from tests.engine.everywhere import everywhere, recording
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


LENGTHS = [(1,), (5, 5, 5), (7, 4, 4, 1, 1, 1, 1), (9,) + (5,) * 12 + (2,) * 8]  # of packed sequences


def normal(rng: np.random.Generator, shape: tuple[int, ...], d: Any) -> np.ndarray:
    x = rng.standard_normal(shape)
    return (x + 1j * rng.standard_normal(shape) if np.dtype(d).kind == "c" else x).astype(d)


def operands(
    cell: str, sizes: tuple[int, ...], d: Any, bias: bool = True, turned: bool = False, state: int = 0,
    lengths: tuple[int, ...] | None = None,
) -> list[Any]:  # fmt: skip
    """Of a layer; `state`: how many numbers the hidden state is projected to; `lengths` take the place of T and N."""
    rng = np.random.default_rng(sum(sizes))
    length, batch, features, n = sizes

    def t(*shape: int) -> Tensor:
        return from_array((normal(rng, shape, d) / np.sqrt(n)).astype(d))

    wide, m, counts = GATES[cell] * n, state or n, None
    if lengths is not None:
        batch, running = len(lengths), np.array([sum(n > t for n in lengths) for t in range(lengths[0])], np.int64)
        counts = from_array(np.repeat(running, 2))[::2] if turned else from_array(running)
        x = t(features, sum(lengths)).t() if turned else t(sum(lengths), features)
    else:
        x = t(batch, length, features).transpose(0, 1) if turned else t(length, batch, features)
    w_ih, w_hh = (t(features, wide).t(), t(m, wide).t()) if turned else (t(wide, features), t(wide, m))
    biases = [t(wide), t(wide)] if bias else [None, None]
    w_hr = None if not state else t(n, m).t() if turned else t(m, n)
    return [x, counts, t(batch, m), t(batch, n) if cell == "lstm" else None, w_ih, w_hh, *biases, w_hr]


def close(got: list[np.ndarray], want: list[np.ndarray], d: Any) -> None:
    tolerance = {np.float32: 2e-5, np.float64: 1e-12, np.complex64: 5e-5, np.complex128: 1e-11}.get(d, 2e-2)
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(g, w, tolerance, tolerance)


def check(cell: str, inputs: list[Any], d: Any, backwards: bool = False) -> None:
    """Forward and backward, on several threads as well."""
    how = {"cell": cell, "backwards": backwards}
    want = reference(FORWARD, *inputs, **how)
    got = native(FORWARD, *inputs, **how)
    close(got, want, d)
    for g, again in zip(got, native(FORWARD, *inputs, threads=3, **how)):
        assert g.tobytes() == again.tobytes()
    back_of(cell, inputs, want, d, how)


@pytest.mark.parametrize("cell", GATES)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("d", [np.float32, np.float64], ids=["float32", "float64"])
def test_layers(cell: str, sizes: tuple[int, ...], d: Any) -> None:
    for bias, backwards, turned in ((True, False, False), (False, True, True)):
        check(cell, operands(cell, sizes, d, bias, turned), d, backwards)


@pytest.mark.parametrize("sizes", SIZES[1:], ids=str)
def test_projections(sizes: tuple[int, ...]) -> None:
    for d, state, turned in ((np.float32, 1, False), (np.float64, max(sizes[3] // 2, 1), True)):
        check("lstm", operands("lstm", sizes, d, True, turned, state), d, turned)


@pytest.mark.parametrize("cell", GATES)
@pytest.mark.parametrize("lengths", LENGTHS, ids=lambda lengths: f"{len(lengths)} of {sum(lengths)}")
def test_packed_sequences(cell: str, lengths: tuple[int, ...]) -> None:
    for d, n, backwards in ((np.float32, 5, False), (np.float32, 32, True), (np.float64, 20, True)):
        check(cell, operands(cell, (0, 0, 4, n), d, backwards, backwards, lengths=lengths), d, backwards)


@pytest.mark.parametrize("backwards", [False, True])
def test_packed_sequences_with_projections(backwards: bool) -> None:
    check("lstm", operands("lstm", (0, 0, 6, 33), np.float32, state=17, lengths=LENGTHS[-1]), np.float32, backwards)


def test_packed_sequences_are_as_they_are_alone() -> None:
    x, counts, h, _, *weights = operands("gru", (0, 0, 4, 7), np.float32, lengths=(5, 3, 1))
    rows = np.array([[0, 3, 5, 7, 8], [1, 4, 6, 0, 0], [2, 0, 0, 0, 0]])
    for backwards in (False, True):
        how = {"cell": "gru", "backwards": backwards}
        out, last, *_ = native(FORWARD, x, counts, h, None, *weights, **how)
        for nr, length in enumerate((5, 3, 1)):
            own = from_array(x._array()[rows[nr, :length], None])
            alone, end, *_ = native(FORWARD, own, None, h[nr : nr + 1], None, *weights, **how)
            close([out[rows[nr, :length]], last[nr : nr + 1]], [alone[:, 0], end], np.float32)


def back_of(cell: str, inputs: list[Any], forward: list[np.ndarray], d: Any, how: dict[str, Any]) -> None:
    rng = np.random.default_rng(1)
    grads = [from_array(normal(rng, y.shape, d)) for y in forward[:3]]
    kept = [from_array(y) for y in forward[3:]]
    args, how = (*grads, *inputs[:2], *kept, *inputs[4:]), {**how, "batch": inputs[2].shape[0]}
    want = reference(BACK, *args, **how)
    got = native(BACK, *args, **how)
    scale = [max(np.abs(w).max(), 1.0) if w.size else 1.0 for w in want]
    close([g / s for g, s in zip(got, scale)], [w / s for w, s in zip(want, scale)], d)
    for g, again in zip(got, native(BACK, *args, threads=3, **how)):
        assert g.tobytes() == again.tobytes()


def test_gradients_that_are_broadcast() -> None:
    """`out.sum().backward()` hands over one number seen everywhere."""
    inputs = operands("lstm", (3, 4, 5, 6), np.float32)
    how = {"cell": "lstm", "backwards": False}
    forward = reference(FORWARD, *inputs, **how)
    one = from_array(np.ones((), np.float32))
    grads = [one.expand(*y.shape) for y in forward[:3]]
    args = (*grads, *inputs[:2], *[from_array(y) for y in forward[3:]], *inputs[4:])
    close(native(BACK, *args, batch=4, **how), reference(BACK, *args, batch=4, **how), np.float32)


@pytest.mark.parametrize("cell", GATES)
@pytest.mark.parametrize("given", [(0,), (1,), (2,), (0, 2)], ids=str)
def test_gradients_that_are_not_there(cell: str, given: tuple[int, ...]) -> None:
    inputs = operands(cell, (3, 4, 5, 6), np.float32)
    how = {"cell": cell, "backwards": False}
    forward = reference(FORWARD, *inputs, **how)
    ones = [from_array(np.ones(y.shape, np.float32)) for y in forward[:3]]
    rest = (*inputs[:2], *[from_array(y) for y in forward[3:]], *inputs[4:])
    how["batch"] = 4
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
@pytest.mark.parametrize("d", [np.complex64, np.complex128], ids=["complex64", "complex128"])
def test_complex_numbers(cell: str, d: Any) -> None:
    check(cell, operands(cell, (3, 7, 4, 21), d), d)
    check(cell, operands(cell, (0, 0, 3, 8), d, turned=True, lengths=(4, 2, 2)), d, True)


def test_complex_projections() -> None:
    check("lstm", operands("lstm", (3, 7, 4, 21), np.complex64, state=5), np.complex64)


def test_cells_of_complex_numbers_that_have_an_order_are_refused() -> None:
    with pytest.raises(Unsupported):
        native(FORWARD, *operands("rnn_relu", (3, 2, 4, 5), np.complex64), cell="rnn_relu", backwards=False)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn_tanh"])
@pytest.mark.parametrize("d", [float16.np, bfloat16.np], ids=["float16", "bfloat16"])
def test_narrow_floats(cell: str, d: Any) -> None:
    inputs = operands(cell, (3, 5, 4, 33), d, turned=True)
    how = {"cell": cell, "backwards": True}
    want = reference(FORWARD, *inputs, **how)
    close(native(FORWARD, *inputs, **how), want, d)
    back_of(cell, inputs, want, d, how)


@pytest.mark.parametrize("kind, extra", [("LSTM", {"proj_size": 3}), ("GRU", {})])
def test_packed_sequences_in_every_mode(kind: str, extra: dict[str, int]) -> None:
    """Lengths that add up to as much are no constants of what was recorded."""

    def program() -> Iterator[Any]:
        torch.manual_seed(0)
        layer = getattr(torch.nn, kind)(4, 5, 2, bidirectional=True, **extra)
        rows = torch.randn(6, 3, 4)
        for step in range(6):
            lengths = [[6, 4, 1], [6, 3, 2]][step % 2]
            packed = pack_padded_sequence(rows, torch.tensor(lengths))
            out, state = layer(packed)
            loss = out.data.square().mean() + (state[0] if kind == "LSTM" else state).sum()
            layer.zero_grad()
            loss.backward()
            yield loss.item()
            yield from [p.grad.numpy().copy() for p in layer.parameters()]

    everywhere(program, 1e-4)
    with recording() as found:
        list(program())
    assert "rnn_layer" not in found and "rnn_layer_backward" not in found


def test_sizes_that_do_not_fit() -> None:
    """PyTorch reads and writes memory that is not its own."""
    layer, x = torch.nn.LSTM(3, 4), torch.randn(5, 3)
    weights, state = layer._flat_weights, torch.zeros(1, 2, 4)
    for sizes in ([2, 2], [2, 2, 2], [1, 2, 2], [3, 2], [2, 2, 1, 0], []):
        with pytest.raises(RuntimeError, match="batch_sizes"):
            counts = torch.tensor(sizes, dtype=torch.int64)
            torch.lstm(x, counts, (state, state), weights, True, 1, 0.0, False, False)
    for h, c in ((state, torch.zeros(1, 3, 4)), (torch.zeros(1, 1, 4), state), (torch.zeros(1, 2, 5), state)):
        with pytest.raises(RuntimeError, match="Expected hidden"):
            torch.lstm(x[:4].reshape(2, 2, 3), (h, c), weights, True, 1, 0.0, False, False, False)
    cell = torch.nn.LSTMCell(3, 4)
    for c in (torch.zeros(3, 4), torch.zeros(2, 5)):
        with pytest.raises(RuntimeError, match="hidden1"):
            cell(x[:2], (state[0], c))


@pytest.mark.parametrize("kind, extra", [("LSTM", {"proj_size": 2}), ("LSTM", {}), ("GRU", {}), ("RNN", {})])
def test_gradients_of_complex_layers(kind: str, extra: dict[str, int]) -> None:
    """By the reference, and through the steps one by one."""
    torch.manual_seed(0)
    layer = getattr(torch.nn, kind)(3, 4, dtype=torch.complex64, **extra)
    x = torch.randn(3, 2, 3, dtype=torch.complex64, requires_grad=True)
    inputs = [x, *layer.parameters()]
    fused, unrolled = (
        torch.autograd.grad(layer(x)[0].abs().square().sum(), inputs, create_graph=graph) for graph in (False, True)
    )
    for found, wanted in zip(fused, unrolled):
        np.testing.assert_allclose(found.numpy(), wanted.detach().numpy(), 1e-4, 1e-5)
