"""How a product is best computed: which tile, what is packed, which blocks. A pure function of shape and machine.

Estimates are in cycles of one core that starts two fused multiplications and two loads of a vector in each.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from flambeau.engine.kernel.contract.product import ACROSS, ALONG, ANY, PANEL
from flambeau.engine.kernel.contract.waiting import ROWS
from flambeau.engine.kernel.target import cache_sizes, vector_registers

LATENCY = 4  # cycles of a fused multiplication
TILE_COST = 24  # cycles to begin and end a tile
FAR = 8  # times the second cache: a matrix that is not found there again
SHORT = 32  # steps of a short sum
TASKS = 16  # a large product is cut into at least so many tasks
TASK_COST = 20_000  # but not into tasks of fewer cycles
PACK_COST = 4  # cycles to pack a vector
LAUNCH_COST = 2_000  # cycles of one more kernel


# Rows and vectors of tiles, the preferred ones first: another is taken only where it is clearly faster, so that a
# program needs few kernels.
TILES = (
    (8, 2), (12, 2), (6, 2), (8, 3), (4, 6), (4, 4), (4, 3), (4, 2), (2, 8), (2, 4), (2, 2), (1, 8), (1, 4), (1, 2),
    (1, 1), (16, 1), (8, 1), (4, 1), (2, 1), (14, 2), (10, 2), (6, 4), (3, 8), (5, 4), (3, 4),
)  # fmt: skip
CLEARLY = 1.1  # times as fast
SMALL, CLEARLY_SMALL = 40_000, 1.3  # the same for products of so few cycles, where compiling takes longer than running


def tile_cycles(rows: int, vectors: int) -> float:
    """Cycles of one step of the sum."""
    return max(rows * vectors / 2, (rows + vectors) / 2, LATENCY)


def stream_tiles(rows: int, far: bool) -> list[tuple[int, int]]:
    """Steps of the sum and vectors of the tiles for a matrix that is read once, the preferred one first."""
    tiles = ((8, 2), (4, 2), (8, 1), (4, 4), (16, 1), (2, 4))
    if far and 1 < rows <= 8:  # reading is what takes long: short tiles look further ahead
        tiles = ((8, 1), *tiles)
    return [(s, v) for s, v in dict.fromkeys(tiles) if s * v + v + 1 <= vector_registers()]


def outer_cycles(rows: int, columns: int, depth: int, width: int, tile: tuple[int, int]) -> float:
    """Cycles of all tiles of a matrix."""
    r, v = tile
    count = -(-rows // r) * -(-columns // (v * width))
    # few steps: storing is what costs, and long runs of a row are stored best
    short = SHORT * r / v if depth < SHORT else 0
    return count * (depth * tile_cycles(r, v) + TILE_COST + r * v + short)


def fitting_tiles(rows: int, whole: bool) -> list[tuple[int, int]]:
    """The tiles that fit into the registers; `whole`: of no more rows than that."""
    return [(r, v) for r, v in TILES if r * v + v + 1 <= vector_registers() and (not whole or r <= rows)]


@cache
def best_tile(rows: int, columns: int, depth: int, width: int, whole: bool) -> tuple[int, int]:
    """The tile (rows, vectors) that covers a matrix in about the fewest cycles."""
    costs = {tile: outer_cycles(rows, columns, depth, width, tile) for tile in fitting_tiles(rows, whole)}
    least = min(costs.values())
    enough = least * (CLEARLY if least > SMALL else CLEARLY_SMALL)
    return next(tile for tile, cost in costs.items() if cost <= enough)


def blocks(
    rows: int, columns: int, batch: int, tile: tuple[int, int], high: int, step_cycles: float
) -> tuple[int, int]:
    """Rows and columns of a task's block: whole tiles, at most `high` rows, enough tasks, none of them tiny.

    `tile` is in rows and columns; `step_cycles` is what all steps of one tile's sum cost.
    """
    down, across = -(-rows // tile[0]), -(-columns // tile[1])
    r, c = min(down, max(high // tile[0], 1)), across
    while batch * -(-down // r) * -(-across // c) < TASKS and r * c * step_cycles > 2 * TASK_COST:
        if c > 1 and (c * tile[1] >= r * tile[0] or r == 1):
            c = -(-c // 2)
        elif r == 1:
            break
        else:
            r = -(-r // 2)
    return r * tile[0], c * tile[1]


@cache
def dots_tiles(registers: int, width: int) -> tuple[tuple[int, int, int], ...]:
    """Rows, columns (no more than lanes) and vectors of partial sums an element of the tiles for rows by rows."""

    def fitting() -> Iterator[tuple[int, int, int]]:
        for rows in (1, 2, 3, 4, 5, 6):
            for columns in (c for c in (1, 2, 4, 8) if c <= width):
                beside = columns + 1 if rows > 1 else 2
                for deep in (1, 2, 4, 8):
                    if rows * columns * deep + beside <= registers and (deep == 1 or rows * columns * deep <= 8):
                        yield rows, columns, deep

    return tuple(fitting())


def dots_cycles(rows: int, columns: int, depth: int, width: int, tile: tuple[int, int, int]) -> float:
    """Cycles of a product of rows by rows."""
    r, c, deep = tile
    count = -(-rows // r) * -(-columns // c)
    steps = -(-depth // width)
    step = max(r * c / 2, (r + c) * 0.6, LATENCY / deep)
    return count * (steps * step + 1.5 * r * c + 4 * r + TILE_COST + 4 * deep)


@cache
def best_dots(rows: int, columns: int, depth: int, width: int) -> tuple[tuple[int, int, int], float]:
    """The tile for rows by rows, and its cost in cycles."""
    costs = {tile: dots_cycles(rows, columns, depth, width, tile) for tile in dots_tiles(vector_registers(), width)}
    best = min(costs, key=costs.__getitem__)
    return best, costs[best]


def far_dots(rows: int, width: int) -> tuple[int, int, int]:
    """The tile for rows by rows that come from far away: a few at a time, and the others shared out evenly."""
    columns = min(4, width)
    if rows <= 2:
        return rows, columns, 3 - rows
    most = min((vector_registers() - 1 - columns) // columns, 4)
    return -(-rows // -(-rows // most)), columns, 1


def outer_cost(rows: int, columns: int, depth: int, width: int, packed: int) -> float:
    """Cycles of a product by outer products, with `packed` numbers copied before."""
    r, v = best_tile(rows, columns, depth, width, False)
    count = -(-rows // r) * -(-columns // (v * width))
    packing = packed * PACK_COST / width + LAUNCH_COST if packed else 0
    return count * (depth * tile_cycles(r, v) + TILE_COST + r * v) + packing


def chunks(tasks: int, depth: int, cycles: float, unit: int) -> tuple[int, int]:
    """How a sum is split where there are few tasks: the steps of a part (a multiple of `unit`), and the parts."""
    wanted = min(TASKS // max(tasks, 1), int(cycles // TASK_COST), -(-depth // unit))
    if wanted < 2:
        return depth, 1
    chunk = -(-depth // (wanted * unit)) * unit
    return chunk, -(-depth // chunk)


# -- plans -------------------------------------------------------------------------------------------------------


class Shape(NamedTuple):
    """What the choice depends on."""

    rows: int
    columns: int
    depth: int
    width: int  # lanes
    itemsize: int  # of sums
    a_layout: str  # how the operands lie
    b_layout: str
    narrow: bool  # operands are widened to the dtype of sums
    crowded: bool  # lines of the right operand take one another's places in the first cache
    along: bool  # both operands lie along the sum


class Plan(NamedTuple):
    """A kernel: outer products in register tiles, or rows by rows."""

    rows: int  # of a tile; steps of the sum, if streamed
    across: int  # vectors of a tile; columns, if rows by rows
    a_layout: str  # how the kernel reads its operands
    b_layout: str
    streamed: bool = False  # the right operand is read once, in long runs
    deep: int = 0  # rows by rows: vectors of partial sums an element


def best(s: Shape) -> Plan:
    """The plan that is estimated to be fastest."""
    _, l2 = cache_sizes()
    a_layout, b_layout = s.a_layout, s.b_layout
    a_size, b_size = (n * s.depth * s.itemsize for n in (s.rows, s.columns))
    far = b_size > FAR * l2
    if s.along:
        if far and s.rows <= ROWS:
            rows, columns, deep = far_dots(s.rows, s.width)
            return Plan(rows, columns, ALONG, ALONG, s.rows > 2, deep)
        shape, cost = best_dots(s.rows, s.columns, s.depth, s.width)
        if not far and cost <= outer_cost(s.rows, s.columns, s.depth, s.width, s.columns * s.depth):
            return Plan(shape[0], shape[1], ALONG, ALONG, deep=shape[2])
    large = b_size > l2 // 2
    if b_layout == ACROSS and (s.rows <= 4 and large or s.rows <= ROWS and (far or large and s.crowded)):
        return Plan(*stream_tiles(s.rows, far)[0], a_layout, b_layout, True)
    if s.columns >= 64 and s.rows >= 64:  # copies that pay
        if s.narrow or a_layout == ANY or (a_layout == ACROSS and a_size > 4 * l2):
            a_layout = PANEL
        if s.narrow or s.crowded or large:
            b_layout = PANEL
    b_layout = b_layout if b_layout == ACROSS else PANEL
    return Plan(*best_tile(s.rows, s.columns, s.depth, s.width, a_layout != PANEL), a_layout, b_layout)


def cost(s: Shape) -> float:
    """Cycles of the plan that is estimated to be fastest."""
    plan = best(s)
    if plan.deep:
        return dots_cycles(s.rows, s.columns, s.depth, s.width, (plan.rows, plan.across, plan.deep))
    packed = sum(n for n, layout in ((s.rows, plan.a_layout), (s.columns, plan.b_layout)) if layout == PANEL)
    return outer_cost(s.rows, s.columns, s.depth, s.width, packed * s.depth)


def plans(s: Shape) -> list[list[Plan]]:
    """All plans, a list for each kind, the more promising ones first."""
    found = []
    l2, b_size = cache_sizes()[1], s.columns * s.depth * s.itemsize
    once = s.rows <= ROWS and b_size > l2 // 2  # worth reading once
    for a_layout in dict.fromkeys((s.a_layout, PANEL)):
        for b_layout in dict.fromkeys((s.b_layout if s.b_layout == ACROSS else PANEL, PANEL)):
            costs = {
                tile: outer_cycles(s.rows, s.columns, s.depth, s.width, tile)
                for tile in fitting_tiles(s.rows, a_layout != PANEL)
            }
            tiles = sorted(costs, key=costs.__getitem__)
            found.append([Plan(*tile, a_layout, b_layout) for tile in tiles])
            if b_layout == ACROSS and once:
                found.append(
                    [Plan(*tile, s.a_layout, b_layout, True) for tile in stream_tiles(s.rows, b_size > FAR * l2)]
                )
    if s.along:
        dots = {
            tile: dots_cycles(s.rows, s.columns, s.depth, s.width, tile)
            for tile in dots_tiles(vector_registers(), s.width)
        }
        found.append([Plan(r, c, ALONG, ALONG, deep=deep) for r, c, deep in sorted(dots, key=dots.__getitem__)])
        if once:
            r, c, deep = far_dots(s.rows, s.width)
            found.append([Plan(r, c, ALONG, ALONG, s.rows > 2, deep)])
    return found
