"""Normalisation over the batch (batch norm) and over each instance (instance norm)."""

from __future__ import annotations

from typing import Any

from flambeau import ops
from flambeau.dtypes import int64
from flambeau.nn import functional as F
from flambeau.nn import init
from flambeau.nn.modules.module import Module
from flambeau.nn.parameter import Parameter
from flambeau.tensors import Tensor


class _NormBase(Module):
    """Weights and running statistics, one a channel."""

    _version = 2
    ranks: tuple[int, ...]
    expected: str

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
        track_running_stats: bool = True, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        made = {"device": device, "dtype": dtype}
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        for name in ("weight", "bias"):
            self.register_parameter(name, Parameter(ops.empty(num_features, **made)) if affine else None)
        track = track_running_stats
        self.register_buffer("running_mean", ops.zeros(num_features, **made) if track else None)
        self.register_buffer("running_var", ops.ones(num_features, **made) if track else None)
        self.register_buffer("num_batches_tracked", ops.tensor(0, dtype=int64) if track else None)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        if self.track_running_stats:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        self.reset_running_stats()
        if self.affine:
            init.ones_(self.weight)
            init.zeros_(self.bias)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim not in self.ranks:
            raise ValueError(f"expected {self.expected} input (got {input.ndim}D input)")

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}"
        )

    def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: dict, *rest: Any) -> None:
        version = local_metadata.get("version")
        key = prefix + "num_batches_tracked"
        if (version is None or version < 2) and self.track_running_stats and key not in state_dict:
            state_dict[key] = self.num_batches_tracked
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)


class _BatchNorm(_NormBase):
    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        average = 0.0 if self.momentum is None else self.momentum
        if self.training and self.track_running_stats and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:
                average = 1.0 / float(self.num_batches_tracked)
        by_batch = self.training or (self.running_mean is None and self.running_var is None)
        tracked = not self.training or self.track_running_stats
        return F.batch_norm(
            input, self.running_mean if tracked else None, self.running_var if tracked else None, self.weight,
            self.bias, by_batch, average, self.eps,
        )  # fmt: skip


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of (N, C) or (N, C, L) (Ioffe and Szegedy 2015)."""

    ranks, expected = (2, 3), "2D or 3D"


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of (N, C, H, W) (Ioffe and Szegedy 2015)."""

    ranks, expected = (4,), "4D"


class BatchNorm3d(_BatchNorm):
    """Batch normalisation of (N, C, D, H, W) (Ioffe and Szegedy 2015)."""

    ranks, expected = (5,), "5D"


class SyncBatchNorm(_BatchNorm):
    """Batch normalisation across processes; in one process it is plain batch normalisation."""

    ranks, expected = tuple(range(2, 9)), "at least 2D"

    @classmethod
    def convert_sync_batchnorm(cls, module: Module, process_group: Any = None) -> Module:
        """The module as it is: there is one process."""
        return module


class _InstanceNorm(_NormBase):
    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = False,
        track_running_stats: bool = False, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype)

    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        batched = input.ndim == max(self.ranks)
        x = input if batched else input.unsqueeze(0)
        out = F.instance_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias,
            self.training or not self.track_running_stats, 0.0 if self.momentum is None else self.momentum, self.eps,
        )  # fmt: skip
        return out if batched else out.squeeze(0)


class InstanceNorm1d(_InstanceNorm):
    """Normalisation of each instance's channels of (N, C, L) or (C, L)."""

    ranks, expected = (2, 3), "2D or 3D"


class InstanceNorm2d(_InstanceNorm):
    """Normalisation of each instance's channels of (N, C, H, W) or (C, H, W)."""

    ranks, expected = (3, 4), "3D or 4D"


class InstanceNorm3d(_InstanceNorm):
    """Normalisation of each instance's channels of (N, C, D, H, W) or (C, D, H, W)."""

    ranks, expected = (4, 5), "4D or 5D"


def _lazy(base: type[_NormBase]) -> Any:
    class Lazy(base):  # type: ignore[valid-type, misc]
        """Takes `num_features` from its first input."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            Module.__init__(self)
            object.__setattr__(self, "_lazy_arguments", (args, kwargs))

        def __call__(self, input: Tensor) -> Tensor:
            (args, kwargs), training = self._lazy_arguments, self.training
            self.__class__ = base
            base.__init__(self, input.shape[1], *args, **kwargs)
            self.training = training
            return self(input)

        def extra_repr(self) -> str:
            return "0"

    Lazy.__name__ = Lazy.__qualname__ = "Lazy" + base.__name__
    return Lazy


LazyBatchNorm1d, LazyBatchNorm2d, LazyBatchNorm3d = _lazy(BatchNorm1d), _lazy(BatchNorm2d), _lazy(BatchNorm3d)
