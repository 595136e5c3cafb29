"""OpNode: the node an op's record makes. It keeps what the op's derivative names and calls it in backward.

A derivative (`vjp`) is called as `vjp(g, y, *inputs, **params)` and gives one gradient an input. Its parameter names
say what is kept: `_x` keeps only shape and dtype (`Like`), any other name keeps the tensor. A tuple of functions, one
an input, computes only the gradients that are wanted; a joint function may ask for them with a `needs` parameter.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from flambeau.autograd.mode import state
from flambeau.autograd.node import Grads, Like, Node, SavedTensor, class_named, edge_of, next_sequence, saved_output
from flambeau.dtypes import FLOAT
from flambeau.tensors import Tensor

Vjp = Callable[..., Any] | tuple[Callable[..., Any] | None, ...]


class Keeps:
    """What one derivative function keeps, read off its parameter names."""

    __slots__ = ("output", "inputs", "rest", "wants_needs")

    def __init__(self, function: Callable) -> None:
        code = function.__code__
        count = code.co_argcount + code.co_kwonlyargcount
        positional, names = code.co_varnames[: code.co_argcount], code.co_varnames[:count]
        variadic = code.co_varnames[count] if code.co_flags & inspect.CO_VARARGS else None
        if len(positional) < 2 and not variadic:
            raise TypeError(f"a vjp takes (g, y, *inputs, **params), not {inspect.signature(function)}")
        self.output = not positional[1].startswith("_") if len(positional) > 1 else True
        self.inputs = tuple([not name.startswith("_") for name in positional[2:]])
        self.rest = variadic is not None and not variadic.startswith("_")
        self.wants_needs = "needs" in names

    def input(self, i: int) -> bool:
        return self.inputs[i] if i < len(self.inputs) else self.rest


class Form:
    """What all the nodes of one recorded call have in common: everything but tensors and edges."""

    __slots__ = ("cls", "op", "params", "label", "needs", "likes", "metas", "kept", "kept_outputs", "keeps")

    def __init__(self, op: Any, inputs: Sequence[Any], params: dict[str, Any], outputs: Sequence[Tensor]) -> None:
        self.op, self.params = op, params
        self.label: str = op.backward_name(inputs, params) if callable(op.backward_name) else op.backward_name
        self.cls: Any = class_named(OpNode, self.label)
        self.needs = tuple([
            isinstance(x, Tensor) and x.dtype.category >= FLOAT and x.requires_grad for x in inputs
        ])  # fmt: skip
        if isinstance(op.vjp, tuple):
            self.needs = self.needs[: len(op.vjp)]  # operands behind have no derivative: they are factors
            keeps = [k for k, needed in zip(op.keeps, self.needs) if needed and k is not None]
        else:
            keeps = op.keeps
        self.likes = tuple([Like(x) if isinstance(x, Tensor) else None for x in inputs])
        self.metas = tuple([Like(out) for out in outputs])
        self.kept = tuple([
            i for i, x in enumerate(inputs) if isinstance(x, Tensor) and any(k.input(i) for k in keeps)
        ])  # fmt: skip
        kept = op.kept_outputs if op.kept_outputs is not None else range(len(outputs))
        keep_output = any(k.output for k in keeps)
        self.kept_outputs = tuple([nr for nr in range(len(outputs)) if keep_output and nr in kept])
        self.keeps = bool(self.kept or self.kept_outputs)


class OpNode(Node):
    """History of one application of an op record."""

    form: Form
    inputs: list[Any] | None
    outputs: Sequence[Any]

    op = property(lambda self: self.form.op)
    params = property(lambda self: self.form.params)
    needs = property(lambda self: self.form.needs)
    likes = property(lambda self: self.form.likes)
    metas = property(lambda self: self.form.metas)

    def name(self) -> str:
        return self.form.label

    def protect(self, storage: Any) -> None:
        """Keep copies of saved inputs that live in `storage`, which an in-place op will overwrite."""
        for kept in self.inputs or ():
            if isinstance(kept, SavedTensor):
                kept.protect(storage)

    def adopt(self, result: Tensor, t: Tensor) -> None:
        """Keep `t`, into which `result` has been written, in the place of `result`."""
        for kept in self.outputs:
            if isinstance(kept, SavedTensor):
                kept.move(result, t)

    def run(self, grads: Grads) -> Grads:
        op, params = self.form.op, self.form.params
        inputs, outputs = self._unpacked()
        g = tuple(grads) if op.multiple else grads[0]
        y = tuple(outputs) if op.multiple else outputs[0]
        if isinstance(op.vjp, tuple):
            results = [
                rule(g, y, *inputs, **params) if needed and rule is not None else None
                for rule, needed in zip(op.vjp, self.needs)
            ]
        else:
            extra = {"needs": self.needs} if op.keeps[0].wants_needs else {}
            results = op.vjp(g, y, *inputs, **extra, **params)
        return [
            fit(result, like) if needed and result is not None else None
            for result, like, needed in zip(results, self.likes, self.needs)
        ]

    def _unpacked(self) -> tuple[list[Any], list[Any]]:
        if self.inputs is None:
            from_freed = SavedTensor.__new__(SavedTensor)
            from_freed.tensor, from_freed.packed = None, None
            from_freed.unpack(self)
        inputs = [x.unpack(self) if isinstance(x, SavedTensor) else x for x in self.inputs or ()]
        outputs: list[Any] = []
        for nr, kept in enumerate(self.outputs):
            if isinstance(kept, SavedTensor):
                kept = kept.unpack(self)
                kept._output_nr = nr
            outputs.append(kept)
        return inputs, outputs

    def release(self) -> None:
        if self.form.keeps:  # like PyTorch, a node that kept no tensor may run again
            self.inputs, self.outputs = None, ()

    def __getattr__(self, name: str) -> Any:
        if name == "saved_tensors":
            return tuple(x for x in self._unpacked()[0] if isinstance(x, Tensor))
        if name == "_saved_self":
            return self._unpacked()[0][0]
        if name == "_saved_result":
            return self._unpacked()[1][0]
        raise AttributeError(
            f"'{self.name() if 'form' in self.__dict__ else 'OpNode'}' object has no attribute '{name}'"
        )


def node_of(form: Form, inputs: Sequence[Any], outputs: Sequence[Tensor]) -> OpNode:
    """The node of one call."""
    node = object.__new__(form.cls)
    node.form = form
    if len(inputs) == 1:
        node.edges = (edge_of(inputs[0]) if form.needs[0] else None,)
    else:
        node.edges = tuple([edge_of(x) if needed else None for x, needed in zip(inputs, form.needs)])
    node.sequence = next_sequence()  # after `edge_of`, which may make the node of a view anew: a node is younger
    if state.anomaly:
        node.trace = traceback.format_stack()[:-1]
    if not form.keeps and len(inputs) == 1:  # most views
        node.inputs, node.outputs = list(form.likes), form.metas
        return node
    kept: list[Any] = [like or x for like, x in zip(form.likes, inputs)]
    for i in form.kept:
        kept[i] = SavedTensor(inputs[i])
    node.inputs = kept
    if form.kept_outputs:
        given: list[Any] = list(form.metas)
        node.outputs = given
        for nr in form.kept_outputs:
            given[nr] = saved_output(outputs[nr])
    else:
        node.outputs = form.metas
    return node


def fit(grad: Any, like: Like | None) -> Any:
    """A gradient in its input's shape (broadcast dimensions summed) and dtype."""
    if like is None:
        return None
    if grad._shape != like.shape:
        grad = grad.sum_to_size(like.shape)
    if grad.dtype is not like.dtype:
        if grad.dtype.is_complex and not like.dtype.is_complex:
            grad = grad.real
        grad = grad.to(like.dtype)
    return grad
