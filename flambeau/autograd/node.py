"""Nodes of the backward graph, and the tensors they keep.

A node's `edges` lead towards the leaves: `(node, output_nr)` for each input, or None where none is wanted.
`Node.run(grads)` gives the gradients of the inputs. The walk over nodes is in `walk.py`; formulas are in `ops`.
"""

from __future__ import annotations

import functools
import itertools
import traceback
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from flambeau import tensors
from flambeau.autograd.mode import state
from flambeau.dtypes import FLOAT, dtype
from flambeau.engine.value import holding
from flambeau.shape import Ints
from flambeau.tensors import Tensor

next_sequence = itertools.count().__next__  # the next place in the order in which nodes are made

Edge = tuple["Node", int] | None
Grads = Sequence[Tensor | None]

FREED = (
    "Trying to backward through the graph a second time (or directly access saved tensors after they have already "
    "been freed). Saved intermediate values of the graph are freed when you call .backward() or autograd.grad(). "
    "Specify retain_graph=True if you need to backward through the graph a second time or if you need to access "
    "saved tensors after calling backward."
)


class Like:
    """Shape and type of a tensor whose data is not kept."""

    __slots__ = ("shape", "dtype", "strides")

    def __init__(self, t: Tensor) -> None:
        self.shape: Ints = t._shape
        self.dtype: dtype = t.dtype
        self.strides = t._strides

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def numel(self) -> int:
        n = 1
        for size in self.shape:
            n *= size
        return n

    def size(self, dim: int) -> int:
        return self.shape[dim]


class Node:
    """One step of the backward graph; `grad_fn` of the tensors it computed."""

    hooks: OrderedDict[int, Any] | None = None  # id -> (prehook?, function)
    tensor_hooks: dict[int, OrderedDict] | None = None  # output_nr -> id -> hook
    retained: dict[int, weakref.ref] | None = None
    watched = False  # whether there has ever been one of these: as long as not, nobody need look
    trace: list[str] | None = None  # where the node was made, in anomaly mode

    def __init__(self, edges: Sequence[Edge], metas: Sequence[Like]) -> None:
        self.edges = tuple(edges)
        self.metas = tuple(metas)  # of the outputs: what the incoming gradients look like
        self.sequence = next_sequence()
        if state.anomaly:
            self.trace = traceback.format_stack()[:-1]

    @functools.cached_property
    def metadata(self) -> dict:
        """Anything that a program wants to keep with the node."""
        return {}

    def hooked(self) -> bool:
        """Whether somebody watches the gradients that pass here."""
        return bool(self.hooks or self.tensor_hooks or self.retained)

    def name(self) -> str:
        """PyTorch's name of the node, such as `MulBackward0`."""
        return type(self).__name__

    def run(self, grads: Grads) -> Grads:
        """Gradients of the inputs from those of the outputs (None: zero, or not wanted)."""
        raise NotImplementedError

    def release(self) -> None:
        """Drop what was kept for `run`."""

    @property
    def next_functions(self) -> tuple:
        return tuple(edge if edge is not None else (None, 0) for edge in self.edges)

    def __call__(self, *grads: Tensor | None) -> Any:
        results = tuple(self.run(grads))
        return results[0] if len(results) == 1 else results

    def register_hook(self, hook: Any) -> RemovableHandle:
        """Call `hook(grad_inputs, grad_outputs)` after the node has run; it may return new grad_inputs."""
        return self._add_hook(False, hook)

    def register_prehook(self, hook: Any) -> RemovableHandle:
        """Call `hook(grad_outputs)` before the node runs; it may return new grad_outputs."""
        return self._add_hook(True, hook)

    def _add_hook(self, before: bool, hook: Any) -> RemovableHandle:
        self.watched = True
        if self.hooks is None:
            self.hooks = OrderedDict()
        handle = RemovableHandle(self.hooks)
        self.hooks[handle.id] = (before, hook)
        return handle

    def __repr__(self) -> str:
        return f"<{self.name().rpartition('::')[2]} object at {hex(id(self))}>"


@functools.cache
def class_named(base: type[Node], name: str) -> type[Node]:
    """`base` under PyTorch's name of a node, which programs that draw graphs read off its type."""
    return type(name, (base,), {})


class RemovableHandle:
    """Takes a hook out again: `handle.remove()`, or leaving `with handle:`."""

    next_id = 0

    def __init__(self, hooks_dict: Any, *, extra_dict: Any = None) -> None:
        self.id = RemovableHandle.next_id
        RemovableHandle.next_id += 1
        extras = extra_dict if isinstance(extra_dict, (list, tuple)) else [] if extra_dict is None else [extra_dict]
        self._refer(hooks_dict, extras)

    def _refer(self, hooks_dict: Any, extras: Any) -> None:
        """Know the tables without keeping them alive."""
        self.hooks_dict_ref, *rest = (
            weakref.ref(d) if isinstance(d, OrderedDict) else (lambda d=d: d) for d in (hooks_dict, *extras)
        )
        self.extra_dict_ref = tuple(rest)

    def __getstate__(self) -> tuple:
        return self.hooks_dict_ref(), self.id, tuple(ref() for ref in self.extra_dict_ref)

    def __setstate__(self, state: tuple) -> None:
        hooks_dict, self.id, extras = state
        self._refer(hooks_dict, extras)
        RemovableHandle.next_id = max(RemovableHandle.next_id, self.id + 1)

    def remove(self) -> None:
        for ref in (self.hooks_dict_ref, *self.extra_dict_ref):
            hooks = ref()
            if hooks is not None:
                hooks.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()


class AccumulateGrad(Node):
    """The end of the walk at a leaf: adds into `variable.grad`."""

    def __init__(self, variable: Tensor) -> None:
        super().__init__((), (Like(variable),))
        self.variable = variable
        self.sequence = 1 << 62  # leaves first: gradients are there as early as possible

    def name(self) -> str:
        return "torch::autograd::AccumulateGrad"

    def run(self, grads: Grads) -> Grads:
        raise AssertionError("the walk accumulates leaf gradients itself")


def edge_of(t: Tensor) -> Edge:
    """Where the gradient of `t` flows to."""
    grad_fn = t._grad_fn if t._base is None else t.grad_fn
    if grad_fn is not None:
        return grad_fn, t._output_nr
    return (accumulator(t), 0) if t._requires_grad else None


def accumulator(t: Tensor) -> AccumulateGrad:
    ref = t._accumulator
    node = ref() if ref is not None else None
    if node is None:
        node = AccumulateGrad(t)
        t._accumulator = weakref.ref(node)
    return node


class SavedTensor:
    """An input kept for backward, and the version at which it must still be then; see `saved_output` for outputs."""

    is_output = False
    packed: Any = None  # what a saved-tensor hook made of it, and how to get it back
    edge: Edge = None

    def __init__(self, t: Tensor, is_output: bool = False) -> None:
        self.version = t._version_counter.count
        if state.saved_hooks:
            pack, unpack = state.saved_hooks[-1]
            self.packed = (pack(tensors.detached(t)), unpack)
            self.is_output = is_output
            self.edge = None if is_output else edge_of(t)
            self.tensor: Tensor | None = None
        else:
            self.tensor = t

    def held(self) -> tuple[Any, int]:
        """The storage that is kept, and the version that it has by now."""
        t = self.tensor
        return (None, -1) if t is None else (t._storage, t._version_counter.count)

    def unpacked(self) -> Tensor | None:
        """The tensor, without its history if it is an output."""
        return self.tensor

    def protect(self, storage: Any) -> None:
        """Keep what an in-place op is about to overwrite: its value, which the op will leave alone."""
        t = self.tensor
        if t is not None and t._storage is storage:
            if storage.external:
                copy = tensors.from_array(t._array().copy())
            else:
                storage.value.shared = True
                copy = tensors.make(holding(storage.value), t._shape, t._strides, t._offset, t.dtype)
            edge = edge_of(t)
            if edge is not None:
                copy._grad_fn, copy._output_nr = edge
            self.tensor, self.version = copy, 0

    def move(self, source: Tensor, target: Tensor) -> None:
        """Keep `target` instead of `source`, whose elements have been written into it, if that is kept."""

    def unpack(self, node: Node) -> Tensor:
        if self.packed is not None:
            held, unpack = self.packed
            t = tensors.detached(unpack(held))
            edge = (node, 0) if self.is_output else self.edge
            if edge is not None:
                t._grad_fn, t._output_nr = edge
            return t
        t = self.unpacked()
        if t is None:
            raise RuntimeError(FREED)
        if t._version_counter.count != self.version:
            raise RuntimeError(self._overwritten(t, node))
        if self.is_output and t.dtype.category >= FLOAT:
            t._grad_fn = node
        return t

    def _overwritten(self, t: Tensor, node: Node) -> str:
        kind = "torch." + {"float32": "FloatTensor", "float64": "DoubleTensor", "float16": "HalfTensor",
                           "int64": "LongTensor"}.get(t.dtype.name, "Tensor")  # fmt: skip
        source = node if self.is_output else t._grad_fn
        which = f", which is output {t._output_nr} of {source.name()}," if source is not None else ""
        where = t._version_counter.where
        line = f" The last write was at {where[0]}:{where[1]}." if where else ""
        return (
            "one of the variables needed for gradient computation has been modified by an inplace operation: "
            f"[{kind} {list(t._shape)}]{which} is at version {t._version_counter.count}; expected version "
            f"{self.version} instead.{line} Hint: enable anomaly detection to find the operation that failed to "
            "compute its gradient, with torch.autograd.set_detect_anomaly(True)."
        )


class SavedOutput(SavedTensor):
    """An output of the node itself. It is kept without its grad_fn (that would be a cycle) and gets it back when read;
    until then it is no tensor, only what one is made of."""

    is_output = True
    tensor = None
    of: tuple  # the arguments of `tensors.make`

    def __init__(self, t: Tensor) -> None:
        self.version = t._version_counter.count
        self.of = t._storage, t._shape, t._strides, t._offset, t.dtype, t._version_counter

    def held(self) -> tuple[Any, int]:
        return self.of[0], self.of[5].count

    def unpacked(self) -> Tensor:
        return tensors.make(*self.of)

    def protect(self, storage: Any) -> None:
        """Whoever overwrites an output is told so."""

    def move(self, source: Tensor, target: Tensor) -> None:
        if self.of[0] is source._storage:
            SavedOutput.__init__(self, target)


def saved_output(t: Tensor) -> SavedTensor:
    """An output of a node, kept for backward."""
    return SavedTensor(t, True) if state.saved_hooks else SavedOutput(t)


def describe(node: Node) -> str:
    """A node's name with the user's forward line, when anomaly mode recorded it."""
    return node.name() + (f"\n{''.join(node.trace)}" if node.trace else "")
