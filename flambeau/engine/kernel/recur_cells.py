"""The formulas of recurrent cells, on lanes: one step forward, and one step back through time.

Each follows its reference in `ops/nn/rnn_kernels.py` word for word, so that both round alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flambeau.engine.kernel.emit import Val
from flambeau.engine.kernel.scalars import Scalars

Vals = list[Val]


@dataclass(frozen=True)
class Cell:
    """A recurrent cell.

    Attributes:
        gates: how many products of the state (and of the input) it takes.
        saved: how many values a unit keeps for the way back.
        joint: input and state only meet as a sum, so that their gradients and the biases' are the same.
        memory: whether there is a second state, c.
        forward: `(s, from_input, from_state, h, c) -> (h, c or None, saved)`.
        back: `(s, d, dc, saved, c_before, h_before) -> (input gradients, state gradients, part of dh, dc)`; the part
            of dh is what does not go through a product (None: nothing).
        output: `(s, saved, c_before) -> h`, of cells whose state may be projected.
    """

    gates: int
    saved: int
    joint: bool
    memory: bool
    forward: Callable[..., tuple[Val, Val | None, Vals]]
    back: Callable[..., tuple[Vals, Vals, Val | None, Val | None]]
    output: Callable[[Scalars, Vals, Val], Val] | None = None


def _lstm(s: Scalars, x: Vals, a: Vals, _h: Val, c: Val) -> tuple[Val, Val, Vals]:
    i, f, candidate, o = (p + q for p, q in zip(x, a))
    i, f, candidate, o = s.sigmoid(i), s.sigmoid(f), s.tanh(candidate), s.sigmoid(o)
    c = f * c + i * candidate
    return o * s.tanh(c), c, [i, f, candidate, o]


def _squashed(s: Scalars, saved: Vals, c_before: Val) -> Val:
    i, f, candidate, _ = saved
    return s.tanh(f * c_before + i * candidate)


def _lstm_output(s: Scalars, saved: Vals, c_before: Val) -> Val:
    return saved[3] * _squashed(s, saved, c_before)


def _lstm_back(s: Scalars, d: Val, dc: Val, saved: Vals, c_before: Val, _h: Any) -> tuple[Vals, Vals, None, Val]:
    i, f, candidate, o = saved
    squashed = _squashed(s, saved, c_before)
    dct = dc + d * o * (1.0 - squashed * squashed)
    gates = [
        dct * candidate * i * (1.0 - i), dct * c_before * f * (1.0 - f), dct * i * (1.0 - candidate * candidate),
        d * squashed * o * (1.0 - o),
    ]  # fmt: skip
    return gates, gates, None, dct * f


def _gru(s: Scalars, x: Vals, a: Vals, h: Val, _c: Any) -> tuple[Val, None, Vals]:
    r, z = s.sigmoid(x[0] + a[0]), s.sigmoid(x[1] + a[1])
    candidate = s.tanh(x[2] + r * a[2])
    return candidate + z * (h - candidate), None, [r, z, candidate, a[2]]


def _gru_back(_s: Any, d: Val, _dc: Any, saved: Vals, _c: Any, h_before: Val) -> tuple[Vals, Vals, Val, None]:
    r, z, candidate, state_part = saved
    an = d * (1.0 - z) * (1.0 - candidate * candidate)
    gates = [an * state_part * r * (1.0 - r), d * (h_before - candidate) * z * (1.0 - z)]
    return [*gates, an], [*gates, an * r], d * z, None


def _elman(squash: Callable[[Scalars, Val], Val]) -> Callable[..., tuple[Val, None, Vals]]:
    def step(s: Scalars, x: Vals, a: Vals, _h: Val, _c: Any) -> tuple[Val, None, Vals]:
        y = squash(s, x[0] + a[0])
        return y, None, [y]

    return step


def _elman_back(slope: Callable[[Scalars, Val], Val]) -> Callable[..., tuple[Vals, Vals, None, None]]:
    def back(s: Scalars, d: Val, _dc: Any, saved: Vals, _c: Any, _h: Any) -> tuple[Vals, Vals, None, None]:
        gate = d * slope(s, saved[0])
        return [gate], [gate], None, None

    return back


CELLS = {
    "lstm": Cell(4, 4, True, True, _lstm, _lstm_back, _lstm_output),
    "gru": Cell(3, 4, False, False, _gru, _gru_back),
    "rnn_tanh": Cell(1, 1, True, False, _elman(lambda s, x: s.tanh(x)), _elman_back(lambda s, y: 1.0 - y * y)),
    "rnn_relu": Cell(
        1, 1, True, False, _elman(lambda s, x: s.maximum(x, 0.0)),
        _elman_back(lambda s, y: s.where(y > 0.0, s.constant(1.0, y), 0.0)),
    ),
}  # fmt: skip
