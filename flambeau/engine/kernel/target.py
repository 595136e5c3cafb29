"""The machine that kernels are written for: its vector width, registers and caches. Knows no op and no compiler.

`FLAMBEAU_VECTOR_BYTES` overrides the width, so that code for another machine can be compiled and tested on this one.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
from pathlib import Path

from flambeau.engine.forking import at_fork

_L1, _L2, _LAST = 32 << 10, 512 << 10, 32 << 20  # bytes, where the system does not say
_CPU0 = Path("/sys/devices/system/cpu/cpu0/cache")


# A fork in the middle of an import would leave the child with the lock of a module that no thread there imports.
_importing = threading.Lock()
at_fork(_importing.acquire, _importing.release, _importing.release)


@functools.cache
def features() -> dict[str, bool]:
    """The instruction sets of this processor, by LLVM's names."""
    with _importing:
        import llvmlite.binding as llvm

        return dict(llvm.get_host_cpu_features())


@functools.cache
def vector_bytes() -> int:
    """The width of a vector register: 64 with AVX-512, 32 with AVX2, otherwise 16."""
    chosen = os.environ.get("FLAMBEAU_VECTOR_BYTES", "")
    if chosen:
        if chosen not in ("16", "32", "64"):
            raise ValueError(f"FLAMBEAU_VECTOR_BYTES is 16, 32 or 64, not {chosen!r}")
        return int(chosen)
    has = features()
    if all(has.get(name) for name in ("avx512f", "avx512bw", "avx512dq", "avx512vl")):
        return 64
    return 32 if has.get("avx2") and has.get("fma") else 16


def vector_registers() -> int:
    """How many vector registers a kernel can hold values in."""
    if vector_bytes() == 64:
        return 32
    return 32 if features().get("neon") or features().get("avx512vl") else 16


@functools.cache
def cache_sizes() -> tuple[int, int]:
    """Bytes of one core's first and second data cache."""
    sizes = _caches()
    return sizes.get(1) or _L1, sizes.get(2) or _L2


@functools.cache
def last_cache() -> int:
    """Bytes of the largest cache: results of that size do not stay near until somebody reads them."""
    sizes = _caches()
    return max(sizes.values()) if 3 in sizes else _LAST


def _caches() -> dict[int, int]:
    """Bytes of this processor's data caches, by level."""
    sizes = {}
    if sys.platform == "linux":
        for folder in _CPU0.glob("index*"):
            try:
                if (folder / "type").read_text().strip() != "Instruction":
                    sizes[int((folder / "level").read_text())] = _bytes((folder / "size").read_text().strip())
            except (OSError, ValueError):
                continue
    return sizes


def _bytes(text: str) -> int:
    """'48K', '2M' or '512' in bytes."""
    unit = {"K": 1 << 10, "M": 1 << 20}.get(text[-1:], 1)
    return int(text.rstrip("KM")) * unit
