"""Stepping by formula: what the element-wise optimizers have in common.

Such an optimizer is three things: the state it keeps for a parameter, the numbers its update needs this time
(computed in Python, in double precision), and ONE formula

    update(k, p, g, state, **numbers) -> (new p, new state)

written with operators and the functions of a namespace `k` (`sqrt`, `abs`, `sign`, `maximum`, `where`). With
`k = numpy` on raw arrays it is the reference; with `k = ops` on Tensors it is the differentiable step; a compiler
can trace it into one kernel, in which the numbers are inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from flambeau import ops
from flambeau.autograd.mode import enable_grad
from flambeau.dtypes import bfloat16, float16, float32, float64, get_default_dtype
from flambeau.optim.optimizer import Optimizer, ParamsT, _get_value, _to_scalar, _use_grad_for_differentiable
from flambeau.tensors import Tensor, write_array

_ACCELERATORS = ["cuda", "xpu", "hpu", "privateuseone"]
_COMPUTE = {float16: np.float32, bfloat16: np.float32}  # narrow floats round once, at the end


def require(condition: Any, message: str) -> None:
    """Raise ValueError unless an argument is in its range."""
    if not condition:
        raise ValueError(message)


def check_lr(lr: Any) -> None:
    require(not (isinstance(lr, Tensor) and lr.numel() != 1), "Tensor lr must be 1-element")
    require(lr >= 0.0, f"Invalid learning rate: {lr}")


def check_betas(betas: tuple[Any, Any]) -> None:
    for i in range(2):
        require(0.0 <= betas[i] < 1.0, f"Invalid beta parameter at index {i}: {betas[i]}")


def scalar(value: float) -> Tensor:
    """A number of the state (a step count, a running product) as PyTorch keeps it: a 0-d tensor."""
    wide = get_default_dtype() is float64
    return ops.tensor(float(value), dtype=float64 if wide else float32)


def lerp(a: Any, b: Any, weight: float) -> Any:
    """The point at `weight` of the way from `a` to `b`: a running mean's step."""
    return a + weight * (b - a)


class FormulaOptimizer(Optimizer):
    """An optimizer whose `step` applies one formula to every parameter that has a gradient."""

    update: ClassVar[Callable]  # the formula
    counters: ClassVar[tuple[str, ...]] = ("step",)  # state held as 0-d tensors, counted by `numbers`
    # Options that checkpoints older than they are lack, with the value that means what was done then.
    late_options: ClassVar[dict[str, Any]] = {
        "foreach": None, "maximize": False, "differentiable": False, "capturable": False,
    }  # fmt: skip
    supports_xla: ClassVar[bool] = True
    decays_itself: ClassVar[bool] = False  # the formula does the weight decay

    def __init__(self, params: ParamsT, defaults: dict[str, Any]) -> None:
        super().__init__(params, defaults)
        if defaults.get("fused"):
            if defaults["differentiable"]:
                raise RuntimeError("`fused` does not support `differentiable`")
            if defaults["foreach"]:
                raise RuntimeError("`fused` and `foreach` cannot be `True` together.")

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            for name, value in self.late_options.items():
                group.setdefault(name, value)
            for p in group["params"]:
                kept = self.state.get(p, {})
                for name in self.counters:
                    if name in kept and not isinstance(kept[name], Tensor):
                        kept[name] = scalar(kept[name])

    def new_state(self, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        """The state of a parameter before its first step."""
        raise NotImplementedError

    def numbers(self, state: dict[str, Any], group: dict[str, Any]) -> dict[str, Any]:
        """Count the step in `state` and return the formula's numbers for it."""
        raise NotImplementedError

    @_use_grad_for_differentiable
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient; returns the value of `closure`, which computes the loss anew.

        Raises:
            RuntimeError: `fused=True` with parameters that are not floating point.
            AssertionError: `capturable=True`: there is no accelerator whose graphs could capture the step.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._step_param(p, group)
        return loss

    def _step_param(self, p: Tensor, group: dict[str, Any]) -> None:
        state = self.state.get(p)
        if not state:
            if group.get("fused"):
                check_fused(p)
            state = self.new_state(p, group)
            if state:
                self.state[p] = state
        if group.get("capturable"):
            self._refuse_capture()
        numbers = self.numbers(state, group)
        arrays = {name: t for name, t in state.items() if name not in self.counters}
        if group.get("differentiable"):
            self._step_tensors(p, arrays, state, group, numbers)
        else:
            self._step_arrays(p, arrays, state, group, {k: _number(v) for k, v in numbers.items()})

    def _step_arrays(
        self, p: Tensor, tensors: dict[str, Any], state: dict[str, Any], group: dict[str, Any], numbers: dict[str, Any]
    ) -> None:
        kept = {name: None if t is None else _operand(t) for name, t in tensors.items()}
        old, g = self._regularized(_operand(p), _operand(p.grad), group, _number)
        with np.errstate(all="ignore"):
            new, kept = type(self).update(np, old, g, kept, **numbers)
        for name, array in kept.items():
            if state.get(name) is None:
                state[name] = ops.empty_like(p)
            _write(state[name], array)
        _write(p, new)

    def _step_tensors(
        self, p: Tensor, tensors: dict[str, Any], state: dict[str, Any], group: dict[str, Any], numbers: dict[str, Any]
    ) -> None:
        """The same formula on tensors, recorded by autograd: hyper-parameters may be tensors that require grad."""
        kept = {name: None if t is None else t.clone() for name, t in tensors.items()}
        old, g = self._regularized(p.clone(), p.grad, group, _to_scalar)
        new, kept = type(self).update(ops, old, g, kept, **numbers)
        for name, tensor in kept.items():
            if state.get(name) is None:
                state[name] = tensor
            else:
                state[name].copy_(tensor)
        p.copy_(new)

    def _regularized(self, p: Any, g: Any, group: dict[str, Any], value: Callable) -> tuple[Any, Any]:
        """Parameter and gradient after `maximize` and `weight_decay`, the same for every optimizer."""
        if group.get("maximize"):
            g = -g
        decay = value(group.get("weight_decay", 0))
        if self.decays_itself or (not isinstance(decay, Tensor) and decay == 0):
            return p, g
        if group.get("decoupled_weight_decay"):
            return p * (1 - value(group["lr"]) * decay), g
        return p, g + decay * p

    def _refuse_capture(self) -> None:
        devices = _ACCELERATORS + (["xla"] if self.supports_xla else [])
        extra = [f"{name}s" for name in self.counters if name != "step"]
        what = ", ".join(["params", *extra]) + (", and state_steps" if len(extra) > 1 else " and state_steps")
        raise AssertionError(f"If capturable=True, {what} must be on supported devices: {devices}.")


def check_fused(p: Tensor) -> None:
    if not p.dtype.is_floating_point:
        raise RuntimeError(
            "`fused=True` requires all the params to be floating point Tensors of supported devices: "
            f"['mps', 'cuda', 'xpu', 'hpu', 'cpu', 'mtia', 'privateuseone'] but {p.dtype} and {p.device.type}"
        )


def _number(x: Any) -> Any:
    return _get_value(_to_scalar(x))


def _operand(t: Any) -> np.ndarray:
    """A tensor's memory in the dtype the formula computes in; complex numbers as pairs of reals."""
    array = t._array()
    if t.dtype.is_complex:
        real = array.real.dtype
        return np.ascontiguousarray(array).reshape(array.shape + (1,)).view(real)
    compute = _COMPUTE.get(t.dtype)
    return array if compute is None else array.astype(compute)


def _write(t: Tensor, array: Any) -> None:
    if t.dtype.is_complex:
        array = np.ascontiguousarray(array).view(t.dtype.np).reshape(t._shape)
    write_array(t, array)
