"""From a product to launches: packs what must be packed, and runs the kernel that `choose.py` names."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from flambeau import dtypes
from flambeau.dtypes import dtype
from flambeau.engine.kernel.contract import choose
from flambeau.engine.kernel.contract.finish import Finish
from flambeau.engine.kernel.contract.gemm import Gemm
from flambeau.engine.kernel.contract.pack import CHUNK, Pack
from flambeau.engine.kernel.contract.product import Operand, Product, joined
from flambeau.engine.kernel.contract.tile import ACROSS, ALONG, ANY, PANEL, Tile
from flambeau.engine.kernel.contract.words import Words
from flambeau.engine.kernel.target import cache_sizes, vector_bytes
from flambeau.engine.schedule.lowering import Site, Unsupported

BLOCK = 512  # steps of the sum before sums go to memory
NANOSECONDS = 0.3  # of a cycle


def launch(site: Site, product: Product) -> None:
    """Compute a product into the site's result."""
    for d in (product.a.dtype, product.b.dtype, product.dtype):
        if d not in dtypes.FLOATING:
            raise Unsupported(f"a product of {d}")
    if not product.batch * product.rows * product.columns:
        return
    _outer(site, _simplified(product))


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


class _Side(NamedTuple):
    """An operand as the kernel reads it."""

    operand: Operand
    dtype: dtype
    layout: str
    outer: int  # stride between rows of tiles


def _layout(operand: Operand, count: int, depth: int) -> str:
    if operand.outer == 1 or count == 1:
        return ACROSS
    return ALONG if operand.inner == 1 or depth == 1 else ANY


def _outer(site: Site, product: Product) -> None:
    """By outer products in register tiles."""
    finish = Finish.of(product, site.epilogue)
    compute = finish.compute
    width = vector_bytes() // compute.itemsize
    rows, columns, depth = product.rows, product.columns, product.depth
    large = rows * columns * depth >= 128**3 and rows >= 64 and columns >= 64
    a_layout, b_layout = _layout(product.a, rows, depth), _layout(product.b, columns, depth)
    if large:
        a_layout = PANEL
    if large or b_layout != ACROSS:
        b_layout = PANEL
    shape = choose.best_tile(rows, columns, depth, width, a_layout != PANEL)
    a = _packed(site, product, product.a, rows, shape[0], compute) if a_layout == PANEL else product.a
    b = _packed(site, product, product.b, columns, shape[1] * width, compute) if b_layout == PANEL else product.b
    masked = b_layout != PANEL or columns % (shape[1] * width) != 0
    tile = Tile(*shape, a.dtype, b.dtype, compute, a_layout, b_layout, masked)
    block = BLOCK if depth > BLOCK else 0
    gemm = Gemm(tile, finish, len(product.sizes), block)
    _, l2 = cache_sizes()
    high = l2 // 2 // (min(depth, BLOCK) * compute.itemsize + 1)
    cycles = depth * choose.tile_cycles(*shape)
    block_rows, block_columns = choose.blocks(rows, columns, product.batch, (tile.rows, tile.columns), high, cycles)
    down, across = -(-rows // block_rows), -(-columns // block_columns)
    words = Words()
    words.add(
        a=a.at, b=b.at, result=site.result(), rows=rows, columns=columns, depth=depth, a_rows=a.outer, a_depth=a.inner,
        b_columns=b.outer, b_depth=b.inner, block_rows=block_rows, block_columns=block_columns, blocks_rows=down,
        blocks_columns=across,
    )  # fmt: skip
    for d, size in enumerate(product.sizes):
        words.add(**{f"size{d}": size, f"a_batch{d}": a.batch[d], f"b_batch{d}": b.batch[d]})
    if block:
        count = product.batch * -(-rows // tile.rows) * -(-columns // tile.columns)
        words.add(sums=site.temp(count * tile.rows * tile.columns * compute.itemsize))
    finish.describe(words, product)
    flops = 2.0 * product.batch * rows * columns * depth
    moved = product.batch * compute.itemsize * (rows * depth + depth * columns + rows * columns)
    tiles = product.batch * -(-rows // tile.rows) * -(-columns // tile.columns)
    site.launch(
        gemm.kernel(words.bind()), tuple(words.args), product.batch * down * across,
        tiles * (cycles + choose.TILE_COST) * NANOSECONDS, f"gemm {product.batch}x{rows}x{columns}x{depth}",
        (flops, moved),
    )  # fmt: skip


def _packed(site: Site, product: Product, x: Operand, count: int, size: int, compute: dtype) -> Operand:
    """A copy of an operand in panels of `size`; batches that are the same memory are packed once."""
    depth = product.depth
    own = [(n, s) for n, s in zip(product.sizes, x.batch) if s]
    sizes, (strides,) = joined([n for n, _ in own], [[s for _, s in own]])
    layout = _layout(x, count, depth)
    pack = Pack(size, x.dtype, compute, layout, len(sizes))
    padded, panels, chunks = pack.padded(depth), pack.panels(count), -(-depth // CHUNK)
    batch = 1
    for n, _ in own:
        batch *= n
    volume = panels * size * padded
    target = site.temp(batch * volume * compute.itemsize)
    words = Words()
    words.add(source=x.at, target=target, count=count, depth=depth, padded=padded, panels=panels, chunks=chunks,
              outer=x.outer, inner=x.inner)  # fmt: skip
    for d, (n, s) in enumerate(zip(sizes, strides)):
        words.add(**{f"size{d}": n, f"source_batch{d}": s})
    moved = 2.0 * batch * volume * compute.itemsize
    site.launch(pack.kernel(words.bind()), tuple(words.args), batch * panels * chunks, moved / 20, "pack", (0.0, moved))
    steps, step = [], volume
    for n, s in reversed(list(zip(product.sizes, x.batch))):
        steps.append(step if s else 0)
        step *= n if s else 1
    return Operand(target, compute, padded, 0, tuple(reversed(steps)))
