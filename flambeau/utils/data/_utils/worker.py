"""What a loader worker does: seed, then fetch batch after batch until it is told to stop."""

from __future__ import annotations

import os
import random
import signal
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import connection, parent_process
from queue import SimpleQueue
from typing import Any, Protocol

import numpy as np

from flambeau.random import Generator, manual_seed, set_thread_generator
from flambeau.settings import set_num_threads
from flambeau.utils.data._utils import transfer
from flambeau.utils.data._utils.fetch import create_fetcher
from flambeau.utils.data.dataset import Dataset, IterableDataset

_PARENT_CHECK_INTERVAL = 2.0  # seconds
_PARENT_GONE = 1  # exit code


@dataclass(frozen=True)
class WorkerRNG:
    """Generators of a thread worker's own, as threads share the global ones."""

    random_generator: random.Random
    torch_generator: Generator
    numpy_generator: np.random.Generator


@dataclass(frozen=True)
class WorkerInfo:
    """What :func:`get_worker_info` returns inside a worker.

    `dataset` is the worker's own copy (for threads: the loader's dataset itself), `seed` is the base seed
    plus `id`, `rng` is set for thread workers only, `worker_method` is "multiprocessing" or "thread".
    """

    id: int
    num_workers: int
    seed: int
    dataset: Dataset
    rng: WorkerRNG | None = None
    worker_method: str = "multiprocessing"


_process_info: WorkerInfo | None = None
_thread_info = threading.local()


def get_worker_info() -> WorkerInfo | None:
    """Return what the calling loader worker is (id, num_workers, seed, dataset), or None outside workers."""
    return getattr(_thread_info, "value", None) or _process_info


class ExceptionWrapper:
    """An exception on its way to another process: its type and its formatted traceback."""

    def __init__(self, error: BaseException, where: str) -> None:
        self.exc_type: type[BaseException] = type(error)
        self.exc_msg = "".join(traceback.format_exception(error))
        self.where = where

    def without_type(self) -> ExceptionWrapper:
        """Return a wrapper that can be pickled even where the exception's class cannot."""
        plain = ExceptionWrapper.__new__(ExceptionWrapper)
        plain.exc_type, plain.where = RuntimeError, self.where
        plain.exc_msg = self.exc_msg
        return plain

    def reraise(self) -> None:
        """Raise the same type of exception here, with the original traceback in its message."""
        message = f"Caught {self.exc_type.__name__} {self.where}.\nOriginal {self.exc_msg}"
        if self.exc_type is KeyError:
            raise KeyError(_Verbatim(message))
        try:
            if getattr(self.exc_type, "message", None):
                error = self.exc_type(message=message)  # type: ignore[call-arg]
            else:
                error = self.exc_type(message)
        except Exception:  # a class of its own making, with a constructor that we cannot know
            raise RuntimeError(message) from None
        raise error


class _Verbatim(str):
    """KeyError shows the repr of its argument, which would hide the traceback's line ends."""

    def __repr__(self) -> str:
        return str(self)


@dataclass(frozen=True)
class StreamEnd:
    """Sent by a worker whose iterable dataset is exhausted."""

    worker_id: int


@dataclass(frozen=True)
class Resume:
    """Asks a persistent worker to start another epoch; the worker sends it back."""


@dataclass(frozen=True)
class WorkerJob:
    """Everything a worker needs to know before its first task."""

    dataset: Dataset
    auto_collation: bool
    collate_fn: Callable
    drop_last: bool
    base_seed: int
    init_fn: Callable[[int], Any] | None
    worker_id: int
    num_workers: int

    @property
    def seed(self) -> int:
        return self.base_seed + self.worker_id


def _numpy_seed(base_seed: int, worker_id: int) -> np.ndarray:
    """Mix base seed and worker id into NumPy's seed, so that its stream is unlike that of `random`."""
    entropy = [worker_id, base_seed & 0xFFFFFFFF, base_seed >> 32, 0]
    return np.random.SeedSequence(entropy).generate_state(4)


class Link(Protocol):
    """A worker's end of its conversation with the loader."""

    def get(self) -> Any:
        """Wait for the next task: (number, index), Resume, or None to stop."""

    def put(self, number: Any, data: Any) -> None:
        """Answer a task."""

    def stopped(self) -> bool:
        """Return whether None was already sent, so that tasks still waiting can be skipped."""


def serve(job: WorkerJob, link: Link, where: str) -> None:
    """Answer tasks until told to stop. An exception becomes an answer, and the worker goes on."""
    fetch = _start_fetching(job, where, job.init_fn)
    ended = False
    while (task := link.get()) is not None:
        if isinstance(task, Resume):
            link.put(task, None)
            fetch, ended = _start_fetching(job, where), False
        elif not ended and not link.stopped():
            number, index = task
            data = fetch(index)
            ended = isinstance(data, StreamEnd)
            link.put(number, data)
            del data, index  # a batch should not stay alive while waiting for the next task
        del task


def _start_fetching(job: WorkerJob, where: str, init_fn: Callable[[int], Any] | None = None) -> Callable[[Any], Any]:
    """Return a function from an index to a batch, or to what is to be said instead of one."""
    try:
        if init_fn is not None:
            init_fn(job.worker_id)
        fetcher = create_fetcher(job.dataset, job.auto_collation, job.collate_fn, job.drop_last)
    except Exception as error:  # from init_fn, or from the __iter__ of an iterable dataset
        failure = ExceptionWrapper(error, where)
        return lambda index: failure

    def fetch(index: Any) -> Any:
        try:
            return fetcher.fetch(index)
        except Exception as error:
            if isinstance(error, StopIteration) and isinstance(job.dataset, IterableDataset):
                return StreamEnd(job.worker_id)
            return ExceptionWrapper(error, where)

    return fetch


class _ProcessLink:
    """Talks to the loader through a socket, and ends this process when the loader's process ends.

    A thread takes tasks off the socket as they come, so that the loader never waits in sending one.
    """

    def __init__(self, channel: connection.Connection, where: str) -> None:
        self._channel = channel
        self._where = where
        self._tasks: SimpleQueue = SimpleQueue()
        self._stopped = threading.Event()
        threading.Thread(target=self._listen, daemon=True, name="flambeau-loader-tasks").start()

    def _listen(self) -> None:
        parent = parent_process()
        parent_pid = os.getppid()
        watched = [self._channel, parent.sentinel]
        while True:
            ready = connection.wait(watched, timeout=_PARENT_CHECK_INTERVAL)
            if self._channel in ready:
                task = self._receive()
                if task is None:
                    self._stopped.set()
                    watched.remove(self._channel)
                self._tasks.put(task)
            elif ready or os.getppid() != parent_pid:
                os._exit(_PARENT_GONE)  # the main thread may be deep in a dataset

    def _receive(self) -> Any:
        try:
            return transfer.decode(transfer.read(self._channel))
        except (EOFError, OSError):
            return None

    def get(self) -> Any:
        return self._tasks.get()

    def stopped(self) -> bool:
        return self._stopped.is_set()

    def put(self, number: Any, data: Any) -> None:
        try:
            encoded = transfer.encode((number, data))
        except Exception as error:  # a batch, or an exception's class, that cannot be pickled
            if isinstance(data, ExceptionWrapper):
                data = data.without_type()
            else:
                data = ExceptionWrapper(error, self._where)
            encoded = transfer.encode((number, data))
        try:
            transfer.send(self._channel, encoded)
        except OSError:
            if not self.stopped():
                raise


def process_main(job: WorkerJob, channel: connection.Connection) -> None:
    """Run one worker process."""
    global _process_info
    # Ctrl-C reaches the whole process group; the loader's process decides what becomes of its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    set_num_threads(1)
    random.seed(job.seed)
    manual_seed(job.seed)
    np.random.seed(_numpy_seed(job.base_seed, job.worker_id))
    _process_info = WorkerInfo(job.worker_id, job.num_workers, job.seed, job.dataset)
    where = f"in DataLoader worker process {job.worker_id}"
    serve(job, _ProcessLink(channel, where), where)


def thread_main(job: WorkerJob, link: Link) -> None:
    """Run one worker thread. It has generators of its own, but shares the global ones with all threads."""
    rng = WorkerRNG(
        random.Random(job.seed),
        Generator().manual_seed(job.seed),
        np.random.default_rng(_numpy_seed(job.base_seed, job.worker_id)),
    )
    _thread_info.value = WorkerInfo(job.worker_id, job.num_workers, job.seed, job.dataset, rng, "thread")
    set_thread_generator(rng.torch_generator)
    serve(job, link, f"in DataLoader worker thread {job.worker_id}")
