"""Distributions given by probabilities or by logits: one is kept, the other follows when it is asked for."""

from __future__ import annotations

from typing import Any

from flambeau.distributions.distribution import Distribution
from flambeau.distributions.utils import Number, broadcast_all, lazy_property, logits_to_probs, probs_to_logits
from flambeau.shape import Size
from flambeau.tensors import Tensor


def require_one(probs: Any, logits: Any) -> str:
    """The name of the one that is given."""
    if (probs is None) == (logits is None):
        raise ValueError("Either `probs` or `logits` must be specified, but not both.")
    return "logits" if probs is None else "probs"


class BinaryParameter(Distribution):
    """`probs` of success, or `logits` = log(probs / (1 - probs)); `_param` is the one that was given."""

    _param: Tensor

    def _hold_either(self, probs: Any, logits: Any, validate_args: bool | None) -> None:
        name = require_one(probs, logits)
        given = logits if probs is None else probs
        (self._param,) = broadcast_all(given)
        setattr(self, name, self._param)
        shape = Size() if isinstance(given, Number) else self._param.shape
        Distribution.__init__(self, shape, validate_args=validate_args)

    def _hold_counts(self, total_count: Any, probs: Any, logits: Any, validate_args: bool | None) -> None:
        """Beside a number of trials, in the same dtype."""
        name = require_one(probs, logits)
        count, self._param = broadcast_all(total_count, logits if probs is None else probs)
        self.total_count = count.type_as(self._param)
        setattr(self, name, self._param)
        Distribution.__init__(self, self._param.shape, validate_args=validate_args)

    @property
    def param_shape(self) -> Size:
        """The shape of the parameter."""
        return self._param.size()

    @lazy_property
    def logits(self) -> Tensor:
        """Log odds."""
        return probs_to_logits(self.probs, is_binary=True)

    @lazy_property
    def probs(self) -> Tensor:
        """Probabilities."""
        return logits_to_probs(self.logits, is_binary=True)

    def _counted_up(self, values: Tensor, expand: bool) -> Tensor:
        """Values along a new first dimension."""
        values = values.view((-1,) + (1,) * len(self._batch_shape))
        return values.expand((-1, *self._batch_shape)) if expand else values
