"""Hooks of modules: registering them, and a call that runs them."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from flambeau import ops
from flambeau.autograd.node import Grads, Like, Node, RemovableHandle, edge_of
from flambeau.tensors import Tensor, detached

_TABLES = (
    "_backward_pre_hooks", "_backward_hooks", "_forward_hooks", "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called", "_forward_pre_hooks", "_forward_pre_hooks_with_kwargs", "_state_dict_hooks",
    "_state_dict_pre_hooks", "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks",
)  # fmt: skip


class _Global:
    """Hooks of all modules (`nn.modules.module.register_module_forward_hook` and its kin)."""

    def __init__(self) -> None:
        self.forward: OrderedDict = OrderedDict()
        self.forward_pre: OrderedDict = OrderedDict()
        self.backward: OrderedDict = OrderedDict()
        self.backward_pre: OrderedDict = OrderedDict()
        self.buffer_registration: OrderedDict = OrderedDict()
        self.module_registration: OrderedDict = OrderedDict()
        self.parameter_registration: OrderedDict = OrderedDict()
        self.used = False  # whether there has ever been one: as long as not, a module's call need not look

    def register(self, table: OrderedDict, hook: Callable) -> RemovableHandle:
        self.used = True
        handle = RemovableHandle(table)
        table[handle.id] = hook
        return handle


GLOBAL = _Global()


def register_module_forward_hook(
    hook: Callable, *, with_kwargs: bool = False, always_call: bool = False
) -> RemovableHandle:
    """Call `hook(module, input, output)` after every module's forward."""
    return GLOBAL.register(GLOBAL.forward, hook)


def register_module_forward_pre_hook(hook: Callable) -> RemovableHandle:
    """Call `hook(module, input)` before every module's forward."""
    return GLOBAL.register(GLOBAL.forward_pre, hook)


def register_module_full_backward_hook(hook: Callable) -> RemovableHandle:
    """Call `hook(module, grad_input, grad_output)` when every module's gradients are known."""
    return GLOBAL.register(GLOBAL.backward, hook)


register_module_backward_hook = register_module_full_backward_hook


def register_module_full_backward_pre_hook(hook: Callable) -> RemovableHandle:
    """Call `hook(module, grad_output)` before every module's backward."""
    return GLOBAL.register(GLOBAL.backward_pre, hook)


def register_module_buffer_registration_hook(hook: Callable) -> RemovableHandle:
    """Call `hook(module, name, buffer)` whenever a buffer is registered."""
    return GLOBAL.register(GLOBAL.buffer_registration, hook)


def register_module_module_registration_hook(hook: Callable) -> RemovableHandle:
    """Call `hook(module, name, submodule)` whenever a module is registered."""
    return GLOBAL.register(GLOBAL.module_registration, hook)


def register_module_parameter_registration_hook(hook: Callable) -> RemovableHandle:
    """Call `hook(module, name, param)` whenever a parameter is registered."""
    return GLOBAL.register(GLOBAL.parameter_registration, hook)


class HookMethods:
    """Module's methods that register hooks."""

    def _init_hooks(self, put: Callable[[str, Any], Any]) -> None:
        for table in _TABLES:
            put(table, OrderedDict())
        put("_is_full_backward_hook", None)

    def _register(self, table: str, hook: Any, prepend: bool = False, *flags: tuple[str, bool]) -> RemovableHandle:
        hooks = self.__dict__[table]
        extras = [self.__dict__[flag] for flag, is_set in flags]
        handle = RemovableHandle(hooks, extra_dict=extras)
        hooks[handle.id] = hook
        for flag, is_set in flags:
            if is_set:
                self.__dict__[flag][handle.id] = True
        if prepend:
            hooks.move_to_end(handle.id, last=False)
        return handle

    def register_forward_pre_hook(
        self, hook: Callable, *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:  # fmt: skip
        """Call `hook(module, args)` before forward; it may return new args."""
        return self._register("_forward_pre_hooks", hook, prepend, ("_forward_pre_hooks_with_kwargs", with_kwargs))

    def register_forward_hook(
        self, hook: Callable, *, prepend: bool = False, with_kwargs: bool = False, always_call: bool = False
    ) -> RemovableHandle:  # fmt: skip
        """Call `hook(module, args, output)` after forward; it may return a new output."""
        flags = (("_forward_hooks_with_kwargs", with_kwargs), ("_forward_hooks_always_called", always_call))
        return self._register("_forward_hooks", hook, prepend, *flags)

    def _set_backward_kind(self, full: bool) -> None:
        if self._is_full_backward_hook is (not full):
            raise RuntimeError(
                "Cannot use both regular backward hooks and full backward hooks on a single Module. "
                "Please use only one of them."
            )
        self._is_full_backward_hook = full

    def register_full_backward_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """Call `hook(module, grad_input, grad_output)` when they are known; it may return a new grad_input."""
        self._set_backward_kind(full=True)
        return self._register("_backward_hooks", hook, prepend)

    def register_backward_hook(self, hook: Callable) -> RemovableHandle:
        """The deprecated spelling; its hook sees the gradients of the module's inputs and outputs too."""
        self._set_backward_kind(full=False)
        return self._register("_backward_hooks", hook)

    def register_full_backward_pre_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """Call `hook(module, grad_output)` before the module's backward; it may return a new grad_output."""
        return self._register("_backward_pre_hooks", hook, prepend)

    def register_state_dict_post_hook(self, hook: Callable) -> RemovableHandle:
        """Call `hook(module, state_dict, prefix, local_metadata)` after `state_dict` filled it."""
        hook._from_public_api = True
        return self._register("_state_dict_hooks", hook)

    def _register_state_dict_hook(self, hook: Callable) -> RemovableHandle:
        return self._register("_state_dict_hooks", hook)

    def register_state_dict_pre_hook(self, hook: Callable) -> RemovableHandle:
        """Call `hook(module, prefix, keep_vars)` before `state_dict`."""
        return self._register("_state_dict_pre_hooks", hook)

    def register_load_state_dict_pre_hook(self, hook: Callable) -> RemovableHandle:
        """Call `hook(module, state_dict, prefix, ...)` before loading."""
        return self._register("_load_state_dict_pre_hooks", (hook, True))

    def _register_load_state_dict_pre_hook(self, hook: Callable, with_module: bool = False) -> RemovableHandle:
        return self._register("_load_state_dict_pre_hooks", (hook, with_module))

    def register_load_state_dict_post_hook(self, hook: Callable) -> RemovableHandle:
        """Call `hook(module, incompatible_keys)` after loading."""
        return self._register("_load_state_dict_post_hooks", hook)


def call_with_hooks(module: Any, args: tuple, kwargs: dict) -> Any:
    """`module.forward` between its hooks and the global ones."""
    called: set[int] = set()
    result: Any = None
    try:
        args, kwargs = _before(module, args, kwargs)
        watch = _BackwardWatch(module) if _has_backward_hooks(module) else None
        if watch is not None:
            args = watch.enter(args)
        result = module.forward(*args, **kwargs)
        for hook in list(GLOBAL.forward.values()):
            out = hook(module, args, result)
            result = result if out is None else out
        for key, hook in list(module._forward_hooks.items()):
            called.add(key)
            extra = (kwargs,) if key in module._forward_hooks_with_kwargs else ()
            out = hook(module, args, *extra, result)
            result = result if out is None else out
        return watch.leave(result) if watch is not None else result
    except Exception:
        for key, hook in list(module._forward_hooks.items()):
            if key in module._forward_hooks_always_called and key not in called:
                try:
                    extra = (kwargs,) if key in module._forward_hooks_with_kwargs else ()
                    hook(module, args, *extra, result)
                except Exception as error:
                    warnings.warn(
                        f"module forward hook with ``always_call=True`` raised an exception: {error}", stacklevel=2
                    )
        raise


def _before(module: Any, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    hooks = [(hook, False) for hook in GLOBAL.forward_pre.values()]
    hooks += [(hook, key in module._forward_pre_hooks_with_kwargs) for key, hook in module._forward_pre_hooks.items()]
    for hook, with_kwargs in hooks:
        out = hook(module, args, kwargs) if with_kwargs else hook(module, args)
        if out is None:
            continue
        if with_kwargs:
            if not (isinstance(out, tuple) and len(out) == 2):
                raise RuntimeError(
                    f"forward pre-hook must return None or a tuple of (new_args, new_kwargs), but got {out}."
                )
            args, kwargs = out
        else:
            args = out if isinstance(out, tuple) else (out,)
    return args, kwargs


def _has_backward_hooks(module: Any) -> bool:
    return bool(module._backward_hooks or module._backward_pre_hooks or GLOBAL.backward or GLOBAL.backward_pre)


class _Gate(Node):
    """Passes gradients of several tensors through together, showing them to `seen` on the way."""

    def __init__(self, inputs: list[Tensor], seen: Callable[[Grads], Any]) -> None:
        super().__init__([edge_of(t) for t in inputs], [Like(t) for t in inputs])
        self.seen = seen

    def name(self) -> str:
        return "BackwardHookFunctionBackward"

    def run(self, grads: Grads) -> Grads:
        changed = self.seen(tuple(grads))
        return grads if changed is None else changed


def _through(gate_tensors: list[Tensor], seen: Callable) -> list[Tensor]:
    gate = _Gate(gate_tensors, seen)
    out = []
    for nr, t in enumerate(gate_tensors):
        alias = detached(t)
        alias._grad_fn, alias._output_nr = gate, nr
        out.append(alias)
    return out


class _BackwardWatch:
    """Two gates around a module's forward: gradients pass the outer one first, then the inner one."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.grad_output: tuple | None = None
        self.gated = False

    def enter(self, args: tuple) -> tuple:
        where = [i for i, a in enumerate(args) if isinstance(a, Tensor)]
        wanting = [i for i in where if args[i].requires_grad]
        self.input_count = len(where)
        self.inputs = [Like(args[i]) for i in where]
        self.positions = [where.index(i) for i in wanting]
        if not wanting:
            return args
        self.gated = True
        passed = _through([args[i] for i in wanting], self._at_input)
        changed = list(args)
        for i, t in zip(wanting, passed):
            changed[i] = t
        return tuple(changed)

    def leave(self, result: Any) -> Any:
        if not isinstance(result, (Tensor, tuple)):
            warnings.warn(
                "For backward hooks to be called, module output should be a Tensor or a tuple of Tensors but received "
                f"{type(result)}",
                stacklevel=4,
            )
            return result
        listed = list(result) if isinstance(result, tuple) else [result]
        wanting = [i for i, t in enumerate(listed) if isinstance(t, Tensor) and t.requires_grad]
        if not wanting:
            return result
        self.output_count = sum(isinstance(t, Tensor) for t in listed)
        self.output_positions = [sum(isinstance(t, Tensor) for t in listed[:i]) for i in wanting]
        for i, t in zip(wanting, _through([listed[i] for i in wanting], self._at_output)):
            listed[i] = t
        if not isinstance(result, tuple):
            return listed[0]
        return tuple(listed) if type(result) is tuple else type(result)(*listed)

    def _at_output(self, grads: Grads) -> Any:
        full: list[Any] = [None] * self.output_count
        for at, g in zip(self.output_positions, grads):
            full[at] = g
        grad_output = tuple(full)
        for hook in [*GLOBAL.backward_pre.values(), *self.module._backward_pre_hooks.values()]:
            out = hook(self.module, grad_output)
            if out is not None:
                grad_output = out if isinstance(out, tuple) else (out,)
        self.grad_output = grad_output
        if not self.gated:
            self._call((None,) * self.input_count)
        return tuple(grad_output[at] for at in self.output_positions)

    def _at_input(self, grads: Grads) -> Any:
        if self.grad_output is None:
            return None  # the gradient came in some way past the module's output
        # Inputs that nothing flows back to show zeros, as PyTorch's do.
        full = [ops.zeros(like.shape, dtype=like.dtype) for like in self.inputs]
        for at, g in zip(self.positions, grads):
            full[at] = full[at] if g is None else g
        grad_input = self._call(tuple(full))
        return tuple(grad_input[at] for at in self.positions)

    def _call(self, grad_input: tuple) -> tuple:
        for hook in [*GLOBAL.backward.values(), *self.module._backward_hooks.values()]:
            out = hook(self.module, grad_input, self.grad_output)
            if out is None:
                continue
            out = out if isinstance(out, tuple) else (out,)
            if len(out) != len(grad_input):
                raise RuntimeError(
                    f"Backward hook returned an invalid number of grad_input, got {len(out)}, "
                    f"but expected {len(grad_input)}"
                )
            grad_input = out
        return grad_input
