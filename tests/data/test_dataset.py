"""Datasets and their combinations."""

from __future__ import annotations

import pytest

import flambeau
from flambeau.utils.data import (
    ChainDataset,
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    StackDataset,
    Subset,
    TensorDataset,
    random_split,
)


class Squares(Dataset):
    def __init__(self, count=5):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return index * index


class Stream(IterableDataset):
    def __init__(self, *items):
        self.items = items

    def __iter__(self):
        return iter(self.items)

    def __len__(self):
        return len(self.items)


class InBatches(Squares):
    calls = 0

    def __getitems__(self, indices):
        self.calls += 1
        return [-i for i in indices]


def test_tensor_dataset_gives_rows():
    x, y = flambeau.arange(6).reshape(3, 2), flambeau.tensor([0.5, 1.5, 2.5])
    dataset = TensorDataset(x, y)
    row, target = dataset[1]
    assert len(dataset) == 3
    assert row.tolist() == [2, 3] and target.item() == 1.5
    with pytest.raises(AssertionError, match="Size mismatch between tensors"):
        TensorDataset(x, y[:2])


@pytest.mark.parametrize("wrap", [lambda d: d, lambda d: Subset(d, [3, 1, 2, 0])])
def test_rows_gathered_at_once_equal_rows_stacked(wrap):
    x = flambeau.arange(24, dtype=flambeau.float32).reshape(4, 3, 2).transpose(1, 2)
    dataset = wrap(TensorDataset(x, flambeau.tensor([True, False, True, True])))
    fast = list(DataLoader(dataset, batch_size=3))
    slow = list(DataLoader(dataset, batch_size=3, collate_fn=lambda rows: flambeau.utils.data.default_collate(rows)))
    assert len(fast) == len(slow) == 2
    for quick, plain in zip(fast, slow):
        for a, b in zip(quick, plain):
            assert type(quick) is type(plain)
            assert a.dtype is b.dtype and a.stride() == b.stride() and flambeau.equal(a, b)


def test_a_subclass_of_tensor_dataset_keeps_its_samples():
    class Doubled(TensorDataset):
        def __getitem__(self, index):
            return super().__getitem__(index)[0] * 2

    (batch,) = DataLoader(Doubled(flambeau.arange(3)), batch_size=3)
    assert batch.tolist() == [0, 2, 4]


def test_concat_dataset_indexes_through_its_parts():
    joined = Squares(3) + Squares(2)
    assert isinstance(joined, ConcatDataset)
    assert [joined[i] for i in range(len(joined))] == [0, 1, 4, 0, 1]
    assert joined[-1] == 1 and joined[-5] == 0
    assert joined.cumulative_sizes == [3, 5]
    with pytest.raises(ValueError, match="absolute value of index should not exceed dataset length"):
        joined[-6]
    with pytest.raises(AssertionError, match="should not be an empty iterable"):
        ConcatDataset([])
    with pytest.raises(AssertionError, match="does not support IterableDataset"):
        ConcatDataset([Squares(), Stream(1)])
    with pytest.warns(FutureWarning, match="renamed"):
        assert joined.cummulative_sizes == [3, 5]


def test_chain_dataset_runs_through_its_parts():
    chained = Stream(1, 2) + Stream(3)
    assert isinstance(chained, ChainDataset)
    assert list(chained) == [1, 2, 3] and len(chained) == 3
    with pytest.raises(AssertionError, match="only supports IterableDataset"):
        list(ChainDataset([Squares()]))


def test_stack_dataset_gives_tuples_or_dicts():
    assert StackDataset(Squares(), Squares())[2] == (4, 4)
    by_name = StackDataset(a=Squares(3), b=InBatches(3))
    assert by_name[2] == {"a": 4, "b": 4}
    assert by_name.__getitems__([1, 2]) == [{"a": 1, "b": -1}, {"a": 4, "b": -2}]
    assert StackDataset(Squares(3), InBatches(3)).__getitems__([2, 1]) == [(4, -2), (1, -1)]
    for wrong in (lambda: StackDataset(), lambda: StackDataset(Squares(), x=Squares())):
        with pytest.raises(ValueError):
            wrong()
    with pytest.raises(ValueError, match="Size mismatch between datasets"):
        StackDataset(Squares(2), Squares(3))


def test_subset_uses_batched_access_where_there_is_one():
    dataset = InBatches(10)
    assert Subset(dataset, [5, 6, 7]).__getitems__([0, 2]) == [-5, -7]
    assert dataset.calls == 1
    assert Subset(Squares(), [3, 1])[1] == 1

    class HalfOverridden(Subset):
        def __getitem__(self, idx):
            return 0

    with pytest.raises(NotImplementedError, match="overrides __getitem__ but not __getitems__"):
        HalfOverridden(Squares(), [0])


def test_random_split_picks_what_pytorch_picks():
    flambeau.manual_seed(0)
    assert [part.indices for part in random_split(range(10), [3, 7])] == [[4, 1, 7], [5, 3, 9, 0, 8, 6, 2]]
    generator = flambeau.Generator().manual_seed(42)
    parts = random_split(range(10), [0.3, 0.3, 0.4], generator=generator)
    assert [part.indices for part in parts] == [[2, 6, 1], [8, 4, 5], [0, 9, 3, 7]]


def test_random_split_deals_out_remainders_and_checks_lengths():
    assert [len(part) for part in random_split(range(11), [0.5, 0.25, 0.25])] == [6, 3, 2]
    with pytest.raises(ValueError, match="Sum of input lengths does not equal"):
        random_split(range(5), [1, 2])
    with pytest.raises(ValueError, match="Fraction at index 0 is not between 0 and 1"):
        random_split(range(5), [-0.5, 1.5])
    with pytest.warns(UserWarning, match="Length of split at index 1 is 0"):
        random_split(range(1), [0.9, 0.1])


def test_base_classes_ask_to_be_overridden():
    with pytest.raises(NotImplementedError, match="should implement __getitem__"):
        Dataset()[0]
    with pytest.raises(TypeError):
        len(Dataset())
