"""`torch.onnx`: writing ONNX files is not in this release; every name raises and says so."""

from __future__ import annotations

from typing import Any, NoReturn

from flambeau.errors import NotSupportedError


def _absent(name: str) -> Any:
    def function(*args: Any, **kwargs: Any) -> NoReturn:
        raise NotSupportedError(
            f"torch.onnx.{name}: writing ONNX files is not in this release of Flambeau (see docs/differences.md)"
        )

    function.__name__, function.__doc__ = name, "Not in this release."
    return function


export = _absent("export")
dynamo_export = _absent("dynamo_export")
