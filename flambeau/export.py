"""`torch.export`: exporting programs is not in this release; every name raises and says so."""

from __future__ import annotations

from typing import Any, NoReturn

from flambeau.errors import NotSupportedError


def _absent(name: str) -> Any:
    def function(*args: Any, **kwargs: Any) -> NoReturn:
        raise NotSupportedError(
            f"torch.export.{name}: exporting programs is not in this release of Flambeau (see docs/differences.md)"
        )

    function.__name__, function.__doc__ = name, "Not in this release."
    return function


export = _absent("export")


Dim = _absent("Dim")


class ExportedProgram:
    """Not in this release; named for isinstance checks and annotations."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        _absent("ExportedProgram")()


save = _absent("save")
load = _absent("load")
