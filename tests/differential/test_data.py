"""utils.data beside PyTorch's: orders, seeds, batches and errors over many combinations of arguments."""

from __future__ import annotations

import collections
import itertools
import random

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch.utils.data as theirs  # noqa: E402

import flambeau  # noqa: E402
import flambeau.utils.data as ours  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")

SIDES = [(flambeau, ours), (torch, theirs)]
Point = collections.namedtuple("Point", ["x", "y"])


def both(function, seed=0):
    """Call a function with each library, seeded alike, and assert that values (or errors) and random states agree."""
    found = []
    for library, data in SIDES:
        library.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        try:
            value = plain(function(library, data))
        except Exception as error:
            value = (type(error).__name__, str(error).split("\n")[0])
        found.append((value, library.rand(1).item()))
    assert found[0] == found[1]
    return found[0][0]


def plain(value):
    """Nested results without the libraries' own types, but with their dtypes."""
    if hasattr(value, "tolist") and hasattr(value, "dtype"):
        return str(value.dtype), tuple(value.shape), value.tolist()
    if isinstance(value, dict):
        return type(value).__name__, {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, collections.deque)):
        return type(value).__name__, [plain(item) for item in value]
    return value


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("batch_size", [1, 3, None])
def test_map_style_epochs(workers, shuffle, drop_last, batch_size):
    def epochs(library, data):
        loader = data.DataLoader(
            range(11), batch_size=batch_size, shuffle=shuffle, drop_last=drop_last, num_workers=workers
        )
        return [list(loader), len(loader), list(loader)]

    both(epochs)


def stream_class(data, count):
    class Stream(data.IterableDataset):
        def __iter__(self):
            info = data.get_worker_info()
            first, step = (0, 1) if info is None else (info.id, info.num_workers)
            return iter(range(first, count, step))

        def __len__(self):
            return count

    return Stream()


@pytest.mark.parametrize("count, workers", list(itertools.product([0, 1, 5, 13], [0, 1, 2, 3])))
@pytest.mark.parametrize("options", [{"batch_size": 2}, {"batch_size": 4, "drop_last": True}, {"batch_size": None}])
def test_sharded_streams(count, workers, options):
    def epochs(library, data):
        found = []
        for persistent in {False, workers > 0}:
            loader = data.DataLoader(
                stream_class(data, count), num_workers=workers, persistent_workers=persistent, **options
            )
            found.append([list(loader), list(loader), len(loader)])
        return found

    both(epochs)


SAMPLERS = {
    "random": lambda d, g: d.RandomSampler(range(37), generator=g),
    "short": lambda d, g: d.RandomSampler(range(37), num_samples=5, generator=g),
    "long": lambda d, g: d.RandomSampler(range(7), num_samples=30, generator=g),
    "replacement": lambda d, g: d.RandomSampler(range(9), replacement=True, num_samples=70, generator=g),
    "replacement 64": lambda d, g: d.RandomSampler(range(9), replacement=True, num_samples=64, generator=g),
    "subset": lambda d, g: d.SubsetRandomSampler(list(range(3, 20)), generator=g),
    "weighted": lambda d, g: d.WeightedRandomSampler([0.1, 3.0, 0.5, 1.0, 0.0], 40, generator=g),
    "weighted once": lambda d, g: d.WeightedRandomSampler([0.1, 3.0, 0.5, 1.0, 0.2], 5, replacement=False, generator=g),
}


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("seed", [0, 7])
def test_samplers(name, own, seed):
    def epochs(library, data):
        generator = library.Generator().manual_seed(seed + 1) if own else None
        sampler = SAMPLERS[name](data, generator)
        return [list(sampler), list(sampler), len(sampler)]

    both(epochs, seed)


@pytest.mark.parametrize("count, replicas", list(itertools.product([1, 2, 10, 11], [1, 2, 3, 4])))
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("drop_last", [False, True])
def test_distributed_sampler(count, replicas, shuffle, drop_last):
    def shares(library, data):
        found = []
        for rank in range(replicas):
            sampler = data.DistributedSampler(range(count), replicas, rank, shuffle, seed=3, drop_last=drop_last)
            for epoch in (0, 1):
                sampler.set_epoch(epoch)
                found.append([list(sampler), len(sampler)])
        return found

    both(shares)


@pytest.mark.parametrize("lengths", [[3, 7], [10], [0.5, 0.5], [0.33, 0.33, 0.34], [0.25] * 4, [5, 4], [1.5, -0.5]])
def test_random_split(lengths):
    both(lambda library, data: [part.indices for part in data.random_split(range(10), lengths)])


def test_worker_seeds():
    def draws(library, data):
        class Draws(data.Dataset):
            def __len__(self):
                return 9

            def __getitem__(self, index):
                info = data.get_worker_info()
                return library.rand(2).tolist(), random.random(), float(np.random.rand()), info.seed, info.id

        loader = data.DataLoader(Draws(), batch_size=None, num_workers=3)
        return [list(loader), list(loader)]

    both(draws)


BATCHES = {
    "ints": lambda lib: [1, 2, 3],
    "floats": lambda lib: [1.5, 2.0],
    "bools": lambda lib: [True, False],
    "mixed": lambda lib: [1, 2.5],
    "numpy scalars": lambda lib: [np.float32(1), np.float32(2)],
    "numpy doubles": lambda lib: [np.float64(1), np.float64(2)],
    "numpy ints": lambda lib: [np.int16(1), np.int16(2)],
    "numpy bools": lambda lib: [np.bool_(True), np.bool_(False)],
    "arrays": lambda lib: [np.ones((2, 3), np.uint8), np.zeros((2, 3), np.uint8)],
    "zero-d arrays": lambda lib: [np.array(3), np.array(4)],
    "string arrays": lambda lib: [np.array(["a"]), np.array(["b"])],
    "tensors": lambda lib: [lib.ones(2), lib.zeros(2)],
    "unequal": lambda lib: [lib.ones(2), lib.zeros(3)],
    "strings": lambda lib: ["a", "b"],
    "bytes": lambda lib: [b"a", b"b"],
    "tuples": lambda lib: [(1, "a"), (2, "b")],
    "lists": lambda lib: [[1, 2.0], [3, 4.0]],
    "ragged": lambda lib: [[1], [1, 2]],
    "dicts": lambda lib: [{"a": 1, "b": [2.0]}, {"a": 3, "b": [4.0]}],
    "ordered": lambda lib: [collections.OrderedDict(a=1), collections.OrderedDict(a=2)],
    "defaultdict": lambda lib: [collections.defaultdict(int, a=1)],
    "namedtuple": lambda lib: [Point(1, lib.ones(2)), Point(2, lib.ones(2))],
    "deque": lambda lib: [collections.deque([1, 2]), collections.deque([3, 4])],
    "ranges": lambda lib: [range(2), range(2)],
    "nested": lambda lib: [{"a": [Point(1, (np.ones(2), "x"))]}],
    "none": lambda lib: [None, None],
    "sets": lambda lib: [{1}, {2}],
    "objects": lambda lib: [object()],
}


@pytest.mark.parametrize("name", BATCHES)
def test_default_collate(name):
    both(lambda library, data: data.default_collate(BATCHES[name](library)))


@pytest.mark.parametrize("name", [name for name in BATCHES if name not in ("objects", "string arrays")])
def test_default_convert(name):
    both(lambda library, data: [data.default_convert(sample) for sample in BATCHES[name](library)])


VALUES = {
    "batch_size": [2, 0, None, -1],
    "shuffle": [True],
    "sampler": [[1, 0]],
    "batch_sampler": [[[0], [1]]],
    "num_workers": [-1],
    "drop_last": [True],
    "timeout": [-1, 1],
    "prefetch_factor": [2],
    "persistent_workers": [True],
    "multiprocessing_context": ["fork"],
}


@pytest.mark.parametrize("names", [c for n in (1, 2, 3) for c in itertools.combinations(VALUES, n)], ids=",".join)
def test_which_arguments_go_together(names):
    def outcomes(library, data):
        found = []
        for dataset in (range(3), stream_class(data, 3)):
            for values in itertools.product(*(VALUES[name] for name in names)):
                try:
                    found.append(list(data.DataLoader(dataset, **dict(zip(names, values)))))
                except (ValueError, TypeError, AssertionError) as error:
                    found.append((type(error).__name__, str(error).split("Stream object")[0]))
        return found

    both(outcomes)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("error", [ValueError("bad"), KeyError("bad"), IndexError("bad"), NotImplementedError()])
def test_errors_in_workers(workers, error):
    def outcome(library, data):
        class Failing(data.Dataset):
            def __len__(self):
                return 6

            def __getitem__(self, index):
                if index == 3:
                    raise error
                return index

        found = []
        iterator = iter(data.DataLoader(Failing(), batch_size=2, num_workers=workers))
        while True:
            try:
                found.append(next(iterator))
            except StopIteration:
                return found
            except Exception as raised:
                found.append((type(raised).__name__, str(raised).split("\n")[0], str(raised).rstrip().split("\n")[-1]))

    both(outcome)
