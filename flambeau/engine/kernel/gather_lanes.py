"""Elements from here and there, put together to vectors, row by row.

Machines that can gather by themselves are slower at it than at loading the elements one after the other. Where one of
the indices of a vector is out of range, or counts from the end, its elements are read one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from flambeau.engine.kernel.emit import Emitter, Index, Val, vector
from flambeau.engine.kernel.gather_terms import Term, offset
from flambeau.engine.kernel.move import RAW
from flambeau.engine.kernel.move_walk import next_line
from flambeau.engine.kernel.scalars import memory_type
from flambeau.engine.kernel.vecmath import any_lane

WIDEST = 16  # elements that are put together


class Row(NamedTuple):
    """Where a row of the result, its source and its indices begin, and their steps along it."""

    out: Val
    source: Val
    indices: Sequence[Val]
    to: Index
    on: Index
    steps: Sequence[Index]


class Lanes:
    """Writes the code of one row: `target[i * to] = source[i * on + step * index[i * steps] ...]`.

    The terms' words begin at argument 3, the status word is argument 2. With `width` above 1 the target is a run, and
    the indices are. `known` are the steps of terms that are part of the code.
    """

    def __init__(
        self, size: int, terms: Sequence[Term], width: int, stream: bool, known: Sequence[int | None]
    ) -> None:  # fmt: skip
        self.size, self.terms, self.width, self.stream, self.known = size, terms, min(width, WIDEST), stream, known
        self.types = [memory_type(t.index.dtype) for t in terms]
        kinds = " ".join(f"{t.index.dtype.name}{'w' * t.wraps}" for t in terms)
        self.form = f"{size} [{kinds}] {list(known)} w{self.width}{' streamed' * stream}"

    def write(
        self, k: Emitter, row: Row, low: Index, high: Index, fetch: Callable[[Val], None] | None = None
    ) -> None:  # fmt: skip
        """The elements from `low` to `high`; `fetch(i)` beside the vector at `i` brings near what comes later."""
        if self.width == 1:
            self._singles(k, row, low, high)
            return
        if self.stream:
            start = next_line(k, row.out, low, high, self.width, self.size)
            self._singles(k, row, low, start)
            low = start
        with k.loop(k.sub(high, self.width - 1), low, self.width) as at:
            wrong = self._wrong(k, row, at)
            with k.when(wrong):
                self._singles(k, row, at, k.add(at, self.width))
            with k.when(k.bits("xor", wrong, True)):
                x = k.joined([self._element(k, row, k.add(at, lane)) for lane in range(self.width)])
                k.store(x, row.out, at, stream=self.stream)
            if fetch is not None:
                fetch(at)
        self._singles(k, row, at, high)

    def _singles(self, k: Emitter, row: Row, low: Index, high: Index) -> None:
        raw = RAW[self.size]
        with k.loop(high, low) as i:
            places = zip(row.indices, row.steps, self.types)
            found = [k.load(index, k.mul(i, step), type) for index, step, type in places]
            x = k.load(row.source, k.add(k.mul(i, row.on), offset(k, self.terms, found, 3, 2)), raw)
            k.store(x, row.out, k.mul(i, row.to))

    def _wrong(self, k: Emitter, row: Row, at: Val) -> Val:
        """Whether an index of the vector at `at` is not a place."""
        flags: Val | None = None
        for nr, (index, type) in enumerate(zip(row.indices, self.types)):
            found = k.cast(k.load(index, at, vector(type, self.width)), "i64")
            flag = k.compare("ge", found, k.integer(3 + 3 * nr + 1), unsigned=True)
            flags = flag if flags is None else flags | flag
        assert flags is not None
        return any_lane(k, flags)

    def _element(self, k: Emitter, row: Row, i: Val) -> Val:
        """What indices that are places lead to."""
        total = k.mul(i, row.on)
        for nr, (index, type, step) in enumerate(zip(row.indices, self.types, self.known)):
            found = k.cast(k.load(index, i, type), "i64")
            total = k.add(total, k.mul(found, k.integer(3 + 3 * nr + 2) if step is None else step))
        return k.load(row.source, total, RAW[self.size])
