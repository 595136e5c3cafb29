"""SparseAdam: lazy Adam for sparse gradients, which Flambeau's embeddings do not make."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flambeau.autograd.mode import enable_grad, no_grad
from flambeau.optim.formula import check_betas, require
from flambeau.optim.optimizer import Optimizer, ParamsT
from flambeau.tensors import Tensor


class SparseAdam(Optimizer):
    """Adam that touches only the elements a sparse gradient names. Gradients here are dense: `step` says so.

    Raises:
        ValueError: an option out of its range.
        RuntimeError: at `step`, for a dense gradient, as in PyTorch.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        maximize: bool = False,
    ) -> None:
        require(not (isinstance(lr, Tensor) and lr.numel() != 1), "Tensor lr must be 1-element")
        require(lr > 0.0, f"Invalid learning rate: {lr}")
        require(eps > 0.0, f"Invalid epsilon value: {eps}")
        check_betas(betas)
        super().__init__(params, dict(lr=lr, betas=betas, eps=eps, maximize=maximize))

    @no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Refuse dense gradients; do nothing where there are none."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        if any(p.grad is not None for p in self._all_params()):
            raise RuntimeError("SparseAdam does not support dense gradients, please consider Adam instead")
        return loss
