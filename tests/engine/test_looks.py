"""Looks at results in the middle of a recording: `loss.item()` between forward and backward."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import flambeau as torch
from flambeau.engine import execute, record
from tests.engine.everywhere import compiled, everywhere, recording  # noqa: F401

nn, F = torch.nn, torch.nn.functional


class Training:
    """A small network on data that never changes."""

    def __init__(self, lr: float = 0.1) -> None:
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 3))
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=lr, momentum=0.9)
        self.x, self.y = torch.linspace(-1, 1, 24).reshape(4, 6), torch.tensor([0, 2, 1, 2])

    def loss(self) -> Any:
        self.optimizer.zero_grad()
        self.out = self.net(self.x)
        return F.cross_entropy(self.out, self.y)

    def finish(self, loss: Any) -> None:
        loss.backward()
        self.optimizer.step()

    def parameters(self) -> list[float]:
        return [v for p in self.net.parameters() for v in p.flatten().tolist()]


def test_a_look_before_backward_leaves_one_recording() -> None:
    training = Training()
    for i in range(12):
        with recording() as new:
            loss = training.loss()
            loss.item()
            into = execute.recorder()
            open_after = into.cursor is not into.root
            training.finish(loss)
        assert open_after == (i > 1), i  # the first recording made the data as well, and is another one
        assert not new or i < 3, (i, new)


@pytest.mark.parametrize("every", [1, 2, 5])
def test_looks_now_and_then(every: int) -> None:
    def program() -> Iterator[Any]:
        training = Training()
        for i in range(20):
            loss = training.loss()
            if i % every == 0:
                yield loss.item()
            training.finish(loss)
        yield training.parameters()

    everywhere(program)


def test_steps_with_and_without_a_look_share_what_was_recorded() -> None:
    training = Training()
    for i in range(16):
        with recording() as new:
            loss = training.loss()
            if i % 2:
                loss.item()
            training.finish(loss)
        assert not new or i < 4, (i, new)


def test_the_tree_may_be_planted_anew_at_any_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def losses() -> Iterator[float]:
        training = Training()
        for i in range(9):
            loss = training.loss()
            yield loss.item()
            if i % 3 == 2:
                loss = loss + training.out.exp().sum() * 0.1
                yield loss.item()
            training.finish(loss)

    expected = list(losses())
    for many in range(8, 120, 3):
        monkeypatch.setattr(record, "MANY_ENTRIES", many)
        execute.set_mode("compiled", -1)
        assert np.allclose(list(losses()), expected, 1e-5), many


def test_several_looks() -> None:
    def program() -> Iterator[Any]:
        training = Training()
        for _ in range(14):
            loss = training.loss()
            yield (training.out.argmax(1) == training.y).sum().item()
            yield loss.item()
            yield float(training.out.detach().abs().max())
            training.finish(loss)
        yield training.parameters()

    everywhere(program)
    training = Training()
    for i in range(14):
        with recording() as new:
            loss = training.loss()
            (training.out.argmax(1) == training.y).sum().item()
            loss.item()
            training.finish(loss)
        assert not new or i < 5, (i, new)


def test_what_comes_after_a_look_may_change() -> None:
    """Writes to what backward needs not, other losses, no backward at all, another learning rate, a hook."""

    def program() -> Iterator[Any]:
        training = Training()
        for i in range(40):
            loss = training.loss()
            value = loss.item()
            yield value
            if i % 7 == 3:
                loss = loss * 2 + training.out.sum() * 0.01
            if i % 5 == 4:
                continue
            if i % 6 == 5:
                training.x.mul_(1.01) if i % 4 else training.out.detach().zero_()
            if i == 30:
                training.net[0].weight.register_hook(lambda g: g * 0.5)
            training.optimizer.param_groups[0]["lr"] = 0.1 / (1 + i) * (1 + value)
            try:
                training.finish(loss)
            except RuntimeError as error:
                yield len(str(error).split()) > 3
            yield training.parameters()

    everywhere(program)


def test_numbers_before_and_after_a_look() -> None:
    def program() -> Iterator[Any]:
        w = torch.ones(5, requires_grad=True)
        for i in range(14):
            loss = (w * (0.5 + i) + (i + 1)).square().sum()
            value = loss.item()
            yield value
            (g,) = torch.autograd.grad(loss, w)
            with torch.no_grad():
                w -= g * (0.01 / (1 + value))
            yield w.tolist()

    everywhere(program)


def test_an_error_after_a_look_spoils_nothing_before_it() -> None:
    def program() -> Iterator[Any]:
        training = Training()
        table = torch.arange(6.0).reshape(3, 2)
        for i in range(12):
            loss = training.loss()
            yield loss.item()
            training.finish(loss)
            loss = training.loss()
            yield loss.item()
            if i % 4 == 3:
                index = (training.y + 2) * 2  # two pending ops: too many to be foreseen
                try:
                    (F.embedding(index, table).sum() + loss).item()
                except IndexError:
                    yield "IndexError"
            training.finish(loss)
            yield training.parameters()

    with pytest.raises(IndexError):
        F.embedding((torch.tensor([1, 2]) + 2) * 2, torch.ones(3, 2)).sum().item()
    expected = [v for v in program()]
    assert expected.count("IndexError") == 3
    numbers = [v for v in expected if v != "IndexError"]
    execute.set_mode("immediate")
    for found, wanted in zip(numbers, [v for v in program() if v != "IndexError"], strict=True):
        assert np.allclose(found, wanted, 1e-5, 1e-6)


def test_memory_that_numpy_writes_after_a_look() -> None:
    def program() -> Iterator[Any]:
        memory = np.ones(4, np.float32)
        x, w = torch.from_numpy(memory), torch.full((4,), 2.0, requires_grad=True)
        for i in range(12):
            loss = (x * w).sum()
            yield loss.item()
            memory += i
            total = loss + (x * w).sum()
            (g,) = torch.autograd.grad(total, w)
            yield [*g.tolist(), total.item()]
            loss.detach().numpy()[...] = 0
            yield loss.item()

    everywhere(program)


def test_a_loop_that_only_looks_ends_its_recordings() -> None:
    training = Training()
    depths = []
    for _ in range(20):
        training.loss().item()
        depths.append(execute.recorder().cursor.depth)
    assert not any(depths)


def episode(policy: Any, rounds: int) -> Iterator[float]:
    """An action is looked at in every round; all rounds are learned from at the end (REINFORCE)."""
    kept, state = [], torch.linspace(-1, 1, 4)
    for i in range(rounds):
        chances = torch.softmax(policy(state.unsqueeze(0)), 1)
        drawn = torch.distributions.Categorical(chances)
        action = drawn.sample()
        kept.append(drawn.log_prob(action) * (1 + i))
        yield action.item()
        state = torch.roll(state, 1) + 0.1 * action.item()
    loss = -torch.cat(kept).sum()
    policy.zero_grad()
    loss.backward()
    yield loss.item()
    with torch.no_grad():
        for p in policy.parameters():
            p -= 0.01 * p.grad
    yield float(sum(p.sum() for p in policy.parameters()))


def test_backward_over_many_looks() -> None:
    def program() -> Iterator[Any]:
        torch.manual_seed(0)
        policy = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
        for rounds in (1, 1, 1, 2, 3, 5, 2, 9, 5, 9, 1, 9, 7, 9):
            yield from episode(policy, rounds)

    everywhere(program)


def test_rounds_of_a_loop_stay_recordings_of_their_own() -> None:
    torch.manual_seed(0)
    policy = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    for i in range(24):
        with recording() as new:
            for _ in episode(policy, 9 if i > 2 else 1 + i):
                pass
        assert not new or i < 10, (i, new)
    known = [e for e in tree(execute.recorder().root) if getattr(e.op, "name", "") == "softmax" and e.matches]
    assert len(known) < 5, known


def tree(entry: Any) -> Iterator[Any]:
    for child in entry.children:
        yield child
        yield from tree(child)


def test_other_threads_may_end_a_recording_that_goes_on() -> None:
    training = Training()
    losses, seen = [], []
    for _ in range(10):
        loss = training.loss()
        losses.append(loss.item())
        thread = threading.Thread(target=lambda out=training.out: seen.append(out.sum().item()))
        thread.start()
        thread.join()
        training.finish(loss)
    alone = Training()
    for wanted, total in zip(losses, seen, strict=True):
        loss = alone.loss()
        assert loss.item() == pytest.approx(wanted, rel=1e-5)
        assert alone.out.sum().item() == pytest.approx(total, rel=1e-4, abs=1e-5)
        alone.finish(loss)
