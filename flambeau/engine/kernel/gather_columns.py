"""Gathers down columns: `target[i, j] = source[index[i, j], j]`, of tables that no cache holds.

What a column's indices choose from lies in as many lines of memory as the table has rows. A task copies a strip of
columns to where it stays near, and then goes down the result's strip.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from flambeau.engine.kernel.emit import BITS, LINE, Emitter, Val, vector
from flambeau.engine.kernel.gather_lanes import Lanes, Row
from flambeau.engine.kernel.gather_terms import Term, term_words
from flambeau.engine.kernel.move import RAW
from flambeau.engine.kernel.target import cache_sizes, vector_bytes
from flambeau.engine.plan import Kernel
from flambeau.engine.schedule.lowering import Site
from flambeau.shape import Ints

TASKS = 16  # strips that are near at the same time, at most: each has scratch memory
WIDEST = 4 * LINE  # bytes of a strip's rows
AHEAD = 4  # rows whose indices are on their way


class Strips(NamedTuple):
    """Dimensions as `merged` gives them, the last two being rows of indices and columns, and columns of a strip."""

    dims: Sequence[tuple[int, Ints]]
    columns: int

    @property
    def abreast(self) -> int:
        return -(-self.dims[-1][0] // self.columns)

    @property
    def units(self) -> int:
        return math.prod(n for n, _ in self.dims[:-2]) * self.abreast


def strips(dims: Sequence[tuple[int, Ints]], size: int, terms: Sequence[Term]) -> Strips | None:
    """How to go about a gather of elements of `size` bytes; None if this is no way for it."""
    if len(dims) < 2 or len(terms) != 1 or terms[0].step * size < LINE:
        return None
    (term,), (rows, down), (columns, along) = terms, dims[-2], dims[-1]
    if along != (1, 1, 1) or down[1] or any(not steps[1] for _, steps in dims[:-2]):
        return None
    room, line = cache_sizes()[1], LINE // size
    fits, worth = room // (term.size * size) // line * line, term.size <= 4 * rows
    if not fits or not worth or columns < line or term.size * columns * size <= 2 * room:
        return None
    return Strips(dims, min(fits, WIDEST // size))


def launch_strips(
    site: Site, words: Sequence, terms: Sequence[Term], size: int, strip: Strips, stream: bool, note: str, nbytes: float
) -> None:  # fmt: skip
    """Launch a gather; `words` are the addresses of target and source, and of the status word."""
    tasks = min(strip.units, TASKS)
    each = -(-strip.units // tasks)
    held = terms[0].size * strip.columns * size
    within = terms[0]._replace(step=strip.columns)
    scratch = site.temp(-(-strip.units // each) * held)
    geometry = [word for n, steps in strip.dims for word in (n, *steps)]
    site.launch(
        _kernel(strip, within, size, stream),
        (*words, *term_words([within]), scratch, held, each, strip.units, terms[0].step, strip.abreast, *geometry),
        -(-strip.units // each), nbytes / 10, note, (0.0, nbytes),
    )  # fmt: skip


def _kernel(strip: Strips, term: Term, size: int, stream: bool) -> Kernel:
    """Words: target, source, status; the term's three; scratch, its bytes for a task, units of a task, units, the step
    between rows of the table, strips side by side; size and three strides of each dimension."""
    width, columns = vector_bytes() // size, strip.columns
    lanes, raw, ndim = Lanes(size, [term], width, stream, [columns]), RAW[size], len(strip.dims)

    def word(d: int, nr: int) -> int:
        return 12 + 4 * d + nr

    def emit(k: Emitter) -> None:
        each, index_type = k.integer(8), lanes.types[0]
        held = k.at(k.pointer(6), k.mul(k.begin, k.integer(7)), "i8")
        with k.loop(k.minimum(k.mul(k.end, each), k.integer(9)), k.mul(k.begin, each)) as unit:
            first = k.mul(k.rem(unit, k.integer(11)), columns)
            offsets, rest = [first] * 3, k.div(unit, k.integer(11))
            for d in reversed(range(ndim - 2)):
                at, rest = k.rem(rest, k.integer(word(d, 0))), k.div(rest, k.integer(word(d, 0)))
                offsets = [k.add(o, k.mul(at, k.integer(word(d, 1 + w)))) for w, o in enumerate(offsets)]
            bases = [k.at(k.pointer(nr), o, type) for nr, o, type in zip((0, 1, 3), offsets, (raw, raw, index_type))]
            there = k.minimum(k.sub(k.integer(word(ndim - 1, 0)), first), columns)
            _hold(k, held, bases[1], k.integer(4), k.integer(10), there, columns, raw, width)
            with k.loop(k.integer(word(ndim - 2, 0))) as r:
                row_to, row_index = (k.integer(word(ndim - 2, nr)) for nr in (1, 3))
                out, index = k.at(bases[0], k.mul(r, row_to), raw), k.at(bases[2], k.mul(r, row_index), index_type)
                later, line = k.mul(row_index, AHEAD), LINE * 8 // BITS[index_type]

                def fetch(i: Val, index: Val = index, later: Val = later) -> None:
                    for nr in range(-(-lanes.width // line)):
                        k.prefetch(index, k.add(k.add(i, later), nr * line), index_type)

                lanes.write(k, Row(out, held, [index], 1, 1, [1]), 0, there, fetch)

    return Kernel(f"gather columns {lanes.form} {ndim}d", emit)


def _hold(
    k: Emitter, held: Val, source: Val, rows: Val, step: Val, there: Val, columns: int, raw: str, width: int
) -> None:  # fmt: skip
    """Copy a strip of the table: `there` columns of it, side by side."""
    parts = range(0, columns, width)
    masks = [k.mask(k.sub(there, part), width) for part in parts]
    with k.loop(rows) as r:
        row, place = k.mul(r, step), k.mul(r, columns)
        for part, mask in zip(parts, masks):
            k.prefetch(source, k.add(k.add(row, k.mul(step, 2 * AHEAD)), part), raw)
            x = k.masked_load(source, k.add(row, part), vector(raw, width), mask)
            k.store(x, held, k.add(place, part))
