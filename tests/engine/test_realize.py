"""When a segment runs by the references, when as a program, and what happens to programs that do not pay."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest

import flambeau as torch
from flambeau.engine import execute, program, realize


@pytest.fixture(autouse=True)
def compiled() -> Iterator[None]:
    before = execute.mode()
    execute.set_mode("compiled", 2)
    yield
    execute.set_mode(before)


def test_the_third_sighting_runs_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[int] = []
    run = program.Program.run
    monkeypatch.setattr(program.Program, "run", lambda self, *a: (ran.append(1), run(self, *a))[1])
    x = torch.arange(10.0)
    for step in range(6):
        assert (x * 2 + 1).sum().item() == 100
        assert len(ran) == max(0, step - 1)


def test_a_program_slower_than_the_references_is_replaced_by_one_that_is_not_fused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fused: dict[int, bool] = {}
    compile, run = program.compiled, program.Program.run

    def compiling(segment: object, wanted: object, fuse: bool) -> object:
        made = compile(segment, wanted, fuse)
        fused[id(made)] = fuse
        return made

    def running(self: program.Program, *args: object) -> bool:
        used.append(fused[id(self)])
        if used[-1]:
            time.sleep(0.03)
        return run(self, *args)

    used: list[bool] = []
    monkeypatch.setattr(program, "compiled", compiling)
    monkeypatch.setattr(program.Program, "run", running)
    x = torch.linspace(0, 1, 1000)
    results = [(x * 3 + 1).exp().sum().item() for _ in range(2 + realize.TRIALS + 4)]
    assert used == [True] * realize.TRIALS + [False] * 4
    assert len(set(results[2:])) == 1  # the switch changes no bit
    assert np.isclose(results[0], results[-1], rtol=1e-5)


def test_small_segments_are_compiled_only_when_they_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    submitted: list[int] = []
    submit = realize.compiler.submit
    monkeypatch.setattr(
        realize.compiler,
        "submit",
        lambda segment, *a, **k: (submitted.append(len(segment)), submit(segment, *a, **k))[1],
    )
    x = torch.ones(3)
    assert (x + 41).sum().item() == 126
    assert not submitted
    assert (x + 42).sum().item() == 129  # a number is no part of a segment
    assert submitted == [2]


def test_what_does_not_depend_on_an_op_that_fails_is_computed() -> None:
    x, table = torch.ones(3), torch.arange(6.0).reshape(3, 2)
    index = (torch.tensor([1, 2]) + 2) * 2  # two pending ops: too many to be foreseen
    good, bad = x * 2, torch.nn.functional.embedding(index, table)
    with pytest.raises(IndexError, match="index out of range") as error:
        bad.sum().item()
    assert any(__file__ in note for note in error.value.__notes__)
    assert good.tolist() == [2.0, 2.0, 2.0]
    with pytest.raises(IndexError):
        bad.tolist()


def test_an_arena_that_grows_does_not_hold_the_old_one(monkeypatch: pytest.MonkeyPatch) -> None:
    scratch, held = program._Scratch(), []

    def empty(nbytes: int) -> np.ndarray:
        held.append(scratch.memory.size)
        return np.empty(nbytes, np.uint8)

    monkeypatch.setattr(program, "empty_bytes", empty)
    assert scratch.of(1000) == scratch.of(10)
    scratch.of(5000)
    assert held == [0, 0]
