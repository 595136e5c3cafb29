"""How kernels that move data walk their windows: the geometry of several strided windows, and the loops that walk it.

`Walk` brings the dimensions into the order of the first window's memory, joins those that are one run in every window,
and cuts the rest into tasks of a few thousand elements. Sizes and strides are words of the launch's argument block, so
that one kernel serves every size; only how many dimensions there are, and what the innermost ones look like, is code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from flambeau.engine.kernel.emit import Emitter, Index, Val
from flambeau.shape import Ints

GRAIN = 16384  # elements of a task: some microseconds of copying
Body = Callable[[Any, Any], None]  # body(i, mask): lanes from element i on; mask None: all of them


_Dim = tuple[int, Ints]  # a size, and the step of every window


class Walk:
    """The loops over some dimensions and the strides of several windows on them, the written one first.

    Attributes:
        sizes: dimensions, the innermost last; at least `inner` of them.
        strides: of each window, in elements.
        inner: how many of the last dimensions the kernel's body walks itself.
        lead, cut: the dimensions before `lead` are counted through by tasks, `cut` is divided among them.
        words: what the kernel must be launched with, see `rows`.
        tasks: how many tasks there are.
        form: what the code depends on, besides the kernel's own choices.
    """

    def __init__(self, dims: Sequence[_Dim], inner: int = 1, grain: int = GRAIN, unit: int = 64) -> None:
        """`dims` as `merged` gives them, or a permutation. An inner dimension is cut at multiples of `unit`."""
        windows = len(dims[0][1])
        dims = [(1, (0,) * windows)] * (inner - len(dims)) + list(dims)
        self.sizes = tuple(n for n, _ in dims)
        self.strides = tuple(tuple(steps[w] for _, steps in dims) for w in range(windows))
        self.inner = inner
        self._divide(grain, unit)
        self.form = f"{len(dims)}d{self.lead}" + (f"c{self.cut}" if self.cut != self.lead else "")

    def _divide(self, grain: int, unit: int) -> None:
        """Leading dimensions are counted through by tasks; the one after them is cut into blocks (of two inner ones the
        second, if the first is too short to be cut)."""
        volume, first = math.prod(self.sizes), len(self.sizes) - self.inner
        self.lead = 0
        while self.lead < min(first, len(self.sizes) - 1) and volume // self.sizes[self.lead] >= grain:
            volume //= self.sizes[self.lead]
            self.lead += 1
        self.cut = self.lead + (self.lead == first < len(self.sizes) - 1 and self.sizes[first] <= unit)
        size = self.sizes[self.cut]
        block = max(grain * size // max(volume, 1), 1)
        self.block = min(-(-block // unit) * unit if self.cut >= first else block, size)
        self.blocks = -(-size // self.block) if size else 0
        self.tasks = math.prod(self.sizes[: self.lead]) * self.blocks
        self.words: tuple[int, ...] = (self.block, self.blocks, *self.sizes, *(s for w in self.strides for s in w))

    def size(self, k: Emitter, word: int, d: int) -> Val:
        """The size of a dimension, in a kernel that was launched with `words` from `word` on."""
        return k.integer(word + 2 + d)

    def step(self, k: Emitter, word: int, window: int, d: int) -> Val:
        """A window's stride."""
        return k.integer(word + 2 + (1 + window) * len(self.sizes) + d)

    @contextmanager
    def rows(
        self, k: Emitter, word: int, baked: dict[int, int] | None = None
    ) -> Iterator[tuple[list[Any], list[tuple[Index, Index]], list[list[Index]]]]:
        """The loops, with `words` in the argument block from `word` on.

        Yields, inside them, the offset of every window (in elements), the range of each of the inner dimensions, and
        every window's strides of these. `baked` fixes the sizes of dimensions in the code (they belong in its key).
        """
        ndim, windows = len(self.sizes), len(self.strides)
        sizes: list[Index] = [self.size(k, word, d) for d in range(ndim)]
        for d, n in (baked or {}).items():
            sizes[d] = n
        steps: list[list[Index]] = [[self.step(k, word, w, d) for d in range(ndim)] for w in range(windows)]
        with ExitStack() as stack:
            rest = stack.enter_context(k.tasks())
            block = rest
            if self.lead:
                block, rest = k.rem(rest, k.integer(word + 1)), k.div(rest, k.integer(word + 1))
            offsets: list[Any] = [0] * windows

            def move(d: int, i: Index) -> None:
                for w in range(windows):
                    offsets[w] = k.add(offsets[w], k.mul(steps[w][d], i))

            for d in reversed(range(self.lead)):
                move(d, k.rem(rest, sizes[d]) if d else rest)
                rest = k.div(rest, sizes[d]) if d else rest
            low = k.mul(block, k.integer(word))
            ranges: list[tuple[Index, Index]] = [(0, n) for n in sizes]
            ranges[self.cut] = (low, k.minimum(k.add(low, k.integer(word)), sizes[self.cut]))
            for d in range(self.lead, ndim - self.inner):
                start, stop = ranges[d]
                move(d, stack.enter_context(k.loop(stop, start=start)))
            yield offsets, ranges[ndim - self.inner :], [s[ndim - self.inner :] for s in steps]


def merged(shape: Ints, strides: Sequence[Ints]) -> list[_Dim]:
    """The dimensions in the order of the first window's memory; neighbours that are one run in every window, as one."""
    order = [d for d, n in enumerate(shape) if n != 1]
    order.sort(key=lambda d: tuple(-abs(s[d]) for s in strides))
    found: list[_Dim] = []
    for d in order:
        n, steps = shape[d], tuple(s[d] for s in strides)
        if found and all(a == b * n for a, b in zip(found[-1][1], steps)):
            found[-1] = (found[-1][0] * n, steps)
        else:
            found.append((n, steps))
    return found or [(1, (1,) * len(strides))]


def lanes_loop(k: Emitter, start: Index, stop: Index, width: int, body: Body, unroll: int = 4) -> None:
    """`body` over the elements from `start` to `stop`, `width` at a time; the last ones under a mask."""
    if isinstance(start, int) and isinstance(stop, int) and stop - start <= width:
        body(start, None if stop - start == width else k.mask(stop - start, width))
        return
    at: Index = start
    for step in dict.fromkeys((unroll * width, width)):
        with k.loop(k.sub(stop, step - 1), start=at, step=step) as i:
            for part in range(0, step, width):
                body(k.add(i, part), None)
        at = i
    if width > 1:
        assert isinstance(at, Val)
        with k.when(at < stop):
            body(at, k.mask(k.sub(stop, at), width))


def next_line(k: Emitter, base: Val, start: Index, stop: Index, width: int, size: int) -> Index:
    """The first place from `start` on (at most `stop`) where `width` elements of `size` bytes are aligned."""
    past = k.rem(k.div(k.address(k.at(base, start, f"i{8 * size}")), size), width)
    return k.minimum(k.add(start, k.rem(k.sub(width, past), width)), stop)


def line_start(k: Emitter, base: Val, start: Index, stop: Index, width: int, size: int, body: Body) -> Index:
    """Run `body` on the elements from `start` up to `next_line`, and give that place."""
    line = next_line(k, base, start, stop, width, size)
    with k.when(start < line if isinstance(start, Val) else line > start):
        body(start, k.mask(k.sub(line, start), width))
    return line
