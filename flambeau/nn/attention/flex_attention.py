"""Attention whose scores a function of the user's changes; masks from functions of indices.

The functions get whole index tensors that broadcast against the scores, and so run once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from flambeau import ops
from flambeau.dtypes import bool_
from flambeau.tensors import Tensor

__all__ = ["BlockMask", "and_masks", "create_block_mask", "create_mask", "flex_attention", "noop_mask", "or_masks"]
ScoreMod = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
MaskMod = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


class BlockMask:
    """A mask (B, H, queries, keys), true where attention is allowed."""

    def __init__(self, mask: Tensor, mask_mod: MaskMod) -> None:
        self.mask, self.mask_mod = mask, mask_mod

    @property
    def shape(self) -> tuple[int, ...]:
        """B, H, queries, keys."""
        return tuple(self.mask.shape)

    def to_dense(self) -> Tensor:
        """The mask as a tensor of zeros and ones."""
        return self.mask.int()

    def __repr__(self) -> str:
        return f"BlockMask(shape={self.shape})"


def _indices(batch: int, heads: int, queries: int, keys: int) -> tuple[Tensor, ...]:
    """Index tensors of the four dimensions, each varying in its own."""
    sizes = (batch, heads, queries, keys)
    return tuple(ops.arange(n).view([-1 if i == d else 1 for i in range(4)]) for d, n in enumerate(sizes))


def create_mask(mod_fn: MaskMod, B: int | None, H: int | None, Q_LEN: int, KV_LEN: int, device: Any = "cpu") -> Tensor:
    """The mask (B, H, Q_LEN, KV_LEN) of a function of batch, head, query and key index."""
    sizes = (B or 1, H or 1, Q_LEN, KV_LEN)
    return ops.broadcast_to(mod_fn(*_indices(*sizes)), sizes).to(bool_)


def create_block_mask(
    mask_mod: MaskMod, B: int | None, H: int | None, Q_LEN: int, KV_LEN: int, device: Any = "cpu",
    BLOCK_SIZE: Any = 128, _compile: bool = False,
) -> BlockMask:  # fmt: skip
    """A mask for `flex_attention` from a function of batch, head, query and key index."""
    return BlockMask(create_mask(mask_mod, B, H, Q_LEN, KV_LEN), mask_mod)


def noop_mask(batch: Tensor, head: Tensor, token_q: Tensor, token_kv: Tensor) -> Tensor:
    """Allows everything."""
    return ops.ones((), dtype=bool_)


def and_masks(*mask_mods: MaskMod) -> MaskMod:
    """Allowed where all of them allow."""

    def both(*indices: Tensor) -> Tensor:
        result = noop_mask(*indices)
        for mask_mod in mask_mods:
            result = result & mask_mod(*indices)
        return result

    return both


def or_masks(*mask_mods: MaskMod) -> MaskMod:
    """Allowed where one of them allows."""

    def either(*indices: Tensor) -> Tensor:
        result = ~noop_mask(*indices)
        for mask_mod in mask_mods:
            result = result | mask_mod(*indices)
        return result

    return either


def flex_attention(
    query: Tensor, key: Tensor, value: Tensor, score_mod: ScoreMod | None = None, block_mask: BlockMask | None = None,
    scale: float | None = None, enable_gqa: bool = False, return_lse: bool = False, kernel_options: Any = None,
) -> Any:  # fmt: skip
    """softmax(score_mod(q k^T scale)) v for (B, H, L, E); rows that may see nothing give zeros.

    Args:
        score_mod: `score_mod(score, batch, head, query_index, key_index)`.
        enable_gqa: fewer key and value heads than query heads, each serving a group.
        return_lse: also the log of the sum of exponentials, (B, H, L).
    """
    if any(t.ndim != 4 for t in (query, key, value)):
        raise NotImplementedError("NYI: query, key, and value must be 4D tensors")
    if not enable_gqa and query.size(-3) != key.size(-3):
        raise ValueError(
            f"Expect query and key/value to have the same number of heads but got Hq={query.size(-3)} and "
            f"Hkv={key.size(-3)}. Try setting enable_gqa=True for GQA."
        )
    groups = query.size(-3) // key.size(-3)
    if groups > 1:
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    scores = (query @ key.mT) * (1 / math.sqrt(query.size(-1)) if scale is None else scale)
    if score_mod is not None:
        scores = score_mod(scores, *_indices(*scores.shape))
    if block_mask is not None:
        scores = scores.masked_fill(~block_mask.mask, -math.inf)
    lse = scores.logsumexp(dim=-1)
    weights = ops.exp(scores - lse.masked_fill(lse == -math.inf, 0.0).unsqueeze(-1))
    out = (weights.to(value.dtype) @ value).to(query.dtype)
    return (out, lse) if return_lse else out
