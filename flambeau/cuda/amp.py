"""`torch.cuda.amp`: the CUDA spelling of automatic mixed precision; switched off where there is no CUDA."""

from __future__ import annotations

from typing import Any

from flambeau import amp
from flambeau.errors import warn_once


class autocast(amp.autocast):
    """`amp.autocast("cuda")`: without a GPU it warns and changes nothing."""

    def __init__(self, enabled: bool = True, dtype: Any = None, cache_enabled: bool = True) -> None:
        super().__init__("cuda", dtype=dtype, enabled=enabled, cache_enabled=cache_enabled)


class GradScaler(amp.GradScaler):
    """`amp.GradScaler("cuda")`: switched off where there is no GPU."""

    def __init__(self, init_scale: float = 65536.0, growth_factor: float = 2.0, backoff_factor: float = 0.5,
                 growth_interval: int = 2000, enabled: bool = True) -> None:  # fmt: skip
        if enabled:
            warn_once("torch.cuda.amp.GradScaler is enabled, but CUDA is not available.  Disabling.")
        super().__init__("cuda", init_scale, growth_factor, backoff_factor, growth_interval, enabled=False)


def custom_fwd(fwd: Any = None, *, cast_inputs: Any = None) -> Any:
    """Marks the forward of a Function; without effect."""
    return fwd if fwd is not None else (lambda function: function)


def custom_bwd(bwd: Any) -> Any:
    """Marks the backward of a Function; without effect."""
    return bwd
