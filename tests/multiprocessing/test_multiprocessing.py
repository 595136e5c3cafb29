"""flambeau.multiprocessing: shared tensors and started processes."""

from __future__ import annotations

import multiprocessing as standard
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

import flambeau
import flambeau.multiprocessing as mp
from flambeau import nn

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs fork")
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def forked(target, *args):
    process = mp.get_context("fork").Process(target=target, args=args)
    process.start()
    process.join(30)
    assert process.exitcode == 0


def test_the_standard_module_is_here():
    for name in standard.__all__:
        assert getattr(mp, name) == getattr(standard, name)
    assert set(standard.__all__) <= set(mp.__all__)
    with pytest.raises(AttributeError, match="module 'flambeau.multiprocessing' has no attribute 'nothing'"):
        getattr(mp, "nothing")  # noqa: B009


def test_sharing_strategies():
    assert mp.get_all_sharing_strategies() == {"file_descriptor", "file_system"}
    assert mp.get_sharing_strategy() == "file_descriptor"
    mp.set_sharing_strategy("file_system")
    assert mp.get_sharing_strategy() == "file_system"
    mp.set_sharing_strategy("file_descriptor")
    with pytest.raises(AssertionError, match="invalid sharing strategy 'carrier_pigeon'"):
        mp.set_sharing_strategy("carrier_pigeon")


def test_forked_processes_share_shared_tensors_only():
    shared, private = flambeau.zeros(2, 3), flambeau.zeros(2, 3)
    view = shared[0]
    assert not shared.is_shared()
    assert shared.share_memory_() is shared and shared.is_shared() and view.is_shared()
    shared.share_memory_()

    def write():
        shared.add_(1)
        private.add_(1)

    forked(write)
    assert shared.tolist() == [[1, 1, 1]] * 2 and view.tolist() == [1, 1, 1]
    assert private.sum().item() == 0


def test_modules_can_be_trained_by_several_processes():
    model = nn.Linear(3, 1)
    model.share_memory()
    before = model.weight.detach().clone()

    def step():
        model(flambeau.ones(2, 3)).sum().backward()
        with flambeau.no_grad():
            for p in model.parameters():
                p -= p.grad

    forked(step)
    assert flambeau.equal(model.weight, before - 2)
    assert model.weight.is_shared() and model.weight.requires_grad and model.weight.is_leaf


def test_tensors_through_queues_are_the_same_memory():
    context = mp.get_context("fork")
    there, back = context.SimpleQueue(), context.SimpleQueue()

    def answer():
        tensor = there.get()
        tensor.mul_(10)
        back.put(tensor[1])
        there.get()  # who sends a tensor must live until it has arrived

    sent = flambeau.arange(6.0).reshape(2, 3)
    process = context.Process(target=answer)
    process.start()
    there.put(sent)
    row = back.get()
    there.put(None)
    process.join(30)
    assert sent.tolist() == [[0, 10, 20], [30, 40, 50]] and row.tolist() == [30, 40, 50]
    row[0] = 7
    assert sent[1, 0].item() == 7  # it came back as a view of what was sent


def test_every_kind_of_tensor_travels():
    context = mp.get_context("fork")
    queue = context.SimpleQueue()
    base = flambeau.arange(12.0)
    sent = {
        "strided": base[::3], "transposed": base.reshape(3, 4).t(), "empty": flambeau.zeros(0, 2),
        "half": flambeau.ones(3, dtype=flambeau.bfloat16), "flags": flambeau.ones(2) > 0, "scalar": flambeau.tensor(5),
        "parameter": nn.Parameter(flambeau.ones(2)), "frozen": nn.Parameter(flambeau.ones(2), requires_grad=False),
        "leaf": flambeau.ones(2, requires_grad=True),
    }  # fmt: skip
    queue.put(sent)
    got = queue.get()
    for name, tensor in sent.items():
        other = got[name]
        assert type(other) is type(tensor) and other.dtype is tensor.dtype and other.stride() == tensor.stride()
        assert other.requires_grad == tensor.requires_grad and flambeau.equal(other, tensor), name
    assert got["strided"]._storage is got["transposed"]._storage is base._storage
    with pytest.raises(RuntimeError, match="Cowardly refusing to serialize non-leaf tensor which requires_grad"):
        queue.put(sent["leaf"] * 2)


PROGRAM = """
import os, signal, sys, time
import flambeau
import flambeau.multiprocessing as mp

def add(index, tensor):
    tensor[index] += index + 1

def fail(index):
    if index == 1:
        raise ValueError("bad luck")
    time.sleep(60)

def die(index):
    if index == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)

def leave(index):
    sys.exit(5)

def wait(index):
    print(os.getpid(), flush=True)
    time.sleep(60)

if __name__ == "__main__":
    method = sys.argv[2]
    if sys.argv[1] == "add":
        tensor = flambeau.zeros(3).share_memory_()
        mp.start_processes(add, (tensor,), nprocs=3, start_method=method)
        print(tensor.tolist())
    elif sys.argv[1] == "wait":
        mp.start_processes(wait, nprocs=2, start_method=method)
    else:
        try:
            mp.start_processes(globals()[sys.argv[1]], nprocs=1 if sys.argv[1] == "leave" else 2, start_method=method)
        except mp.ProcessException as error:
            print(type(error).__name__, error.error_index, getattr(error, "exit_code", None), "|", str(error).strip())
"""


def program(tmp_path, *args):
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(PROGRAM))
    return [sys.executable, str(path), *args], {**os.environ, "PYTHONPATH": ROOT}


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize(
    "what, expected",
    [
        ("add", ["[1.0, 2.0, 3.0]"]),
        ("fail", ["ProcessRaisedException 1 None | -- Process 1 terminated with the following error:", "bad luck"]),
        ("die", ["ProcessExitedException 1 -9 | process 1 terminated with signal SIGKILL"]),
        ("leave", ["ProcessExitedException 0 5 | process 0 terminated with exit code 5"]),
    ],
)
def test_started_processes(tmp_path, method, what, expected):
    command, environment = program(tmp_path, what, method)
    started = time.monotonic()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - started < 40
    lines = done.stdout.splitlines()
    assert expected[0] == lines[0] and all(any(text in line for line in lines) for text in expected)
    assert "resource_tracker" not in done.stderr


def test_started_processes_end_with_their_parent(tmp_path):
    command, environment = program(tmp_path, "wait", "fork")
    parent = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    pids = [int(parent.stdout.readline()) for _ in range(2)]
    parent.send_signal(signal.SIGKILL)
    parent.wait(10)
    deadline = time.monotonic() + 15

    def alive(pid):
        status = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
        return status != "" and not status.startswith("Z")

    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, pids))


def test_errors_can_be_pickled():
    import pickle

    error = pickle.loads(pickle.dumps(mp.ProcessExitedException("gone", 1, 2, 3, "SIGKILL")))
    assert (str(error), error.error_index, error.error_pid, error.exit_code, error.signal_name) == (
        "gone", 1, 2, 3, "SIGKILL"
    )  # fmt: skip


def test_old_spellings_warn():
    with pytest.warns(UserWarning, match="SpawnContext is renamed to ProcessContext"):
        mp.SpawnContext([], [])
    with pytest.warns(FutureWarning, match="only supports start_method=spawn"):
        mp.spawn(print, nprocs=0, start_method="fork")
