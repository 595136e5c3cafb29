"""Bessel functions of orders 0 and 1, of all kinds, and Airy's function: the methods of S. L. Moshier's Cephes library.

Each is a blend of two forms or three: one near zero, one for large numbers.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from flambeau.engine.kernel.coefficients import (
    AIRY,
    BESSEL_0,
    BESSEL_1,
    BESSEL_ZEROS_0,
    BESSEL_ZEROS_1,
    I0E_FAR,
    I0E_NEAR,
    I1E_FAR,
    I1E_NEAR,
    K0,
    K1,
    SINC,
)  # fmt: skip
from flambeau.engine.kernel.emit import Emitter, Val
from flambeau.engine.kernel.vecmath import (
    at_least,
    at_most,
    chebyshev,
    in_double,
    magnitude,
    polynomial,
    root,
    with_sign_of,
)  # fmt: skip
from flambeau.engine.kernel.vecmath_exp import exp
from flambeau.engine.kernel.vecmath_log import log
from flambeau.engine.kernel.vecmath_trig import sin, sine_and_cosine

# -- modified, of the first kind -------------------------------------------------------------------------------


@in_double
def i0e(k: Emitter, x: Val) -> Val:
    """exp(-|x|) I0(x)."""
    size = magnitude(k, x)
    near = chebyshev(k, at_most(k, size, 8.0) * 0.5 - 2.0, I0E_NEAR)
    return k.select(size <= 8.0, near, _beyond_8(k, size, I0E_FAR))


@in_double
def i1e(k: Emitter, x: Val) -> Val:
    """exp(-|x|) I1(x)."""
    size = magnitude(k, x)
    near = size * chebyshev(k, at_most(k, size, 8.0) * 0.5 - 2.0, I1E_NEAR)
    return with_sign_of(k, k.select(size <= 8.0, near, _beyond_8(k, size, I1E_FAR)), x)


def _beyond_8(k: Emitter, size: Val, coefficients: tuple[float, ...]) -> Val:
    large = at_least(k, size, 8.0)
    return chebyshev(k, 32.0 / large - 2.0, coefficients) / root(k, large)


@in_double
def i0(k: Emitter, x: Val) -> Val:
    """The modified Bessel function of the first kind of order 0."""
    return exp(k, magnitude(k, x)) * i0e(k, x)


@in_double
def i1(k: Emitter, x: Val) -> Val:
    """The modified Bessel function of the first kind of order 1."""
    return exp(k, magnitude(k, x)) * i1e(k, x)


# -- of the first and second kind ------------------------------------------------------------------------------


class _Order(NamedTuple):
    table: dict[str, tuple[float, ...]]
    zeros: tuple[float, float]
    phase: float


_FIRST = _Order(BESSEL_0, BESSEL_ZEROS_0, math.pi / 4)
_SECOND = _Order(BESSEL_1, BESSEL_ZEROS_1, 3 * math.pi / 4)


def _near_zero(k: Emitter, square: Val, order: _Order) -> Val:
    """The function of the first kind (divided by x, for order 1) up to x = 5."""
    return (square - order.zeros[0]) * (square - order.zeros[1]) * _ratio(k, square, order.table, "rp", "rq")


def _ratio(k: Emitter, x: Val, table: dict[str, tuple[float, ...]], top: str, bottom: str) -> Val:
    return polynomial(k, x, table[top]) / polynomial(k, x, table[bottom])


def _asymptotic(k: Emitter, x: Val, order: _Order) -> tuple[Val, Val]:
    """The functions of the first and second kind from x = 5 on."""
    x = at_least(k, x, 5.0)
    inverse = 25.0 / (x * x)
    p = _ratio(k, inverse, order.table, "pp", "pq")
    q = 5.0 / x * _ratio(k, inverse, order.table, "qp", "qq")
    sine, cosine = sine_and_cosine(k, x - order.phase)
    scale = math.sqrt(2 / math.pi) / root(k, x)
    return (p * cosine - q * sine) * scale, (p * sine + q * cosine) * scale


@in_double
def bessel_j0(k: Emitter, x: Val) -> Val:
    """The Bessel function of the first kind of order 0."""
    size = magnitude(k, x)
    far = k.select(size.equals(math.inf), 0.0, _asymptotic(k, size, _FIRST)[0])
    return k.select(size <= 5.0, _j0_near(k, size), far)


@in_double
def bessel_j1(k: Emitter, x: Val) -> Val:
    """The Bessel function of the first kind of order 1."""
    size = magnitude(k, x)
    far = k.select(size.equals(math.inf), 0.0, _asymptotic(k, size, _SECOND)[0])
    y = k.select(size <= 5.0, _j1_near(k, size), far)
    return k.select(x < 0.0, -y, y)


def _j0_near(k: Emitter, size: Val) -> Val:
    square = at_most(k, size * size, 25.0)
    return k.select(size < 1e-5, 1.0 - square * 0.25, _near_zero(k, square, _FIRST))


def _j1_near(k: Emitter, size: Val) -> Val:
    return size * _near_zero(k, at_most(k, size * size, 25.0), _SECOND)


@in_double
def bessel_y0(k: Emitter, x: Val) -> Val:
    """The Bessel function of the second kind of order 0; NaN below 0."""
    ratio = _ratio(k, at_most(k, x * x, 25.0), BESSEL_0, "yp", "yq")
    near = ratio + log(k, x) * _j0_near(k, x) * (2 / math.pi)
    return _positive(k, x, k.select(x <= 5.0, near, _asymptotic(k, x, _FIRST)[1]), -math.inf)


@in_double
def bessel_y1(k: Emitter, x: Val) -> Val:
    """The Bessel function of the second kind of order 1; NaN below 0."""
    ratio = _ratio(k, at_most(k, x * x, 25.0), BESSEL_1, "yp", "yq")
    near = x * ratio + (_j1_near(k, x) * log(k, x) - 1.0 / x) * (2 / math.pi)
    return _positive(k, x, k.select(x <= 5.0, near, _asymptotic(k, x, _SECOND)[1]), -math.inf)


def _positive(k: Emitter, x: Val, y: Val, at_zero: float) -> Val:
    return k.select(x.equals(0.0), at_zero, k.select(x < 0.0, math.nan, y))


@in_double
def spherical_bessel_j0(k: Emitter, x: Val) -> Val:
    """sin(x) / x."""
    size = magnitude(k, x)
    far = k.select(size.equals(math.inf), 0.0, sin(k, x) / x)
    return k.select(size < 0.5, polynomial(k, at_most(k, x * x, 0.25), SINC), far)


# -- modified, of the second kind ------------------------------------------------------------------------------


@in_double
def scaled_k0(k: Emitter, x: Val) -> Val:
    """exp(x) times the modified Bessel function of the second kind of order 0; NaN below 0."""
    small = at_most(k, x, 2.0)
    i0 = _i_near(k, small, I0E_NEAR)
    near = (chebyshev(k, small * small - 2.0, K0["near"]) - log(k, small * 0.5) * i0) * exp(k, small)
    return _positive(k, x, k.select(x <= 2.0, near, _beyond_2(k, x, K0["far"])), math.inf)


@in_double
def scaled_k1(k: Emitter, x: Val) -> Val:
    """exp(x) times the modified Bessel function of the second kind of order 1; NaN below 0."""
    small = at_most(k, x, 2.0)
    i1 = small * _i_near(k, small, I1E_NEAR)
    near = (log(k, small * 0.5) * i1 + chebyshev(k, small * small - 2.0, K1["near"]) / small) * exp(k, small)
    return _positive(k, x, k.select(x <= 2.0, near, _beyond_2(k, x, K1["far"])), math.inf)


def _i_near(k: Emitter, small: Val, coefficients: tuple[float, ...]) -> Val:
    """The function of the first kind (divided by x, for order 1) up to x = 8."""
    return exp(k, small) * chebyshev(k, small * 0.5 - 2.0, coefficients)


def _beyond_2(k: Emitter, x: Val, coefficients: tuple[float, ...]) -> Val:
    large = at_least(k, x, 2.0)
    return chebyshev(k, 8.0 / large - 2.0, coefficients) / root(k, large)


@in_double
def k0(k: Emitter, x: Val) -> Val:
    """The modified Bessel function of the second kind of order 0; NaN below 0."""
    return scaled_k0(k, x) * exp(k, -x)


@in_double
def k1(k: Emitter, x: Val) -> Val:
    """The modified Bessel function of the second kind of order 1; NaN below 0."""
    return scaled_k1(k, x) * exp(k, -x)


# -- Airy's function -------------------------------------------------------------------------------------------


def _series(first: int) -> tuple[float, ...]:
    """In x**3, one of the two power series that solve Airy's equation, divided by its first power of x: 0 or 1."""
    terms = [1.0]
    for n in range(first, 45, 3):
        terms.append(terms[-1] / ((n + 2) * (n + 3)))
    return tuple(reversed(terms))


_EVEN, _ODD = _series(0), _series(1)
_AT_ZERO = (0.355028053887817239260, 0.258819403792806798405)  # Ai(0) and -Ai'(0)
_MIDDLE = 2.09  # series up to here, on both sides
_ZERO = 103.892  # from here on the result is smaller than any double


@in_double
def airy_ai(k: Emitter, x: Val) -> Val:
    """Airy's function Ai."""
    inside = at_most(k, at_least(k, x, -_MIDDLE), _MIDDLE)
    cube = inside * inside * inside
    odd = inside * polynomial(k, cube, _ODD)
    middle = polynomial(k, cube, _EVEN) * _AT_ZERO[0] - odd * _AT_ZERO[1]
    size = at_least(k, magnitude(k, x), _MIDDLE)
    zeta = size * root(k, size) * 2.0 / 3.0
    inverse, fourth_root = 1.0 / zeta, root(k, root(k, size))
    decaying = _ratio(k, inverse, AIRY, "an", "ad") / (fourth_root * exp(k, zeta) * (2 * math.sqrt(math.pi)))
    decaying = k.select(x > _ZERO, 0.0, decaying)
    square = inverse * inverse
    f = square * _ratio(k, square, AIRY, "afn", "afd") + 1.0
    g = inverse * _ratio(k, square, AIRY, "agn", "agd")
    sine, cosine = sine_and_cosine(k, zeta + math.pi / 4)
    waving = (sine * f - cosine * g) / (fourth_root * math.sqrt(math.pi))
    y = k.select(x > 0.0, decaying, k.select(x.equals(-math.inf), math.nan, waving))
    return k.select(magnitude(k, x) < _MIDDLE, middle, y)
