"""Automatic mixed precision. On the CPU `autocast` computes products in bfloat16; gradient scaling is optional."""

from flambeau.amp.autocast import autocast, get_autocast_dtype, is_autocast_available, is_autocast_enabled
from flambeau.amp.grad_scaler import GradScaler

__all__ = ["GradScaler", "autocast", "get_autocast_dtype", "is_autocast_available", "is_autocast_enabled"]
