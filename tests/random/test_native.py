"""The compiled stream beside NumPy's: the same numbers, the same place reached, from every place of the stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from flambeau.random import Generator, continuous, discrete, native, normal
from flambeau.random.kernels import KERNELS

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
DRAWS: dict[str, Callable[[Generator, int], np.ndarray]] = {
    "raw": lambda g, n: g.raw(n),
    "raw64": lambda g, n: g.raw64(n),
    "singles": continuous.standard_singles,
    "doubles": continuous.standard_doubles,
    "uniform": lambda g, n: continuous.uniform(g, n, -0.3, 1.7, F32),
    "bernoulli": lambda g, n: discrete.bernoulli(g, n, 0.3, F32),
    "bernoulli double": lambda g, n: discrete.bernoulli(g, n, 1 / 3, F64),
    "bernoulli byte": lambda g, n: discrete.bernoulli(g, n, 0.9, np.dtype(np.bool_)),
    "bernoulli half": lambda g, n: discrete.bernoulli(g, n, 0.5, np.dtype(np.float16)),
    "always": lambda g, n: discrete.bernoulli(g, n, 1.0, F32),
    "never": lambda g, n: discrete.bernoulli(g, n, 0.0, F32),
    "normal": lambda g, n: normal.normal(g, n, 0.0, 1.0, F32),
    "scaled normal": lambda g, n: normal.normal(g, n, 0.25, 3.0, F32),
    "half normal": lambda g, n: normal.normal(g, n, 0.0, 1.0, np.dtype(np.float16)),
    "double normal": lambda g, n: normal.normal(g, n, 0.0, 1.0, F64),
    "integers": lambda g, n: discrete.integers(g, n, -3, 1000, np.dtype(np.int64)),
    "permutation": lambda g, n: discrete.permutation(g, n, np.dtype(np.int64)),
}


@pytest.fixture
def compiled(monkeypatch: Any) -> Any:
    monkeypatch.setattr(native.library, "off", False)
    for kernel in KERNELS:
        native.library.load(kernel)
    return native.library.functions


@pytest.mark.parametrize("name", DRAWS)
def test_numbers_are_numpys(name: str, compiled: Any, monkeypatch: Any) -> None:
    draw = DRAWS[name]
    for before in (0, 1, 5, 623, 624):
        for n in (1, 15, 16, 17, 100, 619, 624, 625, 5000, 20003):
            twins = [Generator().manual_seed(before + n) for _ in range(2)]
            found = []
            for twin, functions in zip(twins, (compiled, {})):
                monkeypatch.setattr(native.library, "functions", functions)
                monkeypatch.setattr(native.library, "off", True)
                twin.raw(before)
                found.append((draw(twin, n), draw(twin, n)))
            for got, want in zip(*found):
                assert got.dtype == want.dtype and got.tobytes() == want.tobytes(), (before, n)
            assert (twins[0].state_bytes() == twins[1].state_bytes()).all()


def test_is_compiled_in_the_background(monkeypatch: Any) -> None:
    library = native._Library()
    library.off = False
    monkeypatch.setattr(native, "library", library)
    g, same = (Generator().manual_seed(3) for _ in range(2))
    first = g.raw(native.ENOUGH)
    library.threads["raw"].join()
    assert library.functions and (first == same.raw(native.ENOUGH)).all()
    assert (g.raw(1000) == same._twister.random_raw(1000)).all()
    library.forked()
    assert "raw" in library.threads
