"""Runs that lie beside one another element by element, as the colours of pixels do: laid together, and taken apart.

Vectors of some runs become as many vectors of what they are laid into, or the other way round. What `stack` along the
last dimension joins are several sources; a copy's are parts of one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext

from flambeau.engine.kernel.emit import LINE, Emitter, Index, Val, lanes, vector
from flambeau.engine.kernel.move_lanes import RAW, Moved
from flambeau.engine.kernel.move_walk import Walk
from flambeau.engine.kernel.target import vector_bytes
from flambeau.engine.plan import Kernel
from flambeau.shape import Ints

MANY = 8  # runs that are laid together
FEW = 4  # runs that are taken apart


def stacked(walk: Walk, many: int, size: int, stream: bool) -> Kernel:
    """Laying `many` sources together, elements of `size` bytes. Arguments: target, sources, the walk's words."""
    width, raw = vector_bytes() // size, RAW[size]

    def emit(k: Emitter) -> None:
        with walk.rows(k, 1 + many) as (offsets, [(low, high)], _):
            out = k.at(k.pointer(0), offsets[0], raw)
            sources = [k.at(k.pointer(1 + nr), offsets[1 + nr], raw) for nr in range(many)]

            def move(i: Index, width: int, streams: bool) -> None:
                parts = [k.load(source, i, vector(raw, width)) for source in sources]
                for nr, x in enumerate(braided(k, parts)):
                    k.store(x, out, k.add(k.mul(i, many), nr * width), stream=streams)

            _in_vectors(k, k.at(out, k.mul(low, many), raw) if stream else None, low, high, width, move)

    return Kernel(f"braid {many} {size} {walk.form} w{width}{' streamed' * stream}", emit)


def beside(dims: Sequence[tuple[int, Ints]], moved: Moved) -> tuple[Walk, Kernel] | None:
    """A copy between runs of one side and what they are laid into on the other; None if it is not of this form."""
    few, last = dims[-1][0], dims[-1][1]
    if moved.width == 1 or len(dims) < 2:
        return None
    if 2 <= few <= MANY and last[0] == 1 and dims[-2][1] == (few, 1):
        return _copied([*dims[:-2], dims[-1], dims[-2]], moved, True)
    for d, (n, steps) in enumerate(dims[:-1]):
        if steps[1] == 1 and last == (1, n) and 2 <= n <= FEW:
            return _copied([*dims[:d], *dims[d + 1 : -1], dims[d], dims[-1]], moved, False)
    return None


def _copied(dims: Sequence[tuple[int, Ints]], moved: Moved, together: bool) -> tuple[Walk, Kernel]:
    """Over dimensions of which the last goes along runs, and the one before it from one run to another."""
    walk, width = Walk(dims, inner=2), moved.width
    many, ndim = dims[-2][0], len(walk.sizes)
    step = walk.strides[0][-2] * moved.target.itemsize
    stream = moved.streams(walk.sizes[-1]) and (together or step % LINE == 0)

    def emit(k: Emitter) -> None:
        with walk.rows(k, 2, {ndim - 2: many}) as (offsets, [_, (low, high)], [[to, _], [apart, _]]):
            out, raw = k.at(k.pointer(0), offsets[0], moved.raw), RAW[moved.source.itemsize]
            source = k.at(k.pointer(1), offsets[1], raw)

            def move(i: Index, width: int, streams: bool) -> None:
                parts = range(many)
                if together:
                    found = [moved.load(k, k.at(source, k.mul(apart, nr), raw), i, width) for nr in parts]
                    places = [k.add(k.mul(i, many), nr * width) for nr in parts]
                    for x, place in zip(braided(k, found), places):
                        moved.put(k, x, out, place, stream=streams)
                    return
                for nr in parts:
                    x = moved.pick(k, source, k.add(k.mul(i, many), nr), width, many)
                    moved.put(k, x, k.at(out, k.mul(to, nr), moved.raw), i, stream=streams)

            first = k.at(out, k.mul(low, many if together else 1), moved.raw) if stream else None
            _in_vectors(k, first, low, high, width, move)

    form = f"{'together' if together else 'apart'} {many} {moved.key}"
    return walk, Kernel(f"copy {form} {walk.form} w{width}{' streamed' * stream}", emit)


def _in_vectors(
    k: Emitter, first: Val | None, low: Index, high: Index, width: int, move: Callable[[Index, int, bool], None]
) -> None:  # fmt: skip
    """Call `move(i, width, streams)` for whole vectors, then for single elements; it streams if `first`, which it
    stores to first, turns out to be at a line's start."""
    whole = k.add(low, k.mul(k.div(k.sub(high, low), width), width))
    past = None if first is None else k.rem(k.address(first), LINE)
    for streams in (False,) if past is None else (True, False):
        with k.when(past.equals(0) if streams else past.differs(0)) if past is not None else nullcontext():
            with k.loop(whole, low, width) as i:
                move(i, width, streams)
    with k.loop(high, whole) as i:
        move(i, 1, False)


def braided(k: Emitter, parts: Sequence[Val]) -> list[Val]:
    """The elements 0 of all parts, then their elements 1 ..., as many as there are parts."""
    many, width = len(parts), lanes(parts[0].type)
    if width == 1:
        return list(parts)
    found = []
    for first in range(0, many * width, width):
        x = parts[0]
        for nr, part in enumerate(parts):
            places = range(first, first + width)
            x = k.shuffle(x, part, [width + at // many if at % many == nr else lane for lane, at in enumerate(places)])
        found.append(x)
    return found
