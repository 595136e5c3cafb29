"""Half and bfloat16 for kernels that compute in float32: operands are widened before them, results rounded after them.

That is how references see narrow floats: as float32, rounded once.
"""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import Any

from flambeau.dtypes import bfloat16, float16, float32
from flambeau.engine.graph import Arg, Call, Meta
from flambeau.engine.kernel.move import Window, copy, result, window
from flambeau.engine.plan import Address
from flambeau.engine.schedule.lowering import Lower, Site
from flambeau.shape import contiguous_strides

NARROW = (float16, bfloat16)


class _Wide:
    """A site whose narrow operands and results are float32 in scratch memory."""

    def __init__(self, site: Site, call: Call) -> None:
        self.site, self.narrow = site, call
        self.wide: dict[Arg, Arg] = {}
        self.places: dict[Arg, Address] = {}
        inputs = tuple([self._operand(x) for x in call.inputs])
        self.results = {nr: self._scratch(meta) for nr, meta in enumerate(call.metas) if meta.dtype in NARROW}
        metas = tuple([m._replace(dtype=float32) if m.dtype in NARROW else m for m in call.metas])
        self.call = replace(call, inputs=inputs, metas=metas)

    def _operand(self, x: Any) -> Any:
        if not isinstance(x, Arg) or x.dtype not in NARROW:
            return x
        if x in self.wide:
            return self.wide[x]
        spread = [s != 0 or n == 1 for s, n in zip(x.strides, x.shape)]  # broadcast dimensions stay so
        shape = tuple([n if own else 1 for n, own in zip(x.shape, spread)])
        strides = tuple([s if own else 0 for s, own in zip(contiguous_strides(shape), spread)])
        wide = self.wide[x] = Arg(-1 - len(self.wide), x.shape, strides, 0, float32)  # no value of the program
        at = self.places[wide] = self.site.temp(math.prod(shape) * float32.itemsize)
        copy(self.site, shape, Window(at, strides, float32), window(self.site, x), "widen")
        return wide

    def _scratch(self, meta: Meta) -> Address:
        last = sum((n - 1) * s for n, s in zip(meta.shape, meta.layout)) if 0 not in meta.shape else -1
        return self.site.temp((last + 1) * float32.itemsize)

    def source(self, operand: Arg) -> Address:
        return self.places[operand] if operand in self.places else self.site.source(operand)

    def result(self, nr: int = 0) -> Address:
        return self.results[nr] if nr in self.results else self.site.result(nr)

    def finish(self) -> None:
        for nr, at in self.results.items():
            meta = self.narrow.metas[nr]
            copy(self.site, meta.shape, result(self.site, self.narrow, nr), Window(at, meta.layout, float32), "round")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.site, name)


def widened(lower: Lower) -> Lower:
    """A lowering of float32 that takes narrow floats as well."""

    @functools.wraps(lower)
    def lowered(site: Site, call: Call) -> None:
        if not any(isinstance(x, Arg) and x.dtype in NARROW for x in call.inputs):
            lower(site, call)
            return
        wide = _Wide(site, call)
        lower(wide, wide.call)
        wide.finish()

    return lowered
