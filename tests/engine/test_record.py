"""Recording and matching: what is recorded anew, what is only matched, and that nobody can tell.

Programs run in the recording modes many times over and must give what immediate execution gives each time, whatever is
changed between one time and the next. Writes are also checked against NumPy arrays that alias one another as the
tensors do.
"""

from __future__ import annotations

import gc
import random
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import flambeau as torch
from flambeau.engine import execute, record
from tests.engine.everywhere import WAYS, compiled, everywhere, recording  # noqa: F401

F = torch.nn.functional


# -- matching ------------------------------------------------------------------------------------------------------


def network() -> tuple[Any, Any]:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    return net, torch.optim.Adam(net.parameters(), lr=0.01)


def trained(net: Any, optimizer: Any, x: Any) -> float:
    optimizer.zero_grad()
    loss = net(x).square().mean()
    loss.backward()
    optimizer.step()
    return loss.item()


def test_what_was_seen_is_not_recorded_again() -> None:
    net, optimizer = network()
    x = torch.randn(3, 4)
    for _ in range(3):  # the optimizer's state is made in the first step, and read in the second
        trained(net, optimizer, x)
    with recording() as anew:
        for i in range(6):
            optimizer.param_groups[0]["lr"] = 0.01 / (i + 1)
            trained(net, optimizer, x)
    assert not anew


def test_a_branch_is_recorded_once() -> None:
    def step(i: int) -> float:
        x = torch.ones(3) * i
        x = x.exp() if i % 2 else x.sin()
        return (x + 1).sum().item()

    with recording() as anew:
        found = [step(i) for i in range(8)]
    assert (
        sorted(anew) == sorted(["full", "mul", "exp", "add", "sum", "sin", "add", "sum"])[: len(anew)] or len(anew) < 10
    )
    assert found == pytest.approx([3 * ((np.exp(i) if i % 2 else np.sin(i)) + 1) for i in range(8)], rel=1e-5)


def test_numbers_of_another_kind_are_another_call() -> None:
    numbers = (1, True, 1.0, 0.0, -0.0, 2, 1 << 40, (1 << 64) - 1.0, float("nan"), float("inf"), 1 + 0j, 1)

    def program() -> Iterator[Any]:
        x = torch.tensor([1, 2, 3], dtype=torch.int32)
        for _ in range(4):
            for n in numbers:
                y, z = x * n, torch.full((2,), n)
                yield [str(y.dtype) == "torch.int32", str(y.dtype) == "torch.float32", z.dtype.itemsize]
                yield y.to(torch.complex128).numpy()
                yield np.signbit(z.numpy()) if not z.is_complex() else z.numpy()

    everywhere(program)


def test_parameters_of_another_kind_are_another_call() -> None:
    def program() -> Iterator[Any]:
        x = torch.tensor([-2.0, 3.0])
        for _ in range(4):
            for alpha in (1, 1.0, True, 2.0, 0.5):
                yield F.elu(x, alpha).numpy()
                yield F.leaky_relu(x, alpha).numpy()
                yield F.pad(x, (1, 1), value=alpha).numpy()
            for dim, keep in ((0, True), (0, False), (-1, False)):
                y = x.sum(dim, keepdim=keep)
                yield [*y.shape, len(y.shape), y.sum().item()]

    everywhere(program)


def test_slices_of_a_data_set_match_wherever_they_lie() -> None:
    array = np.arange(400, dtype=np.float32).reshape(100, 4)
    data, target = torch.tensor(array), torch.arange(100)
    execute.settle()
    expected = [array[i : i + 10].sum() + i for i in range(0, 100, 10)]
    with recording() as anew:
        found = [(data[i : i + 10].sum() + target[i : i + 1].sum()).item() for i in range(0, 100, 10)]
    assert found == expected and anew == ["sum", "sum", "add"]


def test_a_slice_beside_the_whole() -> None:
    data = torch.arange(40.0)
    execute.settle()

    def step(i: int) -> float:
        return (data[i : i + 4].sum() * data.sum() + data[i + 1 : i + 3].sum()).item()

    step(1)
    with recording() as anew:
        found = [step(i) for i in range(1, 20)]
    assert not anew
    assert found == [(4 * i + 6) * 780 + 2 * i + 3 for i in range(1, 20)]


def test_a_slice_and_the_whole_in_one_call() -> None:
    x = torch.arange(12.0).reshape(4, 3) + 0
    assert x.sum().item() == 66
    for _ in range(8):
        first = torch.nn.functional.linear(x[:1], x)
        last = x[3:] * x
        assert first.tolist() == [[5.0, 14.0, 23.0, 32.0]]
        assert last.sum().item() == 668.0
        assert x.tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0], [6.0, 7.0, 8.0], [9.0, 10.0, 11.0]]


def test_a_write_to_memory_that_is_read_in_parts() -> None:
    def program() -> Iterator[Any]:
        data = torch.arange(20.0).clone()
        for i in range(12):
            part = data[i % 5 : i % 5 + 4] * 2
            if i % 3:
                data[2:6].add_(part)
            else:
                data.mul_(0.5)
            again = data[i % 4 : i % 4 + 4] + part
            data[0:2].copy_(again[1:3])
            yield [*part.tolist(), *again.tolist(), *data.tolist()]

    everywhere(program)


def test_many_segments_in_turn() -> None:
    """A program whose observations cut it into many pieces is matched all the same."""
    x = torch.ones(3)

    def step() -> list[float]:
        return [(x + 1).narrow(0, 0, k % 3 + 1).mul(k).roll(k % 20).sum().item() for k in range(80)]

    expected = [2.0 * k * (k % 3 + 1) for k in range(80)]
    assert step() == step() == expected
    with recording() as anew:
        assert step() == expected
    assert not anew


def test_segments_that_begin_in_many_ways() -> None:
    def step() -> list[float]:
        return [torch.full((k + 1,), 2.0).add(1).sum().item() for k in range(80)]

    step()
    with recording() as anew:
        assert step() == [3.0 * (k + 1) for k in range(80)]
    assert not anew


def test_a_program_that_never_repeats_keeps_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Branches on random values: the tree is bounded in width, and planted anew when it is large."""
    monkeypatch.setattr(record, "MANY_ENTRIES", 300)
    execute.set_mode("compiled", -1)
    draw = random.Random(1)
    x, y = torch.ones(4), np.ones(4, np.float32)
    for _ in range(400):
        for _ in range(draw.randrange(1, 6)):
            n = draw.randrange(40)
            x, y = (x + 1).narrow(0, 0, 4).roll(n) * 0.5, np.roll((y + 1), n) * np.float32(0.5)
        assert x.tolist() == y.tolist()
    into = execute.recorder()
    assert into is not None and into.planted > 1 and into.entries < 400
    widest, stack = 0, [into.root]
    while stack:
        entry = stack.pop()
        widest = max(widest, len(entry.children))
        stack += entry.children
    assert widest <= record.MANY_CHILDREN


# -- in place --------------------------------------------------------------------------------------------------------


class Beside:
    """Tensors and NumPy arrays that alias one another in the same way; every statement is done to both."""

    def __init__(self, draw: random.Random) -> None:
        self.draw = draw
        start = np.arange(12, dtype=np.float32)
        self.pairs = [(torch.from_numpy(start * k).clone(), start * k) for k in range(1, 4)]

    def pick(self, size: int = -1) -> tuple[Any, np.ndarray]:
        return self.draw.choice([p for p in self.pairs if size < 0 or p[1].size == size])

    def statement(self) -> None:
        t, a = self.pick()
        kind = self.draw.randrange(11)
        if kind == 0:
            low = self.draw.randrange(len(a) - 2)
            self.pairs.append((t[low : low + 4], a[low : low + 4]))
        elif kind == 1:
            self.pairs.append((t.detach(), a))
        elif kind == 2:
            self.pairs.append((t.data, a))
        elif kind == 3:
            self.pairs.append((t * 0.5 + 1, a * np.float32(0.5) + 1))
        elif kind == 4:
            self.pairs.append((t.clone(), a.copy()))
        elif kind == 5:
            t.mul_(0.5), np.multiply(a, np.float32(0.5), out=a)
        elif kind == 6:
            t.relu_(), np.maximum(a, 0, out=a)
        elif kind == 7:
            t.neg_(), np.negative(a, out=a)
        elif kind == 8 and len(a):
            t[0] = 7.0
            a[0] = 7
        else:
            u, b = self.pick(a.size)
            if kind == 9:
                t.copy_(u)
                a[...] = b.copy()
            else:
                t.add_(u)
                a[...] = a + b
        if len(self.pairs) > 9:
            del self.pairs[self.draw.randrange(len(self.pairs) - 3)]

    def check(self) -> None:
        for t, a in self.pairs:
            assert t.tolist() == a.tolist()


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("seed", range(12))
def test_aliases_see_writes_and_nobody_else_does(seed: int, way: tuple) -> None:
    execute.set_mode(*way)
    for _ in range(5 if way[1] is None else 2):
        beside = Beside(random.Random(seed))
        for _ in range(3):
            for _ in range(beside.draw.randrange(3, 9)):
                beside.statement()
            beside.check()


def test_saved_tensors_keep_what_in_place_ops_overwrite() -> None:
    def program() -> Iterator[Any]:
        for i in range(6):
            x = torch.linspace(-2, 2, 7, requires_grad=True)
            y = x * 3
            z = y.square().mul_(2)
            z.mul_(y).add_(1)
            z.mul_(z if i % 2 else y.detach())
            w = z * 1
            w[2:4].mul_(z[3:5])
            w.mul_(w.detach().clone()).relu_()
            w.sum().backward()
            yield x.grad.tolist()
            yield w.tolist()

    everywhere(program)


def test_data_that_is_replaced_between_forward_and_backward() -> None:
    """No version counter tells: the walk reads what is there then, and so must a replay."""

    def program() -> Iterator[Any]:
        for i in range(8):
            w = torch.full((5,), 2.0).requires_grad_()
            h, k = w * 3, w * 4
            y = (h * h + k * k).sum()
            if i in (2, 3, 6):
                h.data.copy_(torch.full((5,), float(i)))
            if i in (3, 5):
                k.data = torch.full((5,), float(i))
            y.backward()
            yield w.grad.tolist()

    everywhere(program)


# -- memory that NumPy sees ------------------------------------------------------------------------------------------


def test_numpy_memory_is_read_and_written_at_once() -> None:
    def program() -> Iterator[Any]:
        array = np.arange(6, dtype=np.float32)
        for i in range(8):
            x = torch.from_numpy(array)
            y = x * 2  # pending, of what is there now
            array += 1
            z = x[1:3] + y[1:3]
            x.add_(y)
            yield array.copy()
            seen = (x + 1).numpy()
            array[:] = i
            yield seen
            h = y + 1
            view = h.numpy()
            h.mul_(2)
            view += 1
            yield h.tolist()
            yield view.copy()
            yield z.tolist()
            yield y.tolist()

    everywhere(program)


def test_numpy_memory_that_is_kept_for_backward() -> None:
    def program() -> Iterator[Any]:
        w = torch.ones(4, requires_grad=True)
        for i in range(8):
            array = np.full(4, i, np.float32)
            x = torch.from_numpy(array) if i % 3 else torch.full((4,), float(i))
            y = (w * x).sum()
            array[:] = 10  # backward reads this, as PyTorch's does
            y.backward()
            yield w.grad.tolist()

    everywhere(program)


def test_numpy_keeps_memory_from_the_pool() -> None:
    for _ in range(6):
        kept = [(torch.full((300,), float(k)) + 1).numpy() for k in range(8)]
        gc.collect()
        others = [torch.full((300,), 50.0) * 2 for _ in range(20)]
        assert others[-1][0].item() == 100
        assert [a.min() for a in kept] == [a.max() for a in kept] == [k + 1 for k in range(8)]


def test_storages_of_one_value_part_when_written_through_untyped_memory() -> None:
    for _ in range(4):
        x, y = torch.ones(4) * 2, torch.zeros(4) + 1
        y.copy_(x)
        assert (x + y).tolist() == [4.0] * 4
        y.untyped_storage()[3] = 0
        y.untyped_storage().resize_(32)
        assert x.tolist() == [2.0] * 4 and y.tolist() != [2.0] * 4


# -- errors ----------------------------------------------------------------------------------------------------------


def test_a_late_error_names_the_line_and_spoils_nothing_else() -> None:
    for _ in range(4):
        table, index = torch.arange(5.0) * 2, (torch.arange(3) + 2) * 2
        x = torch.ones(3)
        before = table + 1
        x.mul_(3)
        wrong = table[index]  # line of the error
        with pytest.raises(IndexError) as caught:
            wrong.tolist()
        notes = "".join(getattr(caught.value, "__notes__", ()))
        assert not notes or "test_record.py" in notes
        assert x.tolist() == [3.0] * 3
        assert before.tolist() == [1.0, 3.0, 5.0, 7.0, 9.0]
        assert table.tolist() == [0.0, 2.0, 4.0, 6.0, 8.0]
        assert (x + 1).tolist() == [4.0] * 3


def test_an_error_in_a_walk_leaves_a_recorder_that_works() -> None:
    def fails(g: Any) -> Any:
        raise ValueError("from a hook")

    for i in range(5):
        x = torch.ones(3, requires_grad=True)
        y = (x * 2).exp()
        if i == 3:
            y.register_hook(fails)
            with pytest.raises(ValueError, match="from a hook"):
                y.sum().backward()
        else:
            y.sum().backward()
            assert x.grad.tolist() == pytest.approx([2 * np.exp(2)] * 3)


# -- threads -----------------------------------------------------------------------------------------------------------


def test_threads_that_read_and_write_each_others_tensors() -> None:
    """Each thread owns a row of turns: reads what the other left pending, writes what the other will read."""
    turns, found = [threading.Semaphore(1), threading.Semaphore(0)], []
    x, y = torch.zeros(4), torch.ones(4)
    pending: list[Any] = [x * 1]

    def work(me: int) -> None:
        for i in range(30):
            turns[me].acquire()
            z = pending[-1] + y  # pending in the other thread
            x.add_(z)
            y[1:3].mul_(-1)
            pending.append(z * 0.5)
            if i % 5 == 4:
                found.append((me, x.tolist(), y.tolist()))
            turns[1 - me].release()

    threads = [threading.Thread(target=work, args=(me,)) for me in (0, 1)]
    [t.start() for t in threads], [t.join(60) for t in threads]
    a, b, p, expected = np.zeros(4), np.ones(4), np.zeros(4), []
    for i in range(30):
        for me in (0, 1):
            z = p + b
            a += z
            b[1:3] *= -1
            p = z * 0.5
            if i % 5 == 4:
                expected.append((me, a.tolist(), b.tolist()))
    assert [f[0] for f in found] == [e[0] for e in expected]
    for f, e in zip(found, expected):
        assert np.allclose(f[1], e[1]) and np.allclose(f[2], e[2])


def test_a_pending_value_outlives_its_thread() -> None:
    left: list[Any] = []
    for k in range(6):
        thread = threading.Thread(target=lambda k=k: left.append(torch.ones(3) * k + 1))
        thread.start(), thread.join()
    assert [t.tolist() for t in left] == [[k + 1.0] * 3 for k in range(6)]


# -- backward, replayed ------------------------------------------------------------------------------------------------


def test_backward_again_and_deeper() -> None:
    def program() -> Iterator[Any]:
        w = torch.linspace(0.5, 2, 5).requires_grad_()
        for i in range(10):
            y = (w.exp() * w).sum()
            if i % 5 == 1:
                y.backward(retain_graph=True)
            if i % 5 == 2:
                (g,) = torch.autograd.grad(y, w, create_graph=True)
                y = y + g.square().sum()
            y.backward()
            if i % 5 == 3:
                with pytest.raises(RuntimeError, match="second time"):
                    y.backward()
            yield w.grad.tolist()
            if i % 4 == 3:
                w.grad = None
            if i % 7 == 6:
                w.grad.zero_()

    everywhere(program)


def test_gradients_that_somebody_else_holds() -> None:
    """`grad` tensors are written in place: whoever holds one sees it, whoever copied it does not."""

    def program() -> Iterator[Any]:
        a, b = torch.ones(4, requires_grad=True), torch.ones(4, requires_grad=True)
        flat = torch.zeros(8)
        for i in range(10):
            if i == 5:
                a.grad, b.grad = flat[:4], flat[4:]
            held = a.grad
            copy = None if held is None else held * 1
            ((a * 2 + b * i).sum() + (a + b).square().sum()).backward()
            yield a.grad.tolist() + b.grad.tolist() + flat.tolist()
            if held is not None:
                assert held is a.grad
                yield held.tolist() + copy.tolist()
            with torch.no_grad():
                a.sub_(a.grad, alpha=0.01)

    everywhere(program)


def test_leaves_that_change_between_walks() -> None:
    def program() -> Iterator[Any]:
        a, b = torch.ones(3, requires_grad=True), torch.full((3,), 2.0, requires_grad=True)
        seen: list[float] = []
        handle = None
        for i in range(14):
            b.requires_grad_(i % 5 != 3)
            if i == 7:
                handle = a.register_hook(lambda g: seen.append(g.sum().item()) or g * 2)
            if i == 9:
                handle.remove()
            if i == 10:
                a.data = torch.full((3,), 5.0)
            h = a * b
            if i == 11:
                h.retain_grad()
            if i == 12:
                h.register_hook(lambda g: g * 3)
            h.tanh().sum().backward()
            yield a.grad.tolist() + ([] if b.grad is None else b.grad.tolist()) + seen
            if i == 11:
                yield h.grad.tolist()

    everywhere(program)


def test_an_index_that_is_not_computed_yet_is_refused_at_the_call() -> None:
    table, logits = torch.ones(5, 2), torch.ones(3, 4)
    for _ in range(4):
        x = (logits * 2).exp()  # pending, and no concern of what follows
        with pytest.raises(IndexError):
            F.embedding(torch.arange(3) + 5, table)
        with pytest.raises(IndexError, match="Target 9 is out of bounds"):
            F.cross_entropy(x, torch.arange(3) + 9)
        with pytest.raises(RuntimeError, match="index 4 is out of bounds for dimension 1 with size 4"):
            torch.take_along_dim(x, torch.tensor([[0], [-1], [4]]), 1)
        assert torch.take_along_dim(logits, torch.tensor([[0], [-4], [3]]), 1).sum().item() == 3
        assert F.embedding(torch.arange(3) + 1, table).sum().item() == 6


def test_rows_of_a_table_that_is_filled_are_written_at_once() -> None:
    """Each write goes to another place; what is computed for it matches all the same."""

    def program() -> Iterator[Any]:
        torch.manual_seed(0)
        net, x = torch.nn.Linear(3, 2), torch.linspace(-1, 1, 12).reshape(4, 3)
        table, losses = torch.zeros(20, 4, 2), torch.zeros(20)
        for i in range(20):
            out = net(x + i)
            table[i] = out.detach()
            loss = out.square().sum()
            losses[i] = loss.detach()
            (g,) = torch.autograd.grad(loss, net.weight)
            yield [*g.flatten().tolist(), table[: i + 1].sum().item(), losses[i].item()]
        yield table.flatten().tolist()

    everywhere(program)
    execute.set_mode("compiled", 2)
    steps = program()
    for _ in range(4):
        next(steps)
    with recording() as new:
        for _ in range(12):
            next(steps)
    assert new.count("linear") == 0 and len(new) <= 24, new  # only sums over more rows every time


def test_rows_that_are_written_keep_their_history() -> None:
    def program() -> Iterator[Any]:
        w = torch.linspace(-1, 1, 4).requires_grad_()
        for i in range(12):
            table = torch.zeros(6, 4)
            table[i % 6] = w * (i + 1)
            table[(i * 5 + 2) % 6].mul_(2)
            (g,) = torch.autograd.grad((table * table).sum(), w)
            yield g.tolist()

    everywhere(program)
