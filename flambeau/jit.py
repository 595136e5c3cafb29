"""`torch.jit`: programs run as they are. `script` and `trace` hand the function or module back and say so once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from flambeau.errors import NotSupportedError, warn_once

_SAID = "torch.jit.{} changes nothing here: Flambeau runs Python as it is"


class ScriptModule:
    """Named for isinstance checks; no object is one."""


class ScriptFunction:
    """Named for isinstance checks; no object is one."""


RecursiveScriptModule = TracedModule = TopLevelTracedModule = ScriptModule


def script(obj: Any, *args: Any, **kwargs: Any) -> Any:
    """The function, class or module itself."""
    warn_once(_SAID.format("script"))
    return obj


def trace(func: Any, example_inputs: Any = None, *args: Any, **kwargs: Any) -> Any:
    """The function or module itself."""
    warn_once(_SAID.format("trace"))
    return func


def _same(obj: Any, *args: Any, **kwargs: Any) -> Any:
    return obj


freeze = optimize_for_inference = ignore = unused = export = script_method = interface = script_if_tracing = _same
trace_module = trace


def _ignore_factory(drop: bool = False, **kwargs: Any) -> Callable:
    return _same


def is_scripting() -> bool:
    """False: nothing is ever scripted."""
    return False


def is_tracing() -> bool:
    """False: nothing is ever traced."""
    return False


def annotate(the_type: Any, the_value: Any) -> Any:
    """The value."""
    return the_value


def isinstance_(obj: Any, target_type: Any) -> bool:
    return isinstance(obj, target_type)


def fork(func: Callable, *args: Any, **kwargs: Any) -> Any:
    """Calls the function; `wait` gives its result."""
    return func(*args, **kwargs)


def wait(future: Any) -> Any:
    """The result of `fork`."""
    return future


def load(f: Any, *args: Any, **kwargs: Any) -> NoReturn:
    """TorchScript archives hold compiled programs, which this release does not run."""
    raise NotSupportedError(
        "torch.jit.load: TorchScript archives are not supported by Flambeau (see docs/differences.md); save the "
        "state_dict with torch.save and load it into the Python module"
    )


def save(m: Any, f: Any, *args: Any, **kwargs: Any) -> NoReturn:
    """TorchScript archives are not written."""
    raise NotSupportedError(
        "torch.jit.save: TorchScript archives are not supported by Flambeau (see docs/differences.md); use torch.save"
    )


class Attribute:
    """A value with its TorchScript type."""

    def __init__(self, value: Any, type: Any) -> None:
        self.value, self.type = value, type


Final = Any
