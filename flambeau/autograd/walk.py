"""The backward walk: gradients from outputs to leaves, iteratively and in a fixed order.

Nodes are visited once all gradients that flow into them have arrived, the youngest first; gradients that meet are
added in the order of arrival. Nothing recurses, so a chain of 100,000 ops is no deeper than one.
"""

from __future__ import annotations

import heapq
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from flambeau import tensors
from flambeau.autograd.mode import set_grad_enabled, state
from flambeau.autograd.node import AccumulateGrad, Edge, Like, Node, describe, edge_of
from flambeau.autograd.opnode import fit
from flambeau.autograd.replay import Watch, replayed
from flambeau.engine import execute
from flambeau.engine.value import Value, holding
from flambeau.shape import Size, contiguous_strides, is_dense
from flambeau.tensors import Tensor

Tensors = Tensor | Sequence[Tensor]


def backward(
    tensors: Tensors, grad_tensors: Any = None, retain_graph: bool | None = None, create_graph: bool = False,
    grad_variables: Any = None, inputs: Tensors | None = None,
) -> None:  # fmt: skip
    """Add the gradients of `tensors` into the `.grad` of the leaves (or of `inputs` alone).

    Args:
        tensors: outputs to differentiate.
        grad_tensors: their incoming gradients; may be left out for scalars.
        retain_graph: keep the graph for another backward (default: `create_graph`).
        create_graph: record history of the gradients themselves, for higher derivatives.
        inputs: only accumulate into these.

    Raises:
        RuntimeError: a non-scalar output without gradient, an output without history, or freed buffers.
    """
    if (
        isinstance(tensors, Tensor) and grad_tensors is None and grad_variables is None and inputs is None
        and not retain_graph and not create_graph
    ):  # fmt: skip
        _plain_backward(tensors)
        return
    roots = (tensors,) if isinstance(tensors, Tensor) else tuple(tensors)
    if inputs is not None:
        inputs = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
        if not inputs:
            raise RuntimeError("`inputs` argument to `backward()` cannot be empty.")
    grads = _root_grads(roots, grad_variables if grad_tensors is None else grad_tensors, create_graph)
    keep = create_graph if retain_graph is None else retain_graph
    found = _Walk(roots, grads, keep, create_graph, inputs).run()
    for t, g in zip(inputs or (), found):
        if g is not None:
            accumulate(t, g)


def _plain_backward(root: Tensor) -> None:
    """`loss.backward()`: replayed if it was recorded before, else walked and recorded."""
    into = execute.recorder()
    if into is not None:
        with into.lock:
            if replayed(into, root):
                return
    walk = _Walk((root,), _root_grads((root,), None, False), False, False, None)
    if into is None:
        walk.run()
        return
    walk.watch = watch = Watch(into, root)
    walk.run()
    with into.lock:
        watch.end(list(_ones.values()))


def grad(
    outputs: Tensors, inputs: Tensors, grad_outputs: Any = None, retain_graph: bool | None = None,
    create_graph: bool = False, only_inputs: bool = True, allow_unused: bool | None = None,
    is_grads_batched: bool = False, materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:  # fmt: skip
    """The gradients of `outputs` with respect to `inputs`, without touching any `.grad`.

    Raises:
        RuntimeError: an input that is not part of the graph, unless `allow_unused`.
    """
    roots = (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)
    wanted = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    if allow_unused is False and materialize_grads:
        raise ValueError(
            "Expected allow_unused to be True or not passed when materialize_grads=True, but got: allow_unused=False."
        )
    if is_grads_batched:
        return _batched_grad(roots, wanted, grad_outputs, retain_graph, create_graph, allow_unused)
    if not wanted:
        raise ValueError("grad requires non-empty inputs.")
    grads = _root_grads(roots, grad_outputs, create_graph)
    keep = create_graph if retain_graph is None else retain_graph
    found = _Walk(roots, grads, keep, create_graph, wanted).run()
    if materialize_grads:
        return tuple(tensors.from_array(np.zeros_like(t._array())) if g is None else g for t, g in zip(wanted, found))
    unused = [nr for nr, g in enumerate(found) if g is None]
    if unused and not allow_unused:
        raise RuntimeError(
            f"The differentiated Tensor at index {unused[0]} appears to not have been used in the graph. "
            "Set allow_unused=True if this is the desired behavior."
        )
    return tuple(found)


def _batched_grad(roots: Any, wanted: Any, grad_outputs: Any, keep: Any, create_graph: bool, unused: Any) -> tuple:
    """`is_grads_batched`: the leading dimension of every grad_output counts separate walks."""
    batches = (grad_outputs,) if isinstance(grad_outputs, Tensor) else tuple(grad_outputs)
    count = batches[0]._shape[0]
    rows = [
        grad(roots, wanted, [b[i] for b in batches], True if i + 1 < count else keep, create_graph, True, unused)
        for i in range(count)
    ]
    return tuple(None if column[0] is None else column[0].stacked(column) for column in zip(*rows))


def _root_grads(roots: Sequence[Tensor], given: Any, create_graph: bool) -> list[Tensor]:
    if given is None:
        given = [None] * len(roots)
    elif isinstance(given, Tensor) or not isinstance(given, Sequence):
        given = [given]
    if len(given) != len(roots):
        raise RuntimeError(f"got {len(roots)} tensors and {len(given)} gradients")
    return [_root_grad(i, t, g, create_graph) for i, (t, g) in enumerate(zip(roots, given))]


def _root_grad(i: int, root: Tensor, g: Any, create_graph: bool) -> Tensor:
    if not isinstance(root, Tensor):
        raise TypeError(f"expected a tensor to differentiate, got {type(root).__name__}")
    if g is None:
        if root.requires_grad and root.numel() != 1:
            raise RuntimeError("grad can be implicitly created only for scalar outputs")
        return _one(root)
    if not isinstance(g, Tensor):
        raise TypeError(f"gradients can be either Tensors or None, but got {type(g).__name__}")
    if g._shape != root._shape:
        raise RuntimeError(
            f"Mismatch in shape: grad_output[{i}] has a shape of {Size(g._shape)} and output[{i}] has a shape of "
            f"{Size(root._shape)}."
        )
    if g.dtype.is_complex != root.dtype.is_complex:
        raise RuntimeError(
            "For complex Tensors, both grad_output and output are required to have the same dtype. Mismatch in "
            f"dtype: grad_output[{i}] has a dtype of {g.dtype} and output[{i}] has a dtype of {root.dtype}."
        )
    return g if create_graph else tensors.detached(g)


_ones: dict[Any, Value] = {}


def _one(root: Tensor) -> Tensor:
    """The gradient of a root by itself. All of one dtype share one read-only value."""
    value = _ones.get(root.dtype)
    if value is None:
        data = np.ones(1, root.dtype.np).view(np.uint8)
        data.flags.writeable = False
        value = _ones[root.dtype] = Value(data)
        value.shared = True
    return tensors.fresh(holding(value), root._shape, root.dtype)


class _Walk:
    """One backward pass; `targets` None accumulates into every leaf, else gradients are caught for each target."""

    watch: Watch | None = None

    def __init__(
        self, roots: Sequence[Tensor], grads: Sequence[Tensor], keep: bool, create_graph: bool, targets: Any
    ) -> None:  # fmt: skip
        self.keep, self.create_graph = keep, create_graph
        self.buffers: dict[Node, list[Tensor | None]] = {}
        self.ready: list[tuple[int, int, Node]] = []
        self.leaf_mode = targets is None
        self.targets: list[Edge] = [self._target(t) for t in targets or ()]
        self.caught: dict[tuple[Node, int], Tensor] = {}
        self.starts: list[tuple[Edge, Tensor]] = []
        for i, (root, g) in enumerate(zip(roots, grads)):
            edge = edge_of(root)
            if edge is None:
                raise RuntimeError(f"element {i} of tensors does not require grad and does not have a grad_fn")
            self.starts.append((edge, g))
        self.waiting = self._count_dependencies()
        self.needed = None if self.leaf_mode else self._nodes_towards_targets()

    @staticmethod
    def _target(t: Tensor) -> Edge:
        edge = edge_of(t)
        if edge is None:
            raise RuntimeError("One of the differentiated Tensors does not require grad")
        return edge

    def _count_dependencies(self) -> dict[Node, int]:
        waiting: dict[Node, int] = {edge[0]: 0 for edge, _ in self.starts}
        stack = list(waiting)
        while stack:
            for edge in stack.pop().edges:
                if edge is None:
                    continue
                if edge[0] in waiting:
                    waiting[edge[0]] += 1
                else:
                    waiting[edge[0]] = 1
                    stack.append(edge[0])
        return waiting

    def _nodes_towards_targets(self) -> set[Node]:
        """Nodes from which a target can be reached; a node is always younger than those its edges lead to."""
        needed = {edge[0] for edge in self.targets if edge is not None}
        for node in sorted(self.waiting, key=lambda n: -1 if isinstance(n, AccumulateGrad) else n.sequence):
            if any(edge is not None and edge[0] in needed for edge in node.edges):
                needed.add(node)
        return needed

    def run(self) -> list[Tensor | None]:
        with set_grad_enabled(self.create_graph):
            for (node, nr), g in self.starts:
                self._deliver(node, nr, g)
            for node in dict.fromkeys(edge[0] for edge, _ in self.starts):
                if self.waiting[node] == 0:
                    self._push(node)
            while self.ready:
                self._visit(heapq.heappop(self.ready)[2])
        return [self.caught.get(edge) for edge in self.targets]

    def _push(self, node: Node) -> None:
        heapq.heappush(self.ready, (-node.sequence, id(node), node))

    def _deliver(self, node: Node, nr: int, g: Tensor | None) -> None:
        buffer = self.buffers.get(node)
        if buffer is None:
            buffer = self.buffers[node] = [None] * max(len(node.metas), 1)
        if g is not None:
            buffer[nr] = g if buffer[nr] is None else buffer[nr] + g

    def _visit(self, node: Node) -> None:
        grads = self.buffers.pop(node, None) or [None] * max(len(node.metas), 1)
        if self.watch is not None and node.hooked():
            self.watch.good = False
        if node.tensor_hooks:
            for nr, hooks in node.tensor_hooks.items():
                grads[nr] = _call_hooks(hooks, grads[nr])
        if isinstance(node, AccumulateGrad):
            self._reach_leaf(node, grads[0])
            return
        if node.retained:
            for nr, ref in node.retained.items():
                self._retain(ref(), grads[nr])
        for edge in self.targets:
            if edge is not None and edge[0] is node and grads[edge[1]] is not None:
                self.caught[edge] = grads[edge[1]]
        wanted = self.needed is None or any(e is not None and e[0] in self.needed for e in node.edges)
        reached = grads[0] is not None or any(g is not None for g in grads)
        results = self._run_node(node, grads) if wanted and reached else None
        for i, edge in enumerate(node.edges):
            if edge is None:
                continue
            if results is not None:
                self._deliver(edge[0], edge[1], results[i])
            self.waiting[edge[0]] -= 1
            if self.waiting[edge[0]] == 0:
                self._push(edge[0])

    def _run_node(self, node: Node, grads: list[Tensor | None]) -> Sequence[Tensor | None]:
        if self.watch is not None:
            self.watch.visit(node)
        hooks = list(node.hooks.values()) if node.hooks else ()
        if hooks:
            grads = _call_prehooks(hooks, grads)
        try:
            results = node.run(grads)
        except Exception:
            if node.trace:
                warnings.warn(f"Error detected in {describe(node)}", stacklevel=2)
            raise
        for before, hook in hooks:
            if not before:
                changed = hook(tuple(results), tuple(grads))
                results = list(_tuple(changed)) if changed is not None else results
        if state.anomaly and state.anomaly_check_nan:
            _check_nan(node, results)
        if not self.keep:
            node.release()
        return results

    def _retain(self, t: Tensor | None, g: Tensor | None) -> None:
        if t is not None and g is not None:
            t._grad = g if t._grad is None else t._grad + g

    def _reach_leaf(self, node: AccumulateGrad, g: Tensor | None) -> None:
        leaf = node.variable
        if g is None:
            return
        if self.needed is not None and node not in self.needed:
            return
        g = _call_hooks(leaf._hooks, fit(g, Like(leaf)))
        hooks = list(node.hooks.values()) if node.hooks and self.leaf_mode else ()
        (g,) = _call_prehooks(hooks, [g])
        for edge in self.targets:
            if edge is not None and edge[0] is node:
                self.caught[edge] = g
        if self.leaf_mode:
            accumulate(leaf, g)
        for before, hook in hooks:
            if not before:
                hook((), (g,))


def accumulate(t: Tensor, g: Tensor) -> None:
    """Add `g` into `t.grad`: in place when no graph of gradients is being made."""
    held = t._grad
    if state.grad:
        t._grad = g.clone() if held is None else held + g  # type: ignore[attr-defined]
    elif held is None:
        t._grad = _own(g, t)
    elif held.dtype is g.dtype and not held.requires_grad:
        tensors.assign_into(held, held + g)
    else:
        t._grad = held + g
    for hook in list((t._post_accumulate_hooks or {}).values()):
        hook(t)


def _own(g: Tensor, leaf: Tensor) -> Tensor:
    """A gradient nobody else holds, laid out like its leaf: `g` itself where its memory is not shared, else a copy.

    Later gradients are added in place, which must not be seen through another name.
    """
    dense = is_dense(leaf._shape, leaf._strides)
    strides = leaf._strides if dense else contiguous_strides(leaf._shape)
    storage = g._storage  # held by this name, by `g`, as its counter perhaps, and as an argument
    alone = sys.getrefcount(storage) <= 3 + (g._version_counter is storage) and not storage.external
    if alone and g._strides == strides and sys.getrefcount(g) <= _REFERENCES_IN_WALK:
        return tensors.detached(g)
    if g._strides == strides:
        return tensors.detached(g.clone())  # type: ignore[attr-defined]
    return tensors.fresh(execute.copied(g._array(), strides), g._shape, g.dtype, strides)


_REFERENCES_IN_WALK = 5  # getrefcount's argument, g here, in accumulate and _reach_leaf, and its buffer


def _call_prehooks(hooks: Sequence[tuple[bool, Any]], grads: list[Any]) -> list[Any]:
    """The gradients that come to a node, as its prehooks leave them."""
    for before, hook in hooks:
        if before:
            changed = hook(tuple(grads))
            grads = list(_tuple(changed)) if changed is not None else grads
    return grads


def _call_hooks(hooks: Any, g: Any) -> Any:
    for hook in list((hooks or {}).values()):
        if g is None:
            break
        changed = hook(g)
        if changed is not None:
            if not isinstance(changed, Tensor):
                raise TypeError(f"hook returned {type(changed).__name__}, expected a Tensor or None")
            if changed._shape != g._shape:
                raise RuntimeError(f"hook '{getattr(hook, '__name__', hook)}' has changed the size of value")
            g = changed
    return g


def _tuple(x: Any) -> tuple:
    return x if isinstance(x, tuple) else tuple(x) if isinstance(x, list) else (x,)


def _check_nan(node: Node, results: Sequence[Tensor | None]) -> None:
    for i, g in enumerate(results):
        if g is not None and np.isnan(g._array().astype(np.complex128 if g.dtype.is_complex else np.float64)).any():
            warnings.warn(f"Error detected in {describe(node)}", stacklevel=2)
            raise RuntimeError(f"Function '{node.name()}' returned nan values in its {i}th output.")
