"""What the recorder hands to the scheduler: a straight-line program of op calls over numbered values.

A value is the whole memory that one op produced (or that came from outside). Calls read it through `Arg`s, strided
windows, so that tensor views are no calls at all. `Write` overwrites a window of a value in place: the value it defines
has the memory of the value it overwrites, and every earlier reader still means the old contents.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from flambeau.dtypes import dtype
from flambeau.shape import Ints, contiguous_strides


class Meta(NamedTuple):
    """A result without its data. `strides` None is row-major; `compute` is the dtype operands are cast to first."""

    shape: Ints
    dtype: dtype
    strides: Ints | None = None
    compute: dtype | None = None

    @property
    def layout(self) -> Ints:
        """The strides, in elements."""
        return contiguous_strides(self.shape) if self.strides is None else self.strides


class Arg(NamedTuple):
    """A tensor operand: a strided window (in elements) on a value."""

    value: int
    shape: Ints
    strides: Ints
    offset: int
    dtype: dtype


class Part(Arg):
    """An operand that shows a part of a value from outside, such as a batch of a data set: the part is numbered as a
    value of its own and its `offset` is 0, wherever it lies this time."""

    __slots__ = ()


class Number(NamedTuple):
    """A Python number as an operand: known only when the program runs, in slot `slot` of the table of numbers.

    The table holds 8 bytes a slot: an int64 for `kind` int and bool, a float64 for float.
    """

    slot: int
    kind: type  # int, float or bool


@dataclass(eq=False)
class Call:
    """One application of an op. Operands are `Arg`, `Number`, None, or other constants."""

    op: Any
    inputs: tuple[Any, ...]
    params: dict[str, Any]
    metas: tuple[Meta, ...]
    outputs: tuple[int, ...]  # a value number for each of `metas`


@dataclass(eq=False)
class Write:
    """Overwrite the window `target` with the elements of `source` (same shape; cast to the target's dtype)."""

    target: Arg
    source: Arg
    output: int  # the value that `target.value` becomes


@dataclass(eq=False)
class Graph:
    """A program. Value numbers below `len(inputs)` come from outside."""

    inputs: list[int]  # bytes of each outside value
    steps: list[Call | Write]
    wanted: tuple[int, ...]  # values that must be in memory at the end, besides those that writes leave in inputs
    numbers: int = 0  # slots in the table of numbers
    sizes: dict[int, int] = field(default_factory=dict)  # bytes of every value, inputs included
