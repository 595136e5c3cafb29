"""Making a module without drawing its initial weights."""

from __future__ import annotations

import inspect
from typing import Any

from flambeau.autograd import no_grad
from flambeau.nn.modules.module import Module
from flambeau.random import default_generator


def skip_init(module_cls: type[Module], *args: Any, **kwargs: Any) -> Module:
    """A module whose weights are left as memory was; the random generator stays where it is.

    Raises:
        RuntimeError: not a Module class, or one whose constructor takes no `device`.

    >>> from flambeau import nn
    >>> skip_init(nn.Linear, 5, 1)
    Linear(in_features=5, out_features=1, bias=True)
    """
    if not issubclass(module_cls, Module):
        raise RuntimeError(f"Expected a Module; got {module_cls}")
    if "device" not in inspect.signature(module_cls).parameters:
        raise RuntimeError("Module must support a 'device' arg to skip initialization")
    device = kwargs.pop("device", "cpu")
    state = default_generator.get_state()
    try:
        with no_grad():
            module = module_cls(*args, **kwargs)
    finally:
        default_generator.set_state(state)
    return module.to_empty(device=device)
