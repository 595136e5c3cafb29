"""Data that NumPy sees as well: what is read of it is read at the call, and no more than that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import flambeau as torch
from flambeau.engine import execute, record
from flambeau.utils.data import DataLoader, TensorDataset
from tests.engine.everywhere import compiled, everywhere, recording  # noqa: F401

nn, F = torch.nn, torch.nn.functional

ROWS, WIDE, BATCH = 4096, 8, 16


def data_set() -> tuple[np.ndarray, np.ndarray]:
    x = np.linspace(-1, 1, ROWS * WIDE, dtype=np.float32).reshape(ROWS, WIDE)
    return x, np.arange(ROWS) % 3


def slices(x: np.ndarray, y: np.ndarray) -> Iterator[Any]:
    inputs, targets = torch.from_numpy(x), torch.from_numpy(y)
    for at in range(0, ROWS, BATCH):
        yield inputs[at : at + BATCH], targets[at : at + BATCH]


def fresh(x: np.ndarray, y: np.ndarray) -> Iterator[Any]:
    for at in range(0, ROWS, BATCH):
        yield torch.from_numpy(x[at : at + BATCH]), torch.from_numpy(y[at : at + BATCH])


def picked(x: np.ndarray, y: np.ndarray) -> Iterator[Any]:
    inputs, targets = torch.from_numpy(x), torch.from_numpy(y)
    torch.manual_seed(1)
    for _ in range(ROWS // BATCH):
        rows = torch.randperm(ROWS)[:BATCH]
        yield inputs[rows], targets[rows]


def loaded(x: np.ndarray, y: np.ndarray) -> Iterator[Any]:
    torch.manual_seed(1)
    yield from DataLoader(TensorDataset(torch.from_numpy(x), torch.from_numpy(y)), batch_size=BATCH, shuffle=True)


def columns(x: np.ndarray, y: np.ndarray) -> Iterator[Any]:
    inputs, targets = torch.from_numpy(np.asfortranarray(x)), torch.from_numpy(y)
    for at in range(0, ROWS, BATCH):
        yield inputs.t()[:, at : at + BATCH].t(), targets[at : at + BATCH]


WAYS = [slices, fresh, picked, loaded, columns]


def steps(batches: Iterator[Any], count: int, look: bool = False) -> Iterator[Any]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(WIDE, 6), nn.ReLU(), nn.Linear(6, 3))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for _, (inputs, targets) in zip(range(count), batches):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(inputs), targets)
        if look:
            yield loss.item()
        loss.backward()
        optimizer.step()
        yield loss.item()


@pytest.mark.parametrize("look", [False, True])
@pytest.mark.parametrize("batches", WAYS)
def test_training_on_it(batches: Callable[..., Iterator[Any]], look: bool) -> None:
    x, y = data_set()
    everywhere(lambda: steps(batches(x, y), 12, look))


@pytest.mark.parametrize("batches", WAYS)
def test_only_what_is_used_is_copied(batches: Callable[..., Iterator[Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execute, "LITTLE", 1 << 12)
    copied: list[int] = []
    copy = record.Recorder._copy

    def counted(self: Any, x: Any, number: int) -> Any:
        value = copy(self, x, number)
        copied.append(value.nbytes)
        return value

    monkeypatch.setattr(record.Recorder, "_copy", counted)
    x, y = data_set()
    list(steps(batches(x, y), 12))
    reach = ROWS * WIDE * 4 if batches is columns else BATCH * WIDE * 8
    assert max(copied, default=0) <= reach


@pytest.mark.parametrize("look", [False, True])
@pytest.mark.parametrize("batches", [slices, fresh, picked])
def test_it_is_recorded_once(batches: Callable[..., Iterator[Any]], look: bool) -> None:
    x, y = data_set()
    training = steps(batches(x, y), 40, look)
    for _i in range(16 if look else 8):
        next(training)
    with recording() as new:
        for _ in range(16):
            next(training)
    assert not new, new


def test_changes_between_forward_and_backward_are_seen() -> None:
    def program() -> Iterator[Any]:
        memory = np.ones((4, 3), np.float32)
        x, w = torch.from_numpy(memory), torch.ones(3, requires_grad=True)
        for i in range(12):
            loss = (x[1:3] * w).sum()
            if i % 3 == 2:
                memory *= 1.5
            if i % 2:
                yield loss.item()
            (g,) = torch.autograd.grad(loss, w)
            yield g.tolist()
            memory[2] += i

    everywhere(program)


def test_one_batch_used_twice_and_changed_in_between() -> None:
    def program() -> Iterator[Any]:
        memory = np.arange(8, dtype=np.float32)
        x = torch.from_numpy(memory)
        for i in range(10):
            first = x[2:5] * 2
            memory[3] = i
            second = x[2:5] * 3 + x[3]
            yield (first + second).tolist()
            yield x[::2].sum().item()
            x[4:].mul_(0.5)

    everywhere(program)


def test_picking_from_it_happens_at_the_call() -> None:
    memory = np.arange(65536, dtype=np.float32).reshape(-1, 4)
    x, rows = torch.from_numpy(memory), torch.tensor([3, 1])
    for pick in (
        lambda: x[rows], lambda: x.index_select(0, rows), lambda: F.embedding(rows, x),
        lambda: x.gather(0, rows.expand(4, 2).t()), lambda: x.take(rows * 4).reshape(2, 1).expand(2, 4),
    ):  # fmt: skip
        for _ in range(3):
            found = pick()
            memory[3] += 1
            assert (memory[3] - found[0].numpy()).tolist()[0] == 1
