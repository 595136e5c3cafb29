"""Gradients of split tensors: the sum of all pieces among zeros is planned as each of them in its place."""

from __future__ import annotations

import cProfile
from typing import Any

import numpy as np
import pytest

from flambeau.engine.plan import Plan
from flambeau.engine.schedule.planner import plan
from flambeau.ops.op import ops
from tests.engine.planned import Recording, Ref

random = np.random.default_rng(5)


def floats(*shape: int) -> np.ndarray:
    return random.standard_normal(shape).astype(np.float32)


def embed(g: Recording, x: Ref, shape: tuple, of: str, **params: Any) -> Any:
    return g.call(ops["embed"], x, shape=shape, of=ops[of], params=params)


def piece(g: Recording, x: Ref, shape: tuple, dim: int, start: int) -> Any:
    return embed(g, x, shape, "split", dim=dim, start=start, length=x.shape[dim], step=1)


def notes(made: Plan) -> set[str]:
    return {step.note for step in made.steps}  # type: ignore[union-attr]


@pytest.mark.parametrize("lengths", [(4, 4, 4), (1, 7, 2), (5, 5)])
@pytest.mark.parametrize("dim", [0, 1, 2])
def test_all_pieces(dim: int, lengths: tuple) -> None:
    shape = [3, 4, 5]
    shape[dim] = sum(lengths)
    g = Recording()
    given = [g.input(floats(*shape[:dim], n, *shape[dim + 1 :])) for n in lengths]
    starts = [sum(lengths[:nr]) for nr in range(len(lengths))]
    total = None
    for x, start in reversed(list(zip(given, starts))):
        own = piece(g, x, tuple(shape), dim, start)
        total = own if total is None else g.call(ops["add"], total, own)
    assert notes(plan(g.graph(total))) == {"join"}
    g.check(total)


def test_pieces_without_their_dimension() -> None:
    g = Recording()
    given = [g.input(floats(6, 5)) for _ in range(3)]
    shape = (6, 3, 5)
    parts = [embed(g, x, shape, "unbind", dim=1, index=nr) for nr, x in enumerate(given)]
    total = g.call(ops["add"], g.call(ops["add"], parts[2], parts[0]), parts[1])
    assert notes(plan(g.graph(total))) == {"join"}
    g.check(total)


def test_written_in_the_order_in_which_it_is_read() -> None:
    """The gradient of `qkv.reshape(2, 7, 3, 4, 5).permute(2, 0, 3, 1, 4).unbind(0)`."""
    g = Recording()
    given = [g.input(floats(2, 4, 7, 5)).view((2, 4, 7, 5), (140, 5, 20, 1)) for _ in range(3)]
    shape = (3, 2, 4, 7, 5)
    parts = [embed(g, x, shape, "unbind", dim=0, index=nr) for nr, x in enumerate(given)]
    total = g.call(ops["add"], g.call(ops["add"], parts[0], parts[1]), parts[2])
    turned = total.view((2, 7, 3, 4, 5), (140, 5, 280, 35, 1))
    copied = g.call(ops["clone"], turned, strides=(420, 60, 20, 5, 1))
    assert notes(plan(g.graph(copied))) == {"join"}
    g.check(copied)
    assert notes(plan(g.graph(copied, total))) == {"join", "clone"}
    g.check(copied, total)


def test_not_all_pieces() -> None:
    g = Recording()
    a, b = g.input(floats(2, 3)), g.input(floats(2, 3))
    total = g.call(ops["add"], piece(g, a, (7, 3), 0, 0), piece(g, b, (7, 3), 0, 5))
    assert "join" not in notes(plan(g.graph(total)))
    g.check(total)


def test_pieces_that_come_twice() -> None:
    g = Recording()
    a, b = g.input(floats(2, 3)), g.input(floats(2, 3))
    twice = g.call(ops["add"], piece(g, a, (4, 3), 0, 0), piece(g, b, (4, 3), 0, 0))
    total = g.call(ops["add"], twice, piece(g, b, (4, 3), 0, 2))
    assert "join" not in notes(plan(g.graph(total)))
    g.check(total)


def test_pieces_that_somebody_else_reads() -> None:
    g = Recording()
    a, b = g.input(floats(2, 3)), g.input(floats(2, 3))
    first, second = piece(g, a, (4, 3), 0, 0), piece(g, b, (4, 3), 0, 2)
    total = g.call(ops["add"], first, second)
    for graph, values in ((g.graph(total, first), (total, first)), (g.graph(total), (total,))):
        assert ("join" in notes(plan(graph))) == (len(values) == 1)
        g.check(*values)


def test_a_sum_of_pieces_is_added_to_another() -> None:
    g = Recording()
    a, b, c = g.input(floats(2, 3)), g.input(floats(2, 3)), g.input(floats(4, 3))
    total = g.call(ops["add"], piece(g, a, (4, 3), 0, 0), piece(g, b, (4, 3), 0, 2))
    more = g.call(ops["add"], total, c)
    g.check(more)
    g.check(more, total)


def test_many_pieces_take_linear_time() -> None:
    def calls(count: int) -> int:
        g = Recording()
        given = [g.input(floats(4)) for _ in range(count)]
        total = embed(g, given[0], (count, 4), "unbind", dim=0, index=0)
        for nr, x in enumerate(given[1:], 1):
            total = g.call(ops["add"], total, embed(g, x, (count, 4), "unbind", dim=0, index=nr))
        graph = g.graph(total)
        watch = cProfile.Profile()
        watch.runcall(plan, graph)
        return sum(entry.callcount for entry in watch.getstats())

    few, many = calls(100), calls(400)
    assert many < 6 * few
