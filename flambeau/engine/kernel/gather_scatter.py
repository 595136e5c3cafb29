"""Writing at indices: the kernel under scatter, index_put, index_add, put and the gradients of gathers.

    scatter(site, shape, target, source, [Term(...)], "add")

sets `target[i + step * index[i] ...]` to itself combined with `source[i]`, for every `i` of `shape`, in row-major
order of those dimensions where places may meet: the dimensions along which the target stands still (stride 0). All
others lead to places of their own, so they are what tasks and lanes share out, and the order of every sum is that of
the indices, whoever runs what. An index out of range writes to element 0 instead and leaves a mark in `site.status`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from flambeau.dtypes import COMPLEX
from flambeau.engine.kernel import scalars
from flambeau.engine.kernel.emit import Emitter, Index, Val
from flambeau.engine.kernel.gather_terms import Term, by_parts, check_sizes, offset, term_words
from flambeau.engine.kernel.move import Window
from flambeau.engine.kernel.move_walk import GRAIN, Walk, lanes_loop, merged
from flambeau.engine.kernel.scalars import Scalars, memory_type
from flambeau.engine.kernel.target import vector_bytes
from flambeau.engine.plan import Kernel
from flambeau.engine.schedule.lowering import Site, Unsupported
from flambeau.shape import Ints

COMBINE: dict[str, Callable[[Scalars, Val, Val], Val]] = {
    "write": lambda s, held, x: x,
    "add": Scalars.add,
    "mul": Scalars.mul,
    "max": Scalars.maximum,
    "min": Scalars.minimum,
}


def scatter(
    site: Site, shape: Ints, target: Window, source: Window, terms: Sequence[Term], combine: str, note: str,
    skip: int | None = None, scale: Any = 1,
) -> None:  # fmt: skip
    """Launch the writes. Places whose (one) index is `skip` are left out; the source is multiplied by `scale` first."""
    if 0 in shape:
        return
    check_sizes(terms)
    if target.dtype.category == COMPLEX and combine in ("max", "min"):
        raise Unsupported("an order of complex numbers")
    if target.dtype.category == COMPLEX and combine != "mul" and scale == 1 and source.dtype is target.dtype:
        shape, (target, source), terms = by_parts(shape, (target, source), terms)
    windows = (target.strides, source.strides, *(t.index.strides for t in terms))
    apart = [d for d, n in enumerate(shape) if target.strides[d] and n > 1]
    met = [d for d, n in enumerate(shape) if not target.strides[d] and n > 1]
    meeting = _joined([(shape[d], tuple(w[d] for w in windows)) for d in met])
    times = math.prod(n for n, _ in meeting)
    dims = merged(tuple(shape[d] for d in apart), [tuple(w[d] for d in apart) for w in windows])
    walk = Walk(dims, grain=max(GRAIN // times, 64 if dims[-1][1][0] == 1 else 1))
    sizes = tuple(n for n, _ in meeting)
    steps = tuple(s for w in range(1, len(windows)) for s in (m[1][w] for m in meeting))
    kernel = _Scatter(walk, len(meeting), target, source, terms, combine, skip is not None, scale).kernel()
    nbytes = math.prod(shape) * (3.0 * target.dtype.itemsize)
    site.launch(
        kernel,
        (target.address, source.address, site.status(), skip or 0, *term_words(terms), *sizes, *steps, *walk.words),
        walk.tasks, nbytes / 6, note, (0.0, nbytes),
    )  # fmt: skip


def _joined(dims: Sequence[tuple[int, Ints]]) -> list[tuple[int, Ints]]:
    """Neighbours that are one run in every window, as one; their order stays."""
    found: list[tuple[int, Ints]] = []
    for n, steps in dims:
        if found and all(a == b * n for a, b in zip(found[-1][1], steps)):
            found[-1] = (found[-1][0] * n, steps)
        else:
            found.append((n, steps))
    return found


class _Scatter:
    """Writes the kernel. Words: target, source, status, skip; three a term; sizes and steps of the dimensions where
    places may meet; the walk's."""

    def __init__(
        self, walk: Walk, meeting: int, target: Window, source: Window, terms: Sequence[Term], combine: str,
        skips: bool, scale: Any,
    ) -> None:  # fmt: skip
        self.walk, self.meeting, self.terms, self.skips, self.scale = walk, meeting, terms, skips, scale
        self.to, self.from_, self.combine = target.dtype, source.dtype, combine
        self.types = [memory_type(t.index.dtype) for t in terms]
        still = all(s[-1] == 0 for s in walk.strides[2:])
        self.by_rows = still and walk.strides[0][-1] == 1 and walk.strides[1][-1] in (0, 1) and walk.sizes[-1] > 1
        self.same = walk.strides[1][-1] == 0
        size = max(target.dtype.itemsize, source.dtype.itemsize, 4)
        self.width = vector_bytes() // size if self.by_rows else 1

    def kernel(self) -> Kernel:
        kinds = " ".join(f"{t.index.dtype.name}{'w' * t.wraps}" for t in self.terms)
        return Kernel(
            f"scatter {self.combine} {self.from_.name}>{self.to.name} {self.walk.form} {self.meeting} [{kinds}] "
            f"rows{self.by_rows}{self.same} skip{self.skips} scale{self.scale!r} w{self.width}",
            self.emit,
        )

    def emit(self, k: Emitter) -> None:
        self.k = k
        first = 4 + 3 * len(self.terms)
        word = first + self.meeting * (2 + len(self.terms))
        with self.walk.rows(k, word) as (offsets, [(low, high)], [[to], [on], *rest]):
            index_steps = [step for (step,) in rest]
            if self.by_rows:
                self._each(first, offsets[0], offsets[1:], low, high)
                return
            with k.loop(high, start=low) as i:
                moved = [k.add(o, k.mul(i, s)) for o, s in zip(offsets[1:], (on, *index_steps))]
                self._each(first, k.add(offsets[0], k.mul(i, to)), moved, 0, 1)

    def _each(self, first: int, out: Index, others: Sequence[Index], low: Index, high: Index) -> None:
        """All the indices in turn, for places apart from everybody else's: a run of them, or one."""
        k = self.k
        with ExitStack() as stack:
            moved = list(others)
            for d in range(self.meeting):
                i = stack.enter_context(k.loop(k.integer(first + d)))
                for w in range(len(moved)):
                    step = k.integer(first + self.meeting * (1 + w) + d)
                    moved[w] = k.add(moved[w], k.mul(i, step))
            found = [
                k.load(k.pointer(4 + 3 * nr), at, type) for nr, (at, type) in enumerate(zip(moved[1:], self.types))
            ]
            if self.skips:
                stack.enter_context(k.when(k.cast(found[0], "i64").differs(k.integer(3))))
            place = k.at(k.pointer(0), k.add(offset(k, self.terms, found, 4, 2), out), memory_type(self.to))
            source = k.at(k.pointer(1), moved[0], memory_type(self.from_))
            self._run(place, source, low, high)

    def _run(self, place: Val, source: Val, low: Index, high: Index) -> None:
        k, s = self.k, Scalars(self.k, self.to)
        once = k.splat(scalars.load(k, source, 0, self.from_, 1), self.width) if self.same else None

        def body(i: Index, mask: Val | None) -> None:
            x = once if once is not None else scalars.load(k, source, i, self.from_, self.width, mask)
            x = scalars.convert(k, x, self.to)
            if self.scale != 1:
                x = s.mul(x, s.constant(self.scale, x))
            if self.combine != "write":
                x = COMBINE[self.combine](s, scalars.load(k, place, i, self.to, self.width, mask), x)
            scalars.store(k, x, place, i, self.to, mask)

        lanes_loop(k, low, high, self.width, body, unroll=2)
