"""Replacing what is out of bounds: nan_to_num and clamp."""

from __future__ import annotations

from typing import Any

import numpy as np

from flambeau import dtypes
from flambeau.engine.execute import Meta
from flambeau.ops.op import op, public
from flambeau.ops.rules import Result, elementwise, require_tensor
from flambeau.ops.samples import Call, Maker, call
from flambeau.tensors import Tensor

SAME = Result.SAME

# -- NaN and infinities ----------------------------------------------------------------------------------------


def _nan_to_num(x: Any, nan: Any, posinf: Any, neginf: Any) -> Any:
    if x.dtype.kind not in "fc":
        return x.copy()
    return np.nan_to_num(x, nan=nan or 0.0, posinf=posinf, neginf=neginf)


nan_to_num_op = op(
    "nan_to_num", ref=_nan_to_num, meta=elementwise(SAME),
    samples=lambda t: [
        call(t(2, 3), nan=None, posinf=None, neginf=None), call(t(2, 0), nan=1.0, posinf=2.0, neginf=3.0)
    ],
    vjp=lambda g, _y, x, **_: (g.masked_fill(~x.isfinite(), 0),),
    lower=lambda k, x, nan, posinf, neginf: k.nan_to_num(x, nan, posinf, neginf),
)  # fmt: skip


@public("torch Tensor", inplace=True, out=True)
def nan_to_num(
    input: Tensor, nan: float | None = None, posinf: float | None = None, neginf: float | None = None
) -> Tensor:
    """NaN and infinities replaced by numbers (0 and the dtype's limits unless given)."""
    require_tensor("nan_to_num", "input", 1, input)
    if input.dtype in (dtypes.float16, dtypes.bfloat16):  # they compute in float32, whose limits they do not hold
        limits = dtypes.finfo(input.dtype)
        posinf = limits.max if posinf is None else posinf
        neginf = limits.min if neginf is None else neginf
    return nan_to_num_op(input, nan=nan, posinf=posinf, neginf=neginf)


# -- bounds ----------------------------------------------------------------------------------------------------


def _clamp(x: Any, low: Any, high: Any, name: str = "Clamp") -> Any:
    if low is not None:
        x = np.maximum(x, low)
    return np.minimum(x, high) if high is not None else np.array(x)


def _clamp_mask(x: Tensor, low: Any, high: Any) -> Tensor:
    inside = x >= low if low is not None else None
    below = x <= high if high is not None else None
    if inside is None:
        return below  # type: ignore[return-value]
    return inside if below is None else inside & below


def _takes_low(x: Tensor, low: Any, high: Any) -> Tensor:
    return x < low if high is None else (x < low) & (low < high)


def _takes_high(x: Tensor, low: Any, high: Any) -> Tensor:
    return x > high if low is None else (x > high) | (high < low)


def _clamp_meta(x: Tensor, low: Any, high: Any, name: str = "Clamp") -> Meta:
    found = elementwise(SAME)(x, low, high)
    if found.dtype.is_complex:
        raise NotImplementedError("clamp is not supported for complex types")
    return found


def _clamp_node(inputs: Any, params: dict) -> str:
    """PyTorch's node names: those of bounds that are tensors, and those of numbers."""
    tensors = any(isinstance(bound, Tensor) for bound in inputs[1:])
    name = params.get("name", "Clamp")
    return f"{name}Backward{int(tensors) if name != 'Clamp' else int(not tensors)}"


def _clamp_samples(t: Maker) -> list[Call]:
    """Bounds on both sides of some elements, below all and above all of them."""
    return [
        call(t(2, 3, low=-2, high=-0.6), -0.5, 0.5),
        call(t(2, 3, low=-0.4, high=0.4), -0.5, t(3, low=0.5, high=1)),
        call(t(4, low=0.6, high=2), t(4, low=-1, high=0.4), None),
        call(t(4, low=0.6, high=2), None, t(1, low=-1, high=0.4)),
        call(t(2, 0), 0.0, 1.0),
    ]


clamp_op = op(
    "clamp", ref=_clamp, meta=_clamp_meta, samples=_clamp_samples, backward_name=_clamp_node,
    vjp=(
        lambda g, _y, x, low, high, name=None: g.masked_fill(~_clamp_mask(x, low, high), 0),
        lambda g, _y, x, low, high, name=None: g.masked_fill(~_takes_low(x, low, high), 0),
        lambda g, _y, x, low, high, name=None: g.masked_fill(~_takes_high(x, low, high), 0),
    ),
    lower=lambda k, x, low, high, name=None: k.clamp(x, low, high),
)  # fmt: skip


@public("torch Tensor", aliases=("clip",), inplace=True, out=True)
def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """Elements limited to [min, max]; bounds are numbers or tensors, one may be left out."""
    require_tensor("clamp", "input", 1, input)
    if min is None and max is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    return clamp_op(input, min, max)


@public("torch Tensor", inplace=True, out=True)
def clamp_min(input: Tensor, min: Any) -> Tensor:
    """Elements at least `min`."""
    require_tensor("clamp_min", "input", 1, input)
    return clamp_op(input, min, None, name="ClampMin")


@public("torch Tensor", inplace=True, out=True)
def clamp_max(input: Tensor, max: Any) -> Tensor:
    """Elements at most `max`."""
    require_tensor("clamp_max", "input", 1, input)
    return clamp_op(input, None, max, name="ClampMax")
