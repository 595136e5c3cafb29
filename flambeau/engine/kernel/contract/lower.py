"""From a product to launches: packs what must be packed, and runs the kernel that `choose.py` names."""

from __future__ import annotations

from dataclasses import replace

from flambeau import dtypes
from flambeau.dtypes import dtype
from flambeau.engine.kernel.contract import choose
from flambeau.engine.kernel.contract.dots import Dots
from flambeau.engine.kernel.contract.finish import Finish
from flambeau.engine.kernel.contract.gemm import Gemm
from flambeau.engine.kernel.contract.pack import Pack
from flambeau.engine.kernel.contract.partials import Partials
from flambeau.engine.kernel.contract.product import Operand, Product, joined
from flambeau.engine.kernel.contract.tile import ACROSS, ALONG, ANY, PANEL, Tile
from flambeau.engine.kernel.contract.words import Words
from flambeau.engine.kernel.target import cache_sizes, vector_bytes
from flambeau.engine.plan import Kernel
from flambeau.engine.schedule.lowering import Site, Unsupported

BLOCK = 512  # steps of the sum before sums go to memory
STREAM = 16  # the same where a matrix is read once, in long runs: as many runs at a time as the machine follows
RUN = 2048  # elements of such a run
NANOSECONDS = 0.25  # of a cycle


def launch(site: Site, product: Product) -> None:
    """Compute a product into the site's result."""
    for d in (product.a.dtype, product.b.dtype, product.dtype):
        if d not in dtypes.FLOATING:
            raise Unsupported(f"a product of {d}")
    if not product.batch * product.rows * product.columns:
        return
    _Job(site, _simplified(product)).run()


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


def _layout(operand: Operand, count: int, depth: int) -> str:
    if operand.outer == 1 or count == 1:
        return ACROSS
    return ALONG if operand.inner == 1 or depth == 1 else ANY


class _Job:
    """A product on its way to a launch: its finish, its blocks, and the parts of a sum that is split."""

    def __init__(self, site: Site, product: Product) -> None:
        self.site, self.product = site, product
        self.finish = Finish.of(product, site.epilogue)
        self.compute = self.finish.compute
        self.width = vector_bytes() // self.compute.itemsize
        self.words = Words()

    def run(self) -> None:
        p = self.product
        a_layout, b_layout = _layout(p.a, p.rows, p.depth), _layout(p.b, p.columns, p.depth)
        if p.a.inner == 1 and p.b.inner == 1 and not (p.columns > 1 and b_layout == ACROSS):
            shape, cost = choose.best_dots(p.rows, p.columns, p.depth, self.width)
            if cost <= choose.outer_cost(p.rows, p.columns, p.depth, self.width, p.columns * p.depth):
                return self._dots(shape, cost)
        narrow, (_, l2) = p.a.dtype is not self.compute, cache_sizes()
        if p.columns >= 64 and p.rows >= 64:  # copies that pay
            a_size, b_size = (n * p.depth * self.compute.itemsize for n in (p.rows, p.columns))
            if narrow or a_layout == ANY or (a_layout == ACROSS and a_size > 4 * l2):
                a_layout = PANEL
            if narrow or b_size > l2 // 2:
                b_layout = PANEL
        return self._outer(a_layout, b_layout if b_layout == ACROSS else PANEL)

    def _dots(self, shape: tuple[int, int, int], cycles: float) -> None:
        p = self.product
        self._divide(shape[0], shape[1], p.rows, cycles, 512)
        kernel = Dots(*shape, p.a.dtype, p.b.dtype, self._own(), len(p.sizes), self.chunks > 1)
        self._describe(p.a, p.b)
        self._launch(kernel.kernel(self.words.bind()), cycles, "dots")

    def _outer(self, a_layout: str, b_layout: str) -> None:
        """By outer products in register tiles."""
        p, compute = self.product, self.compute
        shape = choose.best_tile(p.rows, p.columns, p.depth, self.width, a_layout != PANEL)
        a = _packed(self.site, p, p.a, p.rows, shape[0], compute) if a_layout == PANEL else p.a
        b = _packed(self.site, p, p.b, p.columns, shape[1] * self.width, compute) if b_layout == PANEL else p.b
        masked = b_layout != PANEL or p.columns % (shape[1] * self.width) != 0
        l1, l2 = cache_sizes()
        streamed = b_layout == ACROSS and p.rows <= 4 and p.depth * p.columns * compute.itemsize > l2 // 2
        tile = Tile(*shape, a.dtype, b.dtype, compute, a_layout, b_layout, masked)
        high = l2 // 2 // (min(p.depth, BLOCK) * compute.itemsize + 1)
        tiles = -(-p.rows // tile.rows) * -(-p.columns // tile.columns)
        cycles = tiles * (p.depth * choose.tile_cycles(*shape) + choose.TILE_COST)
        block = STREAM if streamed else BLOCK
        self._divide(tile.rows, tile.columns, high, cycles, block, RUN // tile.columns if streamed else 1)
        block = block if self.chunk > block else 0
        rows_first = p.depth * p.columns * compute.itemsize <= l1
        gemm = Gemm(tile, self._own(), len(p.sizes), block, self.chunks > 1, rows_first)
        self._describe(a, b)
        if block:
            count = p.batch * self.chunks * tiles
            self.words.add(sums=self.site.temp(count * tile.rows * tile.columns * compute.itemsize))
        self._launch(gemm.kernel(self.words.bind()), cycles, "gemm")

    def _divide(self, rows: int, columns: int, high: int, cycles: float, unit: int, wide: int = 1) -> None:
        """Cut the work into tasks: blocks of whole tiles, and parts of the sum where there are few of these."""
        p = self.product
        tiles = -(-p.rows // rows) * -(-p.columns // columns)
        self.block = choose.blocks(p.rows, p.columns, p.batch, (rows, columns), high, cycles / tiles, wide)
        self.down, self.across = -(-p.rows // self.block[0]), -(-p.columns // self.block[1])
        tasks = p.batch * self.down * self.across
        self.chunk, self.chunks = choose.chunks(tasks, p.depth, cycles * p.batch, unit)
        self.tasks = tasks * self.chunks

    def _own(self) -> Finish:
        """The finish of the kernel that sums: nothing but storing, if the sum is split."""
        return self.finish if self.chunks == 1 else Finish(self.compute, self.compute)

    def _describe(self, a: Operand, b: Operand) -> None:
        p, words = self.product, self.words
        result = self.site.result()
        if self.chunks > 1:
            size = p.batch * self.chunks * p.rows * p.columns * self.compute.itemsize
            result = self.partials = self.site.temp(size)
            words.add(chunk=self.chunk, chunks=self.chunks)
        words.add(
            a=a.at, b=b.at, result=result, rows=p.rows, columns=p.columns, depth=p.depth, a_rows=a.outer,
            a_depth=a.inner, b_columns=b.outer, b_depth=b.inner, block_rows=self.block[0],
            block_columns=self.block[1], blocks_rows=self.down, blocks_columns=self.across,
        )  # fmt: skip
        for d, size in enumerate(p.sizes):
            words.add(**{f"size{d}": size, f"a_batch{d}": a.batch[d], f"b_batch{d}": b.batch[d]})
        if self.chunks == 1:
            self.finish.describe(words, p)

    def _launch(self, kernel: Kernel, cycles: float, name: str) -> None:
        p = self.product
        flops = 2.0 * p.batch * p.rows * p.columns * p.depth
        moved = p.batch * self.compute.itemsize * (p.rows * p.depth + p.depth * p.columns + p.rows * p.columns)
        note = f"{name} {p.batch}x{p.rows}x{p.columns}x{p.depth}"
        work = (flops, float(moved))
        self.site.launch(kernel, tuple(self.words.args), self.tasks, p.batch * cycles * NANOSECONDS, note, work)
        if self.chunks > 1:
            self._add_partials()

    def _add_partials(self) -> None:
        p, words = self.product, Words()
        words.add(partials=self.partials, result=self.site.result(), rows=p.rows, columns=p.columns, chunks=self.chunks)
        if p.addend is not None:
            words.add(**{f"size{d}": size for d, size in enumerate(p.sizes)})
        self.finish.describe(words, p)
        kernel = Partials(self.finish).kernel(words.bind())
        moved = float(p.batch * p.rows * p.columns * self.chunks * self.compute.itemsize)
        self.site.launch(kernel, tuple(words.args), p.batch * p.rows, moved / 20, "add partials", (moved / 4, moved))


def _packed(site: Site, product: Product, x: Operand, count: int, size: int, compute: dtype) -> Operand:
    """A copy of an operand in panels of `size`; batches that are the same memory are packed once."""
    depth = product.depth
    own = [(n, s) for n, s in zip(product.sizes, x.batch) if s]
    sizes, (strides,) = joined([n for n, _ in own], [[s for _, s in own]])
    layout = _layout(x, count, depth)
    pack = Pack(size, x.dtype, compute, layout, len(sizes))
    padded, panels, (groups, chunks) = pack.padded(depth), pack.panels(count), pack.tasks(count, depth)
    batch = 1
    for n, _ in own:
        batch *= n
    volume = panels * size * padded
    target = site.temp(batch * volume * compute.itemsize)
    words = Words()
    words.add(source=x.at, target=target, count=count, depth=depth, padded=padded, panels=panels, groups=groups,
              chunks=chunks, outer=x.outer, inner=x.inner)  # fmt: skip
    for d, (n, s) in enumerate(zip(sizes, strides)):
        words.add(**{f"size{d}": n, f"source_batch{d}": s})
    moved = 2.0 * batch * volume * compute.itemsize
    site.launch(pack.kernel(words.bind()), tuple(words.args), batch * groups * chunks, moved / 20, "pack", (0.0, moved))
    steps, step = [], volume
    for n, s in reversed(list(zip(product.sizes, x.batch))):
        steps.append(step if s else 0)
        step *= n if s else 1
    return Operand(target, compute, padded, 0, tuple(reversed(steps)))
