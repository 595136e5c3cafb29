"""From a product to launches: packs what must be packed, and runs the kernel that `choose.py` names."""

from __future__ import annotations

from dataclasses import replace

from flambeau import dtypes
from flambeau.engine.kernel import search
from flambeau.engine.kernel.contract import choose, complexes, integers
from flambeau.engine.kernel.contract.dots import Dots
from flambeau.engine.kernel.contract.far import HELD, Far
from flambeau.engine.kernel.contract.finish import Finish
from flambeau.engine.kernel.contract.gemm import Gemm
from flambeau.engine.kernel.contract.pack import packed
from flambeau.engine.kernel.contract.partials import Partials
from flambeau.engine.kernel.contract.product import ACROSS, PANEL, Operand, Product, joined, layout_of
from flambeau.engine.kernel.contract.stream import Stream
from flambeau.engine.kernel.contract.tile import Tile
from flambeau.engine.kernel.contract.waiting import COLUMNS, ROOM
from flambeau.engine.kernel.contract.words import Words
from flambeau.engine.kernel.target import cache_sizes, vector_bytes
from flambeau.engine.plan import Kernel
from flambeau.engine.schedule.lowering import Site, Unsupported

BLOCK = 512  # steps of the sum before sums go to memory
BLOCKS = (256, 1024)  # what else may be worth trying
STREAM_BYTES = 16  # of a far matrix that arrive in a cycle, at best
FEW = 2  # rows whose factors stay in registers while such a matrix is read
STREAM_STEPS = 64  # of the sum: parts of a sum over such a matrix have a multiple of these
PAGE = 4096  # bytes apart, lines of memory take one another's places in the first cache
NANOSECONDS = 0.25  # of a cycle


def launch(site: Site, product: Product, summed: bool = False) -> None:
    """Compute a product into the site's result; `summed`: the sum of the products of its batch."""
    given = product.a.dtype, product.b.dtype, product.dtype
    for d in given:
        if d.category == dtypes.BOOL:
            raise Unsupported(f"a product of {d}")
    if not product.rows * product.columns or not (product.batch or summed):
        return
    if dtypes.INTEGER in [d.category for d in given]:
        integers.launch(site, product, summed)
        return
    product = product if summed else _simplified(product)
    if dtypes.COMPLEX in [d.category for d in given]:
        product = complexes.as_real(site, product)
        product = product if summed else _simplified(product)

    def lower(where: Site, choices: search.Choices) -> None:
        own = _elsewhere(where, product) if isinstance(where, search.Scratch) else product
        _Job(where, own, summed).run(choices)

    room = (1 if summed else product.batch) * product.rows * product.columns * product.dtype.itemsize
    search.lowered(site, _key(product, summed), lower, lambda: search.Scratch(room))


def launch_sum(site: Site, product: Product, choices: search.Choices) -> None:
    """Compute the sum of the products of a batch, as part of a lowering that has choices of its own."""
    _Job(site, product, True).run(choices)


def sum_time(product: Product) -> float:
    """Nanoseconds that the sum of the products of a batch is estimated to take."""
    shape = _shape(product, Finish.of(product, None).compute)
    adding = product.batch * product.rows * product.columns / shape.width * 3
    return NANOSECONDS * (product.batch * choose.cost(shape) + adding)


def _shape(p: Product, compute: dtypes.dtype) -> choose.Shape:
    a_layout, b_layout = layout_of(p.a, p.rows, p.depth), layout_of(p.b, p.columns, p.depth)
    along = p.a.inner == 1 and p.b.inner == 1 and not (p.columns > 1 and b_layout == ACROSS)
    crowded = p.depth > 8 and p.b.inner * p.b.dtype.itemsize % PAGE == 0
    return choose.Shape(
        p.rows, p.columns, p.depth, vector_bytes() // compute.itemsize, compute.itemsize, a_layout, b_layout,
        p.a.dtype is not compute, crowded, along,
    )  # fmt: skip


def _key(p: Product, summed: bool) -> str:
    """What the choice of a kernel depends on: not where operands lie, nor what becomes of the sums."""
    operands = [f"{x.dtype.name}{[*x.batch, x.outer, x.inner]}" for x in (p.a, p.b)]
    size = "x".join(map(str, (*p.sizes, p.rows, p.columns, p.depth)))
    return f"{'summed ' if summed else ''}product {size} {' '.join(operands)} {p.dtype.name}"


def _elsewhere(scratch: search.Scratch, p: Product) -> Product:
    """The same product of memory of its own, with nothing added."""
    a = scratch.window(p.a.dtype, (*p.sizes, p.rows, p.depth), (*p.a.batch, p.a.outer, p.a.inner))
    b = scratch.window(p.b.dtype, (*p.sizes, p.columns, p.depth), (*p.b.batch, p.b.outer, p.b.inner))
    return replace(p, a=p.a._replace(at=a), b=p.b._replace(at=b), alpha=1.0, addend=None)


def _simplified(product: Product) -> Product:
    """Batch dimensions joined, one of them made rows where that is the same product, a column turned into a row."""
    a, b, c = product.a, product.b, product.addend
    windows = [a.batch, b.batch] + ([c.batch] if c else [])
    sizes, (a_batch, b_batch, *c_batch) = joined(product.sizes, windows)
    a, b = a._replace(batch=a_batch), b._replace(batch=b_batch)
    c = c and c._replace(batch=c_batch[0])
    product = replace(product, sizes=sizes, a=a, b=b, addend=c)
    if sizes and b_batch[-1] == 0 and (product.rows == 1 or a.outer * product.rows == a_batch[-1]):
        if c is None or c.rows * product.rows == c.batch[-1] or product.rows == 1:
            step = a_batch[-1] if product.rows == 1 else a.outer
            c_step = c and (c.batch[-1] if product.rows == 1 else c.rows)
            product = replace(
                product, sizes=sizes[:-1], rows=product.rows * sizes[-1],
                a=a._replace(outer=step, batch=a_batch[:-1]), b=b._replace(batch=b_batch[:-1]),
                addend=c and c._replace(rows=c_step, batch=c.batch[:-1]),
            )  # fmt: skip
    if product.columns == 1 and product.rows > 1:
        a, b, c = product.a, product.b, product.addend
        turned = c and c._replace(rows=0, columns=c.rows)
        product = replace(product, rows=1, columns=product.rows, a=b, b=a, addend=turned)
    return product


class _Job:
    """A product on its way to a launch: its finish, its blocks, and the parts of a sum that is split."""

    def __init__(self, site: Site, product: Product, summed: bool) -> None:
        self.site, self.product, self.summed = site, product, summed
        self.finish = Finish.of(product, site.epilogue)
        self.compute = self.finish.compute
        self.width = vector_bytes() // self.compute.itemsize
        self.words = Words()

    def run(self, choices: search.Choices) -> None:
        self.choices, shape = choices, _shape(self.product, self.compute)
        plan = choices.pick("plan", choose.best(shape), lambda: choose.plans(shape))
        if plan.streamed:
            self._once(plan)
        elif plan.deep:
            self._dots(plan)
        else:
            self._outer(plan)

    def _dots(self, plan: choose.Plan) -> None:
        p, tile = self.product, (plan.rows, plan.across, plan.deep)
        cycles = choose.dots_cycles(p.rows, p.columns, p.depth, self.width, tile)
        self._divide(plan.rows, plan.across, p.rows, cycles, 512)
        kernel = Dots(*tile, p.a.dtype, p.b.dtype, self._own(), len(p.sizes), self.chunks > 1)
        self._describe(p.a, p.b)
        self._launch(kernel.kernel(self.words.bind()), cycles, "dots")

    def _once(self, plan: choose.Plan) -> None:
        """A few rows by a matrix that is read once."""
        p, (l1, l2) = self.product, cache_sizes()
        columns, size = plan.across * (1 if plan.deep else self.width), p.depth * p.columns * p.b.dtype.itemsize
        cycles = max(p.rows * p.columns * p.depth / self.width / 2, size / STREAM_BYTES)
        wanted = min(choose.TASKS, int(cycles // choose.TASK_COST)) if plan.deep else 1  # others have long runs
        most = min(ROOM // p.rows // columns * columns, COLUMNS)
        self.block = p.rows, -(-p.columns // (max(wanted, -(-p.columns // most)) * columns)) * columns
        self.down, self.across = 1, -(-p.columns // self.block[1])
        self._split(cycles, STREAM_STEPS)
        own, batches, split = self._own(), len(p.sizes), self.chunks > 1
        self._describe(p.a, p.b)
        if plan.deep:
            part = min(l1 // self.compute.itemsize // (p.rows + 3 * columns), HELD // (p.rows + plan.rows))
            part = part // STREAM_STEPS * STREAM_STEPS
            far = Far(Dots(*plan[:2], plan.deep, p.a.dtype, p.b.dtype, own, batches, split), part)
            kernel = far.kernel(self.words.bind())
        else:
            ahead, masked = p.rows > 2 and size > choose.FAR * l2, p.columns % columns != 0
            few, along = p.rows if p.rows <= FEW else 0, p.a.inner == 1
            stream = Stream(*plan[:2], p.a.dtype, p.b.dtype, along, masked, ahead, few, own, batches, split)
            kernel = stream.kernel(self.words.bind())
        self._launch(kernel, cycles, "read once")

    def _outer(self, plan: choose.Plan) -> None:
        """By outer products in register tiles."""
        p, compute = self.product, self.compute
        l1, l2 = cache_sizes()
        b_size = p.depth * p.columns * compute.itemsize
        shape, a_layout, b_layout = plan[:2], plan.a_layout, plan.b_layout
        a, b = p.a, p.b
        if a_layout == PANEL:
            a = packed(self.site, p.sizes, p.depth, a, p.rows, shape[0], compute)
        if b_layout == PANEL:
            b = packed(self.site, p.sizes, p.depth, b, p.columns, shape[1] * self.width, compute)
        masked = p.columns % (shape[1] * self.width) != 0
        tile = Tile(*shape, a.dtype, b.dtype, compute, a_layout, b_layout, masked)
        block = self._block_of_sum()
        high = l2 // 2 // (min(p.depth, block) * compute.itemsize + 1)
        tiles = -(-p.rows // tile.rows) * -(-p.columns // tile.columns)
        cycles = tiles * (p.depth * choose.tile_cycles(*shape) + choose.TILE_COST)
        self._divide(tile.rows, tile.columns, high, cycles, block)
        block = block if self.chunk > block else 0
        # a run is brought near by the first rows, for the others
        rows_first = p.depth < choose.SHORT and b_size <= l1
        gemm = Gemm(tile, self._own(), len(p.sizes), block, self.chunks > 1, rows_first)
        self._describe(a, b)
        if block:
            count = p.batch * self.chunks * tiles
            self.words.add(sums=self.site.temp(count * tile.rows * tile.columns * compute.itemsize))
        self._launch(gemm.kernel(self.words.bind()), cycles, "gemm")

    def _block_of_sum(self) -> int:
        """Steps of the sum before sums go to memory."""
        if self.product.depth <= min(BLOCKS):
            return BLOCK
        return self.choices.pick("block of the sum", BLOCK, lambda: [BLOCKS])

    def _divide(self, rows: int, columns: int, high: int, cycles: float, unit: int) -> None:
        """Cut the work into tasks: blocks of whole tiles, and parts of the sum where there are few of these."""
        p = self.product
        tiles = -(-p.rows // rows) * -(-p.columns // columns)
        self.block = choose.blocks(p.rows, p.columns, p.batch, (rows, columns), high, cycles / tiles)
        self.down, self.across = -(-p.rows // self.block[0]), -(-p.columns // self.block[1])
        self._split(cycles, unit)

    def _split(self, cycles: float, unit: int) -> None:
        """Cut the sum into parts, multiples of `unit` steps, where there are few blocks."""
        p, tasks = self.product, self.product.batch * self.down * self.across
        self.chunk, self.chunks = choose.chunks(tasks, p.depth, cycles * p.batch, unit)
        self.tasks = tasks * self.chunks
        self.split = self.summed or self.chunks > 1

    def _own(self) -> Finish:
        """The finish of the kernel that sums: nothing but storing, if the sum is split."""
        return Finish(self.compute, self.compute) if self.split else self.finish

    def _describe(self, a: Operand, b: Operand) -> None:
        p, words = self.product, self.words
        result = self.site.result()
        if self.split:
            size = p.batch * self.chunks * p.rows * p.columns * self.compute.itemsize
            result = self.partials = self.site.temp(size)
        if self.chunks > 1:
            words.add(chunk=self.chunk, chunks=self.chunks)
        words.add(
            a=a.at, b=b.at, result=result, rows=p.rows, columns=p.columns, depth=p.depth, a_rows=a.outer,
            a_depth=a.inner, b_columns=b.outer, b_depth=b.inner, block_rows=self.block[0],
            block_columns=self.block[1], blocks_rows=self.down, blocks_columns=self.across,
        )  # fmt: skip
        for d, size in enumerate(p.sizes):
            words.add(**{f"size{d}": size, f"a_batch{d}": a.batch[d], f"b_batch{d}": b.batch[d]})
        if not self.split:
            self.finish.describe(words, p)

    def _launch(self, kernel: Kernel, cycles: float, name: str) -> None:
        p = self.product
        flops = 2.0 * p.batch * p.rows * p.columns * p.depth
        moved = p.batch * self.compute.itemsize * (p.rows * p.depth + p.depth * p.columns + p.rows * p.columns)
        note = f"{name} {p.batch}x{p.rows}x{p.columns}x{p.depth}"
        work = (flops, float(moved))
        self.site.launch(kernel, tuple(self.words.args), self.tasks, p.batch * cycles * NANOSECONDS, note, work)
        if self.split:
            self._add_partials()

    def _add_partials(self) -> None:
        p, words = self.product, Words()
        parts, batch = (p.batch * self.chunks, 1) if self.summed else (self.chunks, p.batch)
        words.add(partials=self.partials, result=self.site.result(), rows=p.rows, columns=p.columns, chunks=parts)
        if p.addend is not None and not self.summed:
            words.add(**{f"size{d}": size for d, size in enumerate(p.sizes)})
        self.finish.describe(words, p)
        kernel = Partials(self.finish).kernel(words.bind())
        moved = float(p.batch * p.rows * p.columns * self.chunks * self.compute.itemsize)
        self.site.launch(kernel, tuple(words.args), batch * p.rows, moved / 20, "add partials", (moved / 4, moved))
