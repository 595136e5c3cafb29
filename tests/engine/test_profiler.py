"""`torch.profiler` and `torch.autograd.profiler`: what they see of ops, segments and launches."""

from __future__ import annotations

import gzip
import json

import pytest

import flambeau as torch
from flambeau.engine import execute
from flambeau.profiler import (
    ProfilerAction,
    ProfilerActivity,
    profile,
    record_function,
    schedule,
    tensorboard_trace_handler,
)


@pytest.fixture
def compiled():
    """Segments run compiled at once."""
    before, patience = execute.mode(), execute._patience
    execute.set_mode("compiled", patience=0)
    yield
    execute.set_mode(before, patience)


def step(x):
    return torch.tanh(x * 2 + 1).sum().item()


def names(events, kind):
    return [e.name for e in events if e.kind == kind]


def test_ops_segments_and_launches(compiled):
    x = torch.randn(16, 16)
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True, with_stack=True) as prof:
        with record_function("part"):
            step(x)
    events = prof.events()
    assert names(events, "cpu_op") == ["mul", "add", "tanh", "sum"]
    assert names(events, "segment") == ["segment of 4 ops, compiled"]
    assert names(events, "user_annotation") == ["part"]
    launches = [e for e in events if e.kind == "kernel"]
    assert launches and all({c.name for c in e.causes} <= {"mul", "add", "tanh", "sum"} for e in launches)
    assert {c.name for e in launches for c in e.causes} >= {"tanh", "sum"}
    by_name = {e.name: e for e in events if e.kind == "cpu_op"}
    assert by_name["mul"].input_shapes == [[16, 16], []]
    assert "test_profiler.py" in by_name["tanh"].stack[0] and "step" in by_name["tanh"].stack[0]
    part = next(e for e in events if e.name == "part")
    assert part.cpu_time_total >= sum(child.cpu_time_total for child in part.cpu_children) > 0
    assert part.self_cpu_time_total >= 0


def test_references_are_seen_too():
    before, patience = execute.mode(), execute._patience
    for mode in ("immediate", "compiled"):
        execute.set_mode(mode, patience=-1)
        try:
            with profile() as prof:
                step(torch.ones(3))
        finally:
            execute.set_mode(before, patience)
        assert {"mul", "add", "tanh", "sum"} <= set(names(prof.events(), "reference"))
        assert {"mul", "add", "tanh", "sum"} <= set(names(prof.events(), "cpu_op"))


def test_averages_and_table(compiled):
    with profile(record_shapes=True) as prof:
        for n in (3, 3, 5):
            step(torch.ones(n))
    averages = {(e.key, e.kind): e for e in prof.key_averages()}
    assert averages["tanh", "cpu_op"].count == 3
    assert averages["tanh", "cpu_op"].cpu_time_total == pytest.approx(3 * averages["tanh", "cpu_op"].cpu_time)
    by_shape = [e for e in prof.key_averages(group_by_input_shape=True) if (e.key, e.kind) == ("tanh", "cpu_op")]
    assert sorted((e.count, str(e.input_shapes)) for e in by_shape) == [(1, "[[5]]"), (2, "[[3]]")]
    table = prof.key_averages().table(sort_by="self_cpu_time_total", row_limit=2)
    lines = table.splitlines()
    assert "Self CPU %" in lines[1] and "# of Calls" in lines[1]
    assert len(lines) == 3 + 2 + 1 + 1 and lines[-1].startswith("Self CPU time total: ")
    whole = prof.key_averages().table(sort_by="cuda_time_total", row_limit=-1)
    assert len(whole.splitlines()) == len(prof.key_averages()) + 5


def test_a_chrome_trace_with_arrows_from_ops_to_launches(compiled, tmp_path):
    with profile() as prof:
        step(torch.ones(8))
    prof.add_metadata("who", "me")
    prof.add_metadata_json("numbers", "[1, 2]")
    prof.export_chrome_trace(tmp_path / "trace.json")
    trace = json.loads((tmp_path / "trace.json").read_text())
    assert trace["who"] == "me" and trace["numbers"] == [1, 2]
    events = trace["traceEvents"]
    kinds = {e["cat"] for e in events if e["ph"] == "X"}
    assert {"cpu_op", "segment", "kernel"} <= kinds
    assert all(e["dur"] >= 0 for e in events if e["ph"] == "X")
    begins, ends = ({e["id"] for e in events if e["ph"] == phase} for phase in "sf")
    assert begins and begins == ends
    prof.export_chrome_trace(tmp_path / "trace.json.gz")
    assert json.loads(gzip.decompress((tmp_path / "trace.json.gz").read_bytes()))["traceEvents"]


def test_a_schedule_of_steps(tmp_path):
    seen = []

    def ready(prof):
        seen.append((prof.step_num, [n for n in names(prof.events(), "user_annotation")]))

    plan = schedule(wait=1, warmup=1, active=2, repeat=2)
    with profile(schedule=plan, on_trace_ready=ready) as prof:
        for _ in range(12):
            step(torch.ones(2))
            prof.step()
    assert seen == [(4, ["ProfilerStep#2", "ProfilerStep#3"]), (8, ["ProfilerStep#6", "ProfilerStep#7"])]
    plan = schedule(wait=1, warmup=1, active=2, skip_first=3)
    actions = [plan(nr).name for nr in range(8)]
    assert actions == ["NONE"] * 4 + ["WARMUP", "RECORD", "RECORD_AND_SAVE", "NONE"]
    assert plan(6) is ProfilerAction.RECORD_AND_SAVE


def test_traces_for_tensorboard(tmp_path):
    with profile(on_trace_ready=tensorboard_trace_handler(tmp_path / "log", worker_name="me")):
        step(torch.ones(2))
    (file,) = (tmp_path / "log").iterdir()
    assert file.name.startswith("me.") and file.name.endswith(".pt.trace.json")


def test_record_function_as_a_decorator():
    @record_function("named")
    def work(x):
        return x + 1

    work(torch.ones(2))  # nobody looks on
    with profile() as prof:
        work(torch.ones(2))
        work(torch.ones(2))
    assert names(prof.events(), "user_annotation") == ["named", "named"]


def test_the_older_spelling():
    with torch.autograd.profiler.profile(record_shapes=True) as prof:
        with torch.autograd.profiler.record_function("old"):
            step(torch.ones(2, 2))
    assert "old" in {e.key for e in prof.key_averages()}
    assert "Self CPU time total" in str(prof)
    assert prof.total_average().count == len(prof.function_events)
    with torch.autograd.profiler.profile(enabled=False) as off:
        step(torch.ones(2))
    with pytest.raises(RuntimeError, match="didn't finish"):
        off.key_averages()


def test_results_are_the_same_and_nothing_stays_behind(compiled):
    x = torch.randn(100)
    plain = step(x), step(x)
    call, record = execute.call, execute.record
    with profile():
        watched = step(x), step(x)
    assert watched == plain
    assert (execute.call, execute.record) == (call, record)
    with pytest.raises(ZeroDivisionError), profile():
        raise ZeroDivisionError
    assert (execute.call, execute.record) == (call, record)
