"""What a case gave, as plain data: shape, dtype, strides, the elements' bytes and the generator's state after it."""

from __future__ import annotations

import hashlib
import importlib
from typing import Any

import numpy as np


def array_of(tensor: Any) -> np.ndarray:
    """A tensor of either library in C order; PyTorch's bfloat16 as its bits."""
    tensor = tensor.detach()
    if hasattr(tensor, "_array"):
        return np.ascontiguousarray(tensor._array())
    if str(tensor.dtype) == "torch.bfloat16":
        tensor = tensor.contiguous().view(importlib.import_module("torch").int16)
    return np.ascontiguousarray(tensor.numpy())


def run(case: str, t: Any, seed: int = 11) -> Any:
    """The case's tensor, after seeding."""
    t.manual_seed(seed)
    return eval(case, {"t": t})


def record(case: str, t: Any, seed: int = 11, digest: bool = False) -> dict[str, Any]:
    out = run(case, t, seed)
    data = array_of(out).tobytes()
    state = np.asarray(t.get_rng_state().numpy()).tobytes()
    return {
        "shape": list(out.shape),
        "dtype": str(out.dtype),
        "strides": list(out.stride()),
        "bytes": hashlib.sha256(data).hexdigest()[:32] if digest else data.hex(),
        "state": hashlib.sha256(state).hexdigest()[:16],
    }
