"""What reductions do to two partial results, and what they begin with: sum, product, extrema, any, all."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from flambeau.dtypes import dtype
from flambeau.engine.kernel.emit import BITS, Emitter, Val, is_float
from flambeau.engine.kernel.scalars import Scalars, compute_type


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
    "max": Reduction(lambda s, a, b: _either(s, a, b) if s.is_bool(a) else s.maximum(a, b), _lowest),
    "min": Reduction(lambda s, a, b: _both(s, a, b) if s.is_bool(a) else s.minimum(a, b), _highest),
    "any": Reduction(lambda s, a, b: _either(s, a, b), lambda _: 0),
    "all": Reduction(lambda s, a, b: _both(s, a, b), lambda _: 1),
}


def _either(s: Scalars, a: Val, b: Val) -> Val:
    return s.k.bits("or", a, b)


def _both(s: Scalars, a: Val, b: Val) -> Val:
    return s.k.bits("and", a, b)


def combine(k: Emitter, how: str, d: dtype, a: Val, b: Val) -> Val:
    return TABLE[how].combine(Scalars(k, d), a, b)


def first(k: Emitter, how: str, d: dtype, type: str) -> Val:
    """The neutral element, as a value of `type` (lanes of the dtype's register type)."""
    return k.const(type, TABLE[how].first(compute_type(d)))


def of_nothing(how: str) -> Any:
    """The result of reducing no elements."""
    return {"sum": 0, "prod": 1, "any": False, "all": True}[how]
