"""Index tensors, and where they lead: what reading and writing at indices share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from flambeau.engine.kernel.emit import Emitter, Val
from flambeau.engine.kernel.move import Window
from flambeau.engine.schedule.lowering import Unsupported
from flambeau.shape import Ints


class Term(NamedTuple):
    """An index tensor: along how many elements it chooses, and how far apart they are. `wraps`: negative ones count
    from the end."""

    index: Window
    size: int
    step: int
    wraps: bool = False


def check_sizes(terms: Sequence[Term]) -> None:
    if any(t.size == 0 for t in terms):
        raise Unsupported("an index into nothing")


def by_parts(shape: Ints, windows: Sequence[Window], terms: Sequence[Term]) -> tuple[Ints, list[Window], list[Term]]:
    """Complex elements as two floats each: a dimension more."""
    wide = [w.real()._replace(strides=(*w.real().strides, 1)) for w in windows]
    moved = [t._replace(index=t.index.part(0, (*t.index.strides, 0)), step=2 * t.step) for t in terms]
    return (*shape, 2), wide, moved


def term_words(terms: Sequence[Term]) -> tuple:
    """The words of the argument block that `offset` reads: three a term."""
    return tuple(word for t in terms for word in (t.index.address, t.size, t.step))


def offset(k: Emitter, terms: Sequence[Term], indices: Sequence[Val], first: int, status: int) -> Val:
    """How far the indices lead, in elements; those out of range lead nowhere and mark the status word."""
    total: Val | None = None
    for nr, (term, index) in enumerate(zip(terms, indices)):
        index = k.cast(index, "i64")
        size, step = (k.integer(first + 3 * nr + part) for part in (1, 2))
        if term.wraps:
            index = k.select(index < 0, index + size, index)
        inside = k.compare("lt", index, size, unsigned=True)
        with k.when(k.bits("xor", inside, True)):
            k.store(k.const("i64", 1), k.pointer(status), 0)
        part = k.select(inside, index, 0) * step
        total = part if total is None else total + part
    assert total is not None
    return total
