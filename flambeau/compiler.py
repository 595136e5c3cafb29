"""`torch.compile` and `torch.compiler`: execution needs no asking, so they change nothing and say so once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flambeau.errors import warn_once


def compile(
    model: Any = None, *, fullgraph: bool = False, dynamic: bool | None = None, backend: Any = "inductor",
    mode: str | None = None, options: Any = None, disable: bool = False,
) -> Any:  # fmt: skip
    """The model or function itself; also usable as a decorator."""
    if model is None:
        return lambda function: compile(function)
    warn_once("torch.compile changes nothing here: Flambeau needs no decorator")
    return model


def _same(fn: Any = None, *args: Any, **kwargs: Any) -> Any:
    return fn if fn is not None else (lambda function: function)


disable = allow_in_graph = assume_constant_result = _same


def reset() -> None:
    """Nothing is kept."""


def is_compiling() -> bool:
    return False


def is_dynamo_compiling() -> bool:
    return False


def is_exporting() -> bool:
    return False


def list_backends(exclude_tags: Any = ()) -> list[str]:
    return []


def cudagraph_mark_step_begin() -> None:
    """Accepted, without effect."""


def set_stance(stance: str = "default", **kwargs: Any) -> None:
    """Accepted, without effect."""


def substitute_in_graph(original: Callable, **kwargs: Any) -> Callable:
    return _same
