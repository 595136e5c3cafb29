"""Padding: with a constant, by reflection, by repeating the border, or in a circle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flambeau.engine.execute import Meta
from flambeau.engine.schedule.lowering import Kernels
from flambeau.later import later
from flambeau.ops.nn.checks import as_ints, tensor_shape
from flambeau.ops.op import op, public
from flambeau.ops.rules import require_tensor
from flambeau.ops.samples import call
from flambeau.ops.shape_ops import constant_pad_op
from flambeau.shape import Ints
from flambeau.tensors import Tensor

move_ops = later("flambeau.engine.kernel.move_ops")

Amounts = tuple[tuple[int, int], ...]  # (before, after) of every dimension; negative amounts cut

# -- from the tensor itself ------------------------------------------------------------------------------------


def _places(n: int, lo: int, hi: int, mode: str) -> np.ndarray:
    """For every place of a padded dimension, where its element comes from."""
    if mode == "circular":  # what negative amounts cut off is gone before the rest goes round
        kept = np.arange(max(-lo, 0), n - max(-hi, 0))
        return kept[np.arange(-max(lo, 0), len(kept) + max(hi, 0)) % len(kept)]
    at = np.arange(-lo, n + hi)
    if mode == "replicate":
        return np.clip(at, 0, n - 1)
    period = max(2 * (n - 1), 1)
    at = np.abs(at) % period
    return np.where(at >= n, period - at, at)


def _taken(x: np.ndarray, pads: Amounts, mode: str) -> np.ndarray:
    for d, (lo, hi) in enumerate(pads):
        if lo or hi:
            x = np.take(x, _places(x.shape[d], lo, hi, mode), d)
    return x.copy() if x.base is not None or not any(lo or hi for lo, hi in pads) else x


def _given_back(g: np.ndarray, pads: Amounts, mode: str) -> np.ndarray:
    """The transpose of `_taken`: every element added to where it came from."""
    for d, (lo, hi) in enumerate(pads):
        if not (lo or hi):
            continue
        n = g.shape[d] - lo - hi
        places = _places(n, lo, hi, mode)
        front = np.moveaxis(g, d, 0)
        inside = slice(max(lo, 0), max(lo, 0) + n - max(-lo, 0) - max(-hi, 0))
        out = np.zeros((n, *front.shape[1:]), g.dtype)
        out[places[inside]] = front[inside]
        border = np.r_[0 : inside.start, inside.stop : len(places)]
        np.add.at(out, places[border], front[border])
        g = np.moveaxis(out, 0, d)
    return np.array(g, order="C")


def _moved(x: Tensor, pads: Amounts, sign: int) -> Meta:
    return Meta(tuple([n + sign * (lo + hi) for n, (lo, hi) in zip(x._shape, pads)]), x.dtype)


def _node_name(_inputs: Any, params: dict[str, Any]) -> str:
    dims = max(len([p for p in params["pads"]]) - 2, 1)
    if params["mode"] == "circular":
        return "CopySlices"
    return {"reflect": "Reflection", "replicate": "Replication"}[params["mode"]] + f"Pad{dims}DBackward0"


pad_op = op(
    "pad_from_itself", ref=_taken, lower=Kernels(move_ops.placed(_places)),
    meta=lambda x, pads, mode: _moved(x, pads, 1), backward_name=_node_name,
    vjp=lambda g, _y, _x, pads, mode: (pad_backward_op(g, pads=pads, mode=mode),),
    samples=lambda t: [
        call(t(1, 2, 4), pads=((0, 0), (0, 0), (2, 1)), mode=mode) for mode in ("reflect", "replicate", "circular")
    ],
)  # fmt: skip
pad_backward_op = op(
    "pad_from_itself_backward", ref=_given_back, lower=Kernels(move_ops.placed_back(_places)),
    meta=lambda g, pads, mode: _moved(g, pads, -1),
    vjp=lambda h, _y, _g, pads, mode: (pad_op(h, pads=pads, mode=mode),),
    samples=lambda t: [call(t(1, 2, 7), pads=((0, 0), (0, 0), (2, 1)), mode=mode) for mode in ("reflect", "circular")],
)  # fmt: skip


def _amounts(pad: Ints, ndim: int) -> Amounts:
    """PyTorch's list, last dimension first, as pairs from the first dimension on."""
    pairs = [(pad[i], pad[i + 1]) for i in range(0, len(pad), 2)]
    return ((0, 0),) * (ndim - len(pairs)) + tuple(reversed(pairs))


def _check_itself(x: Tensor, pads: Amounts, mode: str, count: int) -> None:
    if 0 in x._shape[-count - 1 :]:
        raise RuntimeError(
            f"Expected {count + 1}D or {count + 2}D (batch mode) tensor with possibly 0 batch size and other non-zero "
            f"dimensions for input, but got: {tensor_shape(x)}"
        )
    for d in reversed(range(x.ndim - count, x.ndim)):
        n, (lo, hi) = x._shape[d], pads[d]
        if mode == "reflect" and (lo >= n or hi >= n):
            raise RuntimeError(
                f"Argument #{4 + 2 * (x.ndim - 1 - d)}: Padding size should be less than the corresponding input "
                f"dimension, but got: padding ({lo}, {hi}) at dimension {d} of input {tensor_shape(x)}"
            )
        if mode == "circular" and (lo > n or hi > n):
            raise RuntimeError("Padding value causes wrapping around more than once.")
        if mode == "circular" and n + lo + hi < 1:
            raise RuntimeError("Negative padding value is resulting in an empty dimension")
        if n + lo + hi < 1:
            axes = "DHW"[3 - count :]
            given = " ".join(f"{axis}: {size}" for axis, size in zip(axes, x._shape[-count:]))
            found = " ".join(f"{axis}: {x._shape[k] + sum(pads[k])}" for k, axis in enumerate(axes, x.ndim - count))
            raise RuntimeError(f"input ({given}) is too small. Calculated output {found}")


@public("F")
def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """`input` made larger (or, with negative amounts, smaller) at its sides.

    Args:
        pad: (before, after) of the last dimension, then of the one before it, and so on.
        mode: "constant" (any dimensions, filled with `value` or 0), "reflect", "replicate" or "circular" (the last 1, 2
            or 3 dimensions of [N, C, ...] or [C, ...]).

    >>> pad(ones(1, 2), (1, 1))
    tensor([[0., 1., 1., 0.]])
    """
    require_tensor("pad", "input", 1, input)
    if not isinstance(pad, Sequence):
        raise TypeError(f"pad(): argument 'pad' (position 2) must be tuple of ints, not {type(pad).__name__}")
    amounts = as_ints("pad", "pad", 2, pad)
    if len(amounts) % 2:
        raise RuntimeError("Padding length must be divisible by 2")
    if len(amounts) > 2 * input.ndim:
        raise RuntimeError(
            "Padding length should be less than or equal to two times the input dimension but got padding length "
            f"{len(amounts)} and input of dimension {input.ndim}"
        )
    if mode == "constant":
        fill = 0.0 if value is None else value
        if isinstance(fill, Tensor):
            fill = fill.item()
        return constant_pad_op(input, pad=amounts, value=fill)
    if value is not None and value != 0:
        raise RuntimeError(f'Padding mode "{mode}" doesn\'t take in value argument')
    if mode not in ("reflect", "replicate", "circular"):
        raise NotImplementedError("Unrecognised padding mode " + mode)
    count = len(amounts) // 2
    if not (1 <= count <= 3 and input.ndim in (count + 1, count + 2)):
        raise NotImplementedError(
            f"Padding size {len(amounts)} is not supported for {input.ndim}D input tensor.\nSupported combinations for "
            "non-constant padding:\n  - 2D or 3D input: padding size = 2 (pads last dimension)\n  - 3D or 4D input: "
            "padding size = 4 (pads last 2 dimensions)\n  - 4D or 5D input: padding size = 6 (pads last 3 dimensions)"
        )
    pads = _amounts(amounts, input.ndim)
    _check_itself(input, pads, mode, count)
    return pad_op(input, pads=pads, mode=mode)
