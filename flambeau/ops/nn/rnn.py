"""Recurrent networks: LSTM, GRU and Elman networks over sequences, and their single steps.

One layer in one direction is one op; layers, directions, dropout between them and packed sequences are put around it.
Higher derivatives go through the unrolled steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from flambeau.autograd.mode import state
from flambeau.dtypes import FLOAT, float32, int64
from flambeau.engine.execute import Meta
from flambeau.engine.schedule.lowering import Kernels
from flambeau.later import later
from flambeau.ops import dropouts
from flambeau.ops.apply import type_name
from flambeau.ops.join import cat, stack
from flambeau.ops.nn.checks import tensor_shape
from flambeau.ops.nn.derive import grads_through, wants_history
from flambeau.ops.nn.linear import linear
from flambeau.ops.nn.rnn_kernels import BACKWARD, FORWARD, Weights, steps_of
from flambeau.ops.op import op, public
from flambeau.ops.samples import call
from flambeau.tensors import Tensor, from_array

recur = later("flambeau.engine.kernel.recur")
recur_back = later("flambeau.engine.kernel.recur_back")

# -- one layer, one direction ----------------------------------------------------------------------------------


def _rows(x: np.ndarray) -> np.ndarray:
    """The rows of all steps, one after the other."""
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def _layer(x: Any, sizes: Any, h0: Any, c0: Any, *weights: Any, cell: str, backwards: bool) -> tuple:
    steps = steps_of(len(x) if sizes is None else len(sizes), len(h0), sizes, backwards)
    out, h, c, gates, c_before, h_before = FORWARD[cell](_rows(x), h0, c0, Weights(*weights), steps)
    out, gates, h_before = (y.reshape(*x.shape[:-1], y.shape[-1]) for y in (out, gates, h_before))
    return out, h, c, gates, c_before.reshape(*x.shape[:-1], -1) if cell == "lstm" else c_before, h_before


def _layer_meta(x: Tensor, _sizes: Any, h0: Tensor, _c0: Any, *weights: Any, cell: str, **_: Any) -> tuple[Meta, ...]:
    steps, (batch, state), hidden = x._shape[:-1], h0._shape, weights[1]._shape[0] // _GATES[cell]
    if cell == "lstm":
        shapes = [(batch, hidden), (*steps, 4 * hidden), (*steps, hidden)]
    else:
        shapes = [(0, hidden), (*steps, (4 if cell == "gru" else 1) * hidden), (0, hidden)]
    every = [(*steps, state), (batch, state), *shapes, (*steps, state)]
    return tuple(Meta(tuple(shape), x.dtype) for shape in every)


_GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


def _layer_back(g: Any, gh: Any, gc: Any, x: Any, sizes: Any, gates: Any, before: Any, h_before: Any, *weights: Any,
                cell: str, batch: int, backwards: bool) -> tuple:  # fmt: skip
    g = np.zeros(h_before.shape, x.dtype) if g is None else g
    gh = np.zeros((batch, h_before.shape[-1]), x.dtype) if gh is None else gh
    gc = np.zeros((batch, before.shape[-1]), x.dtype) if gc is None else gc
    steps = steps_of(len(x) if sizes is None else len(sizes), batch, sizes, not backwards)
    grads, reserve = (_rows(g), gh, gc), (_rows(gates), _rows(before), _rows(h_before))
    if np.iscomplexobj(x):  # of functions that are differentiable in complex numbers, the conjugate derivative
        grads = (grads[0].conj(), gh.conj(), gc.conj())
    gx, *found = BACKWARD[cell](*grads, _rows(x), Weights(*weights), reserve, steps)
    every = [gx.reshape(x.shape), *(np.empty(0, x.dtype) if part is None else part for part in found)]
    return tuple([part.conj() for part in every] if np.iscomplexobj(x) else every)


def _layer_back_meta(_g: Any, _gh: Any, _gc: Any, x: Tensor, _sizes: Any, _gates: Any, before: Tensor,
                     h_before: Tensor, *weights: Any, cell: str, batch: int, **_: Any) -> tuple[Meta, ...]:  # fmt: skip
    w_ih, w_hh, _, _, w_hr = weights
    bias = (w_ih._shape[0],)
    state, memory = (batch, h_before._shape[-1]), (batch, before._shape[-1]) if cell == "lstm" else (0,)
    shapes = [x._shape, state, memory, w_ih._shape, w_hh._shape, bias, bias]
    shapes.append((0,) if w_hr is None else w_hr._shape)
    return tuple(Meta(tuple(shape), x.dtype) for shape in shapes)


def _layer_vjp(
    g: Any, y: Any, x: Tensor, sizes: Any, h0: Tensor, c0: Any, *weights: Any, needs: Any, **how: Any
) -> tuple:
    inputs = (x, sizes, h0, c0, *weights)
    if wants_history([t for t in (*g, *inputs) if isinstance(t, Tensor)]):
        return grads_through(lambda *entered: _unrolled(*entered, **how), g[:3], inputs, needs)
    found = layer_backward_op(*g[:3], x, sizes, y[3], y[4], y[5], *weights, batch=h0._shape[0], **how)
    return tuple(part if needed else None for part, needed in zip((found[0], None, *found[1:]), needs))


def _samples(t: Any) -> Any:
    for cell, gates in _GATES.items():
        c0 = t(2, 3) if cell == "lstm" else None
        weights = (t(gates * 3, 4), t(gates * 3, 3), t(gates * 3), t(gates * 3), None)
        yield call(t(5, 2, 4), None, t(2, 3), c0, *weights, cell=cell, backwards=False)
        for backwards in (False, True):
            sizes = from_array(np.array((2, 1, 1), np.int64))
            yield call(t(4, 4), sizes, t(2, 3), c0, *weights, cell=cell, backwards=backwards)
    weights = (t(12, 4), t(12, 2), None, None, t(2, 3))
    yield call(t(3, 2, 4), None, t(2, 2), t(2, 3), *weights, cell="lstm", backwards=False)


layer_op = op(
    "rnn_layer", ref=_layer, meta=_layer_meta, vjp=_layer_vjp, multiple=True, kept_outputs=(3, 4, 5), samples=_samples,
    lower=Kernels(recur.layer),
    backward_name=lambda _inputs, params: {"lstm": "Lstm", "gru": "Gru"}.get(params["cell"], "Rnn") + "LayerBackward0",
)  # fmt: skip
layer_backward_op = op(
    "rnn_layer_backward", ref=_layer_back, meta=_layer_back_meta, multiple=True, lower=Kernels(recur_back.layer_back),
)  # fmt: skip

# -- single steps in smaller ops -------------------------------------------------------------------------------


def _step(
    x: Tensor, h: Tensor, c: Any, w_ih: Tensor, w_hh: Tensor, b_ih: Any, b_hh: Any, w_hr: Any, cell: str
) -> tuple:
    from_input, from_state = linear(x, w_ih, b_ih), linear(h, w_hh, b_hh)
    if cell == "lstm":
        i, f, candidate, o = (from_input + from_state).chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * candidate.tanh()
        h = o.sigmoid() * c.tanh()
        return h if w_hr is None else linear(h, w_hr), c
    if cell == "gru":
        r_x, z_x, n_x = from_input.chunk(3, 1)
        r_h, z_h, n_h = from_state.chunk(3, 1)
        z = (z_x + z_h).sigmoid()
        candidate = (n_x + (r_x + r_h).sigmoid() * n_h).tanh()
        return candidate + z * (h - candidate), None
    total = from_input + from_state
    return (total.tanh() if cell == "rnn_tanh" else total.relu()), None


def _unrolled(x: Tensor, sizes: Any, h: Tensor, c: Any, *weights: Any, cell: str, backwards: bool) -> tuple:
    packed = None if sizes is None else sizes._array()
    steps = steps_of(len(x) if packed is None else len(packed), len(h), packed, backwards)
    outputs = []
    for at, rows in steps:
        this = x.reshape(-1, x._shape[-1])[at]
        new_h, new_c = _step(this, h[:rows], None if c is None else c[:rows], *weights, cell=cell)
        outputs.append(new_h)
        h = new_h if rows == len(h) else cat((new_h, h[rows:]))
        c = new_c if c is None or rows == len(c) else cat((new_c, c[rows:]))
    return cat(outputs[::-1] if backwards else outputs).reshape(*x._shape[:-1], -1), h, c


# -- layers and directions -------------------------------------------------------------------------------------


def _grouped(params: Sequence[Tensor], has_biases: bool, layers: int, directions: int) -> list[tuple]:
    """The flat list of weights as (w_ih, w_hh, b_ih, b_hh, w_hr) of each layer and direction."""
    each = len(params) // (layers * directions)
    expected = 4 if has_biases else 2
    if each not in (expected, expected + 1) or len(params) != each * layers * directions:
        raise RuntimeError(f"expected {expected * layers * directions} weights, but got {len(params)}")
    groups = []
    for start in range(0, len(params), each):
        part = list(params[start : start + each])
        projection = part.pop() if each == expected + 1 else None
        biases = part[2:] if has_biases else [None, None]
        groups.append((*part[:2], *biases, projection))
    return groups


def _autocast(narrow: bool, x: Tensor, *others: Any) -> list:
    """Give operands of one dtype inside `amp.autocast`: its own, or that of `x`.

    PyTorch narrows LSTMs and plain RNNs whole; of GRUs and of cells with gates only the products, so that their
    states keep the dtype of the input.
    """
    if state.autocast is None or x.dtype.category != FLOAT:
        return [x, *others]
    target = state.autocast if narrow and x.dtype is float32 else x.dtype
    return [t.to(target) if isinstance(t, Tensor) else t for t in (x, *others)]


def _run(cell: str, x: Tensor, hx: Any, params: Sequence[Tensor], has_biases: bool, num_layers: int, dropout: float,
         train: bool, bidirectional: bool, sizes: Tensor | None) -> tuple[Tensor, ...]:  # fmt: skip
    directions = 2 if bidirectional else 1
    hs, cs = hx if cell == "lstm" else (hx, None)
    x, hs, cs, *params = _autocast(cell != "gru", x, hs, cs, *params)
    groups = _grouped(params, has_biases, num_layers, directions)
    _check_states(x, sizes, groups[0], hs, cs)
    last_h, last_c = [], []
    for layer in range(num_layers):
        outputs = []
        for direction in range(directions):
            at = layer * directions + direction
            how = {"cell": cell, "backwards": direction == 1}
            out, h, c, *_ = layer_op(x, sizes, hs[at], None if cs is None else cs[at], *groups[at], **how)
            outputs.append(out)
            last_h.append(h)
            last_c.append(c)
        x = outputs[0] if directions == 1 else cat(outputs, -1)
        if dropout and train and layer + 1 < num_layers:
            x = dropouts.dropout(x, dropout, True)
    return (x, stack(last_h), stack(last_c)) if cell == "lstm" else (x, stack(last_h))


def _check_states(x: Tensor, sizes: Tensor | None, weights: Sequence[Any], *states: Tensor | None) -> None:
    w_ih, w_hh, *_, w_hr = weights
    if x.dtype is not w_ih.dtype:
        raise RuntimeError(f"expected scalar type {type_name(w_ih.dtype)} but found {type_name(x.dtype)}")
    if x._shape[-1] != w_ih._shape[1]:
        raise RuntimeError(f"input.size(-1) must be equal to input_size. Expected {w_ih._shape[1]}, got {x._shape[-1]}")
    h, c = states
    rows = (h if sizes is not None else x)._shape[1]  # of packed sequences, the first step was compared with h
    for nr, (held, size) in enumerate(((h, w_hh._shape[1]), (c, (w_hh if w_hr is None else w_hr)._shape[1]))):
        if held is None:
            continue
        if held.dtype is not x.dtype:
            raise RuntimeError("Input and hidden tensors are not the same dtype, found input tensor with "
                               f"{type_name(x.dtype)} and hidden tensor with {type_name(held.dtype)}")  # fmt: skip
        if held._shape[1:] != (rows, size):
            expected = (held._shape[0], rows, size)
            raise RuntimeError(f"Expected hidden[{nr}] size {expected}, got {list(held._shape)}")


def _checked_sizes(data: Tensor, batch_sizes: Tensor, h: Tensor) -> Tensor:
    """The rows of each step of packed data: kernels rely on them."""
    counts = batch_sizes._array()
    if (
        counts.ndim != 1 or not counts.size or counts.min() < 1 or (np.diff(counts) > 0).any()
        or counts.sum() != data._shape[0] or counts[0] != h._shape[1]
    ):  # fmt: skip
        raise RuntimeError(f"batch_sizes must begin with the {h._shape[1]} rows of the states, never grow, and add up "
                           f"to the {data._shape[0]} rows of the data, but they are {counts.tolist()}")  # fmt: skip
    return batch_sizes if batch_sizes.dtype is int64 else batch_sizes.to(int64)


_DOCS = {
    "lstm": "Long short-term memory (Hochreiter and Schmidhuber, 1997); `hx` is (h, c), the result (output, h, c).",
    "gru": "Gated recurrent units (Cho et al., 2014); the result is (output, h).",
    "rnn_tanh": "An Elman network with tanh; the result is (output, h).",
    "rnn_relu": "An Elman network with relu; the result is (output, h).",
}


def _sequence(cell: str) -> Callable:
    def packed(data: Tensor, batch_sizes: Tensor, hx: Any, params: Sequence[Tensor], has_biases: bool, num_layers: int,
               dropout: float, train: bool, bidirectional: bool) -> tuple[Tensor, ...]:  # fmt: skip
        sizes = _checked_sizes(data, batch_sizes, hx[0] if cell == "lstm" else hx)
        return _run(cell, data, hx, params, has_biases, num_layers, dropout, train, bidirectional, sizes)

    def padded(input: Tensor, hx: Any, params: Sequence[Tensor], has_biases: bool, num_layers: int, dropout: float,
               train: bool, bidirectional: bool, batch_first: bool) -> tuple[Tensor, ...]:  # fmt: skip
        x = input.transpose(0, 1) if batch_first else input
        out, *states = _run(cell, x, hx, params, has_biases, num_layers, dropout, train, bidirectional, None)
        return (out.transpose(0, 1) if batch_first else out, *states)

    def function(*args: Any, **kwargs: Any) -> tuple[Tensor, ...]:
        by_name = "batch_sizes" in kwargs or "data" in kwargs
        third = args[2] if len(args) > 2 else None
        is_packed = by_name or (isinstance(third, Tensor if cell != "lstm" else (tuple, list)) and len(args) > 3
                                and isinstance(args[3], (tuple, list)))  # fmt: skip
        return (packed if is_packed else padded)(*args, **kwargs)

    function.__name__ = function.__qualname__ = cell
    function.__doc__ = f"""{_DOCS[cell]}

    Called as `{cell}(input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first)` with input
    [T, N, features] and states [layers * directions, N, hidden]; or, for packed sequences, as
    `{cell}(data, batch_sizes, hx, params, has_biases, num_layers, dropout, train, bidirectional)`. `params` lists
    w_ih, w_hh, b_ih, b_hh of every layer and direction.
    """
    return public("torch", name=cell)(function)


lstm, gru, rnn_tanh, rnn_relu = _sequence("lstm"), _sequence("gru"), _sequence("rnn_tanh"), _sequence("rnn_relu")

# -- cells -----------------------------------------------------------------------------------------------------


def _check_cell(input: Tensor, states: Sequence[Tensor | None], w_ih: Tensor, w_hh: Tensor) -> None:
    if input._shape[1] != w_ih._shape[1]:
        raise RuntimeError(f"input has inconsistent input_size: got {input._shape[1]} expected {w_ih._shape[1]}")
    for nr, held in enumerate(states):
        if held is None:
            continue
        rows, size = held._shape
        if input._shape[0] != rows:
            raise RuntimeError(f"Input batch size {input._shape[0]} doesn't match hidden{nr} batch size {rows}")
        if size != w_hh._shape[1]:
            raise RuntimeError(f"hidden{nr} has inconsistent hidden_size: got {size}, expected {w_hh._shape[1]}")


def _one_step(cell: str, input: Tensor, h: Tensor, c: Any, *weights: Any) -> tuple[Tensor, ...]:
    if input.ndim != 2:
        raise RuntimeError(f"{cell}_cell: expected a 2-D input, but got {tensor_shape(input)}")
    input, h, c, *weights = _autocast(cell not in ("lstm", "gru"), input, h, c, *weights)
    _check_cell(input, (h, c), weights[0], weights[1])
    found = layer_op(input.unsqueeze(0), None, h, c, *weights, None, cell=cell, backwards=False)
    return found[1:3]


@public("torch")
def lstm_cell(input: Tensor, hx: Sequence[Tensor], w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None,
              b_hh: Tensor | None = None) -> tuple[Tensor, Tensor]:  # fmt: skip
    """One step of an LSTM: input [N, in], `hx` (h, c) of [N, hidden]; gives the new (h, c)."""
    h, c = hx
    return _one_step("lstm", input, h, c, w_ih, w_hh, b_ih, b_hh)  # type: ignore[return-value]


def _cell(cell: str, name: str, words: str) -> Callable:
    def function(input: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None,
                 b_hh: Tensor | None = None) -> Tensor:  # fmt: skip
        return _one_step(cell, input, hx, None, w_ih, w_hh, b_ih, b_hh)[0]

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"One step of {words}: input [N, in], `hx` [N, hidden]; gives the new state."
    return public("torch", name=name)(function)


gru_cell = _cell("gru", "gru_cell", "a GRU")
rnn_tanh_cell = _cell("rnn_tanh", "rnn_tanh_cell", "an Elman network with tanh")
rnn_relu_cell = _cell("rnn_relu", "rnn_relu_cell", "an Elman network with relu")
