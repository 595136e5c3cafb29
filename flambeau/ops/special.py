"""Special functions as ops: the error, gamma and Bessel families, entropies and logarithms that forgive zeros.

The numerical methods are in `ops.specfun`, in double precision; derivatives are written with differentiable ops.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from flambeau import dtypes
from flambeau.engine.execute import Meta
from flambeau.ops.arguments import check_input, invalid
from flambeau.ops.elementwise import unary
from flambeau.ops.op import Op, names, op, public
from flambeau.ops.rules import Result, accepting, require_tensor
from flambeau.ops.samples import Call, Maker, Samples, anywhere, binary_on, call, positive, unary_on, unit
from flambeau.ops.specfun import bessel, error, gamma
from flambeau.ops.specfun.precision import double
from flambeau.tensors import Tensor

FLOAT = Result.FLOAT
_ROOT_PI = math.sqrt(math.pi)


def real_only(kernel: str, low: int = dtypes.BOOL) -> Callable[..., Meta]:
    """The rule of an elementwise op with a floating-point result that refuses complex operands."""
    return accepting(kernel, FLOAT, low, dtypes.FLOAT)


def _special(
    name: str, ref: Callable, vjp: Any, samples: Samples = anywhere, aliases: tuple[str, ...] = (), lower: Any = None
) -> Op:
    """An op of one operand that PyTorch lists under `torch.special` only."""
    record = op("special_" + name, ref=double(ref), meta=real_only(name + "_cpu"), vjp=vjp, samples=samples,
                lower=lower)  # fmt: skip

    def function(input: Tensor) -> Tensor:
        check_input("special_" + name, input)
        return record(input)

    function.__name__, function.__doc__ = name, f"Elementwise {name} of `input`; same shape."
    public("special", name=name, aliases=aliases, out=True)(function)
    return record


# -- error functions -------------------------------------------------------------------------------------------

erf_op = unary(
    "erf", double(error.erf), lambda g, _y, x: (g * (2 / _ROOT_PI) * (-x * x).exp(),), where="torch Tensor special",
    meta=real_only("erf_vml_cpu"), lower=lambda k, x: k.erf(x),
)  # fmt: skip
erfc_op = unary(
    "erfc", double(error.erfc), lambda g, _y, x: (g * (-2 / _ROOT_PI) * (-x * x).exp(),), where="torch Tensor special",
    meta=real_only("erfc_vml_cpu"), lower=lambda k, x: k.erfc(x),
)  # fmt: skip
erfinv_op = unary(
    "erfinv", double(error.erfinv), lambda g, y, _x: (g * (_ROOT_PI / 2) * (y * y).exp(),), samples=unit,
    where="torch Tensor special",
    meta=real_only("erfinv_vml_cpu"), lower=lambda k, x: k.erfinv(x),
)  # fmt: skip
erfcx_op = _special(
    "erfcx", error.erfcx, lambda g, y, x: (g * (2 * x * y - 2 / _ROOT_PI),), lower=lambda k, x: k.erfcx(x)
)
ndtr_op = _special(
    "ndtr", error.ndtr, lambda g, _y, x: (g * (x * x * -0.5).exp() / math.sqrt(2 * math.pi),),
    lower=lambda k, x: k.ndtr(x),
)  # fmt: skip
ndtri_op = _special(
    "ndtri", error.ndtri, lambda g, y, _x: (g * math.sqrt(2 * math.pi) * (y * y / 2).exp(),), unary_on(0.1, 0.9),
    lower=lambda k, x: k.ndtri(x),
)  # fmt: skip
log_ndtr_op = _special(
    "log_ndtr", error.log_ndtr,
    lambda g, _y, x: (g * math.sqrt(2 / math.pi) / erfcx_op(x * -math.sqrt(0.5)),), lower=lambda k, x: k.log_ndtr(x),
)  # fmt: skip

# -- the gamma function ----------------------------------------------------------------------------------------

polygamma_op = op(
    "polygamma", ref=lambda x, n: double(gamma.polygamma(n))(x), meta=real_only("polygamma"),
    vjp=lambda g, _y, x, n: (g * polygamma_op(x, n=n + 1),),
    samples=lambda t: [call(t(3, low=0.5, high=4), n=n) for n in (0, 1, 2)],
    lower=lambda k, x, n: k.polygamma(x, n=n),
)  # fmt: skip
digamma_op = unary(
    "digamma", double(gamma.digamma), lambda g, _y, x: (g * polygamma_op(x, n=1),), samples=positive,
    where="torch Tensor",
    meta=real_only("digamma"), lower=lambda k, x: k.digamma(x),
)  # fmt: skip
lgamma_op = unary(
    "lgamma", double(gamma.lgamma), lambda g, _y, x: (g * digamma_op(x),), samples=positive, where="torch Tensor",
    meta=real_only("lgamma_vml_cpu"), lower=lambda k, x: k.lgamma(x),
)  # fmt: skip
for _name, _of in (("gammaln", "lgamma"), ("digamma", "digamma"), ("psi", "digamma")):
    public("special", name=_name)(names["torch"][_of])


def _polygamma(n: int, input: Tensor) -> Tensor:
    if isinstance(n, bool) or not isinstance(n, int) or not isinstance(input, Tensor):
        raise invalid("polygamma", n, input)
    if n < 0:
        raise RuntimeError("polygamma(n, x) does not support negative n.")
    return polygamma_op(input, n=n)


@public("torch special", out=True)
def polygamma(n: int, input: Tensor) -> Tensor:
    """The `n`-th derivative of the digamma function."""
    return _polygamma(n, input)


@public("Tensor", name="polygamma", inplace=True)
def _polygamma_method(self: Tensor, n: int) -> Tensor:
    """The `n`-th derivative of the digamma function."""
    return _polygamma(n, self)


def _mvlgamma(x: np.ndarray, p: int) -> np.ndarray:
    total = np.full(x.shape, p * (p - 1) / 4 * math.log(math.pi))
    for j in range(p):
        total = total + gamma.lgamma(x - j / 2)
    return total


mvlgamma_op = op(
    "mvlgamma", ref=lambda x, p: double(lambda d: _mvlgamma(d, p))(x), meta=real_only("mvlgamma"),
    vjp=lambda g, _y, x, p: (g * digamma_op(x.unsqueeze(-1) - x.new_tensor([j / 2 for j in range(p)])).sum(-1),),
    samples=lambda t: [call(t(3, low=2, high=4), p=3), call(t(2, 0), p=1)],
    lower=lambda k, x, p: k.mvlgamma(x, p=p),
)  # fmt: skip


@public("torch Tensor", inplace=True, out=True)
def mvlgamma(input: Tensor, p: int) -> Tensor:
    """The logarithm of the multivariate gamma function of dimension `p`."""
    check_input("mvlgamma", input)
    if p < 1:
        raise RuntimeError("p has to be greater than or equal to 1")
    return mvlgamma_op(input, p=p)


public("special", name="multigammaln")(mvlgamma)


def _no_derivative(name: str, argument: str) -> Callable:
    def vjp(g: Tensor, _y: Any, *_x: Any) -> Tensor:
        raise NotImplementedError(f"the derivative for '{name}: {argument}' is not implemented.")

    return vjp


def _density(g: Tensor, _y: Any, a: Any, x: Tensor) -> Tensor:
    """The gamma distribution's density: the derivative of the incomplete gamma function."""
    logs = lgamma_op(a) if isinstance(a, Tensor) else math.lgamma(a)
    return g * ((a - 1) * x.log() - x - logs).exp()


def _gamma_samples(t: Maker) -> list[Call]:
    """Only the second operand has a derivative."""

    def shape(*size: int) -> Tensor:
        return t(*size, low=1, high=4, dtype=dtypes.int64)

    return [call(shape(3), t(3, low=0.3, high=4)), call(shape(2, 1), t(1, 3, low=0.3, high=4)),
            call(shape(2, 0), t(1, low=0.3, high=4))]  # fmt: skip


def _incomplete(name: str, ref: Callable, sign: float, special: str, lower: Any) -> None:
    record = op(
        name, ref=double(ref), meta=real_only(name + "_cpu", dtypes.FLOAT), samples=_gamma_samples, lower=lower,
        vjp=(_no_derivative(name, "input"), lambda g, _y, a, x: sign * _density(g, _y, a, x)),
    )  # fmt: skip

    def function(input: Tensor, other: Tensor) -> Tensor:
        require_tensor(name, "input", 1, input)
        require_tensor(name, "other", 2, other)
        return record(input, other)

    words = "lower" if sign > 0 else "upper"
    function.__name__ = name
    function.__doc__ = f"The regularised {words} incomplete gamma function of parameter `input` at `other`."
    public("torch Tensor", name=name, inplace=True, out=True)(function)
    public("special", name=special, out=True)(function)


_incomplete("igamma", gamma.gammainc, 1.0, "gammainc", lambda k, a, x: k.gammainc(a, x))
_incomplete("igammac", gamma.gammaincc, -1.0, "gammaincc", lambda k, a, x: k.gammaincc(a, x))

# -- Bessel functions ------------------------------------------------------------------------------------------


def _over(y: Tensor, x: Tensor) -> Tensor:
    """y / x, but 1/2 at zero: the limit for a Bessel function of order 1."""
    zero = x == 0
    return (y / x.masked_fill(zero, 1)).masked_fill(zero, 0.5)


i0_op = unary(
    "i0", double(bessel.i0), lambda g, _y, x: (g * i1_op(x),), where="torch Tensor special",
    meta=real_only("i0_vml_cpu"), lower=lambda k, x: k.bessel(x, "i0"),
)  # fmt: skip
i0e_op = _special(
    "i0e", bessel.i0e, lambda g, y, x: (g * (i1e_op(x) - x.sgn() * y),), positive, lower=lambda k, x: k.bessel(x, "i0e")
)
i1_op = _special("i1", bessel.i1, lambda g, y, x: (g * (i0_op(x) - _over(y, x)),), lower=lambda k, x: k.bessel(x, "i1"))
i1e_op = _special(
    "i1e", bessel.i1e, lambda g, y, x: (g * (i0e_op(x) - x.sgn() * y - _over(y, x)),), positive,
    lower=lambda k, x: k.bessel(x, "i1e"),
)  # fmt: skip

# -- logarithms ------------------------------------------------------------------------------------------------


def _entr(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, -x * np.log(np.where(x > 0, x, 1)), np.where(x == 0, 0, np.where(np.isnan(x), x, -np.inf)))


_special("entr", _entr, lambda g, _y, x: (g * (-x.log() - 1),), positive, lower=lambda k, x: k.entr(x))


def _times_log(log: Callable) -> Callable:
    def ref(a: Any, b: Any) -> np.ndarray:
        return np.where((np.equal(a, 0)) & ~np.isnan(b), np.asarray(a) * 0, np.multiply(a, log(b)))

    return ref


def _number_first(name: str, record: Op, where: str, inplace: bool) -> None:
    def function(input: Any, other: Any) -> Tensor:
        if not isinstance(input, Tensor) and not isinstance(other, Tensor):
            raise invalid(name, input, other)
        return record(input, other)

    function.__name__ = name
    function.__doc__ = f"`input * {'log' if name == 'xlogy' else 'log1p'}(other)`, 0 where `input` is 0."
    public(where, name=name, inplace=inplace, out=True)(function)


def _by_numbers(name: str) -> Callable[[Any, dict], str]:
    """PyTorch's node names of an op with a form for a number on either side."""

    def backward_name(inputs: Any, _: dict) -> str:
        forms = [not isinstance(x, Tensor) for x in inputs]
        return f"{name}Backward{1 if forms[0] else 2 if forms[1] else 0}"

    return backward_name


def _log_of(b: Any) -> Any:
    return b.log() if isinstance(b, Tensor) else math.log(b)


def _log1p_of(b: Any) -> Any:
    return b.log1p() if isinstance(b, Tensor) else math.log1p(b)


xlogy_op = op(
    "xlogy", ref=_times_log(np.log), meta=real_only("xlogy_cpu"), samples=binary_on(0.3, 2),
    backward_name=_by_numbers("Xlogy"),
    vjp=(
        lambda g, _y, a, b: (g * _log_of(b)).masked_fill((a == 0) & _at_most(b, 0), 0),
        lambda g, _y, a, b: g * a / b,
    ),
    lower=lambda k, a, b: k.xlogy(a, b, k.log(b)),
)  # fmt: skip
xlog1py_op = op(
    "special_xlog1py", ref=_times_log(np.log1p), meta=real_only("xlog1py_cpu"), samples=binary_on(0.3, 2),
    vjp=(
        lambda g, _y, a, b: (g * _log1p_of(b)).masked_fill((a == 0) & _at_most(b, -1), 0),
        lambda g, _y, a, b: g * a / (b + 1),
    ),
    backward_name=_by_numbers("SpecialXlog1Py"), lower=lambda k, a, b: k.xlogy(a, b, k.log1p(b)),
)  # fmt: skip


def _at_most(b: Any, limit: float) -> Any:
    """Where the logarithm of `b` is not finite."""
    return b <= limit if isinstance(b, Tensor) else bool(b <= limit)


_number_first("xlogy", xlogy_op, "torch Tensor special", True)
_number_first("xlog1py", xlog1py_op, "special", False)


def _logit(x: np.ndarray, eps: float | None) -> np.ndarray:
    if eps is not None:
        x = np.clip(x, x.dtype.type(eps), 1 - x.dtype.type(eps))
    return np.log(x / (1 - x))


def _logit_vjp(g: Tensor, _y: Any, x: Tensor, eps: float | None) -> tuple:
    low = 0.0 if eps is None else eps
    outside = (x < low) | (x > 1 - low)
    return ((g / (x * (1 - x))).masked_fill(outside, math.nan if eps is None else 0),)


logit_op = op(
    "logit", ref=_logit, meta=real_only("logit_cpu"), vjp=_logit_vjp, lower=lambda k, x, eps: k.logit(x, eps),
    samples=lambda t: [call(t(3, low=0.1, high=0.9), eps=None), call(t(2, 3, low=0.3, high=0.7), eps=0.2),
                       call(t(2, 0), eps=None)],
)  # fmt: skip


@public("torch Tensor special", inplace=True, out=True)
def logit(input: Tensor, eps: float | None = None) -> Tensor:
    """`log(x / (1 - x))`, of x limited to [eps, 1 - eps] if `eps` is given."""
    check_input("logit", input)
    return logit_op(input, eps=eps)


# -- the zeta function -----------------------------------------------------------------------------------------


zeta_op = op(
    "special_zeta", ref=double(gamma.zeta), meta=real_only("zeta_cpu"), backward_name=_by_numbers("SpecialZeta"),
    vjp=(_no_derivative("special_zeta", "self"), lambda g, _y, x, q: g * -x * zeta_op(x + 1, q)),
    samples=lambda t: [
        call(t(3, low=2, high=5, dtype=dtypes.int64), t(3, low=0.5, high=3)),
        call(3, t(2, low=1, high=3)),
    ],
    lower=lambda k, x, q: k.zeta(x, q),
)  # fmt: skip


@public("special", out=True)
def zeta(input: Any, other: Any) -> Tensor:
    """The Hurwitz zeta function: the sum over k >= 0 of `1 / (k + other) ** input`."""
    if not isinstance(input, Tensor) and not isinstance(other, Tensor):
        raise invalid("special_zeta", input, other)
    return zeta_op(input, other)


for _name in ("exp2", "expm1", "log1p", "round"):
    public("special", name=_name)(names["torch"][_name])
public("special", name="expit")(names["torch"]["sigmoid"])
