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
from flambeau.engine.kernel.emit import Emitter, Index, Val, vector
from flambeau.engine.kernel.move import RAW, Window
from flambeau.engine.kernel.move_walk import GRAIN, Walk, lanes_loop, merged
from flambeau.engine.kernel.target import vector_bytes
from flambeau.engine.plan import Kernel
from flambeau.engine.schedule.lowering import Site
from flambeau.shape import Ints

SHORT = 8  # elements of a piece that are moved one by one
MANY = 8  # pieces of a row


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
    site: Site, shape: Ints, target: Window, source: Window, pieces: Sequence[Piece], note: str, bits: int = 0
) -> None:
    """Launch the rows of `shape`, whose last dimension the pieces fill; `bits` is the constant as memory holds it."""
    size, row = target.dtype.itemsize, shape[-1]
    walk = Walk(merged(shape[:-1], (target.strides[:-1], source.strides[:-1])), grain=max(GRAIN // row, 1))
    words = [word for p in pieces for word in (p.at, p.length, p.start or 0)]
    nbytes = 2.0 * math.prod(shape) * size
    site.launch(
        _kernel(walk, size, pieces), (target.address, source.address, bits, *words, *walk.words),
        walk.tasks, nbytes / 20, note, (0.0, nbytes),
    )  # fmt: skip


def _kernel(walk: Walk, size: int, pieces: Sequence[Piece]) -> Kernel:
    width, raw = vector_bytes() // size, RAW[size]

    def emit(k: Emitter) -> None:
        constant = k.cast(k.integer(2), raw)
        with walk.rows(k, 3 + 3 * len(pieces)) as (offsets, [(low, high)], [[to], [on]]), k.loop(high, low) as row:
            out = k.at(k.pointer(0), k.add(offsets[0], k.mul(row, to)), raw)
            source = k.at(k.pointer(1), k.add(offsets[1], k.mul(row, on)), raw)
            for nr, piece in enumerate(pieces):
                place, length, start = (k.integer(3 + 3 * nr + word) for word in range(3))
                _piece(k, piece, k.at(out, place, raw), k.at(source, start, raw), length, constant, width)

    forms = [(p.length if p.short else "run", p.start is None, p.step) for p in pieces]
    return Kernel(f"rows {size} {walk.form} {forms} w{width}", emit)


def _piece(k: Emitter, piece: Piece, out: Val, source: Val, length: Val, constant: Val, width: int) -> None:
    raw = constant.type
    if piece.short:
        for i in range(piece.length):
            k.store(constant if piece.start is None else k.load(source, i * piece.step, raw), out, i)
        return

    def body(i: Index, mask: Val | None) -> None:
        type = vector(raw, width)
        if piece.start is None:
            x = k.splat(constant, width)
        else:
            x = k.load(source, i, type) if mask is None else k.masked_load(source, i, type, mask)
        if mask is None:
            k.store(x, out, i)
        else:
            k.masked_store(x, out, i, mask)

    lanes_loop(k, 0, length, width, body)
