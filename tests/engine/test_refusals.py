"""Programs that look at data which they may refuse: what they overwrite afterwards needs no copy, what before does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import flambeau as torch
from flambeau.engine.program import Program

F = torch.nn.functional


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Program]]:
    found: list[Program] = []
    run = Program.run

    def noted(self: Program, values: list[Any], numbers: list[Any]) -> bool:
        if self not in found:
            found.append(self)
        return run(self, values, numbers)

    monkeypatch.setattr(Program, "run", noted)
    yield found


def steps(count: int, weight: Any, before: Any, base: Any, bad: int = -1) -> Iterator[float]:
    """Indices are computed, so that only the kernel can look at them; `before` is overwritten by then."""
    data = torch.arange(12)
    for step in range(count):
        before.add_(1)
        scale = (before * 2).sum()
        index = torch.stack([data[:4], data[4:8] + (100 if step == bad else 0)]) + base
        loss = (F.embedding(index, weight) * scale).square().mean()
        loss.backward()
        with torch.no_grad():
            weight.sub_(weight.grad, alpha=1e-4)
            weight.grad = None
        yield loss.item()


def test_only_what_is_written_before_is_copied(made: list[Program]) -> None:
    weight, before = torch.randn(16, 3, requires_grad=True), torch.zeros(5)
    assert len(list(steps(6, weight, before, torch.zeros((), dtype=torch.int64)))) == 6
    program = made[-1]
    assert program.refusing is not None and len(program.pieces) > 1
    sizes = [program.graph.inputs[n] for n in program.endangered]
    assert weight.numel() * 4 not in sizes


def test_nothing_is_overwritten_when_data_are_refused(made: list[Program]) -> None:
    weight, before = torch.randn(16, 3, requires_grad=True), torch.zeros(5)
    with pytest.raises(IndexError):
        for step, _ in enumerate(steps(9, weight, before, torch.zeros((), dtype=torch.int64), bad=6)):
            kept = weight.detach().clone().tolist()
            assert before.tolist() == [step + 1] * 5
    assert weight.tolist() == kept and before.tolist() == [7] * 5
    assert any(program.refusing is not None for program in made)
