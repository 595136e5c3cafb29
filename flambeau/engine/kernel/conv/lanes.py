"""Lanes of vectors rearranged: tiles transposed in registers, and rows of pixels stored where they belong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from flambeau.dtypes import dtype
from flambeau.engine.kernel import scalars
from flambeau.engine.kernel.emit import Emitter, Index, Val, lanes, vector
from flambeau.engine.schedule.lowering import Epilogue


def power(n: int) -> int:
    """The smallest power of two that is at least `n`."""
    return 1 << max(n - 1, 0).bit_length()


def pieces(start: int, stop: int) -> Iterator[tuple[int, int]]:
    """The range as pieces of a power of two each: (start, length)."""
    while start < stop:
        length = 1 << ((stop - start).bit_length() - 1)
        yield start, length
        start += length


def where(k: Emitter, condition: Val | None) -> AbstractContextManager[None]:
    """Run the body where the condition holds; None always does."""
    return nullcontext() if condition is None else k.when(condition)


def every(k: Emitter, vectors: Sequence[Val], first: int) -> Val:
    """The lanes first, first + n, first + 2n ... of `n` vectors laid end to end."""
    n, width = len(vectors), lanes(vectors[0].type)
    wanted = [divmod(first + n * i, width) for i in range(width)]
    found = vectors[0]
    if n == 1:
        return found
    for nr in range(1, n):
        picks = [at if v == 0 else i for i, (v, at) in enumerate(wanted)] if nr == 1 else list(range(width))
        picks = [width + at if v == nr else pick for pick, (v, at) in zip(picks, wanted)]
        found = k.shuffle(found, vectors[nr], picks)
    return found


def picked(k: Emitter, vectors: Sequence[Val], places: Sequence[int | None]) -> Val | None:
    """Any lanes of vectors laid end to end, zeros where there is no place; None if there is none at all."""
    width = lanes(vectors[0].type)
    sources = sorted({place // width for place in places if place is not None})
    if not sources:
        return None
    found, picks = vectors[sources[0]], [0] * len(places)
    for nr, source in enumerate(sources):
        here = [place is not None and place // width == source for place in places]
        picks = [place % width if at and place is not None else pick for at, place, pick in zip(here, places, picks)]
        if nr:
            merged = [width + pick if at else i for i, (at, pick) in enumerate(zip(here, picks))]
            found, picks = k.shuffle(found, vectors[source], merged), list(range(width))
        elif len(sources) > 1:
            found, picks = k.shuffle(found, found, picks), list(range(width))
    if None in places:
        zero = k.const(found.type, 0)
        return k.shuffle(found, zero, [width if place is None else pick for place, pick in zip(places, picks)])
    return found if picks == list(range(width)) else k.shuffle(found, found, picks)


def columns(k: Emitter, rows: Sequence[Val]) -> list[Val]:
    """The columns of a tile whose rows, a power of two, are given.

    Interleaving the rows of the upper half with those of the lower one, as often as the rows can be halved, brings the
    lanes of a column side by side.
    """
    width, count, half = lanes(rows[0].type), len(rows), len(rows) // 2
    low = [p for i in range(width // 2) for p in (i, width + i)]
    high = [p + width // 2 for p in low]
    flat = list(rows)
    for _ in range(count.bit_length() - 1):
        flat = [k.shuffle(flat[i], flat[i + half], mask) for i in range(half) for mask in (low, high)]
    return [_stretch(k, flat, lane * count, count) for lane in range(width)]


def totals(k: Emitter, rows: Sequence[Val]) -> Val:
    """The sum of the lanes of every row, side by side; the rows are a power of two and at most as many as lanes."""
    width, count = lanes(rows[0].type), len(rows)
    low = [p for i in range(width // 2) for p in (i, width + i)]
    high = [p + width // 2 for p in low]
    found = list(rows)
    while len(found) > 1:
        pairs = list(zip(found[: len(found) // 2], found[len(found) // 2 :]))
        found = [k.add(k.shuffle(a, b, low), k.shuffle(a, b, high)) for a, b in pairs]
    x = found[0]
    while (width := lanes(x.type)) > count:
        half = width // 2
        if half == 1:
            return k.add(k.lane(x, 0), k.lane(x, 1))
        x = k.add(k.shuffle(x, x, range(half)), k.shuffle(x, x, range(half, width)))
    return x


def _stretch(k: Emitter, flat: Sequence[Val], first: int, count: int) -> Val:
    """Lanes of vectors laid end to end; `first` is a multiple of `count`."""
    width = lanes(flat[0].type)
    start, at = divmod(first, width)
    if count == 1:
        return k.lane(flat[start], at)
    if count <= width:
        return flat[start] if count == width else k.shuffle(flat[start], flat[start], range(at, at + count))
    joined = list(flat[start : start + count // width])
    while len(joined) > 1:
        size = lanes(joined[0].type)
        joined = [k.shuffle(a, b, range(2 * size)) for a, b in zip(joined[::2], joined[1::2])]
    return joined[0]


@dataclass(frozen=True)
class Store:
    """How neighbouring pixels of a result are written: rounded, passed through an epilogue, `step` elements apart."""

    dtype: dtype
    step: int
    epilogue: Epilogue | None
    first_word: int  # of the epilogue's arguments

    @property
    def key(self) -> str:
        return f"{self.dtype.name} {self.step} {self.epilogue.key if self.epilogue else ''}"

    def row(self, k: Emitter, x: Val, out: Val, flat: Index, skip: Index = 0, count: int | None = None) -> None:
        """Store the first `count` lanes of `x`, except the first `skip`, from element `flat` on."""
        count = lanes(x.type) if count is None else count
        for start, length in pieces(0, count):
            part = x if length == lanes(x.type) else self._part(k, x, start, length)
            mask = None
            if isinstance(skip, Val):
                mask = k.compare("ge", k.ramp(vector("i64", length), start), k.val(skip, vector("i64", length)))
            self.piece(k, part, out, k.add(flat, start * self.step), mask)

    def _part(self, k: Emitter, x: Val, start: int, length: int) -> Val:
        return k.lane(x, start) if length == 1 else k.shuffle(x, x, range(start, start + length))

    def piece(self, k: Emitter, x: Val, out: Val, flat: Index, mask: Val | None = None) -> None:
        """Store all lanes of `x`, or those where the mask holds."""
        if self.epilogue is not None:
            x = scalars.convert(k, x, self.dtype)
            x = self.epilogue.apply(k, x, flat, self.first_word, mask)
        length = lanes(x.type)
        if length == 1 and mask is not None:
            with k.when(mask):
                scalars.store(k, x, out, flat, self.dtype)
        elif self.step == 1 or length == 1:
            scalars.store(k, x, out, flat, self.dtype, mask)
        else:
            self._apart(k, x, out, flat, mask)

    def _apart(self, k: Emitter, x: Val, out: Val, flat: Index, mask: Val | None) -> None:
        """Lanes `step` elements apart: a masked store of a wider vector, which leaves what lies between."""
        length, step = lanes(x.type), self.step
        wide = power((length - 1) * step + 1)
        if mask is not None or wide > 4 * length:
            for i in range(length):
                one = None if mask is None else k.lane(mask, i)
                self.piece(k, k.lane(x, i), out, k.add(flat, i * step), one)
            return
        spread = k.shuffle(x, x, [i // step if i % step == 0 and i // step < length else 0 for i in range(wide)])
        holes = ", ".join(f"i1 {'true' if i % step == 0 and i // step < length else 'false'}" for i in range(wide))
        scalars.store(k, spread, out, flat, self.dtype, Val(k, vector("i1", wide), f"<{holes}>"))
