"""Programs that must give the same in every mode of recording, many times over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from flambeau.engine import execute, record
from flambeau.ops import matched

WAYS = (("lazy", None), ("compiled", None), ("compiled", 0))


@pytest.fixture(autouse=True)
def compiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = execute.mode()
    execute.set_mode("compiled", 2)
    monkeypatch.setattr(matched, "OFTEN", 2)
    yield
    execute.set_mode(before)


def everywhere(program: Callable[[], Iterator[Any]], rel: float = 1e-5) -> None:
    """What a program yields, in every mode as in immediate execution."""
    execute.set_mode("immediate")
    expected = list(program())
    for mode, patience in WAYS:
        execute.set_mode(mode, patience)
        for at, (found, wanted) in enumerate(zip(program(), expected, strict=True)):
            same = np.allclose(found, wanted, rel, 1e-6, equal_nan=True)
            assert same, f"{mode}, patience {patience}, {at}: {found}, not {wanted}"


@contextmanager
def recording() -> Iterator[list[str]]:
    """The names of the ops that are recorded anew, and of those whose shape rules run."""
    original, found = record.Recorder.record, []

    def counted(self: Any, op: Any, *args: Any) -> Any:
        found.append(getattr(op, "name", op))
        return original(self, op, *args)

    record.Recorder.record = counted  # type: ignore[method-assign]
    try:
        yield found
    finally:
        record.Recorder.record = original  # type: ignore[method-assign]
