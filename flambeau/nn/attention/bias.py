"""Causal masks for queries and keys of different length."""

from __future__ import annotations

from flambeau import ops
from flambeau.dtypes import bool_
from flambeau.tensors import Tensor

__all__ = ["causal_lower_right", "causal_upper_left"]


def causal_upper_left(*size: int) -> Tensor:
    """A mask (queries, keys), true where attention is allowed: query i sees keys 0 .. i.

    >>> causal_upper_left(2, 3)
    tensor([[ True, False, False],
            [ True,  True, False]])
    """
    if len(size) != 2:
        raise RuntimeError("causal_upper_left only supports 2D tensors")
    return ops.ones(size, dtype=bool_).tril()


def causal_lower_right(*size: int) -> Tensor:
    """A mask (queries, keys), true where attention is allowed: the last query sees the last key.

    >>> causal_lower_right(2, 3)
    tensor([[ True,  True, False],
            [ True,  True,  True]])
    """
    if len(size) != 2:
        raise RuntimeError("causal_lower_right only supports 2D tensors")
    return ops.ones(size, dtype=bool_).tril(diagonal=size[1] - size[0])
