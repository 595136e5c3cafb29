"""Garbage is collected rarely while a program is made, and as before afterwards."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

import flambeau as torch
from flambeau.engine import execute, program
from flambeau.engine.garbage import RARELY, collected_rarely


@pytest.fixture(autouse=True)
def thresholds() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*before)


def test_thresholds_are_put_back() -> None:
    with collected_rarely():
        assert gc.get_threshold() == RARELY
        with collected_rarely():
            assert gc.get_threshold() == RARELY
        assert gc.get_threshold() == RARELY
    assert gc.get_threshold() == (700, 10, 10)
    with pytest.raises(KeyboardInterrupt), collected_rarely():
        raise KeyboardInterrupt
    assert gc.get_threshold() == (700, 10, 10)


def test_two_threads_may_end_in_any_order() -> None:
    first, second = collected_rarely(), collected_rarely()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    second.__exit__(None, None, None)
    assert gc.get_threshold() == (700, 10, 10)


@pytest.mark.parametrize("own", [(0, 10, 10), (100_000, 5, 5)])
def test_what_the_program_has_set_stays(own: tuple[int, int, int]) -> None:
    gc.set_threshold(*own)
    with collected_rarely():
        assert gc.get_threshold() == own
    assert gc.get_threshold() == own
    gc.set_threshold(700, 10, 10)
    with collected_rarely():
        gc.set_threshold(*own)
    assert gc.get_threshold() == own


def test_programs_are_made_so(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    plan = program.plan
    monkeypatch.setattr(program, "plan", lambda *a, **k: (seen.append(gc.get_threshold()), plan(*a, **k))[1])
    before = execute.mode()
    execute.set_mode("compiled", 0)
    try:
        assert (torch.ones(3) * 5).add(1).tolist() == [6.0, 6.0, 6.0]
    finally:
        execute.set_mode(before)
    assert seen and set(seen) == {RARELY}
    assert gc.get_threshold() == (700, 10, 10)
