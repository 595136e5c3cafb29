"""Stepping by formula: what the element-wise optimizers have in common.

Such an optimizer is three things: the state it keeps for a parameter, the numbers its update needs this time
(computed in Python, in double precision), and ONE formula

    update(k, p, g, state, **numbers) -> (new p, new state)

written with operators and the functions of a namespace `k` (`sqrt`, `abs`, `sign`, `maximum`, `where`). It is made into
one op (`records.py`): with `k = numpy` on arrays it is the reference, with scalars of a kernel its lowering; with
`k = ops` on Tensors it is the differentiable step. Numbers are inputs of the op, known only when it runs: the formula
combines them with tensors, not with each other, and branches on none (None stands for a number that is not there).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np

from flambeau import ops
from flambeau.autograd.mode import enable_grad, state
from flambeau.dtypes import float32, float64, get_default_dtype
from flambeau.engine import execute
from flambeau.engine.stretch import Stretch, replayed
from flambeau.ops.apply import apply
from flambeau.ops.counters import memory_of
from flambeau.ops.op import Op
from flambeau.ops.samples import Call, call
from flambeau.optim.optimizer import Optimizer, ParamsT, _get_value, _to_scalar, _use_grad_for_differentiable
from flambeau.optim.records import DECOUPLED, L2, Recipe, params_of, update_op
from flambeau.tensors import Tensor, assign_into, from_array

_ACCELERATORS = ["cuda", "xpu", "hpu", "privateuseone"]


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
    """A number of the state (a step count, a running product) as PyTorch keeps it: a 0-d tensor.

    Its memory is open to the optimizer, which counts in it without recording an op.
    """
    d = float64 if get_default_dtype() is float64 else float32
    return from_array(np.array(value, d.np), external=True)


def option(group: dict[str, Any], name: str) -> Any:
    """An option as `numbers` takes it: of a tensor its number, or the tensor itself in a differentiable step."""
    value = group[name]
    if not isinstance(value, Tensor):
        return value
    return _to_scalar(value) if group.get("differentiable") else value.item()


def lerp(a: Any, b: Any, weight: Any) -> Any:
    """The point at `weight` of the way from `a` to `b`: a running mean's step."""
    return a + weight * (b - a)


class FormulaOptimizer(Optimizer):
    """An optimizer whose `step` applies one formula to every parameter that has a gradient."""

    update: ClassVar[Callable]  # the formula
    update_op: ClassVar[Op]  # its record
    elementwise: ClassVar[bool] = True  # each element of the results depends on one of each operand
    counters: ClassVar[tuple[str, ...]] = ("step",)  # state held as 0-d tensors, which `advance` counts
    fixed: ClassVar[tuple[str, ...]] = ()  # those of `numbers` that the formula branches on: no inputs of the op
    sampled: ClassVar[tuple[dict[str, Any], ...]] = ({},)  # options to test the op with
    # Options that checkpoints older than they are lack, with the value that means what was done then.
    late_options: ClassVar[dict[str, Any]] = {
        "foreach": None, "maximize": False, "differentiable": False, "capturable": False,
    }  # fmt: skip
    supports_xla: ClassVar[bool] = True
    decays_itself: ClassVar[bool] = False  # the formula does the weight decay
    _memory: dict[int, tuple[Tensor, Any, np.ndarray]]  # of the counters, by the tensor's id

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "update" in cls.__dict__:
            cls.update_op = update_op(cls.update, cls.elementwise, cls._samples)

    def __init__(self, params: ParamsT, defaults: dict[str, Any]) -> None:
        self._memory = {}
        super().__init__(params, defaults)
        if defaults.get("fused"):
            if defaults["differentiable"]:
                raise RuntimeError("`fused` does not support `differentiable`")
            if defaults["foreach"]:
                raise RuntimeError("`fused` and `foreach` cannot be `True` together.")

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._memory = {}
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

    def advance(self, state: dict[str, Any], group: dict[str, Any]) -> Any:
        """Count the step in `state`; what `numbers` needs to know of the state, to be compared with `==`."""
        return self._plus(state["step"], 1.0)

    def numbers(self, count: Any, group: dict[str, Any]) -> dict[str, Any]:
        """The formula's numbers for a step."""
        raise NotImplementedError

    # -- counters ----------------------------------------------------------------------------------------------

    def _cell(self, counter: Tensor) -> np.ndarray:
        """The memory of a counter, looked up once."""
        found = self._memory.get(id(counter))
        if found is not None and found[1] is counter._storage.value:
            return found[2]
        array = memory_of(counter)
        self._memory[id(counter)] = counter, counter._storage.value, array
        return array

    def _put(self, counter: Tensor, value: Any) -> float:
        """Set a counter; the value that it holds then."""
        cell = self._cell(counter)
        cell[()] = value
        counter._version_counter.count += 1
        return cell.item()

    def _plus(self, counter: Tensor, more: float) -> float:
        cell = self._cell(counter)
        cell[()] = value = cell.item() + more
        counter._version_counter.count += 1
        return value

    # -- stepping ----------------------------------------------------------------------------------------------

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
            if group.get("differentiable"):
                self._step_tensors(group)
            else:
                self._step_group(group)
        return loss

    def _step_group(self, group: dict[str, Any]) -> None:
        runs, tensors, complete = self._work(group)
        into = execute.recorder()
        if into is None or not complete:
            self._update(runs)
            return
        tag: list = [self.update_op, state.autocast]
        numbers: list = []
        for work, _, values, params in runs:
            tag += len(work), *params.values(), *[x is None for x in values]
            numbers += [x for x in values if x is not None] * len(work)
        with into.lock:
            if replayed(into, tag, tensors, numbers):
                return
        stretch = Stretch(into, tag, tensors)
        self._update(runs)
        stretch.close()

    def _work(self, group: dict[str, Any]) -> tuple[list[tuple], list[Any], bool]:
        """What to do: for each run of parameters that share them (parameters, names of tensors, numbers, params of the
        op). Also all tensors of the step, and whether all state is there, none of it made in this step."""
        states = self.state
        runs: list[tuple] = []
        tensors: list = []
        last: Any = ...  # parameters that have taken equally many steps share their numbers
        keys: tuple[str, ...] = ()
        complete = True
        advance = self.advance
        for p in group["params"]:
            g = p._grad
            if g is None:
                continue
            kept = states.get(p) or self._begin(p, group)
            count = advance(kept, group)
            if count != last or tuple(kept) != keys:
                last, keys = count, tuple(kept)
                names, values, params = self._prepared(keys, count, group)
                work: list = []
                runs.append((work, names, values, params))
            work.append((p, g, kept))
            tensors += p, g
            for name in names:
                tensor = kept[name]
                if tensor is None:
                    complete = False
                tensors.append(tensor)
        return runs, tensors, complete

    @_use_grad_for_differentiable
    def _update(self, runs: list[tuple]) -> None:
        for work, names, values, params in runs:
            for p, g, kept in work:
                tensors = [kept[name] for name in names]
                results = self._applied(p, g, tensors, values, params)
                assign_into(p, results[0])
                for name, old, new in zip(names, tensors, results[1:]):
                    if old is None:
                        kept[name] = new
                    else:
                        assign_into(old, new)

    def _applied(self, p: Tensor, g: Tensor, tensors: list, values: list, params: dict[str, Any]) -> Any:
        """The new parameter and the new state."""
        return apply(self.update_op, (p, g, *tensors, *values), params)

    @_use_grad_for_differentiable
    def _begin(self, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        if group.get("fused"):
            check_fused(p)
        state = self.new_state(p, group)
        if state:
            self.state[p] = state
        return state

    def _prepared(self, keys: tuple[str, ...], count: Any, group: dict[str, Any]) -> tuple[Any, list, dict[str, Any]]:
        """Names of the state's tensors, the numbers as inputs of the op, and its parameters."""
        if group.get("capturable"):
            self._refuse_capture()
        numbers = self.numbers(count, group)
        fixed = tuple([(name, numbers.pop(name)) for name in self.fixed])
        values = [None if x is None else float(x) for x in numbers.values()]
        tensors = tuple([name for name in keys if name not in self.counters])
        decay = None if self.decays_itself else _get_value(group.get("weight_decay"))
        kind = None
        if decay:
            kind = DECOUPLED if group.get("decoupled_weight_decay") else L2
            values.append(float(1 - _get_value(group["lr"]) * decay if kind is DECOUPLED else decay))
        return tensors, values, params_of(Recipe(tensors, tuple(numbers), fixed, kind, bool(group.get("maximize"))))

    @_use_grad_for_differentiable
    def _step_tensors(self, group: dict[str, Any]) -> None:
        """The same formula on tensors, recorded by autograd: hyper-parameters may be tensors that require grad."""
        for p in group["params"]:
            if p.grad is None:
                continue
            state = self.state.get(p) or self._begin(p, group)
            if group.get("capturable"):
                self._refuse_capture()
            numbers = self.numbers(self.advance(state, group), group)
            kept = {name: None if t is None else t.clone() for name, t in state.items() if name not in self.counters}
            old, g = self._regularized(p.clone(), p.grad, group)
            new, kept = type(self).update(ops, old, g, kept, **numbers)
            for name, tensor in kept.items():
                if state.get(name) is None:
                    state[name] = tensor
                else:
                    state[name].copy_(tensor)
            p.copy_(new)

    def _regularized(self, p: Any, g: Any, group: dict[str, Any]) -> tuple[Any, Any]:
        """Parameter and gradient after `maximize` and `weight_decay`, the same for every optimizer."""
        if group.get("maximize"):
            g = -g
        decay = _to_scalar(group.get("weight_decay", 0))
        if self.decays_itself or (not isinstance(decay, Tensor) and decay == 0):
            return p, g
        if group.get("decoupled_weight_decay"):
            return p * (1 - _to_scalar(group["lr"]) * decay), g
        return p, g + decay * p

    def _refuse_capture(self) -> None:
        devices = _ACCELERATORS + (["xla"] if self.supports_xla else [])
        extra = [f"{name}s" for name in self.counters if name != "step"]
        what = ", ".join(["params", *extra]) + (", and state_steps" if len(extra) > 1 else " and state_steps")
        raise AssertionError(f"If capturable=True, {what} must be on supported devices: {devices}.")

    @classmethod
    def _samples(cls, t: Callable[..., Tensor]) -> Iterator[Call]:
        """Calls of the op as steps of the optimizer would make them, once with each of the `sampled` options."""
        for options in cls.sampled:
            p = t(3, 4)
            p.grad = t(3, 4)
            optimizer = cls([p], **options)  # type: ignore[arg-type]
            group = optimizer.param_groups[0]
            state = optimizer.state.get(p) or optimizer.new_state(p, group)
            count = optimizer.advance(state, group)
            names, values, params = optimizer._prepared(tuple(state), count, group)
            shapes = [p._shape if state[name] is None else state[name]._shape for name in names]
            tensors = [t(*shape, low=0.9, high=0.94) for shape in shapes]
            yield call(p.detach(), p.grad, *tensors, *values, **params)
            if None in state.values():
                yield call(p.detach(), p.grad, *[None] * len(names), *values, **params)


def check_fused(p: Tensor) -> None:
    if not p.dtype.is_floating_point:
        raise RuntimeError(
            "`fused=True` requires all the params to be floating point Tensors of supported devices: "
            f"['mps', 'cuda', 'xpu', 'hpu', 'cpu', 'mtia', 'privateuseone'] but {p.dtype} and {p.device.type}"
        )
