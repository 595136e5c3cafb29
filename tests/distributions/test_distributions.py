"""Distributions give what PyTorch gave (golden.json): samples, densities, moments, divergences, error texts."""

from __future__ import annotations

import importlib.util
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import flambeau

HERE = Path(__file__).parent
_spec = importlib.util.spec_from_file_location("distributions_cases", HERE / "cases.py")
cases = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(cases)
GOLDEN = json.loads((HERE / "golden.json").read_text())


@cache
def ours() -> dict[str, Any]:
    return cases.everything(flambeau)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", GOLDEN)
def test_gives_what_pytorch_gave(name: str) -> None:
    found, expected = ours()[name], GOLDEN[name]
    if isinstance(expected, dict):
        for what, wanted in expected.items():
            assert cases.close(found[what], wanted, 5e-5), f"{what}: {found[what]}\nPyTorch: {wanted}"
    else:
        assert cases.close(found, expected, 5e-5), f"{found}\nPyTorch: {expected}"


def test_all_cases_are_recorded() -> None:
    assert list(ours()) == list(GOLDEN)


def test_gamma_gradient_is_that_of_the_quantile() -> None:
    """The implicit derivative against finite differences of the inverse cdf at a fixed rank."""
    for alpha in (0.2, 1.0, 5.0, 40.0):
        concentration = flambeau.tensor(alpha, dtype=flambeau.float64, requires_grad=True)
        flambeau.manual_seed(0)
        drawn = flambeau.distributions.Gamma(concentration, 1.0).rsample((200,))
        (slope,) = flambeau.autograd.grad(drawn.sum(), concentration)
        x, h = drawn.detach(), 1e-5

        def rank(a: float, x: Any = x) -> Any:
            return flambeau.special.gammainc(flambeau.full_like(x, a), x)

        density = flambeau.distributions.Gamma(flambeau.full_like(x, alpha), 1.0).log_prob(x).exp()
        expected = (-(rank(alpha + h) - rank(alpha - h)) / (2 * h) / density).sum()
        assert slope.item() == pytest.approx(expected.item(), rel=2e-3)


def test_validation_can_be_switched_off() -> None:
    base = flambeau.distributions.Distribution
    base.set_default_validate_args(False)
    try:
        assert flambeau.distributions.Normal(0.0, -1.0).scale.item() == -1.0
    finally:
        base.set_default_validate_args(True)
    with pytest.raises(ValueError, match="Expected parameter scale"):
        flambeau.distributions.Normal(0.0, -1.0)


def test_own_divergence_is_found_by_class() -> None:
    dist = flambeau.distributions

    class Point(dist.Distribution):
        arg_constraints = {}

    dist.register_kl(Point, dist.Normal)(lambda p, q: flambeau.tensor(3.0))
    assert dist.kl_divergence(Point(), dist.Normal(0.0, 1.0)).item() == 3.0
    with pytest.raises(NotImplementedError, match=r"No KL\(p \|\| q\) is implemented for p type Normal and q type Point"):
        dist.kl_divergence(dist.Normal(0.0, 1.0), Point())
