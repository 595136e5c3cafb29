"""What distributions over one Categorical share."""

from __future__ import annotations

from typing import Any

from flambeau.distributions.categorical import Categorical
from flambeau.distributions.distribution import Distribution
from flambeau.shape import Size
from flambeau.tensors import Tensor


class OverCategories(Distribution):
    """A distribution of K-vectors that holds a Categorical of K categories."""

    _categorical: Categorical

    def _hold_categories(self, probs: Tensor | None, logits: Tensor | None, validate_args: bool | None) -> None:
        self._categorical = Categorical(probs, logits)
        shape = self._categorical.param_shape
        Distribution.__init__(self, self._categorical.batch_shape, shape[-1:], validate_args=validate_args)

    def _expand_categories(self, new: Any, batch_shape: Any) -> Any:
        new._categorical = self._categorical.expand(batch_shape)
        return self._finish_expand(new, Size(batch_shape))

    @property
    def _param(self) -> Tensor:
        return self._categorical._param

    @property
    def probs(self) -> Tensor:
        """Probabilities of the categories."""
        return self._categorical.probs

    @property
    def logits(self) -> Tensor:
        """Log probabilities of the categories."""
        return self._categorical.logits

    @property
    def param_shape(self) -> Size:
        """The shape of the parameter, categories last."""
        return self._categorical.param_shape
