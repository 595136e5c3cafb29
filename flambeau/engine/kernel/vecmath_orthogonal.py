"""Orthogonal polynomials by their three-term recurrences: Chebyshev, Hermite, Laguerre, Legendre.

Every lane goes on until all have come to their degrees. Sums and products are those of the NumPy references, in the
same order: the results have the same bits.
"""

from __future__ import annotations

from collections.abc import Callable

from flambeau.engine.kernel.emit import Emitter, Val, lanes
from flambeau.engine.kernel.vecmath import any_lane, in_double, magnitude

Step = Callable[[Val, Val, Val, Val], Val]
Polynomial = Callable[[Emitter, Val, Val], Val]

_ENDLESS = 2**62


def _recurrence(first: Callable[[Val], Val], step: Step) -> Polynomial:
    """The polynomial of degree n at x: 1, `first(x)`, and `step(degree, x, one before, two before)`.

    A degree is cut to a whole number; below 0, and where it is none that int64 has, the polynomial is 0.
    """

    def polynomial(k: Emitter, x: Val, n: Val) -> Val:
        n = k.select(magnitude(k, n) < 2.0**63, k.intrinsic("trunc", n.type, n), -1.0)
        one = k.const(x.type, 1.0)
        further = any_lane(k, n >= 2.0)
        with k.loop(k.select(further, k.const("i64", _ENDLESS), 0), start=2, carried=[first(x), one]) as loop:
            at, before = loop.carried
            degree = k.splat(k.cast(loop.i, "double"), lanes(x.type))
            reached = k.select(degree <= n, step(degree, x, at, before), at)
            on = k.bits("and", degree < n, reached.equals(reached))  # what has become NaN remains it
            loop.carry(reached, at, until=k.bits("xor", any_lane(k, on), True))
        return k.select(n < 0.0, 0.0, k.select(n < 1.0, 1.0, loop.results[0]))

    return in_double(polynomial)


def _doubling(_degree: Val, x: Val, at: Val, before: Val) -> Val:
    return x * 2.0 * at - before


def _shifted(polynomial: Polynomial) -> Polynomial:
    return in_double(lambda k, x, n: polynomial(k, x * 2.0 - 1.0, n))


def _laguerre(degree: Val, x: Val, at: Val, before: Val) -> Val:
    return ((degree * 2.0 - 1.0 - x) * at - (degree - 1.0) * before) / degree


def _legendre(degree: Val, x: Val, at: Val, before: Val) -> Val:
    return ((degree * 2.0 - 1.0) * x * at - (degree - 1.0) * before) / degree


chebyshev_polynomial_t = _recurrence(lambda x: x, _doubling)
chebyshev_polynomial_u = _recurrence(lambda x: x * 2.0, _doubling)
chebyshev_polynomial_v = _recurrence(lambda x: x * 2.0 - 1.0, _doubling)
chebyshev_polynomial_w = _recurrence(lambda x: x * 2.0 + 1.0, _doubling)
shifted_chebyshev_polynomial_t = _shifted(chebyshev_polynomial_t)
shifted_chebyshev_polynomial_u = _shifted(chebyshev_polynomial_u)
shifted_chebyshev_polynomial_v = _shifted(chebyshev_polynomial_v)
shifted_chebyshev_polynomial_w = _shifted(chebyshev_polynomial_w)
hermite_polynomial_h = _recurrence(
    lambda x: x * 2.0, lambda degree, x, at, before: x * 2.0 * at - (degree - 1.0) * 2.0 * before
)
hermite_polynomial_he = _recurrence(lambda x: x, lambda degree, x, at, before: x * at - (degree - 1.0) * before)
laguerre_polynomial_l = _recurrence(lambda x: 1.0 - x, _laguerre)
legendre_polynomial_p = _recurrence(lambda x: x, _legendre)
