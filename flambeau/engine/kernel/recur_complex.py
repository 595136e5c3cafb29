"""Gradients of recurrent layers of complex numbers: the kernels know derivatives, gradients are by conjugate ones.

Cells are differentiable in complex numbers, so that a gradient is the conjugate of what the derivative makes of the
conjugate of the gradient given.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from math import prod
from typing import Any

from flambeau.engine.graph import Arg, Call
from flambeau.engine.kernel.contract.product import joined
from flambeau.engine.kernel.loops import emit_nest
from flambeau.engine.kernel.move import Window, result, window
from flambeau.engine.kernel.nest import Access, Axis, Function, Nest, Step, Store
from flambeau.engine.kernel.target import vector_bytes
from flambeau.engine.plan import Address, Kernel
from flambeau.engine.schedule.lowering import Lower, Site
from flambeau.shape import Ints, contiguous_strides

GRADIENTS = 3  # of outputs and last states: the first operands
_CONJUGATE = Function("conj", lambda s, x: s.conj(x))


class _Conjugates:
    """A site whose gradients, given and found, are conjugates in scratch memory."""

    def __init__(self, site: Site, call: Call) -> None:
        self.site, self.given = site, call
        self.places: dict[Arg, Address] = {}
        inputs = [None if x is None else self._operand(x) for x in call.inputs[:GRADIENTS]]
        self.call = replace(call, inputs=(*inputs, *call.inputs[GRADIENTS:]))
        self.results = [site.temp(max(prod(meta.shape), 1) * meta.dtype.itemsize) for meta in call.metas]

    def _operand(self, x: Arg) -> Arg:
        own = Arg(-1 - len(self.places), x.shape, contiguous_strides(x.shape), 0, x.dtype)  # no value of the program
        at = self.places[own] = self.site.temp(prod(x.shape) * x.dtype.itemsize)
        _conjugate(self.site, x.shape, Window(at, own.strides, x.dtype), window(self.site, x))
        return own

    def source(self, operand: Arg) -> Address:
        return self.places[operand] if operand in self.places else self.site.source(operand)

    def result(self, nr: int = 0) -> Address:
        return self.results[nr]

    def finish(self) -> None:
        for nr, (meta, at) in enumerate(zip(self.given.metas, self.results)):
            found = Window(at, meta.layout, meta.dtype)
            _conjugate(self.site, meta.shape, result(self.site, self.given, nr), found)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.site, name)


def by_conjugates(lower: Lower) -> Lower:
    """A lowering of derivatives that gives gradients, of complex numbers as well."""

    @functools.wraps(lower)
    def lowered(site: Site, call: Call) -> None:
        if not call.metas[0].dtype.is_complex:
            lower(site, call)
            return
        where = _Conjugates(site, call)
        lower(where, where.call)
        where.finish()

    return lowered


def _conjugate(site: Site, shape: Ints, into: Window, source: Window) -> None:
    if 0 in shape:
        return
    d = into.dtype
    sizes, (read, written) = joined(shape, (source.strides, into.strides))
    axes = tuple(map(Axis, sizes or (1,)))
    accesses = [Access(read or (0,), d), Access(written or (0,), d)]
    steps = [Step("load", d, (), 0), Step("map", d, (0,), _CONJUGATE)]
    nest = Nest(axes, len(axes) - 1, vector_bytes() // d.itemsize, accesses, steps, [Store(1, 1, True)])
    places, moved = (source.address, into.address), 2.0 * prod(shape) * d.itemsize
    words = (*places, axes[0].extent) if nest.flat else places
    kernel = Kernel(nest.key, lambda k: emit_nest(k, nest), nest)
    site.launch(kernel, words, nest.tasks, moved / 20, "conjugate", (0.0, moved))
