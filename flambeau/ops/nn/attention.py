"""Attention: scaled dot products as one op, and multi-head attention around it."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from flambeau import dtypes
from flambeau.engine.execute import Meta
from flambeau.engine.schedule.lowering import Kernels
from flambeau.later import later
from flambeau.ops import dropouts
from flambeau.ops.create import filled
from flambeau.ops.join import cat
from flambeau.ops.nn.derive import grads_through, wants_history
from flambeau.ops.nn.linear import linear
from flambeau.ops.nn.pad import pad
from flambeau.ops.nn.softmax import _softmax
from flambeau.ops.op import op, public
from flambeau.ops.rules import require_tensor
from flambeau.ops.samples import call
from flambeau.shape import Ints, broadcast_shapes
from flambeau.tensors import Tensor

attention = later("flambeau.engine.kernel.contract.attention")

# -- scaled dot products ---------------------------------------------------------------------------------------


def _meta(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, noise: Tensor | None, scale: float,
          causal: bool) -> tuple[Meta, Meta]:  # fmt: skip
    if q._shape[-1] != k._shape[-1] or k._shape[-2] != v._shape[-2]:
        batch = math.prod(q._shape[:-2])
        got = (batch, k._shape[-1]) if q._shape[-1] != k._shape[-1] else (batch, v._shape[-2])
        want = (batch, q._shape[-1]) if q._shape[-1] != k._shape[-1] else (batch, k._shape[-2])
        raise RuntimeError(
            f"Expected size for first two dimensions of batch2 tensor to be: {list(want)} but got: {list(got)}."
        )
    weights = (*broadcast_shapes(q._shape[:-2], k._shape[:-2]), q._shape[-2], k._shape[-2])
    if mask is not None:
        weights = broadcast_shapes(weights, mask._shape)
    out = (*broadcast_shapes(weights[:-2], v._shape[:-2]), q._shape[-2], v._shape[-1])
    return Meta(out, q.dtype), Meta(weights[:-1], _wide(q))


def _wide(x: Tensor) -> dtypes.dtype:
    """The dtype of the sums that are kept for backward."""
    return x.dtype if x.dtype.itemsize >= 4 else dtypes.float32


def _scores(q: np.ndarray, k: np.ndarray, mask: Any, scale: float, causal: bool) -> np.ndarray:
    scores = np.matmul(q * q.dtype.type(scale), k.swapaxes(-1, -2))
    if causal:
        scores[..., ~np.tri(*scores.shape[-2:], dtype=bool)] = -np.inf
    if mask is not None:
        scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
    return scores


def _attend(q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: Any, noise: Any, scale: float,
            causal: bool) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """The output, and the logarithm of each row's sum of exponentials: infinite where a row has nothing to look at."""
    scores = _scores(q, k, mask, scale, causal)
    top = scores.max(-1, keepdims=True, initial=-np.inf)
    top = np.where(top == -np.inf, 0, top)  # a row with nothing to look at gets weights of zero
    scores -= top
    e = np.exp(scores, out=scores)
    total = e.sum(-1, keepdims=True)
    nothing = total == 0
    total = np.where(nothing, 1, total)
    e /= total
    weights = e.astype(q.dtype, copy=False)
    sums = np.where(nothing, np.inf, top + np.log(total))[..., 0]
    return np.matmul(weights if noise is None else weights * noise, v), sums.astype(q.dtype, copy=False)


def _backward(g: np.ndarray, q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: Any, noise: Any, out: np.ndarray,
              sums: np.ndarray, scale: float, causal: bool) -> tuple[np.ndarray, ...]:  # fmt: skip
    gw, kept = _score_gradient(g, q, k, v, mask, noise, out, sums, scale, causal)
    scale_ = q.dtype.type(scale)
    return np.matmul(gw, k) * scale_, np.matmul(gw.swapaxes(-1, -2), q) * scale_, np.matmul(kept.swapaxes(-1, -2), g)


def _score_gradient(g: np.ndarray, q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: Any, noise: Any, out: np.ndarray,
                    sums: np.ndarray, scale: float, causal: bool) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """The gradient of the scores, and the weights as the values were multiplied by them."""
    weights = np.exp(_scores(q, k, mask, scale, causal) - sums[..., None]).astype(q.dtype, copy=False)
    gw = np.matmul(g, v.swapaxes(-1, -2))
    if noise is not None:
        gw = gw * noise
    gw = weights * (gw - (g * out).sum(-1, keepdims=True))
    return gw, weights if noise is None else weights * noise


def _backward_meta(g: Tensor, q: Tensor, k: Tensor, v: Tensor, mask: Any, noise: Any, out: Tensor, sums: Tensor,
                   **_: Any) -> tuple[Meta, ...]:  # fmt: skip
    full = g._shape[:-2]
    both = broadcast_shapes(full, sums._shape[:-1])
    return (
        _side_by_side((*both, *q._shape[-2:]), q.dtype), _side_by_side((*both, *k._shape[-2:]), k.dtype),
        _side_by_side((*full, *v._shape[-2:]), v.dtype),
    )  # fmt: skip


def _side_by_side(shape: Ints, dtype: dtypes.dtype) -> Meta:
    """[batch, heads, rows, elements] as PyTorch lays gradients out: the heads of a row are neighbours."""
    if len(shape) != 4:
        return Meta(shape, dtype)
    _, heads, rows, size = shape
    return Meta(shape, dtype, (heads * rows * size, size, heads * size, 1))


def _decomposed(q: Tensor, k: Tensor, v: Tensor, mask: Any, noise: Any, scale: float, causal: bool) -> Tensor:
    scores = (q * scale).matmul(k.transpose(-2, -1))
    if causal:
        scores = scores.masked_fill(_future(*scores._shape[-2:]), -math.inf)
    if mask is not None:
        scores = scores.masked_fill(mask.logical_not(), -math.inf) if mask.dtype is dtypes.bool_ else scores + mask
    weights = _softmax(scores, -1)
    weights = weights.masked_fill((scores == -math.inf).all(-1, keepdim=True), 0)
    return (weights if noise is None else weights * noise).matmul(v)


def _future(rows: int, columns: int) -> Tensor:
    return filled((rows, columns), True, dtypes.bool_).triu(1)


def _vjp(
    g: Any, y: Any, q: Tensor, k: Tensor, v: Tensor, mask: Any, noise: Any, needs: Any, scale: float, causal: bool
) -> tuple:
    if wants_history((g[0], q, k, v, mask)):
        through = lambda q, k, v, mask: _decomposed(q, k, v, mask, noise, scale, causal)
        return (*grads_through(through, g[0], (q, k, v, mask), needs[:4]), None)
    kept = (g[0], q, k, v, mask, noise, *y)
    gq, gk, gv = attention_backward_op(*kept, scale=scale, causal=causal)
    return gq, gk, gv, mask_gradient_op(*kept, scale=scale, causal=causal) if needs[3] else None, None


def _samples(t: Any) -> Any:
    q, k, v = t(2, 3, 4), t(2, 5, 4), t(2, 5, 3)
    yield call(q, k, v, None, None, scale=0.5, causal=False)
    yield call(q, k, v, t(3, 5), None, scale=0.5, causal=False)
    yield call(q, k, v, None, None, scale=0.7, causal=True)
    yield call(t(2, 2, 3, 4), t(2, 2, 3, 4), t(2, 2, 3, 4), None, t(2, 2, 3, 3), scale=0.7, causal=False)


attention_op = op(
    "scaled_dot_product_attention", ref=_attend, meta=_meta, vjp=_vjp, multiple=True, samples=_samples, narrows=True,
    lower=Kernels(attention.attention), backward_name=lambda inputs, _: "ScaledDotProductFlashAttentionForCpuBackward0"
    if inputs[0].ndim == 4 and inputs[4] is None else "UnsafeViewBackward0",
)  # fmt: skip
attention_backward_op = op(
    "scaled_dot_product_attention_backward", ref=_backward, meta=_backward_meta, multiple=True,
    lower=Kernels(attention.attention_backward),
)  # fmt: skip
mask_gradient_op = op(
    "scaled_dot_product_attention_mask_gradient", ref=lambda *args, **params: _score_gradient(*args, **params)[0],
    meta=lambda g, q, k, *_, **__: Meta((*g._shape[:-1], k._shape[-2]), q.dtype),
    lower=Kernels(attention.mask_gradient),
)  # fmt: skip


def _check(q: Any, k: Any, v: Any, mask: Any) -> None:
    for position, (name, value) in enumerate((("query", q), ("key", k), ("value", v))):
        require_tensor("scaled_dot_product_attention", name, position + 1, value)
    names = {
        "float32": "float",
        "float64": "double",
        "float16": "c10::Half",
        "bfloat16": "c10::BFloat16",
        "int64": "long int",
    }
    spelled = [names.get(x.dtype.name, x.dtype.name) for x in (q, k, v)]
    if not q.dtype is k.dtype is v.dtype:
        raise RuntimeError(
            f"Expected query, key, and value to have the same dtype, but got query.dtype: {spelled[0]} key.dtype: "
            f"{spelled[1]} and value.dtype: {spelled[2]} instead."
        )
    if min(q.ndim, k.ndim, v.ndim) < 2:
        raise RuntimeError(
            f"Expected query, key, and value to all be  at least 2 dimensional, but got query.dim: {q.ndim} key.dim: "
            f"{k.ndim} and value.dim: {v.ndim} instead."
        )
    if mask is not None and mask.dtype not in (dtypes.bool_, q.dtype, dtypes.float32):
        raise RuntimeError(
            "Expected attn_mask dtype to be bool or float or to match query dtype, but got attn_mask.dtype: "
            f"{names.get(mask.dtype.name, mask.dtype.name)} and  query.dtype: {spelled[0]} instead."
        )


def _grouped(x: Tensor, heads: int) -> Tensor:
    """Each head repeated so that there are `heads` of them."""
    have = x._shape[-3]
    if have == heads:
        return x
    if heads % have:
        raise RuntimeError("Number of heads in key and value must divide the number of heads in ")
    return x.repeat_interleave(heads // have, -3)


@public("F", one_op=True)
def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """softmax(query key^T * scale + mask) value.

    Args:
        query, key, value: [..., L, E], [..., S, E] and [..., S, Ev]; the result is [..., L, Ev].
        attn_mask: broadcasts to [..., L, S]: True where a key may be seen, or numbers that are added to the scores.
        dropout_p: share of weights that are dropped; there is no training flag.
        is_causal: query i sees keys 0 ... i only.
        scale: 1 / sqrt(E) unless given.
        enable_gqa: heads of key and value are shared by groups of query heads.

    >>> q = ones(1, 2, 3, 4)
    >>> scaled_dot_product_attention(q, q, q).shape
    torch.Size([1, 2, 3, 4])
    """
    _check(query, key, value, attn_mask)
    if is_causal and attn_mask is not None:
        attn_mask = _combined(attn_mask, query._shape[-2], key._shape[-2])
        is_causal = False
    if enable_gqa:
        key, value = _grouped(key, query._shape[-3]), _grouped(value, query._shape[-3])
    factor = 1 / math.sqrt(max(query._shape[-1], 1)) if scale is None else scale
    noise = None
    if dropout_p > 0:
        shape = (*broadcast_shapes(query._shape[:-2], key._shape[:-2]), query._shape[-2], key._shape[-2])
        noise = dropouts.dropout(filled(shape, 1, query.dtype), dropout_p, True)
    return attention_op(query, key, value, attn_mask, noise, scale=factor, causal=is_causal)[0]


def _combined(mask: Tensor, rows: int, columns: int) -> Tensor:
    future = _future(rows, columns)
    return mask & future.logical_not() if mask.dtype is dtypes.bool_ else mask.masked_fill(future, -math.inf)


# -- multi-head attention --------------------------------------------------------------------------------------


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def _check_dims(query: Tensor, key: Tensor, value: Tensor, padding: Any, mask: Any, heads: int) -> bool:
    """Whether the inputs have a batch dimension; AssertionError where they do not go together."""
    if query.ndim not in (2, 3):
        raise AssertionError(
            f"query should be unbatched 2D or batched 3D tensor but received {query.ndim}-D query tensor"
        )
    kind = "batched (3-D)" if query.ndim == 3 else "unbatched (2-D)"
    n = query.ndim
    _require(
        key.ndim == n and value.ndim == n,
        f"For {kind} `query`, expected `key` and `value` to be {n}-D but found {key.ndim}-D and {value.ndim}-D tensors "
        "respectively",
    )
    if padding is not None:
        _require(
            padding.ndim == n - 1,
            f"For {kind} `query`, expected `key_padding_mask` to be `None` or {n - 1}-D but found {padding.ndim}-D "
            "tensor instead",
        )
    if mask is not None:
        _require(
            mask.ndim in (2, 3),
            f"For {kind} `query`, expected `attn_mask` to be `None`, 2-D or 3-D but found {mask.ndim}-D tensor instead",
        )
        if n == 2 and mask.ndim == 3:
            expected = (heads, query._shape[0], key._shape[0])
            _require(mask._shape == expected, f"Expected `attn_mask` shape to be {expected} but got {mask.shape}")
    return n == 3


def _as_numbers(mask: Tensor | None, name: str, other: Tensor | None, dtype: Any) -> Tensor | None:
    """A bool mask (True: not seen) as numbers to add; a float mask as it is."""
    if mask is None:
        return None
    _require(
        mask.dtype is dtypes.bool_ or mask.dtype.is_floating_point,
        f"only bool and floating types of {name} are supported",
    )
    if other is not None and other.dtype is not mask.dtype:
        warnings.warn(
            f"Support for mismatched {name} and attn_mask is deprecated. Use same type for both instead.", stacklevel=3
        )
    if mask.dtype.is_floating_point:
        return mask
    return filled(mask._shape, 0, dtype).masked_fill_(mask, -math.inf)


def _project(query: Tensor, key: Tensor, value: Tensor, w: Any, b: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values from one packed weight."""
    size = query._shape[-1]
    if key is value:
        if query is key:
            packed = linear(query, w, b)
            return packed.unflatten(-1, (3, size)).unsqueeze(0).transpose(0, -2).squeeze(-2).contiguous().unbind(0)
        w_q, w_kv = w.split([size, size * 2])
        b_q, b_kv = (None, None) if b is None else b.split([size, size * 2])
        pair = linear(key, w_kv, b_kv)
        k, v = pair.unflatten(-1, (2, size)).unsqueeze(0).transpose(0, -2).squeeze(-2).contiguous().unbind(0)
        return linear(query, w_q, b_q), k, v
    w_q, w_k, w_v = w.chunk(3)
    b_q, b_k, b_v = (None, None, None) if b is None else b.chunk(3)
    return linear(query, w_q, b_q), linear(key, w_k, b_k), linear(value, w_v, b_v)


def _check_mask_shape(mask: Tensor, targets: int, sources: int, rows: int) -> Tensor:
    if mask.ndim not in (2, 3):
        raise RuntimeError(f"attn_mask's dimension {mask.ndim} is not supported")
    expected = (targets, sources) if mask.ndim == 2 else (rows, targets, sources)
    if mask._shape != expected:
        raise RuntimeError(f"The shape of the {mask.ndim}D attn_mask is {mask.shape}, but should be {expected}.")
    return mask.unsqueeze(0) if mask.ndim == 2 else mask


def _in_heads(x: Tensor, static: Tensor | None, name: str, rows: int, size: int) -> Tensor:
    """[len, batch, heads * size] as [batch * heads, len, size]; or the given `static` tensor of that form."""
    if static is None:
        return x.view(x._shape[0], rows, size).transpose(0, 1)
    _require(static._shape[0] == rows, f"expecting {name}.size(0) of {rows}, but got {static._shape[0]}")
    _require(static._shape[2] == size, f"expecting {name}.size(2) of {size}, but got {static._shape[2]}")
    return static


def _with_zeros(x: Tensor) -> Tensor:
    return cat([x, filled((x._shape[0], 1, x._shape[2]), 0, x.dtype)], dim=1)


def _widened(mask: Tensor | None) -> Tensor | None:
    return None if mask is None else pad(mask, (0, 1))


def _merged(mask: Tensor | None, padding: Tensor | None, batch: int, heads: int, sources: int) -> Tensor | None:
    """One mask [batch * heads or 1, L or 1, S] from the attention mask and the padding mask."""
    if padding is None:
        return mask
    _require(
        padding._shape == (batch, sources),
        f"key_padding_mask shape {padding.shape} does not match ({batch}, {sources})",
    )
    spread = padding.view(batch, 1, 1, sources).expand(-1, heads, -1, -1).reshape(batch * heads, 1, sources)
    return spread if mask is None else mask + spread


@public("F")
def multi_head_attention_forward(
    query: Tensor, key: Tensor, value: Tensor, embed_dim_to_check: int, num_heads: int, in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None, bias_k: Tensor | None, bias_v: Tensor | None, add_zero_attn: bool, dropout_p: float,
    out_proj_weight: Tensor, out_proj_bias: Tensor | None, training: bool = True,
    key_padding_mask: Tensor | None = None, need_weights: bool = True, attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False, q_proj_weight: Tensor | None = None, k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None, static_k: Tensor | None = None, static_v: Tensor | None = None,
    average_attn_weights: bool = True, is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """Multi-head attention (Vaswani et al., 2017): what `nn.MultiheadAttention` calls.

    Args:
        query, key, value: [L, N, E], [S, N, E], [S, N, E], or without N.
        key_padding_mask: [N, S] (or [S]), True for keys to leave out, or numbers to add to the scores.
        attn_mask: [L, S] or [N * num_heads, L, S], True for pairs to leave out, or numbers to add.
        need_weights: also return the weights, their mean over heads if `average_attn_weights`.
        static_k, static_v: take these instead of the projected keys and values.

    Returns:
        The output [L, N, E] and the weights [N, L, S] (or [N, heads, L, S]), or None.
    """
    batched = _check_dims(query, key, value, key_padding_mask, attn_mask, num_heads)
    if not batched:
        same_kv, same_qk = value is key, key is query
        query = query.unsqueeze(1)
        key = query if same_qk else key.unsqueeze(1)
        value = key if same_kv else value.unsqueeze(1)
        key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    targets, batch, size = query._shape
    padding = _as_numbers(key_padding_mask, "key_padding_mask", attn_mask, query.dtype)
    if is_causal and attn_mask is None:
        raise RuntimeError(
            "Need attn_mask if specifying the is_causal hint. You may use the Transformer module method "
            "`generate_square_subsequent_mask` to create this mask."
        )
    if is_causal and padding is None and not need_weights:
        attn_mask = None
    else:
        attn_mask = _as_numbers(attn_mask, "attn_mask", None, query.dtype)
        is_causal = is_causal and padding is None
    _require(size == embed_dim_to_check, f"was expecting embedding dimension of {embed_dim_to_check}, but got {size}")
    _require(size // num_heads * num_heads == size, f"embed_dim {size} not divisible by num_heads {num_heads}")
    if use_separate_proj_weight:
        q, k, v = _project_apart(query, key, value, (q_proj_weight, k_proj_weight, v_proj_weight), in_proj_bias)
    else:
        _require(key._shape == value._shape, f"key shape {key.shape} does not match value shape {value.shape}")
        _require(in_proj_weight is not None, "use_separate_proj_weight is False but in_proj_weight is None")
        q, k, v = _project(query, key, value, in_proj_weight, in_proj_bias)
    rows = batch * num_heads
    if attn_mask is not None:
        attn_mask = _check_mask_shape(attn_mask, targets, key._shape[0], rows)
    if bias_k is not None and bias_v is not None:
        _require(static_k is None, "bias cannot be added to static key.")
        _require(static_v is None, "bias cannot be added to static value.")
        k, v = cat([k, bias_k.repeat(1, batch, 1)]), cat([v, bias_v.repeat(1, batch, 1)])
        attn_mask, padding = _widened(attn_mask), _widened(padding)
    else:
        _require(bias_k is None, "bias_k is set but bias_v is None")
        _require(bias_v is None, "bias_v is set but bias_k is None")
    head = size // num_heads
    q = q.view(targets, rows, head).transpose(0, 1)
    k, v = _in_heads(k, static_k, "static_k", rows, head), _in_heads(v, static_v, "static_v", rows, head)
    if add_zero_attn:
        k, v = _with_zeros(k), _with_zeros(v)
        attn_mask, padding = _widened(attn_mask), _widened(padding)
    mask = _merged(attn_mask, padding, batch, num_heads, k._shape[1])
    attend = _attend_with_weights if need_weights else _attend_only
    out, weights = attend(q, k, v, mask, dropout_p if training else 0.0, is_causal, batch, num_heads)
    out = linear(out, out_proj_weight, out_proj_bias).view(targets, batch, -1)
    if weights is not None and average_attn_weights:
        weights = weights.mean(1)
    if batched:
        return out, weights
    return out.squeeze(1), None if weights is None else weights.squeeze(0)


def _project_apart(query: Tensor, key: Tensor, value: Tensor, weights: tuple, bias: Tensor | None) -> Any:
    _require(
        key._shape[:2] == value._shape[:2],
        f"key's sequence and batch dims {key.shape[:2]} do not match value's {value.shape[:2]}",
    )
    for name, weight in zip("qkv", weights):
        _require(weight is not None, f"use_separate_proj_weight is True but {name}_proj_weight is None")
    biases = (None, None, None) if bias is None else bias.chunk(3)
    return tuple(linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases))


def _attend_with_weights(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout_p: float, is_causal: bool,
                         batch: int, heads: int) -> tuple[Tensor, Tensor]:  # fmt: skip
    _require(not (is_causal and mask is None), "FIXME: is_causal not implemented for need_weights")
    scores = (q * math.sqrt(1.0 / q._shape[-1])).bmm(k.transpose(-2, -1))
    weights = _softmax(scores if mask is None else scores + mask, -1)
    if dropout_p > 0:
        weights = dropouts.dropout(weights, dropout_p, True)
    shape: Ints = (batch, heads, *weights._shape[1:])
    out = weights.bmm(v).transpose(0, 1).reshape(q._shape[1] * batch, heads * v._shape[-1])
    return out, weights.view(shape)


def _attend_only(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout_p: float, is_causal: bool, batch: int,
                 heads: int) -> tuple[Tensor, None]:  # fmt: skip
    if mask is not None:
        mask = mask.unsqueeze(0) if mask._shape[0] == 1 else mask.view(batch, heads, -1, k._shape[1])
    q, k, v = (x.view(batch, heads, *x._shape[1:]) for x in (q, k, v))
    out = scaled_dot_product_attention(q, k, v, mask, dropout_p, is_causal)
    return out.permute(2, 0, 1, 3).reshape(batch * q._shape[2], -1), None
