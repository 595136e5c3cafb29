"""What reductions do to two partial results, and what they begin with: sum, product, extrema, their places, any, all.

A partial result is a tuple of values: of most reductions one, of the place of an extremum rank (`_ranked`) and place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from flambeau.dtypes import dtype
from flambeau.engine.kernel.emit import BITS, Emitter, Index, Val, element, is_float, lanes
from flambeau.engine.kernel.scalars import Scalars

Partial = tuple[Val, ...]


class Reduction(NamedTuple):
    """`combine(scalars, a, b)` is associative up to rounding; `first(type)` changes nothing when combined."""

    combine: Callable[[Scalars, Val, Val], Val]
    first: Callable[[str], Any]


def _lowest(type: str) -> Any:
    return -math.inf if is_float(type) else -(1 << (BITS[type] - 1)) if type != "i1" else 0


def _highest(type: str) -> Any:
    return math.inf if is_float(type) else (1 << (BITS[type] - 1)) - 1 if type != "i1" else 1


TABLE: dict[str, Reduction] = {
    "sum": Reduction(lambda s, a, b: s.k.add(a, b), lambda _: 0),
    "prod": Reduction(lambda s, a, b: s.k.mul(a, b), lambda _: 1),
    "max": Reduction(lambda s, a, b: _either(s, a, b) if s.is_bool(a) else _extreme(s, s.gt, a, b), _lowest),
    "min": Reduction(lambda s, a, b: _both(s, a, b) if s.is_bool(a) else _extreme(s, s.lt, a, b), _highest),
    "any": Reduction(lambda s, a, b: _either(s, a, b), lambda _: 0),
    "all": Reduction(lambda s, a, b: _both(s, a, b), lambda _: 1),
}
PLACES = {"argmax": "max", "argmin": "min"}  # the first place of an extremum: operands are elements and their places


def _either(s: Scalars, a: Val, b: Val) -> Val:
    return s.k.bits("or", a, b)


def _both(s: Scalars, a: Val, b: Val) -> Val:
    return s.k.bits("and", a, b)


def _extreme(s: Scalars, wins: Callable[..., Val], a: Val, b: Val) -> Val:
    """The one that wins; NaN where one is NaN. The machine's own instruction gives its second operand if one is NaN, so
    one of both orders gives the NaN, and the bits of both together are one: nothing waits for a comparison."""
    chosen = s.k.select(wins(a, b), a, b)
    if not is_float(a.type):
        return chosen
    type = element(a.type)
    integer = f"i{BITS[type]}"
    other = s.k.select(wins(b, a), b, a)
    return s.k.bitcast(s.k.bits("or", s.k.bitcast(chosen, integer), s.k.bitcast(other, integer)), type)


# -- partial results ---------------------------------------------------------------------------------------------


def carried(how: str, types: Sequence[str]) -> list[str]:
    """The scalar types of a partial result, from those of the operands."""
    return [_rank_type(types[0]), *types[1:]] if how in PLACES else [*types]


def _rank_type(type: str) -> str:
    return "i8" if type == "i1" else f"i{BITS[type]}"


def first(k: Emitter, how: str, types: Sequence[str]) -> Partial:
    """What a reduction begins with, as values of `types`. The place is 0: it stays only if all elements are the worst
    there is, and then it is right."""
    numbers = (_lowest if how in PLACES else TABLE[how].first)(element(types[0])), 0
    return tuple([k.const(type, number) for type, number in zip(types, numbers)])


def entering(k: Emitter, how: str, operands: Partial) -> Partial:
    """Operands as the partial result of their elements alone."""
    return (_ranked(k, how, operands[0]), *operands[1:]) if how in PLACES else operands


def _ranked(k: Emitter, how: str, x: Val) -> Val:
    """Elements as integers, of which the largest belongs to the extremum: NaN before all others, zeros of both signs
    alike. So nothing but one instruction waits for the rank before."""
    rank, turn = k.cast(x, "i8", signed=False) if element(x.type) == "i1" else x, -1 if how == "argmin" else 0
    if not is_float(x.type):
        return k.bits("xor", rank, turn)
    type = _rank_type(element(x.type))
    bits = k.bitcast(x + 0.0, type)
    size = k.bits("and", k.bits("ashr", bits, BITS[type] - 1), _highest(type))
    return k.select(k.unordered(x, x), _highest(type), k.bits("xor", k.bits("xor", bits, size), turn))


def following(k: Emitter, how: str, d: dtype, held: Partial, found: Partial) -> Partial:
    """A partial result with that of later elements."""
    if how not in PLACES:
        return (TABLE[how].combine(Scalars(k, d), held[0], found[0]),)
    return _chosen(k, found[0] > held[0], found, held)


def merged(k: Emitter, how: str, d: dtype, a: Partial, b: Partial) -> Partial:
    """Two partial results as one; of equal extrema the first counts."""
    if how not in PLACES:
        return following(k, how, d, a, b)
    earlier = k.bits("and", b[0].equals(a[0]), b[1] < a[1])
    return _chosen(k, k.bits("or", b[0] > a[0], earlier), b, a)


def _chosen(k: Emitter, condition: Val, a: Partial, b: Partial) -> Partial:
    return tuple([k.select(condition, x, y) for x, y in zip(a, b)])


def folded(k: Emitter, how: str, d: dtype, partial: Partial) -> Partial:
    """All lanes of a partial result as one, in a fixed tree: the upper half onto the lower, until one is left."""
    while (width := lanes(partial[0].type)) > 1:
        low, high = (
            tuple([k.shuffle(x, x, half) if width > 2 else k.lane(x, half[0]) for x in partial])
            for half in (range(width // 2), range(width // 2, width))
        )
        partial = merged(k, how, d, low, high)
    return partial


class Carrying:
    """`Emitter.loop` with any number of carried partial results, none included."""

    def __init__(self, k: Emitter, stop: Index, start: Index, step: int, carried: list[Partial]) -> None:
        self.sizes = [len(partial) for partial in carried]
        self.results: list[Partial] = carried
        self.inside = k.loop(stop, start=start, step=step, carried=[x for partial in carried for x in partial])
        self.loop: Any = None

    def __enter__(self) -> tuple[Val, list[Partial], Carrying]:
        found = self.inside.__enter__()
        self.loop = found if self.sizes else None
        return (found.i, self.grouped(found.carried), self) if self.sizes else (found, [], self)

    def grouped(self, values: list[Val]) -> list[Partial]:
        left = iter(values)
        return [tuple([next(left) for _ in range(size)]) for size in self.sizes]

    def __call__(self, following: list[Partial]) -> None:
        if self.loop is not None:
            self.loop.carry(*[x for partial in following for x in partial])

    def __exit__(self, *error: Any) -> None:
        self.inside.__exit__(*error)
        if self.loop is not None:
            self.results = self.grouped(self.loop.results)


def of_nothing(how: str) -> Any:
    """The result of reducing no elements."""
    return {"sum": 0, "prod": 1, "any": False, "all": True}[how]
