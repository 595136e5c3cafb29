"""Loops whose number of rounds changes: their recordings are cut into rounds, so that they come again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import flambeau as torch
from flambeau.engine import execute, realize
from tests.engine.everywhere import compiled, everywhere, recording  # noqa: F401

nn, F = torch.nn, torch.nn.functional


class Sequences:
    """A recurrent network over sequences of every length, written out step by step."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.cell, self.head = nn.Linear(6, 4), nn.Linear(4, 2)
        self.parameters = [*self.cell.parameters(), *self.head.parameters()]
        self.optimizer = torch.optim.SGD(self.parameters, lr=0.01, momentum=0.5)

    def train(self, length: int) -> float:
        state, total = torch.zeros(1, 4), 0.0
        for step in range(length):
            x = torch.full((1, 2), 0.1 * (step % 5))
            state = torch.tanh(self.cell(torch.cat([x, state], 1))) * 0.9
            total = total + F.mse_loss(self.head(state), x)
        self.optimizer.zero_grad()
        total.backward()
        self.optimizer.step()
        return total.item()


LENGTHS = [9, 14, 7, 21, 11, 18, 5, 26, 13, 30, 8, 17, 23, 6, 28, 12, 19, 25, 10, 29, 15, 22, 16, 27, 20, 24]


def test_any_number_of_rounds_gives_the_same_in_every_mode() -> None:
    def program() -> Iterator[Any]:
        sequences = Sequences()
        for length in LENGTHS:
            yield sequences.train(length)
        yield [v for p in sequences.parameters for v in p.flatten().tolist()]

    everywhere(program)


def test_lengths_that_were_never_seen_are_known() -> None:
    sequences = Sequences()
    new_ones = []
    for length in LENGTHS:
        with recording() as new:
            sequences.train(length)
        new_ones.append(len(new))
    assert min(new_ones[:4]) > 64
    assert max(new_ones[-6:]) < 16, new_ones


def test_little_is_compiled_of_what_does_not_come_again(monkeypatch: Any) -> None:
    submitted: list[int] = []
    submit = realize.compiler.submit
    monkeypatch.setattr(
        realize.compiler, "submit", lambda part, *a, **k: (submitted.append(len(part)), submit(part, *a, **k))[1]
    )
    sequences = Sequences()
    for length in LENGTHS:
        sequences.train(length)
    first = [n for n in submitted if n > 100]
    assert len(first) <= 5, submitted


def test_a_loop_of_one_length_stays_whole() -> None:
    sequences = Sequences()
    depths = []
    original = realize.realize

    def noted(segment: Any, *args: Any, **kwargs: Any) -> None:
        depths.append(len(segment))
        original(segment, *args, **kwargs)

    execute_realize, execute.realize = execute.realize, noted
    try:
        for _ in range(12):
            sequences.train(20)
    finally:
        execute.realize = execute_realize
    assert min(depths[-4:]) > 200, depths


def test_batches_of_new_shapes_are_not_cut() -> None:
    """The same layer twice is a round as well; but what begins with another shape does not branch off."""
    torch.manual_seed(0)
    net = nn.Sequential(*[nn.Sequential(nn.Linear(5, 5), nn.LayerNorm(5), nn.GELU()) for _ in range(12)])
    into = execute.recorder()
    for rows in range(1, 9):
        net(torch.ones(rows, 5)).sum().backward()
        assert into.cursor.depth > 64
        net.zero_grad()
        execute.settle()
