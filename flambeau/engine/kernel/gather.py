"""Reading at indices: the kernel under gather, index, index_select, take and embedding.

    gather(site, shape, target, source, [Term(index, size, step, wraps)])

sets `target[i] = source[i + step * index[i] ...]` for every `i` of `shape`. All windows go over the same shape: the
source stands still (stride 0) along dimensions that an index takes the place of, an index along all others. Where no
index moves along the innermost dimension, whole runs are copied.

An index out of range reads element 0 instead and leaves a mark in `site.status`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from flambeau.dtypes import COMPLEX
from flambeau.engine.kernel.emit import BITS, LINE, Emitter, Index, Val, vector
from flambeau.engine.kernel.gather_columns import launch_strips, strips
from flambeau.engine.kernel.gather_lanes import Lanes, Row
from flambeau.engine.kernel.gather_terms import Term, by_parts, check_sizes, offset, term_words
from flambeau.engine.kernel.move import RAW, Window, large
from flambeau.engine.kernel.move_walk import Walk, lanes_loop, line_start, merged
from flambeau.engine.kernel.scalars import memory_type
from flambeau.engine.kernel.target import cache_sizes, vector_bytes
from flambeau.engine.plan import Kernel
from flambeau.engine.schedule.lowering import Site
from flambeau.shape import Ints

AHEAD = 64  # lines of indices
LATER = 8  # runs
MOST = 4  # lines of the source's next row that are fetched with a vector


def gather(site: Site, shape: Ints, target: Window, source: Window, terms: Sequence[Term], note: str) -> None:
    """Launch the reads."""
    if 0 in shape:
        return
    check_sizes(terms)
    if target.dtype.category == COMPLEX:
        shape, (target, source), terms = by_parts(shape, (target, source), terms)
    dims = merged(shape, (target.strides, source.strides, *(t.index.strides for t in terms)))
    size, stream = target.dtype.itemsize, large(shape, target.dtype)
    words = target.address, source.address, site.status()
    nbytes = math.prod(shape) * (2.0 * size + 8 * any(dims[-1][1][2:]))
    if strip := strips(dims, size, terms):
        launch_strips(site, words, terms, size, strip, stream, note, nbytes)
        return
    if any(dims[-1][1][2:]):
        walk, kernel = _spread(dims, size, terms, stream)
    else:
        found = _Runs(dims, size, terms, stream)
        walk, kernel = found.walk, found.kernel()
    site.launch(
        kernel, (*words, *term_words(terms), *walk.words), walk.tasks, nbytes / 10, note, (0.0, nbytes),
    )  # fmt: skip


def _spread(dims: Sequence[tuple[int, Ints]], size: int, terms: Sequence[Term], stream: bool) -> tuple[Walk, Kernel]:
    """Elements from here and there."""
    walk = Walk(dims)
    whole = all(s[-1] == 1 for s in (walk.strides[0], *walk.strides[2:]))
    width = vector_bytes() // size if whole else 1
    stream = stream and width > 1 and walk.sizes[-1] * size >= 4 * LINE
    lanes = Lanes(size, terms, width, stream, [1 if t.step == 1 else None for t in terms])
    on = walk.strides[1][-1] if walk.strides[1][-1] in (0, 1) else None
    lines = _lines(walk, lanes)
    ahead = lanes.width > 1 and math.prod(walk.sizes) * 8 > cache_sizes()[1]
    first, raw = 3 + 3 * len(lanes.terms), RAW[lanes.size]

    def emit(k: Emitter) -> None:
        with walk.rows(k, first) as (offsets, [(low, high)], [[to], [step], *steps]):
            out, source = k.at(k.pointer(0), offsets[0], raw), k.at(k.pointer(1), offsets[1], raw)
            indices = [k.at(k.pointer(3 + 3 * nr), offsets[2 + nr], type) for nr, type in enumerate(lanes.types)]
            following = k.at(source, walk.step(k, first, 1, len(walk.sizes) - 2), raw) if lines else source

            def fetch(i: Val) -> None:
                for index, type in zip(indices, lanes.types) if ahead else ():
                    line = LINE * 8 // BITS[type]
                    for nr in range(-(-lanes.width // line)):
                        k.prefetch(index, k.add(i, (AHEAD + nr) * line), type)
                line = LINE // lanes.size
                for nr in range(lines):
                    k.prefetch(following, k.add(k.mul(i, lines * line // lanes.width), nr * line), raw)

            row = Row(out, source, indices, to, step if on is None else on, [s for (s,) in steps])
            lanes.write(k, row, low, high, fetch)

    return walk, Kernel(f"gather {lanes.form} {walk.form} {on} {lines}{' ahead' * ahead}", emit)


def _lines(walk: Walk, lanes: Lanes) -> int:
    """How many lines of the source's next row to fetch with each vector: where a row stays near and all of it will be
    met, in an order that the machine cannot guess."""
    if walk.strides[1][-1] or len(lanes.terms) > 1 or len(walk.sizes) < 2:
        return 0
    (term,), n = lanes.terms, walk.sizes[-1]
    run = term.size * lanes.size
    near = term.step == 1 and run <= cache_sizes()[1] // 4 and n * LINE >= run
    return min(-(-run * lanes.width // (LINE * n)), MOST) if near else 0


class _Runs:
    """Whole runs, one after the other, while those of later indices are fetched."""

    def __init__(self, dims: Sequence[tuple[int, Ints]], size: int, terms: Sequence[Term], large: bool) -> None:
        self.walk, self.size, self.terms = Walk(dims, inner=2, unit=16), size, terms
        self.types = [memory_type(t.index.dtype) for t in terms]
        run = self.walk.strides[0][-1] == self.walk.strides[1][-1] == 1
        self.width = vector_bytes() // size if run else 1
        self.stream = large and run and self.walk.sizes[-1] * size >= 4 * LINE
        self.ahead = run and any(t.size * t.step * size > cache_sizes()[1] for t in terms)

    def kernel(self) -> Kernel:
        kinds = " ".join(f"{t.index.dtype.name}{'w' * t.wraps}" for t in self.terms)
        form = f"w{self.width}{' ahead' * self.ahead}{' streamed' * self.stream}"
        return Kernel(f"gather runs {self.size} {self.walk.form} [{kinds}] {form}", self.emit)

    def emit(self, k: Emitter) -> None:
        raw = RAW[self.size]
        with self.walk.rows(k, 3 + 3 * len(self.terms)) as (offsets, [(first, last), (low, high)], steps):
            (down, to), (across, on), *moved = steps
            bases = zip(self.types, offsets[2:])
            indices = [k.at(k.pointer(3 + 3 * nr), place, type) for nr, (type, place) in enumerate(bases)]

            def found(r: Index) -> list[Val]:
                places = zip(indices, moved, self.types)
                return [k.load(index, k.mul(r, step), type) for index, (step, _), type in places]

            with k.loop(last, first) as r:
                out = k.at(k.pointer(0), k.add(offsets[0], k.mul(r, down)), raw)
                source = k.at(k.pointer(1), k.add(offsets[1], k.mul(r, across)), raw)
                later = None
                if self.ahead:
                    there = found(k.minimum(k.add(r, LATER), k.sub(last, 1)))
                    later = k.at(source, self.unchecked(k, there), raw)
                source = k.at(source, offset(k, self.terms, found(r), 3, 2), raw)
                self.copy(k, out, to, source, on, low, high, later)

    def unchecked(self, k: Emitter, indices: Sequence[Val]) -> Index:
        """Where indices lead, wherever that is."""
        total: Index = 0
        for nr, index in enumerate(indices):
            total = k.add(total, k.cast(index, "i64") * k.integer(3 + 3 * nr + 2))
        return total

    def copy(
        self, k: Emitter, out: Val, to: Index, source: Val, on: Index, low: Index, high: Index, later: Val | None
    ) -> None:  # fmt: skip
        """A run; the same elements of the run `later` are fetched with them."""
        raw, width = RAW[self.size], self.width

        def body(i: Index, mask: Val | None) -> None:
            type, place = vector(raw, width), i if width > 1 else k.mul(i, on)
            x = k.load(source, place, type) if mask is None else k.masked_load(source, place, type, mask)
            at = i if width > 1 else k.mul(i, to)
            if later is not None:
                k.prefetch(later, i, raw)
            if mask is None:
                k.store(x, out, at, stream=self.stream)
            else:
                k.masked_store(x, out, at, mask)

        if self.stream:
            low = line_start(k, out, low, high, width, self.size, body)
        lanes_loop(k, low, high, width, body)
