"""The three forms of an op record's `lower` field: how the compiler computes the op.

    lower=lambda k, x: k.sqrt(x)              a plain function: elementwise, one result element from one element of each
                                              operand, written with `kernel.scalars` (`k`); any width, any dtype
    lower=Composite(lambda t, x, dim: ...)    smaller tensor operations (`schedule.expressions`), which fuse
    lower=Kernels(function)                   launches of kernels of its own: contractions, windows, gathers

Parameters of the op arrive as keywords in all three. A lowering that does not cover a case (a dtype, an odd parameter)
raises `Unsupported`, and the call runs by its NumPy reference on the host.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from flambeau.later import Deferred

if TYPE_CHECKING:
    from flambeau.engine.graph import Arg, Call
    from flambeau.engine.plan import Address, Kernel

Lower = Callable[["Site", "Call"], None]


class Unsupported(Exception):
    """This lowering does not cover the case; the reference does."""


class Composite:
    """`function(t, *operands, **params)` gives the result (or a tuple) as tensor expressions; `t` makes them.

    `by_channel(params)` says whether it takes the channels of [N, C, *spatial] one by one, over all images.
    """

    def __init__(
        self, function: Callable[..., Any], by_channel: Callable[[dict], bool] = lambda _params: False
    ) -> None:
        self.function, self.by_channel = function, by_channel


class Update:
    """A plain function that updates a parameter by its gradient: the planner lets one launch update many parameters."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, k: Any, *operands: Any, **params: Any) -> Any:
        return self.function(k, *operands, **params)


class Kernels:
    """`function(site, call)` launches kernels that write every result of `call`. It may be named for `later`, so that
    an op record does not import the compiler.

    With `epilogue`, the last kernel stores its first result through `site.epilogue` if that is not None. With
    `reads_planes` and `writes_planes` it is no slower where the planes of operands or results [N, C, *spatial] lie in
    another order than row-major, each of them a run. With `apart` no launch reads or writes what another one writes, so
    that those of one kernel can be one.
    """

    def __init__(
        self, function: Lower | Deferred, epilogue: bool = False, *, reads_planes: bool = False,
        writes_planes: bool = False, apart: bool = False,
    ) -> None:  # fmt: skip
        self._function, self.epilogue = function, epilogue
        self.reads_planes, self.writes_planes, self.apart = reads_planes, writes_planes, apart

    @property
    def function(self) -> Lower:
        if isinstance(self._function, Deferred):
            self._function = self._function.now()
        return self._function


class Epilogue(Protocol):
    """Elementwise work fused onto the end of a kernel: what a later op does to each element of its result."""

    key: str  # part of the kernel's key
    args: tuple[Address | int, ...]  # words to append to the launch's argument block

    def apply(self, k: Any, x: Any, flat: Any, first_word: int, mask: Any = None) -> Any:
        """The finished value of `x`: lanes are consecutive elements of its memory from `flat` on.

        `first_word` is the place in the argument block where `args` begin. Only the lanes where `mask` holds exist
        (None: all of them): other operands must not be read elsewhere.
        """


class Site(Protocol):
    """Where a `Kernels` lowering puts its launches."""

    epilogue: Epilogue | None

    def source(self, operand: Arg) -> Address:
        """The first element of an operand (`operand.strides` say where the others are)."""

    def result(self, nr: int = 0) -> Address:
        """The first element of a result, laid out as `call.metas[nr].layout`."""

    def temp(self, nbytes: int) -> Address:
        """Scratch memory, 64-byte aligned, that lives until the last launch of this call."""

    def number(self, slot: int) -> Address:
        """The 8 bytes of a `Number` operand."""

    def status(self) -> Address:
        """The program's 8 bytes for data that a kernel cannot accept, 0 before the run: `Buffer("status", 0)`.

        A kernel that meets an index out of range keeps to the memory it was given and stores 1 here. The program looks
        after the run; if it finds no 0, the calls run again by their references, one of which raises.
        """

    def launch(
        self, kernel: Kernel, args: tuple[Address | int, ...], tasks: int = 1, cost: float = 0.0, note: str = "",
        work: tuple[float, float] = (0.0, 0.0),
    ) -> None:  # fmt: skip
        """Run `kernel` after everything launched so far."""
