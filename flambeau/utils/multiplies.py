"""Counting the multiplications that a computation records, op by op."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from flambeau.engine import execute

Shape = tuple[int, ...]


@dataclass
class Counter:
    """`total` grows by the multiply-adds of each op that runs."""

    total: int = 0


def _product(a: Shape, *_: Shape | None, out: Shape) -> int:
    """Each output element is a sum over the first operand's last dimension."""
    return math.prod(out) * a[-1]


def _added_product(_: Shape, a: Shape, *__: Shape | None, out: Shape) -> int:
    return math.prod(out) * a[-1]


def _added_batch(_: Shape, a: Shape, *__: Shape | None, out: Shape) -> int:
    """addbmm: the sum also runs over the batch."""
    return math.prod(out) * a[0] * a[-1]


def _contraction(a: Shape, b: Shape, out: Shape, la: tuple, lb: tuple, lo: tuple) -> int:
    """einsum's pair: one multiplication for each combination of all labels."""
    return math.prod(dict(zip(la + lb, a + b)).values())


def _convolution(_: Shape, weight: Shape, *__: Shape | None, out: Shape) -> int:
    """Weight (out channels, in channels / groups, *kernel): each output element meets one filter."""
    return math.prod(out) * math.prod(weight[1:])


def _transposed_convolution(x: Shape, weight: Shape, *_: Shape | None, out: Shape) -> int:
    """Weight (in channels, out channels / groups, *kernel): each input element meets one filter."""
    return math.prod(x) * math.prod(weight[1:])


def _recurrent_layer(
    x: Shape, _sizes: Shape | None, _h: Shape, _c: Shape | None, *weights: Shape | None, out: Shape
) -> int:
    """x (*steps, in): each step of each sequence meets the input, state and projection matrices once."""
    return math.prod(x[:-1]) * sum(math.prod(w) for w in weights if w is not None and len(w) == 2)


def _attention(q: Shape, k: Shape, v: Shape, *_: Shape | None, out: Shape) -> int:
    """q (..., L, E), k (..., S, E), v (..., S, F): the scores and their average of v."""
    return math.prod(out[:-1]) * k[-2] * (q[-1] + v[-1])


# What an op of this name multiplies, from the shapes of its operands (None for what is no tensor) and its result.
RULES: dict[str, Callable[..., int]] = {
    **dict.fromkeys(("mm", "bmm", "mv", "dot", "matmul", "linear"), _product),
    **dict.fromkeys(("addmm", "addmv", "baddbmm"), _added_product),
    "addbmm": _added_batch,
    "sumproduct_pair": _contraction,
    "convolution": _convolution,
    "conv_transpose": _transposed_convolution,
    "rnn_layer": _recurrent_layer,
    "scaled_dot_product_attention": _attention,
}
_NEEDS_PARAMS = {"sumproduct_pair"}


@contextmanager
def counting() -> Iterator[Counter]:
    """Count the multiply-adds of the ops that run inside the block.

    Contractions (matrix products, convolutions, linear layers, attention, recurrent layers) count; elementwise
    ops and reductions do not.
    """
    counter = Counter()

    def count(op: Any, inputs: Sequence[Any], params: dict[str, Any], metas: Sequence[Any]) -> None:
        rule = RULES.get(op.name)
        if rule is not None:
            shapes = [tuple(x._shape) if hasattr(x, "_shape") else None for x in inputs]
            more = params if op.name in _NEEDS_PARAMS else {}
            counter.total += rule(*shapes, out=tuple(metas[0].shape), **more)

    execute.watching.append(count)
    try:
        yield counter
    finally:
        execute.watching.remove(count)
