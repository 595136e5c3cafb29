"""How many threads Flambeau uses in this process: what was chosen, what the environment asks for, or what there is."""

from __future__ import annotations

import functools
import math
import os
from pathlib import Path

MAXIMUM = 256
_chosen = 0


def get_num_threads() -> int:
    """Threads that run a launch together, the caller included."""
    return _chosen or default_threads()


def choose(count: int) -> None:
    """Use so many threads from now on (`threads.set_num_threads` tells the pool as well)."""
    global _chosen
    _chosen = min(count, MAXIMUM)


@functools.cache
def default_threads() -> int:
    """FLAMBEAU_NUM_THREADS, else OMP_NUM_THREADS (as in PyTorch), else the cores that this process may use."""
    for name in ("FLAMBEAU_NUM_THREADS", "OMP_NUM_THREADS"):
        value = os.environ.get(name, "").split(",")[0].strip()
        if value.isdigit() and int(value) > 0:
            return min(int(value), MAXIMUM)
    cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    return max(1, math.ceil(min(_cores(cpus), _quota(), MAXIMUM)))


def _cores(cpus: set[int]) -> int:
    """Cores among processors: two threads of one core share its arithmetic units."""
    folder = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    try:
        return len({Path(folder.format(cpu)).read_text() for cpu in cpus})
    except OSError:
        return len(cpus)


def _quota(proc: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> float:
    """Processors that a container's limit leaves: the least along the path of this process's control group."""
    least = math.inf
    try:
        lines = proc.read_text().splitlines()
    except OSError:
        return least
    for line in lines:
        _, controllers, path = line.split(":", 2)
        version2 = controllers == ""
        if not version2 and "cpu" not in controllers.split(","):
            continue
        base = root if version2 else root / "cpu"
        inside = base / path.lstrip("/")
        for folder in (inside, *inside.parents):
            if folder == base.parent:
                break
            least = min(least, _limit(folder, version2))
    return least


def _limit(folder: Path, version2: bool) -> float:
    """The processors that one control group grants."""
    try:
        if version2:
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
    except (OSError, ValueError):
        return math.inf
    return int(quota) / int(period) if quota not in ("max", "-1") else math.inf
