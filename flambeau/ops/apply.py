"""How an op is applied: shape rule, execution, history. And how results are written in place or to `out=`."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from flambeau.autograd.mode import set_grad_enabled, state
from flambeau.autograd.node import Edge, Grads, Like, Node, edge_of, next_sequence
from flambeau.autograd.opnode import Form, OpNode, node_of
from flambeau.dtypes import FLOAT, can_cast, float32
from flambeau.engine import execute
from flambeau.engine.execute import Meta
from flambeau.engine.value import Value, empty_bytes, holding
from flambeau.ops import matched
from flambeau.ops.overlap import refuse_overlap
from flambeau.shape import Ints, Size, contiguous_strides
from flambeau.tensors import Tensor, detached, fresh

_TYPE_NAMES = {"float32": "Float", "float64": "Double", "float16": "Half", "bfloat16": "BFloat16", "int64": "Long",
               "int32": "Int", "int16": "Short", "int8": "Char", "uint8": "Byte", "bool": "Bool",
               "complex64": "ComplexFloat", "complex128": "ComplexDouble"}  # fmt: skip
_C_NAMES = {
    "bool": "bool", "uint8": "unsigned char", "int8": "signed char", "int16": "short int", "int32": "int",
    "int64": "long int", "float16": "c10::Half", "bfloat16": "c10::BFloat16", "float32": "float", "float64": "double",
}  # fmt: skip


def type_name(d: Any) -> str:
    """PyTorch's name of a dtype in its messages: `Float`, `Long` ..."""
    return _TYPE_NAMES[d.name]


def c_name(d: Any) -> str:
    """The C++ type that PyTorch's messages name."""
    return _C_NAMES.get(d.name, f"c10::complex<{'float' if d.name == 'complex64' else 'double'}>")


def wants_history(inputs: Sequence[Any]) -> bool:
    if not state.grad:
        return False
    for x in inputs:
        if isinstance(x, Tensor) and x.requires_grad:
            return True
    return False


def apply(op: Any, inputs: Sequence[Any], params: dict[str, Any]) -> Any:
    """Record an op (or run it, where it cannot wait) and its history; one tensor, or a tuple of them."""
    if state.autocast is not None and (op.narrows or op.widens):
        inputs = [_autocast(x, op) for x in inputs]
    needs = None
    if op.vjp is not None and state.grad:
        for x in inputs:
            if isinstance(x, Tensor) and (
                x._requires_grad or x._grad_fn is not None or (x._base is not None and x.requires_grad)
            ):
                needs = _needs(inputs)
                break
    into = execute.recorder()
    if into is not None and not op.eager:
        try:
            entry, values = execute.call(into, op, inputs, params, needs)
        except execute.Unrecordable:
            pass
        else:
            return _recorded(into, entry, values, inputs, needs)
    metas = op.meta(*inputs, **params)
    if isinstance(metas, Meta):
        metas = (metas,)
    if execute.watching:
        _tell_watchers(op, inputs, params, metas)
    outputs = [fresh(s, m.shape, m.dtype, m.strides) for s, m in zip(execute.record(op, inputs, params, metas), metas)]
    if needs is not None:
        _remember(Form(op, inputs, params, outputs), inputs, outputs)
    elif state.inference:
        _mark_inference(outputs)
    return tuple(outputs) if op.multiple else outputs[0]


def _recorded(into: Any, entry: Any, values: Sequence[Value], inputs: Sequence[Any], needs: Any) -> Any:
    """The tensors of a recorded call, and their history."""
    outputs = [fresh(holding(v), m.shape, m.dtype, m.strides) for v, m in zip(values, entry.metas)]
    op = entry.op
    if execute.watching:
        _tell_watchers(op, inputs, entry.params, entry.metas)
    if needs is not None:
        if entry.node is None:
            entry.node = Form(op, inputs, entry.params, outputs)
        _remember(entry.node, inputs, outputs)
    elif state.inference:
        _mark_inference(outputs)
    entry.matches += 1
    if matched.OFTEN <= entry.matches <= matched.OFTEN + 1:
        matched.seen_often(into, entry, inputs, outputs)
    if entry.full:
        into.settle()
    return tuple(outputs) if op.multiple else outputs[0]


def _tell_watchers(op: Any, inputs: Sequence[Any], params: dict[str, Any], metas: Sequence[Meta]) -> None:
    for watcher in execute.watching:
        watcher(op, inputs, params, metas)


def _needs(inputs: Sequence[Any]) -> tuple[bool, ...] | None:
    """Which inputs want gradients; None if none does."""
    needs = tuple([
        isinstance(x, Tensor) and (x._requires_grad or (x._grad_fn if x._base is None else x.grad_fn) is not None)
        for x in inputs
    ])  # fmt: skip
    return needs if True in needs else None


def _remember(form: Form, inputs: Sequence[Any], outputs: list[Tensor]) -> None:
    """Give the results of an op their history."""
    node = node_of(form, inputs, outputs)
    for nr, out in enumerate(outputs):
        if out.dtype.category >= FLOAT:
            out._grad_fn = node
            if nr:
                out._output_nr = nr


def _mark_inference(outputs: list[Tensor]) -> None:
    for out in outputs:
        out._inference = True


def _autocast(x: Any, op: Any) -> Any:
    """An operand as `amp.autocast` wants it."""
    if not isinstance(x, Tensor):
        return x
    if op.narrows:
        return x.to(state.autocast) if x.dtype is float32 else x
    return x.to(float32) if x.dtype is state.autocast else x


def apply_view(op: Any, x: Tensor, params: dict[str, Any]) -> Tensor:
    """A differentiable view: the same storage and version counter, read another way."""
    key: Any = (op, x._shape, x._strides, x._offset, x.dtype, *params.values())
    try:
        known = _views.get(key)
    except TypeError:  # a parameter that is a list: not worth remembering
        key, known = None, None
    if known is None:
        shape, strides, offset = op.layout(x._shape, x._strides, x._offset, **params)
        known = _Look(shape, strides, offset, op, params)
        if key is not None:
            _remember_view(key, known)
    return _view(x, known, known.offset)


class _Look:
    """What a view of one geometry looks like, the call that makes it, and the form of its node."""

    __slots__ = ("shape", "strides", "offset", "call", "form")

    def __init__(self, shape: Ints, strides: Ints, offset: int, op: Any, params: dict[str, Any]) -> None:
        self.shape, self.strides, self.offset, self.call = shape, strides, offset, (op, params)
        self.form: Form | None = None


_views: dict[Any, _Look] = {}
_MOST_VIEWS = 4096


def _remember_view(key: Any, known: _Look) -> None:
    if len(_views) >= _MOST_VIEWS:
        _views.clear()
    _views[key] = known


def _view(x: Tensor, look: _Look, offset: int) -> Tensor:
    """A view of `x` that looks so."""
    out = object.__new__(Tensor)
    out._storage, out._version_counter, out.dtype = x._storage, x._version_counter, x.dtype
    out._shape, out._strides, out._offset = look.shape, look.strides, offset
    out._requires_grad = False
    base = x._base
    if base is None:
        out._base, out._view_ops = x, (look.call,)
        out._seen_history, history = x._history, x._grad_fn
    else:
        out._base, out._view_ops = base, (*x._view_ops, look.call)
        out._seen_history, history = base._history, x.grad_fn
    grad, op = state.grad, look.call[0]
    if op.multi_view or x._view_kind is not None:
        out._view_kind = "multi" if op.multi_view else x._view_kind
    elif not grad:
        out._view_kind = "no_grad"
    if grad and (history is not None or x._requires_grad):
        if look.form is None:
            look.form = Form(op, (x,), look.call[1], (out,))
        out._grad_fn = node_of(look.form, (x,), (out,))
    else:
        out._grad_fn = None
    return out


def one_view(function: Callable) -> Callable:
    """Let a function be passed over for what it has been given before, if its outcome is one view of its first argument
    that follows from how that looks, wherever it lies, and from the other arguments, which are ints."""

    @functools.wraps(function)
    def caller(*args: Any, **kwargs: Any) -> Tensor:
        if kwargs or not args or not isinstance(args[0], Tensor):
            return function(*args, **kwargs)
        x, *ints = args
        for n in ints:
            if n.__class__ is not int:
                return function(*args)
        key = (function, x._shape, x._strides, x.dtype, *ints)
        known = _views.get(key)
        if known is not None:
            return _view(x, known, x._offset + known.offset)
        out = function(*args)
        if len(out._view_ops) == len(x._view_ops) + 1 and out._base is (x if x._base is None else x._base):
            _remember_view(key, _Look(out._shape, out._strides, out._offset - x._offset, *out._view_ops[-1]))
        return out

    return caller


def _regenerate(t: Tensor) -> None:
    """Make a view's grad_fn anew after an in-place op gave its base a new one."""
    base = t._base
    assert base is not None
    t._seen_history = base._history
    if base.requires_grad:
        t._grad_fn, t._output_nr = _replay(base, t._view_ops)._grad_fn, 0


def _replay(base: Tensor, view_ops: tuple) -> Tensor:
    with set_grad_enabled(True):
        for op, params in view_ops:
            base = apply_view(op, base, params)
    return base


Tensor._regenerate = staticmethod(_regenerate)


class CopySlices(Node):
    """History of a base whose view was overwritten: the view's part of the gradient goes to the writer's inputs."""

    def __init__(self, base: Tensor, view: Tensor, written: Edge) -> None:
        before = edge_of(base)
        super().__init__((before, written), (Like(base),))
        self.view_ops = view._view_ops

    def run(self, grads: Grads) -> Grads:
        g = grads[0]
        assert g is not None
        window = _replay(detached(g) if not state.grad else g, self.view_ops)
        part = window.clone() if self.edges[1] is not None else None
        if self.edges[0] is None:
            return None, part
        rest = g.clone()
        _replay(rest, self.view_ops).zero_()
        return rest, part


# -- in place and out= -----------------------------------------------------------------------------------------


def in_place(function: Callable, name: str) -> Callable:
    """The method that overwrites its tensor with what `function` gives for it."""

    @functools.wraps(function)
    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        check_writable(self)
        refuse_overlap(self, args)
        if kwargs:
            refuse_overlap(self, kwargs.values())
        since, mark = next_sequence(), execute.mark()
        return assign(self, function(self, *args, **kwargs), since, mark)

    method.__name__ = method.__qualname__ = name
    return method


def check_writable(t: Tensor) -> None:
    """PyTorch's refusals of in-place ops on leaves and on views that must not be written."""
    if not state.grad:
        return
    if t._requires_grad and t._grad_fn is None and t._base is None:
        raise RuntimeError("a leaf Variable that requires grad is being used in an in-place operation.")
    base = t._base
    if base is None:
        return
    if base._requires_grad and base._grad_fn is None:
        raise RuntimeError("a view of a leaf Variable that requires grad is being used in an in-place operation.")
    if t._view_kind == "multi" and t.requires_grad:
        raise RuntimeError(
            f"Output 0 of {t.grad_fn.name() if t.grad_fn else 'a function'} is a view and is being modified inplace. "
            "This view is the output of a function that returns multiple views. Such functions do not allow the "
            "output views to be modified inplace. You should replace the inplace operation by an out-of-place one."
        )


def assign(t: Tensor, result: Any, since: int, mark: int = 1 << 62) -> Tensor:
    """Overwrite `t` with `result`, in memory and in history; `since` is the newest node before it was computed.

    With `mark`, what `execute.mark` said then, a result that nobody else can hold may be taken over without a copy.
    """
    if result is t:
        return t
    if result._shape != t._shape:
        raise RuntimeError(
            f"output with shape {list(t._shape)} doesn't match the broadcast shape {list(result._shape)}"
        )
    if result.dtype is not t.dtype:
        if not can_cast(result.dtype, t.dtype):
            raise RuntimeError(
                f"result type {type_name(result.dtype)} can't be cast to the desired output type {type_name(t.dtype)}"
            )
        result = result.to(t.dtype)
    if t._inference and not state.inference:
        raise RuntimeError("Inplace update to inference tensor outside InferenceMode is not allowed.")
    history = state.grad and (result.requires_grad or t.requires_grad)
    if history and t._view_kind == "no_grad":
        raise RuntimeError(
            "A view was created in no_grad mode and is being modified inplace with grad mode enabled. Given that "
            "this use case is ambiguous and error-prone, it is forbidden. You can clarify your code by moving both "
            "the view and the inplace either both inside the no_grad block (if you don't want the inplace to be "
            "tracked) or both outside (if you want the inplace to be tracked)."
        )
    if history:
        _protect(result._grad_fn, t._storage, since)
    execute.assign(t, result, mark)
    t._version_counter.bump()
    if history:
        if isinstance(result._grad_fn, OpNode):
            result._grad_fn.adopt(result, t)
        rebase(t, result)
    return t


def _protect(node: Any, storage: Any, since: int) -> None:
    """Let the nodes made since keep copies of what is about to be overwritten in `storage`."""
    stack, seen = [node], set()
    while stack:
        at = stack.pop()
        if at is None or at in seen or at.sequence <= since or not isinstance(at, OpNode):
            continue
        seen.add(at)
        at.protect(storage)
        stack.extend(edge[0] for edge in at.edges if edge is not None)


def rebase(t: Tensor, result: Tensor) -> None:
    """Give `t` the history of `result`, which has just been written into it; a view passes it on to its base."""
    written = edge_of(result)
    base = t._base
    if base is None:
        t._grad_fn, t._output_nr = written if written is not None else (None, 0)
        t._history += 1
        return
    base._grad_fn, base._output_nr = CopySlices(base, t, written), 0
    base._history += 1


def with_out(function: Callable) -> Callable:
    """Add PyTorch's `out=` to a function that returns one tensor or a tuple of them."""

    @functools.wraps(function)
    def wrapped(*args: Any, out: Any = None, **kwargs: Any) -> Any:
        if isinstance(out, Tensor):
            refuse_overlap(out, args)
        result = function(*args, **kwargs)
        if out is None:
            return result
        if isinstance(out, (tuple, list)):
            pairs = list(zip(out, result, strict=True))
            for target, part in pairs:
                write_out(function.__name__, target, part)
            return type(result)(out)
        return write_out(function.__name__, out, result)

    return wrapped


def write_out(name: str, target: Tensor, result: Tensor) -> Tensor:
    """Write a result into the user's `out` tensor, resized if its shape differs."""
    if not isinstance(target, Tensor):
        raise TypeError(f"{name}(): argument 'out' must be Tensor, not {type(target).__name__}")
    if state.grad and (target.requires_grad or result.requires_grad):
        raise RuntimeError(
            f"{name}(): functions with out=... arguments don't support automatic differentiation, but one of the "
            "arguments requires grad."
        )
    if not can_cast(result.dtype, target.dtype):
        raise RuntimeError(
            f"result type {type_name(result.dtype)} can't be cast to the desired output type {type_name(target.dtype)}"
        )
    if target._shape != result._shape:
        if target.numel():
            _warn_resize(target, result)
        resize(target, result._shape)
    execute.assign(target, result)
    target._version_counter.bump()
    return target


def _warn_resize(target: Tensor, result: Tensor) -> None:
    warnings.warn(
        f"An output with one or more elements was resized since it had shape {list(Size(target._shape))}, which does "
        f"not match the required output shape {list(Size(result._shape))}.",
        stacklevel=4,
    )


def resize(t: Tensor, shape: Any) -> None:
    """Change a tensor's shape in place; its storage grows if it must, keeping what was there."""
    shape = tuple(shape)
    t._shape, t._strides = shape, contiguous_strides(shape)
    need = (t._offset + t.numel()) * t.dtype.itemsize
    if need > t._storage.nbytes:
        data = empty_bytes(need)
        data[: t._storage.nbytes] = t._storage.bytes
        t._storage.value = Value(data)
