"""`torch.fx`: tracing programs into graphs is not in this release; every name raises and says so."""

from __future__ import annotations

from typing import Any, NoReturn

from flambeau.errors import NotSupportedError


def _absent(name: str) -> Any:
    def function(*args: Any, **kwargs: Any) -> NoReturn:
        raise NotSupportedError(
            f"torch.fx.{name}: tracing programs into graphs is not in this release of Flambeau (see "
            "docs/differences.md)"
        )

    function.__name__, function.__doc__ = name, "Not in this release."
    return function


symbolic_trace = _absent("symbolic_trace")
wrap = _absent("wrap")


class Tracer:
    """Not in this release; named for isinstance checks and annotations."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        _absent("Tracer")()


class Graph:
    """Not in this release; named for isinstance checks and annotations."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        _absent("Graph")()


class GraphModule:
    """Not in this release; named for isinstance checks and annotations."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        _absent("GraphModule")()


class Node:
    """Not in this release; named for isinstance checks and annotations."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        _absent("Node")()


class Interpreter:
    """Not in this release; named for isinstance checks and annotations."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        _absent("Interpreter")()
