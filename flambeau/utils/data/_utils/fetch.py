"""Fetchers: from one index (or a list of them) to one batch, in the loader's process or in a worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flambeau.utils.data._utils.collate import default_collate
from flambeau.utils.data.dataset import Dataset, IterableDataset, Subset, TensorDataset


class _MapDatasetFetcher:
    """Looks samples up by index."""

    def __init__(self, dataset: Dataset, auto_collation: bool, collate_fn: Callable, drop_last: bool) -> None:
        self.dataset = dataset
        self.auto_collation = auto_collation
        self.collate_fn = collate_fn

    def fetch(self, index: Any) -> Any:
        if not self.auto_collation:
            return self.collate_fn(self.dataset[index])
        if self.collate_fn is default_collate and (source := _rows(self.dataset, index)):
            tensors, rows = source
            return [tensor[rows].contiguous() for tensor in tensors]
        if getattr(self.dataset, "__getitems__", None):
            return self.collate_fn(self.dataset.__getitems__(index))
        return self.collate_fn([self.dataset[i] for i in index])


def _rows(dataset: Dataset, indices: list) -> tuple[tuple, list] | None:
    """Return (tensors, row numbers) where samples are rows of tensors: one gather then makes the batch.

    It equals stacking the rows one by one. Only exact types count, as a subclass may change the samples.
    """
    while type(dataset) is Subset:
        indices = [dataset.indices[i] for i in indices]
        dataset = dataset.dataset
    if type(dataset) is not TensorDataset or not indices or not all(type(i) is int for i in indices):
        return None
    # A gather of tensors that require grad would be one node instead of a stack of selects.
    if any(tensor.requires_grad for tensor in dataset.tensors):
        return None
    return dataset.tensors, indices


class _IterableDatasetFetcher:
    """Draws the next samples from a stream; the indices only say how many."""

    def __init__(self, dataset: Dataset, auto_collation: bool, collate_fn: Callable, drop_last: bool) -> None:
        self.dataset_iter = iter(dataset)  # type: ignore[call-overload]
        self.auto_collation = auto_collation
        self.collate_fn = collate_fn
        self.drop_last = drop_last
        self.ended = False

    def fetch(self, index: Any) -> Any:
        if self.ended:
            raise StopIteration
        if not self.auto_collation:
            return self.collate_fn(next(self.dataset_iter))
        samples = []
        for _ in index:
            try:
                samples.append(next(self.dataset_iter))
            except StopIteration:
                self.ended = True
                break
        if not samples or (self.drop_last and len(samples) < len(index)):
            raise StopIteration
        return self.collate_fn(samples)


def create_fetcher(
    dataset: Dataset, auto_collation: bool, collate_fn: Callable, drop_last: bool
) -> _MapDatasetFetcher | _IterableDatasetFetcher:
    kind = _IterableDatasetFetcher if isinstance(dataset, IterableDataset) else _MapDatasetFetcher
    return kind(dataset, auto_collation, collate_fn, drop_last)
