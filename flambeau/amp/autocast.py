"""`torch.autocast`: inside, matrix products and convolutions take their inputs in a narrow dtype.

Which ops do is said by their records (`narrows`); `ops.apply` casts their inputs.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

from flambeau.autograd.mode import state
from flambeau.dtypes import bfloat16, dtype, float16


class autocast:
    """Context manager and decorator: `with torch.autocast("cpu", dtype=torch.bfloat16):`."""

    def __init__(
        self, device_type: str, dtype: dtype | None = None, enabled: bool = True, cache_enabled: bool | None = None
    ) -> None:  # fmt: skip
        if not isinstance(device_type, str):
            raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
        self.device, self.dtype = device_type, dtype or (bfloat16 if device_type == "cpu" else float16)
        if device_type == "cuda" and enabled:
            warnings.warn("User provided device_type of 'cuda', but CUDA is not available. Disabling", stacklevel=2)
            enabled = False
        if device_type not in ("cpu", "cuda", "mps", "xpu"):
            raise RuntimeError(f"User specified an unsupported autocast device_type '{device_type}'")
        if enabled and self.dtype not in (bfloat16, float16):
            warnings.warn(
                "In CPU autocast, but the target dtype is not supported. Disabling autocast.\nCPU Autocast only "
                "supports "
                f"dtype of torch.bfloat16, torch.float16 currently, got {self.dtype}.",
                stacklevel=2,
            )
            enabled = False
        self.enabled = enabled and device_type == "cpu"

    def __enter__(self) -> autocast:
        self._before = state.autocast
        state.autocast = self.dtype if self.enabled else None
        return self

    def __exit__(self, *exc: object) -> None:
        state.autocast = self._before

    def __call__(self, function: Callable) -> Callable:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with autocast(self.device, self.dtype, self.enabled):
                return function(*args, **kwargs)

        return wrapped


def is_autocast_enabled(device_type: str = "cuda") -> bool:
    return device_type == "cpu" and state.autocast is not None


def is_autocast_available(device_type: str) -> bool:
    return device_type == "cpu"


def get_autocast_dtype(device_type: str) -> dtype:
    return state.autocast or (bfloat16 if device_type == "cpu" else float16)
