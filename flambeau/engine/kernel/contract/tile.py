"""The register tile: some rows by some vectors of a product, as a sum of outer products that never leaves registers.

    c[i][v] += a[i, k] * b[k, v]        for every k, in order

Every step of k loads `vectors` vectors of the right operand and `rows` numbers of the left one, and makes
rows * vectors fused multiplications: with enough of them in flight the arithmetic units are never idle. Operands are
read as packed panels or where they lie; the columns of the right one must then be neighbours in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flambeau.dtypes import dtype
from flambeau.engine.kernel import scalars
from flambeau.engine.kernel.contract.product import ALONG, ANY, PANEL
from flambeau.engine.kernel.emit import Emitter, Index, Val, vector
from flambeau.engine.kernel.target import vector_bytes


@dataclass(frozen=True)
class Tile:
    """The shape of a tile, and how it reads its operands."""

    rows: int
    vectors: int
    a: dtype
    b: dtype
    compute: dtype
    a_layout: str
    b_layout: str
    masked: bool  # whether the columns may be fewer than the tile's

    @property
    def width(self) -> int:
        """Lanes of a vector."""
        return vector_bytes() // self.compute.itemsize

    @property
    def columns(self) -> int:
        return self.vectors * self.width

    @property
    def type(self) -> str:
        """The scalar type of sums."""
        return scalars.compute_type(self.compute)

    @property
    def form(self) -> str:
        """What the code depends on."""
        types = f"{self.a.name}*{self.b.name}>{self.compute.name}"
        return f"{self.rows}x{self.vectors}x{self.width} {types} {self.a_layout} {self.b_layout} {self.masked:d}"

    def sums(
        self, k: Emitter, a: Val, b: Val, depth: Index, a_strides: tuple[Index, Index], b_stride: Index,
        masks: Sequence[Val | None],
    ) -> list[list[Val]]:  # fmt: skip
        """The sums over `depth` steps from the addresses `a` and `b` on.

        `a_strides` are along rows and along the sum, `b_stride` is along the sum; panels know their own.
        """
        zero = k.const(vector(self.type, self.width), 0)
        start = [a, b, *([zero] * (self.rows * self.vectors))]
        across = [k.mul(a_strides[0], r) for r in range(self.rows)] if self.a_layout in (ALONG, ANY) else []
        with k.loop(depth, carried=start) as loop:
            a, b, *sums = loop.carried
            self._step(k, a, b, across, sums, masks)
            loop.carry(*self._next(k, a, b, a_strides[1], b_stride), *sums)
        sums = loop.results[2:]
        return [sums[r * self.vectors : (r + 1) * self.vectors] for r in range(self.rows)]

    def _next(self, k: Emitter, a: Val, b: Val, a_stride: Index, b_stride: Index) -> tuple[Val, Val]:
        a_step = {PANEL: self.rows, ALONG: 1}.get(self.a_layout, a_stride)
        b_step = self.columns if self.b_layout == PANEL else b_stride
        return k.at(a, a_step, scalars.memory_type(self.a)), k.at(b, b_step, scalars.memory_type(self.b))

    def _step(
        self, k: Emitter, a: Val, b: Val, across: Sequence[Index], sums: list[Val], masks: Sequence[Val | None]
    ) -> None:
        width = self.width
        right = [
            scalars.load(k, b, v * width, self.b, width, None if self.b_layout == PANEL else masks[v])
            for v in range(self.vectors)
        ]
        for r in range(self.rows):
            left = k.splat(scalars.load(k, a, across[r] if across else r, self.a, 1), width)
            for v in range(self.vectors):
                at = r * self.vectors + v
                sums[at] = k.fma(self._raised(k, left), self._raised(k, right[v]), sums[at])

    def _raised(self, k: Emitter, x: Val) -> Val:
        return k.cast(x, self.type)
