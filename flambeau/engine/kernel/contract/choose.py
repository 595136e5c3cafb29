"""How a product is best computed: which tile, what is packed, which blocks. A pure function of shape and machine.

Estimates are in cycles of one core that starts two fused multiplications and two loads of a vector in each.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from flambeau.engine.kernel.target import vector_registers

LATENCY = 4  # cycles of a fused multiplication
TILE_COST = 24  # cycles to begin and end a tile
SHORT = 32  # steps of a short sum
STREAM_VECTORS = 4  # lines of each long run that are read at a time
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


def stream_tile(rows: int) -> tuple[int, int]:
    """The tile for few rows by a matrix that is read in long runs: some lines of each, and rows shared out evenly."""
    most = (vector_registers() - 1 - STREAM_VECTORS) // STREAM_VECTORS
    return -(-rows // -(-rows // most)), STREAM_VECTORS


@cache
def best_tile(rows: int, columns: int, depth: int, width: int, whole: bool) -> tuple[int, int]:
    """The tile (rows, vectors) that covers a matrix in about the fewest cycles; `whole`: no more rows than that."""

    def cost(tile: tuple[int, int]) -> float:
        r, v = tile
        count = -(-rows // r) * -(-columns // (v * width))
        # few steps: storing is what costs, and long runs of a row are stored best
        short = SHORT * r / v if depth < SHORT else 0
        return count * (depth * tile_cycles(r, v) + TILE_COST + r * v + short)

    fitting = [(r, v) for r, v in TILES if r * v + v + 1 <= vector_registers() and (not whole or r <= rows)]
    least = min(map(cost, fitting))
    enough = least * (CLEARLY if least > SMALL else CLEARLY_SMALL)
    return next(tile for tile in fitting if cost(tile) <= enough)


def blocks(
    rows: int, columns: int, batch: int, tile: tuple[int, int], high: int, step_cycles: float, wide: int = 1
) -> tuple[int, int]:  # fmt: skip
    """Rows and columns of a task's block: whole tiles, at most `high` rows, enough tasks, none of them tiny.

    Blocks keep at least `wide` tiles across. `tile` is in rows and columns; `step_cycles` is what all steps of one
    tile's sum cost.
    """
    down, across = -(-rows // tile[0]), -(-columns // tile[1])
    r, c = min(down, max(high // tile[0], 1)), across
    while batch * -(-down // r) * -(-across // c) < TASKS and r * c * step_cycles > 2 * TASK_COST:
        if c > wide and (c * tile[1] >= r * tile[0] or r == 1):
            c = max(-(-c // 2), wide)
        elif r == 1 or wide > 1:  # rows share the long runs that they read
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


@cache
def best_dots(rows: int, columns: int, depth: int, width: int) -> tuple[tuple[int, int, int], float]:
    """The tile for rows by rows, and its cost in cycles."""

    def cost(tile: tuple[int, int, int]) -> float:
        r, c, deep = tile
        count = -(-rows // r) * -(-columns // c)
        steps = -(-depth // width)
        step = max(r * c / 2, (r + c) * 0.6, LATENCY / deep)
        return count * (steps * step + 1.5 * r * c + 4 * r + TILE_COST + 4 * deep)

    best = min(dots_tiles(vector_registers(), width), key=cost)
    return best, cost(best)


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
