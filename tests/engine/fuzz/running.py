"""Runs a program and keeps what can be seen of it: values, gradients, versions, errors, text.

Works on any module that is called `torch`, PyTorch itself included.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from tests.engine.fuzz.program import Program


class Seen(NamedTuple):
    """What can be seen of a tensor."""

    shape: tuple[int, ...]
    dtype: str
    strides: tuple[int, ...]
    offset: int
    version: int
    requires_grad: bool
    node: str
    values: np.ndarray


Entry = tuple[tuple[int, int], Any]  # where it happened, (step, statement), and what was seen


@dataclass
class Running:
    """A run of one program: the names it can use, and its log."""

    torch: Any
    step: int = -1
    log: list[Entry] = field(default_factory=list)
    statements: int = 0
    errors: int = 0
    where: threading.local = field(default_factory=threading.local)

    def see(self, x: Any) -> None:
        """Note a value that the program looks at."""
        self.log.append(((self.step, getattr(self.where, "number", 0)), self.noted(x)))

    def noted(self, x: Any) -> Any:
        if isinstance(x, self.torch.Tensor):
            return noted_tensor(self.torch, x)
        if isinstance(x, np.ndarray):
            return x.copy()
        if isinstance(x, (list, tuple)):
            return [self.noted(item) for item in x]
        if isinstance(x, dict):
            return {str(key): self.noted(item) for key, item in x.items()}
        return x if isinstance(x, (bool, int, float, str, type(None))) else type(x).__name__

    def at(self, number: int) -> Guard:
        return Guard(self, number)

    def in_threads(self, *parts: Callable[[], None]) -> None:
        workers = [threading.Thread(target=part) for part in parts]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()


class Guard:
    """Around a statement: notes the error that ends it, and lets the program go on."""

    def __init__(self, run: Running, number: int) -> None:
        self.run, self.number = run, number

    def __enter__(self) -> None:
        self.outer = getattr(self.run.where, "number", 0)
        self.run.where.number = self.number
        self.run.statements += 1

    def __exit__(self, kind: Any, error: Any, _: Any) -> bool:
        self.run.where.number = self.outer
        if kind is None or not issubclass(kind, Exception):
            return False
        self.run.errors += 1
        self.run.log.append(((self.run.step, self.number), f"raises {kind.__name__}"))
        return True


def noted_tensor(torch: Any, x: Any) -> Seen:
    node = type(x.grad_fn).__name__ if x.grad_fn is not None else ""
    plain = x.detach().clone()  # of its own memory: what NumPy sees is executed at once from then on
    wide = plain.float() if x.dtype in (torch.bfloat16, torch.float16) else plain
    strides = tuple(s for s, n in zip(x.stride(), x.shape) if n > 1) if 0 not in x.shape else ()
    return Seen(
        tuple(x.shape), str(x.dtype).partition(".")[2], strides, x.storage_offset(), x._version,
        x.requires_grad, node, wide.numpy().copy(),
    )  # fmt: skip


def run(program: Program, torch: Any, perturbed: bool = False) -> Running:
    """Run a program from its seed to its end, and look at everything that is left."""
    running = Running(torch)
    names = names_for(torch, running)
    setup, body = program.source()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(program.seed)
        exec(compile(setup, "<setup>", "exec"), names)
        if perturbed:
            perturb(torch, names)
        step = compile(body, "<step>", "exec")
        for i in range(program.steps):
            running.step = names["i"] = i
            exec(step, names)
        running.step = program.steps
        for name in sorted(names):
            with running.at(0):  # what is pending may still fail
                running.log.append(((running.step, 0), (name, running.noted(last_state(torch, names[name])))))
        with running.at(0):
            running.see(torch.rand(2))  # the random numbers are where they should be
    running.log.sort(key=lambda entry: entry[0])  # threads note what they see in any order; the sort is stable
    return running


def last_state(torch: Any, x: Any) -> Any:
    """What is left of a variable: a tensor with its gradient, the state of a network or of an optimizer."""
    if isinstance(x, torch.Tensor):
        return [x, x.grad if x.is_leaf else None]
    if isinstance(x, torch.nn.Module):
        return [dict(x.state_dict()), [p.grad for p in x.parameters()]]
    if isinstance(x, torch.optim.Optimizer):
        return [[{k: v for k, v in g.items() if k != "params"} for g in x.param_groups], list(x.state.values())]
    return x if isinstance(x, (np.ndarray, list, bool, int, float, str)) else None


def perturb(torch: Any, names: dict[str, Any]) -> None:
    """Change what the program starts from by a few units in the last place of float32."""
    for value in list(names.values()):
        tensors = [value] if isinstance(value, torch.Tensor) else []
        if isinstance(value, torch.nn.Module):
            tensors = list(value.parameters())
        for t in tensors:
            if t.is_floating_point():
                t.data.mul_(1 + 1e-6)


def names_for(torch: Any, running: Running) -> dict[str, Any]:
    """The names that programs use without making them."""
    nn = torch.nn

    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x * x * x

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            (x,) = ctx.saved_tensors
            return 3 * x * x * g

    class Gate(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, by: float) -> Any:
            ctx.mask = x > by
            return x.clone().masked_fill_(~ctx.mask, 0)

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * ctx.mask, None

    class Residual(nn.Module):
        def __init__(self, width: int, exact: bool) -> None:
            super().__init__()
            self.fc = nn.Linear(width, width)
            self.scale = nn.Parameter(torch.ones(width))
            self.register_buffer("calls", torch.zeros((), dtype=torch.long))
            self.act = nn.ReLU() if exact else nn.Tanh()

        def forward(self, x: Any) -> Any:
            self.calls += 1
            return x + self.act(self.fc(x)) * self.scale

    def rounded(net: Any) -> Any:
        """The same network with small whole numbers for weights."""
        with torch.no_grad():
            for p in net.parameters():
                p.copy_((p * 4).round().clamp(-2, 2))
        return net

    class Other(Exception):
        """An error of the program's own."""

    def fail(now: bool) -> None:
        if now:
            raise Other

    return {
        "torch": torch, "nn": nn, "F": nn.functional, "np": np, "i": 0, "kept": [], "Other": Other, "fail": fail,
        "Cube": Cube, "Gate": Gate, "Residual": Residual, "rounded": rounded,
        "see": running.see, "at": running.at, "in_threads": running.in_threads,
    }  # fmt: skip
