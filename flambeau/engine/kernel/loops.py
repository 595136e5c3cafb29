"""Writes a `Nest` as code: loops over rows, and inside a row one pass after another over its elements.

    for each unit of this thread's tasks:                 a row, or a strip of columns of one
        steps known in the row (level 1)
        for each pass:
            for each outer reduced axis:                  carrying the totals
                for each block of the run:                fresh accumulators, added to the totals at its end
                    the run: vectors, unrolled; then what is left
            steps and stores of the row that the pass's reductions make known

In a sweep the run goes along the lanes (four vectors at a time); over columns the lanes stand still and the run goes
down the innermost reduced axis. The order of a reduction follows from the nest's axes, lane, width, sums and chunk
alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import Any

from flambeau.dtypes import dtype
from flambeau.engine.kernel import reductions
from flambeau.engine.kernel.complex_scalars import namespace
from flambeau.engine.kernel.emit import LINE, Emitter, Index, Val, element, lanes, vector
from flambeau.engine.kernel.nest import SWEEP_BLOCK, TASK, UNROLL, Nest, Store
from flambeau.engine.kernel.reductions import Carrying, Partial
from flambeau.engine.kernel.scalars import compute_type, convert, load, memory_type, narrowed, store, widened

COLUMN_BLOCK = 128  # rows of a run over columns whose sums are made apart


def emit_nest(k: Emitter, nest: Nest) -> None:
    """The body of the kernel that computes `nest`."""
    Writer(k, nest).write()


class Writer:
    """The state of writing one nest: where the loops stand, and which values are known there."""

    def __init__(self, k: Emitter, nest: Nest) -> None:
        self.k, self.nest = k, nest
        self.scopes: list[dict[tuple[int, int], Val]] = [{}]
        self.at: dict[int, Index] = {}  # where each axis stands, but for the lane's
        self.first_lane: list[Index] = [0]  # where the lanes of each copy begin
        self.masks: list[Val | None] = [None]  # which lanes of each copy exist
        self.block: Index = 0
        self.pointers = [k.pointer(nr) for nr in range(len(nest.accesses))]
        self.wanted: set[int] = set()
        self.number = 0  # the pass
        self.standing: Index = 0  # the first of the columns, among wide ones
        self.buffers: dict[int, Val] = {}  # of kept steps

    # -- loops ---------------------------------------------------------------------------------------------------

    def write(self) -> None:
        k, nest = self.k, self.nest
        self.wanted = nest.needed([s.step for s in nest.stores])
        for step in nest.steps:
            if step.kind == "reduce":
                self.wanted |= nest.needed(step.operands)
        self.compute(0, 0, [0])
        if nest.flat:
            start = k.mul(k.begin, TASK)
            self.run_lanes(0, [], start, k.minimum(k.mul(k.end, TASK), k.integer(len(nest.accesses) + self.numbers)))
            return
        each = nest.units_a_task
        start, stop = k.mul(k.begin, each), k.minimum(k.mul(k.end, each), nest.units)
        with k.loop(stop, start=start, step=nest.abreast) as unit:
            self.unit(unit)

    @property
    def numbers(self) -> int:
        return len({s.detail[0] for s in self.nest.steps if s.kind == "number"})

    def unit(self, unit: Val) -> None:
        """One row, one block of it or one strip of its columns; or a few rows, each pass over all of them."""
        k, nest = self.k, self.nest
        extents = [nest.axes[nr].extent for nr in nest.outer] + [nest.blocks, nest.pieces]
        rows: list[tuple[dict[int, Index], dict, dict]] = []  # where their axes stand, what is known in them and kept
        for nr in range(nest.abreast):
            *places, self.block, piece = self.split(k.add(unit, nr), extents)
            rows.append((dict(zip(nest.outer, places)), {}, {}))
        copies = [0]
        if nest.wide:
            self.at = rows[0][0]
            self.scopes.append({})
            self.wide(piece)
            self.scopes.pop()
            return
        if nest.reduced and not nest.sweep:
            copies = self.stand_on_columns(k.mul(piece, nest.strips * nest.width))
        for number in range(nest.passes + 1):
            for self.at, scope, self.buffers in rows:
                self.scopes.append(scope)
                self.finish_row(number, copies)
                if nest.reduced and number < nest.passes:
                    self.reduce(number, copies)
                elif number < nest.passes:
                    start = k.mul(piece, nest.piece)
                    extent = nest.axes[nest.lane].extent
                    self.run_lanes(0, [], start, k.minimum(k.add(start, nest.piece), extent))
                self.scopes.pop()

    def split(self, index: Index, extents: list[int]) -> list[Index]:
        """The coordinates of a row-major index."""
        found: list[Index] = []
        for nr in range(len(extents) - 1, -1, -1):
            if extents[nr] == 1:
                found.append(0)
                continue
            rest = self.k.div(index, extents[nr])
            outermost = all(n == 1 for n in extents[:nr])
            found.append(index if outermost else self.k.sub(index, self.k.mul(rest, extents[nr])))
            index = rest
        return found[::-1]

    def stand_on_columns(self, first: Index) -> list[int]:
        """Set lanes and masks for the strip of columns that begins at `first`."""
        k, nest = self.k, self.nest
        extent, step = nest.axes[nest.lane].extent, nest.strips * nest.width
        self.first_lane = [k.add(first, nr * nest.width) for nr in range(nest.strips)]
        ragged = extent % step != 0
        self.masks = [k.mask(k.sub(extent, lane), nest.width) if ragged else None for lane in self.first_lane]
        return [*range(nest.strips)]

    def finish_row(self, number: int, copies: list[int]) -> None:
        """Steps and stores of the row that pass `number` begins with."""
        nest = self.nest
        self.compute(1, number, copies)
        for s in nest.stores:
            if not s.full and nest.known(s.step) == number:
                self.write_out(s, copies)

    def reduce(self, number: int, copies: list[int]) -> None:
        """A pass over the row: its reductions, and the stores of elements that can be made."""
        k, nest = self.k, self.nest
        making = self.made_in(number)
        if not making and not self.stores_of(number):
            return
        totals = [self.nothing(nr) for nr in making for _ in copies]
        totals = self.loops(nest.inner, number, making, totals)
        for at, nr in enumerate(making):
            step = nest.steps[nr]
            for copy in copies:
                total = totals[at * len(copies) + copy]
                if nest.sweep:
                    total = reductions.folded(k, step.detail, step.dtype, total)
                self.scopes[-1][nr, copy] = total[-1]

    def made_in(self, number: int) -> list[int]:
        """The reductions of a pass."""
        steps = enumerate(self.nest.steps)
        return [nr for nr, s in steps if s.kind == "reduce" and self.nest.stage[nr] == number and nr in self.wanted]

    def nothing(self, nr: int) -> Partial:
        """What a reduction begins with, in every lane."""
        return reductions.first(self.k, self.nest.steps[nr].detail, self.types(nr))

    def types(self, nr: int) -> list[str]:
        """The types of a reduction's partial results."""
        scalars = [compute_type(d) for d in self.combined(nr)]
        return [vector(type, self.nest.width) for type in reductions.carried(self.nest.steps[nr].detail, scalars)]

    def combined(self, nr: int) -> list[dtype]:
        """The dtypes of what a reduction combines."""
        step = self.nest.steps[nr]
        return [self.nest.steps[o].dtype for o in step.operands[:-1]] + [step.dtype]

    def loops(self, axes: list[int], number: int, making: list[int], totals: list[Partial]) -> list[Partial]:
        """The loops over the reduced axes of a row, outermost first."""
        nest = self.nest
        axis, rest = axes[0], axes[1:]
        start, stop = self.bounds(axis)
        if not rest:
            return self.blocks(number, making, totals, start, stop)
        if making and nest.joined and len(rest) == 1:
            return self.joined(axis, number, making, totals)
        with self.loop(stop, start, 1, totals) as (place, carried, carry):
            self.at[axis] = place
            self.scopes.append({})
            self.compute(nest.axis_level[axis], number, [*range(len(self.masks))])
            carry(self.loops(rest, number, making, carried))
            self.scopes.pop()
        return carry.results

    def joined(self, axis: int, number: int, making: list[int], totals: list[Partial]) -> list[Partial]:
        """Both loops over a run that is cut in two: accumulators go on from part to part, as if it was not."""
        k, nest = self.k, self.nest
        extent, length = nest.axes[axis].extent, nest.axes[nest.lane].extent
        with self.loop(extent, 0, nest.joined, totals) as (begin, carried, carry):
            end = k.minimum(k.add(begin, nest.joined), extent)
            sums = [self.nothing(nr) for nr in making for _ in range(UNROLL)]
            with self.loop(end, begin, 1, sums) as (place, held, hold):
                self.at[axis] = place
                self.scopes.append({})
                self.compute(nest.axis_level[axis], number, [0])
                hold(self.vectors(number, making, held, 0, length))
                self.scopes.pop()
            carry(self.add_up(making, carried, apart(hold.results, UNROLL)))
        return carry.results

    def bounds(self, axis: int) -> tuple[Index, Index]:
        nest = self.nest
        extent = nest.axes[axis].extent
        if not nest.chunk or axis != nest.reduced[0]:
            return 0, extent
        start = self.k.mul(self.block, nest.chunk)
        return start, self.k.minimum(self.k.add(start, nest.chunk), extent)

    def blocks(self, number: int, making: list[int], totals: list[Partial], start: Index, stop: Index) -> list[Partial]:
        """The run, in blocks if it is long."""
        size = SWEEP_BLOCK if self.nest.sweep else COLUMN_BLOCK
        length = self.nest.chunk if not isinstance(start, int) else stop - start  # type: ignore[operator]
        if length <= size or not making:
            return self.add_up(making, totals, self.run(number, making, start, stop))
        with self.loop(stop, start, size, totals) as (begin, carried, carry):
            end = self.k.minimum(self.k.add(begin, size), stop)
            carry(self.add_up(making, carried, self.run(number, making, begin, end)))
        return carry.results

    def add_up(self, making: list[int], totals: list[Partial], sums: list[list[Partial]]) -> list[Partial]:
        """Totals with the accumulators of a run, which are combined pairwise."""
        copies = len(totals) // max(len(making), 1)
        result = []
        for at, (total, parts) in enumerate(zip(totals, sums)):
            step = self.nest.steps[making[at // copies]]
            join = lambda a, b: reductions.merged(self.k, step.detail, step.dtype, a, b)  # noqa: B023, E731
            while len(parts) > 1:
                pairs = [parts[nr : nr + 2] for nr in range(0, len(parts), 2)]
                parts = [join(*pair) if len(pair) == 2 else pair[0] for pair in pairs]
            result.append(join(total, parts[0]))
        return result

    def run(self, number: int, making: list[int], start: Index, stop: Index) -> list[list[Partial]]:
        """The accumulators of the innermost loop: for each total, those to be combined."""
        if self.nest.sweep:
            return self.run_lanes(number, making, start, stop)
        return self.run_down(number, making, start, stop)

    def run_lanes(self, number: int, making: list[int], start: Index, stop: Index) -> list[list[Partial]]:
        """Along the lanes: unrolled vectors, then single masked ones into the first accumulator."""
        k, width = self.k, self.nest.width
        if not making:
            start = self.line_start(number, start, stop)
        unroll = self.unroll(number, making)
        step = unroll * width
        length = k.sub(stop, start)
        whole = k.add(start, k.mul(k.div(length, step), step))
        sums = [self.nothing(nr) for nr in making for _ in range(unroll)]
        if not isinstance(length, int) or length >= step:
            sums = self.vectors(number, making, sums, start, whole)
        if not isinstance(length, int) or length % step:
            with self.loop(stop, whole, width, sums[::unroll]) as (i, carried, carry):
                carry(self.body(number, making, carried, [i], [k.mask(k.sub(stop, i), width)]))
            sums[::unroll] = carry.results
        if isinstance(length, int) and length < step:
            return [[total] for total in sums[::unroll]]
        return apart(sums, unroll)

    def vectors(self, number: int, making: list[int], sums: list[Partial], start: Index, stop: Index) -> list[Partial]:
        """Along the lanes in whole turns, from accumulators to accumulators."""
        unroll, width = self.unroll(number, making), self.nest.width
        with self.loop(stop, start, unroll * width, sums) as (i, carried, carry):
            places = [self.k.add(i, nr * width) for nr in range(unroll)]
            carry(self.body(number, making, carried, places, [None] * unroll))
        return carry.results

    def line_start(self, number: int, start: Index, stop: Index) -> Index:
        """Where lanes begin: at a line, if a store of the pass asks for it; those before it are done here."""
        k, nest = self.k, self.nest
        known = [s.access for s in nest.stores if s.access in nest.streamed and nest.known(s.step) == number]
        if not known or not nest.ragged(known[0]):
            return start
        strides, d, _ = nest.accesses[known[0]]
        row = k.at(self.pointers[known[0]], k.add(self.index(strides), start), memory_type(d))
        whole = min(nest.width, LINE // d.itemsize)
        past = k.rem(k.div(k.address(row), d.itemsize), whole)
        line = k.minimum(k.add(start, k.rem(k.sub(whole, past), whole)), stop)
        with k.loop(line, start, whole) as i:
            self.body(number, [], [], [i], [k.mask(k.sub(line, i), nest.width)])
        return line

    def unroll(self, number: int, making: list[int]) -> int:
        if making:
            return UNROLL
        run = self.nest.run
        needed = self.nest.needed(self.stores_of(number))
        cost = sum(self.nest.steps[nr].cost for nr in needed if self.nest.level[nr] == run)
        return UNROLL if cost <= 64 else 2

    def run_down(self, number: int, making: list[int], start: Index, stop: Index) -> list[list[Partial]]:
        """Down the columns: `sums` rows at a time, each into its own accumulators; the rows left into the first."""
        k, nest = self.k, self.nest
        each = nest.sums if making else 1
        copies = len(self.masks)
        width = len(making) * copies
        length = k.sub(stop, start)
        whole = k.add(start, k.mul(k.div(length, each), each))
        sums = [[self.nothing(nr) for nr in making for _ in range(copies)] for _ in range(each)]
        if not isinstance(length, int) or length >= each:
            with self.loop(whole, start, each, [s for row in sums for s in row]) as (i, carried, carry):
                following: list[Partial] = []
                for nr in range(each):
                    following += self.row(number, making, carried[nr * width : (nr + 1) * width], k.add(i, nr))
                carry(following)
            sums = [carry.results[nr * width : (nr + 1) * width] for nr in range(each)]
        if each > 1 and (not isinstance(length, int) or length % each):
            with self.loop(stop, whole, 1, sums[0]) as (i, carried, carry):
                carry(self.row(number, making, carried, i))
            sums[0] = carry.results
        if isinstance(length, int) and length < each:
            return [[s] for s in sums[0]]
        return [[sums[row][nr] for row in range(each)] for nr in range(width)]

    # -- wide columns: results in memory, a few rows at a time -----------------------------------------------------

    def wide(self, piece: Index) -> None:
        """The reductions of some columns, in the order of `blocks` and `run_down`."""
        k, nest = self.k, self.nest
        making, (axis,) = self.made_in(0), nest.inner
        start, stop = self.bounds(axis)
        totals, sums = (
            [[k.stack(element(type), nest.wide) for type in self.types(nr)] for nr in making] for _ in range(2)
        )
        nothing = [self.nothing(nr) for nr in making for _ in range(nest.strips)]
        with self.strip(piece) as (at, copies):
            self.put(totals, at, nothing)
        with k.loop(stop, start, COLUMN_BLOCK) as begin:
            end = k.minimum(k.add(begin, COLUMN_BLOCK), stop)
            with self.strip(piece) as (at, copies):
                self.put(sums, at, nothing)
            with k.loop(end, begin, nest.rows) as first, self.strip(piece) as (at, copies):
                self.compute(1, 0, copies)
                last = k.minimum(k.add(first, nest.rows), end)
                with self.loop(last, first, 1, self.found(making, sums, at)) as (i, carried, carry):
                    carry(self.row(0, making, carried, i))
                self.put(sums, at, carry.results)
            with self.strip(piece) as (at, copies):
                parts = [[x] for x in self.found(making, sums, at)]
                self.put(totals, at, self.add_up(making, self.found(making, totals, at), parts))
        with self.strip(piece) as (at, copies):
            for nr, x in enumerate(self.found(making, totals, at)):
                self.scopes[-1][making[nr // nest.strips], nr % nest.strips] = x[-1]
            self.finish_row(0, copies)
            self.finish_row(1, copies)

    @contextmanager
    def strip(self, piece: Index) -> Iterator[tuple[Index, list[int]]]:
        """The loop over strips of wide columns: where each is kept, and its copies."""
        k, nest = self.k, self.nest
        begin = k.mul(piece, nest.wide)
        end = k.minimum(k.add(begin, nest.wide), nest.axes[nest.lane].extent)
        with k.loop(end, begin, nest.strips * nest.width) as first:
            self.scopes.append({})
            self.standing = k.sub(first, begin)
            yield self.standing, self.stand_on_columns(first)
            self.scopes.pop()

    def put(self, buffers: list[list[Val]], at: Index, results: list[Partial]) -> None:
        """Keep results of a strip."""
        for nr, partial in enumerate(results):
            kept, copy = divmod(nr, self.nest.strips)
            for x, buffer in zip(partial, buffers[kept]):
                self.k.store(x, buffer, self.k.add(at, copy * self.nest.width))

    def found(self, making: list[int], buffers: list[list[Val]], at: Index) -> list[Partial]:
        """What was kept of a strip."""
        k, nest = self.k, self.nest
        return [
            tuple([
                k.load(buffer, k.add(at, copy * nest.width), type) for buffer, type in zip(kept, self.types(nr))
            ])
            for nr, kept in zip(making, buffers) for copy in range(nest.strips)
        ]  # fmt: skip

    # -- the innermost loop ----------------------------------------------------------------------------------------

    def row(self, number: int, making: list[int], sums: list[Partial], place: Index) -> list[Partial]:
        self.at[self.nest.inner[-1]] = place
        return self.body(number, making, sums, self.first_lane, self.masks)

    def body(
        self, number: int, making: list[int], sums: list[Partial], first_lane: list[Index], masks: list[Val | None]
    ) -> list[Partial]:  # fmt: skip
        """One turn of the innermost loop: steps, stores, and the accumulators after it."""
        k, nest = self.k, self.nest
        before = self.first_lane, self.masks
        self.first_lane, self.masks = first_lane, masks
        self.scopes.append({})
        copies = [*range(len(masks))]
        self.number = number
        self.look_ahead(copies)
        self.compute(nest.run, number, copies, nest.needed(nest.roots(number), nest.kept, number))
        for s in nest.stores:
            if s.full and nest.known(s.step) == number:
                self.write_out(s, copies)
        after = []
        for at, total in enumerate(sums):
            nr, copy = making[at // len(copies)], at % len(copies)
            step, mask = nest.steps[nr], masks[copy] if nest.sweep else None
            operands = [convert(k, self.lanes(o, copy), d) for o, d in zip(step.operands, self.combined(nr))]
            found = reductions.entering(k, step.detail, tuple(operands))
            if mask is not None:
                found = tuple([k.select(mask, x, nothing) for x, nothing in zip(found, self.nothing(nr))])
            after.append(reductions.following(k, step.detail, step.dtype, total, found))
        self.scopes.pop()
        self.first_lane, self.masks = before
        return after

    def stores_of(self, number: int) -> list[int]:
        return [s.step for s in self.nest.stores if s.full and self.nest.known(s.step) == number]

    def loop(self, stop: Index, start: Index, step: int, carried: list[Partial]) -> Carrying:
        return Carrying(self.k, stop, start, step, carried)

    # -- steps ---------------------------------------------------------------------------------------------------

    def compute(self, level: int, number: int, copies: list[int], needed: set[int] | None = None) -> None:
        """The steps that become known at this depth (and in this pass, for those of the row)."""
        nest = self.nest
        needed = self.wanted if needed is None else needed
        for nr, step in enumerate(nest.steps):
            if nr not in needed or step.kind == "reduce" or nest.level[nr] != level:
                continue
            if nest.stage[nr] != number if level == 1 else nest.stage[nr] > number:
                continue
            for copy in copies if nest.across[nr] else [0]:
                self.scopes[-1][nr, copy] = self.value(nr, copy)

    def get(self, nr: int, copy: int) -> Val:
        at = nr, copy if self.nest.across[nr] else 0
        for scope in reversed(self.scopes):
            if at in scope:
                return scope[at]
        raise AssertionError(f"step {nr} is not known yet")

    def lanes(self, nr: int, copy: int) -> Val:
        """A step's value in every lane."""
        x = self.get(nr, copy)
        return self.k.splat(x, self.nest.width) if lanes(x.type) == 1 else x

    def value(self, nr: int, copy: int) -> Val:
        k, nest, step = self.k, self.nest, self.nest.steps[nr]
        across = nest.across[nr]
        if nest.kept.get(nr, self.number) < self.number:
            return k.load(self.buffer(nr), self.row_place(copy), vector(compute_type(step.dtype), nest.width))
        if step.kind == "load":
            return self.keep(nr, copy, self.load(step.detail, copy))
        if step.kind == "constant":
            return k.const(compute_type(step.dtype), step.detail)
        if step.kind == "number":
            word, kind = step.detail
            return convert(k, k.load(k.pointer(word), 0, "double" if kind is float else "i64"), step.dtype)
        if step.kind == "place":
            strides, offset = step.detail
            return self.place(strides, offset, copy, across, compute_type(step.dtype))
        operands = [self.lanes(o, copy) if across else self.get(o, copy) for o in step.operands]
        scalars = namespace(k, step.dtype, operands)
        result = step.detail.apply(scalars, *operands)
        type = vector(compute_type(step.dtype), nest.width if across else 1)
        result = k.val(scalars.cast(result), type) if isinstance(result, Val) else k.const(type, result)
        return self.keep(nr, copy, result)

    def keep(self, nr: int, copy: int, x: Val) -> Val:
        """Let later passes find a step's value, if they are to."""
        k, nest = self.k, self.nest
        if nest.kept.get(nr) == self.number:
            type = vector(compute_type(nest.steps[nr].dtype), nest.width)
            k.store(k.val(x, type), self.buffer(nr), self.row_place(copy))
        return x

    def buffer(self, nr: int) -> Val:
        """Memory that keeps a step for a row: every point has its place, with room for whole vectors at the end."""
        if nr not in self.buffers:
            nest = self.nest
            count = prod(nest.axes[axis].extent for axis in nest.reduced)
            count = count + UNROLL * nest.width if nest.sweep else count * nest.strips * nest.width
            self.buffers[nr] = self.k.stack(compute_type(nest.steps[nr].dtype), count)
        return self.buffers[nr]

    def row_place(self, copy: int) -> Index:
        """Where the lanes of a copy are kept."""
        k, nest = self.k, self.nest
        at: Index = 0
        for axis in nest.reduced:
            place = self.first_lane[copy] if axis == nest.lane else self.at[axis]
            at = k.add(k.mul(at, nest.axes[axis].extent), place)
        return at if nest.sweep else k.add(k.mul(at, nest.strips * nest.width), copy * nest.width)

    def place(self, strides: tuple[int, ...], offset: int, copy: int, across: bool, type: str) -> Val:
        """Where an axis stands."""
        k, nest = self.k, self.nest
        at = self.index(strides, offset)
        if not across:
            return k.cast(k.val(at, "i64"), type)
        step = strides[nest.lane]
        at = k.add(at, k.mul(self.first_lane[copy], step))
        return k.add(k.ramp(vector(type, nest.width), 0, step), k.cast(k.val(at, "i64"), type))

    def index(self, strides: tuple[int, ...], offset: Index = 0) -> Index:
        """The element where all axes but the lane's stand."""
        k = self.k
        for nr, stride in enumerate(strides):
            if stride and nr in self.at:
                offset = k.add(offset, k.mul(self.at[nr], stride))
        return offset

    def load(self, access: int, copy: int) -> Val:
        k, nest = self.k, self.nest
        strides, d, _ = nest.accesses[access]
        step, at, base = strides[nest.lane], self.index(strides), self.pointers[access]
        if step == 0:
            return load(k, base, at, d, 1)
        mask = self.masks[copy]
        if step == 1:
            return load(k, base, k.add(at, self.first_lane[copy]), d, nest.width, mask)
        return widened(k, k.gather(base, self.spread(at, step, copy), memory_type(d), mask), d)

    def look_ahead(self, copies: list[int]) -> None:
        """Have the elements brought near that come after these ones by and by."""
        k, nest = self.k, self.nest
        for access, step in nest.fetched.items():
            strides, d, _ = nest.accesses[access]
            step, fetching = self.further(access) if nest.wide else step, nest.fetching(access)
            for copy in copies:
                if fetching[copy] == self.number:
                    at = k.add(k.add(self.index(strides), self.first_lane[copy]), step)
                    k.prefetch(self.pointers[access], k.val(at, "i64"), memory_type(d))

    def further(self, access: int) -> Index:
        """How far ahead of wide columns elements are brought near: in the row, or at the beginning of a later one."""
        k, nest = self.k, self.nest
        columns, rows = nest.ahead_in_rows(access)
        if columns >= nest.wide:
            return columns // nest.wide * rows
        beyond = columns - nest.wide + rows
        inside = k.compare("lt", k.val(self.standing, "i64"), nest.wide - columns)
        return columns if columns == beyond else k.select(inside, k.const("i64", columns), beyond)

    def spread(self, at: Index, step: int, copy: int) -> Val:
        """The index of each lane."""
        k = self.k
        at = k.add(at, k.mul(self.first_lane[copy], step))
        return k.add(k.ramp(vector("i64", self.nest.width), 0, step), k.val(at, "i64"))

    def write_out(self, s: Store, copies: list[int]) -> None:
        if s.check:
            for copy in copies if self.nest.across[s.step] else [0]:
                self.check(s.step, s.access, copy)
            return
        for copy in copies if self.nest.accesses[s.access].strides[self.nest.lane] else [0]:
            self.store(s.step, s.access, copy)

    def check(self, nr: int, access: int, copy: int) -> None:
        """Set the status word if a condition is false in a lane that exists."""
        k, mask = self.k, self.masks[copy]
        wrong = k.bits("xor", self.get(nr, copy), True)
        if lanes(wrong.type) > 1:
            if mask is not None:
                wrong = k.bits("and", wrong, mask)
            wrong = k.fold(wrong, lambda a, b: k.bits("or", a, b))
        with k.when(wrong):
            k.store(k.const("i64", 1), self.pointers[access], 0)

    def store(self, nr: int, access: int, copy: int) -> None:
        k, nest = self.k, self.nest
        strides, d, block = nest.accesses[access]
        at = k.add(self.index(strides), k.mul(self.block, block))
        step, base = strides[nest.lane], self.pointers[access]
        if step == 0:
            store(k, self.element(nr, copy, d), base, at, d)
            return
        x = convert(k, self.lanes(nr, copy), d)
        mask = self.masks[copy]
        if step == 1:
            store(k, x, base, k.add(at, self.first_lane[copy]), d, mask, stream=access in nest.streamed)
        else:
            k.scatter(narrowed(k, x, d), base, self.spread(at, step, copy), mask)

    def element(self, nr: int, copy: int, d: Any) -> Val:
        return convert(self.k, self.get(nr, copy), d)


def apart(sums: list[Partial], each: int) -> list[list[Partial]]:
    """Accumulators by what they accumulate: so many each."""
    return [sums[at : at + each] for at in range(0, len(sums), each)]
