"""`torch.utils.checkpoint`: trade time for memory by computing a block again in backward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

from flambeau.autograd import Function, backward, enable_grad, no_grad
from flambeau.random import default_generator
from flambeau.tensors import Tensor


class CheckpointFunction(Function):
    """Runs a function without history; backward runs it again with history and differentiates that."""

    @staticmethod
    def forward(ctx: Any, run_function: Callable, preserve_rng_state: bool, *args: Any) -> Any:
        ctx.run_function, ctx.args = run_function, args
        ctx.rng_state = default_generator.clone_state() if preserve_rng_state else None
        with no_grad():
            return run_function(*args)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        inputs = [a.detach().requires_grad_(a.requires_grad) if isinstance(a, Tensor) else a for a in ctx.args]
        with _rng(ctx.rng_state), enable_grad():
            outputs = ctx.run_function(*inputs)
        listed = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
        pairs = [(o, g) for o, g in zip(listed, grads) if isinstance(o, Tensor) and o.requires_grad]
        if not pairs:
            raise RuntimeError("none of output has requires_grad=True, this checkpoint() is not necessary")
        backward([o for o, _ in pairs], [g for _, g in pairs])
        return (None, None, *[a.grad if isinstance(a, Tensor) else None for a in inputs])


class _rng:
    """Inside, the default generator continues from a kept state; afterwards from where it was."""

    def __init__(self, kept: Any) -> None:
        self.kept = kept

    def __enter__(self) -> None:
        if self.kept is not None:
            self.now = default_generator.get_state()
            default_generator.set_state(self.kept.get_state())

    def __exit__(self, *exc: object) -> None:
        if self.kept is not None:
            default_generator.set_state(self.now)


def checkpoint(
    function: Callable, *args: Any, use_reentrant: bool | None = None, context_fn: Any = None,
    determinism_check: str = "default", debug: bool = False, preserve_rng_state: bool = True, early_stop: bool = True,
    **kwargs: Any,
) -> Any:  # fmt: skip
    """`function(*args)`, whose intermediate tensors are computed again in backward instead of being kept."""
    context = context_fn()[0] if context_fn is not None else nullcontext()
    run = (lambda *a: function(*a, **kwargs)) if kwargs else function
    with context:
        needs = [a for a in args if isinstance(a, Tensor) and a.requires_grad]
        if needs or use_reentrant:
            return CheckpointFunction.apply(run, preserve_rng_state, *args)
        return run(*args)  # gradients flow to parameters only: keep the graph


def checkpoint_sequential(
    functions: Any, segments: int, input: Any, use_reentrant: bool | None = None, **kwargs: Any
) -> Any:
    """A Sequential in `segments` checkpointed pieces."""
    layers: Sequence[Callable] = list(functions.children()) if hasattr(functions, "children") else list(functions)
    size = len(layers) // segments

    def run(start: int, stop: int) -> Callable:
        def forward(x: Any) -> Any:
            for layer in layers[start:stop]:
                x = layer(x)
            return x

        return forward

    for start in range(0, size * (segments - 1), size):
        input = checkpoint(run(start, start + size), input, use_reentrant=use_reentrant, **kwargs)
    return run(size * (segments - 1), len(layers))(input)
