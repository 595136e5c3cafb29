"""Accuracy of the special functions, in units in the last place, against SciPy and the C library."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import numpy as np
import pytest

import flambeau as torch
from flambeau.ops.specfun import bessel, bessel_kinds, error, gamma, orthogonal

scipy = pytest.importorskip("scipy.special")


def ulps(found: np.ndarray, exact: np.ndarray) -> float:
    """The largest error, in units in the last place of the exact values."""
    return float(np.max(np.abs(found - exact) / np.spacing(np.abs(exact))))


def spread(low: float, high: float, n: int = 4000) -> np.ndarray:
    return np.random.default_rng(0).uniform(low, high, n)


# function, reference, points, largest error in ulps (that of the reference included)
CASES: list[tuple[str, Callable, Callable, tuple[np.ndarray, ...], float]] = [
    ("erf", error.erf, np.vectorize(math.erf), (spread(-6, 6),), 4),
    ("erf near 0", error.erf, np.vectorize(math.erf), (spread(-0.6, 0.6),), 4),
    ("erfc", error.erfc, np.vectorize(math.erfc), (spread(-6, 26),), 8),
    ("erfcx", error.erfcx, scipy.erfcx, (spread(-5, 100),), 40),
    ("erfinv", error.erfinv, scipy.erfinv, (spread(-1, 1),), 6),
    ("erfcinv", error.erfcinv, scipy.erfcinv, (10.0 ** spread(-300, 0),), 6),
    ("ndtri", error.ndtri, scipy.ndtri, (spread(0, 1),), 8),
    ("log_ndtr", error.log_ndtr, scipy.log_ndtr, (spread(-100, 0),), 20),
    ("digamma", gamma.digamma, scipy.digamma, (spread(0.01, 50),), 20),
    ("trigamma", gamma.polygamma(1), lambda x: scipy.polygamma(1, x), (spread(0.01, 50),), 5),
    ("polygamma", gamma.polygamma(4), lambda x: scipy.polygamma(4, x), (spread(0.01, 50),), 5),
    ("zeta", gamma.zeta, scipy.zeta, (spread(1.01, 30), spread(0.01, 50)[::-1]), 5),
    ("i0", bessel.i0, scipy.i0, (spread(-30, 30),), 5),
    ("i0e", bessel.i0e, scipy.i0e, (spread(-300, 300),), 3),
    ("i1", bessel.i1, scipy.i1, (spread(-30, 30),), 5),
    ("i1e", bessel.i1e, scipy.i1e, (spread(-300, 300),), 3),
    ("k0", bessel_kinds.k0, scipy.k0, (spread(0.01, 60),), 10),
    ("k1", bessel_kinds.k1, scipy.k1, (spread(0.01, 60),), 10),
]


@pytest.mark.parametrize("name", ["bessel_j0", "bessel_j1", "bessel_y0", "bessel_y1", "airy_ai", "spherical_bessel_j0"])
def test_oscillating_functions(name: str) -> None:
    reference = {
        "bessel_j0": scipy.j0, "bessel_j1": scipy.j1, "bessel_y0": scipy.y0, "bessel_y1": scipy.y1,
        "airy_ai": lambda x: scipy.airy(x)[0], "spherical_bessel_j0": lambda x: scipy.spherical_jn(0, x),
    }  # fmt: skip
    x = spread(0.01, 40) if "y" in name[:8] else spread(-20, 10 if name == "airy_ai" else 40)
    x = np.abs(x) if name == "spherical_bessel_j0" else x
    with np.errstate(all="ignore"):
        found, exact = getattr(bessel_kinds, name)(x), reference[name](x)
    np.testing.assert_allclose(found, exact, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize(
    "name,reference",
    [
        ("chebyshev_polynomial_t", scipy.eval_chebyt), ("chebyshev_polynomial_u", scipy.eval_chebyu),
        ("hermite_polynomial_h", scipy.eval_hermite), ("hermite_polynomial_he", scipy.eval_hermitenorm),
        ("laguerre_polynomial_l", scipy.eval_laguerre), ("legendre_polynomial_p", scipy.eval_legendre),
    ],
)  # fmt: skip
def test_orthogonal_polynomials(name: str, reference: Callable) -> None:
    n = np.random.default_rng(0).integers(0, 12, 4000)
    x = spread(-1, 1)
    found = getattr(orthogonal, name)(x, n.astype(np.float64))
    np.testing.assert_allclose(found, reference(n, x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name,function,reference,points,limit", CASES, ids=[case[0] for case in CASES])
def test_accuracy(
    name: str, function: Callable, reference: Callable, points: tuple[np.ndarray, ...], limit: float
) -> None:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        assert ulps(function(*points), reference(*points)) <= limit


# log |gamma|, to 17 digits by mpmath: both libraries at hand lose digits near 1 and 2
LGAMMA = {
    0.6: 0.39823385806923495, 0.9375: 0.039390901734582304, 1.0009765625: -0.0005629031799912047,
    1.4375: -0.12120242719902266, 1.9921875: -0.003283288599221334, 2.0625: 0.027667521522857022,
    2.75: 0.47521466691493713, -0.5: 1.2655121234846454, -2.25: 0.5555015450206475, 1e-05: 11.512919692895826,
}  # fmt: skip


def test_lgamma() -> None:
    assert ulps(gamma.lgamma(np.array([*LGAMMA])), np.array([*LGAMMA.values()])) <= 6
    x = np.concatenate([spread(1e-3, 50), spread(-30, 0), 10.0 ** spread(0, 300)])
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(gamma.lgamma(x), scipy.gammaln(x), rtol=1e-14, atol=1e-13)


def test_incomplete_gamma_functions() -> None:
    a, x = spread(0.01, 60), spread(0.01, 80)[::-1]
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(gamma.gammainc(a, x), scipy.gammainc(a, x), rtol=5e-12, atol=1e-300)
        np.testing.assert_allclose(gamma.gammaincc(a, x), scipy.gammaincc(a, x), rtol=5e-12, atol=1e-300)
        for ratio in (0.5, 0.99, 1.0, 1.01, 2.0):
            large = np.array([1e3, 1e5])
            x = large * ratio
            np.testing.assert_allclose(gamma.gammainc(large, x), scipy.gammainc(large, x), rtol=1e-8)


def test_incomplete_gamma_functions_of_large_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    a = np.repeat([1e6, 3e6, 1e8, 1e12], 9)
    x = a + np.sqrt(a) * np.tile(np.linspace(-4, 4, 9), 4)
    t = (x - a) / a
    normal = np.sqrt(a) * (t - t**2 / 3 + 7 * t**3 / 36 - 73 * t**4 / 540)  # sqrt(2 (t - log(1 + t)))
    wanted = scipy.ndtr(normal) + np.exp(-normal * normal / 2) / np.sqrt(2 * np.pi * a) / 3
    lower, upper = gamma.gammainc(a, x), gamma.gammaincc(a, x)
    np.testing.assert_allclose(lower, wanted, rtol=1e-5)
    np.testing.assert_allclose(lower + upper, 1, rtol=4e-16)
    beyond = gamma.gammainc(np.full(4, 1e7), np.array([1.0, 8e6, 1.2e7, 1e300]))
    assert beyond.tolist() == [0, 0, 1, 1]
    monkeypatch.setattr(gamma, "GAMMA_LARGE", np.inf)  # by series as well, while these are not too long
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(lower[:18], gamma.gammainc(a[:18], x[:18]), rtol=2e-12)
        np.testing.assert_allclose(upper[:18], gamma.gammaincc(a[:18], x[:18]), rtol=2e-12)


def test_incomplete_gamma_functions_do_not_depend_on_what_is_beside_them() -> None:
    a, x = spread(0.5, 3, 500), spread(1.1, 4, 500)[::-1]
    slow = np.append(a, 5e4), np.append(x, 4.99e4)  # takes thousands of terms
    for function in (gamma.gammainc, gamma.gammaincc):
        with np.errstate(all="ignore"):
            np.testing.assert_array_equal(function(*slow)[:-1], function(a, x))


INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    "call,expected",
    [
        (lambda: torch.erf(torch.tensor([-INF, INF])), [-1, 1]),
        (lambda: torch.erfc(torch.tensor([-INF, INF])), [2, 0]),
        (lambda: torch.erfinv(torch.tensor([-1.0, 0.0, 1.0])), [-INF, 0, INF]),
        (lambda: torch.lgamma(torch.tensor([-1.0, 0.0, 1.0, 2.0, INF, -INF])), [INF, INF, 0, 0, INF, INF]),
        (lambda: torch.lgamma(torch.tensor([5e-324], dtype=torch.float64)), [744.4400719213812]),
        (lambda: torch.digamma(torch.tensor([0.0, -0.0, INF])), [-INF, INF, INF]),
        (lambda: torch.special.ndtri(torch.tensor([0.0, 0.5, 1.0])), [-INF, 0, INF]),
        (lambda: torch.special.entr(torch.tensor([-1.0, 0.0])), [-INF, 0]),
        (lambda: torch.xlogy(torch.tensor([0.0, 0.0]), torch.tensor([0.0, INF])), [0, 0]),
        (lambda: torch.igamma(torch.tensor([2.0, 0.0, 2.0]), torch.tensor([0.0, 1.0, INF])), [0, 1, 1]),
        (lambda: torch.logit(torch.tensor([0.0, 0.5, 1.0])), [-INF, 0, INF]),
        (
            lambda: torch.special.laguerre_polynomial_l(0.5, torch.tensor([NAN, INF, -INF, 1e19, 1.0])),
            [0, 0, 0, 0, 0.5],
        ),
        (lambda: torch.special.zeta(torch.tensor([1.0, 2.0]), torch.tensor([2.0, -1.0])), [INF, INF]),
    ],
)
def test_edges(call: Callable, expected: list[float]) -> None:
    assert call().tolist() == expected


@pytest.mark.parametrize("name", ["erf", "erfc", "erfinv", "lgamma", "digamma", "i0"])
def test_nan_stays_nan(name: str) -> None:
    assert math.isnan(getattr(torch, name)(torch.tensor(NAN)).item())


def test_half_results_are_rounded_once() -> None:
    x = torch.linspace(0.1, 3, 50)
    for d in (torch.float16, torch.bfloat16):
        assert torch.equal(torch.erf(x.to(d)), torch.erf(x.to(d).double()).to(d))


def test_functions_without_a_derivative_say_so() -> None:
    a, x = torch.tensor(2.0, requires_grad=True), torch.tensor(1.0)
    with pytest.raises(NotImplementedError, match="the derivative for 'igamma: input' is not implemented"):
        torch.igamma(a, x).backward()
    with pytest.raises(RuntimeError, match="does not support negative n"):
        torch.polygamma(-1, x)
