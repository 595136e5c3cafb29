"""Models that return what their inner layers give (torchvision.models.feature_extraction).

Nothing is traced: an extractor runs the model's own forward, notes the outputs of the modules that were asked for,
and stops as soon as it has them all.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

from flambeau.nn import Module


class _Complete(Exception):
    """All outputs that were asked for are there: the rest of the model need not run."""


def _is_leaf(module: Module) -> bool:
    return next(module.children(), None) is None


def get_graph_node_names(
    model: Module, tracer_kwargs: dict[str, Any] | None = None, suppress_diff_warning: bool = False
) -> tuple[list[str], list[str]]:
    """The names of the innermost modules, in order of registration: once for training, once for evaluation.

    Unlike torchvision, which traces the model, this does not list the functions between the modules. The other two
    arguments are for torchvision's signature.
    """
    names = [name for name, module in model.named_modules() if name and _is_leaf(module)]
    return names, list(names)


def create_feature_extractor(
    model: Module,
    return_nodes: Iterable[str] | dict[str, str] | None = None,
    train_return_nodes: Iterable[str] | dict[str, str] | None = None,
    eval_return_nodes: Iterable[str] | dict[str, str] | None = None,
    tracer_kwargs: dict[str, Any] | None = None,
    suppress_diff_warning: bool = False,
) -> Module:
    """A model with the same modules and parameters whose forward returns a dict of inner outputs.

    Args:
        model: the model; it is left as it is.
        return_nodes: the modules whose outputs to return, by name; a dict says under which names. A module's second
            output in one pass is called "name_1", as torchvision does.
        train_return_nodes, eval_return_nodes: others for each mode, instead.
        tracer_kwargs, suppress_diff_warning: for torchvision's signature.

    Raises:
        ValueError: when no nodes are named, or one that the model does not have.

    Example::

        >>> from flambeau import ops
        >>> from flambeau.vision.models import resnet18
        >>> extractor = create_feature_extractor(resnet18(), {"layer1": "small", "layer3": "deep"})
        >>> {name: tuple(value.shape) for name, value in extractor(ops.zeros(1, 3, 64, 64)).items()}
        {'small': (1, 64, 16, 16), 'deep': (1, 256, 4, 4)}
    """
    if (return_nodes is None) == (train_return_nodes is None or eval_return_nodes is None):
        raise ValueError("Either `return_nodes` or `train_return_nodes` and `eval_return_nodes` must be specified")
    wanted = {
        True: _as_dict(model, train_return_nodes if return_nodes is None else return_nodes),
        False: _as_dict(model, eval_return_nodes if return_nodes is None else return_nodes),
    }
    kind = type(model)

    def forward(self: Module, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return _collect(self, wanted[self.training], lambda: kind.forward(self, *args, **kwargs))

    extractor = copy.copy(model)
    extractor.__class__ = type(kind.__name__, (kind,), {"forward": forward, "__module__": kind.__module__})
    return extractor


def _as_dict(model: Module, nodes: Any) -> dict[str, str]:
    """Nodes as {name in the model: name in the result}."""
    chosen = {str(k): str(v) for k, v in nodes.items()} if isinstance(nodes, dict) else {n: n for n in nodes}
    modules = dict(model.named_modules())
    for name in chosen:
        if _module_name(name, modules) is None:
            raise ValueError(
                f"node: '{name}' is not present in model. Hint: use `get_graph_node_names` to make sure the "
                "`return_nodes` you specified are present."
            )
    return chosen


def _module_name(node: str, modules: dict[str, Module]) -> str | None:
    """The module that a node is an output of: "relu_1" is the second one of "relu"."""
    if node in modules and node:
        return node
    base, _, count = node.rpartition("_")
    return base if count.isdigit() and base in modules else None


def _collect(model: Module, wanted: dict[str, str], run: Callable[[], Any]) -> dict[str, Any]:
    modules = dict(model.named_modules())
    found: dict[str, Any] = {}
    calls: dict[str, int] = {}

    def watch(name: str) -> Callable:
        def note(module: Module, args: Any, output: Any) -> None:
            count = calls.get(name, 0)
            calls[name] = count + 1
            node = f"{name}_{count}" if count else name
            if node in wanted:
                found[wanted[node]] = output
                if len(found) == len(set(wanted.values())):
                    raise _Complete

        return note

    names = {_module_name(node, modules) for node in wanted}
    handles = [modules[name].register_forward_hook(watch(name)) for name in names if name]
    try:
        run()
    except _Complete:
        pass
    finally:
        for handle in handles:
            handle.remove()
    return found
