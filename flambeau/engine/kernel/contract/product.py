"""A contraction as numbers: sizes, and the strides of its two operands and of what is added to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

from flambeau.dtypes import dtype
from flambeau.engine.graph import Arg
from flambeau.engine.plan import Address
from flambeau.engine.schedule.lowering import Unsupported
from flambeau.shape import Ints


class Operand(NamedTuple):
    """Where a matrix (or a batch of them) lies. Strides count elements; `inner` is along the sum."""

    at: Address
    dtype: dtype
    outer: int  # stride along rows (of the left operand) or columns (of the right one)
    inner: int  # stride along the summed dimension
    batch: Ints  # stride along each batch dimension


class Addend(NamedTuple):
    """What is added to the product: `beta` times a window that broadcasts to the result."""

    at: Address
    dtype: dtype
    rows: int
    columns: int
    batch: Ints
    beta: Any  # a float; an integer or a complex number, if the product is one of those


@dataclass(frozen=True)
class Product:
    """result[b, i, j] = alpha * sum over k of a[b, i, k] * b[b, k, j], plus an addend; the result is row-major."""

    sizes: Ints  # batch dimensions
    rows: int
    columns: int
    depth: int
    a: Operand
    b: Operand
    dtype: dtype
    alpha: Any = 1.0  # as beta
    addend: Addend | None = None

    @property
    def batch(self) -> int:
        return prod(self.sizes)


PANEL = "panel"  # packed: the rows (or columns) of a tile side by side for each step of the sum
ACROSS = "across"  # in place, neighbours along rows (left) or columns (right)
ALONG = "along"  # in place, neighbours along the sum
ANY = "any"  # in place, no neighbours


def layout_of(x: Operand, count: int, depth: int) -> str:
    """How an operand of `count` rows (or columns) lies in memory."""
    if x.outer == 1 or count == 1:
        return ACROSS
    return ALONG if x.inner == 1 or depth == 1 else ANY


def joined(sizes: Sequence[int], strides: Sequence[Sequence[int]]) -> tuple[Ints, list[Ints]]:
    """Neighbouring dimensions that are one run in every window, as one; dimensions of size 1 are left out.

    >>> joined((2, 3, 4), [(12, 4, 1), (0, 0, 5)])
    ((6, 4), [(4, 1), (0, 5)])
    """
    kept: list[tuple[int, Ints]] = []
    for n, *steps in zip(sizes, *strides):
        if n == 1:
            continue
        if kept and all(outer == inner * n for outer, inner in zip(kept[-1][1], steps)):
            kept[-1] = (kept[-1][0] * n, tuple(steps))
        else:
            kept.append((n, tuple(steps)))
    return tuple(n for n, _ in kept), [tuple(s[w] for _, s in kept) for w in range(len(strides))]


def one_run(sizes: Sequence[int], strides: Sequence[int]) -> int:
    """The one stride that walks several dimensions in row-major order; Unsupported where there is none."""
    if 0 in sizes:
        return 1
    _, (steps,) = joined(sizes, [strides])
    if len(steps) > 1:
        raise Unsupported("dimensions that are not one run in memory")
    return steps[0] if steps else 1


def broadcast_strides(x: Arg, shape: Ints) -> Ints:
    """The strides with which `x` is read as `shape`."""
    lead = len(shape) - len(x.shape)
    return (0,) * lead + tuple(0 if n == 1 else s for n, s in zip(x.shape, x.strides))
