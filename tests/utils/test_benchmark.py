"""utils.benchmark: a table in full, and the Timer's arguments. More beside PyTorch in tests/differential."""

from __future__ import annotations

import pickle

import pytest

import flambeau
from flambeau.utils.benchmark import Compare, Language, Measurement, TaskSpec, Timer


def measured(microseconds, sub_label, description, threads=1):
    spec = TaskSpec("x", "pass", label="add", sub_label=sub_label, description=description, num_threads=threads)
    return Measurement(1, [microseconds * 1e-6] * 5, spec)


def test_the_table_in_full():
    table = Compare(
        [measured(10, "small", "eager"), measured(2.5, "small", "compiled"), measured(300, "large", "eager"),
         measured(250, "large", "compiled", threads=2)]
    )  # fmt: skip
    assert str(table).splitlines() == [
        "[------------- add --------------]",
        "             |  eager  |  compiled",
        "1 threads: -----------------------",
        "      small  |   10.0  |     2.5  ",
        "      large  |  300.0  |          ",
        "2 threads: -----------------------",
        "      large  |         |   250.0  ",
        "",
        "Times are in microseconds (us).",
    ]


def test_a_measurement_in_full():
    text = repr(measured(10, "small", "eager"))
    assert text.splitlines()[1:] == [
        "add: small",
        "eager",
        "  Median: 10.00 us",
        "  IQR:    0.00 us (10.00 to 10.00)",
        "  5 measurements, 1 runs per measurement, 1 thread",
    ]


def test_timing_a_tensor_statement():
    x = flambeau.ones(10)
    before = flambeau.get_num_threads()
    result = Timer("x + x", globals={"x": x}, num_threads=1).blocked_autorange(min_run_time=0.01)
    assert 1e-8 < result.median < 1e-2 and flambeau.get_num_threads() == before
    assert pickle.loads(pickle.dumps(result)).median == result.median


def test_bad_arguments():
    with pytest.raises(ValueError, match="Expected an instance of `Measurement`"):
        Compare([1])
    with pytest.raises(ValueError, match="Currently only a `str` stmt"):
        Timer(lambda: 0)
    with pytest.raises(NotImplementedError, match="there is no C"):
        Timer("x", language=Language.CPP)
    for name in ("repeat", "autorange"):
        with pytest.raises(NotImplementedError, match="blocked_autorange"):
            getattr(Timer(), name)()
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        getattr(measured(1, "a", "b"), "nothing")  # noqa: B009
