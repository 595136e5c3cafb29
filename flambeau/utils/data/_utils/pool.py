"""The loader's workers, as processes or as threads, behind one interface: put a task, get an answer, stop."""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Sequence
from multiprocessing import connection
from multiprocessing.context import BaseContext
from pickle import PicklingError
from typing import Any, Protocol

from flambeau.utils.data._utils import transfer
from flambeau.utils.data._utils.worker import WorkerJob, process_main, thread_main

_GRACE = 5.0  # seconds that workers have to finish what they are doing


class Pool(Protocol):
    """Workers numbered from 0."""

    def put(self, worker_id: int, task: Any) -> None:
        """Send a task; None lets the worker end."""

    def get(self, timeout: float | None) -> tuple[Any, Any]:
        """Wait for an answer from any worker.

        Raises TimeoutError, or RuntimeError where a worker is gone.
        """

    def shutdown(self) -> None:
        """End all workers and wait until they are gone. Safe to call twice."""


class ProcessPool:
    """Worker processes, each with a socket of its own: one that dies cannot harm the others' messages."""

    def __init__(self, context: BaseContext, jobs: Sequence[WorkerJob]) -> None:
        self._owner = os.getpid()
        self._arrived: deque[tuple[Any, Any]] = deque()
        self._channels: list[connection.Connection] = []
        self._processes: list[Any] = []
        self._working: set[int] = set()
        try:
            for job in jobs:
                self._start(context, job)
        except BaseException:
            self.shutdown()
            raise

    def _start(self, context: BaseContext, job: WorkerJob) -> None:
        ours, theirs = context.Pipe()
        process = context.Process(  # type: ignore[attr-defined]
            target=process_main, args=(job, theirs), daemon=True, name=f"DataLoaderWorker-{job.worker_id}"
        )
        try:
            process.start()
        except (TypeError, AttributeError, PicklingError):
            ours.close()
            warnings.warn(
                "Got pickle error when attempting to start a worker Process. "
                "This might be because the worker Process arguments are not picklable. "
                "Python 3.14+ changed the multiprocessing start method in non-Mac POSIX platforms "
                "to 'forkserver', which requires the worker Process arguments to be picklable. "
                "You can also try multiprocessing.set_start_method('fork').",
                stacklevel=6,
            )
            raise
        finally:
            theirs.close()
        self._channels.append(ours)
        self._processes.append(process)
        self._working.add(job.worker_id)

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._processes]

    def put(self, worker_id: int, task: Any) -> None:
        if task is None:
            self._working.discard(worker_id)
        encoded = transfer.encode(task)
        try:
            transfer.send(self._channels[worker_id], encoded)
        except OSError:
            pass  # the worker is gone: get() will say so

    def get(self, timeout: float | None) -> tuple[Any, Any]:
        while not self._arrived:
            sources = {self._channels[i]: i for i in self._working}
            sentinels = {self._processes[i].sentinel: i for i in self._working}
            ready = connection.wait([*sources, *sentinels], timeout)
            if not ready:
                raise TimeoutError
            ended = {sentinels[item] for item in ready if item in sentinels}
            # What a worker sent before it died still counts.
            talking = {sources[item] for item in ready if item in sources}
            talking |= {i for i in ended if self._channels[i].poll(0)}
            failed = ended - talking
            for i in sorted(talking):
                try:
                    received = transfer.read(self._channels[i])
                except (EOFError, OSError):
                    failed.add(i)
                    continue
                self._arrived.append(transfer.decode(received))
            if failed and not self._arrived:
                self._raise_failure(sorted(failed))
        return self._arrived.popleft()

    def _raise_failure(self, failed: list[int]) -> None:
        causes = []
        for i in failed:
            self._processes[i].join(_GRACE)
            causes.append(_death_notice(self._processes[i].pid, self._processes[i].exitcode))
        pids = ", ".join(str(self._processes[i].pid) for i in failed)
        self.shutdown(grace=0.0)  # the epoch cannot be finished, so nobody's work is worth waiting for
        raise RuntimeError(f"DataLoader worker (pid(s) {pids}) exited unexpectedly") from RuntimeError(
            "\n".join(causes)
        )

    def shutdown(self, grace: float = _GRACE) -> None:
        # A forked child has a copy of this object, and an ending interpreter has ended the workers already.
        if os.getpid() != self._owner or sys.is_finalizing():
            return
        for i in list(self._working):
            self.put(i, None)
        self._drain(time.monotonic() + grace)
        for process in self._processes:
            if process.is_alive():
                process.terminate()
                process.join(1.0)
            if process.is_alive():
                process.kill()
                process.join()
        for channel in self._channels:
            channel.close()
        self._channels.clear()
        self._processes.clear()

    def _drain(self, deadline: float) -> None:
        """Wait for the workers to end, taking what they still send so that none waits for a reader."""
        channels = set(self._channels)
        sentinels = {process.sentinel for process in self._processes}
        while sentinels:
            ready = connection.wait([*channels, *sentinels], max(0.0, deadline - time.monotonic()))
            if not ready:
                return
            for item in ready:
                if item in sentinels:
                    sentinels.discard(item)
                    continue
                try:
                    transfer.discard(transfer.read(item))
                except (EOFError, OSError):
                    channels.discard(item)


def _death_notice(pid: int, exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        notice = f"DataLoader worker (pid {pid}) is killed by signal: {signal.strsignal(-exitcode)}. "
        if -exitcode == getattr(signal, "SIGBUS", None):
            notice += (
                "It is possible that dataloader's workers are out of shared memory. "
                "Please try to raise your shared memory limit."
            )
        return notice
    return (
        f"DataLoader worker (pid {pid}) exited unexpectedly with exit code {exitcode}. "
        "Details are lost due to multiprocessing. "
        "Rerunning with num_workers=0 may give better error trace."
    )


class _ThreadLink:
    """A thread worker's end: two queues in the same memory."""

    def __init__(self, answers: queue.SimpleQueue) -> None:
        self._answers = answers
        self._ended = False
        self.tasks: queue.SimpleQueue = queue.SimpleQueue()

    def get(self) -> Any:
        return self.tasks.get()

    def put(self, number: Any, data: Any) -> None:
        self._answers.put((number, data))

    def stop(self) -> None:
        self._ended = True
        self.tasks.put(None)

    def stopped(self) -> bool:
        return self._ended


class ThreadPool:
    """Worker threads: no copies and no pickling, for datasets whose work releases the interpreter lock."""

    def __init__(self, jobs: Sequence[WorkerJob]) -> None:
        self._answers: queue.SimpleQueue = queue.SimpleQueue()
        self._links = [_ThreadLink(self._answers) for _ in jobs]
        self._threads = []
        for job, link in zip(jobs, self._links, strict=True):
            thread = threading.Thread(
                target=self._run, args=(job, link), daemon=True, name=f"DataLoaderWorker-{job.worker_id}"
            )
            thread.start()
            self._threads.append(thread)

    def _run(self, job: WorkerJob, link: _ThreadLink) -> None:
        try:
            thread_main(job, link)
        except BaseException as error:  # SystemExit and the like would end the thread without a word
            self._answers.put((_DIED, (job.worker_id, error)))

    def put(self, worker_id: int, task: Any) -> None:
        if task is None:
            self._links[worker_id].stop()
        else:
            self._links[worker_id].tasks.put(task)

    def get(self, timeout: float | None) -> tuple[Any, Any]:
        try:
            number, data = self._answers.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError from None
        if number is _DIED:
            worker_id, error = data
            self.shutdown()
            raise RuntimeError(f"DataLoader worker thread {worker_id} exited unexpectedly") from error
        return number, data

    def shutdown(self) -> None:
        for link in self._links:
            link.stop()
        if sys.is_finalizing():
            return
        deadline = time.monotonic() + _GRACE
        for thread in self._threads:
            if thread is threading.current_thread():  # it collected the garbage that the iterator was part of
                continue
            thread.join(max(0.0, deadline - time.monotonic()))


_DIED = object()
