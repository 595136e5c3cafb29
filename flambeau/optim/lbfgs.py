"""L-BFGS, a quasi-Newton method (Liu & Nocedal 1989; Nocedal & Wright 2006, algorithm 7.4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flambeau import ops
from flambeau.autograd.mode import enable_grad, no_grad
from flambeau.optim.formula import check_lr
from flambeau.optim.linesearch import Point, strong_wolfe
from flambeau.optim.optimizer import Optimizer, ParamsT, _to_scalar
from flambeau.tensors import Tensor

_LEAST_CURVATURE = 1e-10  # steps along which the gradient hardly changed would spoil the memory


class LBFGS(Optimizer):
    """L-BFGS over all parameters at once, from the last `history_size` steps.

    `step` needs a closure that clears the gradients, computes the loss, calls `backward` and returns the loss.

    Args:
        max_iter: iterations in one `step`.
        max_eval: calls of the closure in one `step`; by default `max_iter * 1.25`.
        tolerance_grad: stop where no element of the gradient is larger.
        tolerance_change: stop where loss or parameters change by less.
        line_search_fn: "strong_wolfe", or None to move by `lr`.

    Raises:
        ValueError: more than one parameter group.

    Example::

        >>> import flambeau as torch
        >>> w = torch.tensor([1.0, -2.0], requires_grad=True)
        >>> optimizer = torch.optim.LBFGS([w], line_search_fn="strong_wolfe")
        >>> def closure():
        ...     optimizer.zero_grad()
        ...     loss = (w - 3).square().sum()
        ...     loss.backward()
        ...     return loss
        >>> _ = optimizer.step(closure)
        >>> w
        tensor([3.0000, 3.0000], requires_grad=True)
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        check_lr(lr)
        defaults = dict(
            lr=lr, max_iter=max_iter, max_eval=max_iter * 5 // 4 if max_eval is None else max_eval,
            tolerance_grad=tolerance_grad, tolerance_change=tolerance_change, history_size=history_size,
            line_search_fn=line_search_fn,
        )  # fmt: skip
        super().__init__(params, defaults)
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")
        self._params: list[Tensor] = self.param_groups[0]["params"]

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._params = self.param_groups[0]["params"]

    @no_grad()
    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]
        """Minimize the loss that `closure` computes; returns the loss at the start."""
        group = self.param_groups[0]
        run = _Run(self, enable_grad()(closure), group)
        # The state is one for all parameters; PyTorch keeps it under the first, and so do its checkpoints.
        state = self.state[self._params[0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)
        first_loss = run.evaluate()
        state["func_evals"] += 1
        if run.grad.abs().max() <= group["tolerance_grad"]:
            return first_loss
        for _ in range(group["max_iter"]):
            if not run.iterate(state):
                break
        return first_loss

    # The parameters as one vector.

    def _flat_grad(self) -> Tensor:
        flat = [ops.zeros_like(p) if p.grad is None else p.grad for p in self._params]
        return ops.cat([g.reshape(-1) for g in flat], 0)

    def _move(self, step: Any, direction: Tensor) -> None:
        offset = 0
        for p in self._params:
            p.add_(direction[offset : offset + p.numel()].view_as(p), alpha=float(step))
            offset += p.numel()

    def _copied_params(self) -> list[Tensor]:
        return [p.clone() for p in self._params]

    def _set_params(self, values: list[Tensor]) -> None:
        for p, value in zip(self._params, values):
            p.copy_(value)


class _Run:
    """One call of `LBFGS.step`: the loss and gradient where it stands, and how often the closure was called."""

    def __init__(self, optimizer: LBFGS, closure: Callable[[], Any], group: dict[str, Any]) -> None:
        self.optimizer, self.closure, self.group = optimizer, closure, group
        self.lr = _to_scalar(group["lr"])
        self.iterations = self.evaluations = 0

    def evaluate(self) -> Any:
        loss = self.closure()
        self.loss, self.grad = float(loss), self.optimizer._flat_grad()
        self.evaluations += 1
        return loss

    def iterate(self, state: dict[str, Any]) -> bool:
        """One quasi-Newton step; False when it was the last."""
        group = self.group
        self.iterations += 1
        state["n_iter"] += 1
        first = state["n_iter"] == 1
        direction = state["d"] = self._first_direction(state) if first else self._direction(state)
        if state.get("prev_flat_grad") is None:
            state["prev_flat_grad"] = self.grad.clone()
        else:
            state["prev_flat_grad"].copy_(self.grad)
        before = state["prev_loss"] = self.loss
        t = min(1.0, 1.0 / self.grad.abs().sum()) * self.lr if first else self.lr
        state["t"] = t
        slope = self.grad.dot(direction)
        if slope > -group["tolerance_change"]:
            return False
        calls = self.evaluations
        if group["line_search_fn"] is None:
            self.optimizer._move(t, direction)
            if self.iterations != group["max_iter"]:  # the last point is evaluated by the next step
                self.evaluate()
        else:
            t = state["t"] = self._search(t, direction, slope)
        state["func_evals"] += self.evaluations - calls
        return self._go_on(direction, t, before)

    def _go_on(self, direction: Tensor, t: Any, before: float) -> bool:
        group = self.group
        if self.iterations == group["max_iter"] or self.evaluations >= group["max_eval"]:
            return False
        if self.grad.abs().max() <= group["tolerance_grad"]:
            return False
        if direction.mul(t).abs().max() <= group["tolerance_change"]:
            return False
        return not abs(self.loss - before) < group["tolerance_change"]

    def _search(self, t: Any, direction: Tensor, slope: Tensor) -> Any:
        if self.group["line_search_fn"] != "strong_wolfe":
            raise RuntimeError("only 'strong_wolfe' is supported")
        optimizer, start = self.optimizer, self.optimizer._copied_params()

        def objective(t: Any) -> tuple[float, Tensor]:
            optimizer._move(t, direction)
            loss = float(self.closure())
            grad = optimizer._flat_grad()
            optimizer._set_params(start)
            return loss, grad

        found, calls = strong_wolfe(
            objective, Point(0, self.loss, self.grad, slope), t, direction,
            self.group["tolerance_change"], self.group["max_eval"] - self.evaluations,
        )  # fmt: skip
        self.evaluations += calls
        self.loss, self.grad = found.loss, found.grad
        optimizer._move(found.t, direction)
        return found.t

    def _first_direction(self, state: dict[str, Any]) -> Tensor:
        state.update(old_dirs=[], old_stps=[], ro=[], H_diag=1)
        return self.grad.neg()

    def _direction(self, state: dict[str, Any]) -> Tensor:
        """Minus the approximate inverse Hessian times the gradient, by the two-loop recursion."""
        size = self.group["history_size"]
        change, step = self.grad.sub(state["prev_flat_grad"]), state["d"].mul(state["t"])
        curvature = change.dot(step)
        changes, steps, inverses = state["old_dirs"], state["old_stps"], state["ro"]
        if curvature > _LEAST_CURVATURE:
            if len(changes) == size:
                for memory in (changes, steps, inverses):
                    memory.pop(0)
            changes.append(change)
            steps.append(step)
            inverses.append(1.0 / curvature)
            state["H_diag"] = curvature / change.dot(change)
        weights = state.setdefault("al", [None] * size)
        q = self.grad.neg()
        for i in reversed(range(len(changes))):
            weights[i] = steps[i].dot(q) * inverses[i]
            q.sub_(changes[i] * weights[i])
        direction = q.mul(state["H_diag"])
        for i in range(len(changes)):
            direction.add_(steps[i] * (weights[i] - changes[i].dot(direction) * inverses[i]))
        return direction
