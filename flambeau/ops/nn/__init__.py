"""The ops of neural networks: everything of `nn.functional`, one file a family."""

from flambeau.ops.nn import (  # noqa: F401
    activation,
    attention,
    conv,
    ctc,
    dropout,
    embedding,
    fractional,
    grid,
    linear,
    loss,
    loss_margin,
    loss_pointwise,
    normalize,
    pad,
    pool,
    resize,
    softmax,
    torch_forms,
    vision,
)
from flambeau.ops.nn.rnn import gru, gru_cell, lstm, lstm_cell, rnn_relu, rnn_relu_cell, rnn_tanh, rnn_tanh_cell

__all__ = ["gru", "gru_cell", "lstm", "lstm_cell", "rnn_relu", "rnn_relu_cell", "rnn_tanh", "rnn_tanh_cell"]
