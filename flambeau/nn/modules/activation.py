"""Activations as layers."""

from __future__ import annotations

from typing import Any

from flambeau import ops
from flambeau.nn import functional as F
from flambeau.nn import init
from flambeau.nn.modules.layer import REQUIRED, layer
from flambeau.nn.modules.linear import NonDynamicallyQuantizableLinear
from flambeau.nn.modules.module import Module
from flambeau.nn.parameter import Parameter
from flambeau.tensors import Tensor

Threshold = layer("Threshold", F.threshold, threshold=REQUIRED, value=REQUIRED, inplace=False)
ReLU = layer("ReLU", F.relu, inplace=False)
ReLU6 = layer("ReLU6", F.relu6, inplace=False)
ELU = layer("ELU", F.elu, alpha=1.0, inplace=False)
SELU = layer("SELU", F.selu, inplace=False)
CELU = layer("CELU", F.celu, alpha=1.0, inplace=False)
SiLU = layer("SiLU", F.silu, inplace=False)
Mish = layer("Mish", F.mish, inplace=False)
Hardswish = layer("Hardswish", F.hardswish, inplace=False)
Hardsigmoid = layer("Hardsigmoid", F.hardsigmoid, inplace=False)
LeakyReLU = layer("LeakyReLU", F.leaky_relu, negative_slope=0.01, inplace=False)
GELU = layer("GELU", F.gelu, approximate="none")
GLU = layer("GLU", F.glu, dim=-1)
Hardtanh = layer("Hardtanh", F.hardtanh, min_val=-1.0, max_val=1.0, inplace=False)
Sigmoid = layer("Sigmoid", F.sigmoid)
Tanh = layer("Tanh", F.tanh)
LogSigmoid = layer("LogSigmoid", F.logsigmoid)
Softplus = layer("Softplus", F.softplus, beta=1.0, threshold=20.0)
Softsign = layer("Softsign", F.softsign)
Tanhshrink = layer("Tanhshrink", F.tanhshrink)
Hardshrink = layer("Hardshrink", F.hardshrink, lambd=0.5, shown=lambda self: str(self.lambd))
Softshrink = layer("Softshrink", F.softshrink, lambd=0.5, shown=lambda self: str(self.lambd))
Softmin = layer("Softmin", F.softmin, dim=None)
Softmax = layer("Softmax", F.softmax, dim=None)
LogSoftmax = layer("LogSoftmax", F.log_softmax, dim=None)


class Softmax2d(Module):
    """Softmax over the channels of images."""

    def forward(self, input: Tensor) -> Tensor:
        if input.ndim not in (3, 4):
            raise ValueError(f"Softmax2d: expected input to be 3D or 4D, got {input.ndim}D instead")
        return F.softmax(input, -3)


class RReLU(Module):
    """Leaky ReLU whose slope is drawn from [lower, upper] in training."""

    def __init__(self, lower: float = 1.0 / 8, upper: float = 1.0 / 3, inplace: bool = False) -> None:
        super().__init__()
        self.lower, self.upper, self.inplace = lower, upper, inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.rrelu(input, self.lower, self.upper, self.training, self.inplace)

    def extra_repr(self) -> str:
        return f"lower={self.lower}, upper={self.upper}" + (", inplace=True" if self.inplace else "")


class PReLU(Module):
    """Leaky ReLU with a learned slope, one or one a channel."""

    def __init__(self, num_parameters: int = 1, init: float = 0.25, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self.num_parameters, self.init = num_parameters, init
        self.weight = Parameter(ops.empty(num_parameters, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        init.constant_(self.weight, self.init)

    def forward(self, input: Tensor) -> Tensor:
        return F.prelu(input, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class MultiheadAttention(Module):
    """Attention of several heads (Vaswani et al. 2017).

    Query (L, N, E), key and value (S, N, E), or (N, L, E) with `batch_first`, or without N. Returns the output and,
    unless `need_weights=False`, the weights (N, L, S), averaged over heads by default.
    """

    bias_k: Parameter | None
    bias_v: Parameter | None

    def __init__(
        self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True, add_bias_kv: bool = False,
        add_zero_attn: bool = False, kdim: int | None = None, vdim: int | None = None, batch_first: bool = False,
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        if embed_dim <= 0 or num_heads <= 0:
            raise ValueError(
                f"embed_dim and num_heads must be greater than 0, got embed_dim={embed_dim} and "
                f"num_heads={num_heads} instead"
            )
        super().__init__()
        made = {"device": device, "dtype": dtype}
        self.embed_dim, self.num_heads, self.dropout, self.batch_first = embed_dim, num_heads, dropout, batch_first
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self._qkv_same_embed_dim = self.kdim == embed_dim and self.vdim == embed_dim
        self.head_dim = embed_dim // num_heads
        if self.head_dim * num_heads != embed_dim:
            raise AssertionError("embed_dim must be divisible by num_heads")
        if self._qkv_same_embed_dim:
            self.in_proj_weight = Parameter(ops.empty((3 * embed_dim, embed_dim), **made))
            for name in ("q_proj_weight", "k_proj_weight", "v_proj_weight"):
                self.register_parameter(name, None)
        else:
            self.q_proj_weight = Parameter(ops.empty((embed_dim, embed_dim), **made))
            self.k_proj_weight = Parameter(ops.empty((embed_dim, self.kdim), **made))
            self.v_proj_weight = Parameter(ops.empty((embed_dim, self.vdim), **made))
            self.register_parameter("in_proj_weight", None)
        self.register_parameter("in_proj_bias", Parameter(ops.empty(3 * embed_dim, **made)) if bias else None)
        self.out_proj = NonDynamicallyQuantizableLinear(embed_dim, embed_dim, bias=bias, **made)
        self.bias_k = Parameter(ops.empty((1, 1, embed_dim), **made)) if add_bias_kv else None
        self.bias_v = Parameter(ops.empty((1, 1, embed_dim), **made)) if add_bias_kv else None
        self.add_zero_attn = add_zero_attn
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        if self._qkv_same_embed_dim:
            init.xavier_uniform_(self.in_proj_weight)
        else:
            for weight in (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight):
                init.xavier_uniform_(weight)
        if self.in_proj_bias is not None:
            init.constant_(self.in_proj_bias, 0.0)
            init.constant_(self.out_proj.bias, 0.0)
        for bias in (self.bias_k, self.bias_v):
            if bias is not None:
                init.xavier_normal_(bias)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Tensor | None = None,
        need_weights: bool = True, attn_mask: Tensor | None = None, average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        flip = self.batch_first and query.ndim == 3
        if flip:
            same_kv, same_qk = key is value, query is key
            key = key.transpose(0, 1)
            query = key if same_qk else query.transpose(0, 1)
            value = key if same_kv else value.transpose(0, 1)
        separate = {} if self._qkv_same_embed_dim else {
            "use_separate_proj_weight": True, "q_proj_weight": self.q_proj_weight,
            "k_proj_weight": self.k_proj_weight, "v_proj_weight": self.v_proj_weight,
        }  # fmt: skip
        output, weights = F.multi_head_attention_forward(
            query, key, value, self.embed_dim, self.num_heads, self.in_proj_weight, self.in_proj_bias, self.bias_k,
            self.bias_v, self.add_zero_attn, self.dropout, self.out_proj.weight, self.out_proj.bias,
            training=self.training, key_padding_mask=key_padding_mask, need_weights=need_weights, attn_mask=attn_mask,
            average_attn_weights=average_attn_weights, is_causal=is_causal, **separate,
        )  # fmt: skip
        return (output.transpose(1, 0) if flip else output), weights
