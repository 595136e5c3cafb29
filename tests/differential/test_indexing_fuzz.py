"""Random indices, reading and writing, beside PyTorch: shapes, strides, values, gradients."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch

import flambeau

pytestmark = pytest.mark.filterwarnings("ignore")


def part(rng: random.Random, size: int) -> Any:
    """One piece of an index; arrays stand for index tensors of either library."""
    kind = rng.choice(["int", "slice", "slice", "all", "list", "tensor", "tensor2", "mask"])
    if kind == "int" and size:
        return rng.randrange(-size, size)
    if kind == "slice":
        ends = [rng.choice([None, rng.randint(-size - 1, size + 1)]) for _ in range(2)]
        return slice(*ends, rng.choice([None, 1, 2, 3]))
    if kind == "list" and size:
        return [rng.randrange(-size, size) for _ in range(2)]
    if kind == "tensor" and size:
        return np.array([rng.randrange(-size, size) for _ in range(2)])
    if kind == "tensor2" and size:
        return np.array([[rng.randrange(size)], [rng.randrange(size)], [rng.randrange(size)]])
    if kind == "mask" and size >= 2:
        mask = np.zeros(size, bool)
        mask[rng.sample(range(size), 2)] = True
        return mask
    return slice(None)


def random_index(rng: random.Random, shape: tuple[int, ...]) -> tuple:
    parts: list[Any] = [part(rng, n) for n in shape[: rng.randint(0, len(shape))]]
    if rng.random() < 0.3:
        where = rng.randint(0, len(parts))
        tail = [part(rng, n) for n in shape[len(shape) - (len(parts) - where) :]]
        parts = [*parts[:where], Ellipsis, *tail]
    if rng.random() < 0.3:
        parts.insert(rng.randint(0, len(parts)), None)
    return tuple(parts)


def index_for(lib: Any, index: tuple) -> tuple:
    return tuple(lib.from_numpy(p) if isinstance(p, np.ndarray) else p for p in index)


def base(lib: Any, shape: tuple[int, ...], order: list[int]) -> Any:
    return lib.arange(float(np.prod(shape))).view(*shape).permute(*order) if shape else lib.tensor(1.0)


def outcome(lib: Any, shape: tuple, order: list[int], index: tuple, write: bool) -> tuple:
    leaf = base(lib, shape, order).clone().requires_grad_()
    x = leaf.clone()
    try:
        found = index_for(lib, index)
        read = x[found]
        if write:
            value = lib.arange(float(read.numel())).view(read.shape).requires_grad_()
            x[found] = value * 2
            read = x
    except (IndexError, RuntimeError, ValueError, TypeError) as error:
        return type(error).__name__, str(error).partition(" (Triggered")[0]
    weights = lib.arange(float(read.numel())).view(read.shape) % 5 - 2
    if read.numel():
        (read * weights).sum().backward()
    strides = tuple(s for s, n in zip(read.stride(), read.shape) if n > 1) if read.numel() else ()
    grads = [t.grad.tolist() if t.grad is not None else None for t in ([leaf, value] if write else [leaf])]
    return tuple(read.shape), strides, read.tolist(), grads


@pytest.mark.parametrize("seed", range(60))
def test_random_indices(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(15):
        shape = tuple(rng.choice([1, 2, 3, 4]) for _ in range(rng.randint(1, 4)))
        order = list(range(len(shape)))
        rng.shuffle(order)
        index = random_index(rng, tuple(shape[d] for d in order))
        for write in (False, True):
            if write and has_repeats(index):
                continue  # which of several writes to one place wins is anybody's guess
            mine, theirs = (outcome(lib, shape, order, index, write) for lib in (flambeau, torch))
            assert mine == theirs, (shape, order, index, write)


def has_repeats(index: tuple) -> bool:
    return any(isinstance(p, (list, np.ndarray)) and np.asarray(p).dtype != bool for p in index)
