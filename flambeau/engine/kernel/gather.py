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
from typing import NamedTuple

from flambeau.dtypes import COMPLEX
from flambeau.engine.kernel.emit import LINE, Emitter, Index, Val, vector
from flambeau.engine.kernel.move import RAW, Window, large
from flambeau.engine.kernel.move_walk import Walk, lanes_loop, line_start, merged
from flambeau.engine.kernel.scalars import memory_type
from flambeau.engine.kernel.target import cache_sizes, vector_bytes
from flambeau.engine.plan import Kernel
from flambeau.engine.schedule.lowering import Site, Unsupported
from flambeau.shape import Ints


class Term(NamedTuple):
    """An index tensor: along how many elements it chooses, and how far apart they are. `wraps`: negative ones count
    from the end."""

    index: Window
    size: int
    step: int
    wraps: bool = False


def gather(site: Site, shape: Ints, target: Window, source: Window, terms: Sequence[Term], note: str) -> None:
    """Launch the reads."""
    if 0 in shape:
        return
    check_sizes(terms)
    if target.dtype.category == COMPLEX:
        shape, (target, source), terms = by_parts(shape, (target, source), terms)
    windows = (target.strides, source.strides, *(t.index.strides for t in terms))
    walk = Walk(merged(shape, windows))
    stream = large(shape, target.dtype)
    nbytes = math.prod(shape) * (2.0 * target.dtype.itemsize + 8 * any(s[-1] for s in walk.strides[2:]))
    site.launch(
        _kernel(walk, target.dtype.itemsize, terms, stream),
        (target.address, source.address, site.status(), *term_words(terms), *walk.words),
        walk.tasks, nbytes / 10, note, (0.0, nbytes),
    )  # fmt: skip


def check_sizes(terms: Sequence[Term]) -> None:
    if any(t.size == 0 for t in terms):
        raise Unsupported("an index into nothing")


def by_parts(shape: Ints, windows: Sequence[Window], terms: Sequence[Term]) -> tuple[Ints, list[Window], list[Term]]:
    """Complex elements as two floats each: a dimension more."""
    wide = [w.real()._replace(strides=(*w.real().strides, 1)) for w in windows]
    moved = [t._replace(index=t.index.part(0, (*t.index.strides, 0)), step=2 * t.step) for t in terms]
    return (*shape, 2), wide, moved


def term_words(terms: Sequence[Term]) -> tuple:
    """The words of the argument block that `offset` reads: three a term."""
    return tuple(word for t in terms for word in (t.index.address, t.size, t.step))


def _kernel(walk: Walk, size: int, terms: Sequence[Term], stream: bool) -> Kernel:
    """Runs by vectors; elements from here and there one by one, which is no slower than gathering them."""
    still = all(s[-1] == 0 for s in walk.strides[2:])
    raw = RAW[size]
    width = vector_bytes() // size if still and walk.strides[0][-1] == walk.strides[1][-1] == 1 else 1
    stream = stream and width > 1 and walk.sizes[-1] * size >= 4 * LINE
    near = not still and walk.strides[1][-1] == 0 and len(terms) == 1 and _fits(terms[0], size, walk)
    first = 3 + 3 * len(terms)

    types = [memory_type(t.index.dtype) for t in terms]

    def emit(k: Emitter) -> None:
        with walk.rows(k, first) as (offsets, [(low, high)], [[to], [on], *rest]):
            index_steps = [step for (step,) in rest]
            out, source = k.at(k.pointer(0), offsets[0], raw), k.at(k.pointer(1), offsets[1], raw)
            rows = [k.at(k.pointer(3 + 3 * nr), offsets[2 + nr], type) for nr, type in enumerate(types)]
            if near:  # all of the row will be met, in an order that the machine cannot guess
                with k.loop(k.integer(4), step=LINE // size) as i:
                    k.prefetch(source, i, raw)
            if still:
                found = [k.load(row, 0, type) for row, type in zip(rows, types)]
                source = k.at(source, offset(k, terms, found, 3, 2), raw)

            def body(i: Index, mask: Val | None) -> None:
                if still:
                    type, place = vector(raw, width), i if width > 1 else k.mul(i, on)
                    x = k.load(source, place, type) if mask is None else k.masked_load(source, place, type, mask)
                else:
                    found = [k.load(row, k.mul(i, step), type) for row, step, type in zip(rows, index_steps, types)]
                    x = k.load(source, k.add(k.mul(i, on), offset(k, terms, found, 3, 2)), raw)
                at = i if width > 1 else k.mul(i, to)
                if mask is None:
                    k.store(x, out, at, stream=stream)
                else:
                    k.masked_store(x, out, at, mask)

            if stream:
                low = line_start(k, out, low, high, width, size, body)
            lanes_loop(k, low, high, width, body)

    kinds = " ".join(f"{t.index.dtype.name}{'w' * t.wraps}" for t in terms)
    return Kernel(f"gather {size} {walk.form} [{kinds}] {still}{near} w{width}{' streamed' * stream}", emit)


def _fits(term: Term, size: int, walk: Walk) -> bool:
    """Whether a term chooses from a run that stays near while elements are taken from it, and enough of them are."""
    run = term.size * size
    return term.step == 1 and run <= cache_sizes()[1] // 4 and walk.sizes[-1] * LINE >= run


def offset(k: Emitter, terms: Sequence[Term], indices: Sequence[Val], first: int, status: int) -> Val:
    """How far the indices lead, in elements; those out of range lead nowhere and mark the status word."""
    total: Val | None = None
    for nr, (term, index) in enumerate(zip(terms, indices)):
        index = k.cast(index, "i64")
        size, step = (k.integer(first + 3 * nr + part) for part in (1, 2))
        if term.wraps:
            index = k.select(index < 0, index + size, index)
        inside = k.compare("lt", index, size, unsigned=True)
        with k.when(k.bits("xor", inside, True)):
            k.store(k.const("i64", 1), k.pointer(status), 0)
        part = k.select(inside, index, 0) * step
        total = part if total is None else total + part
    assert total is not None
    return total
