"""DataLoader: batches of a dataset, in a chosen order, prepared here or by workers.

The order of random draws (base seed, shuffle seed) is PyTorch's, so that one seed gives one shuffling.
"""

from __future__ import annotations

import itertools
import math
import multiprocessing
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.context import BaseContext
from typing import Any, Generic, TypeVar

from flambeau.random import Generator
from flambeau.utils.data._utils.collate import default_collate, default_convert
from flambeau.utils.data._utils.fetch import create_fetcher
from flambeau.utils.data._utils.pool import Pool, ProcessPool, ThreadPool
from flambeau.utils.data._utils.worker import (
    ExceptionWrapper,
    Resume,
    StreamEnd,
    WorkerInfo,
    WorkerJob,
    get_worker_info,
)
from flambeau.utils.data.dataset import Dataset, IterableDataset
from flambeau.utils.data.sampler import BatchSampler, RandomSampler, Sampler, SequentialSampler, draw_seed

__all__ = ["DataLoader", "WorkerInfo", "default_collate", "default_convert", "get_worker_info"]

T_co = TypeVar("T_co", covariant=True)

THREAD = "thread"

_FIXED_ATTRIBUTES = frozenset(["batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers"])


class _DatasetKind:
    Map = 0
    Iterable = 1


class _InfiniteConstantSampler(Sampler):
    """The sampler of an iterable dataset, which has no indices: None for ever."""

    def __iter__(self) -> Iterator[None]:
        return itertools.repeat(None)


class DataLoader(Generic[T_co]):
    """Iterates over a dataset in batches.

    Args:
        dataset: map-style (``__getitem__``, ``__len__``) or an :class:`IterableDataset`.
        batch_size: samples per batch; None turns batching off and yields single samples.
        shuffle: visit the samples in a new random order each epoch.
        sampler: any iterable of indices, instead of `shuffle`.
        batch_sampler: any iterable of lists of indices, instead of all the above and `drop_last`.
        num_workers: how many workers prepare batches; 0 prepares them in this process.
        collate_fn: makes a batch of a list of samples; :func:`default_collate` by default.
        pin_memory: accepted; without an accelerator it only warns.
        drop_last: leave out a last batch that is not full.
        timeout: seconds to wait for a batch from workers; 0 waits for ever.
        worker_init_fn: called in each worker with its number, after seeding.
        multiprocessing_context: "fork", "spawn", "forkserver", a context, or "thread" for threads that
            share the dataset (and the global random generators) with this process.
        generator: source of the shuffle's and the workers' seeds, by default the global generator.
        prefetch_factor: batches that each worker prepares ahead, 2 by default.
        persistent_workers: keep the workers for the next epoch.
        pin_memory_device: deprecated.
        in_order: False hands batches out as they get ready.

    Batches come in the same order and with the same samples whatever `num_workers` is. Worker ``i`` seeds
    flambeau and `random` with ``base_seed + i``, and NumPy with a mixture of the two, as PyTorch does.
    Large arrays come from worker processes through shared memory. An exception in a worker is raised here
    with its traceback; a worker that dies raises RuntimeError at once.

    Raises ValueError for arguments that exclude one another.

    >>> from flambeau.utils.data import DataLoader
    >>> for batch in DataLoader(range(5), batch_size=2):
    ...     print(batch)
    tensor([0, 1])
    tensor([2, 3])
    tensor([4])
    """

    dataset: Dataset[T_co]
    batch_size: int | None
    num_workers: int
    pin_memory: bool
    drop_last: bool
    timeout: float
    sampler: Sampler | Iterable
    pin_memory_device: str
    prefetch_factor: int | None
    __initialized = False

    def __init__(
        self,
        dataset: Dataset[T_co],
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Sampler | Iterable | None = None,
        batch_sampler: Sampler[list] | Iterable[list] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[list], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], Any] | None = None,
        multiprocessing_context: str | BaseContext | None = None,
        generator: Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        _check_worker_options(num_workers, timeout, prefetch_factor, persistent_workers)
        if num_workers > 0 and prefetch_factor is None:
            prefetch_factor = 2
        self.dataset = dataset
        self.num_workers = num_workers
        self.prefetch_factor = prefetch_factor
        self.pin_memory = pin_memory
        self.pin_memory_device = pin_memory_device
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.multiprocessing_context = multiprocessing_context
        self.in_order = in_order

        if isinstance(dataset, IterableDataset):
            self._dataset_kind = _DatasetKind.Iterable
            _check_iterable_options(shuffle, sampler, batch_sampler)
        else:
            self._dataset_kind = _DatasetKind.Map
        _check_batch_options(batch_size, bool(shuffle), sampler, batch_sampler, drop_last)
        if batch_sampler is not None:
            batch_size, drop_last = None, False
        if sampler is None:
            sampler = self._default_sampler(dataset, bool(shuffle), generator)
        if batch_size is not None and batch_sampler is None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.sampler = sampler
        self.batch_sampler = batch_sampler
        self.generator = generator
        self.collate_fn = collate_fn or (default_collate if self._auto_collation else default_convert)
        self.persistent_workers = persistent_workers
        self.__initialized = True
        self._IterableDataset_len_called: int | None = None
        self._iterator: _BaseDataLoaderIter | None = None
        self.check_worker_number_rationality()

    def _default_sampler(self, dataset: Any, shuffle: bool, generator: Generator | None) -> Sampler:
        if self._dataset_kind == _DatasetKind.Iterable:
            return _InfiniteConstantSampler()
        return RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)

    @property
    def multiprocessing_context(self) -> BaseContext | str | None:
        return self.__multiprocessing_context

    @multiprocessing_context.setter
    def multiprocessing_context(self, context: BaseContext | str | None) -> None:
        if context is not None:
            context = _checked_context(context, self.num_workers)
        self.__multiprocessing_context = context

    def __setattr__(self, name: str, value: Any) -> None:
        if self.__initialized and name in _FIXED_ATTRIBUTES:
            raise ValueError(f"{name} attribute should not be set after {self.__class__.__name__} is initialized")
        super().__setattr__(name, value)

    def _get_iterator(self) -> _BaseDataLoaderIter:
        if self.num_workers == 0:
            return _SingleProcessDataLoaderIter(self)
        self.check_worker_number_rationality()
        return _MultiProcessingDataLoaderIter(self)

    def __iter__(self) -> _BaseDataLoaderIter:
        if not (self.persistent_workers and self.num_workers > 0):
            return self._get_iterator()
        if self._iterator is None:
            self._iterator = self._get_iterator()
        else:
            self._iterator._reset(self)
        return self._iterator

    @property
    def _auto_collation(self) -> bool:
        return self.batch_sampler is not None

    @property
    def _index_sampler(self) -> Any:
        return self.batch_sampler if self._auto_collation else self.sampler

    def __len__(self) -> int:
        """Return the number of batches; of an iterable dataset, an estimate from its ``__len__``."""
        if self._dataset_kind == _DatasetKind.Map:
            return len(self._index_sampler)
        length = self._IterableDataset_len_called = len(self.dataset)  # type: ignore[arg-type]
        if self.batch_size is None:
            return length
        return length // self.batch_size if self.drop_last else math.ceil(length / self.batch_size)

    def check_worker_number_rationality(self) -> None:
        """Warn where there are more workers than processors to run them."""
        if not self.num_workers:
            return
        affinity = hasattr(os, "sched_getaffinity")
        limit = len(os.sched_getaffinity(0)) if affinity else os.cpu_count()
        if limit is not None and self.num_workers <= limit:
            return
        if limit is None:
            advice = "DataLoader is not able to compute a suggested max number of worker in current system."
        else:
            hedge = "" if affinity else " (`cpuset` is not taken into account)"
            advice = (
                f"Our suggested max number of worker in current system is {limit}{hedge}, which is smaller "
                "than what this DataLoader is going to create."
            )
        warnings.warn(
            f"This DataLoader will create {self.num_workers} worker processes in total. {advice} "
            "Please be aware that excessive worker creation might get DataLoader running slow or even "
            "freeze, lower the worker number to avoid potential slowness/freeze if necessary.",
            stacklevel=2,
        )


def _check_worker_options(
    num_workers: int, timeout: float, prefetch_factor: int | None, persistent_workers: bool
) -> None:
    if num_workers < 0:
        raise ValueError("num_workers option should be non-negative; use num_workers=0 to disable multiprocessing.")
    if timeout < 0:
        raise ValueError("timeout option should be non-negative")
    if num_workers == 0 and prefetch_factor is not None:
        raise ValueError(
            "prefetch_factor option could only be specified in multiprocessing."
            "let num_workers > 0 to enable multiprocessing, otherwise set prefetch_factor to None."
        )
    if prefetch_factor is not None and prefetch_factor < 0:
        raise ValueError("prefetch_factor option should be non-negative")
    if persistent_workers and num_workers == 0:
        raise ValueError("persistent_workers option needs num_workers > 0")


def _check_iterable_options(shuffle: bool | None, sampler: Any, batch_sampler: Any) -> None:
    # Said before anything about samplers, as no sampler option can work with an iterable dataset.
    if shuffle not in {False, None}:
        raise ValueError(
            f"DataLoader with IterableDataset: expected unspecified shuffle option, but got shuffle={shuffle}"
        )
    for name, value in (("sampler", sampler), ("batch_sampler", batch_sampler)):
        if value is not None:
            raise ValueError(
                f"DataLoader with IterableDataset: expected unspecified {name} option, but got {name}={value}"
            )


def _check_batch_options(
    batch_size: int | None, shuffle: bool, sampler: Any, batch_sampler: Any, drop_last: bool
) -> None:
    if sampler is not None and shuffle:
        raise ValueError("sampler option is mutually exclusive with shuffle")
    if batch_sampler is not None:
        if batch_size != 1 or shuffle or sampler is not None or drop_last:
            raise ValueError(
                "batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and drop_last"
            )
    elif batch_size is None and drop_last:
        raise ValueError("batch_size=None option disables auto-batching and is mutually exclusive with drop_last")


def _checked_context(context: BaseContext | str, num_workers: int) -> BaseContext | str:
    if num_workers == 0:
        raise ValueError(
            "multiprocessing_context can only be used with multi-process loading (num_workers > 0), but got "
            f"num_workers={num_workers}"
        )
    if context == THREAD:
        return THREAD
    if isinstance(context, str):
        valid = multiprocessing.get_all_start_methods()
        if context not in valid:
            raise ValueError(
                f"multiprocessing_context option should specify a valid start method in {valid!r}, but got "
                f"multiprocessing_context={context!r}"
            )
        return multiprocessing.get_context(context)
    if not isinstance(context, BaseContext):
        raise TypeError(
            "multiprocessing_context option should be a valid context object or a string specifying the "
            f"start method, but got multiprocessing_context={context}"
        )
    return context


class _BaseDataLoaderIter:
    """One pass over a loader."""

    def __init__(self, loader: DataLoader) -> None:
        self._dataset = loader.dataset
        self._dataset_kind = loader._dataset_kind
        self._IterableDataset_len_called = loader._IterableDataset_len_called
        self._index_sampler = loader._index_sampler
        self._num_workers = loader.num_workers
        self._timeout = loader.timeout
        if loader.pin_memory:
            _warn_about_pinning(loader)
        self._sampler_iter = iter(self._index_sampler)
        self._base_seed = draw_seed(loader.generator)
        self._num_yielded = 0

    def __iter__(self) -> _BaseDataLoaderIter:
        return self

    def _reset(self, loader: DataLoader) -> None:
        self._sampler_iter = iter(self._index_sampler)
        self._num_yielded = 0
        self._IterableDataset_len_called = loader._IterableDataset_len_called

    def _next_data(self) -> Any:
        raise NotImplementedError

    def __next__(self) -> Any:
        data = self._next_data()
        self._num_yielded += 1
        limit = self._IterableDataset_len_called
        if self._dataset_kind == _DatasetKind.Iterable and limit is not None and self._num_yielded > limit:
            self._warn_about_length(limit)
        return data

    def _warn_about_length(self, limit: int) -> None:
        message = (
            f"Length of IterableDataset {self._dataset} was reported to be {limit}"
            f"(when accessing len(dataloader)), but {self._num_yielded} samples have been fetched. "
        )
        if self._num_workers > 0:
            message += (
                "For multiprocessing data-loading, this could be caused by not properly configuring the "
                "IterableDataset replica at each worker. Please see "
                "https://pytorch.org/docs/stable/data.html#torch.utils.data.IterableDataset for examples."
            )
        warnings.warn(message, stacklevel=3)

    def __len__(self) -> int:
        return len(self._index_sampler)

    def __getstate__(self) -> None:
        raise NotImplementedError("{} cannot be pickled", self.__class__.__name__)


def _warn_about_pinning(loader: DataLoader) -> None:
    if loader.pin_memory_device:
        warnings.warn(
            "pin_memory_device is deprecated, the current accelerator will be used as the device,"
            f"ignore pin_memory_device='{loader.pin_memory_device}'.",
            stacklevel=5,
        )
    warnings.warn(
        "'pin_memory' argument is set as true but no accelerator is found, then device pinned memory won't be used.",
        stacklevel=5,
    )


class _SingleProcessDataLoaderIter(_BaseDataLoaderIter):
    """Prepares each batch when it is asked for."""

    def __init__(self, loader: DataLoader) -> None:
        super().__init__(loader)
        if self._timeout != 0:
            raise AssertionError("_SingleProcessDataLoaderIter requires timeout == 0")
        self._dataset_fetcher = create_fetcher(
            self._dataset, loader._auto_collation, loader.collate_fn, loader.drop_last
        )

    def _next_data(self) -> Any:
        return self._dataset_fetcher.fetch(next(self._sampler_iter))


class _MultiProcessingDataLoaderIter(_BaseDataLoaderIter):
    """Keeps workers busy with the next tasks, and hands out their answers in the order of the tasks.

    Tasks are numbered. `_waiting` maps the number of each task that was sent and not yet answered to its
    worker; `_early` holds the answers that came before their turn.
    """

    _pool: Pool | None = None

    def __init__(self, loader: DataLoader) -> None:
        super().__init__(loader)
        if loader.prefetch_factor is None or loader.prefetch_factor <= 0:
            raise AssertionError("prefetch_factor must be greater than 0 for MultiProcessingDataLoaderIter")
        self._prefetch_factor = loader.prefetch_factor
        self._persistent_workers = loader.persistent_workers
        self._in_order = loader.in_order
        jobs = [
            WorkerJob(
                self._dataset,
                loader._auto_collation,
                loader.collate_fn,
                loader.drop_last,
                self._base_seed,
                loader.worker_init_fn,
                worker_id,
                self._num_workers,
            )
            for worker_id in range(self._num_workers)
        ]
        context = loader.multiprocessing_context
        if context == THREAD:
            self._pool = ThreadPool(jobs)
        else:
            self._pool = ProcessPool(context or multiprocessing.get_context(), jobs)  # type: ignore[arg-type]
        self._start_epoch(loader)

    def _start_epoch(self, loader: DataLoader) -> None:
        super()._reset(loader)
        self._send_number = 0
        self._next_number = 0
        self._waiting: dict[int, int] = {}
        self._early: dict[int, Any] = {}
        self._active = [True] * self._num_workers
        self._load = [0] * self._num_workers
        self._cycle = itertools.cycle(range(self._num_workers))
        for _ in range(self._prefetch_factor * self._num_workers):
            self._send_task()

    def _reset(self, loader: DataLoader) -> None:
        """Start another epoch with the same workers."""
        assert self._pool is not None
        for worker_id in range(self._num_workers):
            self._pool.put(worker_id, Resume())
        resumed = 0
        while resumed < self._num_workers:  # answers to the last epoch's tasks, if it was left early, go by
            number, _ = self._get()
            resumed += isinstance(number, Resume)
        self._start_epoch(loader)

    def _get(self) -> tuple[Any, Any]:
        assert self._pool is not None
        try:
            return self._pool.get(self._timeout or None)
        except TimeoutError:
            raise RuntimeError(f"DataLoader timed out after {self._timeout} seconds") from None

    def _send_task(self) -> None:
        try:
            index = next(self._sampler_iter)
        except StopIteration:
            return
        worker_id = self._pick_worker()
        if worker_id is None:
            return
        assert self._pool is not None
        self._pool.put(worker_id, (self._send_number, index))
        self._waiting[self._send_number] = worker_id
        self._load[worker_id] += 1
        self._send_number += 1

    def _pick_worker(self) -> int | None:
        for _ in range(self._num_workers):
            worker_id = next(self._cycle)
            if not self._active[worker_id]:
                continue
            share = self._prefetch_factor * self._num_workers // sum(self._active)
            if self._in_order or self._load[worker_id] < share:
                return worker_id
        return None

    def _next_data(self) -> Any:
        while True:
            if self._next_number in self._early:
                worker_id, data = self._early.pop(self._next_number)
                self._next_number += 1
                return self._hand_out(worker_id, data)
            if not self._waiting and not self._early:
                if not self._persistent_workers:
                    self._shutdown_workers()
                raise StopIteration
            if self._in_order and self._next_number not in self._waiting:
                self._next_number += 1  # it was sent to a worker whose stream had ended
                continue
            number, data = self._get()
            worker_id = self._waiting.pop(number)
            if isinstance(data, StreamEnd):
                self._end_stream(worker_id)
                self._send_task()
            elif self._in_order and number != self._next_number:
                self._early[number] = (worker_id, data)
            else:
                self._next_number += self._in_order
                return self._hand_out(worker_id, data)

    def _end_stream(self, worker_id: int) -> None:
        """Forget the tasks that a worker with an exhausted stream will not answer."""
        assert self._pool is not None
        self._active[worker_id] = False
        self._waiting = {n: w for n, w in self._waiting.items() if w != worker_id}
        if not self._persistent_workers:
            self._pool.put(worker_id, None)

    def _hand_out(self, worker_id: int, data: Any) -> Any:
        self._load[worker_id] -= 1
        self._send_task()
        if isinstance(data, ExceptionWrapper):
            data.reraise()
        return data

    def _shutdown_workers(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def __del__(self) -> None:
        self._shutdown_workers()
