"""Trees: nested lists, tuples, dicts and named tuples, taken apart into leaves and put together again.

PyTorch's ``torch.utils._pytree``. Other containers can be registered.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from flambeau.shape import Size

__all__ = [
    "LeafSpec",
    "PyTree",
    "TreeSpec",
    "register_pytree_node",
    "tree_all",
    "tree_all_only",
    "tree_any",
    "tree_any_only",
    "tree_flatten",
    "tree_iter",
    "tree_leaves",
    "tree_map",
    "tree_map_",
    "tree_map_only",
    "tree_map_only_",
    "tree_structure",
    "tree_unflatten",
]

PyTree = Any
IsLeaf = Callable[[Any], bool] | None


@dataclass(frozen=True)
class _Node:
    """How a container is taken apart (into children and a context) and built again."""

    flatten: Callable[[Any], tuple[list, Any]]
    unflatten: Callable[[Iterable, Any], Any]


def _flatten_mapping(mapping: dict) -> tuple[list, Any]:
    return list(mapping.values()), list(mapping)


SUPPORTED_NODES: dict[type, _Node] = {
    list: _Node(lambda x: (list(x), None), lambda children, _: list(children)),
    tuple: _Node(lambda x: (list(x), None), lambda children, _: tuple(children)),
    Size: _Node(lambda x: (list(x), None), lambda children, _: tuple(children)),
    dict: _Node(_flatten_mapping, lambda children, keys: dict(zip(keys, children, strict=True))),
    OrderedDict: _Node(_flatten_mapping, lambda children, keys: OrderedDict(zip(keys, children, strict=True))),
    defaultdict: _Node(
        lambda x: (list(x.values()), [x.default_factory, list(x)]),
        lambda children, context: defaultdict(context[0], zip(context[1], children, strict=True)),
    ),
    deque: _Node(lambda x: (list(x), x.maxlen), lambda children, maxlen: deque(children, maxlen=maxlen)),
    namedtuple: _Node(lambda x: (list(x), type(x)), lambda children, kind: kind(*children)),  # type: ignore[dict-item]
}


def register_pytree_node(
    cls: type, flatten_fn: Callable[[Any], tuple[list, Any]], unflatten_fn: Callable[[Iterable, Any], Any], **_: Any
) -> None:
    """Make `cls` a container: ``flatten_fn(x)`` gives (children, context), ``unflatten_fn(children, context)`` an x.

    Raises ValueError where it is one already.
    """
    if cls in SUPPORTED_NODES:
        raise ValueError(f"{cls} is already registered as pytree node.")
    SUPPORTED_NODES[cls] = _Node(flatten_fn, unflatten_fn)


def _node_type(tree: Any) -> Any:
    kind = type(tree)
    if isinstance(tree, tuple) and hasattr(kind, "_fields") and kind not in SUPPORTED_NODES:
        return namedtuple
    return kind


@dataclass(frozen=True)
class TreeSpec:
    """The shape of a tree: what each container is, without the leaves."""

    type: Any
    context: Any
    children_specs: list[TreeSpec] = field(default_factory=list)

    @property
    def num_leaves(self) -> int:
        return sum(child.num_leaves for child in self.children_specs)

    @property
    def num_children(self) -> int:
        return len(self.children_specs)

    def is_leaf(self) -> bool:
        return False

    def unflatten(self, leaves: Iterable[Any]) -> PyTree:
        """Build the tree with these leaves. Raises ValueError where there are too few or too many."""
        leaves = list(leaves)
        if len(leaves) != self.num_leaves:
            raise ValueError(
                f"treespec.unflatten(leaves): `leaves` has length {len(leaves)} but the spec refers to a pytree "
                f"that holds {self.num_leaves} items ({self})."
            )
        return self._build(iter(leaves))

    def _build(self, leaves: Any) -> PyTree:
        children = [child._build(leaves) for child in self.children_specs]
        return SUPPORTED_NODES[self.type].unflatten(children, self.context)

    def __repr__(self, indent: int = 0) -> str:
        head = f"TreeSpec({getattr(self.type, '__name__', self.type)}, {self.context}, ["
        inner = indent + 2
        children = f",\n{' ' * inner}".join(child.__repr__(inner) for child in self.children_specs)
        return f"{head}{children}])"


@dataclass(frozen=True, repr=False)
class LeafSpec(TreeSpec):
    """The shape of a leaf."""

    type: Any = None
    context: Any = None

    @property
    def num_leaves(self) -> int:
        return 1

    def is_leaf(self) -> bool:
        return True

    def _build(self, leaves: Any) -> PyTree:
        return next(leaves)

    def __repr__(self, indent: int = 0) -> str:
        return "*"


_LEAF = LeafSpec()


def tree_flatten(tree: PyTree, is_leaf: IsLeaf = None) -> tuple[list[Any], TreeSpec]:
    """Return a tree's leaves, from left to right, and its shape.

    >>> leaves, spec = tree_flatten({"a": [1, 2], "b": 3})
    >>> leaves
    [1, 2, 3]
    >>> tree_unflatten([4, 5, 6], spec)
    {'a': [4, 5], 'b': 6}
    """
    kind = _node_type(tree)
    if kind not in SUPPORTED_NODES or (is_leaf is not None and is_leaf(tree)):
        return [tree], _LEAF
    children, context = SUPPORTED_NODES[kind].flatten(tree)
    leaves: list[Any] = []
    specs = []
    for child in children:
        below, spec = tree_flatten(child, is_leaf)
        leaves += below
        specs.append(spec)
    return leaves, TreeSpec(kind, context, specs)


def tree_unflatten(leaves: Iterable[Any], treespec: TreeSpec) -> PyTree:
    """Build a tree of the given shape."""
    if not isinstance(treespec, TreeSpec):
        raise TypeError(
            f"tree_unflatten(leaves, treespec): Expected `treespec` to be instance of TreeSpec but got item of type "
            f"{type(treespec)}."
        )
    return treespec.unflatten(leaves)


def tree_leaves(tree: PyTree, is_leaf: IsLeaf = None) -> list[Any]:
    return tree_flatten(tree, is_leaf)[0]


def tree_iter(tree: PyTree, is_leaf: IsLeaf = None) -> Iterable[Any]:
    return iter(tree_leaves(tree, is_leaf))


def tree_structure(tree: PyTree, is_leaf: IsLeaf = None) -> TreeSpec:
    return tree_flatten(tree, is_leaf)[1]


def tree_map(func: Callable, tree: PyTree, *rests: PyTree, is_leaf: IsLeaf = None) -> PyTree:
    """Apply a function to each leaf, with the leaves at the same place of `rests` as further arguments.

    Raises ValueError where `rests` are not of the first tree's shape.
    """
    leaves, spec = tree_flatten(tree, is_leaf)
    others = []
    for rest in rests:
        found, shape = tree_flatten(rest, is_leaf)
        if shape != spec:
            raise ValueError(f"Node arity mismatch; expected {spec}, but got {shape}.")
        others.append(found)
    return spec.unflatten(map(func, leaves, *others))


def tree_map_(func: Callable, tree: PyTree, *rests: PyTree, is_leaf: IsLeaf = None) -> PyTree:
    """Call a function for each leaf, for what it does; return the tree itself."""
    tree_map(func, tree, *rests, is_leaf=is_leaf)
    return tree


def _only(kind: Any, func: Callable) -> Callable:
    def apply(leaf: Any) -> Any:
        matches = kind(leaf) if callable(kind) and not isinstance(kind, type) else isinstance(leaf, kind)
        return func(leaf) if matches else leaf

    return apply


def tree_map_only(kind: Any, func: Callable, tree: PyTree, is_leaf: IsLeaf = None) -> PyTree:
    """Apply a function to the leaves of a type (or of several, or for which a function is true)."""
    return tree_map(_only(kind, func), tree, is_leaf=is_leaf)


def tree_map_only_(kind: Any, func: Callable, tree: PyTree, is_leaf: IsLeaf = None) -> PyTree:
    return tree_map_(_only(kind, func), tree, is_leaf=is_leaf)


def tree_all(pred: Callable[[Any], bool], tree: PyTree, is_leaf: IsLeaf = None) -> bool:
    return all(map(pred, tree_leaves(tree, is_leaf)))


def tree_any(pred: Callable[[Any], bool], tree: PyTree, is_leaf: IsLeaf = None) -> bool:
    return any(map(pred, tree_leaves(tree, is_leaf)))


def tree_all_only(kind: Any, pred: Callable[[Any], bool], tree: PyTree, is_leaf: IsLeaf = None) -> bool:
    return all(pred(leaf) for leaf in tree_leaves(tree, is_leaf) if isinstance(leaf, kind))


def tree_any_only(kind: Any, pred: Callable[[Any], bool], tree: PyTree, is_leaf: IsLeaf = None) -> bool:
    return any(pred(leaf) for leaf in tree_leaves(tree, is_leaf) if isinstance(leaf, kind))
