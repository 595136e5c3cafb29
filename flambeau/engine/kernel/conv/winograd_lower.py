"""Launches of Winograd's kernels: what can be computed so, how long it takes, and which memory it needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from flambeau.dtypes import dtype
from flambeau.engine.kernel.conv import choose
from flambeau.engine.kernel.conv.geometry import Layout, Product
from flambeau.engine.kernel.conv.lanes import Store
from flambeau.engine.kernel.conv.prepare import computed, width_of
from flambeau.engine.kernel.conv.winograd import Residue, Sides, together
from flambeau.engine.kernel.conv.winograd_product import EPILOGUE, WinogradKernel, WinogradWeights
from flambeau.engine.kernel.conv.winograd_weights import WinogradGradient, WinogradSums
from flambeau.engine.plan import Address, Kernel
from flambeau.engine.schedule.lowering import Epilogue, Site


class Planes(NamedTuple):
    """An operand whose channels are row-major images of the dtype of sums."""

    address: Address
    steps: tuple[int, ...]  # elements from one image to the next, and from one channel to the next


class Group(NamedTuple):
    """Products over the same source that one kernel computes."""

    products: Sequence[Product]
    sides: Sides
    residues: tuple[Residue, ...]

    def how(self, d: dtype, most: int = 0) -> choose.Winograd:
        p = self.products[0]
        return choose.winograd(self.sides, p.batch, p.depth * len(self.sides.phases), p.width, computed(d), most)


def groups(products: Sequence[Product], d: dtype) -> list[Group]:
    """The products as groups; none if they cannot be computed so. Channels have to fill vectors."""
    lanes = width_of(d)
    if any(product.depth % lanes or product.width % lanes for product in products):
        return []
    found = []
    for those in [products] if together(products) else [[product] for product in products]:
        one = together(those)
        if one is None:
            return []
        found.append(Group(those, *one))
    return found


def time(found: Sequence[Group], d: dtype) -> float:
    """Nanoseconds."""
    return choose.CYCLE * sum(group.how(d).cost * len(group.products) for group in found)


def launch(
    site: Site, group: Group, most: int, source: Planes, weights: Address, bias: Address | None, d: dtype,
    epilogue: Epilogue | None,
) -> None:  # fmt: skip
    """Launch a group of products, with so many tiles in a band at most; 0: as many as seem best. `d`: the result's."""
    (products, sides, residues), how, kind = group, group.how(d, most), computed(d)
    p, count = products[0], len(products)
    taps = tuple([
        tuple([tuple([one.weight_taps[tap] for row in phase for tap in row]) for phase in sides.taps(one)])
        for one in products
    ])  # fmt: skip
    panels = WinogradWeights(
        p.depth, p.width, p.weight_out, p.weight_in, sides, taps, how.block.vectors, kind
    )  # fmt: skip
    memory = site.temp(count * panels.room * kind.itemsize)
    nbytes = (count * panels.room + p.width * p.depth * min(p.weight_in, p.weight_out)) * kind.itemsize
    site.launch(
        Kernel(panels.key, panels.emit), (weights, memory), panels.tasks, cost=nbytes * 0.02,
        note="transform weights", work=(0.0, nbytes),
    )  # fmt: skip
    window = sides.window(p)
    kernel = WinogradKernel(
        p.batch, p.depth, p.width, sides, residues, (source.steps[0], source.steps[1]),
        Layout(p.out_batch, p.out_channel, p.out_steps), tuple([abs(tap - window[0]) for tap in window]), how.band,
        how.block, kind, Store(d, p.out_steps[2], epilogue, EPILOGUE), bias is not None, how.tasks,
    )  # fmt: skip
    scratch = site.temp(kernel.scratch * kind.itemsize)
    args = (
        source.address, memory, site.result(), bias or 0, scratch, kernel.depths, weights, p.weight_out, p.weight_in,
        window[0], 1 if window[-1] >= window[0] else -1,        *(epilogue.args if epilogue is not None else ()),
    )  # fmt: skip
    site.launch(
        Kernel(kernel.key, kernel.emit), args, kernel.tasks, cost=choose.CYCLE * how.cost * count,
        note=f"convolution {p.depth}->{p.width} {p.grid} by transforms", work=(p.flops * count, 0.0),
    )  # fmt: skip


def sums(product: Product, d: dtype, most: int = 0) -> choose.WinogradSums | None:
    """How to compute the gradient of a product's weights, if it can be."""
    lanes, sides = width_of(d), Sides.of(product)
    if sides is None or product.depth % lanes or product.width % lanes:
        return None
    return choose.winograd_sums(sides, product.batch, product.depth, product.width, computed(d), most)


def launch_sums(site: Site, product: Product, most: int, source: Planes, gradient: Planes, d: dtype) -> None:
    """Launch the gradient of a product's weights; `most` as for `launch`."""
    kind, sides, how = computed(d), Sides.of(product), sums(product, d, most)
    assert sides is not None and how is not None
    product = replace(product, source=product.source._replace(batch=source.steps[0], channel=source.steps[1]))
    steps = gradient.steps[0], gradient.steps[1]
    kernel = WinogradGradient(product, sides, how.parts, kind, steps, how.band, how.block)
    size = how.parts.slots * kernel.slot_room
    words = (
        source.address, gradient.address, site.temp(size * kind.itemsize), site.result(),
        site.temp(kernel.scratch * kind.itemsize), kernel.source_tiles.count,
    )  # fmt: skip
    site.launch(
        Kernel(kernel.key, kernel.emit), words, kernel.tasks, cost=choose.CYCLE * how.cost,
        note=f"weight gradient {product.depth}->{product.width} {product.grid} by transforms",
        work=(product.flops, 0.0),
    )  # fmt: skip
    last = WinogradSums(product, sides, how.parts, kind, steps, Store(d, 1, None, 0))
    nbytes = (size + product.width * product.depth * len(product.taps)) * kind.itemsize
    site.launch(
        Kernel(last.key, last.emit), words, last.tasks, cost=nbytes * 0.05, note="add and transform sums",
        work=(0.0, nbytes),
    )  # fmt: skip
