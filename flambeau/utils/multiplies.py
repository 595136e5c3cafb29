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


def _product(shapes: Sequence[Shape], out: Shape) -> int:
    """A matrix product of any rank: each output element is a sum over the first operand's last dimension."""
    return math.prod(out) * (shapes[0][-1] if shapes[0] else 1)


def _convolution(shapes: Sequence[Shape], out: Shape) -> int:
    """Weight (out channels, in channels / groups, *kernel): each output element meets one filter."""
    return math.prod(out) * math.prod(shapes[1][1:])


def _transposed_convolution(shapes: Sequence[Shape], out: Shape) -> int:
    """Weight (in channels, out channels / groups, *kernel): each input element meets one filter."""
    return math.prod(shapes[0]) * math.prod(shapes[1][1:])


# What an op of this name multiplies, from its operands' shapes and its (first) result's.
RULES: dict[str, Callable[[Sequence[Shape], Shape], int]] = {
    "matmul": _product,
    "conv": _convolution,
    "conv_transpose": _transposed_convolution,
}


@contextmanager
def counting() -> Iterator[Counter]:
    """Count the multiply-adds of the ops that run inside the block.

    Contractions (matrix products, convolutions, linear layers, attention, recurrent layers) count; elementwise
    ops and reductions do not.
    """
    counter = Counter()
    record = execute.record

    def counted(op: Any, inputs: Sequence[Any], params: dict[str, Any], metas: Sequence[Any]) -> list:
        rule = RULES.get(op.name)
        if rule is not None:
            shapes = [tuple(x._shape) for x in inputs if hasattr(x, "_shape")]
            counter.total += rule(shapes, tuple(metas[0].shape))
        return record(op, inputs, params, metas)

    execute.record = counted
    try:
        yield counter
    finally:
        execute.record = record
