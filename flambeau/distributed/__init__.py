"""`torch.distributed`: questions have answers; starting a process group is not in this release and says so."""

from __future__ import annotations

from typing import Any, NoReturn

from flambeau.errors import NotSupportedError


class ReduceOp:
    """How values of several processes combine."""

    SUM, AVG, PRODUCT, MIN, MAX, BAND, BOR, BXOR = range(8)


class ProcessGroup:
    """Named for annotations."""


class Backend(str):
    """Names of transports."""

    GLOO, NCCL, MPI, UCC = "gloo", "nccl", "mpi", "ucc"


class group:
    """The default group."""

    WORLD = None


def is_available() -> bool:
    """False: there are no process groups in this release."""
    return False


def is_initialized() -> bool:
    return False


def is_nccl_available() -> bool:
    return False


def is_gloo_available() -> bool:
    return False


def is_mpi_available() -> bool:
    return False


def is_torchelastic_launched() -> bool:
    return False


def init_process_group(*args: Any, **kwargs: Any) -> NoReturn:
    """Not in this release."""
    raise NotSupportedError(
        "torch.distributed.init_process_group is not in this release of Flambeau (see docs/differences.md): run in one "
        "process"
    )


def destroy_process_group(group: Any = None) -> None:
    """There is no group to end."""
    raise ValueError("Default process group has not been initialized, please make sure to call init_process_group.")


def _needs_group(name: str) -> Any:
    def function(*args: Any, **kwargs: Any) -> NoReturn:
        raise ValueError("Default process group has not been initialized, please make sure to call init_process_group.")

    function.__name__, function.__doc__ = name, "Raises: no process group can be initialized in this release."
    return function


get_rank, get_world_size, get_backend = (
    _needs_group("get_rank"),
    _needs_group("get_world_size"),
    _needs_group("get_backend"),
)
barrier, all_reduce, all_gather = _needs_group("barrier"), _needs_group("all_reduce"), _needs_group("all_gather")
broadcast, reduce, scatter, gather = (_needs_group(n) for n in ("broadcast", "reduce", "scatter", "gather"))
send, recv, isend, irecv = (_needs_group(n) for n in ("send", "recv", "isend", "irecv"))
reduce_scatter, all_to_all, new_group = (_needs_group(n) for n in ("reduce_scatter", "all_to_all", "new_group"))
all_gather_object, broadcast_object_list = _needs_group("all_gather_object"), _needs_group("broadcast_object_list")
