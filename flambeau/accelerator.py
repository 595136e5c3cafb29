"""`torch.accelerator`: there is none."""

from __future__ import annotations

from typing import Any


def is_available() -> bool:
    return False


def device_count() -> int:
    return 0


def current_accelerator(check_available: bool = False) -> None:
    """None: the CPU is no accelerator."""


def current_device_index() -> int:
    raise RuntimeError("Cannot access accelerator device when none is available.")


def synchronize(device: Any = None) -> None:
    raise RuntimeError("Cannot access accelerator device when none is available.")


def set_device_index(device: Any) -> None:
    raise RuntimeError("Cannot access accelerator device when none is available.")
