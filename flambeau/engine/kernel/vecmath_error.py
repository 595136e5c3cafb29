"""The error function and its relatives: erf, erfc, erfcx, their inverses, the normal distribution.

In float, erf is x times a polynomial in x**2 near zero and 1 - exp(a polynomial) beyond. In double: W. J. Cody,
"Rational Chebyshev approximations for the error function", Mathematics of Computation 23 (1969); inverses by Newton
steps on them.
"""

from __future__ import annotations

import math

from flambeau.engine.kernel.emit import Emitter, Val
from flambeau.engine.kernel.vecmath import (
    FLOAT,
    at_least,
    at_most,
    format_of,
    in_double,
    magnitude,
    nearest,
    polynomial,
    power_of_two,
    root,
    with_sign_of,
)  # fmt: skip
from flambeau.engine.kernel.vecmath_exp import exp, moderate_exp
from flambeau.engine.kernel.vecmath_log import log, log1p

Ratio = tuple[tuple[float, ...], tuple[float, ...]]

# erf(x) / x - 1 in x**2, and log(erfc(x)) / x
_NEAR_SINGLE = (
    8.304941729875281e-05, -0.0008125818567350507, 0.005199354141950607, -0.026858599856495857, 0.11283677071332932,
    -0.37612631916999817, 0.12837916612625122,
)  # fmt: skip
_FAR_SINGLE = (
    -1.2183067156001925e-05, 0.0003319869574625045, -0.003678389824926853, 0.02383507788181305, -0.10631821304559708,
    -0.6351041793823242, -1.1286596059799194,
)  # fmt: skip
_ERF: Ratio = (
    (1.85777706184603153e-1, 3.16112374387056560e0, 1.13864154151050156e2, 3.77485237685302021e2,
     3.20937758913846947e3),
    (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3),
)  # fmt: skip
_ERFCX: Ratio = (  # for 0.46875 <= x <= 4
    (2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e0, 6.61191906371416295e1,
     2.98635138197400131e2, 8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3,
     1.23033935479799725e3),
    (1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2, 1.62138957456669019e3,
     3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3),
)  # fmt: skip
_ERFCX_FAR: Ratio = (  # for x > 4, in 1/x**2
    (1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1, 1.25781726111229246e-1,
     1.60837851487422766e-2, 6.58749161529837803e-4),
    (1.0, 2.56852019228982242e0, 1.87295284992346725e0, 5.27905102951428412e-1, 6.05183413124413191e-2,
     2.33520497626869185e-3),
)  # fmt: skip
_INVERSE_NEAR: Ratio = (
    (-0.140543331, 0.914624893, -1.645349621, 0.886226899),
    (0.012229801, -0.329097515, 1.442710462, -2.118377725, 1.0),
)
_INVERSE_FAR: Ratio = ((1.641345311, 3.429567803, -1.624906493, -1.970840454), (1.637067800, 3.543889200, 1.0))
# log2 of the normal distribution's tail from x on, density(x) / tail(x), and 2**x near zero: to absolute accuracy
_TAIL_END = 6.0
_TAIL_SINGLE = (
    -2.772062316580559e-06, 3.862089215544984e-05, -0.00018254823226016015, -0.00014586870383936912,
    0.007075469940900803, -0.05250502750277519, -0.45920491218566895, -1.1511057615280151, -1.0,
)  # fmt: skip
_DENSITY_SINGLE = (
    -3.0736725875613047e-06, 5.17296684847679e-05, -0.0003589926636777818, 0.0011750536505132914,
    -4.9022924940800294e-05, -0.019212668761610985, 0.1090303361415863, 0.6366174221038818, 0.7978845834732056,
)  # fmt: skip
_EXP2_SINGLE = (
    0.00015345742576755583, 0.0013399928575381637, 0.009618489071726799, 0.05550328642129898, 0.24022646248340607,
    0.6931471824645996, 1.0,
)  # fmt: skip
_SMALL = 0.46875
_ROOT_PI = math.sqrt(math.pi)


def _ratio(k: Emitter, x: Val, pair: Ratio) -> Val:
    return polynomial(k, x, pair[0]) / polynomial(k, x, pair[1])


def _exp_of_minus_square(k: Emitter, x: Val) -> Val:
    """exp(-x*x) without the rounding error of x*x: a short part of x squares exactly."""
    coarse = k.intrinsic("trunc", x.type, x * 16.0) * 0.0625
    return exp(k, -(coarse * coarse)) * exp(k, -((x - coarse) * (x + coarse)))


def _erfcx_right(k: Emitter, x: Val) -> Val:
    """erfcx for x >= 0.46875."""
    inverse = 1.0 / (x * x)
    far = (1 / _ROOT_PI - inverse * _ratio(k, inverse, _ERFCX_FAR)) / x
    return k.select(x > 4.0, far, _ratio(k, at_most(k, x, 4.0), _ERFCX))


def _within(k: Emitter, size: Val, high: float) -> Val:
    return at_most(k, at_least(k, size, _SMALL), high)


def _near(k: Emitter, x: Val, size: Val) -> Val:
    """erf for |x| <= 0.46875."""
    near = at_most(k, size, _SMALL)
    return x * _ratio(k, near * near, _ERF)


def erf(k: Emitter, x: Val) -> Val:
    """2/sqrt(pi) times the integral of exp(-t*t) from 0 to x."""
    size = magnitude(k, x)
    if format_of(x) is FLOAT:
        near = k.fma(x, polynomial(k, x * x, _NEAR_SINGLE), x)
        at = at_most(k, size, 3.95)
        far = 1.0 - moderate_exp(k, at * polynomial(k, at, _FAR_SINGLE))
        return k.select(size <= 0.9277, near, with_sign_of(k, far, x))
    at = _within(k, size, 6.0)
    far = 1.0 - _exp_of_minus_square(k, at) * _erfcx_right(k, at)
    return k.select(size <= _SMALL, _near(k, x, size), with_sign_of(k, far, x))


@in_double
def erfc(k: Emitter, x: Val) -> Val:
    """1 - erf(x), accurate where that is tiny."""
    size = magnitude(k, x)
    at = _within(k, size, 30.0)
    tail = _exp_of_minus_square(k, at) * _erfcx_right(k, at)
    return k.select(size <= _SMALL, 1.0 - _near(k, x, size), k.select(x < 0.0, 2.0 - tail, tail))


@in_double
def erfcx(k: Emitter, x: Val) -> Val:
    """exp(x*x) * erfc(x), without overflow for large x."""
    size = magnitude(k, x)
    near = at_most(k, size, _SMALL)
    small = exp(k, near * near) * (1.0 - _near(k, x, size))
    right = _erfcx_right(k, at_least(k, size, _SMALL))
    left = 2.0 / _exp_of_minus_square(k, at_most(k, size, 26.7)) - right
    left = k.select(size > 26.7, math.inf, left)
    return k.select(size <= _SMALL, small, k.select(x < 0.0, left, right))


@in_double
def erfinv(k: Emitter, y: Val) -> Val:
    """The x whose erf is y; NaN outside [-1, 1]."""
    size = magnitude(k, y)
    far = k.select(size > 1.0, math.nan, _erfcinv_far(k, 1.0 - size))
    return with_sign_of(k, k.select(size <= 0.5, _erfinv_near(k, size), far), y)


@in_double
def erfcinv(k: Emitter, q: Val) -> Val:
    """The x whose erfc is q, for 0 <= q <= 2; relative accuracy for tiny q."""
    return k.select(magnitude(k, q - 1.0) <= 0.5, _erfinv_near(k, 1.0 - q), _erfcinv_far(k, q))


def _erfinv_near(k: Emitter, y: Val) -> Val:
    """erfinv for |y| <= 0.7: two Newton steps."""
    y = at_most(k, at_least(k, y, -0.7), 0.7)
    x = y * _ratio(k, y * y, _INVERSE_NEAR)
    for _ in range(2):
        x = x - (erf(k, x) - y) * (_ROOT_PI / 2) * exp(k, x * x)
    return x


def _erfcinv_far(k: Emitter, q: Val) -> Val:
    two_less = 2.0 - q
    tail = k.select(two_less < q, two_less, q)
    z = root(k, -log(k, tail * 0.5))
    y = 1.0 - tail
    x = k.select(y <= 0.7, y * _ratio(k, y * y, _INVERSE_NEAR), _ratio(k, z, _INVERSE_FAR))
    goal = log(k, tail)
    for _ in range(3):  # Newton on log(erfc(x)) = log(tail), whose slope is -2 / (sqrt(pi) erfcx(x))
        scaled = erfcx(k, x)
        x = x + (log(k, scaled) - x * x - goal) * (_ROOT_PI / 2) * scaled
    x = k.select(tail.equals(0.0), math.inf, k.select(tail < 0.0, math.nan, x))
    return with_sign_of(k, x, 1.0 - q)


# -- the normal distribution -----------------------------------------------------------------------------------


def normal_cdf(k: Emitter, x: Val) -> Val:
    """The standard normal distribution function, to absolute accuracy."""
    if format_of(x) is FLOAT:
        return _on_both_sides(k, x, _tail_single(k, magnitude(k, x)))
    return (erf(k, x * math.sqrt(0.5)) + 1.0) * 0.5


def normal(k: Emitter, x: Val) -> tuple[Val, Val]:
    """The standard normal distribution function and its density, to absolute accuracy."""
    if format_of(x) is FLOAT:
        size = magnitude(k, x)
        tail = _tail_single(k, size)
        density = k.select(size > _TAIL_END, 0.0, tail * polynomial(k, size, _DENSITY_SINGLE))
        return _on_both_sides(k, x, tail), density
    return normal_cdf(k, x), exp(k, x * -0.5 * x) * (1 / math.sqrt(2 * math.pi))


def _tail_single(k: Emitter, size: Val) -> Val:
    """The probability of what lies beyond `size`: a power of two; 0 where it is as good as that, NaN stays."""
    power = polynomial(k, size, _TAIL_SINGLE)
    bits, n = nearest(k, power)
    tail = polynomial(k, power - n, _EXP2_SINGLE) * power_of_two(k, bits, "float")
    return k.select(size > _TAIL_END, 0.0, tail)


def _on_both_sides(k: Emitter, x: Val, tail: Val) -> Val:
    return k.select(x < 0.0, tail, 1.0 - tail)


@in_double
def ndtr(k: Emitter, x: Val) -> Val:
    """The standard normal distribution function."""
    return erfc(k, x * -math.sqrt(0.5)) * 0.5


@in_double
def log_ndtr(k: Emitter, x: Val) -> Val:
    """The logarithm of the standard normal distribution function."""
    t = x * math.sqrt(0.5)
    left = k.select(t > 0.0, 0.0, t)
    near = log1p(k, erfc(k, t) * -0.5)
    return k.select(x < -1.0, log(k, erfcx(k, -left) * 0.5) - left * left, near)


@in_double
def ndtri(k: Emitter, p: Val) -> Val:
    """The x below which the standard normal distribution has probability p."""
    tail = erfcinv(k, p + p) * -math.sqrt(2)
    return k.select(p < 0.1, tail, erfinv(k, p + p - 1.0) * math.sqrt(2))
