"""Exponential families: entropy and divergence from the log normaliser."""

from __future__ import annotations

from typing import Any

from flambeau.autograd import grad
from flambeau.distributions.distribution import Distribution
from flambeau.tensors import Tensor

__all__ = ["ExponentialFamily"]


class ExponentialFamily(Distribution):
    """Densities of the form `exp(<t(x), theta> - F(theta) + k(x))`."""

    @property
    def _natural_params(self) -> tuple[Tensor, ...]:
        raise NotImplementedError

    def _log_normalizer(self, *natural_params: Tensor) -> Tensor:
        raise NotImplementedError

    @property
    def _mean_carrier_measure(self) -> float:
        raise NotImplementedError

    def entropy(self) -> Tensor:
        """By the derivative of the log normaliser (Nielsen and Nock 2010)."""
        natural = [p.detach().requires_grad_() for p in self._natural_params]
        normalizer = self._log_normalizer(*natural)
        slopes = grad(normalizer.sum(), natural, create_graph=True)
        result: Any = normalizer - self._mean_carrier_measure
        for parameter, slope in zip(natural, slopes):
            result = result - (parameter * slope).reshape((*self._batch_shape, -1)).sum(-1)
        return result
