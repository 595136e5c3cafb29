"""Process-wide settings that PyTorch has: threads, determinism, precision, default device and tensor type."""

from __future__ import annotations

from typing import Any

from flambeau import dtypes
from flambeau.devices import CPU, device, require_cpu
from flambeau.engine.runtime.cores import get_num_threads as _threads
from flambeau.later import later
from flambeau.methods.convert import dtype_of

pool = later("flambeau.engine.runtime.threads")


class _Settings:
    deterministic: bool = False
    deterministic_warn_only: bool = False
    matmul_precision: str = "highest"
    warn_always: bool = False


_settings = _Settings()


def get_num_threads() -> int:
    """Threads that one op may use."""
    return _threads()


def set_num_threads(num: int) -> None:
    """Set the number of threads that one op may use."""
    if not isinstance(num, int) or isinstance(num, bool):
        raise TypeError(f"set_num_threads expects an int, but got {type(num).__name__}")
    if num <= 0:
        raise RuntimeError("Expected positive number of threads")
    pool.set_num_threads.now()(num)


def get_num_interop_threads() -> int:
    return 1


def set_num_interop_threads(num: int) -> None:
    """Accepted: one op runs at a time."""
    if num <= 0:
        raise RuntimeError("Expected positive number of threads")


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Accepted: every op is deterministic anyway."""
    _settings.deterministic, _settings.deterministic_warn_only = bool(mode), warn_only


def are_deterministic_algorithms_enabled() -> bool:
    return _settings.deterministic


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    return _settings.deterministic_warn_only


def set_deterministic_debug_mode(debug_mode: int | str) -> None:
    """Accepted: every op is deterministic anyway."""
    _settings.deterministic = debug_mode not in (0, "default")


def get_deterministic_debug_mode() -> int:
    return 2 if _settings.deterministic else 0


def set_float32_matmul_precision(precision: str) -> None:
    """Accepted: float32 products are computed in float32."""
    if precision not in ("highest", "high", "medium"):
        raise RuntimeError(f"{precision} is not one of 'highest', 'high', or 'medium'")
    _settings.matmul_precision = precision


def get_float32_matmul_precision() -> str:
    return _settings.matmul_precision


def set_default_device(device: Any) -> None:
    """Only the CPU can be the default device."""
    require_cpu(device)


def get_default_device() -> device:
    return CPU


def set_default_tensor_type(t: Any) -> None:
    """The deprecated spelling of `set_default_dtype`."""
    dtypes.set_default_dtype(dtype_of(t))


def set_warn_always(b: bool) -> None:
    _settings.warn_always = b


def is_warn_always_enabled() -> bool:
    return _settings.warn_always


def set_flush_denormal(mode: bool) -> bool:
    """Denormals are kept: False says that the mode was not changed."""
    return False


get_default_dtype, set_default_dtype = dtypes.get_default_dtype, dtypes.set_default_dtype
