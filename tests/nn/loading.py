"""Loading the tables of this folder by path: tests are collected without packages."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

sys.path.append(str(Path(__file__).parent))  # for `nn_programs`


def table(name: str) -> ModuleType:
    """The module `tests/nn/<name>.py`; classes in it pickle, as it is known to `sys.modules`."""
    known = f"nn_tests_{name}"
    if known not in sys.modules:
        spec = importlib.util.spec_from_file_location(known, Path(__file__).with_name(f"{name}.py"))
        assert spec is not None and spec.loader is not None
        sys.modules[known] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[known]


def close(a: Any, b: Any, tol: float = 2e-5) -> bool:
    """Equal, but for rounding in numbers; lists and tuples are the same, as JSON has only one."""
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and all(close(a[k], b[k], tol) for k in a)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(close(x, y, tol) for x, y in zip(a, b))
    if isinstance(a, float) and isinstance(b, (int, float)):
        return a == b or abs(a - b) <= tol * (1 + abs(b)) or (a != a and b != b)
    return a == b


def first_difference(a: Any, b: Any, path: str = "") -> str:
    """Where two results part, in words."""
    if isinstance(a, dict) and isinstance(b, dict) and list(a) == list(b):
        parts = [(f"{path}.{k}", a[k], b[k]) for k in a]
    elif isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)) and len(a) == len(b):
        parts = [(f"{path}[{i}]", x, y) for i, (x, y) in enumerate(zip(a, b))]
    else:
        return f"{path}: {a!r}\nPyTorch: {b!r}"
    return next((first_difference(x, y, at) for at, x, y in parts if not close(x, y)), "")
