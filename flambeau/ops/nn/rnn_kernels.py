"""Recurrent layers in NumPy: one layer in one direction over a whole sequence, and back through time.

A layer gets [time, batch, features]; `sizes[t]` rows of the batch are still running at step t (all of them if None),
the longest sequences first. What the way back needs is put into a tuple of arrays, the reserve.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

Sizes = tuple[int, ...] | None


class Weights(NamedTuple):
    """Of one layer and direction: `b_ih`, `b_hh` may be None; `w_hr` projects the hidden state of an LSTM."""

    w_ih: np.ndarray
    w_hh: np.ndarray
    b_ih: np.ndarray | None
    b_hh: np.ndarray | None
    w_hr: np.ndarray | None


def _sigmoid(x: np.ndarray) -> np.ndarray:
    np.negative(x, out=x)
    np.exp(x, out=x)
    x += 1
    return np.reciprocal(x, out=x)


def _steps(length: int, batch: int, sizes: Sizes, backwards: bool) -> Iterator[tuple[int, int]]:
    """(t, running rows) in the order of processing."""
    for t in reversed(range(length)) if backwards else range(length):
        yield t, batch if sizes is None else sizes[t]


def _from_input(x: np.ndarray, w: np.ndarray, *biases: np.ndarray | None) -> np.ndarray:
    """The input's part of all gates of all steps, in one product."""
    length, batch, features = x.shape
    gates = x.reshape(-1, features) @ w.T
    for b in biases:
        if b is not None:
            gates += b
    return gates.reshape(length, batch, -1)


# -- LSTM ------------------------------------------------------------------------------------------------------


def lstm(x: np.ndarray, h0: np.ndarray, c0: Any, w: Weights, sizes: Sizes, backwards: bool) -> tuple[np.ndarray, ...]:
    """Outputs, last h, last c; and the reserve: gates, previous c, previous h."""
    length, batch, _ = x.shape
    n = w.w_hh.shape[0] // 4
    gates = _from_input(x, w.w_ih, w.b_ih, w.b_hh)
    out = np.zeros((length, batch, h0.shape[1]), x.dtype)
    c_before, h_before = np.zeros((length, batch, n), x.dtype), np.zeros((length, batch, h0.shape[1]), x.dtype)
    h, c, across = h0.copy(), c0.copy(), np.ascontiguousarray(w.w_hh.T)
    for t, rows in _steps(length, batch, sizes, backwards):
        h_before[t, :rows], c_before[t, :rows] = h[:rows], c[:rows]
        a = gates[t, :rows]
        a += h[:rows] @ across
        candidate = np.tanh(a[:, 2 * n : 3 * n])
        _sigmoid(a)
        a[:, 2 * n : 3 * n] = candidate
        c[:rows] = a[:, n : 2 * n] * c[:rows] + a[:, :n] * candidate
        fresh = a[:, 3 * n :] * np.tanh(c[:rows])
        h[:rows] = fresh if w.w_hr is None else fresh @ w.w_hr.T
        out[t, :rows] = h[:rows]
        gates[t, rows:] = 0
    return out, h, c, gates, c_before, h_before


def lstm_back(
    g: np.ndarray, gh: np.ndarray, gc: np.ndarray, x: np.ndarray, w: Weights, reserve: tuple, sizes: Sizes,
    backwards: bool,
) -> tuple[Any, ...]:  # fmt: skip
    """Gradients of input, h0, c0, w_ih, w_hh, the biases and w_hr."""
    gates, c_before, h_before = reserve
    length, batch, _ = x.shape
    n = w.w_hh.shape[0] // 4
    ga = np.zeros_like(gates)
    dh, dc = gh.copy(), gc.copy()
    g_hr = None if w.w_hr is None else np.zeros_like(w.w_hr)
    for t, rows in _steps(length, batch, sizes, not backwards):
        i, f, candidate, o = (gates[t, :rows, k * n : (k + 1) * n] for k in range(4))
        squashed = np.tanh(f * c_before[t, :rows] + i * candidate)
        d = dh[:rows] + g[t, :rows]
        if w.w_hr is not None:
            g_hr += d.T @ (o * squashed)
            d = d @ w.w_hr
        dct = dc[:rows] + d * o * (1 - squashed * squashed)
        a = ga[t, :rows]
        a[:, :n] = dct * candidate * i * (1 - i)
        a[:, n : 2 * n] = dct * c_before[t, :rows] * f * (1 - f)
        a[:, 2 * n : 3 * n] = dct * i * (1 - candidate * candidate)
        a[:, 3 * n :] = d * squashed * o * (1 - o)
        dc[:rows] = dct * f
        dh[:rows] = a @ w.w_hh
    gx, g_ih, g_hh, gb = _weight_gradients(ga, ga, x, h_before, w)
    return gx, dh, dc, g_ih, g_hh, gb, gb, g_hr


def _weight_gradients(ga: np.ndarray, gh: np.ndarray, x: np.ndarray, h_before: np.ndarray, w: Weights) -> tuple:
    """Gradients of input, w_ih, w_hh and b_ih from those of the gates as the input and the state see them."""
    flat, flat_h = ga.reshape(-1, ga.shape[-1]), gh.reshape(-1, gh.shape[-1])
    gx = (flat @ w.w_ih).reshape(x.shape)
    g_ih = flat.T @ x.reshape(-1, x.shape[-1])
    g_hh = flat_h.T @ h_before.reshape(-1, h_before.shape[-1])
    return gx, g_ih, g_hh, flat.sum(0)


# -- GRU -------------------------------------------------------------------------------------------------------


def gru(x: np.ndarray, h0: np.ndarray, _c0: Any, w: Weights, sizes: Sizes, backwards: bool) -> tuple[np.ndarray, ...]:
    """Outputs, last h; and the reserve: gates r, z, n with the state's part of n, previous h."""
    length, batch, _ = x.shape
    n = h0.shape[1]
    gates = np.zeros((length, batch, 4 * n), x.dtype)
    gates[..., : 3 * n] = _from_input(x, w.w_ih, w.b_ih)
    out, h_before = np.zeros((length, batch, n), x.dtype), np.zeros((length, batch, n), x.dtype)
    h, across = h0.copy(), np.ascontiguousarray(w.w_hh.T)
    for t, rows in _steps(length, batch, sizes, backwards):
        h_before[t, :rows] = h[:rows]
        from_state = h[:rows] @ across
        if w.b_hh is not None:
            from_state += w.b_hh
        a = gates[t, :rows]
        a[:, : 2 * n] += from_state[:, : 2 * n]
        _sigmoid(a[:, : 2 * n])
        a[:, 3 * n :] = from_state[:, 2 * n :]
        a[:, 2 * n : 3 * n] += a[:, :n] * from_state[:, 2 * n :]
        np.tanh(a[:, 2 * n : 3 * n], out=a[:, 2 * n : 3 * n])
        candidate = a[:, 2 * n : 3 * n]
        h[:rows] = candidate + a[:, n : 2 * n] * (h[:rows] - candidate)
        out[t, :rows] = h[:rows]
        gates[t, rows:] = 0
    return out, h, h[:0], gates, h_before[:0], h_before


def gru_back(
    g: np.ndarray, gh: np.ndarray, _gc: Any, x: np.ndarray, w: Weights, reserve: tuple, sizes: Sizes,
    backwards: bool,
) -> tuple[Any, ...]:  # fmt: skip
    gates, _, h_before = reserve
    length, batch, _ = x.shape
    n = h_before.shape[-1]
    from_input, from_state = np.zeros((2, length, batch, 3 * n), x.dtype)
    dh = gh.copy()
    for t, rows in _steps(length, batch, sizes, not backwards):
        r, z, candidate, state_part = (gates[t, :rows, k * n : (k + 1) * n] for k in range(4))
        d = dh[:rows] + g[t, :rows]
        a, b = from_input[t, :rows], from_state[t, :rows]
        an = d * (1 - z) * (1 - candidate * candidate)
        a[:, :n] = an * state_part * r * (1 - r)
        a[:, n : 2 * n] = d * (h_before[t, :rows] - candidate) * z * (1 - z)
        a[:, 2 * n :] = an
        b[:, : 2 * n] = a[:, : 2 * n]
        b[:, 2 * n :] = an * r
        dh[:rows] = d * z + b @ w.w_hh
    gx, g_ih, g_hh, gb = _weight_gradients(from_input, from_state, x, h_before, w)
    return gx, dh, None, g_ih, g_hh, gb, from_state.reshape(-1, 3 * n).sum(0), None


# -- Elman networks --------------------------------------------------------------------------------------------


def _elman(squash: Callable) -> Callable:
    def layer(
        x: np.ndarray, h0: np.ndarray, _c0: Any, w: Weights, sizes: Sizes, backwards: bool
    ) -> tuple[np.ndarray, ...]:
        length, batch, _ = x.shape
        gates = _from_input(x, w.w_ih, w.b_ih, w.b_hh)
        out, h_before = np.zeros_like(gates), np.zeros_like(gates)
        h, across = h0.copy(), np.ascontiguousarray(w.w_hh.T)
        for t, rows in _steps(length, batch, sizes, backwards):
            h_before[t, :rows] = h[:rows]
            h[:rows] = squash(gates[t, :rows] + h[:rows] @ across)
            out[t, :rows] = h[:rows]
        return out, h, h[:0], out.copy(), h_before[:0], h_before

    return layer


def _elman_back(slope: Callable) -> Callable:
    def back(
        g: np.ndarray, gh: np.ndarray, _gc: Any, x: np.ndarray, w: Weights, reserve: tuple, sizes: Sizes,
    backwards: bool,
    ) -> tuple[Any, ...]:  # fmt: skip
        after, _, h_before = reserve
        length, batch, _ = x.shape
        ga = np.zeros_like(after)
        dh = gh.copy()
        for t, rows in _steps(length, batch, sizes, not backwards):
            ga[t, :rows] = (dh[:rows] + g[t, :rows]) * slope(after[t, :rows])
            dh[:rows] = ga[t, :rows] @ w.w_hh
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
