"""summary: the layers of a network as a table of output shapes, parameters, multiply-adds and memory."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flambeau import ops
from flambeau.autograd import no_grad
from flambeau.dtypes import dtype as DType
from flambeau.dtypes import float32
from flambeau.nn import Module
from flambeau.tensors import Tensor
from flambeau.utils.multiplies import Counter, counting

MEGABYTE = 1e6

__all__ = ["LayerRow", "ModelSummary", "summary"]


@dataclass
class LayerRow:
    """One call of one module.

    `parameters` and `trainable` are those of the module itself, without its children, and 0 where the module was
    counted before; `mult_adds` are its own, without its children's; `output_bytes` is 0 for containers.
    """

    name: str
    type: str
    depth: int
    output_shape: Any = None
    parameters: int = 0
    trainable: int = 0
    mult_adds: int = 0
    output_bytes: int = 0
    reused: bool = False
    is_container: bool = False
    children_mult_adds: int = field(default=0, repr=False)


@dataclass
class ModelSummary:
    """The rows of the table, in the order of the calls, and the totals. Prints as the table."""

    rows: list[LayerRow]
    total_params: int
    trainable_params: int
    param_bytes: int
    input_bytes: int
    depth: int | None = None

    @property
    def total_mult_adds(self) -> int:
        return sum(row.mult_adds for row in self.rows)

    @property
    def output_bytes(self) -> int:
        return sum(row.output_bytes for row in self.rows)

    def __str__(self) -> str:
        shown = [row for row in self.rows if self.depth is None or row.depth <= self.depth]
        head = ("Layer (type)", "Output Shape", "Param #", "Mult-Adds")
        cells = [self._cells(row) for row in shown]
        widths = [max(len(line[i]) for line in [head, *cells]) for i in range(4)]
        widths[0] = max(widths[0], 30)

        def lay_out(line: Sequence[str]) -> str:
            name, shape, *numbers = line
            aligned = [text.rjust(width) for text, width in zip(numbers, widths[2:], strict=True)]
            return "  ".join([name.ljust(widths[0]), shape.ljust(widths[1]), *aligned])

        double, single = ("=" * (sum(widths) + 6), "-" * (sum(widths) + 6))
        body = [lay_out(line) for line in cells]
        return "\n".join([double, lay_out(head), double, *body, double, *self._totals(single), double])

    __repr__ = __str__

    def _cells(self, row: LayerRow) -> tuple[str, str, str, str]:
        indent = "  " * row.depth
        name = f"{indent}{row.name} ({row.type})" if row.name else f"{indent}{row.type}"
        if row.reused:
            parameters = "(reused)"
        elif row.parameters or not row.is_container:
            parameters = f"{row.parameters:,}"
        else:
            parameters = "--"
        mult_adds = f"{row.mult_adds:,}" if row.mult_adds or not row.is_container else "--"
        return name, format_shape(row.output_shape), parameters, mult_adds

    def _totals(self, rule: str) -> list[str]:
        sizes = [
            ("Input size (MB)", self.input_bytes),
            # Training keeps each output, and a gradient of its size.
            ("Forward/backward pass size (MB)", 2 * self.output_bytes),
            ("Params size (MB)", self.param_bytes),
        ]
        total = sum(size for _, size in sizes)
        return [
            f"Total params: {self.total_params:,}",
            f"Trainable params: {self.trainable_params:,}",
            f"Non-trainable params: {self.total_params - self.trainable_params:,}",
            f"Total mult-adds: {self.total_mult_adds:,}",
            rule,
            *(f"{name}: {size / MEGABYTE:.2f}" for name, size in sizes),
            f"Estimated total size (MB): {total / MEGABYTE:.2f}",
        ]


def summary(
    model: Module,
    input_shape: Sequence | None = None,
    *,
    input_data: Any = None,
    input_size: Sequence | None = None,
    batch_size: int = 1,
    dtypes: Sequence[DType] | None = None,
    depth: int | None = None,
    verbose: int | None = None,
    **kwargs: Any,
) -> ModelSummary:
    """Run a network once and tabulate its layers.

    Args:
        model: the network; its weights, mode (train or eval) and buffers stay as they are.
        input_shape: shape of one input without the batch dimension, or a list of shapes for several inputs.
        input_data: the input itself, instead: a tensor, a tuple of arguments or a dict of keyword arguments.
        input_size: the same as `input_shape`, but with the batch dimension in front.
        batch_size: of the input that `input_shape` describes.
        dtypes: one dtype for each input, float32 by default; integer inputs are zeros.
        depth: how many levels of modules to show, all by default. Totals always cover everything.
        verbose: 0 prints nothing, 1 prints the table. By default it is printed except at an interactive prompt,
            which shows the returned object anyway.
        kwargs: further keyword arguments of the network.

    Parameters that several modules share count once. Multiply-adds are those of matrix products and convolutions.

    Raises ValueError unless exactly one of the three inputs is given, and whatever the network raises.

    >>> from flambeau import nn
    >>> from flambeau.utils import summary
    >>> info = summary(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), input_shape=(4,), verbose=0)
    >>> info.total_params, info.total_mult_adds
    (58, 48)
    """
    if sum(given is not None for given in (input_shape, input_data, input_size)) != 1:
        raise ValueError("summary needs exactly one of input_shape, input_data and input_size")
    args, named = _inputs(model, input_shape, input_data, input_size, batch_size, dtypes)
    rows = _trace(model, args, {**named, **kwargs})
    parameters = list(model.parameters())
    info = ModelSummary(
        rows,
        total_params=sum(p.numel() for p in parameters),
        trainable_params=sum(p.numel() for p in parameters if p.requires_grad),
        param_bytes=sum(p.numel() * p.dtype.itemsize for p in parameters),
        input_bytes=_bytes_of([args, named, kwargs]),
        depth=depth,
    )
    interactive = hasattr(sys, "ps1")
    if verbose if verbose is not None else not interactive:
        print(info)
    return info


def _inputs(
    model: Module,
    input_shape: Sequence | None,
    input_data: Any,
    input_size: Sequence | None,
    batch_size: int,
    dtypes: Sequence[DType] | None,
) -> tuple[tuple, dict]:
    if isinstance(input_data, Mapping):
        return (), dict(input_data)
    if input_data is not None:
        return (tuple(input_data) if isinstance(input_data, tuple | list) else (input_data,)), {}
    given = input_shape if input_shape is not None else input_size
    assert given is not None
    several = bool(given) and not isinstance(given[0], int)
    shapes = [tuple(shape) for shape in given] if several else [tuple(given)]
    if input_shape is not None:
        shapes = [(batch_size, *shape) for shape in shapes]
    kinds = list(dtypes) if dtypes is not None else [_dtype_of(model)] * len(shapes)
    if len(kinds) != len(shapes):
        raise ValueError(f"summary got {len(shapes)} inputs but {len(kinds)} dtypes")
    return tuple(ops.zeros(shape, dtype=kind) for shape, kind in zip(shapes, kinds, strict=True)), {}


def _dtype_of(model: Module) -> DType:
    """The floating dtype of the weights, so that a network in double takes a double input."""
    return next((p.dtype for p in model.parameters() if p.dtype.is_floating_point), float32)


class _Tracer:
    """Hooks on every module that note what each call does, in the order and nesting of the calls."""

    def __init__(self, model: Module, counter: Counter) -> None:
        self.rows: list[LayerRow] = []
        self.counter = counter
        self.names = {module: name.rpartition(".")[2] for name, module in model.named_modules()}
        self.open: list[tuple[LayerRow, int]] = []  # the calls under way, and the counter when they began
        self.counted: set[int] = set()
        self.handles = [
            handle
            for module in self.names
            for handle in (
                module.register_forward_pre_hook(self.enter),
                module.register_forward_hook(self.leave),
            )
        ]

    def enter(self, module: Module, args: Any) -> None:
        own = [p for p in module.parameters(recurse=False) if id(p) not in self.counted]
        had = any(True for _ in module.parameters(recurse=False))
        self.counted.update(id(p) for p in own)
        row = LayerRow(
            self.names.get(module, ""),
            type(module).__name__,
            depth=len(self.open),
            parameters=sum(p.numel() for p in own),
            trainable=sum(p.numel() for p in own if p.requires_grad),
            reused=had and not own,
            is_container=any(True for _ in module.children()),
        )
        self.rows.append(row)
        self.open.append((row, self.counter.total))

    def leave(self, module: Module, args: Any, output: Any) -> None:
        row, before = self.open.pop()
        spent = self.counter.total - before
        row.mult_adds = spent - row.children_mult_adds
        row.output_shape = _map_tensors(output, lambda tensor: tuple(tensor.shape))
        if not row.is_container:
            row.output_bytes = _bytes_of(output)
        if self.open:
            self.open[-1][0].children_mult_adds += spent

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()


def _trace(model: Module, args: tuple, kwargs: dict) -> list[LayerRow]:
    """Call the network in evaluation mode without gradients, and put its modes back."""
    modes = [(module, module.training) for module in model.modules()]
    with counting() as counter, no_grad():
        tracer = _Tracer(model, counter)
        try:
            model.eval()(*args, **kwargs)
        finally:
            tracer.remove()
            for module, training in modes:
                module.training = training
    return tracer.rows


def _map_tensors(value: Any, function: Callable[[Tensor], Any]) -> Any:
    """Apply a function to the tensors in nested tuples, lists and dicts; anything else becomes its type's name."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, Mapping):
        return {key: _map_tensors(item, function) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_map_tensors(item, function) for item in value]
    return type(value).__name__


def _bytes_of(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.numel() * value.dtype.itemsize
    if isinstance(value, Mapping):
        return sum(map(_bytes_of, value.values()))
    if isinstance(value, tuple | list):
        return sum(map(_bytes_of, value))
    return 0


def format_shape(shape: Any) -> str:
    """Return an output's shape as text: (1, 10), [(1, 5), (2, 1, 5)], {'out': (1, 10)}."""
    if shape is None:
        return "--"
    if isinstance(shape, dict):
        return "{" + ", ".join(f"{key}: {format_shape(item)}" for key, item in shape.items()) + "}"
    if isinstance(shape, list):
        return "[" + ", ".join(map(format_shape, shape)) + "]"
    return str(shape)
