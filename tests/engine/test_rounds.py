"""Loops whose number of rounds changes: their recordings are cut into rounds, so that they come again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import flambeau as torch
from flambeau.engine import execute, realize, rounds
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


def depths_of(run: Callable[[], Any]) -> list[int]:
    """How long the segments are that a function's ops make."""
    found: list[int] = []
    original = execute.realize

    def noted(segment: Any, *args: Any, **kwargs: Any) -> None:
        found.append(len(segment))
        original(segment, *args, **kwargs)

    execute.realize = noted
    try:
        run()
        execute.settle()
    finally:
        execute.realize = original
    return found


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


@pytest.fixture
def submitted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths of the segments that are compiled."""
    found: list[int] = []
    submit = realize.compiler.submit
    monkeypatch.setattr(
        realize.compiler, "submit", lambda part, *a, **k: (found.append(len(part)), submit(part, *a, **k))[1]
    )
    return found


def test_little_is_compiled_of_what_does_not_come_again(submitted: list[int]) -> None:
    sequences = Sequences()
    for length in LENGTHS:
        sequences.train(length)
    first = [n for n in submitted if n > 100]
    assert len(first) <= 8, submitted


def test_little_is_compiled_of_short_recordings_that_do_not_come_again(submitted: list[int]) -> None:
    for rows in range(1, 60):
        x = torch.ones(rows)
        for _ in range(20):
            x = (x * 2).sqrt()
        assert x.sum().item() == pytest.approx(rows * x[0].item())
    assert 0 < len(submitted) < 16, submitted


def test_a_loop_of_one_length_stays_whole() -> None:
    sequences = Sequences()
    for _ in range(8):
        sequences.train(20)
    assert min(depths_of(lambda: sequences.train(20))) > 200


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


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(16), nn.Linear(16, 32), nn.Linear(32, 16)

    def forward(self, x: Any, mask: Any) -> Any:
        return x + self.down(F.gelu(self.up(self.norm(x)))) * mask


def test_batches_that_nobody_looks_at_do_not_pile_up(monkeypatch: Any) -> None:
    monkeypatch.setattr(rounds, "HEAVY", 1 << 14)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4))
    data = torch.linspace(-1, 1, 2400).reshape(300, 8)

    def evaluate() -> Any:
        with torch.no_grad():
            return torch.cat([net(data[i : i + 10]).argmax(1) for i in range(0, 300, 10)]).sum().item()

    with execute.immediately():
        expected = evaluate()
    first = depths_of(lambda: evaluate() == expected)
    assert max(first) < 60 and len(first) > 3, first  # 180 ops in all
    with recording() as new:
        for _ in range(3):
            assert evaluate() == expected
    assert not new


def test_layers_are_no_rounds(monkeypatch: Any) -> None:
    """They read other parameters, if the same mask."""
    monkeypatch.setattr(rounds, "HEAVY", 1 << 10)
    torch.manual_seed(0)
    blocks = nn.ModuleList([Block() for _ in range(12)])
    x, mask = torch.ones(4, 16), torch.ones(4, 16)
    for p in blocks.parameters():
        p.sum().item()

    def train() -> None:
        y = x
        for block in blocks:
            y = block(y, mask)
        y.sum().backward()

    assert len(depths_of(train)) == 1
