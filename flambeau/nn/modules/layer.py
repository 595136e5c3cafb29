"""Layers that are a function with settings: made from the function by one statement each.

    ELU = layer("ELU", F.elu, alpha=1.0, inplace=False)

gives the class `ELU(alpha=1.0, inplace=False)` whose forward is `F.elu(input, alpha=..., inplace=...)`.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from operator import attrgetter
from typing import Any

from flambeau.errors import warn_once
from flambeau.nn.modules.module import Module

REQUIRED = inspect.Parameter.empty


class FunctionLayer(Module):
    """Base of the classes that `layer` makes."""

    function: Callable[..., Any]
    settings: dict[str, Any]

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        for name, value in settings.items():
            object.__setattr__(self, name, value)
        self.check()

    def check(self) -> None:
        """Refuse bad settings; called once they are set."""

    def forward(self, input: Any) -> Any:
        return type(self).function(input, **{name: getattr(self, name) for name in self.settings})

    def extra_repr(self) -> str:
        shown = [f"{name}={getattr(self, name)!r}" for name in self.settings if name != "inplace"]
        return ", ".join([*shown, "inplace=True"] if getattr(self, "inplace", False) else shown)


def layer(name: str, function: Callable, doc: str = "", shown: Callable | None = None, base: type = FunctionLayer,
          **settings: Any) -> Any:  # fmt: skip
    """Make the Module class `name` around `function`; `shown(self)` overrides what its repr says."""

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(key, kind, default=value) for key, value in settings.items()]
    signature = inspect.Signature(parameters)

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{name}.__init__() {error}") from None
        bound.apply_defaults()
        base.__init__(self, **bound.arguments)

    __init__.__signature__ = inspect.Signature([inspect.Parameter("self", kind), *parameters])  # type: ignore[attr-defined]
    module = sys._getframe(1).f_globals["__name__"]
    namespace = {
        "__init__": __init__, "__module__": module,
        "__doc__": doc or f"`nn.functional.{function.__name__}` as a layer.",
        "function": staticmethod(function), "settings": settings,
    }  # fmt: skip
    forward = _forward(function, settings)
    if forward is not None and base.forward is FunctionLayer.forward:
        namespace["forward"] = forward
    if shown is not None:
        namespace["extra_repr"] = shown
    return type(base)(name, (base,), namespace)


def _forward(function: Callable, settings: dict[str, Any]) -> Callable | None:
    """The same `forward` without keywords, if the settings are just what the function takes after its input."""
    signature, code = getattr(function, "__signature__", None), inspect.unwrap(function).__code__
    taken = code.co_varnames[: code.co_argcount] if signature is None else tuple(signature.parameters)
    names = taken[1 : len(settings) + 1]
    if not settings:
        return lambda self, input: function(input)
    if not names or set(names) != set(settings):
        return None
    read = attrgetter(*names)
    if len(names) == 1:
        return lambda self, input: function(input, read(self))
    return lambda self, input: function(input, *read(self))


def legacy_reduction(size_average: Any, reduce: Any, reduction: str) -> str:
    """`reduction` from the arguments of 2017."""
    if size_average is None and reduce is None:
        return reduction
    found = "none" if reduce is False else "sum" if size_average is False else "mean"
    warn_once(f"size_average and reduce args will be deprecated, please use reduction='{found}' instead.")
    return found
