"""What the tests of saving and loading share: a sample of everything a checkpoint holds, and archives made by hand."""

from __future__ import annotations

import io
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any

import pytest

import flambeau
from flambeau.devices import device
from flambeau.dtypes import ALL
from flambeau.nn.parameter import Parameter
from flambeau.serialization import load, save
from flambeau.serialization.archive import ArchiveWriter
from flambeau.tensors import Tensor


def _sample() -> dict[str, Any]:
    base = flambeau.arange(12.0).reshape(3, 4)
    weights = OrderedDict(weight=base, bias=base.select(0, 1), transposed=base.t())
    weights._metadata = OrderedDict({"": {"version": 1}})  # type: ignore[attr-defined]
    return {
        "weights": weights,
        "parameter": Parameter(flambeau.ones(2, 2)),
        "frozen": Parameter(flambeau.ones(2), requires_grad=False),
        "empty": flambeau.zeros(0, 3),
        "number": flambeau.tensor(2.5),
        "dtypes": {d.name: flambeau.tensor([0, 1, 2]).to(d) for d in ALL},
        "size": base.shape,
        "device": device("cpu"),
        "dtype": flambeau.float16,
        "counter": Counter("aab"),
        "plain": [None, True, 1, -5, 2**100, 1e-3, "text \u00e9 \u4e16", b"bytes", bytearray(b"array"), 1 + 2j, {1, 2}],
        "nested": ((), (1,), (1, (2, [3, {"k": (4, 5, 6, 7)}]))),
    }


@pytest.fixture
def sample() -> dict[str, Any]:
    return _sample()


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        facts = [(type(t), t.dtype, t.shape, t._strides, t._offset, t.requires_grad) for t in (a, b)]
        return facts[0] == facts[1] and a._array().tobytes() == b._array().tobytes()
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        same = list(a) == list(b) and all(_same(a[k], b[k]) for k in a)
        return same and getattr(a, "__dict__", {}).keys() == getattr(b, "__dict__", {}).keys()
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(_same, a, b))
    return a == b


@pytest.fixture
def same() -> Callable[[Any, Any], bool]:
    """Whether two loaded objects agree in types, values, dtypes, strides and gradient flags."""
    return _same


@pytest.fixture
def saved() -> Callable[..., bytes]:
    """The bytes that `save` writes."""

    def run(obj: Any, **options: Any) -> bytes:
        buffer = io.BytesIO()
        save(obj, buffer, **options)
        return buffer.getvalue()

    return run


@pytest.fixture
def loaded() -> Callable[..., Any]:
    """What `load` makes of bytes."""
    return lambda data, **options: load(io.BytesIO(data), **options)


@pytest.fixture
def archive() -> Callable[..., bytes]:
    """A checkpoint around a pickle written by hand; storages by key."""

    def make(pickle: bytes, storages: dict[str, bytes] | None = None) -> bytes:
        buffer = io.BytesIO()
        writer = ArchiveWriter(buffer, "archive")
        writer.write("data.pkl", pickle)
        writer.write("byteorder", b"little")
        for key, data in (storages or {}).items():
            writer.write(f"data/{key}", data)
        writer.close()
        return buffer.getvalue()

    return make
