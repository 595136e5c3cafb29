"""Recording: optimizers replayed, and what happens to memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import flambeau as torch
from flambeau.engine import execute, record
from flambeau.engine.runtime import allocator
from tests.engine.everywhere import compiled, everywhere, recording  # noqa: F401

F = torch.nn.functional


def network() -> tuple[Any, Any]:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    return net, torch.optim.Adam(net.parameters(), lr=0.01)


def trained(net: Any, optimizer: Any, x: Any) -> float:
    optimizer.zero_grad()
    loss = net(x).square().mean()
    loss.backward()
    optimizer.step()
    return loss.item()


# -- optimizers, replayed --------------------------------------------------------------------------------------------


def test_an_optimizer_that_is_changed_in_mid_run() -> None:
    def program() -> Iterator[Any]:
        torch.manual_seed(0)
        first, second = torch.nn.Linear(3, 4), torch.nn.Linear(4, 1)
        optimizer = torch.optim.Adam(
            [{"params": first.parameters()}, {"params": second.parameters(), "lr": 0.1}], lr=0.01
        )
        x = torch.linspace(-1, 1, 12).reshape(4, 3)
        saved = None
        for i in range(20):
            optimizer.zero_grad(set_to_none=i % 3 != 2)
            loss = second(first(x).tanh()).square().mean()
            loss.backward()
            if i == 6:
                saved = optimizer.state_dict()
            if i == 9:
                optimizer.load_state_dict(saved)
            if i == 11:
                first.weight.data = first.weight.data * 0.5
            if i == 13:
                second.weight.grad = None
            if i == 15:
                optimizer.param_groups[1]["weight_decay"] = 0.1
            if i == 17:
                optimizer.state[first.weight]["exp_avg"].mul_(0.5)
            optimizer.step()
            yield [loss.item(), *first.weight.flatten().tolist(), *second.bias.tolist()]

    everywhere(program, 1e-4)


def test_parameters_that_lie_in_one_memory() -> None:
    def program() -> Iterator[Any]:
        flat = torch.linspace(-1, 1, 10)
        parameters = [torch.nn.Parameter(flat[:4].clone()), torch.nn.Parameter(flat[4:].clone())]
        optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9)
        for i in range(14):
            if i == 7:
                flat = torch.cat([p.data for p in parameters])
                parameters[0].data, parameters[1].data = flat[:4], flat[4:]
            optimizer.zero_grad()
            sum((p * p).sum() for p in parameters).backward()
            optimizer.step()
            yield [*flat.tolist(), *parameters[0].tolist(), *parameters[1].tolist()]

    everywhere(program)


# -- memory ------------------------------------------------------------------------------------------------------------


def test_pooled_values_go_back_to_the_pool() -> None:
    x = torch.ones(20_000)  # smaller ones a program keeps for itself

    def step() -> None:
        y = x * 2 + 1
        y[:10].add_(5)
        y.mul_(2)
        assert (y.sum() + y.square().sum()).item() > 0

    for _ in range(6):
        step()
    before = allocator.memory_stats()
    for _ in range(200):
        step()
    after = allocator.memory_stats()
    assert (
        after["mapped"] == before["mapped"] and after["live"] == before["live"] and after["reused"] > before["reused"]
    )


def test_overwritten_values_are_not_computed() -> None:
    """What an in-place op overwrites is nobody's: the program need not give it."""
    wanted: list[int] = []
    original = record.alive

    def counted(values: Any, results: Any) -> Any:
        found = original(values, results)
        wanted.append(len(found))
        return found

    realize = __import__("flambeau.engine.realize", fromlist=["alive"])
    realize.alive = counted
    try:
        x = torch.ones(4)
        execute.settle()
        wanted.clear()
        y = x * 2
        y.relu_().add_(1)
        y[1:3].mul_(2)
        y[0:2].add_(y[2:4])
        assert y.tolist() == [9.0, 9.0, 6.0, 3.0]
        assert wanted == [1]
    finally:
        realize.alive = original


def test_counters_whose_memory_was_shared_count_from_the_first_time_on() -> None:
    norm, saved = torch.nn.BatchNorm1d(2), torch.tensor(7)
    norm.load_state_dict(norm.state_dict() | {"num_batches_tracked": saved + 1})
    norm(torch.ones(4, 2))
    assert norm.num_batches_tracked.item() == 9 and saved.item() == 7
