"""Products of integers, which wrap around: a loop nest that sums, as the machine has no use for panels and tiles here.

Lanes run along the columns; where only the summed dimension is a run in memory, along that.
"""

from __future__ import annotations

from math import prod

from flambeau.dtypes import dtype
from flambeau.engine.kernel.contract.product import Product, joined
from flambeau.engine.kernel.loops import emit_nest
from flambeau.engine.kernel.nest import Access, Axis, Function, Nest, Step, Store
from flambeau.engine.kernel.target import vector_bytes
from flambeau.engine.plan import Kernel
from flambeau.engine.schedule.lowering import Site, Unsupported
from flambeau.shape import contiguous_strides

PRODUCT = Function("product", lambda s, a, b: a * b)
SUM = Function("sum of two", lambda s, a, b: a + b)
STRIPS = 4  # vectors of columns at once
_BYTES = {1: 2, 2: 4, 4: 4, 8: 8}  # of a register's lane


def lanes_of(d: dtype) -> int:
    """Lanes of a vector of products."""
    return vector_bytes() // _BYTES[d.itemsize]


def launch(site: Site, p: Product, summed: bool = False) -> None:
    """Compute a product of integers of one dtype into the site's result; `summed`: the sum of those of its batch."""
    if site.epilogue is not None or not p.a.dtype is p.b.dtype is p.dtype or not p.depth * p.batch:
        raise Unsupported("a product of integers with more to it")
    if p.addend is not None and p.addend.dtype is not p.dtype:
        raise Unsupported("a sum of products of several dtypes")
    nowhere = (0,) * len(p.sizes)
    out = nowhere if summed else tuple([s * p.rows * p.columns for s in contiguous_strides(p.sizes)])
    batches = [p.a.batch, p.b.batch, out, *([nowhere if summed else p.addend.batch] if p.addend else [])]
    sizes, (a, b, y, *c) = joined(p.sizes, batches)
    along = p.columns == 1 or (p.b.outer != 1 and p.b.inner == 1)
    width = lanes_of(p.dtype)

    def placed(row: int, depth: int, column: int) -> tuple[int, int, int]:
        return (row, column, depth) if along else (row, depth, column)

    walks = [
        (*a, *placed(p.a.outer, p.a.inner, 0)), (*b, *placed(0, p.b.inner, p.b.outer)),
        (*y, *placed(p.columns, 0, 1)),
    ]  # fmt: skip
    args = [p.a.at, p.b.at, site.result()]
    if p.addend is not None:
        walks.append((*c[0], *placed(p.addend.rows, 0, p.addend.columns)))
        args.append(p.addend.at)
    inner, steps = placed(p.rows, p.depth, p.columns), _steps(p)
    axes = (*(Axis(n, summed) for n in sizes), *(Axis(n, nr == (2 if along else 1)) for nr, n in enumerate(inner)))
    strips = 1 if along else max(1, min(STRIPS, p.columns // width))
    nest = Nest(
        axes, len(axes) - 1, width, [Access(tuple(walk), p.dtype) for walk in walks], steps,
        [Store(len(steps) - 1, 2, False)], 1, strips,
    )  # fmt: skip
    operations = 2.0 * p.batch * p.rows * p.columns * p.depth
    moved = p.batch * (p.rows * p.depth + p.depth * p.columns + p.rows * p.columns) * float(p.dtype.itemsize)
    note = f"product {prod(sizes)}x{p.rows}x{p.columns}x{p.depth} {p.dtype.name}"
    site.launch(
        Kernel(nest.key, lambda k: emit_nest(k, nest), nest), tuple(args), nest.tasks, operations / width / 5, note,
        (operations, moved),
    )  # fmt: skip


def _steps(p: Product) -> list[Step]:
    """The sum of products, scaled, plus what is added to it, scaled."""
    d = p.dtype
    steps = [
        Step("load", d, (), 0), Step("load", d, (), 1), Step("map", d, (0, 1), PRODUCT), Step("reduce", d, (2,), "sum"),
    ]  # fmt: skip

    def scaled(by: float) -> int:
        if by != 1:
            steps.extend((Step("constant", d, (), by), Step("map", d, (len(steps) - 1, len(steps)), PRODUCT)))
        return len(steps) - 1

    total = scaled(p.alpha)
    if p.addend is not None:
        steps.append(Step("load", d, (), 3))
        steps.append(Step("map", d, (total, scaled(p.addend.beta)), SUM))
    return steps
