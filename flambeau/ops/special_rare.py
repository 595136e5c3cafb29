"""The rarer special functions: Bessel functions of other kinds, Airy's, and orthogonal polynomials.

Like PyTorch's they have no derivatives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flambeau.ops.arguments import check_input, invalid
from flambeau.ops.op import op, public
from flambeau.ops.samples import call, positive
from flambeau.ops.specfun import bessel, bessel_kinds, orthogonal
from flambeau.ops.specfun.precision import double
from flambeau.ops.special import real_only
from flambeau.tensors import Tensor


def _bessel(name: str, ref: Callable) -> None:
    record = op(
        "special_" + name, ref=double(ref), meta=real_only(name + "_cpu"), samples=positive,
        lower=lambda k, x: k.bessel(x, ref.__name__),
    )  # fmt: skip

    def function(input: Tensor) -> Tensor:
        check_input("special_" + name, input)
        return record(input)

    function.__name__, function.__doc__ = name, ref.__doc__
    public("special", name=name, out=True)(function)


for _name in ("bessel_j0", "bessel_j1", "bessel_y0", "bessel_y1", "airy_ai", "spherical_bessel_j0"):
    _bessel(_name, getattr(bessel_kinds, _name))
for _name, _ref in (
    ("modified_bessel_i0", bessel.i0), ("modified_bessel_i1", bessel.i1), ("modified_bessel_k0", bessel_kinds.k0),
    ("modified_bessel_k1", bessel_kinds.k1), ("scaled_modified_bessel_k0", bessel_kinds.scaled_k0),
    ("scaled_modified_bessel_k1", bessel_kinds.scaled_k1),
):  # fmt: skip
    _bessel(_name, _ref)


def _polynomial(name: str) -> None:
    record = op(
        "special_" + name, ref=double(getattr(orthogonal, name)), meta=real_only(name + "_cpu"),
        samples=lambda t: [call(t(2, 3), t(3, low=0, high=6)), call(t(4), 3), call(t(0), 2)],
        lower=lambda k, x, n: k.orthogonal(x, n, name),
    )  # fmt: skip

    def function(input: Any, n: Any) -> Tensor:
        if not isinstance(input, Tensor) and not isinstance(n, Tensor):
            raise invalid("special_" + name, input, n)
        return record(input, n)

    function.__name__ = name
    function.__doc__ = f"The {name.replace('_', ' ')} of degree `n` at `input`; either may be a number."
    public("special", name=name, out=True)(function)


for _letter in "tuvw":
    _polynomial(f"chebyshev_polynomial_{_letter}")
    _polynomial(f"shifted_chebyshev_polynomial_{_letter}")
for _name in ("hermite_polynomial_h", "hermite_polynomial_he", "laguerre_polynomial_l", "legendre_polynomial_p"):
    _polynomial(_name)
