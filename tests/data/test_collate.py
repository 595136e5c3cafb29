"""default_collate and default_convert over everything that samples are made of."""

from __future__ import annotations

import collections
from collections import OrderedDict, defaultdict, namedtuple

import numpy as np
import pytest

import flambeau
from flambeau.utils.data import default_collate, default_convert
from flambeau.utils.data._utils.collate import collate, default_collate_fn_map

Point = namedtuple("Point", ["x", "y"])


@pytest.mark.parametrize(
    "samples, dtype, values",
    [
        ([1, 2], "int64", [1, 2]),
        ([True, False], "bool", [True, False]),
        ([0.5, 1.0], "float64", [0.5, 1.0]),
        ([np.float32(1), np.float32(2)], "float32", [1.0, 2.0]),
        ([np.int8(1), np.int8(2)], "int8", [1, 2]),
        ([np.bool_(True), np.bool_(False)], "bool", [True, False]),
        ([np.array([1, 2], np.int16)] * 2, "int16", [[1, 2], [1, 2]]),
        ([np.array(1.5)] * 2, "float64", [1.5, 1.5]),
    ],
)
def test_numbers_and_arrays_become_tensors(samples, dtype, values):
    batch = default_collate(samples)
    assert batch.dtype is getattr(flambeau, dtype) and batch.tolist() == values


def test_tensors_are_stacked():
    batch = default_collate([flambeau.ones(2, 3), flambeau.zeros(2, 3)])
    assert tuple(batch.shape) == (2, 2, 3) and batch.sum().item() == 6
    with pytest.raises(RuntimeError, match="stack expects each tensor to be equal size"):
        default_collate([flambeau.ones(2), flambeau.ones(3)])


def test_strings_and_bytes_stay():
    assert default_collate(["a", "b"]) == ["a", "b"]
    assert default_collate([b"a", b"b"]) == [b"a", b"b"]


def test_containers_keep_their_types():
    mapping = default_collate([OrderedDict(a=1, b="x"), OrderedDict(a=2, b="y")])
    assert type(mapping) is OrderedDict and mapping["a"].tolist() == [1, 2] and mapping["b"] == ["x", "y"]
    point = default_collate([Point(1, 2.0), Point(3, 4.0)])
    assert type(point) is Point and point.x.tolist() == [1, 3]
    pair = default_collate([(1, 2), (3, 4)])
    assert type(pair) is list and pair[1].tolist() == [2, 4]
    default = default_collate([defaultdict(int, a=1)])
    assert type(default) is defaultdict and default.default_factory is int
    deque = default_collate([collections.deque([1, 2]), collections.deque([3, 4])])
    assert type(deque) is collections.deque and deque[0].tolist() == [1, 3]


def test_nesting():
    samples = [{"image": np.ones(2, np.float32), "boxes": [(1, 2.0)], "name": "a"} for _ in range(3)]
    batch = default_collate(samples)
    assert tuple(batch["image"].shape) == (3, 2)
    assert batch["boxes"][0][0].tolist() == [1, 1, 1] and batch["name"] == ["a"] * 3


def test_what_cannot_be_collated_is_named():
    with pytest.raises(TypeError, match="default_collate: batch must contain tensors.*found <class 'object'>"):
        default_collate([object()])
    with pytest.raises(TypeError, match="found <U1"):
        default_collate([np.array(["a"])])
    with pytest.raises(RuntimeError, match="each element in list of batch should be of equal size"):
        default_collate([[1], [1, 2]])
    with pytest.raises(TypeError, match="NoneType"):
        default_collate([None])


def test_collate_takes_a_table_of_functions():
    class Box:
        pass

    table = {Box: lambda batch, *, collate_fn_map=None: len(batch), **default_collate_fn_map}
    assert collate([(Box(), 1), (Box(), 2)], collate_fn_map=table)[0] == 2


def test_convert_turns_arrays_into_tensors_and_leaves_the_rest():
    array = np.array([1, 2])
    out = default_convert({"a": array, "b": (array, "text", 3), "c": Point(np.float32(1), None)})
    assert out["a"].tolist() == [1, 2]
    array[0] = 9
    assert out["a"].tolist() == [9, 2]  # it shares the memory
    assert out["b"][0].tolist() == [9, 2] and out["b"][1:] == ["text", 3]
    assert out["c"].x.item() == 1.0 and out["c"].y is None
    words = np.array(["a"])
    assert default_convert(words) is words
    assert default_convert(flambeau.ones(1)).tolist() == [1.0]
