"""The kernels of the CTC loss and its gradient, beside their references."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

import flambeau as torch
from flambeau import dtypes
from flambeau.nn import functional as F
from flambeau.ops.op import ops
from flambeau.tensors import Tensor, from_array
from tests.engine.everywhere import compiled, everywhere, recording  # noqa: F401
from tests.engine.harness import BadData, native, reference
from tests.engine.test_move_native import strided


def whole(numbers: Any, kind: Any = np.int64) -> Tensor:
    return from_array(np.array(numbers, kind))


def log_probabilities(steps: int, batch: int, classes: int, kind: Any = np.float32) -> Tensor:
    x = np.random.default_rng([steps, batch, classes]).standard_normal((steps, batch, classes))
    return from_array((x - np.log(np.exp(x).sum(2, keepdims=True))).astype(kind))


def labels(batch: int, longest: int, classes: int, kind: Any = np.int64) -> Tensor:
    found = np.random.default_rng([batch, longest]).integers(1, max(classes, 2), (batch, longest))
    found[:, 1::3] = found[:, 0:-1:3] if longest > 1 else found[:, 1::3]  # twice the same: a blank must lie between
    return from_array(found.astype(kind))


def both(log_p: Tensor, targets: Tensor, inputs: Sequence[int], lengths: Sequence[int], blank: int = 0) -> None:
    """Losses and gradients: one thread and three agree bit for bit, and both with the reference up to rounding."""
    longest = targets.shape[1] if targets.ndim == 2 else max(lengths, default=0)
    given, how = (log_p, targets, whole(inputs), whole(lengths)), {"blank": blank, "longest": longest}
    close("ctc_loss", *given, zero_infinity=False, **how)
    losses, alphas = (from_array(x) for x in reference(ops["ctc_loss"], *given, zero_infinity=False, **how))
    g = from_array(np.linspace(-1, 2, len(lengths)).astype(log_p.dtype.np))
    for zero in (False, True):
        for each in (g, g[:1].expand(len(lengths))):
            close("ctc_loss_backward", each, *given, losses, alphas, zero_infinity=zero, **how)


def close(name: str, *given: Any, **how: Any) -> None:
    with np.errstate(all="ignore"):
        want = reference(ops[name], *given, **how)
    one, many = (native(ops[name], *given, threads=n, **how) for n in (1, 3))
    for x, y, z in zip(one, many, want, strict=True):
        assert x.tobytes() == y.tobytes() and x.dtype == z.dtype and x.shape == z.shape
        tolerance = {2: 2e-2, 4: 2e-5, 8: 1e-12}[x.itemsize]
        np.testing.assert_allclose(x.astype(float), z.astype(float), tolerance, tolerance)


SIZES = [(1, 1, 1, 0), (1, 1, 2, 1), (5, 2, 4, 2), (30, 3, 5, 8), (20, 2, 33, 9), (7, 1, 130, 3), (9, 4, 3, 17)]


@pytest.mark.parametrize(("steps", "batch", "classes", "longest"), SIZES)
def test_sizes(steps: int, batch: int, classes: int, longest: int) -> None:
    """Lengths from nothing to all there is: some targets are too long to be possible."""
    log_p, targets = log_probabilities(steps, batch, classes), labels(batch, longest, classes)
    inputs = [max(steps - 3 * n, 0) for n in range(batch)]
    for lengths in ([longest] * batch, [max(longest - n, 0) for n in range(batch)], [0] * batch):
        both(log_p, targets, inputs, lengths)
        flat = np.concatenate([row[:n] for row, n in zip(targets.numpy(), lengths)])
        both(log_p, from_array(np.append(flat, 0).astype(np.int64)), inputs, lengths)


@pytest.mark.parametrize("kind", [dtypes.float64, dtypes.float16, dtypes.bfloat16], ids=lambda d: d.name)
def test_dtypes(kind: Any) -> None:
    both(log_probabilities(9, 2, 7, kind.np), labels(2, 3, 7, np.int32), [9, 6], [3, 2], blank=6)


def test_windows() -> None:
    log_p, targets = log_probabilities(9, 2, 7), labels(2, 4, 7)
    for how in (1, 2):
        both(strided(log_p, how), strided(targets, how), [9, 8], [3, 4])
    both(log_p.transpose(0, 1).contiguous().transpose(0, 1), targets[:, ::2], [9, 8], [2, 1])
    both(log_p.flip(0), targets.flip(1), [9, 8], [4, 4])


def test_certain_and_impossible_steps() -> None:
    log_p = log_probabilities(6, 3, 4)
    log_p[2, 0], log_p[3, 1, 2], log_p[1, 2, 0] = -np.inf, -np.inf, np.nan
    both(log_p, labels(3, 2, 4), [6, 6, 6], [2, 2, 1])


def test_labels_that_are_no_classes() -> None:
    """Only those inside the lengths count; from the end they are classes too."""
    log_p, targets = log_probabilities(6, 2, 4), whole([[1, -1, 99], [2, 3, -7]])
    both(log_p, targets, [6, 6], [2, 2])
    for bad in (4, -5, 2**40):
        targets[1, 1] = bad
        with pytest.raises(BadData):
            native(
                ops["ctc_loss"], log_p, targets, whole([6, 6]), whole([2, 2]), blank=0, longest=3, zero_infinity=False
            )


def test_a_recognizer_in_every_mode() -> None:
    """Lengths change from batch to batch and are no constants of what was recorded."""

    def program() -> Iterator[Any]:
        torch.manual_seed(0)
        scores = torch.randn(12, 3, 5, requires_grad=True)
        targets = torch.tensor([[1, 2, 2, 4], [3, 1, 0, 0], [4, 4, 1, 0]])
        for step in range(5):
            inputs, lengths = torch.tensor([12, 11 - step, 9]), torch.tensor([4, 2, 3 - step % 2])
            loss = F.ctc_loss(F.log_softmax(scores, 2), targets, inputs, lengths, zero_infinity=step == 2)
            loss.backward()
            yield loss.item()
            yield scores.grad.numpy().copy()
            scores.grad = None

    everywhere(program, 1e-4)
    with recording() as found:
        list(program())
    assert "ctc_loss" not in found
