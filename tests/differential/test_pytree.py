"""utils._pytree beside PyTorch's: leaves, shapes, mapping and errors."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque, namedtuple

import pytest

torch = pytest.importorskip("torch")

import torch.utils._pytree as theirs  # noqa: E402

import flambeau.utils._pytree as ours  # noqa: E402

Point = namedtuple("Point", ["x", "y"])

TREES = [
    1, None, [], (), {}, [1, [2, (3,)], {"a": 4}], {"b": 1, "a": [2]}, OrderedDict(b=1, a=2), Point(1, [2, Point(3, 4)]),
    defaultdict(list, {"x": [1]}), deque([1, (2, 3)], maxlen=5), (range(3), "text", {1, 2}),
]  # fmt: skip


@pytest.mark.parametrize("tree", TREES, ids=str)
def test_taking_apart_and_building(tree):
    mine, other = ours.tree_flatten(tree), theirs.tree_flatten(tree)
    assert mine[0] == other[0] and mine[1].num_leaves == other[1].num_leaves
    assert ours.tree_unflatten(mine[0], mine[1]) == tree
    fresh = [object() for _ in mine[0]]
    rebuilt = [module.tree_unflatten(fresh, spec) for module, spec in ((ours, mine[1]), (theirs, other[1]))]
    assert rebuilt[0] == rebuilt[1] and type(rebuilt[0]) is type(rebuilt[1])
    if not isinstance(tree, (deque, defaultdict, Point)):
        assert repr(mine[1]) == repr(other[1])
    assert ours.tree_structure(tree) == mine[1]


@pytest.mark.parametrize("tree", TREES, ids=str)
def test_mapping(tree):
    results = []
    for module in (ours, theirs):
        results.append(
            [
                module.tree_map(lambda x: (x, "leaf"), tree),
                module.tree_map(lambda x, y: [x, y], tree, tree),
                module.tree_map_only(int, lambda x: x + 1, tree),
                module.tree_any(lambda x: x == 3, tree),
                module.tree_all(lambda x: isinstance(x, int), tree),
                module.tree_leaves(tree, is_leaf=lambda x: isinstance(x, tuple)),
                module.tree_any_only(int, lambda x: x > 3, tree),
                module.tree_all_only(int, lambda x: x > 0, tree),
            ]
        )
    assert results[0] == results[1]


@pytest.mark.parametrize("module", [ours, theirs])
def test_errors(module):
    spec = module.tree_structure([1, 2])
    with pytest.raises(ValueError, match="has length 1 but the spec refers to a pytree that holds 2 items"):
        module.tree_unflatten([1], spec)
    with pytest.raises(ValueError):
        module.tree_map(lambda x, y: x, [1, 2], [1])
    with pytest.raises(TypeError, match="Expected `treespec` to be (an )?instance of"):
        module.tree_unflatten([1], None)


@pytest.mark.parametrize("module", [ours, theirs])
def test_registered_containers(module):
    class Box:
        def __init__(self, *items):
            self.items = items

    module.register_pytree_node(Box, lambda box: (list(box.items), "context"), lambda items, context: Box(*items))
    doubled = module.tree_map(lambda x: 2 * x, [Box(1, [2]), 3])
    assert doubled[0].items == (2, [4]) and doubled[1] == 6
