"""The Newton-Schulz iteration, which makes a matrix orthogonal: nothing but products, each with its addend.

x = a x + (b g + c g g) x    with g = x x^T, or of a tall matrix  x = a x + x (b g + c g g)  with g = x^T x
"""

from __future__ import annotations

from flambeau.dtypes import dtype, float32, float64
from flambeau.engine.graph import Call
from flambeau.engine.kernel.contract.lower import launch
from flambeau.engine.kernel.contract.product import Addend, Operand, Product
from flambeau.engine.kernel.move import copy, result, window
from flambeau.engine.kernel.recur import Into
from flambeau.engine.plan import Address
from flambeau.engine.schedule.lowering import Site, Unsupported


def newton_schulz(site: Site, call: Call) -> None:
    (x,) = call.inputs
    d, (rows, columns) = call.metas[0].dtype, x.shape
    iterations = call.params["iterations"]
    if d not in (float32, float64):
        raise Unsupported(f"iterations in {d}")
    if not iterations:
        copy(site, x.shape, result(site, call), window(site, x), "newton schulz")
        return
    n = min(rows, columns)
    gram, factor = (site.temp(n * n * d.itemsize) for _ in range(2))
    between = [site.temp(rows * columns * d.itemsize) for _ in range(min(iterations - 1, 2))]
    before, strides = site.source(x), x.strides
    for nr in range(iterations):
        last = nr == iterations - 1
        step = _Step(site, d, before, strides, (rows, columns), call.params["coefficients"])
        before, strides = site.result() if last else between[nr % 2], (columns, 1)
        step.run(gram, factor, before)


class _Step:
    """One step of the iteration."""

    def __init__(
        self, site: Site, d: dtype, x: Address, strides: tuple[int, ...], shape: tuple[int, int],
        coefficients: tuple[float, float, float],
    ) -> None:  # fmt: skip
        self.site, self.d, self.x, self.coefficients = site, d, x, coefficients
        (self.down, self.along), (self.rows, self.columns) = strides, shape

    def run(self, gram: Address, factor: Address, into: Address) -> None:
        a, b, c = self.coefficients
        rows, columns, down, along = self.rows, self.columns, self.down, self.along
        tall = rows > columns
        n, depth = (columns, rows) if tall else (rows, columns)
        side = Operand(self.x, self.d, along, down, ()) if tall else Operand(self.x, self.d, down, along, ())
        self._product(gram, n, n, depth, side, side)
        left, right = Operand(gram, self.d, n, 1, ()), Operand(gram, self.d, 1, n, ())
        self._product(factor, n, n, n, left, right, c, Addend(gram, self.d, n, 1, (), b))
        if tall:
            left, right = Operand(self.x, self.d, down, along, ()), Operand(factor, self.d, 1, n, ())
        else:
            left, right = Operand(factor, self.d, n, 1, ()), Operand(self.x, self.d, along, down, ())
        self._product(into, rows, columns, n, left, right, 1.0, Addend(self.x, self.d, down, along, (), a))

    def _product(
        self, into: Address, rows: int, columns: int, depth: int, a: Operand, b: Operand, alpha: float = 1.0,
        addend: Addend | None = None,
    ) -> None:  # fmt: skip
        launch(Into(self.site, into), Product((), rows, columns, depth, a, b, self.d, alpha, addend))  # type: ignore[arg-type]
