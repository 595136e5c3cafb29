"""Module: parameters, buffers and submodules by name; how it is called, moved and printed.

State dicts are in `state.py`, hooks' bookkeeping in `hooks.py`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from flambeau.autograd import no_grad
from flambeau.devices import require_cpu
from flambeau.dtypes import dtype as DType
from flambeau.errors import warn_once
from flambeau.methods.convert import dtype_of
from flambeau.nn.modules.hooks import (
    GLOBAL,
    HookMethods,
    call_with_hooks,
    register_module_backward_hook,
    register_module_buffer_registration_hook,
    register_module_forward_hook,
    register_module_forward_pre_hook,
    register_module_full_backward_hook,
    register_module_full_backward_pre_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)
from flambeau.nn.modules.state import StateMethods, _IncompatibleKeys
from flambeau.nn.parameter import Buffer, Parameter
from flambeau.tensors import Tensor

Self = TypeVar("Self", bound="Module")


def _add_indent(text: str, spaces: int) -> str:
    first, *rest = text.split("\n")
    return "\n".join([first, *(" " * spaces + line for line in rest)]) if rest else text


def _unimplemented(self: Module, *input: Any) -> None:
    raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')


_PLAIN = (int, float, str, tuple, list, dict)  # what is no parameter, buffer or module


class _Shortcut:
    """Finds `module.weight` in a table of the module sooner than `Module.__getattr__` would, which stays the rule.

    Python calls `__getattr__` only after it has looked everywhere and made an AttributeError. The class of a module
    gets a shortcut for every name that its instances register; instances that lack the name do not notice.
    """

    __slots__ = ("table", "name")

    def __init__(self, table: str, name: str) -> None:
        self.table, self.name = table, name

    def __get__(self, module: Any, cls: Any = None) -> Any:
        try:
            return module.__dict__[self.table][self.name]
        except (KeyError, AttributeError):  # now in another table, or asked of the class
            raise AttributeError(self.name) from None

    @staticmethod
    def make(cls: type, table: str, name: str) -> None:
        if name.isidentifier() and not any(name in vars(base) for base in cls.__mro__):
            setattr(cls, name, _Shortcut(table, name))


class Module(HookMethods, StateMethods):
    """Base class of neural network layers.

    Assign Parameters, Modules and (through `register_buffer`) buffers to attributes in `__init__`, after
    `super().__init__()`, and write `forward`.
    """

    dump_patches: bool = False
    _version: int = 1
    training: bool
    call_super_init: bool = False
    forward: Callable[..., Any] = _unimplemented
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module | None]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if not self.call_super_init and kwargs:
            raise TypeError(
                f"{type(self).__name__}.__init__() got an unexpected keyword argument '{next(iter(kwargs))}'"
            )
        if not self.call_super_init and args:
            raise TypeError(
                f"{type(self).__name__}.__init__() takes 1 positional argument but {len(args) + 1} were given"
            )
        put = super().__setattr__
        put("training", True)
        put("_parameters", {})
        put("_buffers", {})
        put("_non_persistent_buffers_set", set())
        put("_modules", {})
        self._init_hooks(put)
        if self.call_super_init:
            super().__init__(*args, **kwargs)

    # -- registering -------------------------------------------------------------------------------------------

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is state but no parameter (such as a running mean)."""
        if "_buffers" not in self.__dict__:
            raise AttributeError("cannot assign buffer before Module.__init__() call")
        self._check_name("buffer", name, self._buffers)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"cannot assign '{_type_string(tensor)}' object to buffer '{name}' (torch Tensor or None required)"
            )
        for hook in GLOBAL.buffer_registration.values():
            tensor = tensor if (out := hook(self, name, tensor)) is None else out
        self._buffers[name] = tensor
        _Shortcut.make(type(self), "_buffers", name)
        (self._non_persistent_buffers_set.discard if persistent else self._non_persistent_buffers_set.add)(name)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter under a name."""
        if "_parameters" not in self.__dict__:
            raise AttributeError("cannot assign parameter before Module.__init__() call")
        self._check_name("parameter", name, self._parameters)
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(
                f"cannot assign '{_type_string(param)}' object to parameter '{name}' (torch.nn.Parameter or None "
                "required)"
            )
        if param is not None and param.grad_fn is not None:
            raise ValueError(
                f"Cannot assign non-leaf Tensor to parameter '{name}'. Model parameters must be created explicitly. To "
                f"express '{name}' as a function of another Tensor, compute the value in the forward() method."
            )
        for hook in GLOBAL.parameter_registration.values():
            param = param if (out := hook(self, name, param)) is None else out
        self._parameters[name] = param
        _Shortcut.make(type(self), "_parameters", name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a submodule under a name."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"{_type_string(module)} is not a Module subclass")
        self._check_name("module", name, self._modules)
        for hook in GLOBAL.module_registration.values():
            module = module if (out := hook(self, name, module)) is None else out
        self._modules[name] = module
        _Shortcut.make(type(self), "_modules", name)

    def register_module(self, name: str, module: Module | None) -> None:
        """Alias of `add_module`."""
        self.add_module(name, module)

    def _check_name(self, kind: str, name: Any, table: dict) -> None:
        if not isinstance(name, str):
            raise TypeError(f"{kind} name should be a string. Got {_type_string(name)}")
        if hasattr(self, name) and name not in table:
            raise KeyError(f"attribute '{name}' already exists")
        if "." in name:
            found = f", got: {name}" if kind == "module" else ""
            raise KeyError(f'{kind} name can\'t contain "."{found}')
        if name == "":
            raise KeyError(f'{kind} name can\'t be empty string ""')

    def __setattr__(self, name: str, value: Any) -> None:
        tables = self.__dict__
        params = tables.get("_parameters")
        if isinstance(value, _PLAIN) and (params is None or not self._registered(name)):
            super().__setattr__(name, value)
        elif isinstance(value, Parameter):
            if params is None:
                raise AttributeError("cannot assign parameters before Module.__init__() call")
            self._forget(name, tables, tables["_buffers"], tables["_modules"], tables["_non_persistent_buffers_set"])
            self.register_parameter(name, value)
        elif params is not None and name in params:
            if value is not None:
                raise TypeError(
                    f"cannot assign '{_type_string(value)}' as parameter '{name}' (torch.nn.Parameter or None expected)"
                )
            self.register_parameter(name, value)
        elif isinstance(value, Module):
            if "_modules" not in tables:
                raise AttributeError("cannot assign module before Module.__init__() call")
            self._forget(name, tables, params, tables["_buffers"], tables["_non_persistent_buffers_set"])
            for hook in GLOBAL.module_registration.values():
                value = value if (out := hook(self, name, value)) is None else out
            tables["_modules"][name] = value
            _Shortcut.make(type(self), "_modules", name)
        else:
            self._set_other(name, value, tables)

    def _registered(self, name: str) -> bool:
        tables = self.__dict__
        return name in tables["_parameters"] or name in tables["_buffers"] or name in tables["_modules"]

    def _set_other(self, name: str, value: Any, tables: dict) -> None:
        modules, buffers = tables.get("_modules"), tables.get("_buffers")
        if modules is not None and name in modules:
            if value is not None:
                raise TypeError(
                    f"cannot assign '{_type_string(value)}' as child module '{name}' (torch.nn.Module or None expected)"
                )
            modules[name] = value
        elif buffers is not None and (name in buffers or isinstance(value, Buffer)):
            if value is not None and not isinstance(value, Tensor):
                raise TypeError(
                    f"cannot assign '{_type_string(value)}' as buffer '{name}' (torch.nn.Buffer, torch.Tensor or "
                    "None expected)"
                )
            if isinstance(value, Buffer) and name not in buffers:
                self.register_buffer(name, value, value.persistent)
            else:
                buffers[name] = value
        else:
            super().__setattr__(name, value)

    @staticmethod
    def _forget(name: str, *tables: Any) -> None:
        for table in tables:
            if name in table:
                if isinstance(table, dict):
                    del table[name]
                else:
                    table.discard(name)

    def __getattr__(self, name: str) -> Any:
        own = self.__dict__
        if "_modules" in own:  # else `Module.__init__` has not run
            if name in (table := own["_parameters"]) or name in (table := own["_modules"]):
                return table[name]
            if name in (table := own["_buffers"]):
                return table[name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __delattr__(self, name: str) -> None:
        for table in (self._parameters, self._buffers, self._modules):
            if name in table:
                del table[name]
                self._non_persistent_buffers_set.discard(name)
                return
        super().__delattr__(name)

    def __dir__(self) -> list[str]:
        others = {n for base in type(self).__mro__ for n, v in vars(base).items() if isinstance(v, _Shortcut)}
        known = {*super().__dir__()} - others | {*self._parameters, *self._buffers, *self._modules}
        return sorted(name for name in known if not name[:1].isdigit())

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._init_hooks(self.__dict__.setdefault)
        self.__dict__.setdefault("_non_persistent_buffers_set", set())

    # -- calling -----------------------------------------------------------------------------------------------

    def _call_impl(self, *args: Any, **kwargs: Any) -> Any:
        own = self.__dict__
        if (
            own["_forward_hooks"] or own["_forward_pre_hooks"] or own["_backward_hooks"] or own["_backward_pre_hooks"]
            or GLOBAL.used
        ):  # fmt: skip
            return call_with_hooks(self, args, kwargs)
        return self.forward(*args, **kwargs)

    __call__ = _wrapped_call_impl = _call_impl

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Accepted: execution needs no asking."""
        warn_once("Module.compile() changes nothing here: modules run as they are")

    # -- walking -----------------------------------------------------------------------------------------------

    def named_modules(
        self, memo: set | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:  # fmt: skip
        """This module and all below it, each with its dotted name."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                yield from module.named_modules(memo, f"{prefix}{'.' if prefix else ''}{name}", remove_duplicate)

    def _all(self) -> Iterable[Module]:
        """This module and all below it, each once, in the order of `named_modules`."""
        found: dict[Module, None] = {}
        waiting: list[Module] = [self]
        while waiting:
            module = waiting.pop()
            if module not in found:
                found[module] = None
                waiting += [child for child in reversed(module._modules.values()) if child is not None]
        return found

    def modules(self, remove_duplicate: bool = True) -> Iterator[Module]:
        """This module and all below it."""
        for _, module in self.named_modules(remove_duplicate=remove_duplicate):
            yield module

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The direct submodules with their names."""
        seen: set[Module] = set()
        for name, module in self._modules.items():
            if module is not None and module not in seen:
                seen.add(module)
                yield name, module

    def children(self) -> Iterator[Module]:
        """The direct submodules."""
        for _, module in self.named_children():
            yield module

    def _named_members(
        self, members_of: Callable[[Module], Any], prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Any]]:  # fmt: skip
        seen = set()
        walk = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate) if recurse else [(prefix, self)]
        for at, module in walk:
            for name, value in members_of(module).items():
                if value is None or value in seen:
                    continue
                if remove_duplicate:
                    seen.add(value)
                yield f"{at}{'.' if at else ''}{name}", value

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:  # fmt: skip
        """All parameters with their dotted names."""
        return self._named_members(lambda m: m._parameters, prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """All parameters."""
        cls = type(self)
        if cls.named_parameters is not Module.named_parameters or cls.named_modules is not Module.named_modules:
            yield from [param for _, param in self.named_parameters(recurse=recurse)]
            return
        seen = set()
        for module in self._all() if recurse else (self,):
            for param in module._parameters.values():
                if param is not None and param not in seen:
                    seen.add(param)
                    yield param

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:  # fmt: skip
        """All buffers with their dotted names."""
        return self._named_members(lambda m: m._buffers, prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """All buffers."""
        for _, buffer in self.named_buffers(recurse=recurse):
            yield buffer

    def get_submodule(self, target: str) -> Module:
        """The submodule of a dotted name; AttributeError if there is none."""
        module: Module = self
        for part in target.split(".") if target else ():
            if not hasattr(module, part):
                raise AttributeError(f"{type(module).__name__} has no attribute `{part}`")
            module = getattr(module, part)
            if not isinstance(module, Module):
                raise AttributeError(f"`{part}` is not an nn.Module")
        return module

    def set_submodule(self, target: str, module: Module, strict: bool = False) -> None:
        """Replace the submodule of a dotted name."""
        if target == "":
            raise ValueError("Cannot set the submodule without a target name!")
        path, _, name = target.rpartition(".")
        parent = self.get_submodule(path)
        if strict and not hasattr(parent, name):
            raise AttributeError(f"{type(parent).__name__} has no attribute `{name}`")
        setattr(parent, name, module)

    def get_parameter(self, target: str) -> Parameter:
        """The parameter of a dotted name."""
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        if not hasattr(module, name):
            raise AttributeError(f"{type(module).__name__} has no attribute `{name}`")
        param = getattr(module, name)
        if not isinstance(param, Parameter):
            raise AttributeError(f"`{name}` is not an nn.Parameter")
        return param

    def get_buffer(self, target: str) -> Tensor:
        """The buffer of a dotted name."""
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        if not hasattr(module, name):
            raise AttributeError(f"{type(module).__name__} has no attribute `{name}`")
        if name not in module._buffers:
            raise AttributeError(f"`{name}` is not a buffer")
        return getattr(module, name)

    # -- changing everything -----------------------------------------------------------------------------------

    def apply(self: Self, fn: Callable[[Module], Any]) -> Self:
        """Call `fn` on every submodule, then on this one."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def _apply(self: Self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Replace the data of every parameter, gradient and buffer by `fn` of it."""
        if recurse:
            for module in self.children():
                module._apply(fn)
        for param in self._parameters.values():
            if param is None:
                continue
            with no_grad():
                changed = fn(param)
                if changed is not param:
                    grad, param._grad = param._grad, None
                    param.data = changed
                    param._grad = grad
                if param.grad is not None:
                    grad = fn(param.grad)
                    param._grad = grad.requires_grad_(param.grad.requires_grad)
        for name, buffer in self._buffers.items():
            if buffer is not None:
                self._buffers[name] = fn(buffer)
        return self

    def to(self: Self, *args: Any, **kwargs: Any) -> Self:
        """Move or cast parameters and buffers in place: `to(dtype)`, `to(device)`, `to(device, dtype)`, `to(tensor)`.

        Only floating-point and complex ones are cast.
        """
        target: DType | None = kwargs.pop("dtype", None)
        device = kwargs.pop("device", None)
        kwargs.pop("non_blocking", None)
        form = kwargs.pop("memory_format", None)
        if kwargs:
            raise TypeError(f"to() received an invalid keyword argument '{next(iter(kwargs))}'")
        for arg in args:
            if isinstance(arg, DType):
                target = arg
            elif isinstance(arg, Tensor):
                target = arg.dtype
            elif arg is not None and not isinstance(arg, bool):
                device = arg
        require_cpu(device)
        if target is not None and not (target.is_floating_point or target.is_complex):
            raise TypeError(
                f"nn.Module.to only accepts floating point or complex dtypes, but got desired dtype={target}"
            )

        def convert(t: Tensor) -> Tensor:
            floating = t.dtype.is_floating_point or t.dtype.is_complex
            moved = t.to(target) if target is not None and floating else t
            return moved.contiguous(form) if form is not None and moved.ndim in (4, 5) else moved

        return self._apply(convert)

    def _cast(self: Self, target: DType) -> Self:
        return self._apply(lambda t: t.to(target) if t.dtype.is_floating_point else t)

    def float(self: Self) -> Self:
        """Floating-point parameters and buffers to float32."""
        return self._cast(dtype_of("torch.FloatTensor"))

    def double(self: Self) -> Self:
        """Floating-point parameters and buffers to float64."""
        return self._cast(dtype_of("torch.DoubleTensor"))

    def half(self: Self) -> Self:
        """Floating-point parameters and buffers to float16."""
        return self._cast(dtype_of("torch.HalfTensor"))

    def bfloat16(self: Self) -> Self:
        """Floating-point parameters and buffers to bfloat16."""
        return self._cast(dtype_of("torch.BFloat16Tensor"))

    def type(self: Self, dst_type: Any) -> Self:
        """All parameters and buffers to a dtype."""
        return self._apply(lambda t: t.type(dst_type))

    def cpu(self: Self) -> Self:
        """To the CPU: where it is."""
        return self

    def cuda(self: Self, device: Any = None) -> Self:
        """PyTorch's error of a build without CUDA."""
        require_cpu("cuda")
        return self

    def to_empty(self: Self, *, device: Any, recurse: bool = True) -> Self:
        """Uninitialised parameters and buffers of the same shapes."""
        require_cpu(device)
        return self._apply(lambda t: t.new_empty(t._shape), recurse)

    def share_memory(self: Self) -> Self:
        """Put parameters and buffers where other processes see them."""
        return self._apply(lambda t: t.share_memory_())

    def train(self: Self, mode: bool = True) -> Self:
        """Set training mode (dropout drops, batch norm learns its statistics) here and below."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self: Self) -> Self:
        """`train(False)`."""
        return self.train(False)

    def requires_grad_(self: Self, requires_grad: bool = True) -> Self:
        """Set `requires_grad` of every parameter."""
        for param in self.parameters():
            param.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget (or zero) the gradients of every parameter."""
        for param in self.parameters():
            if param.grad is None:
                continue
            if set_to_none:
                param.grad = None
            else:
                param.grad.detach_() if param.grad.grad_fn is not None else param.grad.requires_grad_(False)
                param.grad.zero_()

    # -- printing ----------------------------------------------------------------------------------------------

    def _get_name(self) -> str:
        return type(self).__name__

    def extra_repr(self) -> str:
        """What the module's line says between its parentheses."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        extra_lines = extra.split("\n") if extra else []
        children = [f"({name}): {_add_indent(repr(module), 2)}" for name, module in self._modules.items()]
        lines = extra_lines + children
        if not lines:
            return f"{self._get_name()}()"
        if len(extra_lines) == 1 and not children:
            return f"{self._get_name()}({extra_lines[0]})"
        return f"{self._get_name()}(\n  " + "\n  ".join(lines) + "\n)"

    def _replicate_for_data_parallel(self: Self) -> Self:
        return self


def _type_string(value: Any) -> str:
    kind = type(value)
    module = "" if kind.__module__ == "builtins" else kind.__module__.replace("flambeau", "torch") + "."
    return "torch.FloatTensor" if isinstance(value, Tensor) else f"{module}{kind.__name__}"


__all__ = [
    "Module", "OrderedDict", "_IncompatibleKeys",
    "register_module_backward_hook", "register_module_buffer_registration_hook",
    "register_module_forward_hook", "register_module_forward_pre_hook", "register_module_full_backward_hook",
    "register_module_full_backward_pre_hook", "register_module_module_registration_hook",
    "register_module_parameter_registration_hook",
]  # fmt: skip
