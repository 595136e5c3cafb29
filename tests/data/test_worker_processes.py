"""Worker processes that die, and loops that end: no process may outlive its loop, and nobody may wait for ever."""

from __future__ import annotations

import faulthandler
import os
import signal
import subprocess
import sys
import time

import pytest

from flambeau.utils.data import DataLoader, Dataset

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and process groups")

SOON = 20.0  # seconds; generous, as tests share the processors


class Dying(Dataset):
    """Ends its worker at one sample: by a signal, or by an exit code."""

    def __init__(self, how):
        self.how = how

    def __len__(self):
        return 40

    def __getitem__(self, index):
        if index == 11:
            faulthandler.disable()  # pytest's would print the stack of this deliberate crash
            if self.how < 0:
                os.kill(os.getpid(), -self.how)
                time.sleep(60)
            os._exit(self.how)
        return index


@pytest.mark.parametrize(
    "how, cause",
    [
        (-signal.SIGKILL, r"DataLoader worker \(pid {pid}\) is killed by signal: Killed\. "),
        (-signal.SIGSEGV, r"DataLoader worker \(pid {pid}\) is killed by signal: Segmentation fault"),
        (-signal.SIGBUS, r"is killed by signal: Bus error.*out of shared memory"),
        (3, r"DataLoader worker \(pid {pid}\) exited unexpectedly with exit code 3\. Details are lost"),
        (0, r"exited unexpectedly with exit code 0"),
    ],
)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_dead_worker_is_an_error_at_once(how, cause, workers):
    iterator = iter(DataLoader(Dying(how), batch_size=2, num_workers=workers))
    processes = list(iterator._pool._processes)
    seen, started = [], time.monotonic()
    with pytest.raises(RuntimeError, match=r"DataLoader worker \(pid\(s\) (\d+)\) exited unexpectedly") as caught:
        for batch in iterator:
            seen += batch.tolist()
    assert time.monotonic() - started < SOON
    assert seen == list(range(len(seen))) and len(seen) <= 10
    (pid,) = [str(p.pid) for p in processes if str(p.pid) in str(caught.value)]
    assert caught.value.__cause__ is not None
    assert __import__("re").search(cause.format(pid=pid), str(caught.value.__cause__))
    assert not any(p.is_alive() for p in processes)


def test_a_worker_killed_from_outside_while_the_loop_waits():
    class Stuck(Dataset):
        def __len__(self):
            return 4

        def __getitem__(self, index):
            time.sleep(120)

    iterator = iter(DataLoader(Stuck(), num_workers=2))
    os.kill(iterator._pool.pids[1], signal.SIGKILL)
    started = time.monotonic()
    with pytest.raises(RuntimeError, match="exited unexpectedly"):
        next(iterator)
    assert time.monotonic() - started < 4  # it does not wait for the other worker


@pytest.mark.parametrize("leave", ["break", "error", "finish", "delete"])
def test_leaving_the_loop_ends_the_workers(leave):
    loader = DataLoader(range(1000), batch_size=2, num_workers=2)
    iterator = iter(loader)
    processes = list(iterator._pool._processes)
    try:
        for _ in iterator:
            if leave == "break":
                break
            if leave == "error":
                raise KeyError
    except KeyError:
        pass
    if leave != "finish":
        del iterator
    deadline = time.monotonic() + SOON
    while any(p.is_alive() for p in processes) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(p.is_alive() for p in processes)


def test_a_loop_that_is_left_while_batches_are_in_flight_does_not_hang():
    class Huge(Dataset):
        def __len__(self):
            return 100

        def __getitem__(self, index):
            return "x" * 3_000_000  # far more than a pipe holds

    started = time.monotonic()
    for _ in DataLoader(Huge(), num_workers=2, prefetch_factor=4):
        break
    assert time.monotonic() - started < SOON


# -- whole programs --------------------------------------------------------------------------------------------

PROGRAM = """
import os, sys, time
from flambeau.utils.data import DataLoader, Dataset

class Slow(Dataset):
    def __len__(self):
        return 1000
    def __getitem__(self, index):
        time.sleep(0.02)
        return index

if __name__ == "__main__":
    end, context = sys.argv[1:]
    keep = DataLoader(Slow(), batch_size=4, num_workers=2, persistent_workers=end == "persistent",
                      multiprocessing_context=context)
    for number, batch in enumerate(keep):
        if number == 2:
            print("ready", flush=True)
            if end in ("exit", "persistent"):
                sys.exit(3)
            if end == "error":
                raise ZeroDivisionError
            time.sleep(100)
"""


def group_members(group):
    listing = subprocess.run(["ps", "-eo", "pgid=,stat=,pid="], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in listing.splitlines()]
    return [pid for pgid, state, pid in rows if int(pgid) == group and not state.startswith("Z")]


@pytest.mark.parametrize("context", ["fork", "spawn", "thread"])
@pytest.mark.parametrize("end", ["exit", "persistent", "error", "killed", "terminated", "ctrl-c"])
def test_no_process_outlives_the_program(tmp_path, context, end):
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    environment = {**os.environ, "PYTHONPATH": root}
    process = subprocess.Popen(
        [sys.executable, str(script), end, context],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True,
    )  # fmt: skip
    try:
        assert process.stdout.readline() == "ready\n", process.stderr.read()
        if end == "killed":
            process.kill()
        elif end == "terminated":
            process.terminate()
        elif end == "ctrl-c":
            os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the whole group
        status = process.wait(SOON)
        deadline = time.monotonic() + SOON
        while (left := group_members(process.pid)) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert left == []
        expected = {"exit": 3, "persistent": 3, "error": 1, "killed": -9, "terminated": -15, "ctrl-c": -2}[end]
        assert status == expected
        errors = process.stderr.read()
        assert "resource_tracker" not in errors and "leaked" not in errors
        name = {"error": "ZeroDivisionError", "ctrl-c": "KeyboardInterrupt"}.get(end)
        assert errors.count("Traceback") == (1 if name else 0), errors
        assert name is None or name in errors
    finally:
        if process.poll() is None:
            process.kill()


SPAWNED = """
import flambeau
from flambeau.utils.data import DataLoader, Dataset, get_worker_info

class Module(Dataset):
    def __len__(self):
        return 9
    def __getitem__(self, index):
        return flambeau.full((40, 40), float(index)), get_worker_info().id

if __name__ == "__main__":
    for context in ("spawn", "forkserver"):
        loader = DataLoader(Module(), batch_size=2, num_workers=2, multiprocessing_context=context)
        print([(x[:, 0, 0].tolist(), w.tolist()) for x, w in loader])
"""


def test_spawned_workers_of_a_module_level_dataset(tmp_path):
    script = tmp_path / "spawned.py"
    script.write_text(SPAWNED)
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    environment = {**os.environ, "PYTHONPATH": root}
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 0 and done.stderr == ""
    expected = [([0, 1], [0, 0]), ([2, 3], [1, 1]), ([4, 5], [0, 0]), ([6, 7], [1, 1]), ([8], [0])]
    assert done.stdout.splitlines() == [str([([float(v) for v in x], w) for x, w in expected])] * 2


def test_a_dataset_that_cannot_be_spawned_says_so():
    class Local(Dataset):
        def __len__(self):
            return 1

    loader = DataLoader(Local(), num_workers=1, multiprocessing_context="spawn")
    with pytest.warns(UserWarning, match="Got pickle error when attempting to start a worker Process"):
        with pytest.raises(AttributeError, match="Can't (pickle|get) local object"):
            iter(loader)
