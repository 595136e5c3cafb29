"""Packing: a matrix copied into panels, the order in which the register tile reads it.

A panel holds `size` neighbouring rows (or columns): for each step of the sum those `size` elements side by side, then
the next step's. Panels are whole: the last one's missing rows are filled with something whose sums are never stored.
Where memory runs along the sum, blocks of vectors are transposed in registers.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from flambeau.dtypes import dtype
from flambeau.engine.kernel import scalars
from flambeau.engine.kernel.contract.frame import batch_offsets
from flambeau.engine.kernel.contract.product import ACROSS, ALONG, Operand, joined, layout_of
from flambeau.engine.kernel.contract.words import Bound, Words
from flambeau.engine.kernel.emit import Emitter, Index, Val, lanes, vector
from flambeau.engine.kernel.target import vector_bytes
from flambeau.engine.plan import Kernel
from flambeau.engine.schedule.lowering import Site
from flambeau.shape import Ints

CHUNK = 512  # steps of the sum by panels that a task packs
LINES = 16  # vectors across that a task packs
TURN = 64  # steps of one panel before it is the next one's turn, where memory runs along the sum
SHORT_TURN = 16  # and where it does not: more rows of memory at a time crowd one another out of the first cache


@dataclass(frozen=True)
class Pack:
    """A kernel that packs; a task is a chunk of a few panels."""

    size: int
    source: dtype
    compute: dtype
    layout: str
    batches: int = 0

    @property
    def width(self) -> int:
        return vector_bytes() // self.compute.itemsize

    def padded(self, depth: int) -> int:
        """Steps in a panel: whole vectors of them."""
        return -(-depth // self.width) * self.width

    def panels(self, count: int) -> int:
        return -(-count // self.size)

    @property
    def group(self) -> int:
        """Panels of a task: some lines of memory across."""
        return max(LINES * self.width // self.size, 1)

    @property
    def turn(self) -> int:
        """Steps of one panel before it is the next one's turn."""
        return TURN if self.layout == ALONG else SHORT_TURN

    @property
    def steps(self) -> int:
        """Steps of the sum that a task packs."""
        return CHUNK // self.group // self.turn * self.turn or self.turn

    def tasks(self, count: int, depth: int) -> tuple[int, int]:
        """Groups of panels, and chunks of the sum."""
        return -(-self.panels(count) // self.group), -(-depth // self.steps)

    def kernel(self, words: Bound) -> Kernel:
        key = f"pack {self.size}x{self.width} {self.source.name}>{self.compute.name} {self.layout} {self.batches}"
        return Kernel(key, lambda k: self._emit(k, words))

    def _emit(self, k: Emitter, w: Bound) -> None:
        count, depth, padded = (w.integer(k, name) for name in ("count", "depth", "padded"))
        panels, groups, chunks = (w.integer(k, name) for name in ("panels", "groups", "chunks"))
        with k.tasks() as task:
            nr, chunk = k.div(task, chunks), k.rem(task, chunks)
            group, batch = k.rem(nr, groups), k.div(nr, groups)
            _, (offset,) = batch_offsets(k, w, batch, self.batches, ("source",))
            source = k.at(w.pointer(k, "source"), offset, scalars.memory_type(self.source))
            type = scalars.compute_type(self.compute)
            low = k.mul(chunk, self.steps)
            stop = k.minimum(k.add(low, self.steps), depth)
            first = k.mul(group, self.group)
            last = k.minimum(k.add(first, self.group), panels)
            # a few steps of all panels, so that lines of memory that panels share are read once
            with k.loop(stop, start=low, step=self.turn) as start, k.loop(last, start=first) as panel:
                place = k.mul(k.mul(k.add(k.mul(batch, panels), panel), padded), self.size)
                target = k.at(w.pointer(k, "target"), place, type)
                end = k.minimum(k.add(start, self.turn), stop)
                at = k.mul(panel, self.size)
                if self.layout == ALONG:
                    self.transposed(k, w.integer(k, "outer"), source, target, at, count, start, end)
                else:
                    self._straight(k, w, source, target, at, count, start, end)

    def _straight(
        self, k: Emitter, w: Bound, source: Val, target: Val, first: Val, count: Val, start: Val, stop: Val
    ) -> None:
        """Step by step: the panel's elements are neighbours in memory, or gathered from it."""
        width, outer, inner = self.width, w.integer(k, "outer"), w.integer(k, "inner")
        groups = range(0, self.size, width)
        left = [k.minimum(k.sub(k.sub(count, first), g), self.size - g) for g in groups]
        masks = [k.mask(n, width) for n in left]
        writes = [None if self.size - g >= width else k.mask(self.size - g, width) for g in groups]
        with k.loop(stop, start=start) as step:
            for g, mask, write in zip(groups, masks, writes):
                at = k.add(k.mul(step, inner), k.mul(k.add(first, g), outer if self.layout != ACROSS else 1))
                if self.layout == ACROSS:
                    x = scalars.load(k, source, at, self.source, width, mask)
                else:
                    places = k.add(k.mul(k.ramp(vector("i64", width)), outer), at)
                    raw = k.gather(source, places, scalars.memory_type(self.source), mask)
                    x = scalars.widened(k, raw, self.source)
                self._write(k, k.cast(x, scalars.compute_type(self.compute)), target, step, g, write)

    def transposed(
        self, k: Emitter, outer: Val, source: Val, target: Val, first: Val, count: Val, start: Index, stop: Val
    ) -> None:
        """Squares of vectors, each read along the sum and written across it."""
        width = self.width
        with k.loop(self.size, step=width) as group:
            write = None if self.size % width == 0 else k.mask(k.sub(self.size, group), width)
            nearest = [k.minimum(k.add(k.add(first, group), r), k.sub(count, 1)) for r in range(min(width, self.size))]
            rows = [k.at(source, k.mul(r, outer), scalars.memory_type(self.source)) for r in nearest]
            with k.loop(stop, start=start, step=width) as step:
                self._square(k, rows, target, step, group, k.mask(k.sub(stop, step), width), write)

    def _square(
        self, k: Emitter, rows: list[Val], target: Val, step: Val, group: Val, read: Val, write: Val | None
    ) -> None:
        width, type = self.width, scalars.compute_type(self.compute)
        loaded = [k.cast(scalars.load(k, row, step, self.source, width, read), type) for row in rows]
        loaded += [k.const(vector(type, width), 0)] * (width - len(rows))
        for nr, x in enumerate(transposed(k, loaded)):
            self._write(k, x, target, k.add(step, nr), group, write)

    def _write(self, k: Emitter, x: Val, target: Val, step: Index, group: Index, mask: Val | None) -> None:
        at = k.add(k.mul(step, self.size), group)
        if mask is None:
            k.store(x, target, at)
        else:
            k.masked_store(x, target, at, mask)


def transposed(k: Emitter, rows: list[Val]) -> list[Val]:
    """As many vectors as they have lanes, transposed: blocks off the diagonal change places, halving block by block."""
    rows, width = list(rows), lanes(rows[0].type)
    distance = width // 2
    while distance:
        for i in (i for i in range(width) if not i & distance):
            a, b = rows[i], rows[i + distance]
            rows[i] = k.shuffle(a, b, [j + width - distance if j & distance else j for j in range(width)])
            rows[i + distance] = k.shuffle(a, b, [j + width if j & distance else j + distance for j in range(width)])
        distance //= 2
    return rows


def packed(site: Site, sizes: Ints, depth: int, x: Operand, count: int, size: int, compute: dtype) -> Operand:
    """A copy of an operand in panels of `size`; batches that are the same memory are packed once."""
    own = [(n, s) for n, s in zip(sizes, x.batch) if s]
    kept, (strides,) = joined([n for n, _ in own], [[s for _, s in own]])
    pack = Pack(size, x.dtype, compute, layout_of(x, count, depth), len(kept))
    padded, panels, (groups, chunks) = pack.padded(depth), pack.panels(count), pack.tasks(count, depth)
    batch = prod(n for n, _ in own)
    volume = panels * size * padded
    target = site.temp(batch * volume * compute.itemsize)
    words = Words()
    words.add(source=x.at, target=target, count=count, depth=depth, padded=padded, panels=panels, groups=groups,
              chunks=chunks, outer=x.outer, inner=x.inner)  # fmt: skip
    for d, (n, s) in enumerate(zip(kept, strides)):
        words.add(**{f"size{d}": n, f"source_batch{d}": s})
    moved = 2.0 * batch * volume * compute.itemsize
    site.launch(pack.kernel(words.bind()), tuple(words.args), batch * groups * chunks, moved / 20, "pack", (0.0, moved))
    steps, step = [], volume
    for n, s in reversed(list(zip(sizes, x.batch))):
        steps.append(step if s else 0)
        step *= n if s else 1
    return Operand(target, compute, padded, 0, tuple(reversed(steps)))
