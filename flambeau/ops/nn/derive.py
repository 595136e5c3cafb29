"""What the derivatives of this folder share.

An op that users call as one thing has a fused first derivative in NumPy. Where a graph of the gradient is wanted
(`create_graph=True`), the derivative is taken through a decomposition into smaller ops instead, so that derivatives
of every order come from formulas written once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flambeau.autograd import walk
from flambeau.autograd.mode import set_grad_enabled
from flambeau.ops.apply import wants_history
from flambeau.ops.views import alias
from flambeau.tensors import Tensor

__all__ = ["grads_through", "wants_history"]


def grads_through(decomposition: Callable[..., Any], g: Any, inputs: Sequence[Any], needs: Sequence[bool]) -> tuple:
    """Gradients of `decomposition(*inputs)` for the incoming gradient(s) `g`, themselves differentiable.

    Inputs are entered through an alias, so that hooks on them do not see this inner walk.
    """
    with set_grad_enabled(True):
        entered = [alias(x) if isinstance(x, Tensor) else x for x in inputs]
        results = decomposition(*entered)
        roots, grads = [], []
        for result, gradient in zip(*((r,) if isinstance(r, Tensor) else r for r in (results, g))):
            if gradient is not None and result is not None and result.requires_grad:
                roots.append(result)
                grads.append(gradient)
        wanted = [x for x, needed in zip(entered, needs) if needed]
        found = iter(walk.grad(roots, wanted, grads, create_graph=True, allow_unused=True))
    return tuple(next(found) if needed else None for needed in needs)
