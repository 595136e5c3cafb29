"""Whole-number factors and binary exponents: gcd, lcm, frexp."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from flambeau import dtypes
from flambeau.engine.execute import Meta
from flambeau.ops import return_types
from flambeau.ops.arguments import check_input
from flambeau.ops.op import op, public
from flambeau.ops.rules import Result, accepting, elementwise, require_tensor
from flambeau.ops.samples import call
from flambeau.tensors import Tensor


def _whole(name: str, ref: Callable, words: str, lower: Callable) -> None:
    whole: dict[str, Any] = {"dtype": dtypes.int64, "low": -20, "high": 20}
    record = op(
        name, ref=ref, meta=accepting(f"{name}_cpu", low=dtypes.INTEGER, high=dtypes.INTEGER),
        samples=lambda t: [call(t(2, 3, **whole), t(3, **whole)), call(t(0, **whole), t(1, **whole))],
        lower=lower,
    )  # fmt: skip

    def function(input: Tensor, other: Tensor) -> Tensor:
        require_tensor(name, "input", 1, input)
        require_tensor(name, "other", 2, other)
        return record(input, other)

    function.__name__, function.__doc__ = name, f"The {words} of integers, element by element."
    public("torch Tensor", name=name, inplace=True, out=True)(function)


_whole("gcd", np.gcd, "greatest common divisor", lambda k, a, b: k.gcd(a, b))
_whole("lcm", np.lcm, "least common multiple", lambda k, a, b: k.lcm(a, b))


def _frexp_meta(x: Tensor) -> tuple[Meta, Meta]:
    if not x.dtype.is_floating_point:
        raise RuntimeError("torch.frexp() only supports floating-point dtypes")
    layout = elementwise(Result.SAME)(x)
    return Meta(layout.shape, x.dtype, layout.strides), Meta(layout.shape, dtypes.int32, layout.strides)


frexp_op = op(
    "frexp", ref=np.frexp, meta=_frexp_meta, multiple=True, kept_outputs=(1,),
    vjp=lambda g, y, _x: (g[0] / 2 ** y[1].to(g[0].dtype),), samples=lambda t: [call(t(2, 3, low=0.6, high=0.9))],
    lower=lambda k, x: (k.mantissa(x), k.exponent(x)),
)  # fmt: skip


@public("torch Tensor", out=True)
def frexp(input: Tensor) -> Any:
    """Mantissas in [0.5, 1) and exponents: `input = mantissa * 2 ** exponent`, a named tuple."""
    check_input("frexp", input)
    return return_types.frexp(frexp_op(input))
