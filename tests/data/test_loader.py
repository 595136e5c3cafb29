"""The DataLoader in one process: arguments, order, lengths, warnings."""

from __future__ import annotations

import multiprocessing
import warnings

import pytest

import flambeau
from flambeau.utils.data import BatchSampler, DataLoader, IterableDataset, RandomSampler, SequentialSampler


class Stream(IterableDataset):
    def __init__(self, count, claimed=None):
        self.count, self.claimed = count, count if claimed is None else claimed

    def __iter__(self):
        return iter(range(self.count))

    def __len__(self):
        return self.claimed


def batches(*args, **kwargs):
    return [batch.tolist() for batch in DataLoader(*args, **kwargs)]


def test_batches():
    assert batches(range(5), batch_size=2) == [[0, 1], [2, 3], [4]]
    assert batches(range(5), batch_size=2, drop_last=True) == [[0, 1], [2, 3]]
    assert batches(range(3), batch_sampler=[[2, 0], [1]]) == [[2, 0], [1]]
    assert batches(range(5), batch_size=2, sampler=[4, 0, 2]) == [[4, 0], [2]]
    assert list(DataLoader(range(3), batch_size=None)) == [0, 1, 2]
    assert list(DataLoader(range(4), batch_size=2, collate_fn=sum)) == [1, 5]
    assert list(DataLoader([10, 20], batch_size=None, sampler=[1, 0])) == [20, 10]


def test_streams():
    assert batches(Stream(5), batch_size=2) == [[0, 1], [2, 3], [4]]
    assert batches(Stream(5), batch_size=2, drop_last=True) == [[0, 1], [2, 3]]
    assert list(DataLoader(Stream(2), batch_size=None)) == [0, 1]


def test_lengths():
    assert len(DataLoader(range(5), batch_size=2)) == 3
    assert len(DataLoader(range(5), batch_size=2, drop_last=True)) == 2
    assert len(DataLoader(Stream(5), batch_size=2)) == 3
    assert len(DataLoader(Stream(5), batch_size=2, drop_last=True)) == 2
    assert len(DataLoader(range(5), batch_size=None)) == 5
    assert len(iter(DataLoader(range(5), batch_size=2))) == 3


def test_a_stream_longer_than_it_said_is_reported():
    loader = DataLoader(Stream(3, claimed=1), batch_size=None)
    assert len(loader) == 1
    with pytest.warns(UserWarning, match="was reported to be 1.*but [23] samples have been fetched"):
        assert list(loader) == [0, 1, 2]


def test_shuffling_with_a_generator_repeats_itself():
    def order():
        generator = flambeau.Generator().manual_seed(3)
        return batches(range(8), batch_size=8, shuffle=True, generator=generator)

    orders = [order(), order()]
    assert orders[0] == orders[1] and orders[0] != [list(range(8))]


def test_attributes_and_defaults():
    loader = DataLoader(range(4))
    assert (loader.batch_size, loader.num_workers, loader.drop_last, loader.timeout) == (1, 0, False, 0)
    assert isinstance(loader.sampler, SequentialSampler) and isinstance(loader.batch_sampler, BatchSampler)
    assert loader.prefetch_factor is None and DataLoader(range(4), num_workers=1).prefetch_factor == 2
    assert isinstance(DataLoader(range(4), shuffle=True).sampler, RandomSampler)
    for name in ("batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers"):
        with pytest.raises(ValueError, match=f"{name} attribute should not be set after DataLoader is initialized"):
            setattr(loader, name, None)
    loader.num_workers = 1
    assert loader.num_workers == 1


@pytest.mark.parametrize(
    "options, text",
    [
        ({"num_workers": -1}, "num_workers option should be non-negative"),
        ({"timeout": -1}, "timeout option should be non-negative"),
        ({"prefetch_factor": 2}, "prefetch_factor option could only be specified in multiprocessing"),
        ({"num_workers": 1, "prefetch_factor": -1}, "prefetch_factor option should be non-negative"),
        ({"persistent_workers": True}, "persistent_workers option needs num_workers > 0"),
        ({"sampler": [0], "shuffle": True}, "sampler option is mutually exclusive with shuffle"),
        ({"batch_sampler": [[0]], "batch_size": 2}, "batch_sampler option is mutually exclusive"),
        ({"batch_sampler": [[0]], "drop_last": True}, "batch_sampler option is mutually exclusive"),
        ({"batch_size": None, "drop_last": True}, "batch_size=None option disables auto-batching"),
        ({"batch_size": 0}, "batch_size should be a positive integer value, but got batch_size=0"),
        ({"multiprocessing_context": "fork"}, "multiprocessing_context can only be used with multi-process loading"),
        ({"num_workers": 1, "multiprocessing_context": "bogus"}, "should specify a valid start method in"),
    ],
)
def test_arguments_that_exclude_one_another(options, text):
    with pytest.raises(ValueError, match=text):
        DataLoader(range(4), **options)


@pytest.mark.parametrize("options", [{"shuffle": True}, {"sampler": [0]}, {"batch_sampler": [[0]]}])
def test_streams_take_no_samplers(options):
    (name,) = options
    with pytest.raises(ValueError, match=f"DataLoader with IterableDataset: expected unspecified {name} option"):
        DataLoader(Stream(3), **options)


def test_contexts():
    context = multiprocessing.get_context("spawn")
    assert DataLoader(range(1), num_workers=1, multiprocessing_context=context).multiprocessing_context is context
    assert DataLoader(range(1), num_workers=1, multiprocessing_context="thread").multiprocessing_context == "thread"
    with pytest.raises(TypeError, match="should be a valid context object or a string"):
        DataLoader(range(1), num_workers=1, multiprocessing_context=3)


def test_pinning_warns_and_works():
    with pytest.warns(UserWarning, match="'pin_memory' argument is set as true but no accelerator is found"):
        assert [b.item() for b in DataLoader(range(2), pin_memory=True)] == [0, 1]
    with pytest.warns(UserWarning, match="pin_memory_device is deprecated"):
        with pytest.warns(UserWarning, match="no accelerator is found"):
            next(iter(DataLoader(range(2), pin_memory=True, pin_memory_device="cuda")))


def test_too_many_workers_are_reported():
    with pytest.warns(UserWarning, match="This DataLoader will create 10000 worker processes in total"):
        DataLoader(range(1), num_workers=10000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        DataLoader(range(1), num_workers=1)


def test_old_module_paths():
    from flambeau.utils.data import dataloader, dataset, distributed, sampler
    from flambeau.utils.data._utils.collate import default_collate

    assert dataloader.DataLoader is DataLoader and dataloader.default_collate is default_collate
    assert sampler.BatchSampler is BatchSampler and dataset.IterableDataset is IterableDataset
    assert distributed.DistributedSampler.__name__ == "DistributedSampler"


def test_an_error_in_the_dataset_is_raised_as_it_is():
    with pytest.raises(ZeroDivisionError):
        list(DataLoader([1, 0], collate_fn=lambda batch: 1 // batch[0]))
