"""Looking at and steering the graph: `saved_tensors_hooks`, `save_on_cpu`, `Node`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flambeau.autograd.mode import state
from flambeau.autograd.node import Node, RemovableHandle, edge_of
from flambeau.tensors import Tensor

__all__ = ["Node", "saved_tensors_hooks", "save_on_cpu", "register_multi_grad_hook", "get_gradient_edge"]


class saved_tensors_hooks:
    """Inside, tensors kept for backward pass through `pack_hook`, and `unpack_hook` gives them back."""

    def __init__(self, pack_hook: Callable[[Tensor], Any], unpack_hook: Callable[[Any], Tensor]) -> None:
        self.pack_hook, self.unpack_hook = pack_hook, unpack_hook

    def __enter__(self) -> None:
        state.saved_hooks = (*state.saved_hooks, (self.pack_hook, self.unpack_hook))

    def __exit__(self, *exc: object) -> None:
        state.saved_hooks = state.saved_hooks[:-1]


class save_on_cpu(saved_tensors_hooks):
    """Saved tensors are on the CPU already; kept so that programs run."""

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda") -> None:
        super().__init__(lambda t: t, lambda t: t)


def register_multi_grad_hook(
    tensors: Sequence[Tensor], fn: Callable[[Any], None], *, mode: str = "all"
) -> RemovableHandle:  # fmt: skip
    """Call `fn` when all (or any) gradients of `tensors` are known."""
    if mode not in ("all", "any"):
        raise ValueError(f"Expects mode to be one of ('all', 'any') but got {mode}")
    wanted = [t for t in tensors if t.requires_grad]
    found: dict[int, Tensor] = {}

    def arrived(i: int) -> Callable[[Tensor], None]:
        def hook(g: Tensor) -> None:
            first = not found
            found[i] = g
            if mode == "any":
                if first:
                    fn(g)
                if len(found) == len(wanted):
                    found.clear()
            elif len(found) == len(wanted):
                grads = [found.get(j) for j in range(len(wanted))]
                found.clear()
                fn(grads)

        return hook

    handles = [t.register_hook(arrived(i)) for i, t in enumerate(wanted)]

    class _All(RemovableHandle):
        def __init__(self) -> None:
            super().__init__({})

        def remove(self) -> None:
            for handle in handles:
                handle.remove()

    return _All()


def get_gradient_edge(tensor: Tensor) -> Any:
    """The (node, output_nr) where the gradient of `tensor` flows to."""
    if not tensor.requires_grad:
        raise RuntimeError("It is not possible to get the gradient edge for a Tensor that does not require gradients")
    return edge_of(tensor)
