"""Same seed, same numbers, with PyTorch beside: wide sweeps, random programs, states both ways, error texts."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch

import flambeau
from tests.random import cases
from tests.random.record import array_of, record, run

DTYPES = (*cases.FLOATS, *cases.INTEGERS, "bool")
FILLS = {
    "floats": (
        "uniform_()", "uniform_(-1, 1)", "uniform_(-0.3, 0.7)", "uniform_(2, 2)", "uniform_(5, 1000.5)", "normal_()",
        "normal_(1.3, 0.7)", "normal_(0, 0.02)", "normal_(0.5, 0)", "exponential_()", "exponential_(1.7)", "cauchy_()",
        "cauchy_(0.3, 1.7)", "log_normal_()", "log_normal_(0.3, 1.7)", "random_(-5, 100)",
    ),
    "numbers": ("geometric_(0.3)", "random_(2)", "random_(3, 100)"),
    "any": ("bernoulli_()", "bernoulli_(0.3)", "random_()"),
}  # fmt: skip


def _assert_same(case: str, seed: int = 3, **more: Any) -> None:
    theirs, mine = (record(case, t, seed, **more) for t in (torch, flambeau))
    if mine != theirs:
        pytest.fail(f"{case}: {array_of(run(case, flambeau, seed))} beside {array_of(run(case, torch, seed))}\n{mine}")


@pytest.mark.parametrize("seed", [0, 42, 2026])
@pytest.mark.parametrize("case", cases.PROGRAMS)
def test_initialisation_dropout_and_loading(case: str, seed: int) -> None:
    if any(name in case for name in cases.NEARLY):
        theirs, mine = (array_of(run(case, t, seed)) for t in (torch, flambeau))
        np.testing.assert_allclose(mine, theirs, rtol=1e-6, atol=1e-6)
        return
    _assert_same(case, seed)


def _fills(dtype: str) -> tuple[str, ...]:
    return (
        FILLS["any"]
        + (FILLS["numbers"] if dtype != "bool" else ())
        + (FILLS["floats"] if dtype in cases.FLOATS else ())
    )


@pytest.mark.parametrize("case", list(cases.all_cases()))
def test_cases(case: str) -> None:
    _assert_same(case)


@pytest.mark.parametrize("case", cases.LARGE)
def test_large_cases(case: str) -> None:
    _assert_same(case, digest=True)


@pytest.mark.parametrize("dtype", DTYPES)
def test_fills_of_every_size(dtype: str) -> None:
    """With nothing drawn before, and with one normal number waiting."""
    for n in (0, 1, 2, 3, 5, 8, 14, 15, 16, 17, 18, 31, 32, 33, 47, 48, 63, 64, 65, 100, 999):
        for fill in _fills(dtype):
            _assert_same(f"t.empty({n}, dtype=t.{dtype}).{fill}")
            _assert_same(f"(t.randn(1), t.empty({n}, dtype=t.{dtype}).{fill})[1]")


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64", "bool"])
@pytest.mark.parametrize("layout", cases.LAYOUTS)
def test_fills_of_every_layout(layout: str, dtype: str) -> None:
    for fill in _fills(dtype):
        _assert_same(f"{layout}.to(t.{dtype}).{fill}")
    _assert_same(f"t.rand_like({layout})")
    _assert_same(f"t.randn_like({layout}, dtype=t.float64)")
    _assert_same(f"t.dropout({layout}.fill_(1), 0.3, True)")
    _assert_same(f"t.bernoulli({layout}.fill_(0.3))")


def test_random_layouts() -> None:
    rng = random.Random(5)
    for _ in range(150):
        ndim = rng.randint(1, 5)
        shape = [rng.choice([1, 2, 3, 4]) for _ in range(ndim)]
        order = rng.sample(range(ndim), ndim)
        steps = "".join(rng.choice([":", ":", "::2", "1:"]) + ", " for _ in range(ndim))
        target = f"t.zeros({shape}).permute({order})[{steps}]"
        _assert_same(f"{target}.uniform_()")
        _assert_same(f"{target}.normal_()")
        _assert_same(f"{target}.bernoulli_(t.rand({shape}).permute({order})[{steps}])")


@pytest.mark.parametrize(
    "span", [1, 2, 3, 7, 256, (1 << 28) - 1, 1 << 28, (1 << 31) - 1, 1 << 32, (1 << 62) + 5, (1 << 63) - 1]
)
def test_integer_ranges(span: int) -> None:
    _assert_same(f"t.randint({span}, (50,))")
    low = -span // 2
    _assert_same(f"t.randint({low}, {low + span}, (50,))")
    if span <= 1 << 53:
        _assert_same(f"t.empty(50, dtype=t.float64).random_({low}, {low + span})")
    if span < 1 << 31:
        _assert_same(f"t.empty(50, dtype=t.int32).random_({span})")


@pytest.mark.filterwarnings("ignore:.*is out of bounds")
@pytest.mark.parametrize("dtype", cases.FLOATS)
def test_ranges_beyond_the_digits_of_floats(dtype: str) -> None:
    most = 65503 if dtype == "float16" else 1 << 60
    for low, high in ((0, most), (-most, most), (-most, -3), (17, most), (most // 2, most), (2049, 2051), (4097, 9000)):
        _same_or_same_error(f"t.empty(50, dtype=t.{dtype}).random_({low}, {high})")
        _same_or_same_error(f"t.empty(50, dtype=t.{dtype}).random_({low}, None)")


def _same_or_same_error(case: str) -> None:
    try:
        run(case, torch)
    except Exception as e:
        with pytest.raises(Exception) as caught:
            run(case, flambeau)
        assert (type(caught.value).__name__, str(caught.value)) == (type(e).__name__, str(e)), case
    else:
        _assert_same(case)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 5, 17, 100, 1023, 60_000])
def test_permutations(n: int) -> None:
    for seed in range(3):
        _assert_same(f"t.randperm({n})", seed, digest=True)


def test_multinomial() -> None:
    for shape in ("3", "10", "4, 7", "2, 300"):
        for dtype in cases.FLOATS:
            for replacement in (True, False):
                for count in (1, 2, 3):
                    weights = f"t.rand({shape}, dtype=t.{dtype}) + 0.01"
                    if dtype in ("float16", "bfloat16") and not replacement and count > 1:
                        continue  # ties of rounded scores: see docs/differences.md
                    _assert_same(f"t.multinomial({weights}, {count}, {replacement})")
    _assert_same("t.multinomial(t.rand(5, 3).t(), 2)")
    _assert_same("t.multinomial(t.rand(6, 8)[::2, ::2], 3)")
    _assert_same("t.multinomial(t.rand(6, 8)[::2, ::2], 30, replacement=True)")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rejection_samplers(dtype: str) -> None:
    for rate in (0.1, 3, 9.99, 10, 25, 1000):
        _assert_same(f"t.poisson(t.full((200,), {rate}, dtype=t.{dtype}))")
    for count, p in ((1, 0.5), (20, 0.3), (40, 0.6), (100, 0.5), (1000, 0.011), (1e6, 0.3)):
        _assert_same(f"t.binomial(t.full((200,), {count}, dtype=t.{dtype}), t.full((), {p}, dtype=t.{dtype}))")
    for alpha in (0.1, 0.9, 1.0, 5.5, 100.0):
        _assert_same(f"t._standard_gamma(t.full((200,), {alpha}, dtype=t.{dtype}))")
        _assert_same(f"(t.randn(1), t._standard_gamma(t.full((5,), {alpha}, dtype=t.{dtype})))[1]")


def test_half_type_poisson() -> None:
    _assert_same("t.poisson(t.full((50,), 4.0, dtype=t.float16))")
    _assert_same("t.poisson(t.full((50,), 40.0, dtype=t.bfloat16))")


@pytest.mark.parametrize("seed", range(12))
def test_random_programs(seed: int) -> None:
    """Sequences of draws: the stream, the waiting normal number and the end state agree all along."""
    rng = random.Random(seed)
    menu = [c for c in cases.all_cases() if "manual_seed" not in c and "Generator" not in c]
    for t in (torch, flambeau):
        t.manual_seed(seed)
    for _ in range(60):
        case = rng.choice(menu)
        theirs, mine = (array_of(eval(case, {"t": t})) for t in (torch, flambeau))
        assert mine.tobytes() == theirs.tobytes(), case
        assert mine.shape == theirs.shape, case
    assert flambeau.get_rng_state().numpy().tobytes() == torch.get_rng_state().numpy().tobytes()


@pytest.mark.parametrize("seed", [*cases.SEEDS, *(random.Random(1).randrange(2**64) for _ in range(20))])
def test_seeds(seed: int) -> None:
    _assert_same("t.randn(20)", seed)
    assert torch.initial_seed() == flambeau.initial_seed()


@pytest.mark.parametrize("before", ["0", "t.rand(7)", "t.randn(1)", "t.rand(623)", "t.rand(624)", "t.rand(625)"])
def test_states_go_both_ways(before: str) -> None:
    for first, second in ((torch, flambeau), (flambeau, torch)):
        first.manual_seed(12)
        eval(before, {"t": first})
        state = np.array(first.get_rng_state().numpy())
        g = second.Generator()
        g.set_state(second.from_numpy(state))
        assert np.array_equal(g.get_state().numpy(), state)
        assert g.initial_seed() == 12
        for draw in ("t.randn(3, generator=g)", "t.rand(1500, generator=g)", "t.randperm(50, generator=g)"):
            here, there = eval(draw, {"t": second, "g": g}), _continued(draw, first, state)
            assert array_of(here).tobytes() == array_of(there).tobytes()
            state = np.array(g.get_state().numpy())


def _continued(draw: str, t: Any, state: np.ndarray) -> Any:
    g = t.Generator()
    g.set_state(t.from_numpy(state))
    return eval(draw, {"t": t, "g": g})


@pytest.mark.parametrize("case", cases.ERRORS)
def test_errors(case: str) -> None:
    with pytest.raises(Exception) as theirs:
        eval(case, {"t": torch})
    with pytest.raises(Exception) as mine:
        eval(case, {"t": flambeau})
    assert (type(mine.value).__name__, str(mine.value)) == (type(theirs.value).__name__, str(theirs.value))


@pytest.mark.parametrize("case", cases.GRAPHS)
def test_graphs(case: str) -> None:
    """Names of nodes, gradients, and what requires grad."""
    seen = []
    for t in (torch, flambeau):
        t.manual_seed(6)
        leaf = t.linspace(-1, 1, 5).requires_grad_()
        x = leaf * 1
        y = eval(case, {"t": t, "x": x})
        found = [y.requires_grad, y.grad_fn.name() if y.grad_fn else None, y.tolist()]
        if y.requires_grad:
            y.sum().backward()
            found.append(leaf.grad.tolist())
        seen.append(found)
    assert seen[1] == seen[0]


def test_every_public_random_name_exists() -> None:
    for name in torch.random.__all__:
        assert callable(getattr(flambeau.random, name)), name
    for name in [n for n in dir(torch.Generator) if not n.startswith("_")]:
        assert hasattr(flambeau.Generator, name), name
