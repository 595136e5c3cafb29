"""The half-Cauchy distribution."""

from __future__ import annotations

import math
from typing import Any

from flambeau import ops
from flambeau.distributions.cauchy import Cauchy
from flambeau.distributions.half_normal import Folded
from flambeau.distributions.transforms import AbsTransform
from flambeau.tensors import Tensor

__all__ = ["HalfCauchy"]


class HalfCauchy(Folded):
    """|X| for a Cauchy X of median 0 and half width `scale`."""

    def __init__(self, scale: Any, validate_args: bool | None = None) -> None:
        super().__init__(Cauchy(0, scale, validate_args=False), AbsTransform(), validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> HalfCauchy:
        return super().expand(batch_shape, self._get_checked_instance(HalfCauchy, _instance))

    @property
    def mean(self) -> Tensor:
        return ops.full(self._extended_shape(), math.inf, dtype=self.scale.dtype)

    @property
    def variance(self) -> Tensor:
        return self.base_dist.variance
