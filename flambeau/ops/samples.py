"""Sample inputs that op records carry for the tests.

A record's `samples(t)` yields `call(*inputs, **params)`; `t` makes a random tensor: `t(2, 3)`, `t(4, low=0.1, high=3)`,
`t(2, dtype=int64, low=0, high=5)`. The registry's tests run every op over its samples: shape rule against reference,
derivative against finite differences, second derivative, and PyTorch beside it where it is installed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple


class Call(NamedTuple):
    inputs: tuple
    params: dict[str, Any]


Maker = Callable[..., Any]
Samples = Callable[[Maker], Iterable[Call]]


def call(*inputs: Any, **params: Any) -> Call:
    return Call(inputs, params)


def unary_on(low: float, high: float) -> Samples:
    """Tensors of several shapes with elements in [low, high]."""

    def samples(t: Maker) -> Iterator[Call]:
        for shape in ((), (5,), (2, 3), (2, 0)):
            yield call(t(*shape, low=low, high=high))

    return samples


def binary_on(low: float = -3.0, high: float = 3.0, second: tuple[float, float] | None = None) -> Samples:
    """Pairs that broadcast in every way, and a tensor with a number."""
    low2, high2 = second or (low, high)

    def samples(t: Maker) -> Iterator[Call]:
        for a, b in (((3,), (3,)), ((2, 3), (3,)), ((2, 1), (1, 4)), ((), (2,)), ((2, 0), (1,))):
            yield call(t(*a, low=low, high=high), t(*b, low=low2, high=high2))
        yield call(t(2, 3, low=low, high=high), (low2 + 3 * high2) / 4)

    return samples


anywhere = unary_on(-3.0, 3.0)
positive = unary_on(0.2, 4.0)
unit = unary_on(-0.9, 0.9)
