"""What the scheduler makes of a graph: launches of kernels over buffers, in order.

A kernel is `void (ptr args, i64 begin, i64 end)` (see `kernel.emit`): the words of its argument block are addresses and
integers, and a launch says how many tasks there are; the runtime shares them among threads. Tasks write apart from one
another, so the result does not depend on who runs which.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from flambeau.engine.graph import Call, Write

if TYPE_CHECKING:
    from flambeau.engine.kernel.emit import Emitter
    from flambeau.engine.kernel.nest import Nest


@dataclass(eq=False)
class Kernel:
    """A recipe for machine code.

    `key` describes everything the code depends on (generator, shapes, strides, dtypes, ops ...) and names it in the
    caches; `emit(k)` writes the body. Kernels with equal keys are the same kernel. `nest` is what a fused kernel was
    written from, for people.
    """

    key: str
    emit: Callable[[Emitter], None]
    nest: Nest | None = None


class Buffer(NamedTuple):
    """Memory of a program: an outside value ("input", number), a value handed out ("output", number), scratch in the
    arena ("temp", byte offset), the table of numbers ("numbers", 0), or the word of errors ("status", 0)."""

    kind: str
    index: int


class Address(NamedTuple):
    """A place in a buffer, in bytes."""

    buffer: Buffer
    offset: int = 0


@dataclass(eq=False)
class Launch:
    """Run `kernel` on `tasks` tasks; `args` are addresses and integers, one word each."""

    kernel: Kernel
    args: tuple[Address | int, ...]
    tasks: int = 1
    cost: float = 0.0  # estimated nanoseconds on one thread: tiny launches stay on the caller
    note: str = ""  # for people: which ops, which shapes
    work: tuple[float, float] = (0.0, 0.0)  # floating-point operations and bytes moved, for the share of peak
    calls: tuple[Call | Write, ...] = ()  # for people: whose results it makes, or a part of them
    bundle: int = 0  # for how many launches of `kernel` this one stands; `args` are then as `native` lists them

    @property
    def block(self) -> tuple[Address | int, ...]:
        """The kernel's argument block: of a bundle, the first one."""
        return self.args[4 : 4 + self.args[1]] if self.bundle else self.args  # type: ignore[operator]


@dataclass(eq=False)
class HostCall:
    """Run a call by its NumPy reference, between native stretches. Buffers of its operands and results by value."""

    call: Call
    places: dict[int, Buffer]


@dataclass(eq=False)
class Plan:
    """Steps in order, and the memory they need."""

    steps: list[Launch | HostCall]
    arena: int  # bytes
    outputs: dict[int, int] = field(default_factory=dict)  # value number -> bytes, of every "output" buffer


Lowering = Callable[..., Any]
