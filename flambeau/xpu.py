"""`torch.xpu`: not there."""

from __future__ import annotations


def is_available() -> bool:
    return False


def device_count() -> int:
    return 0


def manual_seed(seed: int) -> None:
    """Accepted, without effect."""


def empty_cache() -> None:
    """Accepted, without effect."""


def synchronize() -> None:
    raise RuntimeError("Flambeau computes on the CPU: there is no XPU device")
