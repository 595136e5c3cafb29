"""Matched calls and replayed walks: what they must be told from, and that they are.

Programs change something between one time and the next, such as what shares memory, hooks, modes, or kinds of numbers.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import flambeau as torch
from flambeau.autograd import walk
from flambeau.engine import execute
from tests.engine.everywhere import compiled, everywhere  # noqa: F401

F = torch.nn.functional


def test_operands_that_were_different_and_are_the_same() -> None:
    def program() -> Iterator[Any]:
        a, b, c = torch.arange(3.0), torch.ones(3), torch.full((3,), 2.0)
        for i in range(24):
            x, y, z = (a, b, c) if i < 10 else [(a, a, c), (a, b, b), (a, b, a), (b, a, c)][i % 4]
            s = torch.addcmul(x, y, z)
            into = execute.recorder()
            assert into is None or len({*map(id, into.values)}) == len(into.values), "a value has two numbers"
            yield s.tolist()
            yield (x * 2 + x + y).tolist()

    everywhere(program)


def test_calls_that_come_with_something_else() -> None:
    """Everything that a matched call may be told from: looks, history, kinds of numbers, modes, threads' memory."""

    def program() -> Iterator[Any]:
        data = torch.arange(24.0).view(4, 6)
        for i in range(40):
            x = data[i % 3 :: 2, : 4 if i % 5 == 3 else 5] if i % 2 else torch.ones(2, 5)
            w = torch.full((5,), 1.5, requires_grad=i % 7 == 6)
            kept = x
            if i == 12:
                x = x.double()
            if i in (13, 14) and i % 2:
                x = x.t().contiguous().t()
            if i == 20:
                x = torch.from_numpy(np.ones((2, 5), np.float32))
            with torch.inference_mode(i == 21), torch.set_grad_enabled(i % 11 != 10):
                y = F.leaky_relu(x[:, :4] - 1, 0.0 if i % 9 else -0.0)
                z = (y * (2 if i % 4 else 2.0) + (True if i == 17 else 1)).sum(0, keepdim=i % 6 == 5)
                v = z * w[:4]
            yield [*v.detach().flatten().tolist(), float(v.requires_grad), float(v.dtype is torch.float64), v.dim()]
            if v.requires_grad:
                v.sum().backward()
                yield w.grad.tolist()
            yield kept.sum().item()

    everywhere(program)


def test_a_loss_that_is_read_before_backward(monkeypatch: pytest.MonkeyPatch) -> None:
    """The walk is replayed though its nodes were made in segments that are realized by now."""
    walks: list[Any] = []
    run = walk._Walk.run
    monkeypatch.setattr(walk._Walk, "run", lambda self: walks.append(self) or run(self))
    data, scale = torch.randn(64, 6, generator=torch.Generator().manual_seed(1)), torch.full((3,), 0.5)

    def program() -> Iterator[Any]:
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3))
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        for i in range(16):
            optimizer.zero_grad(set_to_none=i % 8 != 7)
            out = net(data[4 * i : 4 * i + 4]) * scale
            yield out.detach().abs().max().item()
            loss = (out * (2.0 if i != 9 else 3.0)).square().mean()
            yield loss.item()
            walks.clear()
            loss.backward()
            if execute.mode() == "compiled" and i in (5, 6, 12, 13):
                assert not walks, f"walked in step {i}"
            if i == 14:
                scale.mul_(2)
            optimizer.step()
            yield from (p.grad.abs().sum().item() for p in net.parameters())
        scale.fill_(0.5)

    everywhere(program)


def test_what_changes_between_a_read_and_backward() -> None:
    def program() -> Iterator[Any]:
        w, u = torch.ones(3, requires_grad=True), torch.full((3,), 2.0, requires_grad=True)
        for i in range(28):
            x = (torch.arange(3.0) + i) / 300
            y = (w * x * u * w).tanh()
            yield y.sum().item()
            if i == 8:
                w.data = torch.full((3,), 3.0)
            if i == 9:
                x.mul_(2)
            if i == 10:
                y.register_hook(lambda g: g * 3)
            if i == 11:
                y.grad_fn.next_functions[0][0].register_hook(lambda given, out: tuple(g * 2 for g in given))
            if i == 12:
                w.data, u.data = u.data, u.data
            if i == 14:
                w.data, u.data = torch.full((3,), 2.0), torch.full((3,), 3.0)
            if i == 18:
                with torch.no_grad():
                    u.mul_(1.5)
                yield u.sum().item()
            if i == 21:
                y.register_hook(lambda g: g * 7)
            if i == 26:
                node = y.grad_fn
                while node.next_functions:
                    node = node.next_functions[0][0]
                node.register_prehook(lambda g: (g[0] * 5,))
            try:
                y.sum().backward()
            except RuntimeError as error:
                assert "modified by an inplace operation" in str(error)
                yield -1.0
                continue
            yield w.grad.tolist()
            yield u.grad.tolist()
            if i % 4 == 3:
                w.grad = u.grad = None

    everywhere(program)


def test_parameters_that_shared_memory_and_part() -> None:
    """And gradients that come to be shared: what a step or a walk does is told by memory, not by names."""

    def program() -> Iterator[Any]:
        p, q = torch.zeros(3, requires_grad=True), torch.ones(3, requires_grad=True)
        p.data = q.data
        optimizer = torch.optim.SGD([p, q], lr=0.5)
        for i in range(20):
            if i == 8:
                q.data = torch.full((3,), 2.0)
            if i == 14:
                p.grad = q.grad
            optimizer.zero_grad(set_to_none=i < 10)
            ((p * 2).sum() + (q * q).sum()).backward()
            optimizer.step()
            yield [*p.tolist(), *q.tolist(), *p.grad.tolist(), *q.grad.tolist()]

    everywhere(program)


def test_gradients_that_were_one_and_are_two() -> None:
    def program() -> Iterator[Any]:
        p, q = torch.zeros(3, requires_grad=True), torch.ones(3, requires_grad=True)
        optimizer = torch.optim.SGD([p, q], lr=0.5)
        for i in range(16):
            optimizer.zero_grad()
            ((p * 2).sum() + (q * q).sum()).backward()
            if i < 8:
                p.grad = q.grad
            yield [p.grad.sum().item(), q.grad.sum().item()]
            optimizer.step()
            yield [*p.tolist(), *q.tolist()]

    everywhere(program)


def test_gradients_that_were_two_and_are_one() -> None:
    def program() -> Iterator[Any]:
        p, q = torch.zeros(3, requires_grad=True), torch.ones(3, requires_grad=True)
        for i in range(16):
            if i == 8:
                p.grad = q.grad
            ((p * 2).sum() + (q * 3).sum()).backward()
            yield [p.grad.sum().item(), q.grad.sum().item()]

    everywhere(program)


def test_graphs_that_part_and_meet_elsewhere() -> None:
    """The same ops and memory, but an edge leads to a leaf or node that another one led to before."""

    def program() -> Iterator[Any]:
        p, q = torch.full((3,), 2.0, requires_grad=True), torch.full((3,), 2.0, requires_grad=True)
        q.data = p.data
        handle = None
        for i in range(36):
            a, b = (p, q) if i % 12 < 6 else (p, p)
            x, y = a * 3, a * 3
            z = (x * y if i < 24 or i % 4 else x * x) + b
            if i in (17, 18):
                handle = x.grad_fn.register_hook(lambda given, out: tuple(g if g is None else g * 2 for g in given))
            if i in (18, 31):
                handle.remove()
            if i in (29, 30):
                handle = p.register_hook(lambda g: g * 5)
            if i == 33:
                x.retain_grad()
            (z * z.detach()).sum().backward()
            yield p.grad.tolist()
            yield q.grad.tolist() if q.grad is not None else []
            if i == 33:
                yield x.grad.tolist()
            p.grad = q.grad = None

    everywhere(program)


def test_another_thread_settles_what_is_being_matched() -> None:
    """It waits for a call that is under way, and calls wait for it: values keep their numbers."""
    x = torch.arange(5.0)
    latest: list[Any] = [x]
    done = threading.Event()
    wrong: list[Any] = []

    def look() -> None:
        while not done.is_set():
            y, wanted = latest[-1], None
            try:
                wanted = (y * 1.0).tolist()
            except Exception as error:  # noqa: BLE001
                wrong.append(error)
            if wanted is not None and [w - wanted[0] for w in wanted] != [0.0, 1.0, 2.0, 3.0, 4.0]:
                wrong.append(wanted)

    others = [threading.Thread(target=look) for _ in range(2)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    for thread in others:
        thread.start()
    try:
        for _ in range(120):
            y = x
            for _ in range(20):
                y = y + 1
                latest[0] = y
            assert y.tolist() == [20.0, 21.0, 22.0, 23.0, 24.0]
    finally:
        sys.setswitchinterval(interval)
        done.set()
        for thread in others:
            thread.join()
    into = execute.recorder()
    assert not wrong and into is not None and not into.busy and not into.claimed


def test_a_recorder_that_is_busy_or_claimed() -> None:
    x = torch.arange(3.0)
    for _ in range(8):
        torch.add(x, x)
        execute.settle()
    into = execute.recorder()
    assert into is not None
    y = torch.add(x, x)
    into.busy = True  # as a written-out call is while it runs
    other = threading.Thread(target=into.settle)
    other.start()
    other.join(0.05)
    assert other.is_alive() and into.claimed and y._storage.value.data is None
    entry = into.root.hot
    assert entry is not None and entry.direct(into, (x, x), {}) is None
    into.busy = False
    other.join()
    assert not into.claimed and y._storage.value.data is not None
    into.claimed = True
    assert entry.direct(into, (x, x), {}) is None and not into.values
    into.claimed = False
    assert entry.direct(into, (x, x), {}).tolist() == y.tolist() == [0.0, 2.0, 4.0]
