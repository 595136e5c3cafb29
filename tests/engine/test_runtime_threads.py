"""Tables of launches run every task once, whatever the threads; and the pool survives what programs do to it: other
threads, forks, signals, exits."""

from __future__ import annotations

import inspect
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from flambeau.engine.kernel.emit import Emitter
from flambeau.engine.plan import Address, Buffer, Kernel, Launch
from flambeau.engine.runtime import call, cores, native, threads
from flambeau.engine.runtime.launch import Table

X, Y = Buffer("input", 0), Buffer("output", 0)
SHARED = 1e6  # nanoseconds: a launch that costs so much is worth sharing
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


@pytest.fixture(autouse=True)
def two_threads(request: pytest.FixtureRequest) -> Iterator[None]:
    before = threads.get_num_threads()
    threads.set_num_threads(2)
    yield
    threads.set_num_threads(before)


def count(k: Emitter) -> None:
    """y[task] += 1"""
    with k.tasks() as i:
        k.store(k.load(k.pointer(0), i, "i64") + 1, k.pointer(0), i)


def smooth(k: Emitter) -> None:
    """A long chain of roundings for each task."""
    with k.tasks() as i:
        x = k.load(k.pointer(0), i, "float")
        with k.loop(k.integer(2), carried=[x]) as loop:
            loop.carry(k.fma(loop.carried[0], 1.25, loop.carried[0] * 0.1) * 0.7)
        k.store(loop.results[0], k.pointer(1), i)


def kernel(emit: Callable[[Emitter], None]) -> Kernel:
    return Kernel(inspect.getsource(emit), emit)


COUNT, SMOOTH = kernel(count), kernel(smooth)


def counting(tasks: int, launches: int = 1, cost: float = SHARED) -> Table:
    return Table([Launch(COUNT, (Address(Y),), tasks, cost)] * launches, {Y: 0})


def run(table: Table, *arrays: np.ndarray) -> None:
    slots = np.array([a.ctypes.data for a in arrays], np.int64)
    table.run(slots.ctypes.data)


def runs_well(tasks: int = 1000) -> bool:
    done = np.zeros(tasks, np.int64)
    run(counting(tasks), done)
    return bool((done == 1).all())


def slow(tasks: int = 64, rounds: int = 1 << 20) -> tuple[Table, np.ndarray, np.ndarray]:
    """A table that takes some tenths of a second, and its two arrays."""
    args = (Address(X), Address(Y), rounds)
    return (Table([Launch(SMOOTH, args, tasks, 1e8)], {X: 0, Y: 1}),
            np.linspace(1, 2, tasks, dtype=np.float32), np.zeros(tasks, np.float32))  # fmt: skip


# -- tables ------------------------------------------------------------------------------------------------------------


def test_words_are_numbers_and_places_in_buffers() -> None:
    def emit(k: Emitter) -> None:
        for nr in range(3):
            k.store(k.integer(1 + nr), k.pointer(0), nr)

    out = np.zeros(9, np.int64)
    other = np.zeros(4, np.int64)
    launches = [Launch(kernel(emit), (Address(Y, 24 * nr), nr, Address(X, 8 * nr), -1 - nr)) for nr in range(3)]
    run(Table(launches, {X: 0, Y: 1}), other, out)
    at = other.ctypes.data
    assert out.tolist() == [0, at, -1, 1, at + 8, -2, 2, at + 16, -3]


def test_launches_run_in_order_each_with_its_own_words() -> None:
    def emit(k: Emitter) -> None:
        y = k.pointer(0)
        with k.tasks() as i:
            k.store((k.load(y, i, "i64") * 3 + k.integer(1)) % 1000003, y, i)

    y, wanted = np.zeros(40, np.int64), np.zeros(40, np.int64)
    for n in range(300):
        wanted[: 1 + n % 40] = (wanted[: 1 + n % 40] * 3 + n % 5) % 1000003
    launches = [Launch(kernel(emit), (Address(Y), n % 5), 1 + n % 40, n % 2 * SHARED) for n in range(300)]
    run(Table(launches, {Y: 0}), y)
    assert y.tolist() == wanted.tolist()


def test_an_empty_table() -> None:
    Table([], {}).run(0)


@pytest.mark.parametrize("cost", [0.0, SHARED])
def test_a_bundle_runs_every_task_of_its_launches_once(cost: float) -> None:
    y = np.zeros(1000, np.int64)
    parts = [(0, 7), (10, 1), (20, 0), (30, 300), (400, 64)]  # where the tasks of each count, and how many they are
    args: list = [len(parts), 1]
    tasks = 0
    for at, count in parts:
        args += [tasks, count, Address(Y, 8 * at)]
        tasks += count
    run(Table([Launch(COUNT, tuple(args), tasks, cost, bundle=len(parts))] * 50, {Y: 0}), y)
    assert y.nonzero()[0].tolist() == [nr for at, count in parts for nr in range(at, at + count)]
    assert set(y.tolist()) == {0, 50}


@pytest.mark.parametrize("cost", [0.0, SHARED])  # briefly holding the interpreter's lock, and letting go of it
def test_where_ctypes_makes_the_call(monkeypatch: pytest.MonkeyPatch, cost: float) -> None:
    table, done = counting(100, cost=cost), np.zeros(100, np.int64)
    through_ctypes = call._through_ctypes(native.functions().run)
    for function in (table._call, through_ctypes, table._call):
        monkeypatch.setattr(table, "_call", function)
        run(table, done)
    assert (done == 3).all()


def test_calls_leak_nothing() -> None:
    table, slots = counting(4, cost=0.0), np.zeros(1, np.int64)
    done = np.zeros(4, np.int64)
    slots[0] = done.ctypes.data
    before = sys.getrefcount(table._count), sys.getrefcount(table._releases)
    for _ in range(1000):
        table.run(slots.ctypes.data)
    after = sys.getrefcount(table._count), sys.getrefcount(table._releases)
    assert all(abs(b - a) < 100 for a, b in zip(before, after)) and (done == 1000).all()


def test_time_of_each_launch() -> None:
    table, x, y = slow(rounds=1 << 12)
    slots = np.array([x.ctypes.data, y.ctypes.data])
    spent = table.timed(slots.ctypes.data)
    assert len(spent) == 1 and spent[0] > 0 and y.any()


# -- sharing -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 2, 3, 5, 8])
def test_every_task_runs_once(number: int) -> None:
    threads.set_num_threads(number)
    for tasks in (1, 2, 3, 7, 64, 1009):
        done = np.zeros(tasks, np.int64)
        table = counting(tasks, launches=50)
        for _ in range(20):
            run(table, done)
        assert (done == 1000).all()


def test_the_result_does_not_depend_on_the_number_of_threads() -> None:
    results = []
    for number in (1, 2, 4):
        threads.set_num_threads(number)
        table, x, y = slow(tasks=333, rounds=200)
        run(table, x, y)
        results.append(y.tobytes())
    assert results[0] == results[1] == results[2]


def test_workers_wake_from_sleep() -> None:
    table, done = counting(100), np.zeros(100, np.int64)
    for nr in range(20):
        time.sleep(0.002 * (nr % 3))
        run(table, done)
    assert (done == 20).all()


def test_workers_do_take_part() -> None:
    """Two tasks that wait for each other end only if two threads run them."""

    def emit(k: Emitter) -> None:
        y = k.pointer(0)
        with k.tasks() as i:
            k.store(k.const("i64", 1), y, i)
            k.lines.append("  fence seq_cst")
            head, exit = k.fresh("wait"), k.fresh("met")
            k.lines.append(f"  br label {head}")
            k.label(head)
            other = k.emit("ptr", f"getelementptr i64, ptr {y.name}, i64 {(1 - i).name}")
            seen = k.emit("i64", f"load atomic volatile i64, ptr {other.name} seq_cst, align 8")
            k.lines.append(f"  br i1 {seen.equals(1).name}, label {exit}, label {head}")
            k.label(exit)

    y = np.zeros(2, np.int64)
    run(Table([Launch(kernel(emit), (Address(Y),), 2, SHARED)], {Y: 0}), y)
    assert y.tolist() == [1, 1]


def test_cheap_launches_start_no_threads() -> None:
    threads.stop_workers()
    done = np.zeros(1000, np.int64)
    run(counting(1000, cost=100.0), done)
    assert (done == 1).all() and threads._pool is None


def test_where_workers_cannot_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    threads.stop_workers()
    monkeypatch.setattr(threads, "_system_calls", lambda: (0, 0, 0))
    assert all(runs_well() for _ in range(50))
    time.sleep(0.01)
    assert runs_well()
    threads.stop_workers()


@pytest.mark.parametrize("started", [0, 1])
def test_where_threads_cannot_be_started(monkeypatch: pytest.MonkeyPatch, started: int) -> None:
    begin, left = threading.Thread.start, [started]

    def start(thread: threading.Thread) -> None:
        if not left[0]:
            raise RuntimeError("can't start new thread")
        left[0] -= 1
        begin(thread)

    threads.set_num_threads(4)
    monkeypatch.setattr(threading.Thread, "start", start)
    assert all(runs_well() for _ in range(20))


def test_two_python_threads_at_once() -> None:
    wrong = []

    def work() -> None:
        done = np.zeros(500, np.int64)
        table = counting(500, launches=10)
        for _ in range(300):
            run(table, done)
        if not (done == 3000).all():
            wrong.append(done)

    both = [threading.Thread(target=work) for _ in range(3)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert not wrong


def test_the_number_of_threads_can_change_while_a_program_runs() -> None:
    table, x, y = slow()
    run(table, x, y)
    wanted, y2 = y.copy(), np.zeros_like(y)
    running = threading.Thread(target=run, args=(table, x, y2))
    running.start()
    for number in (1, 3, 2, 4, 2):
        threads.set_num_threads(number)
        assert threads.get_num_threads() == number and runs_well()
    running.join()
    assert y2.tobytes() == wanted.tobytes()


# -- processes, signals, exit ------------------------------------------------------------------------------------------


def _child(queue: multiprocessing.Queue) -> None:
    queue.put((runs_well(), threads._pool is not None))


@needs_fork
def test_fork_with_a_live_pool() -> None:
    assert runs_well() and threads._pool is not None
    child = os.fork()
    if child == 0:
        os._exit(0 if threads._pool is None and runs_well() and threads._pool is not None else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert runs_well()


@needs_fork
def test_fork_while_another_thread_runs_a_program() -> None:
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            assert runs_well()

    busy = threading.Thread(target=work)
    busy.start()
    try:
        for _ in range(10):
            child = os.fork()
            if child == 0:
                os._exit(0 if runs_well() else 1)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        busy.join()


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_multiprocessing(method: str) -> None:
    assert runs_well()
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    child = context.Process(target=_child, args=(queue,))
    child.start()
    assert queue.get(timeout=60)[0]
    child.join(60)
    assert child.exitcode == 0 and runs_well()


def test_ctrl_c_comes_after_the_launch() -> None:
    table, x, y = slow(rounds=1 << 21)
    wanted = np.zeros_like(y)
    run(table, x, wanted)
    timer = threading.Timer(0.01, signal.raise_signal, [signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        run(table, x, y)
        timer.join()
        time.sleep(1)
    assert y.tobytes() == wanted.tobytes() and runs_well()


EXIT = """
import sys, threading
sys.path.insert(0, sys.argv[1])
import test_runtime_threads as t
t.threads.set_num_threads(3)
assert t.runs_well()
if sys.argv[2] == "late":
    import atexit
    atexit.register(lambda: print(t.runs_well()))
if sys.argv[2] == "later":
    class Last:
        def __del__(self, run=t.runs_well):
            run()
    last = Last()
if sys.argv[2] == "busy":
    table, x, y = t.slow(rounds=1 << 22)
    threading.Thread(target=t.run, args=(table, x, y), daemon=True).start()
"""


@pytest.mark.parametrize("how", ["idle", "busy", "late", "later"])
def test_the_process_ends(how: str) -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", EXIT, str(Path(__file__).parent), how]
    done = subprocess.run(command, env=env, timeout=60, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == ("True\n" if how == "late" else "")


# -- how many ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ours", "openmp", "number"), [("3", "2", 3), ("", "5", 5), ("zero", "4,2", 4)])
def test_the_environment_says_how_many(monkeypatch: pytest.MonkeyPatch, ours: str, openmp: str, number: int) -> None:
    monkeypatch.setenv("FLAMBEAU_NUM_THREADS", ours)
    monkeypatch.setenv("OMP_NUM_THREADS", openmp)
    assert cores.default_threads.__wrapped__() == number


def test_otherwise_the_cores_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FLAMBEAU_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cores, "_quota", lambda: math.inf)
    monkeypatch.setattr(cores, "_cores", lambda cpus: 6)
    assert cores.default_threads.__wrapped__() == 6
    monkeypatch.setattr(cores, "_quota", lambda: 2.5)
    assert cores.default_threads.__wrapped__() == 3


@pytest.mark.parametrize(("line", "files", "processors"), [
    ("0::/box/inner\n", {"box/cpu.max": "150000 100000\n", "box/inner/cpu.max": "max 100000\n"}, 1.5),
    ("0::/\n", {"cpu.max": "max 100000"}, math.inf),
    ("4:cpu,cpuacct:/box\n3:memory:/box\n",
     {"cpu/box/cpu.cfs_quota_us": "200000\n", "cpu/box/cpu.cfs_period_us": "100000\n"}, 2.0),
    ("4:cpu:/box\n", {"cpu/box/cpu.cfs_quota_us": "-1\n", "cpu/box/cpu.cfs_period_us": "100000\n"}, math.inf),
    ("", {}, math.inf),
])  # fmt: skip
def test_limits_of_containers(tmp_path: Path, line: str, files: dict[str, str], processors: float) -> None:
    (tmp_path / "cgroup").write_text(line)
    for name, text in files.items():
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert cores._quota(tmp_path / "cgroup", tmp_path / "root") == processors
    assert cores._quota(tmp_path / "missing", tmp_path / "root") == math.inf
