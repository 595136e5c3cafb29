"""Recurrent layers and cells."""

from __future__ import annotations

import math
import warnings
from typing import Any

from flambeau import ops
from flambeau.autograd import mode as autograd_mode
from flambeau.nn import init
from flambeau.nn.modules.module import Module
from flambeau.nn.parameter import Parameter
from flambeau.nn.utils.rnn import PackedSequence
from flambeau.ops import nn as nn_ops
from flambeau.tensors import Tensor

_GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}


class RNNBase(Module):
    """Weights of all layers and directions under PyTorch's names (`weight_ih_l0`, `bias_hh_l1_reverse` ...)."""

    def __init__(
        self, mode: str, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
        batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, proj_size: int = 0,
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self._check_arguments(input_size, hidden_size, num_layers, dropout, proj_size, mode)
        self.mode, self.input_size, self.hidden_size, self.num_layers = mode, input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout = bias, batch_first, float(dropout)
        self.bidirectional, self.proj_size = bidirectional, proj_size
        gates = _GATES[mode] * hidden_size
        out_size = proj_size or hidden_size
        directions = 2 if bidirectional else 1
        self._flat_weights_names: list[str] = []
        self._all_weights: list[list[str]] = []
        for number in range(num_layers):
            for direction in range(directions):
                suffix = f"_l{number}" + ("_reverse" if direction else "")
                width = input_size if number == 0 else out_size * directions
                shapes: dict[str, tuple] = {"weight_ih": (gates, width), "weight_hh": (gates, out_size)}
                if bias:
                    shapes |= {"bias_ih": (gates,), "bias_hh": (gates,)}
                if proj_size:
                    shapes["weight_hr"] = (proj_size, hidden_size)
                for name, shape in shapes.items():
                    setattr(self, name + suffix, Parameter(ops.empty(shape, device=device, dtype=dtype)))
                self._all_weights.append([name + suffix for name in shapes])
                self._flat_weights_names += self._all_weights[-1]
        self.reset_parameters()

    @staticmethod
    def _check_arguments(
        input_size: int, hidden_size: int, num_layers: int, dropout: Any, proj_size: int, mode: str
    ) -> None:
        if not isinstance(dropout, (int, float)) or isinstance(dropout, bool) or not 0 <= dropout <= 1:
            raise ValueError(
                "dropout should be a number in range [0, 1] representing the probability of an element being zeroed"
            )
        if dropout > 0 and num_layers == 1:
            warnings.warn(
                "dropout option adds dropout after all but last recurrent layer, so non-zero dropout expects "
                "num_layers "
                f"greater than 1, but got dropout={dropout} and num_layers={num_layers}",
                stacklevel=4,
            )
        if not isinstance(hidden_size, int):
            raise TypeError(f"hidden_size should be of type int, got: {type(hidden_size).__name__}")
        if hidden_size <= 0:
            raise ValueError("hidden_size must be greater than zero")
        if num_layers <= 0:
            raise ValueError("num_layers must be greater than zero")
        if proj_size < 0:
            raise ValueError("proj_size should be a positive integer or zero to disable projections")
        if proj_size >= hidden_size:
            raise ValueError("proj_size has to be smaller than hidden_size")
        if proj_size and mode != "LSTM":
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")

    def reset_parameters(self) -> None:
        """Uniform in plus or minus 1/sqrt(hidden_size)."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    @property
    def all_weights(self) -> list[list[Parameter]]:
        return [[getattr(self, name) for name in names] for names in self._all_weights]

    @property
    def _flat_weights(self) -> list[Parameter]:
        return [getattr(self, name) for name in self._flat_weights_names]

    def flatten_parameters(self) -> None:
        """Serves cuDNN; nothing to do on the CPU."""

    def _initial(self, batch: int, like: Tensor, size: int) -> Tensor:
        directions = 2 if self.bidirectional else 1
        return ops.zeros((self.num_layers * directions, batch, size), dtype=like.dtype)

    def _check(self, input: Tensor, hidden: Tensor, size: int, name: str, batch: int) -> None:
        directions = 2 if self.bidirectional else 1
        expected = (self.num_layers * directions, batch, size)
        if tuple(hidden.shape) != expected:
            raise RuntimeError(f"Expected {name} size {expected}, got {list(hidden.shape)}")

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        packed = isinstance(input, PackedSequence)
        data, sizes, order, unsorted = input if packed else (input, None, None, None)
        if not packed and data.ndim not in (2, 3):
            raise ValueError(f"{type(self).__name__}: Expected input to be 2D or 3D, got {data.ndim}D instead")
        if data.dtype != self._flat_weights[0].dtype and autograd_mode.state.autocast is None:
            held = self._flat_weights[0].dtype
            raise ValueError(
                f"RNN input dtype ({data.dtype}) does not match weight dtype ({held}). Convert input: "
                f"input.to({held}), or convert model: model.to({data.dtype})"
            )
        if data.shape[-1] != self.input_size:
            raise RuntimeError(
                f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got {data.shape[-1]}"
            )
        batched = packed or data.ndim == 3
        first = self.batch_first and batched and not packed
        if not batched:
            data = data.unsqueeze(1)
        if first:
            data = data.transpose(0, 1)
        batch = int(sizes[0]) if packed else data.shape[1]
        hidden = self._prepare(data, hx, batch, batched, order)
        out, state = self._run(data, sizes, hidden)
        if packed:
            out = PackedSequence(out, sizes, order, unsorted)
        elif first:
            out = out.transpose(0, 1)
        if not batched:
            out = out.squeeze(1)
        finish = [self._finish(s, batched, unsorted) for s in state]
        return out, (tuple(finish) if self.mode == "LSTM" else finish[0])

    def _prepare(self, data: Tensor, hx: Any, batch: int, batched: bool, order: Tensor | None) -> list[Tensor]:
        sizes = [self.proj_size or self.hidden_size] + ([self.hidden_size] if self.mode == "LSTM" else [])
        if hx is None:
            return [self._initial(batch, data, size) for size in sizes]
        given = list(hx) if self.mode == "LSTM" else [hx]
        names = ("hidden[0]", "hidden[1]") if self.mode == "LSTM" else ("hidden",)
        self._check_ranks(given, batched)
        prepared = []
        for state, size, name in zip(given, sizes, names):
            state = state if batched else state.unsqueeze(1)
            self._check(data, state, size, name, batch)
            prepared.append(state if order is None else state.index_select(1, order))
        return prepared

    def _check_ranks(self, states: list[Tensor], batched: bool) -> None:
        wanted = 3 if batched else 2
        if all(state.ndim == wanted for state in states):
            return
        found = ", ".join(f"{state.ndim}-D" for state in states)
        what, got = ("hx and cx", f"({found}) tensors") if len(states) == 2 else ("hx", f"{found} tensor")
        kind = "batched" if batched else "unbatched"
        raise RuntimeError(f"For {kind} {wanted}-D input, {what} should also be {wanted}-D but got {got}")

    def _finish(self, state: Tensor, batched: bool, unsorted: Tensor | None) -> Tensor:
        if unsorted is not None:
            state = state.index_select(1, unsorted)
        return state if batched else state.squeeze(1)

    def _run(self, data: Tensor, sizes: Tensor | None, hidden: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        function = {"LSTM": nn_ops.lstm, "GRU": nn_ops.gru, "RNN_TANH": nn_ops.rnn_tanh, "RNN_RELU": nn_ops.rnn_relu}[
            self.mode
        ]
        state = tuple(hidden) if self.mode == "LSTM" else hidden[0]
        rest = (self._flat_weights, self.bias, self.num_layers, self.dropout, self.training, self.bidirectional)
        out, *new = function(data, state, *rest, False) if sizes is None else function(data, sizes, state, *rest)
        return out, new

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        for name, default in (("proj_size", 0), ("num_layers", 1), ("bias", True), ("batch_first", False),
                              ("dropout", 0.0), ("bidirectional", False)):  # fmt: skip
            if getattr(self, name) != default:
                text += f", {name}={getattr(self, name)}"
        return text

    def __setstate__(self, state: dict) -> None:
        super().__setstate__(state)
        names = state.get("_all_weights")
        if names and "_flat_weights_names" not in state:
            self._flat_weights_names = [name for group in names for name in group]
        self.__dict__.pop("_flat_weights", None)


class RNN(RNNBase):
    """Elman network: `h' = tanh(W_ih x + b_ih + W_hh h + b_hh)` (or relu). Input (L, N, H_in)."""

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, nonlinearity: str = "tanh",
                 bias: bool = True,
                 batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, device: Any = None,
                 dtype: Any = None) -> None:  # fmt: skip
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
        self_mode = "RNN_" + nonlinearity.upper()
        super().__init__(self_mode, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, 0,
                         device, dtype)  # fmt: skip
        self.nonlinearity = nonlinearity


class LSTM(RNNBase):
    """Long short-term memory (Hochreiter and Schmidhuber 1997).

    Input (L, N, H_in), state (h, c) of (D*layers, N, H).
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("LSTM", *args, **kwargs)


class GRU(RNNBase):
    """Gated recurrent unit (Cho et al. 2014). Input (L, N, H_in), state (D*layers, N, H)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "proj_size" in kwargs:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        super().__init__("GRU", *args, **kwargs)


class RNNCellBase(Module):
    """One step of a recurrent layer."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool, num_chunks: int, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        rows = num_chunks * hidden_size
        self.weight_ih = Parameter(ops.empty((rows, input_size), device=device, dtype=dtype))
        self.weight_hh = Parameter(ops.empty((rows, hidden_size), device=device, dtype=dtype))
        for name in ("bias_ih", "bias_hh"):
            self.register_parameter(name, Parameter(ops.empty(rows, device=device, dtype=dtype)) if bias else None)
        self.reset_parameters()

    reset_parameters = RNNBase.reset_parameters

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}" + (f", bias={self.bias}" if self.bias is not True else "")
        relu = getattr(self, "nonlinearity", "tanh") != "tanh"
        return text + (f", nonlinearity={self.nonlinearity}" if relu else "")

    def _step(self, cell: Any, input: Tensor, states: list[Tensor]) -> Any:
        if input.ndim not in (1, 2):
            raise ValueError(f"{type(self).__name__}: Expected input to be 1D or 2D, got {input.ndim}D instead")
        single = input.ndim == 1
        if single:
            input, states = input.unsqueeze(0), [s.unsqueeze(0) for s in states]
        weights = (self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        out = cell(input, tuple(states) if len(states) == 2 else states[0], *weights)
        if not single:
            return out
        return tuple(o.squeeze(0) for o in out) if isinstance(out, tuple) else out.squeeze(0)

    def _zeros(self, input: Tensor) -> Tensor:
        return ops.zeros((*input.shape[:-1], self.hidden_size), dtype=input.dtype)


class RNNCell(RNNCellBase):
    """One step of an Elman network: (N, H_in), (N, H) to (N, H)."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh",
                 device: Any = None,
                 dtype: Any = None) -> None:  # fmt: skip
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        if self.nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}")
        cell = nn_ops.rnn_tanh_cell if self.nonlinearity == "tanh" else nn_ops.rnn_relu_cell
        return self._step(cell, input, [self._zeros(input) if hx is None else hx])


class LSTMCell(RNNCellBase):
    """One step of an LSTM: (N, H_in), ((N, H), (N, H)) to ((N, H), (N, H))."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        states = [self._zeros(input), self._zeros(input)] if hx is None else list(hx)
        return self._step(nn_ops.lstm_cell, input, states)


class GRUCell(RNNCellBase):
    """One step of a GRU: (N, H_in), (N, H) to (N, H)."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        return self._step(nn_ops.gru_cell, input, [self._zeros(input) if hx is None else hx])
