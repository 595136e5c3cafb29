"""The gamma function's family: lgamma and digamma.

After S. L. Moshier's Cephes library (lgam, psi): Stirling's series for large numbers, recurrences down or up to an
interval with a rational approximation, series around the zeros, reflection for negative numbers.
"""

from __future__ import annotations

import math

from flambeau.engine.kernel.emit import Emitter, Val
from flambeau.engine.kernel.vecmath import at_least, at_most, in_double, magnitude, polynomial, with_sign_of
from flambeau.engine.kernel.vecmath_log import log, log1p
from flambeau.engine.kernel.vecmath_trig import sin, tan

_STIRLING = (
    8.11614167470508450300e-4, -5.95061904284301438324e-4, 7.93650340457716943945e-4, -2.77777777730099687205e-3,
    8.33333333333331927722e-2,
)  # fmt: skip
_NEAR_TOP = (
    -1.37825152569120859100e3, -3.88016315134637840924e4, -3.31612992738871184744e5, -1.16237097492762307383e6,
    -1.72173700820839662146e6, -8.53555664245765465627e5,
)  # fmt: skip
_NEAR_BOTTOM = (
    1.0, -3.51815701436523470549e2, -1.70642106651881159223e4, -2.20528590553854454839e5, -1.13933444367982507207e6,
    -2.53252307177582951285e6, -2.01889141433532773231e6,
)  # fmt: skip
_HALF_LOG_2PI = 0.91893853320467274178
_LOG_PI = 1.14472988584940017414
_PSI = (
    8.33333333333333333333e-2, -2.10927960927960927961e-2, 7.57575757575757575758e-3, -4.16666666666666666667e-3,
    3.96825396825396825397e-3, -8.33333333333333333333e-3, 8.33333333333333333333e-2,
)  # fmt: skip
_PSI_ROOT = (1.4616321449683622, 9.549995429965697e-17)  # the positive zero of digamma, as a sum

# lgamma(2 + s) / s: 1 - Euler's constant, then (zeta(k) - 1) (-1)**k / k; and digamma around its zero
_LGAMMA_NEAR_2 = (
    -6.4229645638381e-11, 1.330476437424449e-10, -2.7595228851242334e-10, 5.731367241678862e-10,
    -1.1921401405860912e-09, 2.4836745438024785e-09, -5.183475041970047e-09, 1.0838659214896955e-08,
    -2.2711094608943164e-08, 4.7698101693639804e-08, -1.0043224823968099e-07, 2.1207184805554665e-07,
    -4.492469198764566e-07, 9.55141213040742e-07, -2.039215753801366e-06, 4.374866789907488e-06,
    -9.439488275268397e-06, 2.050721277567069e-05, -4.492623673813314e-05, 9.945751278180853e-05,
    -0.00022315475845357939, 0.0005096695247430425, -0.001192753911703261, 0.0028905103307415234,
    -0.007385551028673986, 0.020580808427784546, -0.0673523010531981, 0.3224670334241132, 0.42278433509846713,
)  # fmt: skip
_PSI_NEAR_ROOT = (
    -7.569179582195078e-05, 0.00011063372768747428, -0.00016170622091974827, 0.00023635601564027086,
    -0.0003454680251063082, 0.0005049532658346027, -0.000738070938996006, 0.0010788252019162978,
    -0.001576936771430199, 0.00230512632673493, -0.0033698016554393312, 0.004926781395729858, -0.007204534386356875,
    0.010538791616612184, -0.01542476590494897, 0.022597648232218118, -0.033161126474847376, 0.04880428816414313,
    -0.07219956125645474, 0.10782405069126241, -0.16394270544240658, 0.2584997609556511, -0.4427631689835922,
    0.9676722454476212,
)  # fmt: skip


def _sin_pi(k: Emitter, x: Val) -> Val:
    """sin(pi * x) for x >= 0, exact at the integers."""
    rest = x - k.intrinsic("roundeven", x.type, x)  # from -1/2 to 1/2
    return sin(k, rest * math.pi)  # but for its sign


def _lgamma_right(k: Emitter, x: Val) -> Val:
    """lgamma of x > 0."""
    big = at_least(k, x, 13.0)
    inverse = 1.0 / (big * big)
    stirling = (big - 0.5) * log(k, big) - big + _HALF_LOG_2PI + polynomial(k, inverse, _STIRLING) / big
    low = x < 1.5
    s = k.select(low, x - 1.0, x - 2.0)
    series = s * polynomial(k, at_most(k, at_least(k, s, -0.5), 0.5), _LGAMMA_NEAR_2)
    series = k.select(low, series - log1p(k, s), series)
    u, factor = at_most(k, x, 13.0), k.const(x.type, 1.0)
    for _ in range(11):  # down into [2, 3)
        high = u >= 3.0
        u = k.select(high, u - 1.0, u)
        factor = k.select(high, factor * u, factor)
    for _ in range(2):  # up into [2, 3)
        low = u < 2.0
        factor = k.select(low, factor / u, factor)
        u = k.select(low, u + 1.0, u)
    t = u - 2.0
    near = log(k, factor) + t * polynomial(k, t, _NEAR_TOP) / polynomial(k, t, _NEAR_BOTTOM)
    near = k.select(k.bits("and", x > 0.5, x < 2.5), series, near)
    return k.select(x < 13.0, near, k.select(x.equals(math.inf), math.inf, stirling))


@in_double
def lgamma(k: Emitter, x: Val) -> Val:
    """The logarithm of |gamma(x)|; infinite at 0 and the negative integers."""
    size = magnitude(k, x)
    right = _lgamma_right(k, k.select(x.equals(0.0), 1.0, size))
    left = _LOG_PI - log(k, magnitude(k, _sin_pi(k, size) * size)) - right
    pole = k.bits("and", x <= 0.0, k.intrinsic("floor", x.type, x).equals(x))
    result = k.select(size < 2.0**-60, -log(k, size), k.select(x > 0.0, right, left))
    result = k.select(k.bits("or", pole, size.equals(math.inf)), math.inf, result)
    return k.select(k.unordered(x, x), x, result)


@in_double
def digamma(k: Emitter, x: Val) -> Val:
    """The derivative of lgamma; NaN at the negative integers, infinite at zero."""
    right = _digamma_right(k, k.select(x > 0.0, x, 1.0 - x))
    rest = x - k.intrinsic("roundeven", x.type, x)
    left = right - math.pi / tan(k, rest * math.pi)
    whole = k.bits("and", x < 0.0, k.intrinsic("floor", x.type, x).equals(x))  # minus infinity too
    result = k.select(x > 0.0, right, k.select(whole, math.nan, left))
    return k.select(x.equals(0.0), with_sign_of(k, math.inf, -x), result)


def _digamma_right(k: Emitter, x: Val) -> Val:
    """digamma of x > 0: up to x >= 10 by recurrence, then asymptotically; a series near its zero."""
    u, total = x, k.const(x.type, 0.0)
    for _ in range(10):
        low = u < 10.0
        total = k.select(low, total + 1.0 / u, total)
        u = k.select(low, u + 1.0, u)
    inverse = 1.0 / (u * u)
    tail = k.select(u < 1e17, inverse * polynomial(k, inverse, _PSI), 0.0)
    apart = x - _PSI_ROOT[0] - _PSI_ROOT[1]
    inside = at_most(k, at_least(k, apart, -0.25), 0.25)
    near = inside * polynomial(k, inside, _PSI_NEAR_ROOT)
    right = k.select(x.equals(math.inf), math.inf, log(k, u) - 0.5 / u - tail - total)
    return k.select(magnitude(k, apart) < 0.25, near, right)
