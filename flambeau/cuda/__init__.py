# ruff: noqa: F401
"""`torch.cuda` on a machine without CUDA: questions have answers, requests raise PyTorch's error."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, NoReturn

from flambeau.cuda import amp, nvtx
from flambeau.cuda.streams import Event, Stream, StreamContext
from flambeau.devices import require_cpu
from flambeau.methods.legacy import cuda_typed
from flambeau.methods.legacy import cuda_typed as _typed

_MESSAGE = "Torch not compiled with CUDA enabled"


class OutOfMemoryError(RuntimeError):
    """Raised by GPU allocations; never here."""


class CudaError(RuntimeError):
    """Raised by CUDA calls; never here."""


def is_available() -> bool:
    """False: this release computes on the CPU."""
    return False


def is_initialized() -> bool:
    return False


def is_bf16_supported(including_emulation: bool = True) -> bool:
    return False


def device_count() -> int:
    """0."""
    return 0


def _absent(name: str) -> Any:
    def function(*args: Any, **kwargs: Any) -> NoReturn:
        raise AssertionError(_MESSAGE)

    function.__name__, function.__doc__ = name, "Raises: there is no CUDA device."
    return function


init, current_device, get_device_name = _absent("init"), _absent("current_device"), _absent("get_device_name")
get_device_properties, get_device_capability = _absent("get_device_properties"), _absent("get_device_capability")
synchronize, mem_get_info, default_stream = _absent("synchronize"), _absent("mem_get_info"), _absent("default_stream")
current_stream, utilization, temperature = _absent("current_stream"), _absent("utilization"), _absent("temperature")
can_device_access_peer, memory_stats_as_nested_dict = _absent("can_device_access_peer"), _absent("memory_stats")


def set_device(device: Any) -> None:
    """Raises for a CUDA device; a negative ordinal asks for nothing."""
    if not (isinstance(device, int) and device < 0):
        raise AssertionError(_MESSAGE)


def _nothing(name: str, result: Any = None) -> Any:
    def function(*args: Any, **kwargs: Any) -> Any:
        return result

    function.__name__, function.__doc__ = name, "Does nothing: there is no CUDA device."
    return function


manual_seed, manual_seed_all, seed, seed_all = (
    _nothing(n) for n in ("manual_seed", "manual_seed_all", "seed", "seed_all")
)
empty_cache, ipc_collect = _nothing("empty_cache"), _nothing("ipc_collect")
reset_peak_memory_stats, reset_max_memory_allocated = (
    _nothing("reset_peak_memory_stats"),
    _nothing("reset_max_memory_allocated"),
)
set_per_process_memory_fraction = _nothing("set_per_process_memory_fraction")
memory_allocated, max_memory_allocated = _nothing("memory_allocated", 0), _nothing("max_memory_allocated", 0)
memory_reserved, max_memory_reserved = _nothing("memory_reserved", 0), _nothing("max_memory_reserved", 0)
memory_cached, max_memory_cached = _nothing("memory_cached", 0), _nothing("max_memory_cached", 0)
memory_summary, get_arch_list = _nothing("memory_summary", ""), _nothing("get_arch_list", [])
get_rng_state_all, initial_seed = _nothing("get_rng_state_all", []), _absent("initial_seed")
set_rng_state_all, get_rng_state, set_rng_state = (
    _nothing("set_rng_state_all"),
    _absent("get_rng_state"),
    _absent("set_rng_state"),
)
memory_stats = _nothing("memory_stats", {})


class device:
    """Context manager that selects a CUDA device; None or -1 selects nothing."""

    def __init__(self, device: Any) -> None:
        self.wanted = device

    def __enter__(self) -> None:
        if self.wanted is not None and self.wanted != -1:
            require_cpu(f"cuda:{self.wanted}" if isinstance(self.wanted, int) else self.wanted)

    def __exit__(self, *exc: object) -> None:
        pass


class device_of(device):
    """Context manager that selects the device of a tensor: the CPU has none."""

    def __init__(self, obj: Any) -> None:
        super().__init__(None)


@contextmanager
def stream(stream: Any) -> Any:
    """Accepted for None, as streams cannot be made."""
    yield


globals().update(cuda_typed)  # FloatTensor, LongTensor ...: calling one raises


globals().update(_typed)  # cuda.FloatTensor ...: using one raises
