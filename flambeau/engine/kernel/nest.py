"""A loop nest: what one fused kernel computes, in order, before it is written as code (`kernel.loops` does that).

A nest goes over a space of axes, of which some are kept and some reduced. Its steps are values, each made of earlier
ones: elements loaded through affine accesses, numbers, maps of elements, and reductions, which give one value for each
point of the kept axes. Stores say which steps go to memory. A step that depends on a reduction runs in a later pass
over the row, when the reduction is done; the row stays in cache meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, NamedTuple

from flambeau.dtypes import dtype
from flambeau.engine.kernel.emit import LINE
from flambeau.engine.kernel.target import cache_sizes, last_cache
from flambeau.shape import Ints

TASK = 16384  # elements that a task goes through
HEAVY = 8  # instructions from which a step is kept for later passes rather than made again
KEPT = 1 << 19  # bytes of a row that are kept, on the stack
SHORT = 64  # elements of a short run
AHEAD = 8192  # bytes: so far before they are wanted, elements are brought near
UNROLL = 4  # vectors in flight
SWEEP_BLOCK = 4096  # elements of a run whose sum is made apart, for accuracy
WIDE, WIDEST = 1024, 16384  # columns (times reductions) whose results are in memory while rows go by
WHOLE = 8192  # columns of rows that are better read whole, if threads find
SHARES = 4  # units to share without cutting them


class Axis(NamedTuple):
    extent: int
    reduced: bool = False


class Function(NamedTuple):
    """What a map does to elements: `apply(scalars, *operands)`; `key` names it and its parameters."""

    key: str
    apply: Callable[..., Any]


class Access(NamedTuple):
    """Elements in memory: strides for each axis of the nest, and from one block of a cut reduction to the next.

    The pointer is the argument word of the same number.
    """

    strides: Ints
    dtype: dtype
    block: int = 0


class Step(NamedTuple):
    """A value.

    `detail`: of a load, the access; of a constant, the number; of a number, (argument word, Python type); of a place,
    strides for each axis and an offset; of a map, the Function; of a reduction, its name in `reductions.TABLE`.
    """

    kind: str  # "load", "constant", "number", "place", "map" or "reduce"
    dtype: dtype
    operands: Ints = ()
    detail: Any = None
    cost: int = 1  # instructions, about


class Store(NamedTuple):
    step: int
    access: int
    full: bool  # at every point of the space; otherwise once a row
    check: bool = False  # no element is stored; where the step is false, the status word becomes 1


@dataclass(eq=False)
class Nest:
    """Lanes run along axis `lane`: the innermost reduced one in a sweep, else a kept one (lanes are columns)."""

    axes: tuple[Axis, ...]
    lane: int
    width: int  # lanes of a vector
    accesses: list[Access]
    steps: list[Step]
    stores: list[Store]
    sums: int = 1  # of a reduction over columns: accumulators along the reduced axis
    strips: int = 1  # of a reduction over columns: vectors side by side
    joined: int = 0  # the run is cut in two, and of its parts so many are summed together (0: not cut, or each apart)
    chunk: int = 0  # the outermost reduced axis is cut into blocks of so many (0: not cut)
    fresh: frozenset[int] = frozenset()  # accesses to memory that is only written here, and begins at a line's start
    loose: frozenset[int] = frozenset()  # the same, but it may begin anywhere

    @cached_property
    def flat(self) -> bool:
        """Whether this is a walk over consecutive elements, whose number is an argument and not in the code."""
        plain = len(self.axes) == 1 and not self.axes[0].reduced
        return plain and all(a.strides[0] in (0, 1) for a in self.accesses) and not self.places

    @cached_property
    def places(self) -> bool:
        return any(s.kind == "place" for s in self.steps)

    @cached_property
    def reduced(self) -> list[int]:
        return [nr for nr, a in enumerate(self.axes) if a.reduced]

    @cached_property
    def sweep(self) -> bool:
        """Whether lanes run along the innermost loop (a reduced axis, or elementwise work)."""
        return not self.reduced or self.axes[self.lane].reduced

    @cached_property
    def outer(self) -> list[int]:
        """The axes whose points are rows."""
        return [nr for nr, a in enumerate(self.axes) if not a.reduced and nr != self.lane]

    @cached_property
    def inner(self) -> list[int]:
        """The axes that loops inside a row go over, the run last."""
        return self.reduced or [self.lane]

    @cached_property
    def blocks(self) -> int:
        return -(-self.axes[self.reduced[0]].extent // self.chunk) if self.chunk else 1

    @cached_property
    def pieces(self) -> int:
        """Into how many units a row is cut along the lanes."""
        extent = self.axes[self.lane].extent
        if not self.reduced:
            return -(-extent // self.piece)
        return 1 if self.sweep else -(-extent // (self.wide or self.strips * self.width))

    @cached_property
    def wide(self) -> int:
        """How many columns a reduction keeps in memory, to take a few rows at a time: long runs instead of a stretch of
        each row, whole rows if they are short. 0: it goes down strip by strip, results in registers."""
        strip, extent = self.strips * self.width, self.axes[self.lane].extent
        if self.sweep or len(self.reduced) != 1 or self.passes > 1 or self.sums > 1 or extent <= strip:
            return 0
        far = max(map(self.volume, range(len(self.accesses)))) > cache_sizes()[1]
        whole, others = -(-extent // strip) * strip, prod(self.axes[nr].extent for nr in self.outer) * self.blocks
        if not far or (whole <= WHOLE and others >= SHARES):
            return whole if far else 0
        most = WIDEST // sum(s.kind == "reduce" for s in self.steps) // strip * strip
        return min(whole, max(WIDE, min(most, -(-extent // (SHARES * strip)) * strip)))

    @cached_property
    def rows(self) -> int:
        """How many rows wide columns take at a time: as many as there are streams that the machine keeps apart; whole
        rows one after the other, if they are long or of several arrays."""
        arrays = [a for a in self.accesses if a.strides[self.lane] and a.strides[self.reduced[0]]]
        if self.wide >= self.axes[self.lane].extent:
            return max(1, min(8, 2 * WIDE // self.wide)) if len(arrays) == 1 else 1
        return 2 if self.wide > 2 * WIDE else 8 if len(arrays) == 1 else 4

    @cached_property
    def piece(self) -> int:
        """Elements of a unit of elementwise work along the lanes."""
        extent = self.axes[self.lane].extent
        return extent if extent <= 2 * TASK else TASK

    @cached_property
    def units(self) -> int:
        return prod(self.axes[nr].extent for nr in self.outer) * self.blocks * self.pieces

    @cached_property
    def units_a_task(self) -> int:
        each = max(1, prod(a.extent for a in self.axes) // self.units)
        return -(-max(1, TASK // each) // self.abreast) * self.abreast

    @cached_property
    def abreast(self) -> int:
        """How many rows are gone over together, pass by pass: while the sums of one come in, the next one goes on.

        Their code is written as often, so it takes large work. Long rows have to be heavy as well: light ones wait for
        memory, which has less to do while several rows are near.
        """
        far = max(map(self.volume, self.loaded), default=0) > cache_sizes()[1]
        short = prod(self.axes[nr].extent for nr in self.reduced) <= 8 * self.width
        worth = far and (short or any(s.cost >= HEAVY for s in self.steps))
        if not worth or not self.sweep or not self.stays_near or self.chunk:
            return 1
        return next(rows for rows in (4 if short else 2, 2, 1) if self.units % rows == 0)

    @cached_property
    def tasks(self) -> int:
        if self.flat:
            return -(-self.axes[0].extent // TASK)
        return -(-self.units // self.units_a_task)

    @cached_property
    def key(self) -> str:
        axes = "n" if self.flat else ",".join(f"{a.extent}{'r' if a.reduced else ''}" for a in self.axes)
        parts = [f"nest {axes} lane{self.lane} w{self.width} s{self.sums}x{self.strips} c{self.chunk}"]
        parts += [f"joined{self.joined}"] if self.joined else []
        parts += [f"abreast{self.abreast}"] if self.abreast > 1 else []
        parts += [f"wide{self.wide} {self.rows}"] if self.wide else []
        parts += [f"{a.strides}{a.dtype.name}{a.block or ''}" for a in self.accesses]
        for s in self.steps:
            detail = s.detail.key if s.kind == "map" else repr(s.detail)
            parts.append(f"{s.kind} {s.dtype.name} {s.operands} {detail}")
        parts += [f"{s.step}>{s.access}{'f' if s.full else ''}{'!' if s.check else ''}" for s in self.stores]
        parts += [f"{nr}fetched{step}" for nr, step in self.fetched.items()]
        parts += [f"{nr}streamed{' ragged' * self.ragged(nr)}" for nr in sorted(self.streamed)]
        return "|".join(parts)

    # -- what depends on what -------------------------------------------------------------------------------------

    @cached_property
    def axis_level(self) -> list[int]:
        """The depth of the loop that binds each axis: 1 for the row, then one for each inner axis."""
        return [2 + self.inner.index(nr) if nr in self.inner else 1 for nr in range(len(self.axes))]

    @property
    def run(self) -> int:
        """The depth of the innermost loop."""
        return 1 + len(self.inner)

    @cached_property
    def level(self) -> list[int]:
        """For each step, the depth of the outermost loop inside which it is known."""
        found: list[int] = []
        for s in self.steps:
            if s.kind in ("load", "place"):
                strides = self.accesses[s.detail].strides if s.kind == "load" else s.detail[0]
                found.append(max((self.axis_level[nr] for nr, step in enumerate(strides) if step), default=0))
            else:
                found.append(1 if s.kind == "reduce" else max((found[o] for o in s.operands), default=0))
        return found

    @cached_property
    def across(self) -> list[bool]:
        """For each step, whether lanes hold different values."""
        found: list[bool] = []
        for s in self.steps:
            if s.kind in ("load", "place"):
                strides = self.accesses[s.detail].strides if s.kind == "load" else s.detail[0]
                found.append(strides[self.lane] != 0)
            else:
                found.append(not self.sweep if s.kind == "reduce" else any(found[o] for o in s.operands))
        return found

    @cached_property
    def stage(self) -> list[int]:
        """For each step, the pass in which it is known; of a reduction, the pass that makes it."""
        found: list[int] = []
        for s in self.steps:
            found.append(max((found[o] + (self.steps[o].kind == "reduce") for o in s.operands), default=0))
        return found

    @cached_property
    def passes(self) -> int:
        last = [self.stage[s.step] + (self.steps[s.step].kind == "reduce") for s in self.stores if s.full]
        return 1 + max([*last, *(self.stage[nr] for nr, s in enumerate(self.steps) if s.kind == "reduce")], default=0)

    @cached_property
    def kept(self) -> dict[int, int]:
        """Steps that several passes need: the pass that makes and keeps them for the rest of the row.

        Worth it for heavy ones, and for elements that come in short runs: lines of memory that lie far apart crowd one
        another out of the first cache.
        """
        found: dict[int, int] = {}
        if self.passes < 2:
            return found
        for nr in range(len(self.steps) - 1, -1, -1):
            step = self.steps[nr]
            heavy = step.kind == "map" and step.cost >= HEAVY
            if self.level[nr] < self.run or step.dtype.itemsize < 4 or not (heavy or self.scattered(step)):
                continue
            users = [p for p in range(self.passes) if nr in self.needed(self.roots(p), found, p)]
            if len(users) > 1 and self.row_bytes * (len(found) + 1) <= min(KEPT, cache_sizes()[1] // 2):
                found[nr] = users[0]
        return found

    def scattered(self, step: Step) -> bool:
        """Whether a step loads a row as short runs of elements that lie far apart."""
        if step.kind != "load" or not self.sweep or len(self.reduced) < 2:
            return False
        run, apart = self.axes[self.lane].extent, self.accesses[step.detail].strides[self.reduced[-2]]
        return run <= SHORT and apart >= 4 * run

    @cached_property
    def row_bytes(self) -> int:
        """Bytes of a row (or of a strip of columns), about."""
        return prod(self.axes[nr].extent for nr in self.reduced) * (1 if self.sweep else self.strips * self.width) * 8

    @cached_property
    def fetched(self) -> dict[int, int]:
        """Accesses whose elements are brought near before they are wanted: how many elements further on they are in
        memory (of wide columns, `ahead_in_rows` says where).

        The machine looks ahead of loads by itself, but neither far enough, nor beyond a row that several passes go
        over. Where a single pass reads several arrays, it is busy enough.
        """
        if self.wide:
            return dict.fromkeys(self.loaded, 0)
        far = {nr: self._ahead(nr) for nr in self.loaded if self.volume(nr) > cache_sizes()[1]}
        stretches = not self.sweep and self.pieces > 1
        if stretches or (self.passes == 1 and len(far) > 1) or (self.flat and not self.streamed):
            return {}
        return {nr: step for nr, step in far.items() if step}

    def fetching(self, access: int) -> list[int]:
        """For each of the vectors in flight, the pass that looks ahead: the first one that loads; where rows stay near,
        all passes share the work, but for the last of many, which is busy with writing."""
        if self.stays_near:
            passes = max(min(self.passes, 2), self.passes - 1)
            return [nr * passes // UNROLL for nr in range(UNROLL)]
        step = self.loaded[access]
        first = (number for number in range(self.passes) if step in self.needed(self.roots(number)))
        return [next(first)] * UNROLL

    @cached_property
    def loaded(self) -> dict[int, int]:
        """The accesses that are loaded at every point, lanes side by side, and the steps that do it."""
        found = {s.detail: nr for nr, s in enumerate(self.steps) if s.kind == "load" and self.level[nr] == self.run}
        return {access: nr for access, nr in found.items() if self.accesses[access].strides[self.lane] == 1}

    def ahead_in_rows(self, access: int) -> tuple[int, int]:
        """`AHEAD` bytes of wide columns: how many columns further on, and how far the rows after these are."""
        strides, d, _ = self.accesses[access]
        return AHEAD // (self.rows * d.itemsize), strides[self.reduced[0]] * self.rows

    def _ahead(self, access: int) -> int:
        """How many elements further on the walk is after `AHEAD` bytes, at least a row that stays near; 0: unknown.

        Where a loop ends, the walk may jump: so far ahead of a short one's end is something else.
        """
        strides, d, _ = self.accesses[access]
        ahead, went = AHEAD // d.itemsize, 1 if self.sweep else self.axes[self.lane].extent
        walk = [*self.outer, *self.inner]
        for outer, nr in zip([None, *walk][len(walk) - 1 :: -1], walk[::-1]):
            went *= self.axes[nr].extent
            jumps = outer is not None and strides[outer] != strides[nr] * self.axes[nr].extent
            if went >= (8 if jumps else 2) * ahead and not (self.stays_near and nr in self.inner):
                return strides[nr] * -(-ahead * self.axes[nr].extent // went)
        return 0

    @cached_property
    def stays_near(self) -> bool:
        """Whether later passes over a row find it near, and the next one beside it."""
        return self.passes > 1 and self.row_bytes <= cache_sizes()[1] // 2

    @cached_property
    def streamed(self) -> frozenset[int]:
        """Accesses that are written past the caches: with what else is touched they are too large to stay there until
        somebody reads them.

        They lie alike, so that one is at the start of a line where the others are.
        """
        found = [s.access for s in self.stores if s.full and not s.check and self._streams(s)]
        like = [(self.accesses[nr].strides, self.accesses[nr].dtype.itemsize) for nr in found]
        if found and found[0] in self.loose:
            return frozenset(found[:1])
        return frozenset(nr for nr, form in zip(found, like) if form == like[0] and nr in self.fresh)

    def _streams(self, s: Store) -> bool:
        """Whether a store may go past the caches: where rows begin in mid-line, lanes first go to the next line."""
        access = self.accesses[s.access]
        long = self.axes[self.lane].extent * access.dtype.itemsize >= 4 * LINE
        if s.access not in self.fresh | self.loose or access.strides[self.lane] != 1 or not long:
            return False
        makes = any(step.kind == "reduce" and at == self.known(s.step) for step, at in zip(self.steps, self.stage))
        touched = sum(map(self.volume, range(len(self.accesses))))
        large = touched >= last_cache() and 2 * self.volume(s.access) >= last_cache()
        return large and (not self.ragged(s.access) or (self.sweep and not makes))

    def ragged(self, access: int) -> bool:
        """Whether rows may begin elsewhere than at a multiple of their vectors' bytes."""
        if access in self.loose:
            return True
        strides, d, _ = self.accesses[access]
        whole = min(self.width, LINE // d.itemsize)
        return any(step % whole for nr, step in enumerate(strides) if nr != self.lane)

    def volume(self, access: int) -> int:
        """Bytes of memory that an access goes through."""
        strides, d, _ = self.accesses[access]
        return d.itemsize * prod(axis.extent for axis, step in zip(self.axes, strides) if step)

    def roots(self, number: int) -> list[int]:
        """What pass `number` has to compute at every point."""
        sums = [
            o for nr, s in enumerate(self.steps) if s.kind == "reduce" and self.stage[nr] == number for o in s.operands
        ]
        return sums + [s.step for s in self.stores if s.full and self.known(s.step) == number]

    def known(self, step: int) -> int:
        """The first pass that can use a step."""
        return self.stage[step] + (self.steps[step].kind == "reduce")

    def needed(self, roots: Sequence[int], kept: dict[int, int] | None = None, number: int = 0) -> set[int]:
        """The steps that `roots` are made of, not looking into reductions, nor into what earlier passes have kept."""
        found: set[int] = set()
        kept = kept or {}
        pending = list(roots)
        while pending:
            step = pending.pop()
            if step not in found:
                found.add(step)
                if self.steps[step].kind != "reduce" and kept.get(step, number) >= number:
                    pending.extend(self.steps[step].operands)
        return found
