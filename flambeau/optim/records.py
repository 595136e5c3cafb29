"""The update of one parameter as ONE op: a record made from an optimizer's formula.

Its inputs are the parameter, its gradient, the tensors of its state (None: not there yet) and the formula's numbers;
its results are the new parameter and the new state. Numbers are inputs, so that a schedule or a step count recompiles
nothing; only what the formula branches on is fixed in the `Recipe`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from flambeau.engine.execute import Meta
from flambeau.engine.schedule.lowering import Composite, Update
from flambeau.ops.op import Op, op
from flambeau.ops.samples import Call
from flambeau.shape import preserved_strides
from flambeau.tensors import Tensor

L2, DECOUPLED = "l2", "decoupled"  # weight decay: added to the gradient, or shrinking the parameter


class Recipe(NamedTuple):
    """What an application of a formula is compiled for, besides shapes and dtypes."""

    tensors: tuple[str, ...]  # of the state, in the order of the op's inputs and results
    numbers: tuple[str, ...]
    fixed: tuple[tuple[str, Any], ...] = ()  # keywords of the formula that are no inputs
    decay: str | None = None  # the kind of weight decay; its number is the op's last input
    maximize: bool = False

    def apply(self, formula: Callable, k: Any, operands: Sequence[Any]) -> tuple[Any, ...]:
        """The formula on operands of any kind, by the namespace `k` of their functions."""
        p, g = operands[0], operands[1]
        split = 2 + len(self.tensors)
        state = dict(zip(self.tensors, operands[2:split]))
        numbers = dict(zip(self.numbers, operands[split:]))
        if self.maximize:
            g = -g
        if self.decay == L2:
            g = g + operands[-1] * p
        elif self.decay == DECOUPLED:
            p = p * operands[-1]
        p, new = formula(k, p, g, state, **numbers, **dict(self.fixed))
        return (p, *[new.get(name, state[name]) for name in self.tensors])


_PARAMS: dict[Recipe, dict[str, Any]] = {}


def params_of(recipe: Recipe) -> dict[str, Any]:
    """The op's parameters: the same objects for equal recipes, so that comparing them is quick."""
    return _PARAMS.setdefault(recipe, {"recipe": recipe})


def update_op(formula: Callable, elementwise: bool, samples: Callable[..., Iterable[Call]]) -> Op:
    """The record of a formula `f(k, p, g, state, **numbers) -> (new p, new state)`, under the formula's name."""

    def reference(*operands: Any, recipe: Recipe) -> tuple[Any, ...]:
        if not np.iscomplexobj(operands[0]):
            return recipe.apply(formula, np, operands)
        whole, kept = operands[: 2 + len(recipe.tensors)], operands[2 + len(recipe.tensors) :]
        results = recipe.apply(formula, np, (*map(_as_pairs, whole), *kept))
        return tuple([_as_complex(new, old) for new, old in zip(results, (whole[0], *whole[2:]))])

    def lower(k: Any, *operands: Any, recipe: Recipe) -> tuple[Any, ...]:
        split = 2 + len(recipe.tensors)
        numbers = [None if number is None else k.real(number) for number in operands[split:]]
        return k.by_parts(lambda s, *parts: recipe.apply(formula, s, parts), *operands[:split], *numbers)

    def whole(t: Any, *operands: Any, recipe: Recipe) -> tuple[Any, ...]:
        return recipe.apply(formula, _Expressions(t), operands)

    return op(
        formula.__name__, ref=reference, meta=_meta, multiple=True, samples=samples,
        lower=Update(lower) if elementwise else Composite(whole),
    )  # fmt: skip


class _Expressions:
    """The functions of tensor expressions under NumPy's names."""

    def __init__(self, t: Any) -> None:
        self._t = t

    def __getattr__(self, name: str) -> Any:
        return getattr(self._t, name)

    def mean(self, x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
        return self._t.mean(x, axis, keepdims)


def _meta(p: Tensor, _g: Tensor, *rest: Any, recipe: Recipe) -> tuple[Meta, ...]:
    compute = None if p.dtype.is_complex else p.dtype
    targets = (p, *[p if t is None else t for t in rest[: len(recipe.tensors)]])
    return tuple([Meta(t._shape, t.dtype, preserved_strides(t._shape, t._strides), compute) for t in targets])


def _as_pairs(array: np.ndarray | None) -> np.ndarray | None:
    """Complex numbers as pairs of reals, which is how optimizers take them."""
    if array is None:
        return None
    return np.ascontiguousarray(array).reshape((*array.shape, 1)).view(array.real.dtype)


def _as_complex(pairs: np.ndarray, like: np.ndarray | None) -> np.ndarray:
    d = np.result_type(pairs.dtype, 1j)
    return np.ascontiguousarray(pairs).view(d).reshape(pairs.shape[:-1] if like is None else like.shape)
