"""What the programs of this folder share; `loading.py` puts the folder on the path."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from importlib import import_module
from typing import Any


def said(call: Callable[[], Any]) -> list[str]:
    """The type and text of the error that a call raises."""
    try:
        call()
    except Exception as error:
        return [type(error).__name__, str(error).replace("flambeau.", "torch.")]
    return ["no error", ""]


def net(torch: Any) -> Any:
    """A small network with every kind of state."""
    torch.manual_seed(1)
    nn = torch.nn
    return nn.Sequential(
        OrderedDict(conv=nn.Conv2d(1, 2, 3), bn=nn.BatchNorm2d(2), act=nn.ReLU(), head=nn.Linear(2, 2))
    )


def part(torch: Any, name: str) -> Any:
    """A module of nn.utils."""
    return import_module(f"{torch.__name__}.nn.utils.{name}")


def state(module: Any) -> list:
    return [[k, v.tolist()] for k, v in module.state_dict().items()]


def trained(torch: Any, module: Any, *shape: int) -> list:
    """Output and gradients of a step."""
    out = module(torch.randn(*shape))
    (out * out.detach().cos()).sum().backward()
    return [out.tolist(), [[n, None if p.grad is None else p.grad.tolist()] for n, p in module.named_parameters()]]


def programs_of(scope: dict[str, Any]) -> dict[str, Callable[[Any], Any]]:
    """The functions of a file that take the library, by name."""
    return {
        name: value
        for name, value in scope.items()
        if getattr(value, "__module__", None) == scope["__name__"] and getattr(value, "__code__", None) is not None
        and value.__code__.co_varnames[:1] == ("torch",) and not name.startswith("_")
    }  # fmt: skip
