"""Recurrent networks: LSTM, GRU and Elman networks over sequences, and their single steps.

One layer in one direction is one op; layers, directions, dropout between them and packed sequences are put around it.
Higher derivatives go through the unrolled steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from flambeau.autograd.mode import state
from flambeau.dtypes import FLOAT, float32
from flambeau.engine.execute import Meta
from flambeau.engine.schedule.lowering import Kernels
from flambeau.later import later
from flambeau.ops import dropouts
from flambeau.ops.apply import type_name
from flambeau.ops.create import filled
from flambeau.ops.join import cat, stack
from flambeau.ops.nn.checks import tensor_shape
from flambeau.ops.nn.derive import grads_through, wants_history
from flambeau.ops.nn.linear import linear
from flambeau.ops.nn.rnn_kernels import BACKWARD, FORWARD, Sizes, Weights
from flambeau.ops.op import op, public
from flambeau.ops.samples import call
from flambeau.tensors import Tensor, from_array

recur = later("flambeau.engine.kernel.recur")
recur_back = later("flambeau.engine.kernel.recur_back")

# -- one layer, one direction ----------------------------------------------------------------------------------


def _layer(x: Any, h0: Any, c0: Any, *weights: Any, cell: str, sizes: Sizes, backwards: bool) -> tuple:
    return FORWARD[cell](x, h0, c0, Weights(*weights), sizes, backwards)


def _layer_meta(
    x: Tensor, h0: Tensor, c0: Any, *weights: Any, cell: str, sizes: Sizes, backwards: bool
) -> tuple[Meta, ...]:
    length, batch, _ = x._shape
    hidden, state = weights[1]._shape[0] // _GATES[cell], h0._shape[1]
    if cell == "lstm":
        shapes = [(length, batch, 4 * hidden), (length, batch, hidden)]
    else:
        shapes = [(length, batch, (4 if cell == "gru" else 1) * hidden), (0, batch, hidden)]
    c_shape = (batch, hidden) if cell == "lstm" else (0, hidden)
    every = [(length, batch, state), h0._shape, c_shape, *shapes, (length, batch, state)]
    return tuple(Meta(tuple(shape), x.dtype) for shape in every)


_GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


def _layer_back(g: Any, gh: Any, gc: Any, x: Any, gates: Any, before: Any, h_before: Any, *weights: Any, cell: str,
                sizes: Sizes, backwards: bool) -> tuple:  # fmt: skip
    w = Weights(*weights)
    g = np.zeros(h_before.shape, x.dtype) if g is None else g
    gh = np.zeros(h_before.shape[1:], x.dtype) if gh is None else gh
    gc = np.zeros(before.shape[1:], x.dtype) if gc is None else gc
    found = BACKWARD[cell](g, gh, gc, x, w, (gates, before, h_before), sizes, backwards)
    return tuple(np.empty(0, x.dtype) if part is None else part for part in found)


def _layer_back_meta(_g: Any, _gh: Any, _gc: Any, x: Tensor, _gates: Any, before: Tensor, h_before: Tensor,
                     *weights: Any, cell: str, **_: Any) -> tuple[Meta, ...]:  # fmt: skip
    w_ih, w_hh, _, _, w_hr = weights
    bias = (w_ih._shape[0],)
    state, memory = h_before._shape[1:], before._shape[1:] if cell == "lstm" else (0,)
    shapes = [x._shape, state, memory, w_ih._shape, w_hh._shape, bias, bias]
    shapes.append((0,) if w_hr is None else w_hr._shape)
    return tuple(Meta(tuple(shape), x.dtype) for shape in shapes)


def _layer_vjp(
    g: Any, y: Any, x: Tensor, h0: Tensor, c0: Any, *weights: Any, needs: Any, cell: str, **how: Any
) -> tuple:
    inputs = (x, h0, c0, *weights)
    if wants_history([t for t in (*g, *inputs) if isinstance(t, Tensor)]):
        return grads_through(lambda *entered: _unrolled(*entered, cell=cell, **how), g[:3], inputs, needs)
    found = layer_backward_op(*g[:3], x, y[3], y[4], y[5], *weights, cell=cell, **how)
    return tuple(part if needed else None for part, needed in zip(found, needs))


def _samples(t: Any) -> Any:
    for cell, gates in _GATES.items():
        c0 = t(2, 3) if cell == "lstm" else None
        weights = (t(gates * 3, 4), t(gates * 3, 3), t(gates * 3), t(gates * 3), None)
        yield call(t(5, 2, 4), t(2, 3), c0, *weights, cell=cell, sizes=None, backwards=False)
        yield call(t(3, 2, 4), t(2, 3), c0, *weights, cell=cell, sizes=(2, 1, 1), backwards=True)
    weights = (t(12, 4), t(12, 2), None, None, t(2, 3))
    yield call(t(3, 2, 4), t(2, 2), t(2, 3), *weights, cell="lstm", sizes=None, backwards=False)


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


def _unrolled(x: Tensor, h: Tensor, c: Any, *weights: Any, cell: str, sizes: Sizes, backwards: bool) -> tuple:
    length, batch = x._shape[:2]
    outputs: list[Any] = [None] * length
    for t in reversed(range(length)) if backwards else range(length):
        new_h, new_c = _step(x[t], h, c, *weights, cell=cell)
        if sizes is None or sizes[t] == batch:
            h, c, outputs[t] = new_h, new_c, new_h
            continue
        idle = from_array(np.arange(batch) >= sizes[t]).unsqueeze(1)
        outputs[t] = new_h.masked_fill(idle, 0)
        h = h.where(idle, new_h)
        c = None if c is None else c.where(idle, new_c)
    return stack(outputs), h, c


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


class _Packing:
    """How packed data [all steps] lie in [time, batch]."""

    def __init__(self, batch_sizes: Tensor) -> None:
        counts = batch_sizes._array().astype(np.int64)
        self.sizes = tuple(counts.tolist())
        self.length, self.batch = len(counts), int(counts[0]) if len(counts) else 0
        time = np.repeat(np.arange(self.length), counts)
        row = np.arange(len(time)) - np.repeat(np.cumsum(counts) - counts, counts)
        self.places = from_array(time * self.batch + row)

    def spread(self, data: Tensor) -> Tensor:
        whole = filled((self.length * self.batch, data._shape[1]), 0, data.dtype)
        return whole.index_copy(0, self.places, data).reshape(self.length, self.batch, data._shape[1])

    def gathered(self, x: Tensor) -> Tensor:
        return x.reshape(self.length * self.batch, x._shape[2]).index_select(0, self.places)


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
         train: bool, bidirectional: bool, packing: _Packing | None) -> tuple[Tensor, ...]:  # fmt: skip
    directions = 2 if bidirectional else 1
    hs, cs = hx if cell == "lstm" else (hx, None)
    x, hs, cs, *params = _autocast(cell != "gru", x, hs, cs, *params)
    groups = _grouped(params, has_biases, num_layers, directions)
    _check_states(x, params[0], hs, cs)
    sizes = None if packing is None or packing.sizes[-1] == packing.batch else packing.sizes
    last_h, last_c = [], []
    for layer in range(num_layers):
        outputs = []
        steps = x if packing is None else packing.spread(x)
        for direction in range(directions):
            at = layer * directions + direction
            how = {"cell": cell, "sizes": sizes, "backwards": direction == 1}
            out, h, c, *_ = layer_op(steps, hs[at], None if cs is None else cs[at], *groups[at], **how)
            outputs.append(out)
            last_h.append(h)
            last_c.append(c)
        x = outputs[0] if directions == 1 else cat(outputs, 2)
        x = x if packing is None else packing.gathered(x)
        if dropout and train and layer + 1 < num_layers:
            x = dropouts.dropout(x, dropout, True)
    return (x, stack(last_h), stack(last_c)) if cell == "lstm" else (x, stack(last_h))


def _check_states(x: Tensor, w: Tensor, *states: Tensor | None) -> None:
    if x.dtype is not w.dtype:
        raise RuntimeError(f"expected scalar type {type_name(w.dtype)} but found {type_name(x.dtype)}")
    if x._shape[-1] != w._shape[1]:
        raise RuntimeError(f"input.size(-1) must be equal to input_size. Expected {w._shape[1]}, got {x._shape[-1]}")
    for held in states:
        if held is not None and held.dtype is not x.dtype:
            raise RuntimeError("Input and hidden tensors are not the same dtype, found input tensor with "
                               f"{type_name(x.dtype)} and hidden tensor with {type_name(held.dtype)}")  # fmt: skip


_DOCS = {
    "lstm": "Long short-term memory (Hochreiter and Schmidhuber, 1997); `hx` is (h, c), the result (output, h, c).",
    "gru": "Gated recurrent units (Cho et al., 2014); the result is (output, h).",
    "rnn_tanh": "An Elman network with tanh; the result is (output, h).",
    "rnn_relu": "An Elman network with relu; the result is (output, h).",
}


def _sequence(cell: str) -> Callable:
    def packed(data: Tensor, batch_sizes: Tensor, hx: Any, params: Sequence[Tensor], has_biases: bool, num_layers: int,
               dropout: float, train: bool, bidirectional: bool) -> tuple[Tensor, ...]:  # fmt: skip
        packing = _Packing(batch_sizes)
        return _run(cell, data, hx, params, has_biases, num_layers, dropout, train, bidirectional, packing)

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


def _check_cell(input: Tensor, h: Tensor, w_ih: Tensor, w_hh: Tensor) -> None:
    if input._shape[1] != w_ih._shape[1]:
        raise RuntimeError(f"input has inconsistent input_size: got {input._shape[1]} expected {w_ih._shape[1]}")
    if input._shape[0] != h._shape[0]:
        raise RuntimeError(f"Input batch size {input._shape[0]} doesn't match hidden0 batch size {h._shape[0]}")
    if h._shape[1] != w_hh._shape[1]:
        raise RuntimeError(f"hidden0 has inconsistent hidden_size: got {h._shape[1]}, expected {w_hh._shape[1]}")


def _one_step(cell: str, input: Tensor, h: Tensor, c: Any, *weights: Any) -> tuple[Tensor, ...]:
    if input.ndim != 2:
        raise RuntimeError(f"{cell}_cell: expected a 2-D input, but got {tensor_shape(input)}")
    input, h, c, *weights = _autocast(cell not in ("lstm", "gru"), input, h, c, *weights)
    _check_cell(input, h, weights[0], weights[1])
    found = layer_op(input.unsqueeze(0), h, c, *weights, None, cell=cell, sizes=None, backwards=False)
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
