"""Tables of distributions, run the same way on Flambeau and PyTorch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

CASES = """
Normal(0.5, 2.0)
Normal(t([0.0, 1.0]), t([1.0, 0.5]))
Normal(t([[0.0], [1.0]]), t([1.0, 0.5, 2.0]))
Bernoulli(0.3)
Bernoulli(t([0.2, 0.5, 0.9]))
Bernoulli(logits=t([-1.0, 0.5]))
Categorical(t([0.2, 0.3, 0.5]))
Categorical(logits=t([[1.0, 2.0, 0.5], [0.1, 0.0, -1.0]]))
OneHotCategorical(t([[0.2, 0.3, 0.5]]))
OneHotCategoricalStraightThrough(logits=t([1.0, 2.0, 0.5]))
Uniform(-1.0, 3.0)
Uniform(t([0.0, 1.0]), t([1.0, 5.0]))
Beta(0.7, 2.0)
Beta(t([0.5, 2.0, 10.0]), t([0.5, 3.0, 20.0]))
Gamma(2.0, 0.5)
Gamma(t([0.3, 1.0, 7.0, 30.0]), t([1.0, 2.0, 0.5, 3.0]))
Dirichlet(t([0.5, 1.0, 3.0]))
Dirichlet(t([[0.3, 0.4], [12.0, 30.0]]))
Exponential(1.5)
Exponential(t([0.5, 2.0]))
Poisson(3.5)
Poisson(t([0.5, 20.0]))
Laplace(0.0, 1.5)
Laplace(t([0.0, 1.0]), t([1.0, 2.0]))
LogNormal(0.1, 0.5)
LogNormal(t([0.0, 1.0]), t([1.0, 0.5]))
HalfNormal(t([1.0, 2.5]))
HalfCauchy(t([1.0, 2.5]))
Cauchy(t([0.0, 1.0]), t([1.0, 2.0]))
StudentT(t([1.5, 3.0, 10.0]), 0.5, 2.0)
Chi2(t([1.0, 4.0]))
FisherSnedecor(t([3.0, 5.0]), t([6.0, 8.0]))
Gumbel(t([0.0, 1.0]), t([1.0, 2.0]))
Gumbel(0.5, 2.0)
Pareto(t([1.0, 2.0]), t([2.5, 4.0]))
Weibull(t([1.0, 2.0]), t([1.5, 0.8]))
Kumaraswamy(t([2.0, 0.5]), t([3.0, 1.5]))
InverseGamma(t([2.5, 4.0]), t([1.0, 2.0]))
LogisticNormal(t([0.0, 0.5]), t([1.0, 0.5]))
Geometric(t([0.2, 0.7]))
Geometric(logits=t([0.2, -0.7]))
Binomial(5, t([0.2, 0.7]))
Binomial(t([3.0, 8.0]), logits=t([0.2, -0.7]))
NegativeBinomial(t([3.0, 8.0]), t([0.2, 0.7]))
Multinomial(10, t([0.2, 0.3, 0.5]))
Multinomial(4, logits=t([[0.2, 0.3, 0.5], [1.0, 0.0, -1.0]]))
RelaxedBernoulli(t(0.7), t([0.2, 0.6]))
RelaxedOneHotCategorical(t(0.7), t([0.2, 0.3, 0.5]))
MultivariateNormal(t([0.0, 1.0]), t([[2.0, 0.5], [0.5, 1.0]]))
MultivariateNormal(t([[0.0, 1.0], [2.0, 3.0]]), scale_tril=t([[1.0, 0.0], [0.5, 2.0]]))
MultivariateNormal(t([0.0, 1.0]), precision_matrix=t([[2.0, 0.5], [0.5, 1.0]]))
LowRankMultivariateNormal(t([0.0, 1.0, 2.0]), t([[1.0], [0.5], [0.2]]), t([0.5, 1.0, 2.0]))
ContinuousBernoulli(t([0.2, 0.5, 0.9]))
ContinuousBernoulli(logits=t([-1.0, 2.0]))
VonMises(t([0.0, 1.0]), t([0.5, 4.0]))
Independent(D.Normal(t([[0.0, 1.0]]), t([1.0, 2.0])), 1)
MixtureSameFamily(D.Categorical(t([0.3, 0.7])), D.Normal(t([0.0, 3.0]), t([1.0, 0.5])))
MixtureSameFamily(D.Categorical(t([0.3, 0.7])), D.Independent(D.Normal(t([[0.0, 3.0], [1.0, 2.0]]), 1.0), 1))
TransformedDistribution(D.Normal(t([0.0, 1.0]), 1.0), [D.AffineTransform(1.0, -2.0), D.SigmoidTransform()])
TransformedDistribution(D.Normal(0.0, 1.0), D.TanhTransform())
TransformedDistribution(D.Uniform(0.1, 0.9), [D.SigmoidTransform().inv, D.AffineTransform(0.5, 2.0)])
TransformedDistribution(D.Normal(t([0.0, 1.0, 2.0]), 1.0), D.StickBreakingTransform())
"""
CASES = CASES.strip().splitlines()


def make(lib: Any, text: str) -> Any:
    scope = {"D": lib.distributions, "t": lib.tensor, "torch": lib, **vars(lib.distributions)}
    return eval(text, scope)


def outcome(compute: Callable[[], Any]) -> Any:
    """What a call gives as plain data, or the type and text of its error."""
    try:
        return plain(compute())
    except Exception as error:
        return type(error).__name__, str(error).replace("flambeau.", "torch.")


def plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return [str(value.dtype), list(value.shape), value.tolist()]
    if isinstance(value, (tuple, list)):
        return [plain(v) for v in value]
    return value


def close(a: Any, b: Any, tol: float) -> bool:
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(close(x, y, tol) for x, y in zip(a, b))
    if isinstance(a, float) and isinstance(b, float):
        return (math.isnan(a) and math.isnan(b)) or a == b or abs(a - b) <= tol * (1 + abs(b))
    return a == b


def gradients(lib: Any, text: str) -> Any:
    """Of a reparameterised sample with respect to the parameters."""
    leaves: list[Any] = []

    def leaf(data: Any) -> Any:
        leaves.append(lib.tensor(data, requires_grad=True))
        return leaves[-1]

    scope = {"D": lib.distributions, "t": leaf, **vars(lib.distributions)}
    dist = eval(text, scope)
    if not dist.has_rsample or not leaves:
        return None
    lib.manual_seed(5)
    drawn = dist.rsample((4,))
    (drawn * drawn.detach().cos()).sum().backward()
    return [None if x.grad is None else x.grad.tolist() for x in leaves]


def all_of(lib: Any, text: str) -> dict[str, Any]:
    dist = make(lib, text)
    found = {"repr": repr(dist), "batch": list(dist.batch_shape), "event": list(dist.event_shape)}
    for name in ("mean", "mode", "variance", "stddev"):
        found[name] = outcome(lambda name=name: getattr(dist, name))
    for name in ("entropy", "perplexity", "enumerate_support"):
        found[name] = outcome(getattr(dist, name))
    lib.manual_seed(11)
    drawn = dist.sample()
    many = dist.sample((3, 2))
    found |= {"sample": plain(drawn), "samples": plain(many), "rsample": outcome(lambda: dist.rsample((2,)))}
    found["log_prob"] = outcome(lambda: dist.log_prob(many))
    found["log_prob_of_one"] = outcome(lambda: dist.log_prob(drawn))
    found["cdf"] = outcome(lambda: dist.cdf(many))
    found["icdf"] = outcome(lambda: dist.icdf(lib.full((1,) * len(dist.batch_shape), 0.3)))
    found["inside"] = outcome(lambda: dist.support.check(many))
    found["refused"] = outcome(lambda: dist.log_prob(lib.full_like(many, math.nan if many.is_floating_point() else -7)))
    wider = dist.expand((2, *dist.batch_shape))
    found["expanded"] = [repr(wider), list(wider.batch_shape), outcome(lambda: wider.log_prob(drawn))]
    found["grads"] = gradients(lib, text)
    return found


FAMILIES = [
    "Bernoulli(t([0.3, 0.6]))", "Beta(t([1.5, 0.7]), 2.0)", "Binomial(4, t([0.3, 0.6]))", "Categorical(t([0.2, 0.8]))",
    "Cauchy(0.5, t([1.0, 2.0]))", "Dirichlet(t([1.0, 2.0]))", "Exponential(t([0.5, 2.0]))", "Gamma(t([0.5, 2.0]), 1.5)",
    "Geometric(t([0.3, 0.6]))", "Gumbel(t([0.0, 1.0]), 1.5)", "HalfNormal(t([1.0, 2.0]))", "Laplace(0.2, t([1.0, 2.0]))",
    "LogNormal(0.2, t([1.0, 2.0]))", "MultivariateNormal(t([0.0, 1.0]), t([[2.0, 0.5], [0.5, 1.0]]))",
    "Normal(0.2, t([1.0, 2.0]))", "OneHotCategorical(t([0.2, 0.8]))", "Pareto(1.5, t([2.5, 4.0]))",
    "Poisson(t([1.0, 2.0]))", "Uniform(0.2, t([0.8, 2.0]))", "Independent(D.Normal(t([0.0, 1.0]), 1.0), 1)",
]  # fmt: skip


def kl_of(lib: Any, p: str, q: str) -> Any:
    return outcome(lambda: lib.distributions.kl_divergence(make(lib, p), make(lib, q)))


TRANSFORMS = [
    ("ExpTransform()", [-1.0, 0.5, 2.0]), ("PowerTransform(t([2.0, 0.5, -1.0]))", [0.5, 1.5, 2.0]),
    ("SigmoidTransform()", [-1.0, 0.5, 40.0]), ("TanhTransform()", [-1.0, 0.5, 2.0]),
    ("SoftplusTransform()", [-1.0, 0.5, 2.0]), ("AbsTransform()", [-1.0, 0.5, 2.0]),
    ("AffineTransform(1.0, -2.0)", [-1.0, 0.5, 2.0]), ("AffineTransform(t([1.0, 2.0, 3.0]), t([0.5, 1.0, 2.0]), 1)", [1.0, 2.0, 3.0]),
    ("SoftmaxTransform()", [-1.0, 0.5, 2.0]), ("StickBreakingTransform()", [-1.0, 0.5, 2.0]),
    ("LowerCholeskyTransform()", [[1.0, 2.0], [0.5, -1.0]]), ("PositiveDefiniteTransform()", [[1.0, 2.0], [0.5, -1.0]]),
    ("CorrCholeskyTransform()", [-1.0, 0.5, 0.2]), ("ComposeTransform([ExpTransform(), AffineTransform(1.0, 3.0)])", [-1.0, 0.5]),
    ("IndependentTransform(ExpTransform(), 1)", [[-1.0, 0.5]]), ("ReshapeTransform((4,), (2, 2))", [1.0, 2.0, 3.0, 4.0]),
    ("CatTransform([ExpTransform(), SigmoidTransform()], 0, [1, 2])", [1.0, 2.0, 3.0]),
    ("StackTransform([ExpTransform(), SigmoidTransform()], 0)", [1.0, 2.0]), ("ExpTransform().inv", [1.0, 2.0]),
    ("CumulativeDistributionTransform(Normal(0.0, 1.0))", [0.5, -1.0]), ("TanhTransform(cache_size=1)", [0.5, -1.0]),
]  # fmt: skip


def transform_of(lib: Any, text: str, data: Any) -> dict[str, Any]:
    f, x = make(lib, text), lib.tensor(data)
    y = f(x)
    return {
        "y": plain(y), "back": outcome(lambda: f.inv(y)), "jacobian": outcome(lambda: f.log_abs_det_jacobian(x, y)),
        "repr": repr(f), "bijective": f.bijective, "sign": outcome(lambda: f.sign), "inv": repr(f.inv),
        "shapes": [list(f.forward_shape(x.shape)), list(f.inverse_shape(y.shape))],
        "domain": repr(f.domain), "codomain": repr(f.codomain), "same": f == make(lib, text), "cached": f.inv(y) is x,
    }  # fmt: skip


ERRORS = [
    "Normal(0.0, -1.0)", "Normal(t([0.0, float('nan')]), 1.0)", "Normal('a', 1.0)", "Bernoulli(1.5)", "Bernoulli()",
    "Bernoulli(0.5, 0.5)", "Categorical(t(0.5))", "Categorical(t([0.5, -0.5]))", "Uniform(1.0, 0.0)", "Gamma(0.0, 1.0)",
    "Dirichlet(t(1.0))", "Multinomial(t([1, 2]), t([0.5, 0.5]))", "MultivariateNormal(t(0.0), t([[1.0]]))",
    "MultivariateNormal(t([0.0]))", "MultivariateNormal(t([0.0, 0.0]), t([[1.0, 2.0], [2.0, 1.0]]))",
    "MultivariateNormal(t([0.0]), t([1.0]))", "MultivariateNormal(t([0.0]), scale_tril=t([1.0]))", "Geometric(0.0)",
    "Normal(0.0, 1.0).log_prob(1.0)", "Normal(t([0.0, 1.0]), 1.0).log_prob(t([1.0, 2.0, 3.0]))",
    "Categorical(t([0.5, 0.5])).log_prob(t(2))", "Bernoulli(0.5).log_prob(t(0.5))", "Bernoulli(0.5).rsample()",
    "Beta(1.0, 1.0).log_prob(t(1.5))", "Dirichlet(t([1.0, 1.0])).log_prob(t([0.5, 0.6]))",
    "Independent(Normal(0.0, 1.0), 1)", "TransformedDistribution(Normal(0.0, 1.0), 3)",
    "TransformedDistribution(Normal(0.0, 1.0), StickBreakingTransform())", "MixtureSameFamily(Normal(0.0, 1.0), Normal(0.0, 1.0))",
    "MixtureSameFamily(Categorical(t([0.5, 0.5])), Normal(t([0.0, 1.0, 2.0]), 1.0))", "ExpTransform(cache_size=2)",
    "Binomial(t([1.0, 2.0]), t([0.5, 0.5])).entropy()", "Distribution().sample()", "Distribution().mode",
    "biject_to(constraints.boolean)", "Normal(0.0, 1.0, validate_args=False).log_prob(t(float('nan')))",
    "ReshapeTransform((2,), (3,))",
]  # fmt: skip

CONSTRAINTS = [
    "real", "positive", "nonnegative", "greater_than(2.0)", "less_than(1.0)", "unit_interval", "interval(1.0, 3.0)",
    "simplex", "lower_cholesky", "corr_cholesky", "real_vector", "positive_definite", "half_open_interval(0.0, 2.0)",
]  # fmt: skip


def registered(lib: Any, constraint: str) -> Any:
    """The transforms that lead into a region."""
    return [outcome(lambda r=r: repr(make(lib, f"{r}(constraints.{constraint})"))) for r in ("biject_to", "transform_to")]


def everything(lib: Any) -> dict[str, Any]:
    """All tables, one result a name."""
    found = {text: all_of(lib, text) for text in CASES}
    found |= {f"KL {p} {q}": kl_of(lib, p, q) for p in FAMILIES for q in FAMILIES}
    found |= {f"transform {text}": transform_of(lib, text, data) for text, data in TRANSFORMS}
    found |= {f"error {text}": outcome(lambda text=text: make(lib, text)) for text in ERRORS}
    return found | {f"into {c}": registered(lib, c) for c in CONSTRAINTS}
