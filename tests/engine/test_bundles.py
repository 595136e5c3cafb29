"""Bundles: many updates as one launch; what they must not be moved across; and tasks that any number of threads takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flambeau
from flambeau import dtypes
from flambeau.engine.plan import Launch, Plan
from flambeau.engine.schedule import bundles
from flambeau.engine.schedule.planner import plan
from flambeau.ops.op import ops
from flambeau.optim.records import Recipe, params_of
from tests.engine.planned import Recording, Ref

random = np.random.default_rng(7)
SIZES = [(1,), (3,), (17, 5), (2, 3, 4), (0, 2), (16384,), (40000,), (127,), (1,)]
MOMENTUM = params_of(Recipe(("momentum_buffer",), ("lr", "momentum", "weight"), (("nesterov", False),)))
ADAM = params_of(
    Recipe(
        ("exp_avg", "exp_avg_sq"), ("step_size", "weight1", "beta2", "weight2", "bias", "eps"), (("amsgrad", False),)
    )
)


def floats(*shape: int) -> np.ndarray:
    return random.standard_normal(shape).astype(np.float32)


def launches(made: Plan, name: str) -> list[Launch]:
    return [s for s in made.steps if isinstance(s, Launch) and name in s.note]


def sgd(g: Recording, p: Ref, grad: Ref, buffer: Ref) -> list[Ref]:
    """A step of SGD, written over parameter and momentum."""
    new = g.call(ops["sgd_update"], p, grad, buffer, 0.1, 0.9, 1.0, **MOMENTUM)
    return [g.write(target, source) for target, source in zip((p, buffer), new)]


def adam(g: Recording, p: Ref, grad: Ref, mean: Ref, square: Ref) -> list[Ref]:
    new = g.call(ops["adam_update"], p, grad, mean, square, 0.01, 0.1, 0.99, 0.01, 1.0, 1e-8, **ADAM)
    return [g.write(target, source) for target, source in zip((p, mean, square), new)]


def parameters(g: Recording, count: int, sizes: list[tuple] = SIZES) -> list[list[Ref]]:
    """For every size, as many inputs of it."""
    return [[g.input(np.abs(floats(*shape)) if nr == 3 else floats(*shape)) for nr in range(count)] for shape in sizes]


@pytest.mark.parametrize("step, tensors", [(sgd, 3), (adam, 4)])
def test_parameters_of_all_sizes_take_one_launch(step: Any, tensors: int) -> None:
    g = Recording()
    for operands in parameters(g, tensors):
        step(g, *operands)
    made = g.check()
    single, together = launches(made, "update")
    assert (single.bundle, together.bundle) == (2, len(SIZES) - 3)  # one element is no run; nothing to do for none
    assert together.tasks == sum(-(-n // 16384) for n in (3, 85, 24, 16384, 40000, 127))


def test_bundles_have_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundles, "MOST", 3)
    g = Recording()
    for operands in parameters(g, 3, [(n,) for n in range(2, 10)]):
        sgd(g, *operands)
    assert [x.bundle for x in g.check().steps] == [3, 3, 2]


def test_edge_values_and_other_dtypes() -> None:
    for d in (dtypes.float64, dtypes.bfloat16, dtypes.float32):
        g = Recording()
        given = []
        for n in (5, 33, 64):
            odd = np.resize([np.nan, np.inf, -np.inf, -0.0, 1.0], n)
            given.append(
                [g.input(odd.astype(d.np)), *[g.input(random.uniform(0, 2, n).astype(d.np)) for _ in range(2)]]
            )
        for operands in given:
            sgd(g, *operands)
        assert [x.bundle for x in launches(g.check(), "update")] == [3]


def test_small_gradients_are_summed_apart_from_their_updates() -> None:
    """Sums have a kernel for each shape; the updates that follow them have one together."""
    g = Recording()
    given = parameters(g, 3, [(8,), (24,), (100,)])
    batches = [g.input(floats(6, n)) for n in (8, 24, 100)]
    sums = [g.call(ops["sum"], x, dim=(0,), keepdim=False) for x in batches]
    for (p, _, buffer), grad in zip(given, sums):
        sgd(g, p, grad, buffer)
    made = g.check(*sums)
    assert [x.bundle for x in launches(made, "update")] == [3]
    assert all("sum" not in x.note for x in launches(made, "update"))


def test_a_gradient_that_is_as_large_as_its_update_is_made_in_its_kernel() -> None:
    g = Recording()
    coefficient = g.input(floats(1)[0])
    given = parameters(g, 3, [(300,), (50000,), (300,), (64,)])
    scaled = [g.call(ops["mul"], grad, coefficient) for _, grad, _ in given]
    for (p, _, buffer), grad in zip(given, scaled):
        sgd(g, p, grad, buffer)
    made = g.check(*scaled)
    assert [(x.bundle, x.note.split()[:2]) for x in made.steps] == [(4, ["mul", "sgd_update"])]


def test_large_updates_of_one_size_do_not_share_a_kernel_of_their_own() -> None:
    g = Recording()
    for operands in parameters(g, 4, [(40000,), (40000,), (100,)]):
        adam(g, *operands)
    assert [x.bundle for x in g.check().steps] == [3]


def test_a_large_update_joins_the_sum_that_makes_its_gradient() -> None:
    g = Recording()
    ((p, _, buffer),) = parameters(g, 3, [(200, 200)])
    x = g.input(floats(3, 200, 200))
    sgd(g, p, g.call(ops["sum"], x, dim=(0,), keepdim=False), buffer)
    assert len(g.check().steps) == 1


def test_nobody_is_moved_across_a_reader_or_a_writer() -> None:
    """The second update needs the first one's result, the third what the second overwrites; the fourth is the first's
    parameter again."""
    g = Recording()
    (p, grad, buffer), (q, _, other), (r, _, last) = parameters(g, 3, [(50,)] * 3)
    after, momentum = sgd(g, p, grad, buffer)
    sgd(g, q, g.call(ops["flip"], after, dims=(0,)), other)
    sgd(g, r, g.call(ops["flip"], q, dims=(0,)), last)
    sgd(g, after, grad, momentum)
    g.check()


def test_scratch_is_not_held_for_others_to_wait() -> None:
    """Gradients that nobody keeps go with their update, one after the other through the same memory."""
    g = Recording()
    given = parameters(g, 3, [(30000,)] * 6)
    for p, grad, buffer in given:
        sgd(g, p, g.call(ops["cumsum"], grad, dim=0), buffer)
    made = g.check()
    assert made.arena < 2 * 4 * 30000 + 1024 and len(launches(made, "update")) == 6


def test_norms_of_gradients_of_one_size_go_together() -> None:
    """Blocks of a sum wait for one another, since what adds them up does."""
    g = Recording()
    given = [g.input(floats(n)) for n in (100000, 300, 100000, 300, 100000, 200)]
    grads, norms = [], []
    for x in given:
        grads.append(g.call(ops["flip"], x, dims=(0,)))
        norms.append(g.call(ops["linalg_vector_norm"], grads[-1], ord=2, dim=(0,), keepdim=False))
    made = g.check(g.call(ops["stack"], *norms, dim=0), *grads)
    assert sorted(x.bundle for x in launches(made, "norm")) == [0, 2, 3, 3]


@pytest.mark.parametrize("name, dim", [("stack", 0), ("stack", 1), ("cat", 0), ("cat", 1)])
@pytest.mark.parametrize("d", [dtypes.float32, dtypes.complex64])
def test_copies_of_what_is_joined_take_a_launch_for_each_kernel(name: str, dim: int, d: Any) -> None:
    g = Recording()
    given = [g.input(floats(40, 30).astype(d.np)) for _ in range(6)] + [g.input(floats(30, 40).astype(d.np))]
    across = given[-1].view((40, 30), (1, 40))
    made = g.check(g.call(ops[name], *given[:-1], across, dim=dim))
    assert [x.bundle for x in launches(made, name)] == [6, 0]


@pytest.mark.parametrize("name", ["SGD", "AdamW", "Adafactor"])
def test_trainings_give_the_same_bits_at_one_thread_and_at_two(name: str) -> None:
    start = [floats(n) for n in (70000, 5, 300, 40000, 1)]
    options = {"momentum": 0.9} if name == "SGD" else {}
    found = []
    before = flambeau.get_num_threads()
    for threads in (1, 2):
        flambeau.set_num_threads(threads)
        ps = [flambeau.tensor(x, requires_grad=True) for x in start]
        optimizer = getattr(flambeau.optim, name)(ps, lr=0.01, **options)
        for _ in range(5):
            optimizer.zero_grad()
            sum((p * p * p).mean() for p in ps).backward()
            optimizer.step()
        found.append(b"".join(p.detach().numpy().tobytes() for p in ps))
    flambeau.set_num_threads(before)
    assert found[0] == found[1]


def test_without_fusion_there_are_no_bundles() -> None:
    g = Recording()
    for operands in parameters(g, 3):
        sgd(g, *operands)
    assert not any(x.bundle for x in launches(plan(g.graph(), fuse=False), "update"))
