"""The end of a sum that was split among tasks: the parts are added in order, and finished like any sum."""

from __future__ import annotations

from dataclasses import dataclass

from flambeau.engine.kernel import scalars
from flambeau.engine.kernel.contract.finish import Finish
from flambeau.engine.kernel.contract.frame import batch_offsets
from flambeau.engine.kernel.contract.words import Bound
from flambeau.engine.kernel.emit import Emitter, Val, vector
from flambeau.engine.kernel.target import vector_bytes
from flambeau.engine.plan import Kernel


@dataclass(frozen=True)
class Partials:
    """A kernel that adds `chunks` matrices into one, for every matrix of a batch; a task is a row."""

    finish: Finish

    def kernel(self, words: Bound) -> Kernel:
        return Kernel(f"partials {self.finish.compute.name} {self.finish.form}", lambda k: self._emit(k, words))

    def _emit(self, k: Emitter, w: Bound) -> None:
        finish, width = self.finish, vector_bytes() // self.finish.compute.itemsize
        type = scalars.compute_type(finish.compute)
        rows, columns, chunks = (w.integer(k, name) for name in ("rows", "columns", "chunks"))
        with k.tasks() as task:
            row, matrix = k.rem(task, rows), k.div(task, rows)
            places, _ = batch_offsets(k, w, matrix, finish.batches, ())
            added = finish.addend_row(k, w, places, row)
            first = k.mul(k.add(k.mul(k.mul(matrix, chunks), rows), row), columns)
            with k.loop(columns, step=width) as column:
                mask = k.mask(k.sub(columns, column), width)
                at = k.add(first, column)
                zero = k.const(vector(type, width), 0)
                with k.loop(chunks, carried=[zero]) as loop:
                    place = k.add(at, k.mul(loop.i, k.mul(rows, columns)))
                    part = k.masked_load(w.pointer(k, "partials"), place, zero.type, mask)
                    loop.carry(k.add(loop.carried[0], part))
                total: Val = loop.results[0]
                finish.apply(k, w, total, added, column, k.add(k.mul(task, columns), column), mask)
