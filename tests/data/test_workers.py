"""Loader workers: the same batches whatever their number and kind, errors, seeds, shared memory."""

from __future__ import annotations

import os
import random
import time
from collections import namedtuple
from dataclasses import dataclass

import numpy as np
import pytest

import flambeau
from flambeau.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, default_collate, get_worker_info

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")

KINDS = ["fork", "thread"]
Pair = namedtuple("Pair", ["left", "right"])


@dataclass
class Record:
    values: flambeau.Tensor
    names: list


class Images(Dataset):
    def __len__(self):
        return 23

    def __getitem__(self, index):
        return flambeau.full((3, 16, 16), float(index)), index


class Failing(Dataset):
    def __init__(self, error, at=5):
        self.error, self.at = error, at

    def __len__(self):
        return 12

    def __getitem__(self, index):
        if index == self.at:
            raise self.error
        return index


class Sharded(IterableDataset):
    def __init__(self, count):
        self.count = count

    def __iter__(self):
        info = get_worker_info()
        first, step = (0, 1) if info is None else (info.id, info.num_workers)
        return iter(range(first, self.count, step))


def values(loader):
    return [batch.tolist() if isinstance(batch, flambeau.Tensor) else batch for batch in loader]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_the_number_of_workers_changes_nothing(workers, kind):
    def epoch(**options):
        flambeau.manual_seed(5)
        loader = DataLoader(Images(), batch_size=4, shuffle=True, **options)
        seen = [(x.mean((1, 2, 3)).tolist(), y.tolist()) for x, y in loader]
        return seen, flambeau.rand(1).item()

    assert epoch(num_workers=workers, multiprocessing_context=kind) == epoch()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"prefetch_factor": 1}, {"prefetch_factor": 7}, {"persistent_workers": True}])
def test_epoch_after_epoch(kind, options):
    loader = DataLoader(range(20), batch_size=3, num_workers=2, multiprocessing_context=kind, **options)
    plain = values(DataLoader(range(20), batch_size=3))
    for _ in range(3):
        assert values(loader) == plain
    next(iter(loader))  # an epoch left early
    assert values(loader) == plain


def test_persistent_workers_are_the_same_processes():
    class Pid(Dataset):
        def __len__(self):
            return 4

        def __getitem__(self, index):
            return os.getpid()

    loader = DataLoader(Pid(), num_workers=2, persistent_workers=True)
    first = {b.item() for b in loader}
    assert {b.item() for b in loader} == first and os.getpid() not in first and len(first) == 2
    fresh = DataLoader(Pid(), num_workers=2)
    assert {b.item() for b in fresh}.isdisjoint({b.item() for b in fresh})


# Recorded from PyTorch 2.13: which worker gets which task decides the order of a sharded stream.
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "count, workers, options, expected",
    [
        (7, 2, {"batch_size": 2}, [[0, 2], [1, 3], [4, 6], [5]]),
        (7, 2, {"batch_size": 2, "drop_last": True}, [[0, 2], [1, 3], [4, 6]]),
        (3, 3, {"batch_size": 2}, [[0], [1], [2]]),
        (1, 3, {"batch_size": 2}, [[0]]),
        (5, 2, {"batch_size": None}, [0, 1, 2, 3, 4]),
    ],
)
def test_sharded_streams(kind, count, workers, options, expected):
    loader = DataLoader(Sharded(count), num_workers=workers, multiprocessing_context=kind, **options)
    assert values(loader) == expected
    again = DataLoader(
        Sharded(count), num_workers=workers, multiprocessing_context=kind, persistent_workers=True, **options
    )
    assert values(again) == values(again) == expected


def test_out_of_order_batches_all_come():
    class Uneven(Dataset):
        def __len__(self):
            return 12

        def __getitem__(self, index):
            time.sleep(0.05 if index % 2 == 0 else 0)
            return index

    loader = DataLoader(Uneven(), batch_size=1, num_workers=2, in_order=False)
    seen = [b.item() for b in loader]
    assert sorted(seen) == list(range(12))


@pytest.mark.parametrize("kind", KINDS)
def test_a_worker_says_what_it_is(kind):
    class Info(Dataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            info = get_worker_info()
            return info.id, info.num_workers, info.seed, type(info.dataset).__name__, info.worker_method

    flambeau.manual_seed(1)
    base = flambeau.empty((), dtype=flambeau.int64).random_().item()
    flambeau.manual_seed(1)
    rows = list(DataLoader(Info(), batch_size=None, num_workers=2, multiprocessing_context=kind))
    method = "thread" if kind == "thread" else "multiprocessing"
    assert [tuple(row) for row in rows] == [(i, 2, base + i, "Info", method) for i in range(2)]
    assert get_worker_info() is None


def test_worker_seeds_are_pytorchs():
    class Draws(Dataset):
        def __len__(self):
            return 4

        def __getitem__(self, index):
            return flambeau.rand(1).item(), random.random(), float(np.random.rand())

    flambeau.manual_seed(0)
    rows = [tuple(row) for row in DataLoader(Draws(), batch_size=None, num_workers=2)]
    assert rows == [
        (0.7821398973464966, 0.21315340548154382, 0.8371640508861415),
        (0.6938178539276123, 0.7733861492043289, 0.6702704958690073),
        (0.053598999977111816, 0.2764485855185723, 0.38757835109739946),
        (0.29795897006988525, 0.1634220007200502, 0.07589687641367027),
    ]


def test_thread_workers_have_generators_of_their_own():
    class Draws(Dataset):
        def __len__(self):
            return 6

        def __getitem__(self, index):
            rng = get_worker_info().rng
            torch_draw = flambeau.rand(1, generator=rng.torch_generator).item()
            return torch_draw, rng.random_generator.random(), rng.numpy_generator.random()

    def epoch():
        flambeau.manual_seed(0)
        return [tuple(r) for r in DataLoader(Draws(), batch_size=None, num_workers=2, multiprocessing_context="thread")]

    rows = epoch()
    assert rows == epoch() and len(set(rows)) == 6
    assert rows[0][:2] == (0.7821398973464966, 0.21315340548154382)  # those of a worker process


@pytest.mark.parametrize("kind", KINDS)
def test_init_fn_runs_in_each_worker(kind):
    seen = []

    def start(worker_id):
        seen.append(worker_id)
        assert get_worker_info().id == worker_id

    loader = DataLoader(range(4), num_workers=2, worker_init_fn=start, multiprocessing_context=kind)
    assert len(list(loader)) == 4
    assert sorted(seen) == ([0, 1] if kind == "thread" else [])

    def broken(worker_id):
        raise LookupError("no such thing")

    with pytest.raises(LookupError, match="no such thing"):
        list(DataLoader(range(4), num_workers=2, worker_init_fn=broken, multiprocessing_context=kind))


# -- errors ----------------------------------------------------------------------------------------------------


class Odd(Exception):
    def __init__(self, one, two):
        super().__init__(one, two)


class WithMessage(Exception):
    message = "class level"

    def __init__(self, message=""):
        super().__init__(message)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "error, raised",
    [
        (ValueError("bad sample"), ValueError),
        (KeyError("bad sample"), KeyError),
        (Odd("bad sample", 2), RuntimeError),
        (WithMessage("bad sample"), WithMessage),
        (StopIteration("bad sample"), StopIteration),
    ],
)
def test_an_error_comes_with_its_traceback(kind, error, raised):
    loader = DataLoader(Failing(error), batch_size=2, num_workers=2, multiprocessing_context=kind)
    iterator = iter(loader)
    assert next(iterator).tolist() == [0, 1] and next(iterator).tolist() == [2, 3]
    with pytest.raises(raised) as caught:
        next(iterator)
    where = "thread" if kind == "thread" else "process"
    text = str(caught.value)
    assert text.startswith(f"Caught {type(error).__name__} in DataLoader worker {where} 0.\nOriginal Traceback")
    assert "raise self.error" in text and "bad sample" in text
    if raised is not StopIteration:
        assert next(iterator).tolist() == [6, 7]  # the others are not lost


def test_an_error_of_a_class_that_cannot_be_pickled_still_comes():
    class Local(Exception):
        pass

    with pytest.raises(RuntimeError, match="test_workers.*Local: bad sample"):
        list(DataLoader(Failing(Local("bad sample")), num_workers=1))


def test_a_batch_that_cannot_be_pickled_is_an_error():
    loader = DataLoader(range(2), num_workers=1, collate_fn=lambda batch: lambda: batch)
    with pytest.raises(Exception, match="Can't pickle local object|Can't get local object"):
        list(loader)


def test_tensors_with_history_are_refused():
    loader = DataLoader(range(2), num_workers=1, collate_fn=lambda b: flambeau.ones(2, requires_grad=True) * 2)
    with pytest.raises(RuntimeError, match="Cowardly refusing to serialize non-leaf tensor which requires_grad"):
        list(loader)


@pytest.mark.parametrize("kind", KINDS)
def test_timeout(kind):
    class Slow(Dataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            time.sleep(0.6)
            return index

    iterator = iter(DataLoader(Slow(), num_workers=1, timeout=0.1, multiprocessing_context=kind))
    with pytest.raises(RuntimeError, match=r"DataLoader timed out after 0\.1 seconds"):
        next(iterator)


def test_no_prefetching_is_refused_when_iterating():
    with pytest.raises(AssertionError, match="prefetch_factor must be greater than 0"):
        iter(DataLoader(range(2), num_workers=1, prefetch_factor=0))


# -- what travels ----------------------------------------------------------------------------------------------


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="needs /dev/shm")
def test_large_batches_arrive_intact_and_leave_nothing_behind():
    before = set(os.listdir("/dev/shm"))
    rng = np.random.default_rng(0)
    data = TensorDataset(
        flambeau.from_numpy(rng.normal(size=(40, 3, 32, 32)).astype(np.float32)),
        flambeau.from_numpy(rng.integers(0, 9, size=(40, 700))),
    )
    kept = list(DataLoader(data, batch_size=16, num_workers=2))
    assert set(os.listdir("/dev/shm")) == before
    for got, plain in zip(kept, DataLoader(data, batch_size=16), strict=True):
        for a, b in zip(got, plain, strict=True):
            assert flambeau.equal(a, b) and a.dtype is b.dtype and a.stride() == b.stride()
        got[0].mul_(2)  # the memory belongs to the batch: it can be written
        assert flambeau.equal(got[0], plain[0] * 2)


def test_every_kind_of_batch_travels():
    big = np.arange(5000.0)

    def batch(index):
        tensor = flambeau.arange(6.0).reshape(2, 3)
        return {
            "pair": Pair(tensor, "text"),
            "record": Record(flambeau.ones(3000), ["a", "b"]),
            "transposed": flambeau.arange(5000.0).reshape(50, 100).t(),
            "strided": flambeau.arange(10000.0)[::2],
            "expanded": flambeau.tensor([1.0]).expand(2000),
            "empty": flambeau.zeros(0, 3),
            "scalar": flambeau.tensor(7),
            "half": flambeau.ones(5000, dtype=flambeau.bfloat16),
            "mask": flambeau.ones(5000) > 0,
            "parameter": flambeau.ones(3, requires_grad=True),
            "array": big,
            "bytes": b"x" * 100_000,
            "nothing": None,
        }

    (got,) = DataLoader([0], batch_size=None, num_workers=1, collate_fn=batch)
    plain = batch(0)
    assert type(got["pair"]) is Pair and flambeau.equal(got["pair"].left, plain["pair"].left)
    assert got["record"].names == ["a", "b"] and got["record"].values.sum().item() == 3000
    for name in ("transposed", "strided", "expanded", "empty", "scalar", "half", "mask", "parameter"):
        a, b = got[name], plain[name]
        assert a.dtype is b.dtype and a.shape == b.shape and flambeau.equal(a, b), name
        assert a.requires_grad == b.requires_grad
    assert got["transposed"].stride() == (1, 100)
    assert np.array_equal(got["array"], big) and got["bytes"] == plain["bytes"] and got["nothing"] is None
    got["array"][0] = 5  # writable, as the loader's own


def test_numbers_in_workers_are_computed_on_one_thread():
    (count,) = DataLoader([0], batch_size=None, num_workers=1, collate_fn=lambda _: flambeau.get_num_threads())
    assert count == 1


def test_iterators_cannot_be_pickled():
    import pickle

    with pytest.raises(NotImplementedError):
        pickle.dumps(iter(DataLoader(range(2))))


def test_collate_fn_may_use_the_default_one():
    loader = DataLoader(range(4), batch_size=2, num_workers=2, collate_fn=lambda b: default_collate([2 * x for x in b]))
    assert values(loader) == [[0, 2], [4, 6]]
