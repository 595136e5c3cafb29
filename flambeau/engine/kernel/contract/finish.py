"""What happens to the sums of a product before they are stored: a factor, something added, a fused epilogue, rounding.

    value = epilogue(alpha * sum + beta * addend)

The value of an element depends on nothing but its own sum, whichever kernel computed that.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from flambeau import dtypes
from flambeau.dtypes import dtype
from flambeau.engine.kernel import scalars
from flambeau.engine.kernel.contract.product import Product
from flambeau.engine.kernel.contract.words import Bound, Words
from flambeau.engine.kernel.emit import Emitter, Index, Val, lanes, vector
from flambeau.engine.schedule.lowering import Epilogue

NONE, NEIGHBOURS, SAME, APART = "", "neighbours", "same", "apart"  # how the addend lies along a row


@dataclass(frozen=True)
class Finish:
    """The end of a kernel. Its words are `result`, `batches` dimensions of the addend, and the epilogue's own."""

    compute: dtype
    result: dtype
    scaled: bool = False  # alpha is not 1
    addend: str = NONE
    addend_dtype: dtype | None = None
    addend_scaled: bool = False  # beta is not 1
    batches: int = 0
    epilogue: Epilogue | None = None

    @classmethod
    def of(cls, product: Product, epilogue: Epilogue | None) -> Finish:
        compute = product.dtype if product.dtype.itemsize >= 4 else dtypes.float32
        from_addend = product.addend
        if from_addend is None:
            return cls(compute, product.dtype, product.alpha != 1, epilogue=epilogue)
        kind = {1: NEIGHBOURS, 0: SAME}.get(from_addend.columns if product.columns > 1 else 0, APART)
        return cls(
            compute, product.dtype, product.alpha != 1, kind, from_addend.dtype, from_addend.beta != 1,
            len(from_addend.batch), epilogue,
        )  # fmt: skip

    @property
    def form(self) -> str:
        """What the code depends on."""
        name = self.addend_dtype.name if self.addend_dtype else ""
        fused = self.epilogue.key if self.epilogue else ""
        return f"{self.result.name} {self.scaled:d} {self.addend} {name} {self.addend_scaled:d} {self.batches} {fused}"

    @property
    def short(self) -> bool:
        """Whether the code is short enough to stand in a kernel once for every vector of a tile."""
        return self.epilogue is None and self.addend in (NONE, NEIGHBOURS)

    def describe(self, words: Words, product: Product) -> None:
        """Add the words that `apply` reads; those of the epilogue come last of all."""
        if self.scaled:
            words.add(alpha=number_bits(product.alpha))
        addend = product.addend
        if addend is not None:
            words.add(addend=addend.at, addend_rows=addend.rows, addend_columns=addend.columns)
            words.add(**{f"addend_batch{d}": s for d, s in enumerate(addend.batch)})
            if self.addend_scaled:
                words.add(beta=number_bits(addend.beta))
        if self.epilogue is not None:
            words.add(**{f"epilogue{nr}": arg for nr, arg in enumerate(self.epilogue.args)})

    def addend_row(self, k: Emitter, w: Bound, batch: list[Index], row: Index) -> Val | None:
        """Where the addend of a row begins."""
        if self.addend == NONE or self.addend_dtype is None:
            return None
        offset: Index = k.mul(row, w.integer(k, "addend_rows"))
        for d, i in enumerate(batch):
            offset = k.add(offset, k.mul(i, w.integer(k, f"addend_batch{d}")))
        return k.at(w.pointer(k, "addend"), offset, scalars.memory_type(self.addend_dtype))

    def apply(
        self, k: Emitter, w: Bound, x: Val, addend_row: Val | None, column: Index, flat: Index, mask: Val | None
    ) -> None:
        """Store sums of neighbouring columns, as the elements from `flat` on of the result."""
        if self.scaled:
            x = k.mul(x, w.number(k, "alpha", scalars.compute_type(self.compute)))
        if addend_row is not None:
            x = k.add(x, self._added(k, w, addend_row, column, lanes(x.type), mask))
        if self.epilogue is not None:
            x = scalars.convert(k, x, self.result)
            x = self.epilogue.apply(k, x, flat, w.places.get("epilogue0", len(w)), mask)
        scalars.store(k, x, w.pointer(k, "result"), flat, self.result, mask)

    def _added(self, k: Emitter, w: Bound, row: Val, column: Index, width: int, mask: Val | None) -> Val:
        assert self.addend_dtype is not None
        type = scalars.compute_type(self.compute)
        if self.addend == NEIGHBOURS:
            found = scalars.load(k, row, column, self.addend_dtype, width, mask)
        elif self.addend == SAME:
            found = k.splat(scalars.load(k, row, 0, self.addend_dtype, 1), width)
        else:
            step = w.integer(k, "addend_columns")
            places = k.mul(k.add(k.ramp(vector("i64", width)), k.val(column, vector("i64", width))), step)
            raw = k.gather(row, places, scalars.memory_type(self.addend_dtype), mask if width > 1 else None)
            found = scalars.widened(k, raw, self.addend_dtype)
        found = k.cast(found, type)
        return k.mul(found, w.number(k, "beta", type)) if self.addend_scaled else found


def number_bits(number: float) -> int:
    """The bits of a float64 as an integer word."""
    return struct.unpack("<q", struct.pack("<d", number))[0]
