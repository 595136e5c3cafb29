"""`torch.backends.cudnn`: its switches exist and change nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flambeau.quiet import quiet

SWITCHES = ("enabled", "benchmark", "deterministic", "allow_tf32", "benchmark_limit", "fastest")

enabled, benchmark, deterministic, allow_tf32, benchmark_limit = True, False, False, True, 10


def version() -> None:
    """None: cuDNN is not there."""


def is_available() -> bool:
    return False


def is_acceptable(tensor: object) -> bool:
    return False


@contextmanager
def flags(
    enabled: bool = False, benchmark: bool = False, benchmark_limit: int = 10, deterministic: bool = False,
    allow_tf32: bool = True, fp32_precision: str = "none",
) -> Iterator[None]:  # fmt: skip
    """Accepted, without effect."""
    yield


quiet(__name__)
