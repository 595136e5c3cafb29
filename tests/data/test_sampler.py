"""Samplers; the orders were recorded from PyTorch 2.13 with the same seeds."""

from __future__ import annotations

import pytest

import flambeau
from flambeau.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

WEIGHTS = [0.1, 0.9, 0.4, 0.7, 3.0, 0.6]
WITH_REPLACEMENT = "1320212401134143024234122422021313424331"


def test_shuffled_loaders_visit_samples_in_pytorchs_order():
    flambeau.manual_seed(0)
    loader = DataLoader(range(10), batch_size=4, shuffle=True)
    assert [b.tolist() for b in loader] == [[6, 7, 1, 4], [2, 0, 9, 8], [3, 5]]
    assert [b.tolist() for b in loader] == [[2, 4, 7, 0], [8, 9, 5, 3], [6, 1]]
    assert flambeau.rand(1).item() == 0.455627977848053


def test_random_sampler():
    flambeau.manual_seed(0)
    assert list(RandomSampler(range(10))) == [6, 9, 0, 7, 3, 5, 4, 2, 1, 8]
    drawn = list(RandomSampler(range(5), replacement=True, num_samples=40))
    assert drawn == [int(digit) for digit in WITH_REPLACEMENT]
    assert list(RandomSampler(range(4), num_samples=10)) == [3, 2, 0, 1, 1, 2, 0, 3, 0, 3]
    assert len(RandomSampler(range(5), num_samples=3)) == 3


def test_random_sampler_with_its_own_generator_leaves_the_global_one_alone():
    flambeau.manual_seed(0)
    before = flambeau.get_rng_state()
    orders = [list(RandomSampler(range(9), generator=flambeau.Generator().manual_seed(7))) for _ in range(2)]
    assert orders[0] == orders[1]
    assert flambeau.equal(before, flambeau.get_rng_state())


@pytest.mark.parametrize(
    "make, error, text",
    [
        (lambda: RandomSampler([]), ValueError, "num_samples should be a positive integer value, but got num_sa.*=0"),
        (lambda: RandomSampler([1], replacement=1), TypeError, "replacement should be a boolean value"),
        (lambda: BatchSampler([1], 0, False), ValueError, "batch_size should be a positive integer value"),
        (lambda: BatchSampler([1], True, False), ValueError, "batch_size should be a positive integer value"),
        (lambda: BatchSampler([1], 1, 0), ValueError, "drop_last should be a boolean value"),
        (lambda: WeightedRandomSampler([1.0], 0), ValueError, "num_samples should be a positive integer value"),
        (lambda: WeightedRandomSampler([1.0], 1, 2), ValueError, "replacement should be a boolean value"),
        (lambda: WeightedRandomSampler([[1.0]], 1), ValueError, r"weights have shape \(1, 1\)"),
        (lambda: DistributedSampler([1], 2, 2), ValueError, r"Invalid rank 2, rank should be in the interval \[0, 1\]"),
        (lambda: DistributedSampler([1]), ValueError, "Default process group has not been initialized"),
    ],
)
def test_bad_arguments_are_named(make, error, text):
    with pytest.raises(error, match=text):
        make()


def test_subset_and_weighted_samplers():
    flambeau.manual_seed(0)
    assert list(SubsetRandomSampler([3, 5, 7, 9])) == [3, 5, 9, 7]
    assert list(WeightedRandomSampler(WEIGHTS, 5)) == [1, 1, 1, 1, 2]
    assert list(WeightedRandomSampler(WEIGHTS, 5, replacement=False)) == [4, 1, 3, 2, 0]


def test_batch_sampler_groups_any_iterable():
    assert list(BatchSampler(SequentialSampler(range(5)), 2, False)) == [[0, 1], [2, 3], [4]]
    assert list(BatchSampler(iter("abc"), 2, True)) == [["a", "b"]]
    assert len(BatchSampler(range(5), 2, False)) == 3 and len(BatchSampler(range(5), 2, True)) == 2


def test_distributed_sampler_shares_the_data_out():
    parts = [list(DistributedSampler(range(7), 3, rank, seed=1)) for rank in range(3)]
    assert parts == [[0, 3, 4], [6, 5, 0], [1, 2, 6]]
    plain = [list(DistributedSampler(range(7), 3, rank, shuffle=False, drop_last=True)) for rank in range(3)]
    assert plain == [[0, 3], [1, 4], [2, 5]]
    padded = [list(DistributedSampler(range(1), 3, rank, shuffle=False)) for rank in range(3)]
    assert padded == [[0], [0], [0]]


def test_distributed_sampler_changes_its_order_with_the_epoch():
    sampler = DistributedSampler(range(20), 2, 0)
    first = list(sampler)
    sampler.set_epoch(1)
    assert list(sampler) != first
    sampler.set_epoch(0)
    assert list(sampler) == first and len(sampler) == 10


def test_old_samplers_may_hand_their_data_to_the_base_class():
    class Backwards(Sampler):
        def __init__(self, data):
            super().__init__(data)
            self.data = data

        def __iter__(self):
            return iter(range(len(self.data) - 1, -1, -1))

    assert [b.item() for b in DataLoader(range(3), sampler=Backwards(range(3)))] == [2, 1, 0]
