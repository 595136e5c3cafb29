"""Points of a few coordinates, which lie one after another in memory (x, y, x, y ...), as one vector a coordinate."""

from __future__ import annotations

from collections.abc import Sequence

from flambeau.dtypes import dtype
from flambeau.engine.kernel import scalars
from flambeau.engine.kernel.emit import Emitter, Index, Val, lanes


def load(
    k: Emitter, base: Val, first: Index, d: dtype, dims: int, width: int, count: Index | None = None
) -> list[Val]:  # fmt: skip
    """The coordinates of `width` points from `first` on, or of the first `count` of them (the others are 0)."""
    at = k.mul(first, dims)
    parts = [
        scalars.load(k, base, k.add(at, nr * width), d, width, _mask(k, count, dims, width, nr)) for nr in range(dims)
    ]
    return [_picked(k, parts, [lane * dims + own for lane in range(width)]) for own in range(dims)]


def store(k: Emitter, points: Sequence[Val], base: Val, first: Index, d: dtype, count: Index | None = None) -> None:
    """Write points from `first` on, or the first `count` of them."""
    dims, width = len(points), lanes(points[0].type)
    at = k.mul(first, dims)
    for nr in range(dims):
        places = [divmod(place, dims) for place in range(nr * width, (nr + 1) * width)]
        part = _picked(k, points, [own * width + lane for lane, own in places])
        scalars.store(k, part, base, k.add(at, nr * width), d, _mask(k, count, dims, width, nr))


def _mask(k: Emitter, count: Index | None, dims: int, width: int, nr: int) -> Val | None:
    return None if count is None else k.mask(k.sub(k.mul(count, dims), nr * width), width)


def _picked(k: Emitter, parts: Sequence[Val], places: Sequence[int]) -> Val:
    """The lanes at `places` of vectors laid end to end."""
    width = len(places)
    found = k.shuffle(parts[0], parts[0], [place % width for place in places])
    for nr, part in enumerate(parts[1:], 1):
        picks = [width + place % width if place // width == nr else lane for lane, place in enumerate(places)]
        found = k.shuffle(found, part, picks)
    return found
