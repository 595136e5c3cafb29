"""The input's gradient of depthwise convolutions with strides: every pixel adds up the outputs whose windows meet it.

Pixels whose places leave the same remainder of the stride meet the same taps. Those of a row are computed remainder by
remainder, each a vector of neighbours, and laid together before they are stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from flambeau.dtypes import dtype
from flambeau.engine.kernel.conv.depthwise import BIAS, RESULT, WEIGHTS, Steps, plane_at
from flambeau.engine.kernel.conv.lanes import Store
from flambeau.engine.kernel.conv.prepare import width_of
from flambeau.engine.kernel.emit import Emitter, Index, Val, vector
from flambeau.engine.kernel.move_braid import braided
from flambeau.engine.kernel.pool import planes
from flambeau.engine.kernel.pool.windows import Taps, Windows
from flambeau.engine.kernel.scalars import compute_type
from flambeau.shape import Ints

WIDEST = 4  # strides


@dataclass(frozen=True)
class DepthwiseSpread:
    """The kernel; a task is a plane. `windows` are those of the forward pass, without dilation."""

    windows: Windows
    dtype: dtype
    batch: int
    groups: int
    source: Steps
    result: Steps
    store: Store
    biased: bool

    @property
    def lanes(self) -> int:
        return planes.lanes_of(self.dtype, -(-self.windows.size[2] // self.windows.stride[2]))

    @property
    def key(self) -> str:
        return f"conv depthwise spread {width_of(self.dtype)} {self!r} {self.store.key}"

    def emit(self, k: Emitter) -> None:
        w, scalar = self.windows, compute_type(self.dtype)
        taps = prod(w.kernel)
        with k.tasks() as task:
            group, image = k.rem(task, self.groups), k.div(task, self.groups)
            weights = k.at(k.pointer(WEIGHTS), k.mul(group, taps), scalar)
            factors = [k.splat(k.load(weights, tap, scalar), self.lanes) for tap in range(taps)]
            start = k.const(vector(scalar, self.lanes), 0)
            if self.biased:
                start = k.splat(k.load(k.pointer(BIAS), group, scalar), self.lanes)
            source, out = plane_at(k, self.source, image, group), plane_at(k, self.result, image, group)
            whole, left = divmod(w.size[1], w.stride[1])
            with k.loop(whole) as i:
                for rest in range(w.stride[1]):
                    self._row(k, factors, start, source, out, i, rest)
            for rest in range(left):
                self._row(k, factors, start, source, out, whole, rest)

    def _row(
        self, k: Emitter, factors: Sequence[Val], start: Val, source: Index, out: Index, i: Index, rest: int
    ) -> None:  # fmt: skip
        """Row `i * stride + rest` of the result."""
        w, lanes = self.windows, self.lanes
        taps = Taps(k, Windows(w.out, w.size, w.kernel, w.stride, w.padding, w.dilation), self.dtype, lanes, source, ())
        row = k.add(out, k.mul(k.add(k.mul(i, w.stride[1]), rest), w.size[2]))

        def compute(column: Index, count: int) -> None:
            first, parts = k.div(column, w.stride[2]), []
            for phase in range(w.stride[2]):
                total = start
                for down, back in _met(w, 1, rest):
                    r = k.add(i, back)
                    place, exists = k.add(source, k.mul(r, w.out[2])), planes.inside(k, r, w.out[1])
                    for across, beside in _met(w, 2, phase):
                        x = taps.load(place, exists, k.add(first, beside))
                        total = k.fma(x, factors[down * w.kernel[2] + across], total)
                parts.append(total)
            for nr, x in enumerate(braided(k, parts)):
                if count > nr * lanes:
                    at = k.add(k.add(row, column), nr * lanes)
                    self.store.row(k, x, k.pointer(RESULT), at, 0, min(lanes, count - nr * lanes))

        planes.in_vectors(k, w.size[2], lanes * w.stride[2], compute)


def _met(w: Windows, dim: int, rest: int) -> list[Ints]:
    """The taps that pixels with this remainder meet, and how far the outputs are from the pixels' quotient."""
    moved = rest + w.padding[dim]
    return [
        (tap, (moved - tap) // w.stride[dim])
        for tap in range(w.kernel[dim])
        if (moved - tap) % w.stride[dim] == 0
    ]  # fmt: skip
