"""How the kernels of recurrent layers walk through time, and the register tile of their products.

The rows of all steps lie one step after the other. Each step has as many as the batch; or, of packed sequences, as a
table says, the longest sequences first. In either direction, rows 0 to `rows` of the batch are running.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from flambeau.dtypes import dtype
from flambeau.engine.graph import Arg
from flambeau.engine.kernel.complex_scalars import Complexes
from flambeau.engine.kernel.emit import Emitter, Val, element, lanes
from flambeau.engine.kernel.scalars import Scalars

WORDS = "length batch total first step".split()  # the integers that describe a walk


class Step(NamedTuple):
    """One step of the walk, in rows.

    Attributes:
        start: where its rows begin among those of all steps.
        rows: how many there are.
        begun: how many the step before had: those behind them begin here.
        following, following_rows: the same of the next step, whose rows are 0 where there is none.
    """

    start: Val
    rows: Val
    begun: Val
    following: Val
    following_rows: Val


@contextmanager
def steps(k: Emitter, integers: Sequence[Val], table: Val | None) -> Iterator[Step]:
    """The loop over the steps in order; `integers` are those of WORDS."""
    length, batch, total, first, step = integers

    def rows_of(t: Val) -> Val:
        return batch if table is None else k.load(table, t, "i64")

    zero, forward = k.const("i64", 0), step > 0
    start = k.select(forward, zero, k.sub(total, rows_of(first)))
    with k.loop(length, carried=[start, zero]) as loop:
        start, begun = loop.carried
        t, last = k.add(first, k.mul(loop.i, step)), k.add(loop.i, 1).equals(length)
        rows = rows_of(t)
        behind = k.select(last, zero, rows_of(k.select(last, t, k.add(t, step))))
        following = k.select(forward, k.add(start, rows), k.sub(start, behind))
        loop.carry(following, rows)
        yield Step(start, rows, begun, following, behind)


def functions(k: Emitter, d: dtype) -> Any:
    """What may be done to elements, for the formulas of cells."""
    return (Complexes if d.is_complex else Scalars)(k, d)


def described(x: Arg, sizes: Arg | None, batch: int, backwards: bool) -> tuple[int, int, tuple[int, ...]]:
    """The numbers of steps and of all rows, and the words of the walk; `x` is an operand with the rows of all steps."""
    length = x.shape[0] if sizes is None else sizes.shape[0]
    total = length * batch if sizes is None else x.shape[0]
    return length, total, (length, batch, total, *((length - 1, -1) if backwards else (0, 1)))


def products(k: Emitter, left: Sequence[Val], panel: Val, depth: Val, vectors: int, type: str) -> list[Val]:
    """Rows (by their addresses) times `vectors` vectors of columns, which follow one another in the panel for each of
    the `depth` terms: sums, row by row."""
    scalar, width, zero = element(type), lanes(type), k.const(type, 0)
    with k.loop(depth, carried=[zero] * (len(left) * vectors)) as loop:
        at = k.mul(loop.i, vectors * width)
        right = [k.load(panel, k.add(at, v * width), type) for v in range(vectors)]
        sums = list(loop.carried)
        for r, row in enumerate(left):
            x = k.splat(k.load(row, loop.i, scalar), width)
            for v in range(vectors):
                sums[r * vectors + v] = k.fma(x, right[v], sums[r * vectors + v])
        loop.carry(*sums)
    return list(loop.results)
