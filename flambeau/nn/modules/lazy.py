"""Modules whose parameters take their shapes from the first input."""

from __future__ import annotations

from itertools import chain
from typing import Any

from flambeau.autograd import no_grad
from flambeau.nn.modules.module import Module
from flambeau.nn.parameter import is_lazy


class LazyModuleMixin(Module):
    """Makes a module lazy: mix it in, hold `UninitializedParameter`s, and write `initialize_parameters(input)`.

    Before the first forward that method is called with its arguments; then the module becomes `cls_to_become`.
    """

    cls_to_become: type[Module] | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._load_hook = self._register_load_state_dict_pre_hook(self._lazy_load_hook)
        self._initialize_hook = self.register_forward_pre_hook(self._infer_parameters, with_kwargs=True)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        for name, held in chain(self._parameters.items(), self._buffers.items()):
            if held is not None and name not in self._non_persistent_buffers_set:
                destination[prefix + name] = held if keep_vars or is_lazy(held) else held.detach()

    def _lazy_load_hook(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        """Give a parameter without a shape the shape of the one that is loaded."""
        for name, held in chain(self._parameters.items(), self._buffers.items()):
            given = state_dict.get(prefix + name)
            if held is not None and given is not None and is_lazy(held) and not is_lazy(given):
                with no_grad():
                    held.materialize(given.shape)

    def initialize_parameters(self, *args: Any, **kwargs: Any) -> None:
        """Give the parameters their shapes, from the arguments of the first forward."""
        raise NotImplementedError(f"initialize_parameters is not implemented for {type(self).__name__}")

    def has_uninitialized_params(self) -> bool:
        """Whether a parameter or buffer has no shape yet."""
        return any(is_lazy(held) for held in chain(self._parameters.values(), self._buffers.values()))

    def _infer_parameters(self, module: Any, args: tuple, kwargs: dict | None = None) -> None:
        module.initialize_parameters(*args, **(kwargs or {}))
        if module.has_uninitialized_params():
            raise RuntimeError(f"module {self._get_name()} has not been fully initialized")
        module._initialize_hook.remove()
        module._load_hook.remove()
        del module._initialize_hook, module._load_hook
        if module.cls_to_become is not None:
            module.__class__ = module.cls_to_become

    def _replicate_for_data_parallel(self) -> Any:
        raise RuntimeError(
            "Modules with uninitialized parameters can't be used with `DataParallel`. "
            "Run a dummy forward pass to correctly initialize the modules"
        )
