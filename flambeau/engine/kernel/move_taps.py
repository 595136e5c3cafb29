"""Weighted sums of a few elements along each dimension: resampled images and their gradients.

Resampling is separable. A pass goes along one dimension: each place of its result adds up some elements ("taps") with
weights, both from tables that depend on the sizes alone and are constants of the kernel. Where the dimension is a run
in memory, lanes are places and elements are gathered; else whole runs are added up, tap by tap.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from flambeau.dtypes import FLOAT, dtype, float32, float64
from flambeau.engine.graph import Call
from flambeau.engine.kernel import scalars
from flambeau.engine.kernel.emit import Emitter, Index, Val, vector
from flambeau.engine.kernel.move import Window, copy, result, window
from flambeau.engine.kernel.move_walk import Walk, lanes_loop, merged
from flambeau.engine.kernel.move_windows import Places, nearest, nearest_back, whole_factors
from flambeau.engine.kernel.target import vector_bytes
from flambeau.engine.plan import Kernel
from flambeau.engine.schedule.lowering import Site, Unsupported
from flambeau.shape import Ints, contiguous_strides

Tables = Callable[..., tuple[np.ndarray, np.ndarray]]  # (size, result's size, how, scale, dtype) -> indices, weights
LARGEST = 1 << 15  # entries of a table


def resampled(tables: Tables, places: Places, forward: bool) -> Callable[[Site, Call], None]:
    """The lowering of a resampling, or of its transpose: by whole factors any dtype, else floats."""
    enlarge = nearest(places) if forward else nearest_back(places)

    def lower(site: Site, call: Call) -> None:
        if whole_factors(call, places, forward):
            enlarge(site, call)
            return
        (x,), meta, params = call.inputs, call.metas[0], call.params
        if x.dtype.category != FLOAT:
            raise Unsupported(f"resampling of {x.dtype}")
        kind = x.dtype if x.dtype is float64 else float32
        small, large = (x.shape, meta.shape) if forward else (meta.shape, x.shape)
        passes = []
        for d, scale in enumerate(params["scales"], 2):
            if small[d] == large[d] and scale is None and not params["how"].antialias:
                continue
            found = tables(small[d], large[d], params["how"], scale, kind.name)
            passes.append((d, *(found if forward else _transposed(*found, small[d]))))
        if 0 in meta.shape or any(index.size > LARGEST for _, index, _ in passes):
            raise Unsupported("resampling of nothing, or by very large tables")
        if forward:
            passes.reverse()
        _run(site, call, window(site, x), x.shape, passes, kind)

    return lower


def _run(site: Site, call: Call, source: Window, shape: Ints, passes: list[Any], kind: dtype) -> None:
    """The passes in order; what lies between them is scratch."""
    out = result(site, call)
    if not passes:
        copy(site, shape, out, source, call.op.name)
    for nr, (d, index, weights) in enumerate(passes):
        shape = (*shape[:d], index.shape[1], *shape[d + 1 :])
        target = out
        if nr < len(passes) - 1:
            target = Window(site.temp(kind.itemsize * math.prod(shape)), contiguous_strides(shape), kind)
        _pass(site, shape, d, target, source, (index, weights), call.op.name)
        source = target


def _transposed(index: np.ndarray, weights: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """For every element, the places that it went to and its weight there; short lists are filled up with zeros."""
    lists: list[dict[int, Any]] = [{} for _ in range(size)]
    for place in range(index.shape[1]):
        for tap in range(index.shape[0]):
            if weights[tap, place]:
                held = lists[index[tap, place]]
                held[place] = held.get(place, weights.dtype.type(0)) + weights[tap, place]
    longest = max(1, *map(len, lists))
    to, by = np.zeros((longest, size), np.int64), np.zeros((longest, size), weights.dtype)
    for element, held in enumerate(lists):
        for nr in range(longest):
            if held:
                to[nr, element] = list(held)[min(nr, len(held) - 1)]
                by[nr, element] = held[int(to[nr, element])] if nr < len(held) else 0
    return to, by


def _pass(
    site: Site, shape: Ints, d: int, target: Window, source: Window, tables: tuple[np.ndarray, np.ndarray], note: str
) -> None:
    """One dimension. A third window counts the places along it."""
    own = tuple(0 if e == d else s for e, s in enumerate(source.strides))
    count = tuple(1 if e == d else 0 for e in range(len(shape)))
    walk = Walk(merged(shape, (target.strides, own, count)))
    kernel = _Taps(walk, target.dtype, source.dtype, *tables).kernel()
    words = (target.address, source.address, source.strides[d], *walk.words)
    work = math.prod(shape) * len(tables[0])
    site.launch(kernel, words, walk.tasks, work / 4, note, (2.0 * work, 8.0 * math.prod(shape)))


class _Taps:
    """The kernel of a pass. Words: target, source, the source's step along the dimension, the walk's."""

    def __init__(self, walk: Walk, to: dtype, from_: dtype, index: np.ndarray, weights: np.ndarray) -> None:
        self.walk, self.to, self.from_ = walk, to, from_
        self.index, self.weights = index.astype(np.int64), weights
        self.type = "double" if weights.dtype == np.float64 else "float"
        self.along = walk.strides[2][-1] == 1 and walk.sizes[-1] > 1
        runs = walk.strides[0][-1] == 1 and (self.along or walk.strides[1][-1] == 1)
        self.width = vector_bytes() // (8 if self.type == "double" else 4) if runs else 1

    def kernel(self) -> Kernel:
        tables = hashlib.sha256(self.index.tobytes() + self.weights.tobytes()).hexdigest()[:16]
        return Kernel(
            f"taps {self.from_.name}>{self.to.name} {self.walk.form} {self.along:d} w{self.width} "
            f"{self.index.shape} {tables}",
            self.emit,
        )

    def emit(self, k: Emitter) -> None:
        places = self.index.shape[1]
        index = self._constant(k, "index", "i64", [str(n) for n in self.index.reshape(-1)])
        weight = self._constant(
            k, "weight", self.type, [k.const(self.type, float(w)).name for w in self.weights.reshape(-1)]
        )
        with self.walk.rows(k, 3) as (offsets, [(low, high)], [[to], [on], [forward]]):
            out = k.at(k.pointer(0), offsets[0], scalars.memory_type(self.to))
            source = k.at(k.pointer(1), offsets[1], scalars.memory_type(self.from_))

            def body(i: Index, mask: Val | None) -> None:
                total = None
                place = k.add(offsets[2], k.mul(i, forward))
                for tap in range(len(self.index)):
                    at = k.add(place, tap * places)
                    term = self._term(k, source, k.mul(i, on), at, index, weight, mask)
                    total = term if total is None else total + term
                assert total is not None
                at = i if self.width > 1 else k.mul(i, to)
                scalars.store(k, scalars.convert(k, total, self.to), out, at, self.to, mask)

            lanes_loop(k, low, high, self.width, body, unroll=1)

    def _term(
        self, k: Emitter, source: Val, i: Index, at: Index, index: Val, weight: Val, mask: Val | None
    ) -> Val:  # fmt: skip
        """An element, or lanes of them, times its weight."""
        step, memory = k.integer(2), scalars.memory_type(self.from_)
        if not (self.along and self.width > 1):
            place = k.add(k.mul(k.load(index, at, "i64"), step), i)
            x = scalars.load(k, source, place, self.from_, self.width, mask)
            return k.cast(x, self.type) * k.load(weight, at, self.type)
        many, wide = vector("i64", self.width), vector(self.type, self.width)
        found = k.load(index, at, many) if mask is None else k.masked_load(index, at, many, mask)
        factor = k.load(weight, at, wide) if mask is None else k.masked_load(weight, at, wide, mask)
        x = scalars.widened(k, k.gather(source, found * step, memory, mask), self.from_)
        return k.cast(x, self.type) * factor

    @staticmethod
    def _constant(k: Emitter, name: str, type: str, values: list[str]) -> Val:
        """A table in the module."""
        listed = ", ".join(f"{type} {value}" for value in values)
        k.declared[f"@{name}"] = (
            f"@{name} = private unnamed_addr constant [{len(values)} x {type}] [{listed}], align 64"
        )
        return Val(k, "ptr", f"@{name}")
