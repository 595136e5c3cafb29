"""Planes: what pooling calls the spatial dimensions of one channel of one image. Tasks are planes, or rows of them.

All planes are three-dimensional (depth, height, width), fewer dimensions being sizes of 1, and lie one behind another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any

from flambeau import dtypes
from flambeau.dtypes import COMPLEX, dtype
from flambeau.engine.graph import Arg, Call
from flambeau.engine.kernel import move
from flambeau.engine.kernel.emit import LINE, Emitter, Index, Val, element
from flambeau.engine.kernel.scalars import compute_type
from flambeau.engine.kernel.target import vector_bytes
from flambeau.engine.plan import Address
from flambeau.engine.schedule.lowering import Site, Unsupported
from flambeau.shape import Ints, contiguous_strides, is_contiguous

DIMS = 3
CYCLE = 0.28  # nanoseconds
STATIC = 8  # vectors of a row that stand in the code one after another
BITS = {"i8": 8, "i16": 16, "i32": 32, "i64": 64, "float": 32, "double": 64}


def spatial(sizes: Sequence[int], fill: int = 1) -> Ints:
    """Sizes (or steps, or paddings) of three dimensions."""
    return (*(fill,) * (DIMS - len(sizes)), *sizes)


def planes(shape: Ints, dims: int) -> int:
    """How many planes there are."""
    return prod(shape[: len(shape) - dims])


def contiguous(site: Site, operand: Arg) -> Address:
    """The operand in row-major order, copied if it is not."""
    if is_contiguous(operand.shape, operand.strides):
        return site.source(operand)
    memory = site.temp(prod(operand.shape) * operand.dtype.itemsize)
    target = move.Window(memory, contiguous_strides(operand.shape), operand.dtype)
    move.copy(site, operand.shape, target, move.window(site, operand))
    return memory


def check(call: Call, floating: bool) -> None:
    """Refuse dtypes and layouts that these kernels do not know."""
    d = call.metas[0].dtype
    if d.category == COMPLEX or d is dtypes.bool_ or floating and not d.is_floating_point:
        raise Unsupported(f"pooling of {d}")
    if any(not is_contiguous(meta.shape, meta.layout) for meta in call.metas):
        raise Unsupported("results that are not row-major")


def lanes_of(d: dtype, row: int) -> int:
    """Lanes of a vector for rows of so many elements."""
    most = vector_bytes() * 8 // BITS[compute_type(d)]
    return max(2, min(most, 1 << max(row - 1, 0).bit_length()))


def in_vectors(k: Emitter, count: int, lanes: int, body: Callable[[Index, int], None]) -> None:
    """Call `body(start, length)` for all vectors of a row: one after another where they are few, else in a loop."""
    whole = count - count % lanes
    if whole <= STATIC * lanes:
        for start in range(0, whole, lanes):
            body(start, lanes)
    else:
        with k.loop(whole, step=lanes) as start:
            body(start, lanes)
    if count > whole:
        body(whole, count - whole)


def ways(k: Emitter, stream: bool, results: Sequence[int]) -> Iterator[bool]:
    """Once or twice, to write code in a loop: with `stream` for results (by argument) that all begin at a line, which
    go past the caches, and for others."""
    if not stream:
        yield False
        return
    past = k.const("i64", 0)
    for result in results:
        past = k.bits("or", past, k.rem(k.address(k.pointer(result)), LINE))
    for streams in (True, False):
        with k.when(past.equals(0) if streams else past.differs(0)):
            yield streams


def quotient(k: Emitter, x: Val, divisor: Any) -> Val:
    """`x` divided by lanes, or by an integer: powers of two may as well be multiplied with, which is faster."""
    if isinstance(divisor, Val):
        return k.div(x, k.val(k.cast(divisor, element(x.type)), x.type))
    if divisor > 0 and divisor & (divisor - 1) == 0:
        return k.mul(x, k.const(x.type, 1.0 / divisor))
    return k.div(x, k.const(x.type, divisor))


def inside(k: Emitter, place: Index, size: int) -> Val | bool:
    """Whether a pixel exists."""
    if not isinstance(place, Val):
        return 0 <= place < size
    return k.compare("lt", place, size, unsigned=True)


def both(k: Emitter, a: Val | bool, b: Val | bool) -> Val | bool:
    """The conjunction, known as far as its parts are."""
    if a is True or b is False:
        return b
    return a if b is True or a is False else k.bits("and", a, b)


@contextmanager
def each(k: Emitter, count: int) -> Iterator[Index]:
    """A loop, or no loop where there is one of something."""
    if count == 1:
        yield 0
    else:
        with k.loop(count) as i:
            yield i
