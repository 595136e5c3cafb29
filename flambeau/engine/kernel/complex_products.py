"""Complex numbers for kernels of real ones that are products of their first two operands, as convolutions are.

With both operands apart, (a + ib) * (c + id) is four products of real parts, which are put together at the end.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from math import prod
from typing import Any

from flambeau.engine.graph import Arg, Call, Meta
from flambeau.engine.kernel.contract.product import joined
from flambeau.engine.kernel.loops import emit_nest
from flambeau.engine.kernel.move import Window, copy, window
from flambeau.engine.kernel.nest import Access, Axis, Function, Nest, Step, Store
from flambeau.engine.kernel.target import vector_bytes
from flambeau.engine.plan import Address, Kernel
from flambeau.engine.schedule.lowering import Lower, Site, Unsupported
from flambeau.shape import contiguous_strides

_TOGETHER = Function("of four products", lambda s, ac, bd, ad, bc: s.complex(ac - bd, ad + bc))
_PLUS = Function("plus", lambda s, x, y: s.add(x, y))


class _Parts:
    """A site whose operands are real or imaginary parts in scratch memory, as is the result."""

    epilogue = None

    def __init__(self, site: Site, places: dict[Arg, Address], product: Address) -> None:
        self.site, self.places, self.product = site, places, product

    def source(self, operand: Arg) -> Address:
        return self.places[operand]

    def result(self, nr: int = 0) -> Address:
        return self.product

    def __getattr__(self, name: str) -> Any:
        return getattr(self.site, name)


def by_parts(lower: Lower) -> Lower:
    """A lowering of floats that takes complex numbers as well; a third operand is added to each channel."""

    @functools.wraps(lower)
    def lowered(site: Site, call: Call) -> None:
        meta = call.metas[0]
        if not meta.dtype.is_complex:
            lower(site, call)
            return
        if site.epilogue is not None or any(x is not None and x.dtype is not meta.dtype for x in call.inputs):
            raise Unsupported("more than a product of complex numbers of one dtype")
        if 0 in meta.shape:
            return
        places: dict[Arg, Address] = {}
        first, second = (_parts(site, x, places) for x in call.inputs[:2])
        real, rest = meta.dtype.to_real(), (None,) * (len(call.inputs) - 2)
        products = []
        for one, other in ((0, 0), (1, 1), (0, 1), (1, 0)):
            products.append(site.temp(prod(meta.shape) * real.itemsize))
            inputs = (first[one], second[other], *rest)
            part = replace(call, inputs=inputs, metas=(Meta(meta.shape, real),))
            lower(_Parts(site, places, products[-1]), part)  # type: ignore[arg-type]
        _put_together(site, call, products)

    return lowered


def _parts(site: Site, x: Arg, places: dict[Arg, Address]) -> list[Arg]:
    """The real and the imaginary parts of an operand, in row-major memory of their own."""
    real, strides = x.dtype.to_real(), contiguous_strides(x.shape)
    found = []
    for part in (0, 1):
        arg = Arg(-1 - len(places), x.shape, strides, 0, real)  # no value of the program
        places[arg] = site.temp(prod(x.shape) * real.itemsize)
        copy(site, x.shape, Window(places[arg], strides, real), window(site, x).real().part(part), "part")
        found.append(arg)
    return found


def _put_together(site: Site, call: Call, products: list[Address]) -> None:
    """The result from its four products, and what is added to each channel."""
    meta, real = call.metas[0], call.metas[0].dtype.to_real()
    bias = next((x for x in call.inputs[2:] if x is not None), None)
    walks = [contiguous_strides(meta.shape), meta.layout]
    steps = [Step("load", real, (), nr) for nr in range(4)]
    steps.append(Step("map", meta.dtype, (0, 1, 2, 3), _TOGETHER))
    args = [*products, site.result()]
    if bias is not None:
        walks.append(tuple([bias.strides[0] if d == 1 else 0 for d in range(len(meta.shape))]))
        steps += [Step("load", meta.dtype, (), 5), Step("map", meta.dtype, (4, 5), _PLUS)]
        args.append(site.source(bias))
    sizes, (plain, target, *added) = joined((1, *meta.shape), [(0, *walk) for walk in walks])
    axes = tuple(map(Axis, sizes or (1,)))
    accesses = [Access(plain or (0,), real)] * 4 + [Access(walk or (0,), meta.dtype) for walk in (target, *added)]
    nest = Nest(
        axes, len(axes) - 1, vector_bytes() // real.itemsize, accesses, steps, [Store(len(steps) - 1, 4, True)]
    )  # fmt: skip
    moved = 4.0 * prod(meta.shape) * meta.dtype.itemsize
    words = (*args, axes[0].extent) if nest.flat else tuple(args)
    site.launch(
        Kernel(nest.key, lambda k: emit_nest(k, nest), nest), words, nest.tasks, moved / 20, "of parts", (0.0, moved)
    )
