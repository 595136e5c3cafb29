"""Rows that are put together from pieces: what pads write, row after row, so that each line of memory is met once.

    write_rows(site, shape, target, source, [Piece(0, 1, None), Piece(1, 64, 0)], "pad")

sets `target[..., at + i] = source[..., start + i * step]` for every piece and every `i` below its length; a piece that
starts nowhere (None) is a constant.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from flambeau.dtypes import COMPLEX
from flambeau.engine.kernel.emit import LINE, Emitter, Index, Val, vector
from flambeau.engine.kernel.move import RAW, Window
from flambeau.engine.kernel.move_walk import GRAIN, Walk, lanes_loop, line_start, merged
from flambeau.engine.kernel.target import vector_bytes
from flambeau.engine.plan import Kernel
from flambeau.engine.schedule.lowering import Site
from flambeau.shape import Ints

SHORT = 8  # elements of a piece that are moved one by one
MANY = 8  # pieces of a row
LONG = 16 * LINE  # bytes of rows that go past the caches one by one
HELD = 20 << 10  # bytes of shorter rows that are put together


class Piece(NamedTuple):
    at: int
    length: int
    start: int | None
    step: int = 1

    @property
    def short(self) -> bool:
        return self.length <= SHORT


def in_rows(target: Window, source: Window, pieces: Sequence[Piece]) -> bool:
    """Whether rows of these pieces are best written one after the other: some pieces are short, the others are runs."""
    runs = target.strides[-1] == source.strides[-1] == 1 and target.dtype is source.dtype
    short = any(p.short for p in pieces) and all(p.short or p.step == 1 or p.start is None for p in pieces)
    return runs and short and 1 < len(pieces) <= MANY and target.dtype.category < COMPLEX


def write_rows(
    site: Site, shape: Ints, target: Window, source: Window, pieces: Sequence[Piece], note: str, bits: int = 0,
    stream: bool = False,
) -> None:  # fmt: skip
    """Launch the rows of `shape`, whose last dimension the pieces fill; `bits` is the constant as memory holds it.

    `stream`: past the caches. Short rows that adjoin are put together near by, to be written in whole lines.
    """
    size, row = target.dtype.itemsize, shape[-1]
    walk = Walk(merged(shape[:-1], (target.strides[:-1], source.strides[:-1])), grain=max(GRAIN // row, 1))
    together = HELD // (row * size) if stream and walk.strides[0][-1] == row and row * size < LONG else 0
    words = [word for p in pieces for word in (p.at, p.length, p.start or 0)]
    nbytes = 2.0 * math.prod(shape) * size
    site.launch(
        _Rows(walk, size, pieces, stream, bool(together)).kernel(),
        (target.address, source.address, bits, together, *words, *walk.words),
        walk.tasks, nbytes / 20, note, (0.0, nbytes),
    )  # fmt: skip


class _Rows:
    """Writes the kernel. Words: target, source, constant, how many rows are put together; place, length and start of
    each piece; the walk's."""

    def __init__(self, walk: Walk, size: int, pieces: Sequence[Piece], stream: bool, together: bool) -> None:
        self.walk, self.size, self.pieces, self.together = walk, size, pieces, together
        self.width, self.raw = vector_bytes() // size, RAW[size]
        self.long = [stream and not together and p.length * size >= 4 * LINE for p in pieces]

    def kernel(self) -> Kernel:
        forms: list = list(map(tuple, self.pieces)) if self.together else [
            (p.length if p.short else "run", p.start is None, p.step) for p in self.pieces
        ]  # fmt: skip
        how = f"{' together' * self.together} streamed {self.long}"
        return Kernel(f"rows {self.size} {self.walk.form} {forms} w{self.width}{how}", self.emit)

    def emit(self, k: Emitter) -> None:
        with self.walk.rows(k, 4 + 3 * len(self.pieces)) as (offsets, [(low, high)], [[to], [on]]):
            out, source = k.at(k.pointer(0), offsets[0], self.raw), k.at(k.pointer(1), offsets[1], self.raw)
            if self.together:
                self._put_together(k, out, to, source, on, low, high)
                return
            with k.loop(high, low) as row:
                self._row(k, k.at(out, k.mul(row, to), self.raw), k.at(source, k.mul(row, on), self.raw))

    def _row(self, k: Emitter, out: Val, source: Val) -> None:
        constant = k.cast(k.integer(2), self.raw)
        for nr, piece in enumerate(self.pieces):
            place, length, start = piece.at, piece.length, piece.start or 0
            if not self.together:
                place, length, start = (k.integer(4 + 3 * nr + word) for word in range(3))
            place, start = k.at(out, place, self.raw), k.at(source, start, self.raw)
            if piece.short:
                for i in range(piece.length):
                    x = constant if piece.start is None else k.load(start, i * piece.step, self.raw)
                    k.store(x, place, i)
            else:
                self._run(k, place, start, length, constant if piece.start is None else None, self.long[nr])

    def _run(self, k: Emitter, out: Val, source: Val, length: Index, constant: Val | None, stream: bool) -> None:
        type = vector(self.raw, self.width)
        once = None if constant is None else k.splat(constant, self.width)

        def body(i: Index, mask: Val | None) -> None:
            if once is not None:
                x = once
            else:
                x = k.load(source, i, type) if mask is None else k.masked_load(source, i, type, mask)
            if mask is None:
                k.store(x, out, i, stream=stream)
            else:
                k.masked_store(x, out, i, mask)

        if isinstance(length, int) and length > self.width:  # the last vector may write again what is there
            for i in (*range(0, length - self.width, self.width), length - self.width):
                body(i, None)
            return
        low = line_start(k, out, 0, length, self.width, self.size, body) if stream else 0
        lanes_loop(k, low, length, self.width, body)

    def _put_together(self, k: Emitter, out: Val, row: Val, source: Val, on: Index, low: Index, high: Index) -> None:
        """Some rows at a time into memory near by, whose lines begin where those of the target do."""
        held = k.stack(self.raw, HELD // self.size + 2 * self.width)
        together = k.integer(3)
        groups = k.div(k.add(k.sub(high, low), k.sub(together, 1)), together)
        with k.loop(groups) as group:
            first = k.add(low, k.mul(group, together))
            last = k.minimum(k.add(first, together), high)
            place = k.at(out, k.mul(first, row), self.raw)
            past = k.rem(k.div(k.address(place), self.size), self.width)
            with k.loop(last, first) as r:
                to = k.at(held, k.add(past, k.mul(k.sub(r, first), row)), self.raw)
                self._row(k, to, k.at(source, k.mul(r, on), self.raw))
            stop = k.add(past, k.mul(k.sub(last, first), row))
            following = k.at(source, k.mul(last, on), self.raw)
            self._put_down(k, k.at(place, k.sub(0, past), self.raw), held, past, stop, following)

    def _put_down(self, k: Emitter, out: Val, held: Val, start: Val, stop: Val, following: Val) -> None:
        """What is held from `start` (in the first vector) to `stop`; meanwhile the source that follows is fetched."""
        type, width = vector(self.raw, self.width), self.width
        ramp = k.ramp(vector("i64", width))
        low, high = k.mul(k.div(k.add(start, width - 1), width), width), k.mul(k.div(stop, width), width)
        with k.loop(high, low, width) as i:
            k.prefetch(following, i, self.raw)
            k.store(k.load(held, i, type), out, i, stream=True)
        with k.when(start > 0):
            k.masked_store(k.load(held, 0, type), out, 0, (ramp >= start) & (ramp < stop))
        with k.when((high < stop) & (high >= low)):
            k.masked_store(k.load(held, high, type), out, high, ramp < k.sub(stop, high))
