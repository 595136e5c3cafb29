"""Whole programs in the recording modes: what they print, how they end, and that nothing grows.

The programs of `tests/scripts` and `tests/programs` print what PyTorch printed; small trainings lose what immediate
execution loses, whatever is changed in the middle of them; long ones keep their memory; processes fork, are spawned and are
interrupted in the middle of a step. `FLAMBEAU_SOAK=1` (`make soak`) trains for 20,000 steps where the ordinary test
takes 600.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import flambeau as torch
from benchmarks.workloads import WORKLOADS
from flambeau.engine import execute, program
from tests.scripts.compare import HERE as SCRIPTS
from tests.scripts.compare import PROGRAMS as PRINTING
from tests.scripts.compare import check

nn, F = torch.nn, torch.nn.functional
ROOT = Path(__file__).resolve().parents[2]
SOAK = bool(os.environ.get("FLAMBEAU_SOAK"))
MODES = ("lazy", "compiled")
PROGRAMS = ROOT / "tests" / "programs"

_spec = importlib.util.spec_from_file_location("whole_programs_in_modes", PROGRAMS / "models.py")
models = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(models)


def losses_in(mode: str, training: Callable[[], Iterator[float]], count: int, threads: int = 1) -> list[float]:
    """The first losses of a training."""
    before, threads_before = execute.mode(), torch.get_num_threads()
    execute.set_mode(mode)
    torch.set_num_threads(threads)
    try:
        return list(itertools.islice(training(), count))
    finally:
        execute.set_mode(before)
        torch.set_num_threads(threads_before)


def same_in_all_modes(training: Callable[[], Iterator[float]], count: int) -> None:
    """Losses as in immediate execution; from run to run and on two threads the same bits."""
    expected = losses_in("immediate", training, count)
    assert all(map(math.isfinite, expected))
    for mode in MODES:
        found = losses_in(mode, training, count)
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-5), mode
        assert losses_in(mode, training, count, threads=2) == found, f"{mode} on two threads, and again"


def start(script: str, folder: Path, mode: str = "compiled", **settings: Any) -> subprocess.Popen[str]:
    path = folder / "program.py"
    path.write_text(textwrap.dedent(script))
    environment = os.environ | {
        "PYTHONPATH": str(ROOT), "FLAMBEAU_EXECUTION": mode, "PYTHONWARNINGS": "ignore", "FLAMBEAU_CACHE_DIR": str(folder),
    }  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-u", str(path)], cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **settings,
    )  # fmt: skip


def output(process: subprocess.Popen[str], seconds: float = 240) -> str:
    printed, errors = process.communicate(timeout=seconds)
    assert process.returncode == 0, f"{printed}\n{errors[-4000:]}"
    return printed


# -- whole programs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("path", PRINTING, ids=lambda path: path.stem)
def test_scripts_print_what_pytorch_printed(path: Path, mode: str, tmp_path: Path) -> None:
    script = (
        f"import sys; sys.argv = ['flambeau', 'run', {str(path)!r}]\nfrom flambeau.cli import main\nsys.exit(main())"
    )
    check(output(start(script, tmp_path, mode), 600), (SCRIPTS / "golden" / f"{path.stem}.txt").read_text(), path)


def close(a: Any, b: Any) -> bool:
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(close, a, b))
    return math.isclose(a, b, rel_tol=1e-3, abs_tol=1e-4) if isinstance(a, float) else a == b


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", models.PROGRAMS)
def test_programs_give_what_pytorch_gave(name: str, mode: str) -> None:
    golden = json.loads((PROGRAMS / "golden.json").read_text())
    before = execute.mode()
    execute.set_mode(mode)
    try:
        found = models.PROGRAMS[name](torch)
    finally:
        execute.set_mode(before)
    assert close(found, golden[name]), f"{found}\nPyTorch: {golden[name]}"


SMALL = {"lenet-4": 4, "mlp": 8, "vae": 8, "lstm": 3, "gpt": 2, "dcgan": 2, "resnet18": 2, "gpt-inference": 1}


@pytest.mark.parametrize("name", SMALL)
def test_workloads_lose_the_same_in_every_mode(name: str) -> None:
    count = 3 if name == "resnet18" else 6
    same_in_all_modes(lambda: WORKLOADS[name].make(torch, SMALL[name]), count)


# -- changes in the middle of a run ----------------------------------------------------------------------------------


def training(
    change: Callable[[int, Any, Any], Any] = lambda i, net, optimizer: None, rows: int = 16
) -> Iterator[float]:
    """A small network; `change` is called before each step. With 18 rows the last batch is ragged."""
    torch.manual_seed(0)
    data, labels = torch.randn(rows, 6), torch.arange(rows) % 3
    # No bias before the norm: its gradient is nothing but rounding, which Adam would blow up to whole steps.
    net = nn.Sequential(nn.Linear(6, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(data, labels), batch_size=4, shuffle=True)
    for i, (x, y) in enumerate(itertools.chain.from_iterable(itertools.repeat(loader))):
        change(i, net, optimizer)
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        yield loss.item()


def hook_added(i: int, net: Any, optimizer: Any) -> None:
    if i == 7:
        net[0].register_forward_hook(lambda module, args, result: result * 2)


def hook_removed(i: int, net: Any, optimizer: Any) -> None:
    if i == 0:
        net.handle = net[0].weight.register_hook(lambda g: g * 2)
    if i == 8:
        net.handle.remove()


def backward_hook_added(i: int, net: Any, optimizer: Any) -> None:
    if i == 7:
        net[2].register_full_backward_hook(lambda module, given, wanted: (given[0] * 0.5,))


def frozen(i: int, net: Any, optimizer: Any) -> None:
    net[0].requires_grad_(i % 7 < 5)


def evaluated(i: int, net: Any, optimizer: Any) -> None:
    net.train(i % 5 != 4)


def layer_swapped(i: int, net: Any, optimizer: Any) -> None:
    if i == 8:
        net[2] = nn.Tanh()


def scheduled(i: int, net: Any, optimizer: Any) -> None:
    optimizer.param_groups[0]["lr"] = 0.01 / (1 + i)


def written_to(i: int, net: Any, optimizer: Any) -> None:
    if i % 6 == 5:
        with torch.no_grad():
            net[4].bias.zero_()
            net[0].weight.data[1:3].mul_(0.5)


def optimizer_reloaded(i: int, net: Any, optimizer: Any) -> None:
    if i == 8:
        optimizer.load_state_dict(optimizer.state_dict())


def looked_at(i: int, net: Any, optimizer: Any) -> None:
    if i % 4 == 3:
        assert str(net[0].weight) and net[0].weight.grad.norm().item() >= 0 and net[4].bias.detach().numpy().sum() < 9


CHANGES = (hook_added, hook_removed, backward_hook_added, frozen, evaluated, layer_swapped, scheduled, written_to,
           optimizer_reloaded, looked_at)  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda f: f.__name__)
def test_a_change_in_mid_run(change: Callable[..., None]) -> None:
    same_in_all_modes(lambda: training(change), 16)


def test_a_ragged_last_batch() -> None:
    same_in_all_modes(lambda: training(rows=18), 24)


def test_a_schedule_recompiles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers are inputs of a program: neither the learning rate nor Adam's count of steps makes another one."""
    made: list[int] = []
    original = program.compiled

    def counted(*args: Any, **kwargs: Any) -> Any:
        made.append(1)
        return original(*args, **kwargs)

    for module in (program, sys.modules["flambeau.engine.realize"]):
        monkeypatch.setattr(module, "compiled", counted, raising=False)
    counts = []

    def change(i: int, net: Any, optimizer: Any) -> None:
        scheduled(i, net, optimizer)
        counts.append(len(made))

    losses_in("compiled", lambda: training(change), 60)
    assert counts[-1] == counts[20] > 0


# -- memory ----------------------------------------------------------------------------------------------------------

LONG = """
    import itertools, sys
    import flambeau as torch
    from benchmarks.workloads import WORKLOADS

    def resident():
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * 4096

    steps = WORKLOADS[sys.argv[1] if len(sys.argv) > 1 else "mlp"].make(torch, 8)
    settled, total = {settled}, {total}
    for i, loss in zip(range(settled), steps): pass
    before = resident()
    for i, loss in zip(range(total - settled), steps): pass
    print(resident() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
@pytest.mark.parametrize("mode", MODES)
def test_long_training_keeps_its_memory(mode: str, tmp_path: Path) -> None:
    settled, total = (1000, 20_000) if SOAK else (150, 600)
    grown = int(output(start(LONG.format(settled=settled, total=total), tmp_path, mode), 3000))
    assert grown < 4 << 20, f"{grown / 2**20:.1f} MB more after {total} steps than after {settled}"


# -- processes and signals -------------------------------------------------------------------------------------------

INTERRUPTED = """
    import flambeau as torch
    from flambeau import nn

    class Data(torch.utils.data.Dataset):
        def __len__(self): return 100_000
        def __getitem__(self, i): return torch.full((20,), float(i % 7)), i % 3

    def main():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(20, 200), nn.ReLU(), nn.Linear(200, 3))
        optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)

        def train(loader, most):
            for i, (x, y) in zip(range(most), loader):
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(net(x), y)
                loss.backward()
                optimizer.step()
                if i % 10 == 0: print("step", i, loss.item(), flush=True)

        try:
            train(torch.utils.data.DataLoader(Data(), batch_size=32, num_workers=2), 100_000)
        except KeyboardInterrupt:
            print("interrupted")
        train(torch.utils.data.DataLoader(Data(), batch_size=32), 21)
        assert all(torch.isfinite(p).all() for p in net.parameters())
        print("done")

    if __name__ == "__main__":
        main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("after", [0, 30, 70])
def test_ctrl_c_in_a_step_with_loader_workers(mode: str, after: int, tmp_path: Path) -> None:
    """The program that catches it goes on training: no segment is left half done, no lock held, no worker alive."""
    process = start(INTERRUPTED, tmp_path, mode, start_new_session=True)
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if line.startswith(f"step {after} "):
                break
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: workers get it too
        printed = output(process, 120)
        assert "interrupted" in printed and printed.endswith("done\n")
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


CHILDREN = """
    import flambeau as torch, sys
    import flambeau.multiprocessing as mp
    from benchmarks.workloads import WORKLOADS

    def losses(steps, count=4): return [next(steps) for _ in range(count)]

    def child(queue, nr, x, y):
        x[nr].add_(1 + nr)  # in shared memory
        y_here = (y * 2).sum().item()
        queue.put((losses(WORKLOADS["mlp"].make(torch, 4)), y_here))

    def main(method):
        mine = losses(WORKLOADS["mlp"].make(torch, 4))
        x = torch.zeros(2).share_memory_()
        pending = torch.arange(4.0) * 2  # not looked at yet
        context = mp.get_context(method)
        queue = context.SimpleQueue()
        children = [context.Process(target=child, args=(queue, nr, x, pending)) for nr in range(2)]
        for process in children: process.start()
        steps = WORKLOADS["lenet-4"].make(torch, 2)
        losses(steps)  # the parent goes on
        found = [queue.get() for _ in children]
        for process in children: process.join()
        assert [p.exitcode for p in children] == [0, 0]
        for theirs, total in found:
            assert all(abs(a - b) < 1e-5 for a, b in zip(theirs, mine)), (theirs, mine)
            assert total == 24
        assert x.tolist() == [1, 2], x.tolist()
        losses(steps)
        print("done")

    if __name__ == "__main__":
        main({method!r})
"""


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("method", ["fork", "spawn"] if sys.platform != "win32" else ["spawn"])
def test_processes_train_beside_their_parent(mode: str, method: str, tmp_path: Path) -> None:
    script = textwrap.dedent(CHILDREN).replace("{method!r}", repr(method))
    assert output(start(script, tmp_path, mode)).endswith("done\n")


THREADS = """
    import threading
    import flambeau as torch
    from benchmarks.workloads import WORKLOADS

    expected = [loss for _, loss in zip(range(6), WORKLOADS["mlp"].make(torch, 4))]
    found = {}

    def train(nr, steps):
        found[nr] = [next(steps) for _ in range(6)]

    torch.manual_seed(0)
    net = torch.nn.Linear(3, 3)
    lock = threading.Lock()

    def work(nr):
        x = torch.full((2, 3), float(nr))
        for _ in range(30):
            y = net(x).tanh()
            grads = torch.autograd.grad(y.sum(), list(net.parameters()))
            with lock:
                with torch.no_grad():
                    for p, g in zip(net.parameters(), grads): p.sub_(g, alpha=1e-3)
        found[nr] = y.sum().item()

    workers = [threading.Thread(target=work, args=(nr,)) for nr in range(4)]
    for w in workers: w.start()
    for w in workers: w.join()
    assert len(found) == 4 and all(torch.isfinite(p).all() for p in net.parameters())
    trainer = threading.Thread(target=train, args=("again", WORKLOADS["mlp"].make(torch, 4)))
    trainer.start(); trainer.join()
    assert found["again"] == expected, (found["again"], expected)
    print("done")
"""


@pytest.mark.parametrize("mode", MODES)
def test_threads_share_a_network(mode: str, tmp_path: Path) -> None:
    assert output(start(THREADS, tmp_path, mode)).endswith("done\n")
