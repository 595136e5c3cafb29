"""Connectionist temporal classification (Graves et al., 2006): the loss of unaligned label sequences.

The forward variables of all sequences are computed together, one time step after the other; the derivative runs the
same recursion backwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flambeau import dtypes
from flambeau.engine.execute import Hazard, Meta
from flambeau.engine.schedule.lowering import Kernels
from flambeau.later import later
from flambeau.ops.nn.checks import check_reduction, require_floating
from flambeau.ops.op import op, public
from flambeau.ops.rules import require_tensor
from flambeau.ops.samples import call
from flambeau.tensors import Tensor, from_array

kernels = later("flambeau.engine.kernel.ctc")

_NEVER = -np.inf


def _log_add(*terms: np.ndarray) -> np.ndarray:
    top = np.maximum.reduce(terms)
    safe = np.where(top == _NEVER, 0, top)
    return np.log(sum(np.exp(t - safe) for t in terms)) + safe


def _given(targets: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The labels of all sequences in a row, without what fills rows up."""
    if targets.ndim == 2:
        return targets[np.arange(targets.shape[1]) < lengths[:, None]]
    return targets[: int(lengths.sum())]


class _Lattice:
    """Labels with blanks around each, as [batch, 2 * longest + 1], and which steps between them are allowed."""

    def __init__(self, targets: np.ndarray, lengths: np.ndarray, longest: int, blank: int) -> None:
        batch = len(lengths)
        rows = np.full((batch, longest), blank, np.int64)
        rows[np.arange(longest) < lengths[:, None]] = _given(targets, lengths)
        self.labels = np.full((batch, 2 * longest + 1), blank, np.int64)
        self.labels[:, 1::2] = rows
        self.width = 2 * lengths + 1
        self.valid = np.arange(2 * longest + 1) < self.width[:, None]
        # a label may be reached from the one before it, past the blank, if the two differ
        self.skips = np.zeros(self.labels.shape, bool)
        self.skips[:, 2:] = (self.labels[:, 2:] != blank) & (self.labels[:, 2:] != self.labels[:, :-2])
        self.batch = np.arange(batch)[:, None]

    def ends(self, values: np.ndarray) -> np.ndarray:
        """log of the summed values at the last label and the blank after it."""
        rows = self.batch[:, 0]
        last = values[rows, self.width - 1]
        before = np.where(self.width > 1, values[rows, np.maximum(self.width - 2, 0)], _NEVER)
        return _log_add(last, before)


def _shifted(values: np.ndarray, by: int) -> np.ndarray:
    out = np.full_like(values, _NEVER)
    if by > 0:
        out[:, by:] = values[:, :-by] if by < values.shape[1] else out[:, by:]
    elif -by < values.shape[1]:
        out[:, :by] = values[:, -by:]
    return out


def _alphas(log_p: np.ndarray, lattice: _Lattice) -> np.ndarray:
    """log probabilities of all prefixes, [time, batch, states]."""
    steps = log_p.shape[0]
    found = np.full((steps, *lattice.labels.shape), _NEVER, log_p.dtype)
    emitted = log_p[:, lattice.batch, lattice.labels]
    found[0, :, :2] = emitted[0, :, :2]
    found[0, ~lattice.valid] = _NEVER
    for t in range(1, steps):
        before = found[t - 1]
        skip = np.where(lattice.skips, _shifted(before, 2), _NEVER)
        found[t] = _log_add(before, _shifted(before, 1), skip) + emitted[t]
        found[t, ~lattice.valid] = _NEVER
    return found


def _losses(
    log_p: np.ndarray, targets: np.ndarray, inputs: np.ndarray, lengths: np.ndarray, blank: int, longest: int,
    zero_infinity: bool,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    lattice = _Lattice(targets, lengths, longest, blank)
    alphas = _alphas(log_p, lattice)
    last = np.maximum(inputs - 1, 0)
    losses = -lattice.ends(alphas[last, lattice.batch[:, 0]])
    losses = np.where(inputs == 0, np.where(lengths == 0, 0, np.inf), losses)
    return losses, alphas


def _backward(
    g: np.ndarray, log_p: np.ndarray, targets: np.ndarray, inputs: np.ndarray, lengths: np.ndarray, losses: np.ndarray,
    alphas: np.ndarray, blank: int, longest: int, zero_infinity: bool,
) -> np.ndarray:  # fmt: skip
    lattice = _Lattice(targets, lengths, longest, blank)
    steps, batch, classes = log_p.shape
    emitted = log_p[:, lattice.batch, lattice.labels]
    start = np.full(lattice.labels.shape, _NEVER, log_p.dtype)
    rows = lattice.batch[:, 0]
    start[rows, lattice.width - 1] = 0
    start[rows, np.maximum(lattice.width - 2, 0)] = 0
    forward_skips = np.zeros_like(lattice.skips)
    forward_skips[:, :-2] = lattice.skips[:, 2:]
    out = np.zeros_like(log_p)
    beta = np.full_like(start, _NEVER)
    for t in range(steps - 1, -1, -1):
        skip = np.where(forward_skips, _shifted(beta, -2), _NEVER)
        beta = np.where((inputs - 1 == t)[:, None], start, _log_add(beta, _shifted(beta, -1), skip)) + emitted[t]
        beta[~lattice.valid] = _NEVER
        # alpha and beta both hold the emission at t
        share = np.exp(alphas[t] + beta - emitted[t] + losses[:, None])
        share[~np.isfinite(share)] = 0
        occupied = np.zeros((batch, classes), log_p.dtype)
        np.add.at(occupied, (np.broadcast_to(lattice.batch, lattice.labels.shape), lattice.labels), share)
        out[t] = np.where((t < inputs)[:, None], np.exp(log_p[t]) - occupied, 0)
    scale = g if not zero_infinity else np.where(np.isinf(losses), 0, g)
    out *= scale[:, None]
    unreachable = np.isinf(losses)
    if unreachable.any():
        out[:, unreachable] = 0 if zero_infinity else np.nan
    return out


def _meta(log_p: Tensor, _targets: Tensor, *_: Tensor, longest: int, **__: Any) -> tuple[Meta, Meta]:
    steps, batch, _classes = log_p._shape
    return Meta((batch,), log_p.dtype), Meta((steps, batch, 2 * longest + 1), log_p.dtype)


def _vjp(g: Any, y: Any, log_p: Tensor, targets: Tensor, inputs: Tensor, lengths: Tensor, **how: Any) -> tuple:
    return ctc_backward_op(g[0], log_p, targets, inputs, lengths, y[0], y[1], **how), None, None, None


def _outside(arrays: Sequence[np.ndarray], operands: Sequence[Any], _params: dict[str, Any]) -> bool:
    """Whether a label is no class."""
    labels, classes = _given(*arrays), operands[0]._shape[2]
    return bool(labels.size) and not (-classes <= labels.min() and labels.max() < classes)


def _samples(t: Any) -> Any:
    labels = t(2, 2, dtype=dtypes.int64, low=1, high=4)
    lengths = (from_array(np.array(n, np.int64)) for n in ((5, 4), (2, 1)))
    yield call(t(5, 2, 4), labels, *lengths, blank=0, longest=2, zero_infinity=False)


ctc_op = op(
    "ctc_loss", ref=_losses, meta=_meta, vjp=_vjp, multiple=True, samples=_samples, hazard=Hazard((1, 3), _outside),
    lower=Kernels(kernels.forward),
    smooth=False,  # PyTorch's derivative is that of log_softmax and this loss together
)  # fmt: skip
ctc_backward_op = op(
    "ctc_loss_backward", ref=_backward, meta=lambda g, log_p, *_, **__: Meta(log_p._shape, log_p.dtype),
    lower=Kernels(kernels.backward),
)  # fmt: skip


def _as_lengths(value: Any) -> tuple[int, ...]:
    if isinstance(value, Tensor):
        if value.dtype.category != dtypes.INTEGER:
            raise RuntimeError("input_lengths must be integral")
        return tuple(int(n) for n in value._array().reshape(-1))
    return tuple(int(n) for n in value)


def _check_lengths(log_probs: Tensor, targets: Tensor, inputs: tuple, labels: tuple) -> None:
    steps, batch, _ = log_probs._shape
    if len(inputs) != batch:
        raise RuntimeError("input_lengths must be of size batch_size")
    if len(labels) != batch:
        raise RuntimeError("target_lengths must be of size batch_size")
    for b, n in enumerate(inputs):
        if n > steps:
            raise RuntimeError(
                f"Expected input_lengths to have value at most {steps}, but got value {n} (while checking arguments "
                "for ctc_loss_allocate_outputs)"
            )
        if n < 0:
            raise RuntimeError(f"Expected input_lengths to have value at least 0, but got value {n} at batch {b}")
    if targets.ndim == 2:
        if labels and max(labels) > targets._shape[1]:
            raise RuntimeError(
                f"Expected tensor to have size at least {max(labels)} at dimension 1, but got size "
                f"{targets._shape[1]} for argument #2 'targets' (while "
                "checking arguments for ctc_loss_allocate_outputs)"
            )
    elif targets._shape[0] < sum(labels):
        raise RuntimeError(
            f"Expected tensor to have size {sum(labels)} at dimension 0, but got size {targets._shape[0]} for "
            "argument #2 'targets' (while checking arguments for ctc_loss_allocate_outputs)"
        )


@public("F")
def ctc_loss(log_probs: Tensor, targets: Tensor, input_lengths: Any, target_lengths: Any, blank: int = 0,
             reduction: str = "mean", zero_infinity: bool = False) -> Tensor:  # fmt: skip
    """-log of the probability of `targets` summed over all alignments.

    Args:
        log_probs: [T, N, C] or [T, C], log-probabilities.
        targets: labels [N, S], or all labels in a row [sum(target_lengths)].
        input_lengths, target_lengths: [N], as tensors or sequences.
        blank: the class that stands for no label.
        reduction: "mean" divides each loss by its target length first.
        zero_infinity: losses (and gradients) of targets that are too long become 0.
    """
    require_tensor("ctc_loss", "log_probs", 1, log_probs)
    require_tensor("ctc_loss", "targets", 2, targets)
    check_reduction(reduction)
    require_floating("ctc_loss_cpu", log_probs.dtype)
    batched = log_probs.ndim == 3
    if not batched:
        log_probs = log_probs.unsqueeze(1)
    if not log_probs.numel():
        raise RuntimeError("log_probs tensor must not be empty")
    if not 0 <= blank < log_probs._shape[2]:
        raise RuntimeError("blank must be in label range")
    inputs, labels = _as_lengths(input_lengths), _as_lengths(target_lengths)
    _check_lengths(log_probs, targets, inputs, labels)
    lengths = (from_array(np.array(n, np.int64)) for n in (inputs, labels))
    longest = targets._shape[1] if targets.ndim == 2 else max(labels, default=0)
    losses = ctc_op(log_probs, targets, *lengths, blank=blank, longest=longest, zero_infinity=zero_infinity)[0]
    if zero_infinity:
        losses = losses.masked_fill(losses == np.inf, 0)
    if reduction == "mean":
        sizes = losses.new_tensor([max(n, 1) for n in labels])
        return (losses / sizes).mean()
    if reduction == "sum":
        return losses.sum()
    return losses if batched else losses.squeeze(0)
