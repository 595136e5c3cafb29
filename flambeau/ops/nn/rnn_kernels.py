"""Recurrent layers in NumPy: one layer in one direction over a whole sequence, and back through time.

A layer gets the rows of all time steps, one step after the other; a `Step` says which they are. All steps have as many
rows, or those of packed sequences: `sizes[t]` rows of the batch are still running at step t, the longest sequences
first. What the way back needs is put into a tuple of arrays, the reserve.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Weights(NamedTuple):
    """Of one layer and direction: `b_ih`, `b_hh` may be None; `w_hr` projects the hidden state of an LSTM."""

    w_ih: np.ndarray
    w_hh: np.ndarray
    b_ih: np.ndarray | None
    b_hh: np.ndarray | None
    w_hr: np.ndarray | None


class Step(NamedTuple):
    """`at`: the step's rows among those of all steps; they are the first `rows` of the batch."""

    at: slice
    rows: int


def steps_of(length: int, batch: int, sizes: np.ndarray | None, backwards: bool) -> list[Step]:
    """The steps in the order of processing."""
    counts = [batch] * length if sizes is None else sizes.tolist()
    ends = np.cumsum(counts, dtype=np.int64).tolist()
    steps = [Step(slice(end - rows, end), rows) for end, rows in zip(ends, counts)]
    return steps[::-1] if backwards else steps


def _sigmoid(x: np.ndarray) -> np.ndarray:
    np.negative(x, out=x)
    np.exp(x, out=x)
    x += 1
    return np.reciprocal(x, out=x)


def _from_input(x: np.ndarray, w: np.ndarray, *biases: np.ndarray | None) -> np.ndarray:
    """The input's part of all gates of all steps, in one product."""
    gates = x @ w.T
    for b in biases:
        if b is not None:
            gates += b
    return gates


# -- LSTM ------------------------------------------------------------------------------------------------------


def lstm(x: np.ndarray, h0: np.ndarray, c0: Any, w: Weights, steps: list[Step]) -> tuple[np.ndarray, ...]:
    """Outputs, last h, last c; and the reserve: gates, previous c, previous h."""
    n = w.w_hh.shape[0] // 4
    gates = _from_input(x, w.w_ih, w.b_ih, w.b_hh)
    out, h_before = np.empty((2, len(x), h0.shape[1]), x.dtype)
    c_before = np.empty((len(x), n), x.dtype)
    h, c, across = h0.copy(), c0.copy(), np.ascontiguousarray(w.w_hh.T)
    for at, rows in steps:
        h_before[at], c_before[at] = h[:rows], c[:rows]
        a = gates[at]
        a += h[:rows] @ across
        candidate = np.tanh(a[:, 2 * n : 3 * n])
        _sigmoid(a)
        a[:, 2 * n : 3 * n] = candidate
        c[:rows] = a[:, n : 2 * n] * c[:rows] + a[:, :n] * candidate
        fresh = a[:, 3 * n :] * np.tanh(c[:rows])
        h[:rows] = fresh if w.w_hr is None else fresh @ w.w_hr.T
        out[at] = h[:rows]
    return out, h, c, gates, c_before, h_before


def lstm_back(
    g: np.ndarray, gh: np.ndarray, gc: np.ndarray, x: np.ndarray, w: Weights, reserve: tuple, steps: list[Step],
) -> tuple[Any, ...]:  # fmt: skip
    """Gradients of input, h0, c0, w_ih, w_hh, the biases and w_hr."""
    gates, c_before, h_before = reserve
    n = w.w_hh.shape[0] // 4
    ga = np.empty_like(gates)
    dh, dc = gh.copy(), gc.copy()
    g_hr = None if w.w_hr is None else np.zeros_like(w.w_hr)
    for at, rows in steps:
        i, f, candidate, o = (gates[at, k * n : (k + 1) * n] for k in range(4))
        squashed = np.tanh(f * c_before[at] + i * candidate)
        d = dh[:rows] + g[at]
        if w.w_hr is not None:
            g_hr += d.T @ (o * squashed)
            d = d @ w.w_hr
        dct = dc[:rows] + d * o * (1 - squashed * squashed)
        a = ga[at]
        a[:, :n] = dct * candidate * i * (1 - i)
        a[:, n : 2 * n] = dct * c_before[at] * f * (1 - f)
        a[:, 2 * n : 3 * n] = dct * i * (1 - candidate * candidate)
        a[:, 3 * n :] = d * squashed * o * (1 - o)
        dc[:rows] = dct * f
        dh[:rows] = a @ w.w_hh
    gx, g_ih, g_hh, gb = _weight_gradients(ga, ga, x, h_before, w)
    return gx, dh, dc, g_ih, g_hh, gb, gb, g_hr


def _weight_gradients(ga: np.ndarray, gh: np.ndarray, x: np.ndarray, h_before: np.ndarray, w: Weights) -> tuple:
    """Gradients of input, w_ih, w_hh and b_ih from those of the gates as the input and the state see them."""
    return ga @ w.w_ih, ga.T @ x, gh.T @ h_before, ga.sum(0)


# -- GRU -------------------------------------------------------------------------------------------------------


def gru(x: np.ndarray, h0: np.ndarray, _c0: Any, w: Weights, steps: list[Step]) -> tuple[np.ndarray, ...]:
    """Outputs, last h; and the reserve: gates r, z, n with the state's part of n, previous h."""
    n = h0.shape[1]
    gates = np.empty((len(x), 4 * n), x.dtype)
    gates[:, : 3 * n] = _from_input(x, w.w_ih, w.b_ih)
    out, h_before = np.empty((2, len(x), n), x.dtype)
    h, across = h0.copy(), np.ascontiguousarray(w.w_hh.T)
    for at, rows in steps:
        h_before[at] = h[:rows]
        from_state = h[:rows] @ across
        if w.b_hh is not None:
            from_state += w.b_hh
        a = gates[at]
        a[:, : 2 * n] += from_state[:, : 2 * n]
        _sigmoid(a[:, : 2 * n])
        a[:, 3 * n :] = from_state[:, 2 * n :]
        a[:, 2 * n : 3 * n] += a[:, :n] * from_state[:, 2 * n :]
        np.tanh(a[:, 2 * n : 3 * n], out=a[:, 2 * n : 3 * n])
        candidate = a[:, 2 * n : 3 * n]
        h[:rows] = candidate + a[:, n : 2 * n] * (h[:rows] - candidate)
        out[at] = h[:rows]
    return out, h, h[:0], gates, h_before[:0], h_before


def gru_back(
    g: np.ndarray, gh: np.ndarray, _gc: Any, x: np.ndarray, w: Weights, reserve: tuple, steps: list[Step],
) -> tuple[Any, ...]:  # fmt: skip
    gates, _, h_before = reserve
    n = h_before.shape[-1]
    from_input, from_state = np.empty((2, len(x), 3 * n), x.dtype)
    dh = gh.copy()
    for at, rows in steps:
        r, z, candidate, state_part = (gates[at, k * n : (k + 1) * n] for k in range(4))
        d = dh[:rows] + g[at]
        a, b = from_input[at], from_state[at]
        an = d * (1 - z) * (1 - candidate * candidate)
        a[:, :n] = an * state_part * r * (1 - r)
        a[:, n : 2 * n] = d * (h_before[at] - candidate) * z * (1 - z)
        a[:, 2 * n :] = an
        b[:, : 2 * n] = a[:, : 2 * n]
        b[:, 2 * n :] = an * r
        dh[:rows] = d * z + b @ w.w_hh
    gx, g_ih, g_hh, gb = _weight_gradients(from_input, from_state, x, h_before, w)
    return gx, dh, None, g_ih, g_hh, gb, from_state.sum(0), None


# -- Elman networks --------------------------------------------------------------------------------------------


def _elman(squash: Callable) -> Callable:
    def layer(x: np.ndarray, h0: np.ndarray, _c0: Any, w: Weights, steps: list[Step]) -> tuple[np.ndarray, ...]:
        gates = _from_input(x, w.w_ih, w.b_ih, w.b_hh)
        out, h_before = np.empty_like(gates), np.empty_like(gates)
        h, across = h0.copy(), np.ascontiguousarray(w.w_hh.T)
        for at, rows in steps:
            h_before[at] = h[:rows]
            h[:rows] = squash(gates[at] + h[:rows] @ across)
            out[at] = h[:rows]
        return out, h, h[:0], out.copy(), h_before[:0], h_before

    return layer


def _elman_back(slope: Callable) -> Callable:
    def back(
        g: np.ndarray, gh: np.ndarray, _gc: Any, x: np.ndarray, w: Weights, reserve: tuple, steps: list[Step],
    ) -> tuple[Any, ...]:  # fmt: skip
        after, _, h_before = reserve
        ga = np.empty_like(after)
        dh = gh.copy()
        for at, rows in steps:
            ga[at] = (dh[:rows] + g[at]) * slope(after[at])
            dh[:rows] = ga[at] @ w.w_hh
        gx, g_ih, g_hh, gb = _weight_gradients(ga, ga, x, h_before, w)
        return gx, dh, None, g_ih, g_hh, gb, gb, None

    return back


FORWARD: dict[str, Callable] = {
    "lstm": lstm, "gru": gru, "rnn_tanh": _elman(np.tanh), "rnn_relu": _elman(lambda x: np.maximum(x, 0)),
}  # fmt: skip
BACKWARD: dict[str, Callable] = {
    "lstm": lstm_back, "gru": gru_back, "rnn_tanh": _elman_back(lambda y: 1 - y * y),
    "rnn_relu": _elman_back(lambda y: (y > 0).astype(y.dtype)),
}  # fmt: skip
