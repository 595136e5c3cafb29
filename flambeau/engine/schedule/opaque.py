"""Steps that are no loop nests of the scheduler: launches of an op's own lowering, and calls on the host."""

from __future__ import annotations

from typing import Any

from flambeau.engine.graph import Arg, Call
from flambeau.engine.plan import Address, Buffer, HostCall, Kernel, Launch
from flambeau.engine.schedule.memory import Root


class Opaque:
    """The Site on which a `Kernels` lowering puts its launches. Addresses are of roots until buffers are known."""

    def __init__(self, call: Call | None) -> None:
        self.call = call
        self.epilogue: Any = None
        self.operands: dict[int, Root] = {}
        self.results: dict[int, Root] = {}
        self.temps: list[Root] = []
        self.more: list[Root] = []  # what the epilogue reads
        self.first_result = 0  # bytes from the beginning of the first result's memory to its elements
        self.launches: list[Launch] = []
        self.note = call.op.name if call is not None else "write"
        self.calls: tuple[Call, ...] = (call,) if call is not None else ()

    def source(self, operand: Arg) -> Address:
        root: Any = self.operands[operand.value]
        return Address(root, operand.offset * operand.dtype.itemsize)

    def result(self, nr: int = 0) -> Address:
        assert self.call is not None
        root: Any = self.results[self.call.outputs[nr]]
        return Address(root, self.first_result if nr == 0 else 0)

    def temp(self, nbytes: int) -> Address:
        root: Any = Root(nbytes)
        self.temps.append(root)
        return Address(root)

    def number(self, slot: int) -> Address:
        return Address(Buffer("numbers", 0), 8 * slot)

    def status(self) -> Address:
        return Address(Buffer("status", 0))

    def launch(
        self, kernel: Kernel, args: tuple[Address | int, ...], tasks: int = 1, cost: float = 0.0, note: str = "",
        work: tuple[float, float] = (0.0, 0.0),
    ) -> None:  # fmt: skip
        self.launches.append(Launch(kernel, args, tasks, cost, note or self.note, work, self.calls))

    @property
    def apart(self) -> bool:
        """Whether its launches do not depend on one another."""
        return self.call is not None and self.call.op.lower.apart

    def final(self) -> list[Launch | HostCall]:
        """The launches, once every root has its buffer."""
        for launch in self.launches:
            launch.args = tuple([
                Address(a.buffer.buffer, a.offset) if isinstance(a, Address) and isinstance(a.buffer, Root) else a  # type: ignore[arg-type]
                for a in launch.args
            ])  # fmt: skip
        return [*self.launches]


class Host:
    """A call that runs by its reference."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.operands: dict[int, Root] = {}
        self.results: dict[int, Root] = {}
        self.temps: list[Root] = []
        self.more: list[Root] = []

    def final(self) -> list[Launch | HostCall]:
        roots = [*self.operands.items(), *self.results.items()]
        places: dict[int, Any] = {number: root.buffer for number, root in roots if root.buffer is not None}
        return [HostCall(self.call, places)]
