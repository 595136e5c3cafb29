"""What holds of the samplers whatever PyTorch does: laws, references written out, gradients, memory order."""

from __future__ import annotations

import doctest
import math
import warnings
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import flambeau
from flambeau import random
from flambeau.ops import dropouts, random_create
from flambeau.ops import random as random_ops
from flambeau.random import Generator, continuous, discrete, generator, libm, rejection
from flambeau.random.normal import normal
from flambeau.random.order import collect, place

_F32, _F64, _I64 = np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.int64)


def _generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


# -- references written out ------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [*range(9), 100, 1000])
def test_permutation_is_fisher_and_yates_step_by_step(n: int) -> None:
    for seed in range(20 if n < 10 else 3):
        words = _generator(seed).raw(max(n - 1, 0)).tolist()
        cards = list(range(n))
        for i, word in enumerate(words):
            k = i + word % (n - i)
            cards[i], cards[k] = cards[k], cards[i]
        assert discrete.permutation(_generator(seed), n, _I64).tolist() == cards


def test_long_permutations_are_shuffled_inside_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discrete, "_LONG_PERMUTATION", 100)
    words = _generator(3).raw64(150).tolist()
    cards = [0] * 150
    for i, word in enumerate(words):
        cards[i] = cards[word % (i + 1)]
        cards[word % (i + 1)] = i
    assert discrete.permutation(_generator(3), 150, _I64).tolist() == cards


def test_normal_numbers_one_by_one_are_box_muller() -> None:
    u = continuous.standard_doubles(_generator(5), 6).tolist()
    expected = []
    for angle, length in zip(u[::2], u[1::2]):
        radius = math.sqrt(-2 * math.log1p(-length))
        expected += [radius * math.cos(2 * math.pi * angle), radius * math.sin(2 * math.pi * angle)]
    assert normal(_generator(5), 6, 0.0, 1.0, _F64).tolist() == expected


def test_normal_blocks_are_box_muller_within_rounding() -> None:
    u = continuous.standard_singles(_generator(5), 1600).astype(np.float64).reshape(-1, 2, 8)
    radius = np.sqrt(-2 * np.log(1 - u[:, 0]))
    expected = np.stack([radius * np.cos(2 * np.pi * u[:, 1]), radius * np.sin(2 * np.pi * u[:, 1])], axis=1)
    got = normal(_generator(5), 1600, 0.0, 1.0, _F32)
    np.testing.assert_allclose(got, expected.reshape(-1), rtol=2e-6, atol=1e-6)


def test_fma_rounds_once() -> None:
    rng = np.random.default_rng(0)
    a = rng.standard_normal(300) * 10.0 ** rng.integers(-5, 5, 300)
    for b, c in ((0.7, 1.3), (1 / 3, -1e-9), (1e5, 0.1), (-2.0, 1.0)):
        exact = [float(Fraction(x) * Fraction(b) + Fraction(c)) for x in a.tolist()]
        assert libm.fma(a, b, c).tolist() == exact


def test_libm_edges() -> None:
    assert libm.log(np.array([0.0, 1.0])).tolist() == [-math.inf, 0.0]
    assert libm.exp(np.array([-np.inf, 0.0, 800.0])).tolist() == [0.0, 1.0, math.inf]
    cosine, sine = libm.cos_sin(np.array([0.0, 1.0, 6.0]))
    assert cosine.tolist() == [math.cos(x) for x in (0.0, 1.0, 6.0)]
    assert sine.tolist() == [math.sin(x) for x in (0.0, 1.0, 6.0)]


# -- laws ------------------------------------------------------------------------------------------------------

_N = 20_000


@pytest.mark.parametrize(
    ("drawn", "law"),
    [
        (lambda g: continuous.uniform(g, _N, -1.0, 3.0, _F32), stats.uniform(-1, 4)),
        (lambda g: normal(g, _N, 1.0, 2.0, _F32), stats.norm(1, 2)),
        (lambda g: normal(g, _N, 1.0, 2.0, _F64), stats.norm(1, 2)),
        (lambda g: normal(g, _N, 1.0, 2.0, _F32, contiguous=False), stats.norm(1, 2)),
        (lambda g: continuous.exponential(g, _N, 2.0, _F32), stats.expon(scale=0.5)),
        (lambda g: continuous.cauchy(g, _N, 1.0, 2.0, _F64), stats.cauchy(1, 2)),
        (lambda g: continuous.log_normal(g, _N, 0.5, 0.7, _F64), stats.lognorm(0.7, scale=math.exp(0.5))),
        (lambda g: rejection.standard_gamma(g, np.full(_N, 2.5)), stats.gamma(2.5)),
        (lambda g: rejection.standard_gamma(g, np.full(_N, 0.3)), stats.gamma(0.3)),
        (lambda g: rejection.dirichlet(g, np.tile([0.5, 1.5, 2.0], (_N, 1)))[:, 1], stats.beta(1.5, 2.5)),
    ],
)
def test_continuous_laws(drawn, law) -> None:  # type: ignore[no-untyped-def]
    assert stats.kstest(drawn(_generator(1)).astype(np.float64), law.cdf).pvalue > 1e-3


@pytest.mark.parametrize(
    ("drawn", "law"),
    [
        (lambda g: discrete.integers(g, _N, -3, 9, _I64), stats.randint(-3, 6)),
        (lambda g: discrete.geometric(g, _N, 0.4, _F32), stats.geom(0.4)),
        (lambda g: discrete.bernoulli(g, _N, 0.3, _F32), stats.bernoulli(0.3)),
        (lambda g: rejection.poisson(g, np.full(_N, 3.0), _F32), stats.poisson(3)),
        (lambda g: rejection.poisson(g, np.full(_N, 30.0), _F32), stats.poisson(30)),
        (lambda g: rejection.binomial(g, np.full(_N, 20.0), np.full(_N, 0.2)), stats.binom(20, 0.2)),
        (lambda g: rejection.binomial(g, np.full(_N, 100.0), np.full(_N, 0.7)), stats.binom(100, 0.7)),
        (
            lambda g: discrete.multinomial_with_replacement(g, np.array([[1.0, 2.0, 5.0]]), _N)[0],
            stats.rv_discrete(values=([0, 1, 2], [0.125, 0.25, 0.625])),
        ),
    ],
)
def test_discrete_laws(drawn, law) -> None:  # type: ignore[no-untyped-def]
    numbers = drawn(_generator(1)).astype(np.int64)
    values, counts = np.unique(numbers, return_counts=True)
    expected = law.pmf(values) * _N
    common = expected > 5
    chi_square = ((counts - expected)[common] ** 2 / expected[common]).sum()
    assert stats.chi2(common.sum()).sf(chi_square) > 1e-3
    assert law.pmf(values).min() > 0


def test_draws_without_replacement_are_different_and_weighted() -> None:
    flambeau.manual_seed(2)
    weights = flambeau.tensor([1.0, 2.0, 3.0, 4.0]).expand(4000, 4)
    rows = flambeau.multinomial(weights, 4)._array()
    assert (np.sort(rows, axis=1) == np.arange(4)).all()
    assert np.abs((rows[:, 0] == 3).mean() - 0.4) < 0.03


def test_largest_integer_ranges() -> None:
    whole = discrete.all_int64(_generator(), 4000, _I64)
    assert (whole < 0).any() and (whole > 0).any() and np.abs(whole.astype(float)).max() > 9e18
    assert flambeau.randint(-(2**63), 2**63 - 1, (1000,))._array().min() < -(2**62)
    assert discrete.integer_bounds(0, 65504, np.dtype(np.float16)) == (0, 65472)


# -- tensors ---------------------------------------------------------------------------------------------------


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_place_and_collect_are_inverse(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 4), min_size=0, max_size=4)))
    order = data.draw(st.permutations(range(len(shape))))
    base = np.arange(math.prod(shape)).reshape([shape[d] for d in order])
    memory = base.transpose(np.argsort(order)) if order else base
    strides = tuple(s // 8 for s in memory.strides)
    placed = place(np.arange(math.prod(shape)), shape, (strides,))
    assert placed.shape == shape
    assert np.array_equal(collect(placed, (strides,)), np.arange(math.prod(shape)))
    if 1 not in shape:  # a dense tensor is filled in the order of its memory
        assert np.array_equal(placed, memory)


def test_a_view_is_filled_and_nothing_else() -> None:
    base = flambeau.zeros(4, 4)
    base[1:3, ::2].uniform_(1, 2)
    filled = base._array() != 0
    assert filled.sum() == 4 and filled[1:3, ::2].all()
    version = base._version
    base.normal_()
    assert base._version == version + 1


@pytest.mark.parametrize(
    "fill",
    ["normal_()", "uniform_()", "random_()", "bernoulli_(0.5)", "exponential_()", "cauchy_()", "geometric_(0.5)"],
)
def test_overwriting_cuts_the_gradient(fill: str) -> None:
    x = flambeau.ones(5, requires_grad=True)
    y = x * 2
    eval(f"y.{fill}", {"y": y})
    assert y.requires_grad
    y.sum().backward()
    assert x.grad.tolist() == [0.0] * 5


def test_samples_from_parameters_have_zero_gradients() -> None:
    mean, std = flambeau.zeros(4, requires_grad=True), flambeau.ones(4, requires_grad=True)
    flambeau.normal(mean, std).sum().backward()
    assert mean.grad.tolist() == std.grad.tolist() == [0.0] * 4
    rate = flambeau.ones(3, requires_grad=True)
    (flambeau.poisson(rate) + flambeau.bernoulli(rate)).sum().backward()
    assert rate.grad.tolist() == [0.0] * 3


def test_gamma_samples_refuse_to_be_differentiated() -> None:
    alpha = flambeau.ones(3, requires_grad=True)
    with pytest.raises(NotImplementedError, match="derivative of gamma"):
        flambeau._standard_gamma(alpha).sum().backward()


def test_dropout_keeps_the_mean_and_its_gradient_is_the_mask() -> None:
    flambeau.manual_seed(3)
    x = flambeau.ones(20_000, requires_grad=True)
    y = flambeau.dropout(x, 0.25, True)
    assert abs(float(y._array().mean()) - 1) < 0.02
    y.sum().backward()
    assert np.array_equal(x.grad._array(), y._array())


def test_feature_dropout_drops_whole_channels() -> None:
    flambeau.manual_seed(3)
    y = flambeau.feature_dropout(flambeau.ones(4, 50, 3, 3), 0.5, True)._array().reshape(200, 9)
    assert set(y.sum(axis=1).tolist()) == {0.0, 18.0}


def test_alpha_dropout_keeps_mean_and_variance() -> None:
    flambeau.manual_seed(3)
    y = flambeau.alpha_dropout(flambeau.randn(200_000), 0.2, True)._array()
    assert abs(y.mean()) < 0.01 and abs(y.var() - 1) < 0.02


def test_bounds_beyond_a_floating_dtypes_integers_warn() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        flambeau.empty(3, dtype=flambeau.float16).random_(0, 65504)
    assert [str(w.message)[:50] for w in caught] == ["to - 1 is out of bounds [-(2^11), 2^11]. Due to pr"]
    assert caught[0].filename == __file__


@pytest.mark.parametrize("module", [generator, random_ops, random_create, dropouts, discrete, random])
def test_examples_in_the_docs(module) -> None:  # type: ignore[no-untyped-def]
    assert doctest.testmod(module).failed == 0
