"""Transposes: the runs of the target lie across those of the source. Squares are turned in registers.

Both sides are met in runs of several lines, since memory is slow to jump from one line to another: blocks of squares
that the first cache holds follow one another, and while one is turned, the lines of the next are fetched row by row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import NamedTuple

from flambeau.engine.kernel.emit import BITS, LINE, Emitter, Index, Val, element, lanes
from flambeau.engine.kernel.move_lanes import RAW, Moved
from flambeau.engine.kernel.move_walk import Walk
from flambeau.engine.kernel.target import cache_sizes, vector_bytes
from flambeau.engine.plan import Kernel
from flambeau.shape import Ints

BLOCK = 32 << 10  # bytes of a block
TASKS = 16  # among which at least a matrix is divided, if it is not small:
LEAST = 64  # elements of the source's run for each
NEAR = 1 << 10  # bytes between rows of the target that memory takes for one run


class Block(NamedTuple):
    """What is turned before what lies beside it: elements along the target's run and along the source's."""

    tall: int
    long: int


def tiles(dims: Sequence[tuple[int, Ints]], moved: Moved) -> tuple[Walk, Kernel]:
    """By square tiles: the last dimension is a run of the target, the one before it a run of the source."""
    side = min(moved.width, 16)
    squares = max(vector_bytes() // (side * max(moved.target.itemsize, moved.source.itemsize)), 1)
    block = _block(dims, moved, side, squares)
    walk = Walk(dims, inner=2, unit=block.long)
    ndim = len(walk.sizes)
    baked = {d: walk.sizes[d] for d in (ndim - 2, ndim - 1) if walk.sizes[d] < side and d != walk.cut}
    whole_lines = squares * side * moved.target.itemsize == LINE
    whole_lines = whole_lines and walk.strides[0][-2] * moved.target.itemsize % LINE == 0
    stream = moved.stream and whole_lines and not baked
    ahead = math.prod(walk.sizes) * moved.source.itemsize > cache_sizes()[1] and not baked

    def emit(k: Emitter) -> None:
        target, source = k.pointer(0), k.pointer(1)
        with walk.rows(k, 2, baked) as (offsets, ranges, [[to, _], [_, step]]):
            out, source = k.at(target, offsets[0], moved.raw), k.at(source, offsets[1], RAW[moved.source.itemsize])
            tile = _Tile(k, moved, side, squares, out, to, source, step)
            if baked:
                tile.cut_off(*ranges)
                return
            beyond = walk.step(k, 2, 1, ndim - 3) if ndim > 2 else 0
            sizes = walk.size(k, 2, ndim - 2), walk.size(k, 2, ndim - 1)
            tile.walk(ranges, block, stream, _Ahead(*sizes, beyond) if ahead else None)

    form = f"{walk.form} {baked} side{side}x{squares} {block.tall}x{block.long}{' ahead' * ahead}{' streamed' * stream}"
    return walk, Kernel(f"transpose {moved.key} {form}", emit)


def _block(dims: Sequence[tuple[int, Ints]], moved: Moved, side: int, squares: int) -> Block:
    """Two lines of each of the target's rows, or one if the next row is near; more if the source's rows are short, or
    too few tasks would have some."""
    (rows, (to, _)), (columns, _) = dims[-2:]
    size = max(moved.target.itemsize, moved.source.itemsize)
    lines = 1 if abs(to) * moved.target.itemsize <= NEAR else 2
    tall = max(lines * LINE // size, squares * side)
    shares = max(TASKS // math.prod(n for n, _ in dims[:-2]), 1)
    long = _at_most(min(BLOCK // (tall * size), max(rows // shares, LEAST)), rows, side)
    return Block(max(_at_most(BLOCK // (long * size), columns, squares * side), tall), long)


def _at_most(n: int, size: int, least: int) -> int:
    """`n`, or the largest power of two in `size`, but no less than a tile."""
    return max(min(n, 1 << (size.bit_length() - 1)), least)


class _Ahead(NamedTuple):
    """How many rows and columns the target has, and how far the source of the next matrix is."""

    rows: Val
    columns: Val
    beyond: Index


class _Tile:
    """A square of a transpose: rows are runs of the source, columns runs of the target. Where its columns do not fill
    vectors, some squares one after another along the target are turned as one."""

    def __init__(
        self, k: Emitter, moved: Moved, side: int, squares: int, target: Val, to: Index, source: Val, step: Index
    ) -> None:  # fmt: skip
        self.k, self.moved, self.side, self.squares = k, moved, side, squares
        self.target, self.to, self.source, self.step = target, to, source, step

    def walk(self, ranges: list[tuple[Index, Index]], block: Block, stream: bool, ahead: _Ahead | None) -> None:
        """All tiles. `stream`: past the caches if the target turns out to be aligned."""
        k, side, tall, ((low, high), (start, stop)) = self.k, self.side, self.squares * self.side, ranges
        below = k.add(low, k.mul(k.div(k.sub(high, low), side), side))
        beside = k.add(start, k.mul(k.div(k.sub(stop, start), tall), tall))
        past = k.rem(k.address(self.target), LINE) if stream else None
        for streams in (True, False) if stream else (False,):
            with k.when(past.equals(0) if streams else past.differs(0)) if past is not None else nullcontext():
                self.whole((low, below), (start, beside), block, streams, ahead)
        self.cut_off((below, high), (start, beside))
        self.cut_off((low, high), (beside, stop))

    def cut_off(self, rows: tuple[Index, Index], columns: tuple[Index, Index]) -> None:
        """The tiles at the edges: apart from the whole ones, as masks would fill the registers."""
        with self.k.loop(rows[1], rows[0], self.side) as b, self.k.loop(columns[1], columns[0], self.side) as a:
            self.move(a, b, columns[1], rows[1])

    def whole(
        self, rows: tuple[Index, Index], columns: tuple[Index, Index], block: Block, stream: bool, ahead: _Ahead | None
    ) -> None:  # fmt: skip
        """The tiles that lie inside, block by block."""
        k, side, tall = self.k, self.side, self.squares * self.side
        with k.loop(rows[1], rows[0], block.long) as b_first, k.loop(columns[1], columns[0], block.tall) as a_first:
            b_last = k.minimum(k.add(b_first, block.long), rows[1])
            a_last = k.minimum(k.add(a_first, block.tall), columns[1])
            following = self.following(a_first, b_first, block, ahead) if ahead else None
            with k.loop(b_last, b_first, side) as b, k.loop(a_last, a_first, tall) as a:
                across, along = k.div(k.sub(b, b_first), side), k.div(k.sub(a, a_first), tall)
                nr = k.add(k.mul(across, block.tall // tall), along)
                self.turn(a, b, stream, self.fetch(following, nr, block) if following else lambda c: None)

    def following(self, a: Val, b: Val, block: Block, ahead: _Ahead) -> Val:
        """The source of the block after the one at column `a` and row `b`."""
        k = self.k
        a_next, b_next = k.add(a, block.tall), k.add(b, block.long)
        beside, below = a_next < ahead.columns, b_next < ahead.rows
        row = k.select(beside, b, k.select(below, b_next, ahead.beyond))
        return k.at(self.source, k.add(k.mul(k.select(beside, a_next, 0), self.step), row), self.raw)

    @property
    def raw(self) -> str:
        return RAW[self.moved.source.itemsize]

    def fetch(self, block: Val, nr: Val, form: Block) -> Callable[[int], None]:
        """The share of tile `nr` in bringing a block's lines near, in the order of its rows: some with each column. All
        of them at once would keep the tile's own loads waiting."""
        k, line = self.k, LINE // self.moved.source.itemsize
        in_row = max(form.long // line, 1)
        each = in_row * self.side * self.squares * self.side // form.long
        run, first = min(each, in_row), k.mul(nr, each)
        row, place = k.div(first, in_row), k.mul(k.rem(first, in_row), line)

        def column(c: int) -> None:
            for nr in range(c * each // self.side, (c + 1) * each // self.side):
                at = k.add(k.mul(k.add(row, nr // run), self.step), k.add(place, nr % run * line))
                k.prefetch(block, at, self.raw)

        return column

    def turn(self, a: Val, b: Val, stream: bool, fetch: Callable[[int], None]) -> None:
        """The tiles from column `a` and row `b` of the target on; `fetch(c)` goes with column `c`."""
        k, side = self.k, self.side
        rows = []
        for r in range(side):
            at = [k.add(a, square * side + r) for square in range(self.squares)]
            rows.append(_end_to_end(k, [self.load(b, i) for i in at]))
        for c, column in enumerate(transposed(k, rows)):
            fetch(c)
            self.moved.put(k, column, self.target, k.add(k.mul(k.add(b, c), self.to), a), stream=stream)

    def load(self, b: Val, column: Index, mask: Val | None = None) -> Val:
        return self.moved.load(self.k, self.source, self.k.add(b, self.k.mul(column, self.step)), self.side, mask)

    def move(self, a: Val, b: Val, a_end: Index, b_end: Index) -> None:
        """The tile at column `a` and row `b` of the target, cut off at the ends."""
        k, side = self.k, self.side
        mask = k.mask(k.sub(b_end, b), side)
        rows = []
        for r in range(side):  # rows behind the end repeat the last one and are not stored
            if isinstance(a_end, int) and r >= a_end:
                rows.append(rows[-1])
            else:
                rows.append(self.load(b, k.minimum(k.add(a, r), k.sub(a_end, 1)), mask))
        for c, column in enumerate(transposed(k, rows)):
            if not (isinstance(b_end, int) and c >= b_end):
                with k.when(k.add(b, c) < b_end):
                    place = k.add(k.mul(k.add(b, c), self.to), a)
                    self.moved.put(k, column, self.target, place, k.mask(k.sub(a_end, a), side))


def _end_to_end(k: Emitter, parts: Sequence[Val]) -> Val:
    """Vectors as one; a power of two of them."""
    while len(parts) > 1:
        pairs = zip(parts[::2], parts[1::2])
        parts = [k.shuffle(x, y, range(2 * lanes(x.type))) for x, y in pairs]
    return parts[0]


def transposed(k: Emitter, rows: Sequence[Val]) -> list[Val]:
    """A square of lanes, or some beside one another, turned: squares inside 16 bytes by interleaving their rows, then
    these as elements."""
    side, size, total = len(rows), max(BITS[element(rows[0].type)] // 8, 1), lanes(rows[0].type)
    inner = min(16 // size, side)
    low = [j for first in range(0, total, inner) for i in range(inner // 2) for j in (first + i, total + first + i)]
    high = [j + inner // 2 for j in low]
    squares = [list(rows[first : first + inner]) for first in range(0, side, inner)]
    for square in squares:
        for _ in range(inner.bit_length() - 1):
            pairs = list(zip(square[: inner // 2], square[inner // 2 :]))
            square[:] = [k.shuffle(a, b, picks) for a, b in pairs for picks in (low, high)]
    starts = [row + square for square in range(0, total, side) for row in (0, total)]
    even = [
        j for start in starts for first in range(start, start + side, 2 * inner) for j in range(first, first + inner)
    ]
    odd = [j + inner for j in even]
    found: list[Val] = [rows[0]] * side
    for c, column in enumerate(zip(*squares)):
        parts = list(column)
        for _ in range(len(squares).bit_length() - 1):
            pairs = list(zip(parts[::2], parts[1::2]))
            parts = [k.shuffle(a, b, picks) for picks in (even, odd) for a, b in pairs]
        found[c::inner] = parts
    return found
