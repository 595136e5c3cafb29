"""Compares what was seen of two runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.engine.fuzz.running import Entry, Seen

# Relative to the largest number of a tensor: sums are rounded in another order.
TOLERANCE = {"float64": 1e-10, "float32": 2e-5, "float16": 4e-3, "bfloat16": 3e-2}
NUMBER = re.compile(r"[-+]?(?:\d+\.\d*|\.\d+|\d+)(?:e[-+]?\d+)?")


def differences(ours: list[Entry], theirs: list[Entry], exact: bool) -> Iterator[tuple[Any, str]]:
    """Where two logs differ, and how. `exact` demands the same bits; otherwise floats may be rounded differently."""
    least = 0.0 if exact else TOLERANCE["float32" if "float32" in kinds([seen for _, seen in ours]) else "float64"]
    for (place, one), (other_place, other) in zip(ours, theirs):
        if place != other_place:
            yield place, f"at {place} one run saw {brief(one)}, at {other_place} the other {brief(other)}"
            return  # from here on they tell of different things
        if found := different(one, other, least):
            label = one[0] if isinstance(one, tuple) and not isinstance(one, Seen) else ""
            yield (place, label), f"step {place[0]}, statement {place[1]} {label}: {found}"
    if len(ours) != len(theirs):
        yield (), f"one run saw {len(ours)} things, the other {len(theirs)}"


def kinds(x: Any) -> set[str]:
    """The dtypes of the tensors in what was seen."""
    if isinstance(x, Seen):
        return {x.dtype}
    parts = x.values() if isinstance(x, dict) else x if isinstance(x, (list, tuple)) else ()
    return set().union(*map(kinds, parts))


def different(a: Any, b: Any, least: float) -> str:
    """How two things differ; empty if they do not. `least`: the tolerance of the widest dtype, 0 for none at all."""
    if isinstance(a, Seen) and isinstance(b, Seen):
        for name, x, y in zip(Seen._fields[:-1], a, b):
            if x != y:
                return f"{name} {x} and {y}"
        return different_values(a.values, b.values, a.dtype, least)
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return different_values(a, b, str(a.dtype), least)
    if type(a) is not type(b):
        return f"{brief(a)} and {brief(b)}"
    if isinstance(a, (list, tuple)):
        if len(a) != len(b):
            return f"{len(a)} and {len(b)} items"
        return next((f"[{i}] {found}" for i, (x, y) in enumerate(zip(a, b)) if (found := different(x, y, least))), "")
    if isinstance(a, dict):
        if a.keys() != b.keys():
            return f"keys {sorted(a)} and {sorted(b)}"
        return next((f"[{k}] {found}" for k in a if (found := different(a[k], b[k], least))), "")
    if isinstance(a, float):
        return different_values(np.float64(a), np.float64(b), "float32", least)
    if isinstance(a, str) and least:
        return different_text(a, b)
    return "" if a == b else f"{brief(a)} and {brief(b)}"


def different_text(a: str, b: str) -> str:
    """Printed text: the words and the layout of the numbers must agree; the numbers nearly so."""
    if a == b:
        return ""
    words = [" ".join(NUMBER.sub("#", text).split()) for text in (a, b)]
    numbers = [[float(n) for n in NUMBER.findall(text)] for text in (a, b)]
    if words[0] == words[1] and np.allclose(*numbers, rtol=1e-3, atol=2e-4):
        return ""
    return f"{brief(a)} and {brief(b)}"


def different_values(a: np.ndarray, b: np.ndarray, dtype: str, least: float) -> str:
    if a.shape != b.shape or a.dtype != b.dtype:
        return f"{a.dtype}{a.shape} and {b.dtype}{b.shape}"
    if a.dtype.kind not in "fc":
        same = np.array_equal(a, b)
    elif not least:
        bits = f"u{a.dtype.itemsize}"
        clean = [np.where(np.isnan(x), np.nan, x).astype(x.dtype, order="C") for x in (a, b)]  # one NaN is as good
        same = np.array_equal(*(x.reshape(-1).view(bits) for x in clean))
    else:
        with np.errstate(all="ignore"):
            finite = np.abs(b[np.isfinite(b)])
            scale = float(finite.max()) if finite.size else 1.0
            limit = max(least, TOLERANCE[dtype]) * max(scale, 1.0)  # what is wide may have been narrow before
            same = bool(np.allclose(a, b, rtol=0, atol=limit, equal_nan=True))
    return "" if same else f"{dtype} values {brief(a)} and {brief(b)}"


def brief(x: Any) -> str:
    text = " ".join(str(x.tolist() if isinstance(x, np.ndarray) else x).split())
    return text if len(text) < 300 else text[:297] + "..."
